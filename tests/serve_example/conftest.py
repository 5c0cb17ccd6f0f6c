"""The example server on a port of this machine, in a thread of its own."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mpc_router import RoutedClassifier
from mpc_router.commands import export
from tests.trained import Trained

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples/serve"


class Client:
    """Asks a server over HTTP: status and JSON."""

    def __init__(self, port: int) -> None:
        self.address = f"http://127.0.0.1:{port}"

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.address + path, timeout=60) as reply:
            return json.load(reply)

    def post(self, path: str, content: object) -> tuple[int, Any]:
        request = urllib.request.Request(
            self.address + path,
            json.dumps(content).encode(),
            {"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as reply:
                return reply.status, json.load(reply)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)


@pytest.fixture(scope="session")
def exported(router: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served") / "exported"
    assert export.main([*router.flags, str(folder)]) == 0
    return folder


@contextmanager
def served(router: RoutedClassifier) -> Iterator[Client]:
    """Runs the server of a router until the block ends."""
    import uvicorn
    from router_server.app import create_app

    config = uvicorn.Config(create_app(router), host="127.0.0.1", port=0, log_level="error")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until(lambda: server.started or not thread.is_alive())
    yield Client(server.servers[0].sockets[0].getsockname()[1])
    server.should_exit = True
    thread.join()


def until(condition: Callable[[], bool], *, seconds: float = 300) -> None:
    """Waits until something is true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture(scope="session")
def on_path() -> None:
    """Puts the example on Python's path, where what it needs is installed."""
    for name in ("fastapi", "uvicorn"):
        pytest.importorskip(name, reason=f"{name} is not installed (extra serve)")
    import sys

    sys.path.insert(0, str(EXAMPLE))


@pytest.fixture
def client(on_path: None, exported: Path) -> Iterator[Client]:
    with served(RoutedClassifier.from_pretrained(exported)) as running:
        yield running
