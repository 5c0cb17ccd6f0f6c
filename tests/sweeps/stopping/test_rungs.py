"""Joint trials stopped early: packs of one lane, ranked between packs as they arrive."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any

import pytest

from sweeps.driver import session
from sweeps.journal.journal import read
from sweeps.journal.state import State, apply, replay
from sweeps.records import BETWEEN, COMPLETED, INTERRUPTED, SELECTION, STOPPED, Message, Pack
from sweeps.run import main
from sweeps.stopping import rungs
from sweeps.study.read import from_tree
from sweeps.worker.job import Job
from sweeps.worker.pack import run_pack
from tests.sweeps.conftest import LITTLE, OF_THE_CLOCK, rows, without_ray

Command = Callable[..., int]

RECIPES = tuple(word for word in LITTLE if word != "expert_epochs=1")
"""Experts that differ enough for a later trial to be promoted: trained by their own recipes."""

JOINT = (
    *("mrpc_grid", *RECIPES, "experts=joint", "expert_start=fine_tuned", "seeds=[0]", "epochs=3"),
    *("alpha={grid: [0.01, 0.1, 1]}", "beta={grid: [0.001, 0.1]}", "start=[]"),
    "stopping={method: mo_asha, eta: 3, grace: 1, brackets: 2}",
)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory, sample_cache: Path) -> Path:
    """A grid of six joint trials in two brackets."""
    folder = tmp_path_factory.mktemp("between")
    with pytest.MonkeyPatch.context() as patch:
        without_ray(patch)
        known = ("--cache", str(sample_cache), "--out", str(folder), "--no-report", "--quiet")
        assert main([*JOINT, "--sample", "--name", "r", *known]) == 0
    return folder / "r"


@pytest.mark.slow
def test_trials_are_stopped_with_their_routes_and_an_ending_of_their_own(stopped: Path) -> None:
    trials = rows(stopped, "trials")
    ends = Counter((trial["status"], trial["epochs"]) for trial in trials)
    assert ends[STOPPED, 1] >= 1
    assert ends[COMPLETED, 3] >= 1
    assert sum(ends.values()) == 6
    assert set(ends) <= {(STOPPED, 1), (COMPLETED, 3)}
    routed = {row["key"] for row in rows(stopped, "routing")}
    assert routed == {trial["key"] for trial in trials}
    assert all(trial["validation_score"] is not None for trial in trials)
    assert all("go on" in trial["reason"] for trial in trials if trial["status"] == STOPPED)


def recomputed(run: Path) -> int:
    """Decisions of the journal, each of them made anew from the events before it alone."""
    count, state = 0, State()
    for event in read(run / "journal.jsonl"):
        if event["event"] == "decided":
            assert state.opened is not None
            ranking = from_tree(state.opened["study"]).ranking
            assert ranking is not None
            (said,) = event["decisions"]
            assert state.packs[event["pack"]].stopping == BETWEEN
            found = rungs.decide_between(
                state.reports[said["key"], said["epoch"], SELECTION],
                [state.reports[key, epoch, SELECTION] for key, epoch in state.decisions],
                ranking,
            )
            assert found is not None
            assert (found.goes_on, found.reason) == (said["goes_on"], said["reason"])
            count += 1
        apply(state, event)
    return count


def test_every_decision_recomputes_from_the_journal_up_to_it(stopped: Path) -> None:
    assert recomputed(stopped) >= 3


def test_an_interrupted_run_loses_and_doubles_nothing_and_decides_nothing_twice(
    sample: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = tmp_path / "runs" / "cut"
    stops: list[str] = []

    def dies(
        pack: Pack, job: Job, **more: Any
    ) -> Generator[Message, Mapping[str, str] | None, None]:
        """Its worker is gone when it is to hear that its trial is stopped, the first time."""
        messages = run_pack(pack, job, **more)
        answer: Mapping[str, str] | None = None
        while True:
            try:
                answer = yield messages.send(answer)
            except StopIteration:
                return
            if answer and not stops:
                stops.extend(answer)
                raise RuntimeError("the process is gone")

    monkeypatch.setattr(session, "_run_pack", dies)
    with pytest.raises(RuntimeError, match="the process is gone"):
        sample(*JOINT, "--name", "cut", "--quiet")
    state = replay(read(run / "journal.jsonl"))
    assert state.endings[stops[0]].status == INTERRUPTED
    decided = dict(state.decisions)
    assert not decided[stops[0], 1].goes_on
    monkeypatch.setattr(session, "_run_pack", run_pack)
    assert sample("--resume", str(run), "--quiet") == 0
    after = replay(read(run / "journal.jsonl"))
    assert {place: after.decisions[place] for place in decided} == decided
    trials = {trial["key"]: trial for trial in rows(run, "trials")}
    assert len(trials) == 6
    assert (trials[stops[0]]["status"], trials[stops[0]]["epochs"]) == (STOPPED, 1)
    assert recomputed(run) == len(after.decisions)


PROMOTED = (*JOINT[:-1], "stopping={method: mo_asha, eta: 3, grace: 1, variant: promote}")


def promotions(run: Path) -> int:
    """Promotions of the journal, each of them found anew from the events before it alone."""
    count, state = 0, State()
    for event in read(run / "journal.jsonl"):
        for said in event.get("decisions", ()) if event["event"] == "asked" else ():
            assert state.opened is not None
            ranking = from_tree(state.opened["study"]).ranking
            assert ranking is not None
            arrived = [state.reports[key, epoch, SELECTION] for key, epoch in state.decisions]
            paused = {
                key
                for key, ending in state.endings.items()
                if ending.status == STOPPED and key not in state.finishing
            }
            found = rungs.promotion(arrived, paused, ranking)
            assert found is not None
            assert (found.key, found.epoch, found.reason) == (
                said["key"],
                said["epoch"],
                said["reason"],
            )
            count += 1
        apply(state, event)
    return count


@pytest.fixture(scope="module")
def promoted(tmp_path_factory: pytest.TempPathFactory, sample_cache: Path) -> Path:
    """The same six trials, of which the best that wait are promoted."""
    folder = tmp_path_factory.mktemp("promoted")
    with pytest.MonkeyPatch.context() as patch:
        without_ray(patch)
        known = ("--cache", str(sample_cache), "--out", str(folder), "--no-report", "--quiet")
        assert main([*PROMOTED, "--sample", "--name", "p", *known]) == 0
    return folder / "p"


def test_a_trial_that_waits_is_promoted_and_goes_on_from_its_rung(
    promoted: Path, stopped: Path
) -> None:
    run = promoted
    assert promotions(run) >= 1
    trials = rows(run, "trials")
    assert Counter(trial["status"] for trial in trials)[COMPLETED] >= 2
    assert {trial["status"] for trial in trials} == {STOPPED, COMPLETED}
    state = replay(read(run / "journal.jsonl"))
    again = [
        trial for trial in trials if state.pack_of[trial["key"]] != f"pack{trial['point'][1:]}"
    ]
    assert again
    assert all(trial["status"] == COMPLETED for trial in again)
    alone = {row["key"]: row for row in rows(stopped, "trials")}  # numbers are those of the trial
    for trial in trials:
        if trial["epochs"] == alone[trial["key"]]["epochs"]:
            assert trial["validation_score"] == alone[trial["key"]]["validation_score"]
    starts = [event for event in read(run / "journal.jsonl") if event["event"] == "started"]
    assert len(starts) == 6 + promotions(run)
    assert not list((run / "checkpoints").glob("*/epochs"))
    ranking = from_tree((state.opened or {})["study"]).ranking
    assert ranking is not None
    arrived = [state.reports[key, epoch, SELECTION] for key, epoch in state.decisions]
    waiting = {trial["key"] for trial in trials if trial["status"] == STOPPED}
    assert rungs.promotion(arrived, waiting, ranking) is None


def test_a_promoting_run_cut_after_any_event_loses_and_doubles_nothing(
    sample: Command, tmp_path: Path, promoted: Path
) -> None:
    run = Path(shutil.copytree(promoted, tmp_path / "runs" / "p"))
    lines = (run / "journal.jsonl").read_bytes().splitlines(keepends=True)
    wanted = {(trial["key"], trial["epochs"]) for trial in rows(run, "trials")}
    places = [n for n, each in enumerate(read(run / "journal.jsonl"), 1) if "decisions" in each]
    (first,) = places[-1:]
    for kept in (first - 2, first, first + 2):
        (run / "journal.jsonl").write_bytes(b"".join(lines[:kept]))
        assert sample("--resume", str(run), "--quiet") == 0
        assert {(trial["key"], trial["epochs"]) for trial in rows(run, "trials")} == wanted


@pytest.mark.long  # tests/sweeps/raytune/test_decisions.py has the way of a decision without Ray
@pytest.mark.slow
def test_on_ray_the_worker_ends_its_trial_itself_and_every_decision_recomputes(
    stopped: Path, sample_cache: Path, tmp_path: Path
) -> None:
    known = ("--cache", str(sample_cache), "--out", str(tmp_path), "--no-report", "--quiet")
    assert main([*JOINT, "--sample", "--name", "ray", *known]) == 0
    trials = rows(tmp_path / "ray", "trials")
    ends = Counter(trial["status"] for trial in trials)
    assert ends[STOPPED] >= 1
    assert ends[STOPPED] + ends[COMPLETED] == 6
    assert all(trial["validation_score"] is not None for trial in trials)
    assert recomputed(tmp_path / "ray") >= 3
    alone = {row["key"]: row["epochs"] for row in rows(stopped, "trials")}
    alike = {trial["key"] for trial in trials if trial["epochs"] == alone[trial["key"]]}
    assert alike  # whichever come first, two brackets of three stop some of the same trials
    for table in ("trials", "reports", "routing", "experts"):
        found, wanted = (_of(alike, run, table) for run in (tmp_path / "ray", stopped))
        assert found == wanted


def _of(keys: set[str], run: Path, table: str) -> list[dict[str, Any]]:
    """The rows of these trials, in one order, without the clock and the reasons of decisions."""
    passed_over = {*OF_THE_CLOCK.get(table, ()), "reason"}
    found = [
        {name: value for name, value in row.items() if name not in passed_over}
        for row in rows(run, table)
        if row.get("key", row.get("experts_id")) in keys
    ]
    order = ("key", "experts_id", "epoch", "split", "expert", "example")
    return sorted(found, key=lambda row: [row[name] for name in order if name in row])
