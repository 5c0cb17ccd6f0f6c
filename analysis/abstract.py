"""What a run found, in sentences with numbers: what the terminal and the report both say first."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from analysis.effects import effects
from analysis.fronts import ABOVE, BELOW, EQUAL, Survey
from analysis.load import Run

if TYPE_CHECKING:
    import pandas as pd

WARNING: Final = "warning"
NOTE: Final = "note"
_REASONS_SHOWN: Final = 3

MOST_COMPARED: Final = 12
"""Points of a study whose differences are tested as a whole: an ablation, and no search."""

LARGER: Final = 0.05
"""Seeds alone give such differences less often than this."""


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that a reader must know before the numbers."""

    kind: str
    """`warning` or `note`."""

    text: str


def number(value: float, digits: int = 3) -> str:
    """A score, or with `digits` significant figures a cost."""
    return f"{value:.{digits}f}"


def amount(value: float) -> str:
    """A cost: whole numbers as they are, others with three significant digits."""
    if float(value).is_integer():
        return f"{value:.0f}"
    if not value or not math.isfinite(value):
        return f"{value:g}"
    digits = 2 - math.floor(math.log10(abs(value)))
    return f"{value:.{max(0, digits)}f}"


def signed(value: float) -> str:
    """A difference of scores with its sign."""
    return f"{value:+.3f}".replace("-", "\N{MINUS SIGN}")


def percent(share: float) -> str:
    """A share in whole per cent."""
    return f"{100 * share:.0f}".replace("-", "\N{MINUS SIGN}")


def unit(survey: Survey) -> str:
    """The cost's unit, empty for the pool's own constants."""
    return "" if survey.vector.unit == "units" else f" {survey.vector.unit}"


def interval(row: Any, name: str) -> str:
    """`0.812 to 0.861` of a table's row."""
    return f"{number(row[f'{name}_low'])} to {number(row[f'{name}_high'])}"


def notices(run: Run, survey: Survey) -> list[Notice]:
    """Warnings first: synthetic data, a partial run, failed trials; then the run's own notes."""
    found = [
        *_synthetic(run),
        *_partial(run),
        *_failed(run),
        *_left_out(survey),
        *_one_seed(survey),
        *_other_objectives(run),
        *_stand_ins(run, survey),
    ]
    found += [Notice(NOTE, str(text)) for text in run.provenance.get("notes", ())]
    return sorted(found, key=lambda notice: notice.kind != WARNING)


def _synthetic(run: Run) -> list[Notice]:
    if not run.provenance.get("synthetic"):
        return []
    text = (
        "Synthetic data: the embedded sample was generated to try the program out; its scores say "
        "nothing about a real task."
    )
    return [Notice(WARNING, text)]


def _partial(run: Run) -> list[Notice]:
    status = Counter(str(one) for one in run.trials["status"])
    planned = _planned_trials(run)
    missing = max(0, planned - len(run.trials)) if planned else 0
    if not status["INTERRUPTED"] and not missing:
        return []
    parts = []
    if status["INTERRUPTED"]:
        parts.append(f"{_count(status['INTERRUPTED'], 'trial')} interrupted")
    if missing:
        parts.append(f"{missing} of {planned} trials not there yet")
    text = f"Partial: {', '.join(parts)}. To go on: python -m sweeps.run --resume {run.path}"
    return [Notice(WARNING, text)]


def _planned_trials(run: Run) -> int:
    """Trials of a grid that is spelled out; 0 where the study does not say how many."""
    space, seeds = run.study.get("space"), run.study.get("seeds")
    if not isinstance(space, dict) or not isinstance(seeds, list):
        return 0
    axes = [axis.get("grid") if isinstance(axis, dict) else None for axis in space.values()]
    if any(not isinstance(axis, list) for axis in axes):
        return 0
    grid = {
        tuple(map(_typed, values)) for values in itertools.product(*(axis or () for axis in axes))
    }
    for first in run.study.get("start") or ():
        if isinstance(first, dict) and set(space) <= set(first):
            grid.add(tuple(_typed(first[name]) for name in space))
    return len(grid) * len(seeds)


def _typed(value: Any) -> str:
    """0 and 0.0 are one setting."""
    return repr(float(value)) if isinstance(value, int | float) else repr(value)


def _failed(run: Run) -> list[Notice]:
    failed = run.trials[run.trials["status"] == "FAILED"]
    if failed.empty:
        return []
    reasons = Counter(str(reason) for reason in failed["reason"])
    said = "; ".join(
        f"{reason} ({count})" if count > 1 else reason
        for reason, count in reasons.most_common(_REASONS_SHOWN)
    )
    named = ", ".join(str(key) for key in failed["key"].astype(str).str.slice(0, 12)[:5])
    more = f" and {len(failed) - 5} more" if len(failed) > 5 else ""
    return [Notice(WARNING, f"{_count(len(failed), 'trial')} failed ({named}{more}): {said}.")]


def _one_seed(survey: Survey) -> list[Notice]:
    if _seeds(survey) > 1:
        return []
    text = (
        "One seed: the intervals are over examples only and say nothing about the chance in "
        "training a router again; try several seeds before believing a difference."
    )
    return [Notice(WARNING, text)]


def _other_objectives(run: Run) -> list[Notice]:
    objectives = dict(run.provenance.get("objectives") or {})
    if objectives in ({}, {"score": "max", "cost": "min"}):
        return []
    said = ", ".join(f"{name} ({direction})" for name, direction in objectives.items())
    text = (
        f"The study's objectives are {said}; the front shown here is that of score and cost under "
        f"the vector {run.provenance['cost_vector']}."
    )
    return [Notice(WARNING, text)]


def _left_out(survey: Survey) -> list[Notice]:
    if not survey.left_out:
        return []
    shown = "; ".join(f"{one.label}: {one.reason}" for one in survey.left_out[:_REASONS_SHOWN])
    more = len(survey.left_out) - _REASONS_SHOWN
    rest = f"; and {more} more" if more > 0 else ""
    text = (
        f"{_count(len(survey.left_out), 'point')} left out of the front, which holds points whose "
        f"replicates all completed ({shown}{rest})."
    )
    return [Notice(WARNING, text)]


def _stand_ins(run: Run, survey: Survey) -> list[Notice]:
    found = []
    if survey.vector.as_if:
        text = (
            f"Costs are as if: {survey.vector.name} puts published numbers of other encoders "
            "on this pool."
        )
        found.append(Notice(WARNING, text))
    named = [*run.provenance["experts"], run.provenance.get("stem") or {}]
    for one in named:
        if one.get("stand_in"):
            found.append(Notice(WARNING, f"Stand-in: {one['stand_in']}."))
    for split, facts in (run.provenance.get("splits") or {}).items():
        if facts.get("note") and split in ("selection", survey.split):
            found.append(Notice(NOTE, f"Split {split}: {str(facts['note']).rstrip('.')}."))
    return [*found, *_experts(run, survey)]


def _experts(run: Run, survey: Survey) -> list[Notice]:
    """What trained experts the trials had, and what that means for the yardsticks."""
    found = []
    if survey.prepared_sets > 1:
        text = (
            f"The points train on {survey.prepared_sets} prepared sets of experts: a point is held "
            "against a random mix of its own experts; shares, and the mix and oracle that are "
            "drawn, are over all experts of the run."
        )
        found.append(Notice(NOTE, text))
    if survey.expert_sets > 1:
        why = "experts train with each trial" if survey.joint else "experts of one name differ"
        text = (
            f"The trials used {survey.expert_sets} sets of trained experts ({why}): each is held "
            "against its own, and the yardsticks shown are means over these sets."
        )
        found.append(Notice(NOTE, text))
    elif run.provenance.get("experts_fixed_seed"):
        text = (
            "Every expert was trained once and served all its trials: intervals hold for these "
            "experts and do not cover the chance in their training."
        )
        found.append(Notice(NOTE, text))
    return found


def sentences(run: Run, survey: Survey) -> list[str]:
    """The abstract: what was run, the front, the best trade, the yardsticks, the warnings."""
    return [
        _what_was_run(run, survey),
        _the_front(survey),
        _best_trade(run, survey),
        _yardsticks(survey),
        _standing(survey),
        *_noise(run, survey),
    ]


def _noise(run: Run, survey: Survey) -> list[str]:
    """Of a study with few points: whether they differ by more than seeds do."""
    if not 2 <= len(survey.points) <= MOST_COMPARED or _seeds(survey) < 2:
        return []
    said = [
        f"the {each.name} differs by {amount(each.test.span)} between the points that lie farthest "
        f"apart (95 % interval {amount(each.test.span_low)} to {amount(each.test.span_high)}), and "
        f"by {amount(each.noise)} (standard deviation) between the seeds of a point: "
        f"{'more than' if each.test.p < LARGER else 'no more than what'} seeds explain "
        f"(analysis of variance with seeds as blocks, p = {each.test.p:.2g})"
        for each in effects(run, split=survey.split, vector=survey.vector.name)
    ]
    return [f"{'; '.join(said)}.".capitalize()] if said else []


def what_was_run(run: Run) -> str:
    """The run in one line: study, task, pool, trials."""
    status = Counter(str(one) for one in run.trials["status"])
    ended = ", ".join(f"{count} {name.lower()}" for name, count in sorted(status.items()))
    return (
        f"study {run.provenance['study']}, task {run.task.name}, pool {run.provenance['pool']} "
        f"({', '.join(run.expert_names)}): {len(run.trials)} trials, {ended}"
    )


def best_trade(survey: Survey) -> pd.Series:
    """The front's point farthest above the random mix, judged on selection only."""
    front = survey.front
    row: pd.Series = front.iloc[int(front["selection_over_mix"].to_numpy().argmax())]
    return row


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def _what_was_run(run: Run, survey: Survey) -> str:
    points = run.trials["point"].nunique()
    seeds = sorted({int(seed) for seed in run.trials["seed"]})
    epochs = int(run.trials["epochs"].max())
    metrics = " and ".join("F1" if name == "f1" else name for name in run.task.metrics)
    return (
        f"The study {run.provenance['study']} trained {_count(len(run.trials), 'router')} "
        f"({_count(points, 'configuration')}, {_count(len(seeds), 'seed')}, up to "
        f"{_count(epochs, 'epoch')}) over the {len(run.expert_names)} experts of pool "
        f"{run.provenance['pool']} on {run.task.name.upper()}; the score is "
        f"{'the mean of ' if len(run.task.metrics) > 1 else ''}{metrics} on {survey.split} "
        f"({survey.examples} examples), the cost is in {survey.vector.unit} per example "
        f"(vector {survey.vector.name}, router {survey.vector.router:g} paid)."
    )


def _the_front(survey: Survey) -> str:
    front = survey.front
    first, last = front.iloc[0], front.iloc[-1]
    if len(front) == 1:
        span = f"score {number(first['score'])} at cost {amount(first['cost'])}{unit(survey)}"
    else:
        span = (
            f"from score {number(first['score'])} at cost {amount(first['cost'])}{unit(survey)} "
            f"to {number(last['score'])} at {amount(last['cost'])}{unit(survey)}"
        )
    low, high = survey.hypervolume_interval
    on_front = (
        f"{len(front)} of {_count(len(survey.points), 'point')} "
        f"{'lies' if len(front) == 1 else 'lie'} on the front chosen on selection"
    )
    return (
        f"{on_front}: {span}. Its hypervolume is {survey.hypervolume:.3g} ({low:.3g} to {high:.3g};"
        f" reference: score {number(survey.reference[0])}, cost {amount(survey.reference[1])})."
    )


def _best_trade(run: Run, survey: Survey) -> str:
    row = best_trade(survey)
    dearest = run.expert_names[survey.vector.experts.index(max(survey.vector.experts))]
    verdict = {
        ABOVE: "more than its interval",
        EQUAL: "not distinguishable from a coin",
        BELOW: "worse than a coin",
    }[row["verdict"]]
    headroom = (
        f" It captures {percent(row['headroom'])} % of the room between that coin and the oracle "
        "curve."
        if row["headroom"] == row["headroom"]
        else ""
    )
    return (
        f"The best trade, picked on selection, is {row['label']}: score {number(row['score'])} "
        f"(95 % interval {interval(row, 'score')}) at cost {amount(row['cost'])}{unit(survey)}, "
        f"{signed(row['over_mix'])} against a random mix of the experts at the same cost "
        f"({signed(row['over_mix_low'])} to {signed(row['over_mix_high'])}: {verdict}), "
        f"a projected speed-up of {row['speed_up']:.2f} over {dearest} alone.{headroom}"
    )


def _yardsticks(survey: Survey) -> str:
    singles = ", ".join(
        f"{row['name']} {number(row['score'])} at {amount(row['cost'])}{unit(survey)}"
        for _, row in survey.singles.iterrows()
    )
    score, cost = survey.oracle
    return (
        f"Single experts reach {singles}; the majority class {number(survey.majority['score'])}; "
        f"an oracle that sends each example to the cheapest expert that is right "
        f"{number(score)} at {amount(cost)}{unit(survey)}, router paid."
    )


def _seeds(survey: Survey) -> int:
    """Replicates of the point that has fewest."""
    return int(survey.points["n"].min())


def _standing(survey: Survey) -> str:
    counts = Counter(survey.points["verdict"])
    total = len(survey.points)
    over = "seeds and examples" if _seeds(survey) > 1 else "examples only, for there is one seed"
    return (
        f"Of all {_count(total, 'point')}, {counts[ABOVE]} "
        f"{'beats' if counts[ABOVE] == 1 else 'beat'} the random mix at their own cost by more "
        f"than the interval, {counts[EQUAL]} cannot be told from it, and {counts[BELOW]} "
        f"{'lies' if counts[BELOW] == 1 else 'lie'} under it. Intervals are 95 % bootstrap "
        f"intervals over {over} ({survey.resamples} resamples)."
    )
