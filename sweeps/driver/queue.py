"""Queues packs of points, and asks and tells the search batch by batch.

A batch is asked when it is due, and its results are told when all of its points have ended. The
state of all batches is in the journal, so a resumed run continues where it was and asks the same
points that an undisturbed run would have asked.
"""

from __future__ import annotations

import dataclasses
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from sweeps.driver._proposals import check_space, next_batch, point_name
from sweeps.driver._results import ranked_inside, result_of
from sweeps.driver._view import show
from sweeps.journal.journal import Journal
from sweeps.journal.state import State
from sweeps.plan.plan import Asked, Plan, Planner, remaining
from sweeps.records import (
    BETWEEN,
    SELECTION,
    STOPPED,
    Decision,
    InputError,
    Pack,
    SweepError,
    Trial,
    config_of,
)
from sweeps.run_folder import VIEW_FILE
from sweeps.search.rule import OPEN
from sweeps.stopping import rungs
from sweeps.study.study import Study

_FIRST_VIEW: Final = 20.0
"""Gives the seconds until a grid's view is first written."""

_VIEW_PAUSE: Final = 20
"""Gives the pause between two writes of the view as a multiple of the time that a write took."""


class Batches:
    """Queues the packs of a run, and asks for new ones as they become due."""

    def __init__(
        self,
        journal: Journal,
        planner: Planner,
        lets_start: Callable[[], bool] = lambda: True,
    ) -> None:
        """Makes the queue, which begins with the packs that an interrupted run has not finished.

        `lets_start` tells whether the session has time for another pack.

        Raises:
            InputError: the journal's points lie outside of the study's space.
        """
        self._journal, self._planner, self._study = journal, planner, planner.study
        self._lets_start = lets_start
        state = journal.state
        check_space(self._study, state)
        self._due = deque(
            remaining(state.packs.values(), state.unended(), state.attempts, state.pack_of)
        )
        # a short grid writes it in the end alone, for to import Optuna takes a second
        self._next_view = 0.0 if self._study.proposes else time.monotonic() + _FIRST_VIEW

    def take(self) -> Pack | None:
        """Gives the next pack to train; None if no pack is due now, or there is no time for it."""
        if not self._lets_start():
            return None
        if self._journal.state.trials:
            self.show(running=True)
        self._promote()
        while not self._due:
            events_before = self._journal.state.events
            self.tell()
            self._ask()
            self._follow_up()
            # a batch without new trials queues no pack, but its results can be told at once
            if self._journal.state.events == events_before:
                break
        return self._due.popleft() if self._due else None

    def resize(self, workers: int) -> None:
        """Cuts points that are asked from now on into packs for so many workers."""
        self._planner = dataclasses.replace(self._planner, workers=workers)

    def requeue(self, pack: Pack) -> None:
        """Appends the unended trials of a pack whose worker was lost to the queue."""
        state = self._journal.state
        asked_packs = [state.packs[pack.name]]
        self._due.extend(remaining(asked_packs, state.unended(), state.attempts, state.pack_of))

    @property
    def unasked(self) -> int:
        """Counts the points of the search that have yet to be asked."""
        return unasked_points(self._study, self._journal.state)

    @property
    def complete(self) -> bool:
        """Tells whether every pack of the run has been taken, and none can become due."""
        state = self._journal.state
        if self._promotes and (state.unended() or self._promotion() is not None):
            return False  # a trial that arrives at a rung may promote one that waits there
        return not self._due and not self.unasked and bool(state.trials) and self._followed_up

    @property
    def over(self) -> bool:
        """Tells whether every trial has ended, and none can become due."""
        return self.complete and not self._journal.state.unended()

    @property
    def _finishes(self) -> bool:
        """Tells whether stopped points of the front are to be finished."""
        return self._study.ranking is not None and self._study.stopping.finish

    @property
    def _followed_up(self) -> bool:
        """Tells whether the points of the front need no more trials.

        Stopped points are looked for once. A race looks again after every follow-up, because
        further seeds can move the front.
        """
        following = self._journal.state.following
        if self._study.racing:
            return following == ()
        return not self._finishes or following is not None

    def tell(self) -> None:
        """Tells the search the results of every batch whose points have all ended, in order."""
        state = self._journal.state
        while state.told_batches < len(state.batches):
            points = state.proposed[state.told_batches]
            results = [result_of(state, point, self._study) for point in points]
            if OPEN in results:
                return
            self._journal.append(
                "told",
                batch=state.told_batches,
                results=[dataclasses.asdict(result) for result in results],
            )

    def show(self, *, running: bool) -> None:
        """Writes the run's points as a file for Optuna's tools.

        While the run goes on, writes are spaced so that they take a small share of its time.
        """
        if running and time.monotonic() < self._next_view:
            return
        write_start = time.monotonic()
        show(
            self._journal.path.with_name(VIEW_FILE),
            self._journal.state,
            self._study,
            running=running,
        )
        now = time.monotonic()
        self._next_view = now + _VIEW_PAUSE * (now - write_start)

    def _ask(self) -> None:
        """Asks every batch that is due."""
        study, state = self._study, self._journal.state
        if not study.proposes:
            if not state.trials:
                self._journal_batch(0, grid(study))
            return
        if not study.search.learns:
            if self.unasked:
                self._ask_batch()
            return
        while self.unasked and state.told_batches > len(state.batches) - study.search.parallel:
            self._ask_batch()

    @property
    def _promotes(self) -> bool:
        """Tells whether trials wait at rungs instead of being stopped for good."""
        ranking = self._study.ranking
        return ranking is not None and ranking.rule.variant == "promote"

    def _promotion(self) -> Decision | None:
        """Gives the decision that promotes a waiting joint trial; None if none may go on yet."""
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
            for key in between - state.finishing
            if key in state.endings and state.endings[key].status == STOPPED
        }
        return rungs.promotion(arrived, paused, ranking)

    def _promote(self) -> None:
        """Queues the joint trial that is promoted next, before all other packs."""
        if not self._promotes or (decision := self._promotion()) is None:
            return
        state = self._journal.state
        trial = state.trials[decision.key]
        pack = Pack(name=f"pack{len(state.packs):02d}", trials=(trial,), stopping=BETWEEN)
        self._journal.append("asked", batch=-1, points=[], packs=[pack], decisions=[decision])
        self._due.appendleft(pack)

    def conclude(self) -> None:
        """Journals that the front needs no follow-up, if that is so.

        A run whose budget was used up by its very last trial is complete by that.
        """
        if self._follows_up_next and not self._to_follow_up():
            self._follow_up()

    @property
    def _follows_up_next(self) -> bool:
        """Tells whether all asked trials have ended, so that the front can be followed up."""
        state = self._journal.state
        return not (
            self._followed_up or self._due or self.unasked or not state.trials or state.unended()
        )

    def _follow_up(self) -> None:
        """Queues the missing trials of the points on the front, once all others have ended."""
        if not self._follows_up_next:
            return
        missing = self._to_follow_up()
        trials = [trial for point in missing for trial in missing[point]]
        packs = self._planner.finishing(trials, packs=len(self._journal.state.packs))
        self._journal.append("asked", batch=-1, points=[], packs=packs, following=list(missing))
        self._due.extend(packs)

    def _to_follow_up(self) -> dict[str, list[Trial]]:
        """Gives the missing trials by point of the front.

        The front is that of the points that trained to the end, and of the stopped ones that will
        if they lie on it.
        """
        state, study = self._journal.state, self._study
        results = {point: result_of(state, point, study) for point in state.points}
        candidates = [
            point
            for point, result in results.items()
            if result.ended == "complete"
            or (result.values and self._finishes and ranked_inside(state, point))
        ]
        candidate_results = [results[point] for point in candidates]
        front = rungs.front(candidate_results, candidates, study.objectives)
        return {point: trials for point in front if (trials := self._missing(point))}

    def _missing(self, point: str) -> list[Trial]:
        """Gives the trials of a point that were stopped, and those of seeds not tried yet."""
        state = self._journal.state
        asked_trials = [state.trials[key] for key in state.replicates[point]]
        missing = [trial for trial in asked_trials if state.endings[trial.key].status == STOPPED]
        if self._study.racing:
            tried_seeds = {trial.seed for trial in asked_trials}
            further_seeds = [seed for seed in self._study.seeds if seed not in tried_seeds]
            config = config_of(asked_trials[0])
            missing += self._planner.replicates(state.points[point], config, further_seeds)
        return missing

    def _ask_batch(self) -> None:
        """Asks the search for its next batch, and queues the trials of its new points.

        A proposal that is the same trials as an earlier point shares that point's results.
        """
        study, state = self._study, self._journal.state
        number = len(state.batches)
        batch = next_batch(study, state.batches)
        point_names = {key: trial.point for key, trial in state.trials.items()}
        new_points: list[Asked] = []
        proposed = []
        for proposal in batch.proposals:
            try:
                config = self._planner.config(proposal.settings)
            except InputError as error:
                raise SweepError(f"{error}, in a new run") from error
            key = self._planner.key(config)
            if key not in point_names:
                name = point_name(len(state.points) + len(new_points), study)
                point_names[key] = name
                new_points.append((study.point(name, config), config))
            proposed.append(point_names[key])
        self._journal_batch(
            number,
            new_points,
            proposals=[dataclasses.asdict(proposal) for proposal in batch.proposals],
            attributes=dict(batch.attributes),
            proposed=proposed,
        )

    def _journal_batch(self, number: int, points: list[Asked], **search: Any) -> None:
        """Plans the points, journals them with the search's data, and queues their packs."""
        planned = self._planner.plan(points, packs=len(self._journal.state.packs))
        self._journal.append(
            "asked", batch=number, points=planned.points, packs=planned.packs, **search
        )
        self._due.extend(planned.packs)


def unasked_points(study: Study, state: State) -> int:
    """Counts the points of a search that have yet to be asked."""
    if not study.proposes:
        return 0
    rule = study.search
    return max(0, rule.points - len(state.batches) * rule.batch)


def grid(study: Study) -> list[Asked]:
    """Gives all points of a grid with their configurations."""
    configs = study.configs()
    return [(point, configs[point.name]) for point in study.points()]


def first_plan(planner: Planner) -> Plan:
    """Gives the plan of a grid, or of the first batch of a search, as it is shown before a run.

    Raises:
        InputError: two points of a grid are the same trials, or a proposed point is not valid.
    """
    study = planner.study
    if not study.proposes:
        return planner.plan(grid(study))
    points: dict[str, Asked] = {}
    for proposal in next_batch(study, []).proposals:
        config = planner.config(proposal.settings)
        point = study.point(point_name(len(points), study), config)
        points.setdefault(planner.key(config), (point, config))
    return planner.plan(list(points.values()))
