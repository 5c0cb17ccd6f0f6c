"""Joint training: stem, router and experts on one loss, the published recipe in one backward pass.

Exactly one lane. It yields what `frozen.train` yields, so that a caller of either can call both.
Everything random is keyed by (seed, epoch, step): a training that goes on from an epoch's
checkpoint gives, on a CPU, the numbers of one that was never interrupted.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Collection, Generator, Sequence
from pathlib import Path

import numpy as np

from mpc_router.experts.finetune import resolve_device
from mpc_router.frozen import train as frozen_training
from mpc_router.frozen.lanes import Lane
from mpc_router.joint._history import History, best_epoch, light, report_of
from mpc_router.joint._loop import JointTraining, copied
from mpc_router.joint.start import Beginning
from mpc_router.messages import quoted
from mpc_router.prepare.joint import JointInputs
from mpc_router.results.checkpoint import CheckpointError, JointCheckpoint, LaneCheckpoint
from mpc_router.results.records import EpochResult, Failure, LanesEnded
from mpc_router.terminal.progress import Progress

__all__ = ["train"]

log = logging.getLogger(__name__)

_Results = Generator[EpochResult | LanesEnded, Collection[int] | None, None]


def train(
    lanes: Sequence[Lane],
    inputs: JointInputs,
    *,
    device: str = "cpu",
    progress: Progress | None = None,
    keep_best: bool = False,
    checkpoints: Path | None = None,
    resume: bool = False,
    pieces: int = 1,
) -> _Results:
    """Trains the lane; yields an `EpochResult` after every epoch and one `LanesEnded`.

    The answer to an `EpochResult` (`drop = yield result`) that names lane 0 ends the training.
    `progress` counts updates. In the folder `checkpoints` every epoch is kept before it is
    yielded (see `joint_history`). With `resume` the training goes on from the newest epoch there
    that is whole, or begins where there is none: epochs that were trained before are yielded
    again, as they were, and only the answer to the last of them counts. With `pieces` above 1 every
    batch is accumulated from so many smaller ones, which takes less memory and changes numbers by
    rounding alone (and by the draws of the encoders' dropout).

    Raises:
        ValueError: at the first `next`, more than one lane, or one that does not fit the inputs.
        CheckpointError: what lies in the folder is of another trial.
    """
    lane, place = _only(lanes, inputs), resolve_device(device)
    history = History(checkpoints) if checkpoints else None
    going_on = None
    if history is not None and resume:
        going_on = history.newest(
            lane.config, lane.seed, data=inputs.data_fingerprint, models=inputs.models_id
        )
    elif history is not None:
        history.clear()
    beginning: Beginning | None = None
    if lane.config.training.router == "supervised" and going_on is None:
        supervised = _supervised(lane, inputs, str(place), progress)
        if isinstance(supervised, Failure):
            yield from _dead(supervised, JointTraining(lane, inputs, place))
            return
        beginning = supervised
    try:
        run = JointTraining(
            lane, inputs, place, beginning=beginning, going_on=going_on, pieces=pieces
        )
    except (LookupError, TypeError, ValueError) as error:
        if going_on is None:
            raise
        raise CheckpointError(
            f"{checkpoints} holds an epoch that cannot be gone on from ({quoted(error)}); train "
            "without resuming, or in another folder"
        ) from error
    yield from _epochs(
        run,
        history,
        going_on,
        progress,
        # nothing but the best epoch's weights is wanted of it
        wants_best=keep_best or lane.config.training.epoch == "best_score",
        keep_best=keep_best,
    )


def _epochs(
    run: JointTraining,
    history: History | None,
    going_on: JointCheckpoint | None,
    progress: Progress | None,
    *,
    wants_best: bool,
    keep_best: bool,
) -> _Results:
    best: JointCheckpoint | None = None
    if progress is not None:
        progress.start("joint training", run.steps * run.epochs)
        progress.advance(run.epoch * run.steps)
    try:
        drop: Collection[int] | None = None
        if going_on is not None:
            for number, report in enumerate(going_on.history, 1):
                run.reports.append(report_of(report))
                drop = yield _result(run, number)
        while run.epoch < run.epochs and not _named(drop):
            failure = run.train_epoch(run.epoch + 1, progress) or run.close_epoch()
            if failure is not None:
                yield from _dead(failure, run)
                return
            if history is not None:
                history.keep(run.checkpoint(resumable=True), run.scores)
            elif wants_best and best_epoch(run.config.data.definition, run.scores) == run.epoch:
                best = run.checkpoint(resumable=False)
                best = dataclasses.replace(best, weights=copied(best.weights))
            drop = yield _result(run, run.epoch)
        yield _ended(run, _best(run, history, best) if wants_best else None, keep_best=keep_best)
    finally:
        if progress is not None:
            progress.finish()


def _best(
    run: JointTraining, history: History | None, best: JointCheckpoint | None
) -> JointCheckpoint:
    """Gives the trial after its best epoch on selection."""
    epoch = best_epoch(run.config.data.definition, run.scores)
    if epoch == run.epoch:
        return run.checkpoint(resumable=False)
    if history is None:
        assert best is not None
        return best
    kept = history.weights(epoch)
    if kept is None:
        log.warning("epoch %d was the best and is lost; the last, %d, stands in", epoch, run.epoch)
        return run.checkpoint(resumable=False)
    return light(kept)


def _ended(run: JointTraining, best: JointCheckpoint | None, *, keep_best: bool) -> LanesEnded:
    last = run.checkpoint(resumable=False)
    takes_best = best is not None and run.config.training.epoch == "best_score"
    result = best if takes_best and best is not None else last
    ended = run.end(result, "completed" if run.epoch == run.epochs else "dropped")
    if not keep_best or best is None:
        return ended
    return dataclasses.replace(ended, best=(best,), last=(last,))


def _result(run: JointTraining, epoch: int) -> EpochResult:
    return EpochResult(
        epoch=epoch,
        report=run.reports[epoch - 1],
        failures=(),
        steps=run.terms[epoch - 1][:, :, None],
    )


def _dead(failure: Failure, run: JointTraining) -> _Results:
    """Yields the last epoch and the ending of a trial that failed."""
    yield EpochResult(epoch=failure.epoch, report=run.no_report(), failures=(failure,))
    yield LanesEnded(
        epoch=failure.epoch,
        lanes=np.zeros(1, np.int64),
        reason="failed",
        reports=(),
        routing=(),
        checkpoints=(),
    )


def _supervised(
    lane: Lane, inputs: JointInputs, device: str, progress: Progress | None
) -> Beginning | Failure:
    """Trains the router that training begins with, on labels of frozen experts' outputs."""
    assert inputs.frozen is not None
    training = dataclasses.replace(
        lane.config.training,
        experts="frozen",
        epochs=lane.config.training.router_epochs,
        epoch="last",
    )
    model = dataclasses.replace(lane.config.model, shared_stem=False)
    config = dataclasses.replace(lane.config, training=training, model=model)
    first = dataclasses.replace(lane, config=config)
    for result in frozen_training.train([first], inputs.frozen, device=device, progress=progress):
        if isinstance(result, EpochResult) and result.failures:
            return dataclasses.replace(
                result.failures[0],
                message=f"in the supervised router's own training: {result.failures[0].message}",
            )
        if isinstance(result, LanesEnded):
            checkpoint = result.checkpoints[0]
            assert isinstance(checkpoint, LaneCheckpoint)
            return Beginning(
                checkpoint.weights, checkpoint.feature_mean, checkpoint.feature_deviation
            )
    raise AssertionError("a stack ends with LanesEnded")


def _named(answer: Collection[int] | None) -> bool:
    """Tells whether an answer drops the lane."""
    unknown = sorted(set(map(int, answer or ())) - {0})
    if unknown:
        raise ValueError(f"no lane {unknown} to drop; a joint trial is lane 0 alone")
    return bool(answer)


def _only(lanes: Sequence[Lane], inputs: JointInputs) -> Lane:
    if len(lanes) != 1:
        raise ValueError(f"joint training takes one lane, not {len(lanes)}; train them in turn")
    lane = lanes[0]
    training = lane.config.training
    if training.experts != "joint":
        raise ValueError(f"experts is {training.experts!r}; frozen.train is for frozen ones")
    if lane.config.experts != len(inputs.experts) or lane.config.data.task != inputs.task.name:
        raise ValueError(
            f"the configuration has {lane.config.experts} experts on {lane.config.data.task}, the "
            f"inputs {len(inputs.experts)} on {inputs.task.name}; prepare them with it"
        )
    if training.router == "supervised" and inputs.frozen is None:
        raise ValueError(
            "router=supervised needs the frozen experts' outputs; prepare them with it"
        )
    for split in inputs.splits.values():
        if not len(split):
            raise ValueError(f"split {split.split!r} is empty; there is nothing to learn")
    return lane
