"""`python -m analysis.export RUN --to csv|optuna|mlflow TARGET`: a run for other tools.

- `csv`: every table of the run, and its points with their intervals, as CSV files in a folder
- `optuna`: a study in Optuna's journal file, a trial a point, stopped and failed ones with states
- `mlflow`: an experiment, a run a trial with its metrics by epoch (needs mlflow)
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import pandas as pd

    from analysis.load import Run

TARGETS: Final = ("csv", "optuna", "mlflow")

_STATES: Final = {
    "FAILED": "FAIL",
    "INTERRUPTED": "WAITING",
    "STOPPED": "PRUNED",
    "COMPLETED": "COMPLETE",
}
"""A point's status, the worst of its replicates', and what Optuna calls it."""


def to_csv(run: Run, folder: Path) -> list[Path]:
    """Writes trials, reports, examples and points; lists are JSON. Gives the files.

    Routing and experts, a row an example, stay Parquet: as CSV they would be gigabytes.

    Raises:
        RunError: a file is there already, or a table cannot be read.
    """
    from analysis.fronts import points
    from analysis.load import RunError

    tables: dict[str, pd.DataFrame] = {"trials": run.trials, "reports": run.reports}
    tables["examples"] = run.examples
    try:
        tables["points"] = points(run)
    except RunError as error:
        print(f"no points.csv: {error}", file=sys.stderr)
    files = {folder / f"{name}.csv": table for name, table in tables.items()}
    _refuse_existing(files)
    folder.mkdir(parents=True, exist_ok=True)
    for path, table in files.items():
        plain = table.copy()
        for column in plain.columns:
            if plain[column].map(lambda value: hasattr(value, "tolist") or _listed(value)).any():
                plain[column] = plain[column].map(_as_json)
        plain.to_csv(path, index=False)
    return list(files)


def to_optuna(run: Run, file: Path) -> Path:
    """Writes the run as a study that Optuna and optuna-dashboard open: a trial a point.

    Values are means on selection over the replicates: of whole points COMPLETE, of stopped ones
    PRUNED with their last values as user attributes, of failed ones FAIL, of others WAITING.

    Raises:
        RunError: the file is there already.
    """
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    from analysis.parameters import trials as as_trials

    _refuse_existing([file])
    table = _points(run)
    made = as_trials(table, run.settings, ["score", "cost"])
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        storage = JournalStorage(JournalFileBackend(str(file)))
        study = optuna.create_study(
            study_name=run.name, storage=storage, directions=["maximize", "minimize"]
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an experimental feature, chosen with open eyes
            study.set_metric_names(["score", "cost"])
        for trial, row in zip(made, table.to_dict("records"), strict=True):
            trial.user_attrs = {"point": row["point"], "status": row["status"]}
            if row["state"] != "COMPLETE":
                known = {name: row[name] for name in ("score", "cost") if row[name] == row[name]}
                trial.user_attrs |= {f"last_{name}": value for name, value in known.items()}
            study.add_trial(trial)
    finally:
        optuna.logging.set_verbosity(level)
    return file


def to_mlflow(run: Run, target: str) -> int:
    """Writes every trial as a run of the experiment named as this run; gives how many.

    `target` is a tracking URI, such as `sqlite:///mlflow.db`. Parameters are the searched settings
    and the seed, metrics those of selection by epoch and of the quoted splits at the end.

    Raises:
        RunError: mlflow is not installed or takes no such target, or has the experiment already.
    """
    from analysis.load import RunError

    try:
        import mlflow
    except ImportError as error:
        raise RunError(
            "--to mlflow needs mlflow, which is not installed: pip install mlflow-skinny"
        ) from error
    try:
        client = mlflow.MlflowClient(tracking_uri=target)
    except mlflow.exceptions.MlflowException as error:
        raise RunError(
            f"mlflow takes no {target!r} ({str(error).splitlines()[0]}); give a tracking URI such "
            "as sqlite:///mlflow.db"
        ) from error
    if client.get_experiment_by_name(run.name) is not None:
        raise RunError(f"{target} has an experiment {run.name!r} already; give another target")
    experiment = client.create_experiment(run.name)
    reports = {key: rows for key, rows in run.reports.groupby("key")}
    for row in run.trials.to_dict("records"):
        made = client.create_run(experiment, run_name=f"{row['point']} seed {row['seed']}")
        name = made.info.run_id
        for setting in (*run.settings, "seed"):
            client.log_param(name, setting, _as_json(row[setting]))
        for fact in ("key", "point", "status", "reason"):
            client.set_tag(name, fact, str(row[fact]))
        for said in reports[row["key"]].to_dict("records") if row["key"] in reports else ():
            for metric in ("score", *run.task.metrics, "cost", "loss"):
                value = float(said[metric])
                client.log_metric(name, f"{said['split']}.{metric}", value, step=said["epoch"])
        done = row["status"] in ("COMPLETED", "STOPPED")
        client.set_terminated(name, "FINISHED" if done else "FAILED")
    return len(run.trials)


def _points(run: Run) -> pd.DataFrame:
    """A row a point: settings, means on selection, and the worst status of its replicates."""
    import pandas as pd

    cost = f"selection_cost_{run.provenance['cost_vector']}"
    rows: list[dict[str, Any]] = []
    for point, mine in run.trials.groupby("point", sort=False):
        first = mine.iloc[0]
        status = next(each for each in _STATES if each in set(mine["status"]))
        rows.append(
            {
                "point": str(point),
                **{name: first[name] for name in run.settings},
                "status": status,
                "state": _STATES[status],
                "score": float(mine["selection_score"].astype(float).mean()),
                "cost": float(mine[cost].astype(float).mean()),
            }
        )
    return pd.DataFrame(rows)


def _listed(value: object) -> bool:
    return isinstance(value, list | tuple)


def _as_json(value: Any) -> str:
    return json.dumps(value.tolist() if hasattr(value, "tolist") else value)


def _refuse_existing(files: Any) -> None:
    from analysis.load import RunError

    for path in files:
        if Path(path).exists():
            raise RunError(f"{path} exists; give another target, nothing is overwritten")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m analysis.export",
        description="Write a run for other tools: CSV files, an Optuna study, MLflow runs.",
        epilog="example: python -m analysis.export runs/mrpc_grid --to csv tables/",
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a run")
    parser.add_argument("--to", required=True, choices=TARGETS, help="what to write")
    parser.add_argument("target", metavar="TARGET", help="a folder, a file, or a tracking URI")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Write it and say where; 0, or 2 with one line where that cannot be."""
    options = _parser().parse_args(arguments)
    from analysis.load import RunError, load_run

    try:
        run = load_run(options.run)
        if options.to == "csv":
            for path in to_csv(run, Path(options.target)):
                print(path)
        elif options.to == "optuna":
            print(to_optuna(run, Path(options.target)))
        else:
            print(f"{to_mlflow(run, options.target)} runs in {options.target}")
    except (RunError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
