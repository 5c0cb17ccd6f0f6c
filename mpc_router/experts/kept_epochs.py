"""What an expert's training is after an epoch: kept on disk, so that a stop loses one epoch.

An epoch is an entry of the cache, whole or not at all, and named by the training's key. The lock of
the expert's own entry, in which an expert is trained, keeps two processes apart.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from mpc_router.storage import cache as caching
from mpc_router.storage.tensor_files import (
    CheckpointError,
    read_tensors,
    with_prefix,
    write_tensors,
)

_WORTH: Final = 5.0
"""An epoch is kept where so many seconds were trained since the last one that was."""

_FILE: Final = "state.safetensors"
_WEIGHTS, _MOMENTS, _DRAWS = "weights.", "moments.", "draws."

log = logging.getLogger(__name__)


class KeptEpochs:
    """Keeps the newest epoch of one training, until its expert is finished."""

    def __init__(
        self,
        cache: Path,
        key: str,
        *,
        epochs: int,
        facts: Mapping[str, Any] | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begins the time until the first epoch is kept; `facts` describe the entries (JSON)."""
        self._folder, self._key, self._epochs = cache / "training", key, epochs
        self._facts, self._now = dict(facts or {}), now
        self._last = now()
        self.kept = 0
        """Counts the epochs from which training would go on."""

    def restore(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, order: torch.Generator
    ) -> int:
        """Sets a training, and torch's random state, to the newest kept epoch; gives its number.

        It gives 0, and changes nothing, where none is kept or all are damaged.
        """
        for epoch in range(self._epochs - 1, 0, -1):
            described = caching.description(self._place(epoch))
            if described is None:
                continue
            try:
                tensors = read_tensors(self._place(epoch) / _FILE, str(described.get("sha256")))
                _set(tensors, model, optimizer, order)
            except CheckpointError as error:
                log.warning("epoch %d of a training cannot be gone on from: %s", epoch, error)
                continue
            self.kept, self._last = epoch, self._now()
            return epoch
        return 0

    def keep(
        self,
        epoch: int,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        order: torch.Generator,
    ) -> None:
        """Keeps an epoch and removes those before, where enough was trained since the last.

        A disk that refuses costs the epoch and not the training.
        """
        if epoch >= self._epochs or self._now() - self._last < _WORTH:
            return

        def make(new_folder: Path) -> dict[str, Any]:
            sha256 = write_tensors(new_folder / _FILE, _state(model, optimizer, order))
            return {**self._facts, "epoch": epoch, "sha256": sha256}

        self._remove(self._place(epoch))  # a damaged one
        try:
            caching.entry(self._place(epoch), make)
        except OSError as error:
            log.warning("epoch %d of a training is not kept: %s", epoch, error)
            return
        self.kept, self._last = epoch, self._now()
        self.forget(but=epoch)

    def forget(self, *, but: int = 0) -> None:
        """Removes all epochs, or all but one."""
        for epoch in range(1, self._epochs):
            if epoch != but:
                self._remove(self._place(epoch))

    def sentence(self) -> str:
        """Says what a stop has left of the training."""
        if not self.kept:
            return f"no epoch of {self._epochs} is kept yet, so the training begins anew"
        return f"{self.kept} of {self._epochs} epochs are kept, and the training goes on from there"

    def _place(self, epoch: int) -> Path:
        return self._folder / caching.digest(self._key, epoch)

    def _remove(self, place: Path) -> None:
        shutil.rmtree(place, ignore_errors=True)
        place.with_name(f"{place.name}.lock").unlink(missing_ok=True)


def _state(
    model: nn.Module, optimizer: torch.optim.Optimizer, order: torch.Generator
) -> dict[str, Tensor]:
    """Gives all that training goes on from, by name."""
    moments = {
        f"{number}.{name}": value
        for number, values in optimizer.state_dict()["state"].items()
        for name, value in values.items()
    }
    draws = {"order": order.get_state(), "cpu": torch.default_generator.get_state()}
    for device in _cards(model):
        draws["cuda"] = torch.cuda.get_rng_state(device)
    parts = ((_WEIGHTS, model.state_dict()), (_MOMENTS, moments), (_DRAWS, draws))
    return {f"{prefix}{name}": value for prefix, part in parts for name, value in part.items()}


def _set(
    tensors: dict[str, Tensor],
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    order: torch.Generator,
) -> None:
    """Sets a training to what `_state` gave.

    Raises:
        CheckpointError: it is not of this training; nothing is changed.
    """
    weights, draws = with_prefix(tensors, _WEIGHTS), with_prefix(tensors, _DRAWS)
    shapes = {name: value.shape for name, value in model.state_dict().items()}
    if {name: value.shape for name, value in weights.items()} != shapes:
        raise CheckpointError("its weights are those of another model")
    if not {"order", "cpu", *("cuda" for _ in _cards(model))} <= draws.keys():
        raise CheckpointError("it was kept on another kind of device")
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in with_prefix(tensors, _MOMENTS).items():
        number, _, moment = name.partition(".")
        moments.setdefault(int(number), {})[moment] = value
    model.load_state_dict(weights)
    optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
    order.set_state(draws["order"])
    torch.default_generator.set_state(draws["cpu"])
    for device in _cards(model):
        torch.cuda.set_rng_state(draws["cuda"], device)


def _cards(model: nn.Module) -> Iterator[torch.device]:
    """Gives the GPU that a model is on, if any."""
    device = next(model.parameters()).device
    if device.type == "cuda":
        yield device
