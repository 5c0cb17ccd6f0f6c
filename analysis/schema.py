"""Defines what a run folder holds: files, tables, columns, types, version. Only this file does.

Written by `sweeps.journal.tables`, read by `analysis.runs.load`. Importing this module loads
pyarrow and nothing heavier.

Shape legend of the list columns: K experts, C outputs of an expert (its logits, or one value).
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

import pyarrow as pa

from mpc_router.costs import from_json
from mpc_router.messages import quoted
from mpc_router.routes import Paths
from mpc_router.run_names import CHECKPOINTS_FOLDER as CHECKPOINTS_FOLDER
from mpc_router.run_names import COMPLETED as COMPLETED
from mpc_router.run_names import FAILED as FAILED
from mpc_router.run_names import FURTHER_TABLES as FURTHER_TABLES
from mpc_router.run_names import INTERRUPTED as INTERRUPTED
from mpc_router.run_names import JOURNAL_FILE as JOURNAL_FILE
from mpc_router.run_names import PARTS_FOLDER as PARTS_FOLDER
from mpc_router.run_names import PROVENANCE_FILE as PROVENANCE_FILE
from mpc_router.run_names import REPORT_FILE as REPORT_FILE
from mpc_router.run_names import REPORT_LISTS, REPORT_LOSSES, REPORT_NUMBERS
from mpc_router.run_names import SELECTION as SELECTION
from mpc_router.run_names import STATUSES as STATUSES
from mpc_router.run_names import STOPPED as STOPPED
from mpc_router.run_names import STUDY_FILE as STUDY_FILE
from mpc_router.run_names import TABLES as TABLES
from mpc_router.run_names import VALIDATION as VALIDATION
from mpc_router.run_names import table_file as table_file

VERSION: Final = 2
"""Version of the tables that are written."""

READ_VERSIONS: Final = (1, VERSION)
"""Versions that a reader takes. Version 1 has no paths: its routes are experts."""

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

    `settings` are the searched settings by short name; `metrics` the task's own metrics (score
    excepted); `quoted` the quoted splits (`validation`, and for MNLI `validation_mismatched`);
    `vectors` the names of the pool's cost vectors. Per split S of selection and `quoted`:
    `S_score`, `S_<metric>`, `S_cost` (under the study's vector) and `S_cost_<vector>`. Scores and
    costs are null where the trial never reached the split. `paths_id` names the trial's rows of
    `paths`; it is null where a route is an expert's number.
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
        pa.field("paths_id", pa.string()),
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
    before their weights; `share` the hard routes' share by route, `gate` the mean soft gate by
    route (both lists of length K, or P of a trial whose routes are paths); `gate_entropy` the mean
    entropy of a gate in nats; `seconds` the time since the trial's pack started.
    """
    return pa.schema(
        [
            _required("key", pa.string()),
            _required("epoch", pa.int64()),
            _required("split", pa.string()),
            *(pa.field(name, pa.float64()) for name in ("score", *metrics)),
            *(pa.field(name, pa.float64()) for name in ("cost", *REPORT_LOSSES)),
            *(pa.field(name, pa.list_(pa.float64())) for name in REPORT_LISTS),
            *(pa.field(name, pa.float64()) for name in REPORT_NUMBERS),
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
"""A row is a trial x split x example: the hard route and the router's M logits, before noise and
temperature. Quoted splits and selection, at the trial's last epoch. The route is an expert's number
and M is K; of a trial with a `paths_id` it is a path's number, and M the numbers of its router."""

PART_PATHS: Final = pa.schema(
    [
        _required("paths_id", pa.string()),
        _required("path", pa.uint8()),
        _required("experts", pa.list_(pa.uint8())),
        _required("combine", pa.string()),
        _required("weights", pa.list_(pa.float64())),
        _required("offset", pa.list_(pa.float64())),
    ]
)
"""A row is a path of a router: its experts in the order in which they run, and what its answer is
made of, `sum_k weights_k * output_k + offset` over K experts and C outputs; with `combine` `last`
that is what the last expert says, with `average` the mean of the experts' probabilities."""


def paths(vectors: tuple[str, ...]) -> pa.Schema:
    """Gives the columns of `paths`: a row is a prepared set x paths_id x path.

    `set` names the prepared set whose experts the path numbers; `cost_<vector>` is what the path
    adds to the router's cost there, null under a vector that the set lacks. The others are those of
    `PART_PATHS`.
    """
    costs = [pa.field(f"cost_{vector}", pa.float64()) for vector in vectors]
    return pa.schema([_required("set", pa.string()), *PART_PATHS, *costs])


def curves(quoted: tuple[str, ...]) -> pa.Schema:
    """Gives the columns of `curves`: a row is a trial x cost vector x bias.

    The routes are those of the trial's logits under argmax(z - bias x cost), the bias in
    logits per unit of the cost vector; at 0 they are the trial's own. Scores and costs are on
    selection and on the splits `quoted`, the router paid.
    """
    names = (f"{split}_{name}" for split in (SELECTION, *quoted) for name in ("score", "cost"))
    return pa.schema(
        [
            _required("key", pa.string()),
            _required("cost_vector", pa.string()),
            _required("bias", pa.float64()),
            *(_required(name, pa.float64()) for name in names),
        ]
    )


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
the column is missing where they do not. Where points of a study have several pools, lengths are
those of its first pool: tokenizers of others may give the same text another length."""


def paths_from(rows: Sequence[Mapping[str, Any]]) -> Paths:
    """Reads the rows of one `paths_id`, in any order, as the paths that they are.

    Raises:
        ValueError: they are no paths, or others than those that have this name.
    """
    ordered = sorted(rows, key=lambda row: int(row["path"]))
    if not ordered or [row["path"] for row in ordered] != list(range(len(ordered))):
        raise ValueError(f"there are {len(ordered)} paths, but not those from 0 on, once each")
    record = {
        "paths": [row["experts"] for row in ordered],
        "combine": ordered[0]["combine"],
        "weights": [row["weights"] for row in ordered],
        "offset": [row["offset"] for row in ordered],
    }
    try:
        paths = Paths.from_json(record)
    except (TypeError, LookupError) as error:
        raise ValueError(str(error)) from error
    if any(row["combine"] != paths.combine for row in ordered):
        raise ValueError("they are combined in several ways")
    if any(row["paths_id"] != paths.name for row in ordered):
        raise ValueError(f"their name is {quoted(ordered[0]['paths_id'])}, not {paths.name}")
    return paths


def path_rows(
    rows: Sequence[Mapping[str, Any]], vectors: Mapping[str, dict[str, Any]]
) -> list[dict[str, Any]]:
    """Adds what each path costs to the rows of one `paths_id`; `vectors` are those of its set.

    Raises:
        ValueError: the paths are those of other experts than the vectors.
    """
    paths = paths_from(rows)
    costs = {}
    for name, vector in from_json(dict(vectors)).items():
        if len(vector.experts) != paths.experts:
            raise ValueError(f"they are of {paths.experts} experts, and {len(vector.experts)} run")
        costs[f"cost_{name}"] = vector.on(paths.decisions.paths).routed
    ordered = sorted(rows, key=lambda row: int(row["path"]))
    return [
        {**row, **{name: values[place] for name, values in costs.items()}}
        for place, row in enumerate(ordered)
    ]


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
  the cheapest expert, which is paid once), `basis` (text: what the costs rest on; left out where
  nothing is known)}
- `objectives`: name -> "max" or "min"
- `changes`: what `--resume RUN --force` has let through, list of {`time` (UTC, ISO 8601), `what`
  (`code`, a library, `data`, `experts`, `stem`, `study.yaml` or `part NAME`), `then`, `now`}; runs
  without it have none
- `parts`: parts of one's own (samplers, metrics, cost vectors, pools, stopping rules, kinds of
  routers), list of {`group` (of entry points), `name`, `package`, `version`} (of a module of no
  package: null, and a hash of its file); runs without it have used none
- `notes`: list of sentences that a reader of the results must know
"""
