"""Answers what a report says beyond the front, or says why a question has no answer.

A question that a run cannot answer (no classes, one seed, no routes, several pools) takes nothing
from the others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from analysis.baselines.bias_curves import Operating
from analysis.choices import operating_points
from analysis.choices.choice import Choice, pick
from analysis.fronts.objectives import objective_front, objective_yardsticks, own_objectives
from analysis.fronts.survey import Survey
from analysis.questions import agreement, information, leakage, progress
from analysis.questions._calibration import calibration
from analysis.questions.headroom import Rival, against_cascades, headroom
from analysis.questions.importance import importance, settings_table
from analysis.questions.verdicts import Verdicts, verdicts
from analysis.runs.load import Run, RunError
from analysis.stats.indicators import Surface
from analysis.worth.kind_worth import kind_worth
from analysis.worth.kinds import kinds, kinds_of
from analysis.worth.worth import Worth, worth

if TYPE_CHECKING:
    import pandas as pd

Answer = TypeVar("Answer")

_CAPS = 5
"""Costs between the cheapest and the dearest expert for which an operating point is named."""


@dataclass(frozen=True, kw_only=True)
class Answers:
    """Holds the answers; None where the run cannot say, and then `unanswered` says why."""

    verdicts: Verdicts | None = None
    worth: Worth | None = None
    headroom: pd.DataFrame | None = None
    rivals: list[Rival] | None = None
    operating: tuple[Operating, ...] | None = None
    barred: tuple[Operating, ...] | None = None
    """Operating points that the study's constraints alone keep from the front of all biases."""

    routers: tuple[str, ...] = ()
    """Points by the number that `Operating.curve` gives them."""

    offers: tuple[Choice, ...] | None = None
    """What to run for at most some costs."""

    kinds: pd.DataFrame | None = None
    """Kinds of routers beside each other, where the run has several; see `kinds`."""

    kind_worth: pd.DataFrame | None = None
    """What each of them is worth over the range of costs; see `kind_worth`."""

    history: pd.DataFrame | None = None
    surfaces: tuple[Surface, ...] | None = None
    quality: progress.Quality | None = None
    objectives: pd.DataFrame | None = None
    """Of a study that optimises more, or other, than score and cost; see `objective_front`."""

    objective_yards: pd.DataFrame | None = None
    importance: pd.DataFrame | None = None
    settings: pd.DataFrame | None = None
    epochs: pd.DataFrame | None = None
    trusted: int | None = None
    seeds: pd.DataFrame | None = None
    moving: pd.DataFrame | None = None
    calibration: pd.DataFrame | None = None
    information: pd.DataFrame | None = None
    leakage: pd.DataFrame | None = None
    unanswered: dict[str, str] = field(default_factory=dict)
    """By question, why it cannot be answered."""


def answers(run: Run, survey: Survey, *, deep: bool = True) -> Answers:
    """Asks every question of a run; `deep` also those that permute and resample."""
    why: dict[str, str] = {}

    def ask(question: str, find: Callable[[], Answer]) -> Answer | None:
        try:
            return find()
        except (RunError, ValueError) as error:
            why[question] = str(error).removeprefix(f"{run.path}: ").removeprefix(f"{run.name}: ")
            return None

    table = ask("what gates and cascades capture", lambda: headroom(run, survey))
    rivals = None
    if not run.task.regression:
        rivals = ask("gates beside cascades", lambda: against_cascades(run, survey))
    else:
        why["cascades"] = (
            f"{run.task.name} is a regression, whose experts do not say how sure they are"
        )
    curves = ask("cost-bias curves", lambda: _curves(run, survey))
    epochs = ask("from which epoch ranks can be trusted", lambda: agreement.epoch_agreement(run))
    asked: dict[str, Any] = {
        "verdicts": ask("whether there is anything to route", lambda: verdicts(run, survey)),
        "worth": ask("what the front is worth", lambda: worth(run, survey)),
        "history": ask("how the front came to be", lambda: progress.history(run, survey)),
        "surfaces": ask("what seeds attain", lambda: progress.surfaces(run, survey)),
        "quality": ask("indicators", lambda: progress.quality(survey)),
        "settings": ask("settings", lambda: settings_table(run)),
        "seeds": ask("agreement of seeds", lambda: agreement.seed_agreement(run, survey)),
        "calibration": ask("calibration", lambda: calibration(run, survey)),
        "moving": ask("who moves along the front", lambda: agreement.moving_examples(run, survey)),
    }
    if len(kinds_of(run)) > 1:
        asked["kinds"] = ask(
            "which kind of routers is best where",
            lambda: kinds(run, split=survey.split, vector=survey.vector.name),
        )
        asked["kind_worth"] = ask(
            "what each kind of routers is worth", lambda: kind_worth(run, survey)
        )
    if own_objectives(run):
        asked["objectives"] = ask(
            "the front of the study's own objectives",
            lambda: objective_front(run, split=survey.split, resamples=survey.resamples),
        )
        asked["objective_yards"] = ask(
            "yardsticks under the study's own objectives",
            lambda: objective_yardsticks(run, survey.split),
        )
    if deep:
        asked |= {
            "importance": ask("which setting mattered", lambda: importance(run)),
            "information": ask(
                "what routes depend on", lambda: information.route_information(run, survey)
            ),
            "leakage": ask("what times leak", lambda: leakage.leakage(run, survey)),
        }
    return Answers(
        headroom=table,
        rivals=rivals,
        operating=curves[0] if curves else None,
        barred=curves[1] if curves else None,
        offers=curves[2] if curves else None,
        routers=curves[3] if curves else (),
        epochs=epochs,
        trusted=None if epochs is None else agreement.trusted_epoch(epochs),
        **asked,
        unanswered=why,
    )


def _curves(
    run: Run, survey: Survey
) -> tuple[tuple[Operating, ...], tuple[Operating, ...], tuple[Choice, ...], tuple[str, ...]]:
    """Gives the front over all biases, what constraints keep from it, what to run, and points.

    What to run is given for some wanted costs: nothing that breaks a constraint.
    """
    split, vector = survey.split, survey.vector.name
    curves = operating_points.bias_curves(run, split=split, vector=vector, kept=True)
    operating, names = curves.front(), tuple(point.point for point in curves.points)
    if any(operating_point.breaks for operating_point in operating):
        return operating, (), (), names
    low, high = min(survey.vector.experts), max(survey.vector.experts)
    steps = (step / (_CAPS + 1) for step in range(1, _CAPS + 1))
    caps = [float(f"{low + (high - low) * step:.3g}") for step in steps]  # as they are shown
    choices = [pick(run, curves, at_most=cap, split=split, vector=vector) for cap in caps]
    offers = tuple(choice for choice in choices if choice is not None)
    return operating, curves.barred(), offers, names
