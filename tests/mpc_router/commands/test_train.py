"""`mpc-router-train` run as a user runs it, on the embedded sample."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import (
    EventAccumulator,
)

from mpc_router.commands import train
from mpc_router.frozen import train as frozen_training
from mpc_router.joint import train as joint
from mpc_router.results import checkpoint
from mpc_router.results.summary import read_summary
from mpc_router.tasks import TASKS
from tests.mpc_router.commands.conftest import CONFIGS, QUICK, Answer, Command
from tests.mpc_router.commands.test_configs import PUBLISHED

MRPC = ("--config", str(CONFIGS / "task_mrpc.yaml"), "--sample", *QUICK)
FROZEN = (*MRPC, "experts=frozen")
JOINT = (*MRPC, "train_rows=64", "validation_rows=40", "expert_start=checkpoint")
FEW = ("--sample", *QUICK, "train_rows=64", "validation_rows=40", "epochs=1")


def summary(folder: Path) -> dict[str, Any]:
    found = read_summary(folder)
    assert found is not None
    return found


def logged(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    return events


def scalars(folder: Path, tag: str) -> tuple[list[int], list[float]]:
    found = logged(folder).Scalars(tag)
    return [each.step for each in found], [each.value for each in found]


def refused(answer: Answer, *words: str) -> None:
    """One line on stderr, exit code 2, and nothing told as a result."""
    assert answer.code == 2
    assert answer.out == ""
    (line,) = [each for each in answer.err.splitlines() if each.startswith("error:")]
    assert answer.err.splitlines()[-1] == line
    assert "Traceback" not in answer.err
    for word in words:
        assert word in line


def test_a_training_leaves_its_best_and_its_last_epoch(command: Command, tmp_path: Path) -> None:
    answer = command(*FROZEN, "epochs=4", "learning_rate=0.01", "--seed", "3")
    assert answer.code == 0
    best, last = (tmp_path / f"outputs/mrpc_{kind}_model" for kind in ("best", "last"))
    for folder in (best, last):
        loaded, said = checkpoint.load(folder), summary(folder)
        assert (loaded.epoch, loaded.seed) == (said["epoch"], said["seed"])
        assert said["seed"] == 3
        assert said["config"]["data"]["task"] == "mrpc"
    history = summary(best)["history"]
    scores = [each["score"] for each in history]
    assert summary(best)["epoch"] == 1 + int(np.argmax(scores))
    assert summary(last)["epoch"] == len(scores) == 4
    assert set(summary(best)["splits"]) == {"selection", "validation"}
    assert not (tmp_path / "outputs/mrpc_epochs").exists()


def test_what_is_told_is_what_is_kept(command: Command, tmp_path: Path) -> None:
    answer = command(*FROZEN)
    found = summary(tmp_path / "outputs/mrpc_best_model")["splits"]
    lines = {line[:30].strip(): line.split() for line in answer.out.splitlines()}
    for place, split in ((-2, "selection"), (-1, "validation")):
        assert lines["score"][place] == f"{found[split]['score']:.4f}"
        assert lines["f1"][place] == f"{found[split]['metrics']['f1']:.4f}"
        cost = found[split]["cost"]["constants"]
        assert float(lines["cost, constants (units)"][place]) == pytest.approx(cost, rel=1e-3)
        assert sum(found[split]["share"]) == pytest.approx(1)
    assert sum("/2" in line for line in answer.err.splitlines()) == 2


def test_a_summary_says_where_its_numbers_come_from(command: Command, tmp_path: Path) -> None:
    command(*FROZEN)
    said = summary(tmp_path / "outputs/mrpc_best_model")
    assert said["synthetic"] is True
    assert [expert["name"] for expert in said["experts"]] == [
        "sample/tiny",
        "sample/base",
        "sample/large",
    ]
    assert set(said["fingerprints"]) == {"data", "experts", "stem"}
    assert said["places"]["sample"] is True
    assert "torch" in said["versions"]
    assert said["splits"]["validation"]["rows"] == 100
    vector, costs = said["cost_vectors"]["constants"], said["splits"]["validation"]
    projected = vector["router"] + np.dot(costs["share"], vector["experts"])
    assert costs["cost"]["constants"] == pytest.approx(projected)


def test_tensorboard_has_the_published_tags_and_ours(command: Command, tmp_path: Path) -> None:
    command(*FROZEN)
    logs = tmp_path / "outputs/logs/mrpc"
    tags = set(logged(logs).Tags()["scalars"])
    gates = {f"eval_avg_gate_prob_expert_{expert}" for expert in range(3)}
    assert {"loss/task", "loss/balance", "loss/cost", *gates} <= tags
    assert {"selection/score", "selection/cost_constants", "selection/share_expert_0"} <= tags
    assert {"validation/score", "validation/cost_constants"} <= tags
    history = summary(tmp_path / "outputs/mrpc_best_model")["history"]
    for expert in range(3):
        steps, values = scalars(logs, f"eval_avg_gate_prob_expert_{expert}")
        assert steps == [1, 2]
        assert values == pytest.approx([each["gate"][expert] for each in history])
    assert scalars(logs, "selection/score")[1] == pytest.approx([e["score"] for e in history])
    assert len(scalars(logs, "validation/score")[0]) == 1


def test_the_published_losses_are_logged_at_every_step(command: Command, tmp_path: Path) -> None:
    command(*FROZEN, "batch_size=50")
    for name in ("task", "balance", "cost"):
        steps, values = scalars(tmp_path / "outputs/logs/mrpc", f"loss/{name}")
        assert steps == list(range(1, 9))
        assert np.isfinite(values).all()


def test_a_second_training_does_not_draw_into_the_first_ones_curves(
    command: Command, tmp_path: Path
) -> None:
    for _ in range(2):
        command(*FROZEN)
    assert scalars(tmp_path / "outputs/logs/mrpc", "selection/score")[0] == [1, 2]


def test_flags_and_settings_reach_the_trial(command: Command, tmp_path: Path) -> None:
    assert command(*FROZEN, "--alpha", "0.5", "loss_weights.beta=0.25", "gate=softmax").code == 0
    config = summary(tmp_path / "outputs/mrpc_best_model")["config"]
    assert config["loss_weights"]["alpha"] == 0.5
    assert config["loss_weights"]["beta"] == 0.25
    assert config["model"]["gate"] == "softmax"


def test_the_same_call_gives_the_same_numbers(command: Command, tmp_path: Path) -> None:
    found = []
    for _ in range(2):
        assert command(*FROZEN).code == 0
        found.append(summary(tmp_path / "outputs/mrpc_best_model"))
    assert found[0]["splits"] == found[1]["splits"]
    assert found[0]["history"] == found[1]["history"]


def test_another_configuration_overwrites_nothing_unless_told(
    command: Command, tmp_path: Path
) -> None:
    command(*FROZEN)
    before = (tmp_path / "outputs/mrpc_best_model/summary.json").read_bytes()
    refused(command(*FROZEN, "--alpha", "0.5"), "mrpc_best_model", "alpha 0.01, now 0.5")
    refused(command(*FROZEN, "--seed", "1"), "seed 0, now 1", "--overwrite")
    assert (tmp_path / "outputs/mrpc_best_model/summary.json").read_bytes() == before
    assert command(*FROZEN, "--alpha", "0.5", "--name", "mine").code == 0
    assert (tmp_path / "outputs/mrpc_best_model/summary.json").read_bytes() == before
    assert command(*FROZEN, "--alpha", "0.5", "--overwrite").code == 0
    config = summary(tmp_path / "outputs/mrpc_best_model")["config"]
    assert config["loss_weights"]["alpha"] == 0.5


def test_a_folder_that_is_not_ours_is_left_alone(command: Command, tmp_path: Path) -> None:
    folder = tmp_path / "outputs/mrpc_best_model"
    folder.mkdir(parents=True)
    (folder / "thesis.txt").write_text("mine", encoding="utf-8")
    refused(command(*FROZEN), "no training of ours left it")
    assert command(*FROZEN, "--overwrite").code == 0
    assert (folder / "thesis.txt").read_text(encoding="utf-8") == "mine"
    assert checkpoint.load(folder).config.data.task == "mrpc"


def test_quiet_is_the_result_alone(command: Command) -> None:
    answer = command(*FROZEN, "--quiet")
    assert answer.code == 0
    assert "score" in answer.out
    assert all(line.startswith(("note:", "data:")) for line in answer.err.splitlines())


def test_a_loss_that_becomes_nan_ends_the_training_with_its_reason(
    command: Command, tmp_path: Path
) -> None:
    answer = command(*FROZEN, "learning_rate=1e38")
    assert answer.code == 4
    assert "NaN or infinite at step" in answer.err.splitlines()[-1]
    assert answer.out == ""
    assert not (tmp_path / "outputs/mrpc_best_model").exists()


def test_ctrl_c_ends_with_130_and_a_line(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stops_after_an_epoch(monkeypatch, frozen_training)
    answer = command(*FROZEN)
    assert answer.code == 130
    assert "stopped after epoch 1" in answer.err.splitlines()[-1]
    assert not (tmp_path / "outputs/mrpc_best_model").exists()


def stops_after_an_epoch(monkeypatch: pytest.MonkeyPatch, trainer: Any) -> None:
    """Ctrl-C comes after the first epoch of `trainer.train`."""
    whole = trainer.train

    def interrupted(*given: Any, **named: Any) -> Iterator[Any]:
        yield next(whole(*given, **named))
        raise KeyboardInterrupt

    monkeypatch.setattr(trainer, "train", interrupted)


def test_joint_training_leaves_checkpoints_and_takes_its_epochs_away(
    command: Command, tmp_path: Path
) -> None:
    assert command(*JOINT).code == 0
    for kind in ("best", "last"):
        folder = tmp_path / f"outputs/mrpc_{kind}_model"
        assert isinstance(checkpoint.load(folder), checkpoint.JointCheckpoint)
        assert summary(folder)["config"]["training"]["experts"] == "joint"
    assert not (tmp_path / "outputs/mrpc_epochs").exists()
    tags = set(logged(tmp_path / "outputs/logs/mrpc").Tags()["scalars"])
    assert {"loss/task", "loss/balance", "loss/cost", "eval_avg_gate_prob_expert_2"} <= tags


def test_joint_training_goes_on_after_ctrl_c_as_if_it_had_not_come(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        stops_after_an_epoch(patch, joint)
        answer = command(*JOINT, "epochs=3")
    assert answer.code == 130
    assert "after epoch 1; the same command with --resume" in answer.err.splitlines()[-1]
    refused(command(*JOINT, "epochs=3", "--alpha", "9", "--resume"), "mrpc_epochs", "alpha 0.01")
    assert command(*JOINT, "epochs=3", "--resume").code == 0
    assert command(*JOINT, "epochs=3", "--name", "whole").code == 0
    for kind in ("best", "last"):
        mine, whole = (tmp_path / f"outputs/{name}_{kind}_model" for name in ("mrpc", "whole"))
        assert summary(mine)["history"] == summary(whole)["history"]
        assert summary(mine)["splits"] == summary(whole)["splits"]
        weights = [checkpoint.load(folder).weights for folder in (mine, whole)]
        assert weights[0].keys() == weights[1].keys()
        assert all(bool((weights[0][name] == weights[1][name]).all()) for name in weights[0])
    for tag in ("loss/task", "selection/score", "eval_avg_gate_prob_expert_0"):
        logs = tmp_path / "outputs/logs"
        assert scalars(logs / "mrpc", tag) == scalars(logs / "whole", tag)


def test_a_joint_training_that_was_begun_is_not_overwritten_by_another(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        stops_after_an_epoch(patch, joint)
        command(*JOINT)
    refused(command(*JOINT, "--seed", "5"), "mrpc_epochs", "seed 0, now 5")
    assert command(*JOINT, "--seed", "5", "--overwrite").code == 0


@pytest.mark.slow
@pytest.mark.parametrize("task", ["mnli", "sst2", "stsb"])
def test_files_that_ship_train_jointly_on_the_sample(
    command: Command, tmp_path: Path, task: str
) -> None:
    """One of each kind: three classes and two validation splits, single sentences, a regression."""
    config = str(CONFIGS / f"task_{task}.yaml")
    assert command("--config", config, *FEW).code == 0
    said = summary(tmp_path / f"outputs/{task}_best_model")
    assert set(said["splits"]) == {"selection", *TASKS[task].quoted}


BAD: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "no file": (("--config", "gone.yaml"), ("gone.yaml",)),
    "an unknown setting": ((*FROZEN, "alfa=1"), ("alfa", "did you mean alpha")),
    "no key=value": ((*FROZEN, "alpha"), ("'alpha' is not key=value",)),
    "given twice": ((*FROZEN, "--alpha", "1", "alpha=2"), ("alpha is given twice",)),
    "no number": ((*FROZEN, "--alpha", "much"), ("--alpha", "much")),
    "a negative weight": ((*FROZEN, "--beta", "-1"), ("beta is -1.0",)),
    "a seed": ((*FROZEN, "--seed", "-1"), ("--seed is -1",)),
    "a name": ((*FROZEN, "--name", "../mine"), ("--name is '../mine'",)),
    "an empty name": ((*FROZEN, "--name", ""), ("--name is ''",)),
    "two sources": ((*FROZEN, "--data", "."), ("--data", "--sample")),
    "a flag cut short": ((*FROZEN, "--over"), ("--over",)),
    "no data": (("--config", str(CONFIGS / "task_rte.yaml"), "--data", "gone"), ("gone",)),
    "a device": ((*FROZEN, "device=tpu"), ("device is 'tpu'",)),
    "another task": ((*FROZEN, "task=mrcp"), ("did you mean 'mrpc'",)),
    "one expert": ((*FROZEN, "expert_model_names=[sample/tiny]"), ("at least 2 experts",)),
}


@pytest.mark.parametrize("given", BAD.values(), ids=BAD.keys())
def test_bad_input_is_one_line_that_names_the_culprit(
    command: Command, tmp_path: Path, given: tuple[tuple[str, ...], tuple[str, ...]]
) -> None:
    arguments, words = given
    refused(command(*arguments), *words)
    assert not (tmp_path / "outputs").exists()


def test_an_out_that_is_a_file_is_refused(command: Command, tmp_path: Path) -> None:
    (tmp_path / "outputs").write_text("", encoding="utf-8")
    refused(command(*FROZEN), "--out", "cannot be written to")


def test_a_published_checkpoint_file_in_the_way_is_no_obstacle(
    command: Command, tmp_path: Path
) -> None:
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs/mrpc_best_model.pt").write_bytes(b"\x80\x04")
    assert command(*FROZEN).code == 0


def test_resume_without_anything_to_go_on_with_says_so(command: Command) -> None:
    answer = command(*FROZEN, "--resume")
    assert answer.code == 0
    assert "training starts anew" in answer.err


def test_the_published_configuration_trains_as_printed(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(PUBLISHED, encoding="utf-8")
    answer = command("--config", str(path), "--sample", *QUICK, "experts=frozen")
    assert answer.code == 0
    (note,) = [line for line in answer.err.splitlines() if "another place" in line]
    assert "expert_costs is model.expert_costs" in note


def published_models(folder: Path) -> Path:
    """`--models` with a small random model under every name that the published file holds."""
    from transformers import BertConfig, BertForSequenceClassification, BertModel

    from mpc_router.model.encoders import seeded
    from mpc_router.sample.encoders import tokenizer

    words = tokenizer()
    words.save_pretrained(folder / "bert-base-uncased")
    names = [line.strip('- "') for line in PUBLISHED.splitlines() if line.startswith("-")]
    for seed, name in enumerate(["prajjwal1/bert-tiny", *names]):
        shape = BertConfig(
            vocab_size=len(words),
            hidden_size=8 * (seed + 1),
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=16,
            max_position_embeddings=128,
        )
        with seeded(seed):
            (BertForSequenceClassification if seed else BertModel)(shape).save_pretrained(
                folder / name
            )
    return folder


def test_resume_of_what_is_done_trains_nothing(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command(*FROZEN).code == 0
    monkeypatch.setattr(frozen_training, "train", None)
    answer = command(*FROZEN, "--resume")
    assert answer.code == 0
    assert "is done; leave out --resume" in answer.err


@pytest.mark.parametrize("experts", ["joint", "frozen"])
def test_the_published_file_trains_the_models_it_names(
    command: Command, tmp_path: Path, experts: str
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(PUBLISHED, encoding="utf-8")
    models = ("--models", str(published_models(tmp_path / "models")))
    given = ("--sample", "pool=bert", *QUICK, *FEW[-3:], f"experts={experts}")
    assert command("--config", str(path), *given, *models).code == 0
    said = summary(tmp_path / "outputs/mrpc_best_model")
    assert [each["name"] for each in said["experts"]] == [
        "M-FAC/bert-tiny-finetuned-mrpc",
        "howey/bert-base-uncased-mrpc",
        "yoshitomo-matsubara/bert-large-uncased-mrpc",
    ]
    assert {"constants", "mpc_seconds", "mpc_gb"} <= set(said["cost_vectors"])


@pytest.mark.parametrize("task", TASKS)
def test_every_file_that_ships_trains_on_the_sample(
    command: Command, tmp_path: Path, task: str
) -> None:
    config = str(CONFIGS / f"task_{task}.yaml")
    assert command("--config", config, *FEW, "experts=frozen").code == 0
    said = summary(tmp_path / f"outputs/{task}_best_model")
    assert set(said["splits"]) == {"selection", *TASKS[task].quoted}
    assert set(said["splits"]["validation"]["metrics"]) == set(TASKS[task].metrics)


def test_help_is_quick_because_it_loads_little() -> None:
    code = (
        "import sys, contextlib, io\n"
        "from mpc_router.commands import train\n"
        "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):\n"
        "    train.main(['--help'])\n"
        "print(*{name.partition('.')[0] for name in sys.modules})\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"torch", "transformers", "numpy", "pyarrow", "yaml", "rich", "tensorboard"}
    assert not heavy & set(done.stdout.split())


def test_the_command_line_is_frozen() -> None:
    flags = {flag for action in train.parser()._actions for flag in action.option_strings}
    assert flags == {
        *("-h", "--help", "--config", "--alpha", "--beta", "--seed", "--out", "--name"),
        *("--resume", "--overwrite", "--sample", "--data", "--models", "--cache", "--quiet"),
    }


def test_a_best_epoch_of_equal_scores_is_the_first(command: Command, tmp_path: Path) -> None:
    command(*FROZEN, "learning_rate=1e-12", "epochs=3")
    said = summary(tmp_path / "outputs/mrpc_best_model")
    scores = [each["score"] for each in said["history"]]
    assert said["epoch"] == scores.index(max(scores)) + 1


def test_results_of_the_last_epoch_are_quoted_where_they_are_asked_for(
    command: Command, tmp_path: Path
) -> None:
    answer = command(*FROZEN, "epoch=last", "epochs=3", "learning_rate=0.03")
    assert "epoch 3 of 3, the last" in answer.out
    assert "validation" in summary(tmp_path / "outputs/mrpc_last_model")["splits"]
    best = summary(tmp_path / "outputs/mrpc_best_model")
    assert ("validation" in best["splits"]) == (best["epoch"] == 3)


def test_a_summary_that_is_damaged_is_named(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text("{", encoding="utf-8")
    with pytest.raises(checkpoint.CheckpointError, match=r"summary\.json is not JSON"):
        read_summary(tmp_path)
    (tmp_path / "summary.json").write_text(json.dumps({"format": "1"}), encoding="utf-8")
    with pytest.raises(checkpoint.CheckpointError, match="no summary of ours"):
        read_summary(tmp_path)
    assert read_summary(tmp_path / "elsewhere") is None


def test_names_of_experts_are_shortened_together() -> None:
    from mpc_router.commands._training_log import expert_words

    short, long = ("org/a", 0), ("/some/folder/of/models/org/b", 2)
    assert expert_words([short, short]) == ["org/a", "org/a"]
    assert expert_words([short, long]) == ["a", "b [2 layers]"]


@pytest.mark.parametrize("splits", [1, 3])
def test_a_table_of_long_names_fits_a_narrow_terminal(splits: int) -> None:
    from mpc_router.commands._training_log import HEADER, epoch_line, table
    from mpc_router.costs import CostVector

    names = ("selection", "validation", "validation_mismatched")[:splits]
    found = {
        "score": 0.5,
        "metrics": {"accuracy": 0.5},
        "cost": {"constants": 123.456789, "parameters": 1e-6},
        "share": [0.2] * 5,
        "losses": {"total": 1e-9, "task": 1.0, "balance": 12345.6789, "cost": 199.78},
        "epoch": 100,
    }
    units = {"constants": "units", "parameters": "million parameters"}
    vectors = {
        name: CostVector(name=name, unit=unit, router=0, experts=(1.0,) * 5)
        for name, unit in units.items()
    }
    experts = [("yoshitomo-matsubara/bert-large-uncased-mrpc", 12)] * 5
    lines = table(dict.fromkeys(names, found), vectors=vectors, experts=experts)
    assert max(map(len, lines)) <= 80
    assert sum("20.0 %" in line for line in lines) == 5
    assert len(HEADER) <= 80
    assert len(epoch_line(found, epochs=100, best=True)) <= 80
