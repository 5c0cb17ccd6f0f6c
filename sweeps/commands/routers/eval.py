"""The command `mpc-router-eval`, which takes routers out of runs as well as checkpoints."""

from __future__ import annotations

import sys

from mpc_router.commands import eval as of_checkpoints
from sweeps.commands.routers._router_flags import door

parser, main = door(__name__, of_checkpoints.parser, of_checkpoints.evaluate)

if __name__ == "__main__":
    sys.exit(main())
