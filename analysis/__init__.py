"""Reads run folders: fronts, yardsticks, utilization, report. Knows neither models nor Ray.

What people use is given lazily, so that `import analysis` loads no pandas.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "load_run": "runs.load",
    "survey": "fronts.survey",
    "compare_runs": "fronts.comparison",
    "choose": "choices.choice",
    "write_report": "report.page",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"analysis.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'analysis' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
