from __future__ import annotations

import json
import sys
import types
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import Study, StudyDirection
from optuna.trial import TrialState

from analysis.export import main, to_csv, to_mlflow, to_optuna
from analysis.runs.load import Run, RunError, load_run
from analysis.stats.dominance import nondominated
from tests.analysis.conftest import WriteRun


def test_every_csv_file_holds_its_table_whole(run: Run, tmp_path: Path) -> None:
    files = to_csv(run, tmp_path / "tables")
    assert {path.name for path in files} == {
        "trials.csv",
        "reports.csv",
        "examples.csv",
        "points.csv",
    }
    back = pd.read_csv(tmp_path / "tables" / "trials.csv")
    assert list(back.columns) == list(run.trials.columns)
    assert len(back) == len(run.trials)
    assert back["validation_score"].to_numpy() == pytest.approx(
        run.trials["validation_score"].to_numpy()
    )
    assert json.loads(back["config"][0]) == json.loads(run.trials["config"][0])


def test_lists_are_json_in_a_csv_file(run: Run, tmp_path: Path) -> None:
    to_csv(run, tmp_path)
    shares = pd.read_csv(tmp_path / "reports.csv")["share"].map(json.loads)
    assert np.array(shares.tolist()) == pytest.approx(np.stack(run.reports["share"].tolist()))
    assert json.loads(pd.read_csv(tmp_path / "points.csv")["seeds"][0]) == [0, 1, 2]


def test_a_run_without_a_whole_point_exports_the_rest_and_says_what_lacks(
    written: WriteRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = {(point, seed): "FAILED" for point in range(4) for seed in range(3)}
    folder = written("exp_failed", status=status, reasons={"FAILED": "NaN in task"})
    assert main([str(folder), "--to", "csv", str(tmp_path / "out")]) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "trials.csv",
        "reports.csv",
        "examples.csv",
    }
    assert "no points.csv" in capsys.readouterr().err


def test_no_csv_file_is_written_over_another(run: Run, tmp_path: Path) -> None:
    (tmp_path / "reports.csv").write_text("mine")
    with pytest.raises(RunError, match=r"reports\.csv exists"):
        to_csv(run, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["reports.csv"]
    assert (tmp_path / "reports.csv").read_text() == "mine"


def _study(file: Path, name: str) -> Study:
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.load_study(
        study_name=name, storage=JournalStorage(JournalFileBackend(str(file)))
    )
    optuna.logging.set_verbosity(level)
    return study


def test_the_study_has_a_trial_a_point_with_the_means_on_selection(
    run: Run, tmp_path: Path
) -> None:
    study = _study(to_optuna(run, tmp_path / "study.journal"), "fixture")
    assert study.directions == [StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE]
    assert study.metric_names == ["score", "cost"]
    means = run.trials.groupby("point")[["selection_score", "selection_cost"]].mean()
    settings = run.trials.drop_duplicates("point").set_index("point")[list(run.settings)]
    assert len(study.trials) == len(means)
    for trial in study.trials:
        point = trial.user_attrs["point"]
        assert trial.values == pytest.approx(means.loc[point].to_numpy())
        assert trial.params == settings.loc[point].to_dict()


def test_the_best_trials_of_the_study_are_the_front_on_selection(run: Run, tmp_path: Path) -> None:
    study = _study(to_optuna(run, tmp_path / "study.journal"), "fixture")
    means = run.trials.groupby("point")[["selection_score", "selection_cost"]].mean()
    kept = nondominated(means["selection_score"].to_numpy(), means["selection_cost"].to_numpy())
    found = {trial.user_attrs["point"] for trial in study.best_trials}
    assert found == set(means.index[kept])


def test_stopped_failed_and_interrupted_points_keep_their_state(
    written: WriteRun, tmp_path: Path
) -> None:
    status = {(0, 1): "FAILED", (1, 0): "STOPPED", (2, 2): "INTERRUPTED"}
    folder = written("exp_states", status=status, reasons={"FAILED": "NaN in task"})
    study = _study(to_optuna(load_run(folder), tmp_path / "study.journal"), "fixture")
    states = {trial.user_attrs["point"]: trial.state for trial in study.trials}
    assert states == {
        "p0": TrialState.FAIL,
        "p1": TrialState.PRUNED,
        "p2": TrialState.WAITING,
        "p3": TrialState.COMPLETE,
    }
    stopped = next(trial for trial in study.trials if trial.state == TrialState.PRUNED)
    assert stopped.values is None
    assert 0 < stopped.user_attrs["last_score"] <= 1


def test_a_point_without_a_finite_score_is_a_failed_trial(run_folder: Path, tmp_path: Path) -> None:
    run = load_run(run_folder)
    trials = run.trials.copy()
    trials.loc[trials["point"] == "p1", "selection_score"] = np.nan
    run.__dict__["trials"] = trials
    study = _study(to_optuna(run, tmp_path / "study.journal"), "fixture")
    assert Counter(trial.state.name for trial in study.trials) == {"COMPLETE": 3, "FAIL": 1}


def test_no_study_is_written_over_another_file(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "study.journal"
    to_optuna(run, file)
    before = file.read_bytes()
    with pytest.raises(RunError, match="nothing is overwritten"):
        to_optuna(run, file)
    assert file.read_bytes() == before


class FakeTracking:
    """An mlflow that fits in a dict: experiments by name, runs in a list."""

    def __init__(self) -> None:
        self.experiments: set[str] = set()
        self.runs: list[dict[str, Any]] = []

    def get_experiment_by_name(self, name: str) -> str | None:
        return name if name in self.experiments else None

    def create_experiment(self, name: str) -> str:
        self.experiments.add(name)
        return name

    def create_run(self, experiment: str, *, run_name: str) -> Any:
        assert experiment in self.experiments
        self.runs.append({"name": run_name, "metrics": {}})
        return types.SimpleNamespace(info=types.SimpleNamespace(run_id=len(self.runs) - 1))

    def log_batch(self, run: int, *, metrics: Any = (), params: Any = (), tags: Any = ()) -> None:
        assert len(metrics) <= 1000
        mine = self.runs[run]
        mine["metrics"] |= {(name, step): value for name, value, _, step in metrics}
        for kind, pairs in (("params", params), ("tags", tags)):
            if pairs:
                mine[kind] = dict(pairs)

    def set_terminated(self, run: int, status: str) -> None:
        self.runs[run]["status"] = status


class FakeMlflowError(Exception):
    """What mlflow raises."""


@pytest.fixture
def tracking(monkeypatch: pytest.MonkeyPatch) -> FakeTracking:
    """Takes the place of mlflow, installed or not."""
    fake = FakeTracking()
    module: Any = types.ModuleType("mlflow")
    entities: Any = types.ModuleType("mlflow.entities")
    for name in ("Metric", "Param", "RunTag"):
        setattr(entities, name, lambda *values: values)
    module.entities = entities
    module.exceptions = types.SimpleNamespace(MlflowException=FakeMlflowError)
    module.MlflowClient = lambda tracking_uri: fake
    monkeypatch.setitem(sys.modules, "mlflow", module)
    monkeypatch.setitem(sys.modules, "mlflow.entities", entities)
    return fake


def _check_experiment(run: Run, runs: list[dict[str, Any]]) -> None:
    assert len(runs) == len(run.trials)
    first = run.trials.iloc[0]
    mine = next(each for each in runs if each["tags"]["key"] == first["key"])
    assert mine["params"] == {"alpha": "0.0", "beta": "0.0", "seed": "0"}
    assert mine["status"] == "FINISHED"
    reports = run.reports[run.reports["key"] == first["key"]]
    said = {
        (f"{row['split']}.{name}", row["epoch"]): row[name]
        for row in reports.to_dict("records")
        for name in ("score", "accuracy", "cost", "loss")
    }
    assert mine["metrics"] == pytest.approx(said)


def test_an_experiment_has_a_run_a_trial_with_its_metrics_by_epoch(
    run: Run, tracking: FakeTracking
) -> None:
    assert to_mlflow(run, "sqlite:///anything.db") == 12
    _check_experiment(run, tracking.runs)


def test_failed_trials_and_numbers_that_are_none_pass_into_mlflow(
    written: WriteRun, tracking: FakeTracking
) -> None:
    folder = written("exp_mlflow", status={(0, 1): "FAILED"}, reasons={"FAILED": "NaN in task"})
    run = load_run(folder)
    run.__dict__["reports"] = run.reports.assign(loss=np.nan)
    to_mlflow(run, "sqlite:///anything.db")
    failed = [each for each in tracking.runs if each["status"] == "FAILED"]
    assert [each["tags"]["reason"] for each in failed] == ["NaN in task"]
    assert failed[0]["metrics"] == {}
    assert all("reason" not in each["tags"] for each in tracking.runs if each not in failed)
    assert not any("loss" in name for each in tracking.runs for name, _ in each["metrics"])


def _refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(arguments) == 2
    text = capsys.readouterr().err
    assert text.startswith("error: ")
    assert text.count("\n") == 1
    return text


def test_an_experiment_that_is_there_is_not_added_to(
    run_folder: Path, tracking: FakeTracking, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(run_folder), "--to", "mlflow", "sqlite:///m.db"]
    assert main(arguments) == 0
    assert "12 runs in sqlite:///m.db" in capsys.readouterr().out
    assert "already" in _refused(arguments, capsys)
    assert len(tracking.runs) == 12


def test_without_mlflow_a_sentence_says_what_to_install(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    text = _refused([str(run_folder), "--to", "mlflow", "sqlite:///m.db"], capsys)
    assert "pip install mlflow" in text


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (FakeMlflowError("\nno such store. A long story follows.\nand goes on"), "no such store"),
        (ModuleNotFoundError("No module named 'sqlalchemy'"), "sqlalchemy"),
    ],
)
def test_a_store_that_mlflow_cannot_open_is_one_line(
    error: Exception,
    said: str,
    run_folder: Path,
    tracking: FakeTracking,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refuse(name: str) -> None:
        raise error

    monkeypatch.setattr(tracking, "get_experiment_by_name", refuse)
    text = _refused([str(run_folder), "--to", "mlflow", "odd://place"], capsys)
    assert said in text
    assert "odd://place" in text
    assert "long story" not in text


def test_the_real_mlflow_holds_the_same(run: Run, tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed")
    pytest.importorskip("sqlalchemy", reason="mlflow's store in a file needs sqlalchemy")
    target = f"sqlite:///{tmp_path / 'm.db'}"
    assert to_mlflow(run, target) == 12
    client = mlflow.MlflowClient(tracking_uri=target)
    experiment = client.get_experiment_by_name(run.name)
    runs = []
    for each in client.search_runs([experiment.experiment_id]):
        history = {
            (name, one.step): one.value
            for name in each.data.metrics
            for one in client.get_metric_history(each.info.run_id, name)
        }
        data = {"params": dict(each.data.params), "tags": dict(each.data.tags)}
        runs.append({**data, "metrics": history, "status": each.info.status})
    _check_experiment(run, runs)


@pytest.mark.parametrize("target", ["csv", "optuna"])
def test_a_folder_that_is_no_run_is_refused_in_one_line(
    target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(tmp_path / "none"), "--to", target, str(tmp_path / "out")]
    assert "nothing there" in _refused(arguments, capsys)
    assert not (tmp_path / "out").exists()


def test_what_can_be_written_is_named_where_something_else_is_asked(
    run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([str(run_folder), "--to", "excel", "x"])
    assert stopped.value.code == 2
    text = capsys.readouterr().err
    assert all(name in text for name in ("csv", "optuna", "mlflow"))


def test_the_command_says_where_it_wrote(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "study.journal"
    assert main([str(run_folder), "--to", "optuna", str(file)]) == 0
    assert capsys.readouterr().out.strip() == str(file)
    assert file.exists()


def test_help_shows_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "examples: python -m analysis.export" in text
