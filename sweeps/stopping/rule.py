"""Defines the rule by which a study stops points early."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

from mpc_router.config.trial import ConfigError
from mpc_router.messages import quoted
from mpc_router.plugins import PartError
from mpc_router.settings.allowed import Flag, OneOf, Whole, check_allowed
from mpc_router.settings.rules import unknown
from sweeps.stopping.own_rules import OwnRule, check_stopping_rule, rule_of

_METHODS: Final = ("none", "asha", "mo_asha")
"""Names the methods that ship; others are rules of one's own."""

_VARIANTS: Final = ("stop", "promote")

_TIES: Final = ("crowding", "epsilon_net")


class StoppingError(ValueError):
    """Says in one sentence why a rule of stopping is not valid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Says how a study stops its points early."""

    method: Annotated[str, OneOf(_METHODS, "a rule of one's own")] = "none"
    """Is `asha` for one objective, `mo_asha` for any number, `none` to stop no point.

    Any other is the name of a rule of one's own, which decides itself who goes on.
    """

    eta: Annotated[int, Whole(2)] = 3
    """Divides the points at a rung: the best of every `eta` goes on."""

    grace: Annotated[int, Whole(1)] = 1
    """Gives the epochs before the first rung; no point is stopped earlier."""

    bracket: Annotated[int, Whole(2)] = 27
    """Counts the points of a pack that are ranked against each other (frozen experts)."""

    brackets: Annotated[int, Whole(1)] = 1
    """Counts the brackets between packs (joint training): number s begins at grace x eta^s."""

    variant: Annotated[str, OneOf(_VARIANTS)] = "stop"
    """Says what happens to a joint trial that is not among the best as it arrives at a rung.

    It is stopped for good (`stop`), or waits and goes on once enough worse ones have arrived
    (`promote`).
    """

    ties: Annotated[str, OneOf(_TIES)] = "crowding"
    """Orders the points of a front: by `crowding` distance, or by `epsilon_net`."""

    finish: Annotated[bool, Flag()] = True
    """Tells whether stopped points on the front of all reports train to the end (frozen experts).

    A rung keeps a fixed share of its points, and the front may hold more.
    """

    def __post_init__(self) -> None:
        _check_method(self.method)
        check_allowed(self, "stopping.", error=StoppingError)

    @property
    def own_rule(self) -> OwnRule | None:
        """Gives the rule of one's own that decides; None for the methods that ship."""
        return None if self.method in _METHODS else rule_of(self.method)

    def rehearse(self, *, objectives: int) -> None:
        """Tries a rule of one's own on made-up rungs; does nothing for the methods that ship.

        Raises:
            StoppingError: it fails there.
        """
        if self.own_rule is None:
            return
        try:
            check_stopping_rule(self.own_rule.part.thing, objectives=objectives)
        except (Exception, SystemExit) as error:
            # Whatever is raised: trying a rule runs the part's own code
            kind = "" if type(error) is AssertionError else f"{type(error).__name__}: "
            raise StoppingError(
                f"stopping.method: rule {quoted(self.method)} failed as it was tried on made-up "
                f"values of {objectives} objectives: {kind}{error}"
            ) from error

    def rungs(self, epochs: int, bracket: int = 0) -> tuple[int, ...]:
        """Gives the epochs after which points are stopped: grace x eta^k below `epochs`, rising.

        `bracket` leaves out as many of the first. A trial's last epoch is no rung, because no
        epochs would be saved.

        Raises:
            StoppingError: no rung lies before a trial's last epoch.
        """
        if self.method == "none":
            return ()
        if epochs == 1:
            raise StoppingError(
                f"stopping.method is {quoted(self.method)}, but a trial has 1 epoch and cannot be "
                "stopped before its end; give more epochs, or set stopping.method=none"
            )
        if self.grace >= epochs:
            raise StoppingError(
                f"stopping.grace is {self.grace}, but a trial has {epochs} epochs; "
                f"set it to {epochs - 1} or less, or give more epochs"
            )
        rungs = []
        epoch = self.grace * self.eta**bracket
        while epoch < epochs:
            rungs.append(epoch)
            epoch *= self.eta
        return tuple(rungs)


def _check_method(method: object) -> None:
    """Refuses a method that neither ships nor is a rule of one's own.

    Raises:
        StoppingError: there is no such method, or its rule cannot be had.
    """
    try:
        known = isinstance(method, str) and (method in _METHODS or rule_of(method) is not None)
    except PartError as error:
        raise StoppingError(f"stopping.method: {error}") from error
    if not known:
        raise StoppingError(
            f"stopping.method is {quoted(method)}, allowed are {', '.join(_METHODS)}, the name of "
            "an installed stopping rule, or module:name"
        )


def stopping_of(tree: Mapping[str, Any]) -> Rule:
    """Reads from plain data how points are stopped early.

    Raises:
        ConfigError: a key is unknown, or has no effect.
        StoppingError: a value is not allowed.
    """
    names = [setting.name for setting in dataclasses.fields(Rule)]
    for name in tree:
        if name not in names:
            raise ConfigError(unknown("key of stopping", name, names))
        if tree.get("method", "none") == "none" and name != "method":
            raise ConfigError(
                f"stopping.method 'none' stops nothing and has no setting {quoted(name)}; leave it "
                "out, or set stopping.method=mo_asha"
            )
    return Rule(**tree)
