"""The module holds a console of rich that goes on after its reader has gone."""

from __future__ import annotations

from rich.console import Console

from mpc_router.terminal.streams import fall_silent


class LastingConsole(Console):
    """Prints as rich's console does, but goes on where rich's would end without a reader."""

    def on_broken_pipe(self) -> None:
        """Drops all further output."""
        fall_silent(self.file)
