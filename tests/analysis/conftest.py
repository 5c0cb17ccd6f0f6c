"""A small synthetic run folder with a known truth, written with the schema's own functions."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from numpy.typing import NDArray

from analysis import schema
from analysis.runs.load import Run, load_run
from mpc_router.costs import CostVector, to_json
from mpc_router.tasks import TASKS, Task, evaluate, merit, to_record
from mpc_router.tasks.confidence import Confidence

Values = NDArray[np.float64]

ACCURACY = (0.7, 0.8, 0.9)
POINTS = ((0.0, 0.0), (0.01, 0.001), (0.01, 0.1), (1.0, 0.001))
CALLS = ((0.05, 0.15, 0.8), (0.2, 0.3, 0.5), (0.9, 0.1, 0.0), (0.34, 0.33, 0.33))
"""Settings (alpha, beta) of the points, and where each point's routers like to send examples."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a synthetic run holds; `status` overrides by (point number, seed)."""

    task: str = "rte"
    examples: int = 120
    seeds: tuple[int, ...] = (0, 1, 2)
    epochs: int = 3
    skill: float = 0.8
    """How often a router sends an example to its cheapest right expert, if there is one."""

    status: dict[tuple[int, int], str] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    run: str = "fixture"
    names: tuple[str, ...] = ("org/tiny", "org/base", "org/large")
    synthetic: bool = True
    notes: tuple[str, ...] = ()
    shuffle: bool = False
    points: tuple[tuple[float, float], ...] = POINTS
    definition: Task | None = None
    """The task, where it is none of GLUE's."""

    study: dict[str, Any] = field(default_factory=dict)
    """What the study says beside its usual keys."""

    @property
    def of_task(self) -> Task:
        return self.definition or TASKS[self.task]


VECTORS = {
    "constants": CostVector(name="constants", unit="units", router=0.3, experts=(2.0, 7.0, 13.0)),
    "mpc_seconds_as_if": CostVector(
        name="mpc_seconds_as_if",
        unit="s",
        router=4.17,
        experts=(4.11, 69.71, 199.78),
        as_if=True,
    ),
}


def write_run(folder: Path, recipe: Recipe) -> Path:
    """Write the run of a recipe as `sweeps.journal.tables` would."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(5)
    task = recipe.of_task
    splits = ("selection", *task.quoted)
    world = {split: _experts(task, recipe.examples, rng) for split in splits}
    tables: dict[str, list[dict[str, Any]]] = {name: [] for name in schema.TABLES}
    for split, (labels, predictions) in world.items():
        _expert_rows(tables, split, labels, predictions, regression=task.regression)
    for number, (alpha, beta) in enumerate(recipe.points):
        for seed in recipe.seeds:
            status = recipe.status.get((number, seed), schema.COMPLETED)
            trial = _Trial(recipe, number, alpha, beta, seed, status)
            trial.rows(tables, world, rng)
    _write_tables(folder, recipe, tables)
    (folder / schema.STUDY_FILE).write_text(yaml.safe_dump(_study(recipe)))
    (folder / schema.PROVENANCE_FILE).write_text(json.dumps(_provenance(recipe, splits)))
    return folder


def _experts(task: Task, examples: int, rng: np.random.Generator) -> tuple[Values, Values]:
    """Labels (N,), predictions (K, N): each expert right independently with its ACCURACY."""
    if task.regression:
        labels = rng.uniform(0, 5, examples)
        noise = rng.normal(size=(3, examples)) * np.array([[2.0], [1.0], [0.5]])
        return labels, labels + noise
    classes = task.outputs
    labels = rng.integers(0, classes, examples).astype(np.float64)
    right = rng.random((3, examples)) < np.array(ACCURACY)[:, None]
    return labels, np.where(right, labels, (labels + 1) % classes)


def _expert_rows(
    tables: dict[str, list[dict[str, Any]]],
    split: str,
    labels: Values,
    predictions: Values,
    *,
    regression: bool,
) -> None:
    error = np.abs(predictions - labels)
    right = error == error.min(axis=0) if regression else error == 0
    for example, label in enumerate(labels):
        tables["examples"].append(
            {"split": split, "example": 7 * example, "label": label, "tokens": 10 + example % 9}
        )
        for expert in range(3):
            tables["experts"].append(
                {
                    "experts_id": "e0",
                    "expert": expert,
                    "split": split,
                    "example": 7 * example,
                    "prediction": predictions[expert, example],
                    "output": [0.0, 1.0],
                    "loss": error[expert, example],
                    "right": bool(right[expert, example]),
                }
            )


@dataclass(frozen=True)
class _Trial:
    recipe: Recipe
    number: int
    alpha: float
    beta: float
    seed: int
    status: str

    def rows(
        self,
        tables: dict[str, list[dict[str, Any]]],
        world: dict[str, tuple[Values, Values]],
        rng: np.random.Generator,
    ) -> None:
        key = f"k{self.number}s{self.seed}"
        row: dict[str, Any] = {
            "key": key,
            "point": f"p{self.number}",
            "seed": self.seed,
            "pack": "pack0",
            "status": self.status,
            "reason": self.recipe.reasons.get(self.status),
            "epochs": self.recipe.epochs,
            "attempt": 1,
            "seconds": 1.5,
            "experts_id": "e0",
            "alpha": self.alpha,
            "beta": self.beta,
            "config": json.dumps({"alpha": self.alpha, "beta": self.beta}),
        }
        if self.status == schema.COMPLETED:
            for split, (labels, predictions) in world.items():
                routes = self._routes(labels, predictions, rng)
                row |= self._measure(split, labels, predictions, routes)
                self._report_rows(tables, key, split, row, routes)
                self._routing_rows(tables, key, split, routes)
        tables["trials"].append(row)

    def _routes(
        self, labels: Values, predictions: Values, rng: np.random.Generator
    ) -> NDArray[np.intp]:
        error = np.abs(predictions - labels)
        best = (error == error.min(axis=0)).argmax(axis=0)
        call = CALLS[self.number % len(CALLS)]
        drawn = rng.choice(3, size=len(labels), p=call)
        skilled = rng.random(len(labels)) < self.recipe.skill * (self.number != 2)
        return np.where(skilled, np.minimum(best, drawn), drawn)

    def _measure(
        self, split: str, labels: Values, predictions: Values, routes: NDArray[np.intp]
    ) -> dict[str, float]:
        said = np.take_along_axis(predictions, routes[None], axis=0)
        task = self.recipe.of_task
        outputs = np.zeros((1, len(labels), task.outputs))
        sure = None if task.regression else Confidence.of(outputs, labels)
        found = evaluate(task, said, labels, confidence=sure)
        values = {f"{split}_{name}": float(value[0]) for name, value in found.items()}
        values[f"{split}_cost"] = float(VECTORS["constants"].of_routes(routes).mean())
        for name, vector in VECTORS.items():
            values[f"{split}_cost_{name}"] = float(vector.of_routes(routes).mean())
        return values

    def _report_rows(
        self,
        tables: dict[str, list[dict[str, Any]]],
        key: str,
        split: str,
        row: dict[str, Any],
        routes: NDArray[np.intp],
    ) -> None:
        share = np.bincount(routes, minlength=3) / len(routes)
        last = self.recipe.epochs
        task = self.recipe.of_task
        metrics = ("score", *task.metrics)
        for epoch in range(1, last + 1) if split == "selection" else (last,):
            short = 0.05 * (last - epoch)
            worse = merit(task, short)
            tables["reports"].append(
                {"key": key, "epoch": epoch, "split": split}
                | {name: row[f"{split}_{name}"] - worse for name in metrics}
                | {
                    "cost": row[f"{split}_cost"] + 10 * short,
                    "loss": 0.5 + short,
                    "loss_task": 0.4,
                    "loss_balance": 0.1,
                    "loss_cost": 6.0,
                    "share": share.tolist(),
                    "gate": share.tolist(),
                    "gate_entropy": 0.4,
                    "seconds": 0.5 * epoch,
                }
            )

    def _routing_rows(
        self,
        tables: dict[str, list[dict[str, Any]]],
        key: str,
        split: str,
        routes: NDArray[np.intp],
    ) -> None:
        for example, route in enumerate(routes):
            tables["routing"].append(
                {
                    "key": key,
                    "split": split,
                    "example": 7 * example,
                    "route": int(route),
                    "logits": np.eye(3)[route].tolist(),
                }
            )


def _write_tables(folder: Path, recipe: Recipe, tables: dict[str, list[dict[str, Any]]]) -> None:
    task = recipe.of_task
    schemas = {
        "trials": schema.trials(
            {"alpha": pa.float64(), "beta": pa.float64()},
            metrics=task.metrics,
            quoted=task.quoted,
            vectors=tuple(VECTORS),
        ),
        "reports": schema.reports(task.metrics),
        "routing": schema.ROUTING,
        "experts": schema.EXPERTS,
        "examples": schema.EXAMPLES,
    }
    for name, rows in tables.items():
        if recipe.shuffle:
            order = np.random.default_rng(9).permutation(len(rows))
            rows = [rows[i] for i in order]
        table = pa.Table.from_pylist(rows, schema.stamped(schemas[name], recipe.run))
        pq.write_table(table, folder / schema.table_file(name), compression="zstd")


def _study(recipe: Recipe) -> dict[str, Any]:
    return {
        "study": "tiny_grid",
        "trial": {"task": recipe.of_task.name, "pool": "sample", "epochs": recipe.epochs},
        "space": {"alpha": {"grid": [0.01]}, "beta": {"grid": [0.001, 0.1]}},
        "start": [{"alpha": 0, "beta": 0}, {"alpha": 1.0, "beta": 0.001}],
        "seeds": list(recipe.seeds),
        "objectives": {"score": recipe.of_task.direction, "cost": "min"},
        **recipe.study,
    }


def _provenance(recipe: Recipe, splits: Sequence[str]) -> dict[str, Any]:
    return {
        "schema": schema.VERSION,
        "run": recipe.run,
        "study": "tiny_grid",
        **to_record(recipe.of_task),
        "pool": "sample",
        "synthetic": recipe.synthetic,
        "started": "2026-11-23T03:00:00Z",
        "arguments": ["tiny_grid", "--sample"],
        "versions": {"mpc-router": "0.1.0", "torch": "2.13"},
        "commit": None,
        "machine": {"cpu": "a cpu", "cores": "2", "memory": "4 GB"},
        "fingerprints": {"data": "aa", "experts": "bb", "code": "cc"},
        "experts": [
            {"expert": k, "name": name, "layers": 0, "stand_in": None}
            for k, name in enumerate(recipe.names)
        ],
        "stem": {"name": "org/stem", "stand_in": None},
        "experts_fixed_seed": True,
        "splits": {
            split: {"rows": recipe.examples, "source": "train", "note": None} for split in splits
        },
        "cost_vector": "constants",
        "cost_vectors": to_json(VECTORS),
        "objectives": recipe.study.get("objectives")
        or {"score": recipe.of_task.direction, "cost": "min"},
        "notes": list(recipe.notes),
    }


WriteRun = Callable[..., Path]


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> WriteRun:
    """`written(name, **recipe)`: the folder of a run of that recipe, written once a session."""
    root = tmp_path_factory.mktemp("runs")
    recipes: dict[str, Recipe] = {}

    def write(name: str, **changes: Any) -> Path:
        recipe, folder = replace(Recipe(), **changes), root / name
        assert recipes.setdefault(name, recipe) == recipe, f"two recipes are called {name}"
        return folder if folder.exists() else write_run(folder, recipe)

    return write


@pytest.fixture(scope="session")
def run_folder(written: WriteRun) -> Path:
    """The plain run: RTE, 4 points x 3 seeds, 120 examples, K = 3."""
    return written("plain")


@pytest.fixture(scope="session")
def run(run_folder: Path) -> Run:
    return load_run(run_folder)
