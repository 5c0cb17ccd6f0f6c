"""The module trains a pack without Ray, so that `--debug` and tests call it in process."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterator

import torch

from mpc_router.progress import Progress
from sweeps.records import INSIDE, SELECTION, Message, Pack
from sweeps.stopping import rungs
from sweeps.stopping.rungs import Ranking
from sweeps.worker._pack_run import PackRun
from sweeps.worker.job import Job, forget
from sweeps.worker.stack import Drop, Stack, group_trials


def run_pack(
    pack: Pack, job: Job, *, progress: Progress | None = None
) -> Generator[Message, Drop | None, None]:
    """Trains the pack; gives a message after every epoch with what was measured.

    A bracket trains all its stacks side by side and ranks its points at the rungs; its decisions
    come with the reports. Any other pack trains one stack after the other, and the answer to a
    message (`drop = yield message`) names trials to end now.

    A lane that fails is reported as ended at once, with its reason; the others go on. A lane that
    leaves or finishes is reported as ended when its routes and checkpoint are on disk. A trial
    whose experts train too goes on from the newest epoch that an interrupted attempt has left.

    Raises:
        OSError: the machine failed (the disk, the prepared outputs), and no trial.
    """
    use_threads(job.threads)
    run = PackRun(pack=pack, job=job)
    training = [Stack(run, trials, progress) for trials in group_trials(pack)]
    if pack.stopping == INSIDE and job.ranking is not None:
        yield from _bracket(run, training, job.ranking)
    else:
        for place in itertools.count():
            if place == len(training):
                break
            drop: Drop | None = None
            while not training[place].over:
                drop = yield run.settle(_advance(training, place, drop or {}))
    if not (run.stop_reasons and job.ranking is not None and job.ranking.rule.variant == "promote"):
        forget((trial.key for trial in pack.trials), job)


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

    At a rung the worst points leave with all their lanes, before the others train on.
    """
    while any(not stack.over for stack in training):
        advanced = []
        for place in itertools.count():
            if place == len(training):  # a list that may have grown
                break
            if not training[place].over:
                advanced.append(_advance(training, place, {}))
        reports = tuple(report for message in advanced for report in message.reports)
        selection = {report.key: report for report in reports if report.split == SELECTION}
        epoch = max((report.epoch for report in selection.values()), default=0)
        decisions = (
            rungs.decide_inside(run.pack, epoch, selection, ranking)
            if epoch in ranking.rungs()
            else ()
        )
        drop = {decision.key: decision.reason for decision in decisions if not decision.goes_on}
        dropped = [stack.leave(drop) for stack in training]
        yield run.settle(
            Message(
                reports=(*reports, *(report for message in dropped for report in message.reports)),
                decisions=decisions,
                endings=tuple(
                    ending for message in advanced + dropped for ending in message.endings
                ),
            )
        )


def use_threads(count: int) -> None:
    """Sets how many threads torch uses from now on."""
    torch.set_num_threads(count)
