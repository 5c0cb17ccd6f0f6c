"""Processes of this command that do errands: how they are started, spoken to and ended.

They are started by name and not forked or spawned from the main module, which may be a script of
the user's. They block SIGINT, SIGTERM and SIGHUP, for this process decides when they end; and they
end with it, however it ends.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Final

from mpc_router.model.sources import ModelError

if TYPE_CHECKING:
    from mpc_router.experts.errands import Errand

LEAVING: Final = 5.0
"""Seconds that a process has for removing what it has begun in the cache; then it is killed."""

_ROOT: Final = Path(__file__).resolve().parents[2]
_PROGRAM: Final = "mpc_router.experts._errand_process"
_BLOCKED: Final = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})

REFUSED: Final = "refused"
DISK: Final = "disk"
BUG: Final = "bug"
DONE: Final = "done"
STEPS: Final = "steps"
"""Words that a process's messages begin with."""

_THREADS: Final = "OMP_NUM_THREADS"


@dataclass(kw_only=True)
class _Child:
    """Holds one process, the pipe to it, and what it does."""

    process: subprocess.Popen[bytes]
    pipe: Connection
    output: IO[bytes]
    errand: Errand | None = None


class Children:
    """Holds processes that do errands, from the begin of a block to its end.

    At its end those that still work break off, and leave nothing unfinished in the cache.
    """

    def __init__(self, count: int, *, threads: int) -> None:
        self.count = count
        self._threads = threads
        self._children: list[_Child] = []
        self._lifeline: int | None = None

    @property
    def busy(self) -> bool:
        """Tells whether any process works."""
        return any(child.errand is not None for child in self._children)

    def give(self, number: int, errand: Errand) -> None:
        """Gives a process its next errand."""
        child = self._children[number]
        child.errand = errand
        with contextlib.suppress(OSError):  # it has ended, which `reports` finds
            child.pipe.send(errand)

    def reports(self) -> Iterator[tuple[int, Errand, int | None]]:
        """Waits for processes, and gives the steps that they have done of their errands.

        None stands for an errand that is done.

        Raises:
            ModelError: a model is bad or diverges.
            OSError: the disk refuses, or a process was killed (`ChildProcessError`).
        """
        numbers = {child.pipe: number for number, child in enumerate(self._children)}
        for pipe in wait([child.pipe for child in self._children if child.errand is not None]):
            number = numbers[pipe]  # type: ignore[index]  # of these pipes alone
            child = self._children[number]
            assert child.errand is not None
            errand = child.errand
            try:
                word, *facts = child.pipe.recv()
            except (EOFError, OSError):
                raise ChildProcessError(_ended(child, errand)) from None
            if word == STEPS:
                yield number, errand, int(facts[0])
                continue
            _raise_of(word, facts)
            child.errand = None
            yield number, errand, None

    def __enter__(self) -> Children:
        here, there = os.pipe()
        self._lifeline = there
        try:
            for _ in range(self.count):
                self._children.append(_start(here, self._threads))
        except BaseException:
            self.__exit__(None, None, None)
            raise
        finally:
            os.close(here)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._lifeline is not None:
            os.close(self._lifeline)  # with it, all that still work break off
            self._lifeline = None
        end = time.monotonic() + LEAVING
        for child in self._children:
            child.pipe.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.process.wait(max(0.0, end - time.monotonic()))
            child.process.kill()
            child.process.wait()
            child.output.close()


def _start(lifeline: int, threads: int) -> _Child:
    """Starts a process; the number is of a pipe whose other end lives as long as this process."""
    near_end, far_end = socket.socketpair()
    output = tempfile.TemporaryFile()  # noqa: SIM115 (the child's, closed with it)
    paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    limit = os.environ.get(_THREADS, "")
    threads = min(threads, int(limit)) if limit.isdigit() and int(limit) else threads
    mask_before = signal.pthread_sigmask(signal.SIG_BLOCK, _BLOCKED)  # the process inherits it
    try:
        process = subprocess.Popen(
            # -P: the current folder may hold a package of one of our names
            [sys.executable, "-P", "-m", _PROGRAM, str(far_end.fileno()), str(lifeline)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), _THREADS: str(threads)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=(far_end.fileno(), lifeline),
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask_before)
        far_end.close()
    return _Child(process=process, pipe=Connection(near_end.detach()), output=output)


def _raise_of(word: str, facts: list[str]) -> None:
    """Raises in this process what has gone wrong in another."""
    if word == REFUSED:
        raise ModelError(facts[0])
    if word == DISK:
        raise OSError(*facts)
    if word == BUG:
        raise RuntimeError(facts[0])


def _ended(child: _Child, errand: Errand) -> str:
    """Says that a process has ended with its errand undone, and what to do."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.process.wait(LEAVING)
    code = child.process.returncode
    if code == -signal.SIGKILL:
        return (
            f"the process at work on {errand.label} was killed, as the system does where memory "
            "runs out; what is done is cached: free memory, or lower expert_batch_size or "
            "max_length, or put `taskset -c 0` in front, and begin again"
        )
    child.output.seek(0)
    lines = child.output.read().decode(errors="replace").strip().splitlines()
    how = f"with exit code {code}" if code is None or code >= 0 else f"by signal {-code}"
    words = f" ({lines[-1].strip()[:300]})" if lines else ""
    return (
        f"the process at work on {errand.label} has ended {how}{words}; what is done is cached, "
        "begin again"
    )
