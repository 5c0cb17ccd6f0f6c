"""Measures expected calibration error of confidences, before and after temperature."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from analysis.baselines.cascades import confidence
from analysis.fronts.survey import Survey
from analysis.runs.alternatives import alternatives
from analysis.runs.load import Run, RunError
from analysis.runs.outcomes import outcomes, roster
from analysis.runs.recorded import answers, examples, expert_outputs
from mpc_router.routes import Paths
from mpc_router.run_names import SELECTION
from mpc_router.tasks import calibration_error

if TYPE_CHECKING:
    import pandas as pd

Values = NDArray[np.float64]

_RESAMPLES: Final = 200

_LOG_TEMPERATURES: Final = (-3.0, 3.0)


def temperature(outputs: Values, labels: NDArray[np.intp]) -> float:
    """Gives the T that makes softmax(outputs / T) likeliest: logits (N, C), labels (N,).

    One number, fitted by likelihood (Guo et al. 2017, arXiv:1706.04599); it changes no decision.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import logsumexp

    def surprise(log_t: float) -> float:
        scaled = outputs / np.exp(log_t)
        return float((logsumexp(scaled, axis=1) - scaled[np.arange(len(labels)), labels]).mean())

    fit = minimize_scalar(surprise, bounds=_LOG_TEMPERATURES, method="bounded")
    return float(np.exp(fit.x))


def calibration(run: Run, survey: Survey) -> pd.DataFrame:
    """Measures how well confidence says how often an expert, then a point, is right.

    Rows are the experts alone, then the front's points.

    Temperatures are fitted on selection, by expert, errors are of the survey's split. Answers of
    several experts have a temperature of their own, by path. A row: kind (`expert`, `point`),
    label, temperature (NaN of a point, which uses those of its routes), accuracy,
    confidence (mean), before, after (calibration errors), low, high (95 % percentile interval of
    `after` over resamples of the examples, the same for all replicates of a point). An expert that
    several sets share has one row; where experts of one name differ, each has one, with its set's
    id. Experts that trained with a trial are that trial's own: they have no rows, and their points
    do.

    Raises:
        RunError: a regression, which has no confidences.
    """
    import pandas as pd

    if run.task.regression:
        raise RunError(f"{run.name}: {run.task.name} is a regression and has no confidences")
    run_roster = roster(run)
    seen = outcomes(run, run_roster, survey.split)
    ids = dict(
        zip(run.trials["key"].astype(str), run.trials["experts_id"].astype(str), strict=True)
    )
    place = {key: number for number, key in enumerate(run_roster.keys)}
    members = {point.point: point.keys for point in run_roster.points}
    front = [str(point) for point in survey.front["point"]]
    served = {
        ids[key]: lane
        for lane, key in enumerate(run_roster.keys)
        if not run.sets[int(seen.set_of[lane])].joint
    }
    wanted = dict.fromkeys([*served, *(ids[key] for point in front for key in members[point])])
    judged = {name: _Judged.of(run, name, survey.split) for name in wanted}
    choices = alternatives(run)
    paths_of = {
        key: _Judged.of(run, ids[key], survey.split, choices.paths[key])
        for point in front
        for key in members[point]
        if key in choices.paths
    }
    experts = {
        (int(seen.pool_of[lane]), member): (name, k)
        for name, lane in served.items()
        for k, member in enumerate(seen.own[lane])
    }
    rows = []
    for (_, member), (name, k) in sorted(experts.items()):
        label = run.expert_names[member] + (f" [{name[:6]}]" if len(seen.pools) > 1 else "")
        rows.append(judged[name].row(k, label))
    for point, label in zip(front, survey.front["label"], strict=True):
        taken = [
            paths_of.get(key, judged[ids[key]]).taken(
                _own_routes(seen.routes[place[key]], choices.places[key])
            )
            for key in members[point]
        ]
        plain, scaled, right = (np.stack(part) for part in zip(*taken, strict=True))
        rows.append(
            {"kind": "point", "label": str(label), "temperature": float("nan")}
            | _errors(plain, scaled, right)
        )
    return pd.DataFrame(rows)


def _own_routes(routes: NDArray[np.integer[Any]], places: Sequence[int]) -> NDArray[np.intp]:
    """Gives routes (N,) by their number among the trial's own, of numbers among the run's."""
    number = np.zeros(max(places) + 1, np.intp)
    number[list(places)] = np.arange(len(places))
    return np.asarray(number[routes], np.intp)


@dataclass(frozen=True, slots=True)
class _Judged:
    """Holds experts, or paths of them, on the quoted split; temperatures are of selection."""

    temperatures: tuple[float, ...]
    plain: Values
    scaled: Values
    """(K, N) confidences before and after temperature."""

    right: NDArray[np.bool_]
    """(K, N)."""

    @classmethod
    def of(cls, run: Run, experts_id: str, split: str, paths: Paths | None = None) -> _Judged:
        spoken = [expert_outputs(run, experts_id, side) for side in (SELECTION, split)]
        if paths is not None:
            spoken = [answers(experts, paths, regression=False) for experts in spoken]
        on_selection, on_quoted = spoken
        labels = {side: examples(run, side).labels for side in (SELECTION, split)}
        classes = on_selection.output.shape[-1]
        if classes <= max(split_labels.max() for split_labels in labels.values()):
            raise RunError(
                f"{run.name}: experts give {classes} logits, fewer than there are labels; "
                "confidences say nothing of the missing ones"
            )
        fitted = [
            temperature(logits, labels[SELECTION].astype(np.intp)) for logits in on_selection.output
        ]
        return cls(
            temperatures=tuple(fitted),
            plain=confidence(on_quoted.output),
            scaled=confidence(on_quoted.output / np.asarray(fitted)[:, None, None]),
            right=on_quoted.prediction == labels[split],
        )

    def row(self, expert: int, label: str) -> dict[str, Any]:
        columns = self.plain[expert][None], self.scaled[expert][None], self.right[expert][None]
        facts = {"kind": "expert", "label": label, "temperature": self.temperatures[expert]}
        return facts | _errors(*columns)

    def taken(self, routes: NDArray[np.intp]) -> tuple[Values, Values, NDArray[np.bool_]]:
        """Gives the numbers of the expert or path that each example (N,) is sent to."""
        column = np.arange(len(routes))
        return self.plain[routes, column], self.scaled[routes, column], self.right[routes, column]


def _errors(plain: Values, scaled: Values, right: NDArray[np.bool_]) -> dict[str, Any]:
    """Measures replicates (S, N): they share examples, so a resample draws the same for all."""
    rng = np.random.default_rng(0)
    draws = rng.integers(0, right.shape[1], (_RESAMPLES, right.shape[1]))
    spread = [_error(scaled[:, draw], right[:, draw]) for draw in draws]
    low, high = np.percentile(spread, [2.5, 97.5])
    return {
        "accuracy": float(right.mean()),
        "confidence": float(plain.mean()),
        "before": _error(plain, right),
        "after": _error(scaled, right),
        "low": float(low),
        "high": float(high),
    }


def _error(sure: Values, right: NDArray[np.bool_]) -> float:
    """Gives the calibration error over all replicates together, (S, N)."""
    return float(calibration_error(sure.reshape(1, -1), right.reshape(1, -1))[0])
