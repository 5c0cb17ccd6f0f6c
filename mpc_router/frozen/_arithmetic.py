"""Decides how a stack's gated routers are trained: by compiled loops, or through autograd."""

from __future__ import annotations

import functools

from mpc_router.frozen._stacked_routers import StackedRouters


def routers_class(device: str) -> type[StackedRouters]:
    """Gives the class whose routers train the same numbers, up to rounding, fastest on a device."""
    if why_autograd(device):
        return StackedRouters
    from mpc_router.frozen._compiled_routers import CompiledRouters

    return CompiledRouters


@functools.cache
def why_autograd(device: str) -> str:
    """Says why stacks are trained through autograd on a device; empty where loops train them.

    Every gated router is trained by either, so the settings of a trial decide nothing.
    """
    if device != "cpu":
        return f"compiled loops run on a processor, and the device is {device}"
    try:
        import numba
    except ImportError as error:  # it is not there, or not for this numpy
        return f"numba cannot be imported: {error}"
    if numba.config.DISABLE_JIT:
        return "NUMBA_DISABLE_JIT is set"
    return ""
