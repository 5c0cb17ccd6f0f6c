"""`mpc-router-front RUN` prints the front of a run and its yardsticks."""

from __future__ import annotations

import re
import sys
from argparse import Namespace
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from mpc_router.flags import Parser, add_choice_flags, add_trust_flag, place
from mpc_router.streams import command, say_error

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table
    from rich.text import Text

    from analysis.fronts.survey import Survey
    from analysis.runs.load import Run

_PLAIN_WIDTH: Final = 120
_WIDE: Final = 90
_INTERVAL: Final = "95 %"
_STYLES: Final = {"above": "green", "below": "red", "not distinguishable": "yellow"}
_WORDS: Final = {"above": "above", "below": "below", "not distinguishable": "even"}


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
        text(_heading(survey), style="bold"),
        *_front_tables(run, survey, width),
        *_bounds_line(survey),
        _singles_table(survey),
        *map(text, _closing(run, survey)),
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


class _Column(NamedTuple):
    """Describes a column of a table: a new one is a line of the table's list."""

    heading: str
    cell: Callable[[Any], object]
    """Shows a row of the survey's points or single experts."""

    left: bool = False


def _table(columns: Sequence[_Column], rows: Iterable[Any]) -> Table:
    from analysis.cells import add_row, new_table, text

    table = new_table()
    for column in columns:
        table.add_column(
            text(column.heading),
            justify="left" if column.left else "right",
            style="dim" if column.heading == _INTERVAL else "",
            no_wrap=True,
        )
    for row in rows:
        add_row(table, [column.cell(row) for column in columns])
    return table


def _heading(survey: Survey) -> str:
    from analysis.words import score_words

    over = f" over the {survey.partial} that are there" if survey.partial else ""
    low = f"; score: {score_words(survey.task)}" if survey.task.direction == "min" else ""
    return (
        f"Front{over}: {len(survey.front)} of {len(survey.points)} points, chosen on selection, "
        f"quoted on {survey.split} ({survey.examples} examples){low}"
    )


def _front_tables(run: Run, survey: Survey, width: int) -> list[Table]:
    """Makes one table, or further ones of settings where they leave numbers no room."""
    from analysis.cells import fits

    measured = _measured_columns(survey, wide=width >= _WIDE)
    settings = [_setting_column(name) for name in run.settings]
    point = _Column("point", lambda row: _plain(row["point"]), left=True)
    key = _Column("key", lambda row: _plain(row["key"]), left=True)
    rows = _shown(survey)
    single = _table([point, *settings, *measured, key], rows)
    if fits(single, width):
        return [single]
    spread = [[point, *measured], [point, key]]
    for setting in settings:
        if not fits(_table([*spread[-1], setting], rows), width):
            spread.append([point])
        spread[-1].append(setting)
    return [_table(columns, rows) for columns in spread]


def _measured_columns(survey: Survey, *, wide: bool) -> list[_Column]:
    """Lists the columns of what points measured, without those that have no room or no meaning."""
    from analysis import words
    from analysis.cells import text
    from analysis.fronts.survey import unit

    def shares(row: Any) -> str:
        return "/".join(words.percent(share) for share in row["runs"])

    def verdict(row: Any) -> Text:
        return text(_WORDS[row["verdict"]], style=_STYLES[row["verdict"]])

    paths = any(len(row["share"]) > len(row["runs"]) for row in _shown(survey))
    bounds = [_Column("bounds", _bounds, left=True)] if survey.judged.constraints else []
    return [
        _Column("score", lambda row: words.number(row["score"])),
        _Column(_INTERVAL, lambda row: _range(row, "score")),
        _Column(f"cost{unit(survey)}", lambda row: words.amount(row["cost"])),
        *bounds,
        _Column("runs %" if paths else "shares %", shares),
        _Column("over mix", lambda row: words.signed(row["over_mix"])),
        _Column(_INTERVAL, lambda row: _range(row, "over_mix")),
        _Column("", verdict),
        *([_Column("speed-up", lambda row: f"{row['speed_up']:.2f}x")] if wide else []),
    ]


def _setting_column(name: str) -> _Column:
    return _Column(name, lambda row: _plain(row[name]))


def _shown(survey: Survey) -> list[Any]:
    """Gives the rows of the front, then those that only a constraint keeps from it."""
    return [row for part in (survey.front, survey.barred) for _, row in part.iterrows()]


def _bounds_line(survey: Survey) -> list[Text]:
    from rich.text import Text

    from analysis.fronts.constraints import bounds

    if not survey.judged.constraints:
        return []
    text = f"bounds on selection: {bounds(survey.judged.constraints)}"
    if more := len(survey.barred):
        rows = "row" if more == 1 else f"{more} rows"
        text += f"; without them the last {rows} would be on the front"
    return [Text(text, style="dim")]


def _bounds(row: Any) -> Text:
    from rich.text import Text

    breaks = str(row["breaks"])
    return Text(f"breaks {breaks}", style="red") if breaks else Text("kept", style="green")


def _range(row: Any, name: str) -> str:
    """Gives `.658 .762`: short, for a column under a heading that says what it is."""
    from analysis import words

    ends = (words.number(row[f"{name}_{end}"]) for end in ("low", "high"))
    low, high = (re.sub(r"^(-?)0\.", r"\1.", end) for end in ends)
    return f"{low} {high}".replace("-", "\N{MINUS SIGN}")


def _plain(value: Any) -> str:
    from analysis.words import setting_text

    return setting_text(value)


def _singles_table(survey: Survey) -> Table:
    from analysis import words
    from analysis.fronts.survey import unit

    columns = [
        _Column("single expert", lambda row: row["name"], left=True),
        _Column("score", lambda row: words.number(row["score"])),
        _Column(_INTERVAL, lambda row: _range(row, "score")),
        _Column(f"cost{unit(survey)}", lambda row: words.amount(row["cost"])),
    ]
    return _table(columns, [row for _, row in survey.singles.iterrows()])


def _closing(run: Run, survey: Survey) -> list[str]:
    from analysis import words
    from analysis.fronts.survey import unit
    from analysis.questions.worth import worth

    score, cost = survey.oracle
    low, high = survey.hypervolume_interval
    blind = worth(run, survey)
    return [
        f"label-blind {words.number(blind.score.value)} at {words.amount(blind.free.value)}"
        f"{unit(survey)}, or at {words.amount(blind.paid.value)} where the cheapest expert always "
        "runs first",
        f"oracle {words.number(score)} at {words.amount(cost)}{unit(survey)}, "
        f"router paid   {words.constant_words(survey.task)} "
        f"{words.number(survey.majority['score'])}",
        f"hypervolume {survey.hypervolume:.3g} ({low:.3g} to {high:.3g}), reference score "
        f"{words.number(survey.reference[0])} at cost {words.amount(survey.reference[1])}",
    ]


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
    from analysis.questions.choice import choose
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
    from mpc_router.console import LastingConsole

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
