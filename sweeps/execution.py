"""A run from its first event to its tables: new or resumed, on Ray or, for tests, in process."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sweeps.display import Display
from sweeps.journal import Journal
from sweeps.ledger import Ledger
from sweeps.plan import remaining
from sweeps.preparation import Ready
from sweeps.records import CHECKPOINTS_FOLDER, FAILED, PARTS_FOLDER, Pack
from sweeps.signals import CleanStop
from sweeps.space import PackSettings
from sweeps.worker import Job, run_pack


@dataclass(frozen=True, kw_only=True)
class Share:
    """What of the machine, or of a cluster, a pack gets."""

    pack: PackSettings
    address: str | None

    def workers(self) -> int:
        """Packs at once: on this machine, or on the cluster that is joined."""
        if self.address is None:
            return max(1, int(_cores() / self.pack.cpus))
        from sweeps.driver import capacity

        return capacity(self.address, cpus=self.pack.cpus, gpus=self.pack.gpus)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a run, or a part of it, went."""

    failed: int
    unended: int
    signal: int | None
    lost: dict[str, str]
    """Packs whose worker was lost, with the reason."""


def _cores() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def job(run: Path, ready: Sequence[Ready], share: Share) -> Job:
    """What all packs of a run share."""
    return Job(
        prepared={each.of.name: each.inputs.folder.resolve() for each in ready},
        parts=(run / PARTS_FOLDER).resolve(),
        checkpoints=(run / CHECKPOINTS_FOLDER).resolve(),
        measured={each.of.name: each.measured for each in ready},
        threads=share.pack.threads,
    )


def train(journal: Journal, display: Display, common: Job, share: Share) -> Outcome:
    """Trains what has not ended, by Ray; closes the journal's run."""
    from sweeps.driver import Workers, drive

    def by_ray(packs: Sequence[Pack], ledger: Ledger, stopped: Callable[[], bool]) -> None:
        workers = Workers(
            count=share.workers(),
            cpus=share.pack.cpus,
            gpus=share.pack.gpus,
            address=share.address,
        )
        drive(packs, common, ledger, workers=workers, stopped=stopped)

    return _train(journal, display, by_ray)


def train_in_process(journal: Journal, display: Display, common: Job) -> Outcome:
    """The same without Ray, a pack after the other in this process."""

    def here(packs: Sequence[Pack], ledger: Ledger, stopped: Callable[[], bool]) -> None:
        for pack in packs:
            ledger.started(pack)
            for message in run_pack(pack, common):
                ledger.heard(pack, message)
                if stopped():
                    return
            ledger.finished(pack)

    return _train(journal, display, here)


def _train(
    journal: Journal,
    display: Display,
    drive: Callable[[Sequence[Pack], Ledger, Callable[[], bool]], None],
) -> Outcome:
    ledger = Ledger(journal, display)
    packs = remaining(journal.state.packs.values(), journal.state.unended(), journal.state.attempts)
    with CleanStop(display.abandon) as stop:

        def stopped() -> bool:
            if stop.asked():
                display.stopping()
            return stop.asked()

        try:
            if packs:
                with display:
                    drive(packs, ledger, stopped)
        finally:
            reason = stop.number.name if stop.number else "the run broke off"
            ledger.interrupt_all(reason)
            unended = len(journal.state.unended())
            journal.append("closed", outcome=reason if unended else "done")
    return Outcome(
        failed=sum(each.status == FAILED for each in journal.state.endings.values()),
        unended=unended,
        signal=stop.number,
        lost=ledger.lost,
    )
