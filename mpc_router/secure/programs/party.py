"""Runs one of two parties: each holds shares of what the other has, and both compute on these.

The Python that has `spu` runs this file: `python party.py JOB RANK`. It imports numpy, jax, spu and
its neighbour `encoders`, and speaks to this project by files alone. Party 0 has the text, party 1
the weights; what a program gives is opened to party 0.

A job is JSON: `protocol` (SEMI2K or CHEETAH), `addresses` (by party, those of both as it knows
them), `repeats`, `inputs_file` and `weights_file` (arrays, each read by its owner alone), `result`
(what a party measured is written to `result`.RANK), and what is run: `kind` and `form`, and the
shapes of `inputs` and `weights` by name, which both parties have to know.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import encoders
import jax
import jax.numpy
import jax.scipy.special
import numpy as np
import spu.api
import spu.utils.frontend
from encoders import Array, Form, Library
from spu import libspu

PARTIES: Final = 2
CLIENT: Final = 0
OWNER: Final = 1

JAX: Final = Library(jax.numpy, jax.scipy.special.erf, jax.lax.rsqrt)

WITH_KEYS: Final = ("CHEETAH",)
"""Protocols whose first run makes keys and base transfers, once for a session."""

Shapes = Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class Job:
    """Holds what both parties compute."""

    kind: str
    """It is `encoder`, `lookup` or `argmax`."""

    form: Form | None
    inputs: Shapes
    """The arrays of party 0 by name, in the order in which the program takes them."""

    weights: Shapes
    """The arrays of party 1 by name."""


def program(job: Job) -> Callable[..., Array]:
    """Gives the function that is compiled: arrays of party 0, then weights in their order."""
    names = list(job.weights)

    def run(*arrays: Array) -> Array:
        inputs = arrays[: len(job.inputs)]
        weights = dict(zip(names, arrays[len(job.inputs) :], strict=True))
        if job.kind == "argmax":
            return jax.numpy.argmax(inputs[0])
        assert job.form is not None
        if job.kind == "lookup":
            return encoders.looked_up(weights, inputs[0], inputs[1], job.form, JAX)
        return encoders.answered(weights, inputs[0], inputs[1], job.form, JAX)

    return run


class Party:
    """Holds one party: its link to the other, and its shares."""

    def __init__(self, rank: int, addresses: Sequence[str], protocol: str) -> None:
        """Connects to the other party, and waits for it."""
        description = libspu.link.Desc()
        description.recv_timeout_ms = 3_600_000  # a message of a large product takes minutes
        description.connect_retry_times = 240
        description.connect_retry_interval_ms = 500
        for number, address in enumerate(addresses):
            description.add_party(f"party{number}", address)
        config = libspu.RuntimeConfig(
            protocol=getattr(libspu.ProtocolKind, protocol), field=libspu.FieldType.FM64
        )
        config.max_concurrency = 1  # so that processor time is what one thread works
        config.enable_hal_profile = config.enable_pphlo_profile = True  # logs bytes and messages
        self.rank = rank
        self.has_keys = protocol in WITH_KEYS
        self._link = libspu.link.create_brpc(description, rank)
        self._io = spu.api.Io(PARTIES, config)
        self._runtime = spu.api.Runtime(self._link, config)

    def share(self, name: str, owner: int, array: Array | None) -> None:
        """Gives both parties a share of the owner's array; the other one hands in None."""
        if self.rank == owner:
            shares = self._io.make_shares(np.asarray(array), libspu.Visibility.VIS_SECRET)
            self._send(shares[1 - self.rank])
            share = shares[self.rank]
        else:
            share = self._received()
        self._runtime.set_var(name, share)

    def run(self, executable: Any) -> None:
        """Runs a compiled program on the shares of its inputs."""
        self._runtime.run(executable)

    def opened(self, name: str, reader: int) -> Array | None:
        """Opens a result to one party; the other gets None."""
        share = self._runtime.get_var(name)
        if self.rank != reader:
            self._send(share)
            return None
        shares = [share, self._received()]
        return self._io.reconstruct(shares if self.rank == 0 else shares[::-1])

    def wait(self) -> None:
        """Waits until the other party is here too."""
        self._link.barrier()

    def close(self) -> None:
        """Ends the link."""
        self._link.stop_link()

    def _send(self, share: Any) -> None:
        other = 1 - self.rank
        self._link.send(other, json.dumps(len(share.share_chunks)).encode())
        for part in (share.meta, *share.share_chunks):
            self._link.send(other, part)

    def _received(self) -> Any:
        other = 1 - self.rank
        count = json.loads(self._link.recv(other))
        share = libspu.Share()
        share.meta = self._link.recv(other)
        share.share_chunks = [self._link.recv(other) for _ in range(count)]
        return share


def compiled(job: Job, inputs: Sequence[str], weights: Sequence[str], output: str) -> Any:
    """Compiles a job's program for arrays of its shapes, which are shared under these names."""
    shapes = [*job.inputs.values(), *job.weights.values()]
    arrays = [np.zeros(shape, np.float32) for shape in shapes]
    executable, _ = spu.utils.frontend.compile(
        spu.utils.frontend.Kind.JAX,
        program(job),
        arrays,
        {},
        [*inputs, *weights],
        [libspu.Visibility.VIS_SECRET] * len(arrays),
        lambda outputs: [output] * len(outputs),
        static_argnums=(),
        copts=libspu.CompilerOptions(),
    )
    return executable


def measured(party: Party, executable: Any, repeats: int) -> dict[str, Any]:
    """Gives seconds that passed, and seconds that this party worked: medians over the repeats.

    A first run that sets up keys is not counted, where the protocol has any.
    """
    if party.has_keys:
        party.run(executable)
    elapsed, worked = [], []
    for _ in range(repeats):
        party.wait()
        began, before = time.perf_counter(), time.process_time()
        party.run(executable)
        worked.append(time.process_time() - before)
        elapsed.append(time.perf_counter() - began)
    return {
        "elapsed": statistics.median(elapsed),
        "worked": statistics.median(worked),
        "memory_bytes": most_memory(),
    }


def most_memory() -> int:
    """Gives the most bytes that this process held; `getrusage` would count the parent's too."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise OSError("/proc/self/status has no line VmHWM")


def end_with_parent() -> None:
    """Ends this process as soon as its input closes: the process that started it is gone."""

    def watch() -> None:
        while os.read(0, 1):  # not sys.stdin, whose lock Python wants at its end
            pass
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def main(arguments: Sequence[str]) -> None:
    """Runs one party of a job, and writes what it has measured to `result`.RANK."""
    end_with_parent()
    plain, rank = json.loads(Path(arguments[0]).read_text(encoding="utf-8")), int(arguments[1])
    form = None if plain["form"] is None else Form.of(plain["form"])
    job = Job(plain["kind"], form, plain["inputs"], plain["weights"])
    inputs = [f"input.{name}" for name in job.inputs]
    weights = [f"weight.{name}" for name in job.weights]
    executable = compiled(job, inputs, weights, "output")
    party = Party(rank, plain["addresses"][rank], plain["protocol"])
    for owner, names, file in ((CLIENT, job.inputs, "inputs"), (OWNER, job.weights, "weights")):
        arrays = np.load(plain[f"{file}_file"], allow_pickle=False) if rank == owner else {}
        for name in names:
            array = arrays[name].astype(np.float32) if rank == owner else None
            party.share(f"{file.removesuffix('s')}.{name}", owner, array)
    result = measured(party, executable, plain["repeats"])
    output = party.opened("output", CLIENT)
    if output is not None:
        result["output"] = np.asarray(output, np.float64).tolist()
    result["versions"] = {"spu": spu.__version__, "jax": jax.__version__, "numpy": np.__version__}
    Path(f"{plain['result']}.{rank}").write_text(json.dumps(result), encoding="utf-8")
    party.close()


if __name__ == "__main__":
    main(sys.argv[1:])
