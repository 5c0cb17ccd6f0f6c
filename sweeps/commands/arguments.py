"""The module defines the command line of `mpc-router-sweep`; a test freezes it."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from mpc_router.commands.places import add_place_flags
from mpc_router.messages import quoted
from mpc_router.terminal.completion import completed_by
from mpc_router.terminal.flags import Parser, add_trust_flag, number, place
from sweeps.commands.surroundings import check_address
from sweeps.records import InputError, NodesWanted
from sweeps.tracking.kinds import KINDS, refuse_missing

_UMASK: Final = "077"
"""It leaves a new run's folder to its owner alone."""

_LONGEST_SESSION: Final = 1e9

_NODES_PATIENCE: Final = 600
"""It is how many seconds `--wait-nodes` waits where it does not say."""

_ADDRESS: Final = "HOST:PORT of a Ray cluster, auto, or local (default: RAY_ADDRESS, else local)"

_WAIT_NODES: Final = "wait until N nodes of the cluster have room for a pack (SECONDS: 600)"

_SESSION_TIME: Final = "close in time, to go on later (default: to the Slurm allocation's end)"

_EXAMPLES: Final = """\
  mpc-router-sweep mrpc_grid --sample
  mpc-router-sweep mrpc_grid pool=minilm --data DIR 'seeds=[0,1]' epochs=3
  mpc-router-sweep mrpc_grid 'alpha={grid: [0, 0.1]}' beta=0.01
  mpc-router-sweep --resume runs/mrpc_grid-20261123-101500
  mpc-router-sweep --settings
"""


def parser() -> Parser:
    """Makes the parser of the command line."""
    command_line = Parser(
        "mpc-router-sweep",
        "Train every router of a study, and say which are worth having.",
        _EXAMPLES,
    )
    add = command_line.add_argument
    words = add(
        "words", nargs="*", metavar="STUDY [key=value ...]", help="a shipped study or a YAML file"
    )
    completed_by(words, _complete_words)
    add_place_flags(command_line)
    add("--out", type=place, default=Path("runs"), metavar="DIR", help="run folders (runs/)")
    add("--name", metavar="NAME", help="of the run (default: <study>-<UTC time>)")
    umask = f"what others may not do in the new run's folder ({_UMASK}: anything)"
    add("--umask", metavar="MODE", help=umask)
    add("--address", metavar="ADDR", help=_ADDRESS)
    add("--wait-nodes", type=_nodes_wanted, metavar="N[:SECONDS]", help=_WAIT_NODES)
    add("--session-time", type=_session_time, metavar="SECONDS", help=_SESSION_TIME)
    add("--debug", action="store_true", help="one trial, in this process, without Ray")
    add("--run", type=place, metavar="RUN", help="a run's folder, with --debug or with --track")
    add("--key", metavar="KEY", help="with --run: the trial, by its key or the start of it")
    add("--point", metavar="POINT", help="with --run: a trial of this point: its best seed so far")
    add("--seed", type=number(int), metavar="SEED", help="with --point: this seed of it")
    track = f"a tracker to tell, again for several: {', '.join(KINDS)}; with --run, afterwards"
    add("--track", action="append", default=[], choices=list(KINDS), metavar="NAME", help=track)
    add("--dry-run", action="store_true", help="the plan and an estimate; writes only caches")
    add("--resume", type=place, metavar="RUN", help="go on with what has not ended")
    add("--repair", action="store_true", help="with --resume: keep what is sound of a damaged run")
    add("--retry-failed", action="store_true", help="with --resume: FAILED trials once more")
    add("--force", action="store_true", help="with --resume: though code or study changed")
    add_trust_flag(command_line)
    add("--no-report", action="store_true", help="tables only")
    add("--quiet", action="store_true", help="a line a pack and the front, no more")
    add("--list", action="store_true", help="the studies that ship")
    add("--settings", action="store_true", help="every setting: default, allowed values, a line")
    add("--schema", action="store_true", help="the JSON Schema of study files, for editors")
    shells = "lines that have a shell complete all mpc-router commands"
    add("--completion", choices=("bash", "zsh"), help=shells)
    return command_line


def _complete_words(prefix: str, **facts: Any) -> Iterable[str]:
    """Completes studies and settings, for argcomplete."""
    from sweeps.commands._words import complete_words

    return complete_words(prefix, **facts)


def check_flags(args: argparse.Namespace) -> None:
    """Refuses flags that do not go together.

    Raises:
        InputError: it names the flags and the reason.
    """
    if args.address is not None:
        check_address("--address", args.address)
    if args.track and (args.debug or args.dry_run):
        raise InputError(
            "--track tells of a run, and --debug and --dry-run make none; leave it out"
        )
    refuse_missing(args.track)
    _check_runless(args)
    resuming = {
        "--repair": args.repair,
        "--retry-failed": args.retry_failed,
        "--force": args.force,
    }
    if args.resume is None:
        for flag, is_given in resuming.items():
            if is_given:
                raise InputError(f"{flag} needs --resume RUN; give both")
        mode(args)
        return
    idle = {
        "--debug": args.debug,
        "--dry-run": args.dry_run,
        "--name": args.name is not None,
        "--umask": args.umask is not None,
        "--key": args.key is not None,
        "--point": args.point is not None,
        "--seed": args.seed is not None,
        "--run": args.run is not None,
    }
    if any(idle.values()):
        flags = ", ".join(flag for flag, is_given in idle.items() if is_given)
        raise InputError(f"--resume goes on with its run; leave out {flags}")


def _check_runless(args: argparse.Namespace) -> None:
    """Refuses --debug and --dry-run together, and with flags of a run, of which they make none."""
    if args.debug and args.dry_run:
        raise InputError("--debug trains a trial and --dry-run trains nothing; give one of them")
    if not (args.debug or args.dry_run):
        return
    flags = {
        "--name": args.name,
        "--umask": args.umask,
        "--session-time": args.session_time,
        "--wait-nodes": args.wait_nodes,
    }
    for flag, value in flags.items():
        if value is not None:
            raise InputError(
                f"{flag} is for a run, and --debug and --dry-run make none; leave it out"
            )


def _session_time(text: str) -> float:
    """Reads the flag of a session's length."""
    seconds = number(float)(text)
    if not 0 < seconds < _LONGEST_SESSION:
        raise argparse.ArgumentTypeError(f"{quoted(text)} is no number of seconds above 0")
    return seconds


def _nodes_wanted(text: str) -> NodesWanted:
    """Reads the flag of the nodes that are waited for."""
    match = re.fullmatch(r"([1-9][0-9]{0,5})(?::([1-9][0-9]{0,6}))?", text, re.ASCII)
    if match is None:
        raise argparse.ArgumentTypeError(
            f"{quoted(text)} is not N or N:SECONDS, both whole numbers from 1, such as 4 or 4:300"
        )
    return NodesWanted(count=int(match[1]), seconds=float(match[2] or _NODES_PATIENCE))


def mode(args: argparse.Namespace) -> int:
    """Gives the rights of a new run's folder.

    Raises:
        InputError: --umask is no mask, or takes rights from the owner.
    """
    umask = _UMASK if args.umask is None else args.umask
    if not re.fullmatch("0[0-7]{2}", umask):
        raise InputError(
            f"--umask is {quoted(umask)}; give three octal digits, the first of them 0 for the "
            "owner's rights, such as 077, 027 or 022"
        )
    return 0o777 & ~int(umask, 8)
