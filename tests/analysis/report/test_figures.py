"""Figures of the report: a figure is one line of one list."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from analysis.report import _figures
from analysis.report.page import _render
from analysis.runs.load import Run

pytestmark = pytest.mark.usefixtures("quick_reports")


def test_a_further_line_of_the_list_is_a_figure_in_its_place(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = _figures.figures

    def with_one_more(*args: Any) -> list[_figures.Figure]:
        drawn = before(*args)
        return [*drawn, replace(drawn[0], name="further", place="training", text='a "b"')]

    monkeypatch.setattr(_figures, "figures", with_one_more)
    page = _render(run)
    training = page[page.index('<section id="training">') :]
    assert (
        '<div class="chart" id="further" role="img" aria-label="a &#34;b&#34;"></div>' in training
    )
    assert page.count('id="front"') == 1
    assert '"further":{' in page


def test_a_place_that_the_page_lacks_is_refused() -> None:
    with pytest.raises(ValueError, match=r"figure lost stands in attic; allowed: .*'front'"):
        _figures.Figure("lost", "attic", "Nothing that anybody sees", None)


def test_every_figure_is_said_in_words_to_a_reader_who_cannot_see_it(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed: list[_figures.Figure] = []
    figure_class = _figures.Figure

    def noted(*args: Any) -> _figures.Figure:
        listed.append(figure_class(*args))
        return listed[-1]

    monkeypatch.setattr(_figures, "Figure", noted)  # those too that this run cannot give
    _render(run)
    assert {"agreement", "attainment", "history-epochs", "history-hours"} <= {
        figure.name for figure in listed
    }
    assert any(figure.name.startswith("setting-") for figure in listed)
    for figure in listed:
        assert len(figure.text.split()) >= 5, figure.name
        assert figure.text[0].isupper(), figure.name
    assert len({figure.text for figure in listed}) >= len(listed) - 1  # pairs of objectives share
