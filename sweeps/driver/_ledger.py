"""Writes what happens to packs into the journal first, and then shows it on the display."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Sequence
from typing import Any

from sweeps.driver._watcher import Watcher
from sweeps.driver.session_clock import SessionClock
from sweeps.journal.journal import Journal
from sweeps.journal.kept_states import remove_unnamed
from sweeps.journal.state import State
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


class Ledger:
    """Journals the start, the messages and the end of every pack of a run."""

    def __init__(
        self,
        journal: Journal,
        watcher: Watcher,
        *,
        ranking: Ranking | None = None,
        budget: Budget | None = None,
        gpus: float = 0.0,
        refresh: Callable[[], None] = lambda: None,
        clock: SessionClock | None = None,
    ) -> None:
        """Begins with the time that earlier sessions have spent of the budget.

        Args:
            journal: the run's, open for writing.
            watcher: is told of every event.
            ranking: decides at rungs; None where nothing is stopped early.
            budget: the run's, over all sessions.
            gpus: a pack's share of GPUs.
            refresh: is called when a pack is over.
            clock: is told when packs start and report.
        """
        self.journal = journal
        self._watcher, self._refresh = watcher, refresh
        self._clock = clock or SessionClock()
        self._ranking = ranking
        self._budget, self._gpus = budget or Budget(), gpus
        self._seconds_before, self._session_start = journal.state.seconds, time.monotonic()
        self._running: dict[str, Pack] = {}
        self.over: set[str] = set()
        """Holds the names of the packs that have sent all their messages, or were lost."""

        self.reports = 0
        """Counts the messages with reports of this session."""

        self.lost: dict[str, str] = {}
        """Gives the reason by pack that was given up because its worker was lost."""

    @property
    def state(self) -> State:
        """Gives the state of the run up to now."""
        return self.journal.state

    def used_up(self) -> str | None:
        """Names the budget that is used up; None where none is."""
        return self._budget.used_up(
            time=self._seconds_before + time.monotonic() - self._session_start,
            epochs=self.state.epochs,
            gpu_hours=self._gpus * sum(self.state.trained.values()) / 3600,
        )

    def started(self, pack: Pack, *, node: str | None = None, gpus: Sequence[str] = ()) -> None:
        """Journals that a pack runs, on the node of this name and on these of its GPUs."""
        keys = [trial.key for trial in pack.trials]
        place: dict[str, Any] = {} if node is None else {"node": node}
        if gpus:
            place["gpus"] = list(gpus)
        self.journal.append("started", pack=pack.name, attempt=pack.attempt, keys=keys, **place)
        self._clock.started(pack.name)
        self._running[pack.name] = pack
        self.over.discard(pack.name)
        self._watcher.started(pack, self.state)

    def received(self, pack: Pack, message: Message) -> dict[str, str]:
        """Journals a message of a running pack; gives the reason by key of a trial to be ended.

        Reports are journaled first, because decisions and endings refer to them.

        Raises:
            SweepError: a bracket has decided otherwise than its reports say.
        """
        if message.restarts:
            self._watcher.restarts(pack, message.restarts)
        self._supersede(pack, message.reports)
        message_json = message.to_json()
        if message.reports:
            self._clock.reported(pack.name)
            self.reports += 1
            self.journal.append("reported", pack=pack.name, reports=message_json["reports"])
        decisions = self._decided(pack, message)
        if message.endings:
            self.journal.append(
                "ended",
                pack=pack.name,
                endings=message_json["endings"],
                parts=message_json["parts"],
            )
        if message.kept is not None:
            self.journal.append("kept", pack=pack.name, **message_json["kept"])
            self._remove_states(pack)
        if message.reports or message.endings:
            decided_message = dataclasses.replace(message, decisions=decisions)
            self._watcher.received(pack, decided_message, self.state)
        return {decision.key: decision.reason for decision in decisions if not decision.goes_on}

    def _remove_states(self, pack: Pack) -> None:
        """Removes the states of a pack that the journal does not name, or names no more."""
        remove_unnamed(self.journal.path.parent, self.state, pack=pack.name)

    def _supersede(self, pack: Pack, reports: Sequence[Report]) -> None:
        """Discards the reports of an interrupted attempt that the new reports differ from.

        Numbers differ on another machine, with another program, or on a GPU that is not
        deterministic. All numbers of a trial, and of a bracket, are to be those of one attempt.
        """
        earlier = self.state.reports
        differences = [
            (report, difference)
            for report in reports
            if report.place in earlier and (difference := earlier[report.place].difference(report))
        ]
        if not differences:
            return
        first, difference = min(
            differences, key=lambda pair: (pair[0].split != SELECTION, pair[0].epoch)
        )
        epoch = first.epoch if first.split == SELECTION else None
        differing_keys = {report.key for report, _ in differences}
        keys = [
            trial.key
            for trial in pack.trials
            if trial.key in differing_keys
            or (epoch is not None and self._under_way(trial.key, pack, epoch))
        ]
        reason = f"after epoch {first.epoch} of {first.key} {difference}"
        self.journal.append("unlike", pack=pack.name, keys=keys, epoch=epoch, reason=reason)
        self._watcher.deviated(pack, reason)

    def _under_way(self, key: str, pack: Pack, epoch: int) -> bool:
        """Tells whether this attempt has yet to report a trial from an epoch on."""
        ending = self.state.endings.get(key)
        if ending is None or ending.status == INTERRUPTED or key in self.state.finishing:
            return True
        return ending.attempt < pack.attempt and ending.epochs >= epoch

    def _decided(self, pack: Pack, message: Message) -> tuple[Decision, ...]:
        """Gives the decisions of the rung that a message reaches, and journals the new ones.

        A message that is repeated after an interruption changes no earlier decision.
        """
        reports = [report for report in message.reports if report.split == SELECTION]
        earlier = self.state.decisions
        if self._ranking is None or not reports or not pack.stopping:
            return ()
        epoch = reports[0].epoch
        if pack.stopping == BETWEEN:
            arrivals = [self._arrived(report, self._ranking) for report in reports]
            decisions = tuple(decision for decision in arrivals if decision is not None)
        else:
            decisions = self._ranked(pack, epoch, self._ranking)
            if decisions != message.decisions:
                raise SweepError(
                    f"{pack.name} has decided otherwise after epoch {epoch} than the journal's "
                    f"reports say; {_blame(self._ranking)}"
                )
        new_decisions = [decision for decision in decisions if decision.place not in earlier]
        if pack.stopping == INSIDE and any(
            earlier.get(decision.place, decision) != decision for decision in decisions
        ):
            raise SweepError(
                f"{pack.name} has decided otherwise after epoch {epoch} than before it was "
                f"interrupted; {_blame(self._ranking)}"
            )
        if new_decisions:
            self.journal.append("decided", pack=pack.name, decisions=new_decisions)
        return decisions

    def _ranked(self, pack: Pack, epoch: int, ranking: Ranking) -> tuple[Decision, ...]:
        """Gives the decisions of a rung inside a pack; none where the epoch is no rung."""
        if epoch not in ranking.rungs():
            return ()
        asked_pack, reports = self.state.packs[pack.name], self.state.reports
        rung_reports = {
            trial.key: reports[trial.key, epoch, SELECTION]
            for trial in asked_pack.trials
            if (trial.key, epoch, SELECTION) in reports and self._reached(trial.key, epoch, ranking)
        }
        return rungs.decide_inside(asked_pack, epoch, rung_reports, ranking)

    def _reached(self, key: str, epoch: int, ranking: Ranking) -> bool:
        """Tells whether no earlier rung has stopped a trial.

        A stopped trial that was finished later has reports of later epochs too.
        """
        decisions = self.state.decisions
        earlier = (decisions.get((key, rung)) for rung in ranking.rungs() if rung < epoch)
        return all(decision is None or decision.goes_on for decision in earlier)

    def _arrived(self, report: Report, ranking: Ranking) -> Decision | None:
        """Gives the decision about a joint trial that arrives at a rung; None where it is none."""
        decisions = self.state.decisions
        if (report.key, report.epoch) in decisions:
            return decisions[report.key, report.epoch]
        earlier = (
            self.state.reports[key, epoch, SELECTION]
            for key, epoch in decisions
            if epoch == report.epoch
            and self.state.packs[self.state.pack_of[key]].stopping == BETWEEN
        )
        return rungs.decide_between(report, earlier, ranking)

    def breaks_off(self, pack: Pack, message: Message) -> bool:
        """Tells whether a pack ends before its last epoch, because no budget is left."""
        epochs = [report.epoch for report in message.reports if report.split == SELECTION]
        if not epochs or self.used_up() is None:
            return False
        return max(epochs) < max(_epochs(trial.config) for trial in pack.trials)

    def finished(self, pack: Pack) -> None:
        """Journals that a pack has sent all its messages."""
        self._running.pop(pack.name, None)
        self.over.add(pack.name)
        self._remove_states(pack)
        self._watcher.ended(pack, self.state)
        self._refresh()

    def interrupted(
        self, pack: Pack, reason: str, *, lost: bool = False, again: bool = False
    ) -> None:
        """Journals that a pack's trials that have not ended are INTERRUPTED.

        `lost` says that its worker was lost, and `again` that the pack is retried then.
        """
        if lost:
            self._watcher.lost(pack, reason, again=again)
        if lost and not again:
            self.lost[pack.name] = reason
        self._end_open(pack, INTERRUPTED, reason)

    def left_out(self, node: str, reason: str) -> None:
        """Tells of a node that gets no more packs in this session, which changes no result."""
        self._watcher.left_out(node, reason)

    def measured(self, gpus: float, text: str) -> None:
        """Tells of a pack's measured share of a GPU, by which the run's GPU hours are counted."""
        self._gpus = gpus
        self._watcher.measured(text)

    def waits(self, share: str) -> None:
        """Tells that packs of such a share wait for a node with room."""
        self._watcher.waits(share)

    def failed(self, pack: Pack, reason: str) -> None:
        """Journals that a pack's trials that have not ended are FAILED."""
        self._end_open(pack, FAILED, reason)

    def _end_open(self, pack: Pack, status: str, reason: str) -> None:
        """Journals an ending for every trial of a pack that has none, and ends the pack."""
        open_keys = {trial.key for trial in self.state.unended()}
        endings = tuple(
            self._ending(trial.key, pack, status, reason)
            for trial in pack.trials
            if trial.key in open_keys
        )
        self.received(pack, Message(endings=endings))
        self.finished(pack)

    def interrupt_all(self, reason: str) -> None:
        """Journals the trials of every running pack as INTERRUPTED."""
        for pack in tuple(self._running.values()):
            self.interrupted(pack, reason)

    def _ending(self, key: str, pack: Pack, status: str, reason: str) -> Ending:
        """Gives the ending of a trial after its last journaled report.

        That may be an earlier attempt's, whose seconds are not this one's.
        """
        last = self.state.latest.get((key, SELECTION))
        trained = self.state.trained.get((pack.name, pack.attempt), 0.0)
        return Ending(
            key=key,
            status=status,
            epochs=last.epoch if last else 0,
            seconds=min(last.seconds, trained) if last else 0.0,
            attempt=pack.attempt,
            reason=reason,
        )


def _blame(ranking: Ranking) -> str:
    """Says why the same reports may have led to two decisions, and what to do."""
    if ranking.rule.own_rule is None:
        return "this is a bug of this program, please report it"
    return (
        f"stopping rule {ranking.rule.method!r} gives two answers for the same numbers: let it "
        "depend on nothing but its argument, and install one version everywhere"
    )


def _epochs(config: str) -> int:
    """Gives the epochs that a configuration as JSON trains."""
    return int(json.loads(config)["training"]["epochs"])
