"""How far confidences can be believed: expected calibration error, before and after temperature."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from analysis.baselines.cascades import confidence
from analysis.fronts.survey import Survey
from analysis.runs.load import Run, RunError
from analysis.runs.outcomes import outcomes, roster
from analysis.runs.recorded import examples, expert_outputs
from mpc_router.run_names import SELECTION

if TYPE_CHECKING:
    import pandas as pd

Values = NDArray[np.float64]

BINS: Final = 15
RESAMPLES: Final = 200

_LOG_TEMPERATURES: Final = (-3.0, 3.0)


def calibration_error(sure: Values, right: NDArray[np.bool_]) -> float:
    """Expected calibration error of confidences (N,): mean over bins |accuracy - confidence|.

    `BINS` bins of equal width, each weighted by its examples (Naeini et al. 2015; Guo et al. 2017).
    """
    place = np.minimum((sure * BINS).astype(int), BINS - 1)
    count = np.bincount(place, minlength=BINS)
    gap = np.bincount(place, weights=right - sure, minlength=BINS)
    return float(np.abs(gap).sum() / count.sum())


def temperature(outputs: Values, labels: NDArray[np.intp]) -> float:
    """The T that makes softmax(outputs / T) likeliest: logits (N, C), labels (N,).

    One number, fitted by likelihood (Guo et al. 2017, arXiv:1706.04599); it changes no decision.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import logsumexp

    def surprise(log_t: float) -> float:
        scaled = outputs / np.exp(log_t)
        return float((logsumexp(scaled, axis=1) - scaled[np.arange(len(labels)), labels]).mean())

    found = minimize_scalar(surprise, bounds=_LOG_TEMPERATURES, method="bounded")
    return float(np.exp(found.x))


def calibration(run: Run, survey: Survey) -> pd.DataFrame:
    """Experts alone, then the front's points: how well confidence says how often one is right.

    Temperatures are fitted on selection, by expert, errors are of the survey's split. A row: kind
    (`expert`, `point`), label, temperature (NaN of a point, which uses its experts'), accuracy,
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
    whole = roster(run)
    seen = outcomes(run, whole, survey.split)
    ids = dict(
        zip(run.trials["key"].astype(str), run.trials["experts_id"].astype(str), strict=True)
    )
    place = {key: number for number, key in enumerate(whole.keys)}
    members = {point.point: point.keys for point in whole.points}
    front = [str(point) for point in survey.front["point"]]
    served = {
        ids[key]: lane
        for lane, key in enumerate(whole.keys)
        if not run.sets[int(seen.set_of[lane])].joint
    }
    wanted = dict.fromkeys([*served, *(ids[key] for point in front for key in members[point])])
    judged = {name: _Judged.of(run, name, survey.split) for name in wanted}
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
        each = [(judged[ids[key]], seen.routes[place[key]]) for key in members[point]]
        own = [seen.own[place[key]] for key in members[point]]
        taken = [
            one.taken(np.searchsorted(mine, route))
            for (one, route), mine in zip(each, own, strict=True)
        ]
        plain, scaled, right = (np.stack(part) for part in zip(*taken, strict=True))
        rows.append(
            {"kind": "point", "label": str(label), "temperature": float("nan")}
            | _errors(plain, scaled, right)
        )
    return pd.DataFrame(rows)


@dataclass(frozen=True, slots=True)
class _Judged:
    """A set of experts on the quoted split, their temperatures fitted on selection."""

    temperatures: tuple[float, ...]
    plain: Values
    scaled: Values
    """(K, N) confidences before and after temperature."""

    right: NDArray[np.bool_]
    """(K, N)."""

    @classmethod
    def of(cls, run: Run, experts_id: str, split: str) -> _Judged:
        there, here = (expert_outputs(run, experts_id, side) for side in (SELECTION, split))
        labels = {side: examples(run, side).labels for side in (SELECTION, split)}
        classes = there.output.shape[-1]
        if classes <= max(each.max() for each in labels.values()):
            raise RunError(
                f"{run.name}: experts give {classes} logits, fewer than there are labels; "
                "confidences say nothing of the missing ones"
            )
        fitted = [temperature(each, labels[SELECTION].astype(np.intp)) for each in there.output]
        return cls(
            temperatures=tuple(fitted),
            plain=confidence(here.output),
            scaled=confidence(here.output / np.asarray(fitted)[:, None, None]),
            right=here.prediction == labels[split],
        )

    def row(self, expert: int, label: str) -> dict[str, Any]:
        mine = self.plain[expert][None], self.scaled[expert][None], self.right[expert][None]
        said = {"kind": "expert", "label": label, "temperature": self.temperatures[expert]}
        return said | _errors(*mine)

    def taken(self, routes: NDArray[np.intp]) -> tuple[Values, Values, NDArray[np.bool_]]:
        """Of the expert that each example (N,) is sent to."""
        column = np.arange(len(routes))
        return self.plain[routes, column], self.scaled[routes, column], self.right[routes, column]


def _errors(plain: Values, scaled: Values, right: NDArray[np.bool_]) -> dict[str, Any]:
    """Of replicates (S, N): they share their examples, so a resample draws the same for all."""
    rng = np.random.default_rng(0)
    draws = rng.integers(0, right.shape[1], (RESAMPLES, right.shape[1]))
    spread = [calibration_error(scaled[:, draw].ravel(), right[:, draw].ravel()) for draw in draws]
    low, high = np.percentile(spread, [2.5, 97.5])
    return {
        "accuracy": float(right.mean()),
        "confidence": float(plain.mean()),
        "before": calibration_error(plain.ravel(), right.ravel()),
        "after": calibration_error(scaled.ravel(), right.ravel()),
        "low": float(low),
        "high": float(high),
    }
