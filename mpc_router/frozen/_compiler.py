"""Compiles Python loops by numba; what is compiled is kept where only its owner may enter.

Numba unpickles what it has kept, so a folder that others may enter is not used: then every process
compiles anew. `NUMBA_CACHE_DIR` is heeded under the same condition.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import numba
import platformdirs
from llvmlite import binding
from numba.core.caching import FunctionCache, NullCache, UserProvidedCacheLocator
from numba.core.dispatcher import Dispatcher
from numba.core.registry import cpu_target

from mpc_router.storage.private_folder import is_private

_WIDEST: Final = "-prefer-256-bit"
"""Lets loops use the widest vectors of a processor. Compilers avoid them by default where a few of
them slow down what runs beside; these loops are little else (measured: products take 0.7 of the
time on a processor with vectors of 512 bits)."""


def _processor() -> tuple[str, ...]:
    """Gives what numba compiles for in this process; the first to ask decides it."""
    if numba.config.CPU_FEATURES is None:  # else the user has chosen
        numba.config.CPU_FEATURES = f"{binding.get_host_cpu_features().flatten()},{_WIDEST}"
    return tuple(cpu_target.target_context.codegen().magic_tuple())


PROCESSOR: Final = _processor()
"""Says what is compiled for, as LLVM's triple, processor, and features: it is decided here, before
the first function is made."""

Function = TypeVar("Function", bound=Callable[..., object])

_FOLDER: Final = "mpc-router-compiled"

_REORDERED: Final = frozenset({"contract", "reassoc", "nsz"})

_SOURCES: Final = ("_kernel.py", "_products.py", "_compiler.py", "_optimizer.py")
"""The files that compiled loops are made of."""


def compiled(function: Function) -> Function:
    """Compiles a function whose sums may be fused with products, and reordered for vectors."""
    return _kept(function, fastmath=set(_REORDERED))


def exact(function: Function) -> Function:
    """Compiles a function whose operations are rounded one by one, as they are written."""
    return _kept(function, fastmath=False)


def inlined(function: Function) -> Function:
    """Makes a function part of every compiled function that calls it."""
    return cast(Function, numba.njit(inline="always", error_model="numpy")(function))


def inlined_by_reciprocals(function: Function) -> Function:
    """Makes a function part of every compiled function that calls it, and its divisions products.

    They are products with reciprocals that are right but for the last bits; what is infinite, or
    divided by something infinite, may become NaN.
    """
    flags = {*_REORDERED, "arcp", "afn", "ninf"}
    return cast(
        Function, numba.njit(forceinline=True, error_model="numpy", fastmath=flags)(function)
    )


def _kept(function: Function, **options: Any) -> Function:
    """Compiles a function that runs without Python's lock, and caches the result.

    The cache is a private folder of this user.
    """
    loops = numba.njit(nogil=True, error_model="numpy", no_cfunc_wrapper=True, **options)(function)
    folder = _folder()
    if folder is not None and isinstance(loops, Dispatcher):  # it is not where nothing is compiled
        loops._cache = _kept_in(folder, loops.py_func)  # type: ignore[attr-defined]  # private
    return cast(Function, loops)


def _folder() -> Path | None:
    """Gives the private folder of what is compiled from these files for this processor, if any.

    Numba itself looks at the text of one file alone, and gives what several kinds of processors
    compile at once the same names.
    """
    base = Path(os.environ.get("NUMBA_CACHE_DIR") or platformdirs.user_cache_path(_FOLDER))
    here = Path(__file__).parent
    texts = [(here / name).read_bytes() for name in _SOURCES]
    processor = " ".join(PROCESSOR).encode()
    digest = hashlib.sha256(b"\0".join([*texts, processor])).hexdigest()[:16]
    return base / digest if is_private(base) and is_private(base / digest) else None


def _kept_in(folder: Path, function: Callable[..., object]) -> FunctionCache | NullCache:
    """Gives a cache below this folder alone: numba would go on to folders that others may enter."""
    before = numba.config.CACHE_DIR, numba.config.CACHE_LOCATOR_CLASSES
    numba.config.CACHE_DIR = str(folder)
    numba.config.CACHE_LOCATOR_CLASSES = UserProvidedCacheLocator.__name__
    try:
        return _Cache(function)
    except RuntimeError:  # the folder cannot be written to
        return NullCache()
    finally:
        numba.config.CACHE_DIR, numba.config.CACHE_LOCATOR_CLASSES = before


class _Cache(FunctionCache):  # type: ignore[misc]  # numba has no types
    """Keeps compiled functions; what cannot be read or written is compiled anew."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Gives what was compiled for a signature, or None."""
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # whatever is raised while a damaged file is read
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keeps what was compiled for a signature, if the disk takes it."""
        with contextlib.suppress(OSError):
            super().save_overload(sig, data)
