"""Says what a run has left undone, by its trials and the last line of its journal."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Final

from analysis.runs.load import Run
from analysis.words import count
from mpc_router.run_names import INTERRUPTED, JOURNAL_FILE

_DONE, _BUDGET = "done", "budget"
_TAIL: Final = 1 << 16
"""Bytes of the journal that its last line, which closes a session, lies in."""


def unfinished(run: Run) -> str:
    """Says in one sentence what is left and how to go on with it; empty where nothing is.

    `--resume` is named only where it would do something: the run has a journal, and that does not
    say that all is done. Of a budget that is used up it says that more is needed.
    """
    interrupted = int((run.trials["status"].astype(str) == INTERRUPTED).sum())
    left = [f"{count(interrupted, 'trial')} interrupted"] if interrupted else []
    event = _last_event(run.path / JOURNAL_FILE)
    if event is None:
        return f"Partial: {left[0]}." if left else ""
    closed = event.get("event") == "closed"
    outcome = event.get("outcome") if closed else None
    if outcome == _DONE and not left:
        return ""
    again = f"mpc-router-sweep --resume {run.path}"
    if not closed:
        ended = f"{len(run.trials) - interrupted} of {count(len(run.trials), 'trial')} have ended"
        return (
            f"This run is not over: {ended}, and its journal is not closed, so it still runs or "
            f"was killed. If it does not run any more, go on: {again}"
        )
    left = left or [_of_search(run)]
    if outcome == _BUDGET:
        return (
            f"Partial: {', '.join(left)}, for its budget is used up. To go on with more: {again} "
            f"{_budget_words(run)}"
        )
    return f"Partial: {', '.join(left)}. To go on: {again}"


def _last_event(journal: Path) -> dict[str, Any] | None:
    """Gives the last complete line of a journal; None where there is none or it is no event."""
    try:
        if not journal.is_file():
            return None
        with journal.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
            lines = file.read().split(b"\n")[:-1]
        event = json.loads(lines[-1]) if lines else None
    except (OSError, ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) else None


def _of_search(run: Run) -> str:
    """Says what is left where no trial was interrupted."""
    search = run.study.get("search")
    search = search if isinstance(search, dict) else {}
    wanted, asked = search.get("points"), int(run.trials["point"].nunique())
    if isinstance(wanted, int) and asked < wanted and search.get("method", "grid") != "grid":
        return f"{asked} of {wanted} points of the search tried"
    return "points of the front not followed up to all of their seeds or epochs"


def _budget_words(run: Run) -> str:
    budget = run.study.get("budget")
    names = [str(name) for name in budget] if isinstance(budget, dict) else []
    return " ".join(f"budget.{name}=..." for name in names) or "budget.NAME=..."
