"""The command runs a sweep on Slurm, one session after the other until it is done.

    mpc-router-cluster slurm render mrpc_grid --run runs/NAME --nodes 3 -- --sample
    mpc-router-cluster slurm submit mrpc_grid --run runs/NAME --nodes 3 -- --sample
    mpc-router-cluster slurm status --run runs/NAME

`submit` writes one batch script beside the run's folder and submits it. The script starts Ray on
all nodes of the allocation, and the sweep beside the head; a session that ends with work left is
queued again. Words after `--` are flags of `mpc-router-sweep` for each session.

Exit codes: 0 done; 2 the input is wrong, or no job was submitted; 3 Slurm does not answer, or the
job has failed.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from cluster.contract import Condition, Refused, Running
from cluster.slurm_cluster import SlurmCluster
from cluster.slurm_script import Job, batch_script, beside
from mpc_router.messages import quoted
from mpc_router.terminal.flags import Parser, place
from mpc_router.terminal.streams import command, say_error

DESCRIPTION: Final = "A sweep on Slurm: one batch script, queued again until the sweep is done."

_MOST_NODES: Final = 1024
_MOST_RESOURCES: Final = 1024
_MOST_MINUTES: Final = 60 * 24 * 366

_OURS: Final = ("--resume", "--out", "--name", "--address", "--debug", "--dry-run", "--list")
"""They are the sweep's flags that the script sets, or that make no run."""

_PLAIN: Final = re.compile(r"/[A-Za-z0-9._/+@=-]*")
"""It is a path that Slurm takes as it is in a line of options."""

EXAMPLES: Final = """\
  mpc-router-cluster slurm render mrpc_grid --run runs/grid --nodes 3 --cpus 8 -- --sample
  mpc-router-cluster slurm submit mrpc_grid 'seeds=[0,1]' --run runs/grid --minutes 240
  mpc-router-cluster slurm status --run runs/grid
"""


def parser() -> Parser:
    """Makes the parser of the command line."""
    command_line = Parser("mpc-router-cluster slurm", DESCRIPTION, EXAMPLES)
    add_commands(command_line)
    return command_line


def add_commands(command_line: Parser) -> None:
    """Adds `render`, `submit` and `status` to a parser."""
    commands = command_line.add_subparsers(required=True, metavar="render | submit | status")
    render = commands.add_parser("render", help="print the batch script")
    submit = commands.add_parser("submit", help="write the batch script and submit it")
    status = commands.add_parser("status", help="show how the job stands")
    for subcommand in (render, submit):
        _add_job_flags(subcommand)
    for subcommand in (render, submit, status):
        subcommand.add_argument(
            "--run", type=place, required=True, metavar="RUN", help="the run's folder, new or not"
        )
    render.set_defaults(command=_render)
    submit.set_defaults(command=_submit)
    status.set_defaults(command=_status)


def _add_job_flags(subcommand: argparse.ArgumentParser) -> None:
    """Adds what a job is made of."""
    add = subcommand.add_argument
    add("words", nargs="+", metavar="STUDY [key=value ...]", help="as mpc-router-sweep takes")
    nodes, resources = _number(1, _MOST_NODES), _number(1, _MOST_RESOURCES)
    add("--nodes", type=nodes, default=1, metavar="N", help="number of nodes (1)")
    add("--cpus", type=resources, default=1, metavar="N", help="CPUs of a node (1)")
    gpus = _number(0, _MOST_RESOURCES)
    add("--gpus", type=gpus, default=0, metavar="N", help="GPUs of a node (0)")
    minutes = _number(2, _MOST_MINUTES)
    add("--minutes", type=minutes, default=60, metavar="N", help="of one session (60)")
    add(
        "--sbatch",
        action="append",
        default=[],
        metavar="OPTION",
        help="a further option of sbatch, such as --sbatch=--partition=gpu; may be repeated",
    )


def _number(least: int, most: int) -> Callable[[str], int]:
    """Makes the reader of a flag's whole number from `least` to `most`."""

    def number(text: str) -> int:
        is_whole_number = text.isascii() and text.isdigit() and len(text) < 9
        if not (is_whole_number and least <= int(text) <= most):
            raise argparse.ArgumentTypeError(
                f"{quoted(text[:20])}; write a number from {least} to {most}"
            )
        return int(text)

    return number


@command("sweep")
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    cut = words.index("--") if "--" in words else len(words)
    args = parser().parse_args(words[:cut])
    args.flags = words[cut + 1 :]
    try:
        code: int = args.command(args)
    except Refused as error:
        return say_error(str(error), error.code)
    except BrokenPipeError:
        raise  # a closed reader is no error
    except OSError as error:
        return say_error(str(error), 3)
    except KeyboardInterrupt:
        return say_error("stopped", 130)
    return code


def _render(args: argparse.Namespace) -> int:
    """Prints the batch script; gives the exit code."""
    print(batch_script(_job(args)), end="")
    return 0


def _submit(args: argparse.Namespace) -> int:
    """Submits the batch script; gives the exit code."""
    job = _job(args)
    cluster = SlurmCluster(job.beside, job)
    call = f"mpc-router-cluster slurm status --run {shlex.quote(str(args.run))}"
    try:
        cluster.start()
    except Running as error:
        raise Refused(f"{error}; look at it with `{call}`, end it with scancel", 2) from error
    print(f"submitted job {cluster.number}; its output is {job.beside}/{cluster.number}.out")
    print(f"look at it with `{call}`, end it with `scancel {cluster.number}`")
    return 0


def _status(args: argparse.Namespace) -> int:
    """Prints how the job stands; gives the exit code."""
    if args.flags:
        raise Refused(f"status takes no flags of a sweep; leave out {quoted(args.flags[0])}", 2)
    cluster = SlurmCluster(beside(_run(args)))
    if cluster.number is None:
        raise Refused(f"no job was submitted for {args.run}; `submit` does that", 2)
    status = cluster.status()
    print("\n".join(status.lines))
    return 3 if status.condition is Condition.BROKEN else 0


def _job(args: argparse.Namespace) -> Job:
    """Makes the job of the flags.

    Raises:
        Refused: a flag cannot stand in a batch script, or is not the sweep's to have here.
    """
    taken = [word for word in args.flags if word.partition("=")[0] in _OURS]
    if taken:
        raise Refused(
            f"{quoted(taken[0])} after -- is set by the batch script, or makes no run; remove it",
            2,
        )
    for option in args.sbatch:
        if not re.fullmatch(r"--?[A-Za-z][ -~]*", option):
            raise Refused(
                f"--sbatch is {quoted(option)}, but must be one option, such as --partition=gpu", 2
            )
    folder = Path.cwd()
    _check_plain("the current folder is", folder)
    return Job(
        run=_run(args),
        words=tuple(args.words),
        flags=tuple(args.flags),
        nodes=args.nodes,
        cpus=args.cpus,
        gpus=args.gpus,
        minutes=args.minutes,
        options=tuple(args.sbatch),
        python=sys.executable,
        folder=folder,
    )


def _run(args: argparse.Namespace) -> Path:
    """Gives the absolute path of the run's folder."""
    run = Path(os.path.abspath(args.run))
    _check_plain("--run is", run)
    if not run.name:
        raise Refused("--run is /; name a folder for the run, such as runs/grid", 2)
    return run


def _check_plain(what: str, path: Path) -> None:
    """Refuses a path that a line of Slurm's options cannot hold."""
    if not _PLAIN.fullmatch(str(path)):
        raise Refused(
            f"{what} {quoted(str(path))}; Slurm needs a path of letters, digits and ._/+@=-", 2
        )


if __name__ == "__main__":
    sys.exit(main())
