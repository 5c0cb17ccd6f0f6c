"""Lists the columns of the report's tables: a column is one line of one list.

A line has a heading, the field of the row (or what is made of the row), and how its value is put in
words. The page draws every table from its columns; nothing else names them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from analysis.figures.objectives import interval_words, name_words, value_words
from analysis.figures.style import MOST_NAMED
from analysis.fronts.objectives import own_objectives
from analysis.fronts.survey import ABOVE, BELOW, EQUAL, Survey
from analysis.questions.answers import Answers
from analysis.report.abstract import export_command
from analysis.runs.alternatives import alternatives
from analysis.runs.load import Run
from analysis.words import LARGER, amount, number, percent, setting_text, signed

if TYPE_CHECKING:
    import pandas as pd

Row = Mapping[str, Any]

NUMBER: Final = "num"
LABEL: Final = "label"
WORDS: Final = ""
COMMAND: Final = "command"
"""Kinds of columns, as the page's style calls them: figures to the right, texts that may wrap."""


@dataclass(frozen=True, slots=True)
class Cell:
    """Holds what a cell shows."""

    text: str
    below: tuple[str, ...] = ()
    """Lines in small print under it."""

    strong: bool = False
    verdict: str = ""
    """Colours the text as a verdict: `above`, `below`, `not distinguishable`."""

    copy: bool = False
    """Says whether a button copies the text: a key, a command."""

    bars: tuple[tuple[str, str], ...] = ()
    """(name, per cent) of shares that are drawn over the text, by expert."""


@dataclass(frozen=True, slots=True)
class Column:
    """Describes a column: its heading, where its value comes from, how that is shown."""

    heading: str
    value: str | Callable[[Row], Any]
    """A field of the row, or what is made of the row; that may be a whole cell."""

    show: Callable[[Any], str] = str
    kind: str = NUMBER
    interval: bool = False
    """Puts the fields `VALUE_low` and `VALUE_high` under the value."""

    strong: bool = False
    phone: bool = True
    """Says whether a narrow screen shows the column."""

    def cell(self, row: Row) -> Cell:
        """Shows a row's value."""
        value = row[self.value] if isinstance(self.value, str) else self.value(row)
        if isinstance(value, Cell):
            return value
        ends = [self.show(row[f"{self.value}_{end}"]) for end in ("low", "high") if self.interval]
        return Cell(self.show(value), (" to ".join(ends),), strong=self.strong)


@dataclass(frozen=True, slots=True)
class Table:
    """Holds a table ready to be drawn: its columns, and a cell for each of them by row."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    broken: tuple[bool, ...]
    """Marks the rows that break a constraint of the study."""

    points: tuple[str, ...]
    """By row, the point that it is about; rows and marks of one point are selected together."""


def tables(run: Run, survey: Survey, answered: Answers) -> dict[str, Table]:
    """Gives the tables of the page by name; one of which the run has nothing has no rows."""
    return {
        "front": front_table(run, survey),
        "objectives": objective_table(run, answered.objectives),
        "rivals": rival_table(run, answered),
        "offers": offer_table(run, survey, answered),
        "routes": route_table(run, answered),
        "leaks": leak_table(run, answered),
    }


def table_of(columns: Sequence[Column], rows: Iterable[Row]) -> Table:
    """Gives the table of some rows: a cell for each column."""
    rows = list(rows)
    return Table(
        tuple(columns),
        tuple(tuple(column.cell(row) for column in columns) for row in rows),
        tuple(bool(row.get("breaks")) for row in rows),
        tuple(str(row.get("point", "")) for row in rows),
    )


def front_table(run: Run, survey: Survey) -> Table:
    """Gives the front in numbers, cheapest first; then what only constraints keep from it."""
    settings = [Column(_plain(name), name, setting_text) for name in run.settings]
    chances = dict(zip(survey.points["point"], survey.points["chance"], strict=True))
    bounds = [Column("bounds", _bounds, kind=WORDS)] if survey.judged.constraints else []
    columns = [
        *([_point_column(run)] if _has_many_settings(run) else settings),
        Column("score", "score", number, interval=True, strong=True),
        Column("cost", "cost", amount, interval=True),
        *bounds,
        Column("over the mix", "over_mix", signed, interval=True),
        Column("against the mix", lambda row: _verdict(row["verdict"]), kind=WORDS),
        Column("headroom", "headroom", share_text),
        Column("speed\N{NON-BREAKING HYPHEN}up", "speed_up", _times),
        Column("on the front", lambda row: chances[row["point"]], share_text),
        Column("shares", lambda row: _bars(run, row["share"]), kind=WORDS),
        Column("key", lambda row: Cell(row["key"], (row["point"],), copy=True), kind=WORDS),
    ]
    return table_of(columns, [*records(survey.front), *records(survey.barred)])


def objective_table(run: Run, points: pd.DataFrame | None) -> Table:
    """Gives the front by the study's own objectives, the best in the first of them first."""
    objectives = own_objectives(run)

    def column(name: str) -> Column:
        def cell(row: Row) -> Cell:
            return Cell(value_words(name, row[name]), (interval_words(name, row),), strong=True)

        return Column(name_words(name), cell)

    columns = [
        _point_column(run, breaks=True),
        *map(column, objectives),
        Column("on the front", "chance", share_text),
    ]
    if points is None:
        return table_of(columns, [])
    first, way = next(iter(objectives.items()))
    front = points[points["on_front"]].sort_values(first, ascending=way == "min")
    return table_of(columns, records(front))


def rival_table(run: Run, answered: Answers) -> Table:
    """Compares gates of the front with the cascades that cost no more."""
    columns = [
        _router_column(run, "gate"),
        Column("score", "gate_score", number),
        Column("cost", "gate_cost", amount),
        Column("cascade", "cascade", kind=LABEL),
        Column("score", "cascade_score", number),
        Column("cost", "cascade_cost", amount),
        Column("difference", "difference", signed, interval=True),
        Column("gate against it", _against, kind=WORDS),
    ]
    rivals = [asdict(rival) for rival in answered.rivals or ()]
    ends = ({"difference_low": row["low"], "difference_high": row["high"]} for row in rivals)
    return table_of(columns, [row | end for row, end in zip(rivals, ends, strict=True)])


def offer_table(run: Run, survey: Survey, answered: Answers) -> Table:
    """Says what to run for at most some costs, what costs more when quoted, and the command.

    Prices that were given with `--costs` have no command, for the run does not know them; nor have
    routers over experts that were handed in as tables.
    """
    command = Column(
        "command", lambda row: Cell(_command(run, survey, row), copy=True), kind=COMMAND
    )
    given = survey.vector.name in run.provenance.get("cost_vectors_given", ())
    exports = bool(export_command(run)) and not given
    columns = [
        Column("at most", "cap", amount),
        _router_column(run, "router"),
        Column("seed", "seed"),
        Column("bias", "bias", bias_text),
        Column("score", "score", number, strong=True),
        Column("cost", _offered_cost),
        *([command] if exports else []),
    ]
    nothing = answered.verdicts is not None and answered.verdicts.nothing_to_route
    return table_of(columns, () if nothing else map(asdict, answered.offers or ()))


def _command(run: Run, survey: Survey, row: Row) -> str:
    """Gives the command that exports an offer: the same demand, under the same prices."""
    vector = survey.vector.name
    words = [] if vector == run.provenance["cost_vector"] else ["--vector", vector]
    return export_command(run, "--at-most", f"{row['cap']:g}", *words)


def route_table(run: Run, answered: Answers) -> Table:
    """Says what routes tell of each feature: a row a point of the front, cheapest first."""
    rows: dict[str, dict[str, Any]] = {}
    fields: dict[str, str] = {}
    for row in [] if answered.information is None else records(answered.information):
        field = fields.setdefault(row["feature"], f"bits on {row['feature']}")
        of_point = rows.setdefault(row["point"], {"point": row["point"], "label": row["label"]})
        of_point[field] = _bits(row["information"], row["high"], row["p"])
    columns = [
        _router_column(run, "router of the front"),
        *(Column(feature, field) for feature, field in fields.items()),
    ]
    return table_of(columns, rows.values())


def leak_table(run: Run, answered: Answers) -> Table:
    """Says what times tell of the label, and what hiding costs."""
    columns = [
        _router_column(run, "router of the front"),
        Column("bits on the label", lambda row: _bits(row["bits"], row["high"], row["p"])),
        Column("cost", "cost", amount),
        Column("padded to one time", "padded_cost", amount),
        Column("padded to two", "bucket_cost", amount),
        Column("bits then", "bucket_bits", number),
    ]
    return table_of(columns, [] if answered.leakage is None else records(answered.leakage))


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Gives the rows of a table by their columns."""
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def _has_many_settings(run: Run) -> bool:
    """Says whether points go by their names, for their settings are too many for a label."""
    return len(run.settings) > MOST_NAMED


def _point_column(run: Run, *, breaks: bool = False) -> Column:
    """Names points with their settings, and with the constraints that they break."""

    def cell(row: Row) -> Cell:
        below = (_breaks(row),) if breaks and row["breaks"] else ()
        label = _plain(row["label"])
        if _has_many_settings(run):
            return Cell(row["point"], (label, *below), strong=True)
        return Cell(label, below)

    return Column("point", cell, kind=LABEL)


def _router_column(run: Run, heading: str) -> Column:
    """Names routers by their settings, or by their names where settings are many."""
    return Column(heading, "point" if _has_many_settings(run) else "label", kind=LABEL)


def _bounds(row: Row) -> Cell:
    return Cell(_breaks(row), verdict=BELOW) if row["breaks"] else Cell("kept", verdict=ABOVE)


def _breaks(row: Row) -> str:
    return f"breaks {', '.join(map(name_words, row['breaks'].split(', ')))}"


def _against(row: Row) -> Cell:
    return _verdict(ABOVE if row["low"] > 0 else BELOW if row["high"] < 0 else EQUAL)


def _verdict(verdict: str) -> Cell:
    return Cell(verdict, verdict=verdict)


def _offered_cost(row: Row) -> Cell:
    over = "over the cap" if row["cost"] > row["cap"] else ""
    return Cell(amount(row["cost"]), (over,))


def _bits(bits: float, chance: float, p: float) -> Cell:
    """Shows bits in bold where they are more than chance gives."""
    return Cell(number(bits), (f"chance {number(chance)}",), strong=bool(p < LARGER))


def _bars(run: Run, shares: Sequence[float]) -> Cell:
    percents = [f"{100 * share:.1f}" for share in shares]
    alone = len(shares) == len(run.expert_names)  # of many paths most have no example
    below = " / ".join(f"{round(float(share))}" for share in percents if alone or float(share))
    bars = tuple(zip(alternatives(run).names, percents, strict=True))
    return Cell("", (f"{below} %",), bars=bars)


def share_text(share: float) -> str:
    """Gives a share in per cent, a dash where there is none."""
    return f"{percent(share)} %" if share == share else "\N{EN DASH}"


def _times(factor: float) -> str:
    return f"{factor:.2f}\N{MULTIPLICATION SIGN}"


def bias_text(bias: float) -> str:
    """Gives a bias with three significant digits; a dash where seeds of experts have their own."""
    if bias != bias:
        return "\N{EN DASH}"
    return f"{bias:.3g}".replace("-", "\N{MINUS SIGN}")


def _plain(name: str) -> str:
    """Gives a name of settings without the signs of a program."""
    return name.replace("_", " ")
