"""A stack drained, and everything a lane leaves: for tests that compare lanes."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np

from mpc_router.config.trial import TrialConfig, trial_config
from mpc_router.frozen.train import Lane, train
from mpc_router.prepare.frozen import Prepared
from mpc_router.results.records import EpochResult, LanesEnded, SplitReport


def config(**settings: Any) -> TrialConfig:
    small = {"task": "mrpc", "pool": "sample", "router_hidden_size": 16, "epochs": 2}
    return trial_config({**small, **settings})


def drained(
    lanes: Iterable[Lane],
    prepared: Prepared,
    *,
    drop: Mapping[int, Collection[int]] | None = None,
    keep_best: bool = False,
) -> tuple[list[EpochResult], dict[int, LanesEnded]]:
    """Every epoch, and by lane the event that ended it; `drop` names lanes by epoch."""
    run = train(list(lanes), prepared, keep_best=keep_best)
    epochs: list[EpochResult] = []
    ended: dict[int, LanesEnded] = {}
    answer: Collection[int] | None = None
    while True:
        try:
            event = run.send(answer)
        except StopIteration:
            return epochs, ended
        answer = None
        if isinstance(event, EpochResult):
            epochs.append(event)
            answer = (drop or {}).get(event.epoch)
        else:
            ended |= {int(lane): event for lane in event.lanes}


def arrays(report: SplitReport, lane: int) -> dict[str, Any]:
    """Everything a report says of one lane."""
    row = int(np.flatnonzero(report.lanes == lane)[0])
    plain = {
        field.name: getattr(report, field.name)[row]
        for field in dataclasses.fields(report)
        if field.name not in ("split", "lanes", "metrics", "cost")
    }
    named = {
        f"{kind}.{name}": values[row]
        for kind in ("metrics", "cost")
        for name, values in getattr(report, kind).items()
    }
    return plain | named


def left_by(ended: LanesEnded, lane: int) -> dict[str, Any]:
    """What a lane leaves: reports, routes, logits and weights."""
    place = int(np.flatnonzero(ended.lanes == lane)[0])
    left: dict[str, Any] = {}
    for report in ended.reports:
        left |= {f"{report.split}.{name}": value for name, value in arrays(report, lane).items()}
    for routing in ended.routing:
        left[f"{routing.split}.routes"] = routing.routes[place]
        left[f"{routing.split}.logits"] = routing.logits[place]
    checkpoint = ended.checkpoints[place]
    left |= {name: value.numpy() for name, value in checkpoint.weights.items()}
    return left


def assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        np.testing.assert_array_equal(value, other[name], err_msg=name)
