"""All eight tasks run with frozen experts on the embedded sample, from rows to scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mpc_router.config.trial import trial_config
from mpc_router.data.sources import Source
from mpc_router.frozen.lanes import Lane
from mpc_router.frozen.train import train
from mpc_router.model.sources import Models
from mpc_router.prepare.frozen import prepare
from mpc_router.prepare.inputs import Places
from mpc_router.results.records import LanesEnded
from mpc_router.tasks import TASKS, evaluate

SHORT = {
    "pool": "sample",
    "pool_size": 2,
    "train_rows": 128,
    "validation_rows": 60,
    "expert_epochs": 1,
    "epochs": 1,
}


@pytest.mark.parametrize("name", TASKS)
def test_a_task_runs_frozen_from_rows_to_scores(name: str, tmp_path: Path) -> None:
    task = TASKS[name]
    config = trial_config({**SHORT, "task": name})
    places = Places(source=Source(kind="sample"), models=Models(), cache=tmp_path)
    prepared = prepare(config, places)
    assert list(prepared.splits) == ["train", "selection", *task.quoted]
    for split in prepared.splits.values():
        assert split.outputs.shape == (len(split), 2, task.outputs)
        low, high = task.bounds
        assert low <= split.labels.min() < split.labels.max() <= high
    ended = [
        result
        for result in train([Lane(config=config, seed=0)], prepared, device="cpu")
        if isinstance(result, LanesEnded)
    ]
    assert len(ended) == 1
    reports = {report.split: report for report in ended[0].reports}
    assert set(task.quoted) <= set(reports)
    (routing,) = (each for each in ended[0].routing if each.split == task.quoted[-1])
    split = prepared.splits[task.quoted[-1]]
    routed = np.take_along_axis(split.outputs, routing.routes[0][:, None, None], 1)[:, 0]
    said = routed[:, 0] if task.regression else routed.argmax(-1)
    expected = evaluate(task, said[None].astype(np.float64), split.labels)
    report = reports[task.quoted[-1]]
    for metric in ("score", *task.metrics):
        assert report.metrics[metric][0] == pytest.approx(expected[metric][0])
