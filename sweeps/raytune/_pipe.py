"""The pipe between the process that keeps the journal and the one that Ray lives in.

The process with Ray asks, a question at a time, and the other one answers; both in JSON. When one
of them is gone, the other reads the end of the pipe.
"""

from __future__ import annotations

import json
from multiprocessing.connection import Connection
from typing import Any


class Line:
    """Holds one end of the pipe."""

    def __init__(self, connection: Connection[bytes, bytes]) -> None:
        self._connection = connection

    def ask(self, word: str, **data: Any) -> Any:
        """Sends a question and waits for the answer.

        Raises:
            EOFError, OSError: the other process is gone.
        """
        self._say([word, data])
        return self._hear()

    def question(self, seconds: float) -> tuple[str, dict[str, Any]] | None:
        """Gives the next question and its data; None if none comes within so many seconds.

        Raises:
            EOFError, OSError: the other process is gone.
        """
        if not self._connection.poll(seconds):
            return None
        word, data = self._hear()
        return word, data

    def answer(self, data: Any) -> None:
        """Sends the answer to the last question.

        Raises:
            OSError: the other process is gone.
        """
        self._say(data)

    def close(self) -> None:
        """Closes this end of the pipe."""
        self._connection.close()

    def _say(self, data: Any) -> None:
        self._connection.send_bytes(json.dumps(data).encode())

    def _hear(self) -> Any:
        return json.loads(self._connection.recv_bytes())
