"""Prepares a killed or damaged run for a resume.

It removes temporary files, checks bulk files, and reopens the trials that are to be trained again.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sweeps.journal import bulk_files
from sweeps.journal.journal import Journal
from sweeps.journal.kept_routers import remove_routers
from sweeps.journal.kept_states import remove_unnamed
from sweeps.journal.state import State
from sweeps.records import (
    BUDGET,
    CHECKPOINTS_FOLDER,
    FAILED,
    INSIDE,
    PARTS_FOLDER,
    STATES_FOLDER,
    InputError,
)
from sweeps.run_folder import RunFolder


def clear(run: Path, state: State) -> None:
    """Removes the temporary files of killed sessions; the caller holds the journal's lock.

    A file is written under a temporary name and renamed when it is complete, so a temporary file
    without a writer is never completed. States of packs and routers that the journal does not name
    go too.
    """
    checkpoints = run / CHECKPOINTS_FOLDER
    folders = (run / PARTS_FOLDER, run / STATES_FOLDER, checkpoints, *_folders_in(checkpoints))
    for folder in (run, *folders):
        for path in () if folder != run and folder.is_symlink() else folder.glob(".*.tmp"):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
    remove_unnamed(run, state)
    if not state.done:  # else nothing was trained since this was called before
        remove_routers(run, state)


def _folders_in(folder: Path) -> list[Path]:
    """Gives the paths in a folder; none if it is a link."""
    return [] if folder.is_symlink() else list(folder.glob("*"))


def damaged_parts(run: Path, state: State) -> dict[str, str]:
    """Gives the reason by name of a bulk file that is damaged or missing."""
    needed = {bulk_files.EXAMPLES, bulk_files.EXPERTS} & state.parts.keys()
    for ending in state.endings.values():
        if ending.status != FAILED:
            needed |= set(ending.files)
    reasons = {}
    for name in sorted(needed):
        try:
            if bulk_files.digest(RunFolder(run).part(name)) != state.parts[name]:
                reasons[name] = "is damaged"
        except OSError as error:
            reasons[name] = error.strerror or "cannot be read"
    return reasons


def _trials_of(names: set[str], state: State) -> list[str]:
    """Gives the keys of the trials with these bulk files, and of all trials of their brackets."""
    return _with_brackets(
        {key for key, ending in state.endings.items() if names.intersection(ending.files)},
        state,
    )


def _with_brackets(keys: set[str], state: State) -> list[str]:
    """Gives the keys of these trials and of those that were ranked with them inside their packs.

    Trials that a later pack has finished are left out.
    """
    brackets = {
        name
        for name in (state.pack_of[key] for key in keys)
        if state.packs[name].stopping == INSIDE
    }
    return [key for key in state.trials if key in keys or state.pack_of[key] in brackets]


def retry_failed(journal: Journal) -> str:
    """Reopens the FAILED trials, and gives a sentence about them.

    All trials of their brackets begin anew and are ranked anew: a trial may have gone on in place
    of the failed one, and the front may move.
    """
    state = journal.state
    failed = {key for key, ending in state.endings.items() if ending.status == FAILED}
    if not failed:
        return "no trial FAILED, so none is retried"
    keys = _with_brackets(failed, state)
    journal.append("reopened", keys=keys, reason="--retry-failed", anew=True)
    mates = len(keys) - len(failed)
    more = f", and with them {mates} of their brackets" if mates else ""
    return f"{len(failed)} FAILED trials are retried{more}"


def trains(
    run: Path, state: State, *, budget: Mapping[str, Any], repair: bool, retry: bool
) -> bool:
    """Tells whether a resume with this budget and these flags has trials to train."""
    if state.closed == BUDGET and budget == state.study["budget"]:
        return False  # the budget is used up
    if not state.done:
        return True
    failed = any(ending.status == FAILED for ending in state.endings.values())
    if retry and failed:
        return True
    return repair and bool(_trials_of(set(damaged_parts(run, state)), state))


def refuse_damage(run: Path, state: State) -> None:
    """Refuses a run with damaged bulk files before any trial is trained.

    Raises:
        InputError: there are some.
    """
    damaged = damaged_parts(run, state)
    if damaged:
        first, reason = next(iter(damaged.items()))
        more = f" (and {len(damaged) - 1} more)" if len(damaged) > 1 else ""
        count = len(_trials_of(set(damaged), state))
        raise InputError(
            f"{run / PARTS_FOLDER / first} {reason}{more}; --resume {run} --repair trains "
            f"{count} trials again"
        )


def reopen(journal: Journal, damaged: Mapping[str, str], shared: Mapping[str, str]) -> str:
    """Reopens the trials whose bulk files are damaged, and gives a sentence about them.

    `damaged` gives the reason by file. `shared` gives the hashes of the shared files, which were
    written again: another version of the library may write the same content in other bytes.
    """
    keys = _trials_of(set(damaged), journal.state)
    reason = "; ".join(f"{name} {cause}" for name, cause in damaged.items())
    journal.append("reopened", keys=keys, reason=reason, parts=shared)
    return f"repair: {reason}; {len(keys)} trials are trained again"
