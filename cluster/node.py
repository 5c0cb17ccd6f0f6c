"""The program is one Ray node of a cluster of machines, until it is told to end.

    python -m cluster.node head --port PORT ...
    python -m cluster.node worker --head HOST:PORT ...

It answers only clients with the token of RAY_AUTH_TOKEN_PATH, gives Ray's processes no secrets, and
on SIGTERM, or when Ray ends, it ends them all and removes Ray's folder. A batch system starts it on
every node (`cluster.slurm`).
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from cluster import private
from cluster.contract import Refused
from cluster.local_nodes import SETTINGS, end_processes
from cluster.processes import boot, processes
from cluster.state import LocalNodes, Node
from mpc_router.terminal.flags import Parser
from mpc_router.terminal.streams import command, say_error

_STORE: Final = 200 * 10**6
"""It is the size of a node's object store in bytes; files travel through it in small pieces."""

_LOOPBACK: Final = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""It keeps Ray to 127.0.0.1; the nodes of several machines cannot have it."""


def parser() -> Parser:
    """Makes the parser of the command line."""
    command_line = Parser("python -m cluster.node", "One Ray node, until SIGTERM.")
    roles = command_line.add_subparsers(required=True, metavar="head | worker", dest="role")
    head, worker = roles.add_parser("head"), roles.add_parser("worker")
    head.add_argument("--port", type=int, required=True)
    worker.add_argument("--head", required=True, metavar="HOST:PORT")
    for role in (head, worker):
        role.add_argument("--cpus", type=int, required=True)
        role.add_argument("--gpus", type=int, required=True)
        role.add_argument("--name", required=True)
        role.add_argument("--folders", required=True, metavar="PREFIX")
    return command_line


@command("sweep")
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the node; gives 0 after SIGTERM, 3 where Ray ended by itself."""
    args = parser().parse_args(sys.argv[1:] if arguments is None else arguments)
    if args.role == "head":  # the port after its own is that of Ray's client server
        words = ["--head", f"--port={args.port}", f"--ray-client-server-port={args.port + 1}"]
        words += ["--include-dashboard=false", "--no-monitor"]
    else:
        words = [f"--address={args.head}"]
    words += [f"--num-cpus={args.cpus}", f"--num-gpus={args.gpus}", f"--node-name={args.name}"]
    told: list[int] = []
    for stop in (signal.SIGTERM, signal.SIGINT):
        signal.signal(stop, lambda number, _: told.append(number))
    folder = Path(tempfile.mkdtemp(prefix=args.folders, dir="/tmp"))  # a socket's path is short
    try:
        ray = _start(words, folder)
        try:
            while not told and ray.poll() is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    ray.wait(timeout=0.2)
        finally:
            _end(ray, folder)
    except Refused as error:
        return say_error(str(error), error.code)
    finally:
        with contextlib.suppress(OSError), private.entered(folder) as number:
            private.remove(number, folder)
    return 0 if told else say_error(f"Ray on {args.name} has ended by itself", 3)


def _start(words: Sequence[str], folder: Path) -> subprocess.Popen[bytes]:
    """Starts Ray's processes in a session of their own."""
    return subprocess.Popen(
        [
            *(sys.executable, "-P", "-m", "ray.scripts.scripts", "start", "--block", *words),
            *(f"--object-store-memory={_STORE}", f"--temp-dir={folder / 'r'}"),
            *("--min-worker-port=0", "--max-worker-port=0"),  # free ones: the host is shared
            *("--include-log-monitor=false", "--disable-usage-stats"),
        ],
        stdin=subprocess.DEVNULL,
        env=_environment(os.environ),
        start_new_session=True,
    )


def _environment(caller: Mapping[str, str]) -> dict[str, str]:
    """Makes the environment of the node's processes: no secrets, and a token is asked for."""
    settings = {name: value for name, value in SETTINGS.items() if name != _LOOPBACK}
    return {**private.without_secrets(caller), **settings}


def _end(ray: subprocess.Popen[bytes], folder: Path) -> None:
    """Ends all processes of the node.

    Raises:
        Refused: a process outlives SIGKILL.
    """
    leader = processes().get(ray.pid)
    start = leader.start if leader is not None else 0
    node = Node(name="", pid=ray.pid, start=start)
    end_processes(LocalNodes(address="", temporary=str(folder), boot=boot(), nodes=(node,)))
    ray.poll()


if __name__ == "__main__":
    sys.exit(main())
