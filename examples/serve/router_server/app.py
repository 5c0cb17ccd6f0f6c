"""The routes of the server: answers, health and counts."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel, Field

from mpc_router import RoutedClassifier
from mpc_router.serve.texts import TextError
from router_server.batching import Batcher
from router_server.counts import Counts

MOST_TEXTS = 1000
"""Of one request."""


class Request(BaseModel):
    """What `POST /answers` takes: texts, of a task of pairs lists of two."""

    texts: list[str | tuple[str, str]] = Field(min_length=1, max_length=MOST_TEXTS)


def create_app(router: RoutedClassifier) -> FastAPI:
    """Makes the application of a router."""
    batcher, counts = Batcher(router), Counts(router)

    @contextlib.asynccontextmanager
    async def running(_: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(batcher.run())
        yield
        task.cancel()

    app = FastAPI(title="mpc-router", lifespan=running)

    @app.post("/answers")
    async def answers(request: Request) -> dict[str, Any]:
        try:
            given = await batcher.ask(request.texts)
        except TextError as error:
            raise HTTPException(422, str(error)) from error
        counts.add(given)
        return {"answers": [dataclasses.asdict(answer) for answer in given]}

    @app.get("/health")
    async def health() -> dict[str, Any]:
        return {
            "status": "ok",
            "task": router.task.name,
            "text": list(router.task.columns),
            "labels": list(router.task.label_names),
            "experts": list(router.experts),
        }

    @app.get("/counts")
    async def counted() -> dict[str, Any]:
        return {**counts.report(), "batches": batcher.batches}

    return app
