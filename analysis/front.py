"""`mpc-router-front RUN` prints the front of a run and its yardsticks."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from analysis._front_tables import (
    bounds_line,
    closing,
    front_tables,
    heading,
    singles_table,
)
from mpc_router.terminal.flags import Parser, add_choice_flags, add_trust_flag, place
from mpc_router.terminal.streams import command, say_error

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from analysis.runs.load import Run

_PLAIN_WIDTH: Final = 120


def summary(
    run: Run, *, split: str | None = None, vector: str | None = None, width: int = _PLAIN_WIDTH
) -> RenderableType:
    """Shows the front of a run with rich: what was run, front, single experts, yardsticks.

    Columns that a terminal of this width has no room for are left out.

    Raises:
        RunError: the run has no point that can be judged.
    """
    from rich.console import Group

    from analysis.cells import text
    from analysis.fronts.survey import survey as take
    from analysis.report import abstract, notices

    survey = take(run, split=split, vector=vector)
    lines = [text(run.name, style="bold"), text(abstract.what_was_run(run))]
    lines += [
        text(notice.text, style="yellow")
        for notice in notices.notices(run, survey)
        if notice.kind != notices.NOTE
    ]
    return Group(
        *lines,
        "",
        text(heading(survey), style="bold"),
        *front_tables(run, survey, width),
        *bounds_line(survey),
        singles_table(survey),
        *map(text, closing(run, survey)),
    )


def print_front(run: Run | Path, console: Console) -> None:
    """Prints the front of a run, or of its folder.

    The print is plain and wide where the console is no terminal.

    Raises:
        RunError: the folder cannot be read, or no point can be judged.
    """
    from analysis.runs.load import load_run

    _print(load_run(run) if isinstance(run, Path) else run, console)


def _print(
    run: Run,
    console: Console,
    lines: Sequence[str] = (),
    *,
    split: str | None = None,
    vector: str | None = None,
) -> None:
    """Prints the front, the command that exports the best trade, and more lines.

    A file or a pipe has no width, so the table gets what it needs; lines to copy are never cut.
    """
    from analysis.cells import text

    before = console.width
    if not console.is_terminal:
        console.width = max(before, _PLAIN_WIDTH)
    try:
        shown = summary(run, split=split, vector=vector, width=console.width)
        console.print(shown, markup=False)
        for line in (*_export_lines(run, split, vector), *lines):
            console.print(text(line), soft_wrap=True)
    finally:
        console.width = before


def _export_lines(run: Run, split: str | None, vector: str | None) -> list[str]:
    from analysis.fronts.survey import survey as take
    from analysis.report import abstract

    line = abstract.export_line(run, take(run, split=split, vector=vector))
    return ["", "the best trade as a folder that runs:", f"  {line}"] if line else []


def _demand(options: Namespace) -> dict[str, Any]:
    """Gives what was asked to be chosen, as `analysis.choose` takes it; empty without a flag."""
    asked = {"at_most": options.at_most, "reach": options.reach, "knee": options.knee or None}
    return {name: value for name, value in asked.items() if value is not None}


def _choice_lines(
    run: Run, asked: dict[str, Any], split: str | None, vector: str | None, costs: str | None
) -> list[str]:
    """Says what to run for a demand, what it reaches, and the command that exports it.

    Raises:
        RunError: no router meets it.
    """
    from analysis import words
    from analysis.choices.choice import choose
    from analysis.report import abstract

    choice = choose(run, **asked, split=split, vector=vector)
    ((name, value),) = asked.items()
    flag = f"--{name.replace('_', '-')}"
    flags = [flag] if value is True else [flag, f"{value:g}"]
    command = abstract.export_command(run, *flags, *(["--vector", costs] if costs else []))
    over = choice.cost > choice.cap
    row = {name: getattr(choice, name) for name in ("score_low", "score_high")}
    return [
        "",
        f"{' '.join(flags)[2:]}: point {choice.point} ({choice.label}), seed {choice.seed}, bias "
        f"{choice.bias:.3g} in {choice.vector.name}, key {choice.key}",
        f"on {choice.split}: score {words.number(choice.score)} ({words.interval(row, 'score')}) "
        f"at cost {words.amount(choice.cost)} ({words.amount(choice.cost_low)} to "
        f"{words.amount(choice.cost_high)}){', more than was asked for' if over else ''}",
        *([f"  {command}"] if command else []),
    ]


def parser() -> Parser:
    """Gives the parser of the command's arguments."""
    made = Parser(
        "mpc-router-front",
        "Print the Pareto front of a run with its yardsticks.",
        "  mpc-router-front runs/mrpc_grid-20261123T120000\n"
        "  mpc-router-front runs/mrpc_grid-20261123T120000 --at-most 7.5\n",
    )
    made.add_argument("run", type=place, metavar="RUN", help="folder of a run")
    made.add_argument("--split", help="quoted split (default: the task's first)")
    costs = "a cost vector of the run, or file:PATH"
    made.add_argument("--vector", "--costs", dest="costs", metavar="VECTOR", help=costs)
    add_choice_flags(made)
    add_trust_flag(made)
    return made


@command("analysis")
def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the front; gives 0, or 2 with one line where the run cannot be read."""
    options = parser().parse_args(arguments)
    from mpc_router.plugins import trust

    trust(options.trust)
    from analysis.runs.load import RunError, load_run
    from analysis.runs.recosting import priced
    from analysis.runs.untrusted import guarded
    from mpc_router.terminal.console import LastingConsole

    console = LastingConsole()
    try:
        with guarded(options.run):
            run, vector = priced(load_run(options.run), options.costs)
            lines = []
            if asked := _demand(options):
                lines = _choice_lines(run, asked, options.split, vector, options.costs)
            _print(run, console, lines, split=options.split, vector=vector)
    except BrokenPipeError:
        raise  # a reader is gone, which is no error
    except RunError as error:
        return say_error(str(error), 2)
    return 0


if __name__ == "__main__":
    sys.exit(main())
