"""Rows of experts and of routers, shared out by hashes: counted, disjoint, and refused in words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from mpc_router.config.trial import ConfigError, TrialConfig, trial_config
from mpc_router.data.columns import Columns, checked
from mpc_router.data.router_rows import salted
from mpc_router.data.sources import (
    Cut,
    Source,
    SourceError,
    all_fingerprints,
    cut_all,
    data_fingerprint,
    read,
    split_fingerprints,
)
from mpc_router.tasks import TASKS

SAMPLE = Source(kind="sample")
CHOICES: list[dict[str, Any]] = [
    {"router_data": "train"},
    {"router_data": "held_out"},
    {"router_data": "held_out", "router_share": 0.6},
    {"router_data": "unused", "train_rows": 500},
    {"router_data": "unused", "train_rows": 500, "router_rows": 70},
    {"router_data": "cross_fitted"},
    {"router_data": "cross_fitted", "router_folds": 7},
]
IDS = [" ".join(map(str, choice.values())) for choice in CHOICES]


def config(**settings: Any) -> TrialConfig:
    return trial_config({"pool": "sample", "task": "mrpc", **settings})


@pytest.fixture(scope="module")
def files() -> dict[str, Columns]:
    return read(config(), SAMPLE)


def small_files(
    rows: int, *, texts: int = 0, labels: list[int] | None = None
) -> dict[str, Columns]:
    """Train of so many rows, of so many distinct texts, and validation of two."""
    numbers = range(rows)

    def table(count: int) -> Columns:
        content = {
            "sentence1": [f"text {number % (texts or rows)}" for number in numbers][:count],
            "sentence2": ["other"] * count,
            "label": (labels or [number % 2 for number in numbers])[:count],
        }
        return checked(pa.table(content), TASKS["mrpc"], "here")

    return {"train": table(rows), "validation": table(2)}


def rows_of(made: Cut) -> tuple[set[int], set[int]]:
    return set(made.experts.example.tolist()), set(made.splits["train"].example.tolist())


@pytest.mark.parametrize("choice", CHOICES, ids=IDS)
def test_neither_experts_nor_routers_learn_from_rows_of_selection(
    files: dict[str, Columns], choice: dict[str, Any]
) -> None:
    made, usual = cut_all(config(**choice), files), cut_all(config(), files)
    experts, routers = rows_of(made)
    selection = set(made.splits["selection"].example.tolist())
    assert not selection & (experts | routers)
    assert np.array_equal(made.splits["selection"].example, usual.splits["selection"].example)
    assert list(made.splits) == list(usual.splits)


def test_a_held_out_share_and_what_is_left_for_experts_make_up_train(
    files: dict[str, Columns],
) -> None:
    train = set(cut_all(config(), files).splits["train"].example.tolist())
    for share in (0.01, 0.25, 0.9):
        experts, routers = rows_of(
            cut_all(config(router_data="held_out", router_share=share), files)
        )
        assert not experts & routers
        assert experts | routers == train
        assert len(routers) == pytest.approx(share * len(train), abs=0.005 * len(train))


def test_unused_rows_are_all_others_of_train_or_as_many_as_asked_for(
    files: dict[str, Columns],
) -> None:
    train = set(cut_all(config(), files).splits["train"].example.tolist())
    usual = set(cut_all(config(train_rows=500), files).splits["train"].example.tolist())
    every, some, more = (
        rows_of(cut_all(config(router_data="unused", train_rows=500, router_rows=rows), files))
        for rows in (0, 70, 90)
    )
    assert every == (usual, train - usual)
    assert (len(some[1]), len(more[1])) == (70, 90)
    assert some[1] < more[1] < every[1]


@pytest.mark.parametrize("folds", [2, 3, 10])
def test_folds_are_parts_of_train_of_nearly_one_size(files: dict[str, Columns], folds: int) -> None:
    made = cut_all(config(router_data="cross_fitted", router_folds=folds), files)
    experts, routers = rows_of(made)
    assert experts == routers == rows_of(cut_all(config(), files))[0]
    assert made.folds is not None
    sizes = np.bincount(made.folds)
    assert len(sizes) == folds
    assert np.ptp(sizes) <= 2 + 0.01 * sizes.mean()  # rows of equal texts go together


def test_rows_of_equal_texts_are_on_one_side() -> None:
    files = small_files(400, texts=100, labels=[number // 100 % 2 for number in range(400)])
    texts = np.arange(400) % 100
    cross = cut_all(config(router_data="cross_fitted"), files)
    assert cross.folds is not None
    fold_of: dict[int, set[int]] = {}
    for row, fold in zip(cross.splits["train"].example, cross.folds, strict=True):
        fold_of.setdefault(int(texts[row]), set()).add(int(fold))
    assert all(len(folds) == 1 for folds in fold_of.values())
    for choice in ({"router_data": "held_out"}, {"router_data": "unused", "train_rows": 101}):
        experts, routers = rows_of(cut_all(config(**choice), files))
        assert not {texts[row] for row in experts} & {texts[row] for row in routers}


def test_the_share_does_not_depend_on_the_hash_that_cuts_selection() -> None:
    hashes = np.random.default_rng(0).integers(0, 2**63, 20_000).astype(np.uint64) * np.uint64(2)
    again = salted(hashes, 2)
    assert abs(np.corrcoef(hashes.astype(float), again.astype(float))[0, 1]) < 0.03
    assert abs(np.corrcoef(salted(hashes, 1).astype(float), again.astype(float))[0, 1]) < 0.03


def test_every_choice_has_data_of_its_own_and_the_published_one_has_that_of_before(
    files: dict[str, Columns],
) -> None:
    made = [all_fingerprints(config(**choice), files) for choice in CHOICES]
    assert len({prints.data for prints in made}) == len(made)
    for choice, prints in zip(CHOICES, made, strict=True):
        assert prints.data == data_fingerprint(config(**choice), SAMPLE)
        assert prints.splits == split_fingerprints(config(**choice), files)
        usual = all_fingerprints(config(train_rows=choice.get("train_rows", 0)), files)
        assert usual.experts == usual.splits["train"]
        assert prints.splits["selection"] == usual.splits["selection"]
        # experts that are trained on the same rows are the same experts
        same_rows = choice["router_data"] != "held_out"
        assert (prints.experts == usual.experts) == same_rows


def test_parts_that_nothing_can_be_learned_from_are_refused() -> None:
    one_class = [0] * 40
    one_class[7] = 1
    for settings, files, words in (
        (
            {"router_data": "cross_fitted", "router_folds": 30},
            small_files(12),
            "lower router_folds",
        ),
        ({"router_data": "cross_fitted"}, small_files(40, labels=one_class), "with the label"),
        ({"router_data": "held_out"}, small_files(40, labels=one_class), "change router_share"),
        ({"router_data": "held_out", "router_share": 0.001}, small_files(40), "comes out empty"),
        ({"router_data": "held_out", "router_share": 0.999}, small_files(40), "comes out empty"),
        ({"router_data": "unused", "train_rows": 40}, small_files(40), "none beyond train_rows=40"),
        ({"router_data": "unused", "train_rows": 20, "router_rows": 1}, small_files(40), "1 rows"),
    ):
        with pytest.raises(SourceError, match=words) as error:
            cut_all(config(**settings), files)
        assert f"router_data={settings['router_data']}" in str(error.value)
        assert len(str(error.value)) < 1000


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"router_data": "some"}, "allowed are train, held_out, unused, cross_fitted"),
        ({"router_data": "held_out", "router_share": 0}, "above 0, below 1"),
        ({"router_data": "held_out", "router_share": 1}, "above 0, below 1"),
        ({"router_share": float("nan")}, "above 0, below 1"),
        ({"router_data": "cross_fitted", "router_folds": 1}, "from 2"),
        ({"router_data": "unused", "router_rows": -1, "train_rows": 9}, "from 0"),
        ({"router_data": "unused"}, "set train_rows"),
        ({"router_data": "cross_fitted", "experts": "joint"}, "experts=joint"),
        ({"router_data": "held_out", "experts": "joint"}, "experts=joint"),
        ({"router_data": "unused", "experts": "joint", "train_rows": 9}, "experts=joint"),
        ({"router_data": "cross_fitted", "pool": "bert"}, "come fine-tuned"),
        ({"router_data": "held_out", "pool": "bert"}, "come fine-tuned"),
        ({"router_data": "unused", "pool": "bert", "train_rows": 9}, "come fine-tuned"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        config(**settings)


@pytest.mark.parametrize("kind", ["held_out", "cross_fitted"])
def test_outputs_that_are_handed_in_are_not_trained_on_a_part(kind: str) -> None:
    outputs = {
        "pool": "outputs",
        "expert_model_names": ["a", "b"],
        "expert_costs": [1, 2],
        "stem": "expert",
    }
    with pytest.raises(ConfigError, match="outputs that are handed in"):
        config(**outputs, router_data=kind)
    config(**outputs, router_data="unused", train_rows=9)
    with pytest.raises(ConfigError, match="seen: true"):
        config(**outputs, router_data="unused", train_rows=9, expert_fine_tuned=True)
