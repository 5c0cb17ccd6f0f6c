"""What a shell proposes: commands' flags, studies, settings and their values, without torch."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import argcomplete
import pytest

from cluster import __main__ as cluster
from mpc_router.commands import train
from mpc_router.config.sections import SECTIONS
from mpc_router.config.setting_words import setting_words, trial_forms
from mpc_router.tasks import TASKS
from mpc_router.terminal import completion
from sweeps import tune
from sweeps.commands import runs
from sweeps.study.shipped import shipped_studies
from tests.command_lines import COMMANDS

PARSERS = {**COMMANDS, "mpc-router-cluster": cluster.parser}


class Answered(Exception):
    """Ends the finder where a process would end."""


class Finder(argcomplete.CompletionFinder):  # type: ignore[misc]  # it has no types
    """Proposes words in this process, whose ninth file is not the shell's."""

    def _init_debug_stream(self) -> None:
        pass


def proposed(
    monkeypatch: pytest.MonkeyPatch, line: str, *, shell: str = "bash", name: str | None = None
) -> list[str]:
    """The words that the shell is given for a line with the cursor at its end."""
    told = {
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_SHELL": shell,
        "_ARGCOMPLETE_IFS": "\n",
        "_ARGCOMPLETE_SUPPRESS_SPACE": "1",
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
    }
    if shell == "bash":
        told["_ARGCOMPLETE_COMP_WORDBREAKS"] = " \t\n\"'><=;|&(:"
    for variable, value in told.items():
        monkeypatch.setenv(variable, value)
    text = io.StringIO()

    def ended(code: int) -> None:
        raise Answered

    with pytest.raises(Answered):
        Finder()(
            PARSERS[name or line.split()[0]](),
            always_complete_options="long",
            exit_method=ended,
            output_stream=text,
        )
    return [
        word.partition(":")[0] if shell == "zsh" else word for word in text.getvalue().split("\n")
    ]


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_study_is_proposed_once_and_settings_after_it(
    monkeypatch: pytest.MonkeyPatch, shell: str
) -> None:
    first = proposed(monkeypatch, "mpc-router-sweep mrpc_", shell=shell)
    assert sorted(first) == [name for name in shipped_studies() if name.startswith("mrpc_")]
    second = proposed(monkeypatch, "mpc-router-sweep mrpc_grid ", shell=shell)
    assert not set(second) & set(shipped_studies())
    assert {"alpha=", "router_kind=", "stopping.method="} < set(second)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("mpc-router-sweep --dr", {"--dry-run"}),
        ("mpc-router-sweep mrpc_grid gate=", {"gumbel", "softmax"}),
        ("mpc-router-sweep mrpc_grid loss_weights.al", {"loss_weights.alpha="}),
        ("mpc-router-sweep mrpc_grid search.method=ns", {"nsga2", "nsga3"}),
        ("mpc-router-sweep mrpc_grid stopping.finish=", {"true", "false"}),
        ("mpc-router-sweep mrpc_grid task=", set(TASKS)),
        ("mpc-router-sweep --track w", {"wandb"}),
        ("mpc-router-train --config x.yaml shared_stem=t", {"true"}),
        ("mpc-router-eval --task q", {"qqp", "qnli"}),
        ("mpc-router-runs cache prune --o", {"--older-than"}),
        ("mpc-router-cluster lo", {"local"}),
        ("mpc-router-cluster local up --no", {"--nodes"}),
    ],
)
def test_words_that_go_on_from_a_line(
    monkeypatch: pytest.MonkeyPatch, line: str, words: set[str]
) -> None:
    assert set(proposed(monkeypatch, line)) == words


@pytest.mark.parametrize("name", [name for name in PARSERS if name.startswith("mpc-router-")])
def test_every_command_proposes_its_flags(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    parser = PARSERS[name]()
    flags = {flag for flag in parser._option_string_actions if flag.startswith("--")}
    line = f"{name.replace(' ', '-')} --"
    assert flags <= {*proposed(monkeypatch, line, name=name), "--help"}


def test_studies_in_files_are_proposed(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("studies")
    monkeypatch.chdir(folder)
    for name in ("tickets.yaml", "tickets.csv"):
        (folder / name).write_text("")
    assert proposed(monkeypatch, "mpc-router-sweep ./ti") == ["./tickets.yaml"]


def test_every_setting_with_named_values_proposes_them() -> None:
    forms = trial_forms()
    for section in SECTIONS.values():
        default = section()
        for name in (name for name, form in forms.items() if form.choices()):
            values = [word.partition("=")[2] for word in setting_words(f"{name}=", forms)]
            assert values == list(forms[name].choices())
            if isinstance(value := getattr(default, name, ""), str) and value:
                assert value in values


def test_the_flags_of_a_sweep_are_proposed_for_tune(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: set[str] = set()
    monkeypatch.setattr(tune, "is_asked", lambda: True)
    monkeypatch.setattr(tune, "answer_shell", lambda made: asked.update(made.flags()))
    with pytest.raises(SystemExit):
        tune.main([])
    assert {"--alphas", "--config", "--dry-run", "--sample"} < asked


def test_a_shell_is_answered_without_torch_and_before_any_word_is_read(tmp_path: Path) -> None:
    line = "mpc-router-sweep mrpc_grid gate=s"
    asked = {"_ARGCOMPLETE": "1", "COMP_LINE": line, "COMP_POINT": str(len(line))}
    code = "from mpc_router.commands.doors import sweep; sweep(['--bogus'])"
    answer = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code],
        env={**os.environ, **asked, "_ARGCOMPLETE_STDOUT_FILENAME": str(tmp_path / "words")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (tmp_path / "words").read_text().strip() == "gate=softmax"
    imported = {entry.rpartition("|")[2].strip() for entry in answer.stderr.splitlines()}
    assert "argcomplete" in imported
    assert not {"torch", "ray", "pandas", "transformers", "optuna", "pyarrow"} & imported


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_the_registration_is_read_by_the_shell(shell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell}")
    text = completion.registration(shell)
    assert "mpc-router-sweep" in text
    subprocess.run([shell, "-n"], input=text, text=True, check=True)
    assert runs.parser().prog in text
    assert train.parser().prog in text
