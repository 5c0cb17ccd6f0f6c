"""Networks of the tests' own: namespaces that only root can make."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from typing import Final

NEEDED: Final = {"ip": "iproute2", "nsenter": "util-linux"}
"""Programs, and the packages that bring them."""

ADDRESS: Final = "10.77.0.1"
OTHER: Final = "10.77.0.2"


def missing(needed: Mapping[str, str] = NEEDED) -> str:
    """Says why there can be no network of a test's own here; empty where there can."""
    if os.geteuid() != 0:
        return "only root makes networks"
    packages = sorted({package for name, package in needed.items() if not shutil.which(name)})
    if packages:
        return f"install {' '.join(packages)}"
    try:
        with network(f"mpcr-{os.getpid()}"):
            return ""
    except subprocess.CalledProcessError:
        return "this machine's kernel gives no networks"


@contextlib.contextmanager
def network(name: str) -> Iterator[tuple[str, ...]]:
    """A network of its own with one address and a route; gives the words that enter it."""
    with _namespace(name) as inside:
        for words in (
            ("link", "add", "outer", "type", "veth", "peer", "name", "other"),
            ("link", "set", "other", "up"),
            ("address", "add", f"{ADDRESS}/24", "dev", "outer"),
            ("link", "set", "outer", "up"),
            ("route", "add", "default", "dev", "outer"),
        ):
            _call("ip", "-n", name, *words)
        yield inside


@contextlib.contextmanager
def neighbour(name: str, *, of: str) -> Iterator[tuple[str, ...]]:
    """Another network, joined to the first by a wire; gives the words that enter it."""
    with _namespace(name) as inside:
        _call("ip", "-n", of, "link", "set", "other", "netns", name)
        for words in (
            ("address", "add", f"{OTHER}/24", "dev", "other"),
            ("link", "set", "other", "up"),
            ("route", "add", "default", "dev", "other"),
        ):
            _call("ip", "-n", name, *words)
        yield inside


@contextlib.contextmanager
def _namespace(name: str) -> Iterator[tuple[str, ...]]:
    """A network with nothing but itself."""
    _call("ip", "netns", "add", name)
    try:
        _call("ip", "-n", name, "link", "set", "lo", "up")
        yield ("nsenter", f"--net=/var/run/netns/{name}")  # `ip netns exec` hides cgroups
    finally:
        _call("ip", "netns", "delete", name)


def _call(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)
