"""The program of a process that does errands of another, which holds the other end of a pipe."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from mpc_router.experts._errand_children import BUG, DISK, DONE, LEAVING, REFUSED, STEPS
from mpc_router.model.sources import ModelError
from mpc_router.terminal.progress import StepCounts

if TYPE_CHECKING:  # with torch: this process is to heed its end before that is imported
    from mpc_router.experts.errands import Errand


def outcome(errand: Errand, pipe: Connection[Any, Any]) -> tuple[object, ...]:
    """Does an errand, and says how it has ended: a word, and what is to be raised."""
    try:
        errand.run(StepCounts(lambda count: pipe.send((STEPS, count))))
    except ModelError as error:
        return REFUSED, str(error)
    except OSError as error:
        if error.errno is None:  # an error that is words alone
            return DISK, str(error)
        return DISK, error.errno, error.strerror, error.filename
    except Exception:  # whatever it is: the other process is to raise it
        return BUG, traceback.format_exc()
    return (DONE,)


def main(connection: int, lifeline: int) -> None:
    """Does errands until there are no more; both numbers are of open files."""
    signal.signal(signal.SIGUSR1, _leave)
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()
    pipe: Connection[Any, Any] = Connection(connection)
    while True:
        try:
            errand = pipe.recv()
        except EOFError:
            return
        pipe.send(outcome(errand, pipe))


def _leave(number: int, frame: object) -> None:
    """Ends the process from within what it does, which removes what it has begun."""
    raise SystemExit(1)


def _end_with(lifeline: int) -> None:
    """Ends this process as soon as the other one has ended, or wants no more."""
    os.read(lifeline, 1)
    os.kill(os.getpid(), signal.SIGUSR1)
    time.sleep(LEAVING)
    os._exit(1)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
