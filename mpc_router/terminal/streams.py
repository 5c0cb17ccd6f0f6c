"""The module lets commands run with closed streams, and with readers that go away."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import io
import os
import sys
from collections.abc import Callable, Sequence
from typing import IO, Final, Protocol, TextIO

from mpc_router.messages import one_line, shown
from mpc_router.packages import BESIDE, ForeignPackageError, load_beside

_OURS: Final = ("mpc_router", *BESIDE)


class Main(Protocol):
    """Describes the main function of a command: it takes words and gives an exit code."""

    def __call__(self, arguments: Sequence[str] | None = None) -> int:
        """Runs the command."""
        ...


def command(extra: str) -> Callable[[Main], Main]:
    """Lets a `main` run with closed streams, and report a missing package.

    A reader that goes away (`head`) ends the command quietly. A missing package is one message with
    exit code 2; `extra` is the optional part of this project that brings it, or empty. A command of
    an optional part finds this project's packages, whatever stands first on Python's path.
    """

    def guard(main: Main) -> Main:
        @functools.wraps(main)
        def guarded(arguments: Sequence[str] | None = None) -> int:
            _open_closed()
            try:
                if extra:
                    load_beside()
                return main(arguments)
            except BrokenPipeError:
                return 0
            except ForeignPackageError as error:
                return say_error(str(error), 2)
            except ModuleNotFoundError as error:
                package = (error.name or "").partition(".")[0]
                if (
                    not package or package in _OURS
                ):  # a fault of this project, not of the environment
                    raise
                return _say_missing(package, extra)
            finally:
                _flush()

        return guarded

    return guard


def require(*packages: str) -> None:
    """Makes sure that packages can be imported, without importing them.

    Raises:
        ModuleNotFoundError: a package cannot be imported.
    """
    for name in packages:
        if name not in sys.modules and importlib.util.find_spec(name) is None:
            raise ModuleNotFoundError(f"no package {name}", name=name)


def _say_missing(package: str, extra: str) -> int:
    """Prints that a package is missing and how to install it; gives the exit code."""
    text = (
        f"the package {package!r} is not installed for {shown(sys.executable)}; in the checkout of "
        f"mpc-router call `pip install -e '.{f'[{extra}]' if extra else ''}'`, or `make "
        "quickstart` and then `source .venv/bin/activate`"
    )
    return say_error(text, 2)


def _open_closed() -> None:
    """Opens closed streams to nowhere, for the next file would take their number and output."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            null_device = os.open(os.devnull, os.O_RDWR)
            if null_device != number:
                os.dup2(null_device, number)
                os.close(null_device)
        if getattr(sys, name) is None:
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))


def _flush() -> None:
    """Writes buffered output; drops it where its reader, or the room on the disk, is gone."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            fall_silent(stream)
        except ValueError:  # it was closed by the program that called this one
            continue


def tell(text: str, file: TextIO | None = None) -> None:
    """Prints a line on stderr, or on another file; a reader that is gone does not matter."""
    file = file or sys.stderr
    try:
        print(text, file=file, flush=True)
    except BrokenPipeError:
        fall_silent(file)


def say_error(text: str, code: int) -> int:
    """Prints an error in one line on stderr; gives the exit code back."""
    tell(f"error: {one_line(text)}")
    return code


def fall_silent(file: IO[str]) -> None:
    """Drops what is written to the file from now on."""
    with contextlib.suppress(io.UnsupportedOperation):
        null_device = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null_device, file.fileno())
        os.close(null_device)
