"""A Ray cluster of this machine whose autoscaler starts and ends nodes, by Ray's fake provider.

`ray.cluster_utils.AutoscalingCluster` calls `ray stop --force`, which ends all Ray nodes of this
machine, those of others too. So the head is started here, with the same configuration.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from cluster.local_nodes import SETTINGS, free_port

PATIENCE = 120.0


@dataclass(frozen=True, kw_only=True)
class ScaledSite:
    """The cluster's address, token and processes."""

    address: str
    token: Path

    def raylets(self) -> int:
        """Counts the nodes that run, the head among them."""
        return sum(process.name() == "raylet" for process in self.processes())

    def processes(self) -> list[psutil.Process]:
        """Lists the processes that name the cluster's address."""
        listed = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if any(self.address in word for word in process.cmdline()):
                    listed.append(process)
        return listed


def configuration(address: str, *, cpus: int, most: int, idle_minutes: float) -> dict[str, object]:
    """Writes what Ray's autoscaler starts: nodes of so many CPUs, beside a head without any."""
    lists = ("initialization", "setup", "head_setup", "worker_setup")
    return {
        "cluster_name": "fake",
        "max_workers": most,
        "idle_timeout_minutes": idle_minutes,
        "upscaling_speed": 10,
        "head_node_type": "ray.head.default",
        "provider": {
            "type": "fake_multinode",
            "gcs_address": address,
            "use_node_id_as_ip": True,  # else nodes without work are never known as such
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
        },
        "available_node_types": {
            "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
            "small": {
                "resources": {"CPU": cpus, "object_store_memory": 10**8},
                "node_config": {},
                "min_workers": 0,
                "max_workers": most,
            },
        },
        **{f"{name}_commands": [] for name in lists},
        "head_start_ray_commands": [],
        "worker_start_ray_commands": [],
        "auth": {},
        "docker": {},
        "file_mounts": {},
        "cluster_synced_files": [],
        "file_mounts_sync_continuously": False,
        "rsync_exclude": [],
        "rsync_filter": [],
    }


@contextlib.contextmanager
def scaled_site(folder: Path, *, most: int, idle_minutes: float) -> Iterator[ScaledSite]:
    """Runs the cluster with a head without CPUs, and no other node yet.

    `folder` is a short one: sockets lie below it.
    """
    port = free_port()
    site = ScaledSite(address=f"127.0.0.1:{port}", token=folder / "token")
    site.token.write_text("5" * 64)
    site.token.chmod(0o600)
    config = folder / "config.json"
    config.write_text(
        json.dumps(configuration(site.address, cpus=1, most=most, idle_minutes=idle_minutes))
    )
    outside = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    settings = {
        **SETTINGS,
        "RAY_AUTH_TOKEN_PATH": str(site.token),
        "RAY_FAKE_CLUSTER": "1",
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
    }
    head = subprocess.Popen(
        [
            *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"),
            *(f"--port={port}", f"--ray-client-server-port={free_port()}", "--num-cpus=0"),
            *("--object-store-memory=100000000", f"--temp-dir={folder / 'r'}"),
            *("--include-dashboard=false", "--min-worker-port=0", "--max-worker-port=0"),
            *("--include-log-monitor=false", "--disable-usage-stats"),
            f"--autoscaling-config={config}",
        ],
        env={**outside, **settings},
        stdin=subprocess.DEVNULL,
        stdout=(folder / "log").open("wb"),
        stderr=subprocess.STDOUT,
        cwd=folder,
        start_new_session=True,
    )
    try:
        _wait_for(port, head)
        _wait_for_autoscaler(site)
        yield site
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(head.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            head.wait(timeout=10)
        left = site.processes()
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(left, timeout=10)


ASKING = """
import sys, time
import ray
from sweeps.raytune._room import is_scaled
ray.init(address=sys.argv[1], log_to_driver=False, logging_level="error")
while not is_scaled():
    time.sleep(0.5)
"""


def _wait_for_autoscaler(site: ScaledSite) -> None:
    """Waits until the autoscaler has looked at the cluster for the first time."""
    settings = {**SETTINGS, "RAY_AUTH_TOKEN_PATH": str(site.token)}
    subprocess.run(
        [sys.executable, "-c", ASKING, site.address],
        env={**os.environ, **settings},
        check=True,
        timeout=PATIENCE,
    )


def _wait_for(port: int, head: subprocess.Popen[bytes]) -> None:
    """Waits until the head answers."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        assert head.poll() is None
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise AssertionError("the head does not answer")
