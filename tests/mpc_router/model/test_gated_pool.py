from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mpc_router import CompositeLoss, GatedBertPool
from mpc_router.model.description import write_pool
from mpc_router.model.encoders import weights_hash
from mpc_router.model.experts import BertExpert, ExpertPool
from mpc_router.model.losses import mix
from mpc_router.model.router import MLPRouter, RouterStem, gumbel_gate, gumbel_noise
from mpc_router.model.sources import ModelError, Models
from tests.mpc_router.small_models import save_classifier, save_encoder, some_tokens

NAMES = ["org/tiny", "org/base", "org/large"]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random encoders of different width and depth in the layout of `--models`."""
    folder = tmp_path_factory.mktemp("models")
    save_encoder(folder / "prajjwal1" / "bert-tiny", hidden=8, layers=2)
    for number, (hidden, layers) in enumerate([(8, 1), (16, 2), (24, 4)]):
        save_classifier(folder / NAMES[number], hidden=hidden, layers=layers, seed=number)
    return folder


@pytest.fixture
def model(models: Path) -> GatedBertPool:
    return GatedBertPool("prajjwal1/bert-tiny", NAMES, 2, models=models)


def test_the_published_snippet_runs_as_it_stands(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(models)
    input_ids, attention_mask = some_tokens(8)
    labels = torch.tensor([0, 1, 0, 1, 1, 0, 1, 0])

    model = GatedBertPool(
        router_model_name="prajjwal1/bert-tiny",
        expert_model_names=["org/tiny", "org/base", "org/large"],
        num_labels=2,
    )
    loss_fn = CompositeLoss(
        task_type="classification",
        num_labels=2,
        num_experts=3,
        expert_costs=torch.tensor([2.0, 7.0, 13.0]),
        alpha=0.01,
        beta=0.03,
    )
    predictions, gating_weights = model(input_ids, attention_mask)
    loss, components = loss_fn(predictions, labels, gating_weights)
    loss.backward()
    predictions, chosen_expert = model.forward_inference(input_ids, attention_mask)

    assert gating_weights.shape == (8, 3)
    assert torch.allclose(gating_weights.sum(-1), torch.ones(8))
    assert components.keys() == {"task", "balance", "cost"}
    assert predictions.shape == (8, 2)
    assert chosen_expert.shape == (8,)
    for part in (model.stem, model.router, *model.experts.experts):
        slopes = [weights.grad for weights in part.parameters() if weights.grad is not None]
        assert any(slope.abs().sum() > 0 for slope in slopes)


def test_predictions_are_the_experts_mixed_by_the_gates(model: GatedBertPool) -> None:
    model.eval()
    ids, mask = some_tokens()
    with torch.no_grad():
        predictions, gates = model(ids, mask)
        expected = mix(gates, model.experts(ids, mask))
        logits = model.route_logits(ids, mask)
    assert torch.equal(predictions, expected)
    assert torch.allclose(gates, logits.softmax(-1))


def test_inference_takes_the_largest_gate_and_that_expert_s_word(model: GatedBertPool) -> None:
    model.eval()
    ids, mask = some_tokens(12)
    predictions, chosen = model.forward_inference(ids, mask)
    with torch.no_grad():
        _, gates = model(ids, mask)
        everything = model.experts(ids, mask)
    assert torch.equal(chosen, gates.argmax(-1))
    assert torch.allclose(predictions, everything[torch.arange(12), chosen], atol=1e-6)
    assert not predictions.requires_grad


class Plain(nn.Module):
    """A stem of two features: the first two token numbers."""

    width = 2

    def forward(self, ids: Tensor, mask: Tensor | None, kinds: Tensor | None) -> Tensor:
        return ids[:, :2].float()


def test_inference_counts_every_example_once_over_the_experts(models: Path) -> None:
    experts = ExpertPool(BertExpert(name, models=Models(models)) for name in NAMES)
    router = nn.Linear(2, 3)
    with torch.no_grad():  # drawn anew each time, one expert would now and then get everything
        router.weight.copy_(torch.tensor([[1.0, -1.0], [-1.0, 1.0], [0.0, 0.0]]))
        router.bias.zero_()
    model = GatedBertPool.from_parts(Plain(), router, experts).eval()
    rows: list[list[int]] = [[], [], []]
    for number, expert in enumerate(experts.experts):
        expert.register_forward_pre_hook(
            lambda _, given, number=number: rows[number].append(len(given[0]))
        )
    ids, mask = some_tokens(30)
    _, chosen = model.forward_inference(ids, mask)
    counts = torch.bincount(chosen, minlength=3).tolist()
    assert rows == [[count] if count else [] for count in counts]
    assert sum(count > 0 for count in counts) > 1


def test_training_is_noisy_and_takes_noise(model: GatedBertPool) -> None:
    ids, mask = some_tokens()
    model.eval()
    noise = gumbel_noise((5, 3), torch.Generator().manual_seed(0))
    _, gates = model(ids, mask, noise=noise)
    assert torch.allclose(gates, gumbel_gate(model.route_logits(ids, mask), noise))
    model.train()
    first, second = (model(ids, mask)[1] for _ in range(2))
    assert not torch.equal(first, second)


def test_a_softmax_gate_draws_no_noise(models: Path) -> None:
    model = GatedBertPool(
        "prajjwal1/bert-tiny", NAMES, 2, gate="softmax", router_dropout=0.0, models=models
    )
    model.train()
    model.stem.eval()
    ids, mask = some_tokens()
    assert torch.equal(model(ids, mask)[1], model(ids, mask)[1])


def test_features_are_standardised_where_a_mean_and_deviation_are_given() -> None:
    experts = ExpertPool([Word(0.0), Word(1.0)])
    router = MLPRouter(2, 2, hidden_size=4).eval()
    mean, deviation = torch.tensor([3.0, 5.0]), torch.tensor([2.0, 0.5])
    model = GatedBertPool.from_parts(
        Plain(), router, experts, feature_mean=mean, feature_deviation=deviation
    ).eval()
    ids, mask = some_tokens()
    assert torch.equal(model.route_logits(ids, mask), router((ids[:, :2] - mean) / deviation))


class Word(nn.Module):
    """An expert that gives one value for every example."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, ids: Tensor, mask: Tensor | None, kinds: Tensor | None) -> Tensor:
        return torch.full((len(ids), 1), self.value)


def test_a_regression_mixes_values() -> None:
    model = GatedBertPool.from_parts(
        Plain(),
        MLPRouter(2, 2, hidden_size=4),
        ExpertPool([Word(1.0), Word(5.0)]),
        regression=True,
        mixing="probabilities",
    ).eval()
    predictions, gates = model(*some_tokens())
    assert torch.allclose(predictions[:, 0], gates[:, 0] + 5 * gates[:, 1])


def test_the_seed_decides_the_router(models: Path) -> None:
    def made(seed: int) -> str:
        torch.manual_seed(seed + 9)
        pool = GatedBertPool("prajjwal1/bert-tiny", NAMES, 2, models=models, seed=seed)
        return weights_hash(pool.router)

    assert made(0) == made(0)
    assert made(0) != made(1)


def test_experts_and_stem_can_be_cut(models: Path) -> None:
    model = GatedBertPool(
        "prajjwal1/bert-tiny",
        ["org/large", "org/large"],
        2,
        router_stem_layers=1,
        expert_layers=[1, 3],
        expert_pooling="mean",
        models=models,
    )
    assert isinstance(model.stem, RouterStem)
    assert len(model.stem.encoder.encoder.layer) == 1  # type: ignore[union-attr,arg-type]
    depths = [len(expert.body.encoder.encoder.layer) for expert in model.experts.experts]
    assert depths == [1, 3]


def test_wrong_settings_are_named(models: Path) -> None:
    with pytest.raises(ModelError, match="expert_layers has 1 values for 3 experts"):
        GatedBertPool("prajjwal1/bert-tiny", NAMES, expert_layers=[1], models=models)
    for setting, words in (({"gate": "hard"}, "gate is 'hard'"), ({"temperature": 0}, "above 0")):
        with pytest.raises(ValueError, match=words):
            GatedBertPool("prajjwal1/bert-tiny", NAMES, models=models, **setting)


def test_experts_of_another_vocabulary_need_to_say_which_tokenizer_they_have(
    models: Path, tmp_path: Path
) -> None:
    save_encoder(tmp_path / "org/stem", hidden=8)
    save_classifier(tmp_path / "org/bert", hidden=8)
    save_classifier(tmp_path / "org/roberta", hidden=8, words=4000)
    names = ["org/bert", "org/roberta"]
    words = r"org/roberta knows 4000 tokens and the stem org/stem \d+, .* encodings=\[0, 1\]"
    with pytest.raises(ModelError, match=words):
        GatedBertPool("org/stem", names, models=tmp_path)
    with pytest.raises(ModelError, match="leave encodings out"):
        GatedBertPool("org/stem", names, models=tmp_path, encodings=[0, 1], shared_stem=True)
    pool = GatedBertPool("org/stem", names, models=tmp_path, encodings=[0, 1]).eval()
    ids, mask = some_tokens(6)
    other_ids = ids + 3000
    predictions, gates = pool((ids, other_ids), (mask, mask))
    alone = pool.experts.ask(1, (ids, other_ids), (mask, mask))
    assert predictions.shape == (6, 2)
    assert gates.shape == (6, 2)
    assert torch.equal(alone, pool.experts.experts[1](other_ids, mask))


def test_the_published_names_load_torch_only_when_asked_for() -> None:
    code = "import sys, mpc_router; print('torch' in sys.modules, len(mpc_router.__all__))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split()[0] == "False"


def test_an_exported_folder_is_loaded_under_the_published_habit(
    model: GatedBertPool, tmp_path: Path
) -> None:
    write_pool(tmp_path, model, {})
    found = GatedBertPool.from_pretrained(tmp_path)
    ids, mask = some_tokens()
    model.eval()
    assert not found.training
    for mine, theirs in zip(
        found.forward_inference(ids, mask), model.forward_inference(ids, mask), strict=True
    ):
        assert torch.allclose(mine, theirs)


def of_pairs(model: GatedBertPool) -> GatedBertPool:
    """The pool after a step of training on pairs."""
    ids, mask = some_tokens()
    model.train()(ids, mask, (ids > 20).long())
    return model.eval()


def test_a_pool_that_was_trained_on_pairs_warns_once_where_segments_are_missing(
    model: GatedBertPool,
) -> None:
    ids, mask = some_tokens()
    trained = of_pairs(model)
    with pytest.warns(UserWarning, match="trained on pairs"):
        trained.forward_inference(ids, mask)
    with warnings.catch_warnings(action="error"):
        trained(ids, mask)
        trained.route_logits(ids, mask)


@pytest.mark.filterwarnings("error::UserWarning")
def test_a_pool_of_single_sentences_does_not_miss_segments(model: GatedBertPool) -> None:
    ids, mask = some_tokens()
    model.train()(ids, mask, torch.zeros_like(ids))
    model.eval()(ids, mask, (ids > 20).long())  # asked about a pair: not trained on one
    model.forward_inference(ids, mask)


@pytest.mark.filterwarnings("error::UserWarning")
def test_encoders_without_segments_do_not_miss_them() -> None:
    from transformers import DistilBertConfig, DistilBertModel

    shape = DistilBertConfig(vocab_size=99, dim=8, n_layers=1, n_heads=2, hidden_dim=8)
    experts = [BertExpert(DistilBertModel(shape)) for _ in range(2)]
    router = MLPRouter(8, 2, 4)
    pool = of_pairs(
        GatedBertPool.from_parts(RouterStem(DistilBertModel(shape)), router, ExpertPool(experts))
    )
    assert pool.pairs
    pool.forward_inference(*some_tokens())
