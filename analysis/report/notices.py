"""Says what a reader must know before the numbers: warnings, then the run's own notes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final

from analysis.fronts.survey import Survey
from analysis.report._unfinished import unfinished
from analysis.report._verdicts import verdict_texts
from analysis.runs.load import Run, RunError
from analysis.words import count, percent
from mpc_router.run_names import COMPLETED, FAILED, SELECTION, STOPPED

_VERDICT: Final = "verdict"
_UNFINISHED: Final = "unfinished"
_WARNING: Final = "warning"
NOTE: Final = "note"
_KINDS: Final = (_VERDICT, _UNFINISHED, _WARNING, NOTE)
_REASONS_SHOWN: Final = 3
_FEW_SEEDS: Final = 4
_FAR_APART: Final = 4.0
"""Of `seed_excess`: three seeds that are alike pass it in one run of fifty."""

_MOST_COUNTED: Final = 100_000
"""Points of a grid that are counted one by one, each once; of more the product is said."""

_NAMED: Final = 6
"""Points of another front that are named."""


@dataclass(frozen=True, slots=True)
class Notice:
    """Holds something that a reader must know before the numbers."""

    kind: str
    """`verdict`, `unfinished`, `warning` or `note`."""

    text: str


def notices(run: Run, survey: Survey) -> list[Notice]:
    """Gives verdicts first, then that a run is not over, warnings (synthetic data, ...), notes."""
    listed = [
        *(Notice(_VERDICT, text) for text in verdict_texts(run, survey)),
        *_synthetic(run),
        *_unrouted(run),
        *_partial(run),
        *_partial_front(survey),
        *_constraints(survey),
        *_failed(run),
        *_stopped(run, survey),
        *_left_out(run, survey),
        *_one_seed(run, survey),
        *_seeds_apart(survey),
        *_other_objectives(run),
        *_stand_ins(run, survey),
        *_basis(survey),
    ]
    listed += [Notice(NOTE, str(text)) for text in run.provenance.get("notes", ())]
    return sorted(listed, key=lambda notice: _KINDS.index(notice.kind))


def _synthetic(run: Run) -> list[Notice]:
    if not run.provenance.get("synthetic"):
        return []
    text = (
        "Synthetic data: the embedded sample was generated to try the program out; its scores say "
        "nothing about a real task."
    )
    return [Notice(_WARNING, text)]


def _basis(survey: Survey) -> list[Notice]:
    """Says what the costs of the shown vector rest on, where they say it themselves."""
    vector = survey.vector
    if not vector.basis:
        return []
    return [Notice(NOTE, f"Costs {vector.name} ({vector.unit}) rest on this: {vector.basis}.")]


def _unrouted(run: Run) -> list[Notice]:
    if run.routed:
        return []
    text = (
        "No routing table: scores, costs and shares are those that the trials recorded, intervals "
        "are over seeds alone, and routers are not told from the random mix. To write it anew: "
        f"mpc-router-sweep --resume {run.path}"
    )
    return [Notice(_WARNING, text)]


def _partial(run: Run) -> list[Notice]:
    text = unfinished(run)
    return [Notice(_UNFINISHED, text)] if text else []


def _partial_front(survey: Survey) -> list[Notice]:
    if not survey.partial:
        return []
    text = (
        f"Partial front: it is over the {survey.partial} that are there, for fewer than half of "
        "the points have all of their seeds. Intervals are wider for it; points may have different "
        "seeds, and what became of the others is not counted."
    )
    if "seeds" not in survey.partial:
        text = (
            f"Partial front: it is over {survey.partial}, for no trial trained to the end. Points "
            "were stopped after different epochs."
        )
    return [Notice(_WARNING, text)]


def _constraints(survey: Survey) -> list[Notice]:
    """Says how many points break which bound.

    Where all break one it says that none is recommended.
    """
    judged = survey.judged
    broken = int((~judged.feasible).sum())
    if not broken:
        return []
    by_bound = (judged.violation > 0).sum(axis=0).tolist()
    which = ", ".join(
        f"{constraint} ({count(n, 'point')})"
        for constraint, n in zip(judged.constraints, by_bound, strict=True)
        if n
    )
    if judged.none_feasible:
        text = (
            f"No point keeps the study's constraints on selection; broken are: {which}. The front "
            f"is that of all {count(broken, 'point')}, and none of them is recommended."
        )
    else:
        text = (
            f"{broken} of {count(len(judged.feasible), 'point')} "
            f"{'breaks' if broken == 1 else 'break'} a constraint of the study on selection: "
            f"{which}. They are marked and are not on the front."
        )
    return [Notice(_WARNING, text)]


def _failed(run: Run) -> list[Notice]:
    failed = run.trials[run.trials["status"] == FAILED]
    if failed.empty:
        return []
    reasons = Counter(str(reason) for reason in failed["reason"])
    shown = "; ".join(
        f"{reason} ({count})" if count > 1 else reason
        for reason, count in reasons.most_common(_REASONS_SHOWN)
    )
    named = ", ".join(str(key) for key in failed["key"].astype(str).str.slice(0, 12)[:5])
    more = f" and {len(failed) - 5} more" if len(failed) > 5 else ""
    return [Notice(_WARNING, f"{count(len(failed), 'trial')} failed ({named}{more}): {shown}.")]


def _one_seed(run: Run, survey: Survey) -> list[Notice]:
    alone, points = survey.replicates.count(1), len(survey.replicates)
    if not alone:
        return []
    if alone < points:
        text = (
            f"{alone} of {count(points, 'point')} {'has' if alone == 1 else 'have'} one seed: "
            "the spread between seeds in their intervals is that of the other points."
        )
    elif run.routed:
        text = (
            "One seed: the intervals are over examples only and say nothing about the chance in "
            "training a router again; try several seeds before believing a difference."
        )
    else:
        text = (
            "One seed and no routes of single examples: nothing is known of the chance in these "
            "numbers, and their intervals have no width."
        )
    return [Notice(_WARNING, text)]


def _seeds_apart(survey: Survey) -> list[Notice]:
    """Warns where few seeds differ much: an interval holds the truth less often than it says."""
    few = survey.front[survey.front["n"].between(2, _FEW_SEEDS)]
    far = int((few["seed_excess"] > _FAR_APART).sum())
    if not far:
        return []
    text = (
        f"{count(far, 'point')} of the front {'has' if far == 1 else 'have'} seeds that differ far "
        "more than their examples explain: from so few seeds such an interval is wide, and holds "
        "the truth in about nine of ten runs instead of 95 %; more seeds would narrow it."
    )
    return [Notice(NOTE, text)]


def _other_objectives(run: Run) -> list[Notice]:
    from analysis.fronts.objectives import own_objectives

    objectives = own_objectives(run)
    if not objectives:
        return []
    wanted = ", ".join(f"{name} ({direction})" for name, direction in objectives.items())
    text = (
        f"The study's objectives are {wanted}; the front shown here is that of score and cost "
        f"under the vector {run.provenance['cost_vector']}{_their_front(run)}."
    )
    return [Notice(_WARNING, text)]


def _their_front(run: Run) -> str:
    """Gives the points that nothing beats under the study's own objectives on selection."""
    from analysis.fronts.objectives import objective_front

    try:
        table = objective_front(run, resamples=0)
    except RunError:  # the sentence stands without it
        return ""
    names = table.loc[table["on_front"], "point"].tolist()
    shown = ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
    return f"; on theirs {len(names)} of {len(table)} points lie ({shown})"


def _stopped(run: Run, survey: Survey) -> list[Notice]:
    """Names points that early stopping ended: no fault, and not comparable with the others."""
    trials = run.trials
    ended = trials[trials["status"] == STOPPED]
    if ended.empty:
        return []
    rule = run.study.get("stopping") or {}
    completed = trials.loc[trials["status"] == COMPLETED, "epochs"]
    if completed.empty:
        return []  # then the front is over stopped points, and says so
    length = int(completed.max())
    spent, planned = int(trials["epochs"].sum()), length * len(trials)
    points = trials["point"].nunique()
    text = (
        f"{ended['point'].nunique()} of {points} points were stopped early"
        f"{' by ' + str(rule['method']) if rule.get('method') else ''}, which saved "
        f"{percent(1 - spent / planned)} % of {planned} epochs of trials; the front holds the "
        "points that trained to the end."
    )
    return [Notice(NOTE, text)]


def _left_out(run: Run, survey: Survey) -> list[Notice]:
    stopped = set(run.trials.loc[run.trials["status"] == STOPPED, "point"].astype(str))
    stopped -= set(run.trials.loc[run.trials["status"] == FAILED, "point"].astype(str))
    left = [one for one in survey.left_out if one.point not in stopped]
    if not left:
        return []
    shown = "; ".join(f"{one.label}: {one.reason}" for one in left[:_REASONS_SHOWN])
    more = len(left) - _REASONS_SHOWN
    remainder = f"; and {more} more" if more > 0 else ""
    holds = "" if survey.partial else ", which holds points whose replicates all completed"
    text = f"{count(len(left), 'point')} left out of the front{holds} ({shown}{remainder})."
    return [Notice(_WARNING, text)]


def _stand_ins(run: Run, survey: Survey) -> list[Notice]:
    listed = []
    if survey.vector.as_if:
        text = (
            f"Costs are as if: {survey.vector.name} puts published numbers of other encoders "
            "on this pool."
        )
        listed.append(Notice(_WARNING, text))
    named = [*run.provenance["experts"], run.provenance.get("stem") or {}]
    for one in named:
        if one.get("stand_in"):
            listed.append(Notice(_WARNING, f"Stand-in: {one['stand_in']}."))
    for split, facts in (run.provenance.get("splits") or {}).items():
        if facts.get("note") and split in (SELECTION, survey.split):
            listed.append(Notice(NOTE, f"Split {split}: {str(facts['note']).rstrip('.')}."))
    return [*listed, *_experts(run, survey)]


def _experts(run: Run, survey: Survey) -> list[Notice]:
    """Says what trained experts the trials had, and what that means for the yardsticks."""
    listed = []
    if survey.prepared_sets > 1:
        text = (
            f"The points train on {survey.prepared_sets} prepared sets of experts: a point is held "
            "against a random mix of its own experts; shares, and the mix and oracle that are "
            "drawn, are over all experts of the run."
        )
        listed.append(Notice(NOTE, text))
    if survey.expert_sets > 1:
        why = "experts train with each trial" if survey.joint else "experts of one name differ"
        text = (
            f"The trials used {survey.expert_sets} sets of trained experts ({why}): each is held "
            "against its own, and the yardsticks shown are means over these sets."
        )
        listed.append(Notice(NOTE, text))
    elif run.provenance.get("experts_fixed_seed"):
        text = (
            "Every expert was trained once and served all its trials: intervals hold for these "
            "experts and do not cover the chance in their training."
        )
        listed.append(Notice(NOTE, text))
    return listed
