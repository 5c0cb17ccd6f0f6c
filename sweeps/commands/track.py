"""The module tells trackers of a run that has been trained: `--run RUN --track NAME`."""

from __future__ import annotations

import argparse

from sweeps.journal.journal import check_opened, state_of
from sweeps.records import JOURNAL_FILE, InputError, SweepError
from sweeps.run_folder import RunFolder
from sweeps.terminal.display import Display
from sweeps.tracking.process import track_afterwards


def track_run(args: argparse.Namespace) -> int:
    """Runs `--run RUN --track NAME`; writes nothing but what the tracker writes, and gives 0.

    Raises:
        InputError: the words do not fit, the folder holds no run, or a tracker is not installed.
        SweepError: a tracker failed.
    """
    if args.words:
        raise InputError(
            f"--run RUN --track tells of the run's own study; leave out {' '.join(args.words)}"
        )
    folder = RunFolder(args.run)
    if not folder.journal.is_file():
        raise InputError(f"{args.run} holds no {JOURNAL_FILE}; name a run's folder")
    folder.check()
    state = state_of(folder.journal)
    if state.opened is None:
        raise InputError(f"{args.run} was never begun; there is nothing to tell")
    check_opened(folder.journal, state)
    if not track_afterwards(args.track, args.run, Display().say):
        raise SweepError("not every tracker has taken the run")
    return 0
