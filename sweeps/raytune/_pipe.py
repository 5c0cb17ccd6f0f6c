"""The module is the pipe between the process with the journal and the process with Ray.

The process with the journal first tells which Ray there is to be. Then the process with Ray asks,
a question at a time, and the process with the journal answers; all in JSON. When one of them has
ended, the other reads the end of the pipe.
"""

from __future__ import annotations

import json
from multiprocessing.connection import Connection
from typing import Any


class PipeEnd:
    """Holds one end of the pipe."""

    def __init__(self, connection: Connection[bytes, bytes]) -> None:
        self._connection = connection

    def ask(self, word: str, *, message_json: str = "", **data: Any) -> Any:
        """Sends a question and waits for the answer.

        A worker's message is passed on as the text that it came in, for it is long, and becomes
        `message` of the question's data.

        Raises:
            EOFError, OSError: the other process has ended.
        """
        self._send([word, data], message_json)
        return self._receive()[0]

    def tell(self, data: Any) -> None:
        """Sends data that the other process waits for with `told`.

        Raises:
            OSError: the other process has ended.
        """
        self._send(data)

    def told(self) -> Any:
        """Waits for the data of the other process's `tell`.

        Raises:
            EOFError, OSError: the other process has ended.
        """
        return self._receive()[0]

    def question(self, seconds: float) -> tuple[str, dict[str, Any]] | None:
        """Gives the next question and its data; None if none comes within so many seconds.

        Raises:
            EOFError, OSError: the other process has ended.
        """
        if not self._connection.poll(seconds):
            return None
        (word, data), message = self._receive()
        return word, data if message is None else {**data, "message": message}

    def answer(self, data: Any) -> None:
        """Sends the answer to the last question.

        Raises:
            OSError: the other process has ended.
        """
        self._send(data)

    def close(self) -> None:
        """Closes this end of the pipe."""
        self._connection.close()

    def _send(self, data: Any, message_json: str = "") -> None:
        """Sends data as JSON in a line, and a worker's message after it."""
        self._connection.send_bytes(f"{json.dumps(data)}\n{message_json}".encode())

    def _receive(self) -> tuple[Any, Any]:
        """Waits for data and reads them, with a worker's message; None without one."""
        data_json, _, message_json = self._connection.recv_bytes().partition(b"\n")
        return json.loads(data_json), json.loads(message_json) if message_json else None
