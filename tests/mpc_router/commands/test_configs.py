"""Configuration files: those that ship, those written as published, and those that are wrong."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from mpc_router.config.trial import ConfigError, read_yaml
from mpc_router.config.yaml_files import files, settle
from mpc_router.tasks import TASKS
from tests.mpc_router.commands.conftest import CONFIGS

PUBLISHED = """\
model:
router_model_name: "prajjwal1/bert-tiny"
router_stem_layers: 2
expert_model_names:
- "M-FAC/bert-tiny-finetuned-mrpc"
- "howey/bert-base-uncased-mrpc"
- "yoshitomo-matsubara/bert-large-uncased-mrpc"
router_hidden_size: 256
router_dropout: 0.1
tokenizer_model_name: "bert-base-uncased"
expert_costs: [2, 7, 13]
loss_weights:
alpha: 0.01
beta: 0.03
"""
"""As the published README prints it, its indentation lost."""


def written(folder: Path, **texts: str) -> Path:
    """Files of these names (`.yaml`) and texts; the last one's path."""
    for name, text in texts.items():
        path = folder / f"{name}.yaml"
        path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("task", TASKS)
def test_a_task_file_ships_for_every_task_with_the_published_experts(task: str) -> None:
    settled = settle(CONFIGS / f"task_{task}.yaml", {})
    config = settled.config
    assert config.data.task == task
    assert config.training.experts == "joint"
    assert config.model.expert_model_names == (
        f"M-FAC/bert-tiny-finetuned-{task}",
        f"howey/bert-base-uncased-{task}",
        f"yoshitomo-matsubara/bert-large-uncased-{task}",
    )
    assert config.model.expert_costs == (2, 7, 13)
    assert "mpc_seconds" in config.vectors()
    assert settled.notes == ()


def test_the_base_that_ships_holds_the_published_values() -> None:
    config = settle(CONFIGS / "base_config.yaml", {}).config
    model = config.model
    assert (model.router_model_name, model.router_stem_layers) == ("prajjwal1/bert-tiny", 2)
    assert (model.router_hidden_size, model.router_dropout) == (256, 0.1)
    assert model.tokenizer_model_name == "bert-base-uncased"
    assert (config.loss_weights.alpha, config.loss_weights.beta) == (0.01, 0.03)


@pytest.mark.parametrize(
    "text",
    [
        PUBLISHED,
        PUBLISHED.replace("model:\n", "").replace("loss_weights:\n", ""),
        "model:\n  router_hidden_size: 256\nexpert_costs: [2, 7, 13]\nloss_weights:\n  beta: 0.03",
        "model.expert_costs: [2, 7, 13]\nloss_weights.alpha: 0.01",
    ],
    ids=["indentation lost", "flat", "costs at the top", "dotted"],
)
def test_the_published_keys_load_however_they_are_laid_out(tmp_path: Path, text: str) -> None:
    found = settle(written(tmp_path, mine=text), {}).config
    assert found == settle(CONFIGS / "task_mrpc.yaml", {"epochs": 5}).config


def test_one_note_names_every_key_with_another_place(tmp_path: Path) -> None:
    text = "model:\n  pool_size: 4\nepochs: 2\nexpert_costs: [1, 2, 3, 4]\n"
    settled = settle(written(tmp_path, mine=text), {})
    (note,) = settled.notes
    assert "expert_costs is model.expert_costs" in note
    assert "epochs is training.epochs" in note
    assert settled.config.training.epochs == 2
    assert settled.config.experts == 4


@pytest.mark.parametrize(
    ("spelling", "setting"),
    [
        ("num_epochs", "epochs"),
        ("num_train_epochs", "epochs"),
        ("training.max_epochs", "epochs"),
        ("per_device_train_batch_size", "batch_size"),
        ("max_seq_length", "max_length"),
        ("max_eval_rows", "validation_rows"),
        ("costs", "expert_costs"),
        ("tokenizer", "tokenizer_model_name"),
        ("warmup_ratio", "warmup"),
        ("gradient_accumulation_steps", "accumulation"),
        ("lr", "learning_rate"),
    ],
)
def test_a_spelling_of_other_programs_is_refused_with_the_setting_it_stands_for(
    tmp_path: Path, spelling: str, setting: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        settle(written(tmp_path, mine=f"{spelling}: 2"), {})
    assert f"unknown setting {spelling!r}" in str(refused.value)
    assert re.search(rf"\b{setting}\b", str(refused.value))


@pytest.mark.parametrize("key", ["extends", "base", "base_config", "_base_"])
def test_a_file_that_inherits_by_another_key_is_told_the_right_one(
    tmp_path: Path, key: str
) -> None:
    with pytest.raises(ConfigError, match="inherits from another by `inherits: FILE`"):
        settle(written(tmp_path, far="alpha: 0.5", mine=f"{key}: far.yaml"), {})


def test_a_file_that_does_not_say_trains_as_published(tmp_path: Path) -> None:
    path = written(tmp_path, mine="alpha: 0.5")
    training = settle(path, {}).config.training
    assert (training.experts, training.epoch) == ("joint", "best_score")
    assert settle(path, {"experts": "frozen"}).config.training.experts == "frozen"


def test_a_file_inherits_and_has_its_way(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        far="alpha: 0.5\nbeta: 0.5\nepochs: 7",
        near="inherits: far.yaml\nbeta: 0.25",
        mine="inherits: near.yaml\nepochs: 2",
    )
    config = settle(path, {"alpha": 0.125}).config
    assert (config.loss_weights.alpha, config.loss_weights.beta) == (0.125, 0.25)
    assert config.training.epochs == 2


def test_a_base_is_found_from_the_file_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    written(tmp_path, base="alpha: 0.5")
    path = written(tmp_path / "sub", mine="inherits: ../base.yaml\nbeta: 0.25")
    assert settle(path, {}).config.loss_weights.alpha == 0.5


def test_a_task_file_beside_a_base_inherits_without_saying_so(tmp_path: Path) -> None:
    path = written(tmp_path, base_config="epochs: 7", other="alpha: 0.5", task_rte="alpha: 0.5")
    assert settle(path, {}).config.training.epochs == 7
    assert settle(tmp_path / "other.yaml", {}).config.training.epochs == 5


def test_a_task_file_that_names_no_task_is_of_the_task_in_its_name(tmp_path: Path) -> None:
    settled = settle(written(tmp_path, task_rte="alpha: 0.5"), {})
    assert settled.config.data.task == "rte"
    assert "task=rte" in settled.notes[0]
    assert settle(tmp_path / "task_rte.yaml", {"task": "cola"}).config.data.task == "cola"


@pytest.mark.parametrize(
    ("texts", "culprit"),
    [
        ({"one": "inherits: one.yaml"}, "in turn"),
        ({"two": "inherits: one.yaml", "one": "inherits: two.yaml"}, "in turn"),
        ({"one": "inherits: gone.yaml"}, "gone.yaml, which is no file"),
        ({"one": "inherits: [a.yaml]"}, "names one file"),
        ({"one": "model:\n  exprt_costs: [1]"}, "did you mean expert_costs"),
        ({"one": "alpa: 1"}, "did you mean alpha"),
        ({"one": "epochs: 1\ntraining.epochs: 2"}, "'epochs' is given twice"),
        ({"one": "expert_costs: [1, 2]\nmodel:\n  expert_costs: [1, 2]"}, "given twice"),
        ({"one": "num_labels: 3"}, "mrpc has 2"),
        ({"one": "seed: yes"}, "seed is True"),
        ({"one": "- a\n- b"}, "no mapping"),
        ({"one": "alpha: [1"}, "cannot be read as YAML"),
        ({"one": "alpha: much"}, "alpha"),
    ],
)
def test_a_wrong_file_is_one_sentence_that_names_the_culprit(
    tmp_path: Path, texts: dict[str, str], culprit: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        settle(written(tmp_path, **texts), {})
    assert culprit in str(refused.value)
    assert "\n" not in str(refused.value)


def test_num_labels_and_seed_may_be_said(tmp_path: Path) -> None:
    settled = settle(written(tmp_path, mine="task: mnli\nnum_labels: 3\ntraining:\n  seed: 7"), {})
    assert settled.seed == 7
    assert settled.config.data.task == "mnli"


def test_another_pool_replaces_what_the_file_says_of_experts_and_says_so() -> None:
    path = CONFIGS / "task_sst2.yaml"
    settled = settle(path, {}, sample=True)
    assert settled.config.model.expert_model_names == ("sample/tiny", "sample/base", "sample/large")
    assert settled.config.model.router_model_name == "sample/stem"
    replaced, tuned = settled.notes
    assert "expert_model_names" in replaced
    assert "--sample" in replaced
    assert "fine-tuned alone" in tuned
    minilm = settle(path, {"pool": "minilm", "expert_costs": [1, 2, 3]}, sample=True).config.model
    assert minilm.pool == "minilm"
    assert minilm.expert_costs == (1, 2, 3)


def test_experts_that_do_not_come_tuned_are_tuned_before_all_trains_unless_told() -> None:
    path = CONFIGS / "task_sst2.yaml"

    def start(**given: str) -> str:
        return settle(path, given).config.training.expert_start

    assert start(pool="minilm") == "fine_tuned"
    assert start(pool="minilm", expert_start="checkpoint") == "checkpoint"
    assert start(pool="minilm", experts="frozen") == "checkpoint"
    assert start(pool="minilm", router="supervised") == "fine_tuned"
    assert start() == "checkpoint"


def test_a_pool_that_is_named_anyway_keeps_the_files_experts() -> None:
    settled = settle(CONFIGS / "task_sst2.yaml", {"pool": "bert"}, sample=True)
    assert settled.config.model.expert_model_names[0] == "M-FAC/bert-tiny-finetuned-sst2"
    assert settled.notes == ()


def test_another_size_takes_the_pools_experts_of_that_size() -> None:
    settled = settle(CONFIGS / "task_rte.yaml", {"pool_size": 5})
    assert settled.config.model.expert_costs == (2, 3, 4, 7, 13)
    assert "pool_size=5" in settled.notes[0]


def test_another_task_takes_the_pools_experts_for_it() -> None:
    settled = settle(CONFIGS / "task_rte.yaml", {"task": "cola"})
    assert settled.config == settle(CONFIGS / "task_cola.yaml", {}).config
    assert "cola" in settled.notes[0]


def test_every_key_of_the_files_that_ship_is_there_once() -> None:
    for path in CONFIGS.glob("*.yaml"):
        seen: set[str] = set()
        for found in files(path)[-1:]:
            assert not seen & found.settings.keys()
            assert not found.moved
        tree: dict[str, Any] = read_yaml(path)
        assert (tree.get("inherits") == "base_config.yaml") == path.name.startswith("task_")


def test_a_count_in_a_base_gives_way_to_the_experts_that_a_child_names(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(
        "model: {pool: custom, router_model_name: a/s, router_cost: 1,"
        " expert_model_names: [a/x, a/y, a/z], pool_size: 3, expert_costs: [2, 7, 13]}\n"
    )
    (tmp_path / "child.yaml").write_text(
        "inherits: base.yaml\nmodel: {expert_model_names: [a/x, a/z], expert_costs: [2, 7]}\n"
    )
    found = settle(tmp_path / "child.yaml", {"task": "mrpc"})
    assert found.config.model.expert_costs == (2.0, 7.0)
    assert found.config.model.pool_size == 2
    assert any("expert_model_names" in note and "pool_size" in note for note in found.notes)


def test_one_small_learning_rate_is_said_to_be_the_routers_alone(tmp_path: Path) -> None:
    (tmp_path / "task_mrpc.yaml").write_text("training: {learning_rate: 2e-5, experts: joint}\n")
    notes = settle(tmp_path / "task_mrpc.yaml", {}).notes
    assert any("learning_rate is the router's alone" in note for note in notes)
