"""The module answers a shell that asks what a command's next word may be; argcomplete does it.

The shell calls the command itself with `_ARGCOMPLETE` set and the line in `COMP_LINE`. The parser
answers before any word is read, so that neither torch nor a run's tables are imported.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterable
from typing import Final

_Completer = Callable[..., Iterable[str]]
"""Gives the words that go on from `prefix`; it is called by argcomplete with keywords."""

_ASKED: Final = "_ARGCOMPLETE"


def is_asked() -> bool:
    """Tells whether a shell asks, and no user has called the command."""
    return _ASKED in os.environ


def answer_shell(parser: argparse.ArgumentParser) -> None:
    """Answers a shell that asks, and ends the process; does nothing where none asks."""
    if is_asked():
        import argcomplete

        argcomplete.autocomplete(parser, always_complete_options="long")


def completed_by(action: argparse.Action, completer: _Completer) -> None:
    """Has the words of an argument completed by a function."""
    action.completer = completer  # type: ignore[attr-defined]  # argcomplete looks for it


def complete_tasks(prefix: str, **_: object) -> Iterable[str]:
    """Completes the tasks that ship, for argcomplete."""
    from mpc_router.tasks import TASKS

    return list(TASKS)


def registration(shell: str) -> str:
    """Gives the lines that have a shell complete every installed command of this project."""
    from importlib.metadata import entry_points  # it reads e-mail headers, which take time

    import argcomplete

    names = {point.name for point in entry_points(group="console_scripts")}
    commands = sorted(name for name in names if name.startswith("mpc-router-"))
    return str(argcomplete.shellcode(commands, shell=shell))
