"""Measures what routes tell of label, length and difficulty of an example."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from analysis.fronts.survey import Survey
from analysis.runs.load import Run, RunError
from analysis.runs.outcomes import Outcomes, outcomes, roster

if TYPE_CHECKING:
    import pandas as pd

_Codes = NDArray[np.intp]
_Values = NDArray[np.float64]

_BINS: Final = 4
"""Of what is not counted off: quarters of the examples."""

PERMUTATIONS: Final = 200

_CELLS: Final = 1 << 22
"""Numbers of permutations that are held at once: bounds memory."""


def mutual_information(first: _Codes, second: _Codes) -> float:
    """Gives the bits that one code tells of the other: (N,), (N,).

    They are never below 0 but for rounding.

    I(X; Y) = H(X) + H(Y) - H(X, Y) of the empirical shares. Identical codes have their entropy.
    """
    return _alone(first) + _alone(second) - _entropy(_joint(first, second))


def _joint(first: _Codes, second: _Codes) -> _Values:
    """Counts every pair of codes, flat."""
    width = int(second.max()) + 1
    counts = np.bincount(first * width + second, minlength=(int(first.max()) + 1) * width)
    return counts.astype(np.float64)


def _alone(code: _Codes) -> float:
    """Gives the entropy of one code in bits."""
    return _entropy(np.bincount(code).astype(np.float64))


def _entropy(counts: _Values) -> float:
    share = counts[counts > 0] / counts.sum()
    return float(-(share * np.log2(share)).sum())


def permuted(
    first: _Codes, second: _Codes, *, permutations: int = PERMUTATIONS, seed: int = 0
) -> _Values:
    """Gives the information left when one code is shuffled, as by chance: (permutations,)."""
    width = int(second.max()) + 1
    pairs = (int(first.max()) + 1) * width
    together = []
    for order in _shuffles(len(first), permutations, seed):
        places = first[order] * width
        places += second + pairs * np.arange(len(order))[:, None]
        counts = np.bincount(places.ravel(), minlength=len(order) * pairs)
        together.append(_entropies(counts.reshape(-1, pairs), len(first)))
    apart = _alone(first) + _alone(second)  # no shuffle changes it
    return apart - np.concatenate(together)


def _shuffles(length: int, permutations: int, seed: int) -> Iterable[_Codes]:
    """Gives permutations of this length, a row each; they are the same for all codes of a split."""
    draw = _kept if length * permutations <= _CELLS else _drawn
    return draw(length, permutations, seed)


@lru_cache(maxsize=1)
def _kept(length: int, permutations: int, seed: int) -> tuple[_Codes, ...]:
    return tuple(_drawn(length, permutations, seed))


def _drawn(length: int, permutations: int, seed: int) -> Iterator[_Codes]:
    rng = np.random.default_rng(seed)
    step = max(1, _CELLS // length)
    for first in range(0, permutations, step):
        rows = range(first, min(permutations, first + step))
        yield np.array([rng.permutation(length) for _ in rows], np.intp)


def _entropies(counts: _Codes, total: int) -> _Values:
    """Gives the entropy of each row of counts, in bits: what `_entropy` gives, to the bit.

    A sum is rounded by the order and the number of what it adds, so pairs that never occur may not
    stand between the others: rows with as many pairs are added together, without the others.
    """
    occurs = counts > 0
    share = np.where(occurs, counts, 1) / total
    share *= np.log2(share)
    kinds = occurs.sum(axis=1)
    entropies = np.empty(len(counts))
    for kind in np.unique(kinds).tolist():
        rows = kinds == kind
        terms = share[rows][occurs[rows]].reshape(-1, kind)
        entropies[rows] = -terms.sum(axis=1)
    return entropies


def chance(seen: float, shuffled: _Values) -> tuple[float, float, float]:
    """Gives (low, high, p): where chance puts 95 %, and how often it gives as much."""
    low, high = np.percentile(shuffled, [2.5, 97.5])
    p = (1 + int((shuffled >= seen - 1e-12).sum())) / (1 + len(shuffled))
    return float(low), float(high), p


def features(run: Run, seen: Outcomes) -> dict[str, _Codes]:
    """Gives codes (N,) of the quoted examples: `label`, `length`, `difficulty`.

    Length is the number of tokens, in quarters. Difficulty is how many experts of the first pool
    are right; for a regression, whose label comes in quarters as well, the mean absolute error of
    its experts in quarters. A feature that is not known is left out.
    """
    regression = run.task.regression
    label = _quarters(seen.labels) if regression else seen.labels.astype(np.intp)
    codes = {"label": label - label.min()}
    rows = run.examples[run.examples["split"] == seen.split].set_index("example")
    if "tokens" in rows:
        tokens = rows.loc[seen.example, "tokens"].to_numpy(np.float64)
        if np.isfinite(tokens).all():
            codes["length"] = _quarters(tokens)
    pool = seen.pools[0]
    if regression:
        codes["difficulty"] = _quarters(np.abs(pool.prediction - seen.labels).mean(axis=0))
    else:
        codes["difficulty"] = (pool.prediction == seen.labels).sum(axis=0).astype(np.intp)
    return codes


def route_information(
    run: Run, survey: Survey, *, permutations: int = PERMUTATIONS, seed: int = 0
) -> pd.DataFrame:
    """Measures what the routes of the front's points tell of each feature of an example.

    A row a point, cheapest first, and feature: point, label (the settings), feature, information
    (bits, mean over the replicates), low and high (95 % of what shuffled routes give), p, n
    (replicates). Points whose routes all go to one expert tell nothing: their information is 0 and
    p is 1.

    Raises:
        RunError: a table lacks rows.
    """
    import pandas as pd

    run_roster = roster(run)
    seen = outcomes(run, run_roster, survey.split)
    codes = features(run, seen)
    front = set(survey.front["point"].astype(str))
    rows: list[dict[str, Any]] = []
    first = 0
    for point in run_roster.points:
        lanes = range(first, first + len(point.keys))
        first += len(point.keys)
        if point.point not in front:
            continue
        for feature, code in codes.items():
            seen_bits, shuffled = [], []
            for lane in lanes:
                route = seen.routes[lane].astype(np.intp)
                seen_bits.append(mutual_information(route, code))
                shuffled.append(permuted(route, code, permutations=permutations, seed=seed))
            low, high, p = chance(float(np.mean(seen_bits)), np.mean(shuffled, axis=0))
            rows.append(
                {
                    "point": point.point,
                    "label": point.label,
                    "feature": feature,
                    "information": max(0.0, float(np.mean(seen_bits))),
                    "low": low,
                    "high": high,
                    "p": p,
                    "n": len(point.keys),
                }
            )
    if not rows:
        raise RunError(f"{run.name}: no point of the front has routes on {survey.split}")
    order = {str(point): place for place, point in enumerate(survey.front["point"])}
    table = pd.DataFrame(rows)
    return table.sort_values(
        "point", key=lambda names: names.map(order), kind="stable"
    ).reset_index(drop=True)


def _quarters(values: _Values) -> _Codes:
    """Codes values by quantile; equal values share one."""
    edges = np.unique(np.quantile(values, np.linspace(0, 1, _BINS + 1)[1:-1]))
    return np.searchsorted(edges, values, side="left").astype(np.intp)
