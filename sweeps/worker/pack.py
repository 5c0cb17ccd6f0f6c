"""Trains a pack. Free of Ray: `--debug` and tests call it in process."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from mpc_router.prepare.frozen import Prepared
from mpc_router.progress import Progress
from mpc_router.trainer import Inputs
from sweeps.journal import bulk_files
from sweeps.records import INSIDE, SELECTION, Message, Pack
from sweeps.stopping import rungs
from sweeps.stopping.rungs import Ranking
from sweeps.worker.job import EPOCHS, Job
from sweeps.worker.stack import Drop, PackRun, Stack, stacks


def run_pack(
    pack: Pack, job: Job, *, progress: Progress | None = None
) -> Generator[Message, Drop | None, None]:
    """Trains the pack; says after every epoch what was measured.

    A bracket trains all its stacks side by side and ranks its points at the rungs; what it decided
    is said with the reports. Any other pack trains one stack after the other, and the answer to a
    message (`drop = yield message`) names trials to end now.

    A lane that fails is said to have ended at once, with its reason; the others go on. Those that
    leave or finish are said to have ended when their routes and checkpoints are on disk. A trial
    whose experts train too goes on from the newest epoch that an interrupted attempt has left. An
    exception means that the surroundings failed (the disk, the prepared outputs).
    """
    use_threads(job.threads)
    run = PackRun(pack=pack, job=job)
    training = [Stack(run, trials, progress) for trials in stacks(pack)]
    if pack.stopping == INSIDE and job.ranking is not None:
        yield from _bracket(run, training, job.ranking)
    else:
        for place in itertools.count():
            if place == len(training):
                break
            drop: Drop | None = None
            while not training[place].over:
                drop = yield run.settled(_advance(training, place, drop or {}))
    if not (run.reasons and job.ranking is not None and job.ranking.rule.variant == "promote"):
        forget((trial.key for trial in pack.trials), job)


def _advance(training: list[Stack], place: int, drop: Drop) -> Message:
    """Takes one of the stacks an epoch further. Where it breaks down others take its place, and the
    first of them is taken further."""
    message = training[place].advance(drop)
    if not training[place].divides:
        return message
    training[place : place + 1] = training[place].divided()
    return _advance(training, place, {})


def forget(keys: Iterable[str], job: Job) -> None:
    """Removes what trials would go on from: the journal has their endings, and nobody will."""
    for key in keys:
        shutil.rmtree(job.checkpoints / key / EPOCHS, ignore_errors=True)


def _bracket(run: PackRun, training: list[Stack], ranking: Ranking) -> Iterator[Message]:
    """All stacks epoch by epoch; at a rung the worst points leave with all their lanes, before
    anybody trains on."""
    while any(not each.over for each in training):
        said = []
        for place in itertools.count():
            if place == len(training):  # which may have grown
                break
            if not training[place].over:
                said.append(_advance(training, place, {}))
        reports = tuple(report for message in said for report in message.reports)
        at = {report.key: report for report in reports if report.split == SELECTION}
        epoch = max((report.epoch for report in at.values()), default=0)
        decisions = (
            rungs.decide_inside(run.pack, epoch, at, ranking) if epoch in ranking.rungs() else ()
        )
        drop = {each.key: each.reason for each in decisions if not each.goes_on}
        left = [each.leave(drop) for each in training]
        yield run.settled(
            Message(
                reports=(*reports, *(report for message in left for report in message.reports)),
                decisions=decisions,
                endings=tuple(ending for message in said + left for ending in message.endings),
            )
        )


def use_threads(count: int) -> None:
    """Torch's, from now on."""
    torch.set_num_threads(count)


def gpus() -> int:
    """GPUs that torch sees on this machine."""
    return torch.cuda.device_count()


def write_shared_parts(sets: Sequence[Inputs], folder: Path) -> dict[str, str]:
    """Frozen experts' outputs, and examples of every split but train, as bulk files; their hashes.

    Experts that several sets have in common are written once. The examples are those of the first.
    """
    frozen = {each.experts_id: each for each in sets if isinstance(each, Prepared)}
    experts = [
        table
        for prepared in frozen.values()
        for split in _all_but_train(prepared)
        for table in bulk_files.experts(
            prepared.experts_id, split, regression=prepared.task.regression
        )
    ]
    examples = [bulk_files.examples(split) for split in _all_but_train(sets[0])]
    written = {bulk_files.EXAMPLES: bulk_files.write(folder / bulk_files.EXAMPLES, examples)}
    if experts:
        written[bulk_files.EXPERTS] = bulk_files.write(folder / bulk_files.EXPERTS, experts)
    return written


def _all_but_train(inputs: Inputs) -> list[Any]:
    return [split for name, split in inputs.splits.items() if name != "train"]
