"""`--settings` shows every setting, at any width; `--schema` prints what editors read."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from mpc_router.config.trial import leaf_paths
from sweeps import run
from sweeps.commands.settings_list import show_settings
from sweeps.study.part_settings import PARTS
from sweeps.study.schema import settings_of, study_schema


@pytest.mark.parametrize("width", [80, 140])
def test_every_setting_is_shown_whole_in_a_terminal_of(width: int) -> None:
    text = io.StringIO()
    show_settings(Console(file=text, width=width, force_terminal=True, color_system=None))
    lines = text.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    names = {line.split()[0] for line in lines if line[:1].strip()}
    of_parts = {f"{part}.{name}" for part, owner in PARTS.items() for name in settings_of(owner)}
    assert {*leaf_paths(), *of_parts} <= names


def test_in_a_pipe_a_setting_has_default_values_and_sentence_on_its_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run.main(["--settings"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("alpha ")]
    assert line.split("  ")[0] == "alpha"
    for part in ("0.01", "a finite number from 0", "Weight of the balance of load"):
        assert part in line


def test_the_printed_schema_is_the_one_that_is_tested(capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["--schema"]) == 0
    assert json.loads(capsys.readouterr().out) == study_schema()
