"""Where a run's numbers come from: versions, commit, machine, data, experts and code."""

from __future__ import annotations

import datetime
import hashlib
import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from sweeps.worker import Prepared

ROOT: Final = Path(__file__).resolve().parent.parent
PACKAGES: Final = ("mpc_router", "sweeps")
LIBRARIES: Final = (
    *("mpc-router", "torch", "transformers", "tokenizers", "safetensors", "numpy", "scipy"),
    *("pyarrow", "pandas", "ray", "moocore"),
)


def provenance(
    run: str,
    tree: Mapping[str, Any],
    facts: Mapping[str, Any],
    prepared: Prepared,
    *,
    arguments: Sequence[str],
) -> dict[str, Any]:
    """What `provenance.json` holds (`analysis.schema` lists it), but for the schema's version.

    `tree` is the resolved study, `facts` what the study says of itself.
    """
    return {
        "run": run,
        "study": tree["study"],
        "task": facts["task"],
        "pool": facts["pool"],
        "synthetic": prepared.synthetic,
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "arguments": list(arguments),
        "versions": versions(),
        "commit": commit(),
        "machine": machine(),
        "fingerprints": {
            "data": prepared.data_fingerprint,
            "experts": prepared.experts_id,
            "stem": prepared.stem.hash,
            "code": code_fingerprint(),
        },
        "experts": [
            {
                "expert": number,
                "name": expert.name,
                "layers": expert.layers,
                "stand_in": expert.stand_in,
            }
            for number, expert in enumerate(prepared.experts)
        ],
        "stem": {"name": prepared.stem.name, "stand_in": prepared.stem.stand_in},
        "experts_fixed_seed": True,
        "splits": {
            name: {
                "rows": len(split.labels),
                "source": prepared.split_origin[name],
                "note": prepared.split_notes[name],
            }
            for name, split in prepared.splits.items()
        },
        "cost_vector": tree["cost_vector"],
        "cost_vectors": facts["cost_vectors"],
        "objectives": tree["objectives"],
        "notes": list(prepared.notes),
    }


def versions() -> dict[str, str]:
    """Installed versions of what the numbers depend on."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, str]:
    """The machine in words."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": _processor(),
        "cores": str(os.cpu_count()),
        "memory": f"{memory / 2**30:.0f} GiB",
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def commit() -> str | None:
    """The checkout's commit, with `+` where files differ from it; None outside a checkout."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=+"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def code_fingerprint() -> str:
    """Of every source file that trains or orchestrates."""
    total = hashlib.sha256()
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            total.update(path.relative_to(ROOT).as_posix().encode() + b"\0")
            total.update(path.read_bytes() + b"\0")
    return total.hexdigest()[:16]
