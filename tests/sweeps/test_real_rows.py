"""Real MRPC and SST-2 as tasks of one's own, by every door: the keys and numbers of `task=NAME`.

Each run has a cache of its own, so nothing is shared but the code. `pytest -m long -s` on this
file prints the figures.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from mpc_router.tasks import TASKS
from sweeps.python import run_study
from tests.mpc_router.data.test_doors import FILES, GLUE
from tests.sweeps.conftest import assert_same_tables, rows, without_ray

MODELS = GLUE.parents[1] / "models"
STEM = "prajjwal1/bert-tiny"
LITTLE = {
    "pool": "custom",
    "expert_model_names": [STEM, STEM],
    "expert_layers": [1, 2],
    "expert_costs": [1, 2],
    "expert_pooling": "mean",
    "expert_epochs": 1,
    "expert_learning_rate": 3e-4,
    "router_model_name": STEM,
    "router_cost": 0.2,
    "stem_pooling": "mean",
    "router_hidden_size": 16,
    "max_length": 64,
    "train_rows": 640,
    "validation_rows": 400,
    "alpha": {"grid": [0.01, 1]},
    "beta": {"grid": [0.001, 0.03]},
    "start": [],
    "seeds": [0],
    "epochs": 2,
}
DOORS = ("parquet", "csv", "jsonl", "saved DatasetDict", "frames")


def swept(folder: Path, task: str, settings: dict[str, Any], **source: Any) -> Path:
    """The folder of a run of the little grid."""
    begin = time.monotonic()
    with pytest.MonkeyPatch.context() as patch:
        without_ray(patch)
        run = run_study(
            f"{task}_grid",
            {**LITTLE, **settings},
            models=MODELS,
            cache=folder / "cache",
            out=folder / "runs",
            name="r",
            report=False,
            **source,
        )
    scores = ", ".join(
        f"{row['key'][:8]} {row['validation_score']:.4f} at {row['validation_cost']:.4f}"
        for row in run.trials.to_dict("records")
    )
    print(f"{task} {folder.name}: {scores} ({time.monotonic() - begin:.0f} s)")
    return folder / "runs/r"


@pytest.fixture(scope="module")
def by_name(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The run of `task=NAME`, made once for each task."""
    made: dict[str, Path] = {}

    def run_of(task: str) -> Path:
        if task not in made:
            made[task] = swept(tmp_path_factory.mktemp("name"), task, {}, data=GLUE)
        return made[task]

    return run_of


@pytest.mark.long
@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("task", ["mrpc", "sst2"])
def test_real_rows_give_the_keys_and_numbers_of_the_task_by_its_name(
    door: str, task: str, tmp_path: Path, by_name: Callable[[str], Path]
) -> None:
    if not (GLUE / task / "train.parquet").is_file() or not (MODELS / "bert-tiny").is_dir():
        pytest.skip(f"no real {task} or no bert-tiny beside the checkout (MPC_ROUTER_SHARED)")
    frames = {
        name: pq.read_table(GLUE / task / f"{name}.parquet").to_pandas()
        for name in ("train", "validation")
    }
    dataset: Any = frames
    if door in FILES:
        FILES[door](frames, tmp_path / "set")
        dataset = {"path": str(tmp_path / "set")}
    definition = {"task_definition": TASKS[task].to_json()}
    run = swept(tmp_path / door.replace(" ", "_"), task, definition, dataset=dataset)
    trials = rows(run, "trials")
    assert len(trials) == 4
    assert {row["key"] for row in trials} == {row["key"] for row in rows(by_name(task), "trials")}
    assert_same_tables(run, by_name(task))
