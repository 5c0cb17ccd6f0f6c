"""Batches of points: asked when they are due, told when all of them have ended.

Everything that is known of them is in the journal. So a resumed run goes on where it was, and asks
the same points that an undisturbed one would have asked.
"""

from __future__ import annotations

import dataclasses
import time
from collections import deque
from typing import Any, Final

from sweeps.journal.journal import Journal
from sweeps.journal.state import State
from sweeps.plan.plan import Asked, Plan, Planner, remaining
from sweeps.records import (
    BETWEEN,
    FAILED,
    INSIDE,
    INTERRUPTED,
    SELECTION,
    STOPPED,
    Decision,
    InputError,
    Pack,
    Report,
    SweepError,
    Trial,
    config_of,
)
from sweeps.run_folder import VIEW_FILE
from sweeps.search.ask import ask
from sweeps.search.rule import OPEN, UNHEARING, Batch, Result
from sweeps.search.view import write_view
from sweeps.stopping import rungs
from sweeps.study.study import Study

_REST: Final = 20
"""A view is written anew when this many times as long as its writing took has passed."""


class Batches:
    """Gives packs as they become due."""

    def __init__(self, journal: Journal, planner: Planner) -> None:
        """Makes the queue, which begins with what an interrupted run has left.

        Raises:
            InputError: the journal's points are of another space.
        """
        self._journal, self._planner, self._study = journal, planner, planner.study
        state = journal.state
        _check_space(self._study, state)
        self._due = deque(
            remaining(state.packs.values(), state.unended(), state.attempts, state.pack_of)
        )
        self._next_view = 0.0

    def take(self) -> Pack | None:
        """Gives the next pack to train; None while there is none, which may be for good."""
        self._promote()
        while not self._due:
            before = self._journal.state.events
            self.tell()
            self._ask()
            self._follow_up()
            if self._journal.state.events == before:  # else a batch of nothing new may be told now
                break
        return self._due.popleft() if self._due else None

    def again(self, pack: Pack) -> None:
        """Queues again what has not ended of a pack whose worker was lost, after the others."""
        state = self._journal.state
        asked = [state.packs[pack.name]]
        self._due.extend(remaining(asked, state.unended(), state.attempts, state.pack_of))

    @property
    def left(self) -> int:
        """Counts the points of the search that have yet to be asked."""
        if not self._study.proposes:
            return 0
        rule, asked = self._study.search, len(self._journal.state.batches)
        return max(0, rule.points - asked * rule.batch)

    @property
    def complete(self) -> bool:
        """Tells whether every pack that there will ever be has been taken."""
        state = self._journal.state
        if self._promotes and (state.unended() or self._promotion() is not None):
            return False  # whoever arrives at a rung may make another one go on
        return not self._due and not self.left and bool(state.trials) and self._followed_up

    @property
    def _finishes(self) -> bool:
        """Tells whether stopped points of the front are to be finished."""
        return self._study.ranking is not None and self._study.stopping.finish

    @property
    def _followed_up(self) -> bool:
        """Tells whether nothing of the front is left to do.

        Stopped points are looked for once; a race goes on until all of the front has every seed,
        for further seeds may have moved it.
        """
        following = self._journal.state.following
        if self._study.racing:
            return following == ()
        return not self._finishes or following is not None

    def tell(self) -> None:
        """Tells the search of every batch, in order, whose points have all ended."""
        state = self._journal.state
        while state.told < len(state.batches):
            results = [
                _result_of(state, point, self._study) for point in state.proposed[state.told]
            ]
            if OPEN in results:
                return
            said = [dataclasses.asdict(result) for result in results]
            self._journal.append("told", batch=state.told, results=said)
            self.show(running=True)

    def show(self, *, running: bool) -> None:
        """Writes the search for Optuna's tools; while the run goes on now and then, at its end
        always."""
        if not self._study.proposes or (running and time.monotonic() < self._next_view):
            return
        began = time.monotonic()
        state, study = self._journal.state, self._study
        assert state.opened is not None
        write_view(
            self._journal.path.with_name(VIEW_FILE),
            state.opened["run"],
            study.space,
            study.objectives,
            study.search,
            [
                dataclasses.replace(
                    batch, results=tuple(_result_of(state, point, study) for point in points)
                )
                for batch, points in zip(state.batches, state.proposed, strict=True)
            ],
            running=running,
        )
        now = time.monotonic()
        self._next_view = now + _REST * (now - began)

    def _ask(self) -> None:
        """Asks every batch that is due."""
        study, state = self._study, self._journal.state
        if not study.proposes:
            if not state.trials:
                self._journal_batch(0, grid(study))
            return
        if study.search.method in UNHEARING:
            if self.left:
                self._ask_batch()
            return
        while self.left and state.told > len(state.batches) - study.search.parallel:
            self._ask_batch()

    @property
    def _promotes(self) -> bool:
        ranking = self._study.ranking
        return ranking is not None and ranking.rule.variant == "promote"

    def _promotion(self) -> Decision | None:
        """Gives the joint trial that waits at a rung and is the next to go on."""
        state, ranking = self._journal.state, self._study.ranking
        assert ranking is not None
        between = {
            key for key, name in state.pack_of.items() if state.packs[name].stopping == BETWEEN
        }
        arrived = [
            state.reports[key, epoch, SELECTION] for key, epoch in state.decisions if key in between
        ]
        paused = {
            key
            for key in between - state.again
            if key in state.endings and state.endings[key].status == STOPPED
        }
        return rungs.promotion(arrived, paused, ranking)

    def _promote(self) -> None:
        """Asks for a trial that waits at a rung and is among the best by now; it comes first."""
        if not self._promotes or (decision := self._promotion()) is None:
            return
        state = self._journal.state
        trial = state.trials[decision.key]
        pack = Pack(name=f"pack{len(state.packs):02d}", trials=(trial,), stopping=BETWEEN)
        self._journal.append("asked", batch=-1, points=[], packs=[pack], decisions=[decision])
        self._due.appendleft(pack)

    def conclude(self) -> None:
        """Journals that nothing of the front is left to follow up, where that is so: a budget that
        was used up by the last trial leaves nothing undone."""
        if self._follows_up_next and not self._to_follow_up():
            self._follow_up()

    @property
    def _follows_up_next(self) -> bool:
        """Whether all that was asked has ended, and the front is what is to be looked at next."""
        state = self._journal.state
        return not (
            self._followed_up or self._due or self.left or not state.trials or state.unended()
        )

    def _follow_up(self) -> None:
        """Asks for what is missing of the points on the front, once all else has ended."""
        if not self._follows_up_next:
            return
        missing = self._to_follow_up()
        trials = [trial for point in missing for trial in missing[point]]
        packs = self._planner.finishing(trials, packs=len(self._journal.state.packs))
        self._journal.append("asked", batch=-1, points=[], packs=packs, following=list(missing))
        self._due.extend(packs)

    def _to_follow_up(self) -> dict[str, list[Trial]]:
        """By point of the front the trials that it lacks: of those points that trained to the end,
        or will if they lie on it."""
        state, study = self._journal.state, self._study
        found = {point: _result_of(state, point, study) for point in state.points}
        known = [
            point
            for point in found
            if found[point].ended == "complete"
            or (found[point].values and self._finishes and _ended_inside(state, point))
        ]
        front = rungs.front([found[point] for point in known], known, study.objectives)
        return {point: trials for point in front if (trials := self._missing(point))}

    def _missing(self, point: str) -> list[Trial]:
        """Trials of a point that were stopped, and those of seeds that it never had."""
        state, found = self._journal.state, []
        mine = [state.trials[key] for key in state.replicates[point]]
        found += [trial for trial in mine if state.endings[trial.key].status == STOPPED]
        if self._study.racing:
            had = {trial.seed for trial in mine}
            further = [seed for seed in self._study.seeds if seed not in had]
            config = config_of(mine[0])
            found += self._planner.replicates(state.points[point], config, further)
        return found

    def _ask_batch(self) -> None:
        study, state = self._study, self._journal.state
        number = len(state.batches)
        batch = _next_batch(study, state.batches)
        known = {key: trial.point for key, trial in state.trials.items()}
        fresh: list[Asked] = []
        proposed = []
        for proposal in batch.proposals:
            try:
                config = self._planner.config(proposal.settings)
            except InputError as error:
                raise SweepError(f"{error}, in a run of its own") from error
            key = self._planner.key(config)
            if key not in known:  # else the same trials as an earlier point: they are there already
                point = study.point(_name(len(state.points) + len(fresh), study), config)
                known[key] = point.name
                fresh.append((point, config))
            proposed.append(known[key])
        self._journal_batch(
            number,
            fresh,
            proposals=[dataclasses.asdict(each) for each in batch.proposals],
            attributes=dict(batch.attributes),
            proposed=proposed,
        )

    def _journal_batch(self, number: int, points: list[Asked], **search: Any) -> None:
        planned = self._planner.plan(points, packs=len(self._journal.state.packs))
        self._journal.append(
            "asked", batch=number, points=planned.points, packs=planned.packs, **search
        )
        self._due.extend(planned.packs)


def grid(study: Study) -> list[Asked]:
    """Gives all points of a study whose search proposes none."""
    configs = study.configs()
    return [(point, configs[point.name]) for point in study.points()]


def _next_batch(study: Study, before: list[Batch]) -> Batch:
    """Asks the search for the batch that follows these."""
    return ask(
        study.space,
        list(study.objectives.values()),
        study.search,
        before,
        seed=study.seed,
        start=study.start_points,
    )


def first_plan(planner: Planner) -> Plan:
    """The grid, or the first batch of a search: what can be shown and tried before a run.

    Raises:
        InputError: two points of a grid are the same trials, or a proposed point cannot be.
    """
    study = planner.study
    if not study.proposes:
        return planner.plan(grid(study))
    fresh: dict[str, Asked] = {}
    for proposal in _next_batch(study, []).proposals:
        config = planner.config(proposal.settings)
        point = study.point(_name(len(fresh), study), config)
        fresh.setdefault(planner.key(config), (point, config))
    return planner.plan(list(fresh.values()))


def _result_of(state: State, point: str, study: Study) -> Result:
    """What came of a point: means over its replicates, at the last epoch that all have reached,
    or at the best one of each so far where trials keep their best.

    A failed replicate makes it failed; one that has yet to end, or was interrupted, open.
    """
    keys = state.replicates[point]
    endings = [state.endings.get(key) for key in keys]
    ended = [ending for ending in endings if ending and ending.status != INTERRUPTED]
    if len(ended) < len(keys):
        return OPEN
    if any(ending.status == FAILED for ending in ended):
        return Result(ended="failed", reached=0.0)
    stopped = any(ending.status == STOPPED for ending in ended)
    shared = min(ending.epochs for ending in ended)
    means = rungs.means(
        [_report_of(state, key, shared, study) for key in keys],
        study.objectives,
        study.cost_vector,
        study.constraints,
    )
    return Result(
        ended="stopped" if stopped else "complete",
        values=tuple(means.values.values()),
        violations=means.violations,
        reached=shared / study.base.training.epochs if stopped else 1.0,
    )


def _report_of(state: State, key: str, epochs: int, study: Study) -> Report:
    """Sums up a trial after so many epochs."""
    if study.base.training.epoch != "best_score":
        return state.reports[key, epochs, SELECTION]
    found = [state.reports[key, epoch, SELECTION] for epoch in range(1, epochs + 1)]
    return max(found, key=lambda report: report.metrics["score"])  # of equal ones the first


def _ended_inside(state: State, point: str) -> bool:
    """Whether its trials were ranked inside packs: what is trained again there is soon trained."""
    return all(
        state.packs[state.pack_of[key]].stopping == INSIDE for key in state.replicates[point]
    )


def _name(number: int, study: Study) -> str:
    """`p007` of some hundred points: as many digits as the last one needs."""
    return f"p{number:0{max(2, len(str(study.search.points - 1)))}d}"


def _check_space(study: Study, state: State) -> None:
    for batch in state.batches:
        for proposal in batch.proposals:
            inside = proposal.settings.keys() == study.space.keys() and all(
                axis.holds(_listed(proposal.settings[leaf])) for leaf, axis in study.space.items()
            )
            if not inside:
                raise InputError(
                    f"the journal's point {dict(proposal.settings)} lies outside of the study's "
                    f"space ({', '.join(study.space)}); the journal is of another study"
                )


def _listed(value: Any) -> Any:
    """Turns a list from JSON into the tuple that the axis has."""
    return tuple(value) if isinstance(value, list) else value
