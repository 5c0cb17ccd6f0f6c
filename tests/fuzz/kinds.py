"""The kinds of input that are fuzzed, each a module of this package."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from tests.fuzz import run_folders
from tests.fuzz.harness import Case

Cases = Callable[[int, int, Path], Iterator[Case]]
"""Seed, how many, and a folder of one's own for the files that they need."""

KINDS: Final[dict[str, Cases]] = {"run_folders": run_folders.cases}
