"""Milliseconds a step and router: stacks by compiled loops and by autograd, against a plain loop.

    python -m benchmarks.stack [--rounds 9] [--sizes 1 8 32 64 128 256] [--processes 1 2]

All train what a trial trains (features 128, hidden 256, 3 experts, batch 32, Gumbel gate, dropout,
three losses, AdamW) on generated features, drawing their randomness as they go; stacks that are
`--supervised`, by autograd alone, learn labels instead, each lane its own. The limit is what no
step can do without: two products of the step's shapes by torch, and a copy of the 28 bytes a weight
that AdamW reads and writes, all in the cache. Each process has one thread, whose processor time
counts. Every round measures all of them one after another, so that other work on the machine meets
all alike: numbers are medians over rounds (of all processes), and a ratio is the median of the
rounds' ratios.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from mpc_router.config.trial import trial_config
from mpc_router.frozen._labels import Supervision
from mpc_router.frozen._stacked_routers import SplitTensors, StackedRouters
from mpc_router.frozen.lanes import Lane
from mpc_router.frozen.randomness import epoch_draws
from mpc_router.model.losses import CompositeLoss, mix
from mpc_router.model.router import MLPRouter, gumbel_gate, gumbel_noise
from mpc_router.prepare.frozen import Prepared
from mpc_router.prepare.inputs import ExpertInfo, SplitOutputs, StemInfo
from mpc_router.tasks import TASKS

ROWS, FEATURES, HIDDEN, EXPERTS, BATCH = 4096, 128, 256, 3, 32

STRETCH: Final = 64
"""Steps that compiled loops train a lane for at once."""

LIMITS: Final = ("products", "copy")

Steps = Callable[[int], None]
"""Trains for so many steps."""


def generated() -> Prepared:
    """Random features, outputs and labels."""
    source = np.random.default_rng(0)
    split = SplitOutputs(
        split="train",
        features=source.standard_normal((ROWS, FEATURES), dtype=np.float32),
        outputs=source.standard_normal((ROWS, EXPERTS, 2), dtype=np.float32),
        labels=source.integers(0, 2, ROWS).astype(np.float64),
        example=np.arange(ROWS),
        tokens=np.full(ROWS, 32),
    )
    return Prepared(
        task=TASKS["mrpc"],
        splits={"train": split},
        feature_mean=split.features.mean(0),
        feature_deviation=split.features.std(0),
        data_fingerprint="",
        experts_id="",
        experts=tuple(ExpertInfo(name="", layers=0, stand_in=None, hash="") for _ in range(3)),
        stem=StemInfo(name="", stand_in=None, hash=""),
        notes=(),
        synthetic=True,
        split_notes={"train": None},
        split_origin={"train": "train"},
        folder=Path(),
    )


def plain(prepared: Prepared) -> Steps:
    """A router, a loop, torch's own optimizer: what one writes without a stack."""
    data = prepared.splits["train"]
    features = torch.from_numpy(
        (data.features - prepared.feature_mean) / prepared.feature_deviation
    )
    outputs, labels = torch.from_numpy(data.outputs), torch.from_numpy(data.labels).long()
    router = MLPRouter(FEATURES, EXPERTS, HIDDEN, dropout=0.1).train()
    loss_of = CompositeLoss(num_experts=EXPERTS)
    optimizer = torch.optim.AdamW(router.parameters(), lr=1e-3, weight_decay=0.01)
    order = torch.randperm(ROWS)

    def run(steps: int) -> None:
        for number in range(steps):
            rows = order[number * BATCH : (number + 1) * BATCH]
            gates = gumbel_gate(router(features[rows]), gumbel_noise((BATCH, EXPERTS)))
            loss, _ = loss_of(mix(gates, outputs[rows]), labels[rows], gates)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return run


def lanes_of(count: int, *, supervised: bool) -> list[Lane]:
    """Lanes of three seeds, each with weights and labels of its own."""
    return [
        Lane(
            config=trial_config(
                {
                    "pool": "sample",
                    "router_hidden_size": HIDDEN,
                    "batch_size": BATCH,
                    "alpha": 0.01 * lane,
                    "router": "supervised" if supervised else "gated",
                    "router_labels": "loss_cost",
                    "label_cost": 0.01 * lane,
                }
            ),
            seed=lane % 3,
        )
        for lane in range(count)
    ]


def stacked(
    prepared: Prepared,
    lanes: Sequence[Lane],
    routers_class: type[StackedRouters] = StackedRouters,
    *,
    device: str = "cpu",
) -> Steps:
    """A stack of these lanes, trained by a class."""
    configs = [lane.config for lane in lanes]
    supervised = configs[0].training.router == "supervised"
    split = prepared.splits["train"]
    labels = Supervision.of(configs, split, regression=False, device=device) if supervised else None
    routers = routers_class(lanes, features=FEATURES, device=device, supervision=labels)
    train = SplitTensors(split, split, prepared, device)

    def run(steps: int) -> None:
        draws = epoch_draws(
            routers.seeds,
            epoch=1,
            rows=steps * BATCH,
            batch_size=BATCH,
            experts=0 if supervised else EXPERTS,
            hidden_size=HIDDEN,
            probability=0.1,
        )
        routers.train_epoch(train, draws, torch.ones(steps, len(lanes), device=device))

    return run


def products() -> Steps:
    """The two products of a step: of features and weights, of features and slopes."""
    features, weights = torch.randn(BATCH, FEATURES), torch.randn(FEATURES, HIDDEN)
    slopes, gradient = torch.empty(BATCH, HIDDEN), torch.empty(FEATURES, HIDDEN)
    columns = features.T.contiguous()

    def run(steps: int) -> None:
        for _ in range(steps):
            torch.mm(features, weights, out=slopes)
            torch.mm(columns, slopes, out=gradient)

    return run


def copy() -> Steps:
    """A copy that reads 14 bytes a weight and writes as many, as much as AdamW moves."""
    numbers = (FEATURES + 1 + EXPERTS) * HIDDEN * 14 // 4
    source, target = torch.zeros(numbers), torch.zeros(numbers)

    def run(steps: int) -> None:
        for _ in range(steps):
            target.copy_(source)

    return run


def milliseconds(run: Steps, *, steps: int, lanes: int) -> float:
    """Processor time of one step and router: the mean over this many."""
    began = time.process_time()
    run(steps)
    return (time.process_time() - began) / (steps * lanes) * 1e3


def measure(sizes: Sequence[int], *, rounds: int, supervised: bool) -> dict[str, list[float]]:
    """Milliseconds a step and router of every contender, (rounds,) each."""
    # imported here: other benchmarks, which run without numba, take stacks from this module
    from mpc_router.frozen._compiled_routers import CompiledRouters

    torch.set_num_threads(1)
    prepared = generated()
    contenders = {
        LIMITS[0]: (products(), STRETCH, 1),
        LIMITS[1]: (copy(), STRETCH, 1),
        "plain loop": (plain(prepared), STRETCH, 1),
    }
    for count in sizes:
        lanes = lanes_of(count, supervised=supervised)
        steps = max(4, STRETCH // count)
        contenders[f"autograd {count}"] = (stacked(prepared, lanes), steps, count)
        if not supervised:
            compiled = stacked(prepared, lanes, CompiledRouters)
            contenders[f"compiled {count}"] = (compiled, STRETCH, count)
    for run, _, _ in contenders.values():
        run(2)
    measured: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, (run, steps, count) in contenders.items():
            measured[name].append(milliseconds(run, steps=steps, lanes=count))
    return measured


def side_by_side(
    processes: int, sizes: Sequence[int], *, rounds: int, supervised: bool
) -> dict[str, NDArray[np.float64]]:
    """What so many processes measure at the same time, (processes x rounds,) each."""
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        jobs = [
            pool.submit(measure, sizes, rounds=rounds, supervised=supervised)
            for _ in range(processes)
        ]
        by_process = [job.result() for job in jobs]
    return {
        name: np.concatenate([measured[name] for measured in by_process]) for name in by_process[0]
    }


def show(measured: Mapping[str, NDArray[np.float64]]) -> None:
    """Prints a line a contender: median, quartiles, how many times as fast as others."""
    limit = measured[LIMITS[0]] + measured[LIMITS[1]]
    plain_loop = measured["plain loop"]
    print(
        f"{'':14} {'median':>8} {'quartiles':>16} {'x limit':>8} {'x plain':>8} {'x autograd':>11}"
    )
    for name, values in {**measured, "limit": limit}.items():
        low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
        numbers = f"{name:14} {middle:8.4f} {low:7.4f} .. {high:.4f}"
        numbers += f" {np.median(values / limit):8.2f} {np.median(plain_loop / values):8.2f}"
        reference = measured.get(name.replace("compiled", "autograd"), values)
        print(f"{numbers} {np.median(reference / values):11.2f}")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 8, 32, 64, 128, 256])
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--supervised", action="store_true")
    asked = parser.parse_args(arguments)
    for processes in asked.processes:
        print(f"{processes} at once, {asked.rounds} rounds, ms a step and router")
        measured = side_by_side(
            processes, asked.sizes, rounds=asked.rounds, supervised=asked.supervised
        )
        show(measured)


if __name__ == "__main__":
    main()
