"""The module starts the process that Ray runs in, talks to it over a pipe, and ends it.

The process leads a session of its own, and all of Ray's processes end with it. They block SIGINT,
SIGTERM and SIGHUP: a signal to the process group, or from a batch system to every process, stops
the run through the process with the journal, and Ray does not end before it.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

from sweeps.raytune._environment import answers, environment
from sweeps.raytune._pipe import PipeEnd
from sweeps.raytune.folders import end_session, lead, session_folder
from sweeps.records import SweepError
from sweeps.study.pack_share import packs_a_gpu

_ROOT: Final = Path(__file__).resolve().parents[2]
_BLOCKED: Final = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
_OUTPUT: Final = "output"
_PROGRAM: Final = "sweeps.raytune"
_LEAVING: Final = 3.0
"""It is the time that Ray has for leaving a cluster, in seconds."""

_STUCK: Final = 60
"""It is the time that a message may take through the pipe, in seconds."""


class RayGone(SweepError):
    """Says that Ray has ended, or given up."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Holds what a Ray on this machine counts as its own."""

    num_cpus: int
    num_gpus: int

    @staticmethod
    def of(
        workers: int, cpus: float, gpus: float, *, everything: Mapping[str, float] | None = None
    ) -> Machine:
        """Gives what so many packs at once take, each with so many processors and GPUs.

        Where a pack's share is still to be measured Ray gets `everything`, by Ray's names, and at
        least the processors of a pack: one that takes more than there are runs too.
        """
        if everything is not None:
            num_cpus = max(math.ceil(cpus), int(everything["CPU"]))
            return Machine(num_cpus=num_cpus, num_gpus=int(everything["GPU"]))
        return Machine(
            num_cpus=max(1, math.ceil(workers * cpus)),
            num_gpus=math.ceil(workers / packs_a_gpu(gpus)) if gpus else 0,
        )


@dataclass(frozen=True, kw_only=True)
class RayProcess:
    """Holds the running process that Ray runs in, and the pipe to it."""

    pipe: PipeEnd
    folder: Path
    """It is the folder of Ray's session, removed with the process."""

    process: subprocess.Popen[bytes]

    def question(self, seconds: float) -> tuple[str, dict[str, Any]] | None:
        """Gives its next question and its data; None if it asks nothing for so many seconds.

        Raises:
            RayGone: the process has ended.
        """
        try:
            return self.pipe.question(seconds)
        except (EOFError, OSError) as error:
            raise RayGone(f"Ray is gone: {self.last_words()}") from error

    def answer(self, data: Any) -> None:
        """Sends the answer to its last question.

        Raises:
            RayGone: the process has ended.
        """
        try:
            self.pipe.answer(data)
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
        return "it printed nothing"


@contextlib.contextmanager
def ray_process(address: str | None, machine: Machine | None = None) -> Iterator[RayProcess]:
    """Gives the process for the time of the block; it starts or joins Ray, and then asks.

    `machine` is what a Ray that is started here counts as its own; a cluster needs none.

    Raises:
        SweepError: nothing answers at the address.
    """
    host, _, port = (address or "").rpartition(":")
    if host and port.isdigit() and "/" not in host and not answers(host, int(port)):
        raise SweepError(f"nothing answers at {address}; start the cluster, or leave out --address")
    with session_folder() as folder, contextlib.ExitStack() as stack:
        near_end, far_end = socket.socketpair()
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):  # a half message counts as the end
            near_end.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", _STUCK, 0))
        lifeline, held_end = os.pipe()  # it ends with this process, however that ends
        stack.callback(os.close, held_end)
        pipe = PipeEnd(Connection(near_end.detach()))
        stack.callback(pipe.close)
        with far_end, (folder / _OUTPUT).open("wb") as output:
            process = _start(far_end.fileno(), lifeline, environment(address), output.fileno())
        os.close(lifeline)
        lead(folder, process.pid)
        try:
            pipe.tell(
                {
                    "address": address,
                    "folder": str(folder),
                    "machine": None if machine is None else asdict(machine),
                }
            )
            yield RayProcess(pipe=pipe, folder=folder, process=process)
        finally:
            pipe.close()  # a wait for an answer ends
            _end(process, folder, seconds=_LEAVING if address is not None else 0.0)


def _start(
    connection: int, lifeline: int, environ: dict[str, str], output: int
) -> subprocess.Popen[bytes]:
    """Starts the process that Ray runs in; the numbers are of open files."""
    paths = [str(_ROOT), *filter(None, [environ.get("PYTHONPATH")])]
    mask_before = signal.pthread_sigmask(signal.SIG_BLOCK, _BLOCKED)  # Ray's processes inherit it
    try:
        return subprocess.Popen(
            # -P: the current folder may hold a package of one of our names
            [sys.executable, "-P", "-m", _PROGRAM, str(connection), str(lifeline)],
            env=environ | {"PYTHONPATH": os.pathsep.join(paths)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=(connection, lifeline),
            start_new_session=True,
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask_before)


def _end(process: subprocess.Popen[bytes], folder: Path, *, seconds: float) -> None:
    """Ends the process and all of Ray's processes, after some seconds for leaving a cluster."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    end_session(folder)
    process.kill()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_LEAVING)
