"""Pages as a reader follows them: files written, commands called, Python executed, in order.

A block whose first line is a comment with a file's name (`# my_parts.py`) is written there. Other
Python is executed, all of a page in one set of names. Lines of `sh` are called in this process. A
`text` block holds what was printed last: each of its lines begins as a line that a command prints,
and of Python it has as many lines.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sweeps import run
from tests.command_lines import COMMANDS, command_of

DOCS = Path(__file__).resolve().parent.parent / "docs"
FOLLOWED = (
    *("tutorials/first_sweep", "tutorials/your_data", "tutorials/a_search"),
    *("guides/add_a_metric", "guides/add_a_router", "guides/add_a_sampler", "guides/add_a_task"),
    *("guides/from_python", "guides/gates", "guides/published_code", "guides/ray_and_optuna"),
)
"""The pages that tests follow (test_docs_walked.py, own_parts/test_pages.py)."""

SMALL = ("train_rows=1200", "validation_rows=300", "expert_epochs=3")
"""Of the sample: as much as its experts need to differ, so that all that is printed is printed."""

OF_THE_SHELL = ("source", "make", "tensorboard", "pip", "eval")
"""A walk does not call these: they install, or start programs of others."""

SIGNS = "+-\N{MINUS SIGN} "
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)
_FILE = re.compile(r"# ([\w./-]+\.\w+)\n")


def blocks_of(page: Path) -> list[tuple[str, str]]:
    """The language and text of every fenced block of a page, in order."""
    return _BLOCK.findall(page.read_text(encoding="utf-8"))


def lines_of(page: Path) -> list[str]:
    """The commands of a page, without comments."""
    texts = "".join(text for language, text in blocks_of(page) if language == "sh")
    return [line.partition(" #")[0].strip() for line in texts.splitlines()]


def takes(command: str, flag: str) -> bool:
    """Whether a command has this flag."""
    parser: argparse.ArgumentParser = COMMANDS[command]()
    return flag in parser._option_string_actions


def main_of(command: str) -> Callable[[Sequence[str]], int]:
    """The function that a command calls."""
    if command == "mpc-router-sweep":
        return run.main
    main: Callable[[Sequence[str]], int] = importlib.import_module(
        COMMANDS[command].__module__
    ).main
    return main


def call(line: str, *, cache: Path, settings: Sequence[str] = ()) -> str:
    """What a line of ours prints; what trains is given these settings, and writes no report."""
    words = shlex.split(line, comments=True)
    command = command_of(words)
    assert command is not None, line
    words = [*words[len(command.split()) :], *_beside(command, words, cache, settings)]
    with (
        contextlib.redirect_stdout(io.StringIO()) as out,
        contextlib.redirect_stderr(io.StringIO()) as err,
    ):
        code = main_of(command)(words)
    assert code == 0, f"{line}\n{out.getvalue()}\n{err.getvalue()}"
    return out.getvalue() + err.getvalue()


def _beside(
    command: str, words: Sequence[str], cache: Path, settings: Sequence[str]
) -> Iterator[str]:
    """What a command is given beside a page's words: small settings, the cache, no report."""
    if {"--list", "--settings", "--schema", "--completion"} & set(words):
        return
    sweeps = command in ("mpc-router-sweep", "mpc-router-tune")
    if (sweeps or command == "mpc-router-train") and "--resume" not in words:
        yield from settings
    if sweeps and not {"--dry-run", "--debug"} & set(words):
        yield "--no-report"
    if sweeps or takes(command, "--cache"):
        yield from ("--cache", str(cache))


def walk(
    name: str,
    *,
    cache: Path,
    settings: Sequence[str] = (),
    replaced: Mapping[str, str] = {},
) -> dict[str, Any]:
    """Follows a page in the current folder; gives the names that its Python has defined.

    `settings` make what trains small, and `replaced` puts other texts into commands and Python.
    """
    assert name in FOLLOWED
    page = DOCS / f"{name}.md"
    names: dict[str, Any] = {}
    printed, called = "", False
    for language, text in blocks_of(page):
        if file := _FILE.match(text):
            Path(file[1]).parent.mkdir(parents=True, exist_ok=True)
            Path(file[1]).write_text(text, encoding="utf-8")
        elif language == "python":
            with contextlib.redirect_stdout(io.StringIO()) as out:
                exec(compile(_changed(text, replaced), str(page), "exec"), names)
            printed, called = out.getvalue(), False
        elif language == "sh":
            lines = filter(_is_ours, _changed(text, replaced).splitlines())
            printed = "".join(call(line, cache=cache, settings=settings) for line in lines)
            called = True
        elif language == "text" and called:
            assert not _unprinted(text, printed), f"{page}\n{printed}"
        elif language == "text":
            assert text.count("\n") == printed.count("\n"), f"{page}\n{printed}"
    return names


def _is_ours(line: str) -> bool:
    words = shlex.split(line, comments=True)
    return bool(words) and words[0] not in OF_THE_SHELL


def _changed(text: str, replaced: Mapping[str, str]) -> str:
    for old, new in replaced.items():
        text = text.replace(old, new)
    return text


def _unprinted(text: str, printed: str) -> list[str]:
    """Lines of a page's text whose beginning, up to a number, no printed line begins with."""
    begun = [_beginning(line) for line in printed.splitlines()]
    return [
        line
        for line in text.splitlines()
        if len(_beginning(line)) > 2 and not any(b.startswith(_beginning(line)) for b in begun)
    ]


def _beginning(line: str) -> str:
    """The words of a line before its first number, without space around them."""
    return " ".join(re.split(r"[\d.─…]", line, maxsplit=1)[0].split()).rstrip(SIGNS)
