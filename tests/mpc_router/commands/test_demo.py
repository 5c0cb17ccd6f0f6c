"""`mpc-router-demo` run as a user runs it, on the embedded sample."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch

from mpc_router.commands import demo as command
from mpc_router.model.experts import ExpertPool
from mpc_router.results.assembly import assemble
from tests.mpc_router.commands.asking import asked, loaded_for_help, refused
from tests.mpc_router.commands.conftest import Answer
from tests.trained import Train, Trained

Ask = Callable[..., Answer]
PAIR = ("the dog sees the cat", "the cat is seen by the dog")


@pytest.fixture
def ask(capfd: pytest.CaptureFixture[str]) -> Ask:
    return lambda *arguments: asked(command.main, capfd, *arguments)


def bars(out: str) -> list[tuple[str, str, float, bool]]:
    """Name, bar, per cent and arrow of every expert."""
    pattern = r"^    \[(\d+)\] (.+?) +(█*) +([0-9.]+)%( <--)?$"
    rows = re.findall(pattern, out, flags=re.MULTILINE)
    assert [int(number) % 3 for number, *_ in rows] == [place % 3 for place in range(len(rows))]
    return [(name, bar, float(share), bool(arrow)) for _, name, bar, share, arrow in rows]


def test_a_pair_is_answered_by_the_expert_that_the_router_chooses(
    ask: Ask, router: Trained
) -> None:
    answer = ask(*router.flags, *PAIR)
    assert answer.code == 0
    found = assemble(router.folder, router.places)
    batch = found.tokenizers[0](*PAIR, return_tensors="pt", return_token_type_ids=True)
    given = (batch["input_ids"], batch["attention_mask"], batch["token_type_ids"])
    predictions, chosen = found.model.forward_inference(*given)
    scores = found.model.route_logits(*given).softmax(-1)[0].detach()
    shares = predictions[0].softmax(-1)
    label = found.task.label_names[int(shares.argmax())].replace("_", " ").capitalize()
    assert f"\n  Label: {label}\n  Confidence: {100 * float(shares.max()):.1f}%\n" in answer.out
    assert "\n  Router Scores:\n    [0] " in answer.out
    rows = bars(answer.out)
    assert len(rows) == 3
    assert [arrow for *_, arrow in rows].index(True) == int(chosen)
    assert sum(arrow for *_, arrow in rows) == 1
    assert [share for _, _, share, _ in rows] == pytest.approx(
        [100 * float(each) for each in scores], abs=0.051
    )
    for _, bar, share, _ in rows:
        assert abs(len(bar) - command._BAR * share / 100) <= 0.52
    assert f"\n  Expert: [{int(chosen)}] {rows[int(chosen)][0]}\n" in answer.out


def test_the_cost_is_the_chosen_expert_s_with_the_router(ask: Ask, router: Trained) -> None:
    out = ask(*router.flags, *PAIR).out
    vector = router.config.vectors()["constants"]
    (chosen,) = [number for number, row in enumerate(bars(out)) if row[3]]
    cost = vector.router + vector.experts[chosen]
    assert f"Cost: {cost:.4g} {vector.unit}, router paid:" in out
    percent = 100 * abs(1 - cost / max(vector.experts))
    assert f"{percent:.0f}%" in out


def test_one_sentence_tasks_take_one_after_another(ask: Ask, trained: Train) -> None:
    lane = trained(task="sst2")
    answer = ask(*lane.flags, "a joy from start to end", "a dull film", "so good")
    assert answer.code == 0
    assert answer.out.count("Confidence: ") == 3
    assert set(re.findall("Sentiment: (.+)", answer.out)) <= {"Positive", "Negative"}
    assert answer.out.count("Sentiment: ") == 3


def test_several_pairs_are_answered_in_turn(ask: Ask, router: Trained) -> None:
    assert ask(*router.flags, *PAIR, *PAIR).out == 2 * ask(*router.flags, *PAIR).out


def test_a_regression_is_answered_on_its_scale(ask: Ask, trained: Train) -> None:
    out = ask(*trained(task="stsb").flags, *PAIR).out
    (value,) = re.findall("Label: (-?[0-9.]+) on 0 to 5$", out, flags=re.MULTILINE)
    assert -1 < float(value) < 6
    assert "Confidence" not in out


@pytest.mark.parametrize("stem", ["expert", "joint"])
def test_other_kinds_of_router_answer_too(
    ask: Ask, trained: Train, joint_router: Trained, stem: str
) -> None:
    source = joint_router if stem == "joint" else trained(stem="expert")
    answer = ask(*source.flags, *PAIR)
    assert answer.code == 0
    assert len(bars(answer.out)) == 3


def test_pairs_need_two(ask: Ask, router: Trained) -> None:
    refused(ask(*router.flags, PAIR[0]), "mrpc takes pairs", "1 sentences are no pairs")
    refused(ask(*router.flags, *PAIR, PAIR[0]), "3 sentences are no pairs")


@pytest.mark.parametrize("text", ["", "   ", "\n"])
def test_an_empty_sentence_is_refused(ask: Ask, router: Trained, text: str) -> None:
    refused(ask(*router.flags, PAIR[0], text), "empty")


def test_a_longer_text_is_cut_with_a_notice_or_refused(ask: Ask, router: Trained) -> None:
    long = " ".join(["the dog sees the cat"] * 100)
    found = assemble(router.folder, router.places)
    (tokens,), (limit,) = found.lengths([long, PAIR[1]]), found.limits
    assert tokens > limit
    answer = ask(*router.flags, long, PAIR[1])
    assert answer.code == 0
    assert f"(cut: {tokens} tokens, the model takes {limit})" in answer.out
    refused(
        ask(*router.flags, "--strict", long, PAIR[1]),
        f"{tokens} tokens",
        f"takes {limit}",
        "--strict",
    )
    assert "cut:" not in ask(*router.flags, "--strict", *PAIR).out


def test_strict_refuses_before_it_answers_what_stands_before(ask: Ask, router: Trained) -> None:
    long = " ".join(["the dog sees the cat"] * 100)
    refused(ask(*router.flags, "--strict", *PAIR, long, PAIR[1]), "--strict")


def test_a_piped_dialogue_asks_again_after_an_empty_line_and_ends_with_the_input(
    ask: Ask, router: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = f"{PAIR[0]}\n\n  \n{PAIR[1]}\n{PAIR[1]}\n{PAIR[0]}\n"
    monkeypatch.setattr("sys.stdin", io.StringIO(lines))
    answer = ask(*router.flags)
    assert answer.code == 0
    assert answer.out.count("Confidence: ") == 2
    assert answer.err.count("that is empty") == 2
    assert "mrpc:" in answer.err
    assert answer.out.startswith(ask(*router.flags, *PAIR).out)


@pytest.mark.parametrize("lines", ["", "\n\n"])
def test_input_without_an_example_ends_with_0(
    ask: Ask, router: Trained, monkeypatch: pytest.MonkeyPatch, lines: str
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(lines))
    answer = ask(*router.flags)
    assert (answer.code, answer.out) == (0, "")


def test_half_a_pair_is_bad_input(
    ask: Ask, router: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{PAIR[0]}\n"))
    refused(ask(*router.flags), "lacks its sentence2")


def test_bytes_that_are_no_text_are_refused(ask: Ask, router: Trained) -> None:
    refused(ask(*router.flags, PAIR[0], "caf\udce9"), "no UTF-8")


def test_a_last_line_without_an_end_counts(
    ask: Ask, trained: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("a joy"))
    assert ask(*trained(task="sst2").flags).out.count("Confidence: ") == 1


def test_a_text_too_long_for_strict_does_not_end_a_dialogue(
    ask: Ask, trained: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("a joy " * 500 + "\na joy\n"))
    answer = ask(*trained(task="sst2").flags, "--strict")
    assert answer.code == 0
    assert answer.out.count("Confidence: ") == 1
    assert "--strict" in answer.err


def test_ctrl_c_ends_with_130(ask: Ask, router: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(_: str) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "_line", stopped)
    answer = ask(*router.flags)
    assert answer.code == 130
    assert answer.err.splitlines()[-1] == "error: stopped"


def test_only_the_chosen_expert_runs(
    ask: Ask, router: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[int] = []

    def asked_of(pool: ExpertPool, number: int, *inputs: Any, **more: Any) -> torch.Tensor:
        ran.append(number)
        return one_expert(pool, number, *inputs, **more)

    one_expert = ExpertPool.ask
    monkeypatch.setattr(ExpertPool, "ask", asked_of)
    answer = ask(*router.flags, *PAIR)
    assert ran == [[arrow for *_, arrow in bars(answer.out)].index(True)]


def test_another_task_s_checkpoint_is_refused(ask: Ask, router: Trained) -> None:
    refused(ask(*router.flags, "--task", "stsb", *PAIR), "a router of mrpc, not of stsb")
    assert ask(*router.flags, "--task", "mrpc", *PAIR).code == 0


def test_a_published_path_names_our_folder_with_a_note(ask: Ask, router: Trained) -> None:
    answer = ask("--checkpoint", f"{router.folder}.pt", *router.flags[2:], *PAIR)
    assert answer.code == 0
    assert answer.err.startswith("note: ")


def test_help_is_quick_because_it_loads_little() -> None:
    assert not loaded_for_help("mpc_router.commands.demo")
