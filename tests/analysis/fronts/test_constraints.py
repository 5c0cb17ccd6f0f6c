"""A study's constraints after the search: which points keep them, and what is never recommended."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from rich.console import Console

from analysis.bounds import Constraint, violations
from analysis.figures.front import front_figure
from analysis.front import print_front
from analysis.fronts.comparison import compare_runs
from analysis.fronts.constraints import constraints_of
from analysis.fronts.objectives import objective_front
from analysis.fronts.survey import Survey, survey
from analysis.questions.answers import answers
from analysis.report import abstract
from analysis.report.notices import notices
from analysis.report.page import write_report
from analysis.runs.load import Run, RunError, load_run
from tests.analysis.conftest import WriteRun

pytestmark = pytest.mark.usefixtures("quick_reports")

Constrained = Callable[..., Run]


@pytest.fixture(scope="session")
def constrained(written: WriteRun) -> Constrained:
    """`constrained(name, constraints)`: the plain run of a study with these constraints."""

    def write(name: str, constraints: Any, **changes: Any) -> Run:
        folder = written(f"bounds_{name}", run=f"bounds_{name}", **changes)
        path = folder / "study.yaml"
        study = yaml.safe_load(path.read_text(encoding="utf-8"))
        path.write_text(yaml.safe_dump({**study, "constraints": constraints}), encoding="utf-8")
        return load_run(folder)

    return write


@pytest.fixture(scope="session")
def capped(constrained: Constrained, run: Run) -> tuple[Run, Survey, float]:
    """A run whose dearest point of the front breaks a cap, and the cap."""
    costs = np.sort(survey(run, resamples=0).front["selection_cost"].to_numpy())
    cap = float(costs[-2:].mean())
    limited = constrained("capped", {"cost": {"max": cap}})
    return limited, survey(limited, resamples=40), cap


def _texts(run: Run, taken: Survey) -> str:
    return " ".join(each.text for each in notices(run, taken))


def _printed(run: Run) -> str:
    console = Console(width=160, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    print_front(run, console)
    return console.export_text()


def test_a_point_over_the_cap_is_never_on_the_front_nor_the_best_trade(
    capped: tuple[Run, Survey, float],
) -> None:
    _, taken, cap = capped
    over = taken.points["selection_cost"] > cap
    assert over.any()
    assert (taken.points["feasible"] == ~over).all()
    assert not (taken.points["on_front"] & over).any()
    assert (taken.points.loc[over, "breaks"] == "cost").all()
    assert (taken.points.loc[over, "chance"] == 0).all()
    row = abstract._best_trade(taken)
    assert row is not None
    assert row["selection_cost"] <= cap


def test_a_sentence_says_how_many_points_break_which_bound(
    capped: tuple[Run, Survey, float],
) -> None:
    run, taken, cap = capped
    over = int((~taken.points["feasible"]).sum())
    assert f"{over} of 4 points break" in _texts(run, taken).replace("breaks", "break")
    assert f"cost at most {cap:g} ({over} point" in _texts(run, taken)


@pytest.mark.slow
def test_terminal_picture_and_report_mark_what_only_a_bound_keeps_from_the_front(
    capped: tuple[Run, Survey, float], tmp_path: Path
) -> None:
    run, taken, _ = capped
    assert len(taken.barred) == 1
    text = _printed(run)
    assert text.count("breaks cost") == 1
    assert "without them the last row would be on the front" in text
    assert "breaks a constraint" in str(front_figure(run, taken).to_dict())
    page = write_report(run, tmp_path / "r.html").read_text(encoding="utf-8")
    assert '<tr class="broken" data-point=' in page
    assert "Hollow marks break a constraint" in page


def test_a_study_without_constraints_says_nothing_of_them(run: Run) -> None:
    taken = survey(run)
    assert taken.points["feasible"].all()
    assert taken.barred.empty
    assert "bounds" not in _printed(run)
    assert "constraint" not in _texts(run, taken)
    assert "breaks a constraint" not in str(front_figure(run, taken).to_dict())


def test_where_no_point_keeps_them_the_front_says_so_and_nothing_is_recommended(
    constrained: Constrained, tmp_path: Path
) -> None:
    run = constrained("nothing", {"cost": {"max": 0.5}})
    taken = survey(run)
    assert abstract._best_trade(taken) is None
    assert taken.front["breaks"].eq("cost").all()
    assert "No point keeps the study's constraints on selection" in _printed(run)
    found = answers(run, taken, deep=False)
    assert found.offers == ()
    said = " ".join(abstract.sentences(run, taken, found))
    assert "There is no best trade" in said
    assert "The best trade, picked" not in said
    page = write_report(run, tmp_path / "r.html").read_text(encoding="utf-8")
    assert "What to run for a wanted cost?" not in page


@pytest.mark.parametrize(
    ("name", "bounds"),
    [
        ("score", {"min": 0.8}),
        ("accuracy", {"min": 0.8}),
        ("cost", {"min": 5, "max": 9}),
        ("cost_mpc_seconds_as_if", {"max": 40}),
        ("dead_experts", {"max": 0}),
    ],
)
def test_every_kind_of_bound_is_judged_as_the_search_judges_it(
    constrained: Constrained, name: str, bounds: dict[str, float]
) -> None:
    run = constrained(f"kind_{name}", {name: bounds})
    taken = survey(run, resamples=0)
    bound = Constraint(name=name, low=bounds.get("min"), high=bounds.get("max"))
    last = run.reports[(run.reports["split"] == "selection") & (run.reports["epoch"] == 3)]
    shares = {key: list(share) for key, share in zip(last["key"], last["share"], strict=True)}
    for point, rows in run.trials.groupby("point"):
        values = {} if name == "dead_experts" else {name: rows[f"selection_{name}"].mean()}
        broken = violations([bound], values, [shares[key] for key in rows["key"]])[name] > 0
        row = taken.points.set_index("point").loc[point]
        assert row["feasible"] == (not broken)
    assert taken.points["feasible"].nunique() == 2, "the bound must part the points"


def test_a_front_of_own_objectives_heeds_the_constraints(
    capped: tuple[Run, Survey, float],
) -> None:
    run, _, _ = capped
    found = objective_front(run, objectives={"accuracy": "max", "cost": "min"}, resamples=10)
    assert not (found["on_front"] & ~found["feasible"]).any()
    assert (~found["feasible"]).any()


def test_an_operating_point_is_offered_only_where_its_own_cost_keeps_the_cap(
    capped: tuple[Run, Survey, float],
) -> None:
    run, taken, cap = capped
    found = answers(run, taken, deep=False)
    assert found.operating
    assert found.barred
    assert max(each.chosen_cost for each in found.operating) <= cap
    assert all(each.chosen_cost > cap and each.breaks == "cost" for each in found.barred)


def test_no_recommended_cascade_breaks_a_cap(capped: tuple[Run, Survey, float]) -> None:
    _, taken, cap = capped
    vector = taken.vector.name
    assert taken.judged.allows(score=0.1, cost=cap, vector=vector)
    assert not taken.judged.allows(score=0.1, cost=cap + 1e-6, vector=vector)
    assert taken.judged.allows(score=0.1, cost=1e9, vector="mpc_seconds_as_if")


def test_the_front_of_several_runs_holds_no_point_that_breaks_a_bound(
    capped: tuple[Run, Survey, float], written: WriteRun
) -> None:
    found = compare_runs([capped[0], load_run(written("bounds_free", run="free"))])
    mine = found.merged[found.merged["run"] == "bounds_capped"]
    assert mine["feasible"].all()
    assert any("different constraints" in note for note in found.notes)


@pytest.mark.parametrize(
    "constraints",
    [[1], {"cost": 6}, {"cost": {}}, {"cost": {"most": 6}}, {"cost": {"max": "six"}}, "cost"],
    ids=repr,
)
def test_constraints_of_another_shape_are_refused_in_one_message(
    constrained: Constrained, constraints: Any
) -> None:
    run = constrained(f"odd_{abs(hash(repr(constraints)))}", constraints)
    with pytest.raises(RunError, match=r"study\.yaml: constraints") as caught:
        constraints_of(run)
    assert len(str(caught.value)) < 1000


def test_a_bound_on_what_no_trial_recorded_is_named(constrained: Constrained) -> None:
    with pytest.raises(RunError, match=r"constraints\.'latency' names nothing"):
        survey(constrained("unknown", {"latency": {"max": 1}}))
