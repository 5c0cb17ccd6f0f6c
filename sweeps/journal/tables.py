"""Journal and bulk files -> the tables of `analysis.schema`; rebuilt from them at any time."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from analysis import schema
from mpc_router.files import atomic, write_text
from mpc_router.messages import quoted
from sweeps.journal import bulk_files, forced
from sweeps.journal.journal import Journal
from sweeps.journal.state import State
from sweeps.records import (
    FAILED,
    FIRST_SET,
    INTERRUPTED,
    JOURNAL_FILE,
    Ending,
    InputError,
    Report,
    SweepError,
    Trial,
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
"""Types of searched settings, as the journal's `opened` names them."""


_LEAST: Final = 20.0
"""Seconds between two refreshments at least."""

_REST: Final = 20
"""Times as long as writing took passes before tables are written anew."""

_ODD: Final = (
    *(ArithmeticError, LookupError, RecursionError, TypeError, ValueError, pa.ArrowException),
)
"""What a journal raises that says other things than a run of ours."""


class _PartError(SweepError):
    """Says that a bulk file which the journal names is missing or damaged."""


def check(run: Path, state: State) -> None:
    """Makes the tables of what the journal itself says, and writes nothing.

    Raises:
        InputError: it says what makes no tables.
    """
    try:
        for trial in state.trials.values():
            int(json.loads(trial.config)["training"]["epochs"])
        _own_tables(state)
    except _ODD as error:
        # of a run that goes on there is no other: its reports are of its own metrics and splits
        raise InputError(
            f"{run / JOURNAL_FILE}: what it says makes no tables ({quoted(error)}); it was not "
            "written by this program, start anew"
        ) from error


class Refresh:
    """Writes the tables while the run goes on, so seldom that it costs a twentieth of the time."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._next = time.monotonic() + _LEAST

    def maybe(self) -> None:
        """Writes the tables if they are due; a disk that refuses is reported at the end.

        Raises:
            PartError: a bulk file is missing or damaged.
        """
        if (began := time.monotonic()) < self._next:
            return
        with contextlib.suppress(OSError):
            write(self._journal.path.parent, self._journal.state)
        now = time.monotonic()
        self._next = now + max(_LEAST, _REST * (now - began))


def write(run: Path, state: State) -> None:
    """Writes every table, `study.yaml` and `provenance.json`; each whole or not at all.

    Raises:
        PartError: a bulk file is missing or damaged.
        OSError: the disk refuses.
    """
    assert state.opened is not None
    run_name = state.opened["run"]
    for name, table in _own_tables(state).items():
        _write(run, name, run_name, table.schema, [table])
    _write(run, "routing", run_name, schema.ROUTING, _routing(run, state, _Order(state)))
    _write(run, "experts", run_name, schema.EXPERTS, _experts(run, state))
    examples = _part(run, bulk_files.EXAMPLES, state, schema.EXAMPLES)
    _write(run, "examples", run_name, examples.schema, [examples])
    write_text(run / schema.STUDY_FILE, forced.study_text(state.study))
    write_text(run / schema.PROVENANCE_FILE, json.dumps(_provenance(state), indent=1) + "\n")


def _own_tables(state: State) -> dict[str, pa.Table]:
    """Makes the tables of trials and reports, which need no bulk files."""
    assert state.opened is not None
    opened = state.opened
    metrics = tuple(opened["metrics"])
    trials = schema.trials(
        {leaf: _COLUMN_TYPES[kind] for leaf, kind in opened["settings"].items()},
        metrics=metrics,
        quoted=tuple(opened["quoted"]),
        vectors=_vectors(opened),
    )
    rows = {
        "trials": (list(_trial_rows(state, metrics)), trials),
        "reports": (list(_report_rows(state, _Order(state))), schema.reports(metrics)),
    }
    return {name: pa.Table.from_pylist(each, schema=kind) for name, (each, kind) in rows.items()}


def _provenance(state: State) -> dict[str, Any]:
    """Gives the provenance of the run's beginning, with what has changed since."""
    assert state.opened is not None
    began = state.opened["provenance"]
    return {
        **began,
        "schema": schema.VERSION,
        "sets": _sets(state),
        "changes": state.forced,
        "notes": [*began["notes"], *forced.notes(state.forced), *_unlike(state)],
    }


def _unlike(state: State) -> list[str]:
    """Says which packs were trained again to other numbers."""
    if not state.unlike:
        return []
    pack, how = next(iter(state.unlike.items()))
    more = f", and {len(state.unlike) - 1} more did" if len(state.unlike) > 1 else ""
    return [
        f"{pack} was interrupted and gave other numbers when it was trained again ({how}){more}: "
        "the run's trials come from machines, programs or GPUs that do not give the same numbers. "
        "A router's are those of one of them; a joint trial may have gone on elsewhere."
    ]


def _sets(state: State) -> list[dict[str, Any]]:
    """What was prepared, each with its points: those of a search are known as they are asked."""
    assert state.opened is not None
    points: dict[str, dict[str, None]] = {}
    for trial in state.trials.values():
        points.setdefault(trial.prepared, {})[trial.point] = None
    return [
        {**each, "points": list(points.get(each["name"], ()))}
        for each in state.opened["provenance"]["sets"]
    ]


class _Order:
    """The order of rows: trials as they were asked, epochs, then splits, selection first.

    Told by the plan and not by who arrived first, so that equal runs have equal tables.
    """

    def __init__(self, state: State) -> None:
        assert state.opened is not None
        self._keys = list(state.trials)
        self._splits = [schema.SELECTION, *state.opened["quoted"]]
        self._rank = {key: rank for rank, key in enumerate(self._keys)}

    def of_report(self, report: Report) -> tuple[int, int, int]:
        """Gives the place of a row in the order."""
        return self._rank[report.key], report.epoch, self._splits.index(report.split)

    def sorted(self, table: pa.Table) -> pa.Table:
        """Sorts a table by trial and split; within a split the rows keep their order."""
        ranks = pa.table(
            {
                "trial": pc.index_in(table["key"], pa.array(self._keys)),
                "split": pc.index_in(table["split"], pa.array(self._splits)),
                "row": np.arange(len(table)),
            }
        )
        return table.take(
            pc.sort_indices(ranks, [(name, "ascending") for name in ranks.column_names])
        )


def _trial_rows(state: State, metrics: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    assert state.opened is not None
    splits = (schema.SELECTION, *state.opened["quoted"])
    last: dict[tuple[str, str], Report] = {}
    for report in state.reports.values():
        ending = state.endings.get(report.key)
        wanted = ending.epoch if ending else 0
        if wanted and report.epoch != wanted:
            continue
        known = last.get((report.key, report.split))
        if known is None or known.epoch < report.epoch:
            last[report.key, report.split] = report
    experts = _frozen_experts(state.opened)
    for trial in state.trials.values():
        ending = state.endings.get(trial.key) or _never_ended(trial, state)
        row: dict[str, Any] = {
            "key": trial.key,
            "point": trial.point,
            "seed": trial.seed,
            "pack": state.pack_of[trial.key],
            "status": ending.status,
            "reason": ending.reason,
            "epochs": ending.epochs,
            "attempt": ending.attempt,
            "seconds": ending.seconds,
            "experts_id": experts.get(trial.prepared, trial.key),
            **state.points[trial.point].settings,
            "config": trial.config,
        }
        for split in splits:
            if (trial.key, split) in last:
                row |= _measured(last[trial.key, split], metrics, state.opened)
        yield row


def _vectors(opened: Mapping[str, Any]) -> tuple[str, ...]:
    """Cost vectors that any set is reported under, those of the first set first."""
    sets = opened["provenance"].get("sets", ())
    named = [opened["provenance"]["cost_vectors"], *(each["cost_vectors"] for each in sets)]
    return tuple(dict.fromkeys(name for vectors in named for name in vectors))


def _frozen_experts(opened: Mapping[str, Any]) -> dict[str, str]:
    """Experts by set, where trials share them; a joint trial has its own, named by its key."""
    provenance = opened["provenance"]
    if "sets" not in provenance:
        return {FIRST_SET: provenance["fingerprints"]["experts"]}
    return {each["name"]: each["experts_id"] for each in provenance["sets"] if not each["joint"]}


def _measured(
    report: Report, metrics: tuple[str, ...], opened: Mapping[str, Any]
) -> dict[str, float | None]:
    """Columns of a trial that one split's report fills; null under a vector that its set lacks."""
    vectors = _vectors(opened)
    split = report.split
    return {
        **{f"{split}_{name}": report.metrics[name] for name in ("score", *metrics)},
        f"{split}_cost": report.cost[opened["study"]["cost_vector"]],
        **{f"{split}_cost_{vector}": report.cost.get(vector) for vector in vectors},
    }


def _never_ended(trial: Trial, state: State) -> Ending:
    """Gives the ending of a trial that never started, or whose run was killed."""
    last = state.latest.get((trial.key, schema.SELECTION))
    attempt = state.attempts.get(state.pack_of[trial.key], 0)
    return Ending(
        key=trial.key,
        status=INTERRUPTED,
        epochs=last.epoch if last else 0,
        seconds=last.seconds if last else 0.0,
        attempt=max(1, attempt),
        reason="the run ended before it" if attempt else "not started",
    )


def _report_rows(state: State, order: _Order) -> Iterator[dict[str, Any]]:
    assert state.opened is not None
    vector = state.opened["study"]["cost_vector"]
    for report in sorted(state.reports.values(), key=order.of_report):
        yield {
            "key": report.key,
            "epoch": report.epoch,
            "split": report.split,
            **report.metrics,
            "cost": report.cost[vector],
            **report.losses,
            "share": list(report.share),
            "gate": list(report.gate),
            "gate_entropy": report.gate_entropy,
            "seconds": report.seconds,
        }


def _routing(run: Path, state: State, order: _Order) -> Iterator[pa.Table]:
    """Yields the routes of one pack after the other; a resumed pack has several files."""
    files: dict[str, dict[str, list[str]]] = {}
    for key in state.trials:
        ending = state.endings.get(key)
        if ending and ending.part and ending.status != FAILED:
            files.setdefault(state.pack_of[key], {}).setdefault(ending.part, []).append(key)
    for each in files.values():
        found = [
            table.filter(pc.is_in(table["key"], pa.array(keys)))
            for table, keys in (
                (_part(run, name, state, schema.ROUTING), keys) for name, keys in each.items()
            )
        ]
        yield order.sorted(pa.concat_tables(found))


def _experts(run: Path, state: State) -> Iterator[pa.Table]:
    """What experts say: the shared ones, then those of joint trials in the order of asking."""
    if bulk_files.EXPERTS in state.parts:
        yield _part(run, bulk_files.EXPERTS, state, schema.EXPERTS)
    for key in state.trials:
        ending = state.endings.get(key)
        if ending and ending.experts and ending.status != FAILED:
            said = _part(run, ending.experts, state, schema.EXPERTS)
            yield said.filter(pc.equal(said["experts_id"], key))


def _part(run: Path, name: str, state: State, kind: pa.Schema) -> pa.Table:
    """Reads a bulk file whose hash is the journal's as a table of this kind."""
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


def _write(
    run: Path, table: str, run_name: str, kind: pa.Schema, chunks: Iterable[pa.Table]
) -> None:
    """Writes the chunks as one table of this kind, a chunk in memory at a time."""
    path = run / schema.table_file(table)
    stamped = schema.stamped(kind, run_name)
    with (
        atomic(path) as temporary,
        pq.ParquetWriter(
            temporary, stamped, compression="zstd", write_page_checksum=True
        ) as writer,
    ):
        for chunk in chunks:
            if len(chunk):  # else a row group of no rows, which other readers refuse
                writer.write_table(chunk.cast(stamped))
