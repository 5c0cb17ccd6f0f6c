"""A resume of a run that has nothing left to train needs neither experts nor GPUs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from sweeps import run
from sweeps.commands import resume
from sweeps.journal._lines import line_of
from sweeps.journal.journal import read
from sweeps.journal.state import replay
from tests.sweeps.conftest import FIX

Command = Callable[..., int]

ENDS = {
    "spent before the second seeds": (("seeds=[0, 1]", "racing=1", "budget.epochs=20"), 5),
    "spent in GPU hours of a measured share": (("seeds=[0]",), 5),
    "done": (("seeds=[0]",), 0),
    "done on GPUs": (("seeds=[0]",), 0),
}


@pytest.mark.parametrize("name", ENDS)
def test_a_run_with_nothing_left_to_train_prepares_nothing(
    command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
) -> None:
    """Not even where cache and GPUs are gone, as on another machine."""
    words, code = ENDS[name]
    more = ("--name", "r", "--no-report", "--quiet")
    trained = code if "before" in name else 0
    assert command("mrpc_grid", *FIX, "start=[]", *words, *more) == trained
    folder = tmp_path / "runs" / "r"
    events = [dict(event) for event in read(folder / "journal.jsonl")]
    events[0]["places"] = {**events[0]["places"], "cache": str(tmp_path / "gone")}
    if "GPU" in name:
        hours = {"gpu_hours": 0.1} if code else {}
        study = events[0]["study"]
        study.update(pack={**study["pack"], "gpus": "measured" if code else 1}, budget=hours)
        (folder / "study.yaml").write_text(yaml.safe_dump(study))
    if "hours" in name:
        events = [event for event in events if event["event"] != "ended"]
        events[-1]["outcome"] = "budget"
    lines = (line_of({**event, "n": number}) for number, event in enumerate(events, 1))
    (folder / "journal.jsonl").write_bytes(b"".join(lines))
    for part in ("prepare_sets", "pack_share", "check_gpus"):
        monkeypatch.setattr(resume, part, None)
    capsys.readouterr()
    assert run.main(["--resume", str(folder), "--no-report", "--quiet"]) == code
    assert ("is used up" in capsys.readouterr().err) == bool(code)
    assert replay(read(folder / "journal.jsonl")).closed == ("budget" if code else "done")
