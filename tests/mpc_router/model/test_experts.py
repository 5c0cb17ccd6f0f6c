from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mpc_router.model.encoders import seeded, weights_hash
from mpc_router.model.experts import BertExpert, ExpertPool, label_order
from mpc_router.model.sources import ModelError, Models
from mpc_router.tasks import TASKS
from tests.mpc_router.small_models import save_classifier, save_encoder, some_tokens


def logits_by_transformers(folder: Path, ids: Tensor, mask: Tensor, kinds: Tensor) -> Tensor:
    from transformers import AutoModelForSequenceClassification

    model: Any = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        logits: Tensor = model(ids, attention_mask=mask, token_type_ids=kinds).logits
    return logits


@pytest.mark.parametrize("labels", [1, 2, 3])
def test_a_fine_tuned_expert_says_what_transformers_says(tmp_path: Path, labels: int) -> None:
    save_classifier(tmp_path / "org" / "net", num_labels=labels)
    expert = BertExpert("org/net", labels, models=Models(tmp_path)).eval()
    ids, mask = some_tokens()
    kinds = (torch.arange(9) > 4).long().expand(5, -1)
    expected = logits_by_transformers(tmp_path / "org" / "net", ids, mask, kinds)
    with torch.no_grad():
        assert expert.fine_tuned
        assert torch.equal(expert(ids, mask, kinds), expected)
        outputs, features = expert.examine(ids, mask, kinds)
    assert torch.equal(outputs, expected)
    assert features.shape == (5, expert.width)


def test_a_fine_tuned_expert_drops_out_in_training_as_transformers_does(tmp_path: Path) -> None:
    model = save_classifier(tmp_path / "net", classifier_dropout=0.5)
    expert = BertExpert("net", models=Models(tmp_path)).train()
    ids, mask = some_tokens()
    with seeded(3):
        said = expert(ids, mask)
    with seeded(3):
        expected = model.train()(ids, attention_mask=mask).logits
    assert torch.equal(said, expected)


def test_labels_are_put_into_the_task_s_order(tmp_path: Path) -> None:
    words = {0: "CONTRADICTION", 1: "Entailment", 2: "neutral"}
    save_classifier(tmp_path / "net", id2label=words)
    task = TASKS["mnli"]
    expert = BertExpert("net", 3, label_names=task.label_names, models=Models(tmp_path)).eval()
    ids, mask = some_tokens()
    expected = logits_by_transformers(tmp_path / "net", ids, mask, torch.zeros_like(ids))
    with torch.no_grad():
        assert torch.equal(expert(ids, mask), expected[:, [1, 2, 0]])
        assert torch.equal(expert.examine(ids, mask)[0], expected[:, [1, 2, 0]])


@pytest.mark.parametrize(
    ("words", "names", "order"),
    [
        (["LABEL_0", "LABEL_1"], ["not_equivalent", "equivalent"], [0, 1]),
        (["0", "1"], ["not_equivalent", "equivalent"], [0, 1]),
        ([1, 0], ["not_equivalent", "equivalent"], [0, 1]),
        (["class 0", " 1"], ["not_equivalent", "equivalent"], [0, 1]),
        (["1.0", "0.0"], ["not_equivalent", "equivalent"], [0, 1]),
        (["0", "equivalent"], ["not_equivalent", "equivalent"], None),
        (["equivalent", "Not Equivalent"], ["not_equivalent", "equivalent"], [1, 0]),
        (["not-entailment", "entailment"], ["entailment", "not_entailment"], [1, 0]),
        (["whatever", "it is"], [], [0, 1]),
        (["spam", "ham"], ["negative", "positive"], None),
        (["negative", "neutral", "positive"], ["negative", "positive"], None),
    ],
)
def test_label_words_are_matched(
    words: list[str], names: list[str], order: list[int] | None
) -> None:
    assert label_order(dict(enumerate(words)), names) == order


def test_foreign_label_words_are_refused(tmp_path: Path) -> None:
    save_classifier(tmp_path / "net", id2label={0: "spam", 1: "ham"})
    with pytest.raises(ModelError, match=r"\['spam', 'ham'\].*\['negative', 'positive'\]"):
        BertExpert("net", label_names=TASKS["sst2"].label_names, models=Models(tmp_path))


def test_a_head_of_another_width_is_refused(tmp_path: Path) -> None:
    save_classifier(tmp_path / "net", num_labels=3)
    with pytest.raises(ModelError, match="head of 3 outputs, the task has 2"):
        BertExpert("net", 2, models=Models(tmp_path))


def test_a_head_can_be_left_behind(tmp_path: Path) -> None:
    save_classifier(tmp_path / "net", num_labels=3)
    expert = BertExpert("net", 2, models=Models(tmp_path), keep_head=False)
    assert not expert.fine_tuned
    assert expert(*some_tokens()).shape == (5, 2)


def test_a_cut_model_gets_a_fresh_head_and_a_whole_one_keeps_its_own(tmp_path: Path) -> None:
    save_classifier(tmp_path / "net", layers=3)
    kept = {
        layers: BertExpert("net", layers=layers, models=Models(tmp_path)).fine_tuned
        for layers in (0, 2, 3)
    }
    assert kept == {0: True, 2: False, 3: True}


def test_a_checkpoint_that_promises_a_head_and_has_none_is_refused(tmp_path: Path) -> None:
    save_encoder(tmp_path / "net")
    path = tmp_path / "net" / "config.json"
    path.write_text(path.read_text().replace("BertModel", "BertForSequenceClassification"))
    with pytest.raises(ModelError, match=r"lack \d tensors, classifier"):
        BertExpert("net", models=Models(tmp_path))


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_a_fresh_head_is_linear_on_the_pooled_tokens(tmp_path: Path, pooling: str) -> None:
    save_encoder(tmp_path / "net")
    expert = BertExpert("net", 3, pooling=pooling, models=Models(tmp_path)).eval()
    ids, mask = some_tokens()
    with torch.no_grad():
        outputs, features = expert.examine(ids, mask)
        assert torch.equal(outputs, expert.head(features))
        assert torch.equal(outputs, expert(ids, mask))
        encoder: Any = expert.body.encoder
        hidden = encoder(ids, attention_mask=mask).last_hidden_state
    first, last = hidden[:, 0], hidden[4, : int(mask[4].sum())].mean(0)
    assert torch.allclose(features[4], first[4] if pooling == "cls" else last, atol=1e-6)


def test_features_of_a_fine_tuned_expert_are_those_of_its_encoder(tmp_path: Path) -> None:
    save_classifier(tmp_path / "net")
    ids, mask = some_tokens()
    with torch.no_grad():
        features = [
            BertExpert("net", pooling="mean", models=Models(tmp_path), keep_head=keep)
            .eval()
            .examine(ids, mask)[1]
            for keep in (True, False)
        ]
    assert torch.allclose(features[0], features[1], atol=1e-6)


def test_the_seed_decides_a_fresh_head_and_nothing_else_does(tmp_path: Path) -> None:
    save_encoder(tmp_path / "net")

    def made(seed: int) -> str:
        torch.manual_seed(seed + 50)
        return weights_hash(BertExpert("net", models=Models(tmp_path), seed=seed))

    assert made(1) == made(1)
    assert made(1) != made(2)
    torch.manual_seed(1)
    first = torch.rand(2)
    torch.manual_seed(1)
    BertExpert("net", models=Models(tmp_path))
    assert torch.equal(torch.rand(2), first)


def test_an_encoder_can_be_handed_in(tmp_path: Path) -> None:
    model = save_classifier(tmp_path / "net")
    ids, mask = some_tokens()
    with torch.no_grad():
        expected = model(ids, attention_mask=mask).logits
        assert torch.equal(BertExpert(model).eval()(ids, mask), expected)
        assert BertExpert(model.bert, 4).eval()(ids, mask).shape == (5, 4)


def test_a_stand_in_is_named(tmp_path: Path) -> None:
    save_encoder(tmp_path / "bert-tiny")
    expert = BertExpert("prajjwal1/bert-tiny", models=Models(tmp_path))
    assert expert.stand_in == Models(tmp_path).resolve("prajjwal1/bert-tiny").stand_in
    assert expert.stand_in is not None


class Counter(nn.Module):
    """An expert that says its number for every row and counts the rows of each call."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number
        self.calls: list[int] = []

    def forward(self, ids: Tensor, mask: Tensor | None, kinds: Tensor | None) -> Tensor:
        self.calls.append(len(ids))
        return torch.stack([ids[:, 0].float(), torch.full((len(ids),), float(self.number))], 1)


def test_routing_runs_each_expert_once_on_its_own_rows() -> None:
    experts = [Counter(number) for number in range(4)]
    routes = torch.tensor([2, 0, 2, 1, 2, 0])
    ids = torch.arange(6)[:, None] + 10
    outputs = ExpertPool(experts).route(routes, ids, torch.ones_like(ids))
    assert [expert.calls for expert in experts] == [[2], [1], [3], []]
    assert torch.equal(outputs[:, 0], ids[:, 0].float())
    assert torch.equal(outputs[:, 1], routes.float())


def test_routing_gives_the_chosen_row_of_running_everything(tmp_path: Path) -> None:
    for number, (hidden, layers) in enumerate([(8, 1), (16, 2), (24, 3)]):
        save_classifier(tmp_path / f"net{number}", hidden=hidden, layers=layers, seed=number)
    pool = ExpertPool(BertExpert(f"net{n}", models=Models(tmp_path)) for n in range(3)).eval()
    ids, mask = some_tokens(7)
    routes = torch.tensor([0, 1, 2, 1, 0, 2, 2])
    with torch.no_grad():
        everything = pool(ids, mask)
        assert everything.shape == (7, 3, 2)
        chosen = everything[torch.arange(7), routes]
        assert torch.allclose(pool.route(routes, ids, mask), chosen, atol=1e-6)


def test_routes_to_no_expert_and_empty_batches_are_refused() -> None:
    pool = ExpertPool([Counter(0)])
    with pytest.raises(ValueError, match="routes reach to 1, the pool has 1 experts"):
        pool.route(torch.tensor([0, 1]), torch.zeros(2, 1))
    with pytest.raises(ValueError, match="no example to route"):
        pool.route(torch.zeros(0, dtype=torch.long), torch.zeros(0, 1))
    with pytest.raises(ModelError, match="at least one expert"):
        ExpertPool([])
