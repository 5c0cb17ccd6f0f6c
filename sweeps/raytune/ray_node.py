"""Starts Ray on this machine, or joins a cluster; loads no Ray Tune."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import ray
from ray.exceptions import RayError

from sweeps.raytune import _losses
from sweeps.raytune._patches import job_config, quick_start
from sweeps.raytune.folders import RAY
from sweeps.records import SweepError

_LOOPBACK: Final = "127.0.0.1"


def begin(place: Mapping[str, Any], meanwhile: Callable[[], object] = lambda: None) -> None:
    """Starts Ray on this machine, or joins a cluster, as `ray_process` tells.

    `meanwhile` is called while the processes of a Ray that starts here begin.

    Raises:
        SweepError: Ray does not start, or the cluster refuses.
    """
    common: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    address = place["address"]
    try:
        if address is not None:
            ray.init(address=address, **common)
            return
        with quick_start(meanwhile):
            ray.init(
                address="local",  # never a Ray that runs here already
                **place["machine"],
                object_store_memory=100 * 2**20,
                include_dashboard=False,
                job_config=job_config(),
                _temp_dir=f"{place['folder']}/{RAY}",
                **common,
            )
    except (RayError, ConnectionError, RuntimeError, ValueError, OSError) as error:
        if address is None:
            raise SweepError(
                f"Ray could not be started here: {_losses.last_line(error)}"
            ) from error
        raise SweepError(_refusal(address, error)) from error
    ip_address = ray.util.get_node_ip_address()
    if ip_address != _LOOPBACK:
        raise SweepError(f"Ray listens on {ip_address} instead of {_LOOPBACK}; it was stopped")


def end() -> None:
    """Ends the Ray that was started here, or leaves the cluster."""
    ray.shutdown()


def _refusal(address: str, error: Exception) -> str:
    """Says why a cluster cannot be joined, and what to do."""
    versions = re.findall(r"Ray: (\S+)\s+Python: (\S+)", str(error))
    if len(versions) == 2:  # the cluster's, and this process's
        (theirs, their_python), (ours, our_python) = versions
        return (
            f"the cluster at {address} runs Ray {theirs} with Python {their_python}, but this "
            f"command Ray {ours} with Python {our_python}; install the same versions on both"
        )
    return (
        f"the cluster at {address} cannot be joined ({_losses.last_line(error)}); name its "
        f"token's file with RAY_AUTH_TOKEN_PATH=FILE, and use Ray {ray.__version__} on it"
    )
