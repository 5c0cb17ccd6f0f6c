"""The relay between two parties carries their bytes, both ways, as they are."""

from __future__ import annotations

import socket
import threading

import pytest

from benchmarks.secure_network import between
from mpc_router.secure.networks import Network

SENT = bytes(range(256)) * 1000


def _port(address: str) -> int:
    return int(address.rpartition(":")[2])


def _connected(port: int) -> socket.socket:
    """A connection through the relay, which may take a while to listen."""
    for _ in range(600):
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=60)
        except ConnectionRefusedError:
            threading.Event().wait(0.05)
    raise AssertionError("the relay does not listen")


@pytest.mark.slow
def test_bytes_pass_the_relay_both_ways_unchanged() -> None:
    network = Network(name="quick", latency=0.001, bandwidth=1e9)
    with between(network) as (first, second), socket.socket() as listening:
        assert first[0] != second[0]  # each listens at its own door
        listening.bind(("127.0.0.1", _port(second[1])))
        listening.listen()

        def answer() -> None:
            with listening.accept()[0] as connection:
                held = b""
                while len(held) < len(SENT):
                    held += connection.recv(65_536)
                connection.sendall(held[::-1])

        answering = threading.Thread(target=answer, daemon=True)
        answering.start()
        with _connected(_port(first[1])) as connection:
            connection.sendall(SENT)
            received = b""
            while len(received) < len(SENT):
                received += connection.recv(65_536)
        answering.join()
    assert received == SENT[::-1]
