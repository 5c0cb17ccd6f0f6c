"""The functions that are installed as `mpc-router-...` and whose code is beside `mpc_router`.

Each hands its words to a module of `sweeps`, `analysis` or `cluster` by that module's name, for
nothing in `mpc_router` imports them. Other projects have packages of these names too. These doors
find this project's, whatever stands first on Python's path.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence

from mpc_router.messages import shown
from mpc_router.terminal.flags import BAD_INPUT
from mpc_router.terminal.streams import Main, command, say_error


def _door(module_name: str, extra: str) -> Main:
    """Makes the door to the `main` of a module; `extra` is the optional part that it needs."""

    @command(extra)
    def main(arguments: Sequence[str] | None = None) -> int:
        module = importlib.import_module(module_name)
        if not hasattr(module, "main"):
            return say_error(
                f"{shown(module.__file__)} is another project's file in the place of this one's; "
                "uninstall the other package, and install mpc-router again",
                BAD_INPUT,
            )
        code: int = module.main(arguments)
        return code

    return main


sweep = _door("sweeps.run", "sweep")
tune = _door("sweeps.tune", "sweep")
runs = _door("sweeps.commands.runs", "sweep")
evaluate = _door("sweeps.commands.routers.eval", "analysis")
demo = _door("sweeps.commands.routers.demo", "analysis")
export = _door("sweeps.commands.routers.export", "analysis")
price = _door("sweeps.commands.routers.price", "analysis")
front = _door("analysis.front", "analysis")
report = _door("analysis.report.__main__", "analysis")
compare = _door("analysis.compare", "analysis")
cluster = _door("cluster.__main__", "sweep")
