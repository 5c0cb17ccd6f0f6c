"""The module gathers where a run's numbers come from: versions, commit, machine, data and code."""

from __future__ import annotations

import datetime
import functools
import hashlib
import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from sweeps.plan.preparation import Ready

_ROOT: Final = Path(__file__).resolve().parents[2]
_PACKAGES: Final = ("mpc_router", "sweeps")
_LIBRARIES: Final = (
    *("mpc-router", "torch", "transformers", "tokenizers", "safetensors", "numpy", "scipy"),
    *("pyarrow", "pandas", "ray", "moocore"),
)
_COMPILERS: Final = ("numba", "llvmlite")
"""They compile what trains routers; without them routers are trained through torch's autograd."""


def provenance(
    run: str,
    tree: Mapping[str, Any],
    facts: Mapping[str, Any],
    ready: Sequence[Ready],
    *,
    arguments: Sequence[str],
) -> dict[str, Any]:
    """Gathers what `provenance.json` holds (see `analysis.schema`), without its version.

    `tree` is the resolved study, `facts` are the study's facts of itself. Experts, stem, splits and
    cost vectors are the first set's; `sets` has all sets'.
    """
    sets = [_set_entry(prepared) for prepared in ready]
    inputs = ready[0].inputs
    return {
        "run": run,
        "study": tree["study"],
        **{name: facts[name] for name in ("task", "task_definition") if name in facts},
        "pool": facts["pool"],
        "synthetic": inputs.synthetic,
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "arguments": list(arguments),
        "versions": versions(),
        "commit": commit(),
        "machine": machine(),
        "fingerprints": {**sets[0]["fingerprints"], "code": code_fingerprint()},
        "experts": sets[0]["experts"],
        "stem": sets[0]["stem"],
        "experts_fixed_seed": _fixed_seed(ready, facts),
        "splits": {
            name: {
                "rows": len(split.labels),
                "source": inputs.split_origin[name],
                "note": inputs.split_notes[name],
            }
            for name, split in inputs.splits.items()
        },
        "cost_vector": tree["cost_vector"],
        "cost_vectors": sets[0]["cost_vectors"],
        "sets": sets,
        "objectives": tree["objectives"],
        "notes": _notes(ready),
        **({"parts": tree["parts"]} if "parts" in tree else {}),
    }


def _set_entry(ready: Ready) -> dict[str, Any]:
    """Makes the entry of a prepared set in `sets`."""
    inputs = ready.inputs
    return {
        "name": ready.prepared_set.name,
        "points": list(ready.prepared_set.points),
        "joint": ready.prepared_set.joint,
        "experts_id": inputs.experts_id,
        "pool": ready.prepared_set.config.model.pool,
        "pool_size": len(inputs.experts),
        "experts": [
            {
                "expert": number,
                "name": expert.name,
                "layers": expert.layers,
                "stand_in": expert.stand_in,
            }
            for number, expert in enumerate(inputs.experts)
        ],
        "stem": {"name": inputs.stem.name, "stand_in": inputs.stem.stand_in},
        "cost_vectors": ready.costs(),
        "fingerprints": {
            "data": inputs.data_fingerprint,
            "experts": inputs.experts_id,
            "stem": inputs.stem.hash,
        },
    }


def _fixed_seed(ready: Sequence[Ready], facts: Mapping[str, Any]) -> bool:
    """Tells whether the experts were trained for one seed alone."""
    return (
        not any(prepared.prepared_set.joint for prepared in ready)
        and "expert_seed" not in facts["settings"]
    )


def _notes(ready: Sequence[Ready]) -> list[str]:
    """Gives the sets' notes for readers, each once, and whose token counts are given."""
    notes = list(dict.fromkeys(note for prepared in ready for note in prepared.inputs.notes))
    names = dict.fromkeys(_tokenizers(prepared) for prepared in ready)
    if len(names) > 1:
        notes.append(
            f"The points' tokenizers differ ({', '.join(names)}); `tokens` of the examples are "
            f"counted by {next(iter(names))}."
        )
    return notes


def _tokenizers(ready: Ready) -> str:
    """Names the tokenizers of a set: the one that is set for all, or each encoder's own."""
    tokenizers = ready.inputs.tokenizers
    names = " and ".join(tokenizers.names) if tokenizers is not None else ""
    return ready.prepared_set.config.model.tokenizer_model_name or names


def versions() -> dict[str, str]:
    """Gives installed versions of the libraries that the numbers depend on.

    Compilers that are not there are named too, for then other arithmetic trains.
    """
    installed = {name: _version(name) for name in _LIBRARIES}
    compilers = {name: _version(name) or "not installed" for name in _COMPILERS}
    return {name: version for name, version in installed.items() if version} | compilers


@functools.cache
def _version(name: str) -> str | None:
    """Gives the installed version of a library, which is read once a process."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def machine() -> dict[str, str]:
    """Describes the machine in words."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": _processor(),
        "cores": str(os.cpu_count()),
        "memory": f"{memory / 2**30:.0f} GiB",
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
    }


def _processor() -> str:
    """Names the model of the processor, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def commit() -> str | None:
    """Gives the checkout's commit, with `+` where files differ; None outside a checkout."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=+"],
            cwd=_ROOT,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


@functools.cache
def code_fingerprint() -> str:
    """Hashes every source file that trains or orchestrates, once: a process keeps its code."""
    total = hashlib.sha256()
    for package in _PACKAGES:
        for path in sorted((_ROOT / package).rglob("*.py")):
            total.update(path.relative_to(_ROOT).as_posix().encode() + b"\0")
            total.update(path.read_bytes() + b"\0")
    return total.hexdigest()[:16]
