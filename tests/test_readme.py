"""The README says what is: its snippet runs, its flags, studies and columns exist."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import analysis.compare
import analysis.export
import analysis.front
import analysis.report.__main__
import cluster.local
from analysis import schema
from mpc_router.commands import demo, export, train
from mpc_router.commands import eval as evaluate
from mpc_router.config.pools import POOLS
from sweeps import tune
from sweeps.commands.arguments import parser
from sweeps.study.read import shipped
from tests.mpc_router.small_models import save_classifier, save_encoder, some_tokens

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_the_published_snippet_runs_as_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (snippet,) = [block for block in blocks("python") if "GatedBertPool" in block]
    monkeypatch.chdir(tmp_path)
    save_encoder(tmp_path / "prajjwal1/bert-tiny", seed=0)
    for seed, name in enumerate(re.findall(r'"([\w-]+/[\w-]+-mrpc)"', snippet), 1):
        save_classifier(tmp_path / name, seed=seed, hidden=8 * seed)
    input_ids, attention_mask = some_tokens(6)
    names: dict[str, Any] = {
        "input_ids": input_ids,
        "attention_mask": attention_mask,
        "token_type_ids": (input_ids > 20).long(),
        "labels": torch.tensor([0, 1, 0, 1, 1, 0]),
    }
    exec(snippet, names)
    assert names["predictions"].shape == (6, 2)
    assert names["gating_weights"].shape == (6, 3)
    assert names["chosen_expert"].shape == (6,)
    assert set(names["components"]) == {"task", "balance", "cost"}


COMMANDS = {
    "mpc-router-train": train.parser,
    "mpc-router-eval": evaluate.parser,
    "mpc-router-demo": demo.parser,
    "mpc-router-export": export.parser,
    "mpc-router-tune": tune.parser,
    "python -m analysis.front": analysis.front.parser,
    "python -m analysis.report": analysis.report.__main__.parser,
    "python -m analysis.compare": analysis.compare.parser,
    "python -m analysis.export": analysis.export.parser,
    "python -m cluster.local": cluster.local.parser,
}
OF_OTHERS = {"--logdir", "--block"}
"""Flags of programs that are not ours."""


def flags_of(made: argparse.ArgumentParser) -> set[str]:
    found = {flag for action in made._actions for flag in action.option_strings}
    for action in made._actions:
        if isinstance(action, argparse._SubParsersAction):
            found = found.union(*(flags_of(each) for each in action.choices.values()))
    return found


@pytest.mark.parametrize("made", [parser, *COMMANDS.values()])
def test_every_flag_of_a_command_is_in_the_readme(made: Callable[[], Any]) -> None:
    assert {flag for flag in flags_of(made()) - {"-h", "--help"} if flag not in README} == set()


def test_the_readme_names_no_flag_that_is_not_there() -> None:
    known = set().union(*(flags_of(made()) for made in (parser, *COMMANDS.values())))
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", README))
    assert named <= known | OF_OTHERS


@pytest.mark.parametrize("line", [line for block in blocks("sh") for line in block.splitlines()])
def test_a_command_in_the_readme_is_one_that_can_be_given(line: str) -> None:
    import shlex

    words = shlex.split(line, comments=True)
    if words[:3] == ["python", "-m", "sweeps.run"]:
        args = parser().parse_intermixed_args(words[3:])
        studies = [word for word in args.words if "=" not in word]
        assert all(name in shipped() or name.endswith(".yaml") for name in studies)
    elif words and words[0] == "mpc-router-tune":
        tune.parser().parse_known_args(words[1:])
    elif " ".join(words[:3]) in COMMANDS:
        COMMANDS[" ".join(words[:3])]().parse_args(words[3:])
    elif words and words[0] in COMMANDS:
        args = COMMANDS[words[0]]().parse_intermixed_args(words[1:])
        assert words[0] != "mpc-router-train" or (ROOT / args.config).is_file()
    else:
        assert words == [] or words[0] in ("make", "source", "python", "tensorboard")


@pytest.mark.parametrize("name", ["train", "eval", "demo", "export", "tune"])
def test_every_console_script_is_installed_and_in_the_readme(name: str) -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f"mpc-router-{name} = " in text
    assert f"mpc-router-{name}" in README


def test_what_the_readme_installs_with_an_extra_leaves_the_checkout_in_place() -> None:
    printed = re.findall(r"pip install [^`]*", README)
    assert all("-e" in line for line in printed if "'.[" in line)
    targets = re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert set(re.findall(r"`make ([a-z-]+)", README)) <= {*targets}


def test_every_table_and_pool_is_explained() -> None:
    for table in schema.TABLES:
        assert f"`{schema.table_file(table)}`" in README
    for pool in POOLS:
        assert f"`{pool}`" in README
