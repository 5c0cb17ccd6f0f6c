"""`python -m analysis.compare RUN RUN [RUN ...]`: fronts beside each other, and who is ahead."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from analysis.comparing import Comparison


def print_comparison(found: Comparison, console: Console) -> None:
    """Tables of the runs, of their differences, and of the front of all together."""
    from rich import box
    from rich.table import Table

    from analysis import words

    def table(title: str, *columns: str) -> Table:
        made = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
        for number, column in enumerate(columns):
            made.add_column(column, justify="left" if number == 0 else "right")
        return made

    for note in found.notes:
        console.print(f"note: {note}", style="yellow", highlight=False)
    cost = words.amount(found.reference[1])
    sides = table(
        f"hypervolume on {found.split}, vector {found.vector}, reference score "
        f"{words.number(found.reference[0])} at cost {cost}",
        *("run", "hypervolume", "95 %", "points", "front", "on the merged front", "holds alone"),
    )
    for side in found.sides:
        sides.add_row(
            side.name,
            f"{side.hypervolume:.3g}",
            f"{side.low:.3g} to {side.high:.3g}",
            *map(str, (side.points, side.front, side.merged)),
            "-" if math.isnan(side.share) else f"{words.percent(side.share)} %",
        )
    console.print(sides)
    how = "paired over seeds and examples" if found.paired else "not paired: other data"
    pairs = table(
        f"differences, {how}",
        *("runs", "difference", "95 %", "p (seeds)", "least p", "verdict"),
    )
    for pair in found.pairs:
        pairs.add_row(
            f"{pair.first} \N{MINUS SIGN} {pair.second}",
            f"{pair.difference:+.3g}",
            f"{pair.low:+.3g} to {pair.high:+.3g}",
            *map(_chance, (pair.p, pair.least_p)),
            pair.verdict,
        )
    console.print(pairs)
    merged = table("the front of all", "run", "point", "score", "cost", "verdict")
    for _, row in found.merged.iterrows():
        merged.add_row(
            str(row["run"]),
            str(row["point"]),
            words.number(row["score"]),
            words.amount(row["cost"]),
            str(row["verdict"]),
        )
    console.print(merged)


def _chance(p: float) -> str:
    return "one seed" if math.isnan(p) else f"{p:.2g}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m analysis.compare",
        description="Lay the fronts of runs over each other and say which is ahead.",
        epilog="example: python -m analysis.compare runs/mrpc_grid runs/mrpc_pareto",
    )
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folders of runs")
    parser.add_argument("--split", help="quoted split (default: the task's first)")
    parser.add_argument("--costs", metavar="VECTOR", help="cost vector (default: the study's)")
    parser.add_argument(
        "--force", action="store_true", help="runs with other prices or other data too"
    )
    parser.add_argument("--figure", type=Path, metavar="FILE", help=".svg, .png, .pdf or .html")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the comparison; 0, or 2 with one line where there is none."""
    options = _parser().parse_args(arguments)
    from rich.console import Console

    from analysis.comparing import compare
    from analysis.load import RunError, load_run

    try:
        runs = [load_run(path) for path in options.runs]
        found = compare(runs, split=options.split, vector=options.costs, force=options.force)
        print_comparison(found, Console())
        if options.figure:
            from analysis.palette import save
            from analysis.rival_figures import comparison_figure

            save(comparison_figure(found), options.figure)
            print(options.figure)
    except (RunError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
