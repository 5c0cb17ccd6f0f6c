"""The simulated share of workers that one server feeds, and messages of packs that do nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.driver import EPOCHS, share
from benchmarks.idle_packs import messages
from mpc_router.config.trial import to_tree
from sweeps.records import COMPLETED, Message, Pack, Trial
from sweeps.study.read import load


def test_a_server_that_takes_no_time_keeps_all_workers_busy() -> None:
    for workers in (1, 8, 128):
        spread = 1 + 1 / (40 * EPOCHS)  # they begin one after the other within an epoch
        assert 1 / spread <= share(workers=workers, epoch=1.0, result=0.0, pack=0.0) <= 1


@pytest.mark.parametrize(("result", "pack"), [(0.5, 0.0), (0.1, 1.8), (2.0, 9.0)])
def test_one_worker_trains_the_share_of_a_cycle_that_is_an_epoch(
    result: float, pack: float
) -> None:
    trained_share = share(workers=1, epoch=1.0, result=result, pack=pack, packs=100)
    assert trained_share == pytest.approx(1 / (1 + result + pack / EPOCHS), rel=1e-2)


@pytest.mark.parametrize("workers", [32, 128])
def test_of_many_workers_the_server_is_the_limit(workers: int) -> None:
    served = EPOCHS * 0.2 + 1.0
    trained_share = share(workers=workers, epoch=1.0, result=0.2, pack=1.0, packs=100)
    assert trained_share == pytest.approx(EPOCHS / (workers * served), rel=2e-2)


def test_more_work_at_the_server_never_gives_workers_more() -> None:
    shares = [
        share(workers=16, epoch=1.0, result=cost, pack=10 * cost)
        for cost in (0.0, 0.01, 0.03, 0.1, 0.3)
    ]
    assert shares == sorted(shares, reverse=True)


def test_packs_that_do_nothing_report_every_epoch_and_end(tmp_path: Path) -> None:
    point, config = load("mrpc_grid", ["pool=sample", "epochs=3"]).first
    text = json.dumps(to_tree(config))
    trials = [Trial(key=f"{n:016x}", point=point.name, seed=n, config=text) for n in range(4)]
    sent = list(messages(Pack(name="pack00", trials=tuple(trials))))
    assert [len(message.reports) for message in sent] == [4, 4, 4]
    assert [ending.status for ending in sent[-1].endings] == [COMPLETED] * 4
    assert [Message.from_json(json.loads(json.dumps(each.to_json()))) for each in sent] == sent
