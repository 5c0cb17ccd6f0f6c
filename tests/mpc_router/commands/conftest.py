"""The training command in this process, on the embedded sample."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from mpc_router.commands import train

CONFIGS = Path(__file__).parents[3] / "configs"
QUICK = (
    *("train_rows=200", "validation_rows=100", "epochs=2", "expert_epochs=1", "batch_size=32"),
)
"""Settings of a training that takes a moment."""


@dataclass(frozen=True)
class Answer:
    """What a command said."""

    code: int
    out: str
    err: str


Command = Callable[..., Answer]


@pytest.fixture
def command(sample_cache: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Command:
    """`mpc-router-train` as a user calls it, leaving its output in `tmp_path/outputs`."""

    def call(*arguments: str) -> Answer:
        capfd.readouterr()
        places = ["--cache", str(sample_cache), "--out", str(tmp_path / "outputs")]
        try:
            code = train.main([*arguments, *places])
        except SystemExit as error:
            code = int(error.code or 0)
        said = capfd.readouterr()
        return Answer(code, said.out, said.err)

    return call
