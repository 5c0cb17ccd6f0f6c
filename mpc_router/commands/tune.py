"""`mpc-router-tune`: the door to `sweeps.tune`, if the package `sweeps` is this project's.

Another project's package has that name too, and where both are installed Python may find the other.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from mpc_router.flags import BAD_INPUT
from mpc_router.messages import shown
from mpc_router.streams import command, say_error

_OURS: Final = Path(__file__).resolve().parents[2] / "sweeps"


@command("sweep")
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    spec = importlib.util.find_spec("sweeps")
    places = list(spec.submodule_search_locations or []) if spec is not None else []
    if not any(Path(place).resolve() == _OURS for place in places):
        return say_error(
            f"the package 'sweeps' that Python finds is another project's ({shown(places)}), and "
            f"this one's is {shown(_OURS)}; call `python -m sweeps.tune` in the checkout of "
            "mpc-router, or uninstall the other package",
            BAD_INPUT,
        )
    # by its name, because nothing in mpc_router knows of sweeps
    code: int = importlib.import_module("sweeps.tune").main(arguments)
    return code


if __name__ == "__main__":
    sys.exit(main())
