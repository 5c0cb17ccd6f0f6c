"""The journal: one JSON event a line, appended by one writer; `sweeps.journal.state` says what they
mean.

A line is `{"v": schema version, "n": number, "time": UTC, "mono": seconds of the writer's monotonic
clock, "event": kind, ..., "check": CRC-32 of all before}`. A last line without its end is what a
crash leaves, and is cut off; any other line that is not as it was written is named, and nobody
guesses what it said.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import fcntl
import json
import os
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from mpc_router.files import atomic, sync_folder, take_rights
from mpc_router.messages import quoted, shortened
from sweeps.journal import _events
from sweeps.journal.state import Event, JournalError, OddEvent, State, apply
from sweeps.run_folder import RunMoved, open_own, read_own

_VERSION: Final = 1
"""Of the events; another one is refused."""

_LONGEST_LINE: Final = 2**28
"""Bytes; a line that asks for ten thousand trials has a tenth of it."""

_CHECK: Final = b',"check":"'
_DURABLE: Final = frozenset(
    {"opened", "resumed", "reopened", "unlike", "asked", "decided", "ended", "told", "closed"}
)


class _JournalBusy(JournalError):
    """Says that another process holds the journal's lock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Repaired:
    """Tells what a repair has taken out of a journal."""

    line: int
    """The first that was not sound."""

    gone: int
    """Lines from there on."""

    reason: str
    saved: Path
    """The journal as it was."""


def read(path: Path) -> Iterator[Event]:
    """Reads the events in order, without a torn last line (a crash while writing).

    Raises:
        JournalError: no such file, or a line other than the last that is not as it was written.
    """
    try:
        lines = read_own(path).split(b"\n")[:-1]
    except OSError as error:
        raise JournalError(f"{path}: {error.strerror}; name a run's folder") from error
    for number, line in enumerate(lines, 1):
        try:
            yield _event(line)
        except (ValueError, OddEvent) as error:
            raise _unsound(path, number, error) from error


def state_of(path: Path) -> State:
    """Reads a whole journal as the state of its run.

    Raises:
        JournalError: a line is not as it was written, or cannot follow the ones before it.
        OddEvent: no writer of ours has written it.
    """
    state = State()
    for number, event in enumerate(read(path), 1):
        try:
            _fold(state, event)
        except JournalError as error:
            raise _unsound(path, number, error) from error
    return state


def check_opened(path: Path, state: State) -> None:
    """Holds what a run says of itself as it is opened to what later sessions take of it.

    Raises:
        OddEvent: it says less, or something else.
    """
    assert state.opened is not None
    if (said := _events.unbegun(state.opened)) is not None:
        raise _unsound(path, 1, OddEvent(f"opened: {said}"))


def sound_part(path: Path) -> State:
    """What the lines before the first that is not sound amount to; nothing is changed."""
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
        # Whatever is raised: types are checked by then, but events that contradict each other can
        # break a fold in more ways than could be listed, and all mean that no writer of ours was
        # here.
        raise OddEvent(
            f"{event['event']} contradicts what is before it ({quoted(error)})"
        ) from error


def _unsound(path: Path, number: int, error: Exception) -> JournalError:
    if number == 1:
        rest = "it says what the run is, so that nothing can be kept; start anew"
    else:
        rest = f"lines 1 to {number - 1} are sound, --repair keeps them"
    kind = OddEvent if isinstance(error, OddEvent) else JournalError
    return kind(f"{path}:{number}: {error}; {rest}")


def _event(line: bytes) -> Event:
    """Reads the event of a line.

    Raises:
        ValueError: it is not as it was written, or written by another version.
    """
    if len(line) > _LONGEST_LINE:
        raise ValueError(f"the line has {len(line)} bytes, and none of ours has {_LONGEST_LINE}")
    body, found, check = line.rpartition(_CHECK)
    if not found or check != b'%08x"}' % zlib.crc32(body):
        raise ValueError("the line is damaged (its checksum is not that of what it says)")
    try:
        event: dict[str, Any] = json.loads(body + b"}", parse_constant=_no_number)
        if b"\\ud" in body:  # half of a pair, which no file takes
            json.dumps(event, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise OddEvent(f"the line cannot be read ({shortened(str(error), 100)})") from error
    if event.get("v") != _VERSION:
        raise ValueError(
            f"written with schema version {quoted(event.get('v'))}, and this program reads "
            f"{_VERSION}"
        )
    return event


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _line_of(event: Event) -> bytes:
    """Gives the line of an event, with its checksum and its end."""
    text = json.dumps(event, default=_plain, separators=(",", ":"), allow_nan=False)
    body = text[:-1].encode()
    return b'%s%s%08x"}\n' % (body, _CHECK, zlib.crc32(body))


class Journal:
    """The one writer of a journal, and the state of the run; use as a context manager.

    What `append` has written is durable when it returns, but for `started` and `reported`, which
    are flushed: a crash of the machine may lose them, a crash of the process does not.
    """

    def __init__(self, path: Path, *, repair: bool = False) -> None:
        """Opens a journal for appending: locks it, cuts a torn last line off, reads its state.

        `repair` keeps the sound part of a damaged journal; what it was is kept beside it.

        Raises:
            JournalBusy: another process writes it.
            JournalError: it cannot be read, or its first line is not sound.
        """
        self.path = path
        new = not path.exists()
        self._file = open_own(path)
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
        """Counts the bytes of a torn last line, which were cut off."""
        self._file.seek(0)
        whole = self._file.read()
        end = whole.rfind(b"\n") + 1
        if end < len(whole):
            self._file.truncate(end)
            os.fsync(self._file.fileno())
        return len(whole) - end

    def _repair(self) -> _Repaired | None:
        """Cuts the journal off before its first line that is not sound."""
        state, kept = State(), 0
        whole = read_own(self.path)
        lines = whole.split(b"\n")[:-1]
        for number, line in enumerate(lines, 1):
            try:
                _fold(state, _event(line))
            except (ValueError, JournalError) as error:
                if number == 1:
                    raise _unsound(self.path, number, error) from error
                return _Repaired(
                    line=number,
                    gone=len(lines) - number + 1,
                    reason=str(error),
                    saved=self._cut_off(whole, kept),
                )
            kept += len(line) + 1
        return None

    def _cut_off(self, whole: bytes, kept: int) -> Path:
        """Leaves the first bytes; gives the file that has all of them."""
        now = datetime.datetime.now(datetime.UTC)
        saved = self.path.with_name(f"{self.path.name}.damaged-{now:%Y%m%dT%H%M%S%f}")
        with atomic(saved) as temporary:
            temporary.write_bytes(whole)
        self._file.truncate(kept)
        os.fsync(self._file.fileno())
        return saved

    def append(self, event: str, **data: Any) -> None:
        """Writes the event and takes it into the state; one that cannot be is not written.

        Raises:
            JournalError: the event cannot follow, or the journal is closed.
            RunMoved: the run's folder is not where it was.
            OSError: the disk refuses. File and state are as they were before; where not even that
                can be had, the journal is closed, and a torn line is cut off as it is opened again.
        """
        if self._file.closed:
            raise JournalError(f"{self.path} could not be written to; what it holds is sound")
        self.check_place()
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        whole = {
            "v": _VERSION,
            "n": self.state.events + 1,
            "time": now,
            "mono": round(time.monotonic(), 3),
            "event": event,
            **data,
        }
        line = _line_of(whole)
        apply(self.state, _event(line[:-1]))
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
        mine = os.fstat(self._file.fileno())
        try:
            there = os.lstat(self.path)
        except OSError:
            there = None
        if there is None or (there.st_dev, there.st_ino) != (mine.st_dev, mine.st_ino):
            raise RunMoved(
                f"{self.path.parent} was renamed or removed while the run went on; what was done "
                "before is safe there: python -m sweeps.run --resume with its new name goes on"
            )

    def _take_back(self, end: int) -> None:
        """Puts file and state back to what they were when the file had `end` bytes."""
        try:
            self._file.truncate(end)
            self.state = state_of(self.path)
        except OSError:
            self._file.close()

    def _write(self, line: bytes, *, durable: bool) -> None:
        rest = memoryview(line)
        while rest:
            rest = rest[self._file.write(rest) or 0 :]
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


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: getattr(value, item.name) for item in dataclasses.fields(value)}
    raise TypeError(f"{value!r} is no JSON")
