"""Paths of experts in the journal and the tables: a run of two trials, one of them with paths."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from analysis import schema
from analysis.runs.load import load_run
from mpc_router.costs import CostVector, to_json
from mpc_router.prepare.inputs import SplitOutputs
from mpc_router.routes import LOGISTIC, Decisions, Paths, pair_paths
from sweeps.journal import bulk_files, repair, tables
from sweeps.journal._lines import event_of, line_of
from sweeps.journal.journal import Journal, read, state_of
from sweeps.journal.state import OddEvent
from sweeps.records import (
    COMPLETED,
    Ending,
    Message,
    Pack,
    Report,
    SweepError,
    Trial,
)

VECTOR = CostVector(
    name="constants", unit="units", router=2.0, experts=(2.0, 7.0, 13.0), stem_is_expert=True
)
FITTED = Paths(
    decisions=Decisions(pair_paths(3)),
    combine=LOGISTIC,
    weights=np.array([[1.0, 0, 0], [0.25, 1 / 3, 0], [0.5, 0, 0.75]]),
    offset=np.array([[0.0, 0], [0.1, -0.1], [0.2, 0.3]]),
)
PACK = Pack(
    name="pack00",
    trials=tuple(
        Trial(key=key, point="p00", seed=seed, config='{"training": {"epochs": 1}}')
        for seed, key in enumerate(("plain", "paths", "twin"))
    ),
)


def split(name: str) -> SplitOutputs:
    """Three examples and three experts."""
    return SplitOutputs(
        split=name,
        features=np.zeros((3, 1), np.float32),
        outputs=np.arange(18, dtype=np.float32).reshape(3, 3, 2),
        labels=np.array([0.0, 1.0, 1.0]),
        example=np.array([4, 5, 9]),
        tokens=np.array([7, 8, 9]),
    )


def a_report(key: str, name: str) -> Report:
    return Report(
        key=key,
        epoch=1,
        split=name,
        metrics={"score": 0.5, "accuracy": 0.5},
        cost={"constants": 6.0},
        losses={"loss": 0.5, "loss_task": 0.25, "loss_balance": 0.125, "loss_cost": 4.0},
        share=(0.25, 0.25, 0.5),
        gate=(0.25, 0.25, 0.5),
        gate_entropy=0.5,
        seconds=1.0,
    )


def opened(run: Path) -> dict[str, Any]:
    """What the first event says; the bulk files of examples and experts are written."""
    splits = [split(name) for name in schema_splits()]
    parts = run / "parts"
    examples = bulk_files.write(parts / "examples.parquet", map(bulk_files.examples, splits))
    experts = bulk_files.write(
        parts / "experts.parquet",
        [table for one in splits for table in bulk_files.experts("e0", one, regression=False)],
    )
    provenance = {
        "run": "r",
        "study": "s",
        "task": "rte",
        "pool": "p",
        "fingerprints": {"experts": "e0"},
        "experts": [{"expert": k, "name": f"e{k}", "layers": 0} for k in range(3)],
        "cost_vector": "constants",
        "cost_vectors": to_json({"constants": VECTOR}),
        "sets": [
            {
                "name": "set00",
                "joint": False,
                "experts_id": "e0",
                "experts": [{"expert": k, "name": f"e{k}", "layers": 0} for k in range(3)],
                "cost_vectors": to_json({"constants": VECTOR}),
                "fingerprints": {},
            }
        ],
        "notes": [],
    }
    return {
        "run": "r",
        "parts": {"examples.parquet": examples, "experts.parquet": experts},
        "study": {"budget": {}, "cost_vector": "constants", "seeds": [0, 1, 2]},
        "provenance": provenance,
        "metrics": ["accuracy"],
        "quoted": ["validation"],
        "settings": {},
    }


def schema_splits() -> tuple[str, str]:
    return schema.SELECTION, schema.VALIDATION


def write_journal(run: Path, paths: Paths = FITTED, name: str | None = None) -> Path:
    """A run that has ended; `name` is what the endings call the paths, if not by their name."""
    routing = [
        bulk_files.routing(
            trial.key,
            split_name,
            example=np.array([4, 5, 9]),
            routes=np.array([0, 1, 2], np.uint8),
            logits=np.eye(3, dtype=np.float32),
        )
        for trial in PACK.trials
        for split_name in schema_splits()
    ]
    run.mkdir()
    files = {
        PACK.file(): bulk_files.write(run / "parts" / PACK.file(), routing),
        PACK.paths_file(): bulk_files.write(
            run / "parts" / PACK.paths_file(), [bulk_files.paths(paths)]
        ),
    }
    with Journal(run / "journal.jsonl") as journal:
        journal.append("opened", **opened(run))
        journal.append("asked", points=[{"name": "p00", "settings": {}}], packs=[PACK])
        endings = tuple(
            Ending(
                key=trial.key,
                status=COMPLETED,
                epochs=1,
                epoch=1,
                seconds=1.0,
                attempt=1,
                part=PACK.file(),
                paths=None if trial.key == "plain" else PACK.paths_file(),
                paths_id=None if trial.key == "plain" else name or paths.name,
            )
            for trial in PACK.trials
        )
        reports = tuple(a_report(trial.key, at) for trial in PACK.trials for at in schema_splits())
        said = Message(reports=reports, endings=endings, parts=files).to_json()
        journal.append("reported", pack=PACK.name, reports=said["reports"])
        journal.append("ended", pack=PACK.name, endings=said["endings"], parts=said["parts"])
        journal.append("closed", outcome="done")
    return run


def write_tables(run: Path) -> None:
    with Journal(run / "journal.jsonl") as journal:
        tables.write(run, journal.state)


def test_a_bulk_file_of_paths_is_read_back_to_the_last_bit(tmp_path: Path) -> None:
    bulk_files.write(tmp_path / "paths", [bulk_files.paths(FITTED)])
    table = bulk_files.read(tmp_path / "paths", schema.PART_PATHS)
    assert table.schema.equals(schema.PART_PATHS)
    restored = schema.paths_from(table.to_pylist()[::-1])
    assert restored.name == FITTED.name
    assert restored.to_json() == FITTED.to_json()


def test_the_table_of_paths_holds_equal_paths_once_with_their_costs(tmp_path: Path) -> None:
    run = write_journal(tmp_path / "r")
    write_tables(run)
    rows = pq.read_table(run / "paths.parquet").to_pylist()
    assert [row["paths_id"] for row in rows] == [FITTED.name] * 3
    assert [row["set"] for row in rows] == ["set00"] * 3
    assert [row["experts"] for row in rows] == [[0], [0, 1], [0, 2]]
    assert [row["cost_constants"] for row in rows] == [0.0, 7.0, 13.0]
    trials = pq.read_table(run / "trials.parquet").to_pylist()
    assert [row["paths_id"] for row in trials] == [None, FITTED.name, FITTED.name]
    load_run(run)


def test_a_run_whose_routes_are_experts_has_no_table_of_paths(tmp_path: Path) -> None:
    run = write_journal(tmp_path / "r")
    (run / "paths.parquet").write_text("of a session before")
    with Journal(run / "journal.jsonl") as journal:
        for key in ("paths", "twin"):
            del journal.state.endings[key]
        tables.write(run, journal.state)
    assert not (run / "paths.parquet").exists()


def test_an_ending_that_was_written_before_there_were_paths_is_read_as_before(
    tmp_path: Path,
) -> None:
    run = write_journal(tmp_path / "r")
    older = []
    for event in read(run / "journal.jsonl"):
        ends = event.get("endings", ())
        slim = [{k: v for k, v in end.items() if not k.startswith("paths")} for end in ends]
        plain = {name: value for name, value in event.items() if name != "check"}
        older.append(line_of({**plain, "endings": slim} if ends else plain))
    (run / "journal.jsonl").write_bytes(b"".join(older))
    write_tables(run)
    assert pq.read_table(run / "trials.parquet")["paths_id"].null_count == 3
    assert (run / "journal.jsonl").read_bytes() == b"".join(older)
    assert [line_of(event_of(line[:-1])) for line in older] == older


def test_damaged_paths_are_named_and_their_trials_trained_again(tmp_path: Path) -> None:
    run = write_journal(tmp_path / "r")
    part = run / "parts" / PACK.paths_file()
    part.write_bytes(part.read_bytes()[:-1])
    with Journal(run / "journal.jsonl") as journal:
        assert repair.damaged_parts(run, journal.state) == {PACK.paths_file(): "is damaged"}
        with pytest.raises(SweepError, match=r"pack00\.paths\.parquet is damaged"):
            tables.write(run, journal.state)
        note = repair.reopen(journal, {PACK.paths_file(): "is damaged"}, {})
        assert note.endswith("2 trials are trained again")
        assert [trial.key for trial in journal.state.unended()] == ["paths", "twin"]


@pytest.mark.parametrize("name", ["0123456789abcdef", "../x"])
def test_paths_of_an_unknown_name_are_refused_in_a_sentence(tmp_path: Path, name: str) -> None:
    run = write_journal(tmp_path / "r", name=name)
    with pytest.raises(SweepError, match=r"do not fit .*there are 0 paths"):
        write_tables(run)


def test_paths_of_more_experts_than_the_pool_has_are_refused(tmp_path: Path) -> None:
    wide = Paths.of(pair_paths(4), experts=4, outputs=2, combine="last")
    run = write_journal(tmp_path / "r", wide)
    with pytest.raises(SweepError, match=r"do not fit .*of 4 experts, and 3 run"):
        write_tables(run)


@pytest.mark.parametrize(
    ("column", "values", "complaint"),
    [
        ("path", [0, 1, 1], "not those from 0 on"),
        ("experts", [[0], [0, 1], [0, 3]], "a path is"),
        ("experts", [[0], [0, 1], []], "a path is"),
        ("experts", [[0], [0, 1], [0, 1]], "different ones"),
        ("combine", ["sum"] * 3, "allowed are"),
        ("weights", [[1.0, 0, 0], [1.0], [1.0, 0, 0]], "inhomogeneous"),
        ("weights", [[1.0, 0, 0]] * 3, "their name is"),
        ("offset", [[0.0, float("nan")]] * 3, "NaN"),
        ("offset", [[0.0, None]] * 3, "NaN|None"),
    ],
)
def test_rows_that_are_no_paths_are_refused(column: str, values: list[Any], complaint: str) -> None:
    rows = bulk_files.paths(FITTED).to_pylist()
    with pytest.raises(ValueError, match=complaint):
        schema.paths_from([{**row, column: v} for row, v in zip(rows, values, strict=True)])


def test_a_file_of_paths_that_the_journal_does_not_plainly_name_is_refused(tmp_path: Path) -> None:
    run = write_journal(tmp_path / "r")
    *before, ends, closed = list(read(run / "journal.jsonl"))
    ends["endings"][1]["paths"] = "../../x"
    lines = [
        line_of({name: value for name, value in event.items() if name != "check"})
        for event in (*before, ends, closed)
    ]
    (run / "journal.jsonl").write_bytes(b"".join(lines))
    with pytest.raises(OddEvent, match="must be a plain name"):
        state_of(run / "journal.jsonl")
