"""The module counts a run's trials and epochs, and estimates what is left; pure functions."""

from __future__ import annotations

import functools
import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sweeps.journal.state import State
from sweeps.records import COMPLETED, FAILED, INSIDE, SELECTION, STOPPED, Trial
from sweeps.terminal.front_so_far import Standing
from sweeps.terminal.outline import Outline


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Counts the trials of a run: `done` and `total` never fall while the run goes on."""

    total: int
    """Counts all trials, those of points that the search has yet to propose too."""

    done: int
    """Counts the trials that were trained to their end, or stopped early."""

    stopped: int
    """Counts those of them that were stopped early and do not train on."""

    failed: int
    running: int
    """Counts the trials that a worker trains now."""

    further: int
    """Counts the running trials that were stopped before, and train on because of the front."""

    def __str__(self) -> str:
        """Writes the counts as a part of a sentence."""
        return f"{self.over}, {self.now}"

    @property
    def over(self) -> str:
        """Writes which trials are over."""
        stopped = f" ({self.stopped} stopped early)" if self.stopped else ""
        return f"{self.done} of {self.total} trials done{stopped}, {self.failed} failed"

    @property
    def now(self) -> str:
        """Writes which trials train now."""
        further = f" ({self.further} of them train on, for the front)" if self.further else ""
        return f"{self.running} running{further}"


def counts(state: State, outline: Outline) -> Counts:
    """Counts a run's trials.

    A stopped trial that trains on stays done. The trials of a point that a search has proposed
    several times are trained once, and count as often as it was proposed.
    """
    times = Counter(name for batch in state.proposed for name in batch)
    repeats = {name: time - 1 for name, time in times.items() if time > 1}
    by_status = Counter(ending.status for ending in state.endings.values())
    for name, repeat in repeats.items():
        for key in state.replicates.get(name, [])[: outline.seeds]:
            if key in state.endings:
                by_status[state.endings[key].status] += repeat
    running = _running_trials(state)
    points = _unproposed(state, outline) + sum(repeats.values())
    return Counts(
        total=len(state.trials) + points * outline.seeds,
        done=by_status[COMPLETED] + by_status[STOPPED],
        stopped=by_status[STOPPED] - len(state.finishing),
        failed=by_status[FAILED],
        running=len(running),
        further=sum(trial.key in state.finishing for trial in running),
    )


def _running_trials(state: State) -> list[Trial]:
    """Gives the trials that workers train now: those of running packs that have not ended."""
    packs = [state.packs[name] for name in sorted(state.running) if name in state.packs]
    return [
        trial
        for pack in packs
        for trial in pack.trials
        if state.pack_of[trial.key] == pack.name and not state.is_final(trial.key)
    ]


def full_epochs(trial: Trial) -> int:
    """Gives the epochs of a trial that is trained to its end."""
    return _epochs(trial.config)


@functools.lru_cache(maxsize=4096)
def _epochs(config: str) -> int:
    """Gives the epochs of a configuration as JSON."""
    return int(json.loads(config)["training"]["epochs"])


def trained_epochs(state: State, trial: Trial) -> int:
    """Gives the epochs that a trial has trained."""
    report = state.latest.get((trial.key, SELECTION))
    return report.epoch if report else 0


def epochs_left(state: State, outline: Outline, best: Sequence[Standing] = ()) -> float:
    """Estimates the epochs that are still to be trained.

    At every rung one of `eta` trials is expected to go on. Trials that were asked before stand for
    those of points that the search has yet to propose. The front so far, `best`, stands for the one
    whose points are followed up in the end. A budget of epochs is the limit.
    """
    epochs = [full_epochs(trial) for trial in state.trials.values()]
    rungs = _rungs(outline, max(epochs, default=0))
    left = 0.0
    for trial in state.unended():
        begin = trained_epochs(state, trial)
        ranked = state.packs[state.pack_of[trial.key]].stopping
        left += _expected(begin, full_epochs(trial), rungs if ranked else (), outline.rule.eta)
    unproposed = _unproposed(state, outline) * outline.seeds
    if epochs and unproposed:
        mean = sum(_expected(0, full, rungs, outline.rule.eta) for full in epochs) / len(epochs)
        left += unproposed * mean
    if state.following is None:
        left += sum(_following_epochs(state, outline, standing) for standing in best)
    if "epochs" in outline.budget:
        left = min(left, max(0.0, outline.budget["epochs"] - state.epochs))
    return left


def _following_epochs(state: State, outline: Outline, standing: Standing) -> int:
    """Gives the epochs that following up a point of the front takes.

    A stopped point trains to the end, where its pack has ranked it inside, and every point of a
    race is trained with the further seeds.
    """
    keys = state.replicates[standing.point.name]
    full = full_epochs(state.trials[keys[0]])
    epochs = max(0, outline.seeds + outline.further_seeds - len(keys)) * full
    for key in keys if standing.stopped and outline.rule.finish else ():
        if state.packs[state.pack_of[key]].stopping == INSIDE:
            epochs += full - trained_epochs(state, state.trials[key])
    return epochs


def _expected(begin: int, end: int, rungs: Iterable[int], eta: int) -> float:
    """Gives the epochs that a trial is expected to train after `begin`, up to `end`.

    The sum over epochs of the chance to train it, eta^-n after n rungs since `begin`.
    """
    later = [rung for rung in rungs if begin < rung < end]
    stages = zip([begin, *later], [*later, end], strict=True)
    return math.fsum((stop - start) / eta**passed for passed, (start, stop) in enumerate(stages))


def _rungs(outline: Outline, epochs: int) -> Sequence[int]:
    """Gives the rungs of trials of these epochs; none where the rule has none."""
    if outline.rule.method == "none" or epochs <= outline.rule.grace:
        return ()
    return outline.rule.rungs(epochs)


def _unproposed(state: State, outline: Outline) -> int:
    """Counts the points that the search has yet to propose."""
    return max(0, outline.points - sum(len(batch.proposals) for batch in state.batches))


def seconds_left(
    state: State, outline: Outline, *, left: float, seconds: float, epochs: int
) -> float | None:
    """Estimates the seconds until a run is done; None where nothing is known yet.

    Args:
        state: the run's.
        outline: the study's.
        left: the epochs that are still to be trained (`epochs_left`).
        seconds: the time in which these epochs were trained.
        epochs: at the speed of which the others are trained.
    """
    if seconds <= 0 or epochs <= 0:
        return None
    time_left = left * seconds / epochs
    if "time" in outline.budget:
        time_left = min(time_left, max(0.0, outline.budget["time"] - state.seconds))
    return time_left
