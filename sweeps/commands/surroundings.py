"""The module settles where a sweep runs, and until when: the cluster and the session's end."""

from __future__ import annotations

import argparse
import os
import re
import time
from collections.abc import Mapping
from typing import Final

from mpc_router.messages import quoted
from sweeps.records import InputError
from sweeps.terminal.signals import tell

_LOCAL: Final = "local"
"""Is the address of a Ray that the command starts on this machine."""

_AUTO: Final = "auto"
"""Is the address of the only Ray cluster that has a node on this machine."""

_RAY_ADDRESS: Final = "RAY_ADDRESS"

_AFTERWARDS: Final = 60.0
"""Gives the seconds that an allocation's batch script has after the sweep.

With those in which a session closes, it ends by itself before Slurm's signal of the end comes.
"""

_NO_HEAD: Final = re.compile(r"(?i)(ray|https?)://")
"""Finds addresses through which Ray takes calls and jobs, but no worker's results."""


def check_address(name: str, address: str) -> None:
    """Refuses an address that is none of a cluster; whether one answers is checked later.

    Raises:
        InputError: it begins with the flag or variable, `name`, that gives the address.
    """
    if _NO_HEAD.match(address):
        raise InputError(
            f"{name} is {quoted(address)}, through which a sweep cannot run; call the command "
            "on the cluster's head with HOST:PORT of that, or by `ray job submit --address "
            "http://HEAD:8265 -- mpc-router-sweep ...`, which sets RAY_ADDRESS"
        )
    if address in (_LOCAL, _AUTO):
        return
    host, _, port = address.rpartition(":")
    is_plain = re.fullmatch(r"[A-Za-z0-9._:\[\]-]{1,255}", host) and re.fullmatch(
        "[0-9]{1,5}", port
    )
    if not (is_plain and 0 < int(port) < 2**16):
        raise InputError(
            f"{name} is {quoted(address)}, but must be HOST:PORT of a running Ray cluster, such as "
            f"127.0.0.1:6379, or {_AUTO} for the one of this machine, or {_LOCAL} to start one here"
        )


def settle(args: argparse.Namespace, environ: Mapping[str, str] = os.environ) -> None:
    """Sets the cluster's address, HOST:PORT or None, and the session's end, or None.

    The end is a time of the monotonic clock. A line says where a cluster comes from that no flag
    names.

    Raises:
        InputError: the address is none, or there is no such cluster.
    """
    name, address = "--address", args.address
    if address is None and environ.get(_RAY_ADDRESS):
        name, address = _RAY_ADDRESS, environ[_RAY_ADDRESS]
    if address is not None:
        check_address(name, address)
    args.address = _only_cluster(name) if address == _AUTO else address
    if address == _LOCAL:
        args.address = None
    if args.address is None and args.wait_nodes is not None:
        raise InputError(
            "--wait-nodes waits for nodes of a cluster, but a Ray is started on this machine; give "
            "--address HOST:PORT, or leave it out"
        )
    if name == _RAY_ADDRESS or address == _AUTO:
        tell(_first_line(name, str(address), args.address))
    args.session_end = _session_end(args.session_time, environ)


def _first_line(name: str, address: str, joined: str | None) -> str:
    """Says what the environment, or a search on this machine, has decided."""
    if joined is None:
        return f"note: {name} is {address}: a Ray is started on this machine"
    start = "" if name == "--address" else f"; --address {_LOCAL} starts a Ray here"
    return f"note: {name} is {address}: the sweep joins the Ray cluster at {joined}{start}"


def _only_cluster(name: str) -> str:
    """Gives the address of the only cluster that has a node on this machine.

    Raises:
        InputError: there is none, or several.
    """
    from cluster.addresses import clusters_here
    from sweeps.raytune.folders import PREFIX

    heads = clusters_here(embedded=PREFIX)
    if len(heads) == 1:
        return heads[0]
    if not heads:
        raise InputError(
            f"{name} is {_AUTO}, but no Ray cluster has a node on this machine; start one, for "
            f"example by `mpc-router-cluster local up`, or give --address {_LOCAL}"
        )
    raise InputError(
        f"{name} is {_AUTO}, but nodes of {len(heads)} clusters run on this machine; give "
        f"--address {' or '.join(heads[:5])}"
    )


def _session_end(seconds: float | None, environ: Mapping[str, str]) -> float | None:
    """Gives the session's end by the monotonic clock; that of a Slurm allocation by default."""
    if seconds is not None:
        return time.monotonic() + seconds
    from cluster import slurm_allocation

    end = slurm_allocation.end_of(environ)
    return None if end is None else time.monotonic() + end - time.time() - _AFTERWARDS
