"""Nodes of Ray as processes of this machine: how they are started, asked after and ended."""

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

from cluster import private, state
from cluster.processes import boot, processes
from cluster.state import LOOPBACK, TOKEN, Cluster, Node, Refused

_PREFIX: Final = "mpcr-local-"
_SHORT: Final = 20
"""Sockets lie in the temporary folder, and a socket's path has at most 107 characters."""

_STORE: Final = 100 * 10**6
_MEMORY: Final = 2 * 2**30
"""Bytes of a node's object store, and those that it says it has for tasks that ask for some."""

_GRACE: Final = 5.0
"""Seconds between SIGTERM and SIGKILL."""

_SETTINGS: Final = {
    "RAY_AUTH_MODE": "token",  # `ray start` asks for none by default
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # every part binds to 127.0.0.1 and not to all
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is sent anywhere
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # today's default warns of tomorrow's
    "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",  # SIGTERM means now: nobody is served here
    "RAY_enable_worker_prestart": "0",  # idle workers have 100 MB each
    "RAY_prestart_worker_first_driver": "0",  # the same
}

_HEAD: Final = ("-m", "ray.scripts.scripts", "start", "--head")

_WORKER: Final = (
    "-c",
    """\
import sys, types
from ray.scripts import scripts
known = vars(scripts.ray_constants)
scripts.ray_constants = types.SimpleNamespace(**{**known, "ENABLE_RAY_CLUSTER": True})
sys.argv[0] = "ray"
scripts.main()
""",
    "start",
)
"""The `ray` command, for a second node on loopback. The variable that keeps Ray to 127.0.0.1 also
makes `ray start --address` refuse, a guard for macOS; the command alone is told otherwise."""

_PROBE: Final = """\
import json, sys, time
import ray
address, wanted, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
end = time.monotonic() + seconds
ray.init(address=address, log_to_driver=False, logging_level="error")
while True:
    alive = {each["NodeName"]: each["Resources"] for each in ray.nodes() if each["Alive"]}
    print(json.dumps(alive), flush=True)
    if len(alive) >= wanted or time.monotonic() > end:
        break
    time.sleep(0.5)
"""
"""Says which nodes Ray counts as alive, until there are as many as wanted."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Says which nodes are to be started."""

    nodes: int
    cpus: int
    gpus: int
    """That each node claims to have; Ray looks for none."""

    port: int
    timeout: float
    """Seconds until all nodes are up."""


def start(wanted: Wanted, folder: Path) -> Cluster:
    """A head, and workers as soon as it answers; returns when Ray counts all of them.

    What has been started is in the folder's file at any time.

    Raises:
        Refused: a node ended, or not all were up in time; the others still run.
    """
    end = time.monotonic() + wanted.timeout
    private.write(folder / TOKEN, secrets.token_hex(32))
    cluster = Cluster(
        address=f"{LOOPBACK}:{wanted.port}",
        temporary=tempfile.mkdtemp(prefix=_PREFIX, dir=private.temporary_parent(_SHORT)),
        boot=boot(),
    )
    state.write(folder, cluster)
    ports = (f"--port={wanted.port}", f"--ray-client-server-port={free_port()}")
    alone = ("--include-dashboard=false", "--no-monitor")
    cluster = _with_node(wanted, folder, cluster, "head", (*_HEAD, *ports, *alone))
    while not _answers(wanted.port):
        _check(cluster, wanted, end)
        time.sleep(0.2)
    join = (*_WORKER, f"--address={cluster.address}")
    for number in range(1, wanted.nodes):
        cluster = _with_node(wanted, folder, cluster, f"worker{number}", join)
    _await(wanted, folder, cluster, end)
    return cluster


def _with_node(
    wanted: Wanted, folder: Path, cluster: Cluster, name: str, words: Sequence[str]
) -> Cluster:
    """Starts a node, and writes it down before anything else is done."""
    place = Path(cluster.temporary) / str(len(cluster.nodes))  # two raylets would race for names
    with Path(cluster.temporary, f"{name}.log").open("wb") as log:
        begun = subprocess.Popen(
            [
                *(sys.executable, *words, "--block", f"--node-name={name}"),
                *(f"--num-cpus={wanted.cpus}", f"--num-gpus={wanted.gpus}", f"--memory={_MEMORY}"),
                *(f"--object-store-memory={_STORE}", f"--temp-dir={place}"),
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
    begun.returncode = 0  # it outlives this process, which neither waits for it nor warns of it
    found = processes().get(begun.pid)
    if found is None:
        raise Refused(f"{name} ended at once: {_last_line(cluster, name)}", 3)
    node = Node(name=name, pid=found.pid, start=found.start)
    cluster = dataclasses.replace(cluster, nodes=(*cluster.nodes, node))
    state.write(folder, cluster)
    return cluster


def _await(wanted: Wanted, folder: Path, cluster: Cluster, end: float) -> None:
    """Waits until Ray counts all nodes as alive; prints a line for each."""
    waiting = {node.name for node in cluster.nodes}
    with _probe(folder, cluster, wanted=wanted.nodes, seconds=wanted.timeout) as probe:
        assert probe.stdout is not None
        while waiting:
            _check(cluster, wanted, end)
            if not select.select([probe.stdout], [], [], 0.5)[0]:
                continue
            line = probe.stdout.readline()
            if not line:
                raise Refused(f"Ray at {cluster.address} does not answer", 3)
            for name in sorted(waiting & _said(line).keys()):
                waiting.remove(name)
                count = wanted.nodes - len(waiting)
                print(f"{name} is up ({count} of {wanted.nodes})", flush=True)


def _check(cluster: Cluster, wanted: Wanted, end: float) -> None:
    """Refuses to wait for what cannot come, and for longer than was said."""
    for node in cluster.nodes:
        if node not in cluster.living():
            why = _last_line(cluster, node.name)
            raise Refused(f"{node.name} ended, and with it all others: {why}", 3)
    if time.monotonic() > end:
        raise Refused(
            f"not all nodes were up after {wanted.timeout:g} seconds, and all were ended again; "
            "give fewer --nodes, or a longer --timeout",
            3,
        )


def alive(folder: Path, cluster: Cluster) -> dict[str, dict[str, float]]:
    """Gives the resources of the nodes that Ray counts as alive; none without an answer."""
    said = ""
    with (
        _probe(folder, cluster, wanted=0, seconds=0) as probe,
        contextlib.suppress(subprocess.TimeoutExpired),
    ):
        said, _ = probe.communicate(timeout=60)
    return _said(said)


def _said(line: str) -> dict[str, dict[str, float]]:
    try:
        found: dict[str, dict[str, float]] = json.loads(line)
    except ValueError:
        return {}
    return found


@contextlib.contextmanager
def _probe(
    folder: Path, cluster: Cluster, *, wanted: int, seconds: float
) -> Iterator[subprocess.Popen[str]]:
    """A client of Ray that says who is alive; it goes with the block."""
    with subprocess.Popen(
        [sys.executable, "-c", _PROBE, cluster.address, str(wanted), str(seconds)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=_environment(folder),
        cwd=cluster.temporary,
    ) as probe:
        try:
            yield probe
            with contextlib.suppress(subprocess.TimeoutExpired):
                probe.wait(timeout=5)  # it leaves Ray by itself
        finally:
            probe.kill()


def end(folder: Path, cluster: Cluster | None) -> tuple[int, int]:
    """Ends what lives of the cluster, then removes its files; how many, and how many by force.

    The file goes last: whoever is interrupted in here calls it again.

    Raises:
        Refused: something outlives SIGKILL.
    """
    asked: set[int] = set()
    forced: set[int] = set()
    if cluster is not None:
        asked = _signal_all(cluster, signal.SIGTERM, seconds=_GRACE)
        forced = _signal_all(cluster, signal.SIGKILL, seconds=_GRACE)
        if left := cluster.processes():
            numbers = ", ".join(str(each.pid) for each in left)
            raise Refused(f"still there after SIGKILL: {numbers}; call down again", 3)
        temporary = Path(cluster.temporary)
        if temporary.name.startswith(_PREFIX):
            with contextlib.suppress(OSError), private.entered(temporary) as number:
                private.remove(number, temporary)
    state.remove(folder)
    return len(asked | forced), len(forced)


def _signal_all(cluster: Cluster, number: signal.Signals, *, seconds: float) -> set[int]:
    """Signals every process of the cluster once, and waits until none is left, or for so long."""
    until = time.monotonic() + seconds
    signalled: set[int] = set()
    while left := {each.pid for each in cluster.processes()}:
        for pid in left - signalled:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        signalled |= left
        if time.monotonic() > until:
            break
        time.sleep(0.1)
    return signalled


def _environment(folder: Path) -> dict[str, str]:
    """What nodes are started with: nothing of Ray's but ours, and no secrets, for workers of every
    sweep would have them."""
    known = private.without_secrets(os.environ)
    kept = {name: value for name, value in known.items() if not name.startswith("RAY_")}
    return {**kept, **_SETTINGS, "RAY_AUTH_TOKEN_PATH": str(folder / TOKEN)}


def free_port(wanted: int | None = None) -> int:
    """Gives the wanted port if it is free, else any free one.

    Raises:
        Refused: it is taken.
    """
    with socket.socket() as probe:
        try:
            probe.bind((LOOPBACK, wanted or 0))
        except OSError as error:
            raise Refused(
                f"port {wanted} is taken; leave out --port, or give another", 2
            ) from error
        return int(probe.getsockname()[1])


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(5)
        return probe.connect_ex((LOOPBACK, port)) == 0


def _last_line(cluster: Cluster, name: str) -> str:
    """Says why a node ended, by its log."""
    with contextlib.suppress(OSError):
        text = Path(cluster.temporary, f"{name}.log").read_text(errors="replace")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return lines[-1][:300] if lines else "it said nothing"
    return "its log is gone"
