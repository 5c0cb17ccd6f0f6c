"""Four examples and three experts, every yardstick worked out with pencil and paper.

Right are tiny, base and large on the first example, base and large on the second, large alone on
the third, tiny alone on the fourth; they cost 2, 7 and 13, and looking is free. The router sends
the first to large, the second to base and the others to tiny, which is wrong on the third.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from analysis.fronts.survey import survey
from analysis.questions.headroom import headroom
from analysis.runs.load import load_run
from analysis.worth.worth import worth
from mpc_router.costs import CostVector
from mpc_router.prepare.inputs import SplitOutputs
from mpc_router.tasks import TASKS
from tests.analysis import path_runs
from tests.analysis.path_runs import Router, Trial, World

RIGHT = np.array([[1, 1, 1], [0, 1, 1], [0, 0, 1], [1, 0, 0]])
ROUTES = np.array([2, 1, 0, 0], np.uint8)
FREE = CostVector(name="constants", unit="units", router=0.0, experts=(2.0, 7.0, 13.0))


def by_hand() -> World:
    """Every label is class 1, so that an expert that is right says 1, and the others 0."""
    outputs = np.eye(2, dtype=np.float32)[RIGHT]
    splits = {
        name: SplitOutputs(
            split=name,
            features=np.zeros((4, 1), np.float32),
            outputs=outputs,
            labels=np.ones(4),
            example=np.arange(4),
            tokens=np.full(4, 9),
        )
        for name in path_runs.SPLITS
    }
    logits = np.eye(3, dtype=np.float32)[ROUTES]
    trial = Trial(
        key="k0",
        router=Router(point="p0", kind="gated"),
        seed=0,
        paths=None,
        logits=dict.fromkeys(splits, logits),
        routes=dict.fromkeys(splits, ROUTES),
    )
    return World(task=TASKS["rte"], splits=splits, trials=(trial,))


def test_every_yardstick_of_the_four_examples_is_what_a_pencil_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(path_runs.VECTORS, "constants", FREE)
    run = load_run(path_runs.write(tmp_path / "run", by_hand()))
    taken = survey(run, resamples=20)

    assert taken.singles["score"].tolist() == [0.5, 0.5, 0.75]
    (router,) = taken.points.to_dict("records")
    # large on the first, base on the second, tiny on the others: (13 + 7 + 2 + 2) / 4
    assert (router["score"], router["cost"]) == (0.75, 6.0)
    # the coin's line goes from (2, .5) to (13, .75)
    assert router["mix"] == pytest.approx(0.5 + 0.25 * 4 / 11)
    # the oracle takes tiny, base, large and tiny
    assert taken.oracle == (1.0, 6.0)
    assert taken.oracle_curve.costs.tolist() == [2.0, 3.25, 6.0]
    assert taken.oracle_curve.scores.tolist() == [0.5, 0.75, 1.0]
    # at the router's cost the oracle curve has 1 and the coin .5909: .1591 of .4091 is captured
    assert router["headroom"] == pytest.approx(0.3889, abs=5e-5)
    gate = headroom(run, taken).query("kind == 'gate'")
    assert gate["headroom"].tolist() == pytest.approx([0.3889], abs=5e-5)

    measured = worth(run, taken)
    # large says 1, 1, 1, 0; tiny agrees on the first, base on the second and the fourth
    assert (measured.expert, measured.tolerance) == ("large", 0.0)
    assert measured.score.value == 0.75
    assert measured.free.value == (2 + 7 + 13 + 7) / 4
    assert measured.paid.value == (2 + 9 + 15 + 9) / 4
    # areas over costs 2 to 13: coin 11 * .625; router a line to (6, .75), then flat; label-blind a
    # line to (7.25, .75), then flat; oracle by (3.25, .75) to (6, 1), then flat
    coin, reached = 11 * 0.625, 4 * 0.625 + 7 * 0.75
    blind = 5.25 * 0.625 + 5.75 * 0.75
    oracle = 1.25 * 0.625 + 2.75 * 0.875 + 7 * 1.0
    assert measured.blind_share.value == pytest.approx((reached - coin) / (blind - coin))
    assert measured.labelled_share.value == pytest.approx((reached - coin) / (oracle - coin))
    # the router scores what large scores, so its price is its cost
    assert measured.price is not None
    assert (measured.price.cost.value, measured.price.of_best) == (6.0, 6 / 13)
    # of the stated costs it keeps to the one halfway between tiny and large
    assert [(stated.cap, stated.cost) for stated in measured.at_costs] == [(7.5, 6.0)]
    assert measured.at_costs[0].over_coin.value == pytest.approx(0.75 - router["mix"])
