from __future__ import annotations

import contextlib
import multiprocessing
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock

from mpc_router.storage import cache as caching


def _make(folder: Path) -> dict[str, Any]:
    caching.save(folder, {"numbers": np.arange(10)})
    return {"b": 1, "a": [2]}


def _slowly(folder: Path, start: Any, answers: Any) -> None:
    makes = []

    def make(fresh: Path) -> dict[str, Any]:
        makes.append(fresh)
        time.sleep(0.3)
        return _make(fresh)

    start.wait()
    found = caching.entry(folder, make)
    answers.put((len(makes), found, caching.load(folder, "numbers").tolist()))


def test_an_entry_is_made_once_and_then_opened(tmp_path: Path) -> None:
    made = caching.entry(tmp_path / "entry", _make)
    again = caching.entry(tmp_path / "entry", lambda _: pytest.fail("made twice"))
    assert made == again == caching.description(tmp_path / "entry") == {"b": 1, "a": [2]}
    assert list(again) == ["b", "a"]


def test_loaded_arrays_are_mapped_and_cannot_be_written(tmp_path: Path) -> None:
    caching.entry(tmp_path / "entry", _make)
    found = caching.load(tmp_path / "entry", "numbers")
    assert isinstance(found, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        found[0] = 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "numbers.npy").unlink(),
        lambda folder: (folder / "numbers.npy").write_bytes(b"cut"),
        lambda folder: (folder / caching._CONTENTS).write_text("{"),
        lambda folder: (folder / caching._CONTENTS).write_text("[]"),
        lambda folder: (folder / caching._CONTENTS).unlink(),
    ],
)
def test_what_is_not_whole_is_made_again(tmp_path: Path, damage: Any) -> None:
    folder = tmp_path / "entry"
    caching.entry(folder, _make)
    damage(folder)
    assert caching.description(folder) is None
    assert caching.entry(folder, _make) == {"b": 1, "a": [2]}
    assert caching.load(folder, "numbers").tolist() == list(range(10))


def test_a_make_that_fails_leaves_no_entry(tmp_path: Path) -> None:
    def fail(fresh: Path) -> dict[str, Any]:
        (fresh / "half.npy").write_bytes(b"half")
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        caching.entry(tmp_path / "entry", fail)
    assert caching.description(tmp_path / "entry") is None
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".entry-abc").mkdir()
    (tmp_path / ".entry-abc" / "half.npy").write_bytes(b"half")
    caching.entry(tmp_path / "entry", _make)
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["entry"]


def test_of_two_processes_one_makes_and_both_have_it(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    start, answers = context.Barrier(2), context.Queue()
    workers = [
        context.Process(target=_slowly, args=(tmp_path / "entry", start, answers)) for _ in range(2)
    ]
    for worker in workers:
        worker.start()
    found = [answers.get(timeout=300) for _ in workers]
    for worker in workers:
        worker.join(timeout=300)
    assert sorted(makes for makes, _, _ in found) == [0, 1]
    assert found[0][1:] == found[1][1:] == ({"a": [2], "b": 1}, list(range(10)))


def test_waiting_is_entered_only_by_those_that_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caching, "WAITING", 0.01)
    other = FileLock(tmp_path / "entry.lock")
    seen: list[str] = []

    @contextlib.contextmanager
    def waiting() -> Iterator[None]:
        seen.append("waits")
        other.release()
        yield
        seen.append("has it")

    other.acquire()
    caching.entry(tmp_path / "entry", _make, waiting=waiting())
    caching.entry(tmp_path / "another", _make, waiting=waiting())
    assert seen == ["waits", "has it"]


def test_digests_part_what_reads_the_same() -> None:
    assert caching.digest("ab", "c") != caching.digest("a", "bc")
    assert caching.digest({"a": 1, "b": 2}) == caching.digest({"b": 2, "a": 1})
    assert caching.digest([1, 2]) != caching.digest([2, 1])


@pytest.mark.parametrize("parts", [[], [[1, 2, 3]], [[], [1]], [list(range(5000))] * 41])
def test_an_array_written_in_parts_is_the_whole(tmp_path: Path, parts: list[list[int]]) -> None:
    with caching.Growing(tmp_path, "numbers", np.int32) as grown:
        for part in parts:
            grown.append(part)
    found = caching.load(tmp_path, "numbers") if any(parts) else np.load(tmp_path / "numbers.npy")
    assert found.dtype == np.int32
    assert found.tolist() == [number for part in parts for number in part]


def test_a_blank_array_is_filled_in_on_disk(tmp_path: Path) -> None:
    blank = caching.blank(tmp_path, "square", (3, 2), np.float32)
    blank[1] = 7
    blank.flush()
    assert caching.load(tmp_path, "square").tolist() == [[0, 0], [7, 7], [0, 0]]


@pytest.mark.parametrize("links", [True, False])
def test_a_shared_array_is_the_same_with_links_and_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("this disk has no links")

    if not links:
        monkeypatch.setattr("os.link", refuse)
    (tmp_path / "other").mkdir()
    np.save(tmp_path / "one.npy", np.arange(4))
    caching.share(tmp_path / "one.npy", tmp_path / "other", "two")
    assert caching.load(tmp_path / "other", "two").tolist() == [0, 1, 2, 3]
    assert ((tmp_path / "other" / "two.npy").stat().st_nlink == 2) is links
