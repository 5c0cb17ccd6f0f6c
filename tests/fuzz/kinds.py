"""The kinds of input that are fuzzed, each a module of this package."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from tests.fuzz import data_files, flags, model_folders, own_tasks, run_folders, study_files, words
from tests.fuzz.harness import Case

Cases = Callable[[int, int, Path], Iterator[Case]]
"""Seed, how many, and a folder of one's own for the files that they need."""

KINDS: Final[dict[str, Cases]] = {
    "words": words.cases,
    "study_files": study_files.cases,
    "flags": flags.cases,
    "model_folders": model_folders.cases,
    "data_files": data_files.cases,
    "own_tasks": own_tasks.cases,
    "run_folders": run_folders.cases,
}
