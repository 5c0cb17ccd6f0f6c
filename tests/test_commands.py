"""What all commands do alike: flags that are near, streams that are closed, packages that lack."""

from __future__ import annotations

import builtins
import importlib
import io
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mpc_router.terminal.flags import Parser, number, place
from mpc_router.terminal.streams import command, tell
from sweeps import run
from tests.fuzz.flags import COMMANDS
from tests.fuzz.harness import module_of

ROOT = Path(__file__).parent.parent


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    def call(module: str, *arguments: str) -> str:
        main: Any = module_of(module).main
        try:
            code = main(list(arguments))
        except SystemExit as ended:
            code = ended.code
        said = capsys.readouterr()
        assert code == 2
        assert said.out == ""
        assert said.err.startswith("error: ")
        assert said.err.count("\n") == 1
        assert len(said.err) < 1010
        return said.err

    return call


@pytest.mark.parametrize("module", COMMANDS)
def test_an_unknown_flag_is_named_before_anything_else_with_the_nearest(
    refused: Callable[..., str], module: str
) -> None:
    made = module_of(module).parser()
    flag = max((each for each in made.flags() if each != "--help"), key=len)
    said = refused(module, f"{flag}s", "x")
    assert f"there is no flag '{flag}s'; did you mean {flag}" in said
    assert "known are" in refused(module, "--qqqq")
    assert "\\x1b" in refused(module, "--q\x1b[31m" + "x" * 5000)


def test_a_value_that_argparse_repeats_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    made = Parser("p")
    made.add_argument("--to", choices=("a", "b"))
    made.add_argument("--quiet", action="store_true")
    for words in (["--to", "x" * 5000], [f"--quiet={'x' * 5000}"], ["x" * 5000]):
        with pytest.raises(SystemExit):
            made.parse_args(words)
        said = capsys.readouterr().err
        assert len(said) < 400
        assert "x" * 100 in said


@pytest.mark.parametrize("flag", ["--models", "--data", "--cache", "--out"])
@pytest.mark.parametrize("value", ["", " ", "~nobody/x", "x" * 300, "x/" * 3000, "\udcff", "a\nb"])
def test_a_place_that_cannot_be_is_refused_with_its_flag(
    refused: Callable[..., str], flag: str, value: str
) -> None:
    assert f"argument {flag}: " in refused("sweeps.run", "mrpc_grid", flag, value)


@pytest.mark.parametrize("text", ["x", "", "0x10", "1_0", "\uff11", "nan", "1e-400", "1,5"])
def test_a_flag_takes_decimal_numbers_alone(text: str) -> None:
    with pytest.raises(Exception, match=r"number|0 to a computer"):
        number(float)(text)
    with pytest.raises(Exception, match="whole number"):
        number(int)(text)
    assert (number(float)("-1.5e-3"), number(int)("12")) == (-0.0015, 12)
    assert place("a/b") == Path("a/b")


@pytest.mark.parametrize(
    ("words", "how", "code"),
    [
        ("--list", ">&-", 0),
        ("--bogus", "2>&-", 2),
        ("--list", ">&- 2>&- <&-", 0),
        ("--list", "| true", 0),
        ("--help", "| true", 0),
        ("--bogus", "2>&1 | true", 2),
    ],
)
def test_a_stream_without_a_reader_ends_a_command_quietly(words: str, how: str, code: int) -> None:
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; '{sys.executable}' -m sweeps.run {words} {how}"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr


def test_a_reader_that_goes_away_between_two_lines_ends_a_command_quietly() -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    with os.fdopen(theirs, "w") as gone:

        @command("")
        def main(arguments: Any = None) -> int:
            tell("one", gone)
            print("two", file=gone, flush=True)
            return 7

        assert main() == 7


def test_a_command_called_from_a_thread_works_without_its_signal_handlers() -> None:
    codes: list[int] = []
    told = io.StringIO()
    before, sys.stdout = sys.stdout, told
    try:
        thread = threading.Thread(target=lambda: codes.append(run.main(["--list"])))
        thread.start()
        thread.join()
    finally:
        sys.stdout = before
    assert codes == [0]
    assert "mrpc_grid: " in told.getvalue()


@pytest.mark.parametrize("package", ["ray", "psutil", "optuna", "pandas"])
def test_a_package_that_is_not_installed_is_said_before_anything_is_prepared(
    refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    find = importlib.util.find_spec
    monkeypatch.delitem(sys.modules, package, raising=False)
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == package else find(name)
    )
    said = refused("sweeps.run", "mrpc_grid", "--sample")
    assert f"'{package}' is not installed" in said
    assert "pip install -e '.[sweep]'" in said


def test_a_package_that_an_import_lacks_is_said_by_every_command(
    refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def lacking(name: str, *others: Any) -> Any:
        if name.partition(".")[0] in ("mpc_router", "analysis") and "Parser" not in str(others):
            raise ModuleNotFoundError("No module named 'yaml'", name="yaml")
        return real(name, *others)

    monkeypatch.setattr(builtins, "__import__", lacking)
    for module, words in (("analysis.front", ["gone"]), ("sweeps.run", ["mrpc_grid", "--sample"])):
        assert "'yaml' is not installed" in refused(module, *words)
