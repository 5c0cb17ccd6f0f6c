"""What a front is worth: beside the label-blind yardstick, a coin and the best single expert."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from analysis import schema
from analysis.fronts.survey import survey
from analysis.report._findings import blind_words
from analysis.runs.load import Run, load_run
from analysis.runs.outcomes import outcomes, roster
from analysis.words import number
from analysis.worth.worth import worth
from mpc_router.run_names import SELECTION
from tests.analysis.conftest import WriteRun
from tests.analysis.path_runs import rewrite
from tests.analysis.several_sets import a_set_a_trial, two_sets


def test_the_yardstick_scores_as_the_best_expert_does_and_costs_less(run: Run) -> None:
    taken = survey(run, resamples=50)
    measured = worth(run, taken)
    singles = taken.singles.set_index("name")
    assert measured.score.value == pytest.approx(singles.loc[measured.expert, "score"])
    assert measured.score.low <= measured.score.value <= measured.score.high
    dear = singles["cost"].astype(float).to_dict()[measured.expert]
    assert 2.0 <= measured.free.value < dear
    assert measured.free.value <= measured.paid.value <= 2.0 + measured.free.value


def test_the_share_of_the_label_blind_room_is_larger_than_that_of_the_labelled(run: Run) -> None:
    measured = worth(run, survey(run, resamples=50))
    assert measured.blind_share.value / measured.labelled_share.value > 1
    assert measured.blind_share.low <= measured.blind_share.value <= measured.blind_share.high
    # both have one numerator, so their intervals are one interval on two scales
    assert measured.blind_share.low / measured.blind_share.value == pytest.approx(
        measured.labelled_share.low / measured.labelled_share.value
    )


def test_points_over_the_coin_are_those_of_the_best_router_on_selection(run: Run) -> None:
    taken = survey(run, resamples=50)
    at_costs = worth(run, taken, costs=(1.0, 8.0, 100.0)).at_costs
    assert [stated.cap for stated in at_costs] == [8.0, 100.0]  # nothing costs 1
    front = taken.front
    for stated in at_costs:
        within = front[front["selection_cost"] <= stated.cap]
        best = within.iloc[int(within["selection_score"].to_numpy().argmax())]
        assert stated.point == best["point"]
        assert stated.over_coin.value == pytest.approx(best["over_mix"])
        assert stated.over_coin.low == pytest.approx(best["over_mix_low"])


def test_the_price_is_that_of_the_cheapest_router_near_the_best_single_score(run: Run) -> None:
    taken = survey(run, resamples=50)
    price = worth(run, taken).price
    assert price is not None
    row = taken.front.set_index("point").loc[price.point]
    assert price.cost.value == pytest.approx(row["cost"])
    assert price.of_best == pytest.approx(row["cost"] / 13)
    cheaper = taken.front[taken.front["selection_cost"] < row["selection_cost"]]
    assert (cheaper["selection_score"] < row["selection_score"]).all()


def test_a_front_of_the_coin_itself_captures_nothing(run: Run) -> None:
    taken = survey(run, resamples=20)
    mix = taken.mix
    object.__setattr__(taken, "front_costs", np.broadcast_to(mix.costs[:, None], mix.scores.shape))
    object.__setattr__(taken, "front_scores", mix.scores)
    try:
        measured = worth(run, taken)
    finally:
        survey.cache_clear()
    assert measured.blind_share.value == pytest.approx(0, abs=1e-9)
    assert measured.labelled_share.value == pytest.approx(0, abs=1e-9)


def test_an_expert_that_no_trial_of_a_partial_run_has_changes_nothing(run: Run) -> None:
    taken = survey(run, resamples=5)
    shares = worth(run, taken).blind_share, worth(run, taken).labelled_share
    lacking = taken.singles.iloc[[0]].assign(name="later", score=math.nan)
    more = dataclasses.replace(taken, singles=pd.concat([taken.singles, lacking]))
    measured = worth(run, more)
    assert (measured.blind_share, measured.labelled_share) == shares


def test_luck_is_unknown_with_one_seed_of_experts_and_where_experts_train_with_trials(
    run: Run, run_folder: Path, tmp_path: Path
) -> None:
    assert worth(run, survey(run, resamples=5)).luck is None
    joint = a_set_a_trial(run_folder, tmp_path / "joint")
    assert worth(joint, survey(joint, resamples=5)).luck is None
    pools = two_sets(run_folder, tmp_path / "mixed")
    assert worth(pools, survey(pools, resamples=5)).luck is None


def test_with_several_pools_yardsticks_are_means_and_the_best_expert_is_so_on_average(
    run_folder: Path, tmp_path: Path
) -> None:
    joint = a_set_a_trial(run_folder, tmp_path / "joint")
    taken = survey(joint, resamples=5)
    measured = worth(joint, taken)
    chosen = outcomes(joint, roster(joint), SELECTION, need_routes=False)
    assert measured.pools == len(chosen.pools) > 1
    scores = np.mean([(p.prediction == chosen.labels).mean(axis=1) for p in chosen.pools], axis=0)
    assert measured.expert == joint.expert_names[int(scores.argmax())]
    words = blind_words(taken, measured)
    assert f"the best of its pool does, reaches {number(measured.score.value)} (the mean over" in (
        words
    )
    assert "pools" not in blind_words(taken, dataclasses.replace(measured, pools=1))


def test_a_regression_has_a_yardstick_within_a_tolerance(written: WriteRun) -> None:
    run = load_run(written("stsb", task="stsb"))
    taken = survey(run, resamples=10)
    measured = worth(run, taken)
    best = taken.singles["score"].max()
    assert measured.tolerance > 0
    assert measured.score.value == pytest.approx(best, abs=0.02)
    assert not math.isnan(measured.blind_share.value)
    assert measured.luck is None


def test_seeds_of_one_expert_show_how_much_of_the_oracle_is_luck(written: WriteRun) -> None:
    """Points p2 and p3 get a second seed of experts: a pair of the best one is an oracle too."""
    folder = written("experts of two seeds")
    trials = pd.read_parquet(folder / "trials.parquet")
    later = trials["point"].isin(["p2", "p3"])
    first = pd.read_parquet(folder / "experts.parquet")
    flipped = np.random.default_rng(2).random(len(first)) < 0.1
    second = first.assign(
        experts_id="e1",
        prediction=first["prediction"].where(~flipped, 1 - first["prediction"]),
        right=first["right"] ^ flipped,
    )
    both = pd.concat([first, second])
    rewrite(folder / "experts.parquet", both)
    seeded = trials.assign(expert_seed=later.astype(int))
    rewrite(folder / "trials.parquet", seeded.assign(experts_id=np.where(later, "e1", "e0")))
    study = yaml.safe_load((folder / schema.STUDY_FILE).read_text())
    study["space"]["expert_seed"] = {"grid": [0, 1]}
    (folder / schema.STUDY_FILE).write_text(yaml.safe_dump(study))
    twins = load_run(folder)
    taken = survey(twins, resamples=5)
    rows = both[both["split"] == taken.split].sort_values("example")
    right = {
        seed: table.pivot(index="example", columns="expert", values="right").to_numpy()
        for seed, table in rows.groupby("experts_id")
    }
    best = [table[:, 2] for table in right.values()]
    twin = (best[0] | best[1]).mean() - max(one.mean() for one in best)
    leads = [table.any(axis=1).mean() - table.mean(axis=0).max() for table in right.values()]
    assert worth(twins, taken).luck == pytest.approx(twin / np.mean(leads))
