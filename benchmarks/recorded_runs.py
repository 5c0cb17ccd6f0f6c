"""Two small runs on the embedded sample, which the notebooks read and their tests execute.

    python -m benchmarks.recorded_runs [--out analysis/notebooks/recorded]

made analysis/notebooks/recorded: the published grid, and a search with early stopping on the same
data, in two minutes. A run is then made small: routes of trials that were stopped are left out, and
logits and losses are rounded, as the run's notes say. Scores, costs and routes are as measured.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from analysis import schema

HERE: Final = Path(__file__).parent.parent / "analysis" / "notebooks" / "recorded"

SMALL: Final = ("epochs=9", "train_rows=3000", "validation_rows=400")
RUNS: Final[dict[str, tuple[str, ...]]] = {
    "grid": ("mrpc_grid", *SMALL),
    "search": (
        *("mrpc_pareto", *SMALL),
        *("search.points=18", "stopping.bracket=9", "stopping.grace=3"),
    ),
}
"""By name, the study and what it is run with."""

STEP: Final = 1 / 4
"""Routers' logits are rounded to multiples of this, once each row's largest is 0."""

SAID_STEP: Final = 1 / 256
"""So are those of experts, whose confidence cascades compare."""

LOSS_STEP: Final = 1 / 256
ROUNDED: Final = ("loss", "loss_task", "loss_balance", "loss_cost", "gate", "gate_entropy")
NOTE: Final = (
    "Recorded for the notebooks: routers' logits are rounded to quarters, losses and experts' "
    "logits to 1/256, and routes of stopped trials are left out."
)


def make_small(run: Path, out: Path) -> Path:
    """A copy of a run folder without what the analysis does not read, its numbers rounded."""
    out.mkdir(parents=True)
    tables = {name: pq.read_table(run / schema.table_file(name)) for name in schema.TABLES}
    trials = tables["trials"]
    whole = trials.filter(pc.equal(trials["status"], schema.COMPLETED))["key"]
    routing = tables["routing"].filter(pc.is_in(tables["routing"]["key"], value_set=whole))
    tables["routing"] = _replaced(routing, "logits", STEP, keep_order=True)
    tables["experts"] = _replaced(tables["experts"], "output", SAID_STEP, keep_order=True)
    tables["experts"] = _replaced(tables["experts"], "loss", LOSS_STEP)
    for name in ROUNDED:
        tables["reports"] = _replaced(tables["reports"], name, LOSS_STEP)
    for name, table in tables.items():
        _write(table, out / schema.table_file(name))
    shutil.copyfile(run / schema.STUDY_FILE, out / schema.STUDY_FILE)
    provenance = _portable(json.loads((run / schema.PROVENANCE_FILE).read_text(encoding="utf-8")))
    text = json.dumps(provenance, separators=(",", ":"))
    (out / schema.PROVENANCE_FILE).write_text(text, encoding="utf-8")
    return out


def _write(table: pa.Table, path: Path) -> None:
    """Without dictionaries, whose packed bits zstd cannot make smaller."""
    pq.write_table(table, path, compression="zstd", compression_level=19, use_dictionary=False)


def _replaced(table: pa.Table, name: str, step: float, *, keep_order: bool = False) -> pa.Table:
    """A column, of numbers or lists of them, rounded; with `keep_order` lists of logits, whose
    largest becomes 0 and stays the largest alone."""
    column = table[name].combine_chunks()
    lists = pa.types.is_list(column.type)
    flat = (column.flatten() if lists else column).to_numpy(zero_copy_only=False)
    rounded = np.asarray(np.round(flat / step) * step, flat.dtype)
    if keep_order:
        exact = flat.reshape(len(column), -1)
        exact = exact - exact.max(axis=1, keepdims=True)
        rounded = _same_largest(exact, np.round(exact / step) * step).astype(flat.dtype).ravel()
    made: Any = pa.array(rounded, from_pandas=True)
    if lists:
        made = pa.ListArray.from_arrays(column.offsets, made, mask=column.is_null())
    place = table.schema.get_field_index(name)
    return table.set_column(place, table.schema.field(name), made)


def _same_largest(exact: NDArray[Any], rounded: NDArray[Any]) -> NDArray[Any]:
    """Rows (N, K) whose largest is another one, or no longer alone, stay as they were."""
    largest = exact.argmax(axis=1)
    level = np.take_along_axis(rounded, largest[:, None], axis=1)
    tied = (rounded >= level).sum(axis=1) > 1
    return np.where(tied[:, None], exact, rounded)


def _portable(provenance: dict[str, Any]) -> dict[str, Any]:
    """Without the machine and the folders of whoever recorded it."""
    words = iter(provenance["arguments"])
    kept = []
    for word in words:
        if word in ("--cache", "--out"):
            next(words)
        else:
            kept.append(word)
    notes = [*provenance["notes"], NOTE]
    return provenance | {"arguments": kept, "machine": {}, "commit": None, "notes": notes}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=HERE)
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        places = ("--cache", f"{scratch}/cache", "--out", f"{scratch}/runs")
        for name, study in RUNS.items():
            command = [sys.executable, "-m", "sweeps.run", *study, "--sample", *places]
            subprocess.run([*command, "--name", name, "--no-report", "--quiet"], check=True)
            shutil.rmtree(asked.out / name, ignore_errors=True)
            print(make_small(Path(scratch) / "runs" / name, asked.out / name))


if __name__ == "__main__":
    main()
