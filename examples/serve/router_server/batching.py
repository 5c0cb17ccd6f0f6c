"""Concurrent requests become one call: what waits while a batch runs is the next batch."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

Answers = Callable[[Sequence[Any]], list[Any]]


class Batcher:
    """Hands the texts of several requests to `answers` at once, one batch at a time.

    Nothing waits for company: a request that comes alone is answered alone. A batch takes whole
    requests up to `most` texts, or one that is larger.
    """

    def __init__(self, answers: Answers, *, most: int = 256) -> None:
        self._answers = answers
        self._most = most
        self._waiting: asyncio.Queue[tuple[Sequence[Any], asyncio.Future[list[Any]]]] = (
            asyncio.Queue()
        )
        self.batches = 0

    async def ask(self, texts: Sequence[Any]) -> list[Any]:
        """Gives the answers to a request's texts.

        Raises:
            ValueError: one of these texts cannot be answered.
        """
        answered: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        await self._waiting.put((texts, answered))
        return await answered

    async def run(self) -> None:
        """Answers until it is cancelled."""
        while True:
            requests = [await self._waiting.get()]
            count = len(requests[0][0])
            while not self._waiting.empty() and count < self._most:
                requests.append(self._waiting.get_nowait())
                count += len(requests[-1][0])
            await self._answer(requests)

    async def _answer(
        self, requests: list[tuple[Sequence[Any], asyncio.Future[list[Any]]]]
    ) -> None:
        texts = [text for asked, _ in requests for text in asked]
        try:
            answers = await asyncio.to_thread(self._answers, texts)
        except Exception as error:
            if len(requests) == 1:
                _settle(requests[0][1], error)
                return
            for request in requests:  # one request's fault is not another's
                await self._answer([request])
            return
        self.batches += 1
        start = 0
        for asked, answered in requests:
            _settle(answered, answers[start : start + len(asked)])
            start += len(asked)


def _settle(answered: asyncio.Future[list[Any]], outcome: list[Any] | Exception) -> None:
    """Wakes a request, unless it has gone meanwhile."""
    if answered.done():
        return
    if isinstance(outcome, Exception):
        answered.set_exception(outcome)
    else:
        answered.set_result(outcome)
