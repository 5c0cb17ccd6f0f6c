"""`python -m analysis.export RUN --to csv|optuna|mlflow TARGET` writes a run for other tools.

- `csv`: every table of the run, and its points with their intervals, as CSV files in a folder
- `optuna`: a study in Optuna's journal file, a trial a point, stopped and failed ones with states
- `mlflow`: an experiment, a run a trial with its metrics by epoch (needs mlflow)
"""

from __future__ import annotations

import itertools
import json
import math
import re
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mpc_router.flags import Parser, add_trust_flag, place
from mpc_router.plugins import trust
from mpc_router.run_names import COMPLETED, FAILED, INTERRUPTED, SELECTION, STOPPED
from mpc_router.streams import command, say_error

if TYPE_CHECKING:
    import pandas as pd

    from analysis.runs.load import Run

_TARGETS: Final = ("csv", "optuna", "mlflow")

_TAG: Final = 150
"""Characters of a metric's name that mlflow is given; it takes 250."""

_BATCH: Final = 1000
"""Metrics that mlflow takes at once."""

_STATES: Final = {
    FAILED: "FAIL",
    INTERRUPTED: "WAITING",
    STOPPED: "PRUNED",
    COMPLETED: "COMPLETE",
}
"""A point's status, the worst of its replicates', and what Optuna calls it."""


def to_csv(run: Run, folder: Path) -> list[Path]:
    """Writes trials, reports, examples and points; lists are JSON; gives the files.

    Routing and experts, a row an example, stay Parquet: as CSV they would be gigabytes.

    Raises:
        RunError: a file is there already, or a table cannot be read.
    """
    from analysis.fronts.survey import points
    from analysis.runs.load import RunError
    from mpc_router.messages import one_line

    tables: dict[str, pd.DataFrame] = {"trials": run.trials, "reports": run.reports}
    tables["examples"] = run.examples
    try:
        tables["points"] = points(run)
    except BrokenPipeError:
        raise  # a reader is gone, which is no error
    except RunError as error:
        print(f"no points.csv: {one_line(str(error))}", file=sys.stderr)
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
    PRUNED with their last values as user attributes, of failed ones and of those without finite
    values FAIL, of others WAITING. COMPLETE ones carry how far they break each of the study's
    constraints.

    Raises:
        RunError: the file is there already, or the study's constraints cannot be read.
    """
    import optuna
    import pandas as pd
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    from analysis.questions.importance import optuna_trials

    _refuse_existing([file])
    table = _points(run)
    table["constraints"] = pd.Series(_violations(run, table), index=table.index, dtype=object)
    made = optuna_trials(table, run.settings, ["score", "cost"])
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        storage = JournalStorage(JournalFileBackend(str(file)))
        study = optuna.create_study(
            study_name=run.name,
            storage=storage,
            directions=["maximize" if run.task.direction == "max" else "minimize", "minimize"],
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an experimental feature, chosen with open eyes
            study.set_metric_names(["score", "cost"])
        for trial, row in zip(made, table.to_dict("records"), strict=True):
            trial.user_attrs = {"point": row["point"], "status": row["status"]}
            if row["state"] != "COMPLETE":
                measured = {name: row[name] for name in ("score", "cost") if row[name] == row[name]}
                trial.user_attrs |= {f"last_{name}": value for name, value in measured.items()}
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
    from analysis.runs.load import RunError

    try:
        import mlflow
    except ImportError as error:
        raise RunError(
            "--to mlflow needs mlflow, which is not installed: pip install mlflow"
        ) from error
    try:
        client = mlflow.MlflowClient(tracking_uri=target)
        exists = client.get_experiment_by_name(run.name) is not None
        experiment = "" if exists else client.create_experiment(run.name)
    except ImportError as error:
        raise RunError(
            f"mlflow cannot open {target!r} ({error}): pip install mlflow, of which mlflow-skinny "
            "is a part, or give the address of a server"
        ) from error
    except mlflow.exceptions.MlflowException as error:
        reason = str(error).strip().splitlines()[0].split(". ")[0]
        raise RunError(
            f"mlflow takes no {target!r} ({reason}); give a tracking URI such as sqlite:///mlflow.db"
        ) from error
    if exists:
        raise RunError(f"{target} has an experiment {run.name!r} already; give another target")
    reports = {str(key): rows.to_dict("records") for key, rows in run.reports.groupby("key")}
    for row in run.trials.to_dict("records"):
        _log_trial(client, experiment, run, row, reports.get(str(row["key"]), []))
    return len(run.trials)


def _log_trial(
    client: Any, experiment: str, run: Run, row: dict[Any, Any], reports: list[dict[Any, Any]]
) -> None:
    """Logs one trial as one run of mlflow's, in as few calls as it takes."""
    from mlflow.entities import Metric, Param, RunTag

    now = int(time.time() * 1000)
    params = [Param(name, _as_json(row[name])) for name in (*run.settings, "seed")]
    facts = ("key", "point", "status", "reason")
    tags = [RunTag(fact, str(row[fact])) for fact in facts if isinstance(row[fact], str)]
    metrics = [
        Metric(f"{report['split']}.{tag}", float(report[name]), now, int(report["epoch"]))
        for report in reports
        for name, tag in _tags(("score", *run.task.metrics, "cost", "loss")).items()
        if math.isfinite(report[name])
    ]
    made = client.create_run(experiment, run_name=f"{row['point']} seed {row['seed']}")
    client.log_batch(made.info.run_id, params=params, tags=tags)
    for first in range(0, len(metrics), _BATCH):
        client.log_batch(made.info.run_id, metrics=metrics[first : first + _BATCH])
    done = row["status"] in (COMPLETED, STOPPED)
    client.set_terminated(made.info.run_id, "FINISHED" if done else "FAILED")


def _tags(names: Sequence[str]) -> dict[str, str]:
    """Gives names that mlflow takes: of a label's word only letters, digits and a few signs.

    Words that become alike are told apart by a number.
    """
    tags: dict[str, str] = {}
    for name in names:
        tag = plain = re.sub(r"[^\w\-. :/]", "_", name, flags=re.ASCII)[:_TAG]
        for number in itertools.count(2):
            if tag not in tags.values():
                break
            tag = f"{plain}-{number}"
        tags[name] = tag
    return tags


def _points(run: Run) -> pd.DataFrame:
    """Gives a row a point: settings, means on selection, worst status of its replicates."""
    rank = list(_STATES)
    facts = {
        "point": run.trials["point"].astype(str),
        "rank": run.trials["status"].map(rank.index),
        "score": run.trials["selection_score"].astype(float),
        "cost": run.trials[f"selection_cost_{run.provenance['cost_vector']}"].astype(float),
    }
    by_point = run.trials[list(run.settings)].assign(**facts).groupby("point", sort=False)
    measured = by_point.agg(rank=("rank", "min"), score=("score", "mean"), cost=("cost", "mean"))
    table = by_point[list(run.settings)].nth(0).set_axis(measured.index).join(measured)
    table["status"] = [rank[place] for place in table["rank"]]
    finite = table[["score", "cost"]].map(math.isfinite).all(axis=1)
    failed = (table["status"] == COMPLETED) & ~finite
    table["state"] = table["status"].map(_STATES).mask(failed, "FAIL")
    points: pd.DataFrame = table.drop(columns="rank").reset_index()
    return points


def _violations(run: Run, table: pd.DataFrame) -> list[dict[str, float] | None]:
    """Says by point how far it breaks each constraint; None without any.

    A value above 0 breaks the constraint.
    """
    from analysis.fronts.constraints import constraints_of, judge
    from analysis.runs.outcomes import outcomes, roster

    if not constraints_of(run) or not (table["state"] == "COMPLETE").any():
        return [None] * len(table)
    run_roster = roster(run)
    judged = judge(run, run_roster, outcomes(run, run_roster, SELECTION, need_routes=False))
    names = [constraint.name for constraint in judged.constraints]
    by_point = {
        point.point: dict(zip(names, row, strict=True))
        for point, row in zip(run_roster.points, judged.violation.tolist(), strict=True)
    }
    return [by_point.get(str(point)) for point in table["point"]]


def _listed(value: object) -> bool:
    return isinstance(value, list | tuple)


def _as_json(value: Any) -> str:
    return json.dumps(value.tolist() if hasattr(value, "tolist") else value)


def _refuse_existing(files: Any) -> None:
    from analysis.runs.load import RunError

    for path in files:
        if Path(path).exists():
            raise RunError(f"{path} exists; give another target, nothing is overwritten")


def parser() -> Parser:
    """Gives the parser of the command's arguments."""
    made = Parser(
        "python -m analysis.export",
        "Write a run for other tools: CSV files, an Optuna study, MLflow runs.",
        "  python -m analysis.export runs/mrpc_grid --to csv tables/\n",
    )
    made.add_argument("run", type=place, metavar="RUN", help="folder of a run")
    made.add_argument("--to", required=True, choices=_TARGETS, help="what to write")
    made.add_argument("target", metavar="TARGET", help="a folder, a file, or a tracking URI")
    add_trust_flag(made)
    return made


def _write(run: Run, to: str, target: str) -> None:
    """Writes the run for one of `_TARGETS`, and says where."""
    if to == "csv":
        for path in to_csv(run, Path(target)):
            print(path)
    elif to == "optuna":
        print(to_optuna(run, Path(target)))
    else:
        print(f"{to_mlflow(run, target)} runs in {target}")


@command("analysis")
def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the run and says where; gives 0, or 2 with one line where that cannot be."""
    options = parser().parse_args(arguments)
    trust(options.trust)
    from analysis.runs.load import RunError, load_run
    from analysis.runs.untrusted import guarded

    try:
        with guarded(options.run):
            _write(load_run(options.run), options.to, options.target)
    except BrokenPipeError:
        raise  # a reader is gone, which is no error
    except (RunError, OSError) as error:
        return say_error(str(error), 2)
    return 0


if __name__ == "__main__":
    sys.exit(main())
