"""What the journal books of a pack's attempts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from unittest.mock import create_autospec

import pytest

from sweeps.driver._ledger import Ledger
from sweeps.driver._watcher import Watcher
from sweeps.journal.journal import Journal
from sweeps.records import INTERRUPTED, Message, Pack, Trial
from sweeps.study.budget import Budget
from tests.sweeps.journal.test_journal import report

HOUR = 3600.0


def pack_of(attempt: int) -> Pack:
    trial = Trial(key="k0", point="p00", seed=0, config='{"training": {"epochs": 9}}')
    return Pack(name="pack00", trials=(trial,), attempt=attempt)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """A ledger of one pack, which takes a GPU, with a budget of three GPU hours."""
    with Journal(tmp_path / "journal.jsonl") as journal:
        journal.append("opened", run="r", parts={})
        points = [{"name": "p00", "settings": {}}]
        journal.append("asked", batch=0, points=points, packs=[pack_of(1)])
        watcher = create_autospec(Watcher, instance=True)
        yield Ledger(journal, watcher, budget=Budget(gpu_hours=3.0), gpus=1.0)


def trained(ledger: Ledger, attempt: int, *hours: float) -> None:
    """An attempt reports an epoch after each of these hours, and is interrupted then."""
    ledger.started(pack_of(attempt))
    for epoch, hour in enumerate(hours, 1):
        reports = (report(epoch=epoch, seconds=hour * HOUR),)
        ledger.received(pack_of(attempt), Message(reports=reports))
    ledger.interrupted(pack_of(attempt), "a signal")


def test_an_attempt_that_ends_before_its_first_report_spends_no_gpu_hours_of_an_earlier_one(
    ledger: Ledger,
) -> None:
    trained(ledger, 1, 1.0, 2.0)
    trained(ledger, 2)
    trained(ledger, 3)
    assert sum(ledger.state.trained.values()) == 2 * HOUR
    assert ledger.used_up() is None
    ending = ledger.state.endings["k0"]
    assert (ending.status, ending.epochs, ending.attempt) == (INTERRUPTED, 2, 3)
    assert ending.seconds == 0.0


def test_an_attempt_that_repeats_reports_spends_the_gpu_hours_that_this_takes(
    ledger: Ledger,
) -> None:
    trained(ledger, 1, 1.0, 2.0)
    trained(ledger, 2, 1.25)
    assert ledger.state.trained == {("pack00", 1): 2 * HOUR, ("pack00", 2): 1.25 * HOUR}
    assert ledger.state.endings["k0"].seconds == 1.25 * HOUR
    assert ledger.used_up() == "budget.gpu_hours of 3"
