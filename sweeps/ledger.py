"""The ledger: what happens to packs, into the journal first and then onto the display."""

from __future__ import annotations

from typing import Protocol

from sweeps.journal import Journal, State
from sweeps.records import INTERRUPTED, SELECTION, Ending, Message, Pack


class Watcher(Protocol):
    """Hears of everything that the journal holds already."""

    def started(self, pack: Pack, state: State) -> None:
        """A pack runs on a worker."""

    def heard(self, pack: Pack, message: Message, state: State) -> None:
        """A running pack said something."""

    def left(self, pack: Pack, state: State) -> None:
        """A pack is over, or lost."""


class Ledger:
    """Writes a run's journal; every worker's word comes through here."""

    def __init__(self, journal: Journal, watcher: Watcher) -> None:
        self.journal = journal
        self._watcher = watcher
        self._running: dict[str, Pack] = {}
        self.lost: dict[str, str] = {}
        """Packs whose worker was lost, with the reason."""

    @property
    def state(self) -> State:
        """The run so far."""
        return self.journal.state

    def started(self, pack: Pack) -> None:
        """A pack runs."""
        keys = [trial.key for trial in pack.trials]
        self.journal.append("started", pack=pack.name, attempt=pack.attempt, keys=keys)
        self._running[pack.name] = pack
        self._watcher.started(pack, self.state)

    def heard(self, pack: Pack, message: Message) -> None:
        """A message of a running pack: reports first, so that an ending finds them."""
        said = message.to_json()
        if message.reports:
            self.journal.append("reported", pack=pack.name, reports=said["reports"])
        if message.endings:
            self.journal.append(
                "ended", pack=pack.name, endings=said["endings"], parts=said["parts"]
            )
        if message.reports or message.endings:
            self._watcher.heard(pack, message, self.state)

    def finished(self, pack: Pack) -> None:
        """A pack has said everything."""
        self._running.pop(pack.name, None)
        self._watcher.left(pack, self.state)

    def interrupted(self, pack: Pack, reason: str, *, lost: bool = False) -> None:
        """A pack will say no more: its trials that have not ended are INTERRUPTED."""
        if lost:
            self.lost[pack.name] = reason
        open_keys = {trial.key for trial in self.state.unended()}
        endings = tuple(
            self._interruption(trial.key, pack, reason)
            for trial in pack.trials
            if trial.key in open_keys
        )
        self.heard(pack, Message(endings=endings))
        self.finished(pack)

    def interrupt_all(self, reason: str) -> None:
        """The same of every pack that still runs."""
        for pack in tuple(self._running.values()):
            self.interrupted(pack, reason)

    def _interruption(self, key: str, pack: Pack, reason: str) -> Ending:
        last = self.state.latest.get((key, SELECTION))
        return Ending(
            key=key,
            status=INTERRUPTED,
            epochs=last.epoch if last else 0,
            seconds=last.seconds if last else 0.0,
            attempt=pack.attempt,
            reason=reason,
        )
