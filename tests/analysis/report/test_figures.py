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
        assert {figure.place for figure in drawn} <= set(_figures.PLACES)
        return [*drawn, replace(drawn[0], name="further", place="training", text='a "b"')]

    monkeypatch.setattr(_figures, "figures", with_one_more)
    page = _render(run)
    training = page[page.index('<section id="training">') :]
    assert (
        '<div class="chart" id="further" role="img" aria-label="a &#34;b&#34;"></div>' in training
    )
    assert page.count('id="front"') == 1
    assert '"further":{' in page
