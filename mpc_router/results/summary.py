"""What a trained router is worth and where it comes from: `summary.json` in a checkpoint's folder.

Plain JSON: `mpc-router-train` writes it, `mpc-router-eval` and `-export` read it.
"""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

from mpc_router.config.trial import TrialConfig, to_tree
from mpc_router.costs import CostVector, to_json
from mpc_router.results.checkpoint import CheckpointError
from mpc_router.results.records import SplitReport
from mpc_router.run_names import (
    PROVENANCE_FILE,
    REPORT_LISTS,
    REPORT_LOSSES,
    REPORT_NUMBERS,
    table_file,
)

SUMMARY_FILE: Final = "summary.json"
_FORMAT: Final = "mpc-router summary 1"

_LIBRARIES: Final = (
    *("mpc-router", "torch", "transformers", "tokenizers", "safetensors", "numpy", "scipy"),
    "pyarrow",
)

Kind = Literal["best", "last"]


def split_summary(report: SplitReport, row: int = 0) -> dict[str, Any]:
    """Gives score, metrics, costs, shares, gates and losses of one lane on a split."""
    metrics = {name: float(values[row]) for name, values in report.metrics.items()}
    total, *terms = REPORT_LOSSES
    return {
        "score": metrics.pop("score"),
        "metrics": metrics,
        "cost": {name: float(values[row]) for name, values in report.cost.items()},
        **{name: getattr(report, name)[row].tolist() for name in REPORT_LISTS},
        **{name: float(getattr(report, name)[row]) for name in REPORT_NUMBERS},
        "losses": {
            "total": float(getattr(report, total)[row]),
            **{name.removeprefix("loss_"): float(getattr(report, name)[row]) for name in terms},
        },
    }


def summary(
    *,
    kind: Kind,
    config: TrialConfig,
    seed: int,
    epoch: int,
    splits: Mapping[str, Mapping[str, Any]],
    vectors: Mapping[str, CostVector],
    more: Mapping[str, Any],
) -> dict[str, Any]:
    """Gives the content of `summary.json`.

    Args:
        kind: whether the weights are those of the best epoch or of the last.
        config: the trial's.
        seed: the trial's.
        epoch: the one these weights are from, from 1.
        splits: `split_summary` of selection, and of the quoted splits if they were evaluated with
            these weights.
        vectors: what costs are reported under.
        more: what else names the training: experts, stem, notes, fingerprints, places.
    """
    return {
        "format": _FORMAT,
        "task": config.data.task,
        "kind": kind,
        "epoch": epoch,
        "epochs": config.training.epochs,
        "seed": seed,
        "splits": {name: dict(content) for name, content in splits.items()},
        "cost_vectors": to_json(dict(vectors)),
        **more,
        "versions": versions(),
        "config": to_tree(config),
    }


def write_summary(folder: Path, content: Mapping[str, Any]) -> None:
    """Writes `summary.json` into a folder."""
    text = json.dumps(content, indent=1, allow_nan=False) + "\n"
    (folder / SUMMARY_FILE).write_text(text, encoding="utf-8")


def read_summary(folder: Path) -> dict[str, Any] | None:
    """Reads what `write_summary` wrote into the folder; None where there is none.

    Raises:
        CheckpointError: the file is there and is no summary.
    """
    path = folder / SUMMARY_FILE
    try:
        content = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not JSON ({error}); delete it or train again") from error
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise CheckpointError(f"{path} is no summary of ours ({_FORMAT!r}); take it away")
    return content


def versions() -> dict[str, str]:
    """Gives the installed versions of what the numbers depend on."""
    installed = {}
    for name in _LIBRARIES:
        try:
            installed[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return installed


def of_run(folder: Path) -> dict[str, Any] | None:
    """Reads a checkpoint's trial from its run's tables; gives None outside a run.

    The same keys as `read_summary` gives, as far as the tables know them.
    """
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    run, key = folder.resolve().parent.parent, folder.resolve().name
    paths = {name: run / table_file(name) for name in ("trials", "reports")}
    origin = run / PROVENANCE_FILE
    if not all(path.is_file() for path in (*paths.values(), origin)):
        return None
    try:
        facts = json.loads(origin.read_text(encoding="utf-8"))
        trials, reports = (pq.read_table(path) for path in paths.values())
        (trial,) = trials.filter(pc.equal(trials["key"], key)).to_pylist()
        reports_of_trial = reports.filter(pc.equal(reports["key"], key)).to_pylist()
        prepared_set = next(
            (one for one in facts.get("sets") or () if trial["point"] in one["points"]), facts
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{run}: its tables cannot be read ({error}); mpc-router-sweep --resume {run} "
            "writes them anew"
        ) from error
    vectors = list(prepared_set["cost_vectors"])
    by_epoch = sorted(reports_of_trial, key=lambda report: report["epoch"])
    last = {report["split"]: report for report in by_epoch}
    splits = {
        split: {
            "score": report["score"],
            "cost": {name: trial[f"{split}_cost_{name}"] for name in vectors},
            "share": report["share"],
        }
        for split, report in last.items()
    }
    return {
        "format": _FORMAT,
        "task": facts["task"],
        "splits": splits,
        "cost_vectors": prepared_set["cost_vectors"],
        **{name: facts[name] for name in ("notes", "synthetic", "versions") if name in facts},
        "fingerprints": prepared_set.get("fingerprints", {}),
    }
