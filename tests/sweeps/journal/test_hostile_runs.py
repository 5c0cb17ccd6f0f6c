"""A run folder that somebody sent: nothing outside of it is written, deleted or read into tables,
and whatever is odd about it is said in one message."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from analysis import schema
from mpc_router import run_names
from mpc_router.storage.lane_files import files_by_key
from sweeps.driver._ledger import Ledger
from sweeps.journal._lines import line_of
from sweeps.provenance import places
from sweeps.records import InputError, Message, Pack
from sweeps.run_folder import RunFolder
from tests.fuzz.harness import contents
from tests.fuzz.run_folders import HOSTILE
from tests.sweeps.faults import Answer, Laboratory, laboratory

Event = dict[str, Any]
Spoil = Callable[[list[Event]], None]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, prepared_folder: Path) -> Iterator[Laboratory]:
    with laboratory(tmp_path_factory.mktemp("hostile"), prepared_folder) as found:
        yield found


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A folder of the user's, outside of any run."""
    folder = tmp_path / "victim"
    (folder / "epochs").mkdir(parents=True)
    for name in (".x.tmp", "file", "epochs/kept"):
        (folder / name).write_text("kept")
    return folder


def events_of(run: Path) -> list[Event]:
    found = [json.loads(line) for line in (run / "journal.jsonl").read_bytes().splitlines()]
    for each in found:
        del each["check"]
    return found


def respelt(run: Path, spoil: Spoil) -> None:
    """The run's journal, changed by somebody who knows how to make a checksum."""
    events = events_of(run)
    spoil(events)
    (run / "journal.jsonl").write_bytes(b"".join(map(line_of, events)))


def refused(answer: Answer, *says: str) -> None:
    """One message, exit 2."""
    assert answer.code == 2, answer.err
    assert len(answer.sentence) < 1010
    assert answer.sentence.isprintable()
    for text in says:
        assert text in answer.sentence


def everywhere(old: str, new: str) -> Spoil:
    def spoil(events: list[Event]) -> None:
        text = json.dumps(events).replace(json.dumps(old), json.dumps(new))
        events[:] = json.loads(text)

    return spoil


@pytest.mark.parametrize("new", HOSTILE)
@pytest.mark.parametrize("old", ["KEY", "pack00", "p00", "pack00.parquet", "examples.parquet"])
def test_a_name_in_a_journal_that_is_no_plain_name_is_refused(
    lab: Laboratory, victim: Path, old: str, new: str
) -> None:
    run, before = lab.copy("grid"), contents(victim)
    key = min(files_by_key(run / "checkpoints"))
    respelt(run, everywhere(key if old == "KEY" else old, new))
    (run.parent / "victim").unlink(missing_ok=True)
    (run.parent / "victim").symlink_to(victim)
    here = contents(run)
    for more in ((), ("--retry-failed",)):
        refused(lab.resume(run, *more), str(run), "plain name")
    assert contents(run) == here
    assert contents(victim) == before


FILES = (
    *("journal.jsonl", "study.yaml", "provenance.json", "report.html", "optuna.journal", "stop"),
    *(f"{name}.parquet" for name in schema.TABLES),
    *("parts/pack00.parquet", "checkpoints/x/router.safetensors", "checkpoints/.x.tmp"),
)


@pytest.mark.parametrize("more", [(), ("--repair",), ("--force",)])
@pytest.mark.parametrize("what", ["link", "dangling link", "pipe", "folder"])
@pytest.mark.parametrize("name", FILES)
def test_what_is_no_file_of_the_run_itself_is_refused_and_left_alone(
    lab: Laboratory, victim: Path, name: str, what: str, more: tuple[str, ...]
) -> None:
    run = lab.copy("grid")
    path = run / name
    path.parent.mkdir(exist_ok=True)
    if path.exists():
        path.rename(victim / "target")
    if what == "pipe":
        os.mkfifo(path)
    elif what == "folder":
        path.mkdir()
    else:
        path.symlink_to(victim / ("target" if what == "link" else "nowhere"))
    inside = what == "folder" and name.startswith(("parts", "checkpoints"))
    before, here = contents(victim), contents(run)
    answer = lab.resume(run, *more)
    assert contents(victim) == before
    if not inside:  # a folder below these is no danger
        refused(answer, str(path) if name != "journal.jsonl" else str(run))
        assert contents(run) == here


@pytest.mark.parametrize("more", [(), ("--repair",), ("--retry-failed",)])
@pytest.mark.parametrize(
    "name", ["parts", "checkpoints", "checkpoints/KEY", "tensorboard", "slurm"]
)
def test_a_folder_that_is_a_link_is_refused_and_nothing_at_its_end_is_deleted(
    lab: Laboratory, victim: Path, name: str, more: tuple[str, ...]
) -> None:
    run = lab.copy("grid")
    key = min(files_by_key(run / "checkpoints"))
    path = run / name.replace("KEY", key)
    if path.exists():
        shutil.rmtree(path)
    path.symlink_to(victim)
    before = contents(victim)
    refused(lab.resume(run, *more), str(path), "a link")
    assert contents(victim) == before


def test_a_journal_with_a_second_name_is_not_appended_to(lab: Laboratory, victim: Path) -> None:
    run = lab.copy("grid")
    os.link(run / "journal.jsonl", victim / "log")
    before = contents(victim)
    refused(lab.resume(run), str(run / "journal.jsonl"), "hard link", "cp -r")
    assert contents(victim) == before


def test_a_run_folder_may_itself_be_named_by_a_link(lab: Laboratory) -> None:
    run = lab.copy("grid")
    latest = run.with_name("latest")
    latest.unlink(missing_ok=True)
    latest.symlink_to(run)
    assert lab.resume(latest).code == 0


def at(number: int, *path: Any, value: Any) -> Spoil:
    """An event's value is another."""

    def spoil(events: list[Event]) -> None:
        found: Any = events[number]
        for name in path[:-1]:
            found = found[name]
        found[path[-1]] = value

    return spoil


def without(number: int, *path: Any) -> Spoil:
    def spoil(events: list[Event]) -> None:
        found: Any = events[number]
        for name in path[:-1]:
            found = found[name]
        del found[path[-1]]

    return spoil


def first(kind: str, *path: Any, value: Any) -> Spoil:
    """The same of the first event of a kind."""

    def spoil(events: list[Event]) -> None:
        number = next(n for n, each in enumerate(events) if each["event"] == kind)
        at(number, *path, value=value)(events)

    return spoil


ODD: dict[str, Spoil] = {
    "a number as text": first("reported", "reports", 0, "epoch", value="1"),
    "a score that is none": first("reported", "reports", 0, "metrics", value={"score": "high"}),
    "an integer of 400 digits": first("reported", "reports", 0, "epoch", value=10**400),
    "a list for a mapping": first("reported", "reports", 0, "metrics", value=[1]),
    "half of a pair": first("closed", "outcome", value="\ud800"),
    "an unknown event": first("closed", "event", value="dreamt"),
    "an event that is a list": first("closed", "event", value=["closed"]),
    "a trial that nobody asked for": first("reported", "reports", 0, "key", value="abc"),
    "a bulk file that nobody named": first("ended", "endings", 0, "part", value="secret.parquet"),
    "a status of its own": first("ended", "endings", 0, "status", value="WONDERFUL"),
    "a field of its own": first("ended", "endings", 0, "evil", value=1),
    "a configuration that is no JSON": first("asked", "packs", 0, "trials", 0, "config", value="{"),
    "a point that is not there": first("asked", "packs", 0, "trials", 0, "point", value="p99"),
    "no study": without(0, "study"),
    "a study that is a number": at(0, "study", value=3),
    "a study of another shape": at(0, "study", "space", value=[[1]]),
    "a budget that is a list": at(0, "study", "budget", value=[]),
    "no provenance": without(0, "provenance"),
    "fingerprints that are a list": at(0, "provenance", "fingerprints", value=[1]),
    "sets that are numbers": at(0, "provenance", "sets", value=[1]),
    "metrics of another task": at(0, "metrics", value=["pearson"]),
    "settings of another kind": at(0, "settings", value={"alpha": "code"}),
    "settings that are numbers": at(0, "settings", value={"alpha": 1}),
    "a split of its own": first("reported", "reports", 0, "split", value="[/x]"),
    "places that are a list": at(0, "places", value=[]),
    "a clock that is text": first("asked", "mono", value="now"),
    "a time that is none": first("asked", "time", value="NaN"),
    "a time before all zones": first("asked", "time", value="0001-01-01T00:00:00+14:00"),
    "an event before its number": first("asked", "n", value=True),
}


@pytest.mark.parametrize("kind", ODD)
def test_an_odd_event_with_a_right_checksum_is_one_message(lab: Laboratory, kind: str) -> None:
    run = lab.copy("grid")
    respelt(run, ODD[kind])
    here = contents(run)
    refused(lab.resume(run), str(run / "journal.jsonl"))
    assert contents(run) == here


def test_a_line_too_deep_to_be_read_and_one_with_nan_are_named(lab: Laboratory) -> None:
    import zlib

    for text in (b'{"v":1,"deep":' + b"[" * 200_000 + b"]" * 200_000, b'{"v":1,"mono":NaN'):
        run = lab.copy("grid")
        line = b'%s,"check":"%08x"}\n' % (text, zlib.crc32(text))
        with (run / "journal.jsonl").open("ab") as file:
            file.write(line)
        count = (run / "journal.jsonl").read_bytes().count(b"\n")
        refused(lab.resume(run), f"journal.jsonl:{count}: ", "--repair")
        assert lab.resume(run, "--repair").code == 0


def test_a_bulk_file_of_other_columns_is_no_part_of_a_table(lab: Laboratory) -> None:
    from sweeps.journal import bulk_files

    run = lab.copy("grid")
    name = "pack00.parquet"
    shutil.copy(run / "trials.parquet", run / "parts" / name)
    hashed = bulk_files.digest(run / "parts" / name)

    def spoil(events: list[Event]) -> None:
        for each in events:
            if name in each.get("parts", {}):
                each["parts"][name] = hashed

    respelt(run, spoil)
    answer = lab.resume(run)
    assert answer.code == 3
    assert str(run / "parts" / name) in answer.sentence


STUDIES = ("", "[]", "a: !!int abc", "a: 2001-99-99", "[" * 600, "a: &a [*a]", "\x00", "? [1]\n: 2")


@pytest.mark.parametrize("text", STUDIES)
def test_a_study_file_of_any_shape_is_written_anew_or_named(lab: Laboratory, text: str) -> None:
    run = lab.copy("grid")
    (run / "study.yaml").write_text(text)
    answer = lab.resume(run)
    if answer.code != 0:
        refused(answer, "study.yaml")


def bomb() -> str:
    """A few lines that stand for 10^9 settings."""
    lines = ["a0: &a0 {x: 1}"]
    for n in range(1, 10):
        inner = ", ".join(f"k{k}: *a{n - 1}" for k in range(10))
        lines.append(f"a{n}: &a{n} {{{inner}}}")
    return "\n".join(lines)


def test_a_study_file_that_stands_for_a_thousand_million_settings_takes_no_time(
    lab: Laboratory,
) -> None:
    run = lab.copy("grid")
    (run / "study.yaml").write_text(bomb())
    assert lab.resume(run).code in (0, 2)


def repaired_without_a_cache(lab: Laboratory, run: Path) -> Answer:
    """A repair asks for the experts; a resume with nothing left to train does not."""
    import contextlib
    import io

    from sweeps import run as command

    err = io.StringIO()
    with contextlib.redirect_stderr(err), contextlib.redirect_stdout(io.StringIO()):
        code = command.main(["--resume", str(run), "--repair", "--quiet", "--no-report"])
    return Answer(code=code, out="", err=err.getvalue())


@pytest.mark.parametrize("what", ["missing", "a file", "other things", "writable by all", "empty"])
def test_a_cache_that_a_journal_names_is_taken_only_if_it_is_one_of_ours(
    lab: Laboratory, tmp_path: Path, what: str
) -> None:
    run, cache = lab.copy("grid"), tmp_path / "cache"
    if what == "a file":
        cache.touch()
    elif what != "missing":
        cache.mkdir()
    if what == "other things":
        (cache / "thesis.tex").touch()
    if what == "writable by all":
        (cache / "hashes").mkdir()
        cache.chmod(0o777)
    respelt(run, at(0, "places", "cache", value=str(cache)))
    before = contents(tmp_path)
    refused(repaired_without_a_cache(lab, run), str(cache), "--cache")
    assert contents(tmp_path) == before
    assert lab.resume(run).code == 0  # for there it is given


def test_the_cache_of_the_beginning_is_taken_where_it_is_ours(
    lab: Laboratory, tmp_path: Path
) -> None:
    run, cache = lab.copy("grid"), tmp_path / "cache"
    for name in places._CACHED:
        (cache / name).mkdir(parents=True)
    cache.chmod(0o755)
    respelt(run, at(0, "places", "cache", value=str(cache)))
    answer = repaired_without_a_cache(lab, run)
    assert answer.code == 0, answer.err
    assert f"--cache {cache}" in answer.err


def test_a_run_that_is_renamed_while_it_runs_is_not_made_anew(
    lab: Laboratory, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = lab.fresh()
    other = run.with_name("elsewhere")
    shutil.rmtree(other, ignore_errors=True)
    heard = Ledger.received

    def rename(self: Ledger, pack: Pack, message: Message) -> dict[str, str]:
        if run.exists():
            run.rename(other)
        return heard(self, pack, message)

    monkeypatch.setattr(Ledger, "received", rename)
    answer = lab.new("grid", "fresh")
    assert answer.code == 3, answer.err
    assert f"{run} was renamed or removed" in answer.sentence
    assert not run.exists()
    monkeypatch.undo()
    assert lab.resume(other).code == 0


def test_a_run_that_is_removed_between_two_packs_is_not_made_anew(
    lab: Laboratory, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, finished = lab.fresh(), Ledger.finished

    def remove(self: Ledger, pack: Pack) -> None:
        finished(self, pack)
        shutil.rmtree(run, ignore_errors=True)

    monkeypatch.setattr(Ledger, "finished", remove)
    answer = lab.new("grid", "fresh")
    assert answer.code == 3, answer.err
    assert "was renamed or removed" in answer.sentence
    assert not run.exists()


def test_no_table_with_rows_has_a_row_group_without(lab: Laboratory) -> None:
    for name in schema.TABLES:
        found = pq.ParquetFile(lab.sound("grid") / f"{name}.parquet").metadata
        rows = [found.row_group(place).num_rows for place in range(found.num_row_groups)]
        assert rows, name
        assert min(rows) > 0, name


def test_the_layout_of_a_run_is_the_one_that_readers_know() -> None:
    folder = RunFolder(Path("r"))
    assert folder.journal.name == schema.JOURNAL_FILE
    assert folder.study.name == schema.STUDY_FILE
    assert folder.provenance.name == schema.PROVENANCE_FILE
    assert folder.report.name == schema.REPORT_FILE
    assert folder.parts.name == schema.PARTS_FOLDER
    assert folder.checkpoints.name == schema.CHECKPOINTS_FOLDER
    assert run_names.TABLES == schema.TABLES
    assert folder.table("trials").name == schema.table_file("trials")


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_leaves_the_folder_of_a_run(name: str) -> None:
    folder = RunFolder(Path("r"))
    for place in (folder.part, folder.checkpoint, folder.table):
        with pytest.raises(InputError, match="no name in a run's folder"):
            place(name)
