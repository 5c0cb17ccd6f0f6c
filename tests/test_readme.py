"""The README says what is: its snippet runs, its flags, studies and columns exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from analysis import schema
from mpc_router.pools import POOLS
from sweeps.arguments import parser
from sweeps.study import shipped
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
        "labels": torch.tensor([0, 1, 0, 1, 1, 0]),
    }
    exec(snippet, names)
    assert names["predictions"].shape == (6, 2)
    assert names["gating_weights"].shape == (6, 3)
    assert names["chosen_expert"].shape == (6,)
    assert set(names["components"]) == {"task", "balance", "cost"}


def test_every_flag_of_the_command_is_in_the_readme() -> None:
    flags = {flag for action in parser()._actions for flag in action.option_strings}
    assert {flag for flag in flags - {"-h", "--help"} if f"{flag}" not in README} == set()


def test_the_readme_names_no_flag_that_is_not_there() -> None:
    flags = {flag for action in parser()._actions for flag in action.option_strings}
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", README))
    assert named <= flags


@pytest.mark.parametrize("command", [line for block in blocks("sh") for line in block.splitlines()])
def test_a_sweep_in_the_readme_is_one_that_the_command_takes(command: str) -> None:
    import shlex

    words = shlex.split(command, comments=True)
    if words[:3] != ["python", "-m", "sweeps.run"]:
        assert words == [] or words[0] in ("make", "source", "python")
        return
    args = parser().parse_intermixed_args(words[3:])
    studies = [word for word in args.words if "=" not in word]
    assert all(name in shipped() or name.endswith(".yaml") for name in studies)


def test_every_table_and_pool_is_explained() -> None:
    for table in schema.TABLES:
        assert f"`{schema.table_file(table)}`" in README
    for pool in POOLS:
        assert f"`{pool}`" in README
