"""What a reader of the results must know about data and experts, in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mpc_router.config import TrialConfig
from mpc_router.sources import Examples
from mpc_router.tasks import TASKS


def notes_of(config: TrialConfig, *, headless: Sequence[str] = ()) -> list[str]:
    """Sentences about experts that no field of `Prepared` says.

    `headless` names the experts that were to come fine-tuned and came without a head.
    """
    if not config.model.expert_fine_tuned:
        return []
    notes = [
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
    """What is particular about each split; None where nothing is."""
    tuned, data = bool(config.model.expert_fine_tuned), config.data
    notes: dict[str, list[str]] = {split: [] for split in splits}
    notes["train"].append("experts were trained on these rows and look better here than on others")
    if tuned:
        notes["selection"].append("a fixed half of validation, by a hash of the row")
        notes["validation"].append("the half of validation that is not selection")
    else:
        notes["selection"].append("a tenth of train, by a hash of the row, seen by no expert")
    for missing in set(TASKS[data.task].quoted) - set(splits):
        notes["validation"].append(f"the data hold no {missing}")
    for split in splits:
        limit = {"train": data.train_rows, "selection": 0}.get(split, data.validation_rows)
        if limit and limit == len(splits[split]):
            notes[split].append(f"limited to {limit} rows, chosen by a hash of the row")
    return {split: "; ".join(each) or None for split, each in notes.items()}
