"""An expert whose weights are read when it is asked for the first time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from mpc_router.model.experts import BertExpert, ExpertPool


class LazyExpert(nn.Module):
    """Stands in a pool for an expert that `load` gives; several threads may ask it at once.

    Its shape can be read from `skeleton`, whose tensors have no numbers (torch's meta device).
    """

    def __init__(self, skeleton: BertExpert, load: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.skeleton = skeleton
        self.name = skeleton.name
        self.layers = skeleton.layers
        self.num_labels = skeleton.num_labels
        self._load = load
        self._lock = threading.Lock()
        self._ready: list[nn.Module] = []
        """The expert, once it is loaded; in a list, so that it is no part of the state dict."""

    @property
    def is_loaded(self) -> bool:
        """Says whether the weights are in memory."""
        return bool(self._ready)

    def loaded(self) -> nn.Module:
        """Gives the expert with its weights, on the CPU until it is asked elsewhere."""
        with self._lock:
            if not self._ready:
                self._ready.append(self._load())
            return self._ready[0]

    def forward(self, input_ids: Tensor, *more: Tensor | None) -> Tensor:
        """Gives outputs (B, C) of tokens (B, T), computed where these are."""
        outputs: Tensor = self.loaded().to(input_ids.device)(input_ids, *more)
        return outputs

    def _apply(self, fn: Any, recurse: bool = True) -> LazyExpert:
        """Leaves the skeleton where it is: it has no numbers to move."""
        return self


def load_experts(pool: ExpertPool) -> None:
    """Puts the experts of a lazy pool in the places of their stand-ins, with all their weights."""
    for number, expert in enumerate(pool.experts):
        if isinstance(expert, LazyExpert):
            pool.experts[number] = expert.loaded()
