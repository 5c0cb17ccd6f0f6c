"""What MLflow holds of a run, by its own client."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sweeps.journal.journal import Journal
from sweeps.records import COMPLETED, STOPPED
from sweeps.tracking._follow import follow
from sweeps.tracking._tracker import TrackedTrial
from tests.sweeps.conftest import rows
from tests.sweeps.tracking.conftest import Memory, measured, results

mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed")
pytest.importorskip("sqlalchemy", reason="mlflow's store in a file needs sqlalchemy")
pytest.importorskip("alembic", reason="mlflow's store in a file needs alembic")


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A store without experiments, which MLflow takes seconds to make."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    mlflow.MlflowClient(f"sqlite:///{path}").search_experiments()
    return path.read_bytes()


@pytest.fixture
def client(own_folders: Path, empty_store: bytes) -> Any:
    (own_folders / "mlflow.db").write_bytes(empty_store)
    return mlflow.MlflowClient(f"sqlite:///{own_folders / 'mlflow.db'}")


def _track(run: Path) -> None:
    from sweeps.tracking._mlflow import Mlflow

    follow(run, Mlflow(), lambda: True)


def _trials(run: Path) -> dict[str, TrackedTrial]:
    memory = Memory()
    follow(run, memory, lambda: True)
    return memory.trials


def _runs(client: Any) -> tuple[Any, dict[str, Any]]:
    """The run of the sweep, and those of its trials by key."""
    experiment = client.get_experiment_by_name("mrpc_pareto")
    runs = list(client.search_runs([experiment.experiment_id]))
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    trials = {run.data.tags["mpc_router.key"]: run for run in runs if run is not parent}
    assert {run.data.tags["mlflow.parentRunId"] for run in trials.values()} == {parent.info.run_id}
    assert len(trials) == len(runs) - 1
    return parent, trials


def _history(client: Any, run: Any) -> list[tuple[int, str, float, int]]:
    return [
        (item.step, name, item.value, item.timestamp)
        for name in run.data.metrics
        for item in client.get_metric_history(run.info.run_id, name)
    ]


def _check(client: Any, folder: Path) -> None:
    """Numbers, times, settings and ends are those of tables and journal, each of them once."""
    _, runs = _runs(client)
    reports, ends, trials = measured(folder), results(folder), _trials(folder)
    assert runs.keys() == trials.keys() == reports.keys()
    for key, run in runs.items():
        trial, history = trials[key], _history(client, run)
        assert trial.end is not None
        numbers = {
            (step, name): value
            for step, name, value, _ in history
            # a stopped trial that was finished later has the results of both ends
            if "/cost_" not in name and ("/" in name or step == trial.end.epochs)
        }
        columns = {(trial.end.epochs, name): value for name, value in ends[key].items()}
        assert numbers == {**reports[key], **columns}
        assert len({(step, name) for step, name, _, _ in history}) == len(history)
        times = {
            (item.epoch, name): item.time for item in trial.measurements for name in item.values
        }
        for step, name, _, time in history:
            if "/" not in name and step < trial.end.epochs:
                continue
            assert time == round(1000 * times.get((step, name), trial.end.time))
        assert run.info.start_time == round(1000 * trial.begun)
        assert run.info.end_time == round(1000 * trial.end.time)
        assert run.data.tags["status"] == trial.end.status
        assert run.data.params["seed"] == str(trial.seed)
        assert float(run.data.params["alpha"]) == trial.settings["alpha"]
        assert run.info.status == "FINISHED"
        assert trial.end.status in (COMPLETED, STOPPED)


def test_mlflow_holds_the_numbers_of_the_tables_with_their_times(
    searched: Path, client: Any
) -> None:
    _track(searched)
    _check(client, searched)
    parent, _ = _runs(client)
    assert parent.info.run_name == "r"
    files = {item.path for item in client.list_artifacts(parent.info.run_id)}
    assert files >= {"trials.parquet", "reports.parquet", "study.yaml", "provenance.json"}


def test_a_run_that_is_told_again_adds_nothing(searched: Path, client: Any) -> None:
    lines = (searched / "journal.jsonl").read_bytes().splitlines(keepends=True)
    (searched / "journal.jsonl").write_bytes(b"".join(lines[: len(lines) // 2]))
    _track(searched)
    (searched / "journal.jsonl").write_bytes(b"".join(lines))
    _track(searched)
    _check(client, searched)
    assert len(rows(searched, "trials")) == len(_runs(client)[1])


def test_numbers_that_are_replaced_leave_mlflow(searched: Path, client: Any) -> None:
    _track(searched)
    with Journal(searched / "journal.jsonl") as journal:
        keys = [trial.key for trial in journal.state.packs["pack00"].trials]
        journal.append("unlike", pack="pack00", keys=keys, epoch=1, reason="a test")
    _track(searched)
    _, runs = _runs(client)
    assert {key for key, run in runs.items() if not run.data.metrics} == {
        key for key, trial in _trials(searched).items() if not trial.measurements
    }
