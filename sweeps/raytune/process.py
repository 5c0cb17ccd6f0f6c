"""The process that Ray lives in: started, asked over a pipe, and ended with all of Ray's.

It is the leader of a session of its own, and deaf to SIGTERM and SIGHUP as everything is that it
starts: a signal to the whole group, or from a batch system to every process there is, stops the run
through the one that keeps the journal, and Ray does not fall before it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

from sweeps.raytune._environment import answers, environment
from sweeps.raytune._pipe import Line
from sweeps.raytune.folders import end_session, lead, session_folder
from sweeps.records import SweepError

_ROOT: Final = Path(__file__).resolve().parents[2]
_DEAF_TO: Final = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
_OUTPUT: Final = "said"
_LINUX: Final = sys.platform == "linux"
_LEAVING: Final = 3.0
"""Seconds that Ray has for leaving a cluster, or where nobody can tell which processes are its."""


_STUCK: Final = 60
"""Seconds that a word may take to get through."""


class RayGone(SweepError):
    """Says that Ray has ended, or given up."""


@dataclass(frozen=True, kw_only=True)
class RayProcess:
    """Holds the running process that Ray lives in, and the pipe to it."""

    line: Line
    folder: Path
    """Of Ray's session; gone when the process is."""

    process: subprocess.Popen[bytes]

    def question(self, seconds: float) -> tuple[str, dict[str, Any]] | None:
        """Gives its next question and its data; None if it asks nothing for so many seconds.

        Raises:
            RayGone: the process has ended.
        """
        try:
            return self.line.question(seconds)
        except (EOFError, OSError) as error:
            raise RayGone(f"Ray is gone: {self.last_words()}") from error

    def answer(self, said: Any) -> None:
        """Sends the answer to its last question.

        Raises:
            RayGone: the process has ended.
        """
        try:
            self.line.answer(said)
        except OSError as error:
            raise RayGone(f"Ray is gone: {self.last_words()}") from error

    def last_words(self) -> str:
        """Gives the last line that the process, or Ray in it, has printed."""
        with contextlib.suppress(OSError):
            output = (self.folder / _OUTPUT).read_text(errors="replace").splitlines()
            if any("Failed to connect to GCS" in line for line in output):
                return "its head does not answer"
            if lines := [line.strip() for line in output if line.strip()]:
                return lines[-1]
        return "it said nothing"


@contextlib.contextmanager
def ray_process(address: str | None) -> Iterator[RayProcess]:
    """Gives the process for the time of the block, before Ray is started or joined in it.

    Raises:
        SweepError: nothing answers at the address.
    """
    host, _, port = (address or "").rpartition(":")
    if host and port.isdigit() and "/" not in host and not answers(host, int(port)):
        raise SweepError(f"nothing answers at {address}; start the cluster, or leave out --address")
    with session_folder() as folder, contextlib.ExitStack() as stack:
        ours, theirs = socket.socketpair()
        for way in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):  # who stops amid a word is gone
            ours.setsockopt(socket.SOL_SOCKET, way, struct.pack("ll", _STUCK, 0))
        lifeline, kept = os.pipe()  # at its end when this process is, whatever ends it
        stack.callback(os.close, kept)
        line = Line(Connection(ours.detach()))
        stack.callback(line.close)
        with theirs, (folder / _OUTPUT).open("wb") as output:
            process = _start(theirs.fileno(), lifeline, environment(address), output.fileno())
        os.close(lifeline)
        lead(folder, process.pid)
        try:
            yield RayProcess(line=line, folder=folder, process=process)
        finally:
            line.close()  # whoever waits for an answer waits no longer
            _end(process, folder, seconds=_LEAVING if address is not None or not _LINUX else 0.0)


def _start(
    connection: int, lifeline: int, environ: dict[str, str], output: int
) -> subprocess.Popen[bytes]:
    paths = [str(_ROOT), *filter(None, [environ.get("PYTHONPATH")])]
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _DEAF_TO)  # inherited, by Ray's processes too
    try:
        return subprocess.Popen(
            [sys.executable, "-m", "sweeps.raytune.tune_loop", str(connection), str(lifeline)],
            env=environ | {"PYTHONPATH": os.pathsep.join(paths)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=(connection, lifeline),
            start_new_session=True,
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end(process: subprocess.Popen[bytes], folder: Path, *, seconds: float) -> None:
    """Ends the process and all of Ray's, at once or after some seconds for leaving a cluster."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    end_session(folder)
    process.kill()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_LEAVING)
