"""Runs whose trials have several sets of experts: pools of two sizes, and experts a trial."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from analysis import schema
from analysis.runs.load import Run, load_run


def two_sets(source: Path, target: Path) -> Run:
    """The plain run, but its point p2 (which never calls the third expert) has two experts."""
    folder = Path(shutil.copytree(source, target))

    def rewrite(table: str, rows: list[dict[str, object]]) -> None:
        path = folder / schema.table_file(table)
        kept = pq.read_schema(path)
        pq.write_table(pa.Table.from_pylist(rows, kept), path)

    def rows_of(table: str) -> list[dict[str, object]]:
        found: list[dict[str, object]] = pq.read_table(folder / f"{table}.parquet").to_pylist()
        return found

    trials = rows_of("trials")
    small = {row["key"] for row in trials if row["point"] == "p2"}
    rewrite(
        "trials", [{**row, "experts_id": "e1"} if row["key"] in small else row for row in trials]
    )
    routing = [
        {**row, "logits": list(row["logits"])[:2]} if row["key"] in small else row  # type: ignore[call-overload]
        for row in rows_of("routing")
    ]
    rewrite("routing", routing)
    experts = rows_of("experts")
    pair = [{**row, "experts_id": "e1"} for row in experts if row["expert"] in (0, 1)]
    rewrite("experts", [*experts, *pair])
    path = folder / schema.PROVENANCE_FILE
    facts = json.loads(path.read_text())
    whole = {name: facts[name] for name in ("experts", "stem", "cost_vectors")}
    constants = facts["cost_vectors"]["constants"]
    two = {
        "experts": facts["experts"][:2],
        "stem": facts["stem"],
        "cost_vectors": {"constants": {**constants, "experts": constants["experts"][:2]}},
    }
    facts["sets"] = [
        {**whole, "name": "K3", "points": ["p0", "p1", "p3"], "joint": False, "experts_id": "e0"},
        {**two, "name": "K2", "points": ["p2"], "joint": False, "experts_id": "e1"},
    ]
    path.write_text(json.dumps(facts))
    return load_run(folder)


def a_set_a_trial(source: Path, target: Path) -> Run:
    """The plain run as if it were joint: every trial has experts of its own, and they differ."""
    folder = Path(shutil.copytree(source, target))
    trials = pq.read_table(folder / "trials.parquet")
    rows = trials.to_pylist()
    new = [{**row, "experts_id": f"of {row['key']}"} for row in rows]
    pq.write_table(pa.Table.from_pylist(new, trials.schema), folder / "trials.parquet")
    experts = pq.read_table(folder / "experts.parquet")
    said = [
        {
            **row,
            "experts_id": f"of {trial['key']}",
            "prediction": row["prediction"] if row["example"] % 3 else float(number % 2),
        }
        for number, trial in enumerate(rows)
        for row in experts.to_pylist()
    ]
    pq.write_table(pa.Table.from_pylist(said, experts.schema), folder / "experts.parquet")
    path = folder / schema.PROVENANCE_FILE
    facts = json.loads(path.read_text())
    whole = {name: facts[name] for name in ("experts", "stem", "cost_vectors")}
    points = sorted({str(row["point"]) for row in rows})
    facts["sets"] = [{**whole, "name": "K3", "points": points, "joint": True}]
    path.write_text(json.dumps(facts))
    return load_run(folder)
