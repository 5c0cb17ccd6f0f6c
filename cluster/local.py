"""The command starts a Ray cluster of several nodes on this machine, for trials and tests.

    mpc-router-cluster local up --nodes 3
    mpc-router-cluster local status
    mpc-router-cluster local down

Every node is a `ray start --block` in a session of its own. All nodes listen on 127.0.0.1 alone,
and answer only clients that have the token. `down` ends only what `up` started, by process id.

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

from cluster import local_nodes
from cluster.contract import Condition, Refused, Running
from cluster.local_cluster import LocalCluster
from cluster.state import TOKEN, default_folder
from mpc_router.messages import one_line
from mpc_router.terminal.flags import Parser, place
from mpc_router.terminal.streams import command, tell

DESCRIPTION: Final = "Several Ray nodes on this machine's loopback, for trying things."

EXAMPLES: Final = """\
  mpc-router-cluster local up --nodes 3
  mpc-router-cluster local status
  mpc-router-cluster local down
"""

_MOST_NODES: Final = 16
_MOST_RESOURCES: Final = 1024


class _Terminated(KeyboardInterrupt):
    """Interrupts the command on SIGTERM, as Ctrl-C does."""


def parser() -> Parser:
    """Makes the parser of the command line."""
    command_line = Parser("mpc-router-cluster local", DESCRIPTION, EXAMPLES)
    add_commands(command_line)
    return command_line


def add_commands(command_line: Parser) -> None:
    """Adds `up`, `status` and `down` to a parser."""
    commands = command_line.add_subparsers(required=True, metavar="up | status | down")
    up = commands.add_parser("up", help="start a head and workers")
    add = up.add_argument
    add("--nodes", type=_number(1, _MOST_NODES), default=3, metavar="N", help="number of nodes (3)")
    add(
        "--cpus",
        type=_number(1, _MOST_RESOURCES),
        default=1,
        metavar="N",
        help="CPUs of a node (1)",
    )
    add(
        "--gpus",
        type=_number(0, _MOST_RESOURCES),
        default=0,
        metavar="N",
        help="GPUs that a node claims to have (0)",
    )
    add(
        "--port",
        type=_number(1024, 65535),
        metavar="PORT",
        help="port of the head (default: a free one)",
    )
    add(
        "--timeout",
        type=_number(1, 3600),
        default=180,
        metavar="S",
        help="seconds to wait for the nodes (180)",
    )
    up.set_defaults(command=_up)
    status = commands.add_parser("status", help="show which nodes are up")
    status.set_defaults(command=_status)
    down = commands.add_parser("down", help="end the nodes that `up` started")
    down.set_defaults(command=_down)
    for subcommand in (up, status, down):
        subcommand.add_argument(
            "--folder",
            type=lambda text: place(text).absolute(),
            default=default_folder(),
            metavar="DIR",
            help="folder of the token (default: in the user's cache)",
        )


def _number(least: int, most: int) -> Callable[[str], int]:
    """Makes the reader of a flag's whole number from `least` to `most`."""

    def number(text: str) -> int:
        is_whole_number = text.isascii() and text.isdigit() and len(text) < 9
        if not (is_whole_number and least <= int(text) <= most):
            raise argparse.ArgumentTypeError(
                f"{text[:20]!r}; write a number from {least} to {most}"
            )
        return int(text)

    return number


@command("sweep")
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    args = parser().parse_args(sys.argv[1:] if arguments is None else arguments)
    # Python lets the main thread alone handle signals
    handles = threading.current_thread() is threading.main_thread()
    handler_before = signal.signal(signal.SIGTERM, _terminate) if handles else None
    try:
        code: int = args.command(args)
    except Refused as error:
        return _say(str(error), error.code)
    except BrokenPipeError:
        raise  # a closed reader is no error
    except OSError as error:
        return _say(str(error), 3)
    except KeyboardInterrupt as error:
        return _say("stopped", 143 if isinstance(error, _Terminated) else 130)
    finally:
        if handles:
            signal.signal(signal.SIGTERM, handler_before)
    return code


def _terminate(number: int, frame: object) -> None:
    """Handles SIGTERM."""
    raise _Terminated


def _say(text: str, code: int) -> int:
    """Prints an error in one line on stderr; gives the exit code back."""
    tell(f"error: {one_line(text)}")
    return code


def _up(args: argparse.Namespace) -> int:
    """Starts the nodes and waits for them; gives the exit code."""
    if importlib.util.find_spec("ray") is None:
        raise Refused("Ray is not installed; install this project with its extra: [sweep]", 3)

    def wanted() -> local_nodes.Wanted:
        return local_nodes.Wanted(
            nodes=args.nodes,
            cpus=args.cpus,
            gpus=args.gpus,
            port=local_nodes.free_port(args.port),
            timeout=args.timeout,
        )

    cluster = LocalCluster(args.folder, wanted)
    try:
        cluster.start()
    except Running as error:
        look, end = _call("status", args.folder), _call("down", args.folder)
        raise Refused(f"{error}; look at it with `{look}`, end it with `{end}`", 2) from error
    try:
        cluster.wait(args.timeout)
    except Refused as error:
        cluster.stop()
        raise Refused(f"{error}; all nodes were ended", error.code) from error
    except BaseException:
        cluster.stop()
        raise
    print(_next_steps(args.folder, str(cluster.address)))
    return 0


def _next_steps(folder: Path, address: str) -> str:
    """Writes what to type next; a token in the default folder needs no setting."""
    token = shlex.quote(str(folder / TOKEN))
    setting = "" if folder == default_folder() else f"RAY_AUTH_TOKEN_PATH={token} "
    return "\n".join(
        [
            f"all nodes are up at {address}; clients need the token in {token}",
            "to use them, and to end them:",
            f"  {setting}mpc-router-sweep mrpc_grid --sample --address {address}",
            f"  {_call('down', folder)}",
        ]
    )


def _status(args: argparse.Namespace) -> int:
    """Prints which nodes are up; gives the exit code."""
    status = LocalCluster(args.folder).status()
    if status.condition is Condition.ABSENT:
        raise Refused(f"nothing is up; start it with `{_call('up', args.folder)}`", 2)
    print("\n".join(status.lines))
    if status.condition is Condition.UP:
        return 0
    return _say(f"not all nodes are up; end the others with `{_call('down', args.folder)}`", 3)


def _down(args: argparse.Namespace) -> int:
    """Ends the nodes; gives the exit code."""
    print(LocalCluster(args.folder).stop())
    return 0


def _call(command: str, folder: Path) -> str:
    """Writes the call of one of these commands for a folder."""
    flag = "" if folder == default_folder() else f" --folder {shlex.quote(str(folder))}"
    return f"mpc-router-cluster local {command}{flag}"


if __name__ == "__main__":
    sys.exit(main())
