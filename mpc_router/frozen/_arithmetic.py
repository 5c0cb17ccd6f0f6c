"""Decides how a stack's gated routers are trained: by compiled loops, or through autograd."""

from __future__ import annotations

import functools

from mpc_router.config.trial import TrialConfig
from mpc_router.frozen._stacked_routers import StackedRouters


def routers_class(config: TrialConfig, device: str) -> type[StackedRouters]:
    """Gives the class of a stack's routers: classes give the same numbers up to rounding."""
    if why_autograd(config, device):
        return StackedRouters
    from mpc_router.frozen._compiled_routers import CompiledRouters

    return CompiledRouters


def why_autograd(config: TrialConfig, device: str) -> str:
    """Says why a stack is trained through autograd; empty where compiled loops train it.

    It depends on what a stack's lanes have in common, so no lane depends on its company.
    """
    if device != "cpu":
        return f"compiled loops run on the processor, and the device is {device}"
    if config.training.router != "gated":
        return f"compiled loops train router=gated, and this one is {config.training.router}"
    if config.model.mixing != "logits" and not config.data.definition.regression:
        return f"compiled loops train mixing=logits, and this one is {config.model.mixing}"
    return why_not_compiled()


@functools.cache
def why_not_compiled() -> str:
    """Says why nothing is compiled in this process; empty where it can be."""
    try:
        import numba
    except ImportError as error:  # it is not there, or not for this numpy
        return f"numba cannot be imported ({error})"
    return "NUMBA_DISABLE_JIT is set" if numba.config.DISABLE_JIT else ""
