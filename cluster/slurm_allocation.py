"""The module reads what Slurm says to a process about the allocation that it runs in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_JOB: Final = "SLURM_JOB_ID"
_END: Final = "SLURM_JOB_END_TIME"

_EARLY: Final = 120.0
"""It is how many seconds before the end Slurm may send the signal of the end.

`cluster.slurm` asks for it 20 seconds before, and Slurm sends it up to a minute earlier.
"""


def end_of(environ: Mapping[str, str]) -> float | None:
    """Gives the end of the Slurm allocation around this process, in seconds since 1970.

    None where there is no allocation, or none with an end.
    """
    text = environ.get(_END, "")
    is_time = text.isascii() and text.isdigit() and len(text) < 16
    return float(text) if environ.get(_JOB) and is_time and int(text) else None


def is_ending(environ: Mapping[str, str], now: float) -> bool:
    """Tells whether a SIGTERM at the time `now` means that the allocation ends.

    A SIGTERM long before the end comes from somebody who wants the job to stop.
    """
    end = end_of(environ)
    return end is not None and now >= end - _EARLY
