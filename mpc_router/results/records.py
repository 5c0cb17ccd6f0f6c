"""What training says after an epoch: numbers of every lane, failures, endings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mpc_router.prepare.inputs import SplitOutputs
from mpc_router.results.checkpoint import JointCheckpoint, LaneCheckpoint
from mpc_router.routes import Paths
from mpc_router.run_names import REPORT_LISTS, REPORT_LOSSES, REPORT_NUMBERS

Values = NDArray[np.float64]

ARRAYS: Final = (*REPORT_LISTS, *REPORT_NUMBERS, *REPORT_LOSSES)
"""Names the arrays of a `SplitReport` that are no mappings."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SplitReport:
    """Holds what lanes measured on a split; every array's first axis is `lanes`."""

    split: str
    lanes: NDArray[np.int64]
    """(L,)"""

    metrics: dict[str, Values]
    """`score` and the task's own, (L,) each."""

    cost: dict[str, Values]
    """Mean cost of an example under every cost vector, the router paid, (L,) each."""

    share: Values
    """(L, K) of the hard routes: by path, where the lanes choose between paths."""

    gate: Values
    """(L, K) mean soft gate."""

    gate_entropy: Values
    """(L,) mean entropy of an example's soft gate, nats."""

    loss: Values
    loss_task: Values
    loss_balance: Values
    loss_cost: Values
    """Terms before their weights, (L,) each."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Routing:
    """Says where lanes send every example of a split."""

    split: str
    example: NDArray[np.int64]
    """(N,)"""

    routes: NDArray[np.uint8]
    """(L, N)"""

    logits: NDArray[np.float32]
    """(L, N, K) before noise and temperature; of lanes that decide in steps (L, N, M)."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Names a lane that failed, and the first step at which that showed."""

    lane: int
    epoch: int
    step: int
    """Counted from 1 over the whole training."""

    term: str
    """`task`, `balance`, `cost`, `total`, or `logits` if only the evaluation saw it."""

    message: str


@dataclass(frozen=True, kw_only=True, eq=False)
class StackState:
    """Holds what lanes on frozen experts are after an epoch, from which their training goes on.

    Draws are keyed by seed and epoch, so there is nothing else to keep.
    """

    epoch: int
    """From 1."""

    lanes: NDArray[np.int64]
    """(L,)"""

    tensors: dict[str, Tensor]
    """(L, ...) weights, the optimizer's moments, and the best epoch so far where that is kept."""

    def rows(self, places: Sequence[int]) -> StackState:
        """Gives the state of the lanes at these places, numbered anew from 0."""
        return StackState(
            epoch=self.epoch,
            lanes=np.arange(len(places)),
            tensors={name: value[list(places)] for name, value in self.tensors.items()},
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class EpochResult:
    """Holds an epoch of all lanes that live after it, on selection."""

    epoch: int
    """From 1."""

    report: SplitReport
    failures: tuple[Failure, ...]
    """Lanes that died in this epoch: not in the report."""

    steps: NDArray[np.float32] | None = None
    """(steps, 4, L) loss terms as each step saw them: task, balance, cost, and their weighted sum;
    None where they are not known."""

    state: Callable[[], StackState] | None = None
    """Gives the lanes that still train, until the next epoch is asked for; its tensors are those
    that training changes. None where experts train too."""

    park: Callable[[], None] | None = None
    """Takes the lanes to the processor's memory until they train on or end, to the bits. None where
    experts train too."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LanesEnded:
    """Names lanes that train no more, and holds what they leave."""

    epoch: int
    """The last one reached; the one whose results these are is in each lane's checkpoint."""

    lanes: NDArray[np.int64]
    reason: Literal["completed", "dropped", "failed"]
    reports: tuple[SplitReport, ...]
    """The quoted splits."""

    routing: tuple[Routing, ...]
    """Selection and the quoted splits; lanes in the order of `lanes`."""

    checkpoints: tuple[LaneCheckpoint, ...] | tuple[JointCheckpoint, ...]
    """One a lane. Of failed lanes there are no reports, routing and checkpoints."""

    experts: tuple[SplitOutputs, ...] = ()
    """Where experts train too: what they say of selection and the quoted splits at the end. They
    have no features, (N, 0)."""

    paths: Paths | None = None
    """What the lanes choose between, where that is not single experts."""

    best: tuple[LaneCheckpoint, ...] | tuple[JointCheckpoint, ...] = ()
    """If asked for: each lane after its best epoch on selection."""

    last: tuple[LaneCheckpoint, ...] | tuple[JointCheckpoint, ...] = ()
    """If asked for: each lane after its last epoch."""
