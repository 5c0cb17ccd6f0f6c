from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mpc_router.config.trial import ConfigError, TrialConfig, trial_config
from mpc_router.data.sources import Source
from mpc_router.experts.errands import Errand
from mpc_router.joint.start import empty_pool, examine
from mpc_router.model.encoders import seeded
from mpc_router.model.sources import ModelError, Models
from mpc_router.prepare.frozen import prepare
from mpc_router.prepare.inputs import Places
from mpc_router.prepare.joint import JointInputs, check_joint, open_joint, prepare_joint
from mpc_router.sample import encoders
from mpc_router.terminal.progress import Progress

SHORT = {"train_rows": 64, "validation_rows": 30, "expert_epochs": 1, "experts": "joint"}


def config(**settings: Any) -> TrialConfig:
    base = {"pool": "sample", "expert_model_names": ["sample/tiny", "sample/base"]}
    return trial_config(base | SHORT | settings)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Places:
    return Places(
        source=Source(kind="sample"), models=Models(), cache=tmp_path_factory.mktemp("cache")
    )


@pytest.fixture(scope="module")
def inputs(places: Places) -> JointInputs:
    return prepare_joint(config(), places)


def test_splits_are_those_of_frozen_experts(inputs: JointInputs, places: Places) -> None:
    frozen = prepare(config(experts="frozen"), places)
    assert list(inputs.splits) == list(frozen.splits) == ["train", "selection", "validation"]
    for name, split in inputs.splits.items():
        for kind in ("labels", "example", "tokens"):
            assert np.array_equal(getattr(split, kind), getattr(frozen.splits[name], kind))
        assert len(split) == len(frozen.splits[name])
    assert inputs.data_fingerprint == frozen.data_fingerprint
    assert inputs.split_origin == frozen.split_origin
    assert inputs.vectors == frozen.vectors
    assert inputs.stem == frozen.stem
    assert [each.name for each in inputs.experts] == [each.name for each in frozen.experts]
    assert inputs.experts_id != frozen.experts_id


def test_what_was_prepared_is_opened_again(
    inputs: JointInputs, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    def same(other: JointInputs) -> bool:
        plain = [dataclasses.replace(each, splits={}) for each in (inputs, other)]
        return plain[0] == plain[1] and list(inputs.splits) == list(other.splits)

    assert same(open_joint(inputs.folder))
    for name in ("cut_all", "tokenised", "load_trained"):
        monkeypatch.delattr(f"mpc_router.prepare.joint.{name}")
    assert same(prepare_joint(config(), places))


def test_experts_are_not_trained_before_unless_told(places: Places, tmp_path: Path) -> None:
    changed_places = dataclasses.replace(places, cache=tmp_path)
    prepare_joint(config(), changed_places)
    assert not (tmp_path / "experts").exists()
    tuned = prepare_joint(config(expert_start="fine_tuned"), changed_places)
    assert len(list((tmp_path / "experts").glob("*/model.safetensors"))) == 2
    chosen = config(expert_start="fine_tuned")
    one, other = (empty_pool(chosen, tuned, seed).experts.state_dict() for seed in (0, 1))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_what_a_checkpoint_lacks_is_drawn_from_the_trial_s_seed(inputs: JointInputs) -> None:
    one, same, other = (empty_pool(config(), inputs, seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(one[name], same[name]) for name in one)
    for name in ("router.out.weight", "experts.experts.0.head.weight"):
        assert not torch.equal(one[name], other[name])
    stem = "stem.encoder.embeddings.word_embeddings.weight"
    assert torch.equal(one[stem], other[stem])


def test_ids_change_with_where_the_experts_begin(inputs: JointInputs, places: Places) -> None:
    tuned = prepare_joint(config(expert_start="fine_tuned"), places)
    assert tuned.experts_id != inputs.experts_id
    assert tuned.models_id != inputs.models_id
    assert tuned.experts_id == prepare_joint(config(expert_start="fine_tuned"), places).experts_id


def test_lane_settings_share_what_is_prepared(inputs: JointInputs, places: Places) -> None:
    again = prepare_joint(config(alpha=0.7, learning_rate=0.1, epochs=9), places)
    assert again.folder == inputs.folder


def test_a_supervised_router_has_frozen_outputs_and_tuned_experts(places: Places) -> None:
    chosen = config(router="supervised", expert_start="fine_tuned")
    inputs = prepare_joint(chosen, places)
    assert inputs.frozen is not None
    assert [each.hash for each in inputs.experts] == [each.hash for each in inputs.frozen.experts]
    again = open_joint(inputs.folder)
    assert again.frozen is not None
    assert again.frozen.folder == inputs.frozen.folder


@pytest.fixture(scope="module")
def headed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two models with heads: their labels are named in two orders."""
    from transformers import BertForSequenceClassification

    folder = tmp_path_factory.mktemp("models")
    orders = {"same": ["not_equivalent", "equivalent"], "turned": ["equivalent", "not_equivalent"]}
    for name, labels in orders.items():
        shape = encoders.encoder_config("sample/base")
        shape.id2label = dict(enumerate(labels))
        with seeded(0):
            BertForSequenceClassification(shape).save_pretrained(folder / "org" / name)
    return folder


def with_heads(**settings: Any) -> TrialConfig:
    return config(
        pool="custom",
        expert_model_names=["org/same", "org/turned"],
        expert_costs=[1.0, 2.0],
        expert_fine_tuned=True,
        router_model_name="sample/stem",
        router_cost=0.1,
        tokenizer_model_name="sample/tokenizer",
        **settings,
    )


def test_a_head_that_comes_along_is_kept_in_the_task_s_order(
    places: Places, headed: Path, tmp_path: Path
) -> None:
    chosen = with_heads()
    changed_places = dataclasses.replace(places, models=Models(headed), cache=tmp_path / "cache")
    inputs = prepare_joint(chosen, changed_places)
    assert any("no better than chance" in note for note in inputs.notes)
    assert [each.label_order for each in inputs.experts] == [None, None]
    pool = empty_pool(chosen, inputs, seed=0)
    said = examine(pool, inputs.splits["validation"].content, 2).outputs
    assert np.allclose(said[:, 0], said[:, 1, ::-1], atol=1e-6)


class Elsewhere:
    """Has nothing left to do on other machines, which have GPUs."""

    elsewhere = True

    def run(self, errands: Sequence[Errand], progress: Progress) -> None:
        assert not errands


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_heads_are_judged_on_a_machine_without_a_gpu_where_experts_train_elsewhere(
    places: Places, headed: Path, tmp_path: Path
) -> None:
    changed_places = dataclasses.replace(
        places, models=Models(headed), cache=tmp_path / "cache", runner=Elsewhere()
    )
    inputs = prepare_joint(with_heads(device="cuda"), changed_places)
    assert any("no better than chance" in note for note in inputs.notes)


def test_tokens_that_were_deleted_are_made_again(places: Places, tmp_path: Path) -> None:
    changed_places = dataclasses.replace(places, cache=tmp_path)
    first = prepare_joint(config(), changed_places)
    ids = np.array(first.splits["train"].content.ids)
    shutil.rmtree(tmp_path / "tokens")
    with pytest.raises(FileNotFoundError, match="holds no whole tokens"):
        open_joint(first.folder)
    again = prepare_joint(config(), changed_places)
    assert again.folder == first.folder
    assert np.array_equal(again.splits["train"].content.ids, ids)


def test_a_missing_entry_says_so(tmp_path: Path, inputs: JointInputs) -> None:
    with pytest.raises(FileNotFoundError, match="prepare them again"):
        open_joint(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("settings", "kind", "words"),
    [
        ({"stem": "expert"}, ConfigError, "set stem=model"),
        ({"shared_stem": True}, ModelError, "encoders of one width.*128 features.*has 16"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_trains(
    tmp_path: Path, settings: dict[str, Any], kind: type[Exception], words: str
) -> None:
    places = Places(source=Source(kind="sample"), models=Models(), cache=tmp_path)
    for check in (check_joint, prepare_joint):
        with pytest.raises(kind, match=words) as caught:
            check(config(**settings), places)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "experts").exists()
    assert not (tmp_path / "joint").exists()
