"""How long an example takes on this machine: every expert, and stem with router, timed alike.

Letters: B examples of a batch, N examples, K experts.
"""

from __future__ import annotations

import contextlib
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mpc_router.data.tokens import Inputs, Tokens, gather
from mpc_router.model.gated_pool import GatedBertPool
from mpc_router.model.router import router_logits, sees_outputs
from mpc_router.model.seen import Seen
from mpc_router.model.tied_stem import is_first_expert
from mpc_router.terminal.progress import Progress, Silence

_EXAMPLES: Final = 64
"""Examples timed in a round unless told."""


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Holds what one example took of one part of the pool."""

    seconds: float
    """Median over the rounds of the mean over examples."""

    quartiles: tuple[float, float]
    """First and third, over the rounds."""

    memory: int
    """Bytes of weights, and the most that was allocated at once while the longest batch ran (CPU:
    torch.profiler; CUDA: torch.cuda.max_memory_allocated)."""


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Holds a measurement: what, on what, and how."""

    experts: tuple[Timing, ...]
    """(K,)"""

    router: Timing
    """Stem and MLP."""

    repeats: int
    examples: int
    batch_size: int
    mean_tokens: float
    """Of the examples timed."""

    longest: int
    """Tokens of the longest of them."""

    device: str
    threads: int
    machine: str
    torch_version: str
    date: str
    """When it ended, ISO, UTC."""

    mean_tokens_by_expert: tuple[float, ...] = ()
    """(K,) of the examples timed, where encoders have several tokenizers; else empty."""


@dataclass(frozen=True)
class _Part:
    """Holds a part of the pool that is timed as one."""

    modules: tuple[nn.Module, ...]
    run: Callable[[int], Any]
    """Runs the batch of that number."""


def measure_latency(
    pool: GatedBertPool,
    tokens: Tokens,
    *,
    repeats: int = 5,
    examples: int = _EXAMPLES,
    batch_size: int = 1,
    device: str = "cpu",
    threads: int | None = None,
    progress: Progress | None = None,
) -> Latency:
    """Gives the seconds an example, and memory, of every expert and of stem with router.

    At most `examples` of `tokens` are taken, evenly over their lengths, so that these are
    distributed as the split's. After a round that is not counted, `repeats` rounds run every part
    over all of them, each round in another order, so that other work on the machine meets all
    alike. The pool stays on `device`, in the mode it was in; `threads` (None: as they are) are put
    back.

    Raises:
        ValueError: no example, or fewer than one of anything.
    """
    counts = {"repeats": repeats, "examples": examples, "batch_size": batch_size}
    if threads is not None:
        counts["threads"] = threads
    for name, value in counts.items():
        if value < 1:
            raise ValueError(f"{name} is {value}, but must be at least 1")
    if not len(tokens):
        raise ValueError("there is no example to time; give a split of at least one")
    rows = _spread(tokens.lengths, examples)
    with _set_up(pool, device, threads), torch.inference_mode():
        parts = _parts(pool, _seen(pool, tokens, rows, batch_size, device))
        batches = -(-len(rows) // batch_size)
        seconds = _rounds(parts, batches, repeats, device, progress or Silence()) / len(rows)
        memory = [_memory(part, device) for part in parts]
        used = torch.get_num_threads()
    timings = [
        Timing(
            seconds=float(np.median(column)),
            quartiles=(float(np.quantile(column, 0.25)), float(np.quantile(column, 0.75))),
            memory=bytes_,
        )
        for column, bytes_ in zip(seconds.T, memory, strict=True)
    ]
    lengths = tokens.lengths[rows]
    means = [float(other.lengths[rows].mean()) for other in (tokens, *tokens.others)]
    return Latency(
        experts=tuple(timings[1:]),
        router=timings[0],
        repeats=repeats,
        examples=len(rows),
        batch_size=batch_size,
        mean_tokens=float(lengths.mean()),
        longest=int(lengths.max()),
        device=device,
        threads=used,
        machine=machine(device),
        torch_version=torch.__version__,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        mean_tokens_by_expert=tuple(means[number] for number in pool.experts.encodings)
        if tokens.others
        else (),
    )


def machine(device: str) -> str:
    """Gives the processor of this machine, or its GPU; no name of the machine itself."""
    if device.startswith("cuda"):
        return str(torch.cuda.get_device_name(torch.device(device)))
    name = platform.processor()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    return f"{name or 'unknown processor'} ({platform.machine()}, {os.cpu_count()} cores)"


def _spread(lengths: NDArray[np.int64], examples: int) -> NDArray[np.int64]:
    """Gives at most so many rows, evenly over the lengths; shortest first, to pad little.

    The middles of equal shares of the order: their lengths are distributed as all of them.
    """
    order = np.argsort(lengths, kind="stable")
    count = min(examples, len(order))
    middles = ((np.arange(count) + 0.5) * len(order) / count).astype(np.int64)
    return np.asarray(order[middles], np.int64)


def _seen(
    pool: GatedBertPool, tokens: Tokens, rows: NDArray[np.int64], batch_size: int, device: str
) -> list[tuple[Inputs, Seen]]:
    """Gives every batch as the stem takes it, and as the experts do."""
    seen_batches: list[tuple[Inputs, Seen]] = []
    for at in range(0, len(rows), batch_size):
        batch = gather(tokens, rows[at : at + batch_size]).to(device)
        seen_batches.append((batch.inputs, pool.look(*batch.inputs)))
    return seen_batches


def _parts(pool: GatedBertPool, batches: Sequence[tuple[Inputs, Seen]]) -> list[_Part]:
    """Gives stem with router, then every expert.

    Of a router that is given outputs, or looks through the cheapest expert, the first part is that
    expert with the router, as they run before anything is decided: what later decisions of a router
    in steps take is left out, for beside an encoder it is nothing.
    """

    def asks(number: int) -> Callable[[int], Any]:
        def run(batch: int) -> Any:
            seen = batches[batch][1]
            return pool.experts.ask(number, seen.states, seen.attention_mask, seen.token_type_ids)

        return run

    begins_with_expert = sees_outputs(pool.router) or is_first_expert(pool.stem, pool.experts)
    looks = pool.experts.experts[0] if begins_with_expert else pool.stem
    router = _Part((looks, pool.router), lambda batch: _begin(pool, batches[batch][0]))
    experts = enumerate(pool.experts.experts)
    return [router, *(_Part((encoder,), asks(number)) for number, encoder in experts)]


def _begin(pool: GatedBertPool, inputs: Inputs) -> Tensor:
    """Runs what every example passes before anything is decided: the router's numbers (B, M)."""
    seen = pool.look(*inputs)
    if not sees_outputs(pool.router):
        return router_logits(pool.router, seen.features)
    assert seen.first is not None
    rows, width = seen.first.shape
    outputs = seen.first.new_zeros((rows, len(pool.experts), width))
    outputs[:, 0] = seen.first
    return router_logits(pool.router, seen.features, outputs)


def _rounds(
    parts: Sequence[_Part], batches: int, repeats: int, device: str, progress: Progress
) -> NDArray[np.float64]:
    """Gives the seconds (repeats, parts) of running every part over all batches."""
    seconds = np.zeros((repeats + 1, len(parts)))
    progress.start("latency", (repeats + 1) * len(parts))
    for number in range(repeats + 1):
        for step in range(len(parts)):
            part = (number + step) % len(parts)
            seconds[number, part] = _seconds(parts[part], batches, device)
            progress.advance()
    progress.finish()
    return seconds[1:]  # the first round warms up


def _seconds(part: _Part, batches: int, device: str) -> float:
    _synchronise(device)
    start = time.perf_counter()
    for batch in range(batches):
        part.run(batch)
        # an example has arrived only when the device is done with it
        _synchronise(device)
    return time.perf_counter() - start


def _synchronise(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(torch.device(device))


def _memory(part: _Part, device: str) -> int:
    """Gives the bytes of weights, and of the most that the last, longest batch held at once."""
    tensors = [
        tensor for module in part.modules for tensor in (*module.parameters(), *module.buffers())
    ]
    weights = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    return weights + (_cuda_peak if device.startswith("cuda") else _cpu_peak)(part, device)


def _cuda_peak(part: _Part, device: str) -> int:
    where = torch.device(device)
    torch.cuda.synchronize(where)
    torch.cuda.reset_peak_memory_stats(where)
    before = torch.cuda.memory_allocated(where)
    part.run(-1)
    torch.cuda.synchronize(where)
    return int(torch.cuda.max_memory_allocated(where) - before)


def _cpu_peak(part: _Part, device: str) -> int:
    """Adds up the profiler's record of allocations, for torch has no counter of a CPU's peak."""
    from torch.profiler import ProfilerActivity, profile

    # else the profiler's library writes a line at its start and one at its end to stderr
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as seen:
        part.run(-1)
    inner: Any = seen.profiler
    changes = [event for event in inner.kineto_results.events() if event.name() == "[memory]"]
    changes.sort(key=lambda change: change.start_ns())
    held = np.cumsum([change.nbytes() for change in changes], dtype=np.int64)
    return int(held.max(initial=0))


@contextlib.contextmanager
def _set_up(pool: GatedBertPool, device: str, threads: int | None) -> Iterator[None]:
    """Puts the pool on the device in evaluation mode, with so many threads; restores both."""
    training, before = pool.training, torch.get_num_threads()
    pool.to(device).eval()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        pool.train(training)
