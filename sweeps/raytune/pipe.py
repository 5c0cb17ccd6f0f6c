"""The line between the process that keeps the journal and the one that Ray lives in.

The process with Ray asks, a question at a time, and the other one answers; both in JSON. When one
of them is gone, the other finds the line at its end.
"""

from __future__ import annotations

import json
from multiprocessing.connection import Connection
from typing import Any


class Line:
    """One end of it."""

    def __init__(self, connection: Connection[bytes, bytes]) -> None:
        self._connection = connection

    def ask(self, word: str, **data: Any) -> Any:
        """Asks, and waits for the answer.

        Raises:
            EOFError, OSError: nobody is there any more.
        """
        self._say([word, data])
        return self._hear()

    def question(self, seconds: float) -> tuple[str, dict[str, Any]] | None:
        """The next question and what comes with it; None if none comes within so many seconds.

        Raises:
            EOFError, OSError: nobody is there any more.
        """
        if not self._connection.poll(seconds):
            return None
        word, data = self._hear()
        return word, data

    def answer(self, said: Any) -> None:
        """Answers the last question.

        Raises:
            OSError: nobody is there any more.
        """
        self._say(said)

    def close(self) -> None:
        """Ends the line."""
        self._connection.close()

    def _say(self, what: Any) -> None:
        self._connection.send_bytes(json.dumps(what).encode())

    def _hear(self) -> Any:
        return json.loads(self._connection.recv_bytes())
