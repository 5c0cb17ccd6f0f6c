"""What a pack writes on a node that sees nothing comes to the run's folder, in chunks."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ray.exceptions import ActorUnavailableError

from sweeps.raytune import _returning
from sweeps.raytune._returning import ARRIVING, Arrivals, Returns
from sweeps.raytune._ship import ReachError

FILES = {
    "parts/a.parquet": b"1" * 100,
    "checkpoints/k/w.safetensors": b"",
    "states/pack00-3.safetensors": b"0123456789" * 5,
}


def write(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def run(tmp_path: Path) -> Path:
    run = tmp_path / "run"
    run.mkdir(mode=0o750)
    run.chmod(0o750)
    return run


def arrive(run: Path) -> Callable[..., Any]:
    """Calls the arrivals in this process."""
    arrivals = Arrivals(run)
    return lambda method, *arguments: getattr(arrivals, method)(*arguments)


def returns(home: Path, call: Callable[..., Any]) -> Returns:
    return Returns(home=home, call=call, keys=["k", "l"], pause=0.0)


def test_what_is_written_on_a_node_lies_in_the_run_with_its_rights_and_is_removed_there(
    tmp_path: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_returning, "CHUNK", 30)
    node = tmp_path / "node"
    write(node, FILES)
    unfinished = {"parts/.b.parquet-1.tmp": b"not", "checkpoints/k/epochs/.epoch-0001.7/w": b"yet"}
    write(node, unfinished)
    sender = returns(node, arrive(run))
    sender.send()
    assert contents(run) == FILES
    assert contents(node) == unfinished
    assert list((run / ARRIVING).iterdir()) == []
    assert stat.S_IMODE((run / "parts").stat().st_mode) == 0o750
    assert stat.S_IMODE((run / "parts" / "a.parquet").stat().st_mode) == 0o640
    write(node, {"parts/a.parquet": b"anew"})
    sender.send()
    assert (run / "parts" / "a.parquet").read_bytes() == b"anew"


def test_epochs_stay_on_the_node_and_the_run_has_those_that_the_node_has(
    tmp_path: Path, run: Path
) -> None:
    node, calls, inner = tmp_path / "node", list[str](), arrive(run)

    def call(method: str, *arguments: Any) -> Any:
        calls.append(method)
        return inner(method, *arguments)

    sender = returns(node, call)
    epochs = "checkpoints/k/epochs"
    write(node, {f"{epochs}/epoch-0001/w": b"1", f"{epochs}/epoch-0001/trial.json": b"{}"})
    sender.send()
    assert contents(run) == contents(node)
    calls.clear()
    sender.send()
    assert calls == []
    write(node, {f"{epochs}/epoch-0002/w": b"22"})
    (node / epochs / "epoch-0001" / "trial.json").unlink()
    (node / epochs / "epoch-0001" / "w").write_bytes(b"light")
    sender.send()
    assert contents(run) == {f"{epochs}/epoch-0001/w": b"light", f"{epochs}/epoch-0002/w": b"22"}
    for path in sorted((node / epochs).rglob("w")):
        path.unlink()
    write(node, {"checkpoints/k/w": b"the trial's"})
    sender.send()
    assert contents(run) == {"checkpoints/k/w": b"the trial's"}
    assert not (run / epochs).exists()


def test_another_node_goes_on_from_the_epochs_of_the_run(tmp_path: Path, run: Path) -> None:
    call, first, second = arrive(run), tmp_path / "n1", tmp_path / "n2"
    epochs = {f"checkpoints/{key}/epochs/epoch-0003/w": key.encode() for key in ("k", "l", "x")}
    write(first, {name: value for name, value in epochs.items() if "/x/" not in name})
    returns(first, call).send()
    names = call("epochs", ["k", "l"])
    assert sorted(names) == sorted(contents(first))
    write(second, {name: (run / name).read_bytes() for name in names})
    sent: list[str] = []
    sender = returns(second, lambda method, *_: sent.append(method))
    sender.note(names)
    sender.send()
    assert sent == []


@pytest.mark.parametrize("breaks_at", range(1, 9))
def test_a_connection_that_breaks_is_gone_on_with_where_it_broke(
    tmp_path: Path, run: Path, monkeypatch: pytest.MonkeyPatch, breaks_at: int
) -> None:
    monkeypatch.setattr(_returning, "CHUNK", 10)
    node, inner, counts = tmp_path / "node", arrive(run), {"calls": 0, "bytes": 0}
    write(node, {"states/s": b"0123456789" * 5})

    def call(method: str, *arguments: Any) -> Any:
        counts["calls"] += 1
        if counts["calls"] == breaks_at:
            raise ActorUnavailableError("the connection broke", None)
        if method == "append":
            counts["bytes"] += len(arguments[-1])
        return inner(method, *arguments)

    returns(node, call).send()
    assert contents(run) == {"states/s": b"0123456789" * 5}
    assert counts["bytes"] == 50


def test_bytes_that_came_before_are_not_added_again_and_missing_ones_are_seen(run: Path) -> None:
    arrivals, sha256 = Arrivals(run), "0" * 64
    assert arrivals.begin("parts/a", sha256) == 0
    arrivals.append("parts/a", sha256, 0, b"0123")
    arrivals.append("parts/a", sha256, 0, b"0123")
    arrivals.append("parts/a", sha256, 2, b"2345")
    assert arrivals.begin("parts/a", sha256) == 6
    with pytest.raises(ReachError, match="has arrived up to byte 6, and not to 7"):
        arrivals.append("parts/a", sha256, 7, b"x")
    with pytest.raises(ReachError, match="was damaged on its way"):
        arrivals.complete("parts/a", sha256)
    assert contents(run) == {}


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", ""])
def test_a_name_that_leaves_the_run_is_refused(run: Path, name: str) -> None:
    with pytest.raises(ReachError, match="is no name of a file"):
        Arrivals(run).begin(name, "0" * 64)
    assert contents(run.parent) == {}


def test_a_connection_that_stays_broken_is_an_error(tmp_path: Path, run: Path) -> None:
    write(tmp_path / "node", {"x": b"1"})

    def call(*_: Any) -> None:
        raise ActorUnavailableError("gone", None)

    with pytest.raises(ActorUnavailableError):
        returns(tmp_path / "node", call).send()
