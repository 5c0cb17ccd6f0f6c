from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from analysis.baselines.cascades import (
    _ALWAYS,
    _NEVER,
    Cascade,
    candidates,
    cascade_front,
    confidence,
    run_cascades,
)
from analysis.baselines.yardsticks import oracle, oracle_routes
from analysis.runs.load import Run
from analysis.runs.recorded import examples, expert_outputs
from analysis.stats.dominance import nondominated
from mpc_router.costs import CostVector
from mpc_router.tasks import TASKS, evaluate

Values = NDArray[np.float64]

SST2 = TASKS["sst2"]
VECTOR = CostVector(name="c", unit="units", router=99.0, experts=(2.0, 7.0, 13.0))
LABELS = np.ones(4)
SAID = np.array([[1, 1, 1], [0, 1, 1], [0, 0, 1], [1, 0, 0]], dtype=float).T
SURE = np.array([[0.9, 0.6, 0.55, 0.8], [0.9, 0.9, 0.6, 0.9], [1.0, 1.0, 1.0, 1.0]])


def _world(seed: int, examples: int = 300) -> tuple[Values, Values, Values]:
    """Predictions, confidences that know when their expert is wrong, labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, examples).astype(float)
    right = rng.random((3, examples)) < np.array([[0.7], [0.8], [0.9]])
    sure = np.clip(0.75 + 0.1 * np.where(right, 1, -1) + rng.normal(0, 0.1, right.shape), 0.5, 1)
    return np.where(right, labels, 1 - labels), sure, labels


def test_confidence_is_the_largest_probability_of_the_softmax() -> None:
    output = np.array([[0.0, 0.0], [0.0, np.log(3.0)], [800.0, -800.0]])
    assert confidence(output) == pytest.approx([0.5, 0.75, 1.0])


@pytest.mark.parametrize("classes", [2, 3])
def test_confidence_spans_chance_to_one_and_a_shift_changes_nothing(classes: int) -> None:
    output = np.random.default_rng(0).normal(size=(3, 50, classes))
    found = confidence(output)
    assert (found >= 1 / classes).all()
    assert (found <= 1).all()
    assert confidence(output + 5) == pytest.approx(found)
    assert confidence(np.zeros(classes)) == pytest.approx(1 / classes)


def test_a_regression_has_no_confidence() -> None:
    with pytest.raises(ValueError, match="a regression has none"):
        confidence(np.zeros((3, 10, 1)))


def test_a_chain_of_the_four_examples_pays_every_expert_that_ran() -> None:
    chain = Cascade(chain=(0, 1, 2), thresholds=(0.7, 0.7))
    found = run_cascades(SST2, [chain], SAID, SURE, LABELS, vector=VECTOR)
    assert found.costs == pytest.approx([2 + 7 * 2 / 4 + 13 * 1 / 4])
    assert found.scores == pytest.approx([1.0])
    assert found.shares[0] == pytest.approx([0.5, 0.25, 0.25])


def test_a_chain_that_never_goes_on_is_its_first_expert_and_one_that_always_does_its_last() -> None:
    chains = [
        Cascade(chain=(0, 1, 2), thresholds=(_NEVER, _ALWAYS)),
        Cascade(chain=(0, 1, 2), thresholds=(_ALWAYS, _ALWAYS)),
        Cascade(chain=(0, 2), thresholds=(_ALWAYS,)),
        Cascade(chain=(1,), thresholds=()),
    ]
    found = run_cascades(SST2, chains, SAID, SURE, LABELS, vector=VECTOR)
    single = evaluate(SST2, SAID, LABELS)["score"]
    assert found.scores == pytest.approx(single[[0, 2, 2, 1]])
    assert found.costs == pytest.approx([2, 22, 15, 7])


def test_a_cascade_pays_no_router_and_no_stem_spares_it_an_expert() -> None:
    through = CostVector(
        name="e", unit="units", router=2.0, experts=VECTOR.experts, stem_is_expert=True
    )
    chain = [Cascade(chain=(0, 1), thresholds=(0.7,))]
    one = run_cascades(SST2, chain, SAID, SURE, LABELS, vector=VECTOR)
    other = run_cascades(SST2, chain, SAID, SURE, LABELS, vector=through)
    assert one.costs == pytest.approx(other.costs)


def test_the_order_of_examples_changes_nothing() -> None:
    said, sure, labels = _world(0)
    order = np.random.default_rng(1).permutation(len(labels))
    tried = candidates(sure, vector=VECTOR, levels=5)
    one = run_cascades(SST2, tried, said, sure, labels, vector=VECTOR)
    other = run_cascades(SST2, tried, said[:, order], sure[:, order], labels[order], vector=VECTOR)
    assert one.scores == pytest.approx(other.scores)
    assert one.costs == pytest.approx(other.costs)


@pytest.mark.parametrize("seed", range(5))
def test_no_cascade_is_better_and_cheaper_than_a_free_oracle(seed: int) -> None:
    said, sure, labels = _world(seed)
    free = CostVector(name="f", unit="units", router=0.0, experts=VECTOR.experts)
    right = said == labels
    best, _ = oracle(SST2, said, right, labels, vector=free)
    dearest = np.array(free.experts)[oracle_routes(right, free)]
    tried = candidates(sure, vector=free, levels=7)
    found = run_cascades(SST2, tried, said, sure, labels, vector=free)
    assert (found.scores <= best + 1e-12).all()
    assert (found.costs[found.scores >= best - 1e-12] >= dearest.mean() - 1e-9).all()


def test_candidates_are_every_chain_from_cheap_to_dear_once() -> None:
    _, sure, _ = _world(2)
    found = candidates(sure, vector=VECTOR, levels=5)
    by_length = {m: [one for one in found if len(one.chain) == m] for m in (1, 2, 3)}
    assert {one.chain for one in by_length[1]} == {(0,), (1,), (2,)}
    assert {one.chain for one in by_length[2]} == {(0, 1), (0, 2), (1, 2)}
    assert len(by_length[2]) == 3 * 5
    assert len(by_length[3]) == 5**2
    assert len(set(found)) == len(found)


def test_chains_follow_the_costs_where_the_dearest_expert_stands_first() -> None:
    _, sure, _ = _world(2)
    back = CostVector(name="r", unit="units", router=0.0, experts=(13.0, 7.0, 2.0))
    assert (2, 1, 0) in {one.chain for one in candidates(sure, vector=back, levels=3)}


def test_experts_that_are_always_as_sure_leave_few_candidates() -> None:
    found = candidates(np.full((2, 10), 0.9), vector=_two(), levels=9)
    assert len([one for one in found if len(one.chain) == 2]) == 3


def _two() -> CostVector:
    return CostVector(name="two", unit="units", router=0.0, experts=(2.0, 7.0))


def test_one_expert_alone_is_the_only_candidate() -> None:
    alone = CostVector(name="one", unit="units", router=0.0, experts=(2.0,))
    assert candidates(np.full((1, 9), 0.7), vector=alone) == (Cascade(chain=(0,), thresholds=()),)


def test_the_front_is_chosen_on_one_split_and_quoted_on_the_other() -> None:
    chosen_on, quoted_on = _world(3), _world(4)
    tried = candidates(chosen_on[1], vector=VECTOR, levels=9)
    found = cascade_front(SST2, tried, chosen_on, quoted_on, vector=VECTOR)
    assert nondominated(found.chosen.scores, found.chosen.costs).all()
    assert (np.diff(found.chosen.costs) > 0).all()
    again = run_cascades(SST2, found.cascades, *quoted_on, vector=VECTOR)
    assert found.quoted.scores == pytest.approx(again.scores)


def test_a_confidence_that_knows_beats_one_that_does_not() -> None:
    said, sure, labels = _world(5, 2000)
    blind = np.random.default_rng(0).permuted(sure, axis=1)
    cost = 6.0

    def best(confidences: Values) -> float:
        tried = candidates(confidences, vector=VECTOR)
        world = (said, confidences, labels)
        found = cascade_front(SST2, tried, world, world, vector=VECTOR).chosen
        return float(found.scores[found.costs <= cost].max())

    assert best(sure) > best(blind) + 0.05


def test_a_run_has_its_cascades_from_its_tables(run: Run) -> None:
    worlds = []
    for split in ("selection", "validation"):
        said = expert_outputs(run, "e0", split)
        labels = examples(run, split).labels
        worlds.append((said.prediction, confidence(said.output), labels))
    vector = run.cost_vector()
    tried = candidates(worlds[0][1], vector=vector, levels=3)
    found = cascade_front(run.task, tried, worlds[0], worlds[1], vector=vector)
    assert len(found.cascades) == len(found.quoted.scores) > 0


@pytest.mark.parametrize(
    ("chain", "thresholds"), [((), ()), ((0, 1), ()), ((0,), (0.5,)), ((0, 1, 2), (0.5,))]
)
def test_a_chain_needs_a_threshold_between_two_experts(
    chain: tuple[int, ...], thresholds: tuple[float, ...]
) -> None:
    with pytest.raises(ValueError, match="one threshold between"):
        Cascade(chain=chain, thresholds=thresholds)


def test_cascades_of_other_experts_are_refused() -> None:
    chain = Cascade(chain=(0, 3), thresholds=(0.5,))
    with pytest.raises(ValueError, match="must match"):
        run_cascades(SST2, [chain], SAID, SURE, LABELS, vector=VECTOR)
    with pytest.raises(ValueError, match="must match"):
        run_cascades(SST2, [], SAID, SURE, LABELS, vector=VECTOR)


def test_too_few_levels_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 2 and 1"):
        candidates(SURE, vector=VECTOR, levels=1)
