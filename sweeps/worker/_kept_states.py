"""The module writes what a pack's lanes are at an epoch's end, and reads it to go on from there.

A state is written after an epoch where `STATE_PAUSE` seconds have passed since the last one, or
since the pack began, and `_SHARE` times the seconds that writing takes: as long as the last state
took, and for the first one what `_SPEED` says of its size. So it costs a hundredth of the time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from torch import Tensor

from mpc_router import trainer
from mpc_router.frozen.state_shapes import misfit, state_shapes
from mpc_router.prepare.frozen import Prepared
from mpc_router.results.records import StackState
from mpc_router.storage.files import make_folder, sync_folder
from mpc_router.storage.tensor_files import (
    CheckpointError,
    read_tensors,
    with_prefix,
    write_tensors,
)
from sweeps.records import Kept, Pack, Trial, config_of
from sweeps.worker.job import STATE_PAUSE, Job

_SHARE: Final = 100
_SPEED: Final = 250e6
"""It is how many bytes a second the first state is expected to be written with."""

_FORM: Final = "mpc-router states 1"
_HEADER: Final = 1000
"""It is more bytes than a tensor, or the file's form, takes in the header of its file."""


TrialsState = tuple[Sequence[Trial], StackState]
"""It pairs a stack's trials with what those are that still train, as lanes."""


@dataclass(kw_only=True)
class StateWriter:
    """Writes a pack's states, each where it is due."""

    pack: Pack
    folder: Path
    clock: Callable[[], float] = time.monotonic
    _last: float = field(init=False)
    _seconds: float | None = field(init=False, default=None)
    """They are the seconds that the last state took, or that the first one may take."""

    def __post_init__(self) -> None:
        """Begins the time until the first state."""
        self._last = self.clock()

    def write(self, states: Callable[[], Sequence[TrialsState]]) -> Kept | None:
        """Writes the stacks that still train, all after the same epoch, if a state is due.

        The file is durable on return; an earlier one stays until the journal names the new one.

        Raises:
            OSError: the disk refuses.
        """
        began = self.clock()
        if not self._is_due(began) or not (stacks := states()):
            return None
        tensors = {
            f"{number}.{name}": value
            for number, (_, state) in enumerate(stacks)
            for name, value in state.tensors.items()
        }
        if self._seconds is None:
            self._seconds = sum(value.nbytes for value in tensors.values()) / _SPEED
            if not self._is_due(began):
                return None
        epoch = stacks[0][1].epoch
        file = self.pack.state_file(epoch)
        make_folder(self.folder)
        sha256 = write_tensors(self.folder / file, tensors, format=_FORM)
        sync_folder(self.folder)
        self._last = self.clock()
        self._seconds = self._last - began
        return Kept(
            epoch=epoch,
            file=file,
            sha256=sha256,
            stacks=tuple(
                tuple(trials[int(lane)].key for lane in state.lanes) for trials, state in stacks
            ),
        )

    def _is_due(self, now: float) -> bool:
        """Tells whether the pauses have passed, as far as it is known what a state takes."""
        return now - self._last >= max(STATE_PAUSE, _SHARE * (self._seconds or 0.0))


class StateUnusable(Exception):
    """Says why a pack cannot go on from its kept state."""


def read_stacks(
    kept: Kept, groups: Sequence[Sequence[Trial]], job: Job
) -> list[tuple[list[Trial], StackState]]:
    """Reads the stacks that a pack goes on with: their trials, and what these are after an epoch.

    `groups` are the pack's trials, by who may train together. A kept trial that is not among them
    has ended since. The file and the journal that names it may come from elsewhere.

    Raises:
        StateUnusable: the file is missing or damaged, or does not fit the trials.
    """
    group_by_key = {trial.key: group for group in groups for trial in group}
    all_keys = [key for stack in kept.stacks for key in stack]
    if not any(key in group_by_key for key in all_keys):
        return []
    if len(set(all_keys)) < len(all_keys):
        raise StateUnusable("it names a trial twice")
    stacks: list[tuple[list[Trial], list[int]]] = []
    wanted: dict[str, Tensor] = {}
    for number, keys in enumerate(kept.stacks):
        group = next((group_by_key[key] for key in keys if key in group_by_key), None)
        if group is None:
            raise StateUnusable("one of its stacks is of other trials")
        by_key = {trial.key: trial for trial in group}
        places = [place for place, key in enumerate(keys) if key in group_by_key]
        if any(keys[place] not in by_key for place in places):
            raise StateUnusable("it names trials in one stack that cannot share one")
        stacks.append(([by_key[keys[place]] for place in places], places))
        shapes = _wanted_tensors(kept, group[0], len(keys), job)
        wanted |= {f"{number}.{name}": shape for name, shape in shapes.items()}
    tensors = _read(job.states / kept.file, kept.sha256, wanted)
    states = [
        StackState(
            epoch=kept.epoch,
            lanes=np.arange(len(kept.stacks[number])),
            tensors=with_prefix(tensors, f"{number}."),
        )
        for number in range(len(stacks))
    ]
    return [
        (trials, state.rows(places)) for (trials, places), state in zip(stacks, states, strict=True)
    ]


def _wanted_tensors(kept: Kept, trial: Trial, lanes: int, job: Job) -> Mapping[str, Tensor]:
    """Gives the shapes of a stack's tensors, one of whose trials this is.

    Raises:
        StateUnusable: such a stack has no kept state after this epoch.
    """
    config = config_of(trial)
    inputs = trainer.open_inputs(job.prepared[trial.prepared], config)
    if not isinstance(inputs, Prepared) or not 1 <= kept.epoch < config.training.epochs:
        raise StateUnusable(f"no stack of its trials goes on after epoch {kept.epoch}")
    return state_shapes(config, features=len(inputs.feature_mean), lanes=lanes)


def _read(path: Path, sha256: str, wanted: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Reads a file with these tensors.

    Raises:
        StateUnusable: there is no such file.
    """
    try:
        size = path.stat().st_size
    except OSError as error:
        raise StateUnusable(f"{path}: {error.strerror}") from error
    most_bytes = sum(value.nbytes for value in wanted.values()) + _HEADER * (1 + len(wanted))
    if size > most_bytes:
        raise StateUnusable(f"{path} has {size} bytes, more than its trials' state has")
    try:
        tensors = read_tensors(path, sha256)
    except CheckpointError as error:
        raise StateUnusable(f"{path} is damaged: its hash is not the one in the journal") from error
    if (fault := misfit(tensors, wanted)) is not None:
        raise StateUnusable(f"{path} does not fit its trials: {fault}")
    return tensors
