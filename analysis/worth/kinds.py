"""Says which kind of routers is best at which cost, and by how much, with intervals.

A kind is what a router is, what it learns from and what its answers are made of. At each stated
cost the best point and bias of every kind is chosen on selection, by the mean of its seeds, and
quoted on another split: its score, its lead over a coin of the same cost, and its lead over the
best gated router there. Intervals are over examples and seeds, the same draws for all.

Where a run searches `expert_seed`, a kind is chosen with each seed of experts, and the mean over
these seeds is quoted: else the luckiest experts would be chosen with the router.

Letters: B weightings, C cells, S seeds of experts.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from analysis.choices.operating_points import Curves, bias_curves
from analysis.runs.load import Run, RunError
from analysis.stats.choice import best_within
from analysis.stats.resampling import interval
from analysis.worth._quotes import EXPERT_SEEDS, Quote, Quotes
from analysis.worth.worth import stated_costs
from mpc_router.run_names import TRAIN
from mpc_router.tasks import merit

if TYPE_CHECKING:
    import pandas as pd

_Values = NDArray[np.float64]

GATED: Final = "gated"
_LAST: Final = "last"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """Names what a router is: all three are settings of its trial."""

    router_kind: str
    combine: str
    router_data: str

    @property
    def words(self) -> str:
        """Gives the kind in words: what is usual is not said."""
        parts = [self.router_kind]
        parts += [f"combine={self.combine}"] if self.combine != _LAST else []
        parts += [f"on {self.router_data}"] if self.router_data != TRAIN else []
        return ", ".join(parts)

    @property
    def columns(self) -> dict[str, str]:
        """Gives the columns that name a kind in a table."""
        return {"kind": self.words, **asdict(self)}


def _kind_of(config: Mapping[str, Any]) -> Kind:
    """Gives the kind of a trial's configuration, whose settings lie in sections."""
    model, data = config.get("model", {}), config.get("data", {})
    return Kind(
        router_kind=str(model.get("router_kind", GATED)),
        combine=str(model.get("combine", _LAST)),
        router_data=str(data.get("router_data", TRAIN)),
    )


def kinds_of(run: Run) -> tuple[Kind, ...]:
    """Gives the different kinds in a run, each once, by first appearance."""
    configs = run.trials["config"].astype(str)
    return tuple(dict.fromkeys(_kind_of(json.loads(config)) for config in configs))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cells:
    """Holds what a kind offers on selection with one seed of experts: a cell is a point and a bias.

    Cells that break a constraint of the study are left out.
    """

    places: tuple[tuple[int, int], ...]
    """(C,) the number of the point and that of the bias, in `Curves`."""

    merits: _Values
    """(C,)"""

    costs: _Values
    """(C,)"""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Compared:
    """Holds what kinds are compared by: curves, quotes, and what every kind offers.

    `cells` are those of each seed of experts (S,), without kinds that offer nothing with one of
    the run's seeds: a kind seen with the luckiest experts alone would be compared with means.
    """

    curves: Curves
    quotes: Quotes
    cells: dict[Kind, tuple[Cells, ...]]

    def quote(self, place: int, bias: int) -> Quote:
        """Quotes a point under a bias, both by their numbers in `curves`."""
        return self.quotes.quote(
            self.curves.points[place], float(self.curves.chosen[place].biases[bias])
        )

    def mean(self, cells: Sequence[tuple[int, int]]) -> Quote:
        """Quotes the mean of points under biases, one with each seed of experts."""
        return Quote.mean([self.quote(*cell) for cell in cells], EXPERT_SEEDS)

    def names(self, cells: Sequence[tuple[int, int]]) -> dict[str, Any]:
        """Gives the columns `point`, `bias` and `expert_seeds` of points under biases."""
        points = [self.curves.points[place].point for place, _ in cells]
        biases = [float(self.curves.chosen[place].biases[bias]) for place, bias in cells]
        return {
            "point": ", ".join(points),
            "bias": biases[0] if len(cells) == 1 else math.nan,
            "expert_seeds": len(cells),
        }


@lru_cache(maxsize=1)
def compared(run: Run, split: str, vector: str) -> Compared:
    """Reads what the run's kinds are compared by.

    Raises:
        RunError: the run has no routes, or a table lacks rows.
    """
    if not run.routed:
        raise RunError(f"{run.name}: no routing table, so kinds of routers cannot be compared")
    curves = bias_curves(run, split=split, vector=vector)
    trials = run.trials
    configs = dict(zip(trials["key"].astype(str), trials["config"].astype(str), strict=True))
    members: dict[Kind, dict[int, list[int]]] = {}
    for place, point in enumerate(curves.points):
        config = json.loads(configs[point.keys[0]])
        by_seed = members.setdefault(_kind_of(config), {})
        by_seed.setdefault(_expert_seed(run, config), []).append(place)
    offered = {
        kind: tuple(_cells(curves, by_seed[seed]) for seed in sorted(by_seed))
        for kind, by_seed in members.items()
    }
    count = len(set().union(*members.values()))
    cells = {
        kind: seeds
        for kind, seeds in offered.items()
        if len(seeds) == count and all(one.places for one in seeds)
    }
    return Compared(curves=curves, quotes=Quotes(run, split, vector), cells=cells)


def _expert_seed(run: Run, config: Mapping[str, Any]) -> int:
    """Gives the seed of a trial's experts, where the run has several."""
    return int(config["training"]["expert_seed"]) if "expert_seed" in run.settings else 0


def _cells(curves: Curves, points: Sequence[int]) -> Cells:
    places = tuple(
        (place, bias)
        for place in points
        for bias in range(len(curves.chosen[place].biases))
        if not curves.breaks[place][bias]
    )
    return Cells(
        places=places,
        merits=np.array([curves.chosen[place].merits[bias] for place, bias in places]),
        costs=np.array([curves.chosen[place].costs[bias] for place, bias in places]),
    )


def kinds(
    run: Run,
    *,
    costs: Sequence[float] | None = None,
    split: str | None = None,
    vector: str | None = None,
) -> pd.DataFrame:
    """Compares the run's kinds at stated costs; a row is a kind at a cost.

    Columns: `kind` in words, `router_kind`, `combine`, `router_data`, `cap` (the stated cost),
    `point`, `bias`, `expert_seeds`, `selection_score`, and with `_low` and `_high` (95 %): `score`,
    `cost`, `over_coin` and `over_gated` (how much better than the best gated router at that cost;
    NaN where there is none). `best` marks the kind that selection picks at a cost. Of several seeds
    of experts (`expert_seeds` of them) the row is the mean, `point` names the points of all, and
    `bias` is NaN.

    Raises:
        RunError: the run has no routes, or a table lacks rows.
    """
    import pandas as pd

    prices = run.cost_vector(vector)
    comparison = compared(run, run.split(split), prices.name)
    if costs is None:
        costs = stated_costs(min(prices.experts), max(prices.experts))
    return pd.DataFrame([row for cap in costs for row in _rows(run, comparison, cap)])


def _rows(run: Run, comparison: Compared, cap: float) -> list[dict[str, Any]]:
    """Gives the rows of a cost: the best of each kind that keeps to it on selection."""
    chosen: dict[Kind, list[tuple[int, int]]] = {}
    for kind, seeds in comparison.cells.items():
        bests = [best_within(cells.merits, cells.costs, cap=cap) for cells in seeds]
        cells = [
            offered.places[best]
            for offered, best in zip(seeds, bests, strict=True)
            if best is not None
        ]
        if len(cells) == len(seeds):
            chosen[kind] = cells
    if not chosen:
        return []
    curves = comparison.curves.chosen
    merits = {  # of equal ones the cheapest
        kind: (
            float(np.mean([curves[place].merits[bias] for place, bias in cells])),
            -float(np.mean([curves[place].costs[bias] for place, bias in cells])),
        )
        for kind, cells in chosen.items()
    }
    quotes = {kind: comparison.mean(cells) for kind, cells in chosen.items()}
    gated = [kind for kind in chosen if kind.router_kind == GATED]
    rival = np.full(1, np.nan)
    if gated:
        rival = merit(run.task, quotes[max(gated, key=merits.__getitem__)].score)
    winner = max(chosen, key=merits.__getitem__)
    rows: list[dict[str, Any]] = []
    for kind, cells in chosen.items():
        quote = quotes[kind]
        reached = merit(run.task, quote.score)
        selected = [curves[place].scores[bias] for place, bias in cells]
        rows.append(
            {
                **kind.columns,
                **comparison.names(cells),
                "cap": cap,
                "selection_score": float(np.mean(selected)),
                **spread("score", quote.score),
                **spread("cost", quote.cost),
                **spread("over_coin", reached - merit(run.task, quote.coin)),
                **spread("over_gated", reached - rival),
                "best": kind == winner,
            }
        )
    return rows


def spread(name: str, draws: _Values) -> dict[str, float]:
    """Gives the columns of an estimate of draws (B,): its value, and its interval's ends."""
    low, high = interval(draws)
    return {name: float(draws[0]), f"{name}_low": float(low), f"{name}_high": float(high)}
