"""`mpc-router-compare RUN RUN [RUN ...]` prints fronts side by side and who is ahead."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from mpc_router.terminal.flags import Parser, add_trust_flag, place
from mpc_router.terminal.streams import command, say_error

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

    from analysis.fronts.comparison import Comparison

    Part = tuple[RenderableType, Table]

_PLAIN_WIDTH: Final = 120
_LONG: Final = ("verdict", "settings")
_WORDS: Final = {"above": "above", "below": "below", "not distinguishable": "even"}


def _print_comparison(comparison: Comparison, console: Console) -> None:
    """Prints the runs, their differences and the front of all; plain and wide in a pipe."""
    from rich.console import Group

    from analysis.cells import text

    before = console.width
    if not console.is_terminal:
        console.width = max(before, _PLAIN_WIDTH)
    try:
        notes = [text(f"note: {note}", style="yellow") for note in comparison.notes]
        parts = [_sides(comparison), _pairs(comparison), _merged(comparison)]
        console.print(Group(*notes, *(part for pair in parts for part in pair)), markup=False)
    finally:
        console.width = before


def _sides(comparison: Comparison) -> Part:
    from analysis import words
    from analysis.cells import add_row, text

    table = _table("run", "hypervolume", "95 %", "points", "front", "merged", "alone")
    for side in comparison.sides:
        cells = [
            text(side.name),
            f"{side.hypervolume:.3g}",
            f"{side.low:.3g} to {side.high:.3g}",
            *map(str, (side.points, side.front, side.merged)),
            "-" if math.isnan(side.share) else f"{words.percent(side.share)} %",
        ]
        add_row(table, cells)
    score, cost = words.number(comparison.reference[0]), words.amount(comparison.reference[1])
    head = (
        f"Hypervolume on {comparison.split} under {comparison.vector}, reference score {score} at "
        f"cost {cost}; merged: points on the front of all, alone: what of its area no other run "
        "holds"
    )
    return text(head), table


def _pairs(comparison: Comparison) -> Part:
    from analysis.cells import add_row, text

    table = _table("runs", "difference", "95 %", "p (seeds)", "least p", "verdict")
    for pair in comparison.pairs:
        cells = [
            text(f"{pair.first} \N{MINUS SIGN} {pair.second}"),
            f"{pair.difference:+.3g}",
            f"{pair.low:+.3g} to {pair.high:+.3g}",
            *map(_chance, (pair.p, pair.least_p)),
            text(pair.verdict),
        ]
        add_row(table, cells)
    how = "paired over examples and seeds" if comparison.paired else "not paired: other data"
    head = f"Differences, {how}; p: of a permutation of seeds, least p: what so few seeds can show"
    return text(head), table


def _merged(comparison: Comparison) -> Part:
    from analysis import words
    from analysis.cells import add_row, text

    bounded = not comparison.merged["feasible"].all()
    more = ("bounds",) if bounded else ()
    table = _table("run", "point", "score", "cost", "to the mix", *more, "settings")
    for _, row in comparison.merged.iterrows():
        cells = [
            text(row["run"]),
            text(row["point"]),
            words.number(row["score"]),
            words.amount(row["cost"]),
            _WORDS[row["verdict"]],
            *([text(f"breaks {row['breaks']}" if row["breaks"] else "kept")] if bounded else []),
            text(row["label"]),
        ]
        add_row(table, cells)
    return text("The front of all, chosen on selection"), table


def _table(first: str, *others: str) -> Table:
    from analysis.cells import new_table

    table = new_table()
    table.add_column(first)
    for name in others:
        words = name in ("verdict", "to the mix", "settings", "point", "bounds")
        table.add_column(name, justify="left" if words else "right", no_wrap=name not in _LONG)
    return table


def _chance(p: float) -> str:
    return "one seed" if math.isnan(p) else f"{p:.2g}"


def parser() -> Parser:
    """Gives the parser of the command's arguments."""
    made = Parser(
        "mpc-router-compare",
        "Lay the fronts of runs over each other and say which is ahead.",
        "  mpc-router-compare runs/mrpc_grid runs/mrpc_pareto\n",
    )
    made.add_argument("runs", type=place, nargs="+", metavar="RUN", help="folders of runs")
    made.add_argument("--split", help="quoted split (default: the task's first)")
    made.add_argument("--costs", metavar="VECTOR", help="a cost vector of the run, or file:PATH")
    made.add_argument(
        "--force", action="store_true", help="runs with other prices or other data too"
    )
    made.add_argument("--figure", type=place, metavar="FILE", help=".svg, .png, .pdf or .html")
    add_trust_flag(made)
    return made


@command("analysis")
def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the comparison; gives 0, or 2 with one line where there is none."""
    options = parser().parse_args(arguments)
    from mpc_router.plugins import trust

    trust(options.trust)
    from analysis.fronts.comparison import compare_runs
    from analysis.runs.load import RunError, load_run
    from analysis.runs.recosting import priced
    from analysis.runs.untrusted import guarded
    from mpc_router.terminal.console import LastingConsole

    try:
        both = []
        for path in options.runs:
            with guarded(path):
                both.append(priced(load_run(path), options.costs))
        runs, vector = [run for run, _ in both], both[0][1]
        with guarded(*options.runs):
            comparison = compare_runs(runs, split=options.split, vector=vector, force=options.force)
            _print_comparison(comparison, LastingConsole())
        if options.figure:
            from analysis.figures.rivals import comparison_figure
            from analysis.figures.style import save

            save(comparison_figure(comparison), options.figure)
            print(options.figure)
    except BrokenPipeError:
        raise  # a reader is gone, which is no error
    except (RunError, OSError) as error:
        return say_error(str(error), 2)
    return 0


if __name__ == "__main__":
    sys.exit(main())
