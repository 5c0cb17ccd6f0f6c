"""Ranks points at a rung and decides which go on, for any number of objectives; pure functions.

Successive halving (Jamieson and Talwalkar 2016, arXiv:1502.07943) in its asynchronous form (ASHA,
Li et al. 2020, arXiv:1810.05934), with points ranked by non-dominated sorting as in MO-ASHA
(Schmucker et al. 2021, arXiv:2106.12639): of n points at a rung the best ceil(n / eta) go on. One
objective needs no code of its own, because every front is one value then.

All losses are minimised: those of a maximised objective have the other sign. N stands for points
and M for objectives.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from sweeps.stopping.own_rules import rung_of

if TYPE_CHECKING:
    from sweeps.stopping.rule import Rule

_Values = NDArray[np.float64]
_Order = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Holds a point at a rung: means over its replicates."""

    name: str
    """Names the point, uniquely at the rung; of a joint pack it is the trial's key."""

    losses: tuple[float, ...]
    """Holds the losses to be minimised, (M,); NaN where a replicate failed."""

    violation: float = 0.0
    """Sums up by how much constraints are broken; 0 is feasible."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Holds what a rung decides about one of its points."""

    name: str
    goes_on: bool
    rank: int
    """Counts from 0, the best."""

    reason: str


def places(points: int, eta: int) -> int:
    """Gives the number of points at a rung that go on: a share of 1 / eta, rounded up.

    Rounding up decides about an arrival as Ray's ASHA does wherever that does not interpolate
    between two earlier results (`tests/sweeps/stopping/test_ranks.py`).
    """
    return math.ceil(points / eta)


def cut(entries: Sequence[Entry], rule: Rule, *, seed: int, epoch: int) -> tuple[Verdict, ...]:
    """Decides at a synchronous rung, which all points of a bracket reach together: the best go on.

    A stopping rule of one's own decides itself which ones those are. The verdicts are in the order
    of the entries, but do not depend on it.

    Raises:
        SweepError: a rule of one's own fails.
    """
    ranks = _ranks_of(entries, rule, seed=seed)
    if rule.own_rule is not None:
        return _chosen(entries, ranks, rule, seed=seed, epoch=epoch)
    limit = places(len(entries), rule.eta)
    return tuple(
        _verdict(entry, int(rank), limit, entries, epoch)
        for entry, rank in zip(entries, ranks, strict=True)
    )


def arrival(
    entry: Entry, earlier: Sequence[Entry], rule: Rule, *, seed: int, epoch: int
) -> Verdict:
    """Decides at an asynchronous rung: an arrival goes on if it is among the best so far.

    The first arrival always goes on, unless a rule of one's own says otherwise. A repeated arrival
    is judged against the others alone, so a report that is received twice changes no verdict.
    """
    arrived = [*(past_entry for past_entry in earlier if past_entry.name != entry.name), entry]
    return cut(arrived, rule, seed=seed, epoch=epoch)[-1]


def promotable(
    entries: Sequence[Entry], waiting: Collection[str], rule: Rule, *, seed: int, epoch: int
) -> Verdict | None:
    """Gives the best point that waits at a rung, if it is among the best of all arrivals.

    This is the promoting variant of asynchronous halving (Li et al. 2020, arXiv:1810.05934,
    algorithm 2).
    """
    best = [
        verdict
        for verdict in cut(entries, rule, seed=seed, epoch=epoch)
        if verdict.goes_on and verdict.name in waiting
    ]
    return min(best, key=lambda verdict: verdict.rank, default=None)


def _verdict(entry: Entry, rank: int, limit: int, entries: Sequence[Entry], epoch: int) -> Verdict:
    """Gives the verdict about an entry of this rank, with its reason."""
    goes_on = rank < limit and _is_finite(entry)
    words = f"rank {rank + 1} of {len(entries)} after epoch {epoch}, the best {limit} go on"
    return Verdict(name=entry.name, goes_on=goes_on, rank=rank, reason=_reason(entry, words))


def _chosen(
    entries: Sequence[Entry], ranks: _Order, rule: Rule, *, seed: int, epoch: int
) -> tuple[Verdict, ...]:
    """Gives the verdicts of a rule of one's own, which sees the points that have finite values."""
    finite = sorted(
        (place for place, entry in enumerate(entries) if _is_finite(entry)),
        key=lambda place: (_lot(entries[place].name, seed=seed), entries[place].name),
    )
    goes_on = np.zeros(len(entries), np.bool_)
    if finite and rule.own_rule is not None:
        losses = np.array([entries[place].losses for place in finite], np.float64)
        violations = np.array([entries[place].violation for place in finite], np.float64)
        far = np.where(np.isnan(violations), np.inf, violations.clip(0))
        goes_on[finite] = rule.own_rule.going_on(rung_of(losses, far, epoch, rule.eta))
    words = f"{rule.method} lets {goes_on.sum()} of {len(entries)} go on after epoch {epoch}"
    return tuple(
        Verdict(
            name=entry.name,
            goes_on=bool(goes_on[place]),
            rank=int(ranks[place]),
            reason=_reason(entry, words),
        )
        for place, entry in enumerate(entries)
    )


def _is_finite(entry: Entry) -> bool:
    """Tells whether an entry has all its values."""
    return all(map(math.isfinite, entry.losses))


def _reason(entry: Entry, words: str) -> str:
    """Gives the reason of a verdict: these words, and what the entry lacks or breaks."""
    if not _is_finite(entry):
        return "a replicate has no finite value"
    broken = f"; breaks a constraint by {entry.violation:.3g}" if entry.violation > 0 else ""
    return f"{words}{broken}"


def bracket_of(name: str, rule: Rule, *, seed: int) -> int:
    """Draws the bracket of a point by its name: number s with weight eta^-s.

    A bracket with a later first rung holds its points longer, so it gets fewer of them.
    """
    weights = np.power(float(rule.eta), -np.arange(rule.brackets))
    drawn = _lot(name, seed=seed) * weights.sum()
    return int(np.searchsorted(np.cumsum(weights), drawn, side="right").clip(0, rule.brackets - 1))


def _lot(name: str, *, seed: int) -> float:
    """Draws a number in [0, 1) for a name, which is the same in every run."""
    raw = hashlib.sha256(f"{seed}:{name}".encode()).digest()[:8]
    return int.from_bytes(raw, "big") / 2**64


def _ranks_of(entries: Sequence[Entry], rule: Rule, *, seed: int) -> _Order:
    """Gives the rank of each entry from 0, the best, (N,); a permutation.

    Raises:
        ValueError: entries differ in their number of objectives, or two have one name.
    """
    if not entries:
        return np.empty(0, np.int64)
    widths = {len(entry.losses) for entry in entries}
    if len(widths) != 1:
        raise ValueError(f"entries have {sorted(widths)} objectives; all must have as many")
    if len({entry.name for entry in entries}) < len(entries):
        raise ValueError("two entries of a rung have one name")
    return _ranks(
        np.array([entry.losses for entry in entries], np.float64),
        np.array([entry.violation for entry in entries], np.float64),
        np.array([_lot(entry.name, seed=seed) for entry in entries]),
        ties=rule.ties,
    )


def _ranks(losses: _Values, violations: _Values, lots: _Values, *, ties: str) -> _Order:
    """Gives ranks from 0, the best, (N,): a permutation that does not depend on the input's order.

    Feasible points come first, front by front (non-dominated sorting), within a front by `ties`.
    Points that break constraints follow by the amount (Deb 2000), then points without a finite
    value. The lots decide between points that are equal in everything else.

    Args:
        losses: (N, M), minimised.
        violations: (N,), 0 is feasible; NaN counts as infinite.
        lots: (N,) different numbers.
        ties: `crowding` or `epsilon_net`.
    """
    order = np.lexsort((lots, *_keys(losses, violations, lots, ties)))
    places_by_point = np.empty(len(order), np.int64)
    places_by_point[order] = np.arange(len(order))
    return places_by_point


def _keys(losses: _Values, violations: _Values, lots: _Values, ties: str) -> tuple[_Values, ...]:
    """Gives the sort keys, the last one first: class, violation, front, place within the front."""
    import moocore

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
            in_front = members[fronts[members] == front]
            within[in_front] = _WITHIN[ties](losses[in_front], lots[in_front])
    return within, fronts, np.where(feasible, 0.0, far), kind


def crowding(losses: _Values, lots: _Values) -> _Values:
    """Gives places of a front's points from 0 by NSGA-II's crowding distance, largest first, (N,).

    The distance is the sum over objectives of the distance between both neighbours, with objectives
    scaled to the front's range (Deb et al. 2002); it is infinite at the ends. Points that are equal
    in all objectives count once: neighbours have other values, so duplicates share a distance.
    """
    different, point_of = np.unique(losses, axis=0, return_inverse=True)
    scaled = _normalised(different)
    distances = np.zeros(len(different))
    for column in scaled.T:
        order = np.argsort(column, kind="stable")
        distances[order[[0, -1]]] = np.inf
        distances[order[1:-1]] += column[order[2:]] - column[order[:-2]]
    return _places_by(-distances[point_of.ravel()], lots)


def epsilon_net(losses: _Values, lots: _Values) -> _Values:
    """Gives places of a front's points from 0, (N,): next is the point farthest from those taken.

    It begins with the least first objective; objectives are scaled to the front's range (Salinas et
    al. 2021, arXiv:2106.12639, section 3.2). The lots settle equal distances.
    """
    scaled = _normalised(losses)
    places_by_point = np.empty(len(losses))
    taken = int(np.lexsort((lots, *scaled.T[::-1]))[0])
    nearest = np.full(len(losses), np.inf)
    for place in range(len(losses)):
        places_by_point[taken] = place
        nearest = np.minimum(nearest, np.linalg.norm(scaled - scaled[taken], axis=1))
        nearest[taken] = -1.0
        taken = int(np.lexsort((lots, -nearest))[0])
    return places_by_point


def _normalised(losses: _Values) -> _Values:
    """Scales each objective to 0..1 over the points, (N, M); one that never varies becomes 0."""
    low = losses.min(axis=0)
    span = losses.max(axis=0) - low
    return np.asarray((losses - low) / np.where(span > 0, span, 1.0), np.float64)


def _places_by(keys: _Values, lots: _Values) -> _Values:
    """Gives places from 0 by rising keys, (N,); the lots decide between equal ones."""
    order = np.lexsort((lots, keys))
    places_by_point = np.empty(len(order))
    places_by_point[order] = np.arange(len(order))
    return places_by_point


_WITHIN: Final = {"crowding": crowding, "epsilon_net": epsilon_net}
