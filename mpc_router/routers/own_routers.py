"""Checks a kind of routers of one's own as this program uses it."""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor

from mpc_router.config.kind_traits import KindTraits
from mpc_router.messages import quoted
from mpc_router.routers.fitted_router import FitRows, FittedRouter, RouterSettings, RouterSizes
from mpc_router.routes import single_paths

_ROWS: Final = 60
_FEATURES: Final = 6
_HIDDEN: Final = 1e3
"""It stands for the outputs of experts that have not run."""


def check_router_kind(kind: Any, *, experts: int = 3, classes: int = 2) -> None:
    """Checks that a kind of routers can stand in a study.

    It is fitted to made-up rows of so many experts and classes; 0 classes are a regression.

    Raises:
        AssertionError: it cannot; one sentence says what is wrong.
    """
    is_kind = isinstance(kind, type) and issubclass(kind, FittedRouter)
    assert is_kind, f"it is {quoted(kind)}, and must be a class of FittedRouter"
    traits = getattr(kind, "traits", None)
    assert isinstance(traits, KindTraits), "it has no traits; set the class's `traits` = KindTraits"
    paths = single_paths(experts) if traits.paths is None else traits.paths(experts)
    sizes = RouterSizes(
        features=_FEATURES, outputs=classes or 1, regression=not classes, paths=paths
    )
    router, rows = _fitted(kind, sizes, experts)
    numbers = _numbers(router, rows.features, rows.outputs)
    width = router.decisions.width
    assert numbers.shape == (_ROWS, width), (
        f"it gives numbers of shape {tuple(numbers.shape)} for {_ROWS} examples, and must give "
        f"{(_ROWS, width)}: one for each open path of each state"
    )
    assert bool(numbers.isfinite().all()), "it gives numbers that are NaN or infinite"
    again, _ = _fitted(kind, sizes, experts)
    assert torch.equal(_numbers(again, rows.features, rows.outputs), numbers), (
        "it gives other numbers when it is fitted again; draw from `seed` alone"
    )
    blank = kind("own", RouterSettings(), sizes)
    blank.load_state_dict(router.state_dict())
    assert torch.equal(_numbers(blank, rows.features, rows.outputs), numbers), (
        "its state_dict does not hold what `fit` found; keep it in parameters or buffers"
    )
    part = _numbers(router, rows.features[:7], rows.outputs[:7])
    assert torch.allclose(part, numbers[:7], atol=1e-5), (
        "its numbers of an example depend on the other examples of the batch"
    )
    _check_unseen(router, rows, numbers)
    router.offset.copy_(torch.arange(width) / 8)
    moved = _numbers(router, rows.features, rows.outputs)
    assert torch.allclose(moved - numbers, router.offset, atol=1e-4), (
        "it does not add `offset` to its numbers last"
    )


def _check_unseen(router: FittedRouter, rows: FitRows, numbers: Tensor) -> None:
    """Checks that the numbers of a state depend on no expert that has not run there.

    Raises:
        AssertionError: they do.
    """
    if not router.traits.sees_outputs:
        return
    decisions = router.decisions
    for state, columns in zip(decisions.states, decisions.columns, strict=True):
        hidden = torch.full_like(rows.outputs, _HIDDEN)
        seen = list(router.spoken(state))
        hidden[:, seen] = rows.outputs[:, seen]
        assert torch.equal(
            _numbers(router, rows.features, hidden)[:, columns], numbers[:, columns]
        ), f"its numbers after experts {seen} depend on experts that have not run by then"


def _fitted(
    kind: type[FittedRouter], sizes: RouterSizes, experts: int
) -> tuple[FittedRouter, FitRows]:
    """Makes a router and made-up rows, and fits the router to the rows."""
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(_ROWS, experts, sizes.outputs, generator=generator)
    right = (torch.rand(_ROWS, len(sizes.paths), generator=generator) < 0.7).double()
    rows = FitRows(
        features=torch.randn(_ROWS, _FEATURES, generator=generator),
        outputs=outputs,
        right=right,
        losses=1.5 - right,
    )
    router = kind("own", RouterSettings(), sizes)
    router.fit(rows, seed=5)
    return router.eval(), rows


@torch.no_grad()
def _numbers(router: FittedRouter, features: Tensor, outputs: Tensor) -> Tensor:
    """Gives the router's numbers, of what its traits say that it sees."""
    numbers: Tensor = router(
        features if router.takes_features else None,
        outputs if router.traits.sees_outputs else None,
    )
    return numbers.clone()
