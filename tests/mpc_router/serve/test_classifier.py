"""A router in use gives what the training measured, whichever way it is asked."""

from __future__ import annotations

import itertools
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import pytest
import torch

from mpc_router import GatedBertPool, RoutedClassifier
from mpc_router.data.tokens import gather
from mpc_router.model.lazy_expert import LazyExpert
from mpc_router.serve.answers import Answer
from mpc_router.serve.texts import Text
from tests.mpc_router.serve.conftest import Export, pairs_of
from tests.trained import Train, Trained

PAIR = ("the dog sees the cat", "the cat is seen by the dog")


def close(answers: list[Answer], others: list[Answer]) -> bool:
    """Says whether answers are equal but for rounding: batches are padded to other widths."""
    return all(
        (a.label, a.expert, a.cost) == (b.label, b.expert, b.cost)
        and a.scores == pytest.approx(b.scores, abs=1e-5)
        and a.probability == pytest.approx(b.probability, abs=1e-5)
        for a, b in zip(answers, others, strict=True)
    )


def test_routes_and_costs_are_those_of_the_training_example_by_example(
    classifier: RoutedClassifier, router: Trained
) -> None:
    answers = classifier(pairs_of(router))
    routes = np.array([answer.expert for answer in answers])
    assert np.array_equal(routes, router.routes)
    assert len(set(routes.tolist())) > 1
    mean = np.mean([answer.cost for answer in answers])
    assert mean == pytest.approx(router.report.cost["constants"][0])


def test_a_router_that_looks_through_the_cheapest_expert_pays_that_once(
    trained: Train, export_of: Export
) -> None:
    lane = trained(stem="expert", router_bias=0.08)
    answers = RoutedClassifier.from_pretrained(export_of(lane))(pairs_of(lane))
    assert [answer.expert for answer in answers] == lane.routes.tolist()
    mean = np.mean([answer.cost for answer in answers])
    assert mean == pytest.approx(lane.report.cost["constants"][0])
    assert len({answer.expert for answer in answers}) > 1
    cheap = next(answer for answer in answers if answer.expert == 0)
    assert cheap.cost == lane.config.vectors()["constants"].router


@pytest.mark.parametrize(
    "kind",
    [
        {"router_kind": "sequential", "router_gain": "loss", "combine": "logistic"},
        {"router_kind": "cascade", "combine": "average"},
        {"combine": "average"},
    ],
    ids=str,
)
def test_answers_go_the_paths_of_the_run(
    kind: dict[str, str], trained: Train, export_of: Export
) -> None:
    lane = trained(stem="expert", **kind)
    answers = RoutedClassifier.from_pretrained(export_of(lane))(pairs_of(lane))
    paths = [lane.config.paths[route] for route in lane.routes]
    assert [answer.path for answer in answers] == paths
    assert [answer.expert for answer in answers] == [path[-1] for path in paths]
    best = [int(np.argmax(answer.scores)) for answer in answers]
    assert best == lane.routes.tolist()
    assert {len(answer.scores) for answer in answers} == {len(lane.config.paths)}
    mean = np.mean([answer.cost for answer in answers])
    assert mean == pytest.approx(lane.report.cost["constants"][0])
    words = lane.config.data.definition.label_names
    right = [words[int(label)] for label in lane.validation().labels]
    accuracy = np.mean([answer.label == word for answer, word in zip(answers, right, strict=True)])
    assert accuracy == pytest.approx(lane.report.metrics["accuracy"][0])


@pytest.mark.parametrize("lazy", [False, True])
def test_an_expert_whose_outputs_the_router_is_given_runs_once(
    trained: Train, export_of: Export, lazy: bool
) -> None:
    lane = trained(router_kind="predictive", stem="expert", router_gain="loss")
    pairs, folder = pairs_of(lane), export_of(lane)
    (routing,) = [one for one in lane.ended.routing if one.split == "validation"]
    slopes = (routing.logits[0, :, 1:] / lane.config.vectors()["constants"].routed[1:]).max(-1)
    bias = float(np.median(slopes))  # half of the routes are left with the cheapest expert
    classifier = RoutedClassifier.from_pretrained(folder, bias=bias, lazy=lazy, batch_size=1000)
    rows = [0, 0, 0]
    for number, expert in enumerate(classifier.assembled.model.experts.experts):

        def count(_: object, inputs: tuple[torch.Tensor], number: int = number) -> None:
            rows[number] += len(inputs[0])

        expert.register_forward_pre_hook(count)
    answers = classifier(pairs)
    routed = np.bincount([answer.expert for answer in answers], minlength=3)
    assert 0 < routed[0] < len(pairs)
    assert rows == [len(pairs), *routed[1:]]
    tokens = lane.validation()
    inputs = gather(tokens, np.arange(len(tokens))).inputs
    outputs, routes = GatedBertPool.from_pretrained(folder).forward_inference(*inputs, bias=bias)
    assert [answer.expert for answer in answers] == routes.tolist()
    words = lane.config.data.definition.label_names
    assert [answer.label for answer in answers] == [words[k] for k in outputs.argmax(-1)]


def test_answers_are_as_right_as_the_training_measured(
    classifier: RoutedClassifier, router: Trained
) -> None:
    words = router.config.data.definition.label_names
    labels = router.validation().labels.astype(int)
    answers = classifier(pairs_of(router))
    right = [answer.label == words[label] for answer, label in zip(answers, labels, strict=True)]
    assert np.mean(right) == pytest.approx(router.report.metrics["accuracy"][0])


def test_one_text_a_list_and_an_iterator_get_the_same_answers(
    classifier: RoutedClassifier, router: Trained
) -> None:
    pairs = pairs_of(router)[:20]
    listed = classifier(pairs)
    assert isinstance(listed, list)
    assert close([classifier(pair) for pair in pairs], listed)
    streamed = classifier(iter(pairs))
    assert isinstance(streamed, Iterator)
    assert close(list(streamed), listed)


def test_an_answer_says_label_probability_expert_cost_and_scores(
    classifier: RoutedClassifier,
) -> None:
    answer = classifier(PAIR)
    assert answer.label in ("not_equivalent", "equivalent")
    assert answer.probability is not None
    assert 0.5 <= answer.probability <= 1
    assert sum(answer.scores) == pytest.approx(1)
    assert answer.scores[answer.expert] == max(answer.scores)
    assert answer.cost == pytest.approx(0.3 + (2, 7, 13)[answer.expert])
    with pytest.raises(FrozenInstanceError):
        answer.expert = 1


def test_the_published_class_gives_the_same_predictions(
    classifier: RoutedClassifier, exported: Path
) -> None:
    answer = classifier(PAIR)
    predictions, chosen = GatedBertPool.from_pretrained(exported).forward_inference(
        *classifier.assembled.encode(PAIR)
    )
    assert int(chosen) == answer.expert
    assert float(predictions.softmax(-1).max()) == pytest.approx(answer.probability, abs=1e-6)


def test_an_iterator_is_read_a_batch_at_a_time(exported: Path, router: Trained) -> None:
    texts = iter(pairs_of(router))
    answers = RoutedClassifier.from_pretrained(exported, batch_size=4)(texts)
    next(answers)
    assert len(list(texts)) == len(pairs_of(router)) - 4


def test_a_list_without_texts_gets_no_answer(classifier: RoutedClassifier) -> None:
    assert classifier([]) == []
    assert list(classifier(iter(()))) == []


@pytest.mark.parametrize("batch_size", [1, 7, 1000])
def test_the_size_of_batches_changes_no_answer(
    classifier: RoutedClassifier, exported: Path, router: Trained, batch_size: int
) -> None:
    pairs = pairs_of(router)
    other = RoutedClassifier.from_pretrained(exported, batch_size=batch_size)
    assert close(other(pairs), classifier(pairs))


def test_each_expert_runs_once_over_its_group(exported: Path, router: Trained) -> None:
    classifier = RoutedClassifier.from_pretrained(exported, batch_size=1000)
    batches: list[tuple[int, int]] = []
    for number, expert in enumerate(classifier.assembled.model.experts.experts):
        expert.register_forward_pre_hook(
            lambda _, inputs, number=number: batches.append((number, len(inputs[0])))
        )
    answers = classifier(pairs_of(router))
    counts = np.bincount([answer.expert for answer in answers], minlength=3)
    assert batches == [(number, count) for number, count in enumerate(counts) if count]


def test_a_batch_holds_texts_of_like_lengths(exported: Path, router: Trained) -> None:
    classifier = RoutedClassifier.from_pretrained(exported, batch_size=8)
    widths: list[int] = []
    classifier.assembled.model.stem.register_forward_pre_hook(
        lambda _, inputs: widths.append(inputs[0].shape[1])
    )
    classifier(pairs_of(router))
    assert widths == sorted(widths, reverse=True)
    assert len(set(widths)) > 1


def test_a_price_on_cost_moves_routes_as_the_formula_says(exported: Path, router: Trained) -> None:
    pairs = pairs_of(router)
    logits = np.log([answer.scores for answer in RoutedClassifier.from_pretrained(exported)(pairs)])
    costs = np.array([2.0, 7.0, 13.0])
    for bias in (-1.0, 0.01, 0.1, 1.0):
        answers = RoutedClassifier.from_pretrained(exported, bias=bias)(pairs)
        routes = (logits - bias * costs).argmax(-1)
        assert [answer.expert for answer in answers] == routes.tolist()


def test_a_large_price_buys_the_cheapest_and_a_negative_one_the_dearest(
    exported: Path, router: Trained
) -> None:
    pairs = pairs_of(router)[:10]
    for bias, expert in ((1e3, 0), (-1e3, 2)):
        answers = RoutedClassifier.from_pretrained(exported, bias=bias)(pairs)
        assert {answer.expert for answer in answers} == {expert}


def test_costs_are_those_of_the_vector_that_is_named(exported: Path) -> None:
    answer = RoutedClassifier.from_pretrained(exported, vector="mpc_seconds_as_if")(PAIR)
    assert answer.cost == pytest.approx(4.17 + (4.11, 69.71, 199.78)[answer.expert])


def test_a_lazy_router_loads_an_expert_when_it_is_chosen(exported: Path, router: Trained) -> None:
    pairs = pairs_of(router)
    eager = RoutedClassifier.from_pretrained(exported)(pairs)
    lazy = RoutedClassifier.from_pretrained(exported, lazy=True)
    experts = list(lazy.assembled.model.experts.experts)
    assert all(isinstance(expert, LazyExpert) for expert in experts)
    cheap = next(pair for pair, answer in zip(pairs, eager, strict=True) if answer.expert == 0)
    lazy(cheap)
    assert [expert.is_loaded for expert in experts] == [True, False, False]
    assert close(lazy(pairs), eager)
    chosen = {answer.expert for answer in eager}
    assert [expert.is_loaded for expert in experts] == [number in chosen for number in range(3)]


@pytest.mark.parametrize("lazy", [False, True])
def test_several_threads_get_the_answers_that_one_gets(
    exported: Path, router: Trained, lazy: bool
) -> None:
    classifier = RoutedClassifier.from_pretrained(exported, lazy=lazy)
    pairs = pairs_of(router)
    alone = RoutedClassifier.from_pretrained(exported)(pairs)
    start = threading.Barrier(8)

    def ask(number: int) -> list[Answer]:
        start.wait()
        # lists of several lengths: a tokenizer pads and cuts as its last call asked
        return [classifier(pairs[at]) for at in range(number, len(pairs), 8)]

    with ThreadPoolExecutor(8) as threads:
        parts = list(threads.map(ask, range(8)))
    for number, part in enumerate(parts):
        assert close(part, alone[number::8])


def test_a_router_trained_with_its_experts_answers_as_it_was_measured(
    export_of: Export, joint_router: Trained
) -> None:
    answers = RoutedClassifier.from_pretrained(export_of(joint_router))(pairs_of(joint_router))
    assert [answer.expert for answer in answers] == joint_router.routes.tolist()


def test_experts_behind_a_shared_stem_answer_as_the_published_class(
    trained: Train, export_of: Export
) -> None:
    shared = trained(
        experts="joint",
        pool="custom",
        shared_stem=True,
        router_model_name="sample/large",
        router_stem_layers=1,
        router_cost=1.0,
        expert_model_names=("sample/large", "sample/large"),
        expert_layers=(1, 2),
        expert_costs=(1.0, 2.0),
        tokenizer_model_name="sample/tokenizer",
        train_rows=60,
        expert_start="checkpoint",
    )
    classifier = RoutedClassifier.from_pretrained(export_of(shared), batch_size=16)
    answers = classifier(pairs_of(shared))
    assert [answer.expert for answer in answers] == shared.routes.tolist()


def test_single_sentences_are_plain_text(single_export: Path, single: Trained) -> None:
    classifier = RoutedClassifier.from_pretrained(single_export)
    answer = classifier("the dog sees the cat")
    assert answer.label in classifier.task.label_names
    (both, _) = classifier(["the dog sees the cat", "the cat sleeps"])
    assert close([both], [answer])


def test_a_regression_is_answered_by_a_value_without_probability(
    trained: Train, export_of: Export
) -> None:
    value = trained(task="stsb", stem="model")
    answer = RoutedClassifier.from_pretrained(export_of(value))(PAIR)
    assert isinstance(answer.label, float)
    assert answer.probability is None


@pytest.mark.parametrize(
    ("texts", "reason"),
    [
        ("one text", r"the text is one text, and mrpc takes pairs \(sentence1 and sentence2\)"),
        (["a", "b"], r"example 0 is one text, and mrpc takes pairs"),
        (("a", "b", "c"), r"takes pairs"),
        (("a", " \n"), r"the text is empty"),
        ([PAIR, ("", "b")], r"example 1 is empty"),
        ([PAIR, ("a", None)], r"example 1 is None, of type NoneType"),
        ([PAIR, ["a", "b"]], r"example 1 is \['a', 'b'\]"),
        (("a", "\ud800"), r"no UTF-8"),
        (5, r"5 is no text"),
        (None, r"None is no text"),
    ],
)
def test_what_is_no_pair_of_texts_is_one_message(
    classifier: RoutedClassifier, texts: object, reason: str
) -> None:
    with pytest.raises(ValueError, match=reason) as raised:
        classifier(texts)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) <= 1000


def test_a_pair_for_a_task_of_single_sentences_is_refused(single_export: Path) -> None:
    classifier = RoutedClassifier.from_pretrained(single_export)
    for texts in (PAIR, [PAIR]):
        with pytest.raises(ValueError, match=r"sst2 takes one text an example \(sentence\)"):
            classifier(texts)


def test_an_iterator_names_the_example_that_is_wrong(exported: Path) -> None:
    classifier = RoutedClassifier.from_pretrained(exported, batch_size=2)
    texts: list[Text] = [PAIR, PAIR, PAIR, ("", "b")]
    answers = classifier(iter(texts))
    assert len(list(itertools.islice(answers, 2))) == 2
    with pytest.raises(ValueError, match="example 3 is empty"):
        list(answers)


def test_long_text_is_cut_and_said_once(classifier: RoutedClassifier, exported: Path) -> None:
    long = ("the dog sees the cat " * 200, "the cat sleeps")
    with pytest.warns(UserWarning, match=r"example 1 has \d+ tokens, the model takes \d+") as told:
        answers = classifier([PAIR, long])
    assert [warning.filename for warning in told] == [__file__]
    with warnings.catch_warnings(action="error"):
        assert close([classifier(long)], answers[1:])
    inputs = classifier.assembled.encode(long)
    predictions, _ = GatedBertPool.from_pretrained(exported).forward_inference(*inputs)
    assert float(predictions.softmax(-1).max()) == pytest.approx(answers[1].probability, abs=1e-5)


def test_a_strict_router_refuses_long_text_before_it_answers(exported: Path) -> None:
    classifier = RoutedClassifier.from_pretrained(exported, strict=True)
    long = ("the dog sees the cat " * 200, "the cat sleeps")
    for _ in range(2):
        with pytest.raises(ValueError, match=r"example 1 has \d+ tokens, the model takes \d+"):
            classifier([PAIR, long])


def test_text_of_exactly_the_limit_is_not_cut(classifier: RoutedClassifier) -> None:
    (limit,) = classifier.assembled.limits
    texts = ("dog " * (limit - 4), "cat")
    assert classifier.assembled.lengths(texts) == (limit,)
    with warnings.catch_warnings(action="error"):
        classifier(texts)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"bias": float("nan")}, "bias is nan"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"vector": "euros"}, "vector is 'euros'; this router has constants, "),
    ],
)
def test_a_setting_that_cannot_be_is_one_message(
    exported: Path, settings: dict[str, object], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        RoutedClassifier.from_pretrained(exported, **settings)


@pytest.mark.parametrize("lazy", [False, True])
def test_a_damaged_export_is_refused_on_loading(
    export_of: Export, router: Trained, lazy: bool
) -> None:
    folder = export_of(router)
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(ValueError, match="truncated or was half replaced"):
        RoutedClassifier.from_pretrained(folder, lazy=lazy)


def test_a_checkpoint_that_is_no_export_is_told_how_to_become_one(router: Trained) -> None:
    with pytest.raises(ValueError, match="mpc-router-export --checkpoint"):
        RoutedClassifier.from_pretrained(router.folder)


@pytest.mark.gpu
def test_it_runs_on_a_gpu_where_there_is_one(exported: Path, router: Trained) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    pairs = pairs_of(router)
    on_gpu = RoutedClassifier.from_pretrained(exported)
    assert on_gpu.device.type == "cuda"
    on_cpu = RoutedClassifier.from_pretrained(exported, device="cpu")
    routes = [[answer.expert for answer in one(pairs)] for one in (on_gpu, on_cpu)]
    assert np.mean(np.array(routes[0]) == np.array(routes[1])) > 0.98
