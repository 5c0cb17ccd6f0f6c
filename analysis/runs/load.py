"""`load_run(path)` opens a run folder as tables; the rest of this package works on its `Run`.

A table is read when it is first asked for. Importing this module loads neither pandas nor pyarrow.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from analysis.runs._files import damaged, holds, read_table
from analysis.runs._sets import PreparedSet, catalogue, keys_of, sets_of, short_names
from analysis.runs.untrusted import RunError as RunError
from analysis.runs.untrusted import (
    anew,
    check_columns,
    check_gaps,
    check_provenance,
    check_trials,
    columns_of,
    read_study,
)
from mpc_router.costs import CostVector, from_json
from mpc_router.messages import quoted
from mpc_router.plugins import METRICS, PartError, trust_recorded
from mpc_router.run_names import PROVENANCE_FILE, SELECTION, table_file
from mpc_router.tasks import Task, TaskError, from_record

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

_PATHS_ID: Final = "paths_id"
_BEFORE_SETTINGS: Final = "experts_id"
_AFTER_SETTINGS: Final = "config"

_SMALL: Final = 1 << 24
"""Bytes up to which a column of a table stays in memory; larger ones are read again."""


@dataclass(frozen=True, eq=False)
class Run:
    """Holds one run: its tables as DataFrames, its study, and where it came from."""

    path: Path
    provenance: dict[str, Any] = field(repr=False)
    study: dict[str, Any] = field(repr=False)
    """`study.yaml`, resolved."""

    _kept: dict[tuple[str, str, bool], pa.ChunkedArray] = field(
        default_factory=dict, init=False, repr=False
    )
    """Small columns that were read, by their table and whether they are coded (see `chunks`): a
    report asks for each a hundred times."""

    @cached_property
    def trials(self) -> pd.DataFrame:
        """Gives the table whose row is a trial: a point with a seed."""
        frame = self._frame("trials")
        check_trials(self.path / table_file("trials"), frame, _settings(frame))
        if _PATHS_ID not in frame:  # written before there were paths
            frame.insert(list(frame.columns).index(_BEFORE_SETTINGS), _PATHS_ID, None)
        return frame

    @cached_property
    def reports(self) -> pd.DataFrame:
        """Gives the table whose row is a trial x epoch x split."""
        return self._frame("reports")

    @cached_property
    def routing(self) -> pd.DataFrame:
        """Gives the table whose row is a trial x split x example, with the router's logits."""
        return self._frame("routing")

    @cached_property
    def experts(self) -> pd.DataFrame:
        """Gives the table whose row is an expert x split x example, with the outputs."""
        return self._frame("experts")

    @cached_property
    def examples(self) -> pd.DataFrame:
        """Gives the table whose row is a split x example."""
        return self._frame("examples")

    @cached_property
    def routed(self) -> bool:
        """Says whether the run has a routing table with a row."""
        return (self.path / table_file("routing")).is_file() and any(
            len(chunk) for chunk in self.chunks("routing", ["key"], coded=["key"])
        )

    @property
    def name(self) -> str:
        """Gives the run's name."""
        return str(self.provenance["run"])

    @property
    def task(self) -> Task:
        """Gives the task that all trials of the run are of."""
        return from_record(self.provenance)

    @cached_property
    def settings(self) -> tuple[str, ...]:
        """Gives the searched settings by short name, such as `alpha`, in the order of columns."""
        return _settings(self.trials)

    @cached_property
    def sets(self) -> tuple[PreparedSet, ...]:
        """Gives what was prepared; a run of one pool has one set."""
        sets = sets_of(self.provenance)
        places = {expert: number for number, expert in enumerate(catalogue(sets, self._wanted))}
        return tuple(
            replace(
                prepared,
                members=tuple(places[key] for key in keys_of(prepared, self._wanted)),
            )
            for prepared in sets
        )

    @property
    def _wanted(self) -> str:
        return str(self.provenance["cost_vector"])

    @cached_property
    def set_of_point(self) -> dict[str, int]:
        """Gives the number of each point's set."""
        names = [str(name) for name in self.trials["point"].unique()]
        numbers = {}
        for name in names:
            candidates = [
                number
                for number, prepared in enumerate(self.sets)
                if prepared.points is None or name in prepared.points
            ]
            if not candidates:
                raise RunError(
                    f"{self.path / PROVENANCE_FILE}: no set holds point {name!r}; "
                    f"{anew(self.path / PROVENANCE_FILE)}"
                )
            numbers[name] = candidates[0]
        return numbers

    @property
    def expert_names(self) -> tuple[str, ...]:
        """Gives short names of all experts of the run, cheapest first, without twins."""
        return short_names([key[:2] for key in catalogue(self.sets, self._wanted)])

    @cached_property
    def cost_vectors(self) -> dict[str, CostVector]:
        """Gives every cost vector that all sets have, by name, over the run's experts.

        Where sets have routers of different prices, the router is that of the first set.
        """
        first = self.sets[0]
        names = [name for name in first.vectors if all(name in one.vectors for one in self.sets)]
        return {name: self._whole_vector(name) for name in names}

    def _whole_vector(self, name: str) -> CostVector:
        count = 1 + max(place for prepared in self.sets for place in prepared.members)
        costs = [0.0] * count
        for prepared in reversed(self.sets):
            for place, cost in zip(prepared.members, prepared.vectors[name].experts, strict=True):
                costs[place] = cost
        return replace(self.sets[0].vectors[name], experts=tuple(costs))

    def cost_vector(self, name: str | None = None) -> CostVector:
        """Gives the vector of this name; without one, the study's."""
        wanted = self._wanted if name is None else name
        if wanted not in self.cost_vectors:
            raise RunError(
                f"{self.name}: no cost vector {wanted!r}; this run has "
                f"{', '.join(self.cost_vectors)}"
            )
        return self.cost_vectors[wanted]

    def split(self, name: str | None = None) -> str:
        """Gives the quoted split of this name; without one, the task's first."""
        wanted = self.task.quoted[0] if name is None else name
        allowed = (SELECTION, *self.task.quoted)
        if wanted not in allowed:
            raise RunError(f"{self.name}: no split {wanted!r}; {self.task.name} has {allowed}")
        return wanted

    def table(
        self, name: str, columns: Sequence[str] | None = None, *, coded: Sequence[str] = ()
    ) -> pa.Table:
        """Reads a table as Arrow holds it: all columns, or cheaply those named.

        `coded` columns are as `chunks` has them.

        Raises:
            RunError: the file is missing, damaged, without one of the columns, or with an empty
                cell in a column that has a value in every row.
        """
        import pyarrow as pa

        if columns is None:
            return self._read(name, None)
        asked = {column: (name, column, column in coded) for column in columns}
        kept = {column: self._kept[key] for column, key in asked.items() if key in self._kept}
        lacking = [column for column in columns if column not in kept]
        if lacking:
            read = self._read(name, lacking, [column for column in coded if column in lacking])
            kept |= dict(zip(lacking, read.columns, strict=True))
            for column in lacking:
                if kept[column].nbytes <= _SMALL:
                    self._kept[asked[column]] = kept[column]
        return pa.table({column: kept[column] for column in columns})

    def _read(
        self, name: str, columns: Sequence[str] | None, coded: Sequence[str] = ()
    ) -> pa.Table:
        """Reads columns of a table from its file."""
        table = read_table(self.path, name, columns, coded)
        check_gaps(self.path / table_file(name), table, columns_of(name, self.provenance))
        return table

    def chunks(
        self,
        name: str,
        columns: Sequence[str],
        *,
        coded: Sequence[str] = (),
        only: Mapping[str, Sequence[str]] | None = None,
    ) -> Iterator[pa.Table]:
        """Reads columns of a table in parts, a row group at a time, of a large one.

        A routing table has a row for each trial and example, and what is made of it is smaller.
        Columns of texts that are `coded` come as a dictionary and numbers into it, as the file
        holds them: to make a text of each row takes five times as long. Parts without a row whose
        coded columns hold one of the texts of `only` may be left out.

        Raises:
            RunError: as `table` says.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = self.path / table_file(name)
        if not path.is_file() or path.stat().st_size <= _SMALL:
            yield self.table(name, columns, coded=coded)
            return
        kinds = columns_of(name, self.provenance)
        try:
            with pq.ParquetFile(
                path, page_checksum_verification=True, read_dictionary=list(coded)
            ) as file:
                if not set(columns) <= set(file.schema_arrow.names):
                    read_table(self.path, name, columns)  # it names the one that is lacking
                for number in range(file.num_row_groups):
                    if only is not None and not holds(file, number, only):
                        continue
                    chunk = file.read_row_group(number, columns=list(columns))
                    check_gaps(path, chunk, kinds)
                    yield chunk
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise damaged(path, error) from error

    def _frame(self, name: str) -> pd.DataFrame:
        frame: pd.DataFrame = self.table(name).to_pandas()
        return frame


def _settings(trials: pd.DataFrame) -> tuple[str, ...]:
    columns = list(trials.columns)
    first = columns.index(_BEFORE_SETTINGS) + 1 if _BEFORE_SETTINGS in columns else len(columns)
    last = columns.index(_AFTER_SETTINGS) if _AFTER_SETTINGS in columns else first
    return tuple(columns[first:last])


def load_run(path: Path | str) -> Run:
    """Opens a run folder and checks that every file of it can be read by this version.

    The routing table may be missing: see `Run.routed`.

    Raises:
        RunError: no folder, a file missing or damaged, or tables of another schema version.
    """
    from analysis import schema

    folder = Path(path)
    if not folder.is_dir():
        what = "a file" if folder.exists() else "nothing"
        raise RunError(f"{folder}: {what} there; name the folder of a run, such as runs/NAME")
    provenance = _provenance(folder, schema)
    study = read_study(folder / schema.STUDY_FILE)
    for table in (*schema.TABLES, *schema.FURTHER_TABLES):
        needed = table in schema.TABLES and table != "routing"
        if needed or (folder / schema.table_file(table)).is_file():
            written = _check_version(folder / schema.table_file(table), schema)
            check_columns(folder / schema.table_file(table), written, columns_of(table, provenance))
    return Run(path=folder, provenance=provenance, study=study)


def _provenance(folder: Path, schema: Any) -> dict[str, Any]:
    path = folder / schema.PROVENANCE_FILE
    if not path.is_file() and (folder / schema.JOURNAL_FILE).is_file():
        raise RunError(f"{folder}: this run was cut off before its tables; {anew(path)}")
    if not path.is_file():
        raise RunError(f"{path}: missing, so {folder} is no run folder; name one under runs/")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if (fault := check_provenance(data)) is not None:
            raise ValueError(fault)
        from_json(data["cost_vectors"])
        for prepared in sets_of(data):
            keys_of(prepared, data["cost_vector"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        problem = f"not readable as provenance ({type(error).__name__}: {error})"
        raise RunError(f"{path}: {problem}; {anew(path)}") from error
    _refuse_version(path, data["schema"], schema)
    try:
        trust_recorded(data.get("parts"), folder, groups=(METRICS,))
        from_record(data)
    except (PartError, TaskError) as error:
        raise RunError(f"{path}: {error}") from error
    return dict(data)


def _check_version(path: Path, schema: Any) -> pa.Schema:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        raise RunError(f"{path}: this table is missing; {anew(path)}")
    try:
        written = pq.read_schema(path)
        metadata = written.metadata or {}
        check = metadata.get(schema.COLUMNS_KEY, b"").decode()
        if check and check != schema.columns_check(written):
            raise pa.ArrowInvalid("its columns were changed after it was written")
        version = metadata.get(schema.VERSION_KEY, b"none").decode()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise damaged(path, error) from error
    _refuse_version(
        path, int(version) if version.isdecimal() and len(version) < 9 else version, schema
    )
    return written


def _refuse_version(path: Path, version: object, schema: Any) -> None:
    if version not in schema.READ_VERSIONS:
        readable = " and ".join(map(str, schema.READ_VERSIONS))
        raise RunError(
            f"{path} was written in version {quoted(version)} of the tables, and this program "
            f"reads {readable}; use the version of mpc-router that wrote the run"
        )
