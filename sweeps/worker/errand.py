"""The module does an errand of preparation on a worker: an encoder is trained, and asked."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path

from mpc_router.experts.errands import Errand
from mpc_router.model.sources import ModelError
from mpc_router.terminal.progress import StepCounts


def run_errand(
    pickled: bytes,
    copies: Mapping[str, str],
    cache: Path | None,
    advance: Callable[[int], object],
) -> str | None:
    """Does an errand of this command's own, and tells of its steps; gives why it is refused.

    `copies` are folders of this machine by the folders that they are copies of. What the errand
    leaves lies in `cache`, or, where that is None, in the cache that it names.
    """
    errand: Errand = pickle.loads(pickled)
    try:
        errand.moved(copies, cache).run(StepCounts(advance))
    except ModelError as error:
        return str(error)
    return None
