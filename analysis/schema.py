"""Defines what a run folder holds: files, tables, columns, types, version. Only this file does.

Written by `sweeps.journal.tables`, read by `analysis.runs.load`. Importing this module loads
pyarrow and nothing heavier.

Shape legend of the list columns: K experts, C outputs of an expert (its logits, or one value).
"""

from __future__ import annotations

import zlib
from typing import Any, Final

import pyarrow as pa

from mpc_router.run_names import CHECKPOINTS_FOLDER as CHECKPOINTS_FOLDER
from mpc_router.run_names import COMPLETED as COMPLETED
from mpc_router.run_names import FAILED as FAILED
from mpc_router.run_names import INTERRUPTED as INTERRUPTED
from mpc_router.run_names import JOURNAL_FILE as JOURNAL_FILE
from mpc_router.run_names import PARTS_FOLDER as PARTS_FOLDER
from mpc_router.run_names import PROVENANCE_FILE as PROVENANCE_FILE
from mpc_router.run_names import REPORT_FILE as REPORT_FILE
from mpc_router.run_names import SELECTION as SELECTION
from mpc_router.run_names import STATUSES as STATUSES
from mpc_router.run_names import STOPPED as STOPPED
from mpc_router.run_names import STUDY_FILE as STUDY_FILE
from mpc_router.run_names import TABLES as TABLES
from mpc_router.run_names import VALIDATION as VALIDATION
from mpc_router.run_names import table_file as table_file

VERSION: Final = 1
"""Version of the tables; a reader refuses another one."""

VERSION_KEY: Final = b"mpc_router.schema_version"
_RUN_KEY: Final = b"mpc_router.run"
COLUMNS_KEY: Final = b"mpc_router.columns"
"""Keys of the Parquet files' own metadata: schema version, and the run's name."""


def _required(name: str, kind: pa.DataType) -> pa.Field:
    return pa.field(name, kind, nullable=False)


def trials(
    settings: dict[str, pa.DataType],
    *,
    metrics: tuple[str, ...],
    quoted: tuple[str, ...],
    vectors: tuple[str, ...],
) -> pa.Schema:
    """Gives the columns of `trials`: a row is a trial (a point with a seed).

    `settings` are the searched settings by leaf name; `metrics` the task's own metrics (score
    excepted); `quoted` the quoted splits (`validation`, and for MNLI `validation_mismatched`);
    `vectors` the names of the pool's cost vectors. Per split S of selection and `quoted`:
    `S_score`, `S_<metric>`, `S_cost` (under the study's vector) and `S_cost_<vector>`. Scores and
    costs are null where the trial never reached the split.
    """
    fields = [
        _required("key", pa.string()),
        _required("point", pa.string()),
        _required("seed", pa.int64()),
        _required("pack", pa.string()),
        _required("status", pa.string()),
        pa.field("reason", pa.string()),
        _required("epochs", pa.int64()),
        _required("attempt", pa.int64()),
        pa.field("seconds", pa.float64()),
        pa.field("experts_id", pa.string()),
    ]
    fields += [pa.field(name, kind) for name, kind in settings.items()]
    fields += [_required("config", pa.string())]
    for split in (SELECTION, *quoted):
        names = ("score", *metrics, "cost", *(f"cost_{vector}" for vector in vectors))
        fields += [pa.field(f"{split}_{name}", pa.float64()) for name in names]
    return pa.schema(fields)


def reports(metrics: tuple[str, ...]) -> pa.Schema:
    """Gives the columns of `reports`: a row is a trial x epoch x split.

    `loss` is the total of the soft gate, `loss_task`, `loss_balance` and `loss_cost` its terms
    before their weights; `share` the hard routes' share by expert, `gate` the mean soft gate by
    expert (both lists of length K); `gate_entropy` the mean entropy of a gate in nats; `seconds`
    the time since the trial's pack started.
    """
    return pa.schema(
        [
            _required("key", pa.string()),
            _required("epoch", pa.int64()),
            _required("split", pa.string()),
            *(pa.field(name, pa.float64()) for name in ("score", *metrics)),
            *(
                pa.field(name, pa.float64())
                for name in ("cost", "loss", "loss_task", "loss_balance", "loss_cost")
            ),
            pa.field("share", pa.list_(pa.float64())),
            pa.field("gate", pa.list_(pa.float64())),
            pa.field("gate_entropy", pa.float64()),
            pa.field("seconds", pa.float64()),
        ]
    )


ROUTING: Final = pa.schema(
    [
        _required("key", pa.string()),
        _required("split", pa.string()),
        _required("example", pa.int64()),
        _required("route", pa.uint8()),
        _required("logits", pa.list_(pa.float32())),
    ]
)
"""A row is a trial x split x example: the hard route and the router's K logits, before noise and
temperature. Quoted splits and selection, at the trial's last epoch."""

EXPERTS: Final = pa.schema(
    [
        _required("experts_id", pa.string()),
        _required("expert", pa.uint8()),
        _required("split", pa.string()),
        _required("example", pa.int64()),
        _required("prediction", pa.float64()),
        _required("output", pa.list_(pa.float32())),
        _required("loss", pa.float64()),
        _required("right", pa.bool_()),
    ]
)
"""A row is an expert x split x example. `prediction` is the class number, or the value of a
regression; `right` means the label, or for a regression the least absolute error of the pool."""

EXAMPLES: Final = pa.schema(
    [
        _required("split", pa.string()),
        _required("example", pa.int64()),
        _required("label", pa.float64()),
        _required("tokens", pa.int64()),
        pa.field("tokens_by_expert", pa.list_(pa.int64())),
    ]
)
"""A row is a split x example (its row's number in its source file); `tokens` its length. Where the
experts' tokenizers differ, `tokens_by_expert` has its K lengths, of which `tokens` is the greatest;
the column is missing where they do not."""


def stamped(schema: pa.Schema, run: str) -> pa.Schema:
    """Adds this version, the run's name and a checksum of the columns to a schema."""
    metadata = {VERSION_KEY: str(VERSION), _RUN_KEY: run, COLUMNS_KEY: columns_check(schema)}
    return schema.with_metadata({key: value.encode() for key, value in metadata.items()})


def columns_check(schema: pa.Schema) -> str:
    """Computes a checksum of the columns' names and types: those of pages do not cover them."""
    lists = [pa.types.is_list(field.type) for field in schema]  # Parquet renames their items
    columns = "\n".join(
        f"{field.name} {f'list of {field.type.value_type}' if many else field.type}"
        for field, many in zip(schema, lists, strict=True)
    )
    return f"{zlib.crc32(columns.encode()):08x}"


_Provenance = dict[str, Any]
"""What `provenance.json` holds (plain JSON):

- `schema` (int), `run`, `study`, `task`, `pool` (names), `synthetic` (bool: the embedded sample),
  `started` (UTC, ISO 8601), `arguments` (list of strings), `versions` (package -> version),
  `commit` (or null), `machine` (text by name: cpu, cores, memory, system, python)
- `fingerprints`: `data`, `experts`, `stem`, `code` (hex)
- `experts`: list of {`expert` (int), `name`, `layers` (int, 0 = complete), `stand_in` (text or
  null)}, cheapest first; `stem`: {`name`, `stand_in`}
- `sets`: what was prepared, a list of {`name`, `points` (the names of those that train on it),
  `joint` (bool: experts train with each trial, whose experts_id is its key), `experts_id`, `pool`,
  `pool_size`, `experts`, `stem`, `cost_vectors`, `fingerprints`}, each as for the run; what the run
  says of these is that of the first set. Runs without it have one set
- `experts_fixed_seed` (bool): one set of trained experts served all trials
- `splits`: split -> {`rows` (int), `source` ("train" or "validation"), `note` (text or null)}
- `cost_vector`: the study's; `cost_vectors`: name -> {`unit`, `router`, `experts` (list), `as_if`
  (bool: published numbers put on another pool), `stem_is_expert` (bool: the router looks through
  the cheapest expert, which is paid once)}
- `objectives`: name -> "max" or "min"
- `changes`: what `--resume RUN --force` has let through, list of {`time` (UTC, ISO 8601), `what`
  (`code`, a library, `data`, `experts`, `stem`, `study.yaml` or `part NAME`), `then`, `now`}; runs
  without it have none
- `parts`: samplers, metrics and cost vectors of one's own, list of {`group` (of entry points),
  `name`, `package`, `version`} (of a module of no package: null, and a hash of its file); runs
  without it have used none
- `notes`: list of sentences that a reader of the results must know
"""
