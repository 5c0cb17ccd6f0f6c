"""Gives metrics names that MLflow takes."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from typing import Final

_LONGEST: Final = 150
"""Limits the characters of a name; MLflow takes 250."""


def tag_of(name: str, taken: Iterable[str]) -> str:
    """Gives a name that MLflow takes: of a label's word only letters, digits and a few signs.

    A name that becomes like one that is taken gets a number.
    """
    tag = plain = re.sub(r"[^\w\-. :/]", "_", name, flags=re.ASCII)[:_LONGEST]
    taken = set(taken)
    for number in itertools.count(2):
        if tag not in taken:
            break
        tag = f"{plain}-{number}"
    return tag
