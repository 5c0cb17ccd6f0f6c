"""The command `mpc-router-runs` lists, measures and removes runs, and prunes the cache.

Exit codes: 0 done; 2 the input is wrong; 3 the disk refuses; 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mpc_router.messages import one_line, printable, quoted
from mpc_router.terminal.flags import Parser, number, place
from mpc_router.terminal.progress import duration
from mpc_router.terminal.streams import command, say_error
from sweeps.commands.listings.text_table import table_lines
from sweeps.records import InputError

if TYPE_CHECKING:
    from sweeps.commands.listings.cache_contents import Entry
    from sweeps.commands.listings.run_status import RunStatus

_UNITS: Final = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
"""Gives the bytes of each letter that may follow a number of bytes."""

_EXAMPLES: Final = """\
  mpc-router-runs list
  mpc-router-runs status runs/NAME --json
  mpc-router-runs size
  mpc-router-runs remove runs/NAME
  mpc-router-runs cache
  mpc-router-runs cache prune --older-than 30
"""

_VERBS: Final = {
    "list": ("the runs of a folder", "  mpc-router-runs list --out runs\n"),
    "status": (
        "how a run stands, also while it runs",
        "  mpc-router-runs status runs/NAME\n  mpc-router-runs status runs/NAME --json\n",
    ),
    "size": ("the bytes of runs", "  mpc-router-runs size\n  mpc-router-runs size runs/NAME\n"),
    "remove": (
        "remove runs that have ended",
        "  mpc-router-runs remove runs/NAME\n  mpc-router-runs remove runs/A runs/B --yes\n",
    ),
    "cache": (
        "what the cache holds, or with prune less of it",
        "  mpc-router-runs cache\n"
        "  mpc-router-runs cache prune --older-than 30\n"
        "  mpc-router-runs cache prune --keep-bytes 10G\n",
    ),
}
"""Gives what each verb does, and examples of it."""


def parser() -> Parser:
    """Makes the parser of the command line."""
    command_line = Parser("mpc-router-runs", "List, measure and remove runs.", _EXAMPLES)
    verbs = command_line.add_subparsers(required=True, metavar=" | ".join(_VERBS))
    made = {}
    for verb, (help_text, examples) in _VERBS.items():
        made[verb] = verbs.add_parser(
            verb,
            help=help_text,
            description=f"{help_text[0].upper()}{help_text[1:]}.",
            examples=examples,
        )
    for verb in ("list", "size"):
        add = made[verb].add_argument
        add("--out", type=place, default=Path("runs"), metavar="DIR", help="run folders (runs/)")
    made["list"].set_defaults(verb=_list)
    made["status"].add_argument("run", type=place, metavar="RUN", help="a run's folder")
    made["status"].add_argument("--json", action="store_true", help="for programs")
    made["status"].set_defaults(verb=_status)
    made["size"].add_argument("runs", type=place, nargs="*", metavar="RUN", help="default: all")
    made["size"].set_defaults(verb=_size)
    made["remove"].add_argument("runs", type=place, nargs="+", metavar="RUN", help="its folder")
    made["remove"].add_argument("--yes", action="store_true", help="do not ask")
    made["remove"].set_defaults(verb=_remove)
    cache = made["cache"]
    cache.add_argument("prune", nargs="?", choices=("prune",), help="remove unused entries")
    cache.add_argument("--cache", type=place, metavar="DIR", help="default: the user's cache")
    which = cache.add_mutually_exclusive_group()
    which.add_argument("--older-than", type=_days, metavar="DAYS", help="not used for so long")
    which.add_argument("--keep-bytes", type=_bytes, metavar="N", help="the last used; 10G, 500M")
    cache.set_defaults(verb=_cache)
    return command_line


def _days(text: str) -> float:
    """Reads a number of days."""
    days = number(float)(text)
    if days < 0:
        raise argparse.ArgumentTypeError(f"{quoted(text)} is less than no days; write 30, or 0.5")
    return days


def _bytes(text: str) -> int:
    """Reads a number of bytes, with a letter for thousands."""
    parts = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{1,3})?)([KMGT]?)", text)
    if parts is None:
        raise argparse.ArgumentTypeError(f"{quoted(text)} is no number of bytes; write 10G or 500M")
    return int(float(parts[1]) * _UNITS[parts[2]])


@command("sweep")
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    args = parser().parse_args(sys.argv[1:] if arguments is None else arguments)
    verb: Callable[[argparse.Namespace], None] = args.verb
    try:
        verb(args)
    except InputError as error:
        return say_error(str(error), 2)
    except BrokenPipeError:
        raise  # a closed reader is no error
    except OSError as error:
        return say_error(str(error), 3)
    except KeyboardInterrupt:
        return say_error("stopped", 130)
    return 0


def _bytes_text(count: float) -> str:
    """Writes a number of bytes in a unit that fits."""
    for letter, unit in reversed(_UNITS.items()):
        if count >= unit and letter:
            return f"{count / unit:.3g} {letter}B"
    return f"{count:.0f} B"


def _list(args: argparse.Namespace) -> None:
    """Prints a line for each run of a folder."""
    from sweeps.commands.listings.run_status import run_status, runs_in

    rows = [("run", "state", "trials", "failed", "started (UTC)")]
    unreadable = []
    for run in runs_in(args.out):
        try:
            status = run_status(run)
        except InputError as error:
            rows.append((run.name, "damaged", "", "", ""))
            unreadable.append(one_line(str(error)))
            continue
        trials = f"{status.counts.done} of {status.counts.total}"
        failed = str(status.counts.failed or "")
        rows.append((run.name, status.state, trials, failed, status.started[:16].replace("T", " ")))
    if len(rows) == 1:
        print(f"no runs in {args.out}")
        return
    print("\n".join(table_lines(rows, left=2)))
    for text in unreadable:
        print(text)


def _status(args: argparse.Namespace) -> None:
    """Prints how a run stands."""
    from sweeps.commands.listings.run_status import run_status

    status = run_status(args.run)
    if args.json:
        print(json.dumps(status.to_json(), indent=1))
        return
    from mpc_router.terminal.console import LastingConsole
    from sweeps.terminal.display import front_table

    for line in _status_lines(status):
        print(line)
    if status.front:
        sys.stdout.flush()
        console = LastingConsole(highlight=False)
        if not console.is_terminal:
            console.width = 120
        console.print(front_table(status.front))


def _status_lines(status: RunStatus) -> list[str]:
    """Says in lines how a run stands, without its front."""
    left = "" if status.seconds_left is None else f", about {duration(status.seconds_left)} left"
    lines = [
        f"{printable(str(status.run))}: {printable(status.study)}, {printable(status.state)}",
        str(status.counts),
        f"{status.epochs} epochs of trials in {duration(status.seconds)}{left}; "
        f"last event {status.last_event}",
    ]
    if status.resumes:
        lines.append(f"go on with mpc-router-sweep --resume {printable(str(status.run))}")
    return lines


def _size(args: argparse.Namespace) -> None:
    """Prints the bytes of runs by part."""
    from sweeps.commands.listings.run_files import sizes
    from sweeps.commands.listings.run_status import runs_in

    by_run = {run: sizes(run) for run in args.runs or runs_in(args.out)}
    if not by_run:
        print(f"no runs in {args.out}")
        return
    parts = list(next(iter(by_run.values())))
    rows = [("run", "in all", *parts)]
    for run, totals in by_run.items():
        counted = (sum(totals.values()), *totals.values())
        rows.append((str(run), *map(_bytes_text, counted)))
    if len(by_run) > 1:
        rows.append(
            (
                f"{len(by_run)} runs",
                _bytes_text(sum(sum(totals.values()) for totals in by_run.values())),
                *(_bytes_text(sum(totals[part] for totals in by_run.values())) for part in parts),
            )
        )
    print("\n".join(table_lines(rows)))


def _remove(args: argparse.Namespace) -> None:
    """Removes runs, after a question."""
    from sweeps.commands.listings.run_files import foreign, remove, sizes
    from sweeps.commands.listings.run_status import RUNNING, run_status

    questions = {}
    for run in args.runs:
        facts = _bytes_text(sum(sizes(run).values()))
        try:
            status = run_status(run)
        except InputError:
            facts += ", its journal is damaged"
        else:
            if status.state == RUNNING:
                raise InputError(f"{run} is running; stop it first: touch {run / 'stop'}")
            facts += f", {status.counts.done} of {status.counts.total} trials done"
        if others := foreign(run):
            facts += f"; {len(others)} names in it are no run's and stay: {', '.join(others)}"
        questions[run] = one_line(f"remove {run} ({facts})?")
    if not args.yes and not sys.stdin.isatty():
        raise InputError("there is no terminal to ask on; give --yes to remove the runs")
    for run, question in questions.items():
        if not (args.yes or _agreed(question)):
            print(f"{run} stays")
            continue
        left = remove(run)
        print(f"{run} is removed" + (f", but for {one_line(', '.join(left))}" if left else ""))


def _agreed(question: str) -> bool:
    """Asks a question on the terminal; tells whether the answer is yes."""
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _cache(args: argparse.Namespace) -> None:
    """Prints what the cache holds, or prunes it."""
    import platformdirs

    from sweeps.commands.listings import cache_contents as contents

    cache: Path = args.cache or platformdirs.user_cache_path("mpc-router")
    limits = args.older_than is not None or args.keep_bytes is not None
    if limits and not args.prune:
        raise InputError("--older-than and --keep-bytes are for `cache prune`; write prune too")
    if args.prune and not limits:
        raise InputError("say what to prune: --older-than DAYS or --keep-bytes N")
    all_entries = contents.entries(cache)
    if not args.prune:
        _print_cache(cache, all_entries)
        return
    if args.older_than is not None:
        chosen = contents.older_than(all_entries, days=args.older_than)
    else:
        chosen = contents.above(
            all_entries,
            kept=args.keep_bytes,
            may_go=lambda entry: contents.is_unused(cache, entry.folder),
        )
    gone = list(contents.prune(cache, chosen))
    left = contents.entries(cache)
    freed = contents.total_bytes(all_entries) - contents.total_bytes(left)
    used = len(chosen) - len(gone)
    kept = f"; {used} stay because a sweep that runs uses them" if used else ""
    print(
        f"{len(gone)} of {len(all_entries)} entries are removed, {_bytes_text(freed)}{kept}; "
        f"{cache} holds {_bytes_text(contents.total_bytes(left))}"
    )


def _print_cache(cache: Path, all_entries: Sequence[Entry]) -> None:
    """Prints what the cache holds, by what it belongs to."""
    from sweeps.commands.listings import cache_contents as contents

    if not all_entries:
        print(f"{cache} holds nothing")
        return
    now = time.time()
    rows = [("of", "entries", "bytes", "last use")]
    for group in contents.groups(all_entries):
        ago = f"{duration(max(0.0, now - group.last_use))} ago"
        rows.append((group.label, str(group.entries), _bytes_text(group.bytes), ago))
    rows.append(("all", str(len(all_entries)), _bytes_text(contents.total_bytes(all_entries)), ""))
    print("\n".join(table_lines(rows)))
    print(f"in {cache}; entries may share files, which `all` counts once")


if __name__ == "__main__":
    sys.exit(main())
