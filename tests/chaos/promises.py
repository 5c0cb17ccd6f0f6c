"""What a run that was killed and resumed must still keep, each breach in a sentence."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from analysis import schema
from analysis.runs.load import RunError, load_run
from mpc_router.results.checkpoint import CheckpointError, load
from mpc_router.run_names import FURTHER_TABLES, table_file
from sweeps.journal.journal import read
from sweeps.journal.state import JournalError, State, apply
from sweeps.records import BETWEEN, COMPLETED, INSIDE, SELECTION, STOPPED, Decision
from sweeps.stopping import rungs
from sweeps.stopping.rungs import Ranking
from sweeps.study.read import from_tree
from tests.chaos.alone import Alone, in_order
from tests.chaos.variants import Variant
from tests.sweeps.conftest import OF_THE_CLOCK

UNIQUE = {
    "trials": ("key",),
    "reports": ("key", "epoch", "split"),
    "routing": ("key", "split", "example"),
    "experts": ("experts_id", "expert", "split", "example"),
    "examples": ("split", "example"),
}
"""What no two rows of a table have in common."""


@dataclass(kw_only=True)
class Findings:
    """What was found in a run folder."""

    lost: int = 0
    """Keys without a trial that has ended."""

    doubled: int = 0
    """Rows that say again what another row says, of any table."""

    differing: int = 0
    """Rows that are not those of the undisturbed run, or of the trial trained alone."""

    repeated: int = 0
    """Epochs that were reported again."""

    litter: int = 0
    """Files of killed sessions that nobody will ask for again, and folders of their Ray."""

    broken: list[str] = field(default_factory=list)
    """Sentences; empty where all is kept."""


def check(run: Path, undisturbed: Path, variant: Variant, alone: Alone) -> Findings:
    """Holds a run that has ended against the promise."""
    found = Findings()
    try:
        state = _recomputed(run, found)
        tables = {name: pq.read_table(run / table_file(name)) for name in _tables_of(run)}
    except (JournalError, OSError, pa.ArrowException) as error:
        found.broken.append(f"the run cannot be read: {error}")
        return found
    _keys(tables, undisturbed, found)
    _checkpoints(run, tables["trials"], found)
    if variant.ordered:
        _same_tables(tables, undisturbed, found)
        _same_decisions(state, undisturbed, found)
    else:
        _as_alone(tables, state, alone, found)
    if state.closed != "done":
        found.broken.append(f"the journal is closed as {state.closed!r}")
    try:
        load_run(run)
    except RunError as error:
        found.broken.append(f"analysis refuses the run: {error}")
    found.litter = sum(1 for path in run.rglob(".*") if not path.name.startswith(".."))
    found.broken += [f"{found.lost} keys are lost"] * bool(found.lost)
    found.broken += [f"{found.doubled} rows are doubled"] * bool(found.doubled)
    found.broken += [f"{found.differing} rows differ"] * bool(found.differing)
    return found


def _recomputed(run: Path, found: Findings) -> State:
    """The state; every decision is made anew from the events before it alone."""
    state = State()
    ranking: Ranking | None = None
    reported: Counter[tuple[str, int]] = Counter()
    for event in read(run / "journal.jsonl"):
        if event["event"] == "opened":
            ranking = from_tree(event["study"]).ranking
        if event["event"] == "decided":
            said = [Decision(**each) for each in event["decisions"]]
            if said != _decided(state, event["pack"], said, ranking):
                found.broken.append(f"event {event['n']} does not recompute from those before it")
        if event["event"] == "reported":
            reported.update(
                (each["key"], each["epoch"])
                for each in event["reports"]
                if each["split"] == SELECTION
            )
        apply(state, event)
    found.repeated = sum(count - 1 for count in reported.values())
    return state


def _decided(
    state: State, pack: str, said: list[Decision], ranking: Ranking | None
) -> list[Decision | None]:
    """What the reports so far decide in its place."""
    assert ranking is not None
    epoch = said[0].epoch
    at = {
        key: each
        for (key, when, split), each in state.reports.items()
        if when == epoch and split == SELECTION
    }
    if state.packs[pack].stopping == INSIDE:
        out = {
            key
            for (key, when), each in state.decisions.items()
            if when < epoch and not each.goes_on
        }
        mine = (trial.key for trial in state.packs[pack].trials)
        there = {key: at[key] for key in mine if key in at and key not in out}
        return list(rungs.decide_inside(state.packs[pack], epoch, there, ranking))
    assert state.packs[pack].stopping == BETWEEN
    earlier = [at[key] for key, when in state.decisions if when == epoch]
    return [rungs.decide_between(at[each.key], earlier, ranking) for each in said]


def _keys(tables: dict[str, pa.Table], undisturbed: Path, found: Findings) -> None:
    wanted = set(pq.read_table(undisturbed / "trials.parquet")["key"].to_pylist())
    ended = {
        row["key"]
        for row in tables["trials"].select(["key", "status"]).to_pylist()
        if row["status"] in (COMPLETED, STOPPED)
    }
    found.lost = len(wanted - ended)
    if ended - wanted:
        found.broken.append(f"{len(ended - wanted)} trials were never asked by the undisturbed run")
    for name, columns in UNIQUE.items():
        rows = tables[name].select(list(columns))
        found.doubled += len(rows) - len(rows.group_by(list(columns)).aggregate([]))


def _checkpoints(run: Path, trials: pa.Table, found: Findings) -> None:
    """Each trial's is whole, and of the epoch that its row tells."""
    for row in trials.select(["key", "epochs", "config"]).to_pylist():
        try:
            epoch = load(run / "checkpoints" / row["key"]).epoch
        except CheckpointError as error:
            found.broken.append(f"a checkpoint: {error}")
            continue
        best = json.loads(row["config"])["training"].get("epoch") == "best_score"
        if epoch != row["epochs"] and not best:
            found.broken.append(
                f"{row['key']}: its checkpoint is of epoch {epoch}, not {row['epochs']}"
            )


def _tables_of(run: Path) -> list[str]:
    """The tables that every run has, and those that this one needs for its routers."""
    further = [name for name in FURTHER_TABLES if (run / table_file(name)).exists()]
    return [*schema.TABLES, *further]


def _same_tables(tables: dict[str, pa.Table], undisturbed: Path, found: Findings) -> None:
    if [*tables] != _tables_of(undisturbed):
        found.broken.append(f"the tables are {[*tables]}, not {_tables_of(undisturbed)}")
        return
    for name, mine in tables.items():
        other = pq.read_table(undisturbed / f"{name}.parquet")
        clock = list(OF_THE_CLOCK.get(name, ()))
        found.differing += differing(mine.drop(clock), other.drop(clock))


def differing(mine: pa.Table, other: pa.Table) -> int:
    """Rows that are not the same in the same place."""
    if mine.equals(other):
        return 0
    return max(1, _unequal(mine.to_pylist(), other.to_pylist()))


def _unequal(mine: Sequence[dict[str, Any]], other: Sequence[dict[str, Any]]) -> int:
    if _said(mine) == _said(other):
        return 0
    pairs = zip(mine, other, strict=False)
    return sum(_said(one) != _said(two) for one, two in pairs) + abs(len(mine) - len(other))


def _said(row: Sequence[dict[str, Any]] | dict[str, Any]) -> str:
    """In words: NaN is the same as NaN, and no number is rounded."""
    return json.dumps(row, sort_keys=True)


def _same_decisions(state: State, undisturbed: Path, found: Findings) -> None:
    other = State()
    for event in read(undisturbed / "journal.jsonl"):
        apply(other, event)
    if state.decisions != other.decisions:
        found.broken.append("other decisions than the undisturbed run's")
    if [batch.results for batch in state.batches] != [batch.results for batch in other.batches]:
        found.broken.append("the search was told otherwise than in the undisturbed run")


def _as_alone(tables: dict[str, pa.Table], state: State, alone: Alone, found: Findings) -> None:
    """Each trial's rows are those of its configuration trained alone to the same epoch."""
    for name, rows in _by_key(tables):
        trial = state.trials[name]
        ending = state.endings[name]
        wanted = alone.rows(trial, epochs=ending.epochs)
        for table, mine in rows.items():
            found.differing += _unequal(in_order(mine), in_order(wanted[table]))


def _by_key(tables: dict[str, pa.Table]) -> Iterator[tuple[str, dict[str, list[dict[str, Any]]]]]:
    """Of every trial its rows of those tables that hold measured numbers."""
    names = {"reports": "key", "routing": "key", "experts": "experts_id"}
    grouped: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for table, column in names.items():
        clock = list(OF_THE_CLOCK.get(table, ()))
        for row in tables[table].drop(clock).to_pylist():
            grouped.setdefault(row[column], {each: [] for each in names})[table].append(row)
    yield from grouped.items()
