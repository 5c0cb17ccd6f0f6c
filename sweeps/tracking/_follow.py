"""Follows a run's journal and tells a tracker of it: while the run goes on, or afterwards.

The journal's file is all that is read, so a run knows nothing of its trackers, and a tracker learns
the same of a run that is over as of one that goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from mpc_router.run_names import PROVENANCE_FILE, REPORT_FILE, STUDY_FILE
from sweeps.journal.journal import Reader
from sweeps.run_folder import VIEW_FILE, RunFolder
from sweeps.tracking._fold import Fold
from sweeps.tracking._tracker import Tracker

_TABLES: Final = ("trials", "reports")
"""Names the tables that are sent; those with a row for each example are left out."""


def follow(run: Path, tracker: Tracker, is_over: Callable[[], bool]) -> tuple[int, str]:
    """Tells a tracker of everything in a run's journal, and of what is appended to it.

    `is_over` waits a little for the end of the run, and tells whether it has come; what was
    appended up to then is told too. Gives the number of trials, and where they can be seen.

    Raises:
        JournalError: the journal cannot be read.
        Exception: whatever the tracker's library raises.
    """
    reader, fold = Reader(RunFolder(run).journal), Fold()
    keys: set[str] = set()
    begun = over = False
    while not over:
        over = is_over()
        for event in reader.read():
            fold.add(event)
        if fold.state.opened is None:
            continue
        if not begun:
            begun = True
            tracker.begin(fold.sweep())
        for trial in fold.changed():
            keys.add(trial.key)
            tracker.tell(trial)
    for trial in fold.unended():
        keys.add(trial.key)
        tracker.tell(trial)
    return len(keys), tracker.finish(_files(run), fold.last)


def _files(run: Path) -> list[Path]:
    """Gives the files of a run that are worth keeping with it; links are left out."""
    folder = RunFolder(run)
    names = (STUDY_FILE, PROVENANCE_FILE, REPORT_FILE, VIEW_FILE)
    paths = [*map(folder.table, _TABLES), *(run / name for name in names)]
    return [path for path in paths if path.is_file() and not path.is_symlink()]
