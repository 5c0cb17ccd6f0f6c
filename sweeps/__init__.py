"""The sweep orchestrator: studies of many trials, their journal and their tables."""

from importlib import import_module
from typing import Any

__all__ = ["run_study"]


def __getattr__(name: str) -> Any:
    if name == "run_study":
        return import_module("sweeps.python").run_study
    raise AttributeError(f"module 'sweeps' has no attribute {name!r}")
