"""Checks a run folder before it is believed, for it may come from anywhere."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mpc_router.messages import quoted
from mpc_router.plain_names import PLAIN, is_plain
from mpc_router.run_names import CURVES, PATHS
from mpc_router.shapes import Optional, Tree, fields
from mpc_router.tasks import from_record

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


class RunError(ValueError):
    """Says why a run folder cannot answer: which file, what was found, what to do."""


_EXPERTS: Final = tuple[Tree, ...]
_COSTS: Final = Mapping[str, Tree]

_PROVENANCE: Final[Mapping[str, Any]] = {
    "schema": Any,
    "run": str,
    "study": str,
    "task": str,
    "task_definition": Optional(Tree),
    "pool": Any,
    "cost_vector": str,
    "cost_vectors": _COSTS,
    "experts": _EXPERTS,
    "sets": Optional(tuple[Tree, ...]),
    "stem": Optional(Tree),
    "splits": Optional(Mapping[str, Tree]),
    "fingerprints": Optional(Tree),
    "machine": Optional(Tree),
    "versions": Optional(Tree),
    "arguments": Optional(tuple[Any, ...]),
    "notes": Optional(tuple[str, ...]),
    "changes": Optional(tuple[Tree, ...]),
    "objectives": Optional(Mapping[str, str]),
    "synthetic": Optional(bool),
    "experts_fixed_seed": Optional(bool),
    "parts": Optional(tuple[Tree, ...]),
}
"""What is read of `provenance.json` (`analysis.schema._Provenance`), by name."""

_SET: Final[Mapping[str, Any]] = {
    "points": tuple[str, ...] | None,
    "joint": bool,
    "experts": _EXPERTS,
    "cost_vectors": _COSTS,
}
_EXPERT: Final[Mapping[str, Any]] = {"name": str, "expert": int, "layers": int}

_STUDY: Final[Mapping[str, Any]] = {
    "seeds": Optional(tuple[int, ...]),
    "racing": Optional(int),
    "checkpoints": Optional(str),
    "space": Optional(Mapping[str, Tree]),
    "start": Optional(tuple[Tree, ...]),
    "search": Optional(Tree),
    "stopping": Optional(Tree),
}
"""What is read of `study.yaml`."""


@contextlib.contextmanager
def guarded(*folders: Path) -> Iterator[None]:
    """Turns whatever the tables of these runs make a reader raise into a RunError.

    Raises:
        RunError: for every exception but those of the system.
    """
    try:
        yield
    except (RunError, OSError, ImportError):
        raise  # a package that is missing is no fault of the run's
    except Exception as error:
        # Whatever is raised: types and names are checked as a run is opened, but numbers that
        # contradict each other can break an analysis in more ways than could be listed. A person
        # who was sent a run is told so, and not where.
        raise RunError(
            f"{' or '.join(map(str, folders))}: tables contradict each other ({quoted(error)}); "
            "`mpc-router-sweep --resume` with the run's folder writes them anew"
        ) from error


def check_provenance(data: Any) -> str | None:
    """Says in words what of `provenance.json` cannot be read; None where all can."""
    if not isinstance(data, dict):
        return f"it is {quoted(data)}, but must be a mapping"
    fault = fields(_PROVENANCE)(data, "")
    if fault is not None:
        return fault
    sets = data.get("sets") or ()
    for place, record in enumerate(sets):
        fault = fault or fields(_SET)(record, f"sets[{place}].")
    if fault is not None:
        return fault
    for place, record in enumerate((data, *sets)):
        for number, expert in enumerate(record["experts"]):
            at = f"experts[{number}]." if place == 0 else f"sets[{place - 1}].experts[{number}]."
            fault = fault or fields(_EXPERT)(expert, at)
    return fault


def _check_study(data: Any) -> str | None:
    """Says in words what of `study.yaml` cannot be read; None where all can."""
    if not isinstance(data, dict):
        return f"found {type(data).__name__}, need a mapping of study keys"
    return fields(_STUDY)(data, "")


def read_study(path: Path) -> dict[str, Any]:
    """Reads `study.yaml`.

    Raises:
        RunError: it is missing, no YAML, or of another shape.
    """
    import yaml

    if not path.is_file():
        raise RunError(f"{path}: missing; {anew(path)}")
    try:
        study = yaml.safe_load(path.read_text(encoding="utf-8"))
        fault = _check_study(study)
    except Exception as error:
        # Whatever is raised: YAML builds dates and numbers, and each can fail in a way of its own
        raise RunError(f"{path}: not readable as YAML ({type(error).__name__})") from error
    if fault is not None:
        raise RunError(f"{path}: {fault}; {anew(path)}")
    return dict(study)


def columns_of(table: str, provenance: Mapping[str, Any]) -> pa.Schema:
    """Gives the columns of a table, but for settings."""
    from analysis import schema

    task = from_record(provenance)
    vectors = tuple(provenance["cost_vectors"])
    if table == "trials":
        columns = schema.trials({}, metrics=task.metrics, quoted=task.quoted, vectors=vectors)
    elif table == "reports":
        columns = schema.reports(task.metrics)
    elif table == PATHS:
        columns = schema.paths(vectors)
    elif table == CURVES:
        columns = schema.curves(task.quoted)
    else:
        columns = getattr(schema, table.upper())
    return columns


def check_columns(path: Path, written: pa.Schema, wanted: pa.Schema) -> None:
    """Refuses a table whose columns are of other types; columns may be missing.

    Raises:
        RunError: a column is of another type.
    """
    import pyarrow as pa

    for field in wanted:
        if field.name not in written.names:
            continue  # said where it is wanted
        if len(written.get_all_field_indices(field.name)) > 1:
            raise RunError(f"{path}: there are several columns {field.name}; {anew(path)}")
        kind = written.field(field.name).type
        same = kind == field.type or (
            pa.types.is_list(kind)
            and pa.types.is_list(field.type)
            and kind.value_type == field.type.value_type
        )
        if not same:
            raise RunError(
                f"{path}: column {field.name} holds {quoted(str(kind))}, and must hold "
                f"{field.type}; {anew(path)}"
            )


def check_gaps(path: Path, table: pa.Table, wanted: pa.Schema) -> None:
    """Refuses a table with an empty cell in a column that has a value in every row.

    Raises:
        RunError: there is such a cell. As a number it would be an expert or an example.
    """
    for field in wanted:
        if field.nullable or field.name not in table.column_names:
            continue
        if gaps := table[field.name].null_count:
            raise RunError(
                f"{path}: column {field.name} has {gaps} empty cells of {len(table)}, and "
                f"must have none; {anew(path)}"
            )


def check_trials(path: Path, trials: pd.DataFrame, settings: tuple[str, ...]) -> None:
    """Refuses a table of trials with names that a run does not give.

    Raises:
        RunError: a name is no plain name, a status is none of ours, or a value is missing.
    """
    from analysis.schema import STATUSES

    for name in settings:
        if not is_plain(name):
            raise RunError(f"{path}: column {quoted(name)} is no setting; {anew(path)}")
    for column in ("key", "point", "pack"):
        for value in trials[column].unique() if column in trials else ():
            if not is_plain(value):
                raise RunError(
                    f"{path}: {column} is {quoted(value)}, but must be a plain name ({PLAIN}); "
                    f"{anew(path)}"
                )
    for status in trials["status"].unique():
        if status not in STATUSES:
            raise RunError(
                f"{path}: status is {quoted(status)}, but must be one of {', '.join(STATUSES)}; "
                f"{anew(path)}"
            )
    for column in ("seed", "epochs", "attempt"):
        if column in trials and trials[column].isna().any():
            raise RunError(f"{path}: {column} is missing of a trial; {anew(path)}")


def anew(path: Path) -> str:
    """Says how a file of a run's folder is written again."""
    return f"`mpc-router-sweep --resume {path.parent}` writes it anew"
