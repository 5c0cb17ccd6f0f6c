"""Reads and writes a run's journal: one JSON event a line, appended by one writer.

A line is `{"v": schema version, "n": number, "time": UTC, "mono": seconds of the writer's monotonic
clock, "event": kind, ..., "check": CRC-32 of all before}`. A crash leaves a last line without its
end, which is cut off. Any other damaged line is an error that names it; its content is never
guessed. `sweeps.journal._events` describes the events.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from mpc_router.messages import quoted
from mpc_router.storage.files import atomic, sync_folder, take_rights
from sweeps.journal import _events
from sweeps.journal._lines import VERSION, event_of, line_of
from sweeps.journal.state import Event, JournalError, OddEvent, State, apply
from sweeps.run_folder import RunMoved, open_journal, read_journal

_DURABLE: Final = frozenset(
    {
        *("opened", "resumed", "reopened", "unlike", "asked", "decided"),
        *("ended", "kept", "told", "closed"),
    }
)
"""Names the kinds of events that are synced to the disk before `append` returns."""


class _JournalBusy(JournalError):
    """Says that another process holds the journal's lock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Repaired:
    """Tells what a repair has taken out of a journal."""

    line: int
    """Numbers the first line that was not sound."""

    gone: int
    """Counts the lines from there on."""

    reason: str
    saved: Path
    """Names the file with the journal as it was."""


def read(path: Path) -> Iterator[Event]:
    """Reads the events in order, without a torn last line (a crash while writing).

    Raises:
        JournalError: there is no such file, or a line other than the last is damaged.
    """
    yield from Reader(path).read()


class Reader:
    """Reads a journal while another process may append to it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines, self._bytes = 0, 0

    def read(self) -> Iterator[Event]:
        """Gives the events since the last call, in order, up to the last whole line.

        Raises:
            JournalError: there is no such file, or a whole line is damaged.
        """
        try:
            lines = read_journal(self._path, start=self._bytes).split(b"\n")[:-1]
        except OSError as error:
            raise JournalError(f"{self._path}: {error.strerror}; name a run's folder") from error
        for line in lines:
            self._lines += 1
            self._bytes += len(line) + 1
            try:
                yield event_of(line)
            except (ValueError, OddEvent) as error:
                raise _unsound(self._path, self._lines, error) from error


def state_of(path: Path) -> State:
    """Reads a whole journal as the state of its run.

    Raises:
        JournalError: a line is damaged, or cannot follow the ones before it.
        OddEvent: this program cannot have written it.
    """
    state = State()
    for number, event in enumerate(read(path), 1):
        try:
            _fold(state, event)
        except JournalError as error:
            raise _unsound(path, number, error) from error
    return state


def check_opened(path: Path, state: State) -> None:
    """Checks that a run's first event has everything that a resume needs.

    Raises:
        OddEvent: a field is missing, or of another type.
    """
    assert state.opened is not None
    if (problem := _events.missing_in(state.opened)) is not None:
        raise _unsound(path, 1, OddEvent(f"opened: {problem}"))


def sound_part(path: Path) -> State:
    """Reads the state from the lines before the first damaged one; changes no file."""
    state = State()
    with contextlib.suppress(JournalError):
        for event in read(path):
            _fold(state, event)
    return state


def _fold(state: State, event: Event) -> None:
    """Applies an event that was read to the state.

    Raises:
        JournalError: it cannot follow the ones before it.
    """
    try:
        apply(state, event)
    except JournalError:
        raise
    except Exception as error:
        # Any error means that the events contradict each other, in more ways than could be listed:
        # their types are checked by then, and this program writes no such events.
        raise OddEvent(
            f"{event['event']} contradicts the events before it ({quoted(error)})"
        ) from error


def _unsound(path: Path, number: int, error: Exception) -> JournalError:
    """Gives the error about a line, with what can be done."""
    if number == 1:
        remedy = "it says what the run is, so that nothing can be kept; start anew"
    else:
        remedy = f"lines 1 to {number - 1} are sound, --repair keeps them"
    kind = OddEvent if isinstance(error, OddEvent) else JournalError
    return kind(f"{path}:{number}: {error}; {remedy}")


class Journal:
    """Is the one writer of a journal and holds the run's state; use it as a context manager.

    Events are durable when `append` returns. Only `started` and `reported` are not synced: a crash
    of the machine may lose them, a crash of the process does not.
    """

    def __init__(self, path: Path, *, repair: bool = False) -> None:
        """Opens a journal for appending: locks it, cuts a torn last line off, reads its state.

        `repair` keeps the sound lines of a damaged journal, and saves a copy of it beside it.

        Raises:
            JournalError: another process writes it, it cannot be read, or its first line is not
                sound.
        """
        self.path = path
        new = not path.exists()
        self._file = open_journal(path)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise _JournalBusy(
                f"{path} is being written by another process; wait for it to end"
            ) from error
        try:
            take_rights(path)
            if new:
                sync_folder(path.parent)
            self.torn = self._cut_torn_line()
            self.repaired = self._repair() if repair else None
            self.state = state_of(path)
        except BaseException:
            self._file.close()
            raise

    def _cut_torn_line(self) -> int:
        """Cuts a torn last line off; gives the number of its bytes."""
        self._file.seek(0)
        content = self._file.read()
        end = content.rfind(b"\n") + 1
        if end < len(content):
            self._file.truncate(end)
            os.fsync(self._file.fileno())
        return len(content) - end

    def _repair(self) -> _Repaired | None:
        """Cuts the journal off before its first line that is not sound; None where all are."""
        state, kept = State(), 0
        content = read_journal(self.path)
        lines = content.split(b"\n")[:-1]
        for number, line in enumerate(lines, 1):
            try:
                _fold(state, event_of(line))
            except (ValueError, JournalError) as error:
                if number == 1:
                    raise _unsound(self.path, number, error) from error
                return _Repaired(
                    line=number,
                    gone=len(lines) - number + 1,
                    reason=str(error),
                    saved=self._cut_off(content, kept),
                )
            kept += len(line) + 1
        return None

    def _cut_off(self, content: bytes, kept: int) -> Path:
        """Saves a copy of the journal, and keeps its first bytes; gives the copy's path."""
        now = datetime.datetime.now(datetime.UTC)
        saved = self.path.with_name(f"{self.path.name}.damaged-{now:%Y%m%dT%H%M%S%f}")
        with atomic(saved) as temporary:
            temporary.write_bytes(content)
        self._file.truncate(kept)
        os.fsync(self._file.fileno())
        return saved

    def append(self, event: str, **data: Any) -> None:
        """Applies the event to the state and writes it; an event that cannot follow is not written.

        Raises:
            JournalError: the event cannot follow, or the journal is closed.
            RunMoved: the run's folder is not where it was.
            OSError: the disk refuses. File and state are put back to what they were before. If that
                fails too, the journal is closed, and the next opening cuts the torn line off.
        """
        if self._file.closed:
            raise JournalError(f"{self.path} could not be written to; the events in it are sound")
        self.check_place()
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        complete_event = {
            "v": VERSION,
            "n": self.state.events + 1,
            "time": now,
            "mono": round(time.monotonic(), 3),
            "event": event,
            **data,
        }
        line = line_of(complete_event)
        apply(self.state, event_of(line[:-1]))
        end = os.fstat(self._file.fileno()).st_size
        try:
            self._write(line, durable=event in _DURABLE)
        except OSError:
            self._take_back(end)
            raise

    def check_place(self) -> None:
        """Checks that the run's folder is still where it was.

        Raises:
            RunMoved: it was renamed or removed, or another journal lies in its place.
        """
        opened = os.fstat(self._file.fileno())
        try:
            named = os.lstat(self.path)
        except OSError:
            named = None
        if named is None or (named.st_dev, named.st_ino) != (opened.st_dev, opened.st_ino):
            raise RunMoved(
                f"{self.path.parent} was renamed or removed while the run went on; its results are "
                "safe under its new name: mpc-router-sweep --resume with that name goes on"
            )

    def _take_back(self, end: int) -> None:
        """Puts file and state back to what they were when the file had `end` bytes."""
        try:
            self._file.truncate(end)
            self.state = state_of(self.path)
        except OSError:
            self._file.close()

    def _write(self, line: bytes, *, durable: bool) -> None:
        """Appends all bytes of a line; syncs them to the disk if they are to be durable."""
        unwritten = memoryview(line)
        while unwritten:
            unwritten = unwritten[self._file.write(unwritten) or 0 :]
        if durable:
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Closes the file and frees its lock; may be called twice."""
        self._file.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
