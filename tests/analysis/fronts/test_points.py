"""Which experts are those of the run: twins, and experts that no whole point has."""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis import schema
from analysis.fronts.survey import survey
from analysis.report.page import write_report
from analysis.runs.load import load_run

WriteRun = Callable[..., Path]


def _rewrite(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = folder / schema.PROVENANCE_FILE
    facts = json.loads(path.read_text())
    change(facts)
    path.write_text(json.dumps(facts))


def test_experts_of_one_name_depth_and_cost_stay_two(written: WriteRun) -> None:
    folder = written("twins", names=("org/tiny", "org/tiny", "org/large"))

    def twins(facts: dict[str, Any]) -> None:
        facts["cost_vectors"]["constants"]["experts"] = [2.0, 2.0, 13.0]

    _rewrite(folder, twins)
    run = load_run(folder)
    assert run.sets[0].members == (0, 1, 2)
    assert run.expert_names == ("tiny #0", "tiny #1", "large")
    assert run.cost_vector(None).experts == (2.0, 2.0, 13.0)
    found = survey(run, resamples=20)
    share = np.stack(found.points["share"].to_list())
    expected = 0.3 + share @ np.array([2.0, 2.0, 13.0])
    assert found.points["cost"].to_numpy() == pytest.approx(expected)


@pytest.mark.usefixtures("quick_reports")
def test_experts_that_no_whole_point_has_are_left_out_of_the_singles(written: WriteRun) -> None:
    folder = written("unfinished", status={(3, seed): schema.FAILED for seed in range(3)})

    def two_sets(facts: dict[str, Any]) -> None:
        first: dict[str, Any] = {
            name: facts[name]
            for name in ("experts", "stem", "cost_vectors", "fingerprints")
            if name in facts
        } | {"joint": False, "points": ["p0", "p1", "p2"]}
        second = copy.deepcopy(first) | {"points": ["p3"]}
        second["experts"][2]["name"] = "org/huge"
        second["cost_vectors"]["constants"]["experts"] = [2.0, 7.0, 20.0]
        facts["sets"] = [first, second]

    _rewrite(folder, two_sets)
    run = load_run(folder)
    assert run.expert_names == ("tiny", "base", "large", "huge")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = survey(run, resamples=20)
    assert found.singles["name"].to_list() == ["tiny", "base", "large"]
    assert np.isfinite(found.reference).all()
    assert found.hypervolume > 0
    assert write_report(run).exists()
