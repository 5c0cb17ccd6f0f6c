"""A console of rich that outlasts its reader."""

from __future__ import annotations

from rich.console import Console

from mpc_router.streams import fall_silent


class LastingConsole(Console):
    """A console that goes on where its reader has gone; rich's own would end with exit code 1."""

    def on_broken_pipe(self) -> None:
        """Says nothing more."""
        fall_silent(self.file)
