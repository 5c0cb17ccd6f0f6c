"""The plan of the house as tests; `make check` holds the import rules themselves."""

from __future__ import annotations

import subprocess
import sys

import pytest


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
        "mpc_router.config",
        "sweeps.records",
        "sweeps.journal",
        "sweeps.study",
    ],
)
def test_a_light_import_loads_no_framework(module: str) -> None:
    heavy = {"torch", "ray", "transformers", "optuna", "pandas", "altair"}
    assert not heavy & loaded_by(f"import {module}")


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
