"""A generated run folder of a large search: what `benchmarks.analysis` measures on.

    python -m benchmarks.big_run FOLDER [--points 10000] [--seeds 1] [--ended 1000]

Written with the schema's own functions, as a search writes it: every trial reports every epoch on
selection, and the trials of the first points trained to the end, so that they have routes on both
splits; the others were stopped early. Nothing is trained: routers see a noisy hint of which
expert is right, and the weights alpha and beta move how good the hint is and how much they save.

Letters: L trials, P points, E epochs, K experts, N examples.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from numpy.typing import NDArray

from analysis import schema
from benchmarks.big_search import (
    EXPERTS_ID,
    SKILL,
    SPACE,
    SPLITS,
    STUDIED,
    TASK,
    VECTORS,
    Size,
    provenance_of,
    study_of,
)
from mpc_router.tasks import evaluate

Values = NDArray[np.float64]

KINDS: Final = {"alpha": pa.float64(), "beta": pa.float64(), "learning_rate": pa.float64()}
"""Columns of the settings."""


@dataclass(frozen=True, slots=True)
class _World:
    """One split: labels (N,), experts' logits (K, N, 2), and the hint of who is right (K, N)."""

    labels: NDArray[np.int64]
    outputs: Values
    hint: Values

    @property
    def predictions(self) -> NDArray[np.int64]:
        return np.asarray(self.outputs.argmax(axis=-1))


def write_big_run(folder: Path, size: Size) -> Path:
    """Write the run of this size; gives its folder.

    Raises:
        FileExistsError: something is there.
    """
    folder.mkdir(parents=True)
    rng = np.random.default_rng(17)
    worlds = {split: _world(rows, rng) for split, rows in SPLITS.items()}
    settings = {
        name: np.repeat(np.exp(rng.uniform(np.log(low), np.log(high), size.points)), size.seeds)
        for name, (low, high) in SPACE.items()
    }
    keys = [f"k{lane:05d}" for lane in range(size.points * size.seeds)]
    logits = {
        split: _logits(world, {name: values[: size.ended] for name, values in settings.items()})
        for split, world in worlds.items()
    }
    ended = {split: _ended(worlds[split], logits[split]) for split in SPLITS}
    courses = _courses(settings, ended["selection"], size, rng)
    tables = {
        "trials": _trials(keys, settings, ended, size),
        "reports": _reports(keys, courses, ended["validation"], size),
        "routing": _routing(keys, logits),
        "experts": _experts(worlds),
        "examples": _examples(worlds, rng),
    }
    for name, table in tables.items():
        marked = table.cast(schema.stamped(table.schema, folder.name))
        pq.write_table(marked, folder / schema.table_file(name), compression="zstd")
    (folder / schema.STUDY_FILE).write_text(yaml.safe_dump(study_of(size)), encoding="utf-8")
    provenance = json.dumps(provenance_of(folder.name))
    (folder / schema.PROVENANCE_FILE).write_text(provenance, encoding="utf-8")
    return folder


def _world(rows: int, rng: np.random.Generator) -> _World:
    labels = rng.integers(0, 2, rows)
    difficulty = rng.standard_normal(rows)
    ease = np.array([[0.75], [1.1], [1.55]]) - difficulty + rng.standard_normal((3, rows))
    right = ease > np.quantile(ease, 1 - np.array(SKILL), axis=1).diagonal()[:, None]
    margin = (0.2 + np.abs(ease)) * np.where(right == labels.astype(bool), 0.5, -0.5)
    hint = right + 0.8 * rng.standard_normal((3, rows))
    return _World(labels, np.stack([-margin, margin], axis=-1), hint)


def _logits(world: _World, settings: dict[str, Values]) -> NDArray[np.float32]:
    """(L, N, K): a hint of who is right, less what experts cost; the seed is the lane's number."""
    rng = np.random.default_rng(len(world.labels))
    lanes = len(settings["alpha"])
    hear = 2 - 0.5 * np.log10(settings["alpha"])[:, None, None]
    save = 4 * np.log10(settings["beta"] / SPACE["beta"][0])[:, None, None]
    price = np.array(VECTORS[STUDIED].experts) / VECTORS[STUDIED].experts[-1]
    noise = rng.standard_normal((lanes, len(world.labels), 3), np.float32)
    return np.asarray(hear * world.hint.T - save * (price - 0.45) + noise, np.float32)


def _ended(world: _World, logits: NDArray[np.float32]) -> dict[str, Values]:
    """What trials that trained to the end have: metrics, costs and shares, a row a trial."""
    routes = logits.argmax(axis=-1)
    said = np.take_along_axis(world.predictions, routes, axis=0)
    found = dict(evaluate(TASK, said, world.labels))
    found["cost"] = VECTORS[STUDIED].of_routes(routes).mean(axis=-1)
    for name, vector in VECTORS.items():
        found[f"cost_{name}"] = vector.of_routes(routes).mean(axis=-1)
    found["share"] = np.stack([(routes == expert).mean(axis=-1) for expert in range(3)], axis=-1)
    gates = np.exp(logits - logits.max(axis=-1, keepdims=True))
    found["gate"] = (gates / gates.sum(axis=-1, keepdims=True)).mean(axis=1)
    return found


def _courses(
    settings: dict[str, Values], ended: dict[str, Values], size: Size, rng: np.random.Generator
) -> dict[str, Values]:
    """Selection by trial and epoch, (L, E) each: those that ended arrive where they ended."""
    lanes = len(settings["alpha"])
    last = {name: rng.choice(ended[name], lanes) for name in ("score", *TASK.metrics, "cost")}
    for name, values in last.items():
        values[: size.ended] = ended[name]
    left = np.exp(-np.arange(size.epochs) * rng.uniform(0.3, 1.2, (lanes, 1)))
    left[:, -1] = 0
    begin = {"cost": 7.3} | {name: 0.6 for name in ("score", *TASK.metrics)}
    return {
        name: values[:, None] + (begin[name] - values[:, None]) * left
        for name, values in last.items()
    }


def _trials(
    keys: Sequence[str],
    settings: dict[str, Values],
    ended: dict[str, dict[str, Values]],
    size: Size,
) -> pa.Table:
    lanes = len(keys)
    done = np.arange(lanes) < size.ended
    columns: dict[str, Any] = {
        "key": keys,
        "point": [f"p{lane // size.seeds:05d}" for lane in range(lanes)],
        "seed": np.arange(lanes) % size.seeds,
        "pack": [f"pack{lane // 64:04d}" for lane in range(lanes)],
        "status": np.where(done, schema.COMPLETED, schema.STOPPED).tolist(),
        "reason": pa.nulls(lanes, pa.string()),
        "epochs": np.full(lanes, size.epochs),
        "attempt": np.ones(lanes, np.int64),
        "seconds": 20.0 + np.arange(lanes) % 64 / 10,
        "experts_id": [EXPERTS_ID] * lanes,
        "paths_id": pa.nulls(lanes, pa.string()),
        **settings,
        "config": [
            json.dumps({name: float(values[lane]) for name, values in settings.items()})
            for lane in range(lanes)
        ],
    }
    kinds = schema.trials(KINDS, metrics=TASK.metrics, quoted=TASK.quoted, vectors=tuple(VECTORS))
    for split, found in ended.items():
        for name in ("score", *TASK.metrics, "cost", *(f"cost_{vector}" for vector in VECTORS)):
            values = np.full(lanes, np.nan)
            values[: size.ended] = found[name]
            columns[f"{split}_{name}"] = pa.array(values, mask=~done)
    return pa.table(columns, schema=kinds)


def _reports(
    keys: Sequence[str], courses: dict[str, Values], ended: dict[str, Values], size: Size
) -> pa.Table:
    lanes, epochs = courses["score"].shape
    rows = lanes * epochs
    share = np.resize(ended["share"], (lanes, 3)).repeat(epochs, axis=0)
    gate = np.resize(ended["gate"], (lanes, 3)).repeat(epochs, axis=0)
    epoch = np.tile(np.arange(1, epochs + 1), lanes)
    selection = {
        "key": np.repeat(np.array(keys), epochs),
        "epoch": epoch,
        "split": np.full(rows, "selection"),
        **{name: values.ravel() for name, values in courses.items()},
        "share": share,
        "gate": gate,
    }
    quoted = {
        "key": np.array(keys[: size.ended]),
        "epoch": np.full(size.ended, epochs),
        "split": np.full(size.ended, "validation"),
        **{name: ended[name] for name in courses},
        "share": ended["share"],
        "gate": ended["gate"],
    }
    columns = {name: np.concatenate([selection[name], quoted[name]]) for name in selection}
    loss = 1 - columns["score"]
    columns |= {
        "loss": loss + 0.1,
        "loss_task": loss,
        "loss_balance": np.full(len(loss), 0.1),
        "loss_cost": columns["cost"],
        "gate_entropy": np.full(len(loss), 0.7),
        "seconds": 2.2 * columns["epoch"],
    }
    kinds = schema.reports(TASK.metrics)
    return pa.table([_column(columns[kind.name]) for kind in kinds], schema=kinds)


def _column(values: NDArray[Any]) -> pa.Array:
    """One column; a table of values is a column of lists."""
    if values.ndim == 1:
        return pa.array(values)
    flat = pa.array(np.ascontiguousarray(values).ravel())
    ends = np.arange(len(values) + 1, dtype=np.int32) * values.shape[1]
    return pa.ListArray.from_arrays(pa.array(ends), flat)


def _routing(keys: Sequence[str], logits: dict[str, NDArray[np.float32]]) -> pa.Table:
    parts = []
    for split, values in logits.items():
        lanes, rows, experts = values.shape
        columns = {
            "key": pa.array(np.repeat(np.array(keys[:lanes]), rows)),
            "split": pa.array(np.full(lanes * rows, split)),
            "example": pa.array(np.tile(np.arange(rows), lanes)),
            "route": pa.array(values.argmax(axis=-1).ravel().astype(np.uint8)),
            "logits": _column(values.reshape(-1, experts)),
        }
        parts.append(pa.table(columns, schema=schema.ROUTING))
    return pa.concat_tables(parts)


def _experts(worlds: dict[str, _World]) -> pa.Table:
    parts = []
    for split, world in worlds.items():
        experts, rows = world.predictions.shape
        chance = np.exp(-world.outputs).sum(axis=-1)
        columns = {
            "experts_id": pa.array([EXPERTS_ID] * (experts * rows)),
            "expert": pa.array(np.repeat(np.arange(experts), rows).astype(np.uint8)),
            "split": pa.array(np.full(experts * rows, split)),
            "example": pa.array(np.tile(np.arange(rows), experts)),
            "prediction": pa.array(world.predictions.ravel().astype(np.float64)),
            "output": _column(world.outputs.reshape(-1, 2).astype(np.float32)),
            "loss": pa.array(np.log(chance).ravel()),
            "right": pa.array((world.predictions == world.labels).ravel()),
        }
        parts.append(pa.table(columns, schema=schema.EXPERTS))
    return pa.concat_tables(parts)


def _examples(worlds: dict[str, _World], rng: np.random.Generator) -> pa.Table:
    parts = [
        pa.table(
            {
                "split": pa.array(np.full(len(world.labels), split)),
                "example": pa.array(np.arange(len(world.labels))),
                "label": pa.array(world.labels.astype(np.float64)),
                "tokens": pa.array(rng.integers(20, 90, len(world.labels))),
            },
            schema=pa.schema(list(schema.EXAMPLES)[:-1]),  # one tokenizer for all experts
        )
        for split, world in worlds.items()
    ]
    return pa.concat_tables(parts)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--points", type=int, default=10_000)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=9)
    parser.add_argument("--ended", type=int, default=1_000)
    asked = parser.parse_args(arguments)
    size = Size(points=asked.points, seeds=asked.seeds, epochs=asked.epochs, ended=asked.ended)
    print(write_big_run(asked.folder, size))


if __name__ == "__main__":
    main()
