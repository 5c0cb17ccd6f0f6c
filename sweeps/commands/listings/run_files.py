"""The module measures and removes what a run has written, and follows no link in its folder.

A run folder may come from elsewhere. Folders are entered by handles, and names that no run writes
are neither entered nor removed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from mpc_router.run_names import FURTHER_TABLES, TABLES
from sweeps.commands.listings.run_status import checked_run
from sweeps.journal.locks import held
from sweeps.records import InputError, SweepError
from sweeps.run_folder import RunFolder


def sizes(run: Path) -> dict[str, int]:
    """Gives the bytes of a run by part: journal, tables, parts, checkpoints, report, others.

    Raises:
        InputError: there is no run, or it cannot be read.
    """
    folder = checked_run(run)
    tables = {folder.table(name).name for name in (*TABLES, *FURTHER_TABLES)}
    totals = dict.fromkeys(("journal", "tables", "parts", "checkpoints", "report", "others"), 0)
    kinds = {
        folder.journal.name: "journal",
        folder.parts.name: "parts",
        folder.checkpoints.name: "checkpoints",
        folder.report.name: "report",
        **dict.fromkeys(tables, "tables"),
    }
    try:
        with _entered(run) as handle:
            for name in os.listdir(handle):
                totals[kinds.get(name, "others")] += _bytes(name, handle)
    except OSError as error:
        raise InputError(f"{run}: {error.strerror}; name a run's folder") from error
    return totals


def remove(run: Path) -> list[str]:
    """Removes all that runs write in a folder, and the folder if nothing else is in it.

    Gives the names of what is left. The journal goes last, so that a removal that was broken off
    can be repeated.

    Raises:
        InputError: there is no run, or a sweep runs.
        OSError: the system refuses.
    """
    folder = checked_run(run)
    try:
        with held(folder.journal), _entered(run) as handle:
            names = [name for name in os.listdir(handle) if folder.owns(name)]
            for name in sorted(names, key=lambda name: name == folder.journal.name):
                _remove(name, handle)
            left = sorted(os.listdir(handle))
    except SweepError as error:
        raise InputError(f"{error}; stop it first: touch {folder.stop}") from error
    if not left:
        run.rmdir()
    return left


def foreign(run: Path) -> list[str]:
    """Gives the names in a run's folder that no run writes."""
    return sorted(name for name in os.listdir(run) if not RunFolder(run).owns(name))


@contextlib.contextmanager
def _entered(folder: Path) -> Iterator[int]:
    """Opens a folder that is no link."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield handle
    finally:
        os.close(handle)


def _bytes(name: str, parent: int) -> int:
    """Gives the bytes of a file, or of all files below a folder; a link has none."""
    facts = os.stat(name, dir_fd=parent, follow_symlinks=False)
    if stat.S_ISREG(facts.st_mode):
        return facts.st_size
    if not stat.S_ISDIR(facts.st_mode):
        return 0
    total = 0
    for _, _, files, handle in os.fwalk(name, dir_fd=parent):
        for file in files:
            with contextlib.suppress(FileNotFoundError):  # a sweep that runs renames files
                facts = os.stat(file, dir_fd=handle, follow_symlinks=False)
                total += facts.st_size if stat.S_ISREG(facts.st_mode) else 0
    return total


def _remove(name: str, parent: int) -> None:
    """Removes a file, a link, or a folder with all that is in it."""
    facts = os.stat(name, dir_fd=parent, follow_symlinks=False)
    if stat.S_ISDIR(facts.st_mode):
        shutil.rmtree(name, dir_fd=parent)
    else:
        os.unlink(name, dir_fd=parent)
