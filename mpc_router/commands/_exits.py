"""How a command ends: one sentence on stderr and an exit code, never a traceback for bad input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from mpc_router.terminal.flags import BAD_INPUT
from mpc_router.terminal.streams import say_error

DONE: Final = 0
SURROUNDINGS: Final = 3
FAILED: Final = 4
STOPPED: Final = 130


class InputError(ValueError):
    """Says that the input cannot be: what was found, what is allowed, what to do."""


class Halted(Exception):
    """Stops a command by no fault of its input: one line and an exit code."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


def ended(command: Callable[[], int], *, stopped: str = "stopped; what is cached is safe") -> int:
    """Gives a command's exit code: its own, or that of what it raised, said in one line.

    `stopped` is what Ctrl-C says.
    """
    try:
        return command()
    except Halted as error:
        return say_error(str(error), error.code)
    except KeyboardInterrupt as error:
        # its notes say what an expert's training has kept
        return say_error("; ".join([stopped, *getattr(error, "__notes__", [])]), STOPPED)
    except Exception as error:
        if _of_input(error):
            return say_error(str(error), BAD_INPUT)
        if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
            return say_error(str(error), SURROUNDINGS)
        raise


def _of_input(error: Exception) -> bool:
    """Says whether the user can mend it; kinds are imported late, so that `--help` is quick."""
    if isinstance(error, ModuleNotFoundError):
        return False  # asking would need the package too
    from mpc_router.data.columns import SourceError
    from mpc_router.model.sources import ModelError
    from mpc_router.results.checkpoint import CheckpointError
    from mpc_router.settings.rules import ConfigError

    return isinstance(error, InputError | CheckpointError | ConfigError | ModelError | SourceError)
