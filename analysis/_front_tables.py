"""Tables and lines of a front for the terminal."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from analysis.fronts.survey import Survey
    from analysis.runs.load import Run

_WIDE: Final = 90
_INTERVAL: Final = "95 %"
_STYLES: Final = {"above": "green", "below": "red", "not distinguishable": "yellow"}
_WORDS: Final = {"above": "above", "below": "below", "not distinguishable": "even"}


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


def heading(survey: Survey) -> str:
    from analysis.words import score_words

    over = f" over the {survey.partial} that are there" if survey.partial else ""
    low = f"; score: {score_words(survey.task)}" if survey.task.direction == "min" else ""
    return (
        f"Front{over}: {len(survey.front)} of {len(survey.replicates)} points, chosen on "
        f"selection, quoted on {survey.split} ({survey.examples} examples){low}"
    )


def front_tables(run: Run, survey: Survey, width: int) -> list[Table]:
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


def bounds_line(survey: Survey) -> list[Text]:
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


def singles_table(survey: Survey) -> Table:
    from analysis import words
    from analysis.fronts.survey import unit

    columns = [
        _Column("single expert", lambda row: row["name"], left=True),
        _Column("score", lambda row: words.number(row["score"])),
        _Column(_INTERVAL, lambda row: _range(row, "score")),
        _Column(f"cost{unit(survey)}", lambda row: words.amount(row["cost"])),
    ]
    return _table(columns, [row for _, row in survey.singles.iterrows()])


def closing(run: Run, survey: Survey) -> list[str]:
    from analysis import words
    from analysis.fronts.survey import unit
    from analysis.worth.worth import worth

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
