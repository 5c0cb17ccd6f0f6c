"""`mpc-router-eval` run as a user runs it, on the embedded sample."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mpc_router.commands import eval as command
from mpc_router.config.trial import trial_config
from mpc_router.pricing.measured_file import read_measured
from mpc_router.results import summary
from tests.mpc_router.commands.asking import asked, loaded_for_help, refused
from tests.mpc_router.commands.conftest import Answer
from tests.trained import Train, Trained

Ask = Callable[..., Answer]


@pytest.fixture
def ask(capfd: pytest.CaptureFixture[str]) -> Ask:
    return lambda *arguments: asked(command.main, capfd, *arguments)


def told(answer: Answer) -> dict[str, Any]:
    assert answer.code == 0, answer.err
    found: dict[str, Any] = json.loads(answer.out)
    return found


@pytest.mark.parametrize("kind", ["router", "joint_router"])
def test_the_result_is_that_of_the_training(
    ask: Ask, kind: str, request: pytest.FixtureRequest
) -> None:
    source: Trained = request.getfixturevalue(kind)
    found, report = told(ask(*source.flags, "--json")), source.report
    assert (found["task"], found["split"], found["examples"]) == (
        "mrpc",
        "validation",
        len(source.routes),
    )
    assert found["score"] == pytest.approx(report.metrics["score"][0], abs=1e-6)
    for name, value in found["metrics"].items():
        assert value == pytest.approx(report.metrics[name][0], abs=1e-6)
    assert found["cost"]["constants"] == pytest.approx(report.cost["constants"][0])
    assert [each["share"] for each in found["experts"]] == pytest.approx(list(report.share[0]))


def test_a_split_that_was_learned_from_says_so(ask: Ask, router: Trained) -> None:
    on_train = ask(*router.flags, "--split", "train")
    note = command._seen_note(router.config, "train")
    assert on_train.out.splitlines()[1] == f"note: {note}"
    assert told(ask(*router.flags, "--split", "selection", "--json"))["note"] is None


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "the experts were trained on these rows, and the router learned from them"),
        ({"router_data": "cross_fitted"}, "the experts were trained on these rows"),
        ({"router_data": "held_out"}, "the experts have not seen these rows, but the router"),
        ({"router_data": "unused", "train_rows": 99}, "the experts have not seen these rows"),
        ({"expert_fine_tuned": True}, "come fine-tuned and may have seen these rows"),
        ({"experts": "joint"}, "the experts were trained on these rows"),
    ],
    ids=str,
)
def test_who_has_seen_the_rows_of_train_depends_on_what_a_router_learns_from(
    settings: dict[str, Any], words: str
) -> None:
    pool = "bert" if "expert_fine_tuned" in settings else "sample"
    config = trial_config({"task": "mrpc", "pool": pool, "experts": "frozen", **settings})
    assert words in str(command._seen_note(config, "train"))
    assert command._seen_note(config, "validation") is None


def test_shares_costs_and_speed_ups_belong_together(ask: Ask, router: Trained) -> None:
    found = told(ask(*router.flags, "--json"))
    experts = found["experts"]
    assert sum(each["share"] for each in experts) == pytest.approx(1)
    assert sum(each["examples"] for each in experts) == found["examples"]
    vector = router.config.vectors()["constants"]
    cost = vector.router + sum(each["share"] * each["cost"] for each in experts)
    assert found["cost"]["constants"] == pytest.approx(cost)
    dearest = max(each["cost"] for each in experts)
    assert found["speed_up"]["constants"] == pytest.approx(dearest / cost)
    accuracy = sum(
        each["share"] * (_accuracy(router, number)) for number, each in enumerate(experts)
    )
    assert found["metrics"]["accuracy"] == pytest.approx(accuracy)


def _accuracy(router: Trained, expert: int) -> float:
    """Of an expert, on the examples that are sent to it; from the prepared outputs."""
    import numpy as np

    from mpc_router.prepare.frozen import prepare

    split = prepare(router.config, router.places).splits["validation"]
    mine = router.routes == expert
    if not mine.any():
        return 0.0
    return float((np.asarray(split.outputs)[mine, expert].argmax(-1) == split.labels[mine]).mean())


def test_the_table_tells_what_the_json_holds(ask: Ask, router: Trained) -> None:
    found, answer = told(ask(*router.flags, "--json")), ask(*router.flags)
    assert f"score     {found['score']:.4f}" in answer.out
    assert f"{found['speed_up']['constants']:.2f}x projected" in answer.out
    assert f"majority  {found['majority']:.4f}" in answer.out
    for each in found["experts"]:
        assert f"{100 * each['share']:5.1f} %" in answer.out
    assert max(map(len, answer.out.splitlines())) <= 100


def test_another_split_and_the_task_s_own_name(ask: Ask, router: Trained) -> None:
    found = told(ask(*router.flags, "--json", "--split", "selection", "--task", "mrpc"))
    assert found["split"] == "selection"
    refused(ask(*router.flags, "--split", "dev"), "'dev'", "selection", "validation")
    refused(ask(*router.flags, "--task", "sst2"), "a router of mrpc, not of sst2")


def test_a_regression_has_no_majority(ask: Ask, trained: Train) -> None:
    lane = trained(task="stsb")
    found = told(ask(*lane.flags, "--json"))
    assert found["majority"] is None
    assert set(found["metrics"]) == {"pearson", "spearman"}
    assert found["score"] == pytest.approx(lane.report.metrics["score"][0], abs=1e-6)
    assert "majority" not in ask(*lane.flags).out


@pytest.mark.parametrize("name", ["constants", "parameters", "flops"])
def test_costs_are_told_under_the_vector_that_is_asked_for(
    ask: Ask, router: Trained, name: str
) -> None:
    found = told(ask(*router.flags, "--json", "--cost-vector", name))
    assert found["cost_vector"] == name
    costs = [each["cost"] for each in found["experts"]]
    assert costs == sorted(costs)
    assert found["speed_up"][name] == pytest.approx(max(costs) / found["cost"][name])
    assert f"({name}, router" in ask(*router.flags, "--cost-vector", name).out


def test_an_unknown_vector_names_those_that_there_are(ask: Ask, router: Trained) -> None:
    refused(ask(*router.flags, "--cost-vector", "euros"), "'euros'", "constants", "file:PATH")
    refused(ask(*router.flags, "--cost-vector", "file:gone.json"), "gone.json")


def test_measured_latency_is_a_vector_that_can_be_taken(
    ask: Ask, router: Trained, tmp_path: Path
) -> None:
    file = tmp_path / "costs.json"
    found = told(ask(*router.flags, "--json", "--measure-latency", str(file)))
    vector = read_measured(file).vector(router.config)
    assert list(vector.experts) == found["latency"]["experts"]
    assert vector.router == found["latency"]["router"]
    assert min(*vector.experts, vector.router) > 0
    before = file.read_bytes()
    refused(ask(*router.flags, "--measure-latency", str(file)), "costs.json exists")
    assert file.read_bytes() == before
    again = told(ask(*router.flags, "--json", "--cost-vector", f"file:{file}"))
    assert [each["cost"] for each in again["experts"]] == list(vector.experts)
    assert again["cost_vector"] == vector.name
    assert again["score"] == found["score"]


def test_a_vector_of_another_pool_is_refused(ask: Ask, router: Trained, tmp_path: Path) -> None:
    other = trial_config({"task": "mrpc", "pool": "bert"})
    file = tmp_path / "costs.json"
    told(ask(*router.flags, "--json", "--measure-latency", str(file)))
    plain = json.loads(file.read_text(encoding="utf-8"))
    for entry, name in zip(plain["experts"], other.model.expert_model_names, strict=True):
        entry["name"] = name
    file.write_text(json.dumps(plain), encoding="utf-8")
    refused(ask(*router.flags, "--cost-vector", f"file:{file}"), "has no cost of sample/tiny")


def test_a_latency_file_that_cannot_be_written_is_one_line(
    ask: Ask, router: Trained, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    answer = ask(*router.flags, "--measure-latency", str(tmp_path / "file/costs.json"))
    assert answer.code in (2, 3)
    assert answer.err.splitlines()[-1].startswith("error: ")
    assert answer.out == ""
    deep = tmp_path / "new/costs.json"
    told(ask(*router.flags, "--json", "--measure-latency", str(deep)))
    assert read_measured(deep).task == "mrpc"


def test_a_checkpoint_that_is_none_is_one_line(ask: Ask, router: Trained, tmp_path: Path) -> None:
    rest = router.flags[2:]
    refused(ask("--checkpoint", str(tmp_path / "gone"), *rest), "gone")
    pickle = tmp_path / "mrpc_best_model.pt"
    pickle.write_bytes(b"\x80\x04" + bytes(20))
    refused(ask("--checkpoint", str(pickle), *rest), "a pickle", "not read")


def test_a_published_path_names_our_folder_with_a_note(ask: Ask, router: Trained) -> None:
    path = f"{router.folder}.pt"
    answer = ask("--checkpoint", path, *router.flags[2:])
    assert answer.code == 0
    assert f"note: {path} is read as the folder" in answer.err


def test_a_router_of_the_sample_is_evaluated_on_the_sample_without_a_flag(
    ask: Ask, router: Trained, tmp_path: Path
) -> None:
    folder = tmp_path / "checkpoint"
    shutil.copytree(router.folder, folder)
    facts = {"format": summary._FORMAT, "cost_vectors": {}, "synthetic": True}
    summary.write_summary(folder, facts)
    flags = ("--checkpoint", str(folder), "--cache", str(router.places.cache))
    answer = ask(*flags, "--json")
    assert told(answer) == told(ask(*router.flags, "--json"))
    assert told(answer)["synthetic"] is True
    assert answer.err.startswith("note: this router was trained on the embedded sample")
    assert "100 examples of the embedded synthetic sample" in ask(*flags).out
    refused(ask(*flags, "--data", str(tmp_path)), "mrpc/train.parquet")


def test_quiet_and_json_say_nothing_else(ask: Ask, router: Trained) -> None:
    assert ask(*router.flags, "--quiet").err == ""
    assert ask(*router.flags, "--json").err == ""
    assert "100 examples" in ask(*router.flags).err


def test_bad_flags_are_one_line(ask: Ask, router: Trained) -> None:
    refused(ask(), "--checkpoint")
    refused(ask(*router.flags, "--data", "."), "--data")
    refused(ask(*router.flags, "--spl", "x"), "--spl")


def test_help_is_quick_because_it_loads_little() -> None:
    assert not loaded_for_help("mpc_router.commands.eval")
