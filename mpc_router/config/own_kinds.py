"""Finds kinds of routers of one's own: classes of `routers.fitted_router.FittedRouter`."""

from __future__ import annotations

from typing import Any, Final

from mpc_router import plugins
from mpc_router.config.kind_traits import KindTraits
from mpc_router.messages import quoted
from mpc_router.plugins import Part, PartError
from mpc_router.settings.rules import ConfigError

_parts: Final[dict[str, Part]] = {}
"""Keeps what was loaded and checked, for every configuration asks for its kind."""


def part_of(name: str) -> Part | None:
    """Gives the kind of one's own of this name, as a part; None where there is none.

    Raises:
        PartError: it is not trusted, cannot be loaded, or is no kind of routers.
    """
    if name not in _parts:
        part = plugins.part(plugins.ROUTER_KINDS, name)
        if part is None:
            return None
        if not isinstance(getattr(part.thing, "traits", None), KindTraits):
            raise PartError(
                f"router kind {quoted(name)} cannot be used: it is "
                f"{quoted(type(part.thing).__name__)}, and must be a class of "
                "mpc_router.routers.fitted_router.FittedRouter whose `traits` are KindTraits"
            )
        _parts[name] = part
    return _parts[name]


def own_kind(name: str) -> Any:
    """Gives the class of a kind of one's own; None where there is none.

    Raises:
        PartError: it is not trusted, cannot be loaded, or is no kind of routers.
    """
    part = part_of(name)
    return None if part is None else part.thing


def own_traits(name: str) -> KindTraits | None:
    """Gives the traits of a kind of one's own; None where there is none.

    Raises:
        ConfigError: it cannot be had.
    """
    try:
        kind = own_kind(name)
    except PartError as error:
        raise ConfigError(f"router_kind: {error}") from error
    return None if kind is None else kind.traits
