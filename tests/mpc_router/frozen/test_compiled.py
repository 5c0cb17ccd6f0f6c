"""Compiled loops train as autograd does, lane by lane, for every form of the losses."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numba.core.caching import UserProvidedCacheLocator
from numpy.typing import NDArray

from mpc_router.config.trial import TrialConfig
from mpc_router.frozen import _arithmetic, _compiler, _kernel, _loop
from mpc_router.frozen._arithmetic import routers_class, why_autograd, why_not_compiled
from mpc_router.frozen._stacked_routers import StackedRouters
from mpc_router.frozen.train import Lane
from mpc_router.prepare.frozen import Prepared
from mpc_router.results.records import EpochResult, LanesEnded
from tests.mpc_router.conftest import random_prepared
from tests.mpc_router.stacks import arrays, config, drained, left_by

FORMS: dict[str, dict[str, Any]] = {
    "published": {},
    "annealed": {"temperature": 2.0, "temperature_end": 0.3, "temperature_schedule": "linear"},
    "straight through": {"straight_through": True, "balance_variance": "unbiased"},
    "clean": {"auxiliary_gates": "clean", "temperature": 0.5},
    "softmax": {"gate": "softmax", "router_dropout": 0.0},
    "odd sizes": {"router_hidden_size": 19, "batch_size": 7, "weight_decay": 0.3},
    "one batch": {"batch_size": 4000},
    "five experts": {"pool": "minilm", "pool_size": 5},
    "two experts": {"pool": "sample", "pool_size": 2},
    "regression": {"task": "stsb"},
    "regression, clean": {"task": "stsb", "auxiliary_gates": "clean", "gate": "softmax"},
    "probabilities of a regression": {"task": "stsb", "mixing": "probabilities"},
}

Course = tuple[list[EpochResult], dict[int, LanesEnded]]


def trained(
    lanes: list[Lane], prepared: Prepared, *, by: type[StackedRouters] | None = None
) -> Course:
    """What the lanes leave, trained by a class or by the one that is chosen."""
    with pytest.MonkeyPatch.context() as patch:
        if by is not None:
            patch.setattr(_loop, "routers_class", lambda *_: by)
        return drained(lanes, prepared)


def lanes_of(settings: dict[str, Any], *, count: int = 3, **more: Any) -> list[Lane]:
    return [
        Lane(
            config=config(
                **{
                    "alpha": 0.2 * number,
                    "beta": 0.02,
                    "learning_rate": 1e-3 * (number + 1),
                    **settings,
                    **more,
                }
            ),
            seed=number % 2,
        )
        for number in range(count)
    ]


def terms(result: EpochResult) -> NDArray[Any]:
    """The loss terms of an epoch's steps."""
    assert result.steps is not None
    return result.steps


@pytest.mark.parametrize("form", FORMS)
def test_compiled_loops_train_as_autograd_does(form: str) -> None:
    settings = FORMS[form]
    trial: TrialConfig = config(**settings)
    prepared = random_prepared(task=trial.data.task, features=21, experts=trial.experts)
    lanes = lanes_of(settings)
    assert not why_autograd(trial, "cpu")
    epochs, ended = trained(lanes, prepared)
    by_autograd, left = trained(lanes, prepared, by=StackedRouters)
    for one, other in zip(epochs, by_autograd, strict=True):
        np.testing.assert_allclose(terms(one), terms(other), rtol=1e-5, atol=1e-5)
    for lane in range(len(lanes)):
        mine, reference = left_by(ended[lane], lane), left_by(left[lane], lane)
        assert mine.keys() == reference.keys()
        for name, value in mine.items():
            np.testing.assert_allclose(value, reference[name], rtol=1e-4, atol=1e-5, err_msg=name)


def test_losses_stay_together_over_five_hundred_steps_and_routes_are_the_same() -> None:
    prepared = random_prepared(
        rows={"train": 1600, "selection": 301, "validation": 203}, features=40, seed=2
    )
    # at larger rates a hidden sum that is 1e-8 in one and -1e-8 in the other soon makes them differ
    lanes = lanes_of({"router_hidden_size": 48}, count=4, epochs=10, learning_rate=1e-4)
    epochs, ended = trained(lanes, prepared)
    by_autograd, left = trained(lanes, prepared, by=StackedRouters)
    assert sum(len(terms(result)) for result in epochs) == 500
    for one, other in zip(epochs, by_autograd, strict=True):
        np.testing.assert_allclose(terms(one), terms(other), rtol=1e-5, atol=1e-5)
        for lane in range(len(lanes)):
            for name, value in arrays(one.report, lane).items():
                np.testing.assert_allclose(value, arrays(other.report, lane)[name], rtol=1e-4)
    for lane in range(len(lanes)):
        for mine, reference in zip(ended[lane].routing, left[lane].routing, strict=True):
            np.testing.assert_array_equal(mine.routes[lane], reference.routes[lane])


@pytest.mark.parametrize("most_steps", [1, 5])
def test_how_many_steps_a_lane_is_trained_for_at_once_changes_no_bit(
    most_steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared, lanes = random_prepared(features=21), lanes_of({})
    usual = trained(lanes, prepared)
    monkeypatch.setattr("mpc_router.frozen._compiled_routers._MOST_STEPS", most_steps)
    short = trained(lanes, prepared)
    for lane in range(len(lanes)):
        for name, value in left_by(usual[1][lane], lane).items():
            np.testing.assert_array_equal(value, left_by(short[1][lane], lane)[name], err_msg=name)


def test_how_many_rows_are_evaluated_at_once_changes_no_bit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prepared, lanes = random_prepared(features=21), lanes_of({})
    usual = trained(lanes, prepared)
    monkeypatch.setattr("mpc_router.frozen._compiled_routers._EVALUATED_ROWS", 32)
    few = trained(lanes, prepared)
    for one, other in zip(usual[0], few[0], strict=True):
        for lane in range(len(lanes)):
            for name, value in arrays(one.report, lane).items():
                np.testing.assert_array_equal(value, arrays(other.report, lane)[name])


def test_a_lane_that_becomes_nan_leaves_nothing_in_the_place_of_the_next() -> None:
    prepared = random_prepared(features=21)
    broken = Lane(config=config(learning_rate=1e30), seed=0)
    healthy = Lane(config=config(), seed=0)
    _, alone = trained([healthy], prepared)
    epochs, ended = trained([broken, healthy], prepared)
    assert [failure.lane for failure in epochs[0].failures] == [0]
    for name, value in left_by(alone[0], 0).items():
        np.testing.assert_array_equal(value, left_by(ended[1], 1)[name], err_msg=name)


@pytest.mark.parametrize(
    ("settings", "device", "reason"),
    [
        ({}, "cpu", ""),
        ({}, "cuda", "the device is cuda"),
        ({"router": "supervised"}, "cpu", "this one is supervised"),
        ({"mixing": "probabilities"}, "cpu", "this one is probabilities"),
    ],
)
def test_what_is_not_compiled_is_trained_through_autograd_and_says_why(
    settings: dict[str, Any], device: str, reason: str
) -> None:
    trial = config(**settings)
    assert reason in why_autograd(trial, device)
    assert (routers_class(trial, device) is StackedRouters) == bool(reason)


@pytest.fixture
def without_numba(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(importlib.sys.modules, "numba", None)  # type: ignore[attr-defined]
    why_not_compiled.cache_clear()
    yield
    why_not_compiled.cache_clear()


@pytest.mark.usefixtures("without_numba")
def test_without_numba_stacks_are_trained_through_autograd() -> None:
    assert "numba cannot be imported" in why_autograd(config(), "cpu")
    assert _arithmetic.routers_class(config(), "cpu") is StackedRouters
    _, ended = drained(lanes_of({}), random_prepared())
    assert len(ended) == 3


def doubled(number: int) -> int:
    return 2 * number


def test_what_is_kept_is_read_again_and_where_it_is_damaged_compiled_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    tmp_path.chmod(0o700)
    first = _compiler.exact(doubled)
    assert first(3) == 6
    (kept,) = tmp_path.rglob("*.nbc")
    again = _compiler.exact(doubled)
    assert again(4) == 8
    assert again.stats.cache_hits  # type: ignore[attr-defined]  # a dispatcher of numba
    kept.write_bytes(b"")  # a machine that lost power
    damaged = _compiler.exact(doubled)
    assert damaged(5) == 10
    assert not damaged.stats.cache_hits  # type: ignore[attr-defined]


def test_what_is_compiled_goes_to_no_other_folder_where_its_own_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    tmp_path.chmod(0o700)
    folder = _compiler._folder()
    assert folder is not None
    assert folder.parent == tmp_path
    monkeypatch.setattr(UserProvidedCacheLocator, "from_function", lambda *_: None)
    loops = _compiler.exact(doubled)
    assert loops(3) == 6
    assert list(tmp_path.rglob("*.nb*")) == []
    assert not list(Path(__file__).parent.glob("__pycache__/*.nb*"))


def test_files_of_other_text_are_kept_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    tmp_path.chmod(0o700)
    before = _compiler._folder()
    for name in _compiler._SOURCES:
        text = (Path(_compiler.__file__).parent / name).read_text()
        used = re.findall(r"^from mpc_router\.frozen\.(\w+) import", text, re.MULTILINE)
        assert {f"{module}.py" for module in used} <= set(_compiler._SOURCES)
        monkeypatch.setattr(_compiler, "_SOURCES", (*_compiler._SOURCES, name))  # other text
        assert _compiler._folder() not in (before, None)


def test_loops_are_compiled_for_the_widest_vectors_whatever_is_made_first() -> None:
    loops: Any = _kernel.train_steps
    assert loops.targetctx.codegen().magic_tuple()[2].endswith(_compiler._WIDEST)
