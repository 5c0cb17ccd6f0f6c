"""Seconds of two parties over a network with real delay, beside those of the formula.

    python -m benchmarks.secure_network [--protocol semi2k] [--tokens 16] [--python PATH]

A small encoder runs once on loopback, whose measures go into `mpc_router.secure.networks.seconds`,
and once through a relay for each network. The relay is a process of this machine that holds every
byte back for the latency and lets no more through than the bandwidth. It needs no root, and no
`netem` in the kernel. What passes then is printed beside what the formula says.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import functools
import multiprocessing
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mpc_router.secure.environment import other_python
from mpc_router.secure.jobs import PROTOCOLS, Addresses, Job, Setting, free_ports, run_job
from mpc_router.secure.layers import LayerSize, layer_form, layer_weights
from mpc_router.secure.networks import NETWORKS, Network, seconds
from mpc_router.secure.programs.encoders import Form

_CHUNK = 65_536
_WIDTH, _HEADS = 128, 2
_WHOLE = Form(layers=1, width=_WIDTH, heads=_HEADS, inner=512, epsilon=1e-12, pooling="")


class Direction:
    """Holds back the bytes of one direction: they share its bandwidth."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._free = 0.0

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carries a connection's bytes until it ends."""
        waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        arriving = asyncio.create_task(self._arrive(waiting, writer))
        clock = asyncio.get_running_loop()
        with contextlib.suppress(ConnectionError):
            while chunk := await reader.read(_CHUNK):
                begins = max(clock.time(), self._free)
                self._free = begins + 8 * len(chunk) / self._network.bandwidth
                await waiting.put((self._free + self._network.latency, chunk))
        await waiting.put((0.0, b""))
        await arriving

    async def _arrive(
        self, waiting: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter
    ) -> None:
        clock = asyncio.get_running_loop()
        with contextlib.suppress(ConnectionError):
            while (arrival := await waiting.get())[1]:
                await asyncio.sleep(max(0.0, arrival[0] - clock.time()))
                writer.write(arrival[1])
                await writer.drain()
            writer.close()


def relay(network: Network, doors: list[tuple[int, int]]) -> None:
    """Carries what comes to the first port of a pair to the second, and back, until it is killed.

    The pairs are the doors to party 0 and to party 1: each direction is one party's sending.
    """

    async def run() -> None:
        to_party = [Direction(network), Direction(network)]

        async def serve(rank: int, port: int, target: int) -> None:
            async def on_connection(
                reader: asyncio.StreamReader, writer: asyncio.StreamWriter
            ) -> None:
                try:
                    from_target, to_target = await asyncio.open_connection("127.0.0.1", target)
                except ConnectionError:  # the party does not listen yet, and is asked again
                    writer.close()
                    return
                await asyncio.gather(
                    to_party[rank].carry(reader, to_target),
                    to_party[1 - rank].carry(from_target, writer),
                )

            server = await asyncio.start_server(on_connection, "127.0.0.1", port)
            await server.serve_forever()

        await asyncio.gather(*(serve(rank, *pair) for rank, pair in enumerate(doors)))

    asyncio.run(run())


@contextlib.contextmanager
def between(network: Network) -> Iterator[Addresses]:
    """Runs a relay; gives the addresses of parties that speak through it."""
    ports = free_ports(4)
    doors = [(ports[0], ports[1]), (ports[2], ports[3])]
    process = multiprocessing.get_context("spawn").Process(target=relay, args=(network, doors))
    process.start()
    known = [tuple(f"127.0.0.1:{port}" for port in pair) for pair in doors]
    try:
        yield (known[0][1], known[1][0]), (known[0][0], known[1][1])
    finally:
        process.kill()
        process.join()


def _given(addresses: Addresses) -> Addresses:
    return addresses


def layer_job(tokens: int) -> Job:
    """Gives a job of one layer as wide as BERT tiny's."""
    size = LayerSize(tokens=tokens, width=_WIDTH, heads=_HEADS, inner=_WHOLE.inner)
    generator = np.random.default_rng(0)
    return Job(
        kind="encoder",
        form=dataclasses.asdict(layer_form(size, _WHOLE)),
        inputs={
            "hidden": generator.normal(size=(tokens, _WIDTH)).astype(np.float32),
            "mask": np.ones(tokens, np.float32),
        },
        weights=layer_weights(size, generator),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--protocol", choices=list(PROTOCOLS), default="semi2k")
    parser.add_argument("--tokens", type=int, default=16)
    parser.add_argument("--python", type=Path)
    options = parser.parse_args()
    setting = Setting(python=other_python(options.python), protocol=options.protocol)
    job = layer_job(options.tokens)
    here, clear = run_job(job, setting)
    print(
        f"loopback: passed {here.elapsed:.2f} s, work {here.worked:.2f} s, "
        f"{max(here.sent_bytes) / 1e6:.1f} MB and {here.rounds:.0f} messages of a party"
    )
    for network in NETWORKS:
        with between(network) as addresses:
            through = functools.partial(_given, addresses)
            usage, output = run_job(job, dataclasses.replace(setting, addresses=through))
        difference = float(np.abs(output - clear).max())
        print(
            f"{network.name}: passed {usage.elapsed:.2f} s, {usage.elapsed - here.elapsed:.2f} "
            f"more than on loopback; the formula says {seconds(usage, network):.2f} s, "
            f"{seconds(usage, network) - usage.worked:.2f} of it the network's; {usage.rounds:.0f} "
            f"messages, outputs within {difference:.1e} of those on loopback"
        )


if __name__ == "__main__":
    main()
