"""The example of a routed answer on shares, with two real parties."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mpc_router.commands import export
from mpc_router.secure.environment import OtherPython
from tests.mpc_router.secure.conftest import played as played
from tests.mpc_router.secure.conftest import real_python as real_python
from tests.trained import Trained

RUN = Path(__file__).resolve().parents[2] / "examples/secure/run.py"


@pytest.fixture(scope="module")
def exported(router: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported router of the sample."""
    folder = tmp_path_factory.mktemp("example") / "exported"
    assert export.main([*router.flags, str(folder)]) == 0
    return folder


@pytest.mark.long
def test_routes_and_answers_on_shares_are_those_in_the_clear(
    exported: Path, real_python: OtherPython, tmp_path: Path
) -> None:
    texts = tmp_path / "texts.parquet"
    pairs = {
        "sentence1": ["the dog sees the cat", "a bird sings", "the cat sleeps"],
        "sentence2": ["the cat is seen by the dog", "no bird sings", "the dog sleeps"],
    }
    pq.write_table(pa.table(pairs), texts)
    flags = ["--texts", str(texts), "--tokens", "12", "--python", str(real_python.path)]
    command = [sys.executable, str(RUN), str(exported), *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "3 texts: routes equal in 3, answers in 3" in done.stdout
    lines = done.stdout.splitlines()[:3]
    assert [line.partition(":")[0] for line in lines] == ["1 of 3", "2 of 3", "3 of 3"]


@pytest.mark.parametrize(
    ("flag", "value", "words"),
    [
        ("--count", "0", ["--count is 0", "at least 1"]),
        ("--tokens", "2", ["--tokens is 2", "lengths are 4"]),
        ("--tokens", "999", ["--tokens is 999", "the positions of"]),
        ("--texts", "gone", ["--texts gone cannot be read", "sentence1, sentence2"]),
        ("--python", "gone", ["no Python with spu", "gone"]),
        ("exported", "gone", ["gone"]),
    ],
)
def test_bad_input_is_one_message(
    exported: Path,
    played: Path,
    capfd: pytest.CaptureFixture[str],
    flag: str,
    value: str,
    words: list[str],
) -> None:
    named = {"exported": str(exported), "--texts": "texts", "--python": str(played), flag: value}
    arguments = [named.pop("exported"), *(word for pair in named.items() for word in pair)]
    capfd.readouterr()
    main = runpy.run_path(str(RUN))["main"]
    assert main(arguments) == 2
    said = capfd.readouterr()
    errors = [line for line in said.err.splitlines() if line.startswith("error: ")]
    assert (said.out, len(errors)) == ("", 1)
    for word in words:
        assert word in errors[0]
