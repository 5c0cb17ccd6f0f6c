"""Kinds of routers side by side, on recorded outputs of real experts that have not seen the rows.

    python -m benchmarks.routers benchmarks/recorded/routers_mrpc.parquet

runs a study of all kinds over the recorded outputs, under the pool's constants and under the
published seconds of secure computation, and prints at stated costs what each kind reaches and how
much that is over a coin of the same cost, then the price at which each has nearly the best single
score, and the shares of the headroom that it captures. `--record` makes such a file of what is
prepared. A run's folder in the file's place prints the same of the run, and trains nothing.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml

EXPERTS: Final = ("2 layers", "4 layers", "6 layers")
COSTS: Final = {"constants": (2.0, 4.0, 6.0), "mpc seconds as if": (4.11, 69.71, 199.78)}
VECTORS: Final = {"constants": "constants", "mpc seconds as if": "mpc_seconds_as_if"}
"""What the costs are called in a run of a pool of three."""

CAPS: Final = {"constants": (2.5, 3.0, 4.0), "mpc seconds as if": (15.0, 30.0, 50.0, 70.0)}
SPACE: Final = {
    "router_kind": ["gated", "predictive", "sequential", "cascade", "clusters", "random"],
    "combine": ["last", "average", "logistic"],
}


def record(task: str, settings: Mapping[str, Any], folders: argparse.Namespace) -> pa.Table:
    """Gives labels and outputs of every row: of train those of experts that have not seen it.

    `settings` are those of a trial that differ from cross-fitting on all of train.
    """
    from mpc_router import trainer
    from mpc_router.config.trial import trial_config
    from mpc_router.data.sources import Source
    from mpc_router.model.sources import Models
    from mpc_router.prepare.inputs import Places
    from mpc_router.terminal.progress import StepLines

    config = trial_config(
        {
            **{"task": task, "pool": "minilm", "stem": "expert", "router_data": "cross_fitted"},
            **settings,
        }
    )
    places = Places(
        source=Source(kind="folder", folder=folders.data),
        models=Models(folders.models),
        cache=folders.cache,
    )
    steps = StepLines(lambda line: print(line, file=sys.stderr))
    prepared: Any = trainer.prepare(config, places, steps)
    tables = []
    for name, split in prepared.splits.items():
        source = "validation" if name.startswith("validation") else "train"
        outputs = np.asarray(split.outputs)
        tables.append(
            pa.table(
                {
                    "split": [source] * len(outputs),
                    "label": np.asarray(split.labels),
                    "outputs": list(outputs.reshape(len(outputs), -1)),
                }
            )
        )
    return pa.concat_tables(tables)


def compare(path: Path, folder: Path, *, seeds: int, vector: str) -> tuple[Any, Any]:
    """Runs all kinds over the recorded outputs under these costs.

    Gives the kinds at stated costs, and what each is worth over all of them.
    """
    from analysis import survey
    from analysis.worth.kind_worth import kind_worth
    from analysis.worth.kinds import kinds
    from sweeps import run_study

    rows = pq.read_table(path)
    frames, tables = {}, []
    for split in ("train", "validation"):
        part = rows.filter(pc.equal(rows["split"], split))
        places = [f"row {number} of {split}" for number in range(len(part))]
        labels = part["label"].to_numpy().astype(int)
        frames[split] = pa.table({"sentence": places, "label": [f"class {n}" for n in labels]})
        tables.append(part.append_column("example", pa.array(np.arange(len(part)))))
    recorded = pa.concat_tables(tables)
    outputs = np.stack(recorded["outputs"].to_numpy()).reshape(len(recorded), len(EXPERTS), -1)
    entries = []
    for number, name in enumerate(EXPERTS):
        table = recorded.select(["split", "example"])
        table = table.append_column("output", pa.array(list(outputs[:, number])))
        pq.write_table(table, folder / f"{number}.parquet")
        cost = COSTS[vector][number]
        entries.append({"name": name, "path": f"{number}.parquet", "cost": cost, "kind": "logits"})
    classes = [f"class {number}" for number in range(outputs.shape[-1])]
    study = {
        "study": "kinds",
        "task_definition": {
            **{"name": "recorded", "text": "sentence", "label": "label", "labels": classes},
            **{"metrics": ["accuracy"], "score": "accuracy"},
        },
        "outputs": entries,
        "trial": {"epochs": 5, "alpha": 0.01, "beta": 0.03},
        "space": {name: {"grid": values} for name, values in SPACE.items()},
        "seeds": list(range(seeds)),
    }
    (folder / "kinds.yaml").write_text(yaml.safe_dump(study), encoding="utf-8")
    run = run_study(
        folder / "kinds.yaml",
        dataset=frames,
        cache=folder / "cache",
        out=folder / "runs",
        report=False,
    )
    return kinds(run, costs=CAPS[vector]), kind_worth(run, survey(run))


def tables_of_run(folder: Path, vector: str) -> tuple[Any, Any]:
    """Gives the same tables of a run under one of these costs."""
    from analysis import load_run, survey
    from analysis.worth.kind_worth import kind_worth
    from analysis.worth.kinds import kinds

    run, name = load_run(folder), VECTORS[vector]
    table = kinds(run, costs=CAPS[vector], vector=name)
    return table, kind_worth(run, survey(run, vector=name))


def parser() -> argparse.ArgumentParser:
    """Gives the command's flags."""
    command = argparse.ArgumentParser(prog="python -m benchmarks.routers", description=__doc__)
    command.add_argument(
        "file", type=Path, help="recorded outputs, routers_TASK[_WORD].parquet, or a run"
    )
    command.add_argument("--seeds", type=int, default=5, help="routers of a kind (default: 5)")
    command.add_argument("--out", type=Path, help="a folder for the tables as csv")
    command.add_argument(
        "--record", nargs="*", metavar="KEY=VALUE", help="make FILE, with settings of a trial"
    )
    for name in ("data", "models", "cache"):
        command.add_argument(f"--{name}", type=Path, help="for --record, as sweeps.run has it")
    return command


def _halves(word: str) -> tuple[str, str]:
    key, _, text = word.partition("=")
    return key, text


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; gives its exit code."""
    args = parser().parse_args(arguments)
    if args.record is not None:
        settings = {key: yaml.safe_load(text) for key, text in map(_halves, args.record)}
        table = record(args.file.stem.split("_")[1], settings, args)
        pq.write_table(table, args.file, compression="zstd")
        return 0
    columns = ["cap", "kind", "score", "cost", "over_coin", "over_coin_low", "over_coin_high"]
    measures = ("price", "blind_share", "labelled_share")
    ends = [f"{name}{end}" for name in measures for end in ("", "_low", "_high")]
    worth_columns = ["kind", "price_score", "of_best", *ends, "cheapest"]
    for vector in COSTS:
        if args.file.is_dir():
            table, worths = tables_of_run(args.file, vector)
        else:
            with tempfile.TemporaryDirectory() as folder:
                table, worths = compare(args.file, Path(folder), seeds=args.seeds, vector=vector)
        print(f"\n{vector}: at most CAP, chosen on selection, quoted on validation")
        print(table[[*columns, "best"]].round(4).to_string(index=False))
        print(f"\n{vector}: price of the best single score less half a point, and shares")
        print(worths[worth_columns].round(3).to_string(index=False))
        if args.out is not None:
            args.out.mkdir(parents=True, exist_ok=True)
            table.to_csv(args.out / f"{args.file.stem} {vector}.csv", index=False)
            worths.to_csv(args.out / f"{args.file.stem} {vector} worth.csv", index=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
