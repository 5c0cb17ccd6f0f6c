"""The module is the cluster that a Slurm job makes for a sweep, known by the sweep's run."""

from __future__ import annotations

import contextlib
import re
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cluster import private
from cluster.contract import Condition, Refused, Running, Status
from cluster.slurm_script import Job, batch_script

_SCRIPT: Final = "batch.sh"
_JOB: Final = "job"
_ADDRESS: Final = "address"

_ANSWER: Final = 60.0
"""It is the time that a command of Slurm has, in seconds."""

_ENDED: Final = frozenset({"COMPLETED", "CANCELLED", "PREEMPTED", "REVOKED"})
_BROKEN: Final = frozenset(
    {"FAILED", "TIMEOUT", "NODE_FAIL", "BOOT_FAIL", "OUT_OF_MEMORY", "DEADLINE"}
)


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """Holds what `squeue` says of a job."""

    state: str
    reason: str
    nodes: str
    left: str


class SlurmCluster:
    """Submits, watches and cancels the job of a sweep."""

    def __init__(
        self, beside: Path, job: Job | None = None, *, pause: Callable[[float], None] = time.sleep
    ) -> None:
        """Names the cluster by the folder beside its run; without `job` it cannot be started."""
        self._beside, self._job, self._pause = beside, job, pause

    @property
    def number(self) -> str | None:
        """Gives the number of the submitted job; None where there is none."""
        try:
            text = (self._beside / _JOB).read_text().strip()
        except OSError:
            return None
        return text if re.fullmatch("[0-9]{1,12}", text) else None

    @property
    def address(self) -> str | None:
        """Gives HOST:PORT of the head; None while no session has its nodes up."""
        with contextlib.suppress(OSError):
            return (self._beside / _ADDRESS).read_text().strip() or None
        return None

    def start(self) -> None:
        """Writes the batch script and submits it.

        Raises:
            Running: an earlier job of the run waits or runs.
            Refused: Slurm is not there, or refuses the job; or the folder is no private one.
        """
        assert self._job is not None
        condition = self.status().condition
        if condition in (Condition.WAITING, Condition.UP):
            raise Running(f"job {self.number} of this run waits or runs")
        is_new = not self._beside.exists()
        try:
            self._beside.mkdir(mode=0o700, parents=True, exist_ok=True)
            with private.entered(self._beside):
                private.write(self._beside / _SCRIPT, batch_script(self._job))
        except private.NotPrivate as error:
            raise Refused(f"{error}; chmod 700 it, or give --run another name", 2) from error
        except OSError as error:
            if self._beside.is_symlink():
                why = "is a link, but a token is written there"
                raise Refused(f"{self._beside} {why}; give --run another name", 2) from error
            raise Refused(f"{self._beside} cannot be written to: {error.strerror}", 2) from error
        try:
            number = _slurm("sbatch", "--parsable", str(self._beside / _SCRIPT)).partition(";")[0]
        except Refused:
            (self._beside / _SCRIPT).unlink()
            if is_new:
                self._beside.rmdir()
            raise
        private.write(self._beside / _JOB, number.strip())

    def wait(self, seconds: float) -> None:
        """Waits until a session has its nodes up.

        Raises:
            Refused: nothing was submitted, the job has ended, or no session is up in time.
        """
        end = time.monotonic() + seconds
        while (status := self.status()).condition is not Condition.UP:
            if status.condition is not Condition.WAITING:
                raise Refused("; ".join(status.lines), 2 if self.number is None else 3)
            if time.monotonic() > end:
                raise Refused(f"not up after {seconds:g} seconds: {'; '.join(status.lines)}", 3)
            self._pause(1.0)

    def status(self) -> Status:
        """Asks Slurm how the job stands.

        Raises:
            Refused: Slurm does not answer.
        """
        number = self.number
        if number is None:
            return Status(condition=Condition.ABSENT, lines=("no job was submitted",))
        seen = self._seen(number)
        if seen is None:
            line = f"job {number}: Slurm knows it no more, so it has ended"
            return Status(condition=Condition.ABSENT, lines=(line,))
        lines = [f"job {number}: {seen.state}"]
        if seen.reason not in ("None", ""):
            lines[0] += f" ({seen.reason})"
        if seen.nodes:
            lines.append(f"  on {seen.nodes}, {seen.left} left")
        if seen.state in _BROKEN:
            return Status(condition=Condition.BROKEN, lines=tuple(lines))
        if seen.state in _ENDED:
            return Status(condition=Condition.ABSENT, lines=tuple(lines))
        address = self.address if seen.state == "RUNNING" else None
        if address is None:
            return Status(condition=Condition.WAITING, lines=tuple(lines))
        return Status(condition=Condition.UP, lines=(*lines, f"  Ray's head is {address}"))

    def stop(self) -> str:
        """Cancels the job, and waits until Slurm has ended its processes.

        Raises:
            Refused: Slurm does not answer, or the job does not end.
        """
        number = self.number
        if number is None:
            return "no job was submitted"
        seen = self._seen(number)
        runs = seen is not None and seen.state not in _BROKEN | _ENDED
        if runs:
            _slurm("scancel", number)
            for _ in range(int(_ANSWER)):
                seen = self._seen(number)
                if seen is None or seen.state in _BROKEN | _ENDED:
                    break
                self._pause(1.0)
            else:
                raise Refused(f"job {number} has not ended {_ANSWER:g} seconds after scancel", 3)
        for name in (_ADDRESS, _JOB, _SCRIPT):
            (self._beside / name).unlink(missing_ok=True)
        return f"cancelled job {number}" if runs else f"job {number} had ended"

    def _seen(self, number: str) -> _Seen | None:
        """Asks Slurm for a job; None where it knows none of the number.

        Raises:
            Refused: Slurm does not answer.
        """
        words = ("--noheader", "--states=all", f"--jobs={number}", "--format=%T|%r|%N|%L")
        try:
            text = _slurm("squeue", *words)
        except Refused as error:
            if "Invalid job id" in str(error):
                return None
            raise
        fields = text.strip().split("|")
        if len(fields) != 4:
            return None
        return _Seen(state=fields[0], reason=fields[1], nodes=fields[2], left=fields[3])


def _slurm(name: str, *words: str) -> str:
    """Runs a command of Slurm and gives its output.

    Raises:
        Refused: it is not installed, has failed, or does not answer.
    """
    try:
        done = subprocess.run(
            [name, *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=_ANSWER,
        )
    except FileNotFoundError as error:
        raise Refused(
            f"there is no {name} on this machine; call this on a login node of Slurm", 2
        ) from error
    except subprocess.TimeoutExpired as error:
        raise Refused(f"{name} has not answered for {_ANSWER:g} seconds", 3) from error
    if done.returncode != 0:
        why = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
        raise Refused(f"{name} has failed: {why}", 2 if name == "sbatch" else 3)
    return done.stdout
