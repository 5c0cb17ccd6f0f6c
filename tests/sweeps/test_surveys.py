"""The analysis of runs with several prepared sets, and of trials with experts of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.fronts.survey import survey
from analysis.questions.utilization import utilization
from analysis.report.page import write_report
from analysis.runs.load import load_run
from analysis.runs.outcomes import outcomes, roster
from sweeps.run import main
from tests.sweeps.conftest import LITTLE, without_ray

STUDIES = {
    "sizes": ("mrpc_pool_size", *LITTLE, "epochs=2", "seeds=[0, 1]"),
    "profiles": (
        *("mrpc_cost_profiles", *LITTLE, "epochs=1", "seeds=[0, 1]"),
        "expert_costs={grid: [[2, 7, 13], [13, 7, 2]]}",
    ),
    "kinds": (
        *("mrpc_grid", *LITTLE, "alpha=0.05", "beta=0.08", "seeds=[0, 1]", "epochs=2"),
        *("stem=expert", "router_kind={grid: [gated, predictive, clusters]}"),
        "router_clusters=3",
    ),
    "both": (
        *("mrpc_grid", *LITTLE, "alpha=0.05", "beta=0.08", "seeds=[0, 1]", "epochs=1"),
        *("experts={grid: [frozen, joint]}", "expert_start=fine_tuned"),
    ),
}


@pytest.fixture(scope="module", params=list(STUDIES))
def run(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, sample_cache: Path
) -> Path:
    folder: Path = tmp_path_factory.mktemp(request.param)
    with pytest.MonkeyPatch.context() as patch:
        without_ray(patch)
        known = ("--cache", str(sample_cache), "--out", str(folder), "--no-report")
        assert main([*STUDIES[request.param], "--sample", "--name", request.param, *known]) == 0
    return folder / str(request.param)


def test_every_point_is_quoted_as_its_trials_reported(run: Path) -> None:
    loaded = load_run(run)
    found = survey(loaded, resamples=20).points.set_index("point")
    said = loaded.trials.groupby("point")[["validation_score", "validation_cost"]].mean()
    for point in said.index:
        assert found.loc[point, "score"] == pytest.approx(said.loc[point, "validation_score"])
        assert found.loc[point, "cost"] == pytest.approx(said.loc[point, "validation_cost"])


def test_shares_are_over_all_experts_and_none_goes_to_one_outside_the_pool(run: Path) -> None:
    loaded = load_run(run)
    for name, row in utilization(loaded).set_index("point").iterrows():
        own = loaded.sets[loaded.set_of_point[str(name)]].members
        assert len(row["share"]) == len(loaded.expert_names) == 3
        assert sum(row["share"][k] for k in own) == pytest.approx(1)


def test_sets_that_agree_are_one_pool_and_own_experts_are_pools_of_their_own(run: Path) -> None:
    loaded = load_run(run)
    seen = outcomes(loaded, roster(loaded), "validation")
    expected = {"sizes": 1, "profiles": 1, "kinds": 1, "both": 3}[run.name]
    assert len(seen.pools) == expected
    assert survey(loaded, resamples=20).joint == (run.name == "both")


@pytest.mark.slow
@pytest.mark.usefixtures("quick_reports")
def test_its_report_can_be_written(run: Path) -> None:
    text = write_report(load_run(run)).read_text(encoding="utf-8")
    assert "analysis of variance" in text
    words = {
        "sizes": "2 prepared sets",
        "profiles": "[13, 7, 2]",
        "kinds": "router_kind",
        "both": "means over these sets",
    }
    assert words[run.name] in text
