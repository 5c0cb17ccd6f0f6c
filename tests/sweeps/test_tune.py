"""`mpc-router-tune`: the words that it hands to the sweep, and a plan of one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from mpc_router.commands import doors
from mpc_router.config.trial import parse_overrides
from mpc_router.config.yaml_files import settle
from mpc_router.tasks import TASKS
from sweeps import tune
from tests.mpc_router.commands.asking import asked, loaded_for_help, refused
from tests.mpc_router.commands.conftest import CONFIGS, Answer

MRPC = ("--config", str(CONFIGS / "task_mrpc.yaml"))
Ask = Callable[..., Answer]


@pytest.fixture
def ask(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Ask:
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: asked(tune.main, capfd, *arguments)


def words(*arguments: str) -> list[str]:
    args, rest = tune.parser().parse_known_args(arguments)
    settled = settle(args.config, {}, sample="--sample" in rest)
    return tune.sweep_arguments(settled, args, rest)


def fixed(found: list[str]) -> dict[str, object]:
    """The settings among the words, as the sweep reads them."""
    return {
        name: yaml.safe_load(value)
        for name, _, value in (
            word.partition("=") for word in found if "=" in word and not word.startswith("-")
        )
    }


def test_the_configuration_s_settings_are_fixed_in_the_task_s_grid() -> None:
    found = words(*MRPC, "--sample")
    assert found[0] == "mrpc_grid"
    assert "--sample" in found
    settings = fixed(found)
    assert settings["pool"] == "sample"
    assert not set(settings) & {"alpha", "beta", "task"}


@pytest.mark.parametrize("task", TASKS)
def test_every_file_that_ships_gives_words_that_can_be_read(task: str) -> None:
    found = words("--config", str(CONFIGS / f"task_{task}.yaml"), "--sample")
    assert found[0] == f"{task}_grid"
    parse_overrides([word for word in found[1:] if "=" in word])


def test_the_door_leads_to_the_sweep(ask: Ask, capfd: pytest.CaptureFixture[str]) -> None:
    refused(asked(doors.tune, capfd, *MRPC, "--sample", "alpah=1"), "did you mean alpha")


def test_alphas_and_betas_are_axes() -> None:
    settings = fixed(words(*MRPC, "--sample", "--alphas", "0.01,1", "--betas", "0"))
    assert settings["alpha"] == {"grid": [0.01, 1.0]}
    assert settings["beta"] == {"grid": [0.0]}


def test_what_the_user_says_wins_and_is_said_once() -> None:
    file = CONFIGS / "task_mrpc.yaml"
    found = words("--config", str(file), "--sample", "experts=frozen", "training.epochs=1")
    assert [word for word in found if word.startswith("experts=")] == ["experts=frozen"]
    assert [word for word in found if "epochs" in word and "expert" not in word] == [
        "training.epochs=1"
    ]


def test_settings_of_the_file_reach_the_sweep(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "data: {task: rte, train_rows: 50}\nmodel: {pool: sample, gate: softmax}\n"
        "training: {epochs: 3, experts: frozen}\nloss_weights: {alpha: 0.5}\n",
        encoding="utf-8",
    )
    found = words("--config", str(file), "--sample")
    settings = fixed(found)
    assert found[0] == "rte_grid"
    assert settings["gate"] == "softmax"
    assert settings["train_rows"] == 50
    assert settings["epochs"] == 3
    assert "alpha" not in settings


def test_a_dry_run_prints_the_plan_and_writes_nothing(ask: Ask, tmp_path: Path) -> None:
    answer = ask(
        *MRPC,
        *("--sample", "--alphas", "0.01,0.1", "--betas", "0,0.01", "experts=frozen"),
        *("train_rows=60", "validation_rows=40", "epochs=1", "seeds=[0]", "--dry-run"),
        *("--cache", str(tmp_path / "cache")),
    )
    assert answer.code == 0, answer.err
    assert "5 points x 1 seeds = 5 trials" in answer.out  # the study's start is another
    assert not (tmp_path / "runs").exists()


def test_bad_input_is_one_line(ask: Ask) -> None:
    refused(ask("--config", "gone.yaml", "--sample"), "gone.yaml")
    refused(ask(*MRPC, "--sample", "alfa=1", "--dry-run"), "alfa")
    refused(ask(*MRPC, "--sample", "--alphas", "much"), "--alphas", "much")
    refused(ask("--sample"), "--config")
    refused(ask(*MRPC, "--sample", "--alphas", "0.1", "alpha=1", "--dry-run"), "alpha")


def test_the_command_line_is_frozen() -> None:
    flags = {flag for action in tune.parser()._actions for flag in action.option_strings}
    assert flags == {"-h", "--help", "--config", "--alphas", "--betas"}


def test_help_is_quick_because_it_loads_little() -> None:
    assert not loaded_for_help("sweeps.tune")
