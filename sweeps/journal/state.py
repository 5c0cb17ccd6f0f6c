"""Adds a journal's events up to the state of a run.

`replay(events)` gives the state, live and on resume alike. `sweeps.journal._events` describes the
events, `sweeps.journal._folds` what each kind of them changes.
"""

from __future__ import annotations

from collections.abc import Iterable

from sweeps.journal import _events, _folds
from sweeps.journal._events import JournalError as JournalError
from sweeps.journal._events import OddEvent as OddEvent
from sweeps.journal._run_state import Event as Event
from sweeps.journal._run_state import State as State


def replay(events: Iterable[Event]) -> State:
    """Gives the state of a run after these events.

    Raises:
        JournalError: an event cannot follow the ones before it.
    """
    state = State()
    for event in events:
        apply(state, event)
    return state


def apply(state: State, event: Event) -> None:
    """Applies one event to the state.

    Raises:
        JournalError: it cannot follow the ones before it.
        OddEvent: this program cannot have written it.
    """
    if (oddity := _events.oddity(event)) is not None:
        raise OddEvent(oddity)
    if event["n"] != state.events + 1:
        raise JournalError(f"event {event['n']} follows event {state.events}; events are missing")
    kind = event["event"]
    _folds.FOLDS[kind](state, event)
    _folds.add_time(state, event)
    state.events += 1
    if kind != "closed":
        state.closed = None
