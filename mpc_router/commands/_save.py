"""What a finished training leaves: the best and the last checkpoint, each with its summary."""

from __future__ import annotations

import datetime
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpc_router.commands._folders import Folders, replace
from mpc_router.commands._training_log import Record, table
from mpc_router.config.trial import TrialConfig
from mpc_router.results.checkpoint import save
from mpc_router.results.summary import Kind, split_summary, summary, write_summary
from mpc_router.run_names import SELECTION

if TYPE_CHECKING:
    from mpc_router.trainer import Inputs


def keep(
    record: Record,
    config: TrialConfig,
    seed: int,
    inputs: Inputs,
    target: Folders,
    about: dict[str, Any],
) -> list[str]:
    """Writes both checkpoints; gives what is to be told of them, in lines.

    Quoted splits stand in the summary of the checkpoint that was evaluated on them: the one that
    `training.epoch` names.
    """
    ended = record.ended
    assert ended is not None, "a training that has not ended leaves nothing"
    more = {**about, **_sources(inputs), "history": record.history}
    quoted = {report.split: split_summary(report) for report in ended.reports}
    told = ended.checkpoints[0].epoch
    vectors = {
        **getattr(inputs, "vectors", {}),
        **config.vectors(),
    }  # the trial's own constants win
    lines = []
    pairs: tuple[tuple[Kind, Path, Any], ...] = (
        ("best", target.best, ended.best[0]),
        ("last", target.last, ended.last[0]),
    )
    for kind, folder, checkpoint in pairs:
        splits = {SELECTION: record.selection(checkpoint.epoch)}
        content = summary(
            kind=kind,
            config=config,
            seed=seed,
            epoch=checkpoint.epoch,
            splits=_named(splits | (quoted if checkpoint.epoch == told else {}), inputs),
            vectors=vectors,
            more=more,
        )

        def write(folder: Path, checkpoint: Any = checkpoint, content: Any = content) -> None:
            save(checkpoint, folder)
            write_summary(folder, content)

        replace(folder, write)
        lines.append(f"{kind}: {folder} (epoch {checkpoint.epoch})")
    every = {SELECTION: record.selection(told), **quoted}
    experts = [(expert.name, expert.layers) for expert in inputs.experts]
    return [
        f"{config.data.task}, seed {seed}: epoch {told} of {config.training.epochs}"
        + (", the best on selection" if config.training.epoch == "best_score" else ", the last"),
        *table(every, vectors=vectors, experts=experts),
        *lines,
        f"logs: tensorboard --logdir {target.logs.parent}",
    ]


def _sources(inputs: Inputs) -> dict[str, Any]:
    """Says where experts, stem and data come from."""
    return {
        "experts": [asdict(expert) for expert in inputs.experts],
        "stem": asdict(inputs.stem),
        "synthetic": inputs.synthetic,
        "notes": list(inputs.notes),
        "fingerprints": {
            "data": inputs.data_fingerprint,
            "experts": inputs.experts_id,
            "stem": inputs.stem.hash,
        },
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def _named(splits: dict[str, Any], inputs: Inputs) -> dict[str, Any]:
    """Gives the splits with their size, their source file and what is particular about them."""
    return {
        name: {
            **facts,
            "rows": len(inputs.splits[name]),
            "source": inputs.split_origin[name],
            "note": inputs.split_notes[name],
        }
        for name, facts in splits.items()
    }
