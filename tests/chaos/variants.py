"""The studies that are disturbed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_LITTLE: Final = ("pool=sample", "validation_rows=60")


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A study on the embedded sample, and what may be expected of it after kills."""

    name: str
    words: tuple[str, ...]
    short: tuple[str, ...]
    """What makes it the short form, for the test suite."""

    ordered: bool = True
    """Whether its tables depend on nobody's order of arrival."""

    searches: bool = False
    """Whether a sampler proposes its points and is told their results."""

    cluster: bool = False
    """Whether it runs on a cluster of several nodes, which lose raylets and their head."""

    def command(self, *, short: bool) -> tuple[str, ...]:
        """Study and overrides."""
        return (*self.words, *(self.short if short else ()))


_GRID: Final = (
    *("mrpc_grid", *_LITTLE, "train_rows=600", "router_hidden_size=64"),
    *("seeds=[0, 1, 2, 3, 4, 5]", "epochs=12", "pack.points=1"),
)
"""60 trials in ten packs."""

_SHORT_GRID: Final = ("seeds=[0, 1]", "epochs=4", "pack.points=2", "train_rows=96")

_BETWEEN: Final = (
    *("mrpc_grid", *_LITTLE, "train_rows=64", "router_hidden_size=8", "experts=joint"),
    *("expert_start=fine_tuned", "seeds=[0, 1, 2]", "epochs=3", "start=[]"),
    *("alpha={grid: [0.01, 0.03, 0.1, 0.3, 1]}", "beta={grid: [0.001, 0.01, 0.03, 0.1]}"),
    "stopping={method: mo_asha, eta: 3, grace: 1, brackets: 2}",
)
"""60 trials, each a pack of its own with its own experts."""

_SHORT_BETWEEN: Final = ("alpha={grid: [0.01, 0.1]}", "seeds=[0, 1]")

_ALL: Final = (
    Variant(name="grid", words=_GRID, short=_SHORT_GRID),
    Variant(
        name="rungs",
        words=(
            *("mrpc_pareto", *_LITTLE, "train_rows=300", "seeds=[0, 1]", "epochs=9"),
            *("router_hidden_size={choice: [8, 16]}", "search.points=36", "stopping.bracket=6"),
            "search.method=nsga2",
        ),
        short=("search.points=12", "epochs=4", "train_rows=96"),
        searches=True,
    ),
    Variant(name="between", words=_BETWEEN, short=_SHORT_BETWEEN, ordered=False),
    Variant(name="cluster", words=_BETWEEN, short=_SHORT_BETWEEN, ordered=False, cluster=True),
)

VARIANTS: Final[Mapping[str, Variant]] = {each.name: each for each in _ALL}
