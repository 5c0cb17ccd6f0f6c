"""Rules for settings: what a value may be, and what is said of one that may not.

A section of a configuration and a part of a study ask the same questions of their values.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Iterable
from typing import Final

from mpc_router.messages import quoted
from mpc_router.storage.paths import fault

_LARGEST: Final = 2**63
"""Whole numbers lie below it."""


class ConfigError(ValueError):
    """Says that a setting cannot be: what was found, what is allowed, what to do."""


class SpaceError(ValueError):
    """Says that a part of a study cannot be read, in one sentence."""


def one_of(
    name: str, value: object, allowed: Iterable[str], *, others: Collection[str] = ()
) -> None:
    """Refuses a value that is not among `allowed`, with the nearest one; `others` are in words."""
    names = sorted(allowed)
    if value not in names:
        raise ConfigError(not_among(name, value, names, others=others))


def not_among(
    name: str, value: object, allowed: Iterable[str], *, others: Collection[str] = ()
) -> str:
    """Says that a value is not among `allowed`, with the nearest one; `others` are in words."""
    names = list(allowed)
    close = difflib.get_close_matches(str(value)[:100], names, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    parts = str(value).split(",")
    if len(parts) > 1 and all(part.strip() in names for part in parts):
        hint = f"; to search several in a study, write '{name}={{grid: [{', '.join(parts)}]}}'"
    allowed_words = ", ".join((*names, *others))
    return f"{name} is {quoted(value)}, allowed are {allowed_words}{hint}"


def check_no_path_fault(name: str, model: str) -> None:
    """Refuses a model's name that no path and no name of the hub can be; empty takes the pool's."""
    why = fault(model) if model else None
    if why is not None:
        raise ConfigError(f"{name} is {quoted(model)}, which {why}; give org/name or a folder")


def at_least(name: str, value: float, least: float, *, open_end: bool = False) -> None:
    """Refuses a value that is not finite or under `least` (`open_end`: or equal to it)."""
    if not math.isfinite(value) or value < least or (open_end and value == least):
        bound = f"above {least:g}" if open_end else f"at least {least:g}"
        raise ConfigError(f"{name} is {value}, but must be a finite number {bound}")


def is_number(value: object) -> bool:
    """Says whether it is a number that a computer counts with; True and False are none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return isinstance(value, float) or abs(value) < _LARGEST


def unknown(what: str, name: object, known: Iterable[str]) -> str:
    """Gives a sentence about a name that is not known, with the nearest names or all of them."""
    return f"unknown {what} {quoted(str(name))}; {nearest(str(name), sorted(known))}"


def nearest(name: str, known: Collection[str]) -> str:
    """Gives the known names that are spelled alike, then those that share words, or else all."""
    close = difflib.get_close_matches(name[:100], known, n=3)
    words = set(name[:100].split("_"))
    shared = {candidate: len(words.intersection(candidate.split("_"))) for candidate in known}
    akin = sorted(
        (candidate for candidate in known if shared[candidate]),
        key=lambda candidate: (
            -shared[candidate],
            candidate.count("_"),
            -difflib.SequenceMatcher(None, candidate, name[:100]).ratio(),
        ),
    )
    names = list(dict.fromkeys([*close, *akin]))[: max(3, len(close))]
    return f"did you mean {' or '.join(names)}?" if names else f"known are {', '.join(known)}"
