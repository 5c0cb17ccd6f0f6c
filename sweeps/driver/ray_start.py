"""Starts the process that Ray runs in: on this machine early, while sets are prepared."""

from __future__ import annotations

import contextlib
import importlib
import threading
from typing import Final

from sweeps.driver.share import Share
from sweeps.raytune.process import Machine, RayProcess, ray_process

_NEEDED_AT_THE_END: Final = ("pandas", "scipy.stats", "moocore", "altair")
"""Front and report take two to three seconds of a processor to import them."""


class RayStart:
    """Starts Ray for a session, early or when its first pack is due, and ends it.

    Ray takes seconds to start, mostly waiting, so on this machine `begin` starts it as soon as it
    is sure that there will be a run. A cluster is joined when packs are due.
    """

    def __init__(self, share: Share) -> None:
        self.share = share
        self.workers = share.workers
        """Counts the packs at once: fewer than have room where the study is small."""

        self._hold = contextlib.ExitStack()
        self._process: RayProcess | None = None
        self._over = threading.Event()

    def begin(self) -> None:
        """Starts Ray on this machine, and returns at once; a cluster is joined later.

        Meanwhile this process imports in a thread what it needs at its end.

        Raises:
            SweepError, OSError: the machine has no room for it.
        """
        if self.share.address is None:
            self._start()
            # no daemon: one that is cut off within an extension may abort the process at its end
            threading.Thread(target=_import_ahead, args=(self._over,)).start()

    def __enter__(self) -> RayProcess:
        """Gives the process, which is started unless it was."""
        return self._process or self._start()

    def __exit__(self, *_: object) -> None:
        """Ends the process."""
        self.close()

    def close(self) -> None:
        """Ends the process and all of Ray's, if it was started and not ended yet."""
        self._over.set()
        self._process = None
        self._hold.close()

    def _start(self) -> RayProcess:
        share = self.share
        machine = None
        if share.machine is not None:
            cpus, gpus = share.pack.cpus, share.gpus
            machine = Machine.of(
                share.workers, cpus, gpus, everything=share.machine if share.measures else None
            )
        self._process = self._hold.enter_context(ray_process(share.address, machine))
        return self._process


def _import_ahead(over: threading.Event) -> None:
    """Imports packages of others alone: they wait for no module that this process imports."""
    for name in _NEEDED_AT_THE_END:
        if over.is_set():
            return
        with contextlib.suppress(Exception):  # whatever is broken says so where it is needed
            importlib.import_module(name)
