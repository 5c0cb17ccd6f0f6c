"""The module has Python take the packages beside this one, whatever stands first on its path."""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from pathlib import Path
from typing import Final

from mpc_router.messages import shown

BESIDE: Final = ("sweeps", "analysis", "cluster")
"""Names the packages of this project that stand beside `mpc_router`.

Others have such names too: W&B has a package `sweeps`, and many folders a file `analysis.py`.
"""

_ROOT: Final = Path(__file__).resolve().parents[1]


class ForeignPackageError(ImportError):
    """Says in one message that another project's package stands in for one of this project's."""


def load_beside() -> None:
    """Imports the packages beside this one from where this one is, so that later imports find them.

    Their `__init__` files import nothing, so this costs under a millisecond.

    Raises:
        ForeignPackageError: another project's package of that name is imported already, or has
            taken the place of this project's files.
    """
    for name in BESIDE:
        if name in sys.modules:
            _check_ours(name)
        else:
            _load(name)


def _check_ours(name: str) -> None:
    """Refuses an imported package that is another project's."""
    places = [str(place) for place in getattr(sys.modules[name], "__path__", ())]
    if _ROOT / name not in (Path(place).resolve() for place in places):
        found_at = places or getattr(sys.modules[name], "__file__", None) or "nowhere"
        raise ForeignPackageError(
            f"the package {name!r} that Python has imported is another project's "
            f"({shown(found_at)}), and this one's is {shown(_ROOT / name)}; call a command "
            "mpc-router-..., which finds its own packages, in a process that has not imported it",
            name=name,
        )


def _load(name: str) -> None:
    """Imports a package from the folder that `mpc_router` is in."""
    spec = PathFinder.find_spec(name, [str(_ROOT)])
    if spec is None or spec.loader is None or not spec.submodule_search_locations:
        raise ForeignPackageError(
            f"there is no package {name!r} in {shown(_ROOT)}, where mpc_router is; install "
            "mpc-router again",
            name=name,
        )
    module = module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
