"""Says what each kind of event changes in the state of a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Container, Iterable, Mapping
from typing import Final

from mpc_router.messages import quoted
from sweeps.journal._events import JournalError, OddEvent
from sweeps.journal._run_state import Event, State
from sweeps.records import (
    INSIDE,
    INTERRUPTED,
    SELECTION,
    STATUSES,
    Decision,
    Ending,
    Point,
    Report,
    kept_from,
    pack_from,
    report_from,
)
from sweeps.search.rule import Batch, Proposal, Result


def _check_known(names: Iterable[str], introduced: Container[str], kind: str) -> None:
    """Refuses a name that no earlier event has introduced.

    Raises:
        OddEvent: there is one.
    """
    for name in names:
        if name not in introduced:
            raise OddEvent(f"it names {kind} {quoted(name)}, which no earlier event has introduced")


def add_time(state: State, event: Event) -> None:
    """Adds the time since the last event, unless a new session begins with this one.

    The monotonic clock cannot be set. It begins anew when a machine restarts, and a session after
    a kill may lack its first event, so a step backwards counts as no time.
    """
    now = float(event["mono"])
    if state.last_time is not None and event["event"] not in ("resumed", "reopened"):
        state.seconds += max(0.0, now - state.last_time)
    state.last_time = now


def _opened(state: State, event: Event) -> None:
    """Begins the run."""
    if state.opened is not None:
        raise JournalError(f"event {event['n']} opens the run a second time")
    state.opened = event
    state.parts.update(event["parts"])


def _resumed(state: State, event: Event) -> None:
    """Begins another session with its budget and with the changes that were forced."""
    state.running.clear()  # a killed session has not said that its packs are over
    state.budgets.append(event["budget"])
    forced_changes = event.get("forced") or ()  # older journals have none
    state.forced += [{"time": event["time"], **change} for change in forced_changes]


def _reopened(state: State, event: Event) -> None:
    """Removes the endings of trials that are to be trained again, and the decisions about them.

    Trials that are trained `anew` may get other results. Then their brackets are ranked again too,
    with the trials that were finished since, and the front is followed up once more.
    """
    keys = set(event["keys"])
    _check_known(keys, state.pack_of, "a trial")
    state.parts.update(event.get("parts") or {})
    state.done = state.done and not keys
    for key in keys:
        state.endings.pop(key, None)
        if state.packs[state.pack_of[key]].stopping == INSIDE:
            state.kept.pop(state.pack_of[key], None)  # it lacks who has left the bracket
    if event.get("anew"):
        state.following = None
        for name in {state.pack_of[key] for key in keys}:
            if state.packs[name].stopping == INSIDE:
                keys |= {trial.key for trial in state.packs[name].trials}
    for place in [place for place in state.decisions if place[0] in keys]:
        del state.decisions[place]


def _asked(state: State, event: Event) -> None:
    """Adds points, trials and packs, and the batch of proposals that they belong to."""
    state.done = False
    if event.get("proposals") is not None:
        state.batches.append(
            Batch(
                proposals=tuple(Proposal(**proposal) for proposal in event["proposals"]),
                attributes=event.get("attributes") or {},
            )
        )
        state.proposed.append(tuple(event.get("proposed") or ()))
    if event.get("following") is not None:
        state.following = tuple(event["following"])
    for decision_json in event.get("decisions") or ():  # a trial that waited is promoted
        decision = Decision(**decision_json)
        _check_known([decision.key], state.pack_of, "a trial")
        state.decisions[decision.place] = decision
    for point_json in event["points"]:
        state.points[point_json["name"]] = Point(**point_json)
    names = [*(event.get("proposed") or ()), *(event.get("following") or ())]
    _check_known(names, state.points, "a point")
    for pack_json in event["packs"]:
        pack = pack_from(pack_json)
        state.packs[pack.name] = pack
        for trial in pack.trials:
            state.trials[trial.key] = trial
            if trial.key not in state.pack_of:
                state.replicates.setdefault(trial.point, []).append(trial.key)
            if trial.key in state.endings:
                state.finishing.add(trial.key)
            state.pack_of[trial.key] = pack.name


def _started(state: State, event: Event) -> None:
    """Notes the attempt of a pack, and the time of its trials' first start."""
    state.attempts[event["pack"]] = event["attempt"]
    state.running.add(event["pack"])
    if (pack := state.packs.get(event["pack"])) is not None:
        for trial in pack.trials:
            state.begun.setdefault(trial.key, event["time"])


def _reported(state: State, event: Event) -> None:
    """Adds reports; one that is repeated must equal the first.

    Raises:
        JournalError: it does not.
    """
    for report_json in event["reports"]:
        report = report_from(report_json)
        _check_known([report.key], state.pack_of, "a trial")
        _add_training(state, event["pack"], report.seconds)
        first = state.reports.setdefault(report.place, report)
        if first is not report:
            if (difference := first.difference(report)) is not None:
                raise JournalError(
                    f"event {event['n']}: {report.place} is reported again: {difference}"
                )
            continue
        state.epochs += report.split == SELECTION
        _update_latest(state, report)


def _unlike(state: State, event: Event) -> None:
    """Removes what an interrupted attempt has reported, decided and ended from an epoch on.

    Without an epoch, only the reports on the quoted splits are removed.
    """
    keys, epoch = set(event["keys"]), event["epoch"]
    _check_known([event["pack"]], state.packs, "a pack")

    def stands(key: str, at: int) -> bool:
        return key not in keys or epoch is None or at < epoch

    state.reports = {
        place: report
        for place, report in state.reports.items()
        if report.key not in keys
        or (report.split == SELECTION and stands(report.key, report.epoch))
    }
    if state.packs[event["pack"]].stopping:  # else it finishes what others have decided on
        state.decisions = {
            place: decision for place, decision in state.decisions.items() if stands(*place)
        }
    state.latest = {}
    for report in state.reports.values():
        _update_latest(state, report)
    for key in keys:
        state.endings.pop(key, None)
    kept = state.kept.get(event["pack"])
    if kept is not None and (epoch is None or kept.epoch >= epoch):
        del state.kept[event["pack"]]  # it is of the attempt whose numbers no longer count
    state.done, state.following = False, None
    state.deviations[event["pack"]] = event["reason"]


def _update_latest(state: State, report: Report) -> None:
    """Keeps the report of the highest epoch of a trial on a split."""
    latest = state.latest.get((report.key, report.split))
    if latest is None or latest.epoch < report.epoch:
        state.latest[report.key, report.split] = report


def _add_training(state: State, pack: str, seconds: float) -> None:
    """Keeps the longest time that was reported of a pack's attempt."""
    place = pack, state.attempts.get(pack, 1)
    state.trained[place] = max(seconds, state.trained.get(place, 0.0))


def _decided(state: State, event: Event) -> None:
    """Adds the decisions of a rung."""
    for decision_json in event["decisions"]:
        decision = Decision(**decision_json)
        _check_known([decision.key], state.pack_of, "a trial")
        state.decisions[decision.place] = decision


def _ended(state: State, event: Event) -> None:
    """Adds endings of trials and the bulk files that they name."""
    state.parts.update(event["parts"])
    for ending_json in event["endings"]:
        ending = Ending(**ending_json)
        _check_known([ending.key], state.pack_of, "a trial")
        _check_known([ending.status], STATUSES, "a status")
        _check_known(ending.files, state.parts, "a bulk file")
        if _counts(state, ending, event["pack"]):
            state.endings[ending.key] = ending
            state.ended[ending.key] = event["time"]
            state.finishing.discard(ending.key)
        _add_training(state, event["pack"], ending.seconds)
    if _all_final(state, event["pack"]):
        state.running.discard(event["pack"])
        state.kept.pop(event["pack"], None)
    elif any(ending["status"] == INTERRUPTED for ending in event["endings"]):
        state.running.discard(event["pack"])  # it was interrupted as one


def _kept(state: State, event: Event) -> None:
    """Names the newest state of a pack in place of an older one."""
    _check_known([event["pack"]], state.packs, "a pack")
    kept = kept_from(event)
    _check_known((key for stack in kept.stacks for key in stack), state.pack_of, "a trial")
    state.kept[event["pack"]] = kept


def _all_final(state: State, pack: str) -> bool:
    """Tells whether the last of a pack's trials has ended."""
    asked_pack = state.packs.get(pack)
    return asked_pack is None or all(
        state.is_final(trial.key)
        for trial in asked_pack.trials
        if state.pack_of[trial.key] == pack  # else a later pack trains it
    )


def _counts(state: State, ending: Ending, pack: str) -> bool:
    """Tells whether an ending that a pack reports replaces that of the trial.

    A bracket that is trained again, to rank its other trials, also reports how trials were stopped
    that a later pack finishes. Those endings do not count.
    """
    if state.is_final(ending.key) or state.pack_of.get(ending.key) != pack:
        return False
    return ending.status != INTERRUPTED or ending.key not in state.finishing


def _told(state: State, event: Event) -> None:
    """Adds the results of the next batch, as the search was told them.

    Raises:
        JournalError: it is not the next batch.
        OddEvent: the results are more or fewer than its proposals.
    """
    number = event["batch"]
    if number != state.told_batches or number >= len(state.batches):
        raise JournalError(
            f"event {event['n']} tells of batch {number}, but {state.told_batches} of "
            f"{len(state.batches)} are told"
        )
    results = tuple(
        Result(**{**result, "values": tuple(result.get("values", ()))})
        for result in event["results"]
    )
    if len(results) != len(state.batches[number].proposals):
        raise OddEvent(
            f"it tells of {len(results)} points, but batch {number} has "
            f"{len(state.batches[number].proposals)}"
        )
    state.batches[number] = dataclasses.replace(state.batches[number], results=results)
    state.told_batches += 1


def _closed(state: State, event: Event) -> None:
    """Ends a session."""
    state.closed = event["outcome"]
    state.running.clear()
    state.done = state.done or state.closed == "done"


FOLDS: Final[Mapping[str, Callable[[State, Event], None]]] = {
    "opened": _opened,
    "reopened": _reopened,
    "resumed": _resumed,
    "asked": _asked,
    "started": _started,
    "reported": _reported,
    "unlike": _unlike,
    "decided": _decided,
    "ended": _ended,
    "kept": _kept,
    "told": _told,
    "closed": _closed,
}
"""Gives the function that applies an event to the state by kind of event."""
