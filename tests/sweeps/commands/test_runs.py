"""`mpc-router-runs` as a user runs it, on recorded runs and on a cache that is made here."""

from __future__ import annotations

import fcntl
import io
import json
import os
import re
import shlex
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mpc_router.storage import cache as caching
from sweeps.commands import runs as command
from sweeps.journal.journal import read
from sweeps.journal.state import replay
from sweeps.records import COMPLETED, STOPPED
from tests.sweeps.faults import GRID, SEARCH
from tests.sweeps.journal.test_hostile_runs import at, respelt

Made = Callable[..., Path]


class Answer:
    """What the command said."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


Ask = Callable[..., Answer]


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Ask:
    def call(*words: str | Path) -> Answer:
        capsys.readouterr()
        try:
            code = command.main([str(word) for word in words])
        except SystemExit as ended:
            code = int(ended.code or 0)
        said = capsys.readouterr()
        return Answer(code, said.out, said.err)

    return call


def refused(answer: Answer, *words: str) -> None:
    assert (answer.code, answer.out) == (2, ""), answer.err
    assert answer.err.startswith("error: ")
    assert answer.err.count("\n") == 1
    assert all(word in answer.err for word in words), answer.err


@pytest.fixture
def run(made_run: Made, tmp_path: Path) -> Path:
    return made_run(tmp_path / "runs" / "found", *SEARCH)


@pytest.fixture
def running(run: Path) -> Iterator[Path]:
    """A run whose journal is cut in its middle, and which a sweep writes."""
    journal = run / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[: len(lines) // 2]) + lines[-1][:20])
    with journal.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield run


def test_a_run_s_status_is_that_of_its_journal(ask: Ask, run: Path) -> None:
    state = replay(read(run / "journal.jsonl"))
    answer = ask("status", run, "--json")
    assert (answer.code, answer.err) == (0, "")
    status: dict[str, Any] = json.loads(answer.out)
    endings = [ending.status for ending in state.endings.values()]
    assert status["state"] == "done"
    assert status["study"] == "mrpc_pareto"
    assert status["trials"]["done"] == endings.count(COMPLETED) + endings.count(STOPPED) == 8
    assert status["trials"]["stopped"] == endings.count(STOPPED)
    assert status["epochs"] == state.epochs
    assert status["seconds_left"] is None
    assert {point["point"] for point in status["front"]} <= set(state.points)
    text = ask("status", run).out
    assert f"{run}: mrpc_pareto, done" in text
    assert "8 of 8 trials done" in text
    assert "--resume" not in text
    assert "front so far (selection)" in text


def test_a_sweep_that_runs_has_a_status_and_an_estimate(ask: Ask, running: Path) -> None:
    status = json.loads(ask("status", running, "--json").out)
    assert status["state"] == "running"
    assert status["trials"]["done"] < status["trials"]["total"] == 8
    assert status["trials"]["running"] > 0
    assert status["seconds_left"] > 0
    assert " left; last event " in ask("status", running).out


@pytest.mark.parametrize(
    ("last", "words"),
    [("reported", "broken off"), ("opened", "broken off")],
)
def test_a_killed_run_says_how_to_go_on(ask: Ask, run: Path, last: str, words: str) -> None:
    journal = run / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    place = [event["event"] for event in read(journal)].index(last)
    journal.write_bytes(b"".join(lines[: place + 1]))
    text = ask("status", run).out
    assert f"mrpc_pareto, {words}" in text
    assert f"go on with mpc-router-sweep --resume {run}" in text
    assert "0 failed, " in text


def test_runs_are_listed_with_their_states(
    ask: Ask, run: Path, made_run: Made, tmp_path: Path
) -> None:
    made_run(tmp_path / "runs" / "grid", *GRID)
    bad = made_run(tmp_path / "runs" / "bad", *GRID)
    (bad / "journal.jsonl").write_text("\x1b[2Jno journal\n")
    (tmp_path / "runs" / "notes").mkdir()
    (tmp_path / "runs" / "link").symlink_to(run)
    answer = ask("list", "--out", tmp_path / "runs")
    assert answer.code == 0
    assert [line.split()[:2] for line in answer.out.splitlines()[:4]] == [
        ["run", "state"],
        ["bad", "damaged"],
        ["found", "done"],
        ["grid", "done"],
    ]
    assert "2 of 2" in answer.out
    assert "journal.jsonl:1: the line is damaged" in answer.out
    assert "\x1b" not in answer.out
    assert ask("list", "--out", tmp_path / "runs" / "notes").out.startswith("no runs in ")
    refused(ask("list", "--out", tmp_path / "gone"), "--out", "gone", "name a folder of runs")


def test_a_size_counts_every_byte_of_the_run_and_no_link(ask: Ask, run: Path) -> None:
    files = [path for path in run.rglob("*") if path.is_file()]
    (run / "big").symlink_to("/usr")
    (run / "checkpoints" / "up").symlink_to("/usr")
    total = command._bytes_text(sum(path.stat().st_size for path in files))
    head, row = ask("size", run).out.splitlines()
    assert re.split(r"  +", head) == [
        *("run", "in all", "journal", "tables", "parts", "checkpoints", "report", "others")
    ]
    assert re.split(r"  +", row)[:2] == [str(run), total]
    assert ask("size", "--out", run.parent).out.splitlines() == [head, row]


def test_a_run_is_removed_and_nothing_else(ask: Ask, run: Path, tmp_path: Path) -> None:
    thesis = tmp_path / "thesis"
    thesis.mkdir()
    (thesis / "chapter.tex").write_text("words")
    (run / "checkpoints" / "hostile").symlink_to(thesis)
    (run / "parts" / "up").symlink_to(tmp_path)
    for name in ("slurm/7.0/head.log", "tensorboard/p00/events", ".arriving.tmp/0"):
        (run / name).parent.mkdir(parents=True)
        (run / name).touch()
    shown = ask("remove", run, "--yes")
    assert (shown.code, shown.out) == (0, f"{run} is removed\n")
    assert not run.exists()
    assert (thesis / "chapter.tex").read_text() == "words"
    assert tmp_path.is_dir()


def test_what_no_run_writes_stays(ask: Ask, run: Path) -> None:
    (run / "notes.txt").write_text("mine")
    (run / "routing.parquet").unlink()
    (run / "routing.parquet").symlink_to(run / "notes.txt")
    assert ask("remove", run, "--yes").out == f"{run} is removed, but for notes.txt\n"
    assert [path.name for path in run.iterdir()] == ["notes.txt"]
    assert (run / "notes.txt").read_text() == "mine"


def test_a_sweep_that_runs_is_not_removed(ask: Ask, running: Path) -> None:
    before = sorted(running.rglob("*"))
    refused(ask("remove", running, "--yes"), "is running", f"touch {running}/stop")
    assert sorted(running.rglob("*")) == before


def test_all_runs_are_looked_at_before_the_first_is_removed(
    ask: Ask, running: Path, made_run: Made, tmp_path: Path
) -> None:
    other = made_run(tmp_path / "runs" / "other", *GRID)
    refused(ask("remove", other, running, "--yes"), "is running")
    assert (other / "journal.jsonl").exists()


def test_links_and_folders_that_are_no_runs_are_refused(
    ask: Ask, run: Path, tmp_path: Path
) -> None:
    link = tmp_path / "link"
    link.symlink_to(run)
    for verb in ("status", "size", "remove"):
        refused(ask(verb, link), "is a link")
        refused(ask(verb, tmp_path), "holds no journal.jsonl")
        refused(ask(verb, tmp_path / "gone"), "holds no journal.jsonl")
    (run / "journal.jsonl").rename(run / "elsewhere")
    (run / "journal.jsonl").symlink_to(run / "elsewhere")
    for verb in ("status", "size", "remove"):
        refused(ask(verb, run), "holds no journal.jsonl")
    assert run.is_dir()


def test_a_removal_asks_and_keeps_the_run_unless_the_answer_is_yes(
    ask: Ask, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused(ask("remove", run), "--yes")

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for answer, stays in (("\n", True), ("no\n", True), ("", True), ("Y\n", False)):
        monkeypatch.setattr("sys.stdin", Terminal(answer))
        shown = ask("remove", run)
        assert re.search(r"remove .* \(.*B, 8 of 8 trials done\)\? \[y/N\]", shown.err)
        assert run.exists() is stays
        assert ("stays" in shown.out) is stays


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("study",), {}),
        (("study", "objectives"), 3),
        (("study", "objectives"), {"fame": "max"}),
        (("study", "seeds"), 7),
        (("study", "stopping"), {"method": "mo_asha", "eta": 0}),
        (("study", "search"), {"method": "tpe", "points": "all"}),
        (("study", "constraints"), {"cost": 3}),
    ],
)
def test_a_journal_of_any_shape_is_one_message(
    ask: Ask, run: Path, where: tuple[str, ...], value: object
) -> None:
    respelt(run, at(0, *where, value=value))
    refused(ask("status", run), "journal.jsonl", "damaged")
    assert "damaged" in ask("list", "--out", run.parent).out


def test_a_damaged_run_can_be_removed(ask: Ask, run: Path) -> None:
    (run / "journal.jsonl").write_text("no journal\n")
    refused(ask("status", run), "journal.jsonl:1")
    assert ask("remove", run, "--yes").code == 0
    assert not run.exists()


DAY = 86400.0


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Three experts of 1000 bytes, used 1, 10 and 100 days ago, outputs that share a file."""
    folder = tmp_path / "cache"

    def make(kind: str, name: str, days: float, described: dict[str, Any], size: int) -> Path:
        def write(new_folder: Path) -> dict[str, Any]:
            np.save(new_folder / "weights.npy", np.zeros(size - 128, np.uint8))
            return described

        entry = folder / kind / name
        caching.entry(entry, write)
        at = time.time() - days * DAY
        os.utime(entry / "contents.json", (at, at))
        return entry

    for name, days in (("a", 1.0), ("b", 10.0), ("c", 100.0)):
        make("experts", name, days, {"name": f"org/{name}", "layers": 0, "task": "mrpc"}, 1000)
    make("passes", "d", 5.0, {"split": "train", "expert": "org/a", "layers": 0}, 500)
    make("tokens", "e", 3.0, {"pad": 0}, 200)
    return folder


def names(cache: Path) -> set[str]:
    return {path.parent.name for path in cache.glob("*/*/contents.json")}


def test_the_cache_is_listed_by_expert_with_bytes_and_last_use(ask: Ask, cache: Path) -> None:
    before = {path: path.stat().st_mtime for path in cache.rglob("*")}
    lines = ask("cache", "--cache", cache).out.splitlines()
    assert lines[0].split() == ["of", "entries", "bytes", "last", "use"]
    rows = {line[:12].strip(): line.split() for line in lines[1:6]}
    assert rows["expert org/a"][2] == "2"
    assert rows["expert org/a"][-3:] == ["1", "d", "ago"]
    assert rows["expert org/c"][-3:] == ["100", "d", "ago"]
    assert rows["tokens"][-3:] == ["3", "d", "ago"]
    assert lines[-2].split()[:2] == ["all", "5"]
    assert {path: path.stat().st_mtime for path in cache.rglob("*")} == before
    assert "holds nothing" in ask("cache", "--cache", cache / "experts").out


def test_entries_that_were_not_used_for_long_are_pruned(ask: Ask, cache: Path) -> None:
    answer = ask("cache", "prune", "--older-than", "7", "--cache", cache)
    assert answer.code == 0, answer.err
    assert answer.out.startswith("2 of 5 entries are removed")
    assert names(cache) == {"a", "d", "e"}
    assert not list(cache.rglob(".*pruned"))


def test_the_last_used_entries_are_kept_up_to_a_number_of_bytes(ask: Ask, cache: Path) -> None:
    entry = sum(path.stat().st_size for path in (cache / "experts" / "a").iterdir())
    assert ask("cache", "prune", "--keep-bytes", str(2 * entry), "--cache", cache).code == 0
    assert names(cache) == {"a", "d", "e"}
    assert ask("cache", "prune", "--keep-bytes", "1M", "--cache", cache).code == 0
    assert names(cache) == {"a", "d", "e"}
    assert ask("cache", "prune", "--keep-bytes", "0", "--cache", cache).code == 0
    assert names(cache) == set()


def test_a_file_that_entries_share_counts_once_and_goes_with_the_last(
    ask: Ask, cache: Path
) -> None:
    shared = cache / "experts" / "c" / "weights.npy"
    shared.unlink()
    os.link(cache / "experts" / "a" / "weights.npy", shared)
    files = {(p.stat().st_dev, p.stat().st_ino): p.stat().st_size for p in cache.glob("*/*/*")}
    total = sum(files.values())
    assert command._bytes_text(total) in ask("cache", "--cache", cache).out.splitlines()[-2]
    assert ask("cache", "prune", "--keep-bytes", str(total - 200), "--cache", cache).code == 0
    assert names(cache) == {"a", "d", "e"}  # without c alone hardly a byte would be free


def test_what_a_running_sweep_uses_is_never_pruned(ask: Ask, cache: Path) -> None:
    with caching.in_use(cache):
        assert caching.description(cache / "experts" / "c") is not None  # the sweep needs it
        answer = ask("cache", "prune", "--keep-bytes", "0", "--cache", cache)
        assert names(cache) == {"c"}
        assert ask("cache", "prune", "--older-than", "0", "--cache", cache).out.startswith("0 of 1")
    assert answer.out.startswith("4 of 5 entries")
    assert not (cache / "leases").exists()
    assert ask("cache", "prune", "--older-than", "0", "--cache", cache).code == 0
    assert names(cache) == set()


def test_the_lease_of_a_killed_sweep_holds_nothing(ask: Ask, cache: Path) -> None:
    (cache / "leases").mkdir()
    (cache / "leases" / "1-abc").touch()
    assert ask("cache", "prune", "--older-than", "0", "--cache", cache).code == 0
    assert names(cache) == set()
    assert list((cache / "leases").iterdir()) == []


def test_an_entry_that_somebody_makes_is_not_pruned(ask: Ask, cache: Path) -> None:
    with caching.removable(cache / "experts" / "c") as free:
        assert free
        ask("cache", "prune", "--older-than", "7", "--cache", cache)
    assert names(cache) == {"a", "c", "d", "e"}


def test_what_is_no_entry_is_never_pruned(ask: Ask, cache: Path, tmp_path: Path) -> None:
    thesis = tmp_path / "thesis"
    thesis.mkdir()
    (thesis / "contents.json").write_text('{"bytes": {}, "description": {}}')
    (cache / "experts" / "link").symlink_to(thesis)
    (cache / "experts" / "other").mkdir()
    (cache / "mine").mkdir()
    assert ask("cache", "prune", "--keep-bytes", "0", "--cache", cache).code == 0
    assert (thesis / "contents.json").exists()
    assert (cache / "experts" / "other").is_dir()
    assert (cache / "mine").is_dir()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("prune",), "say what to prune"),
        (("--older-than", "3"), "write prune too"),
        (("prune", "--older-than", "-1"), "less than no days"),
        (("prune", "--older-than", "x"), "not a number"),
        (("prune", "--keep-bytes", "1.5Q"), "no number of bytes"),
        (("prune", "--keep-bytes", "1", "--older-than", "1"), "not allowed with"),
        (("prun",), "prun"),
    ],
)
def test_bad_words_about_the_cache_are_refused(
    ask: Ask, cache: Path, words: tuple[str, ...], says: str
) -> None:
    refused(ask("cache", *words, "--cache", cache), says)
    assert len(names(cache)) == 5


@pytest.mark.parametrize("verb", ["", "list", "status", "size", "remove", "cache"])
def test_every_example_of_the_help_can_be_given(
    ask: Ask, verb: str, made_run: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    shown = ask(*filter(None, (verb,)), "--help")
    assert shown.code == 0
    examples = shown.out.partition("examples:\n")[2].splitlines()
    assert examples
    for line in examples:
        for name in ("NAME", "A", "B"):
            if not (tmp_path / "runs" / name).exists():
                made_run(tmp_path / "runs" / name, *GRID)
        program, *words = shlex.split(line)
        assert program == "mpc-router-runs"
        answer = ask(*words)
        wanted = 2 if "remove" in words and "--yes" not in words else 0  # nobody can be asked
        assert answer.code == wanted, (line, answer.err)


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1 KB"), (5_330_000, "5.33 MB")]
)
def test_bytes_are_said_in_units_that_fit(count: int, text: str) -> None:
    assert command._bytes_text(count) == text
