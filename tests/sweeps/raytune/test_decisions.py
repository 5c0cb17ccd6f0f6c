"""A trial that is to be stopped hears of it on the way back of its own message, without Ray."""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from sweeps.raytune import tune_loop
from sweeps.raytune._trainable import PackTrainable
from sweeps.records import Message

DROP = {"key": "rank 3 of 3: the first of them go on"}


def test_the_answer_to_a_packs_message_reaches_its_worker_before_the_next_epoch(
    tmp_path: Path,
) -> None:
    heard: list[Mapping[str, str] | None] = []

    def messages() -> Generator[Message, Mapping[str, str] | None, None]:
        for _ in range(3):
            heard.append((yield Message()))

    actor = PackTrainable.__new__(PackTrainable)
    actor._messages, actor._drop, actor._begun = messages(), None, True
    actor._returns = actor._fetched = actor._failure = None
    trial = SimpleNamespace(
        config={"pack": json.dumps({"name": "pack0"})},
        temporary_state=SimpleNamespace(
            ray_actor=SimpleNamespace(drop_trials=SimpleNamespace(remote=actor.drop_trials))
        ),
    )
    answers = iter([{"end": False, "drop": {}}, {"end": False, "drop": DROP}])
    asked: list[tuple[str, dict[str, Any]]] = []

    def ask(word: str, **data: Any) -> Any:
        asked.append((word, data))
        return next(answers)

    reporter = tune_loop._Reporter(cast(Any, SimpleNamespace(ask=ask)))
    for _ in range(2):
        assert reporter.on_trial_result(None, trial, actor.step()) == reporter.CONTINUE
    message = {"pack": "pack0", "message_json": json.dumps(Message().to_json())}
    assert asked == [("heard", message), ("heard", message)]
    actor.step()
    assert heard == [None, DROP]
    actor.step()
    assert heard == [None, DROP, None]  # it is told once
    assert actor.step() == {"done": True}


def test_a_pack_ends_where_the_answer_ends_the_run() -> None:
    pipe = SimpleNamespace(ask=lambda word, **_: {"end": True, "drop": {}})
    trial = SimpleNamespace(config={"pack": json.dumps({"name": "pack0"})})
    result = {"message": json.dumps(Message().to_json()), "done": False}
    reporter = tune_loop._Reporter(cast(Any, pipe))
    assert reporter.on_trial_result(None, trial, result) == reporter.STOP
