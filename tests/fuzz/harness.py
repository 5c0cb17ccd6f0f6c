"""Bad input made by the hundred from a seed, and what every answer to it must keep to.

A kind of input (words, study files, flags, model folders, data files, run folders) is a module of
this package with a function `cases(seed, count, folder)`, listed in `tests/fuzz/kinds.py`. An input
may be taken (it is sound after all: then preparing is reached, where this harness stops it) or
refused; a refusal is one message that names the culprit, exit 2, and nothing written.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import re
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final
from unittest import mock

LONGEST: Final = 1000
REFUSED: Final = 2
PREPARES: Final = (
    "mpc_router.prepare.frozen.prepare",
    "mpc_router.prepare.joint.prepare_joint",
    "mpc_router.prepare.given_outputs.prepare_given",
)
"""Where a command begins to work; what gets there was taken."""

ESCAPES: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@dataclass(frozen=True, kw_only=True)
class Case:
    """One input, and what is known of it."""

    kind: str
    name: str
    """Tells it from the others of its kind, and in a few words what is odd about it."""

    arguments: tuple[str, ...]
    command: str = "sweeps.run"
    """The module whose `main` takes the arguments."""

    culprits: tuple[str, ...]
    """A refusal names one of these: the offending word, key, file or model."""

    codes: tuple[int, ...] = (REFUSED,)
    """Exit codes of a right refusal, or of a command that does its work on what is sound."""

    unchanged: tuple[Path, ...] = ()
    """Files and folders that must be as they were afterwards."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """How the command took a case."""

    case: Case
    code: int | None
    """Its exit code; None where it was taken, or ended in a traceback."""

    message: str
    faults: tuple[str, ...]
    """What it should not have done; empty if all is well."""


class Reached(BaseException):
    """Preparing began: the input was taken."""


def judge(case: Case, scratch: Path) -> Verdict:
    """Calls the command in this process with the case's arguments, `--out` and `--cache` added for
    `sweeps.run` where the case gives none; `scratch` is a folder for both."""
    out, cache = scratch / "out", scratch / "cache"
    arguments = list(case.arguments)
    if case.command == "sweeps.run":
        given = {word.partition("=")[0] for word in arguments}
        for flag, folder in (("--out", out), ("--cache", cache)):
            if flag not in given:
                arguments += [flag, str(folder)]
    before = [contents(path) for path in case.unchanged]
    code, said, trace = _call(case.command, arguments)
    faults = list(_faults(case, code, said, trace))
    if code != 0 and (out.exists() or _prepared(cache)):
        faults.append("left something behind")
    for path, was in zip(case.unchanged, before, strict=True):
        if contents(path) != was:
            faults.append(f"changed {path.name}")
    return Verdict(case=case, code=code, message=trace or said, faults=tuple(faults))


def module_of(command: str) -> ModuleType:
    """The module behind `python -m COMMAND`: of a package its `__main__`."""
    module = importlib.import_module(command)
    return importlib.import_module(f"{command}.__main__") if hasattr(module, "__path__") else module


def _call(command: str, arguments: Sequence[str]) -> tuple[int | None, str, str]:
    """Exit code, what was said on stderr, and the traceback if there was one."""
    main: Callable[[Sequence[str]], Any] = module_of(command).main
    errors = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace")
    output = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace")
    code: int | None = None
    trace = ""
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(output), _tripwires():
        try:
            code = main(arguments)
        except Reached:
            pass
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 1
        except BaseException:
            trace = traceback.format_exc()
    errors.flush()
    said = errors.buffer.getvalue().decode()
    return code, said, trace


@contextlib.contextmanager
def _tripwires() -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for place in PREPARES:
            stack.enter_context(mock.patch(place, side_effect=Reached))
        yield


def _faults(case: Case, code: int | None, said: str, trace: str) -> Iterator[str]:
    if trace:
        yield f"traceback: {trace.strip().splitlines()[-1][:200]}"
        return
    if code is None or code == 0:
        return
    if code not in case.codes:
        yield f"exit {code}"
    if not said.startswith("error: ") or said.count("\n") != 1:
        yield f"{said.count(chr(10))} lines instead of one message"
    if len(said) > LONGEST + len("error: \n"):
        yield f"a message of {len(said)} characters"
    if ESCAPES.search(said.rstrip("\n")):
        yield "control characters in a message"
    if not any(culprit in said for culprit in case.culprits):
        yield "names nothing of the input"


def _prepared(cache: Path) -> bool:
    """Whether more than remembered hashes of files lies in the cache."""
    return cache.exists() and any(path.name != "hashes" for path in cache.iterdir())


def contents(path: Path) -> Mapping[str, tuple[int, bytes]]:
    """Mode and bytes of a file, or of everything below a folder, by its name; links unfollowed."""
    found: dict[str, tuple[int, bytes]] = {}
    below = [path, *sorted(path.rglob("*"))] if path.is_dir() and not path.is_symlink() else [path]
    for each in below:
        with contextlib.suppress(OSError):
            mode = each.lstat().st_mode
            if each.is_symlink():
                found[str(each)] = mode, os.fsencode(os.readlink(each))
            elif each.is_file():
                found[str(each)] = mode, each.read_bytes()
            else:
                found[str(each)] = mode, b""
    return found
