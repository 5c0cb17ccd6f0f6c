"""The example server over real HTTP: answers, batches, bad input, and counts that show drift."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mpc_router import RoutedClassifier
from mpc_router.data.sources import load_splits
from tests.serve_example.conftest import Client
from tests.trained import Trained

PAIR = ["the dog sees the cat", "the cat is seen by the dog"]


def pairs_of(trained: Trained) -> list[list[str]]:
    texts = load_splits(trained.config, trained.places.source)["validation"].texts
    return [list(pair) for pair in zip(*texts, strict=True)]


def test_answers_over_http_are_those_of_the_training(client: Client, router: Trained) -> None:
    status, reply = client.post("/answers", {"texts": pairs_of(router)})
    assert status == 200
    assert [answer["expert"] for answer in reply["answers"]] == router.routes.tolist()
    costs = [answer["cost"] for answer in reply["answers"]]
    assert np.mean(costs) == pytest.approx(router.report.cost["constants"][0])


def test_an_answer_over_http_is_the_routers_own(client: Client, exported: Path) -> None:
    _, reply = client.post("/answers", {"texts": [PAIR]})
    (answer,) = reply["answers"]
    own = dataclasses.asdict(RoutedClassifier.from_pretrained(exported)((PAIR[0], PAIR[1])))
    assert answer == {**own, "scores": list(own["scores"]), "path": list(own["path"])}


def test_concurrent_requests_get_their_own_answers(client: Client, router: Trained) -> None:
    pairs = pairs_of(router)
    start = threading.Barrier(8)

    def ask(number: int) -> list[int]:
        start.wait()
        parts = [client.post("/answers", {"texts": [pair]}) for pair in pairs[number::8]]
        return [reply["answers"][0]["expert"] for _, reply in parts]

    with ThreadPoolExecutor(8) as threads:
        experts = list(threads.map(ask, range(8)))
    for number, part in enumerate(experts):
        assert part == router.routes[number::8].tolist()
    counts = client.get("/counts")
    assert counts["examples"] == len(pairs)
    assert counts["by_expert"] == np.bincount(router.routes, minlength=3).tolist()


@pytest.mark.parametrize(
    ("texts", "reason"),
    [
        ([PAIR, ["", "b"]], "is empty"),
        (["one text"], "takes pairs"),
        ([], "at least 1"),
        ([5], "string"),
    ],
)
def test_what_cannot_be_answered_is_422_and_counts_nothing(
    client: Client, texts: list[object], reason: str
) -> None:
    status, reply = client.post("/answers", {"texts": texts})
    assert status == 422
    assert reason in str(reply["detail"])
    assert client.get("/counts")["examples"] == 0


def test_health_names_task_labels_and_experts(client: Client) -> None:
    health = client.get("/health")
    assert health["status"] == "ok"
    assert health["text"] == ["sentence1", "sentence2"]
    assert health["labels"] == ["not_equivalent", "equivalent"]
    assert len(health["experts"]) == 3


def with_summary(exported: Path, share: list[float]) -> RoutedClassifier:
    """A router that was quoted with these shares."""
    router = RoutedClassifier.from_pretrained(exported)
    split = {"score": 0.9, "share": share, "cost": {"constants": router.vector.mean(share)}}
    summary = {"splits": {"validation": split}}
    router.assembled = dataclasses.replace(router.assembled, summary=summary)
    return router


def test_counts_show_drift_against_the_quoted_shares(
    on_path: None, exported: Path, router: Trained
) -> None:
    from router_server.counts import Counts

    pairs = [(first, second) for first, second in pairs_of(router)]
    share = (np.bincount(router.routes, minlength=3) / len(router.routes)).tolist()
    quoted = with_summary(exported, share)
    counts = Counts(quoted)
    assert counts.report()["drifted"] is None
    counts.add(quoted(pairs))
    report = counts.report()
    assert report["shares"] == pytest.approx(share)
    assert report["cost"] == pytest.approx(report["quoted_cost"])
    assert report["chance"] == pytest.approx(1)
    assert report["drifted"] is False
    turned = Counts(with_summary(exported, share[::-1]))
    turned.add(quoted(pairs))
    assert turned.report()["drifted"] is True


def test_a_chance_is_that_of_a_chi_square_test(on_path: None) -> None:
    from router_server.counts import _chance
    from scipy.stats import chisquare

    examples, shares = [30, 50, 20], [0.25, 0.5, 0.25]
    expected = chisquare(examples, [25, 50, 25]).pvalue
    assert _chance(examples, shares) == pytest.approx(expected)
    assert _chance([1, 9, 0], [0.0, 1.0, 0.0]) == 0  # an expert that was never chosen


def test_nothing_is_compared_where_nothing_was_quoted(on_path: None, exported: Path) -> None:
    from router_server.counts import Counts

    plain = RoutedClassifier.from_pretrained(exported)
    biased = with_summary(exported, [0.2, 0.3, 0.5])
    biased.bias = 0.1
    for router in (plain, biased):
        counts = Counts(router)
        counts.add(router([(PAIR[0], PAIR[1])]))
        report = counts.report()
        assert report["examples"] == 1
        assert (report["quoted_shares"], report["chance"], report["drifted"]) == (None, None, None)


def test_what_waits_while_a_batch_runs_is_the_next_batch(on_path: None) -> None:
    from router_server.batching import Batcher

    batches: list[list[int]] = []
    goes_on = threading.Event()

    def doubled(texts: Sequence[int]) -> list[int]:
        batches.append(list(texts))
        if len(batches) == 1:
            goes_on.wait()
        return [2 * text for text in texts]

    async def asked() -> list[list[Any]]:
        batcher = Batcher(doubled, most=4)
        running = asyncio.create_task(batcher.run())
        first = asyncio.create_task(batcher.ask([0]))
        while not batches:
            await asyncio.sleep(0)
        more = [asyncio.create_task(batcher.ask([10 * n, 10 * n + 1])) for n in (1, 2, 3)]
        await asyncio.sleep(0)
        goes_on.set()
        answers = [await task for task in (first, *more)]
        running.cancel()
        return answers

    assert asyncio.run(asked()) == [[0], [20, 22], [40, 42], [60, 62]]
    assert batches == [[0], [10, 11, 20, 21], [30, 31]]


def test_a_request_that_cannot_be_answered_spoils_no_other(on_path: None) -> None:
    from router_server.batching import Batcher

    def even(texts: Sequence[int]) -> list[int]:
        if any(text % 2 for text in texts):
            raise ValueError("odd")
        return list(texts)

    async def asked() -> list[Any]:
        batcher = Batcher(even)
        tasks = [asyncio.create_task(batcher.ask([n])) for n in (2, 3, 4)]
        await asyncio.sleep(0)
        running = asyncio.create_task(batcher.run())
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        running.cancel()
        return answers

    first, second, third = asyncio.run(asked())
    assert (first, third) == ([2], [4])
    assert isinstance(second, ValueError)


def test_a_model_that_cannot_be_had_is_one_message_and_exit_2(
    on_path: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from router_server.__main__ import main

    assert main(["--model", str(tmp_path / "none")]) == 2
    text = capsys.readouterr().err
    assert text.count("\n") == 1
    assert "is no folder" in text
