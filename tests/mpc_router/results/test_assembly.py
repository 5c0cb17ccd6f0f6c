"""A checkpoint put together again says what its training said."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mpc_router.data.sources import Source
from mpc_router.joint.start import Examined, examine
from mpc_router.model.experts import BertExpert
from mpc_router.model.sources import ModelError, Models
from mpc_router.prepare.inputs import Places
from mpc_router.results import checkpoint
from mpc_router.results.assembled import Assembled
from mpc_router.results.assembly import _EXPORTED, _FROZEN, _JOINT, assemble
from mpc_router.results.checkpoint import CheckpointError, JointCheckpoint, LaneCheckpoint
from mpc_router.results.evaluate import routed_predictions
from mpc_router.serve.export import write_export
from mpc_router.tasks import evaluate
from tests import trained as training
from tests.trained import Train, Trained


def asked(found: Assembled, trained: Trained) -> Examined:
    return examine(found.model, trained.validation(), found.task.outputs)


def says_what_its_training_said(found: Assembled, trained: Trained) -> None:
    """Routes, score and cost of validation."""
    seen, tokens = asked(found, trained), trained.validation()
    routes = found.model.decisions.routes(seen.logits[None])
    assert np.array_equal(routes[0], trained.routes)
    predictions = routed_predictions(routes, seen.outputs, regression=found.task.regression)
    score = evaluate(found.task, predictions, np.asarray(tokens.labels))["score"][0]
    assert score == pytest.approx(trained.report.metrics["score"][0], abs=1e-6)
    share = np.bincount(routes[0], minlength=found.config.experts) / len(tokens)
    assert share == pytest.approx(trained.report.share[0])
    cost = found.vectors["constants"].mean(share)
    assert cost == pytest.approx(trained.report.cost["constants"][0])


@pytest.mark.parametrize("task", ["mrpc", "stsb"])
@pytest.mark.parametrize("stem", ["model", "expert"])
def test_a_lane_says_what_its_training_said(trained: Train, stem: str, task: str) -> None:
    lane = trained(task=task, stem=stem)
    found = assemble(lane.folder, lane.places)
    assert found.kind == _FROZEN
    assert found.task.name == task
    assert not found.model.training
    says_what_its_training_said(found, lane)
    assert len(set(lane.routes.tolist())) > 1


@pytest.mark.parametrize("stem", ["model", "expert"])
def test_a_lane_s_logits_are_those_of_its_training(trained: Train, stem: str) -> None:
    lane = trained(stem=stem)
    (routing,) = [each for each in lane.ended.routing if each.split == "validation"]
    logits = asked(assemble(lane.folder, lane.places), lane).logits
    assert logits == pytest.approx(routing.logits[0], abs=1e-5)


def test_a_joint_checkpoint_needs_no_cache(joint_router: Trained, tmp_path: Path) -> None:
    places = Places(source=joint_router.places.source, models=Models(None), cache=tmp_path / "new")
    found = assemble(joint_router.folder, places)
    assert found.kind == _JOINT
    says_what_its_training_said(found, joint_router)
    assert found.origin["seed"] == 0
    assert len(found.origin["experts"]) == 3


@pytest.mark.parametrize("kind", ["router", "joint_router"])
def test_an_exported_folder_gives_the_same_logits_and_outputs(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    source: Trained = request.getfixturevalue(kind)
    first = assemble(source.folder, source.places)
    write_export(first, tmp_path / "exported")
    nowhere = Places(
        source=Source(kind="folder", folder=tmp_path / "no"),
        models=Models(tmp_path / "no models"),
        cache=tmp_path / "no cache",
    )
    again = assemble(tmp_path / "exported", nowhere)
    assert again.kind == _EXPORTED
    assert (again.config, again.vectors, again.origin) == (
        first.config,
        first.vectors,
        first.origin,
    )
    one, other = asked(first, source), asked(again, source)
    assert np.array_equal(one.logits, other.logits)
    assert np.array_equal(one.outputs, other.outputs)
    text = ("the cat sleeps", "a cat is asleep")
    assert first.tokenizers[0](*text)["input_ids"] == again.tokenizers[0](*text)["input_ids"]
    assert first.limits == again.limits


def test_an_example_is_no_longer_than_was_trained_on(trained: Train, router: Trained) -> None:
    found = assemble(router.folder, router.places)
    assert found.limits[0] <= router.config.data.max_length
    short = trained(max_length=17)
    assert assemble(short.folder, short.places).limits == (17,)


def refused(folder: Path, places: Places, *words: str) -> None:
    with pytest.raises((CheckpointError, ModelError)) as caught:
        assemble(folder, places)
    text = str(caught.value)
    assert "\n" not in text
    for word in words:
        assert word in text


def changed(router: Trained, folder: Path, **fields: Any) -> Path:
    """The router's checkpoint with other fields."""
    whole = checkpoint.load(router.folder)
    checkpoint.save(dataclasses.replace(whole, **fields), folder)
    return folder


def test_without_its_cache_a_lane_says_what_it_lacks(router: Trained, tmp_path: Path) -> None:
    places = dataclasses.replace(router.places, cache=tmp_path)
    refused(router.folder, places, "needs the expert tiny", "--cache", "export")


def test_there_has_to_be_a_checkpoint(router: Trained, tmp_path: Path) -> None:
    refused(tmp_path / "gone", router.places, "gone", "trial.json")


def test_experts_have_to_be_as_many_as_configured(router: Trained, tmp_path: Path) -> None:
    whole = checkpoint.load(router.folder)
    folder = changed(router, tmp_path / "k", experts=whole.experts[:2])
    refused(folder, router.places, "names 2 experts", "configured for 3")


def test_another_stem_is_refused(router: Trained, tmp_path: Path) -> None:
    whole = checkpoint.load(router.folder)
    folder = changed(router, tmp_path / "k", stem=whole.stem | {"hash": "0" * 16})
    refused(folder, router.places, "other weights", "--models")


def test_a_router_of_another_shape_is_refused(router: Trained, tmp_path: Path) -> None:
    whole = checkpoint.load(router.folder)
    cut = {name: value[:2] for name, value in whole.weights.items()}
    folder = changed(router, tmp_path / "k", weights=cut)
    refused(folder, router.places, "not of its configuration's shape")


def test_a_lane_without_what_names_its_encoders_is_refused(router: Trained, tmp_path: Path) -> None:
    whole = checkpoint.load(router.folder)
    bare = tuple({"name": each["name"]} for each in whole.experts)
    refused(changed(router, tmp_path / "k", experts=bare), router.places, "hash", "damaged")
    folder = changed(router, tmp_path / "k2", stem={"name": "sample/stem"})
    refused(folder, router.places, "hash", "damaged")


def test_moments_of_another_width_are_refused(router: Trained, tmp_path: Path) -> None:
    whole = checkpoint.load(router.folder)
    assert isinstance(whole, LaneCheckpoint)
    hidden = whole.weights["hidden.weight"]
    folder = changed(
        router,
        tmp_path / "k",
        feature_mean=torch.zeros(7),
        feature_deviation=torch.ones(7),
        weights=whole.weights | {"hidden.weight": hidden[:, :7]},
    )
    refused(folder, router.places, "damaged")


def test_a_damaged_file_is_named(router: Trained, tmp_path: Path) -> None:
    folder = tmp_path / "k"
    shutil.copytree(router.folder, folder)
    file = folder / checkpoint.WEIGHTS_FILE
    file.write_bytes(file.read_bytes()[:-1])
    refused(folder, router.places, str(file), "truncated")


def test_a_joint_checkpoint_s_weights_are_those_of_its_description(
    joint_router: Trained, tmp_path: Path
) -> None:
    whole = checkpoint.load(joint_router.folder)
    assert isinstance(whole, JointCheckpoint)
    folder = changed(joint_router, tmp_path / "k", description={})
    refused(folder, joint_router.places, "description of the model")
    fewer = dict(list(whole.weights.items())[1:])
    refused(changed(joint_router, tmp_path / "k", weights=fewer), joint_router.places, "weights")


def test_half_an_export_is_refused(router: Trained, tmp_path: Path) -> None:
    write_export(assemble(router.folder, router.places), tmp_path / "whole")
    trial = json.loads((tmp_path / "whole/trial.json").read_text(encoding="utf-8"))
    for name in ("config", "cost_vectors", "origin"):
        folder = tmp_path / name
        shutil.copytree(tmp_path / "whole", folder)
        less = {key: value for key, value in trial.items() if key not in (name, "sha256")}
        (folder / "trial.json").write_text(json.dumps(less), encoding="utf-8")
        refused(folder, router.places, name, "no whole export")
    shutil.rmtree(tmp_path / "whole/tokenizer")
    refused(tmp_path / "whole", router.places, "no whole export")


def test_a_published_path_is_read_as_its_folder(router: Trained) -> None:
    found = assemble(router.folder.with_suffix(".pt"), router.places)
    assert found.note is not None
    assert str(router.folder) in found.note
    assert assemble(router.folder, router.places).note is None


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Two experts with the heads that they came with; one does not name its labels."""
    folder = tmp_path_factory.mktemp("kept")
    settings = training.classifiers(folder / "models")
    return training.train(
        folder / "checkpoint", folder / "cache", models=folder / "models", **settings
    )


def test_experts_that_come_with_heads_say_what_they_said(kept: Trained) -> None:
    found = assemble(kept.folder, kept.places)
    says_what_its_training_said(found, kept)
    orders = [
        each.label_order.tolist()
        for each in found.model.experts.experts
        if isinstance(each, BertExpert)
    ]
    assert orders[1] == [1, 0]  # by its words
    assert orders[0] == list(kept.ended.checkpoints[0].experts[0]["label_order"])


def test_a_head_that_names_nothing_needs_the_data_of_the_training(
    kept: Trained, tmp_path: Path
) -> None:
    elsewhere = Source(kind="folder", folder=tmp_path)
    with pytest.raises(ValueError, match=r"mrpc"):
        assemble(kept.folder, dataclasses.replace(kept.places, source=elsewhere))


def test_a_head_whose_weights_changed_is_refused(kept: Trained, tmp_path: Path) -> None:
    models = tmp_path / "models"
    assert kept.places.models.folder is not None
    shutil.copytree(kept.places.models.folder, models)
    from transformers import BertForSequenceClassification

    model = BertForSequenceClassification.from_pretrained(models / "org/unnamed")
    with torch.no_grad():
        model.classifier.bias += 1
    model.save_pretrained(models / "org/unnamed")
    places = dataclasses.replace(kept.places, models=Models(models))
    refused(kept.folder, places, "other weights of org/unnamed", "--models")
