"""README and docs/ say what is: snippets run; commands, flags, studies and links exist."""

from __future__ import annotations

import argparse
import ast
import dataclasses
import importlib
import inspect
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch

import mpc_router
from analysis import schema
from mpc_router.config.pools import POOLS
from mpc_router.config.sections import SECTIONS
from sweeps.journal import _events
from sweeps.study.shipped import shipped_studies
from tests.command_lines import COMMANDS, command_of, examples, parsed, unquoted_patterns
from tests.mpc_router.small_models import save_classifier, save_encoder, some_tokens

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md")), ROOT / "sweeps/README.md"]
TEXTS = {page: page.read_text(encoding="utf-8") for page in PAGES}
EVERYTHING = "\n".join(TEXTS.values())


def blocks(language: str, text: str = EVERYTHING) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def test_the_readme_is_short() -> None:
    text = TEXTS[README]
    assert len(text.splitlines()) <= 150
    assert len(text.split()) <= 1300
    assert "2604.15499" in text


def test_the_published_snippet_runs_as_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (snippet,) = [block for block in blocks("python", TEXTS[README]) if "GatedBertPool" in block]
    monkeypatch.chdir(tmp_path)
    save_encoder(tmp_path / "prajjwal1/bert-tiny", seed=0)
    for seed, name in enumerate(re.findall(r'"([\w-]+/[\w-]+-mrpc)"', snippet), 1):
        save_classifier(tmp_path / name, seed=seed, hidden=8 * seed)
    input_ids, attention_mask = some_tokens(6)
    names: dict[str, Any] = {
        "input_ids": input_ids,
        "attention_mask": attention_mask,
        "token_type_ids": torch.zeros_like(input_ids),
        "labels": torch.tensor([0, 1, 0, 1, 1, 0]),
    }
    exec(snippet, names)
    assert names["predictions"].shape == (6, 2)
    assert names["gating_weights"].shape == (6, 3)
    assert names["chosen_expert"].shape == (6,)
    assert set(names["components"]) == {"task", "balance", "cost"}


OURS = ("mpc_router", "sweeps", "analysis", "cluster")


def test_what_the_pages_import_of_ours_can_be_imported() -> None:
    imports = [
        (node.module, alias.name)
        for block in blocks("python")
        if "(" not in block.partition("\n")[0]  # a signature
        for node in ast.walk(ast.parse(block))
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
        if node.module.partition(".")[0] in OURS
    ]
    assert len(imports) > 30
    for module, name in set(imports):
        assert hasattr(importlib.import_module(module), name), f"{module} has no {name}"


OF_OTHERS = {"--logdir", "--block", "--partition", "--account"}
"""Flags of programs that are not ours."""


def flags_of(made: argparse.ArgumentParser) -> set[str]:
    found = {flag for action in made._actions for flag in action.option_strings}
    for action in made._actions:
        if isinstance(action, argparse._SubParsersAction):
            found = found.union(*(flags_of(each) for each in action.choices.values()))
    return found


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_in_the_reference(command: str) -> None:
    text = TEXTS[ROOT / "docs/reference/commands.md"]
    assert f"## {command}\n" in text
    assert COMMANDS[command].__module__ in text


def test_the_pages_name_no_flag_that_is_not_there() -> None:
    known = set().union(*(flags_of(made()) for made in COMMANDS.values()))
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", EVERYTHING))
    assert named <= known | OF_OTHERS


SH_LINES = sorted({line for block in blocks("sh") for line in block.splitlines()})


@pytest.mark.parametrize("line", SH_LINES)
def test_a_command_in_the_pages_is_one_that_can_be_given(line: str) -> None:
    words = shlex.split(line, comments=True)
    words = words[: words.index(">")] if ">" in words else words
    command = command_of(words)
    if command is not None:
        args = parsed(words)
        assert command != "mpc-router-train" or (ROOT / args.config).is_file()
        if command == "mpc-router-sweep":
            studies = [word for word in args.words if "=" not in word]
            assert all(name in shipped_studies() or name.endswith(".yaml") for name in studies)
    elif words[:1] == ["make"]:
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        assert re.search(rf"^{words[1]}:", makefile, flags=re.MULTILINE)
    else:
        assert words == [] or words[0] in ("source", "python", "tensorboard", "pip", "eval")


EXAMPLES = [line for command in COMMANDS for line in examples(command)]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_every_command_has_examples_that_can_be_given(command: str) -> None:
    lines = examples(command)
    assert lines
    for line in lines:
        words = shlex.split(line, comments=True)
        assert command_of(words) == command
        parsed(words)


@pytest.mark.parametrize("line", sorted({*SH_LINES, *EXAMPLES}))
def test_no_shell_takes_a_word_of_an_example_for_a_pattern(line: str) -> None:
    assert unquoted_patterns(line) == set()


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_shell_reads_every_example_as_it_is_meant(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell}")
    lines = [line for line in EXAMPLES if command_of(shlex.split(line)) is not None]
    script = "".join(f"printf '%s\\n' {line.partition(' #')[0]}; echo --- \n" for line in lines)
    answer = subprocess.run([shell], input=script, capture_output=True, text=True, check=True)
    words = [block.splitlines() for block in answer.stdout.split("---\n")[:-1]]
    assert answer.stderr == ""
    assert words == [shlex.split(line, comments=True) for line in lines]


SCRIPTS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]


def test_every_console_script_is_in_the_reference_and_every_command_is_one() -> None:
    text = TEXTS[ROOT / "docs/reference/commands.md"]
    assert set(re.findall(r"^## (mpc-router-\w+)", text, flags=re.MULTILINE)) == set(SCRIPTS)
    assert {name.split()[0] for name in COMMANDS if name.startswith("mpc")} == set(SCRIPTS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_pages_write_the_installed_commands(page: Path) -> None:
    text = TEXTS[page]
    if page.name in ("commands.md", "troubleshooting.md"):  # they say what `python -m` does
        text = "\n".join(blocks("sh", text))
    assert not re.search(r"python -m (sweeps|analysis\.(front|report|compare)|cluster)", text)


def test_every_table_and_pool_is_explained() -> None:
    for table in schema.TABLES:
        assert f"`{schema.table_file(table)}`" in EVERYTHING
    for pool in POOLS:
        assert f"`{pool}`" in EVERYTHING


@pytest.mark.parametrize("section", SECTIONS.values())
def test_every_setting_has_a_line_that_explains_it(section: type) -> None:
    explained: set[str] = set()
    for base in filter(dataclasses.is_dataclass, section.__mro__):
        (definition,) = ast.parse(inspect.getsource(base)).body
        assert isinstance(definition, ast.ClassDef)
        explained |= {
            statement.target.id
            for statement, after in zip(definition.body, definition.body[1:], strict=False)
            if isinstance(statement, ast.AnnAssign)
            and isinstance(statement.target, ast.Name)
            and isinstance(after, ast.Expr)
        }
    assert {each.name for each in dataclasses.fields(section)} == explained


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", TEXTS[page]):
        assert target.startswith("http") or (page.parent / target).exists(), target


OF_READERS = {"build/docs/index.html", "src/train.py", "runs/first/report.html"} | {
    "tickets/tickets.yaml"
}
"""Files that pages name and the repository has not: a build's, the published code's, a reader's."""

OUR_FOLDERS = "mpc_router|sweeps|analysis|cluster|tests|benchmarks|docs|examples|configs"


@pytest.mark.parametrize(
    "page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=lambda page: str(page.relative_to(ROOT))
)
def test_every_file_of_ours_that_a_page_names_is_there(page: Path) -> None:
    prose = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    files = re.findall(
        r"(?<![\w/.:<>~*{-])((?:[\w.-]+/)+[\w-]+\."
        r"(?:py|md|yaml|toml|json|html|css|js|txt|svg|png|ipynb))\b",
        prose,
    )
    folders = re.findall(rf"`((?:{OUR_FOLDERS})(?:/[\w.-]+)*/?)`", prose)
    mirror = ROOT / "tests" / page.parent.relative_to(ROOT)
    for name in {*files, *folders} - OF_READERS:
        assert any((base / name).exists() for base in (ROOT, page.parent, mirror)), name


def test_the_page_of_the_journal_names_every_kind_of_event_and_every_field_of_all() -> None:
    page = TEXTS[ROOT / "docs/reference/journal.md"]
    (module,) = re.findall(r"automodule:: (\S+)", page)
    written = importlib.import_module(module).__doc__ or ""
    assert re.findall(r"^- `(\w+)`", written, flags=re.MULTILINE) == list(_events.KINDS)
    assert {name for name in _events.HEAD if f"`{name}`" not in page} == set()


def test_every_published_name_is_on_the_api_page_with_its_arguments() -> None:
    text = TEXTS[ROOT / "docs/API.md"]
    assert len(text.splitlines()) <= 200
    for name in mpc_router.__all__:
        call = re.search(rf"{name}\(([^)]*(?:\([^)]*\)[^)]*)*)\)", text)
        assert call, f"docs/API.md lacks {name}"
        known = inspect.signature(getattr(mpc_router, name)).parameters
        given = re.findall(r"(?:^|, )([a-z_]\w*)", call[1])
        assert set(given) <= set(known), f"{name} has no {set(given) - set(known)}"


WRITTEN = {".css", ".md", ".py", ".svg"}
"""All but these in `docs` are pictures of what the reader will see."""


def test_nothing_generated_is_committed_but_pictures() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "docs"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    others = {path for path in map(Path, listed.stdout.split()) if path.suffix not in WRITTEN}
    assert {(path.parent, path.suffix) for path in others} == {(Path("docs/pictures"), ".png")}


def test_every_page_is_in_a_table_of_contents() -> None:
    index = (ROOT / "docs/index.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^(\w+/\w+)$", index, flags=re.MULTILINE))
    pages = {
        str(page.relative_to(ROOT / "docs").with_suffix(""))
        for page in (ROOT / "docs").rglob("*/*.md")
    }
    assert listed == pages


def test_the_page_of_rooms_has_every_room_with_its_docstring() -> None:
    page = TEXTS[ROOT / "docs/explanations/rooms.md"]
    rooms = [
        folder
        for package in ("mpc_router", "sweeps", "cluster", "analysis")
        for folder in (ROOT / package).iterdir()
        if (folder / "__init__.py").is_file()
    ]
    for room in rooms:
        docstring = ast.get_docstring(ast.parse((room / "__init__.py").read_text()))
        assert docstring is not None
        assert f"| `{room.relative_to(ROOT)}/` | {docstring.splitlines()[0]} |" in page
    assert page.count("/` | ") == len(rooms)
