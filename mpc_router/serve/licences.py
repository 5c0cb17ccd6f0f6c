"""The licences of the models that a router is made of, as far as files here name them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from mpc_router.messages import printable
from mpc_router.model.sources import ModelError, Models, Resolved
from mpc_router.results.assembled import Assembled
from mpc_router.serve._card import UNKNOWN
from mpc_router.serve._hub import CARD_FILE

_SAMPLE: Final = "mit"
_LONGEST: Final = 60


def with_licences(assembled: Assembled, models: Models) -> Assembled:
    """Puts the licence of each part beside its name and hash; what an export knows stays."""
    origin = assembled.origin
    return replace(
        assembled,
        origin={
            **origin,
            "stem": _licensed(origin["stem"], models),
            "experts": [_licensed(part, models) for part in origin["experts"]],
        },
    )


def _licensed(part: dict[str, Any], models: Models) -> dict[str, Any]:
    if "licence" in part or "name" not in part:
        return part
    return {**part, "licence": _licence_of(str(part["name"]), models)}


def _licence_of(name: str, models: Models) -> str:
    """Gives the licence that the card beside a model's weights names."""
    try:
        resolved = models.resolve(name)
    except ModelError:
        return UNKNOWN
    if resolved.kind == "sample":
        return _SAMPLE
    return _of_card(_card_file(resolved))


def _card_file(resolved: Resolved) -> Path | None:
    """Finds the model's card; of the hub's models only one that was fetched before."""
    if resolved.kind != "hub":
        return Path(resolved.path_or_name) / CARD_FILE
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(resolved.name, CARD_FILE)
    return Path(cached) if isinstance(cached, str) else None


def _of_card(path: Path | None) -> str:
    """Reads the licence in a card's metadata."""
    from huggingface_hub import ModelCard

    if path is None or not path.is_file():
        return UNKNOWN
    try:
        data = ModelCard.load(path, ignore_metadata_errors=True).data
    except Exception:
        # Whatever is raised: the card is another's file, and of what it says YAML makes any type
        return UNKNOWN
    return _short(getattr(data, "license", None)) or UNKNOWN


def _short(words: object) -> str:
    """Gives a licence's name on one line; empty text for what is no name."""
    if not isinstance(words, str):
        return ""
    line = printable(words.strip().partition("\n")[0]).replace("|", "/")
    return line if len(line) <= _LONGEST else ""
