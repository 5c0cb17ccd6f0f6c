"""Answers that are made of several experts' outputs, against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression

from mpc_router.routers.combination import fitted_paths
from mpc_router.routes import _AVERAGE, LAST, LOGISTIC, pair_paths, rising_paths


def world(classes: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, 400).astype(np.float64)
    outputs = rng.normal(size=(400, 3, classes))
    for expert, strength in enumerate((0.5, 1.0, 1.5)):
        outputs[np.arange(400), expert, labels.astype(int)] += strength
    return outputs.astype(np.float32), labels


def test_two_classes_are_a_logistic_regression_on_the_margins() -> None:
    outputs, labels = world(2)
    paths = fitted_paths(pair_paths(3), LOGISTIC, 50 * outputs, labels, regression=False)
    answers = paths.answers(50 * outputs, regression=False)
    margins = 50 * (outputs[..., 1] - outputs[..., 0])
    for row, path in enumerate(pair_paths(3)[1:], start=1):
        # with margins this wide the ridge weighs nothing
        reference = LogisticRegression(C=1e9, tol=1e-10, max_iter=10_000)
        reference.fit(margins[:, list(path)], labels)
        expected = reference.decision_function(margins[:, list(path)])
        # the offset's ridge alone differs, by as much as it pulls
        assert answers[:, row, 1] - answers[:, row, 0] == pytest.approx(expected, abs=0.02)


def test_a_combination_is_better_than_its_parts_where_their_errors_differ() -> None:
    outputs, labels = world(4)
    paths = fitted_paths(rising_paths(3), LOGISTIC, outputs, labels, regression=False)
    accuracy = (paths.answers(outputs, regression=False).argmax(-1) == labels[:, None]).mean(0)
    alone = (outputs.argmax(-1) == labels[:, None]).mean(0)
    together = rising_paths(3).index((0, 1, 2))
    assert accuracy[together] > alone.max() + 0.02
    assert accuracy[0] == alone[0]


def test_values_are_combined_by_least_squares() -> None:
    rng = np.random.default_rng(0)
    labels = rng.normal(size=200)
    outputs = (labels[:, None] + rng.normal(size=(200, 3)))[..., None].astype(np.float32)
    paths = fitted_paths(rising_paths(3), LOGISTIC, outputs, labels, regression=True)
    row = rising_paths(3).index((0, 1, 2))
    reference = LinearRegression().fit(outputs[..., 0], labels)
    assert paths.weights[row] == pytest.approx(reference.coef_, abs=1e-5)
    assert paths.offset[row, 0] == pytest.approx(reference.intercept_, abs=1e-5)


@pytest.mark.parametrize("combine", [LAST, _AVERAGE])
def test_what_needs_no_fit_depends_on_no_row(combine: str) -> None:
    outputs, labels = world(2)
    names = {
        fitted_paths(pair_paths(3), combine, outputs[:rows], labels[:rows], regression=False).name
        for rows in (10, 400)
    }
    assert len(names) == 1


def test_outputs_that_are_not_finite_are_refused() -> None:
    outputs, labels = world(2)
    outputs[0, 0, 0] = np.inf
    with pytest.raises(ValueError, match="NaN or infinite"):
        fitted_paths(pair_paths(3), LOGISTIC, outputs, labels, regression=False)
