"""`python -m tests.chaos`: kills studies at random moments, resumes them, checks what is left.

Exit codes: 0 every round kept the promise; 1 one did not.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from tests.chaos import processes
from tests.chaos.blows import KINDS
from tests.chaos.rounds import Round, Setting, Undisturbed, play, undisturbed
from tests.chaos.variants import VARIANTS


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code. Whatever ends it, its processes end with it."""
    args = parser().parse_args(arguments)
    processes.adopt_orphans()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return _rounds(args)
    finally:
        processes.end(processes.orphans())


def _rounds(args: argparse.Namespace) -> int:
    setting = Setting(out=args.out.absolute(), seed=args.seed, short=args.short)
    numbers = [args.only] if args.only is not None else range(args.rounds)
    began = time.monotonic()
    others: dict[str, Undisturbed] = {}
    found: list[Round] = []
    for number in numbers:
        if args.minutes is not None and time.monotonic() - began > args.minutes * 60:
            break
        variant = VARIANTS[args.variants[number % len(args.variants)]]
        if variant.name not in others:
            others[variant.name] = undisturbed(variant, setting)
        since = time.monotonic()
        found.append(play(variant, number, setting, others[variant.name]))
        print(_line(found[-1], time.monotonic() - since), flush=True)
        if found[-1].sound and not args.keep:
            shutil.rmtree(found[-1].folder)
    Console().print(_table(found))
    return _verdict(found, args)


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--rounds", type=int, default=50, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="S")
    parser.add_argument("--variants", type=_names, default=list(VARIANTS), metavar="A,B,...")
    parser.add_argument("--minutes", type=float, metavar="M", help="begin no round after these")
    parser.add_argument("--out", type=Path, default=Path("build/chaos"), metavar="DIR")
    parser.add_argument("--only", type=int, metavar="N", help="this round alone")
    parser.add_argument("--keep", action="store_true", help="keep the folders of sound rounds too")
    parser.add_argument("--short", action="store_true", help="small studies, one kill a round")
    return parser


def _names(text: str) -> list[str]:
    names = text.split(",")
    unknown = [name for name in names if name not in VARIANTS]
    if unknown:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(VARIANTS)}")
    return names


def _line(each: Round, seconds: float) -> str:
    """A round in a line."""
    kills = ", ".join(f"{count} {kind}" for kind, count in each.kills.items()) or "none"
    spent = ", ".join(f"{what} {spent:.0f}" for what, spent in each.spent.items())
    verdict = "ok" if each.sound else "BROKEN: " + "; ".join(each.broken + each.findings.broken)
    return (
        f"round {each.number} {each.variant}: kills {kills}; {each.sessions} sessions, "
        f"{each.findings.repeated} epochs repeated, {seconds:.0f} s ({spent}): {verdict}"
    )


def _table(found: Sequence[Round]) -> Table:
    """A column a variant, and one of all."""
    groups: dict[str, list[Round]] = {}
    for each in found:
        groups.setdefault(each.variant, []).append(each)
    groups["all"] = list(found)
    table = Table("", box=SIMPLE)
    for name in groups:
        table.add_column(name, justify="right")
    columns = [_sums(group) for group in groups.values()]
    for what in columns[0]:
        table.add_row(what, *(str(column[what]) for column in columns))
    return table


def _sums(group: Sequence[Round]) -> dict[str, int]:
    """What is told of some rounds, by its name."""
    findings = [each.findings for each in group]
    return {
        "rounds": len(group),
        **{f"kills of {kind}": sum(each.kills[kind] for each in group) for kind in KINDS},
        "sessions": sum(each.sessions for each in group),
        "orphans at most": max((each.orphans for each in group), default=0),
        "epochs repeated": sum(each.repeated for each in findings),
        "keys lost": sum(each.lost for each in findings),
        "rows doubled": sum(each.doubled for each in findings),
        "rows differing": sum(each.differing for each in findings),
        "litter": sum(each.litter for each in findings),
        "broken": sum(not each.sound for each in group),
    }


def _verdict(found: Sequence[Round], args: argparse.Namespace) -> int:
    broken = [each for each in found if not each.sound]
    for each in broken:
        print(
            f"BROKEN: {each.folder}; again: python -m tests.chaos --seed {args.seed} "
            f"--variants {','.join(args.variants)} --only {each.number}"
        )
    if not broken:
        print(f"{len(found)} rounds, every one kept the promise")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
