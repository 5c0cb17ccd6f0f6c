"""The ledger: what happens to packs, into the journal first and then onto the display."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from sweeps.journal.journal import Journal
from sweeps.journal.state import State, differing
from sweeps.records import (
    BETWEEN,
    FAILED,
    INSIDE,
    INTERRUPTED,
    SELECTION,
    Decision,
    Ending,
    Message,
    Pack,
    Report,
    SweepError,
)
from sweeps.stopping import rungs
from sweeps.stopping.rungs import Ranking
from sweeps.study.budget import Budget


class Watcher(Protocol):
    """Listens to events, each after the journal holds it."""

    def started(self, pack: Pack, state: State) -> None:
        """Hears that a pack runs on a worker."""

    def heard(self, pack: Pack, message: Message, state: State) -> None:
        """Hears a message of a running pack."""

    def left(self, pack: Pack, state: State) -> None:
        """Hears that a pack is over, or lost."""

    def unlike(self, pack: Pack, reason: str) -> None:
        """Hears that a pack gives other numbers than before it was interrupted."""

    def lost(self, pack: Pack, reason: str, *, again: bool) -> None:
        """Hears that a pack's worker is lost, and whether the pack is tried again."""


class Ledger:
    """Writes a run's journal, which every message of a worker passes through."""

    def __init__(
        self,
        journal: Journal,
        watcher: Watcher,
        *,
        ranking: Ranking | None = None,
        budget: Budget | None = None,
        gpus: float = 0.0,
        refresh: Callable[[], None] = lambda: None,
    ) -> None:
        """`gpus` is a pack's share; without a ranking nothing is stopped early. `refresh` is called
        when a pack is over."""
        self.journal = journal
        self._watcher, self._refresh = watcher, refresh
        self._ranking = ranking
        self._budget, self._gpus = budget or Budget(), gpus
        self._before, self._began = journal.state.seconds, time.monotonic()
        self._running: dict[str, Pack] = {}
        self.over: set[str] = set()
        """Packs that have said everything, or were lost."""

        self.lost: dict[str, str] = {}
        """Packs that were given up as their worker was lost, with the reason."""

    @property
    def state(self) -> State:
        """Gives the state of the run so far."""
        return self.journal.state

    def used_up(self) -> str | None:
        """Names the budget that is used up; None where none is."""
        return self._budget.used_up(
            time=self._before + time.monotonic() - self._began,
            epochs=self.state.epochs,
            gpu_hours=self._gpus * sum(self.state.trained.values()) / 3600,
        )

    def started(self, pack: Pack, *, node: str | None = None, gpus: Sequence[str] = ()) -> None:
        """Journals that a pack runs, on the node of this name and on these of its GPUs."""
        keys = [trial.key for trial in pack.trials]
        where: dict[str, Any] = {} if node is None else {"node": node}
        if gpus:
            where["gpus"] = list(gpus)
        self.journal.append("started", pack=pack.name, attempt=pack.attempt, keys=keys, **where)
        self._running[pack.name] = pack
        self.over.discard(pack.name)
        self._watcher.started(pack, self.state)

    def heard(self, pack: Pack, message: Message) -> dict[str, str]:
        """A message of a running pack: reports first, so that a decision and an ending find them.

        Gives the trials that its worker is to end, each with the reason, by key.

        Raises:
            SweepError: a bracket has decided otherwise than its reports say.
        """
        self._supersede(pack, message.reports)
        said = message.to_json()
        if message.reports:
            self.journal.append("reported", pack=pack.name, reports=said["reports"])
        decisions = self._decided(pack, message)
        if message.endings:
            self.journal.append(
                "ended", pack=pack.name, endings=said["endings"], parts=said["parts"]
            )
        if message.reports or message.endings:
            whole = dataclasses.replace(message, decisions=decisions)
            self._watcher.heard(pack, whole, self.state)
        return {each.key: each.reason for each in decisions if not each.goes_on}

    def _supersede(self, pack: Pack, said: Sequence[Report]) -> None:
        """Where reports differ from those of an interrupted attempt, these take their place: they
        come from another machine, another program, or a GPU that does not repeat itself.

        So all numbers of a trial, and of a bracket, are those of one attempt.
        """
        known = self.state.reports
        found = [
            (report, how)
            for report in said
            if report.place in known and (how := differing(known[report.place], report))
        ]
        if not found:
            return
        first, how = min(found, key=lambda each: (each[0].split != SELECTION, each[0].epoch))
        epoch = first.epoch if first.split == SELECTION else None
        differ = {report.key for report, _ in found}
        keys = [
            trial.key
            for trial in pack.trials
            if trial.key in differ
            or (epoch is not None and self._under_way(trial.key, pack, epoch))
        ]
        reason = f"after epoch {first.epoch} of {first.key} {how}"
        self.journal.append("unlike", pack=pack.name, keys=keys, epoch=epoch, reason=reason)
        self._watcher.unlike(pack, reason)

    def _under_way(self, key: str, pack: Pack, epoch: int) -> bool:
        """Tells whether this attempt has yet to report a trial from an epoch on."""
        ending = self.state.endings.get(key)
        if ending is None or ending.status == INTERRUPTED or key in self.state.again:
            return True
        return ending.attempt < pack.attempt and ending.epochs >= epoch

    def _decided(self, pack: Pack, message: Message) -> tuple[Decision, ...]:
        """The rung that these reports reach; what is not in the journal yet is put there.

        A repeat, after an interruption, changes nothing: what was decided once stands.
        """
        said = [report for report in message.reports if report.split == SELECTION]
        known = self.state.decisions
        if self._ranking is None or not said or not pack.stopping:
            return ()
        if pack.stopping == BETWEEN:
            found = [self._arrived(report, self._ranking) for report in said]
            decisions = tuple(each for each in found if each is not None)
        else:
            decisions = self._ranked(pack, said[0].epoch, self._ranking)
            if decisions != message.decisions:
                raise SweepError(
                    f"{pack.name} has decided otherwise after epoch {said[0].epoch} than the "
                    "journal's reports say; this is a bug of ours, please report it"
                )
        fresh = [each for each in decisions if (each.key, each.epoch) not in known]
        if pack.stopping == INSIDE and any(
            known.get((each.key, each.epoch), each) != each for each in decisions
        ):
            raise SweepError(
                f"{pack.name} has decided otherwise after epoch {said[0].epoch} than before it was "
                "interrupted; this is a bug of ours, please report it"
            )
        if fresh:
            self.journal.append("decided", pack=pack.name, decisions=fresh)
        return decisions

    def _ranked(self, pack: Pack, epoch: int, ranking: Ranking) -> tuple[Decision, ...]:
        if epoch not in ranking.rungs():
            return ()
        whole, reports = self.state.packs[pack.name], self.state.reports
        there = {
            trial.key: reports[trial.key, epoch, SELECTION]
            for trial in whole.trials
            if (trial.key, epoch, SELECTION) in reports and self._in(trial.key, epoch, ranking)
        }
        return rungs.inside(whole, epoch, there, ranking)

    def _in(self, key: str, epoch: int, ranking: Ranking) -> bool:
        """Whether no earlier rung has stopped it: one that was finished later has reports too."""
        known = self.state.decisions
        earlier = (known.get((key, rung)) for rung in ranking.rungs() if rung < epoch)
        return all(decision is None or decision.goes_on for decision in earlier)

    def _arrived(self, report: Report, ranking: Ranking) -> Decision | None:
        known = self.state.decisions
        if (report.key, report.epoch) in known:
            return known[report.key, report.epoch]
        earlier = (
            self.state.reports[key, epoch, SELECTION]
            for key, epoch in known
            if epoch == report.epoch
            and self.state.packs[self.state.pack_of[key]].stopping == BETWEEN
        )
        return rungs.between(report, earlier, ranking)

    def breaks_off(self, pack: Pack, message: Message) -> bool:
        """Whether the pack is to end with this message: no budget is left, and some of its trials
        have epochs left."""
        epochs = [report.epoch for report in message.reports if report.split == SELECTION]
        if not epochs or self.used_up() is None:
            return False
        return max(epochs) < max(_epochs(trial.config) for trial in pack.trials)

    def finished(self, pack: Pack) -> None:
        """Journals that a pack has sent all its messages."""
        self._running.pop(pack.name, None)
        self.over.add(pack.name)
        self._watcher.left(pack, self.state)
        self._refresh()

    def interrupted(
        self, pack: Pack, reason: str, *, lost: bool = False, again: bool = False
    ) -> None:
        """Journals a lost pack: its trials that have not ended are INTERRUPTED.

        If its worker is `lost`, it may be tried `again`.
        """
        if lost:
            self._watcher.lost(pack, reason, again=again)
        if lost and not again:
            self.lost[pack.name] = reason
        self._end_open(pack, INTERRUPTED, reason)

    def failed(self, pack: Pack, reason: str) -> None:
        """A pack has ended by its own fault, and all of its trials that had not ended with it."""
        self._end_open(pack, FAILED, reason)

    def _end_open(self, pack: Pack, status: str, reason: str) -> None:
        open_keys = {trial.key for trial in self.state.unended()}
        endings = tuple(
            self._ending(trial.key, pack, status, reason)
            for trial in pack.trials
            if trial.key in open_keys
        )
        self.heard(pack, Message(endings=endings))
        self.finished(pack)

    def interrupt_all(self, reason: str) -> None:
        """Journals every pack that still runs as lost."""
        for pack in tuple(self._running.values()):
            self.interrupted(pack, reason)

    def _ending(self, key: str, pack: Pack, status: str, reason: str) -> Ending:
        last = self.state.latest.get((key, SELECTION))
        return Ending(
            key=key,
            status=status,
            epochs=last.epoch if last else 0,
            seconds=last.seconds if last else 0.0,
            attempt=pack.attempt,
            reason=reason,
        )


def _epochs(config: str) -> int:
    return int(json.loads(config)["training"]["epochs"])
