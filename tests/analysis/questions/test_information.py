"""Mutual information against closed forms, limits and chance."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.fronts.survey import survey
from analysis.questions import information
from analysis.questions.information import (
    chance,
    features,
    mutual_information,
    permuted,
    route_information,
)
from analysis.runs.load import Run
from analysis.runs.outcomes import outcomes, roster


def codes(seed: int, count: int, size: int = 400) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    return np.random.default_rng(seed).integers(0, count, size)


def test_a_code_tells_all_of_itself_which_is_its_entropy() -> None:
    even = np.arange(400) % 4
    assert mutual_information(even, even) == pytest.approx(2.0)
    skewed = np.repeat([0, 1], [300, 100])
    entropy = -(0.75 * np.log2(0.75) + 0.25 * np.log2(0.25))
    assert mutual_information(skewed, skewed) == pytest.approx(entropy)


def test_a_constant_tells_nothing_and_neither_does_what_is_independent() -> None:
    even = np.arange(400) % 4
    assert mutual_information(np.zeros(400, np.intp), even) == pytest.approx(0.0, abs=1e-12)
    assert mutual_information(even, np.arange(400) // 4 % 2) == pytest.approx(0.0, abs=1e-12)


def test_information_is_symmetric_and_does_not_depend_on_names_or_order() -> None:
    one, other = codes(0, 3), codes(1, 4)
    told = mutual_information(one, other)
    assert mutual_information(other, one) == pytest.approx(told)
    assert mutual_information(2 - one, other) == pytest.approx(told)
    order = np.random.default_rng(2).permutation(len(one))
    assert mutual_information(one[order], other[order]) == pytest.approx(told)


def test_a_binary_channel_has_its_capacity() -> None:
    sent = np.repeat([0, 1], [500, 500])
    got = sent.copy()
    got[:50], got[500:550] = 1, 0
    flip = 0.1
    wanted = 1 + flip * np.log2(flip) + (1 - flip) * np.log2(1 - flip)
    assert mutual_information(sent, got) == pytest.approx(wanted)


def test_random_labels_lie_inside_their_interval_as_often_as_promised() -> None:
    inside = 0
    for trial in range(100):
        one, other = codes(2 * trial, 3, 200), codes(2 * trial + 1, 2, 200)
        low, high, _ = chance(
            mutual_information(one, other), permuted(one, other, permutations=100, seed=trial)
        )
        inside += low <= mutual_information(one, other) <= high
    assert 88 <= inside <= 100


def test_what_depends_is_told_from_what_does_not() -> None:
    one = codes(0, 3)
    found = mutual_information(one, one % 2)
    low, high, p = chance(found, permuted(one, one % 2))
    assert found > high > low
    assert p == pytest.approx(1 / 201)


@pytest.mark.parametrize(("size", "kinds", "others"), [(1, 1, 1), (90, 3, 2), (408, 9, 40)])
def test_shuffles_are_measured_at_once_to_the_bits_of_one_after_another(
    size: int, kinds: int, others: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = codes(0, kinds, size), codes(1, others, size)
    rng = np.random.default_rng(7)
    singly = [mutual_information(rng.permutation(one), other) for _ in range(20)]
    together = permuted(one, other, permutations=20, seed=7)
    assert together.tolist() == singly
    monkeypatch.setattr(information, "_CELLS", 3 * size)  # as of a large split: block by block
    assert permuted(one, other, permutations=20, seed=7).tolist() == singly


def test_features_count_experts_that_are_right_and_quarter_lengths(run: Run) -> None:
    seen = outcomes(run, roster(run), "validation")
    known = features(run, seen)
    assert set(known) == {"label", "length", "difficulty"}
    right = (seen.pools[0].prediction == seen.labels).sum(axis=0)
    assert known["difficulty"].tolist() == right.tolist()
    assert known["length"].max() == 3
    assert known["label"].tolist() == (seen.labels - seen.labels.min()).tolist()


def test_routes_of_a_skilled_gate_tell_of_difficulty(run: Run) -> None:
    table = route_information(run, survey(run, resamples=20), permutations=50)
    assert set(table["feature"]) == {"label", "length", "difficulty"}
    assert (table["information"] >= 0).all()
    assert set(table["point"]) == set(survey(run, resamples=20).front["point"])
    hard = table[table["feature"] == "difficulty"]
    assert (hard["p"] < 0.05).any()
    costs = dict(zip(survey(run, resamples=20).front["point"], range(9), strict=False))
    order = [costs[point] for point in dict.fromkeys(table["point"])]
    assert order == sorted(order)
