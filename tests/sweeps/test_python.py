"""`sweeps.run_study` is the command as a function."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeps import run_study
from sweeps.records import InputError
from tests.sweeps.conftest import in_process

GRID = {"alpha": {"grid": [0, 0.1]}, "beta": 0.01, "start": [], "seeds": [0, 1], "epochs": 2}


def test_a_study_that_is_run_from_python_gives_the_run_it_leaves(
    prepared_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_process(monkeypatch, prepared_folder)
    run = run_study(
        "mrpc_grid",
        {"router_hidden_size": 8, "pool": "sample", **GRID},
        sample=True,
        out=tmp_path,
        cache=tmp_path / "cache",
        name="r",
        report=False,
    )
    assert run.path == tmp_path / "r"
    assert sorted(run.trials["alpha"]) == [0, 0, 0.1, 0.1]
    assert set(run.trials["status"]) == {"COMPLETED"}
    assert not (run.path / "report.html").exists()


@pytest.mark.parametrize(
    ("overrides", "flags", "says"),
    [
        ({"alhpa": 1}, {"sample": True}, "alhpa"),
        ({"alpha": -1}, {"sample": True}, "alpha is -1"),
        ({}, {"sample": True, "data": "glue"}, "two sources"),
        ({}, {"sample": True, "out": ""}, "out is ''"),
        ({}, {"sample": True, "name": "../r"}, "--name"),
    ],
)
def test_wrong_input_is_one_message_and_writes_nothing(
    overrides: dict[str, float], flags: dict[str, str], says: str, tmp_path: Path
) -> None:
    known = {"out": str(tmp_path / "runs"), "cache": str(tmp_path / "cache")}
    with pytest.raises(InputError) as caught:
        run_study("mrpc_grid", overrides, **{**known, **flags})
    assert says in str(caught.value)
    assert not (tmp_path / "runs").exists()
