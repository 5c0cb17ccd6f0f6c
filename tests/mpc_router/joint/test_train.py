from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mpc_router.config.trial import TrialConfig, trial_config
from mpc_router.data.sources import Source
from mpc_router.data.tokens import batches
from mpc_router.frozen.lanes import Lane
from mpc_router.joint import train as joint
from mpc_router.joint._history import History
from mpc_router.joint._loop import JointTraining
from mpc_router.joint.start import Beginning, empty_pool, examine
from mpc_router.model.description import rebuild
from mpc_router.model.encoders import seeded
from mpc_router.model.gated_pool import GatedBertPool
from mpc_router.model.sources import Models
from mpc_router.prepare.inputs import Places
from mpc_router.prepare.joint import JointInputs, prepare_joint
from mpc_router.results.checkpoint import CheckpointError, JointCheckpoint, load, save
from mpc_router.results.evaluate import routed_predictions, split_report
from mpc_router.results.records import EpochResult, LanesEnded
from mpc_router.sample import encoders
from mpc_router.tasks import evaluate
from tests.mpc_router.joint_pools import same_ended, same_results

SHORT = {
    "pool": "sample",
    "experts": "joint",
    "train_rows": 96,
    "validation_rows": 40,
    "epochs": 3,
    "router_hidden_size": 16,
    "expert_model_names": ["sample/tiny", "sample/base"],
}


def config(**settings: Any) -> TrialConfig:
    return trial_config(SHORT | settings)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Places:
    return Places(
        source=Source(kind="sample"), models=Models(), cache=tmp_path_factory.mktemp("cache")
    )


@pytest.fixture(scope="module")
def inputs(places: Places) -> JointInputs:
    """Two experts on mrpc; selection cut down to 60 rows, which is all that tests need."""
    return small(prepare_joint(config(), places))


def small(inputs: JointInputs, rows: int = 60) -> JointInputs:
    split = inputs.splits["selection"]
    fewer = dataclasses.replace(split, content=split.content.part(0, rows))
    return dataclasses.replace(inputs, splits=inputs.splits | {"selection": fewer})


def run(
    inputs: JointInputs, chosen: TrialConfig | None = None, *, seed: int = 0, **more: Any
) -> tuple[list[EpochResult], LanesEnded]:
    lane = Lane(config=chosen or config(), seed=seed)
    results = list(joint.train([lane], inputs, **more))
    ended = results.pop()
    assert isinstance(ended, LanesEnded)
    epochs = [result for result in results if isinstance(result, EpochResult)]
    assert len(epochs) == len(results)
    return epochs, ended


@pytest.fixture(scope="module")
def whole(inputs: JointInputs) -> tuple[list[EpochResult], LanesEnded]:
    """A training without interruption."""
    return run(inputs, keep_best=True)


def test_every_epoch_is_reported_on_selection_and_the_end_on_what_is_quoted(
    whole: tuple[list[EpochResult], LanesEnded], inputs: JointInputs
) -> None:
    epochs, ended = whole
    assert [each.epoch for each in epochs] == [1, 2, 3]
    for each in epochs:
        assert each.report.split == "selection"
        assert each.report.share.sum() == pytest.approx(1)
        assert each.report.cost.keys() == inputs.vectors.keys()
        assert each.steps is not None
        assert each.steps.shape == (3, 4, 1)
    assert ended.reason == "completed"
    assert [report.split for report in ended.reports] == ["validation"]
    assert [each.split for each in ended.routing] == ["selection", "validation"]
    assert [each.split for each in ended.experts] == ["selection", "validation"]
    assert ended.routing[1].routes.shape == (1, 40)
    assert ended.experts[1].outputs.shape == (40, 2, 2)
    assert ended.experts[1].features.shape == (40, 0)


def test_routing_and_the_experts_outputs_reproduce_score_and_cost(
    whole: tuple[list[EpochResult], LanesEnded], inputs: JointInputs
) -> None:
    _, ended = whole
    routing, experts = ended.routing[1], ended.experts[1]
    said = routed_predictions(routing.routes, experts.outputs, regression=False)
    metrics = evaluate(inputs.task, said, experts.labels)
    assert {name: value.tolist() for name, value in metrics.items()} == {
        name: value.tolist() for name, value in ended.reports[0].metrics.items()
    }
    for name, vector in inputs.vectors.items():
        assert ended.reports[0].cost[name][0] == pytest.approx(
            vector.of_routes(routing.routes).mean()
        )


def test_the_checkpoint_says_what_was_reported(
    whole: tuple[list[EpochResult], LanesEnded], inputs: JointInputs, tmp_path: Path
) -> None:
    _, ended = whole
    checkpoint = ended.checkpoints[0]
    assert isinstance(checkpoint, JointCheckpoint)
    save(checkpoint, tmp_path)
    found = load(tmp_path)
    assert isinstance(found, JointCheckpoint)
    assert (found.epoch, found.step, found.optimizer) == (3, 9, None)
    assert found.score == checkpoint.score
    assert list(found.history) == json.loads(json.dumps(checkpoint.history))
    pool = rebuild(found.description, GatedBertPool.from_parts)
    pool.load_state_dict(found.weights)
    again = examine(pool, inputs.splits["validation"].content, 2)
    assert np.allclose(again.logits, ended.routing[1].logits[0], atol=1e-6)
    assert np.allclose(again.outputs, ended.experts[1].outputs, atol=1e-6)


def test_stem_router_and_experts_have_all_moved(
    whole: tuple[list[EpochResult], LanesEnded], inputs: JointInputs
) -> None:
    before = empty_pool(config(), inputs, seed=0).state_dict()
    after = whole[1].checkpoints[0].weights
    still = {name for name, value in after.items() if torch.equal(value, before[name])}
    assert not {name for name in still if "token_type" not in name and "position" not in name}


def test_the_same_trial_gives_the_same_numbers_whatever_the_global_state(
    whole: tuple[list[EpochResult], LanesEnded], inputs: JointInputs
) -> None:
    torch.manual_seed(99)
    state = torch.get_rng_state()
    again = run(inputs, keep_best=True)
    assert torch.equal(torch.get_rng_state(), state)
    same_results(again[0], whole[0])
    same_ended(again[1], whole[1])
    other = run(inputs, seed=1)
    assert not np.array_equal(other[1].routing[0].logits, whole[1].routing[0].logits)


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_a_training_that_goes_on_gives_the_numbers_of_no_interruption(
    whole: tuple[list[EpochResult], LanesEnded], inputs: JointInputs, tmp_path: Path, stop: int
) -> None:
    interrupted = joint.train([Lane(config=config(), seed=0)], inputs, checkpoints=tmp_path)
    for _ in range(stop):
        next(interrupted)
    interrupted.close()
    again = run(inputs, checkpoints=tmp_path, resume=True, keep_best=True)
    same_results(again[0], whole[0])
    same_ended(again[1], whole[1])


def test_dropout_inside_encoders_is_drawn_again_as_it_was(places: Places, tmp_path: Path) -> None:
    from transformers import BertModel

    shape = encoders.encoder_config("sample/base")
    shape.hidden_dropout_prob = shape.attention_probs_dropout_prob = 0.3
    with seeded(0):
        BertModel(shape).save_pretrained(tmp_path / "models" / "org" / "drops")
    chosen = config(
        pool="custom",
        expert_model_names=["org/drops", "org/drops"],
        expert_layers=[0, 1],
        expert_costs=[1.0, 2.0],
        router_model_name="org/drops",
        router_cost=0.1,
        tokenizer_model_name="sample/tokenizer",
        accumulation=2,
        epochs=2,
    )
    own = dataclasses.replace(places, models=Models(tmp_path / "models"))
    inputs = small(prepare_joint(chosen, own))
    whole = run(inputs, chosen)
    interrupted = joint.train([Lane(config=chosen, seed=0)], inputs, checkpoints=tmp_path / "kept")
    next(interrupted)
    interrupted.close()
    torch.manual_seed(7)
    again = run(inputs, chosen, checkpoints=tmp_path / "kept", resume=True)
    same_results(again[0], whole[0])
    same_ended(again[1], whole[1])
    other = run(inputs, chosen, seed=1)
    assert not np.array_equal(other[0][0].steps, whole[0][0].steps)  # type: ignore[arg-type]


@pytest.mark.parametrize("damage", ["cut", "missing", "optimizer", "all"])
def test_a_damaged_epoch_gives_way_to_the_one_before(
    whole: tuple[list[EpochResult], LanesEnded], inputs: JointInputs, tmp_path: Path, damage: str
) -> None:
    interrupted = joint.train([Lane(config=config(), seed=0)], inputs, checkpoints=tmp_path)
    next(interrupted), next(interrupted)
    interrupted.close()
    history = History(tmp_path)
    assert history.epochs() == [2, 1]
    newest = history.place(2)
    if damage == "cut":
        bytes_ = (newest / "pool.safetensors").read_bytes()
        (newest / "pool.safetensors").write_bytes(bytes_[:-7])
    elif damage == "optimizer":
        (newest / "optimizer.safetensors").unlink()
    else:
        (newest / "trial.json").unlink()
    if damage == "all":
        (history.place(1) / "trial.json").write_text("{}")
    again = run(inputs, checkpoints=tmp_path, resume=True, keep_best=True)
    same_results(again[0], whole[0])
    same_ended(again[1], whole[1])


def _has_optimizer(place: Path) -> bool:
    """Tells whether a kept epoch can go on."""
    checkpoint = load(place)
    assert isinstance(checkpoint, JointCheckpoint)
    return checkpoint.optimizer is not None


def test_two_epochs_and_the_best_are_kept(
    whole: tuple[list[EpochResult], LanesEnded], tmp_path: Path
) -> None:
    moments = {"step.router.out.bias": torch.zeros(1)}
    checkpoint = whole[1].checkpoints[0]
    assert isinstance(checkpoint, JointCheckpoint)
    checkpoint = dataclasses.replace(checkpoint, optimizer=moments)
    history = History(tmp_path)
    scores = [0.9, 0.1, 0.2, 0.3, 0.95, 0.9]
    kept = []
    for epoch in range(1, 7):
        history.keep(dataclasses.replace(checkpoint, epoch=epoch), scores[:epoch])
        kept.append(history.epochs())
        resumable = [n for n in kept[-1] if _has_optimizer(history.place(n))]
        assert resumable == [each for each in (epoch, epoch - 1) if each]
    assert kept == [[1], [2, 1], [3, 2, 1], [4, 3, 1], [5, 4, 1], [6, 5]]
    assert not list(tmp_path.glob(".*"))


def test_epochs_of_another_trial_are_refused(inputs: JointInputs, tmp_path: Path) -> None:
    chosen = config(epochs=1)
    run(inputs, chosen, checkpoints=tmp_path)
    with pytest.raises(CheckpointError, match=r"another trial \(alpha, seed differ\)"):
        run(inputs, config(epochs=1, alpha=0.5), seed=3, checkpoints=tmp_path, resume=True)
    epochs, _ = run(inputs, config(epochs=1, alpha=0.5), checkpoints=tmp_path)
    assert epochs[0].report.loss_balance is not None


def test_the_best_epoch_s_results_are_left_on_request(
    inputs: JointInputs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    worse = iter([0.7, 0.5, 0.2] * 2)

    def declining(*given: Any, **named: Any) -> Any:
        report = split_report(*given, **named)
        if report.split == "selection":
            report.metrics["score"][:] = next(worse)
        return report

    first = run(inputs, config(epochs=1, warmup=0.0, decay="constant"))
    monkeypatch.setattr("mpc_router.joint._loop.split_report", declining)
    chosen = config(epoch="best_score", warmup=0.0, decay="constant")
    for folder in (None, tmp_path):
        _, ended = run(inputs, chosen, keep_best=True, checkpoints=folder)
        assert [ended.checkpoints[0].epoch, ended.best[0].epoch, ended.last[0].epoch] == [1, 1, 3]
        for mine, theirs in zip(ended.routing, first[1].routing, strict=True):
            assert np.array_equal(mine.logits, theirs.logits)
        best, last = ended.best[0].weights, ended.last[0].weights
        assert not torch.equal(best["router.out.weight"], last["router.out.weight"])


def test_the_last_epoch_stands_in_for_a_best_one_that_is_lost(
    inputs: JointInputs,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    worse = iter([0.7, 0.5, 0.2])

    def declining(*given: Any, **named: Any) -> Any:
        report = split_report(*given, **named)
        if report.split == "selection":
            report.metrics["score"][:] = next(worse)
        return report

    monkeypatch.setattr("mpc_router.joint._loop.split_report", declining)
    training = joint.train(
        [Lane(config=config(epoch="best_score"), seed=0)], inputs, checkpoints=tmp_path
    )
    for _ in range(3):
        next(training)
    (History(tmp_path).place(1) / "pool.safetensors").unlink()
    ended = next(training)
    assert isinstance(ended, LanesEnded)
    assert ended.checkpoints[0].epoch == 3
    assert "epoch 1 was the best and is lost; the last, 3, stands in" in caplog.text


def test_what_a_crash_left_half_written_is_removed(inputs: JointInputs, tmp_path: Path) -> None:
    run(inputs, config(epochs=1), checkpoints=tmp_path)
    (tmp_path / ".epoch-0002.77").mkdir()
    run(inputs, config(epochs=1), checkpoints=tmp_path, resume=True)
    assert [path.name for path in tmp_path.iterdir()] == ["epoch-0001"]


def test_a_supervised_router_that_fails_says_so(places: Places) -> None:
    chosen = config(
        router="supervised", expert_start="fine_tuned", expert_epochs=1, learning_rate=1e38
    )
    inputs = small(prepare_joint(chosen, places))
    epochs, ended = run(inputs, chosen, device="auto")
    assert ended.reason == "failed"
    assert epochs[0].failures[0].message.startswith("in the supervised router's own training: ")


def test_a_trial_that_is_dropped_leaves_what_it_has(inputs: JointInputs, tmp_path: Path) -> None:
    training = joint.train([Lane(config=config(), seed=0)], inputs, checkpoints=tmp_path)
    next(training)
    ended = training.send([0])
    assert isinstance(ended, LanesEnded)
    assert (ended.reason, ended.epoch, ended.checkpoints[0].epoch) == ("dropped", 1, 1)
    again = joint.train([Lane(config=config(), seed=0)], inputs, checkpoints=tmp_path, resume=True)
    next(again)
    repeated = again.send([0])
    assert isinstance(repeated, LanesEnded)
    same_ended(repeated, ended)


def test_answers_name_lane_0_alone(inputs: JointInputs) -> None:
    training = joint.train([Lane(config=config(), seed=0)], inputs)
    next(training)
    with pytest.raises(ValueError, match=r"no lane \[1\]"):
        training.send([1])


def test_a_loss_that_is_not_finite_ends_the_trial_as_failed(inputs: JointInputs) -> None:
    chosen = config(encoder_learning_rate=1e30, gradient_clip=0.0, warmup=0.0)
    epochs, ended = run(inputs, chosen)
    failure = epochs[-1].failures[0]
    assert failure.lane == 0
    assert failure.term in ("task", "logits")
    assert "lower encoder_learning_rate" in failure.message
    assert (ended.reason, ended.reports, ended.checkpoints) == ("failed", (), ())
    assert len(epochs[-1].report.lanes) == 0


class Count:
    """A progress that adds up."""

    def __init__(self) -> None:
        self.total = self.done = 0

    def start(self, label: str, total: int) -> None:
        self.total, self.done = total, 0

    def advance(self, n: int = 1) -> None:
        self.done += n

    def finish(self) -> None:
        assert self.done == self.total


def test_progress_counts_updates(inputs: JointInputs) -> None:
    count = Count()
    run(inputs, config(accumulation=2, epochs=2), progress=count)
    assert count.total == 2 * 2


@pytest.mark.parametrize(
    "settings",
    [
        {"gate": "softmax", "aux_gradient": "mlp"},
        {"straight_through": True, "auxiliary_gates": "clean", "temperature_end": 0.2},
        {"mixing": "probabilities", "trainable": "head", "router_dropout": 0.0},
        {"accumulation": 2, "trainable": "last_1", "precision": "bfloat16", "decay": "constant"},
    ],
)
def test_settings_train_and_keep_to_what_they_say(
    inputs: JointInputs, settings: dict[str, Any]
) -> None:
    chosen = config(epochs=1, **settings)
    _, ended = run(inputs, chosen)
    before = empty_pool(chosen, inputs, seed=0).state_dict()
    after = ended.checkpoints[0].weights
    moved = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert {"router.out.weight", "experts.experts.0.head.weight"} <= moved
    stem_moved = any(name.startswith("stem.") for name in moved)
    assert stem_moved == (settings.get("trainable", "all") == "all")


def test_a_regression_starts_at_the_labels_mean_and_trains(places: Places) -> None:
    chosen = config(task="stsb", epochs=1)
    inputs = small(prepare_joint(chosen, places))
    pool = empty_pool(chosen, inputs, seed=0)
    mean = float(inputs.splits["train"].labels.mean())
    assert pool.experts.experts[0].head.bias.item() == pytest.approx(mean)  # type: ignore[union-attr,operator]
    _, ended = run(inputs, chosen)
    assert np.isfinite(ended.reports[0].metrics["score"]).all()


@pytest.mark.parametrize("task", ["mnli", "cola"])
def test_other_tasks_train(places: Places, task: str) -> None:
    inputs = small(prepare_joint(config(task=task, epochs=1), places))
    _, ended = run(inputs, config(task=task, epochs=1))
    assert [report.split for report in ended.reports] == list(inputs.splits)[2:]
    assert ended.experts[0].outputs.shape[2] == inputs.task.outputs


def test_a_shared_stem_trains_and_its_experts_have_no_embeddings(places: Places) -> None:
    chosen = config(
        epochs=1,
        pool="custom",
        shared_stem=True,
        router_model_name="sample/large",
        router_stem_layers=1,
        router_cost=1.0,
        expert_model_names=["sample/large", "sample/large"],
        expert_layers=[1, 2],
        expert_costs=[1.0, 2.0],
        tokenizer_model_name="sample/tokenizer",
        expert_epochs=1,
    )
    inputs = small(prepare_joint(chosen, places))
    _, ended = run(inputs, chosen)
    checkpoint = ended.checkpoints[0]
    assert isinstance(checkpoint, JointCheckpoint)
    pool = rebuild(checkpoint.description, GatedBertPool.from_parts)
    pool.load_state_dict(checkpoint.weights)
    again = examine(pool, inputs.splits["validation"].content, 2)
    assert np.allclose(again.outputs, ended.experts[1].outputs, atol=1e-6)
    names = list(checkpoint.weights)
    assert not [name for name in names if name.startswith("experts.") and "embeddings" in name]
    assert [name for name in names if name.startswith("stem.") and "embeddings" in name]


def test_features_begin_standardised(inputs: JointInputs) -> None:
    training = JointTraining(Lane(config=config(), seed=0), inputs, torch.device("cpu"))
    train = inputs.splits["train"].content
    with torch.inference_mode():
        seen = [
            training.pool.look(b.input_ids, b.attention_mask, b.token_type_ids).features
            for b in batches(train, 32, generator=None)
        ]
        found = torch.cat([features for features in seen if features is not None])
    assert found.mean(0).abs().max() < 1e-4
    assert torch.allclose(found.std(0, correction=0), torch.ones(128), atol=1e-3)


def test_a_beginning_is_taken_over(inputs: JointInputs) -> None:
    lane = Lane(config=config(), seed=0)
    drawn = JointTraining(lane, inputs, torch.device("cpu")).pool.router.state_dict()
    beginning = Beginning(
        {name: value + 1 for name, value in drawn.items()}, torch.ones(128), torch.full((128,), 2.0)
    )
    pool = JointTraining(lane, inputs, torch.device("cpu"), beginning=beginning).pool
    assert all(torch.equal(v, drawn[n] + 1) for n, v in pool.router.state_dict().items())
    assert torch.equal(pool.feature_deviation, torch.full((128,), 2.0))


def test_a_supervised_router_comes_first(places: Places, tmp_path: Path) -> None:
    chosen = config(
        router="supervised", expert_start="fine_tuned", router_epochs=2, epochs=2, expert_epochs=1
    )
    inputs = small(prepare_joint(chosen, places))
    assert inputs.frozen is not None
    lane = Lane(config=chosen, seed=0)
    found = joint._supervised(lane, inputs, "cpu", None)
    assert isinstance(found, Beginning)
    training = JointTraining(lane, inputs, torch.device("cpu"), beginning=found)
    frozen = inputs.frozen.splits["validation"]
    at_first = examine(training.pool, inputs.splits["validation"].content, 2)
    assert np.array_equal(frozen.example, inputs.splits["validation"].example)
    assert np.allclose(at_first.outputs, frozen.outputs, atol=1e-4)
    hidden = (frozen.features - inputs.frozen.feature_mean) / inputs.frozen.feature_deviation
    with torch.inference_mode():
        expected = training.pool.router(torch.from_numpy(hidden)).numpy()
    assert np.allclose(at_first.logits, expected, atol=1e-3)

    whole = run(inputs, chosen)
    interrupted = joint.train([lane], inputs, checkpoints=tmp_path)
    next(interrupted)
    interrupted.close()
    again = run(inputs, chosen, checkpoints=tmp_path, resume=True)
    same_results(again[0], whole[0])
    same_ended(again[1], whole[1])


@pytest.mark.parametrize(
    ("lanes", "words"),
    [
        (0, "one lane, not 0"),
        (2, "one lane, not 2"),
    ],
)
def test_there_is_one_lane(inputs: JointInputs, lanes: int, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        next(joint.train([Lane(config=config(), seed=0)] * lanes, inputs))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"experts": "frozen"}, "frozen.train is for frozen"),
        ({"task": "rte"}, "prepare them with it"),
        (
            {"router": "supervised", "expert_start": "fine_tuned"},
            "needs the frozen experts' outputs",
        ),
    ],
)
def test_a_lane_that_does_not_fit_is_refused(
    inputs: JointInputs, settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        next(joint.train([Lane(config=config(**settings), seed=0)], inputs))


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_epochs_left_of_an_earlier_training_are_cleared(
    inputs: JointInputs, tmp_path: Path
) -> None:
    run(inputs, config(epochs=2), checkpoints=tmp_path)
    shutil.copytree(History(tmp_path).place(2), History(tmp_path).place(9))
    run(inputs, config(epochs=1), checkpoints=tmp_path)
    assert History(tmp_path).epochs() == [1]
