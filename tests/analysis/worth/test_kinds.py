"""Kinds of routers beside each other at stated costs."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from analysis.baselines.curve_scores import hull_places
from analysis.baselines.label_blind import hull_area, label_blind, mix_area
from analysis.baselines.yardsticks import oracle_curve, random_mix
from analysis.choices.choice import choose
from analysis.choices.operating_points import bias_curves
from analysis.fronts.survey import survey
from analysis.report.page import write_report
from analysis.runs.load import Run, RunError, load_run
from analysis.worth._shares import Room
from analysis.worth.kind_worth import kind_worth
from analysis.worth.kinds import Kind, _kind_of, kinds, kinds_of
from analysis.worth.worth import worth
from mpc_router.costs import CostVector
from mpc_router.tasks import TASKS
from tests.analysis.path_runs import ROUTERS, Router, rewrite, world, write

CAPS = (4.0, 9.0, 40.0)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return load_run(write(tmp_path_factory.mktemp("kinds") / "r", world(examples=80)))


@pytest.fixture(scope="module")
def table(run: Run) -> pd.DataFrame:
    return kinds(run, costs=CAPS)


def test_a_kind_is_named_by_what_is_not_usual() -> None:
    usual = Kind(router_kind="gated", combine="last", router_data="train")
    assert usual.words == "gated"
    other = Kind(router_kind="sequential", combine="average", router_data="cross_fitted")
    assert other.words == "sequential, combine=average, on cross_fitted"


def test_every_kind_has_a_row_at_every_cost_that_it_can_keep(run: Run, table: pd.DataFrame) -> None:
    assert len(kinds_of(run)) == len(ROUTERS)
    for cap, rows in table.groupby("cap"):
        assert rows["best"].sum() == 1
        assert rows["selection_score"].max() == rows.loc[rows["best"], "selection_score"].item()
        assert (rows["kind"].value_counts() == 1).all()
        assert set(rows["kind"]) <= {kind.words for kind in kinds_of(run)}
        assert len(rows) == len(ROUTERS) or cap == min(CAPS)


def test_estimates_are_those_of_the_point_s_curve_on_the_quoted_split(
    run: Run, table: pd.DataFrame
) -> None:
    curves = bias_curves(run)
    names = [point.point for point in curves.points]
    for row in table.to_dict("records"):
        place = names.index(row["point"])
        bias = curves.chosen[place].biases.tolist().index(row["bias"])
        assert row["selection_score"] == curves.chosen[place].scores[bias]
        assert curves.chosen[place].costs[bias] <= row["cap"]
        assert row["score"] == pytest.approx(curves.quoted[place].scores[bias])
        assert row["cost"] == pytest.approx(curves.quoted[place].costs[bias])
        assert row["score_low"] <= row["score"] <= row["score_high"]


def test_the_best_kind_is_what_a_choice_under_the_same_cap_takes(
    run: Run, table: pd.DataFrame
) -> None:
    for cap in CAPS:
        (best,) = table[table["best"] & (table["cap"] == cap)].to_dict("records")
        choice = choose(run, at_most=cap)
        assert (choice.point, choice.bias) == (best["point"], best["bias"])


def test_the_gated_kind_has_no_lead_over_itself(table: pd.DataFrame) -> None:
    gated = table[table["router_kind"] == "gated"]
    assert (gated[["over_gated", "over_gated_low", "over_gated_high"]] == 0).all(axis=None)


@pytest.fixture(scope="module")
def worths(run: Run) -> pd.DataFrame:
    return kind_worth(run, survey(run))


def test_the_price_of_a_kind_is_its_cheapest_router_near_the_best_single_score(
    run: Run, worths: pd.DataFrame
) -> None:
    """The bar is the same for all: the best expert's score on selection less half a point."""
    of_selection = survey(run, split="selection").singles["score"].max()
    curves, of_kind = bias_curves(run), {words: place for place, words in enumerate(_words(run))}
    assert set(worths["kind"]) == set(of_kind)
    for row in worths.to_dict("records"):
        place = of_kind[row["kind"]]
        chosen, quoted = curves.chosen[place], curves.quoted[place]
        reaching = chosen.costs[chosen.scores >= of_selection - 0.005]
        if not row["price_point"]:
            assert not len(reaching)
            continue
        bias = chosen.biases.tolist().index(row["price_bias"])
        assert chosen.costs[bias] == reaching.min()
        assert row["price"] == pytest.approx(quoted.costs[bias])
        assert row["price_score"] == pytest.approx(quoted.scores[bias])
        assert row["price_low"] <= row["price"] <= row["price_high"]
        assert row["of_best"] == pytest.approx(row["price"] / 13)
    assert worths["cheapest"].sum() == 1


def test_the_shares_of_a_kind_are_areas_under_the_hull_that_selection_picks(
    run: Run, worths: pd.DataFrame
) -> None:
    taken, curves = survey(run), bias_curves(run)
    front = worth(run, taken)  # one pool, so that all kinds have the room of the front
    mix = taken.mix
    coin = mix_area(mix)[0]
    reached = hull_area(
        taken.front_costs[:, :1], taken.front_scores[:, :1], ends=(2.0, 13.0), floor=mix.scores[0]
    )
    rooms = [
        (reached[0] - coin) / share.value for share in (front.blind_share, front.labelled_share)
    ]
    of_kind = {words: place for place, words in enumerate(_words(run))}
    for row in worths.to_dict("records"):
        chosen, quoted = (side[of_kind[row["kind"]]] for side in (curves.chosen, curves.quoted))
        turns = hull_places(chosen.costs, chosen.scores)
        area = hull_area(
            quoted.costs[turns, None],
            quoted.scores[turns, None],
            ends=(2.0, 13.0),
            floor=mix.scores[0, :1],
        )
        for name, room in zip(("blind_share", "labelled_share"), rooms, strict=True):
            assert row[name] == pytest.approx((area[0] - coin) / room)
            assert row[f"{name}_low"] <= row[name] <= row[f"{name}_high"]


def test_a_kind_that_is_the_coin_captures_nothing_and_one_that_knows_the_label_all() -> None:
    """Of two experts, one always right where the other is wrong half of the time."""
    labels, weights = np.ones(400), np.ones((3, 400), np.float32)
    predictions = np.stack([np.arange(400) % 2, labels]).astype(float)
    vector = CostVector(name="two", unit="units", router=0.0, experts=(1.0, 3.0))
    mix = random_mix(TASKS["rte"], predictions, labels, vector=vector, weights=weights)
    curve = oracle_curve(TASKS["rte"], predictions, labels, vector=vector)
    blind = label_blind(
        TASKS["rte"], (predictions, labels), predictions, labels, vector=vector, weights=weights
    )
    room = Room.of(
        TASKS["rte"],
        mix=mix,
        oracle=curve,
        blind=blind,
        singles=(np.array([1.0, 3.0]), np.array([0.5, 1.0])),
        scale=1.0,
    )
    coin = room.shares(np.tile(mix.costs[:, None], (1, 3)), mix.scores)
    assert [share.value for share in coin] == pytest.approx([0, 0], abs=1e-9)
    # the best expert is never wrong, so that the cheapest that agrees with it is the oracle
    oracle = room.shares(np.full((1, 3), 2.0), np.ones((1, 3)))
    assert [share.value for share in oracle] == pytest.approx([1, 1])


def test_of_several_seeds_of_experts_a_kind_is_chosen_with_each_and_their_mean_is_quoted(
    tmp_path: Path,
) -> None:
    later = [replace(router, point=f"q{router.point}") for router in ROUTERS]
    both = world(routers=[*ROUTERS, *later], examples=60)
    run = load_run(_seeded(write(tmp_path / "both", both)))
    alone = []
    for first in ("p", "q"):
        trials = tuple(trial for trial in both.trials if trial.router.point.startswith(first))
        alone.append(load_run(write(tmp_path / first, replace(both, trials=trials))))
    assert len(kinds_of(run)) == len(ROUTERS)
    at_cost = [kinds(side, costs=[9.0]) for side in (run, *alone)]
    _check_means(at_cost, ["score", "cost", "over_coin", "selection_score"])
    overall = [kind_worth(side, survey(side)) for side in (run, *alone)]
    _check_means(overall, ["price", "blind_share"])
    assert (kinds(run)["expert_seeds"] == 2).all()
    fewer = tuple(trial for trial in both.trials if trial.router.point != "qp3")
    lacking = load_run(_seeded(write(tmp_path / "lacking", replace(both, trials=fewer))))
    (alone_words,) = set(kinds(run)["kind"]) - set(kinds(lacking)["kind"])
    assert alone_words == "predictive, combine=logistic"  # it has no router with the second seed
    assert set(kinds(run, costs=[40.0])["point"]) == {f"p{n}, qp{n}" for n in range(len(ROUTERS))}


def _check_means(tables: Sequence[pd.DataFrame], columns: Sequence[str]) -> None:
    """Checks that the first table holds the means of the others, inside their intervals."""
    mean, *by_seed = (table.set_index("kind") for table in tables)
    for column in columns:
        expected = np.mean([table.loc[mean.index, column] for table in by_seed], axis=0)
        np.testing.assert_allclose(mean[column], expected)
    reached = mean[mean[columns[0]].notna()]
    assert (reached[f"{columns[0]}_low"] <= reached[columns[0]]).all()
    assert (reached[columns[0]] <= reached[f"{columns[0]}_high"]).all()


def _seeded(folder: Path) -> Path:
    """Writes into a run that points of a name with q have experts of another seed."""
    path = folder / "trials.parquet"
    trials = pd.read_parquet(path)
    seeds = trials["point"].str.startswith("q").astype(int)
    configs = [
        json.dumps(json.loads(config) | {"training": {"expert_seed": seed}})
        for config, seed in zip(trials["config"], seeds, strict=True)
    ]
    rewrite(path, trials.assign(expert_seed=seeds, config=configs))
    study = yaml.safe_load((folder / "study.yaml").read_text())
    study["space"]["expert_seed"] = {"grid": [0, 1]}
    (folder / "study.yaml").write_text(yaml.safe_dump(study))
    return folder


def _words(run: Run) -> list[str]:
    """The kinds of the points in the order of the curves: every point here is one of its own."""
    configs = dict(zip(run.trials["key"].astype(str), run.trials["config"], strict=True))
    points = bias_curves(run).points
    return [_kind_of(json.loads(configs[point.keys[0]])).words for point in points]


def test_without_gated_routers_nothing_is_compared_with_them(tmp_path: Path) -> None:
    routers = tuple(router for router in ROUTERS if router.kind != "gated")[:2]
    alone = load_run(write(tmp_path / "r", world(routers=routers, examples=40)))
    assert kinds(alone)["over_gated"].map(math.isnan).all()


@pytest.mark.usefixtures("quick_reports")
def test_a_constraint_that_no_router_keeps_leaves_a_report(tmp_path: Path) -> None:
    folder = write(tmp_path / "r", world(examples=40))
    study = yaml.safe_load((folder / "study.yaml").read_text())
    study["constraints"] = {"cost": {"max": 0.1}}
    (folder / "study.yaml").write_text(yaml.safe_dump(study))
    bound = load_run(folder)
    with pytest.raises(RunError, match="no router under any bias keeps the study's constraints"):
        kind_worth(bound, survey(bound))
    text = write_report(bound, tmp_path / "report.html").read_text(encoding="utf-8")
    assert "What each kind of routers is worth" not in text


@pytest.mark.slow
@pytest.mark.usefixtures("quick_reports")
def test_the_report_says_which_kind_is_best_where(run: Run, tmp_path: Path) -> None:
    text = write_report(run, tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Which kind of router is best where?" in text
    assert "selection picks" in text
    assert "is the cheapest kind that reaches" in text
    assert "as a share of that expert" in text
    one = Router(point="p0", kind="gated")
    lone = load_run(write(tmp_path / "lone", world(routers=[one], examples=40)))
    text = write_report(lone, tmp_path / "lone.html").read_text(encoding="utf-8")
    assert "Which kind of router is best where?" not in text
