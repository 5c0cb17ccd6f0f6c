"""The module writes what all trials of a run share: outputs of frozen experts, and examples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mpc_router.prepare.frozen import Prepared
from mpc_router.run_names import TRAIN
from mpc_router.trainer import Inputs
from sweeps.journal import bulk_files


def write_shared_parts(sets: Sequence[Inputs], folder: Path) -> dict[str, str]:
    """Writes frozen experts' outputs and examples as bulk files; gives the files' hashes.

    Every split but train is written.

    Experts that several sets have in common are written once. The examples are the
    first set's.
    """
    frozen = {inputs.experts_id: inputs for inputs in sets if isinstance(inputs, Prepared)}
    experts = [
        table
        for prepared in frozen.values()
        for split in _all_but_train(prepared)
        for table in bulk_files.experts(
            prepared.experts_id, split, regression=prepared.task.regression
        )
    ]
    examples = [bulk_files.examples(split) for split in _all_but_train(sets[0])]
    written = {bulk_files.EXAMPLES: bulk_files.write(folder / bulk_files.EXAMPLES, examples)}
    if experts:
        written[bulk_files.EXPERTS] = bulk_files.write(folder / bulk_files.EXPERTS, experts)
    return written


def _all_but_train(inputs: Inputs) -> list[Any]:
    """Gives the splits of a set that are not trained on."""
    return [split for name, split in inputs.splits.items() if name != TRAIN]
