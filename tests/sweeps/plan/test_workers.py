"""As many workers train as pay for their start."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from sweeps.plan.workers import paying_workers, training_seconds
from sweeps.study.read import load


def test_one_worker_trains_where_there_is_nothing_to_train() -> None:
    assert paying_workers(8, 0.0) == 1


def test_all_workers_train_where_there_is_no_end() -> None:
    assert paying_workers(8, math.inf) == 8
    assert paying_workers(1, math.inf) == 1


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_a_further_worker_has_to_save_a_second(count: int) -> None:
    limit = count * (count + 1) * 1.0
    assert paying_workers(100, 0.999 * limit) == count
    assert paying_workers(100, limit) == count + 1


def test_more_work_never_takes_fewer_workers() -> None:
    counts = [paying_workers(64, seconds) for seconds in np.linspace(0, 5000, 500)]
    assert counts == sorted(counts)
    assert counts[-1] == 64


def seconds_of(*words: str, rows: int = 3301, features: int = 128) -> float:
    study = load("mrpc_grid", ["pool=sample", *words])
    inputs = SimpleNamespace(splits={"train": SimpleNamespace(features=np.empty((rows, features)))})
    ready = [SimpleNamespace(prepared_set=item, inputs=inputs) for item in study.sets]
    return training_seconds(study, cast(Any, ready))


def test_work_grows_with_routers_epochs_and_rows() -> None:
    seconds = seconds_of("epochs=5")
    assert seconds_of("epochs=10") == pytest.approx(2 * seconds)
    assert seconds_of("epochs=5", "seeds=[0]") == pytest.approx(seconds / 3)
    assert seconds_of("epochs=5", rows=6602) == pytest.approx(2 * seconds, rel=0.01)
    assert seconds_of("epochs=5", "router_hidden_size=512") == pytest.approx(2 * seconds)


@pytest.mark.parametrize("word", ["experts=joint", "router_kind=clusters"])
def test_what_was_never_measured_takes_all_workers(word: str) -> None:
    assert seconds_of(word) == math.inf
