"""What a killed or damaged run needs before it goes on: litter cleared, bulk files checked, trials
trained again."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sweeps.journal import bulk_files
from sweeps.journal.journal import Journal
from sweeps.journal.state import State
from sweeps.records import BUDGET, CHECKPOINTS_FOLDER, FAILED, INSIDE, PARTS_FOLDER, InputError
from sweeps.run_folder import RunFolder


def clear(run: Path) -> None:
    """Removes what killed sessions were writing; for the one writer, who holds the journal's lock.

    Files get their names when they are whole: what still has a temporary one never will be.
    """
    for folder in (run, run / PARTS_FOLDER, *_folders_in(run / CHECKPOINTS_FOLDER)):
        for path in () if folder != run and folder.is_symlink() else folder.glob(".*.tmp"):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _folders_in(folder: Path) -> list[Path]:
    """Gives the temporary files of a folder that is no link."""
    return [] if folder.is_symlink() else list(folder.glob("*"))


def damaged_parts(run: Path, state: State) -> dict[str, str]:
    """Names the bulk files that are damaged or missing, each with the reason."""
    needed = {bulk_files.EXAMPLES, bulk_files.EXPERTS} & state.parts.keys()
    for ending in state.endings.values():
        if ending.status != FAILED:
            needed |= {name for name in (ending.part, ending.experts) if name}
    found = {}
    for name in sorted(needed):
        try:
            if bulk_files.digest(RunFolder(run).part(name)) != state.parts[name]:
                found[name] = "is damaged"
        except OSError as error:
            found[name] = error.strerror or "cannot be read"
    return found


def _trials_of(names: set[str], state: State) -> list[str]:
    """Trials whose bulk files these are; of a bracket all trials, for they were ranked together."""
    return _with_brackets(
        {key for key, ending in state.endings.items() if {ending.part, ending.experts} & names},
        state,
    )


def _with_brackets(keys: set[str], state: State) -> list[str]:
    """These trials, and those that were ranked with them inside their packs; of these not the ones
    that belong to a later pack by now, which finished them."""
    brackets = {
        name
        for name in (state.pack_of[key] for key in keys)
        if state.packs[name].stopping == INSIDE
    }
    return [key for key in state.trials if key in keys or state.pack_of[key] in brackets]


def retry_failed(journal: Journal) -> str:
    """Removes the endings of FAILED trials; says so in a sentence.

    Of a bracket all trials begin anew and are ranked anew: the place of one that failed may have
    gone to another, and the front may move.
    """
    state = journal.state
    failed = {key for key, ending in state.endings.items() if ending.status == FAILED}
    if not failed:
        return "no trial FAILED; nothing is tried again"
    keys = _with_brackets(failed, state)
    journal.append("reopened", keys=keys, reason="--retry-failed", anew=True)
    mates = len(keys) - len(failed)
    more = f", and with them {mates} of their brackets" if mates else ""
    return f"{len(failed)} FAILED trials are tried again{more}"


def trains(
    run: Path, state: State, *, budget: Mapping[str, Any], repair: bool, retry: bool
) -> bool:
    """Whether a resume with this budget, and with or without --repair and --retry-failed, has
    something to train."""
    if state.closed == BUDGET and budget == state.study["budget"]:
        return False  # nothing is left of it
    if not state.done:
        return True
    failed = any(ending.status == FAILED for ending in state.endings.values())
    if retry and failed:
        return True
    return repair and bool(_trials_of(set(damaged_parts(run, state)), state))


def refuse_damage(run: Path, state: State) -> None:
    """Says which bulk files are damaged, before anything is trained.

    Raises:
        InputError: there are some.
    """
    found = damaged_parts(run, state)
    if found:
        first, why = next(iter(found.items()))
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        again = len(_trials_of(set(found), state))
        raise InputError(
            f"{run / PARTS_FOLDER / first} {why}{more}; --resume {run} --repair trains "
            f"{again} trials again"
        )


def reopen(journal: Journal, damaged: Mapping[str, str], shared: Mapping[str, str]) -> str:
    """Removes the endings whose bulk files are damaged; says so in a sentence.

    `damaged` says of each why, `shared` gives the hashes of the shared ones, written again: another
    version of the library may have written the same content otherwise.
    """
    keys = _trials_of(set(damaged), journal.state)
    reason = "; ".join(f"{name} {why}" for name, why in damaged.items())
    journal.append("reopened", keys=keys, reason=reason, parts=shared)
    return f"repair: {reason}; {len(keys)} trials are trained again"
