from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import analysis

PACKAGE = Path(analysis.__file__).parent
OURS = {"mpc_router", "sweeps", "cluster", "analysis"}
SHARED = (
    "run_names",
    "tasks",
    "costs",
    "pricing.measured_costs",
    "messages",
    "plain_names",
    "shapes",
    "terminal.flags",
    "terminal.streams",
    "terminal.console",
    "plugins",
    "routes",
    "config.pools",
    "storage.private_folder",
)
ALLOWED = {f"mpc_router.{name}" for name in SHARED}


def _imported(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=str)
def test_analysis_imports_of_ours_only_what_stands_on_the_ground_floor(path: Path) -> None:
    ours = {name for name in _imported(path) if name.split(".")[0] in OURS - {"analysis"}}
    assert ours <= ALLOWED


@pytest.mark.parametrize(
    "module", ["analysis", "analysis.runs.load", "analysis.front", "analysis.report"]
)
def test_importing_loads_nothing_heavy(module: str) -> None:
    heavy = {"torch", "ray", "pandas", "altair", "pyarrow", "moocore", "scipy", "optuna"}
    code = f"import {module}, sys; print(*{heavy} & set(sys.modules))"
    found = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert found.strip() == ""


@pytest.mark.parametrize("command", ["front", "report", "compare", "export"])
def test_help_loads_nothing_heavy(command: str) -> None:
    heavy = {"torch", "ray", "pandas", "altair", "moocore", "scipy", "optuna", "datasets"}
    heavy |= {"importlib.metadata", "email", "inspect", "mpc_router.plugins"}
    arguments = [sys.executable, "-X", "importtime", "-m", f"analysis.{command}", "--help"]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "usage:" in done.stdout
    assert heavy.isdisjoint(loaded)
