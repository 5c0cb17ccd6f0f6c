"""Learning curves of many routers, recorded once: what `benchmarks.search` replays.

    python -m benchmarks.curves mrpc --points 1000 --data DIR --cache DIR --out mrpc.parquet
    python -m benchmarks.curves sst2 --points 500 --train-rows 10000 --data DIR ...

made benchmarks/recorded/: 8 and 30 minutes on one shared core, once the experts are
trained, which those of the pool are first.

Points are drawn at random from the space below; each is trained with every seed for every epoch, in
stacks, on the outputs of frozen experts. A row is a point x seed x epoch on the selection split.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from mpc_router.config.trial import TrialConfig, trial_config
from mpc_router.data.sources import Source
from mpc_router.frozen.train import Lane, train
from mpc_router.model.sources import Models
from mpc_router.prepare.frozen import Prepared, prepare
from mpc_router.prepare.inputs import Places
from mpc_router.results.records import EpochResult

SPACE: Final[dict[str, tuple[float, float]]] = {
    "alpha": (1e-3, 1.0),
    "beta": (1e-4, 0.3),
    "learning_rate": (1e-4, 1e-2),
    "temperature": (0.3, 3.0),
}
"""Drawn loguniformly."""

HIDDEN: Final = (64, 128, 256)
"""Sizes of the router: drawn evenly."""

LANES: Final = 96
"""Lanes of a stack."""

SCHEMA: Final = pa.schema(
    [
        ("point", pa.int16()),
        ("seed", pa.int8()),
        ("epoch", pa.int8()),
        *((name, pa.float64()) for name in SPACE),
        ("router_hidden_size", pa.int16()),
        ("score", pa.float64()),
        ("cost", pa.float64()),
        ("loss", pa.float32()),
    ]
)


def drawn(points: int, seed: int) -> list[dict[str, Any]]:
    """Settings of the points."""
    source = np.random.default_rng(seed)
    found = []
    for _ in range(points):
        settings: dict[str, Any] = {
            name: float(np.exp(source.uniform(np.log(low), np.log(high))))
            for name, (low, high) in SPACE.items()
        }
        settings["router_hidden_size"] = int(source.choice(HIDDEN))
        found.append(settings)
    return found


def record(
    points: Sequence[dict[str, Any]],
    fixed: dict[str, Any],
    prepared: Prepared,
    *,
    seeds: Sequence[int],
) -> pa.Table:
    """Curves of all points: columns point, seed, epoch, the settings, score, cost, loss."""
    rows: list[dict[str, Any]] = []
    by_size: dict[int, list[int]] = {}
    for number, settings in enumerate(points):
        by_size.setdefault(settings["router_hidden_size"], []).append(number)
    whole = [(number, seed) for members in by_size.values() for number in members for seed in seeds]
    done, began = 0, time.monotonic()
    for members in by_size.values():
        pairs = [(number, seed) for number in members for seed in seeds]
        for start in range(0, len(pairs), LANES):
            chunk = pairs[start : start + LANES]
            configs = {n: trial_config({**fixed, **points[n]}) for n, _ in chunk}
            rows += _stack(chunk, configs, points, prepared)
            done += len(chunk)
            print(f"{done} of {len(whole)} lanes, {time.monotonic() - began:.0f} s", flush=True)
    rows.sort(key=lambda row: (row["point"], row["seed"], row["epoch"]))
    return pa.Table.from_pylist(rows, SCHEMA)


def _stack(
    chunk: Sequence[tuple[int, int]],
    configs: dict[int, TrialConfig],
    points: Sequence[dict[str, Any]],
    prepared: Prepared,
) -> list[dict[str, Any]]:
    lanes = [Lane(config=configs[number], seed=seed) for number, seed in chunk]
    rows = []
    for event in train(lanes, prepared):
        if not isinstance(event, EpochResult):
            continue
        report = event.report
        for place, lane in enumerate(report.lanes):
            number, seed = chunk[int(lane)]
            rows.append(
                {
                    "point": number,
                    "seed": seed,
                    "epoch": event.epoch,
                    **points[number],
                    "score": float(report.metrics["score"][place]),
                    "cost": float(report.cost["constants"][place]),
                    "loss": float(report.loss[place]),
                }
            )
    return rows


def write(table: pa.Table, path: Path, fixed: Mapping[str, Any]) -> None:
    """One small file that says what every trial of it had."""
    said = {"settings": json.dumps(dict(fixed), sort_keys=True)}
    pq.write_table(
        table.replace_schema_metadata(said), path, compression="zstd", compression_level=19
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("task")
    parser.add_argument("--points", type=int, default=500)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=9)
    parser.add_argument("--pool", default="minilm")
    parser.add_argument("--train-rows", type=int, default=0)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--models", type=Path)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("settings", nargs="*", metavar="key=value", help="of every trial")
    given = parser.parse_intermixed_args(arguments)
    torch.set_num_threads(1)
    fixed: dict[str, Any] = {
        "task": given.task,
        "pool": given.pool,
        "epochs": given.epochs,
        "train_rows": given.train_rows,
        **dict(each.split("=", 1) for each in given.settings),
    }
    kind: Any = "folder" if given.data else "sample"
    places = Places(
        source=Source(kind=kind, folder=given.data),
        models=Models(given.models),
        cache=given.cache.absolute(),
    )
    prepared = prepare(trial_config(fixed), places)
    table = record(drawn(given.points, seed=0), fixed, prepared, seeds=given.seeds)
    write(table, given.out, fixed)
    print(f"{given.out}: {len(table)} rows")


if __name__ == "__main__":
    main()
