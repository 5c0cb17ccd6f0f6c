"""The plan of the house as tests; `make check` holds the import rules themselves."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def loaded_by(statement: str) -> set[str]:
    """Top-level packages in memory after the statement, in a fresh interpreter."""
    code = f"{statement}; import sys; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "module",
    [
        "sweeps",
        "analysis",
        "analysis.schema",
        "mpc_router",
        "mpc_router.config.trial",
        "sweeps.records",
        "sweeps.journal.journal",
        "sweeps.study.study",
        "sweeps.driver.session",
        "sweeps.commands.new",
        "sweeps.worker.shared_parts",
        "mpc_router.trainer",
    ],
)
def test_a_light_import_loads_no_framework(module: str) -> None:
    heavy = {"torch", "ray", "transformers", "optuna", "pandas", "altair"}
    assert not heavy & loaded_by(f"import {module}")


def test_a_worker_imports_torch_and_nothing_else_that_is_heavy() -> None:
    """Before it trains: numba and scipy come with compiled loops, pandas with Ray Tune."""
    modules = ("sweeps.worker.pack", "mpc_router.frozen.train", "mpc_router.frozen._loop")
    heavy = {"transformers", "tokenizers", "datasets", "huggingface_hub", "optuna", "altair"}
    heavy |= {"ray", "pandas", "sklearn", "matplotlib", "moocore", "scipy"}
    loaded = loaded_by(f"import {', '.join(modules)}")
    assert "torch" in loaded
    assert not heavy & loaded


def test_the_published_names_are_all_there() -> None:
    import mpc_router

    published = {
        "GatedBertPool",
        "CompositeLoss",
        "GLUEDataLoader",
        "RouterStem",
        "ExpertPool",
        "MLPRouter",
        "BertExpert",
        "RoutedClassifier",
        "TaskLoss",
        "LoadBalancingLoss",
        "CostAwareLoss",
    }
    assert published == set(mpc_router.__all__)
    for name in published:
        assert getattr(mpc_router, name).__name__ == name


def test_an_unknown_name_is_an_attribute_error() -> None:
    import mpc_router

    with pytest.raises(AttributeError, match="GatedBertPol"):
        _ = mpc_router.GatedBertPol


def test_help_of_the_command_is_quick_because_it_loads_little() -> None:
    heavy = {"torch", "ray", "transformers", "pandas", "altair", "yaml"}
    code = (
        "import sys, contextlib, io\n"
        "sys.argv = ['sweeps.run', '--help']\n"
        "from sweeps import run\n"
        "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):\n"
        "    run.main()\n"
        "print(*{name.partition('.')[0] for name in sys.modules})\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not heavy & set(done.stdout.split())


def test_git_ignores_no_file_of_a_room() -> None:
    """A room called `runs` or `build` would be neither committed nor linted, and nothing said."""
    rooms = ("mpc_router", "sweeps", "cluster", "analysis", "tests", "benchmarks", "configs")
    endings = {".py", ".typed", ".yaml", ".ipynb", ".parquet", ".json", ".html", ".css", ".js"}
    files = [
        str(path.relative_to(ROOT))
        for room in rooms
        for path in sorted((ROOT / room).rglob("*"))
        if path.suffix in endings and ".ipynb_checkpoints" not in path.parts
    ]
    if not (ROOT / ".git").exists():
        pytest.skip("no checkout")
    done = subprocess.run(
        ["git", "check-ignore", "--no-index", "--stdin"],
        input="\n".join(files),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert len(files) > 300
    assert done.returncode == 1, done.stdout + done.stderr  # 1: none of them is ignored
