"""Starts a process for each tracker, which follows the run's journal, and says how it has ended.

A tracker in a process of its own can neither slow a sweep nor end it: it may wait for a network,
take memory, print, call `sys.exit`, or crash.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from sweeps.tracking.kinds import refuse_missing

_ROOT: Final = Path(__file__).resolve().parents[2]

_WAIT: Final = 60
"""Limits the seconds that a tracker has after the end of a run."""

_CALM: Final = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "WANDB_SILENT": "true",
}
"""Gives settings of trackers, where the user has not set them: a dead server is soon given up."""


class Say(Protocol):
    """Describes a function that shows a line."""

    def __call__(self, text: str, *, style: str = "") -> None:
        """Shows a line."""


@contextlib.contextmanager
def tracking(names: Sequence[str], run: Path, say: Say) -> Iterator[None]:
    """Tells trackers of a run for the time of the block, from the beginning of its journal.

    A tracker that fails is left with one warning. After the block each has a minute to send what is
    left.
    """
    processes = [_TrackerProcess(name, run, say, seconds=_WAIT) for name in dict.fromkeys(names)]
    try:
        yield
    finally:
        for process in processes:
            process.end()
        limit = time.monotonic() + _WAIT
        for process in processes:
            process.wait(max(0.0, limit - time.monotonic()))


def track_afterwards(names: Sequence[str], run: Path, say: Say) -> bool:
    """Tells trackers of everything in a run's journal; gives whether all of them took it.

    Raises:
        InputError: one is not installed.
    """
    refuse_missing(names)
    processes = [_TrackerProcess(name, run, say, seconds=0) for name in dict.fromkeys(names)]
    for process in processes:
        process.end()
    for process in processes:
        process.wait(None)
    return all(process.succeeded for process in processes)


class _TrackerProcess:
    """Holds the process that tells a tracker of a run."""

    def __init__(self, name: str, run: Path, say: Say, *, seconds: int) -> None:
        self._name, self._run, self._say = name, run, say
        self._goes_on = "the run goes on without it, and " if seconds else ""
        self.succeeded = self._abandoned = False
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._process = _start([name, str(run), str(seconds)])
        except OSError as error:
            self._warn(f"its process did not start ({error.strerror})")
            return
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        """Waits for the one line of the process, and shows how it has ended."""
        process = self._process
        assert process is not None
        assert process.stdout is not None
        line = process.stdout.readline()
        code = process.wait()
        if self._abandoned:
            return
        try:
            answer: dict[str, Any] = json.loads(line)
        except ValueError:
            answer = {"failed": _death(code)}
        if "failed" in answer:
            self._warn(answer["failed"])
        else:
            self.succeeded = True
            self._say(f"{self._name}: {answer['trials']} trials; {answer['place']}")

    def _warn(self, reason: str) -> None:
        """Shows the one warning of a tracker that failed."""
        self._say(
            f"{self._name} failed ({reason}); {self._goes_on}`mpc-router-sweep --run "
            f"{self._run} --track {self._name}` tells it afterwards",
            style="yellow",
        )

    def end(self) -> None:
        """Lets the process know that the run is over."""
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()

    def wait(self, seconds: float | None) -> None:
        """Waits for the end of the process; kills one that takes longer than so many seconds."""
        if self._process is None:
            return
        self._listener.join(seconds)
        if self._listener.is_alive():
            self._abandoned = True
            self._process.kill()
            self._process.wait()
            self._warn(f"it had not taken everything {_WAIT} seconds after the end of the run")


def _death(code: int) -> str:
    """Says how a process has ended that said nothing."""
    how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return f"its process ended with {how}"


def _start(words: Sequence[str]) -> subprocess.Popen[bytes]:
    """Starts the process, in a session of its own: Ctrl-C ends the run, and then this."""
    paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.Popen(
        # -P: the current folder may hold a package of one of our names
        [sys.executable, "-P", "-m", "sweeps.tracking", *words],
        env={**_CALM, **os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
