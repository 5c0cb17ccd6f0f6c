"""Defines the rule by which points are proposed, and batches of points with their results."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final

from mpc_router.messages import quoted
from mpc_router.plugins import PartError
from mpc_router.settings.allowed import OneOf, Whole, check_allowed
from mpc_router.settings.rules import unknown
from sweeps.search.samplers import SAMPLERS, sampler_of

_METHODS: Final = ("grid", *SAMPLERS)

_BATCH: Final = 16
"""Counts the points of a batch where no bracket sets their number."""

_FIDELITIES: Final = ("complete", "left_out", "infeasible")

UNREACHED: Final = "unreached"
"""Names the constraint of a stopped point under `infeasible`: its share of epochs not reached."""

_ENDED: Final = ("complete", "stopped", "failed", "open")
"""Names the states of a point: all epochs; stopped early; a replicate FAILED; not ended yet."""


class SearchError(ValueError):
    """Says in one sentence why a search is not valid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchRule:
    """Says how points are proposed."""

    method: Annotated[str, OneOf(_METHODS, "a sampler of one's own")] = "grid"
    """Names how points are proposed: all of a grid, or by a sampler."""

    points: Annotated[int, Whole(0)] = 0
    """Counts the points of the whole search, start points included."""

    batch: Annotated[int, Whole(1)] = 1
    """Counts the points that are asked at once."""

    parallel: Annotated[int, Whole(1)] = 1
    """Counts the batches that may be open at once.

    Batch b is asked when the results of all batches up to b - parallel are known. Methods that do
    not learn have as many open as there are workers for.
    """

    fidelity: Annotated[str, OneOf(_FIDELITIES)] = "infeasible"
    """Says what the sampler is told about a point that was stopped early.

    It is told the last values as if they were `complete`, nothing (`left_out`), or that the point
    is `infeasible` by the share of epochs not reached.
    """

    def __post_init__(self) -> None:
        _check_method(self.method)
        check_allowed(self, "search.", error=SearchError)
        if self.method != "grid" and self.points == 0:
            raise SearchError(
                f"search.method {quoted(self.method)} needs search.points, how many to try in all"
            )

    @property
    def learns(self) -> bool:
        """Tells whether points depend on results; if not, a batch waits for no other."""
        sampler = sampler_of(self.method)
        return sampler is not None and sampler.learns

    def size_of(self, batch: int) -> int:
        """Gives how many points batch number `batch` has; 0 when there are no more."""
        return max(0, min(self.batch, self.points - batch * self.batch))


def _check_method(method: object) -> None:
    """Refuses a method that is neither of the table nor a sampler of one's own.

    Raises:
        SearchError: there is no such method, or its sampler cannot be had.
    """
    try:
        known = isinstance(method, str) and (method == "grid" or sampler_of(method) is not None)
    except PartError as error:
        raise SearchError(f"search.method: {error}") from error
    if not known:
        raise SearchError(
            f"search.method is {quoted(method)}, allowed are {', '.join(_METHODS)}, the name of an "
            "installed sampler, or module:name such as optuna.samplers:CmaEsSampler"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """Holds a point that was asked."""

    settings: Mapping[str, Any]
    """Holds a value for every axis of the space by leaf name."""

    attributes: Mapping[str, Any] = field(default_factory=dict)
    """Holds the sampler's notes about the point: Optuna's system attributes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """Holds a point's result: means over its replicates."""

    ended: str
    """Names the point's state, one of `_ENDED`."""

    values: tuple[float, ...] = ()
    """Holds the objectives' values, (M,), in their order and directions; empty without any."""

    violations: Mapping[str, float] = field(default_factory=dict)
    """Gives the distance to the bound by constraint; at 0 or below the constraint is kept."""

    reached: float = 1.0
    """Gives the share of a trial's epochs that was trained."""


OPEN: Final = Result(ended="open")
"""Stands for the result of a point that has none yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Holds points that were asked together, and their results as far as the search knows them."""

    proposals: tuple[Proposal, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    """Holds the search's system attributes of Optuna after asking."""

    results: tuple[Result, ...] = ()
    """Holds a result for each proposal once all are known; empty before."""


def _heeds_no_constraints(method: object) -> bool:
    """Tells whether a method is a sampler of one's own that learns and heeds no constraints."""
    _check_method(method)
    sampler = sampler_of(str(method))
    return (
        sampler is not None
        and sampler.part is not None
        and sampler.learns
        and not sampler.heeds_constraints
    )


def search_of(tree: Mapping[str, Any], *, bracket: int | None = None) -> tuple[SearchRule, int]:
    """Reads from plain data how points are proposed, and the seed of the search.

    Without a batch size in `tree`, a batch is as large as a bracket of the study (None where it has
    none), so that one batch is ranked while the next is asked.

    Raises:
        SearchError: a key is unknown, or a value out of its range.
    """
    method = tree.get("method", "grid")
    keys = [*(part.name for part in dataclasses.fields(SearchRule)), "seed"]
    for name in tree:
        if name not in keys:
            raise SearchError(unknown("key of search", name, keys))
        if method == "grid" and name not in ("method", "seed"):
            raise SearchError(
                f"search.method 'grid' tries every point of its space once and has no setting "
                f"{quoted(name)}; leave it out, or set search.method to tpe, nsga2, ..."
            )
    settings = {name: value for name, value in tree.items() if name != "seed"}
    if method != "grid":
        settings.setdefault("batch", bracket or _BATCH)
        if _heeds_no_constraints(method):  # it could not be told that a point is infeasible
            settings.setdefault("fidelity", "left_out")
    seed = tree.get("seed", 0)
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**31:
        raise SearchError(
            f"search.seed is {quoted(seed)}, but must be an integer from 0 to 2^31 - 1"
        )
    return SearchRule(**settings), seed
