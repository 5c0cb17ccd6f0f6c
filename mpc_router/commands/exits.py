"""How a command ends: one sentence on stderr and an exit code, never a traceback for bad input."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from typing import Final, NoReturn

from mpc_router.messages import one_line

DONE: Final = 0
BAD_INPUT: Final = 2
SURROUNDINGS: Final = 3
FAILED: Final = 4
STOPPED: Final = 130


class InputError(ValueError):
    """What the user gave cannot be: what was found, what is allowed, what to do."""


class Halted(Exception):
    """A command that goes no further, by no fault of its input: one line and an exit code."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, and which guesses no flag."""

    def __init__(self, prog: str, description: str, examples: str) -> None:
        super().__init__(
            prog=prog,
            description=description,
            epilog=f"examples:\n{examples}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        """One line on stderr, exit code 2."""
        self.exit(BAD_INPUT, f"error: {message}\n")


def ended(command: Callable[[], int], *, stopped: str = "stopped; what is cached is safe") -> int:
    """The command's exit code: its own, or that of what it raised, said in one line.

    `stopped` is what Ctrl-C says.
    """
    try:
        return command()
    except Halted as error:
        return say_error(str(error), error.code)
    except KeyboardInterrupt:
        return say_error(stopped, STOPPED)
    except BrokenPipeError:  # whoever read has enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except Exception as error:
        if _of_input(error):
            return say_error(str(error), BAD_INPUT)
        if isinstance(error, OSError):
            return say_error(str(error), SURROUNDINGS)
        raise


def say_error(text: str, code: int) -> int:
    """Says it in one line on stderr; gives the code back."""
    print(f"error: {one_line(text)}", file=sys.stderr)
    return code


def _of_input(error: Exception) -> bool:
    """Whether the user can mend it; the kinds are asked for only now, so that `--help` is quick."""
    from mpc_router.checkpoint import CheckpointError
    from mpc_router.columns import SourceError
    from mpc_router.models import ModelError
    from mpc_router.sections import ConfigError

    return isinstance(error, InputError | CheckpointError | ConfigError | ModelError | SourceError)
