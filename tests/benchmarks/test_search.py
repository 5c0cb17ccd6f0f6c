"""The replay of searches: what is paid, who waits for whom, and what a picture is drawn from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from benchmarks import search, search_figure
from benchmarks.curves import SPACE, drawn
from benchmarks.looks import MEASURES, looks
from benchmarks.one_by_one import Promoting, arriving, one_by_one
from benchmarks.replay import (
    CHOICE,
    Asked,
    Curves,
    Drawn,
    Setting,
    Trace,
    in_packs,
)
from benchmarks.search import Variant
from sweeps.search.rule import SearchRule
from sweeps.stopping.rule import Rule

SHIPPED = Path(__file__).parents[2] / "benchmarks" / "recorded"
RULE = Rule(method="mo_asha")


def by_hand(losses: Sequence[Sequence[Sequence[float]]]) -> Curves:
    array = np.array(losses, np.float64)
    settings = [
        {**{name: float(np.sqrt(low * high)) for name, (low, high) in SPACE.items()}, CHOICE: 64}
        for _ in losses
    ]
    return Curves(name="hand", settings=settings, losses=array, reference=np.array([0.0, 10.0]))


def drawn_curves(points: int = 60) -> Curves:
    source = np.random.default_rng(5)
    losses = np.stack(
        [
            -np.sort(source.uniform(0.5, 0.9, (points, 9)), axis=1),
            np.repeat(source.uniform(2, 6, (points, 1)), 9, axis=1),
        ],
        axis=2,
    )
    return Curves(
        name="drawn",
        settings=drawn(points, seed=1),
        losses=losses,
        reference=losses.reshape(-1, 2).max(axis=0),
    )


def setting(curves: Curves, *, workers: int = 1, budget: int = 10**4, seed: int = 0) -> Setting:
    return Setting(curves=curves, workers=workers, seed=seed, budget=budget)


def visits(*pairs: tuple[int, int]) -> Trace:
    trace = Trace()
    for time, (point, epoch) in enumerate(pairs, start=1):
        trace.add(float(time), point, epoch)
    return trace


@pytest.fixture
def two_points() -> Curves:
    """Point 0 ends at a box of 4 x 5 = 20, alone; point 1 looks good early and ends at 1 x 5."""
    return by_hand([[[-1, 5], [-2, 5], [-4, 5]], [[-3, 5], [-2, 5], [-1, 5]]])


def test_a_front_is_named_by_own_reports_and_what_is_missing_is_paid(two_points: Curves) -> None:
    """After one epoch each, point 1 alone is on the front; its two missing epochs make four."""
    found = looks(visits((0, 1), (1, 1)), setting(two_points))
    assert found.after("finished", 3.9, by_time=False) == 0.0
    assert found.after("finished", 4, by_time=False) == pytest.approx(25.0)
    assert found.after("completed", 4, by_time=False) == 0.0
    assert found.after("reached", 2, by_time=False) == pytest.approx(100 * 15 / 20)


def test_what_was_completed_counts_though_reports_do_not_name_it(two_points: Curves) -> None:
    found = looks(visits((0, 1), (0, 2), (0, 3), (1, 1)), setting(two_points))
    assert found.after("completed", 4, by_time=False) == pytest.approx(100.0)
    assert found.after("finished", 4, by_time=False) == pytest.approx(100.0)


def test_a_router_counts_with_the_last_epoch_it_reached(two_points: Curves) -> None:
    found = looks(visits((1, 1), (1, 2), (1, 3)), setting(two_points))
    assert found.after("reached", 3, by_time=False) == pytest.approx(25.0)


def test_workers_share_what_is_missing_but_a_point_is_not_shared() -> None:
    curves = by_hand([[[-1, 5]] * 3, [[-2, 6]] * 3])
    alone, three = (setting(curves, workers=count) for count in (1, 3))
    trace = visits((0, 1), (1, 1))
    missing = 2 * alone.speed
    assert looks(trace, alone).time_with_finish[-1] == pytest.approx(2 + missing.sum())
    assert looks(trace, three).time_with_finish[-1] == pytest.approx(2 + missing.max())


@pytest.mark.parametrize("measure", MEASURES)
def test_all_points_at_full_length_are_the_whole(measure: str) -> None:
    here = setting(drawn_curves())
    trace = one_by_one(here, Drawn(setting=here, batch=1), lambda point, epoch: True)
    found = looks(trace, here)
    assert found.hypervolume[measure][-1] == pytest.approx(100.0)
    assert found.epochs[-1] == 60 * 9
    assert found.with_finish[-1] == 60 * 9


@pytest.mark.parametrize("workers", [1, 7])
def test_no_worker_rests_while_there_is_work(workers: int) -> None:
    here = setting(drawn_curves(), workers=workers)
    trace = one_by_one(here, Drawn(setting=here, batch=1), lambda point, epoch: True)
    work = 9 * float(here.speed.sum())
    assert trace.time == sorted(trace.time)
    assert work / workers <= trace.time[-1] <= work / workers + 9 * 1.25


def test_a_pack_of_27_takes_63_epochs_and_reports_after_each_for_all() -> None:
    here = setting(drawn_curves(27))
    trace = in_packs(here, Drawn(setting=here, batch=27), RULE)
    assert len(trace.time) == 27 + 2 * 9 + 6 * 3
    assert len(set(trace.time)) == 9
    assert trace.time[0] == pytest.approx(float(here.speed.sum()))


def test_a_bracket_of_its_own_holds_its_points_longer() -> None:
    here = setting(drawn_curves(), budget=10**4)
    later = Rule(method="mo_asha", brackets=2)
    trace = one_by_one(here, Drawn(setting=here, batch=1), arriving(here, later))
    lengths = pd.Series(trace.epoch).groupby(trace.point).max()
    assert set(lengths) == {1, 3, 9}
    plain = one_by_one(here, Drawn(setting=here, batch=1), arriving(here, RULE))
    assert len(trace.time) > len(plain.time)


def test_who_waits_goes_on_once_enough_worse_ones_have_come() -> None:
    """The best come first: the second waits for the fourth, at its next rung for nobody."""
    order = [int(each) for each in np.random.default_rng(0).permutation(4)]
    here = setting(by_hand([[[order.index(point)] * 2] * 9 for point in range(4)]))
    waits = Promoting(here, Rule(method="mo_asha", variant="promote"))
    trace = one_by_one(here, Drawn(setting=here, batch=1), waits.goes_on, waits.promoted)
    found = [(order.index(p), epoch) for p, epoch in zip(trace.point, trace.epoch, strict=True)]
    alone = [(0, epoch) for epoch in range(1, 10)]
    assert found == [*alone, (1, 1), (2, 1), (3, 1), (1, 2), (1, 3)]


@pytest.mark.parametrize("packs", [True, False])
@pytest.mark.parametrize("sampler", ["qmc", "nsga2"])
def test_no_point_is_tried_twice_and_all_recorded_ones_can_be(packs: bool, sampler: str) -> None:
    here = setting(drawn_curves(54), workers=2)
    trace = Variant(packs=packs, sampler=sampler)(here)
    first = [point for point, epoch in zip(trace.point, trace.epoch, strict=True) if epoch == 1]
    assert len(first) == len(set(first))
    assert len(first) >= 48


def test_the_next_batch_waits_for_what_it_must_know() -> None:
    here = setting(drawn_curves(), workers=4)
    rule = SearchRule(method="random", points=10**6, batch=8, parallel=1)
    trace = one_by_one(here, Asked(setting=here, rule=rule), lambda point, epoch: epoch < 3)
    order = list(dict.fromkeys(trace.point))
    batch = {point: number // 8 for number, point in enumerate(order)}
    ends = pd.Series(trace.time).groupby([batch[point] for point in trace.point]).max()
    begins = [
        time - here.speed[point]
        for time, point, epoch in zip(trace.time, trace.point, trace.epoch, strict=True)
        if epoch == 1 and batch[point] == 1
    ]
    assert min(begins) >= ends[0] - 1e-9


def test_nobody_waits_for_a_sampler_that_learns_nothing() -> None:
    here = setting(drawn_curves(48), workers=5)
    source = search.points(here, sampler="qmc")
    trace = one_by_one(here, source, lambda point, epoch: point % 7 == 0)
    work = sum(float(here.speed[point]) for point in trace.point)
    assert trace.time[-1] <= work / 5 + 9 * 1.25


def test_a_sampler_is_shown_the_settings_whose_results_it_hears() -> None:
    here = setting(drawn_curves())
    asked = Asked(setting=here, rule=SearchRule(method="random", points=10**6, batch=8))
    points = asked.ask()
    shown = [dict(proposal.settings) for proposal in asked._batches[0].proposals]
    assert shown == [here.curves.settings[point] for point in points]


def test_all_methods_are_given_the_same_points_and_speeds() -> None:
    curves = drawn_curves()
    assert setting(curves, workers=1).order == setting(curves, workers=64).order
    assert setting(curves).order != setting(curves, seed=1).order
    assert list(setting(curves).speed) == list(setting(curves, workers=64).speed)


@pytest.mark.parametrize(("task", "points"), [("mrpc", 1000), ("sst2", 500)])
def test_the_shipped_curves_are_those_that_the_script_draws(task: str, points: int) -> None:
    path = SHIPPED / f"{task}.parquet"
    curves = Curves.read(path)
    for settings, again in zip(curves.settings, drawn(points, seed=0), strict=True):
        assert settings == pytest.approx(again, rel=1e-12)  # processors round exponentials apart
    assert curves.losses.shape == (points, 9, 2)
    assert np.isfinite(curves.losses).all()
    said = json.loads(pq.read_schema(path).metadata[b"settings"])
    assert (said["task"], said["pool"], said["epochs"]) == (task, "minilm", 9)
    assert sum(each.stat().st_size for each in SHIPPED.glob("*.parquet")) < 1_000_000


def test_replays_that_are_there_are_not_run_again(tmp_path: Path) -> None:
    curves, ran = drawn_curves(), list[int]()

    def method(here: Setting) -> Trace:
        ran.append(here.seed)
        return one_by_one(here, Drawn(setting=here, batch=1), lambda point, epoch: False)

    part = tmp_path / "part.parquet"
    search.complete(part, "m", method, [setting(curves, budget=50, seed=s) for s in (0, 1)])
    search.complete(part, "m", method, [setting(curves, budget=50, seed=s) for s in (0, 1, 2)])
    search.complete(part, "m", method, [setting(curves, budget=100, seed=0)])
    assert ran == [0, 1, 2, 0]
    rows = pq.read_table(part).to_pandas()
    assert set(rows.loc[rows["seed"] == 0, "budget"]) == {50, 71, 100}
    assert set(rows.loc[rows["seed"] == 1, "budget"]) == {50}


@pytest.fixture
def replays(tmp_path: Path) -> Path:
    """Three seeds of two methods on drawn curves."""
    curves = drawn_curves()
    (tmp_path / "parts").mkdir()
    names = ["random, no stopping", "all stopped after one epoch", "ours, async, crowding"]
    for name in names:
        settings = [setting(curves, budget=100, seed=seed) for seed in range(3)]
        part = tmp_path / "parts" / f"{name}.parquet"
        search.complete(part, name, search.methods()[name], settings)
    return tmp_path


def test_differences_are_paired_by_seed(replays: Path) -> None:
    summary = search_figure.summarised(replays / "parts")
    rows = pd.concat([pq.read_table(each).to_pandas() for each in (replays / "parts").iterdir()])
    rows = rows[(rows["measure"] == "finished") & (rows["budget"] == 100)]
    values = rows.pivot_table(index="seed", columns="method", values="by_epochs")
    gain = (values["ours, async, crowding"] - values["random, no stopping"]).to_numpy()
    row = summary[
        (summary["method"] == "ours, async, crowding")
        & (summary["measure"] == "finished")
        & (summary["budget"] == 100)
    ].iloc[0]
    assert row["by_epochs over random, no stopping"] == pytest.approx(gain.mean())
    expected = 1.96 * gain.std(ddof=1) / np.sqrt(3)
    assert row["by_epochs over random, no stopping half"] == pytest.approx(expected)


def test_a_table_marks_where_the_recorded_points_were_used_up(replays: Path) -> None:
    summary = search_figure.summarised(replays / "parts")
    text = search_figure.table(summary, "drawn", 1, "finished")
    lines = {line.split(" | ")[0].strip("| "): line for line in text.splitlines()}
    assert lines["all stopped after one epoch"].count("*") == 1
    assert "*" not in lines["random, no stopping"]


def test_the_picture_is_drawn_again_without_replays(replays: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    wanted = ["--method", "ours, async, crowding"]
    search_figure.main([str(replays), "--out", str(out), *wanted])
    first = (out / "search.svg").read_text()
    assert "ours, the same points" in first
    (out / "search.svg").unlink()
    search_figure.main([str(out), *wanted])
    assert (out / "search.svg").read_text() == first


def test_the_command_writes_what_was_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [str(SHIPPED / "mrpc.parquet"), "--seeds", "2", "--workers", "4"]
    search.main([*command, "--budget", "100", "--only", "random", "--out", str(tmp_path)])
    (part,) = (tmp_path / "parts").iterdir()
    assert part.name == "mrpc.4.random--no-stopping.parquet"
    assert "1000 points x 9 epochs" in capsys.readouterr().out
