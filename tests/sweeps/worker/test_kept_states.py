"""Packs that are interrupted go on from an epoch, to the tables of an undisturbed run."""

from __future__ import annotations

import dataclasses
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mpc_router.frozen._loop import Training
from sweeps.commands import sweep
from sweeps.driver import _ledger, session
from sweeps.driver.queue import Batches
from sweeps.journal import repair
from sweeps.journal._lines import line_of
from sweeps.journal.journal import read
from sweeps.journal.state import OddEvent, State, replay
from sweeps.records import Kept, Message, Pack
from sweeps.worker import _kept_states
from sweeps.worker.job import Job
from sweeps.worker.pack import run_pack
from sweeps.worker.stack import group_trials
from tests.sweeps.conftest import FIX, assert_same_tables
from tests.sweeps.search.test_searches import SEARCH

Command = Callable[..., int]

LONG = (
    *("mrpc_grid", "epochs=5", *FIX[1:], "seeds=[0, 1]", "pack.points=10", "start=[]"),
    *("alpha=0.01", "epoch=best_score", "--no-report", "--quiet"),
)
"""Six lanes in one pack of one stack, whose routers are those of their best epochs."""

BRACKETS = (*SEARCH, "epochs=7", "stopping.grace=2", "--no-report", "--quiet")
"""Two brackets of six points in two stacks; rungs after epochs 2 and 6."""

STUDIES = {"long": LONG, "brackets": BRACKETS}


@pytest.fixture(autouse=True)
def no_front(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions print no front, which takes longer than they train."""
    monkeypatch.setattr(sweep, "_show", lambda *_: None)


@pytest.fixture
def each_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """A state is written after every epoch."""
    monkeypatch.setattr(_kept_states, "STATE_PAUSE", 0.0)
    monkeypatch.setattr(_kept_states, "_SHARE", 0)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The epochs that stacks train, in order."""
    epochs: list[int] = []
    real = Training.train_epoch

    def counted(training: Training, epoch: int, progress: Any) -> Any:
        epochs.append(epoch)
        return real(training, epoch, progress)

    monkeypatch.setattr(Training, "train_epoch", counted)
    return epochs


def stops_in(monkeypatch: pytest.MonkeyPatch, message: int) -> None:
    """A session ends by a signal, once this message of its packs is journaled."""

    def interrupted(pack: Pack, job: Job, **more: Any) -> Iterator[Message]:
        for each in run_pack(pack, job, **more):
            counted[0] += 1
            if counted[0] == message:
                signal.raise_signal(signal.SIGINT)
            yield each

    counted = [0]
    monkeypatch.setattr(session, "_run_pack", interrupted)


def state_of(run: Path) -> State:
    return replay(read(run / "journal.jsonl"))


def states_on_disk(run: Path) -> set[str]:
    return {path.name for path in (run / "states").glob("*")}


@pytest.mark.usefixtures("each_epoch")
def test_every_session_of_a_pack_that_needs_several_gains_epochs(
    command: Command,
    made_run: Callable[..., Path],
    trained: list[int],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    undisturbed = made_run(tmp_path / "undisturbed", *LONG)
    trained.clear()
    run = tmp_path / "runs" / "r"
    codes = []
    for words in ((*LONG, "--name", "r"), ("--resume", str(run)), ("--resume", str(run))):
        stops_in(monkeypatch, 2)
        codes.append(command(*words, "--no-report", "--quiet"))
        if codes[-1] == 130:
            kept = state_of(run).kept["pack00"]
            assert kept.epoch == trained[-1] == 2 * len(codes)
            assert states_on_disk(run) == {kept.file}
    assert codes == [130, 130, 0]
    assert trained == [1, 2, 3, 4, 5]
    assert_same_tables(run, undisturbed)
    assert not (run / "states").exists()


@pytest.fixture(scope="module")
def brackets(made_run: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of brackets that has left every state it wrote on disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_kept_states, "STATE_PAUSE", 0.0)
        patch.setattr(_kept_states, "_SHARE", 0)
        patch.setattr(_ledger, "remove_unnamed", lambda *_, **__: None)
        patch.setattr(repair, "remove_unnamed", lambda *_: None)
        return made_run(tmp_path_factory.mktemp("brackets") / "r", *BRACKETS)


@pytest.mark.usefixtures("each_epoch")
def test_a_bracket_goes_on_from_wherever_it_was_killed_to_the_same_tables(
    brackets: Path, command: Command, trained: list[int], tmp_path: Path
) -> None:
    lines = (brackets / "journal.jsonl").read_bytes().splitlines(keepends=True)
    run = tmp_path / "runs" / "r"
    spared = Counter[bool]()
    for count in range(3, len(lines), 8):
        shutil.rmtree(run, ignore_errors=True)
        shutil.copytree(brackets, run)
        (run / "journal.jsonl").write_bytes(b"".join(lines[:count]))
        kept = state_of(run).kept
        for name in states_on_disk(run) - {state.file for state in kept.values()}:
            (run / "states" / name).unlink()
        trained.clear()
        assert command("--resume", str(run), "--no-report", "--quiet") == 0
        assert_same_tables(run, brackets)
        for state in kept.values():
            assert state.epoch + 1 in trained
            spared[min(trained) > state.epoch] += 1
    assert spared[True] > 0


def test_a_bracket_that_goes_on_leaves_stopped_trials_as_they_are(
    brackets: Path, command: Command, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(brackets, tmp_path / "runs" / "r"))
    events = list(read(run / "journal.jsonl"))
    place = next(
        place
        for place, event in enumerate(events)
        if event["event"] == "kept" and (event["pack"], event["epoch"]) == ("pack00", 5)
    )
    lines = (run / "journal.jsonl").read_bytes().splitlines(keepends=True)
    (run / "journal.jsonl").write_bytes(b"".join(lines[: place + 1]))
    before = state_of(run)
    assert command("--resume", str(run), "--no-report", "--quiet") == 0
    after = list(read(run / "journal.jsonl"))[place + 1 :]
    stopped = {key for key, ending in before.endings.items() if ending.status == "STOPPED"}
    assert len(stopped) > 0
    reported = {
        report["key"]
        for event in after
        if event["event"] == "reported" and event["pack"] == "pack00"
        for report in event["reports"]
    }
    assert reported.isdisjoint(stopped)
    assert reported == {key for stack in before.kept["pack00"].stacks for key in stack}


def cut_after_kept(run: Path, pack: str, epoch: int) -> Kept:
    """Cuts a journal behind the event that names a state; gives that state."""
    lines = (run / "journal.jsonl").read_bytes().splitlines(keepends=True)
    for count, event in enumerate(read(run / "journal.jsonl"), 1):
        if event["event"] == "kept" and (event["pack"], event["epoch"]) == (pack, epoch):
            (run / "journal.jsonl").write_bytes(b"".join(lines[:count]))
            return state_of(run).kept[pack]
    raise AssertionError(f"no state of {pack} was kept after epoch {epoch}")


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def longer(path: Path) -> None:
    with path.open("ab") as file:
        file.truncate(10**9)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (Path.unlink, "No such file or directory"),
        (flipped, "is damaged: its hash is not the one in the journal"),
        (longer, "more than its trials' state has"),
    ],
)
def test_a_damaged_state_is_named_and_its_pack_begins_at_its_start(
    brackets: Path,
    command: Command,
    trained: list[int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    damage: Callable[[Path], None],
    reason: str,
) -> None:
    run = Path(shutil.copytree(brackets, tmp_path / "runs" / "r"))
    kept = cut_after_kept(run, "pack00", 2)
    damage(run / "states" / kept.file)
    assert command("--resume", str(run), "--no-report", "--quiet") == 0
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "pack00 begins" in line]
    assert "begins at its start, because its kept state cannot be used" in line
    assert reason in line
    assert trained[0] == 1
    assert_same_tables(run, brackets)


def test_a_link_among_the_states_is_refused(
    brackets: Path, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(shutil.copytree(brackets, tmp_path / "runs" / "r"))
    kept = cut_after_kept(run, "pack00", 2)
    precious = tmp_path / "precious"
    (run / "states" / kept.file).rename(precious)
    (run / "states" / kept.file).symlink_to(precious)
    assert command("--resume", str(run), "--no-report", "--quiet") == 2
    assert f"{kept.file} is a link" in capsys.readouterr().err
    assert precious.exists()


def forged(run: Path, **fields: Any) -> None:
    """Puts other content into the last event, with a right checksum."""
    lines = (run / "journal.jsonl").read_bytes().splitlines(keepends=True)
    event = dict(list(read(run / "journal.jsonl"))[-1])
    lines[-1] = line_of({**event, **fields})
    (run / "journal.jsonl").write_bytes(b"".join(lines))


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        (
            {"file": "../journal.jsonl"},
            "kept: file is '../journal.jsonl', but must be a plain name",
        ),
        ({"file": "/etc/passwd"}, "must be a plain name"),
        ({"stacks": [["0123456789abcdef"]]}, "names a trial '0123456789abcdef'"),
        ({"stacks": "all"}, "kept: stacks is 'all', but must be a list"),
        ({"epoch": 1.5}, "kept: epoch is 1.5"),
        ({"pack": "pack77"}, "names a pack 'pack77'"),
    ],
)
def test_an_event_that_no_writer_of_ours_wrote_is_refused(
    brackets: Path,
    command: Command,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    fields: dict[str, Any],
    fault: str,
) -> None:
    run = Path(shutil.copytree(brackets, tmp_path / "runs" / "r"))
    cut_after_kept(run, "pack00", 2)
    forged(run, **fields)
    assert command("--resume", str(run), "--no-report", "--quiet") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert fault in line
    with pytest.raises(OddEvent):
        state_of(run)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda stacks: [stacks[0], stacks[0]], "it names a trial twice"),
        (lambda stacks: [[*stacks[0], *stacks[1]]], "in one stack that cannot share one"),
        (lambda stacks: [*stacks, []], "one of its stacks is of other trials"),
        (lambda stacks: [stacks[0][1:], stacks[1]], "does not fit its trials"),
        (lambda stacks: stacks[::-1], "does not fit its trials"),
        (lambda stacks: stacks[:1], "more than its trials' state has"),
    ],
)
def test_a_state_of_other_stacks_than_the_trials_is_not_used(
    brackets: Path,
    prepared_folder: Path,
    tmp_path: Path,
    change: Callable[[Any], Any],
    reason: str,
) -> None:
    run = Path(shutil.copytree(brackets, tmp_path / "r"))
    kept = cut_after_kept(run, "pack00", 1)
    groups = group_trials(state_of(run).packs["pack00"])
    job = Job(
        prepared={trial.prepared: prepared_folder for group in groups for trial in group},
        parts=run / "parts",
        checkpoints=run / "checkpoints",
        states=run / "states",
    )
    assert len(_kept_states.read_stacks(kept, groups, job)) == 2
    changed = dataclasses.replace(kept, stacks=change(kept.stacks))
    with pytest.raises(_kept_states.StateUnusable, match=reason):
        _kept_states.read_stacks(changed, groups, job)
    late = dataclasses.replace(kept, epoch=7)
    with pytest.raises(_kept_states.StateUnusable, match="goes on after epoch 7"):
        _kept_states.read_stacks(late, groups, job)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (0, "it ended before a pack was started"),
        (1, "it ended before a pack's state was kept, which takes 10 s of training"),
    ],
)
def test_a_session_that_gains_nothing_says_why(
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    message: int,
    reason: str,
) -> None:
    if message:
        stops_in(monkeypatch, message)
    else:
        monkeypatch.setattr(Batches, "take", lambda _: signal.raise_signal(signal.SIGINT))
    assert command(*LONG, "--name", "r") == 130
    sentence = f"nothing was finished in this session, because {reason}"
    assert sentence in capsys.readouterr().err
    monkeypatch.undo()
