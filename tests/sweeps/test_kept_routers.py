"""Which routers a run keeps: all, those of its fronts, or none."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from analysis.choices.choice import choose
from analysis.choices.operating_points import bias_curves
from analysis.fronts.kept import kept_points
from analysis.fronts.survey import survey
from analysis.runs.load import load_run
from mpc_router.config.trial import ConfigError
from mpc_router.results.checkpoint import CheckpointError, load, save
from mpc_router.storage.lane_files import LaneFile, files_by_key
from sweeps.journal._lines import line_of
from sweeps.journal.journal import read
from sweeps.study.read import from_tree
from sweeps.study.read import load as load_study
from tests.sweeps.conftest import FIX, assert_same_tables, rows

GRID = ("mrpc_grid", *FIX, "start=[]", "pack.points=4")
QUIET = ("--no-report", "--quiet")

Command = Callable[..., int]


@pytest.fixture
def runs(command: Command, tmp_path: Path) -> Callable[[str], Path]:
    """Runs the grid with a setting of `checkpoints`."""

    def run(kept: str, *words: str) -> Path:
        assert command(*GRID, f"checkpoints={kept}", *words, "--name", kept, *QUIET) == 0
        return tmp_path / "runs" / kept

    return run


def kept_by(run: Path) -> set[str]:
    return set(files_by_key(run / "checkpoints"))


def points_of(run: Path, keys: set[str]) -> set[str]:
    return {row["point"] for row in rows(run, "trials") if row["key"] in keys}


def test_a_run_keeps_the_routers_of_every_front_with_all_their_seeds(
    runs: Callable[[str], Path],
) -> None:
    every, front = runs("all"), runs("front")
    assert [row["key"] for row in rows(every, "trials")] == [
        row["key"] for row in rows(front, "trials")
    ]
    assert kept_by(every) == {row["key"] for row in rows(every, "trials")}
    names: set[str] = set()
    run = load_run(every)
    for vector in run.cost_vectors:
        names |= set(survey(run, vector=vector, resamples=10).front["point"])
    kept = kept_points(run)  # with points equal to one of the front that route otherwise
    assert points_of(front, kept_by(front)) == kept >= names > set()
    assert len(kept) < len({row["point"] for row in rows(every, "trials")})
    assert kept_by(front) == {row["key"] for row in rows(front, "trials") if row["point"] in kept}
    for key in kept_by(front):
        one, other = load(front / "checkpoints" / key), load(every / "checkpoints" / key)
        assert all((one.weights[name] == other.weights[name]).all() for name in one.weights)


def test_what_can_be_chosen_of_a_run_is_what_it_keeps(runs: Callable[[str], Path]) -> None:
    folder = runs("front")
    run, kept = load_run(folder), kept_by(folder)
    for vector in run.cost_vectors:
        costs = bias_curves(run, vector=vector, kept=True)
        low = min(curve.costs.min() for curve in costs.chosen)
        high = max(curve.costs.max() for curve in costs.chosen)
        for step in range(1, 5):
            at_most = low + (high - low) * step / 4
            assert choose(run, at_most=float(at_most), vector=vector).key in kept
    left_out = next(row for row in rows(folder, "trials") if row["key"] not in kept)
    assert choose(run, point=left_out["point"], seed=left_out["seed"]).key == left_out["key"]


def test_a_run_without_routers_keeps_none_and_prints_no_command_for_them(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(*GRID, "checkpoints=none", "seeds=[0]", "--name", "r", *QUIET) == 0
    run = tmp_path / "runs" / "r"
    assert kept_by(run) == set()
    assert not (run / "checkpoints").exists()
    assert "mpc-router-export" not in capsys.readouterr().out


@pytest.mark.usefixtures("no_front")
def test_a_kill_before_the_front_is_known_keeps_what_the_resume_needs(
    command: Command, tmp_path: Path, runs: Callable[[str], Path]
) -> None:
    """The run ends without having looked for its front; a resume looks."""
    killed = runs("front")
    assert len(kept_by(killed)) == len(rows(killed, "trials"))


def test_a_resume_keeps_what_the_run_has_kept(
    command: Command, runs: Callable[[str], Path]
) -> None:
    run = runs("front")
    kept, before = kept_by(run), shutil.copytree(run, run.with_name("before"))
    assert command("--resume", str(run), *QUIET) == 0
    assert kept_by(run) == kept
    assert_same_tables(run, before)


def test_while_a_trial_has_failed_every_router_stays(
    command: Command, tmp_path: Path, runs: Callable[[str], Path]
) -> None:
    """A trial that is trained again may bring its point to the front, with all its seeds."""
    run = runs("all")
    study = run / "study.yaml"
    events = [event for event in read(run / "journal.jsonl") if event["event"] != "closed"]
    events[0]["study"]["checkpoints"] = "front"
    ending = next(event for event in events if event["event"] == "ended")["endings"][0]
    ending.update(status="FAILED", reason="out of memory")
    lines = (line_of({**event, "n": number}) for number, event in enumerate(events, 1))
    (run / "journal.jsonl").write_bytes(b"".join(lines))
    study.write_text(study.read_text().replace("checkpoints: all", "checkpoints: front"))
    assert command("--resume", str(run), "--force", *QUIET) == 4
    everything = {row["key"] for row in rows(run, "trials")}
    assert everything - kept_by(run) <= {ending["key"]}


def test_routers_that_no_ending_names_go_when_the_run_goes_on(
    command: Command, runs: Callable[[str], Path]
) -> None:
    """As if the run was killed after a pack's file was written, and before it was journaled."""
    run = runs("all")
    events = list(read(run / "journal.jsonl"))
    last = max(place for place, event in enumerate(events) if event["event"] == "ended")
    lost = {ending["key"] for ending in events[last]["endings"]}
    (run / "journal.jsonl").write_bytes(b"".join(map(line_of, events[:last])))
    before = {path.name for path in (run / "checkpoints").iterdir()}
    assert command("--resume", str(run), *QUIET) == 0
    files = files_by_key(run / "checkpoints")
    assert files.keys() == {row["key"] for row in rows(run, "trials")}
    assert not {files[key].path.name for key in lost} & before
    assert len(list((run / "checkpoints").iterdir())) == len(before)


@pytest.mark.usefixtures("no_front")
@pytest.mark.parametrize("how", ["repaired", "killed"])
def test_a_folder_that_an_older_version_wrote_goes_with_a_router_that_is_trained_again(
    command: Command, runs: Callable[[str], Path], how: str
) -> None:
    """As if an older version had trained all, or was killed between a router and its ending."""
    run = runs("all")
    folder = run / "checkpoints"
    for key in kept_by(run):
        save(replace(load(folder / key), epoch=1), folder / key)
    for file in folder.glob("*.safetensors"):
        file.unlink()
    (folder / "zz").mkdir()
    if how == "repaired":
        part = min((run / "parts").glob("pack0*.parquet"))
        part.write_bytes(part.read_bytes()[:-9])
    else:
        events = list(read(run / "journal.jsonl"))
        last = max(place for place, event in enumerate(events) if event["event"] == "ended")
        (run / "journal.jsonl").write_bytes(b"".join(map(line_of, events[:last])))
    assert command("--resume", str(run), "--repair", *QUIET) == 0
    again = kept_by(run)
    assert again
    assert {load(folder / key).epoch for key in again} == {2}
    folders = {path.name for path in folder.iterdir() if path.is_dir()}
    assert folders == {row["key"] for row in rows(run, "trials")} - again | {"zz"}
    assert {load(folder / key).epoch for key in folders - {"zz"}} <= {1}


@pytest.mark.usefixtures("no_front")
def test_a_resume_that_trains_nothing_reads_no_router(
    command: Command, runs: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = runs("all")
    read: list[Path] = []
    monkeypatch.setattr(LaneFile, "read", read.append)
    assert command("--resume", str(run), *QUIET) == 0
    assert read == []


@pytest.mark.usefixtures("no_front")
def test_a_damaged_file_of_routers_hinders_no_resume_and_stays(
    command: Command, runs: Callable[[str], Path]
) -> None:
    run = runs("all")
    path = min((run / "checkpoints").glob("*.safetensors"))
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    trials = json.loads(header["__metadata__"]["trials"])
    name = next(name for name in header if name != "__metadata__")
    header[name]["data_offsets"].reverse()
    header["zz.w"] = header[name]  # of a trial that is not the run's, so that the file is shortened
    header["__metadata__"]["trials"] = json.dumps(trials | {"zz": {}})
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])
    before = path.read_bytes()
    lines = (run / "journal.jsonl").read_bytes().splitlines(keepends=True)
    (run / "journal.jsonl").write_bytes(b"".join(lines[:-1]))  # as if it was not closed
    assert command("--resume", str(run), *QUIET) == 0
    assert path.read_bytes() == before
    with pytest.raises(CheckpointError, match="is no sound file of routers"):
        load(run / "checkpoints" / min(trials))


def test_the_setting_is_no_part_of_a_trial_and_survives_its_tree() -> None:
    study = load_study("mrpc_grid", ["checkpoints=front"])
    assert study.checkpoints == from_tree(study.to_tree()).checkpoints == "front"
    assert study.configs() == load_study("mrpc_grid").configs()
    older = {name: part for name, part in study.to_tree().items() if name != "checkpoints"}
    assert from_tree(json.loads(json.dumps(older))).checkpoints == "all"


@pytest.mark.parametrize("value", ["some", "[]", "2"])
def test_another_word_is_refused(value: str) -> None:
    with pytest.raises(ConfigError, match=r"checkpoints is .* but must be front .* all or none"):
        load_study("mrpc_grid", [f"checkpoints={value}"])
