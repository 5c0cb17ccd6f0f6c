"""The language of the code as tests on its syntax trees: what variables and docstrings say."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

ROOMS = [
    "analysis",
    "cluster",
    *(f"mpc_router/{room}" for room in ("commands", "config", "data", "frozen", "joint", "model")),
    *(
        f"mpc_router/{room}"
        for room in ("prepare", "pricing", "results", "sample", "serve", "tasks")
    ),
    *(f"sweeps/{room}" for room in ("driver", "journal", "plan", "search", "stopping", "study")),
    *(f"sweeps/{room}" for room in ("commands", "provenance", "raytune", "terminal", "worker")),
    *("docs/_ext", "mpc_router/*.py", "sweeps/python.py", "sweeps/run.py", "sweeps/tune.py"),
]
"""Rooms whose code is held to these rules: a package, a folder of one, or files."""

EMPTY_WORDS = {"said", "found", "mine", "whole", "of", "own", "there", "fresh", "rest"}
"""Names that do not say what a variable holds."""

Definition = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def paths_of(room: str) -> list[Path]:
    return sorted(ROOT.glob(room if room.endswith(".py") else f"{room}/**/*.py"))


def modules(room: str) -> list[tuple[str, ast.Module]]:
    paths = paths_of(room)
    return [(str(path.relative_to(ROOT)), ast.parse(path.read_text("utf-8"))) for path in paths]


def stored_names(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Gives every variable that a function stores data in, and its line."""
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for node in ast.walk(function):
                if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                    yield node.id, node.lineno


def public_definitions(node: Definition, name: str) -> Iterator[tuple[str, Definition]]:
    """Gives a module, and the classes, functions and methods in it without an underscore."""
    yield name, node
    for child in node.body:
        if not isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if child.name.startswith("_"):
            continue
        inner = f"{name}.{child.name}"
        if isinstance(child, ast.ClassDef):
            yield from public_definitions(child, inner)
        else:
            yield inner, child


def empty_words(tree: ast.Module) -> list[tuple[str, int]]:
    return sorted({stored for stored in stored_names(tree) if stored[0] in EMPTY_WORDS})


def open_docstrings(tree: ast.Module) -> list[str]:
    """Gives the first lines of public docstrings that end without a full stop."""
    lines = []
    for name, node in public_definitions(tree, ""):
        first = (ast.get_docstring(node) or "").partition("\n")[0]
        if first and not first.endswith("."):
            lines.append(f"{name or 'the module'}: {first}")
    return lines


@pytest.mark.parametrize("room", ROOMS)
def test_a_variable_says_what_it_holds(room: str) -> None:
    wrong = {path: names for path, tree in modules(room) if (names := empty_words(tree))}
    assert not wrong, f"{room}: (name, line) of variables that do not say what they hold: {wrong}"


@pytest.mark.parametrize("room", ROOMS)
def test_the_first_line_of_a_public_docstring_ends_with_a_full_stop(room: str) -> None:
    wrong = {path: lines for path, tree in modules(room) if (lines := open_docstrings(tree))}
    assert not wrong, f"{room}: {wrong}"


@pytest.mark.parametrize(
    "line",
    [
        "found = 1",
        "for own in (): pass",
        "a, (rest, b) = c",
        "if (said := 1): pass",
        "a = [mine for mine in ()]",
        "def inner(): whole: int = 1",
    ],
)
def test_every_way_to_store_a_variable_counts(line: str) -> None:
    words = [name for name, _ in empty_words(ast.parse(f"def function():\n    {line}\n"))]
    assert len(words) == 1


def test_only_open_first_lines_are_named() -> None:
    code = (
        '"""Module."""\n'
        "class Public:\n"
        '    """Class"""\n'
        '    def method(self):\n        """Method\n\n        more.\n        """\n'
        '    def _private(self):\n        """Private"""\n'
    )
    assert open_docstrings(ast.parse(code)) == [".Public: Class", ".Public.method: Method"]


def test_every_room_is_there() -> None:
    assert all(paths_of(room) for room in ROOMS)
