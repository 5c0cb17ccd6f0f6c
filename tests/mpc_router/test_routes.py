from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from mpc_router.costs import CostVector
from mpc_router.routes import (
    _AVERAGE,
    LAST,
    LOGISTIC,
    Decisions,
    Experts,
    Paths,
    expert_shares,
    pair_paths,
    prefix_paths,
    rising_paths,
    single_paths,
    walk,
)

Values = NDArray[np.float32]
KINDS = [single_paths, pair_paths, prefix_paths, rising_paths]


def some_logits(decisions: Decisions, rows: int = 200) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(rows, decisions.width)).astype(np.float32)


def by_hand(decisions: Decisions, logits: np.ndarray) -> list[int]:
    """Routes example by example, as the definition says: the slow way."""
    routes = []
    for row in logits:
        state = decisions.root
        while True:
            still_open = [p for p in decisions.paths if p[: len(state)] == state]
            if len(still_open) == 1:
                break
            columns = decisions.columns[decisions.states.index(state)]
            best = still_open[int(row[columns].argmax())]
            if best == state:
                still_open = [best]
                break
            state = best[: len(state) + 1]
        routes.append(decisions.paths.index(still_open[0]))
    return routes


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("experts", [1, 2, 3, 5])
def test_routes_follow_the_definition_and_a_walk_runs_only_what_is_on_the_path(
    kind: Callable[[int], tuple[Experts, ...]], experts: int
) -> None:
    decisions = Decisions(kind(experts))
    logits = some_logits(decisions)
    routes = decisions.routes(logits)
    assert routes.tolist() == by_hand(decisions, logits)
    ran = np.zeros((len(logits), experts), np.int64)

    def run(expert: int, rows: np.ndarray) -> None:
        ran[rows, expert] += 1

    def seen(rows: np.ndarray) -> Values:
        """Hides what is decided by experts that have not run: it may not matter."""
        shown: Values = logits[rows].copy()
        for state, columns in zip(decisions.states, decisions.columns, strict=True):
            unseen = ~ran[rows][:, list(state)].all(axis=1) if state else np.zeros(len(rows), bool)
            shown[unseen, columns] = np.nan
        return shown

    assert walk(decisions, len(logits), logits=seen, run=run).tolist() == routes.tolist()
    paths = Paths.of(decisions.paths, experts=experts, outputs=2, combine=LAST)
    assert (ran == paths.runs[routes]).all()


def test_numbers_of_a_router_by_kind() -> None:
    widths = {kind.__name__: Decisions(kind(3)).width for kind in KINDS}
    assert widths == {"single_paths": 3, "pair_paths": 3, "prefix_paths": 5, "rising_paths": 6}
    assert [Decisions(kind(3)).root for kind in KINDS] == [(), (0,), (0,), (0,)]
    assert len(rising_paths(6)) == 2**5


def test_of_equal_paths_the_first_is_taken() -> None:
    for kind in KINDS:
        decisions = Decisions(kind(4))
        assert not decisions.routes(np.zeros((3, decisions.width))).any()


def test_logits_of_another_width_and_paths_that_stand_twice_are_refused() -> None:
    with pytest.raises(ValueError, match="gives 6 numbers"):
        Decisions(rising_paths(3)).routes(np.zeros((2, 3)))
    for paths in ((), ((0,), (0,))):
        with pytest.raises(ValueError, match="different ones"):
            Decisions(paths)


def test_a_path_costs_what_its_experts_cost() -> None:
    vector = CostVector(name="v", unit="s", router=2.0, experts=(2.0, 4.0, 6.0))
    behind = CostVector(
        name="v", unit="s", router=2.0, experts=(2.0, 4.0, 6.0), stem_is_expert=True
    )
    assert vector.on(single_paths(3)) is not None
    assert vector.on(single_paths(3)).routed == vector.routed
    assert vector.on(rising_paths(3)).routed == (2, 6, 8, 12)
    assert behind.on(rising_paths(3)).routed == (0, 4, 6, 10)  # the cheapest is paid as the router
    share = np.array([0.25, 0.25, 0.25, 0.25])
    assert behind.on(rising_paths(3)).mean(share) == 2 + 5
    with pytest.raises(ValueError, match="of the 3 experts"):
        vector.on([(0, 3)])


def spoken(outputs: int = 3) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(50, 3, outputs)).astype(np.float32)


@pytest.mark.parametrize("regression", [False, True])
@pytest.mark.parametrize("combine", [LAST, _AVERAGE, LOGISTIC])
def test_an_answer_does_not_depend_on_the_rows_beside_it(combine: str, regression: bool) -> None:
    rng = np.random.default_rng(0)
    outputs = rng.normal(size=(50, 9, 1 if regression else 3)).astype(np.float32)
    paths = Paths.of([tuple(range(9))], experts=9, outputs=outputs.shape[2], combine=combine)
    together = paths.answer(0, outputs, regression=regression)
    alone = [paths.answer(0, outputs[row : row + 1], regression=regression) for row in range(50)]
    assert (together == np.concatenate(alone)).all()


@pytest.mark.parametrize("combine", [LAST, _AVERAGE, LOGISTIC])
def test_one_expert_alone_answers_what_it_says(combine: str) -> None:
    outputs = spoken()
    paths = Paths.of(rising_paths(3), experts=3, outputs=3, combine=combine)
    assert (paths.answers(outputs, regression=False)[:, 0] == outputs[:, 0]).all()


def test_an_average_of_classes_is_that_of_probabilities_and_of_values_that_of_values() -> None:
    outputs = spoken()
    paths = Paths.of([(0,), (0, 2)], experts=3, outputs=3, combine=_AVERAGE)
    exp = np.exp(outputs.astype(np.float64))
    probability = exp / exp.sum(-1, keepdims=True)
    answer = paths.answers(outputs, regression=False)[:, 1]
    np.testing.assert_allclose(np.exp(answer), probability[:, [0, 2]].mean(1), rtol=1e-5)
    values = spoken(1)
    paths = Paths.of([(0,), (0, 2)], experts=3, outputs=1, combine=_AVERAGE)
    answer = paths.answers(values, regression=True)[:, 1]
    np.testing.assert_allclose(answer, values[:, [0, 2]].mean(1), rtol=1e-6)


def test_an_average_of_extreme_logits_is_finite() -> None:
    outputs = np.array([[[-1e30, 1e30], [1e30, -1e30], [0, 0]]], np.float32)
    paths = Paths.of([(0,), (0, 1)], experts=3, outputs=2, combine=_AVERAGE)
    assert np.isfinite(paths.answers(outputs, regression=False)).all()


def test_a_fitted_combination_is_a_weighted_sum_and_is_read_back() -> None:
    outputs = spoken()
    paths = Paths(
        decisions=Decisions(((0,), (0, 1))),
        combine=LOGISTIC,
        weights=np.array([[1.0, 0, 0], [0.25, 0.5, 0]]),
        offset=np.array([[0.0, 0, 0], [0.1, -0.1, 0]]),
    )
    expected = 0.25 * outputs[:, 0] + 0.5 * outputs[:, 1] + [0.1, -0.1, 0]
    np.testing.assert_allclose(paths.answers(outputs, regression=False)[:, 1], expected, rtol=1e-5)
    again = Paths.from_json(paths.to_json())
    assert again.name == paths.name
    assert (
        again.answers(outputs, regression=False) == paths.answers(outputs, regression=False)
    ).all()
    other = Paths.of(((0,), (0, 1)), experts=3, outputs=3, combine=LAST)
    assert other.name != paths.name


def test_paths_that_do_not_fit_their_arrays_are_refused() -> None:
    good = Paths.of(((0,), (0, 1)), experts=2, outputs=2, combine=LAST).to_json()
    for change in (
        {"weights": [[1, 0]]},
        {"combine": "mean"},
        {"offset": [[0, 0], [0, float("nan")]]},
        {"paths": [[0], [0, 2]]},
        {"paths": [[0], []]},
    ):
        with pytest.raises(ValueError, match=r"path|combine"):
            Paths.from_json({**good, **change})


def test_plain_paths_are_the_experts_themselves() -> None:
    kinds: dict[str, tuple[Experts, ...]] = {kind.__name__: kind(3) for kind in KINDS}
    plain = {
        name: Paths.of(paths, experts=3, outputs=2, combine=LAST).plain
        for name, paths in kinds.items()
    }
    assert plain == {
        "single_paths": True,
        "pair_paths": False,
        "prefix_paths": False,
        "rising_paths": False,
    }


def test_experts_run_for_the_examples_of_all_their_paths() -> None:
    paths = ((0,), (0, 1), (0, 2), (0, 1, 2))
    shares = np.array([[0.1, 0.2, 0.3, 0.4], [1.0, 0.0, 0.0, 0.0]])
    assert expert_shares(shares, paths, 3) == pytest.approx(np.array([[1, 0.6, 0.7], [1, 0, 0]]))
    singles = np.array([0.2, 0.3, 0.5])
    assert expert_shares(singles, single_paths(3), 3) == pytest.approx(singles)
