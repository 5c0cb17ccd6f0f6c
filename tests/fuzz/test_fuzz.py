"""A short run of every kind; `make fuzz` is the long one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.harness import judge
from tests.fuzz.kinds import KINDS

SHORT = 60
FEWER = {"model_folders": 24}
"""Of kinds whose cases take long: every sound model is run."""


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_bad_input_is_one_message_and_leaves_nothing_behind(kind: str, tmp_path: Path) -> None:
    verdicts = [
        judge(case, tmp_path / f"scratch{number}")
        for number, case in enumerate(KINDS[kind](0, FEWER.get(kind, SHORT), tmp_path / "in"))
    ]
    faulty = [f"{each.case.name}: {each.faults}" for each in verdicts if each.faults]
    assert not faulty, "\n".join(faulty)
    assert any(each.code == 2 for each in verdicts), "no input was refused"
