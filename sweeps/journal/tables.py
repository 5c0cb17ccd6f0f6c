"""Writes the tables of `analysis.schema` from the journal and the bulk files."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from analysis import schema
from mpc_router.messages import quoted
from mpc_router.run_names import CURVES, PATHS
from mpc_router.storage.files import atomic, write_text
from sweeps.journal import bulk_files, forced, made_from
from sweeps.journal.journal import Journal
from sweeps.journal.rows import RowOrder, priced, report_rows, trial_rows, vectors_of
from sweeps.journal.state import State
from sweeps.records import (
    FAILED,
    JOURNAL_FILE,
    InputError,
    SweepError,
)
from sweeps.run_folder import RunFolder

_COLUMN_TYPES: Final = {
    "bool": pa.bool_(),
    "int": pa.int64(),
    "float": pa.float64(),
    "str": pa.string(),
    "floats": pa.list_(pa.float64()),
    "bools": pa.list_(pa.bool_()),
    "ints": pa.list_(pa.int64()),
    "strs": pa.list_(pa.string()),
}
"""Gives the column type of a searched setting by its kind in the journal's `opened`."""

_LEAST_PAUSE: Final = 20.0
"""Gives the least seconds between two writes during a run."""

_PAUSE_FACTOR: Final = 20
"""Gives the pause between two writes as a multiple of the time that a write took."""

_CONTENT_ERRORS: Final = (
    *(ArithmeticError, LookupError, RecursionError, TypeError, ValueError, pa.ArrowException),
)
"""Are raised where a journal's content makes no tables, as that of no run of this program does."""


class _PartError(SweepError):
    """Says that a bulk file which the journal names is missing or damaged."""


def check(run: Path, state: State) -> None:
    """Checks that the journal's content makes tables; writes nothing.

    Raises:
        InputError: it does not.
    """
    try:
        for trial in state.trials.values():
            int(json.loads(trial.config)["training"]["epochs"])
        _journal_tables(state)
    except _CONTENT_ERRORS as error:
        # a run of this program reports its own metrics on its own splits, which always make tables
        raise InputError(
            f"{run / JOURNAL_FILE}: its content makes no tables ({quoted(error)}), so this program "
            "has not written it; start anew"
        ) from error


class Refresh:
    """Writes the tables during a run, at most for a twentieth of its time."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._next = time.monotonic() + _LEAST_PAUSE

    def maybe(self) -> None:
        """Writes the tables if they are due; errors of the disk are left to the last write.

        Raises:
            SweepError: a bulk file is missing or damaged.
        """
        if (write_start := time.monotonic()) < self._next:
            return
        with contextlib.suppress(OSError):
            write(self._journal.path.parent, self._journal.state)
        now = time.monotonic()
        self._next = now + max(_LEAST_PAUSE, _PAUSE_FACTOR * (now - write_start))


def write(run: Path, state: State, *, code: str = "") -> None:
    """Writes every table, `study.yaml` and `provenance.json`, each atomically.

    `code` is the fingerprint of the program; with it `provenance.json` records what the tables were
    made from, so that a resume can tell whether they are `current`.

    Raises:
        SweepError: a bulk file is missing or damaged.
        OSError: the disk refuses.
    """
    assert state.opened is not None
    run_name = state.opened["run"]
    for name, table in _journal_tables(state).items():
        _write(run, name, run_name, table.schema, [table])
    _write(run, "routing", run_name, schema.ROUTING, _routing(run, state))
    _write(run, "experts", run_name, schema.EXPERTS, _experts(run, state))
    write_further(run, PATHS, run_name, list(_paths(run, state)))
    write_further(run, CURVES, run_name, [])  # those of before are not of these tables
    examples = _part(run, bulk_files.EXAMPLES, state, schema.EXAMPLES)
    _write(run, "examples", run_name, examples.schema, [examples])
    _write_facts(run, state, made_from.record(run, code) if code else None)


def write_facts(run: Path, state: State, recorded: Mapping[str, Any]) -> None:
    """Writes `study.yaml` and `provenance.json` alone, of tables that are `current`.

    A table that is made from others, which this program writes afterwards, is removed.

    Raises:
        OSError: the disk refuses.
    """
    assert state.opened is not None
    write_further(run, CURVES, state.opened["run"], [])
    _write_facts(run, state, recorded)


def _write_facts(run: Path, state: State, recorded: Mapping[str, Any] | None) -> None:
    """Writes what says of the tables what they hold."""
    made = {} if recorded is None else {made_from.KEY: recorded}
    text = json.dumps(_provenance(state) | made, indent=1) + "\n"
    write_text(run / schema.STUDY_FILE, forced.study_text(state.study))
    write_text(run / schema.PROVENANCE_FILE, text)


def _journal_tables(state: State) -> dict[str, pa.Table]:
    """Makes the tables of trials and reports, which need no bulk files."""
    assert state.opened is not None
    opened = state.opened
    metrics = tuple(opened["metrics"])
    trials = schema.trials(
        {leaf: _COLUMN_TYPES[kind] for leaf, kind in opened["settings"].items()},
        metrics=metrics,
        quoted=tuple(opened["quoted"]),
        vectors=vectors_of(opened),
    )
    return {
        "trials": pa.Table.from_pylist(list(trial_rows(state)), schema=trials),
        "reports": pa.Table.from_pylist(list(report_rows(state)), schema=schema.reports(metrics)),
    }


def _provenance(state: State) -> dict[str, Any]:
    """Gives the provenance of the run's beginning, with the changes since then."""
    assert state.opened is not None
    first_provenance = state.opened["provenance"]
    return {
        **first_provenance,
        "schema": schema.VERSION,
        "sets": _sets(state),
        "changes": state.forced,
        "notes": [
            *first_provenance["notes"],
            *forced.notes(state.forced),
            *_deviation_notes(state),
        ],
    }


def _deviation_notes(state: State) -> list[str]:
    """Says in a sentence which packs were trained again to other numbers."""
    if not state.deviations:
        return []
    pack, difference = next(iter(state.deviations.items()))
    count = len(state.deviations) - 1
    more = f", and {count} more did" if count else ""
    return [
        f"{pack} was interrupted and gave other numbers when it was trained again ({difference})"
        f"{more}: the run's trials come from machines, programs or GPUs that do not give the same "
        "numbers. All numbers of a router come from one of them; a joint trial may have been "
        "continued on another."
    ]


def _sets(state: State) -> list[dict[str, Any]]:
    """Gives the facts of each prepared set, with the points that were asked up to now."""
    assert state.opened is not None
    points: dict[str, dict[str, None]] = {}
    for trial in state.trials.values():
        points.setdefault(trial.prepared, {})[trial.point] = None
    return [
        {**facts, "points": list(points.get(facts["name"], ()))}
        for facts in state.opened["provenance"]["sets"]
    ]


def _routing(run: Path, state: State) -> Iterator[pa.Table]:
    """Gives the routes of one pack after the other; a resumed pack has several files."""
    order = RowOrder(state)
    keys_by_pack: dict[str, dict[str, list[str]]] = {}
    for key in state.trials:
        ending = state.endings.get(key)
        if ending and ending.part and ending.status != FAILED:
            keys_by_part = keys_by_pack.setdefault(state.pack_of[key], {})
            keys_by_part.setdefault(ending.part, []).append(key)
    for keys_by_part in keys_by_pack.values():
        routes = []
        for name, keys in keys_by_part.items():
            part = _part(run, name, state, schema.ROUTING)
            routes.append(part.filter(pc.is_in(part["key"], pa.array(keys))))
        yield order.sorted(pa.concat_tables(routes))


def _experts(run: Path, state: State) -> Iterator[pa.Table]:
    """Gives the outputs of the shared experts, then those of joint trials as they were asked."""
    if bulk_files.EXPERTS in state.parts:
        yield _part(run, bulk_files.EXPERTS, state, schema.EXPERTS)
    for key in state.trials:
        ending = state.endings.get(key)
        if ending and ending.experts and ending.status != FAILED:
            outputs = _part(run, ending.experts, state, schema.EXPERTS)
            yield outputs.filter(pc.equal(outputs["experts_id"], key))


def _paths(run: Path, state: State) -> Iterator[pa.Table]:
    """Gives the paths of each prepared set, equal ones once, as their trials were asked."""
    assert state.opened is not None
    kind = schema.paths(vectors_of(state.opened))
    seen: set[tuple[str, str]] = set()
    for key, trial in state.trials.items():
        ending = state.endings.get(key)
        if not (ending and ending.paths and ending.paths_id) or ending.status == FAILED:
            continue
        if (trial.prepared, ending.paths_id) in seen:
            continue
        seen.add((trial.prepared, ending.paths_id))
        part = _part(run, ending.paths, state, schema.PART_PATHS)
        part = part.filter(pc.equal(part["paths_id"], ending.paths_id))
        try:
            rows = schema.path_rows(part.to_pylist(), priced(trial.prepared, state.opened))
        except (ValueError, LookupError, TypeError) as error:
            raise _PartError(
                f"{RunFolder(run).part(ending.paths)}: paths {quoted(ending.paths_id)} of trial "
                f"{key} do not fit ({error}); the journal names them"
            ) from error
        yield pa.Table.from_pylist([{"set": trial.prepared, **row} for row in rows], kind)


def _part(run: Path, name: str, state: State, kind: pa.Schema) -> pa.Table:
    """Reads a bulk file as a table of this kind.

    Raises:
        PartError: it is missing, or its hash is not the journal's.
    """
    path = RunFolder(run).part(name)
    try:
        sound = bulk_files.digest(path) == state.parts[name]
    except OSError as error:
        raise _PartError(f"{path}: {error.strerror}; the journal names it") from error
    if not sound:
        raise _PartError(f"{path} is damaged: its hash is not the one in the journal")
    try:
        return bulk_files.read(path, kind)
    except ValueError as error:
        raise _PartError(str(error)) from error


def write_further(run: Path, table: str, run_name: str, chunks: Sequence[pa.Table]) -> None:
    """Writes a table that a run has only where it has rows, and else removes an old one.

    Raises:
        OSError: the disk refuses.
    """
    if chunks:
        _write(run, table, run_name, chunks[0].schema, chunks)
    else:
        (run / schema.table_file(table)).unlink(missing_ok=True)


def _write(
    run: Path, table: str, run_name: str, kind: pa.Schema, chunks: Iterable[pa.Table]
) -> None:
    """Writes chunks as one table of this kind; one chunk is in memory at a time."""
    path = run / schema.table_file(table)
    stamped = schema.stamped(kind, run_name)
    with (
        atomic(path) as temporary,
        temporary.open("wb") as file,  # where the disk is full, the writer leaves its own open
        pq.ParquetWriter(file, stamped, compression="zstd", write_page_checksum=True) as writer,
    ):
        for chunk in chunks:
            if len(chunk):  # some readers refuse row groups without rows
                writer.write_table(chunk.cast(stamped))
