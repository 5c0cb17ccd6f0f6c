"""What a trial is given: experts, stem, splits of outputs, and notes about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from mpc_router.config.router_data import CROSS_FITTED, HELD_OUT, TRAIN_ROWS, UNUSED
from mpc_router.config.sections import DataConfig
from mpc_router.config.trial import TrialConfig
from mpc_router.data.output_tables import GivenOutputs
from mpc_router.data.sources import Cut, Examples, Source
from mpc_router.experts.side_by_side import HERE
from mpc_router.model.sources import Models
from mpc_router.run_names import SELECTION, TRAIN, VALIDATION
from mpc_router.source_error import listed
from mpc_router.tasks import TASKS

if TYPE_CHECKING:
    from mpc_router.experts.errands import Errand
    from mpc_router.terminal.progress import Progress

_TRAIN_NOTES: Final = {
    TRAIN_ROWS: "experts were trained on these rows and look better here than on others",
    HELD_OUT: "a share of train, by a hash of the row, that routers alone learn from",
    UNUSED: "rows of train beyond train_rows, seen by no expert",
    CROSS_FITTED: "outputs of each row from experts trained without its fold, one of {folds}",
}
"""By router_data, what is particular about the rows that routers learn from."""


BY_EXPERT: Final = "tokens_by_expert"
"""An array of prepared splits, where the experts' tokenizers differ."""


class ErrandRunner(Protocol):
    """Has encoders trained and asked somewhere; callers implement it."""

    @property
    def elsewhere(self) -> bool:
        """Tells whether it does so on other machines, so that it does not matter what is here."""

    def run(self, errands: Sequence[Errand], progress: Progress) -> None:
        """Leaves in the cache what errands leave.

        An errand that it does not do is done by the process that needs what it leaves.

        Raises:
            ModelError: a model is bad, or diverges.
        """


@dataclass(frozen=True, kw_only=True)
class Places:
    """Says where data and models come from, and where what is made of them is kept."""

    source: Source
    models: Models
    cache: Path
    outputs: GivenOutputs | None = None
    """Experts that were run elsewhere, where the study names some."""

    runner: ErrandRunner = HERE
    """Who trains encoders and asks them: processes of this machine, or a cluster."""


@dataclass(frozen=True, kw_only=True)
class SplitOutputs:
    """Holds a split as a router in training sees it; its arrays are memory-mapped and read-only."""

    split: str

    features: NDArray[np.float32]
    """(N, F) the stem's, as they are: not standardised."""

    outputs: NDArray[np.float32]
    """(N, K, C) every expert's logits, or its value."""

    labels: NDArray[np.float64]
    """(N,) class number or value."""

    example: NDArray[np.int64]
    """(N,) row number in the source file."""

    tokens: NDArray[np.int64]
    """(N,) length of each example: of several tokenizers the longest that an expert is given."""

    tokens_by_expert: NDArray[np.int64] | None = None
    """(N, K) length of each example to each expert, where their tokenizers differ."""

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, kw_only=True)
class ExpertInfo:
    """Holds one expert of the pool."""

    name: str
    layers: int
    """Encoder layers kept; 0 is all of them."""

    stand_in: str | None
    """What stood in for the named model, if anything did."""

    hash: str
    """Names the trained weights: their content or the recipe they come from."""

    label_order: tuple[int, ...] | None = None
    """The output that stands for each class, where a head that comes fine-tuned does not say so
    and it was found on train."""

    def __post_init__(self) -> None:
        if self.label_order is not None:
            object.__setattr__(self, "label_order", tuple(self.label_order))


@dataclass(frozen=True, kw_only=True)
class StemInfo:
    """Holds the encoder that the router looks through."""

    name: str
    stand_in: str | None
    hash: str


def notes_of(config: TrialConfig, *, headless: Sequence[str] = ()) -> list[str]:
    """Gives sentences about experts that no field of `Prepared` says.

    `headless` names the experts that were to come fine-tuned and came without a head.
    """
    notes = []
    if config.model.stem == "expert" and not config.model.router_model_name:
        notes.append(
            f"The pool names no stem, so that the router looks through its cheapest expert, "
            f"{config.model.expert_model_names[0]} (stem: expert)."
        )
    if not config.model.expert_fine_tuned:
        return notes
    notes += [
        "The experts come fine-tuned and have seen all of train, where they look better than "
        "they are: selection is a fixed half of validation, the other half is quoted."
    ]
    if headless:
        notes.append(
            f"{' and '.join(headless)} did not come fine-tuned, without a head for the task: "
            f"trained here on all of train (expert_seed {config.training.expert_seed}), "
            "for one seed alone."
        )
    return notes


def split_notes(config: TrialConfig, splits: Mapping[str, Examples]) -> dict[str, str | None]:
    """Gives what is particular about each split; None where nothing is."""
    tuned, data = bool(config.model.expert_fine_tuned), config.data
    notes: dict[str, list[str]] = {split: [] for split in splits}
    notes[TRAIN].append(_TRAIN_NOTES[data.router_data].format(folds=data.router_folds))
    if splits[VALIDATION].origin == TRAIN:
        notes[VALIDATION].append(
            "a tenth of train, by a second hash of the row, seen by no expert: the data hold no "
            "validation"
        )
    if tuned:
        notes[SELECTION].append("a fixed half of validation, by a hash of the row")
        notes[VALIDATION].append("the half of validation that is not selection")
    else:
        notes[SELECTION].append("a tenth of train, by a hash of the row, seen by no expert")
    for missing in set(data.definition.quoted) - set(splits):
        notes[VALIDATION].append(f"the data hold no {missing}")
    for split, labels in _labels_that_lack(config, splits).items():
        notes[split].append(f"no row has the label {labels} of train")
    for split in splits:
        limit = {TRAIN: _router_limit(data), SELECTION: 0}.get(split, data.validation_rows)
        if limit and limit == len(splits[split]):
            notes[split].append(f"limited to {limit} rows, chosen by a hash of the row")
    return {split: "; ".join(sentences) or None for split, sentences in notes.items()}


def _router_limit(data: DataConfig) -> int:
    """Gives the setting that limits the rows that routers learn from; of a share none does."""
    return {HELD_OUT: 0, UNUSED: data.router_rows}.get(data.router_data, data.train_rows)


def router_notes(config: TrialConfig, cut_rows: Cut) -> list[str]:
    """Gives a sentence on the rows that routers learn from, where no expert has seen them."""
    data, count = config.data, len(cut_rows.splits[TRAIN])
    trained = len(cut_rows.experts)
    if data.router_data == HELD_OUT:
        return [
            f"Routers learn from {count} rows of train that are kept from the experts, which were "
            f"trained on the other {trained} (router_data: held_out)."
        ]
    if data.router_data == UNUSED:
        return [
            f"Routers learn from {count} rows of train that no expert has seen, beyond the "
            f"{trained} of train_rows (router_data: unused)."
        ]
    if data.router_data == CROSS_FITTED:
        return [
            f"Routers learn from all {count} rows of train, each with outputs of experts that were "
            f"trained without its fold, one of {data.router_folds}; the experts that run were "
            "trained on all of train (router_data: cross_fitted)."
        ]
    return []


def _labels_that_lack(config: TrialConfig, splits: Mapping[str, Examples]) -> dict[str, str]:
    """Gives the labels of train that a quoted split lacks, of a task that is none of GLUE's."""
    task = config.data.definition
    if config.data.task_definition is None or task.regression:
        return {}
    learned = np.unique(splits[TRAIN].labels)
    lacks = {
        split: np.setdiff1d(learned, examples.labels)
        for split, examples in splits.items()
        if split not in (TRAIN, SELECTION)
    }
    return {
        split: listed([task.label_names[int(number)] for number in numbers])
        for split, numbers in lacks.items()
        if len(numbers)
    }


def judged_by(config: TrialConfig) -> list[Any]:
    """Gives what of a task's definition is in no fingerprint, such as its metrics; none for GLUE's.

    What is prepared says which task it is of, so tasks that differ in it share nothing prepared.
    """
    identity, glue = config.data.definition.identity(), TASKS.get(config.data.task)
    return [] if glue is not None and identity == glue.identity() else [identity]
