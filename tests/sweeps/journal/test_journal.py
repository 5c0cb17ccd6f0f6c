"""The journal under crashes, repeats and two writers."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from sweeps.journal._lines import VERSION, line_of
from sweeps.journal.journal import Journal, _JournalBusy, read
from sweeps.journal.state import JournalError, replay
from sweeps.records import (
    COMPLETED,
    FAILED,
    INTERRUPTED,
    STOPPED,
    Ending,
    Message,
    Pack,
    Report,
    Trial,
)

KEYS = ("k0", "k1")


def report(key: str = "k0", epoch: int = 1, **changes: Any) -> Report:
    values: dict[str, Any] = {
        "key": key,
        "epoch": epoch,
        "split": "selection",
        "metrics": {"score": 0.75, "accuracy": 0.75},
        "cost": {"constants": 4.5},
        "losses": {"loss": 0.5, "loss_task": 0.25, "loss_balance": 0.125, "loss_cost": 4.0},
        "share": (0.25, 0.75),
        "gate": (0.5, 0.5),
        "gate_entropy": 0.5,
        "seconds": 1.0,
    }
    return Report(**{**values, **changes})


def ending(key: str = "k0", status: str = COMPLETED, **changes: Any) -> Ending:
    values: dict[str, Any] = {
        "key": key,
        "status": status,
        "epochs": 1,
        "epoch": 1,
        "seconds": 1.0,
        "attempt": 1,
    }
    return Ending(**{**values, **changes})


def write(journal: Journal) -> None:
    """A short run: two trials, one failing."""
    trials = tuple(Trial(key=key, point="p00", seed=n, config="{}") for n, key in enumerate(KEYS))
    pack = Pack(name="pack00", trials=trials)
    journal.append("opened", run="r", parts={"experts.parquet": "00"})
    journal.append("asked", batch=0, points=[{"name": "p00", "settings": {}}], packs=[pack])
    journal.append("started", pack="pack00", attempt=1, keys=list(KEYS))
    said = Message(
        reports=(report("k0"), report("k1")),
        endings=(ending("k0", part="pack00.parquet"), ending("k1", FAILED, reason="NaN")),
        parts={"pack00.parquet": "11"},
    ).to_json()
    journal.append("reported", pack="pack00", reports=said["reports"])
    journal.append("ended", pack="pack00", endings=said["endings"], parts=said["parts"])
    journal.append("closed", outcome="done")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "journal.jsonl"
    with Journal(found) as journal:
        write(journal)
    return found


def test_what_is_read_back_is_the_state_that_the_writer_had(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        write(journal)
        live = journal.state
    assert dataclasses.asdict(replay(read(path))) == dataclasses.asdict(live)


def test_any_crash_loses_at_most_the_torn_event(path: Path, tmp_path: Path) -> None:
    whole = path.read_bytes()
    cut = tmp_path / "cut.jsonl"
    for length in range(len(whole) + 1):
        cut.write_bytes(whole[:length])
        assert replay(read(cut)).events == whole[:length].count(b"\n")


def test_after_any_crash_the_next_writer_goes_on_with_a_sound_journal(
    path: Path, tmp_path: Path
) -> None:
    whole = path.read_bytes()
    cut = tmp_path / "cut.jsonl"
    for length in range(len(whole) + 1):
        cut.write_bytes(whole[:length])
        with Journal(cut) as journal:
            journal.append("resumed", budget={})
        events = list(read(cut))
        assert [event["n"] for event in events] == list(range(1, len(events) + 1))
        assert len(events) == whole[:length].count(b"\n") + 1


def test_a_bad_line_before_the_last_is_named_by_its_number(path: Path) -> None:
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([*lines[:2], lines[2][:-5], *lines[3:]]))
    with pytest.raises(JournalError, match=r"journal.jsonl:3: .*lines 1 to 2 are sound"):
        list(read(path))


def test_a_line_that_is_missing_is_noticed(path: Path) -> None:
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([*lines[:2], *lines[3:]]))
    with pytest.raises(JournalError, match="events are missing"):
        replay(read(path))


def test_reports_that_come_twice_stand_once(path: Path) -> None:
    with Journal(path) as journal:
        before = dict(journal.state.reports)
        close = {name: value + 9e-6 for name, value in report().losses.items()}
        again = Message(reports=(report(losses=close),)).to_json()
        journal.append("reported", pack="pack00", reports=again["reports"])
        assert journal.state.reports == before


@pytest.mark.parametrize(
    "change",
    [
        {"metrics": {"score": 0.75000001, "accuracy": 0.75}},
        {"cost": {"constants": 4.6}},
        {"losses": {**report().losses, "loss": 0.50002}},
    ],
)
def test_a_repeat_that_differs_is_an_error_and_is_not_written(
    path: Path, change: dict[str, Any]
) -> None:
    before = path.read_bytes()
    said = Message(reports=(report(**change),)).to_json()["reports"]
    with Journal(path) as journal, pytest.raises(JournalError, match="reported again"):
        journal.append("reported", pack="pack00", reports=said)
    assert path.read_bytes() == before


def test_a_trial_ends_once_but_an_interrupted_one_may_end_again(tmp_path: Path) -> None:
    def end(status: str) -> None:
        said = Message(endings=(ending(status=status),)).to_json()
        journal.append("ended", pack=name, endings=said["endings"], parts={})

    name = "a"
    with Journal(tmp_path / "journal.jsonl") as journal:
        pack = Pack(name="a", trials=(Trial(key="k0", point="p00", seed=0, config="{}"),))
        journal.append("asked", points=[], packs=[pack])
        end(INTERRUPTED)
        assert [trial.key for trial in journal.state.unended()] == ["k0"]
        end(COMPLETED)
        assert journal.state.unended() == ()
        end(FAILED)
        assert journal.state.endings["k0"].status == COMPLETED


def test_how_a_trial_was_stopped_stands_until_it_is_finished(tmp_path: Path) -> None:
    def end(pack: str, status: str) -> None:
        said = Message(endings=(ending(status=status),)).to_json()
        journal.append("ended", pack=pack, endings=said["endings"], parts={})

    def now() -> tuple[str, int]:
        return journal.state.endings["k0"].status, len(journal.state.unended())

    with Journal(tmp_path / "journal.jsonl") as journal:
        trials = (Trial(key="k0", point="p00", seed=0, config="{}"),)
        points = [{"name": "p00", "settings": {}}]
        bracket = Pack(name="a", trials=trials, stopping="inside")
        journal.append("asked", points=points, packs=[bracket])
        end("a", STOPPED)
        assert now() == (STOPPED, 0)
        journal.append("asked", points=[], packs=[Pack(name="b", trials=trials)], following=["p00"])
        assert now() == (STOPPED, 1)
        end("b", INTERRUPTED)
        end("a", STOPPED)  # of the bracket that is trained again, to rank the others
        assert now() == (STOPPED, 1)
        end("b", COMPLETED)
        end("a", STOPPED)
        assert now() == (COMPLETED, 0)


def test_a_second_writer_is_refused_until_the_first_is_done(path: Path) -> None:
    with Journal(path), pytest.raises(_JournalBusy, match="another process"):
        Journal(path)
    Journal(path).close()


def test_numbers_survive_the_journal_exactly(path: Path) -> None:
    odd = report("k1", epoch=2, metrics={"score": 0.1 + 0.2, "accuracy": 1 / 3})
    with Journal(path) as journal:
        journal.append(
            "reported", pack="pack00", reports=Message(reports=(odd,)).to_json()["reports"]
        )
    assert replay(read(path)).reports[odd.place] == odd


def test_an_unknown_event_is_refused(path: Path) -> None:
    with path.open("ab") as file:
        file.write(line_of({"v": VERSION, "n": 7, "event": "dreamt"}))
    with pytest.raises(JournalError, match="unknown kind 'dreamt'"):
        replay(read(path))


def test_a_journal_of_another_version_is_refused(path: Path) -> None:
    event = {**next(read(path)), "v": VERSION + 1}
    path.write_bytes(line_of(event))
    with pytest.raises(JournalError, match=f"schema version {VERSION + 1}, .* reads {VERSION}"):
        replay(read(path))


def test_no_flipped_bit_is_ever_taken_for_what_was_written(path: Path, tmp_path: Path) -> None:
    """Each is an error that names a line, or a torn end: never another state."""
    whole = path.read_bytes()
    events = list(read(path))
    flipped = tmp_path / "flipped.jsonl"
    torn = 0
    for place in range(len(whole)):
        for bit in (0, 3, 7):
            changed = bytearray(whole)
            changed[place] ^= 1 << bit
            flipped.write_bytes(changed)
            found, said = [], ""
            try:
                for event in read(flipped):
                    found.append(event)
            except JournalError as error:
                said = str(error)
            torn += not said
            assert not said or f"flipped.jsonl:{len(found) + 1}:" in said
            assert found == events[: len(found)]
            assert len(found) < len(events)
    assert torn == 3  # the last line's end


def test_a_repair_keeps_the_sound_part_and_says_what_goes(path: Path, tmp_path: Path) -> None:
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    for number, line in enumerate(lines):
        broken = b"".join([*lines[:number], line.replace(b"e", b"E", 1), *lines[number + 1 :]])
        path.write_bytes(broken)
        keeps = "--repair keeps" if number else "start anew"
        with pytest.raises(JournalError, match=rf"journal.jsonl:{number + 1}: .*{keeps}"):
            Journal(path)
        if not number:
            with pytest.raises(JournalError, match=r"nothing can be kept"):
                Journal(path, repair=True)
            assert path.read_bytes() == broken
            continue
        with Journal(path, repair=True) as journal:
            assert journal.repaired is not None
            assert (journal.repaired.line, journal.repaired.gone) == (
                number + 1,
                len(lines) - number,
            )
            assert journal.repaired.saved.read_bytes() == broken
            assert journal.state.events == number
        assert path.read_bytes() == b"".join(lines[:number])


def test_a_sound_journal_needs_no_repair(path: Path) -> None:
    whole = path.read_bytes()
    with Journal(path, repair=True) as journal:
        assert journal.repaired is None
    assert path.read_bytes() == whole
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_a_clock_that_is_set_does_not_count(path: Path) -> None:
    events = [dict(event) for event in read(path)]
    seconds = replay(events).seconds
    jumped = [{**event, "time": "1999-01-01T00:00:00.000+00:00"} for event in events]
    assert replay(jumped).seconds == seconds >= 0


@pytest.mark.parametrize("room", [0, 40, 500])
def test_a_disk_that_fills_up_leaves_file_and_state_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    with Journal(tmp_path / "journal.jsonl") as journal:
        journal.append("started", pack="a", attempt=1, keys=[])
        before = journal.path.read_bytes()
        real = journal._file

        class Full:
            """A file on a disk with so much room left."""

            left = room

            def __getattr__(self, name: str) -> Any:
                return getattr(real, name)

            def write(self, line: bytes) -> int:
                if not self.left:
                    raise OSError(28, "No space left on device")
                written = real.write(line[: self.left])
                self.left -= written
                return written

        monkeypatch.setattr(journal, "_file", Full())
        with pytest.raises(OSError, match="No space"):
            journal.append("started", pack="b", attempt=1, keys=["x" * 1000])
        assert journal.path.read_bytes() == before
        assert set(journal.state.attempts) == {"a"}
        monkeypatch.undo()
        journal.append("closed", outcome="the disk was full")
    assert replay(read(journal.path)).closed == "the disk was full"
