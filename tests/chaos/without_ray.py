"""`python -m tests.chaos.without_ray STUDY ...`: the command, its packs trained in its own process.

A driver that is killed here dies like any other, and is there in seconds. Its packs keep a state
after every epoch, so that it is also killed while one is written, and goes on from others.
"""

from __future__ import annotations

import sys

import pytest

from sweeps.run import main
from sweeps.worker import _kept_states
from tests.sweeps.conftest import without_ray

if __name__ == "__main__":
    with pytest.MonkeyPatch.context() as patch:
        without_ray(patch)
        patch.setattr(_kept_states, "STATE_PAUSE", 0.0)
        patch.setattr(_kept_states, "_SHARE", 0)
        sys.exit(main())
