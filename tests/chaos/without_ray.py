"""`python -m tests.chaos.without_ray STUDY ...`: the command, its packs trained in its own process.

A driver that is killed here dies like any other, and is there in seconds.
"""

from __future__ import annotations

import sys

import pytest

from sweeps.run import main
from tests.sweeps.conftest import without_ray

if __name__ == "__main__":
    with pytest.MonkeyPatch.context() as patch:
        without_ray(patch)
        sys.exit(main())
