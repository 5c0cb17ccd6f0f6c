"""The example of a routed answer on shares, with two real parties."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mpc_router.commands import export
from mpc_router.secure.environment import OtherPython
from tests.mpc_router.secure.conftest import real_python as real_python
from tests.trained import Trained

RUN = Path(__file__).resolve().parents[2] / "examples/secure/run.py"


@pytest.mark.long
def test_routes_and_answers_on_shares_are_those_in_the_clear(
    router: Trained, real_python: OtherPython, tmp_path: Path
) -> None:
    exported, texts = tmp_path / "exported", tmp_path / "texts.parquet"
    assert export.main([*router.flags, str(exported)]) == 0
    pairs = {
        "sentence1": ["the dog sees the cat", "a bird sings", "the cat sleeps"],
        "sentence2": ["the cat is seen by the dog", "no bird sings", "the dog sleeps"],
    }
    pq.write_table(pa.table(pairs), texts)
    words = [exported, "--texts", texts, "--tokens", "12", "--python", real_python.path]
    done = subprocess.run([sys.executable, RUN, *words], capture_output=True, text=True, check=True)
    assert "3 texts: routes equal in 3, answers in 3" in done.stdout
