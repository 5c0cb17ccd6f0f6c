"""What the events of a journal amount to.

Events:

- `opened`: study, what the tables need to know of it, provenance, and the bulk files with hashes
- `reopened`: trials that had ended are to be trained again, and why; `anew` if to other results
- `resumed`: another session of the run begins, with the budget it has in all; `forced` lists what
  differed from before and was let through by --force (`what`, `then`, `now`), if anything
- `asked`: a batch of points with their trials and packs; of a search also its proposals; at its
  end which points are to be followed up, and in which packs
- `started`: a pack on a worker, its attempt and its trials' keys; on Ray also its `node`, and the
  `gpus` that it has of it, if any
- `reported`: reports of a pack's trials
- `unlike`: from an epoch on a pack gives other numbers than an interrupted attempt of it gave; what
  that one had reported, decided and ended of these trials from there on counts no more
- `decided`: which trials go on at a rung
- `ended`: endings of trials, and the bulk files that they name with their hashes
- `told`: the search has heard of a batch, and of what
- `closed`: the run is over or interrupted

`replay(events)` gives the state, live and on resume alike.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from mpc_router.messages import quoted
from sweeps.journal import _events
from sweeps.records import (
    INSIDE,
    INTERRUPTED,
    SELECTION,
    STATUSES,
    Decision,
    Ending,
    InputError,
    Pack,
    Point,
    Report,
    SweepError,
    Trial,
    pack_from,
    report_from,
)
from sweeps.search.rule import Batch, Proposal, Result

Event = Mapping[str, Any]

LOSS_TOLERANCE: Final = 1e-5
"""Losses of a repeated report may differ by this much; scores and costs may not differ."""


class JournalError(SweepError):
    """Says why a journal cannot be read or written, with file and line."""


class OddEvent(JournalError, InputError):
    """An event that no writer of ours has written, though its checksum is right: what is odd."""


@dataclass
class State:
    """Holds the sum of all events so far. `replay` makes it, `apply` alone changes it."""

    opened: Event | None = None
    points: dict[str, Point] = field(default_factory=dict)
    trials: dict[str, Trial] = field(default_factory=dict)
    replicates: dict[str, list[str]] = field(default_factory=dict)
    """Keys by point."""

    packs: dict[str, Pack] = field(default_factory=dict)
    """As they were asked; `attempt` is that of the last start."""

    pack_of: dict[str, str] = field(default_factory=dict)
    attempts: dict[str, int] = field(default_factory=dict)
    """Starts by pack."""

    reports: dict[tuple[str, int, str], Report] = field(default_factory=dict)
    latest: dict[tuple[str, str], Report] = field(default_factory=dict)
    """The report of the highest epoch, by key and split."""

    decisions: dict[tuple[str, int], Decision] = field(default_factory=dict)
    endings: dict[str, Ending] = field(default_factory=dict)
    again: set[str] = field(default_factory=set)
    """Trials that were stopped and are to be finished: how they were stopped stands until then."""

    parts: dict[str, str] = field(default_factory=dict)
    """Bulk files with their hashes."""

    batches: list[Batch] = field(default_factory=list)
    """Of a search: what was proposed, and of those that were told, what came of it."""

    proposed: list[tuple[str, ...]] = field(default_factory=list)
    """By batch, the point of each proposal; one that was there before stands for both."""

    told: int = 0
    """Batches that the search has heard of."""

    following: tuple[str, ...] | None = None
    """Points of the front that were followed up last, stopped ones to their end or with further
    seeds; None before that was decided."""

    budgets: list[Mapping[str, Any]] = field(default_factory=list)
    """Of the sessions after the first, in order."""

    forced: list[Mapping[str, Any]] = field(default_factory=list)
    """What --force has let through: `time` (UTC), `what`, `then`, `now`."""

    unlike: dict[str, str] = field(default_factory=dict)
    """Packs that gave other numbers when they were trained again; how that was noticed last."""

    seconds: float = 0.0
    """By the clock, of all sessions together."""

    epochs: int = 0
    """That trials have finished, all trials together."""

    trained: dict[tuple[str, int], float] = field(default_factory=dict)
    """Seconds of a pack's attempt."""

    closed: str | None = None
    """How the run was closed last; None while it runs."""

    done: bool = False
    """Whether it was closed with nothing left to train, and nothing was asked for since."""

    events: int = 0
    _at: float | None = None
    """When the last event was written, by the writer's monotonic clock."""

    @property
    def study(self) -> dict[str, Any]:
        """Gives the run's study, with the budget of its last session."""
        assert self.opened is not None
        tree = dict(self.opened["study"])
        return tree | {"budget": dict(self.budgets[-1])} if self.budgets else tree

    def unended(self) -> tuple[Trial, ...]:
        """Lists the trials that have yet to end, interrupted ones too, in the order of asking."""
        return tuple(trial for key, trial in self.trials.items() if not self._is_final(key))

    def _is_final(self, key: str) -> bool:
        ending = self.endings.get(key)
        return ending is not None and ending.status != INTERRUPTED and key not in self.again


def replay(events: Iterable[Event]) -> State:
    """Makes the state that a live run had after these events.

    Raises:
        JournalError: an event that cannot follow the ones before it.
    """
    state = State()
    for event in events:
        apply(state, event)
    return state


def apply(state: State, event: Event) -> None:
    """Applies one event to the state.

    Raises:
        JournalError: it cannot follow the ones before it.
        OddEvent: no writer of ours has written it.
    """
    if (said := _events.odd(event)) is not None:
        raise OddEvent(said)
    if event["n"] != state.events + 1:
        raise JournalError(f"event {event['n']} follows event {state.events}; events are missing")
    kind = event["event"]
    _FOLDS[kind](state, event)
    _tick(state, event)
    state.events += 1
    if kind != "closed":
        state.closed = None


def _known(names: Iterable[str], known: Container[str], what: str) -> None:
    """Refuses a name that no earlier event has introduced.

    Raises:
        OddEvent: there is one.
    """
    for name in names:
        if name not in known:
            raise OddEvent(f"it names {what} {quoted(name)}, of which nothing is known")


def _tick(state: State, event: Event) -> None:
    """Adds the time within a session; what lies between two sessions does not count.

    By the monotonic clock, which is set by nobody. A session that was killed, and whose next one
    began with no word of it, cannot make it run backwards.
    """
    now = float(event["mono"])
    if state._at is not None and event["event"] not in ("resumed", "reopened"):
        state.seconds += max(0.0, now - state._at)
    state._at = now


def _opened(state: State, event: Event) -> None:
    if state.opened is not None:
        raise JournalError(f"event {event['n']} opens the run a second time")
    state.opened = event
    state.parts.update(event["parts"])


def _resumed(state: State, event: Event) -> None:
    state.budgets.append(event["budget"])
    forced = event.get("forced") or ()  # journals of before have none
    state.forced += [{"time": event["time"], **each} for each in forced]


def _reopened(state: State, event: Event) -> None:
    """Of a bracket all trials together: who is there decides over the others.

    What is trained `anew` may come out otherwise: then those that were finished since are ranked
    again with their brackets too, and the front is followed up once more.
    """
    keys = set(event["keys"])
    _known(keys, state.pack_of, "a trial")
    state.parts.update(event.get("parts") or {})
    state.done = state.done and not keys
    for key in keys:
        state.endings.pop(key, None)
    if event.get("anew"):
        state.following = None
        for name in {state.pack_of[key] for key in keys}:
            if state.packs[name].stopping == INSIDE:
                keys |= {trial.key for trial in state.packs[name].trials}
    for place in [place for place in state.decisions if place[0] in keys]:
        del state.decisions[place]


def _asked(state: State, event: Event) -> None:
    state.done = False
    if event.get("proposals") is not None:
        state.batches.append(
            Batch(
                proposals=tuple(Proposal(**each) for each in event["proposals"]),
                attributes=event.get("attributes") or {},
            )
        )
        state.proposed.append(tuple(event.get("proposed") or ()))
    if event.get("following") is not None:
        state.following = tuple(event["following"])
    for each in event.get("decisions") or ():  # a trial that waited is promoted
        decision = Decision(**each)
        _known([decision.key], state.pack_of, "a trial")
        state.decisions[decision.key, decision.epoch] = decision
    for each in event["points"]:
        state.points[each["name"]] = Point(**each)
    named = [*(event.get("proposed") or ()), *(event.get("following") or ())]
    _known(named, state.points, "a point")
    for each in event["packs"]:
        pack = pack_from(each)
        state.packs[pack.name] = pack
        for trial in pack.trials:
            state.trials[trial.key] = trial
            if trial.key not in state.pack_of:
                state.replicates.setdefault(trial.point, []).append(trial.key)
            if trial.key in state.endings:
                state.again.add(trial.key)
            state.pack_of[trial.key] = pack.name


def _started(state: State, event: Event) -> None:
    state.attempts[event["pack"]] = event["attempt"]


def _reported(state: State, event: Event) -> None:
    for each in event["reports"]:
        report = report_from(each)
        _known([report.key], state.pack_of, "a trial")
        first = state.reports.setdefault(report.place, report)
        if first is not report:
            if (said := differing(first, report)) is not None:
                raise JournalError(f"event {event['n']}: {report.place} is reported again: {said}")
            continue
        state.epochs += report.split == SELECTION
        _worked(state, event["pack"], report.seconds)
        _arrive(state, report)


def _unlike(state: State, event: Event) -> None:
    """Without an epoch, what was reported of splits that are quoted is all that differs."""
    keys, epoch = set(event["keys"]), event["epoch"]
    _known([event["pack"]], state.packs, "a pack")

    def stands(key: str, at: int) -> bool:
        return key not in keys or epoch is None or at < epoch

    state.reports = {
        place: report
        for place, report in state.reports.items()
        if report.key not in keys
        or (report.split == SELECTION and stands(report.key, report.epoch))
    }
    if state.packs[event["pack"]].stopping:  # else it finishes what others have decided on
        state.decisions = {place: each for place, each in state.decisions.items() if stands(*place)}
    state.latest = {}
    for report in state.reports.values():
        _arrive(state, report)
    for key in keys:
        state.endings.pop(key, None)
    state.done, state.following = False, None
    state.unlike[event["pack"]] = event["reason"]


def _arrive(state: State, report: Report) -> None:
    latest = state.latest.get((report.key, report.split))
    if latest is None or latest.epoch < report.epoch:
        state.latest[report.key, report.split] = report


def _worked(state: State, pack: str, seconds: float) -> None:
    place = pack, state.attempts.get(pack, 1)
    state.trained[place] = max(seconds, state.trained.get(place, 0.0))


def differing(first: Report, again: Report) -> str | None:
    """What a repeat says otherwise; None where it says the same. Losses may differ by rounding."""
    for was, now in ((first.metrics, again.metrics), (first.cost, again.cost)):
        for name, value in was.items():
            if now.get(name) != value:
                return f"its {name} was {value} and is {now.get(name)}"
    for name, value in first.losses.items():
        now_value = again.losses.get(name, math.nan)
        if not math.isclose(value, now_value, rel_tol=0, abs_tol=LOSS_TOLERANCE):
            return f"its {name} was {value} and is {now_value}"
    return None


def _decided(state: State, event: Event) -> None:
    for each in event["decisions"]:
        decision = Decision(**each)
        _known([decision.key], state.pack_of, "a trial")
        state.decisions[decision.key, decision.epoch] = decision


def _ended(state: State, event: Event) -> None:
    state.parts.update(event["parts"])
    for each in event["endings"]:
        ending = Ending(**each)
        _known([ending.key], state.pack_of, "a trial")
        _known([ending.status], STATUSES, "a status")
        _known(filter(None, (ending.part, ending.experts)), state.parts, "a bulk file")
        if _counts(state, ending, event["pack"]):
            state.endings[ending.key] = ending
            state.again.discard(ending.key)
        _worked(state, event["pack"], ending.seconds)


def _counts(state: State, ending: Ending, pack: str) -> bool:
    """Not where the trial belongs to a later pack: a bracket that is trained again, to rank the
    others, says of those that are being finished how they were stopped."""
    if state._is_final(ending.key) or state.pack_of.get(ending.key) != pack:
        return False
    return ending.status != INTERRUPTED or ending.key not in state.again


def _told(state: State, event: Event) -> None:
    number = event["batch"]
    if number != state.told or number >= len(state.batches):
        raise JournalError(
            f"event {event['n']} tells of batch {number}, but {state.told} of "
            f"{len(state.batches)} are told"
        )
    results = tuple(
        Result(**{**each, "values": tuple(each.get("values", ()))}) for each in event["results"]
    )
    if len(results) != len(state.batches[number].proposals):
        raise OddEvent(
            f"it tells of {len(results)} points, but batch {number} has "
            f"{len(state.batches[number].proposals)}"
        )
    state.batches[number] = dataclasses.replace(state.batches[number], results=results)
    state.told += 1


def _closed(state: State, event: Event) -> None:
    state.closed = event["outcome"]
    state.done = state.done or state.closed == "done"


_FOLDS: Final = {
    "opened": _opened,
    "reopened": _reopened,
    "resumed": _resumed,
    "asked": _asked,
    "started": _started,
    "reported": _reported,
    "unlike": _unlike,
    "decided": _decided,
    "ended": _ended,
    "told": _told,
    "closed": _closed,
}
