"""`mpc-router-export` run as a user runs it: the folder needs nothing else."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mpc_router import GatedBertPool
from mpc_router.commands import demo, train
from mpc_router.commands import eval as evaluation
from mpc_router.commands import export as command
from mpc_router.data.sources import load_splits
from mpc_router.data.tokens import gather
from tests.mpc_router.commands.asking import asked, loaded_for_help, refused
from tests.mpc_router.commands.conftest import CONFIGS, Answer
from tests.trained import Train, Trained

Ask = Callable[..., Answer]
PAIR = ("the dog sees the cat", "the cat is seen by the dog")


@pytest.fixture
def ask(capfd: pytest.CaptureFixture[str]) -> Ask:
    return lambda *arguments: asked(command.main, capfd, *arguments)


@pytest.fixture
def exported(ask: Ask, router: Trained, tmp_path: Path) -> Path:
    folder = tmp_path / "deep" / "exported"
    answer = ask(*router.flags, str(folder))
    assert answer.code == 0, answer.err
    assert str(folder) in answer.out
    return folder


def test_the_folder_is_complete_and_nothing_else_is_left(exported: Path) -> None:
    assert {path.name for path in exported.iterdir()} == {
        *("model.safetensors", "trial.json", "README.md", "tokenizer"),
    }
    assert [path.name for path in exported.parent.iterdir()] == ["exported"]


@pytest.mark.parametrize("kind", ["router", "joint_router"])
def test_an_export_gives_the_same_result_with_an_empty_cache(
    ask: Ask,
    kind: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    capfd: pytest.CaptureFixture[str],
) -> None:
    source: Trained = request.getfixturevalue(kind)
    folder = tmp_path / "exported"
    assert ask(*source.flags, str(folder)).code == 0
    before = json.loads(asked(evaluation.main, capfd, *source.flags, "--json").out)
    places = ("--sample", "--cache", str(tmp_path / "cache"))
    answer = asked(evaluation.main, capfd, "--checkpoint", str(folder), *places, "--json")
    assert json.loads(answer.out) == before | {"checkpoint": "exported"}


def test_an_export_answers_without_data_models_or_cache(
    exported: Path, router: Trained, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    places = ("--data", str(tmp_path), "--models", str(tmp_path), "--cache", str(tmp_path / "c"))
    answer = asked(demo.main, capfd, "--checkpoint", str(exported), *places, *PAIR)
    assert answer.code == 0
    assert answer.out == asked(demo.main, capfd, *router.flags, *PAIR).out
    assert not (tmp_path / "c").exists()


def test_the_published_class_loads_it(exported: Path) -> None:
    from transformers import AutoTokenizer

    model = GatedBertPool.from_pretrained(exported)
    assert not model.training
    words = AutoTokenizer.from_pretrained(exported / "tokenizer")
    batch = words(*PAIR, return_tensors="pt", return_token_type_ids=True)
    given = (batch["input_ids"], batch["attention_mask"], batch["token_type_ids"])
    predictions, chosen = model.forward_inference(*given)
    assert predictions.shape == (1, 2)
    assert torch.isfinite(predictions).all()
    assert 0 <= int(chosen) < 3


def evaluated(trained: Trained, capfd: pytest.CaptureFixture[str], name: str) -> float:
    """What the evaluation command says of a metric on validation."""
    found = json.loads(asked(evaluation.main, capfd, *trained.flags, "--json").out)
    value: float = found["metrics"][name]
    return value


@pytest.mark.filterwarnings("error::UserWarning")
def test_the_cards_snippet_as_printed_is_as_right_as_the_evaluation(
    exported: Path,
    router: Trained,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    card = (exported / "README.md").read_text(encoding="utf-8")
    (snippet,) = re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)
    monkeypatch.chdir(exported)
    names: dict[str, Any] = {}
    exec(snippet, names)
    assert names["answer"].label in ("not_equivalent", "equivalent")
    validation = load_splits(router.config, router.places.source)["validation"]
    answers = names["router"](list(zip(*validation.texts, strict=True)))
    words = router.config.data.definition.label_names
    labels = [words[int(label)] for label in validation.labels]
    right = [answer.label == label for answer, label in zip(answers, labels, strict=True)]
    assert np.mean(right) == pytest.approx(evaluated(router, capfd, "accuracy"))
    assert [answer.expert for answer in answers] == router.routes.tolist()


@pytest.mark.filterwarnings("error::UserWarning")
def test_the_readmes_snippet_as_printed_is_as_right_as_the_evaluation(
    exported: Path,
    router: Trained,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    readme = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", readme, flags=re.DOTALL)
    (snippet,) = [block for block in blocks if "GatedBertPool" in block]
    # in the place of the published models, a trained one: what the calls hand on is judged
    monkeypatch.setattr(
        "mpc_router.GatedBertPool",
        lambda **_: GatedBertPool.from_pretrained(exported),
        raising=False,
    )
    tokens = router.validation()
    batch = gather(tokens, np.arange(len(tokens)))
    names: dict[str, Any] = {
        "input_ids": batch.input_ids,
        "attention_mask": batch.attention_mask,
        "token_type_ids": batch.token_type_ids,
        "labels": batch.labels.long(),
    }
    exec(snippet, names)
    right = names["predictions"].argmax(-1).numpy() == tokens.labels
    assert right.mean() == pytest.approx(evaluated(router, capfd, "accuracy"))
    assert (names["chosen_expert"].numpy() == router.routes).all()


def test_an_export_of_pairs_warns_once_without_segments(exported: Path) -> None:
    model = GatedBertPool.from_pretrained(exported)
    ids, mask = torch.tensor([[2, 7, 3, 8, 3]]), torch.ones(1, 5, dtype=torch.long)
    with pytest.warns(UserWarning, match=r"trained on pairs.*third argument") as warned:
        model.forward_inference(ids, mask)
    assert [each.filename for each in warned] == [__file__]
    with warnings.catch_warnings(action="error"):
        model(ids, mask)


def test_an_export_can_be_exported(
    ask: Ask, exported: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    again = tmp_path / "again"
    assert ask("--checkpoint", str(exported), str(again)).code == 0
    for name in ("model.safetensors", "trial.json"):
        assert (again / name).read_bytes() == (exported / name).read_bytes()


def test_a_folder_that_exists_is_left_alone(ask: Ask, router: Trained, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "thesis.txt").write_text("mine", encoding="utf-8")
    refused(ask(*router.flags, str(folder)), "exists; give a new folder")
    assert [path.name for path in folder.iterdir()] == ["thesis.txt"]


def test_an_export_that_fails_leaves_nothing(
    ask: Ask, router: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mpc_router.serve.export.write_pool", full)
    answer = ask(*router.flags, str(tmp_path / "exported"))
    assert answer.code == 3
    assert "No space left" in answer.err
    assert list(tmp_path.iterdir()) == []


def test_no_path_of_the_machine_is_told(exported: Path, router: Trained) -> None:
    for name in ("trial.json", "README.md", "tokenizer/tokenizer_config.json"):
        text = (exported / name).read_text(encoding="utf-8")
        for place in (router.places.cache, router.folder, Path.home(), exported):
            assert str(place) not in text


@pytest.mark.parametrize("experts", ["frozen", "joint"])
def test_the_card_of_a_training_holds_its_score_and_shares(
    ask: Ask, trained: Train, router: Trained, tmp_path: Path, experts: str
) -> None:
    cache = str(router.places.cache)
    given = ("--config", str(CONFIGS / "task_mrpc.yaml"), "--sample", "--cache", cache)
    out = tmp_path / "outputs"
    small = ("train_rows=60", "validation_rows=100", "epochs=1", "expert_start=checkpoint")
    assert train.main([*given, *small, f"experts={experts}", "--out", str(out), "--quiet"]) == 0
    folder = tmp_path / "exported"
    best = out / "mrpc_best_model"
    assert ask("--checkpoint", str(best), "--sample", "--cache", cache, str(folder)).code == 0
    summary = json.loads((best / "summary.json").read_text(encoding="utf-8"))
    card = (folder / "README.md").read_text(encoding="utf-8")
    for split in ("selection", "validation"):
        found = summary["splits"][split]
        shares = " / ".join(f"{100 * share:.1f} %" for share in found["share"])
        assert f"| {split} | {found['score']:.4f} | {found['cost']['constants']:.4g} |" in card
        assert shares in card
    assert "the embedded synthetic sample" in card
    assert f"`{experts}`, seed 0, epoch 1" in card
    kept = json.loads((folder / "trial.json").read_text(encoding="utf-8"))["summary"]
    assert kept["splits"] == summary["splits"]
    for text in (card, (folder / "trial.json").read_text(encoding="utf-8")):
        assert str(tmp_path) not in text
        assert cache not in text


def test_a_card_without_a_summary_says_that_it_knows_no_score(exported: Path) -> None:
    card = (exported / "README.md").read_text(encoding="utf-8")
    assert "not recorded" in card
    assert card.startswith("---\nlibrary_name: mpc-router\n")
    for name in ("sample/tiny", "sample/base", "sample/large"):
        assert f"| {name} |" in card


def test_a_published_path_is_noted_and_a_pickle_refused(
    ask: Ask, router: Trained, tmp_path: Path
) -> None:
    answer = ask("--checkpoint", f"{router.folder}.pt", *router.flags[2:], str(tmp_path / "x"))
    assert answer.code == 0
    assert answer.err.startswith("note: ")
    pickle = tmp_path / "mrpc_best_model.pt"
    pickle.write_bytes(b"PK\x03\x04" + bytes(20))
    refused(ask("--checkpoint", str(pickle), str(tmp_path / "y")), "a pickle")
    assert not (tmp_path / "y").exists()


def test_help_is_quick_because_it_loads_little() -> None:
    assert not loaded_for_help("mpc_router.commands.export")


def test_a_bias_is_folded_in_and_the_folder_is_worth_what_the_checkpoint_is_with_it(
    ask: Ask, router: Trained, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "exported"
    words = ("--bias", "0.15", "--vector", "mpc_seconds_as_if")
    assert ask(*router.flags, *words, str(folder)).code == 0
    before = json.loads(asked(evaluation.main, capfd, *router.flags, *words, "--json").out)
    assert before["biases"] == [{"bias": 0.15, "cost_vector": "mpc_seconds_as_if"}]
    places = ("--sample", "--cache", str(tmp_path / "cache"))
    answer = asked(evaluation.main, capfd, "--checkpoint", str(folder), *places, "--json")
    assert json.loads(answer.out) == before | {"checkpoint": "exported"}
    model = GatedBertPool.from_pretrained(folder)
    assert model.route_costs == (4.11, 69.71, 199.78)


def test_a_vector_without_a_bias_and_one_that_is_not_there_are_refused(
    ask: Ask, router: Trained, tmp_path: Path
) -> None:
    folder = str(tmp_path / "exported")
    refused(ask(*router.flags, "--vector", "constants", folder), "--vector", "--bias", "give both")
    words = ("--bias", "1", "--vector", "euros")
    refused(ask(*router.flags, *words, folder), "'euros'", "constants", "file:PATH")
    assert not (tmp_path / "exported").exists()
