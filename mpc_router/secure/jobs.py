"""Runs jobs of two parties in the other Python, and reads what they measured.

A job is a file, arrays are files, and so are the results: no library of secure computation is
imported here.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray

from mpc_router.messages import one_line
from mpc_router.secure import programs
from mpc_router.secure._usage import Usage
from mpc_router.secure.environment import OtherPython, environment

_Arrays = Mapping[str, NDArray[Any]]

PROTOCOLS: Final = {"semi2k": "SEMI2K", "cheetah": "CHEETAH"}
"""They are protocols of two parties, by the name of the flag, with SPU's name."""

_PARTY: Final = Path(programs.__file__).with_name("party.py")
_SENT: Final = re.compile(r"Link details: total send bytes (\d+), .*send actions (\d+)")
_LOOK: Final = 0.05
"""Seconds between two looks at the processes."""


Addresses = tuple[tuple[str, str], tuple[str, str]]
"""By party, the addresses of both as it knows them: its own, at which it listens, and the other's.
"""


def on_loopback() -> Addresses:
    """Gives two free ports of this machine."""
    first, second = (f"127.0.0.1:{port}" for port in free_ports(2))
    return (first, second), (first, second)


def free_ports(count: int) -> list[int]:
    """Gives different ports of this machine at which nothing listens now."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


class PartyError(OSError):
    """Says that a party has died: what it said last."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Job:
    """Holds what two parties compute."""

    kind: str
    """`encoder`, `lookup` or `argmax`."""

    form: Mapping[str, Any] | None
    """The form of the encoder, as plain JSON."""

    inputs: _Arrays
    """What party 0 has, by name, in the order in which the program takes it."""

    weights: _Arrays
    """What party 1 has."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Holds under what jobs are run."""

    python: OtherPython
    protocol: str
    """One of `PROTOCOLS`."""

    repeats: int = 1
    addresses: Callable[[], Addresses] = on_loopback
    """Gives new addresses for a job."""


def run_job(job: Job, setting: Setting) -> tuple[Usage, NDArray[np.float64]]:
    """Runs a job, and gives what it took and its output.

    Raises:
        PartyError: a party has died.
    """
    with tempfile.TemporaryDirectory(prefix="mpc-router-secure-") as name:
        folder = Path(name)
        _write_arrays(folder / "inputs.npz", job.inputs)
        _write_arrays(folder / "weights.npz", job.weights)
        plain = {
            "kind": job.kind,
            "form": job.form,
            "protocol": PROTOCOLS[setting.protocol],
            "addresses": setting.addresses(),
            "repeats": setting.repeats,
            "inputs": {key: list(array.shape) for key, array in job.inputs.items()},
            "weights": {key: list(array.shape) for key, array in job.weights.items()},
            "inputs_file": str(folder / "inputs.npz"),
            "weights_file": str(folder / "weights.npz"),
            "result": str(folder / "result"),
        }
        (folder / "job.json").write_text(json.dumps(plain), encoding="utf-8")
        run_parties([str(setting.python.path), str(_PARTY), str(folder / "job.json")], folder)
        results = [
            json.loads((folder / f"result.{rank}").read_text(encoding="utf-8")) for rank in (0, 1)
        ]
        logs = [(folder / f"log.{rank}").read_text("utf-8", "replace") for rank in (0, 1)]
    traffic = [sent_of(log) for log in logs]
    usage = Usage(
        worked=max(result["worked"] for result in results),
        elapsed=max(result["elapsed"] for result in results),
        sent_bytes=(traffic[0][0], traffic[1][0]),
        rounds=min(messages for _, messages in traffic),
        memory_bytes=max(result["memory_bytes"] for result in results),
    )
    return usage, np.asarray(results[0]["output"], np.float64)


def _write_arrays(path: Path, arrays: _Arrays) -> None:
    np.savez(path, allow_pickle=False, **dict(arrays))


def sent_of(log: str) -> tuple[int, int]:
    """Gives bytes and messages that a party sent in its last run, from the log of its library.

    Raises:
        PartyError: the log does not say it.
    """
    lines = _SENT.findall(log)
    if not lines:
        raise PartyError("a party's log says nothing of bytes sent; spu 0.9.5 logs them")
    sent, messages = lines[-1]
    return int(sent), int(messages)


def run_parties(
    command: Sequence[str], folder: Path, show: Callable[[str], None] = lambda line: None
) -> None:
    """Runs a command once for each party, whose number is its last word, to their end.

    When one fails, or we are stopped, the other is ended. What they say is in `log.RANK` in the
    folder; `show` is called with each line of party 0 as it comes.

    Raises:
        PartyError: a party has died.
    """
    with contextlib.ExitStack() as stack:
        processes = []
        for rank in (0, 1):
            log = stack.enter_context((folder / f"log.{rank}").open("wb"))
            processes.append(stack.enter_context(_process([*command, str(rank)], log)))
        reader = stack.enter_context((folder / "log.0").open(encoding="utf-8", errors="replace"))
        text, is_running = "", True
        while is_running:
            codes = [process.poll() for process in processes]
            is_running = None in codes and not any(codes)
            *lines, text = (text + reader.read()).split("\n")
            for line in lines:
                show(line)
            if is_running:
                time.sleep(_LOOK)
    for rank, code in enumerate(codes):
        if code:
            raise PartyError(_last_words(folder / f"log.{rank}", rank, code))


@contextlib.contextmanager
def _process(command: Sequence[str], log: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a process; it is killed if it still runs as the block ends.

    Its input is a pipe of ours: a party ends itself when that closes, for we may be killed first.
    """
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment()
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def _last_words(log: Path, rank: int, code: int) -> str:
    lines = log.read_text("utf-8", "replace").strip().splitlines() or ["nothing"]
    why = "killed, perhaps for memory" if code == -9 else f"exit code {code}"
    return f"party {rank} of the secure computation failed ({why}): {one_line(lines[-1])[:300]}"
