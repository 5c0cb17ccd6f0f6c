"""Gives a dry step on a claimed GPU, for tests: Python imports a module of this name as it starts.

Torch sees no claimed GPU. So a worker's dry step gives numbers of a GPU that there is not.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from types import ModuleType
from typing import Any


def _claimed(module: ModuleType) -> None:
    def dry_step(pack: Any, job: Any) -> Any:
        return module.DryStep(peak=30, memory=80, gpu_seconds=0.001, cpu_seconds=0.002)

    module.dry_step = dry_step  # type: ignore[attr-defined]


class _Loader(importlib.abc.Loader):
    def __init__(self, loader: importlib.abc.Loader) -> None:
        self._loader = loader

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        _claimed(module)


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(
        self, name: str, path: Any, target: Any = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != "sweeps.worker.dry_step":
            return None
        found = importlib.machinery.PathFinder.find_spec(name, path)
        if found is not None and found.loader is not None:
            found.loader = _Loader(found.loader)
        return found


sys.meta_path.insert(0, _Finder())
