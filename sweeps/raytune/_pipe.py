"""The module is the pipe between the process with the journal and the process with Ray.

The process with Ray asks, a question at a time, and the process with the journal answers; both in
JSON. When one of them has ended, the other reads the end of the pipe.
"""

from __future__ import annotations

import json
from multiprocessing.connection import Connection
from typing import Any


class PipeEnd:
    """Holds one end of the pipe."""

    def __init__(self, connection: Connection[bytes, bytes]) -> None:
        self._connection = connection

    def ask(self, word: str, **data: Any) -> Any:
        """Sends a question and waits for the answer.

        Raises:
            EOFError, OSError: the other process has ended.
        """
        self._send([word, data])
        return self._receive()

    def question(self, seconds: float) -> tuple[str, dict[str, Any]] | None:
        """Gives the next question and its data; None if none comes within so many seconds.

        Raises:
            EOFError, OSError: the other process has ended.
        """
        if not self._connection.poll(seconds):
            return None
        word, data = self._receive()
        return word, data

    def answer(self, data: Any) -> None:
        """Sends the answer to the last question.

        Raises:
            OSError: the other process has ended.
        """
        self._send(data)

    def close(self) -> None:
        """Closes this end of the pipe."""
        self._connection.close()

    def _send(self, data: Any) -> None:
        """Sends a message as JSON."""
        self._connection.send_bytes(json.dumps(data).encode())

    def _receive(self) -> Any:
        """Waits for a message and reads it."""
        return json.loads(self._connection.recv_bytes())
