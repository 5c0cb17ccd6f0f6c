"""Rungs and decisions: who goes on at a rung, for any number of objectives. Pure functions.

Successive halving (Jamieson and Talwalkar 2016, arXiv:1502.07943) in its asynchronous form (ASHA,
Li et al. 2020, arXiv:1810.05934), with points ranked by non-dominated sorting as in MO-ASHA
(Schmucker et al. 2021, arXiv:2106.12639): of n points at a rung the best ceil(n / eta) go on. One
objective is the same code, for there every front is one value.

Everything here is minimised: `losses` turn their sign where an objective is maximised. Letters:
N points, M objectives.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import moocore
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from sweeps.stopping.rule import Rule

Values = NDArray[np.float64]
_Order = NDArray[np.int64]
_Ties = Literal["crowding", "epsilon_net"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Holds a point at a rung: means over its replicates."""

    name: str
    """Of the point, unique at the rung; for joint packs the trial's key."""

    losses: tuple[float, ...]
    """(M,) to be minimised; NaN where a replicate failed."""

    violation: float = 0.0
    """How far constraints are broken; 0 is feasible."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Holds what a rung decides about one of its points."""

    name: str
    goes_on: bool
    rank: int
    """From 0, the best."""

    reason: str


def places(points: int, eta: int) -> int:
    """Gives how many of `points` at a rung go on: a share of 1 / eta, rounded up.

    Rounded up, an arrival is judged as by Ray's ASHA wherever that does not interpolate between two
    earlier results (`tests/sweeps/stopping/test_ranks.py`).
    """
    return math.ceil(points / eta)


def cut(entries: Sequence[Entry], rule: Rule, *, seed: int, epoch: int) -> tuple[Verdict, ...]:
    """The synchronous rung: all of a bracket are there, and the best of them go on.

    The verdicts come in the order of the entries and do not depend on it.
    """
    ranks = _ranks_of(entries, rule, seed=seed)
    limit = places(len(entries), rule.eta)
    return tuple(
        _verdict(entry, int(rank), limit, entries, epoch)
        for entry, rank in zip(entries, ranks, strict=True)
    )


def arrival(
    entry: Entry, earlier: Sequence[Entry], rule: Rule, *, seed: int, epoch: int
) -> Verdict:
    """The asynchronous rung: an arrival goes on if it is among the best of those there so far.

    The first at a rung always goes on. One that has arrived before is judged against the others
    alone, so a report that is heard twice changes nothing.
    """
    there = [*(each for each in earlier if each.name != entry.name), entry]
    rank = int(_ranks_of(there, rule, seed=seed)[-1])
    return _verdict(entry, rank, places(len(there), rule.eta), there, epoch)


def promotable(
    entries: Sequence[Entry], waiting: Collection[str], rule: Rule, *, seed: int, epoch: int
) -> Verdict | None:
    """Of those that wait at a rung the best one, if it is among the best of all that came there.

    The promoting variant of asynchronous halving (Li et al. 2020, arXiv:1810.05934, algorithm 2).
    """
    best = [
        verdict
        for verdict in cut(entries, rule, seed=seed, epoch=epoch)
        if verdict.goes_on and verdict.name in waiting
    ]
    return min(best, key=lambda verdict: verdict.rank, default=None)


def _verdict(entry: Entry, rank: int, limit: int, there: Sequence[Entry], epoch: int) -> Verdict:
    failed = not all(map(math.isfinite, entry.losses))
    goes_on = rank < limit and not failed
    if failed:
        why = "a replicate has no finite value"
    else:
        why = f"rank {rank + 1} of {len(there)} after epoch {epoch}, the best {limit} go on"
        if entry.violation > 0:
            why += f"; breaks a constraint by {entry.violation:.3g}"
    return Verdict(name=entry.name, goes_on=goes_on, rank=rank, reason=why)


def bracket_of(name: str, rule: Rule, *, seed: int) -> int:
    """The bracket of a point: drawn by its name, number s with weight eta^-s.

    A bracket with a later first rung holds its points longer, so it gets fewer of them.
    """
    weights = np.power(float(rule.eta), -np.arange(rule.brackets))
    drawn = _lot(name, seed=seed) * weights.sum()
    return int(np.searchsorted(np.cumsum(weights), drawn, side="right").clip(0, rule.brackets - 1))


def _lot(name: str, *, seed: int) -> float:
    """A number in [0, 1) that a name draws: the same in every run, whatever came before."""
    raw = hashlib.sha256(f"{seed}:{name}".encode()).digest()[:8]
    return int.from_bytes(raw, "big") / 2**64


def _ranks_of(entries: Sequence[Entry], rule: Rule, *, seed: int) -> _Order:
    """(N,) each entry's rank from 0, the best; a permutation."""
    if not entries:
        return np.empty(0, np.int64)
    widths = {len(entry.losses) for entry in entries}
    if len(widths) != 1:
        raise ValueError(f"entries have {sorted(widths)} objectives; all must have as many")
    if len({entry.name for entry in entries}) < len(entries):
        raise ValueError("two entries of a rung have one name")
    return ranks(
        np.array([entry.losses for entry in entries], np.float64),
        np.array([entry.violation for entry in entries], np.float64),
        np.array([_lot(entry.name, seed=seed) for entry in entries]),
        ties=rule.ties,
    )


def ranks(losses: Values, violations: Values, lots: Values, *, ties: str) -> _Order:
    """(N,) ranks from 0, the best: a permutation that does not depend on the order of the input.

    Feasible points come first, front by front (non-dominated sorting), within a front by `ties`.
    Points that break constraints follow by how far they do (Deb 2000), then points without a finite
    value. `lots` (N,), different numbers, settle what is equal in everything.

    Args:
        losses: (N, M), minimised.
        violations: (N,), 0 is feasible; NaN counts as infinitely far.
        lots: (N,)
        ties: `crowding` or `epsilon_net`.
    """
    order = np.lexsort((lots, *_keys(losses, violations, lots, ties)))
    found = np.empty(len(order), np.int64)
    found[order] = np.arange(len(order))
    return found


def _keys(losses: Values, violations: Values, lots: Values, ties: str) -> tuple[Values, ...]:
    """Sorting keys, the last one first: class, violation, front, place within the front."""
    count = len(losses)
    far = np.where(np.isnan(violations), np.inf, violations)
    finite = np.isfinite(losses).all(axis=1)
    feasible = finite & (far <= 0)
    kind = np.where(feasible, 0, np.where(finite, 1, 2)).astype(np.float64)
    fronts, within = np.zeros(count), np.zeros(count)
    for members in (np.flatnonzero(feasible), np.flatnonzero(finite & ~feasible)):
        if not len(members):
            continue
        fronts[members] = moocore.pareto_rank(losses[members])
        for front in np.unique(fronts[members]):
            mine = members[fronts[members] == front]
            within[mine] = _WITHIN[ties](losses[mine], lots[mine])
    return within, fronts, np.where(feasible, 0.0, far), kind


def crowding(losses: Values, lots: Values) -> Values:
    """(N,) places of a front's points from 0: the loneliest first (NSGA-II's crowding distance).

    Deb et al. 2002: the sum over objectives of the distance between both neighbours, objectives
    scaled to the front's range; ends are infinitely lonely. Points that are equal in all objectives
    count once: neighbours are looked for among different values, so duplicates share a distance.
    """
    different, which = np.unique(losses, axis=0, return_inverse=True)
    scaled = _normalised(different)
    lonely = np.zeros(len(different))
    for column in scaled.T:
        order = np.argsort(column, kind="stable")
        lonely[order[[0, -1]]] = np.inf
        lonely[order[1:-1]] += column[order[2:]] - column[order[:-2]]
    return _places_by(-lonely[which.ravel()], lots)


def epsilon_net(losses: Values, lots: Values) -> Values:
    """(N,) places of a front's points from 0: each time the one farthest from those taken.

    It begins with the least first objective; objectives are scaled to the front's range (Salinas et
    al. 2021, arXiv:2106.12639, section 3.2). The lots settle equal distances.
    """
    scaled = _normalised(losses)
    found = np.empty(len(losses))
    taken = int(np.lexsort((lots, *scaled.T[::-1]))[0])
    nearest = np.full(len(losses), np.inf)
    for place in range(len(losses)):
        found[taken] = place
        nearest = np.minimum(nearest, np.linalg.norm(scaled - scaled[taken], axis=1))
        nearest[taken] = -1.0
        taken = int(np.lexsort((lots, -nearest))[0])
    return found


def _normalised(losses: Values) -> Values:
    """(N, M) each objective scaled to 0..1 over the points; one that never varies is 0."""
    low = losses.min(axis=0)
    span = losses.max(axis=0) - low
    return np.asarray((losses - low) / np.where(span > 0, span, 1.0), np.float64)


def _places_by(keys: Values, lots: Values) -> Values:
    order = np.lexsort((lots, keys))
    found = np.empty(len(order))
    found[order] = np.arange(len(order))
    return found


_WITHIN: Final = {"crowding": crowding, "epsilon_net": epsilon_net}
