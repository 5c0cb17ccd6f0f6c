"""A Python that stands for the one with `spu`, and the real one where there is one."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mpc_router.secure.environment import OtherPython, SecureError, other_python

_PLAYED = '''#!{python} -S
"""Plays both parties in the clear: it answers as `party.py` would, and logs as SPU does."""
import json, math, sys
sys.path[:0] = {paths!r}
if sys.argv[1] == "-c":
    print(json.dumps({{"jax": "0", "numpy": "0", "spu": "played"}}))
    sys.exit()
import numpy as np
sys.path.insert(0, sys.argv[1].rpartition("/")[0])
import encoders
job, rank = json.load(open(sys.argv[2])), int(sys.argv[3])
inputs, weights = np.load(job["inputs_file"]), dict(np.load(job["weights_file"]))
library = encoders.Library(np, np.vectorize(math.erf, otypes=[float]), lambda v: 1 / np.sqrt(v))
values = [inputs[name] for name in job["inputs"]]
if job["kind"] == "argmax":
    output = np.argmax(values[0])
else:
    form = encoders.Form.of(job["form"])
    run = encoders.looked_up if job["kind"] == "lookup" else encoders.answered
    output = run(weights, *values, form, library)
layers = (job["form"] or {{}}).get("layers", 0)
numbers = sum(array.size for array in weights.values())
print("[info] Link details: total send bytes 1, recv bytes 1, send actions 1, recv actions 1")
print(f"[info] Link details: total send bytes {{1000 * numbers + rank}}, recv bytes 7, "
      f"send actions {{10 * layers + 3 + rank}}, recv actions 9")
result = {{"elapsed": 2.0, "worked": 1.0 + rank, "memory_bytes": 1000 + rank}}
if rank == 0:
    result["output"] = np.asarray(output).tolist()
open(f"{{job['result']}}.{{rank}}", "w").write(json.dumps(result))
'''


@pytest.fixture(scope="session")
def played(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The path of a Python that plays the parties."""
    path = tmp_path_factory.mktemp("played") / "python"
    path.write_text(_PLAYED.format(python=sys.executable, paths=sys.path), encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.fixture(scope="session")
def real_python() -> OtherPython:
    """The Python that `make secure` makes."""
    try:
        return other_python()
    except SecureError as error:
        pytest.skip(f"needs `make secure`: {error}")
