"""What changed since a run's last session: named and refused, or forced and recorded."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from analysis.fronts.survey import survey
from analysis.report.notices import notices
from analysis.runs.load import load_run
from mpc_router.prepare import frozen
from mpc_router.prepare.frozen import open_prepared
from sweeps.journal._lines import line_of
from sweeps.journal.journal import read
from sweeps.journal.state import State, replay
from sweeps.provenance.facts import versions
from sweeps.records import COMPLETED, STOPPED, Report
from sweeps.worker._pack_run import PackRun
from tests.sweeps.conftest import FIX, assert_same_tables, rows
from tests.sweeps.search.test_searches import FINISHED

Command = Callable[..., int]
MadeRun = Callable[..., Path]
QUIET = ("--no-report", "--quiet")
GRID = ("mrpc_grid", *FIX, "seeds=[0]", "start=[]", "pack.points=3")

pytestmark = pytest.mark.usefixtures("no_front")


@pytest.fixture
def done(made_run: MadeRun, tmp_path: Path) -> Path:
    """A grid of nine trials in three packs."""
    return made_run(tmp_path / "runs" / "done", *GRID)


@pytest.fixture
def half(made_run: MadeRun, tmp_path: Path) -> Path:
    """The same, of which a budget has left two packs."""
    found = made_run(tmp_path / "runs" / "half", *GRID, "budget.epochs=6", code=5)
    assert 0 < len(state_of(found).unended()) < 9
    return found


def state_of(run: Path) -> State:
    return replay(read(run / "journal.jsonl"))


def provenance(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "provenance.json").read_text())
    return found


def edit(run: Path, **settings: Any) -> None:
    path = run / "study.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **settings}))


def error(capsys: pytest.CaptureFixture[str]) -> str:
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    return said


@pytest.fixture
def newer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another program than the one that began the run."""
    others = versions() | {"torch": "99.0", "ray": "99.1"}
    monkeypatch.setattr("sweeps.provenance.changes.code_fingerprint", lambda: "feedfacefeedface")
    monkeypatch.setattr("sweeps.provenance.changes.versions", lambda: others)


MORE = "budget.epochs=9999"


@pytest.mark.usefixtures("newer")
def test_another_program_is_refused_where_something_is_left_to_train(
    half: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (half / "journal.jsonl").read_bytes()
    capsys.readouterr()
    assert command("--resume", str(half), MORE, *QUIET) == 2
    said = error(capsys)
    assert "is feedfacefeedface" in said
    assert "torch was " in said
    assert "is 99.0" in said
    assert "99.1" not in said  # no number depends on Ray
    assert "--force" in said
    assert (half / "journal.jsonl").read_bytes() == before


@pytest.mark.usefixtures("newer")
def test_what_is_forced_is_recorded_and_forced_once(
    half: Path, command: Command, done: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    began = provenance(half)
    assert provenance(done)["changes"] == []
    assert command("--resume", str(half), "budget.epochs=12", "--force", *QUIET) == 5
    assert "--force: code was" in capsys.readouterr().err
    assert state_of(half).unended()
    assert command("--resume", str(half), MORE, *QUIET) == 0
    assert_same_tables(half, done)
    code, torch = provenance(half)["changes"]
    assert (code["what"], code["then"]) == ("code", began["fingerprints"]["code"])
    assert code["now"] == "feedfacefeedface"
    assert (torch["what"], torch["then"]) == ("torch", began["versions"]["torch"])
    times = {event["time"] for event in read(half / "journal.jsonl") if event["event"] == "resumed"}
    assert {code["time"], torch["time"]} < times
    assert provenance(half)["versions"] == began["versions"]
    run = load_run(half)
    said = " ".join(notice.text for notice in notices(run, survey(run)))
    assert "Resumed with --force on " in said
    assert "torch was " in said


@pytest.mark.usefixtures("newer")
def test_a_run_with_nothing_left_to_train_is_rebuilt_by_any_program(
    done: Path, half: Path, command: Command
) -> None:
    for run, code in ((done, 0), (half, 5)):  # of the half one nothing is left of the budget
        before = rows(run, "trials")
        (run / "trials.parquet").unlink()
        assert command("--resume", str(run), *QUIET) == code
        assert rows(run, "trials") == before
        assert state_of(run).forced == []


def test_a_killed_rebuild_of_a_done_run_leaves_it_done(done: Path, command: Command) -> None:
    path = done / "journal.jsonl"
    assert command("--resume", str(done), *QUIET) == 0
    *events, closed = read(path)
    assert closed["event"] == "closed"
    path.write_bytes(b"".join(map(line_of, events)))
    assert state_of(done).closed is None
    assert state_of(done).done


@pytest.mark.usefixtures("newer")
def test_a_repair_that_trains_is_refused_like_any_other(
    done: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("--resume", str(done), "--repair", "--retry-failed", *QUIET) == 0
    (done / "parts" / "pack01.parquet").unlink()
    capsys.readouterr()
    assert command("--resume", str(done), "--repair", *QUIET) == 2
    assert "code was " in error(capsys)
    assert command("--resume", str(done), "--repair", "--force", *QUIET) == 0
    assert {trial["status"] for trial in rows(done, "trials")} == {COMPLETED}


def test_force_with_nothing_changed_is_no_event_of_note(half: Path, command: Command) -> None:
    assert command("--resume", str(half), MORE, "--force", *QUIET) == 0
    assert provenance(half)["changes"] == []
    assert "--force" not in " ".join(provenance(half)["notes"])


def test_an_edited_study_is_named_and_kept_until_it_is_forced(
    done: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    path, own = done / "study.yaml", (done / "study.yaml").read_text()
    edit(done, seeds=[0, 1], budget={"epochs": 5})
    edited = path.read_text()
    capsys.readouterr()
    assert command("--resume", str(done), *QUIET) == 2
    said = error(capsys)
    assert "study.yaml was edited (seeds: [0, 1], in the run [0]; budget.epochs: 5" in said
    assert path.read_text() == edited
    assert command("--resume", str(done), "--force", *QUIET) == 0
    assert path.read_text() == own
    assert len(rows(done, "trials")) == 9
    (change,) = provenance(done)["changes"]
    assert change["what"] == "study.yaml"
    assert (change["then"]["seeds"], change["now"]["seeds"]) == ([0], [0, 1])
    assert "the run kept its own study" in provenance(done)["notes"][-1]
    assert command("--resume", str(done), *QUIET) == 0


def test_what_is_no_edit_of_the_study_is_written_anew(half: Path, command: Command) -> None:
    path, began = half / "study.yaml", (half / "study.yaml").read_text()
    assert command("--resume", str(half), "budget.epochs=12", *QUIET) == 5
    own = path.read_text()
    assert own != began
    texts = {
        "gone": None,
        "cut short": own[: len(own) // 2],
        "no YAML": "{",
        "a comment": f"# mine\n{own}",
        "an older budget": began,
    }
    for how, text in texts.items():
        path.unlink()
        if text is not None:
            path.write_text(text)
        assert command("--resume", str(half), *QUIET) == 5, how
        assert path.read_text() == own, how


@pytest.fixture
def other_data(command: Command, monkeypatch: pytest.MonkeyPatch, prepared_folder: Path) -> None:
    """What is prepared is of other rows."""
    other = dataclasses.replace(open_prepared(prepared_folder), data_fingerprint="other")
    monkeypatch.setattr(frozen, "prepare", lambda *_: other)


def test_other_data_are_refused_though_forced_where_something_is_left_to_train(
    half: Path, command: Command, capsys: pytest.CaptureFixture[str], request: Any
) -> None:
    request.getfixturevalue("other_data")
    before = (half / "journal.jsonl").read_bytes()
    capsys.readouterr()
    assert command("--resume", str(half), MORE, *QUIET) == 2
    assert "is other: not what the run began with" in error(capsys)
    assert command("--resume", str(half), MORE, "--force", *QUIET) == 2
    assert "--force does not allow trials of other data" in error(capsys)
    assert (half / "journal.jsonl").read_bytes() == before


def test_a_done_run_writes_its_tables_anew_without_preparing_anything(
    done: Path, half: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frozen, "prepare", lambda *_: pytest.fail("experts are prepared"))
    for run, code in ((done, 0), (half, 5)):  # of the half one nothing is left of the budget
        before = rows(run, "trials")
        (run / "trials.parquet").unlink()
        assert command("--resume", str(run), *QUIET) == code
        assert rows(run, "trials") == before


@pytest.mark.usefixtures("other_data")
def test_a_repair_of_a_done_run_with_other_data_is_refused(done: Path, command: Command) -> None:
    assert command("--resume", str(done), "--force", "--repair", *QUIET) == 2


def test_a_journal_of_before_is_resumed(half: Path, done: Path, command: Command) -> None:
    assert command("--resume", str(half), "budget.epochs=12", *QUIET) == 5
    path = half / "journal.jsonl"
    events = list(read(path))
    assert sum("forced" in event for event in events) == 1
    for event in events:
        event.pop("forced", None)  # type: ignore[attr-defined]
    path.write_bytes(b"".join(map(line_of, events)))
    assert command("--resume", str(half), MORE, *QUIET) == 0
    assert_same_tables(half, done)


SHIFT = 0.0078125


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Once called, trials come out a little otherwise."""
    real = PackRun.reports

    def shifted(run: PackRun, *given: Any, **named: Any) -> tuple[Report, ...]:
        return tuple(
            dataclasses.replace(
                each, metrics={name: value + SHIFT for name, value in each.metrics.items()}
            )
            for each in real(run, *given, **named)
        )

    return lambda: monkeypatch.setattr(PackRun, "reports", shifted)


def scores(run: Path) -> dict[tuple[str, int, str], float]:
    return {(row["key"], row["epoch"], row["split"]): row["score"] for row in rows(run, "reports")}


@pytest.fixture
def killed(done: Path, tmp_path: Path) -> Path:
    """The same as it was when its second pack had reported an epoch."""
    found = tmp_path / "runs" / "killed"
    shutil.copytree(done, found)
    events = list(read(done / "journal.jsonl"))
    cut = next(
        number
        for number, event in enumerate(events, 1)
        if event["event"] == "reported" and event["pack"] != "pack00"
    )
    (found / "journal.jsonl").write_bytes(b"".join(map(line_of, events[:cut])))
    return found


@pytest.mark.parametrize("forced", [False, True])
def test_what_is_under_way_takes_the_numbers_of_one_machine(
    forced: bool,
    killed: Path,
    done: Path,
    command: Command,
    elsewhere: Callable[[], None],
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Not forced: on another machine, where nothing changed that could be named."""
    wanted, left = scores(done), {trial.key for trial in state_of(killed).unended()}
    elsewhere()
    if forced:
        request.getfixturevalue("newer")
    capsys.readouterr()
    assert command("--resume", str(killed), *["--force"][: int(forced)], *QUIET) == 0
    said = capsys.readouterr().err
    assert said.count("gives other numbers than before it was interrupted (after epoch 1 of ") == 1
    found = scores(killed)
    assert found.keys() == wanted.keys()
    assert {place[0] for place in found if found[place] == wanted[place] + SHIFT} == left
    assert {place[0] for place in found if found[place] == wanted[place]}.isdisjoint(left)
    assert sum("gave other numbers" in note for note in provenance(killed)["notes"]) == 1


@pytest.mark.slow
@pytest.mark.parametrize("decided", [1, 2, 3, 4])
def test_a_bracket_under_way_takes_the_numbers_and_ranks_of_one_machine(
    decided: int,
    command: Command,
    made_run: MadeRun,
    elsewhere: Callable[[], None],
    tmp_path: Path,
) -> None:
    """Cut off after each of its rungs; trials that are finished later are trained whole again."""
    run = made_run(tmp_path / "runs" / "b", *FINISHED)
    events = list(read(run / "journal.jsonl"))
    cut = [number for number, event in enumerate(events) if event["event"] == "decided"]
    (run / "journal.jsonl").write_bytes(b"".join(map(line_of, events[: cut[decided - 1] + 1])))
    before = scores(run)
    current = state_of(run).packs[events[cut[decided - 1]]["pack"]]
    elsewhere()
    assert command("--resume", str(run), *QUIET) == 0
    state, found = state_of(run), scores(run)
    assert {row["status"] for row in rows(run, "trials")} == {COMPLETED, STOPPED}
    mine = {trial.key for trial in current.trials}
    both = found.keys() & before.keys()
    assert {place for place in both if found[place] == before[place] and place[0] in mine} == set()
    assert {key for key, epoch in state.decisions if epoch == 1} >= mine
