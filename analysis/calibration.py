"""How far confidences can be believed: expected calibration error, before and after temperature."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from analysis.cascades import confidence
from analysis.fronts import SELECTION, Survey
from analysis.load import Run, RunError
from analysis.outcomes import outcomes, roster
from analysis.recorded import Experts, examples, expert_outputs

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
    `after` over resamples of the examples, the same for all replicates of a point).

    Raises:
        RunError: a regression, which has no confidences; experts that differ between trials.
    """
    import pandas as pd

    if run.task.regression:
        raise RunError(f"{run.name}: {run.task.name} is a regression and has no confidences")
    whole = roster(run)
    seen = outcomes(run, whole, survey.split)
    ids = dict(
        zip(run.trials["key"].astype(str), run.trials["experts_id"].astype(str), strict=True)
    )
    sets = {ids[key] for key in whole.keys}
    if len(sets) > 1:
        raise RunError(
            f"{run.name}: its trials have {len(sets)} sets of experts; calibration is that of one"
        )
    (experts_id,) = sets
    there, here = (expert_outputs(run, experts_id, split) for split in (SELECTION, survey.split))
    classes = there.output.shape[-1]
    labels = {split: examples(run, split).labels for split in (SELECTION, survey.split)}
    if classes <= max(each.max() for each in labels.values()):
        raise RunError(
            f"{run.name}: experts give {classes} logits, fewer than there are labels; confidences "
            "say nothing of the missing ones"
        )
    scales = [temperature(each, labels[SELECTION].astype(np.intp)) for each in there.output]
    plain, scaled = confidence(here.output), _scaled(here, scales)
    right = here.prediction == labels[survey.split]
    names = run.expert_names
    rows = [
        {"kind": "expert", "label": names[k], "temperature": scales[k]}
        | _errors(plain[k][None], scaled[k][None], right[k][None])
        for k in range(len(scales))
    ]
    place = {key: number for number, key in enumerate(whole.keys)}
    members = {point.point: point.keys for point in whole.points}
    for _, row in survey.front.iterrows():
        lanes = [place[key] for key in members[str(row["point"])]]
        routes = seen.routes[lanes].astype(np.intp)
        column = np.arange(plain.shape[1])
        rows.append(
            {"kind": "point", "label": str(row["label"]), "temperature": float("nan")}
            | _errors(plain[routes, column], scaled[routes, column], right[routes, column])
        )
    return pd.DataFrame(rows)


def _scaled(said: Experts, scales: list[float]) -> Values:
    return confidence(said.output / np.asarray(scales)[:, None, None])


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
