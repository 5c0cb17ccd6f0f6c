from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from analysis.fronts.survey import points
from analysis.runs.load import Run, RunError
from analysis.runs.recosting import _mean_costs, _read_vectors, break_even, recosted
from mpc_router.costs import CostVector, to_json
from tests.analysis.conftest import WriteRun

pytestmark = pytest.mark.usefixtures("quick_reports")

OURS = CostVector(name="ours", unit="s", router=0.4, experts=(0.5, 3.0, 9.0))
PROJECTED = CostVector(name="mpc", unit="s", router=4.17, experts=(4.11, 69.71, 199.78))


def _write(path: Path, data: object) -> Path:
    path.write_text(json.dumps(data))
    return path


def test_a_file_holds_vectors_as_provenance_does(tmp_path: Path) -> None:
    path = _write(tmp_path / "costs.json", to_json({"ours": OURS}))
    assert _read_vectors(path) == {"ours": OURS}


def test_a_file_by_hand_may_leave_out_what_is_false(tmp_path: Path) -> None:
    path = _write(
        tmp_path / "costs.json", {"ours": {"unit": "s", "router": 0.4, "experts": [0.5, 3, 9]}}
    )
    assert _read_vectors(path) == {"ours": OURS}


@pytest.mark.parametrize(
    "data",
    [
        [],
        {},
        {"ours": 3},
        {"ours": {"unit": "s"}},
        {"ours": {"unit": "s", "router": -1, "experts": [1]}},
        {"ours": {"unit": "s", "router": 0, "experts": []}},
    ],
)
def test_a_file_that_holds_no_vectors_says_what_one_looks_like(
    data: object, tmp_path: Path
) -> None:
    with pytest.raises(RunError, match=r"costs.json: .*need .*\"router\"") as refused:
        _read_vectors(_write(tmp_path / "costs.json", data))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("text", [None, "{", "\x00"])
def test_a_file_that_is_no_json_is_named(text: str | None, tmp_path: Path) -> None:
    path = tmp_path / "costs.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(RunError, match=r"costs.json: not readable as JSON"):
        _read_vectors(path)


def test_a_front_under_new_prices_is_that_of_the_same_routes(run: Run) -> None:
    dearer = points(recosted(run, {"ours": OURS}), vector="ours", resamples=4).set_index("point")
    before = points(run, resamples=4).set_index("point")
    assert dearer["score"].to_numpy() == pytest.approx(before["score"].to_numpy())
    for point in before.index.astype(str):
        share = np.asarray(before.loc[point, "share"])
        assert dearer.loc[point, "cost"] == pytest.approx(OURS.mean(share))


def test_trials_are_priced_one_by_one_as_their_sweep_would_have(run: Run) -> None:
    """The run's own vector under another name gives the column that the sweep wrote."""
    again = replace(run.cost_vectors["mpc_seconds_as_if"], name="again")
    trials = recosted(run, {"again": again}).trials
    for split in ("selection", "validation"):
        written = trials[f"{split}_cost_mpc_seconds_as_if"].to_numpy()
        assert trials[f"{split}_cost_again"].to_numpy() == pytest.approx(written)
    assert "selection_cost_again" not in run.trials


def test_the_vectors_of_the_run_are_still_there_and_the_run_is_as_it_was(run: Run) -> None:
    priced = recosted(run, {"ours": OURS})
    assert priced.cost_vector("ours") == OURS
    assert priced.cost_vector() == run.cost_vector()
    assert "ours" not in run.cost_vectors


def test_the_same_costs_again_are_no_clash_and_other_costs_are(run: Run) -> None:
    same = run.cost_vector()
    assert recosted(run, {same.name: same}).cost_vector() == same
    with pytest.raises(RunError, match="with other costs"):
        recosted(run, {same.name: replace(OURS, name=same.name)})


def test_a_vector_of_another_number_of_experts_is_refused(run: Run) -> None:
    short = replace(OURS, experts=(1.0, 2.0))
    with pytest.raises(RunError, match=r"'ours' has 2 experts, the run 3 \(tiny, base, large\)"):
        recosted(run, {"ours": short})


def _in_sets(run: Run, counts: dict[int, list[str]]) -> Run:
    """The run as if its points belonged to pools of its first experts."""
    whole = run.provenance["cost_vectors"]["constants"]
    sets = [
        {
            "name": f"K{count}",
            "points": points,
            "joint": False,
            "experts": run.provenance["experts"][:count],
            "cost_vectors": {"constants": {**whole, "experts": whole["experts"][:count]}},
        }
        for count, points in counts.items()
    ]
    return Run(path=run.path, provenance={**run.provenance, "sets": sets}, study=run.study)


def test_every_set_takes_the_prices_of_its_own_experts(run: Run) -> None:
    priced = recosted(_in_sets(run, {3: ["p0", "p1", "p3"], 2: ["p2"]}), {"ours": OURS})
    assert [each.vectors["ours"].experts for each in priced.sets] == [(0.5, 3.0, 9.0), (0.5, 3.0)]
    assert priced.cost_vector("ours") == OURS


def test_the_projection_of_the_published_shares_holds() -> None:
    routes = np.repeat([0, 1, 2], [169, 283, 548])[None]
    assert _mean_costs(routes, PROJECTED) == pytest.approx([134.07], abs=0.005)
    share = np.array([0.169, 0.283, 0.548])
    assert PROJECTED.speed_up(share) == pytest.approx(1.490, abs=5e-4)


def test_a_router_at_its_break_even_price_costs_what_the_dearest_expert_does() -> None:
    share = np.array([[0.169, 0.283, 0.548], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    limits = break_even(share, PROJECTED)
    for limit, row in zip(limits, share, strict=True):
        priced = replace(PROJECTED, router=float(max(limit, 0.0)))
        assert priced.mean(row) == pytest.approx(199.78)
    assert limits[2] == pytest.approx(0)


def test_the_commands_take_prices_from_a_file(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from analysis.front import main

    prices = tmp_path / "ours.json"
    prices.write_text('{"ours": {"unit": "s", "router": 0.4, "experts": [0.5, 3, 900]}}')
    assert main([str(run_folder), "--costs", f"file:{prices}"]) == 0
    said = capsys.readouterr().out
    assert "900" in said
    assert "cost s" in said
    prices.write_text('{"ours": {"unit": "s", "router": 0.4, "experts": [0.5, 3]}}')
    assert main([str(run_folder), "--costs", f"file:{prices}"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    one = '{"unit": "s", "router": 0, "experts": [1, 2, 3]}'
    prices.write_text(f'{{"a": {one}, "b": {one.replace("3", "700")}}}')
    assert main([str(run_folder), "--costs", f"file:{prices}"]) == 0
    assert "700" not in capsys.readouterr().out
    assert main([str(run_folder), "--costs", f"file:{prices}#b"]) == 0
    assert "700" in capsys.readouterr().out
    assert main([str(run_folder), "--costs", f"file:{prices}#c"]) == 2
    assert "no cost vector 'c'; it has a, b" in capsys.readouterr().err


def test_report_and_comparison_are_made_under_the_prices_of_a_file(
    run_folder: Path, written: WriteRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from analysis import compare
    from analysis.report import __main__ as report

    prices, page = tmp_path / "ours.json", tmp_path / "page.html"
    prices.write_text('{"ours": {"unit": "guineas", "router": 0.4, "experts": [0.5, 3, 9]}}')
    before = sorted(run_folder.iterdir())
    asked = ["--costs", f"file:{prices}"]
    assert report.main([str(run_folder), *asked, "--out", str(page)]) == 0
    assert "guineas" in page.read_text(encoding="utf-8")
    assert sorted(run_folder.iterdir()) == before  # the run itself is left as it was
    capsys.readouterr()
    other = written("other prices", run="other", points=((0.0, 0.0), (0.5, 0.01)))
    assert compare.main([str(run_folder), str(other), *asked]) == 0
    said = capsys.readouterr().out
    assert "under ours" in said
    assert "at cost 9.4" in said  # the dearest expert with the router
    assert compare.main([str(run_folder), str(other), "--costs", f"file:{tmp_path / 'no'}"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
