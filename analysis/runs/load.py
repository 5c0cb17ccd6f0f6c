"""A run folder as tables: `load_run(path)`; everything else in this package is a function on it.

A table is read when it is first asked for. Importing this module loads neither pandas nor pyarrow.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from analysis.runs.untrusted import RunError as RunError
from analysis.runs.untrusted import (
    anew,
    check_columns,
    check_provenance,
    check_trials,
    columns_of,
    read_study,
)
from mpc_router.costs import CostVector, from_json
from mpc_router.messages import quoted
from mpc_router.run_names import SELECTION
from mpc_router.tasks import TASKS, Task

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

_BEFORE_SETTINGS: Final = "experts_id"
_AFTER_SETTINGS: Final = "config"


@dataclass(frozen=True, kw_only=True)
class PreparedSet:
    """Points that trained on the same experts, or began with them."""

    points: frozenset[str] | None
    """Their names; None is all of the run's."""

    joint: bool
    """Experts trained with each trial, so that every trial has its own."""

    experts: tuple[tuple[str, int], ...]
    """(K,) name and layers (0: all), cheapest first."""

    vectors: dict[str, CostVector]
    members: tuple[int, ...] = ()
    """(K,) each expert's number among all of the run's."""


@dataclass(frozen=True, eq=False)
class Run:
    """One run: its tables as DataFrames, its study, and where it came from."""

    path: Path
    provenance: dict[str, Any] = field(repr=False)
    study: dict[str, Any] = field(repr=False)
    """`study.yaml`, resolved."""

    @cached_property
    def trials(self) -> pd.DataFrame:
        """A row is a trial: a point with a seed."""
        found = self._frame("trials")
        check_trials(self.path / "trials.parquet", found, _settings(found))
        return found

    @cached_property
    def reports(self) -> pd.DataFrame:
        """A row is a trial x epoch x split."""
        return self._frame("reports")

    @cached_property
    def routing(self) -> pd.DataFrame:
        """A row is a trial x split x example, with the router's logits."""
        return self._frame("routing")

    @cached_property
    def experts(self) -> pd.DataFrame:
        """A row is an expert x split x example, with the expert's outputs."""
        return self._frame("experts")

    @cached_property
    def examples(self) -> pd.DataFrame:
        """A row is a split x example."""
        return self._frame("examples")

    @cached_property
    def routed(self) -> bool:
        """Whether the run has a routing table, and that a row."""
        return (self.path / "routing.parquet").is_file() and len(self.table("routing", ["key"])) > 0

    @property
    def name(self) -> str:
        """The run's name."""
        return str(self.provenance["run"])

    @property
    def task(self) -> Task:
        """The task all trials of the run are of."""
        return TASKS[self.provenance["task"]]

    @property
    def settings(self) -> tuple[str, ...]:
        """Leaf names of the searched settings, in the order of the trials' columns."""
        return _settings(self.trials)

    @cached_property
    def sets(self) -> tuple[PreparedSet, ...]:
        """What was prepared; a run of one pool has one set."""
        found = _sets(self.provenance)
        places = {expert: number for number, expert in enumerate(_catalogue(found, self._wanted))}
        return tuple(
            replace(
                each,
                members=tuple(places[key] for key in _keys_of(each, self._wanted)),
            )
            for each in found
        )

    @property
    def _wanted(self) -> str:
        return str(self.provenance["cost_vector"])

    @cached_property
    def set_of_point(self) -> dict[str, int]:
        """The number of each point's set."""
        names = [str(name) for name in self.trials["point"].unique()]
        found = {}
        for name in names:
            mine = [
                number
                for number, each in enumerate(self.sets)
                if each.points is None or name in each.points
            ]
            if not mine:
                raise RunError(
                    f"{self.path / 'provenance.json'}: no set holds point {name!r}; "
                    f"{anew(self.path / 'provenance.json')}"
                )
            found[name] = mine[0]
        return found

    @property
    def expert_names(self) -> tuple[str, ...]:
        """Short names of all experts of the run, cheapest first; unlike each other."""
        return _short_names([key[:2] for key in _catalogue(self.sets, self._wanted)])

    @cached_property
    def cost_vectors(self) -> dict[str, CostVector]:
        """Every cost vector that all sets have, by name, over all experts of the run.

        Where sets have routers of different prices, the router is that of the first set.
        """
        first = self.sets[0]
        names = [name for name in first.vectors if all(name in each.vectors for each in self.sets)]
        return {name: self._whole_vector(name) for name in names}

    def _whole_vector(self, name: str) -> CostVector:
        count = 1 + max(place for each in self.sets for place in each.members)
        costs = [0.0] * count
        for each in reversed(self.sets):
            for place, cost in zip(each.members, each.vectors[name].experts, strict=True):
                costs[place] = cost
        return replace(self.sets[0].vectors[name], experts=tuple(costs))

    def cost_vector(self, name: str | None = None) -> CostVector:
        """The vector of this name; without one, the study's."""
        wanted = self._wanted if name is None else name
        if wanted not in self.cost_vectors:
            raise RunError(
                f"{self.name}: no cost vector {wanted!r}; this run has "
                f"{', '.join(self.cost_vectors)}"
            )
        return self.cost_vectors[wanted]

    def split(self, name: str | None = None) -> str:
        """The quoted split of this name; without one, the task's first."""
        wanted = self.task.quoted[0] if name is None else name
        allowed = (SELECTION, *self.task.quoted)
        if wanted not in allowed:
            raise RunError(f"{self.name}: no split {wanted!r}; {self.task.name} has {allowed}")
        return wanted

    def table(self, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """A table as Arrow holds it, all columns or those named: cheap where lists are not wanted.

        Raises:
            RunError: the file is missing, damaged, or without one of the columns.
        """
        return _read(self.path, name, columns)

    def _frame(self, name: str) -> pd.DataFrame:
        frame: pd.DataFrame = self.table(name).to_pandas()
        return frame


def _settings(trials: pd.DataFrame) -> tuple[str, ...]:
    columns = list(trials.columns)
    first = columns.index(_BEFORE_SETTINGS) + 1 if _BEFORE_SETTINGS in columns else len(columns)
    last = columns.index(_AFTER_SETTINGS) if _AFTER_SETTINGS in columns else first
    return tuple(columns[first:last])


def load_run(path: Path | str) -> Run:
    """Open a run folder and check that every file of it can be read by this version.

    The routing table may be missing: see `Run.routed`.

    Raises:
        RunError: no folder, a file missing or damaged, or tables of another schema version.
    """
    from analysis import schema

    folder = Path(path)
    if not folder.is_dir():
        found = "a file" if folder.exists() else "nothing"
        raise RunError(f"{folder}: {found} there; name the folder of a run, such as runs/NAME")
    provenance = _provenance(folder, schema)
    study = read_study(folder / schema.STUDY_FILE)
    for table in schema.TABLES:
        if table != "routing" or (folder / schema.table_file(table)).is_file():
            found = _check_version(folder / schema.table_file(table), schema)
            check_columns(folder / schema.table_file(table), found, columns_of(table, provenance))
    return Run(path=folder, provenance=provenance, study=study)


def _provenance(folder: Path, schema: Any) -> dict[str, Any]:
    path = folder / schema.PROVENANCE_FILE
    if not path.is_file() and (folder / schema.JOURNAL_FILE).is_file():
        raise RunError(f"{folder}: this run was cut off before its tables; {anew(path)}")
    if not path.is_file():
        raise RunError(f"{path}: missing, so {folder} is no run folder; name one under runs/")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if (said := check_provenance(data)) is not None:
            raise ValueError(said)
        from_json(data["cost_vectors"])
        prepared = _sets(data)
        for each in prepared:
            _keys_of(each, data["cost_vector"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        found = f"not readable as provenance ({type(error).__name__}: {error})"
        raise RunError(f"{path}: {found}; {anew(path)}") from error
    _refuse_version(path, data["schema"], schema)
    if data["task"] not in TASKS:
        raise RunError(f"{path}: task {quoted(data['task'])} is not one of {', '.join(TASKS)}")
    return dict(data)


def _check_version(path: Path, schema: Any) -> pa.Schema:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        raise RunError(f"{path}: this table is missing; {anew(path)}")
    try:
        found = pq.read_schema(path)
        metadata = found.metadata or {}
        check = metadata.get(schema.COLUMNS_KEY, b"").decode()
        if check and check != schema.columns_check(found):
            raise pa.ArrowInvalid("the columns are not those that were written")
        version = metadata.get(schema.VERSION_KEY, b"none").decode()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise _damaged(path, error) from error
    _refuse_version(
        path, int(version) if version.isdecimal() and len(version) < 9 else version, schema
    )
    return found


def _refuse_version(path: Path, version: object, schema: Any) -> None:
    if version != schema.VERSION:
        raise RunError(
            f"{path}: schema version {quoted(version)}, this program reads {schema.VERSION}; "
            "use the program that wrote the run"
        )


def _read(folder: Path, name: str, columns: Sequence[str] | None) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from analysis import schema

    path = folder / schema.table_file(name)
    try:
        names = pq.read_schema(path).names
        lacking = [column for column in columns or () if column not in names]
        if not lacking:
            wanted = None if columns is None else list(columns)
            return pq.read_table(path, columns=wanted, page_checksum_verification=True)
    except FileNotFoundError as error:
        raise RunError(f"{path}: this table is missing; {anew(path)}") from error
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise _damaged(path, error) from error
    raise RunError(f"{path}: no column {', '.join(lacking)}; it has {', '.join(names)}")


def _damaged(path: Path, error: Exception) -> RunError:
    size = path.stat().st_size
    return RunError(
        f"{path}: truncated or damaged Parquet ({size} bytes, {type(error).__name__}); {anew(path)}"
    )


def _sets(provenance: dict[str, Any]) -> tuple[PreparedSet, ...]:
    """The sets as they are written, or the one of a run that names none."""
    given = provenance.get("sets")
    if not given:
        given = [{"points": None, "joint": False, **provenance}]
    return tuple(
        PreparedSet(
            points=None if each["points"] is None else frozenset(map(str, each["points"])),
            joint=bool(each["joint"]),
            experts=tuple(
                (str(expert["name"]), int(expert["layers"]))
                for expert in sorted(each["experts"], key=lambda one: int(one["expert"]))
            ),
            vectors=from_json(each["cost_vectors"]),
        )
        for each in given
    )


def _keys_of(each: PreparedSet, vector: str) -> list[tuple[str, int, float, int]]:
    """What makes its experts one of the run's: name, layers, cost, and the number among twins."""
    costs = each.vectors[vector].experts
    alike = [(*expert, cost) for expert, cost in zip(each.experts, costs, strict=True)]
    return [(*key, alike[:place].count(key)) for place, key in enumerate(alike)]


def _catalogue(sets: Sequence[PreparedSet], vector: str) -> list[tuple[str, int, float, int]]:
    """All experts of the run, cheapest first; of equal cost those of earlier sets first."""
    seen = dict.fromkeys(key for each in sets for key in _keys_of(each, vector))
    return list(seen) if len(sets) == 1 else sorted(seen, key=lambda key: key[2])


def _short_names(models: Sequence[tuple[str, int]]) -> tuple[str, ...]:
    """Names a picture has room for: without the organisation; only layers where names repeat."""
    bare = [name.rsplit("/", 1)[-1] for name, _ in models]
    if len(models) > 1 and len(set(bare)) == 1 and len({layers for _, layers in models}) > 1:
        return tuple(f"{layers} layers" if layers else bare[0] for _, layers in models)
    cut = [
        f"{name}, {layers} layers" if layers and bare.count(name) > 1 else name
        for name, (_, layers) in zip(bare, models, strict=True)
    ]
    return tuple(
        f"{name} #{number}" if cut.count(name) > 1 else name for number, name in enumerate(cut)
    )
