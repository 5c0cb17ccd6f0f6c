"""Seconds that N routers take: this project's command, and what people write instead.

    python -m benchmarks.side_by_side --routers 972 --json FILE [--data DIR --models DIR]
        [--pool minilm] [--epochs 5] [--sample 24] [--rounds 3] [--only NAME ...]

All train the same routers: an alpha x beta grid with three seeds, on cached outputs of frozen
experts, scored on two splits after every epoch. `product` is the whole command with journal,
tables, front and report, over every router. Rivals run a stated sample: the seconds of few and of
more routers give what a start and what a router costs, and these the seconds of N. They use the two
cores as the product does:

    plain_loop       one router after another in one process, one thread
    multiprocessing  a pool of two processes, `imap_unordered`
    joblib           `Parallel(n_jobs=2)`
    tuner_function   `ray.tune.Tuner` over a function that reports every epoch
    tuner_class      `ray.tune.Tuner` over a class with `reuse_actors`

`overhead` is wall x workers / (seconds of steps alone) - 1; steps alone are timed in the same run,
in a stack as large as the product's, and beside them the arithmetic that a step cannot do without.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import plain_router
from benchmarks.plain_sweeps import RIVALS, ROOT, WORKERS, Work, grid, rival_seconds
from mpc_router.config.trial import TrialConfig, trial_config
from mpc_router.data.sources import Source
from mpc_router.model.sources import Models
from mpc_router.prepare.frozen import Prepared, prepare
from mpc_router.prepare.inputs import Places
from sweeps.journal.journal import read
from sweeps.run_folder import RunFolder


def product_seconds(work: Work, places: Sequence[str], pool: str) -> dict[str, float]:
    """Times the command over all routers, and says where its seconds went."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            *(sys.executable, "-m", "sweeps.run", "mrpc_grid", f"pool={pool}"),
            *(f"alpha={{grid: {list(work.alphas)}}}", f"beta={{grid: {list(work.betas)}}}"),
            *("start=[]", f"epochs={work.epochs}", "--out", folder, "--name", "run", *places),
        ]
        began = time.monotonic()
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        ended = time.monotonic()
        if done.returncode:
            raise RuntimeError(f"the sweep ended with {done.returncode}: {done.stderr[-2000:]}")
        run = Path(folder) / "run"
        events = list(read(RunFolder(run).journal))
        opened, asked, started = (
            min(event["mono"] for event in events if event["event"] == kind)
            for kind in ("opened", "asked", "started")
        )
        ends = [event for event in events if event["event"] == "ended"]
        last = max(event["mono"] for event in ends)
        trials = sum(len(event["endings"]) for event in ends)
        size = sum(path.stat().st_size for path in run.rglob("*") if path.is_file())
    return {
        "seconds": ended - began,
        "routers": trials,
        "start and study": opened - began,
        "preparation from cache": asked - opened,
        "Ray and workers": started - asked,
        "training": last - started,
        "tables, front and report": ended - last,
        "kilobytes a router": size / 1e3 / trials,
    }


def step_milliseconds(lanes: int) -> tuple[float, float]:
    """Gives the milliseconds of a step a router, and those that `benchmarks.stack` names its limit.

    In a stack of this many, alone on one thread.
    """
    import torch

    from benchmarks import stack
    from mpc_router.frozen._compiled_routers import CompiledRouters

    torch.set_num_threads(1)
    train = stack.stacked(
        stack.generated(), stack.lanes_of(lanes, supervised=False), CompiledRouters
    )
    times = []
    for run, count in ((train, lanes), (stack.products(), 1), (stack.copy(), 1)):
        run(2)
        times.append(
            min(stack.milliseconds(run, steps=stack.STRETCH, lanes=count) for _ in range(5))
        )
    step, products, copy = times
    return step, products + copy


def arrays_of(prepared: Prepared, config: TrialConfig, file: Path) -> int:
    """Writes what rivals learn from, standardised; gives the rows of train."""
    names = ("train", "selection", "validation")
    splits = {
        name: {
            "features": (prepared.splits[name].features - prepared.feature_mean)
            / prepared.feature_deviation,
            "outputs": np.array(prepared.splits[name].outputs),
            "labels": np.array(prepared.splits[name].labels, np.int64),
        }
        for name in names
    }
    plain_router.save(file, splits, config.model.expert_costs)
    return len(prepared.splits["train"].labels)


def measure(asked: argparse.Namespace, file: Path) -> dict[str, Any]:
    """Measures every round one contender after another; gives all numbers."""
    settings = {"task": "mrpc", "pool": asked.pool, "epochs": asked.epochs}
    config = trial_config(settings)
    places = Places(source=_source(asked.data), models=Models(asked.models), cache=asked.cache)
    rows = arrays_of(prepare(config, places), config, file)
    alphas, betas = grid(asked.routers)
    steps = asked.epochs * -(-rows // config.training.batch_size)
    work = Work(alphas=alphas, betas=betas, epochs=asked.epochs, arrays=file)
    flags = ["--sample"] if asked.data is None else ["--data", str(asked.data)]
    flags += ["--models", str(asked.models)] if asked.models else []
    flags += ["--cache", str(asked.cache)]
    rounds: list[dict[str, Any]] = []
    for number in range(asked.rounds):
        step, limit = step_milliseconds(128)
        rounds.append({"step_ms": step, "limit_ms": limit})
        rounds[-1]["product"] = product_seconds(work, flags, asked.pool)
        _say(number, "product", rounds[-1]["product"])
        for name in asked.only or RIVALS:
            sampled = min(asked.sample, asked.routers)
            rounds[-1][name] = rival_seconds(name, work, sampled, asked.routers)
            _say(number, name, rounds[-1][name])
    return {"routers": asked.routers, "rows": rows, "steps": steps, "rounds": rounds}


def _source(folder: Path | None) -> Source:
    return Source(kind="folder", folder=folder) if folder else Source(kind="sample")


def _say(number: int, name: str, seconds: dict[str, float]) -> None:
    print(f"round {number + 1}: {name}: {seconds['seconds']:.1f} s", file=sys.stderr, flush=True)


def table(measured: dict[str, Any]) -> str:
    """Lays out medians over rounds: seconds, ratio to the product, overhead; where time went."""
    rounds = measured["rounds"]
    names = [name for name in rounds[0] if name in ("product", *RIVALS)]
    lines = [f"{'':18} {'seconds':>8} {'of product':>11} {'overhead':>9}  routers run"]
    for name in names:
        seconds = np.array([entry[name]["seconds"] for entry in rounds])
        ratios = seconds / [entry["product"]["seconds"] for entry in rounds]
        alone = [measured["routers"] * measured["steps"] * e["step_ms"] / 1e3 for e in rounds]
        overhead = np.median(seconds * (1 if name == "plain_loop" else WORKERS) / alone - 1)
        run = rounds[0][name].get("sampled", measured["routers"])
        lines.append(
            f"{name:18} {np.median(seconds):8.1f} {np.median(ratios):10.2f}x {overhead:8.2f}  {run}"
        )
    lines.append("")
    for part in rounds[0]["product"]:
        if part not in ("seconds", "routers"):
            values = np.median([entry["product"][part] for entry in rounds])
            lines.append(f"product: {part:26} {values:8.1f}")
    step, limit = (np.median([entry[name] for entry in rounds]) for name in ("step_ms", "limit_ms"))
    lines.append(
        f"a step and router: {step:.4f} ms, its arithmetic alone {limit:.4f}: {step / limit:.2f}x"
    )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the table and writes all numbers as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--routers", type=int, default=972)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sample", type=int, default=24, help="routers that a rival trains")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--pool", default="sample")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--models", type=Path)
    parser.add_argument("--cache", type=Path, default=Path("build/side_by_side"))
    parser.add_argument("--only", nargs="+", choices=list(RIVALS))
    asked = parser.parse_args(arguments)
    try:
        grid(asked.routers)
    except ValueError as error:
        parser.error(str(error))
    with tempfile.TemporaryDirectory() as folder:
        measured = measure(asked, Path(folder) / "arrays.npz")
    asked.json.write_text(json.dumps(measured, indent=1))
    print(table(measured))


if __name__ == "__main__":
    main()
