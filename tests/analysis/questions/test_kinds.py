"""Kinds of routers beside each other at stated costs."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest

from analysis.questions.choice import choose
from analysis.questions.kinds import Kind, kinds, kinds_of
from analysis.questions.operating_points import bias_curves
from analysis.report.page import write_report
from analysis.runs.load import Run, load_run
from tests.analysis.path_runs import ROUTERS, Router, world, write

CAPS = (4.0, 9.0, 40.0)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return load_run(write(tmp_path_factory.mktemp("kinds") / "r", world(examples=80)))


@pytest.fixture(scope="module")
def table(run: Run) -> pd.DataFrame:
    return kinds(run, costs=CAPS)


def test_a_kind_is_named_by_what_is_not_usual() -> None:
    usual = Kind(router_kind="gated", combine="last", router_data="train")
    assert usual.words == "gated"
    other = Kind(router_kind="sequential", combine="average", router_data="cross_fitted")
    assert other.words == "sequential, combine=average, on cross_fitted"


def test_every_kind_has_a_row_at_every_cost_that_it_can_keep(run: Run, table: pd.DataFrame) -> None:
    assert len(kinds_of(run)) == len(ROUTERS)
    for cap, rows in table.groupby("cap"):
        assert rows["best"].sum() == 1
        assert rows["selection_score"].max() == rows.loc[rows["best"], "selection_score"].item()
        assert (rows["kind"].value_counts() == 1).all()
        assert set(rows["kind"]) <= {kind.words for kind in kinds_of(run)}
        assert len(rows) == len(ROUTERS) or cap == min(CAPS)


def test_estimates_are_those_of_the_point_s_curve_on_the_quoted_split(
    run: Run, table: pd.DataFrame
) -> None:
    curves = bias_curves(run)
    names = [point.point for point in curves.points]
    for row in table.to_dict("records"):
        place = names.index(row["point"])
        bias = curves.chosen[place].biases.tolist().index(row["bias"])
        assert row["selection_score"] == curves.chosen[place].scores[bias]
        assert curves.chosen[place].costs[bias] <= row["cap"]
        assert row["score"] == pytest.approx(curves.quoted[place].scores[bias])
        assert row["cost"] == pytest.approx(curves.quoted[place].costs[bias])
        assert row["score_low"] <= row["score"] <= row["score_high"]


def test_the_best_kind_is_what_a_choice_under_the_same_cap_takes(
    run: Run, table: pd.DataFrame
) -> None:
    for cap in CAPS:
        (best,) = table[table["best"] & (table["cap"] == cap)].to_dict("records")
        choice = choose(run, at_most=cap)
        assert (choice.point, choice.bias) == (best["point"], best["bias"])


def test_the_gated_kind_has_no_lead_over_itself(table: pd.DataFrame) -> None:
    gated = table[table["router_kind"] == "gated"]
    assert (gated[["over_gated", "over_gated_low", "over_gated_high"]] == 0).all(axis=None)


def test_without_gated_routers_nothing_is_compared_with_them(tmp_path: Path) -> None:
    routers = tuple(router for router in ROUTERS if router.kind != "gated")[:2]
    alone = load_run(write(tmp_path / "r", world(routers=routers, examples=40)))
    assert kinds(alone)["over_gated"].map(math.isnan).all()


@pytest.mark.usefixtures("quick_reports")
def test_the_report_says_which_kind_is_best_where(run: Run, tmp_path: Path) -> None:
    text = write_report(run, tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Which kind of router is best where?" in text
    assert "selection picks" in text
    one = Router(point="p0", kind="gated")
    lone = load_run(write(tmp_path / "lone", world(routers=[one], examples=40)))
    text = write_report(lone, tmp_path / "lone.html").read_text(encoding="utf-8")
    assert "Which kind of router is best where?" not in text
