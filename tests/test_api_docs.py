"""docs/API.md holds every public name and no other; the file itself is written by `make docs`."""

from __future__ import annotations

import ast
import importlib.util
import itertools
import re
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs" / "API.md"


@pytest.fixture(scope="module")
def api() -> types.ModuleType:
    pytest.importorskip("griffe", reason="griffelib is a dependency of development")
    spec = importlib.util.spec_from_file_location("api", ROOT / "docs" / "api.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def names_in_source(root: Path, package: str) -> Iterator[str]:
    """Full paths of the public names of a package, from the syntax alone."""
    for path in sorted((root / package).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        if parts[-1] == "__init__":
            parts = parts[:-1]
        if not any(part.startswith("_") for part in parts):
            name = ".".join(parts)
            yield name
            yield from names_in_body(ast.parse(path.read_text()).body, name)


def names_in_body(body: list[ast.stmt], scope: str) -> Iterator[str]:
    """Public names that a module or class defines."""
    for statement in body:
        for name in bound_by(statement):
            if not name.startswith("_"):
                yield f"{scope}.{name}"
        if isinstance(statement, ast.ClassDef) and not statement.name.startswith("_"):
            yield from names_in_body(statement.body, f"{scope}.{statement.name}")
        elif isinstance(statement, ast.If):
            yield from names_in_body(statement.body, scope)
        elif isinstance(statement, ast.FunctionDef) and statement.name == "__init__":
            for name in documented_on_the_way(statement.body):
                yield f"{scope}.{name}"


def bound_by(statement: ast.stmt) -> list[str]:
    if isinstance(statement, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return [statement.name]
    targets: list[ast.expr] = []
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, ast.AnnAssign):
        targets = [statement.target]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def documented_on_the_way(body: list[ast.stmt]) -> Iterator[str]:
    """Public attributes that `__init__` sets, where a docstring follows."""
    for statement, after in itertools.pairwise(body):
        is_text = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
        targets = statement.targets if isinstance(statement, ast.Assign) else []
        if isinstance(statement, ast.AnnAssign):
            targets = [statement.target]
        for target in targets:
            if isinstance(target, ast.Attribute) and is_text and not target.attr.startswith("_"):
                yield target.attr


def names_in_document(text: str) -> Iterator[str]:
    """Full paths of the names that the document has: its headings, and the lists below them."""
    scope = ""
    for line in text.splitlines():
        if found := re.match(r'#+ <a id="([\w.]+)"></a>', line):
            scope = found[1]
            yield scope
        elif found := re.match(r"- \*\*`(\w+)`\*\*", line):
            yield f"{scope}.{found[1]}"


def test_every_public_name_is_in_the_document_and_none_is_stale() -> None:
    written = set(names_in_document(DOCUMENT.read_text()))
    packages = ("mpc_router", "sweeps", "analysis", "cluster")
    defined = {name for package in packages for name in names_in_source(ROOT, package)}
    lacking, stale = sorted(defined - written), sorted(written - defined)
    assert not lacking, f"docs/API.md lacks {lacking}: run `make docs`"
    assert not stale, f"docs/API.md has {stale}, which are no more: run `make docs`"


SOURCE = '''
"""What this is.

Letters: B batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

LIMIT = 3
"""Not more than `LIMIT`."""

_HIDDEN = 4


@dataclass(frozen=True, kw_only=True)
class Thing:
    """A thing of <that> kind."""

    size: int
    """(B,) of them."""

    name: str = "it"

    @property
    def twice(self) -> int:
        """Two of it."""
        return 2 * self.size

    def grow(self, by: int, /, *more: int, hard: bool = False) -> "Thing":
        """A larger one.

        first:   size + by
        second:  size * by

        Raises:
            ValueError: it cannot grow,
                not at all.
        """
        return self

    def _private(self) -> None: ...


class Counter:
    """Counts."""

    def __init__(self, start: int = 0) -> None:
        self.at = start
        self.seen = start
        """How many."""


def work(
    things: Sequence[Thing], *, slowly: bool = False, a_long_name_of_something: str = ""
) -> None:
    """Works on `things`, __never__ on *none*."""


def _secret() -> None: ...
'''


@pytest.fixture(scope="module")
def rendered(api: types.ModuleType, tmp_path_factory: pytest.TempPathFactory) -> str:
    root = tmp_path_factory.mktemp("code")
    package = root / "shop"
    package.mkdir()
    (package / "__init__.py").write_text(
        '"""A shop."""\n_HOMES = {"Thing": "things"}\nfrom shop import things as aliased\n'
    )
    (package / "things.py").write_text(SOURCE)
    (package / "_inner.py").write_text("def unseen(): ...\n")
    text: str = api.document(root, ("shop",))
    assert set(names_in_document(text)) == set(names_in_source(root, "shop"))
    assert str(root) not in text
    assert api.document(root, ("shop",)) == text
    return text


@pytest.mark.parametrize(
    "name", ["_HIDDEN", "_private", "_secret", "unseen", "aliased", "**`at`**"]
)
def test_what_is_private_or_imported_is_left_out(rendered: str, name: str) -> None:
    assert name not in rendered


@pytest.mark.parametrize(
    "part",
    [
        "**[shop](#shop)**: A shop.",
        "- [shop.things](#shop.things): What this is.",
        "- `from shop import Thing`: [shop.things.Thing](#shop.things.Thing)",
        "- **`LIMIT`** (`= 3`): Not more than `LIMIT`.",
        "```python\n@dataclass(frozen=True, kw_only=True)\nclass Thing\n```",
        "A thing of &lt;that> kind.",
        "- **`size`** (`int`): (B,) of them.\n- **`name`** (`str = 'it'`)\n",
        "- **`twice`** (`int`): Two of it.",
        "def grow(by: int, /, *more: int, hard: bool = False) -> Thing\n",
        "```text\nfirst:   size + by\nsecond:  size * by\n```",
        "Raises:\n\n- `ValueError`: it cannot grow, not at all.",
        "class Counter(start: int = 0)\n",
        "- **`seen`** (`= start`): How many.",
        "def work(\n    things: Sequence[Thing],\n    *,\n    slowly: bool = False,\n",
        r"Works on `things`, \_\_never\_\_ on \*none\*.",
    ],
)
def test_the_document_shows_what_the_source_says(rendered: str, part: str) -> None:
    assert part in rendered
