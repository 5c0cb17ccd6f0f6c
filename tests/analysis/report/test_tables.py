"""Tables of the report: a column is one line of one list."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import pytest

from analysis.fronts.survey import survey
from analysis.report import _tables
from analysis.report._tables import Cell, Column
from analysis.report.page import _render
from analysis.runs.load import Run
from analysis.words import number

pytestmark = pytest.mark.usefixtures("quick_reports")

ROW = {"score": 0.5, "score_low": 0.4, "score_high": 0.75, "name": "base"}


def test_a_column_shows_a_field_with_its_interval_below() -> None:
    column = Column("score", "score", number, interval=True, strong=True)
    assert column.cell(ROW) == Cell("0.500", ("0.400 to 0.750",), strong=True)
    assert Column("name", "name").cell(ROW).text == "base"


def test_a_column_may_make_its_cell_of_the_whole_row() -> None:
    made = Column("which", lambda row: Cell(row["name"], verdict="above")).cell(ROW)
    assert made == Cell("base", verdict="above")
    assert Column("half", lambda row: row["score"] / 2, number).cell(ROW).text == "0.250"


def _table_of(page: str) -> tuple[list[str], list[str]]:
    """The headings and the first row's cells of the first table, with their tags."""
    table = page[page.index("<thead>") : page.index("</table>")]
    first = table[table.index("<tbody>") : table.index("</tr>", table.index("<tbody>"))]
    return re.findall(r"<th\b[^<]*", table), re.findall(r"<td.*?</td>", first, re.S)


def test_every_row_of_the_front_has_a_cell_under_each_heading(run: Run) -> None:
    table = _tables.front_table(run, survey(run))
    headings, cells = _table_of(_render(run))
    assert [text.partition(">")[2] for text in headings] == [c.heading for c in table.columns]
    assert len(cells) == len(table.columns)


def test_a_further_line_of_the_list_is_a_column_of_the_page(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: Callable[..., _tables.Table] = _tables.table_of
    more = Column("<regret>", "regret", number, phone=False)

    def with_one_more(columns: list[Column], rows: list[dict[str, object]]) -> _tables.Table:
        return made([*columns, more] if columns[-1].heading == "key" else columns, rows)

    monkeypatch.setattr(_tables, "table_of", with_one_more)
    headings, cells = _table_of(_render(run))
    best = survey(run).front.iloc[0]
    assert headings[-1] == '<th class="num no-phone">&lt;regret&gt;'
    assert cells[-1] == f'<td class="num no-phone">{number(best["regret"])}</td>'


def test_a_point_of_many_settings_goes_by_its_name(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = survey(run)
    point = taken.front.iloc[0]
    few = _tables.front_table(run, taken)
    assert [column.heading for column in few.columns][: len(run.settings)] == list(run.settings)
    monkeypatch.setattr(_tables, "MOST_NAMED", 1)
    many = _tables.front_table(run, taken)
    assert many.columns[0].heading == "point"
    assert many.rows[0][0] == Cell(str(point["point"]), (str(point["label"]),), strong=True)


def test_what_a_constraint_keeps_from_the_front_comes_last_and_is_marked(run: Run) -> None:
    taken = survey(run)
    barred = taken.front[:1].assign(breaks="cost_mpc", feasible=False, on_front=False)
    table = _tables.front_table(run, replace(taken, front=taken.front[1:], barred=barred))
    assert table.broken == (*[False] * (len(taken.front) - 1), True)


def test_every_row_of_the_front_bears_its_whole_key_and_its_point(run: Run) -> None:
    taken = survey(run)
    table = _tables.front_table(run, taken)
    assert table.columns[-1].heading == "key"
    assert [row[-1] for row in table.rows] == [
        Cell(row["key"], (row["point"],), copy=True) for row in taken.front.to_dict("records")
    ]
