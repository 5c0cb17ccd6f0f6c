"""Gives the seconds of an example over a network, from what its parties computed and sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mpc_router.secure._usage import Usage


@dataclass(frozen=True, kw_only=True)
class Network:
    """Holds a network between two parties."""

    name: str
    latency: float
    """Seconds that a message is on its way, from one party to the other."""

    bandwidth: float
    """Bits a second, in each direction."""


NETWORKS: Final = (
    Network(name="lan", latency=0.001, bandwidth=1e9),
    Network(name="wan", latency=0.040, bandwidth=1e8),
)


def seconds(usage: Usage, network: Network) -> float:
    """Gives work + rounds x latency + 8 x bytes / bandwidth.

    The bytes are those of the party that sends more: both directions carry bytes at the same time.
    Nothing is computed while bytes are on their way. So it is too much where a party can go on, and
    too little where the parties work in turn.
    """
    on_the_way = usage.rounds * network.latency
    return usage.worked + on_the_way + 8 * max(usage.sent_bytes) / network.bandwidth
