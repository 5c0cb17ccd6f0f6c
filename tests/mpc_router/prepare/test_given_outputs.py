"""Experts that were run elsewhere: their tables are what trials train on, row by row."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mpc_router.config.trial import ConfigError, TrialConfig, trial_config
from mpc_router.data.output_tables import GivenOutputs, OutputTable, read_outputs, table_of
from mpc_router.data.sources import Source, SourceError, read
from mpc_router.model.sources import Models
from mpc_router.prepare import given_outputs
from mpc_router.prepare.frozen import Prepared
from mpc_router.prepare.given_outputs import prepare_given
from mpc_router.prepare.inputs import Places
from mpc_router.trainer import check

NAMES = ["words", "trees", "llm"]
CONFIG: dict[str, Any] = {
    "task": "mrpc",
    "pool": "outputs",
    "expert_model_names": NAMES,
    "expert_costs": [1, 3, 20],
    "stem": "expert",
}
SAMPLE = Source(kind="sample")


@pytest.fixture(scope="module")
def config() -> TrialConfig:
    return trial_config(CONFIG)


@pytest.fixture(scope="module")
def frames(config: TrialConfig) -> list[pd.DataFrame]:
    """Logits of three experts for every row of the sample's source files, in no order."""
    rng = np.random.default_rng(0)
    tables = []
    for _ in NAMES:
        parts = [
            pd.DataFrame({"split": split, "example": np.arange(len(columns))})
            for split, columns in read(config, SAMPLE).items()
        ]
        table = pd.concat(parts)
        table["output"] = list(rng.normal(size=(len(table), 2)))
        tables.append(table.sample(frac=1, random_state=1))
    return tables


def places_with(
    folder: Path, frames: list[pd.DataFrame], *, kind: str = "logits", suffix: str = "parquet"
) -> Places:
    tables = []
    for name, frame in zip(NAMES, frames, strict=True):
        path = folder / f"{name}.{suffix}"
        if suffix == "csv":
            frame.to_csv(path, index=False)
        else:
            frame.to_parquet(path)
        tables.append(OutputTable(name=name, path=path, cost=1.0, kind=kind))
    given = GivenOutputs(tables=tuple(tables))
    return Places(source=SAMPLE, models=Models(), cache=folder / "cache", outputs=given)


@pytest.fixture(scope="module")
def prepared(
    config: TrialConfig, frames: list[pd.DataFrame], tmp_path_factory: pytest.TempPathFactory
) -> Prepared:
    made = prepare_given(config, places_with(tmp_path_factory.mktemp("given"), frames))
    return made


def test_every_example_has_the_output_of_its_row(
    prepared: Prepared, frames: list[pd.DataFrame]
) -> None:
    assert list(prepared.splits) == ["train", "selection", "validation"]
    for number, frame in enumerate(frames):
        rows = frame.set_index(["split", "example"])["output"]
        for name, split in prepared.splits.items():
            origin = prepared.split_origin[name]
            wanted = np.stack([rows[origin, example] for example in split.example])
            np.testing.assert_array_equal(split.outputs[:, number], wanted.astype(np.float32))


def test_routers_may_learn_from_rows_beyond_train_rows(
    frames: list[pd.DataFrame], tmp_path: Path
) -> None:
    places = places_with(tmp_path, frames)
    few, beyond = (
        prepare_given(trial_config({**CONFIG, "train_rows": 500, **more}), places)
        for more in ({}, {"router_data": "unused", "router_rows": 90})
    )
    train = beyond.splits["train"]
    assert len(train) == 90
    assert not set(train.example) & set(few.splits["train"].example)
    rows = frames[2].set_index(["split", "example"])["output"]
    wanted = np.stack([rows["train", example] for example in train.example])
    np.testing.assert_array_equal(train.outputs[:, 2], wanted.astype(np.float32))
    assert beyond.data_fingerprint != few.data_fingerprint
    assert any("90 rows of train" in note for note in beyond.notes)
    alone = {**CONFIG, "train_rows": 500, "router_data": "unused", "router_rows": 1}
    with pytest.raises(SourceError, match="raise router_rows"):
        check(trial_config(alone), places)


def test_without_features_the_router_looks_at_the_cheapest_experts_outputs(
    prepared: Prepared,
) -> None:
    train = prepared.splits["train"]
    np.testing.assert_array_equal(train.features, train.outputs[:, 0])
    assert any("looks at the outputs of words" in note for note in prepared.notes)
    assert set(prepared.vectors) == {"constants"}
    assert prepared.vectors["constants"].stem_is_expert


def test_features_are_a_table_of_their_own(
    config: TrialConfig, frames: list[pd.DataFrame], tmp_path: Path
) -> None:
    places = places_with(tmp_path, frames)
    features = frames[0][["split", "example"]].assign(first=1.0, second=range(len(frames[0])))
    features.to_parquet(tmp_path / "features.parquet")
    assert places.outputs is not None
    given = dataclasses.replace(places.outputs, features=tmp_path / "features.parquet")
    looking = trial_config(
        {**CONFIG, "stem": "model", "router_model_name": "features", "router_cost": 0.5}
    )
    made = prepare_given(looking, dataclasses.replace(places, outputs=given))
    assert made.splits["train"].features.shape[1] == 2
    assert made.vectors["constants"].router == 0.5


def test_a_csv_says_the_same_as_parquet(
    config: TrialConfig, frames: list[pd.DataFrame], prepared: Prepared, tmp_path: Path
) -> None:
    columns = ["not_equivalent", "equivalent"]
    spread = [
        frame.drop(columns="output").assign(
            **dict(zip(columns, np.stack(list(frame.output)).T, strict=True))
        )
        for frame in frames
    ]
    made = prepare_given(config, places_with(tmp_path, spread, suffix="csv"))
    assert made.experts_id == prepared.experts_id


def test_probabilities_become_their_logarithms(
    config: TrialConfig, frames: list[pd.DataFrame], prepared: Prepared, tmp_path: Path
) -> None:
    soft = []
    for frame in frames:
        weights = np.exp(np.stack(list(frame.output)))
        soft.append(frame.assign(output=list(weights / weights.sum(axis=1, keepdims=True))))
    made = prepare_given(config, places_with(tmp_path, soft, kind="probabilities"))
    for name, split in prepared.splits.items():
        logits = split.outputs - np.logaddexp.reduce(split.outputs, axis=2, keepdims=True)
        np.testing.assert_allclose(made.splits[name].outputs, logits, atol=1e-5)


Spoil = Callable[[pd.DataFrame], pd.DataFrame]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda frame: frame.iloc[1:], r"lacks 1 of the \d+ rows of \w+, the first '\w+ \d+'"),
        (lambda frame: pd.concat([frame, frame.iloc[:1]]), r"has '\w+ \d+' twice"),
        (lambda frame: frame.drop(columns="example"), "has no column 'example'"),
        (lambda frame: frame.drop(columns="output"), "no column `output` and no column 'not_equ"),
        (lambda frame: frame.assign(output=[[1.0]] * len(frame)), "an output has 1 numbers, task"),
        (
            lambda frame: frame.assign(output=[[np.nan, 1.0]] + [[0.0, 1.0]] * (len(frame) - 1)),
            "holds no finite number",
        ),
        (
            lambda frame: frame.assign(output=[[1.0]] + [[0.0, 1.0]] * (len(frame) - 1)),
            "have 2 lengths",
        ),
        (lambda frame: frame.assign(output="yes"), "must hold numbers"),
    ],
)
def test_a_table_that_cannot_be_is_one_message_with_its_name(
    spoil: Spoil, message: str, config: TrialConfig, frames: list[pd.DataFrame], tmp_path: Path
) -> None:
    places = places_with(tmp_path, [frames[0], spoil(frames[1]), frames[2]])
    with pytest.raises(SourceError, match=message) as raised:
        check(config, places)
    assert "trees.parquet" in str(raised.value)
    assert not (tmp_path / "cache").exists()


def test_probabilities_that_do_not_sum_to_one_are_refused(
    config: TrialConfig, frames: list[pd.DataFrame], tmp_path: Path
) -> None:
    with pytest.raises(SourceError, match="is no probabilities"):
        check(config, places_with(tmp_path, frames, kind="probabilities"))


def test_what_outputs_cannot_do_is_refused_in_a_sentence(
    config: TrialConfig, frames: list[pd.DataFrame], tmp_path: Path
) -> None:
    places = places_with(tmp_path, frames)
    with pytest.raises(ConfigError, match="cost vector flops is counted from models"):
        check(config, places, vectors=["flops"])
    with pytest.raises(ConfigError, match="cannot train; set experts=frozen"):
        check(trial_config({**CONFIG, "experts": "joint"}), places)
    with pytest.raises(ConfigError, match="needs the tables of its experts"):
        check(config, dataclasses.replace(places, outputs=None))
    with pytest.raises(SourceError, match="holds values, but task mrpc needs logits"):
        check(config, places_with(tmp_path, frames, kind="values"))


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("a.parquet", "an item is a mapping"),
        ({"name": "a", "path": "a", "cost": 1}, "lacks `kind:`"),
        ({"name": "a", "path": "a", "cost": "1", "kind": "logits"}, "cost of output 'a' is '1'"),
        ({"name": "a", "path": "a", "cost": 1, "kind": "logit"}, "allowed are logits, prob"),
        ({"name": "a", "path": "a", "cost": 1, "kind": "logits", "x": 1}, "has no key 'x'"),
        ({"name": 1, "path": "a", "cost": 1, "kind": "logits"}, "name in outputs is 1"),
    ],
)
def test_an_item_of_outputs_that_cannot_be_is_refused(item: object, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        table_of(item, base=Path())


def test_check_and_preparation_read_each_table_once(
    config: TrialConfig,
    frames: list[pd.DataFrame],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names: list[str] = []

    def counted(table: OutputTable, *arguments: Any) -> Any:
        names.append(table.name)
        return read_outputs(table, *arguments)

    monkeypatch.setattr(given_outputs, "read_outputs", counted)
    places = places_with(tmp_path, frames)
    check(config, places)
    check(config, places)
    prepare_given(config, places)
    assert names == NAMES
    elsewhere = places_with(tmp_path, frames)
    check(config, dataclasses.replace(elsewhere, source=Source(kind="sample")))
    assert names == [*NAMES, *NAMES]
