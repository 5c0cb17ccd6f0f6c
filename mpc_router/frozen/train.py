"""Trains a stack of routers on the cached outputs of frozen experts: the one training loop.

Routers learn from the mixed outputs (`router: gated`) or labels made of them (`supervised`).

A single trial is a stack of one. Lanes differ in seed and in `LANE_SETTINGS`; each trains exactly
as it would alone: its randomness is keyed (`randomness`), what trains it sees its own matrices
(`_compiled_routers`, `_stacked_routers`), and neither company nor the leaving of neighbours changes
a number.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Sequence

from mpc_router.config.keys import canonical
from mpc_router.frozen._loop import Training
from mpc_router.frozen.lanes import LANE_SETTINGS, Lane, common_settings, stack_key
from mpc_router.prepare.frozen import Prepared
from mpc_router.results.records import EpochResult, LanesEnded, StackState
from mpc_router.run_names import TRAIN
from mpc_router.terminal.progress import Progress

__all__ = ["LANE_SETTINGS", "Lane", "stack_key", "train"]


def train(
    lanes: Sequence[Lane],
    prepared: Prepared,
    *,
    device: str = "cpu",
    progress: Progress | None = None,
    keep_best: bool = False,
    start: StackState | None = None,
) -> Generator[EpochResult | LanesEnded, Collection[int] | None, None]:
    """Trains the lanes; yields an `EpochResult` after every epoch and `LanesEnded` as lanes end.

    The answer to an `EpochResult` (`drop = yield result`) names lanes to end now; lanes that have
    ended already may be among them, and after the last epoch there is nothing left to drop. The
    answer to a `LanesEnded` is ignored. Until the next event is asked for, `result.park()` frees
    what the stack holds of its device. `progress` counts steps of the whole stack. With
    `keep_best` every `LanesEnded` also holds the lanes as they were after their best epoch on
    selection and after their last one; nothing else changes. With `start`, the state of these lanes
    after an epoch, training goes on with the next one, to the bits of one that never paused.

    Raises:
        ValueError: at the first `next`, lanes that cannot share a stack, or do not fit what is
            prepared or the state; later, an answer that names a lane that never was.
    """
    _check(lanes, prepared)
    run = Training(lanes, prepared, device, keep_best=keep_best, start=start)
    del start  # it has been copied, and this generator lives as long as the training
    if progress is not None:
        progress.start("routers", run.steps * (run.epochs - run.epoch))
    try:
        for epoch in range(run.epoch + 1, run.epochs + 1):
            terms = run.train_epoch(epoch, progress)
            result = run.close_epoch(terms)
            answer = yield result
            run.move(device)  # it may have been parked meanwhile
            drop = _named(answer, len(lanes))
            if result.failures:
                yield run.failed(result.failures)
            leaving = [lane for lane in run.live if lane in drop]
            if epoch == run.epochs:
                leaving = []
            if leaving:
                yield run.end(leaving, "dropped")
            if not run.live:
                return
        yield run.end(list(run.live), "completed")
    finally:
        if progress is not None:
            progress.finish()


def _named(answer: Collection[int] | None, lanes: int) -> set[int]:
    """Gives the lanes that an answer names."""
    drop = {int(lane) for lane in answer} if answer is not None else set()
    unknown = sorted(lane for lane in drop if not 0 <= lane < lanes)
    if unknown:
        raise ValueError(f"no lane {unknown} to drop; the stack's lanes are 0..{lanes - 1}")
    return drop


def _check(lanes: Sequence[Lane], prepared: Prepared) -> None:
    if not lanes:
        raise ValueError("a stack needs at least one lane")
    first = common_settings(lanes[0].config)
    for number, lane in enumerate(lanes):
        common = common_settings(lane.config)
        if canonical(common) != canonical(first):
            differing = [name for name in first if first[name] != common[name]]
            raise ValueError(
                f"lanes 0 and {number} differ in {', '.join(differing)}; lanes of a stack may "
                f"differ in the seed and {', '.join(LANE_SETTINGS)}: train them in stacks by "
                "stack_key"
            )
    config = lanes[0].config
    if config.training.experts != "frozen":
        raise ValueError(
            f"the configuration's experts are {config.training.experts}, but a stack is trained "
            "beside frozen ones; use mpc_router.joint.train.train"
        )
    experts = prepared.splits[TRAIN].outputs.shape[1]
    if config.experts != experts:
        raise ValueError(
            f"the configuration has {config.experts} experts, the prepared outputs {experts}; "
            "prepare the data with this configuration"
        )
    if config.data.task != prepared.task.name:
        raise ValueError(
            f"the configuration's task is {config.data.task}, what is prepared is "
            f"{prepared.task.name}; prepare the data with this configuration"
        )
    for split in prepared.splits.values():
        if not len(split):
            raise ValueError(f"split {split.split!r} is empty; there is nothing to route")
