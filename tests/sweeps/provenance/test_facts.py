"""What a run records of the program that trains it."""

from __future__ import annotations

import pytest

from sweeps.journal.forced import NUMERIC
from sweeps.provenance import facts


@pytest.mark.parametrize("compiler", ["numba", "llvmlite"])
def test_a_compiler_that_is_not_there_is_named_for_then_other_arithmetic_trains(
    compiler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(facts, "_version", lambda name: None if name == compiler else "1.0")
    assert facts.versions()[compiler] == "not installed"
    assert facts.versions()["torch"] == "1.0"
    assert compiler in NUMERIC


def test_other_libraries_that_are_not_there_are_not_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "_version", lambda name: None)
    assert facts.versions() == {"numba": "not installed", "llvmlite": "not installed"}
