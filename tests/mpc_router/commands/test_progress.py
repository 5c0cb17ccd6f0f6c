"""What a command shows while it works, with and without a terminal."""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import pytest

from mpc_router.commands._exits import Halted, InputError, ended
from mpc_router.commands._progress import Bars, Lines, progress
from mpc_router.commands.places import add_place_flags, places_of


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def a_step(shown: Lines) -> None:
    with shown:
        shown.start("tokens", 2)
        shown.advance()
        shown.advance()
        shown.finish()
        shown.say("found")


def test_without_a_terminal_a_step_has_a_line_at_its_start_and_one_at_its_end() -> None:
    told = io.StringIO()
    a_step(Lines(file=told))
    first, second, third = told.getvalue().splitlines()
    assert first == "tokens ..."
    assert second.startswith("tokens: ")
    assert second.endswith(" s")
    assert third == "found"


def test_quiet_leaves_out_steps_and_keeps_what_is_said() -> None:
    told = io.StringIO()
    a_step(Lines(quiet=True, file=told))
    assert told.getvalue() == "found\n"


def test_on_a_terminal_a_bar_gives_way_to_the_line() -> None:
    told = Terminal()
    a_step(Bars(file=told))
    assert "2/2" in told.getvalue() or "tokens" in told.getvalue()
    assert "found" in told.getvalue()


def test_results_are_not_drawn_into_while_a_bar_runs(capsys: pytest.CaptureFixture[str]) -> None:
    with Bars(file=Terminal()):
        print("score 0.5")
    assert capsys.readouterr().out == "score 0.5\n"


@pytest.mark.parametrize(
    ("variables", "kind"),
    [({}, Bars), ({"NO_COLOR": "1"}, Lines), ({"TERM": "dumb"}, Lines)],
    ids=["a terminal", "NO_COLOR", "a dumb one"],
)
def test_bars_are_for_terminals_that_want_them(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], kind: type[Lines]
) -> None:
    monkeypatch.setattr("sys.stderr", Terminal())
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert type(progress(quiet=False)) is kind
    assert type(progress(quiet=True)) is Lines


def raising(error: BaseException) -> int:
    raise error


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError("no\nsuch"), 2),
        (Halted("NaN", 4), 4),
        (OSError("disk full"), 3),
        (KeyboardInterrupt(), 130),
    ],
)
def test_a_command_ends_with_one_line_and_a_code(
    capsys: pytest.CaptureFixture[str], error: BaseException, code: int
) -> None:
    assert ended(lambda: raising(error)) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")


def test_a_mistake_of_ours_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        ended(lambda: 1 // 0)


def test_places_are_those_of_the_flags(tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    add_place_flags(parser)
    found = places_of(parser.parse_args(["--data", str(tmp_path), "--cache", "cache"]))
    assert (found.source.kind, found.source.folder) == ("folder", tmp_path)
    assert found.cache == Path("cache").absolute()
    assert places_of(parser.parse_args([])).source.kind == "hub"
    assert places_of(parser.parse_args(["--sample"])).source.kind == "sample"
