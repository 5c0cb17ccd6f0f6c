"""What a reader of the results must know about data and experts, in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mpc_router.config import TrialConfig
from mpc_router.recipes import Recipes
from mpc_router.sources import Examples, Source


def notes_of(
    config: TrialConfig, source: Source, found: Recipes, *, headless: Sequence[str] = ()
) -> list[str]:
    """Sentences about the whole of the prepared data and experts.

    `headless` names the experts that were to come fine-tuned and came without a head.
    """
    notes = []
    if source.kind == "sample":
        from mpc_router.sample import NOTICE

        notes.append(f"Data: {NOTICE}.")
    stand_ins = {
        recipe.stand_in: None for recipe in (*found.experts, found.stem) if recipe.stand_in
    }
    notes += [f"Stand-in: {sentence}." for sentence in stand_ins]
    if config.model.expert_fine_tuned:
        notes.append(
            "The experts come fine-tuned and have seen all of train, where they look better than "
            "they are: selection is a fixed half of validation, the other half is quoted."
        )
        if headless:
            notes.append(
                f"{' and '.join(headless)} did not come fine-tuned, without a head for the task: "
                f"trained here on all of train (expert_seed {config.training.expert_seed}), "
                "for one seed alone."
            )
    else:
        notes.append(
            f"One set of experts (expert_seed {config.training.expert_seed}) served all trials: "
            "intervals hold for these experts and do not cover the chance in their training."
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
    for split in splits:
        limit = {"train": data.train_rows, "selection": 0}.get(split, data.validation_rows)
        if limit and limit == len(splits[split]):
            notes[split].append(f"limited to {limit} rows, chosen by a hash of the row")
    return {split: "; ".join(each) or None for split, each in notes.items()}
