"""Compiles Python loops by numba; what is compiled is kept where only its owner may enter.

Numba unpickles what it has kept, so a folder that others may enter is not used: then every process
compiles anew. `NUMBA_CACHE_DIR` is heeded under the same condition.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import numba
import platformdirs

Function = TypeVar("Function", bound=Callable[..., object])

_FOLDER: Final = "mpc-router-compiled"


def compiled(function: Function) -> Function:
    """Compiles a function whose sums may be fused with products, and reordered for vectors."""
    return _kept(function, fastmath={"contract", "reassoc", "nsz"})


def exact(function: Function) -> Function:
    """Compiles a function whose operations are rounded one by one, as they are written."""
    return _kept(function, fastmath=False)


def inlined(function: Function) -> Function:
    """Makes a function part of every compiled function that calls it."""
    return cast(Function, numba.njit(inline="always", error_model="numpy")(function))


def _kept(function: Function, **options: Any) -> Function:
    """Compiles a function that lets other threads run, and keeps it in the owner's folder."""
    folder = numba.config.CACHE_DIR
    path = Path(folder or platformdirs.user_cache_path(_FOLDER))
    cache = _is_private(path)
    numba.config.CACHE_DIR = str(path)
    try:
        return cast(
            Function,
            numba.njit(
                nogil=True, error_model="numpy", no_cfunc_wrapper=True, cache=cache, **options
            )(function),
        )
    finally:
        numba.config.CACHE_DIR = folder


def _is_private(folder: Path) -> bool:
    """Tells whether a folder, which is made where it is missing, is one that only we may enter."""
    try:
        folder.mkdir(parents=True, mode=0o700, exist_ok=True)
        status = folder.stat()
    except OSError:
        return False
    return status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IRWXG | stat.S_IRWXO)
