"""Completes a study: says in full what its text names, by a look at its data and models.

`task_definition` becomes a setting of the trial with all of its labels, `dataset` gets an absolute
path, and training costs that are named become numbers. A study that is complete needs no look.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpc_router.config.trial import ConfigError, read_yaml
from mpc_router.costs import names_costs
from mpc_router.messages import quoted
from mpc_router.tasks import Task, TaskError, lists_labels, task_of
from sweeps.study.overrides import flat_settings

if TYPE_CHECKING:
    from mpc_router.data.sources import Source
    from mpc_router.prepare.inputs import Places

_DEFINITION = "task_definition"


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """Says where a study looks for what it names."""

    base: Path = Path()
    """The folder of the study's file: its paths are relative to it."""

    places: Callable[[], Places] | None = None
    """Gives the data and models of the command's flags; None where nothing may be looked at."""


def completed(
    tree: Mapping[str, Any], surroundings: Surroundings
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Gives the study's tree in full, and sentences on what was filled in.

    Raises:
        ConfigError: a task, a data set or costs that cannot be.
    """
    result = {**tree}
    trial = flat_settings(result.get("trial", {}))
    notes = []
    try:
        if result.get("dataset") is not None:
            result["dataset"] = _dataset(result["dataset"], surroundings.base)
        if "outputs" in result or "features" in result:
            trial |= _given_outputs(result, trial, surroundings.base)
        definition = result.pop(_DEFINITION, trial.get(_DEFINITION))
        if definition is not None:
            task, note = _task(definition, result.get("dataset"), surroundings)
            _check_name(trial, task)
            trial |= {"task": task.name, _DEFINITION: task.to_json()}
            notes += [note] if note else []
        if names_costs(trial.get("expert_costs")) and surroundings.places is not None:
            trial, note = _costs(trial, surroundings)
            notes += [note] if note else []
    except TaskError as error:
        raise ConfigError(str(error)) from error
    result["trial"] = trial
    return result, tuple(notes)


def _dataset(given: object, base: Path) -> dict[str, Any]:
    from mpc_router.data.dataset import dataset_of
    from mpc_router.data.sources import SourceError

    try:
        return dataset_of(given, base=base).to_json()
    except SourceError as error:
        raise ConfigError(str(error)) from error


def _given_outputs(result: dict[str, Any], trial: Mapping[str, Any], base: Path) -> dict[str, Any]:
    """Reads `outputs` and `features` into the study; gives the trial's settings that follow."""
    from mpc_router.config.pools import OUTPUTS
    from mpc_router.data.output_tables import table_of
    from mpc_router.data.sources import SourceError

    items = result.get("outputs")
    if not isinstance(items, list | tuple) or len(items) < 2:
        raise ConfigError(
            f"outputs is {quoted(items)}, but must be a list of at least 2 experts, cheapest first"
        )
    for leaf in ("expert_model_names", "expert_layers", "pool_size"):
        if trial.get(leaf) and trial.get("pool") != OUTPUTS:
            raise ConfigError(f"{leaf} and outputs both name the experts; leave one of them out")
    if trial.get("pool", OUTPUTS) != OUTPUTS:
        raise ConfigError(
            f"pool is {quoted(trial['pool'])}, but the study's outputs are its experts; leave pool "
            "out"
        )
    try:
        tables = [table_of(item, base=base) for item in items]
    except SourceError as error:
        raise ConfigError(str(error)) from error
    result["outputs"] = [table.to_json() for table in tables]
    features = result.get("features")
    if features is not None:
        features = {"path": features} if isinstance(features, str) else features
        if not isinstance(features, Mapping) or not isinstance(features.get("path"), str):
            raise ConfigError(f"features is {quoted(features)}, but must be a path to a table")
        result["features"] = {**features, "path": str(base / features["path"])}
    settings: dict[str, Any] = {
        "pool": OUTPUTS,
        "expert_model_names": [table.name for table in tables],
        "expert_fine_tuned": any(table.seen for table in tables),
        "stem": "expert" if features is None else "model",
        "expert_costs": trial.get("expert_costs") or [table.cost for table in tables],
    }
    if features is not None:
        settings |= {"router_model_name": "features", "router_cost": trial.get("router_cost", 0)}
    return settings


def _check_name(trial: Mapping[str, Any], task: Task) -> None:
    if trial.get("task", task.name) != task.name:
        raise ConfigError(
            f"task is {quoted(trial['task'])}, but task_definition defines {quoted(task.name)}; "
            "leave task out, the definition's name is taken"
        )


def _task(
    definition: object, dataset: Mapping[str, Any] | None, surroundings: Surroundings
) -> tuple[Task, str | None]:
    """Gives the task of a definition, which may stand in a file of its own."""
    if isinstance(definition, Task):
        return definition, None
    if isinstance(definition, str):
        definition = read_yaml(surroundings.base / definition)
    if lists_labels(definition):
        return task_of(definition), None
    from mpc_router.data.definitions import define
    from mpc_router.data.sources import SourceError

    assert isinstance(definition, Mapping)
    source = _source(dataset, surroundings)
    try:
        task = define(definition, source)
    except SourceError as error:
        raise ConfigError(str(error)) from error
    except TaskError as error:
        raise ConfigError(f"labels of train in {source.describe()}: {error}") from error
    shown = ", ".join(task.label_names[:10]) + (", ..." if len(task.label_names) > 10 else "")
    return task, f"task {task.name}: {len(task.label_names)} labels found in train: {shown}"


def _source(dataset: Mapping[str, Any] | None, surroundings: Surroundings) -> Source:
    from mpc_router.data.dataset import dataset_of
    from mpc_router.data.sources import Source

    if dataset is not None:
        return Source(kind="dataset", dataset=dataset_of(dataset, base=Path()))
    if surroundings.places is None:
        raise ConfigError("task_definition lists no labels; add `labels: [...]`")
    return surroundings.places().source


def _costs(
    trial: Mapping[str, Any], surroundings: Surroundings
) -> tuple[dict[str, Any], str | None]:
    from mpc_router.model.sources import ModelError
    from mpc_router.pricing.named_costs import with_costs

    assert surroundings.places is not None
    try:
        return with_costs(trial, surroundings.places().models, base=surroundings.base)
    except ModelError as error:
        raise ConfigError(str(error)) from error
