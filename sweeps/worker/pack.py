"""The module trains a pack without Ray, so that `--debug` and tests call it in process."""

from __future__ import annotations

import itertools
import math
from collections.abc import Generator, Iterator, Sequence
from functools import partial
from typing import Final

import torch

from mpc_router.frozen.memory import stay_open
from mpc_router.results.records import StackState
from mpc_router.terminal.progress import Progress
from sweeps.records import INSIDE, SELECTION, Kept, Message, Pack, Trial
from sweeps.stopping import rungs
from sweeps.stopping.rungs import Ranking
from sweeps.worker._kept_states import StateUnusable, TrialsState, read_stacks
from sweeps.worker._pack_run import PackRun
from sweeps.worker.job import Job, forget
from sweeps.worker.stack import Drop, Stack, group_trials

_ROOM: Final = 0.75
"""It is the share of a pack's GPU memory for stacks by their estimate: CUDA itself, its allocator's
reserve and the estimate's error take the rest."""


def run_pack(
    pack: Pack, job: Job, *, kept: Kept | None = None, progress: Progress | None = None
) -> Generator[Message, Drop | None, None]:
    """Trains the pack; gives a message after every epoch with what was measured.

    A bracket trains all its stacks side by side and ranks its points at the rungs; its decisions
    come with the reports. Any other pack trains one stack after the other, and the answer to a
    message (`drop = yield message`) names trials to end now.

    A lane that fails is reported as ended at once, with its reason; the others go on. A lane that
    leaves or finishes is reported as ended when its routes and checkpoint are on disk.

    A pack that was interrupted goes on: trials on frozen experts from `kept`, which the journal
    names, and a trial whose experts train too from the newest epoch that it has left.

    Raises:
        OSError: the machine failed (the disk, the prepared outputs), and no trial.
    """
    use_threads(job.threads)
    run = PackRun(pack=pack, job=job)
    training = _stacks(run, kept, progress)
    if pack.stopping == INSIDE and job.ranking is not None:
        yield from _bracket(run, training, job.ranking)
    else:
        for place in itertools.count():
            if place == len(training):
                break
            drop: Drop | None = None
            while not training[place].over:
                message = _advance(training, place, drop or {})
                drop = yield run.settle(message, partial(_states, training[place : place + 1]))
    if not (run.stop_reasons and job.ranking is not None and job.ranking.rule.variant == "promote"):
        forget((trial.key for trial in pack.trials), job)


def _stacks(run: PackRun, kept: Kept | None, progress: Progress | None) -> list[Stack]:
    """Gives the stacks to train: those that go on from a kept state, then those that begin.

    A bracket goes on with all of its trials that have not left it, or begins anew with all.
    """
    groups = group_trials(run.pack)
    resumed: list[tuple[list[Trial], StackState]] = []
    if kept is not None:
        try:
            resumed = read_stacks(kept, groups, run.job)
        except StateUnusable as error:
            run.restarts = str(error)
    stacks = [Stack(run, trials, progress, start=start) for trials, start in resumed]
    if resumed and run.pack.stopping == INSIDE:
        return stacks
    going_on = {trial.key for trials, _ in resumed for trial in trials}
    beginning = ([trial for trial in group if trial.key not in going_on] for group in groups)
    return stacks + [Stack(run, trials, progress) for trials in beginning if trials]


def _states(training: Sequence[Stack]) -> Sequence[TrialsState]:
    """Gives what the stacks are after an epoch that they have trained together.

    There are none where a stack has nothing to go on from: it is over after its last epoch.
    """
    states = [stack.state() for stack in training if not stack.over]
    return [] if None in states else [state for state in states if state is not None]


def _advance(training: list[Stack], place: int, drop: Drop) -> Message:
    """Trains one of the stacks an epoch further.

    Where it fails and divides, others take its place, and the first of them trains.
    """
    message = training[place].advance(drop)
    if not training[place].divides:
        return message
    training[place : place + 1] = training[place].divided()
    return _advance(training, place, {})


def _bracket(run: PackRun, training: list[Stack], ranking: Ranking) -> Iterator[Message]:
    """Trains all stacks epoch by epoch.

    At a rung the worst points leave with all their lanes, before the others train on. Of stacks
    that do not all have room on the GPU some are there only while they train.
    """
    room = gpu_room(run.job.gpus)
    while any(not stack.over for stack in training):
        advanced = []
        for place in itertools.count():
            if place == len(training):  # a list that may have grown
                break
            if not training[place].over:
                advanced.append(_advance(training, place, {}))
                _park_for(training, place, room)
        reports = tuple(report for message in advanced for report in message.reports)
        selection = {report.key: report for report in reports if report.split == SELECTION}
        epoch = max((report.epoch for report in selection.values()), default=0)
        decisions = (
            rungs.decide_inside(run.pack, epoch, selection, ranking)
            if epoch in ranking.rungs()
            else ()
        )
        drop = {decision.key: decision.reason for decision in decisions if not decision.goes_on}
        dropped = []
        for place, stack in enumerate(training):
            dropped.append(stack.leave(drop))
            _park_for(training, place, room)
        yield run.settle(
            Message(
                reports=(*reports, *(report for message in dropped for report in message.reports)),
                decisions=decisions,
                endings=tuple(
                    ending for message in advanced + dropped for ending in message.endings
                ),
            ),
            partial(_states, training),
        )


def _park_for(training: Sequence[Stack], place: int, room: float) -> None:
    """Parks the stack at a place, where the others need its room on the GPU."""
    if not stay_open([stack.gpu_bytes for stack in training], room)[place]:
        training[place].park()


def gpu_room(gpus: float) -> float:
    """Gives the bytes of a GPU for the stacks of a pack with this share of it."""
    if not (gpus and torch.cuda.is_available()):
        return math.inf
    return _ROOM * gpus * torch.cuda.get_device_properties(0).total_memory


def use_threads(count: int) -> None:
    """Sets how many threads torch uses from now on."""
    torch.set_num_threads(count)
