"""A router over experts of several vocabularies, from training to the exported folder."""

from __future__ import annotations

import json
import re
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mpc_router import GatedBertPool, trainer
from mpc_router.commands import demo, export, train
from mpc_router.commands import eval as evaluation
from mpc_router.config.trial import trial_config
from mpc_router.costs import FLOPS
from mpc_router.data.sources import load_splits
from mpc_router.data.tokens import gather
from mpc_router.joint.start import empty_pool
from mpc_router.model.encoders import load_tokenizer
from mpc_router.model.sources import Models
from mpc_router.prepare.frozen import prepare
from mpc_router.prepare.inputs import Places
from mpc_router.prepare.joint import prepare_joint
from mpc_router.results.assembly import assemble
from mpc_router.results.records import EpochResult
from mpc_router.terminal.progress import Silence
from tests.mpc_router.commands.asking import asked, refused
from tests.mpc_router.commands.conftest import CONFIGS
from tests.mpc_router.vocabularies import POOL, save_families
from tests.trained import SAMPLE, Trained
from tests.trained import train as trained_router

PAIR = ("the dog sees the cat", "the cat is seen by the dog")
SETTINGS = {**POOL, "train_rows": 100, "validation_rows": 60, "learning_rate": 0.02}
FEW = {"train_rows": 40, "validation_rows": 20}


@pytest.fixture(scope="module")
def families(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_families(tmp_path_factory.mktemp("families"))


@pytest.fixture(scope="module", params=["frozen", "joint"])
def router(
    families: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Trained:
    """Routes some examples to each of two experts or more."""
    settings = {**SETTINGS, "experts": request.param, "epochs": 2, "alpha": 3.0, "beta": 0.0}
    place = tmp_path_factory.mktemp(request.param)
    found = trained_router(place / "router", place / "cache", models=families, **settings)
    assert len(np.unique(found.routes)) > 1
    return found


def flags(router: Trained) -> tuple[str, ...]:
    return (*router.flags, "--models", str(router.places.models.folder))


@pytest.fixture
def exported(router: Trained, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Path:
    answer = asked(export.main, capfd, *flags(router), str(tmp_path / "exported"))
    assert answer.code == 0, answer.err
    return tmp_path / "exported"


def evaluated(capfd: pytest.CaptureFixture[str], *arguments: str) -> Any:
    answer = asked(evaluation.main, capfd, *arguments, "--json")
    assert answer.code == 0, answer.err
    return json.loads(answer.out)


def test_evaluation_gives_what_the_training_gave(
    router: Trained, capfd: pytest.CaptureFixture[str]
) -> None:
    found = evaluated(capfd, *flags(router), "--cost-vector", FLOPS)
    assert found["score"] == pytest.approx(float(router.report.metrics["score"][0]))
    assert [expert["share"] for expert in found["experts"]] == pytest.approx(
        router.report.share[0].tolist()
    )
    assert found["cost"]["constants"] == pytest.approx(float(router.report.cost["constants"][0]))


def test_an_export_needs_nothing_else_and_gives_the_same(
    router: Trained, exported: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folders = {path.name for path in exported.iterdir() if path.is_dir()}
    assert folders == {"tokenizer", "tokenizer-1", "tokenizer-2"}
    before = evaluated(capfd, *flags(router))
    places = ("--checkpoint", str(exported), "--sample", "--cache", str(tmp_path / "empty"))
    assert evaluated(capfd, *places) == before | {"checkpoint": "exported"}
    said = asked(demo.main, capfd, *places, *PAIR)
    assert said.code == 0
    assert said.out == asked(demo.main, capfd, *flags(router), *PAIR).out
    again = asked(export.main, capfd, *places, str(tmp_path / "again"))
    assert again.code == 0
    for name in ("model.safetensors", "trial.json"):
        assert (tmp_path / "again" / name).read_bytes() == (exported / name).read_bytes()


@pytest.mark.filterwarnings("error::UserWarning")
def test_the_cards_snippet_as_printed_routes_as_the_training_did(
    router: Trained, exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = (exported / "README.md").read_text(encoding="utf-8")
    (snippet,) = re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)
    monkeypatch.chdir(exported)
    names: dict[str, Any] = {}
    exec(snippet, names)
    assert names["answer"].label in ("not_equivalent", "equivalent")
    validation = load_splits(router.config, router.places.source)["validation"]
    with warnings.catch_warnings():  # some texts are longer than was trained on, which is said
        warnings.filterwarnings("ignore", message="text is cut")
        answers = names["router"](list(zip(*validation.texts, strict=True)))
    assert [answer.expert for answer in answers] == router.routes.tolist()
    words = router.config.data.definition.label_names
    labels = [words[int(label)] for label in validation.labels]
    right = [answer.label == label for answer, label in zip(answers, labels, strict=True)]
    assert np.mean(right) == pytest.approx(float(router.report.metrics["accuracy"][0]))


def test_a_pool_of_several_tokenizers_refuses_the_tokens_of_one(exported: Path) -> None:
    model = GatedBertPool.from_pretrained(exported)
    ids = torch.tensor([[2, 7, 3]])
    with pytest.raises(ValueError, match=r"has 3 tokenizers and was given 1 .* the stem's first"):
        model.forward_inference(ids)


@pytest.mark.slow
@pytest.mark.parametrize("router", ["joint"], indirect=True)
def test_latency_is_measured_with_each_experts_own_tokens(
    router: Trained, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "costs.json"
    evaluated(capfd, *flags(router), "--measure-latency", str(target))
    about = json.loads(target.read_text())["about"]
    letters, words, pairs = about["mean_tokens_by_expert"]
    assert words == about["mean_tokens"]  # the stem reads as the BERT does
    assert letters > pairs > words


def test_long_text_is_cut_by_the_tokenizer_that_loses_most(
    router: Trained, capfd: pytest.CaptureFixture[str]
) -> None:
    texts = [" ".join([text] * 2) for text in PAIR]
    assembled = assemble(router.folder, router.places)
    assert assembled.limits == (40, 40, 40)
    longest = max(assembled.lengths(texts))
    said = asked(demo.main, capfd, *flags(router), *texts)
    assert f"(cut: {longest} tokens, the model takes 40)" in said.out
    strict = asked(demo.main, capfd, *flags(router), "--strict", *texts)
    refused(strict, f"{longest} tokens, the model takes 40")


def test_joint_training_begins_with_what_each_expert_says_of_its_own_tokens(
    families: Path, tmp_path: Path
) -> None:

    places = Places(source=SAMPLE, models=Models(families), cache=tmp_path)
    settings = SETTINGS | FEW
    frozen = prepare(trial_config(settings), places)
    config = trial_config({**settings, "experts": "joint"})
    inputs = prepare_joint(config, places)
    pool = empty_pool(config, inputs, seed=0)
    for name, split in inputs.splits.items():
        batch = gather(split.content, np.arange(len(split)))
        with torch.inference_mode():
            outputs = pool.ask(pool.look(*batch.inputs))
        expected = torch.tensor(frozen.splits[name].outputs)
        torch.testing.assert_close(outputs, expected, atol=1e-5, rtol=1e-4)
        assert np.array_equal(split.tokens, frozen.splits[name].tokens)
        by_expert = frozen.splits[name].tokens_by_expert
        assert split.tokens_by_expert is not None
        assert by_expert is not None
        assert np.array_equal(split.tokens_by_expert, by_expert)


def test_joint_training_in_pieces_gives_the_same_router(families: Path, tmp_path: Path) -> None:

    places = Places(source=SAMPLE, models=Models(families), cache=tmp_path)
    config = trial_config({**SETTINGS, "experts": "joint", "epochs": 1, **FEW})
    inputs = trainer.prepare(config, places, Silence())
    lane = trainer.Lane(config=config, seed=0)
    losses = []
    for pieces in (1, 3):
        result = next(iter(trainer.train([lane], inputs, pieces=pieces)))
        assert isinstance(result, EpochResult)
        losses.append(float(result.report.loss[0]))
    # the encoders' dropout is drawn by piece, all else is the same
    assert losses[0] == pytest.approx(losses[1], rel=0.05)


def test_a_command_trains_over_three_families(
    families: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    places = ("--sample", "--models", str(families), "--cache", str(tmp_path / "cache"))
    given = [f"{name}={json.dumps(value)}" for name, value in (SETTINGS | FEW).items()]
    config = ("--config", str(CONFIGS / "task_mrpc.yaml"), "--out", str(tmp_path / "out"))
    command = (*config, *places, "experts=frozen", "epochs=1", *given, "--quiet")
    one_for_all = asked(train.main, capfd, *command, "tokenizer_model_name=org/bert")
    refused(one_for_all, "org/distilbert", "leave tokenizer_model_name empty")
    done = asked(train.main, capfd, *command)
    assert done.code == 0, done.err


@pytest.mark.parametrize("router", ["joint"], indirect=True)
def test_a_joint_checkpoint_is_refused_with_other_tokenizers(
    router: Trained, families: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(families, tmp_path / "models")
    words = load_tokenizer("org/bert", router.places.models)
    words.save_pretrained(tmp_path / "models" / "org" / "roberta")
    answer = asked(
        evaluation.main, capfd, *router.flags, "--models", str(tmp_path / "models"), "--json"
    )
    refused(answer, "trained with other tokenizers", "--models")
