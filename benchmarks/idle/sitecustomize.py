"""Gives workers packs that do nothing: Python imports a module of this name as it starts."""

import os
import sys
import time
import types


def _run_pack(pack, job, *, kept=None, progress=None):  # type: ignore[no-untyped-def]
    """Sends the messages of a pack without training it, as fast as they are taken."""
    from benchmarks.idle_packs import messages

    for message in messages(pack):
        time.sleep(float(os.environ.get("IDLE_SECONDS", "0")))
        yield message


if any("ray" in word and "worker" in word for word in sys.orig_argv):
    module = types.ModuleType("sweeps.worker.pack")
    module.run_pack = _run_pack  # type: ignore[attr-defined]
    sys.modules["sweeps.worker.pack"] = module
