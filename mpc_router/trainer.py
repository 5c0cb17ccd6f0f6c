"""The module is the entry to training: check, prepare, open and train, frozen or joint.

With frozen experts a stack of routers trains on cached outputs (`prepare.frozen`, `frozen.train`);
with joint experts all of one trial trains together (`prepare.joint`, `joint.train`). Each is
imported where it is needed: a command that finds all prepared needs neither torch nor transformers.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Union

from mpc_router.config.pools import OUTPUTS
from mpc_router.config.trial import ConfigError, TrialConfig
from mpc_router.frozen.lanes import Lane, stack_key
from mpc_router.model.sources import ModelError
from mpc_router.prepare import frozen
from mpc_router.prepare.frozen import Prepared
from mpc_router.prepare.inputs import Places
from mpc_router.source_error import SourceError
from mpc_router.terminal.progress import Progress

if TYPE_CHECKING:
    from mpc_router.prepare.joint import JointInputs
    from mpc_router.results.records import EpochResult, LanesEnded, StackState

__all__ = [
    "INPUT_ERRORS",
    "Events",
    "Inputs",
    "Lane",
    "check",
    "open_inputs",
    "prepare",
    "stack_key",
    "train",
]

INPUT_ERRORS: Final = (ConfigError, SourceError, ModelError)
"""They are the errors about the user's configuration, data or models."""

Inputs = Union[Prepared, "JointInputs"]
"""They are what trials train on: outputs of frozen experts, or the start of joint training."""

Events = Generator[Union["EpochResult", "LanesEnded"], Collection[int] | None, None]
"""It yields results of a training; an answer to an `EpochResult` names lanes to end now."""


def check(config: TrialConfig, places: Places, *, vectors: Collection[str] = ()) -> None:
    """Finds what is wrong with data and models before anything is prepared.

    `vectors` names the cost vectors that must be known.

    Raises:
        ConfigError, SourceError, ModelError: the input is wrong.
    """
    if config.model.pool == OUTPUTS:
        from mpc_router.prepare import given_outputs

        given_outputs.check_given(config, places, vectors)
        return
    if config.training.joint:
        from mpc_router.prepare import joint

        joint.check_joint(config, places, vectors)
    else:
        frozen.check_inputs(config, places, vectors)


def prepare(config: TrialConfig, places: Places, progress: Progress) -> Inputs:
    """Gives what trials with this configuration train on: made once, then only opened.

    Raises:
        ConfigError, SourceError, ModelError: the input is wrong.
    """
    if config.model.pool == OUTPUTS:
        from mpc_router.prepare import given_outputs

        return given_outputs.prepare_given(config, places)
    if config.training.joint:
        from mpc_router.prepare import joint

        return joint.prepare_joint(config, places, progress)
    return frozen.prepare(config, places, progress)


def open_inputs(folder: Path, config: TrialConfig) -> Inputs:
    """Opens what `prepare` left in its folder for this configuration; loads no model.

    Raises:
        FileNotFoundError: the folder holds nothing complete; `prepare` makes it again.
    """
    if config.training.joint:
        from mpc_router.prepare import joint

        return joint.open_joint(folder)
    return frozen.open_prepared(folder)


def train(
    lanes: Sequence[Lane],
    inputs: Inputs,
    *,
    device: str = "cpu",
    progress: Progress | None = None,
    keep_best: bool = False,
    checkpoints: Path | None = None,
    resume: bool = False,
    pieces: int = 1,
    start: StackState | None = None,
) -> Events:
    """Trains the lanes; yields an `EpochResult` after every epoch and `LanesEnded` as lanes end.

    Joint inputs take exactly one lane, and three arguments concern them alone: the folder of
    epochs, whether training resumes from it, and the pieces that a batch is accumulated from. Lanes
    on frozen experts go on from `start`, their state after an epoch (`EpochResult.state`).

    Raises:
        ValueError: at the first `next`, the lanes do not fit each other or the inputs.
        CheckpointError: at the first `next`, the folder of epochs belongs to another trial.
    """
    if not isinstance(inputs, Prepared):
        from mpc_router.joint import train as joint_training

        return joint_training.train(
            lanes,
            inputs,
            device=device,
            progress=progress,
            keep_best=keep_best,
            checkpoints=checkpoints,
            resume=resume,
            pieces=pieces,
        )
    from mpc_router.frozen import train as frozen_training

    return frozen_training.train(
        lanes, inputs, device=device, progress=progress, keep_best=keep_best, start=start
    )
