"""Breaks workers, for tests: Python imports a module of this name on its own as it starts.

`SABOTAGE` is a list, with commas between, of `how:pack:attempts`: the pack's worker is broken after
its first epoch, in so many attempts. `import` breaks every worker as it starts.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import os
import sys
import time
from types import ModuleType
from typing import Any, NoReturn

WANTED = [word.split(":") for word in os.environ.get("SABOTAGE", "").split(",") if word]


def _hang() -> NoReturn:
    while True:
        time.sleep(1)


def _exit() -> NoReturn:
    os._exit(7)


def _hog() -> NoReturn:
    held = []
    while True:
        held.append(bytearray(os.urandom(1 << 20)) * 64)
        time.sleep(0.02)


def _full() -> NoReturn:
    raise OSError(28, "No space left on device")


BREAKS = {"hang": _hang, "exit": _exit, "hog": _hog, "full": _full}


def _sabotaged(stacks: ModuleType) -> None:
    advance = stacks.Stack.advance

    def broken(self: Any, drop: Any) -> Any:
        pack = self._run.pack
        for how, name, attempts in WANTED:
            if self._epochs and pack.name == name and pack.attempt <= int(attempts):
                BREAKS[how]()
        return advance(self, drop)

    stacks.Stack.advance = broken


class _Loader(importlib.abc.Loader):
    def __init__(self, loader: importlib.abc.Loader) -> None:
        self._loader = loader

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        if ["import"] in WANTED:
            raise ImportError("this node has no torch")
        self._loader.exec_module(module)
        _sabotaged(module)


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(
        self, name: str, path: Any, target: Any = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != "sweeps.worker.stack":
            return None
        found = importlib.machinery.PathFinder.find_spec(name, path)
        if found is not None and found.loader is not None:
            found.loader = _Loader(found.loader)
        return found


if WANTED and any("ray" in word and "worker" in word for word in sys.orig_argv):
    sys.meta_path.insert(0, _Finder())
