"""Races: every point with one seed, further seeds for points of the front."""

from __future__ import annotations

import operator
from collections.abc import Callable
from pathlib import Path
from statistics import fmean

import pytest

from analysis.fronts.survey import survey
from analysis.runs.load import load_run
from mpc_router.config.trial import ConfigError
from sweeps.journal.journal import read
from sweeps.journal.state import replay
from sweeps.records import COMPLETED, STOPPED
from sweeps.study.read import load
from tests.sweeps.conftest import assert_same_tables, rows
from tests.sweeps.search.test_searches import FINISHED, SEARCH

Command = Callable[..., int]

RACE = ("seeds=[0, 1, 2]", "racing=1")


@pytest.mark.usefixtures("no_front")
@pytest.mark.parametrize(
    "more",
    [(), ("stopping.method=none", "search.batch=6", "search.points=36", "epochs=2")],
    ids=["stopped", "never stopped"],
)
def test_in_a_race_only_points_of_the_front_get_all_seeds(
    made_run: Callable[..., Path], tmp_path: Path, more: tuple[str, ...]
) -> None:
    changed = ("seeds", "stopping.") if more else ("seeds",)
    words = tuple(word for word in FINISHED if not word.startswith(changed))
    run = made_run(tmp_path / "r", *words, *RACE, *more)
    trials = rows(run, "trials")
    state = replay(read(run / "journal.jsonl"))
    assert state.following == ()  # the race went on until nothing of the front was missing
    seeds: dict[str, list[int]] = {}
    for trial in trials:
        seeds.setdefault(trial["point"], []).append(trial["seed"])
    assert {tuple(each) for each in seeds.values()} == {(0,), (0, 1, 2)}
    values = {
        point: (
            -fmean(t["selection_score"] for t in trials if t["point"] == point),
            fmean(t["selection_cost"] for t in trials if t["point"] == point),
        )
        for point in seeds
    }
    front = {
        point
        for point, mine in values.items()
        if not any(all(map(operator.le, v, mine)) and v != mine for v in values.values())
    }
    assert all(len(seeds[point]) == 3 for point in front)
    assert all(t["status"] == COMPLETED for t in trials if t["point"] in front)
    said = survey(load_run(run)).points
    assert said.on_front.sum() == len({values[point] for point in front})  # of equal ones one


@pytest.mark.slow
@pytest.mark.usefixtures("no_front")
def test_a_race_killed_around_what_follows_resumes_to_the_same_tables(
    command: Command, made_run: Callable[..., Path], tmp_path: Path
) -> None:
    words = (*(word for word in FINISHED if not word.startswith("seeds")), *RACE)
    run, wanted = (made_run(tmp_path / "runs" / name, *words) for name in ("r", "wanted"))
    lines = (run / "journal.jsonl").read_bytes().splitlines(keepends=True)
    follow = [n for n, each in enumerate(read(run / "journal.jsonl"), 1) if "following" in each]
    assert len(follow) >= 2
    places = {place + more for place in (follow[0], follow[-1]) for more in (-1, 0, 1)}
    for kept in sorted(places):
        (run / "journal.jsonl").write_bytes(b"".join(lines[:kept]))
        assert command("--resume", str(run), "--no-report", "--quiet") == 0
        assert_same_tables(run, wanted)


@pytest.mark.parametrize("racing", [3, -1, True, "two"])
def test_a_race_leaves_seeds_for_later(racing: object) -> None:
    with pytest.raises(ConfigError, match="a number of seeds below all 3"):
        load("mrpc_pareto", ["pool=sample", f"racing={racing}"])


def test_where_nobody_is_finished_only_complete_points_race(
    command: Command, tmp_path: Path
) -> None:
    words = (*(word for word in SEARCH if not word.startswith("seeds")), *RACE)
    assert command(*words, "--name", "r", "--no-report", "--quiet") == 0
    seeds: dict[str, list[str]] = {}
    for trial in rows(tmp_path / "runs" / "r", "trials"):
        seeds.setdefault(trial["point"], []).append(trial["status"])
    assert {tuple(each) for each in seeds.values()} == {(STOPPED,), (COMPLETED,) * 3}
