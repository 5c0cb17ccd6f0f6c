"""One backward pass against the published two, on one real step of joint training.

    python -m benchmarks.joint [--rounds 5] [--threads 1] [--batch 32] [--models DIR] [--cache DIR]

Both take the same step of the same pool: forward, losses, gradients of every parameter. Rounds are
interleaved, so that other work on the machine meets both alike; medians and quartiles are over
rounds. Peak memory is what torch's allocator holds beyond the pool's own weights, by its profiler.
The difference of gradients is the largest over all parameters, in float64 and without dropout's
noise between the two (both see the same). The second pool is all-MiniLM-L6-v2 cut at 2, 4 and 6
layers, where its weights are on this machine.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from mpc_router.config.pools import MINILM_MODEL
from mpc_router.config.trial import TrialConfig, trial_config
from mpc_router.data.sources import Source
from mpc_router.data.tokens import Batch, gather
from mpc_router.experts.finetune import autocast
from mpc_router.joint._loss import JointLoss, Part
from mpc_router.joint.start import empty_pool
from mpc_router.model.gated_pool import GatedBertPool
from mpc_router.model.losses import balance_loss, cost_loss, mix, task_loss
from mpc_router.model.router import gumbel_noise
from mpc_router.model.sources import ModelError, Models
from mpc_router.prepare.inputs import Places
from mpc_router.prepare.joint import JointInputs, prepare_joint

Recipe = Callable[[], object]

SETTINGS: dict[str, Any] = {"task": "mrpc", "experts": "joint", "train_rows": 512, "alpha": 0.1}

STEM: dict[str, Any] = {
    "pool": "minilm",
    "router_model_name": MINILM_MODEL,
    "router_stem_layers": 2,
}
"""The experts' own first layers are the stem: no other model is needed."""


def two_passes(pool: GatedBertPool, loss: JointLoss, part: Part) -> None:
    """The published recipe: the task loss through all, then the rest through the router."""
    batch = part.batch
    part.settle()
    with loss.autocast():
        view = pool.look(batch.input_ids, batch.attention_mask, batch.token_type_ids)
        outputs = pool.ask(view)
    gates = pool.gates(pool.router(view.features, part.mask), part.noise)
    mixed = mix(gates, outputs.to(gates.dtype), pool.mixing)
    task_loss(mixed, batch.labels).backward(retain_graph=True)  # type: ignore[no-untyped-call]
    rest = loss.weights.alpha * balance_loss(gates)
    rest = rest + loss.weights.beta * cost_loss(gates, loss.costs)
    router = [*pool.router.parameters(), *pool.stem.parameters()]
    rest.backward(inputs=[value for value in router if value.requires_grad])  # type: ignore[no-untyped-call]


def contenders(pool: GatedBertPool, loss: JointLoss, part: Part) -> dict[str, Recipe]:
    """Both recipes for one step."""
    return {
        "two passes (published)": functools.partial(two_passes, pool, loss, part),
        "one pass": functools.partial(loss.backward, pool, [part]),
    }


def a_step(
    config: TrialConfig, inputs: JointInputs, *, rows: int, dtype: torch.dtype, precision: str
) -> tuple[GatedBertPool, JointLoss, Part]:
    """A pool in training, its loss, and the longest rows of train with noise."""
    pool = empty_pool(config, inputs, seed=0).to(dtype).train()
    tokens = inputs.splits["train"].content
    longest = np.argsort(-tokens.lengths, kind="stable")[:rows]
    batch = gather(tokens, longest)
    batch = Batch(
        batch.input_ids,
        batch.attention_mask,
        batch.token_type_ids,
        batch.labels.to(dtype),
        batch.rows,
    )
    noise = gumbel_noise((rows, config.experts), torch.Generator().manual_seed(0)).to(dtype)
    hidden = torch.ones(rows, config.model.router_hidden_size, dtype=dtype)
    loss = JointLoss(
        weights=config.loss_weights,
        costs=torch.tensor(config.model.expert_costs, dtype=dtype),
        autocast=functools.partial(autocast, precision, torch.device("cpu")),
    )
    return pool, loss, Part(batch, noise, hidden, functools.partial(torch.manual_seed, 0))


def gradients(pool: GatedBertPool, recipe: Recipe) -> dict[str, Tensor]:
    pool.zero_grad()
    recipe()
    return {name: value.grad for name, value in pool.named_parameters() if value.grad is not None}


def largest_difference(config: TrialConfig, inputs: JointInputs) -> tuple[float, float]:
    """Of the two recipes' gradients in float64, and the largest gradient beside it."""
    step = a_step(config, inputs, rows=8, dtype=torch.float64, precision="float32")
    first, second = (gradients(step[0], recipe) for recipe in contenders(*step).values())
    assert first.keys() == second.keys()
    return (
        max(float((first[name] - second[name]).abs().max()) for name in first),
        max(float(value.abs().max()) for value in first.values()),
    )


def peak_bytes(pool: GatedBertPool, recipe: Recipe) -> int:
    """The most that was allocated at once in a step, gradients included."""
    pool.zero_grad()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        recipe()
    events = record.profiler.kineto_results.events()
    changes = sorted(
        (event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]"
    )
    return int(np.cumsum([change for _, change in changes]).max())


def measure(
    step: tuple[GatedBertPool, JointLoss, Part], rounds: int
) -> dict[str, tuple[NDArray[np.float64], int]]:
    """Milliseconds of every round, and the peak, of both recipes."""
    pool = step[0]
    recipes = contenders(*step)
    peaks = {name: peak_bytes(pool, recipe) for name, recipe in recipes.items()}
    found: dict[str, list[float]] = {name: [] for name in recipes}
    for _ in range(rounds):
        for name, recipe in recipes.items():
            pool.zero_grad()
            began = time.perf_counter()
            recipe()
            found[name].append((time.perf_counter() - began) * 1e3)
    return {name: (np.array(values), peaks[name]) for name, values in found.items()}


def report(name: str, config: TrialConfig, places: Places, *, rows: int, rounds: int) -> None:
    """One pool's lines."""
    inputs = prepare_joint(config, places)
    difference, largest = largest_difference(config, inputs)
    print(
        f"\n{name}: gradients differ by {difference:.1e} at most (largest {largest:.1e}), float64"
    )
    print(f"{'':34} {'ms, median':>10} {'quartiles':>18} {'peak MB':>8}")
    for precision in ("float32", "bfloat16"):
        step = a_step(config, inputs, rows=rows, dtype=torch.float32, precision=precision)
        tokens = step[2].batch.input_ids.shape[1]
        for recipe, (values, peak) in measure(step, rounds).items():
            low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
            label = f"{recipe}, {precision}"
            print(f"{label:34} {middle:10.1f} {low:8.1f} .. {high:7.1f} {peak / 1e6:8.1f}")
    print(f"{rows} rows of {tokens} tokens")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--models", type=Path)
    parser.add_argument("--cache", type=Path)
    asked = parser.parse_args(arguments)
    torch.set_num_threads(asked.threads)
    print(f"{asked.rounds} rounds, {asked.threads} threads, torch {torch.__version__}")
    with TemporaryDirectory() as scratch:
        places = Places(
            source=Source(kind="sample"),
            models=Models(asked.models),
            cache=asked.cache or Path(scratch),
        )
        pools: dict[str, dict[str, Any]] = {
            "sample": {"pool": "sample"},
            "minilm": STEM,
            "minilm, stem shared": STEM | {"shared_stem": True},
        }
        for name, settings in pools.items():
            config = trial_config(SETTINGS | settings)
            try:
                report(name, config, places, rows=asked.batch, rounds=asked.rounds)
            except ModelError as error:
                print(f"\n{name}: skipped, {error}")


if __name__ == "__main__":
    main()
