"""Opens modules of the package `sweeps` by name, if that package is this project's.

Another project's package has that name too, and where both are installed Python may find the other.
Nothing in `mpc_router` imports `sweeps`: a command that needs a run hands its words on.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from mpc_router.flags import BAD_INPUT
from mpc_router.messages import shown
from mpc_router.streams import say_error

_OURS: Final = Path(__file__).resolve().parents[2] / "sweeps"


def is_ours() -> bool:
    """Says whether the package `sweeps` that Python finds is this project's."""
    return any(Path(where).resolve() == _OURS for where in _places())


def call(module: str, arguments: Sequence[str] | None) -> int:
    """Runs `main` of a module of `sweeps`; gives its exit code, or 2 where it is another's."""
    if not is_ours():
        return say_error(
            f"the package 'sweeps' that Python finds is another project's ({shown(_places())}), "
            f"and this one's is {shown(_OURS)}; call `python -m {module}` in the checkout of "
            "mpc-router, or uninstall the other package",
            BAD_INPUT,
        )
    code: int = importlib.import_module(module).main(arguments)
    return code


def _places() -> list[str]:
    spec = importlib.util.find_spec("sweeps")
    return list(spec.submodule_search_locations or []) if spec is not None else []
