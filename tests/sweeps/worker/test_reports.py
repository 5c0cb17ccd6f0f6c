"""Reports of a pack's trials: by path what routes say, by expert what runs."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest

from mpc_router.config.trial import trial_config
from mpc_router.results.records import ARRAYS, SplitReport
from sweeps.records import Trial
from sweeps.worker._pack_run import _report

BASE = {"task": "mrpc", "pool": "sample", "experts": "frozen", "stem": "expert"}


def split_report(share: list[float]) -> SplitReport:
    numbers: dict[str, Any] = {name: np.array([0.5]) for name in ARRAYS}
    shares = np.array([share])
    return SplitReport(
        split="selection",
        lanes=np.array([0]),
        metrics={"score": np.array([0.8])},
        cost={"constants": np.array([6.0])},
        **{**numbers, "share": shares, "gate": shares},
    )


@pytest.mark.parametrize(
    ("kind", "share", "runs"),
    [
        ({"router_kind": "cascade"}, [0.5, 0.3, 0.2], (1.0, 0.5, 0.2)),
        ({"router_kind": "predictive", "combine": "average"}, [0.5, 0.3, 0.2], (1.0, 0.3, 0.2)),
        ({"router_kind": "predictive"}, [0.5, 0.3, 0.2], ()),
        ({}, [0.5, 0.3, 0.2], ()),
    ],
    ids=str,
)
def test_a_report_of_paths_says_for_how_many_examples_an_expert_runs(
    kind: dict[str, str], share: list[float], runs: tuple[float, ...]
) -> None:
    config = trial_config(BASE | kind)
    trial = Trial(key="k", point="p0", seed=0, config=json.dumps(asdict(config)))
    report = _report(split_report(share), 0, trial, epoch=1, seconds=1.0)
    assert report.share == tuple(share)
    assert report.runs == pytest.approx(runs)
    assert report.expert_share == pytest.approx(runs or share)
