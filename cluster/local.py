"""A Ray cluster of several nodes on this machine, for trying things and for tests.

    python -m cluster.local up --nodes 3
    python -m cluster.local status
    python -m cluster.local down

Every node is a `ray start --block` in a session of its own. All of them listen on 127.0.0.1 alone,
and answer only who has the token. What is ended is what was started here, by process id.

Exit codes: 0 done; 2 the input is wrong, or nothing is up; 3 the surroundings failed, or a node is
dead; 130 and 143 stopped by SIGINT and SIGTERM.
"""

from __future__ import annotations

import argparse
import importlib.util
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from cluster import nodes, state
from cluster.state import TOKEN, Cluster, Refused, default_folder
from mpc_router.flags import Parser, place
from mpc_router.messages import one_line
from mpc_router.streams import command, tell

_MOST_NODES: Final = 16
_MOST: Final = 1024


class Terminated(KeyboardInterrupt):
    """SIGTERM, which is heard as Ctrl-C is."""


def parser() -> Parser:
    """Makes the parser of the command line."""
    made = Parser(
        "python -m cluster.local",
        "Several Ray nodes on this machine's loopback, for trying things.",
    )
    commands = made.add_subparsers(required=True, metavar="up | status | down")
    up = commands.add_parser("up", help="start a head and workers")
    add = up.add_argument
    add("--nodes", type=_number(1, _MOST_NODES), default=3, metavar="N", help="all nodes (3)")
    add("--cpus", type=_number(1, _MOST), default=1, metavar="N", help="that each node has (1)")
    add(
        "--gpus",
        type=_number(0, _MOST),
        default=0,
        metavar="N",
        help="that each node claims (0)",
    )
    add(
        "--port",
        type=_number(1024, 65535),
        metavar="PORT",
        help="of the head (default: a free one)",
    )
    add("--timeout", type=_number(1, 3600), default=180, metavar="S", help="to wait for all (180)")
    up.set_defaults(command=_up)
    status = commands.add_parser("status", help="say what lives of it")
    status.set_defaults(command=_status)
    down = commands.add_parser("down", help="end what was started")
    down.set_defaults(command=_down)
    for each in (up, status, down):
        each.add_argument(
            "--folder",
            type=lambda text: place(text).absolute(),
            default=default_folder(),
            metavar="DIR",
            help="where the token lies (default: in the user's cache)",
        )
    return made


def _number(least: int, most: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        short = text.isascii() and text.isdigit() and len(text) < 9
        if not (short and least <= int(text) <= most):
            raise argparse.ArgumentTypeError(
                f"{text[:20]!r}; write a number from {least} to {most}"
            )
        return int(text)

    return number


@command("sweep")
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    args = parser().parse_args(sys.argv[1:] if arguments is None else arguments)
    handles = threading.current_thread() is threading.main_thread()  # no other may
    before = signal.signal(signal.SIGTERM, _terminate) if handles else None
    try:
        if not Path("/proc/self/stat").exists():
            raise Refused("processes are told apart by /proc, which this machine has not", 3)
        code: int = args.command(args)
    except Refused as error:
        return _say(str(error), error.code)
    except BrokenPipeError:
        raise  # a reader is gone, which is no error
    except OSError as error:
        return _say(str(error), 3)
    except KeyboardInterrupt as error:
        return _say("stopped", 143 if isinstance(error, Terminated) else 130)
    finally:
        if handles:
            signal.signal(signal.SIGTERM, before)
    return code


def _terminate(number: int, frame: object) -> None:
    raise Terminated


def _say(text: str, code: int) -> int:
    tell(f"error: {one_line(text)}")
    return code


def _up(args: argparse.Namespace) -> int:
    if importlib.util.find_spec("ray") is None:
        raise Refused("Ray is not installed; install this project with its extra: [sweep]", 3)
    state.make_private(args.folder)
    with state.locked(args.folder):
        found = state.read(args.folder)
        if found is not None and found.processes():
            raise Refused(
                f"a cluster is up at {found.address}; look at it with "
                f"`{_again('status', args.folder)}`, end it with `{_again('down', args.folder)}`",
                2,
            )
        wanted = nodes.Wanted(
            nodes=args.nodes,
            cpus=args.cpus,
            gpus=args.gpus,
            port=nodes.free_port(args.port),
            timeout=args.timeout,
        )
        nodes.end(args.folder, found)  # a dead one has left its files
        try:
            cluster = nodes.start(wanted, args.folder)
        except BaseException:
            nodes.end(args.folder, state.read(args.folder))
            raise
    print(_next_steps(args.folder, cluster))
    return 0


def _next_steps(folder: Path, cluster: Cluster) -> str:
    """Says what to type next; a token in the default folder needs no flag."""
    token = shlex.quote(str(folder / TOKEN))
    given = "" if folder == default_folder() else f"RAY_AUTH_TOKEN_PATH={token} "
    return "\n".join(
        [
            f"all are up at {cluster.address}, for whoever has the token in {token};",
            "to use them, and to end them:",
            f"  {given}python -m sweeps.run mrpc_grid --sample --address {cluster.address}",
            f"  {_again('down', folder)}",
        ]
    )


def _status(args: argparse.Namespace) -> int:
    found = state.read(args.folder)
    if found is None:
        raise Refused(f"nothing is up; start it with `{_again('up', args.folder)}`", 2)
    living, running = found.living(), found.processes()
    asked = bool(found.nodes) and found.nodes[0] in living
    alive = nodes.alive(args.folder, found) if asked else {}
    up = [node for node in living if node.name in alive]
    print(f"{found.address}: {len(up)} of {len(found.nodes)} nodes are up")
    for node in found.nodes:
        own = sum(each.session == node.pid for each in running)
        if node in up:
            share = ", ".join(
                f"{alive[node.name].get(each, 0):g} {each}" for each in ("CPU", "GPU")
            )
            what = f"up, {share}"
        elif node in living:
            what = "dead: its process runs, but Ray does not count it"
        else:
            what = "dead: its process has ended"
        print(f"  {node.name}: {what}; pid {node.pid}, {own} processes")
    if found.nodes and len(up) == len(found.nodes):
        return 0
    return _say(f"nodes are dead; end the rest with `{_again('down', args.folder)}`", 3)


def _down(args: argparse.Namespace) -> int:
    if not args.folder.is_dir():
        print("nothing is up")
        return 0
    with state.locked(args.folder):
        found = state.read(args.folder)
        if found is None:  # then a `token` that lies there is none of ours
            print("nothing is up")
            return 0
        ended, forced = nodes.end(args.folder, found)
    hard = f", {forced} of them by SIGKILL" if forced else ""
    print(f"ended {len(found.nodes)} nodes at {found.address}: {ended} processes{hard}")
    return 0


def _again(command: str, folder: Path) -> str:
    where = "" if folder == default_folder() else f" --folder {shlex.quote(str(folder))}"
    return f"python -m cluster.local {command}{where}"


if __name__ == "__main__":
    sys.exit(main())
