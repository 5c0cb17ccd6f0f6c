"""Runs whose trials route between paths of experts, written as tables without any training.

Scores and costs of every trial are worked out example by example, as its router would answer them,
and not with the functions that read runs. Letters: N examples, K experts, C outputs, P paths.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from numpy.typing import NDArray

from analysis import schema
from mpc_router.costs import CostVector, to_json
from mpc_router.prepare.inputs import SplitOutputs
from mpc_router.routes import (
    _AVERAGE,
    LAST,
    LOGISTIC,
    Decisions,
    Paths,
    pair_paths,
    prefix_paths,
    rising_paths,
)
from mpc_router.tasks import TASKS, Task, score_of, to_record
from sweeps.journal import bulk_files

NAMES = ("org/tiny", "org/base", "org/large")
VECTORS = {
    "constants": CostVector(
        name="constants", unit="units", router=2.0, experts=(2.0, 7.0, 13.0), stem_is_expert=True
    ),
    "apart": CostVector(name="apart", unit="s", router=0.5, experts=(4.0, 60.0, 200.0)),
}
SPLITS = (schema.SELECTION, schema.VALIDATION)


def fitted(paths: Sequence[tuple[int, ...]], seed: int, outputs: int) -> Paths:
    """Paths whose answers are sums of drawn weights."""
    rng = np.random.default_rng(seed)
    plain = Paths.of(paths, experts=3, outputs=outputs, combine=_AVERAGE)
    drawn = rng.uniform(0.2, 1.5, plain.weights.shape)
    weights = np.where(plain.runs, drawn, 0.0)
    offset = 0.3 * rng.normal(size=plain.offset.shape)
    return replace(plain, combine=LOGISTIC, weights=weights, offset=offset)


@dataclass(frozen=True, kw_only=True)
class Router:
    """A point's router: its kind, and between which paths it routes; None: between experts."""

    point: str
    kind: str
    paths: tuple[tuple[int, ...], ...] | None = None
    combine: str = LAST

    def of(self, seed: int, outputs: int) -> Paths | None:
        if self.paths is None:
            return None
        if self.combine == LOGISTIC:
            return fitted(self.paths, seed, outputs)
        return Paths.of(self.paths, experts=3, outputs=outputs, combine=self.combine)


ROUTERS = (
    Router(point="p0", kind="gated"),
    Router(point="p1", kind="predictive", paths=pair_paths(3)),
    Router(point="p2", kind="predictive", paths=pair_paths(3), combine=_AVERAGE),
    Router(point="p3", kind="predictive", paths=pair_paths(3), combine=LOGISTIC),
    Router(point="p4", kind="sequential", paths=rising_paths(3), combine=_AVERAGE),
    Router(point="p5", kind="cascade", paths=prefix_paths(3), combine=LAST),
)


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A trial that was not trained: its paths, and its logits and routes by split."""

    key: str
    router: Router
    seed: int
    paths: Paths | None
    logits: dict[str, NDArray[np.float32]]
    routes: dict[str, NDArray[np.uint8]]


@dataclass(frozen=True, kw_only=True)
class World:
    """A run before it is written; `score` and `cost` are by trial and split."""

    task: Task
    splits: dict[str, SplitOutputs]
    trials: tuple[Trial, ...]

    def answer(self, trial: Trial, split: str, row: int) -> float:
        """What the trial's router answers on one example."""
        outputs = self.splits[split].outputs[row : row + 1]
        route = int(trial.routes[split][row])
        if trial.paths is None:
            spoken = outputs[0, route]
        else:
            regression = self.task.regression
            spoken = trial.paths.answer(route, outputs, regression=regression)[0]
        return float(spoken[0] if self.task.regression else spoken.argmax())

    def score(self, trial: Trial, split: str) -> float:
        labels = self.splits[split].labels
        answers = [self.answer(trial, split, row) for row in range(len(labels))]
        return float(score_of(self.task, np.asarray([answers]), labels)[0])

    def cost(self, trial: Trial, split: str, vector: CostVector) -> float:
        """Every expert of a path is paid, but for the cheapest where it is the router's stem."""
        singles = [(expert,) for expert in range(3)]
        paths = singles if trial.paths is None else trial.paths.decisions.paths
        paid = [
            vector.router
            + sum(
                vector.experts[expert]
                for expert in paths[int(route)]
                if not (expert == 0 and vector.stem_is_expert)
            )
            for route in trial.routes[split]
        ]
        return float(np.mean(paid))

    def share(self, trial: Trial, split: str) -> list[float]:
        count = 3 if trial.paths is None else len(trial.paths.decisions.paths)
        routes = trial.routes[split]
        return [float((routes == number).mean()) for number in range(count)]


def world(
    *,
    routers: Sequence[Router] = ROUTERS,
    task: str = "rte",
    seeds: Sequence[int] = (0, 1),
    examples: int = 60,
) -> World:
    """A run of these routers; a dearer expert is right more often."""
    rng = np.random.default_rng(3)
    of_task = TASKS[task]
    splits = {name: _split(of_task, name, examples, rng) for name in SPLITS}
    trials = []
    for router in routers:
        for seed in seeds:
            paths = router.of(seed, of_task.outputs)
            decisions = Decisions(((0,), (1,), (2,))) if paths is None else paths.decisions
            lean = rng.normal() * decisions.price([len(path) for path in decisions.paths])
            logits = {
                name: (rng.normal(size=(examples, decisions.width)) + lean).astype(np.float32)
                for name in SPLITS
            }
            trials.append(
                Trial(
                    key=f"{router.point}s{seed}",
                    router=router,
                    seed=seed,
                    paths=paths,
                    logits=logits,
                    routes={name: decisions.routes(values) for name, values in logits.items()},
                )
            )
    return World(task=of_task, splits=splits, trials=tuple(trials))


def _split(task: Task, name: str, examples: int, rng: np.random.Generator) -> SplitOutputs:
    if task.regression:
        labels = rng.uniform(0, 5, examples)
        noise = rng.normal(size=(examples, 3, 1)) * np.array([2.0, 1.0, 0.5])[:, None]
        outputs = labels[:, None, None] + noise
    else:
        labels = rng.integers(0, task.outputs, examples).astype(np.float64)
        signal = np.eye(task.outputs)[labels.astype(int)][:, None] * np.array([[1.0], [2], [3]])
        outputs = signal + rng.normal(size=(examples, 3, task.outputs))
    return SplitOutputs(
        split=name,
        features=np.zeros((examples, 1), np.float32),
        outputs=outputs.astype(np.float32),
        labels=labels,
        example=7 * np.arange(examples),
        tokens=5 + np.arange(examples) % 9,
    )


def write(folder: Path, made: World, **study: Any) -> Path:
    """Writes the run as `sweeps.journal.tables` and a session's end would."""
    folder.mkdir(parents=True)
    task = made.task
    vectors = tuple(VECTORS)
    tables = {
        "trials": pa.Table.from_pylist(
            [_trial_row(made, trial) for trial in made.trials],
            schema.trials(
                {"router_kind": pa.string(), "combine": pa.string()},
                metrics=task.metrics,
                quoted=task.quoted,
                vectors=vectors,
            ),
        ),
        "reports": pa.Table.from_pylist(
            [_report_row(made, trial, split) for trial in made.trials for split in SPLITS],
            schema.reports(task.metrics),
        ),
        "routing": pa.concat_tables(
            bulk_files.routing(
                trial.key,
                split,
                example=made.splits[split].example,
                routes=trial.routes[split],
                logits=trial.logits[split],
            )
            for trial in made.trials
            for split in SPLITS
        ).cast(schema.ROUTING),
        "experts": pa.concat_tables(
            table
            for split in made.splits.values()
            for table in bulk_files.experts("e0", split, regression=task.regression)
        ).cast(schema.EXPERTS),
        "examples": pa.concat_tables(map(bulk_files.examples, made.splits.values())),
    }
    by_name = {trial.paths.name: trial.paths for trial in made.trials if trial.paths is not None}
    if by_name:
        rows = [
            {"set": "set00", **row}
            for paths in by_name.values()
            for row in schema.path_rows(bulk_files.paths(paths).to_pylist(), to_json(VECTORS))
        ]
        tables["paths"] = pa.Table.from_pylist(rows, schema.paths(vectors))
    for name, table in tables.items():
        stamped = table.cast(schema.stamped(table.schema, "paths"))
        pq.write_table(stamped, folder / schema.table_file(name))
    plan = {
        "study": "routers",
        "trial": {"task": task.name, "pool": "sample", "epochs": 1},
        "space": {"router_kind": {"choice": ["gated"]}},
        "seeds": sorted({trial.seed for trial in made.trials}),
        "objectives": {"score": task.direction, "cost": "min"},
        **study,
    }
    (folder / schema.STUDY_FILE).write_text(yaml.safe_dump(plan))
    (folder / schema.PROVENANCE_FILE).write_text(json.dumps(_provenance(made)))
    return folder


def _trial_row(made: World, trial: Trial) -> dict[str, Any]:
    row: dict[str, Any] = {
        "key": trial.key,
        "point": trial.router.point,
        "seed": trial.seed,
        "pack": "pack00",
        "status": schema.COMPLETED,
        "epochs": 1,
        "attempt": 1,
        "seconds": 1.0,
        "experts_id": "e0",
        "paths_id": None if trial.paths is None else trial.paths.name,
        "router_kind": trial.router.kind,
        "combine": trial.router.combine,
        "config": json.dumps(
            {
                "model": {}
                if trial.paths is None
                else {"router_kind": trial.router.kind, "combine": trial.router.combine}
            }
        ),
    }
    for split in SPLITS:
        row |= {f"{split}_{name}": 0.5 for name in made.task.metrics}
        row[f"{split}_score"] = made.score(trial, split)
        row[f"{split}_cost"] = made.cost(trial, split, VECTORS["constants"])
        for name, vector in VECTORS.items():
            row[f"{split}_cost_{name}"] = made.cost(trial, split, vector)
    return row


def _report_row(made: World, trial: Trial, split: str) -> dict[str, Any]:
    return {
        "key": trial.key,
        "epoch": 1,
        "split": split,
        "score": made.score(trial, split),
        **dict.fromkeys(made.task.metrics, 0.5),
        "cost": made.cost(trial, split, VECTORS["constants"]),
        "share": made.share(trial, split),
        "gate": made.share(trial, split),
        "gate_entropy": 0.5,
        "seconds": 1.0,
    }


def _provenance(made: World) -> dict[str, Any]:
    return {
        "schema": schema.VERSION,
        "run": "paths",
        "study": "routers",
        **to_record(made.task),
        "pool": "sample",
        "synthetic": True,
        "started": "2026-11-23T03:00:00Z",
        "arguments": ["routers"],
        "versions": {"mpc-router": "0.1.0"},
        "commit": None,
        "machine": {"cpu": "a cpu", "cores": "2", "memory": "4 GB"},
        "fingerprints": {"data": "aa", "experts": "bb", "code": "cc"},
        "experts": [
            {"expert": number, "name": name, "layers": 0, "stand_in": None}
            for number, name in enumerate(NAMES)
        ],
        "stem": {"name": "org/stem", "stand_in": None},
        "experts_fixed_seed": True,
        "splits": {
            name: {"rows": len(split.labels), "source": "train", "note": None}
            for name, split in made.splits.items()
        },
        "cost_vector": "constants",
        "cost_vectors": to_json(VECTORS),
        "objectives": {"score": made.task.direction, "cost": "min"},
        "notes": [],
    }


def rewrite(path: Path, table: pd.DataFrame) -> None:
    """Writes a table of a run anew; columns that it had not are whole numbers."""
    kept = pq.read_schema(path)
    for name in set(table.columns) - set(kept.names):
        kept = kept.insert(kept.get_field_index("config"), pa.field(name, pa.int64()))
    check = {schema.COLUMNS_KEY: schema.columns_check(kept).encode()}
    kept = kept.with_metadata({**(kept.metadata or {}), **check})
    pq.write_table(pa.Table.from_pandas(table, kept, preserve_index=False), path)
