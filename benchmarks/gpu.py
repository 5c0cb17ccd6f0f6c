"""What a GPU gives here, and whether it gives the CPU's numbers.

    python -m benchmarks.gpu [--device cuda] [--seconds 240] [--json FILE]

It needs torch, transformers, numpy and pyarrow, no network and no weights: encoders are drawn at
random in the sizes of BERT tiny, base and large. Four tables:

- the card's limits: bytes copied a second, time of one launch, bfloat16 operations a second;
- a stack's step for 1 to 4,096 routers, beside the time its bytes and its launches need alone;
- experts' outputs in tokens a second, at lengths like MRPC's, and their share of the bfloat16 rate;
- a step of joint training of a pool of the three, with the peak of memory;

and one small sweep on both devices: the largest difference of its losses (at most 1e-4) and the
share of equal routes (at least 99.9 %). It exits with 1 where these two do not hold. `--device cpu`
tries the program itself. The time is shared between the tables; what did not fit in is said.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import BertConfig, BertModel

from benchmarks.gpu_agreement import agreement
from benchmarks.stack import EXPERTS, FEATURES, HIDDEN, generated, lanes_of, stacked
from mpc_router.config.trial import trial_config
from mpc_router.data.tokens import Tokens, batches
from mpc_router.experts.finetune import autocast, predict
from mpc_router.joint._loss import JointLoss, Part
from mpc_router.joint._parameters import optimizer_of
from mpc_router.model.experts import BertExpert, ExpertPool
from mpc_router.model.gated_pool import GatedBertPool
from mpc_router.model.router import MLPRouter, RouterStem, gumbel_noise

LANES: Final = (1, 8, 32, 128, 512, 1024, 2048, 4096)
BYTES_A_WEIGHT: Final = 28
"""AdamW reads weight, gradient and two moments in float32, and writes all but the gradient."""

WEIGHTS: Final = FEATURES * HIDDEN + HIDDEN + HIDDEN * EXPERTS + EXPERTS
SIZES: Final = {"tiny": (2, 128, 2), "base": (12, 768, 12), "large": (24, 1024, 16)}
"""Layers, width and heads of BERT's published sizes."""

VOCABULARY: Final = 30_522


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Holds what the device does at its best, measured."""

    name: str
    bytes_a_second: float
    """Read plus written by a large copy."""

    launch_seconds: float
    """Of one operation on few numbers, in a row of many."""

    bfloat16_a_second: float
    """Floating-point operations of a large product of matrices."""


@dataclass(frozen=True, kw_only=True)
class StackStep:
    """Holds one step of a stack."""

    lanes: int
    milliseconds: float
    traffic_milliseconds: float
    """What AdamW's bytes need at the measured rate, nothing else counted."""

    launch_milliseconds: float
    """What the launches need one after another."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Holds one expert's pass over a split."""

    expert: str
    precision: str
    tokens_a_second: float
    share_of_bfloat16: float


@dataclass(frozen=True, kw_only=True)
class JointStep:
    """Holds one step of joint training."""

    pool: str
    rows: int
    milliseconds: float
    peak_bytes: int
    """Of the device's memory, weights and moments included; 0 on a CPU."""


def settled(device: str) -> float:
    """Gives the time once the device has done all it was asked."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter()


def seconds_of(action: Callable[[], object], *, device: str, at_least: float = 0.2) -> float:
    """Times one call: the median of five rows of calls, each `at_least` this many seconds long."""
    action()
    began = settled(device)
    action()
    once = settled(device) - began
    calls = max(1, int(at_least / max(once, 1e-6)))
    rows = []
    for _ in range(5):
        began = settled(device)
        for _ in range(calls):
            action()
        rows.append((settled(device) - began) / calls)
    return float(np.median(rows))


def limits(device: str) -> Limits:
    """Measures the device alone."""
    large = device.startswith("cuda")
    source = torch.zeros(2**28 if large else 2**24, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copy = seconds_of(lambda: target.copy_(source), device=device)
    few = torch.zeros(8, device=device)
    launch = seconds_of(lambda: few.add_(1.0), device=device)
    size = 8192 if large else 256
    matrix = torch.randn(size, size, device=device, dtype=torch.bfloat16)
    product = seconds_of(lambda: matrix @ matrix, device=device)
    return Limits(
        name=torch.cuda.get_device_name() if large else "the CPU",
        bytes_a_second=2 * source.numel() / copy,
        launch_seconds=launch,
        bfloat16_a_second=2 * size**3 / product,
    )


def stack_steps(device: str, card: Limits, lanes: Sequence[int]) -> Iterator[StackStep]:
    """Times a step of stacks of these sizes."""
    prepared = generated()
    for count in lanes:
        step = stacked(prepared, lanes_of(count, supervised=False), device=device)
        launches = operations(functools.partial(step, 1), device)
        yield StackStep(
            lanes=count,
            milliseconds=1e3 * seconds_of(lambda step=step: step(1), device=device),  # type: ignore[misc]
            traffic_milliseconds=1e3 * count * WEIGHTS * BYTES_A_WEIGHT / card.bytes_a_second,
            launch_milliseconds=1e3 * launches * card.launch_seconds,
        )


def operations(action: Callable[[], object], device: str) -> int:
    """Counts what one call starts: kernels on a GPU, operations that have no parts on a CPU."""
    from torch.profiler import ProfilerActivity, profile

    action()
    cuda = device.startswith("cuda")
    kinds = [ProfilerActivity.CUDA] if cuda else [ProfilerActivity.CPU]
    with profile(activities=kinds) as recorded:
        action()
        settled(device)
    return sum(1 for event in recorded.events() if cuda or not event.cpu_children)


def some_tokens(rows: int, *, seed: int = 0) -> Tokens:
    """Draws examples as long as MRPC's pairs: about 53 tokens, from 20 to 103."""
    source = np.random.default_rng(seed)
    lengths = np.clip(source.normal(53, 16, rows).round().astype(np.int64), 20, 103)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Tokens(
        ids=source.integers(1000, VOCABULARY, offsets[-1], dtype=np.int32),
        segments=np.zeros(offsets[-1], np.uint8),
        offsets=offsets,
        labels=source.integers(0, 2, rows).astype(np.float64),
        example=np.arange(rows),
    )


def encoder(size: str) -> nn.Module:
    """Draws a BERT of this size."""
    layers, width, heads = SIZES[size]
    shape = BertConfig(
        num_hidden_layers=layers,
        hidden_size=width,
        num_attention_heads=heads,
        intermediate_size=4 * width,
        vocab_size=VOCABULARY,
    )
    model: nn.Module = BertModel(shape, add_pooling_layer=False)
    return model


def operations_of(size: str, lengths: NDArray[np.int64]) -> float:
    """Counts floating-point operations of a forward pass over examples of these lengths.

    Per layer 24 T W^2 for the products with weights and 4 T^2 W for attention's two, with T tokens
    and W wide: the usual count, padding left out.
    """
    layers, width, _ = SIZES[size]
    tokens = lengths.astype(np.float64)
    return float(layers * (24 * tokens * width**2 + 4 * tokens**2 * width).sum())


def asked_experts(device: str, card: Limits, sizes: Sequence[str], rows: int) -> Iterator[Asked]:
    """Times the pass that a sweep makes once over a split, per expert and precision."""
    tokens = some_tokens(rows)
    for size in sizes:
        expert = BertExpert(encoder(size), 2)
        for precision in ("float32", "bfloat16") if device.startswith("cuda") else ("float32",):
            ask = functools.partial(
                predict, expert, tokens, batch_size=64, device=device, precision=precision
            )
            ask()
            began = settled(device)
            ask()
            seconds = settled(device) - began
            rate = operations_of(size, tokens.lengths) / seconds
            yield Asked(
                expert=size,
                precision=precision,
                tokens_a_second=float(tokens.lengths.sum()) / seconds,
                share_of_bfloat16=rate / card.bfloat16_a_second,
            )


def joint_steps(device: str, pools: Sequence[Sequence[str]], rows: int) -> Iterator[JointStep]:
    """Times forward, losses, backward and AdamW of whole pools on a batch of real lengths."""
    for sizes in pools:
        config = trial_config({"pool": "sample", "experts": "joint", "alpha": 0.1, "beta": 0.1})
        experts = ExpertPool([BertExpert(encoder(size), 2) for size in sizes])
        router = MLPRouter(SIZES[sizes[0]][1], len(sizes), HIDDEN)
        stem = RouterStem(encoder(sizes[0]))
        pool = GatedBertPool.from_parts(stem, router, experts).to(device).train()
        optimizer = optimizer_of(pool, config)
        costs = torch.arange(1.0, len(sizes) + 1, device=device)
        loss = JointLoss(
            weights=config.loss_weights,
            costs=costs,
            autocast=functools.partial(autocast, "auto", torch.device(device)),
        )
        batch = next(iter(batches(some_tokens(rows), rows, generator=None))).to(
            torch.device(device)
        )
        noise = gumbel_noise((rows, len(sizes))).to(device)
        part = Part(batch, noise, None, lambda: None)

        def step(
            pool: GatedBertPool = pool,
            loss: JointLoss = loss,
            part: Part = part,
            optimizer: torch.optim.Optimizer = optimizer,
        ) -> None:
            optimizer.zero_grad()
            loss.backward(pool, [part])
            optimizer.step()

        cuda = device.startswith("cuda")
        if cuda:
            torch.cuda.reset_peak_memory_stats()
        seconds = seconds_of(step, device=device)
        yield JointStep(
            pool=" + ".join(sizes),
            rows=rows,
            milliseconds=1e3 * seconds,
            peak_bytes=torch.cuda.max_memory_allocated() if cuda else 0,
        )


def measure(device: str, *, seconds: float) -> Iterator[tuple[str, Any]]:
    """Gives what is measured, row by row with its table's name, as long as the time lasts."""
    began = time.perf_counter()
    large = device.startswith("cuda")
    card = limits(device)
    yield "limits", card
    yield "agreement", agreement(device, epochs=5 if large else 1)
    sizes = list(SIZES) if large else ["tiny"]
    pools = [["tiny"] * 3, ["tiny", "base"], list(SIZES)] if large else [["tiny"] * 3]
    tables: dict[str, Iterator[Any]] = {
        "stack": stack_steps(device, card, LANES if large else LANES[:3]),
        "experts": asked_experts(device, card, sizes, rows=4096 if large else 128),
        "joint": joint_steps(device, pools, rows=32 if large else 4),
    }
    for number, (name, rows) in enumerate(tables.items(), start=1):
        for row in rows:
            yield name, row
            if time.perf_counter() - began > seconds * number / len(tables):
                yield "left out", f"the rest of {name}: {seconds:g} s are shared between the tables"
                break


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints every row once it is measured; exits with 1 where the devices disagree."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1 or cpu (default: cuda)")
    parser.add_argument("--seconds", type=float, default=240, help="for all (default: 240)")
    parser.add_argument("--json", type=Path, help="a file for all numbers")
    asked = parser.parse_args(arguments)
    if asked.device.startswith("cuda") and not torch.cuda.is_available():
        parser.error("torch sees no GPU; --device cpu tries the program itself")
    rows_of: dict[str, list[Any]] = {}
    agreed = True
    for table, row in measure(asked.device, seconds=asked.seconds):
        values = row if isinstance(row, str) else asdict(row)
        rows_of.setdefault(table, []).append(values)
        if table == "agreement":
            agreed = row.holds
        print(f"{table:9} {shown(values)}", flush=True)
        if asked.json:
            asked.json.write_text(json.dumps(rows_of, indent=1))
    return 0 if agreed else 1


def shown(value: object) -> str:
    """Writes a number with four digits, and a row as its names and values."""
    if isinstance(value, dict):
        return "  ".join(f"{name} {shown(content)}" for name, content in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.exit(main())
