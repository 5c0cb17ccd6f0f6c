"""What prepared inputs say of task, data and models, whether their experts train or not.

`frozen`, `joint` and `given_outputs` describe in these words what they keep in the cache.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mpc_router.config.trial import TrialConfig
from mpc_router.costs import CostVector, from_json
from mpc_router.data.sources import Cut
from mpc_router.prepare.inputs import (
    ExpertInfo,
    Places,
    StemInfo,
    notes_of,
    router_notes,
    split_notes,
)
from mpc_router.recipes.pool_tokenizers import Tokenizers
from mpc_router.recipes.recipes import Recipe, Recipes
from mpc_router.storage import cache as caching
from mpc_router.tasks import Task, from_record, to_record


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Holds what trials are told of their inputs beside the arrays."""

    task: Task
    data_fingerprint: str
    experts_id: str
    """Names the experts that trials share or start from: on every machine the same for one recipe
    and data."""

    experts: tuple[ExpertInfo, ...]
    stem: StemInfo
    notes: tuple[str, ...]
    """Sentences that a reader of the results must know."""

    synthetic: bool
    """The examples are the embedded sample's."""

    split_notes: dict[str, str | None]
    split_origin: dict[str, str]
    """Split -> the source file's split that its rows come from."""

    vectors: dict[str, CostVector] = field(default_factory=dict)
    """What results are reported under, by name: the pool's constants, what was published, and what
    is counted from the models."""

    folder: Path
    """What was prepared lies there; a worker opens it."""

    @property
    def models_id(self) -> str:
        """Names experts and stem together: what a trial's key holds of the models."""
        return caching.digest(self.experts_id, self.stem.hash)


def describe(
    config: TrialConfig,
    places: Places,
    cut_rows: Cut,
    data_fingerprint: str,
    *,
    experts_id: str,
    experts: Sequence[ExpertInfo],
    stem: StemInfo,
    notes: Sequence[str],
) -> dict[str, Any]:
    """Gives the facts as plain data, of which `facts_of` makes them again; without cost vectors."""
    notes_by_split = split_notes(config, cut_rows.splits)
    return {
        **to_record(config.data.definition),
        "splits": {
            name: {"note": notes_by_split[name], "origin": examples.origin}
            for name, examples in cut_rows.splits.items()
        },
        "data_fingerprint": data_fingerprint,
        "experts_id": experts_id,
        "experts": [asdict(expert) for expert in experts],
        "stem": asdict(stem),
        "notes": [*notes, *router_notes(config, cut_rows)],
        "synthetic": places.source.kind == "sample",
    }


def describe_recipes(
    config: TrialConfig,
    places: Places,
    cut_rows: Cut,
    data_fingerprint: str,
    *,
    experts_id: str,
    experts: Sequence[Recipe],
    pool_recipes: Recipes,
) -> dict[str, Any]:
    """Gives the facts of a pool of encoders as plain data, and its tokenizers."""
    from mpc_router.prepare._checks import headless  # with torch

    described = describe(
        config,
        places,
        cut_rows,
        data_fingerprint,
        experts_id=experts_id,
        experts=[
            ExpertInfo(
                name=recipe.name, layers=recipe.layers, stand_in=recipe.stand_in, hash=recipe.key
            )
            for recipe in experts
        ],
        stem=StemInfo(
            name=pool_recipes.stem.name,
            stand_in=pool_recipes.stem.stand_in,
            hash=pool_recipes.stem.key,
        ),
        notes=[
            *notes_of(config, headless=headless(config, places.models)),
            *pool_recipes.tokenizers.notes,
        ],
    )
    return described | {"tokenizers": pool_recipes.tokenizers.to_json()}


def facts_of(folder: Path, description: Mapping[str, Any]) -> dict[str, Any]:
    """Gives the values of `Facts` that an entry of the cache describes, by field."""
    splits = description["splits"]
    return {
        "task": from_record(description),
        "data_fingerprint": description["data_fingerprint"],
        "experts_id": description["experts_id"],
        "experts": tuple(ExpertInfo(**expert) for expert in description["experts"]),
        "stem": StemInfo(**description["stem"]),
        "notes": tuple(description["notes"]),
        "synthetic": description["synthetic"],
        "split_notes": {split: split_facts["note"] for split, split_facts in splits.items()},
        "split_origin": {split: split_facts["origin"] for split, split_facts in splits.items()},
        "vectors": from_json(description["vectors"]),
        "tokenizers": Tokenizers.described(description),
        "folder": folder,
    }
