"""The module starts Ray nodes as processes of this machine, asks after them and ends them."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import secrets
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cluster import private, probe, state
from cluster.contract import Refused
from cluster.processes import boot, processes
from cluster.state import LOOPBACK, TOKEN, LocalNodes, Node

_PREFIX: Final = "mpcr-local-"
_SHORT: Final = 20
"""It limits the temporary folder's path, for a socket's path has at most 107 characters."""

_STORE: Final = 100 * 10**6
_MEMORY: Final = 2 * 2**30
"""They are the bytes of a node's object store, and those that it offers to tasks."""

_GRACE: Final = 5.0
"""It is the time between SIGTERM and SIGKILL, in seconds."""

_DYING: Final = 30.0
"""It is the time for killed processes to end, in seconds; a busy machine takes some."""

SETTINGS: Final = {
    "RAY_AUTH_MODE": "token",  # `ray start` asks for none by default
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # every part binds to 127.0.0.1 and not to all
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is sent anywhere
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # today's default warns of tomorrow's
    "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",  # SIGTERM ends a node at once
    "RAY_enable_worker_prestart": "0",  # idle workers have 100 MB each
    "RAY_prestart_worker_first_driver": "0",  # the same
}

_HEAD: Final = ("-P", "-m", "ray.scripts.scripts", "start", "--head")

_WORKER: Final = (
    "-P",
    "-c",
    """\
import sys, types
from ray.scripts import scripts
constants = vars(scripts.ray_constants)
scripts.ray_constants = types.SimpleNamespace(**{**constants, "ENABLE_RAY_CLUSTER": True})
sys.argv[0] = "ray"
scripts.main()
""",
    "start",
)
"""It runs the `ray` command for a second node on 127.0.0.1.

The variable that keeps Ray to 127.0.0.1 also makes `ray start --address` refuse, a guard for macOS;
only the command sees another value.
"""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Describes the nodes that are to be started."""

    nodes: int
    cpus: int
    gpus: int
    """It is the number that each node claims to have; Ray looks for none."""

    port: int
    timeout: float
    """It is the time in which all nodes must be up, in seconds."""


def start(wanted: Wanted, folder: Path) -> LocalNodes:
    """Starts a head, then workers as soon as it answers.

    The folder's file names all that has been started, at any time.

    Raises:
        Refused: the head ended, or did not answer in time; what was started still runs.
    """
    end = time.monotonic() + wanted.timeout
    private.write(folder / TOKEN, secrets.token_hex(32))
    cluster = LocalNodes(
        address=f"{LOOPBACK}:{wanted.port}",
        temporary=tempfile.mkdtemp(prefix=_PREFIX, dir=private.temporary_parent(_SHORT)),
        boot=boot(),
    )
    state.write(folder, cluster)
    ports = (f"--port={wanted.port}", f"--ray-client-server-port={free_port()}")
    alone = ("--include-dashboard=false", "--no-monitor")
    cluster = _with_node(wanted, folder, cluster, "head", (*_HEAD, *ports, *alone))
    while not _answers(wanted.port):
        _check(cluster, wanted.timeout, end)
        time.sleep(0.2)
    join = (*_WORKER, f"--address={cluster.address}")
    for number in range(1, wanted.nodes):
        cluster = _with_node(wanted, folder, cluster, f"worker{number}", join)
    return cluster


def _with_node(
    wanted: Wanted, folder: Path, cluster: LocalNodes, name: str, words: Sequence[str]
) -> LocalNodes:
    """Starts a node, and writes it to the folder's file before anything else is done."""
    node_folder = Path(cluster.temporary) / str(len(cluster.nodes))  # two raylets race for names
    with Path(cluster.temporary, f"{name}.log").open("wb") as log:
        leader = subprocess.Popen(
            [
                *(sys.executable, *words, "--block", f"--node-name={name}"),
                *(f"--num-cpus={wanted.cpus}", f"--num-gpus={wanted.gpus}", f"--memory={_MEMORY}"),
                *(f"--object-store-memory={_STORE}", f"--temp-dir={node_folder}"),
                *("--min-worker-port=0", "--max-worker-port=0"),  # free ones: the host is shared
                *("--include-log-monitor=false", "--disable-usage-stats"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=_environment(folder),
            cwd=cluster.temporary,
            start_new_session=True,
        )
    leader.returncode = 0  # it outlives this process: no wait for it, and no warning of it
    running = processes().get(leader.pid)
    if running is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(leader.pid, signal.SIGKILL)  # the file does not name what it has started
        raise Refused(f"{name} ended at once: {_last_line(cluster, name)}", 3)
    node = Node(name=name, pid=running.pid, start=running.start)
    cluster = dataclasses.replace(cluster, nodes=(*cluster.nodes, node))
    state.write(folder, cluster)
    return cluster


def wait(folder: Path, cluster: LocalNodes, seconds: float) -> None:
    """Waits until Ray counts all nodes as alive; prints a line for each.

    Raises:
        Refused: a node ended, or not all are up after so many seconds.
    """
    end = time.monotonic() + seconds
    waiting = {node.name for node in cluster.nodes}
    with _probe(folder, cluster, wanted=len(waiting), seconds=seconds) as asking:
        assert asking.stdout is not None
        while waiting:
            _check(cluster, seconds, end)
            if not select.select([asking.stdout], [], [], 0.5)[0]:
                continue
            line = asking.stdout.readline()
            if not line:
                raise Refused(f"Ray at {cluster.address} does not answer", 3)
            for name in sorted(waiting & _resources(line).keys()):
                waiting.remove(name)
                count = len(cluster.nodes) - len(waiting)
                print(f"{name} is up ({count} of {len(cluster.nodes)})", flush=True)


def _check(cluster: LocalNodes, seconds: float, end: float) -> None:
    """Refuses to wait for a cluster with an ended node, and for longer than these seconds."""
    for node in cluster.nodes:
        if node not in cluster.living():
            why = _last_line(cluster, node.name)
            raise Refused(f"{node.name} ended: {why}", 3)
    if time.monotonic() > end:
        raise Refused(
            f"not all nodes were up after {seconds:g} seconds; give fewer --nodes, or a longer "
            "--timeout",
            3,
        )


def alive(folder: Path, cluster: LocalNodes) -> dict[str, dict[str, float]]:
    """Gives the resources of the nodes that Ray counts as alive; none without an answer."""
    line = ""
    with (
        _probe(folder, cluster, wanted=0, seconds=0) as asking,
        contextlib.suppress(subprocess.TimeoutExpired),
    ):
        line, _ = asking.communicate(timeout=60)
    return _resources(line)


def _resources(line: str) -> dict[str, dict[str, float]]:
    """Reads a line of the probe: resources by node; none where it is not whole."""
    try:
        resources: dict[str, dict[str, float]] = json.loads(line)
    except ValueError:
        return {}
    return resources


@contextlib.contextmanager
def _probe(
    folder: Path, cluster: LocalNodes, *, wanted: int, seconds: float
) -> Iterator[subprocess.Popen[str]]:
    """Runs a client of Ray that prints which nodes are alive, until the block ends."""
    with subprocess.Popen(
        [sys.executable, "-P", probe.__file__, cluster.address, str(wanted), str(seconds)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=_environment(folder),
        cwd=cluster.temporary,
    ) as asking:
        try:
            yield asking
            with contextlib.suppress(subprocess.TimeoutExpired):
                asking.wait(timeout=5)  # it leaves Ray by itself
        finally:
            asking.kill()


def end(folder: Path, cluster: LocalNodes | None) -> tuple[int, int]:
    """Ends the cluster's processes, then removes its files.

    Gives how many processes were ended, and how many of them by SIGKILL. The file that names them
    goes last, so that an interrupted call can be repeated.

    Raises:
        Refused: a process outlives SIGKILL, or Ray's folder cannot be removed.
    """
    if cluster is None:
        state.remove(folder)
        return (0, 0)
    counts = end_processes(cluster)
    temporary = Path(cluster.temporary)
    is_ours = temporary.name.startswith(_PREFIX)
    if is_ours:
        with contextlib.suppress(OSError), private.entered(temporary) as number:
            private.remove(number, temporary)
    state.remove(folder)
    if is_ours and temporary.exists():
        raise Refused(f"all nodes have ended, but {temporary} stays; remove it by hand", 3)
    return counts


def end_processes(cluster: LocalNodes) -> tuple[int, int]:
    """Ends the cluster's processes, by SIGTERM and some seconds later by SIGKILL.

    Gives how many processes were ended, and how many of them by SIGKILL.

    Raises:
        Refused: a process outlives SIGKILL.
    """
    terminated = _signal_all(cluster, signal.SIGTERM, seconds=_GRACE)
    forced = _signal_all(cluster, signal.SIGKILL, seconds=_DYING)
    if survivors := cluster.processes():
        pids = ", ".join(str(process.pid) for process in survivors)
        raise Refused(f"processes still run after SIGKILL: {pids}; call down again", 3)
    return len(terminated | forced), len(forced)


def _signal_all(cluster: LocalNodes, number: signal.Signals, *, seconds: float) -> set[int]:
    """Signals every process of the cluster once; waits until none is left, or for some seconds."""
    end = time.monotonic() + seconds
    signalled: set[int] = set()
    while running := {process.pid for process in cluster.processes()}:
        for pid in running - signalled:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        signalled |= running
        if time.monotonic() > end:
            break
        time.sleep(0.1)
    return signalled


def _environment(folder: Path) -> dict[str, str]:
    """Makes the environment of nodes: no secrets, and no settings of Ray but this module's.

    The workers of every sweep on the cluster have it too.
    """
    public = private.without_secrets(os.environ)
    without_ray = {name: value for name, value in public.items() if not name.startswith("RAY_")}
    return {**without_ray, **SETTINGS, "RAY_AUTH_TOKEN_PATH": str(folder / TOKEN)}


def free_port(wanted: int | None = None) -> int:
    """Gives the wanted port if it is free, else any free one.

    Raises:
        Refused: the port is taken.
    """
    with socket.socket() as listener:
        try:
            listener.bind((LOOPBACK, wanted or 0))
        except OSError as error:
            raise Refused(
                f"port {wanted} is taken; leave out --port, or give another", 2
            ) from error
        return int(listener.getsockname()[1])


def _answers(port: int) -> bool:
    """Tells whether a port of this machine accepts connections."""
    with socket.socket() as client:
        client.settimeout(5)
        return client.connect_ex((LOOPBACK, port)) == 0


def _last_line(cluster: LocalNodes, name: str) -> str:
    """Gives the last line of a node's log, which says why the node ended."""
    with contextlib.suppress(OSError):
        text = Path(cluster.temporary, f"{name}.log").read_text(errors="replace")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return lines[-1][:300] if lines else "its log is empty"
    return "its log is gone"
