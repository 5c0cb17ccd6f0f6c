"""Milliseconds a step and router: stacks of routers against a plain loop over one.

    python -m benchmarks.stack [--rounds 9] [--threads 1] [--sizes 1 8 32 128]

Both train what a trial trains (features 128, hidden 256, 3 experts, batch 32, Gumbel gate, dropout,
three losses, AdamW) on generated features, drawing their randomness as they go. Supervised stacks
learn labels instead, each lane its own: focal loss, no noise, nothing mixed. Every round
measures all of them one after another, so that other work on the machine meets all alike: medians
and quartiles are over rounds, and a ratio is the median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path

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

Step = Callable[[int], None]


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


def plain(prepared: Prepared) -> Step:
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

    def step(number: int) -> None:
        rows = order[number * BATCH : (number + 1) * BATCH]
        gates = gumbel_gate(router(features[rows]), gumbel_noise((BATCH, EXPERTS)))
        loss, _ = loss_of(mix(gates, outputs[rows]), labels[rows], gates)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def stacked(
    prepared: Prepared, lanes: int, *, rates: bool, supervised: bool = False, device: str = "cpu"
) -> Step:
    """A stack of this many lanes of three seeds; with one learning rate, or each its own."""
    stack = [
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
                    "learning_rate": 1e-3 * (1 + lane / 100) if rates else 1e-3,
                }
            ),
            seed=lane % 3,
        )
        for lane in range(lanes)
    ]
    configs = [lane.config for lane in stack]
    labels = (
        Supervision.of(configs, prepared.splits["train"], regression=False, device=device)
        if supervised
        else None
    )
    routers = StackedRouters(stack, features=FEATURES, device=device, supervision=labels)
    train = SplitTensors(prepared.splits["train"], prepared.splits["train"], prepared, device)
    draws = epoch_draws(
        routers.seeds,
        epoch=1,
        rows=ROWS,
        batch_size=BATCH,
        experts=0 if supervised else EXPERTS,
        hidden_size=HIDDEN,
        probability=0.1,
    )
    temperature = torch.ones(lanes, 1, 1, device=device)

    def step(number: int) -> None:
        routers.step(train, draws.at(number), temperature)

    return step


def milliseconds(step: Step, *, steps: int) -> float:
    """Of one step: the mean over this many."""
    began = time.perf_counter()
    for number in range(steps):
        step(number % (ROWS // BATCH))
    return (time.perf_counter() - began) / steps * 1e3


def measure(sizes: Sequence[int], *, rounds: int) -> dict[str, NDArray[np.float64]]:
    """Milliseconds a step and router of every contender, (rounds,) each."""
    prepared = generated()
    contenders = {"plain loop": (plain(prepared), 1)}
    for rates in (False, True):
        kind = "a rate a lane" if rates else "one rate"
        for lanes in sizes:
            contenders[f"stack of {lanes}, {kind}"] = stacked(prepared, lanes, rates=rates), lanes
    for lanes in sizes:
        name = f"stack of {lanes}, supervised"
        contenders[name] = stacked(prepared, lanes, rates=False, supervised=True), lanes
    for step, _ in contenders.values():
        milliseconds(step, steps=3)
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, (step, lanes) in contenders.items():
            steps = max(8, 192 // lanes)
            found[name].append(milliseconds(step, steps=steps) / lanes)
    return {name: np.array(values) for name, values in found.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 8, 32, 128])
    asked = parser.parse_args(arguments)
    torch.set_num_threads(asked.threads)
    found = measure(asked.sizes, rounds=asked.rounds)
    base = found["plain loop"]
    print(f"{asked.rounds} rounds, {asked.threads} threads, torch {torch.__version__}")
    print(f"{'ms a step and router':32} {'median':>8} {'quartiles':>16} {'of plain':>9}")
    for name, values in found.items():
        low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
        ratio = np.median(values / base)
        print(f"{name:32} {middle:8.3f} {low:7.3f} .. {high:.3f} {ratio:9.3f}")


if __name__ == "__main__":
    main()
