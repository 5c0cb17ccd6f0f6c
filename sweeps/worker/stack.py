"""The module trains the stacks of a pack: trials that train together, each in a lane."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import torch

from mpc_router import trainer
from mpc_router.config.trial import TrialConfig
from mpc_router.frozen.memory import stack_bytes
from mpc_router.prepare.frozen import Prepared
from mpc_router.results.records import EpochResult, LanesEnded, StackState
from mpc_router.storage.files import make_folder
from mpc_router.terminal.progress import Progress
from mpc_router.trainer import Events, Inputs, Lane, stack_key
from sweeps.records import Ending, Message, Pack, Report, Trial, config_of
from sweeps.worker._pack_run import PackRun
from sweeps.worker.job import EPOCHS

_PIECES: Final = 2
"""It is how many pieces a batch is cut into, for a joint trial that was out of GPU memory."""

Drop = Mapping[str, str]
"""It holds trials to end now, each with the reason, by key."""


class Stack:
    """Trains lanes together, an epoch at a time."""

    def __init__(
        self,
        run: PackRun,
        trials: list[Trial],
        progress: Progress | None,
        *,
        start: StackState | None = None,
        saving: str = "",
    ) -> None:
        """Opens the trials' inputs.

        `start` is what they were after an epoch, if they go on from it. `saving` notes how memory
        is saved that ran out before.
        """
        self._run, self._trials, self._progress, self._saving = run, trials, progress, saving
        self._start, self._last = start, config_of(trials[0]).training.epochs
        run.notes |= {trial.key: saving for trial in trials if saving}
        first = trials[0]
        self._inputs = trainer.open_inputs(run.job.prepared[first.prepared], config_of(first))
        epochs = run.job.checkpoints / first.key / EPOCHS
        if is_joint(first):
            for folder in (run.job.checkpoints, epochs.parent, epochs):
                make_folder(folder)
        pieces = _PIECES if saving else 1
        self._on_gpu = device_of(config_of(first), run.job.gpus) != "cpu"
        self._training = begin_training(
            trials,
            self._inputs,
            progress,
            gpus=run.job.gpus,
            checkpoints=epochs,
            pieces=pieces,
            start=start,
        )
        self._running_lanes = set(range(len(trials)))
        self._epochs = 0 if start is None else start.epoch
        self._state: Callable[[], StackState] | None = None
        self._park: Callable[[], None] | None = None
        self._has_trained = False
        self._error: str | None = None
        self.over = False
        self._ran_out = False
        self.divides = False
        """It is true after a failure where other stacks are to take its place (see `divided`)."""

    def advance(self, drop: Drop) -> Message:
        """Ends the trials to drop and trains the others an epoch, or ends them after their last.

        Gives the reports of the new epoch, and those of the quoted splits of trials that ended.
        """
        dropped = self.leave(drop)
        reports, endings = list(dropped.reports), list(dropped.endings)
        for event in self._events():
            if isinstance(event, EpochResult):
                message = self._epoch_message(event)
                reports += message.reports
                endings += message.endings
                break
            reports += self._finish(event)
        return Message(reports=tuple(reports), endings=(*endings, *self._failed_endings()))

    def leave(self, drop: Drop) -> Message:
        """Ends the trials to drop without training; gives their reports of the quoted splits."""
        leaving = {lane for lane in self._running_lanes if self._trials[lane].key in drop}
        if not leaving or self.over or not self._has_trained:
            return Message()
        for lane in leaving:
            self._run.stop_reasons[self._trials[lane].key] = drop[self._trials[lane].key]
        reports: list[Report] = []
        for event in self._events(leaving):
            assert not isinstance(event, EpochResult)  # the events of leaving lanes come first
            reports += self._finish(event)
            if not leaving & self._running_lanes:
                break
        if not self._running_lanes:
            self.over = True
            self._training.close()
        return Message(reports=tuple(reports), endings=self._failed_endings())

    def state(self) -> tuple[Sequence[Trial], StackState] | None:
        """Gives its trials and what they are after the last epoch, for going on from there.

        None where none of them trains on, or they keep their epochs by themselves (joint trials).
        """
        ended = self.over or not self._running_lanes  # all may have failed in this very epoch
        if ended or self._state is None or self._epochs == self._last:
            return None
        return self._trials, self._state()

    @property
    def gpu_bytes(self) -> int:
        """Gives the bytes that it takes of a GPU, about; none where it trains on no GPU, or ended.

        Joint trials, which are alone in their packs, are not estimated.
        """
        if self.over or not self._on_gpu or not isinstance(self._inputs, Prepared):
            return 0
        config = config_of(self._trials[0])
        return stack_bytes(config, self._inputs, lanes=len(self._running_lanes))

    def park(self) -> None:
        """Frees what it holds of its GPU, until it trains on or trials leave."""
        if self._park is not None and not self.over:
            self._park()

    def _events(self, leaving: set[int] | None = None) -> Iterator[EpochResult | LanesEnded]:
        """Gives the next events of the training, from which lanes may leave, until it is over."""
        while not self.over:
            try:
                event = self._training.send(leaving)
            except StopIteration:
                self.over = True
            except OSError:
                raise  # the machine's fault, and no trial's
            except Exception as error:  # whatever a trial raises is its own ending
                self.over = True
                self._ran_out = isinstance(error, torch.OutOfMemoryError)
                self.divides = self._may_divide(error)
                self._error = None if self.divides else _reason_of(error)
            else:
                yield event
            leaving = None

    def _may_divide(self, error: Exception) -> bool:
        """Tells whether smaller stacks may succeed: tried once where the GPU's memory ran out.

        Routers are divided only before this attempt's first reports, which would come again. Those
        that go on from a kept epoch have reported already: only memory may be short here that was
        enough there. Any other failure ends them all, as it does where nothing was interrupted.
        """
        if (self._ran_out and self._saving) or _is_host_memory(error):
            return False
        if is_joint(self._trials[0]):
            return self._ran_out
        if self._has_trained or len(self._trials) == 1:
            return False
        return self._start is None or self._ran_out

    def divided(self) -> list[Stack]:
        """Gives the stacks that take the place of this one, which has failed.

        Routers go into two stacks of half the lanes, with the same numbers, for no lane depends on
        the others: each needs less memory, and a lane that fails its stack is alone in the end. A
        joint trial goes on from its newest complete epoch, with every batch in `_PIECES`.
        """
        self._training.close()
        del self._training
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        ran_out = "the GPU's memory ran out"
        if is_joint(self._trials[0]):
            saving = f"{ran_out}: batches were accumulated from {_PIECES} pieces each"
            return [Stack(self._run, self._trials, self._progress, saving=saving)]
        count, middle = len(self._trials), (len(self._trials) + 1) // 2
        saving = f"{ran_out}: trained in two stacks" if self._ran_out else self._saving
        return [
            Stack(
                self._run,
                [self._trials[place] for place in half],
                self._progress,
                start=self._start and self._start.rows(half),
                saving=saving,
            )
            for half in (range(middle), range(middle, count))
        ]

    def _failed_endings(self) -> tuple[Ending, ...]:
        """Makes the endings of the trials that an exception has ended."""
        if self._error is None:
            return ()
        reason, self._error = self._error, None
        lanes, self._running_lanes = sorted(self._running_lanes), set()
        return tuple(
            self._run.fail(self._trials[lane], epochs=self._epochs, reason=reason) for lane in lanes
        )

    def _finish(self, event: LanesEnded) -> tuple[Report, ...]:
        """Keeps what ended lanes leave behind; gives their reports of the quoted splits."""
        if event.reason == "failed":
            return ()
        self._running_lanes -= {int(lane) for lane in event.lanes}
        return self._run.finish(event, self._trials, self._inputs)

    def _epoch_message(self, event: EpochResult) -> Message:
        """Makes the message of an epoch: its reports, and the endings of lanes that failed."""
        self._running_lanes -= {failure.lane for failure in event.failures}
        endings = tuple(
            self._run.fail(self._trials[failure.lane], epochs=self._epochs, reason=failure.message)
            for failure in event.failures
        )
        self._epochs, self._state, self._park = event.epoch, event.state, event.park
        self._has_trained = True
        self._start = None  # from now on it is not divided
        reports = self._run.reports(event.report, event.epoch, self._trials)
        return Message(reports=reports, endings=endings)


def _reason_of(error: Exception) -> str:
    """Gives the reason of a trial that FAILED by its own fault, in a sentence."""
    if isinstance(error, torch.OutOfMemoryError):
        advice = "take a smaller batch_size, or fewer packs a GPU (pack.gpus)"
        return f"out of GPU memory: {_first_line(error)}; {advice}"
    if _is_host_memory(error):
        return f"out of memory on the host: {_first_line(error)}; take a smaller batch_size"
    return f"{type(error).__name__}: {error}"


def _is_host_memory(error: Exception) -> bool:
    """Tells whether the host's memory ran out."""
    return isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error)


def _first_line(error: Exception) -> str:
    """Gives the first line of an error's message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def is_joint(trial: Trial) -> bool:
    """Tells whether a trial's experts train too."""
    return config_of(trial).training.joint


def group_trials(pack: Pack) -> list[list[Trial]]:
    """Groups a pack's trials by set and stack, in the order of their first trials.

    A joint trial is a group of its own.
    """
    groups: dict[tuple[str, str], list[Trial]] = {}
    for trial in pack.trials:
        stack = trial.key if is_joint(trial) else stack_key(config_of(trial))
        groups.setdefault((trial.prepared, stack), []).append(trial)
    return list(groups.values())


def begin_training(
    trials: Sequence[Trial],
    inputs: Inputs,
    progress: Progress | None,
    *,
    gpus: float = 0.0,
    checkpoints: Path | None = None,
    pieces: int = 1,
    start: StackState | None = None,
) -> Events:
    """Begins the training of a stack, or goes on from `start`, and gives its events.

    A joint trial keeps its epochs in `checkpoints`, and cuts every batch into `pieces`.
    """
    lanes = [Lane(config=config_of(trial), seed=trial.seed) for trial in trials]
    return trainer.train(
        lanes,
        inputs,
        device=device_of(lanes[0].config, gpus),
        progress=progress,
        checkpoints=checkpoints,
        resume=checkpoints is not None,
        pieces=pieces,
        start=start,
    )


def device_of(config: TrialConfig, gpus: float) -> str:
    """Gives the device of a pack with so many GPUs: a pack without trains on the processor."""
    setting = config.training.device
    if setting != "auto":
        return str(setting)
    return "cuda" if gpus and torch.cuda.is_available() else "cpu"
