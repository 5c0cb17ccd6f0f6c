"""Which tokenizer each encoder of a pool is read with: one for all of them, or each its own.

Two tokenizers that give the same numbers of every text are one. The stem's stands first. Letters: K
experts, D distinct tokenizers of a pool.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mpc_router.config.trial import TrialConfig
from mpc_router.model.reading import check_tokenizer_files, load_config, load_tokenizer
from mpc_router.model.sources import (
    CONFIG_FILE,
    SAMPLE_PREFIX,
    SENTENCEPIECE_FILES,
    TOKENIZER_FILES,
    ModelError,
    Models,
)
from mpc_router.recipes._hashes import file_hash, hub_folder, remembered, sample_hash
from mpc_router.storage.cache import digest

_PARTS: Final = (
    *TOKENIZER_FILES,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)

_MERGES_FILE: Final = "merges.txt"
"""Of a byte-level vocabulary; read only where there is no tokenizer.json."""


@dataclass(frozen=True, kw_only=True)
class Tokenizers:
    """Holds the distinct tokenizers of a pool, and which of them each expert is read with."""

    names: tuple[str, ...]
    """(D,) the model whose tokenizer each is; the first is the stem's."""

    keys: tuple[str, ...]
    """(D,) hashes of each one's files and the length kept."""

    experts: tuple[int, ...]
    """(K,) numbers in 0..D-1."""

    notes: tuple[str, ...] = ()
    """A sentence for each encoder that brings no tokenizer."""

    def __post_init__(self) -> None:
        for name in ("names", "keys", "experts", "notes"):
            object.__setattr__(self, name, tuple(getattr(self, name)))

    @classmethod
    def described(cls, description: Mapping[str, Any]) -> Tokenizers:
        """Gives the tokenizers that an entry of the cache describes, an older entry's too."""
        if "tokenizers" in description:
            return cls(**description["tokenizers"])
        experts = (0,) * len(description["experts"])
        return cls(names=("",), keys=(description.get("tokenizer", ""),), experts=experts)

    @property
    def key(self) -> str:
        """Gives hex digits of all of them: of a single one its own."""
        if len(self.keys) == 1:
            return self.keys[0]
        return digest("tokenizers", self.keys, self.experts)

    @property
    def several(self) -> bool:
        """Says whether the encoders are read with more than one tokenizer."""
        return len(self.keys) > 1

    def of_encoders(self, config: TrialConfig) -> dict[str, int]:
        """Maps the name of each encoder, the stem's included, to the number of its tokenizer."""
        names = config.model.expert_model_names
        numbers = dict(zip(names, self.experts, strict=True))
        return {_stem(config): 0} | numbers

    def by_expert(self, lengths: Sequence[NDArray[np.int64]]) -> NDArray[np.int64] | None:
        """Gives lengths (N, K) of each tokenizer's lengths (N,); None where experts agree."""
        if len(set(self.experts)) == 1:
            return None
        return np.stack([lengths[number] for number in self.experts], axis=1)

    def to_json(self) -> dict[str, Any]:
        """Gives plain data for an entry's `tokenizers`, which `described` reads."""
        return asdict(self)


def tokenizers_of(config: TrialConfig, models: Models, *, memory: Path | None = None) -> Tokenizers:
    """Gives the tokenizers of a configuration's encoders.

    `tokenizer_model_name` names one for all. Where it is empty, each encoder has its own; one that
    brings none takes the first of the pool whose encoder knows as many tokens. `memory` is a folder
    that remembers which tokenizers give the same numbers.

    Raises:
        ModelError: a tokenizer is missing or cannot be read.
    """
    model = config.model
    if model.tokenizer_model_name:
        try:
            key = _key(model.tokenizer_model_name, config, models)
        except ModelError as error:
            raise ModelError(f"tokenizer_model_name: {error}") from error
        return Tokenizers(
            names=(model.tokenizer_model_name,), keys=(key,), experts=(0,) * config.experts
        )
    encoders = tuple(dict.fromkeys((_stem(config), *model.expert_model_names)))
    lenders = {name: _lender(name, encoders, models) for name in encoders}
    number_of_key: dict[str, int] = {}
    number_of_state: dict[str, int] = {}
    names: list[str] = []
    keys: list[str] = []
    key_of = {lender: _key(lender, config, models) for lender in dict.fromkeys(lenders.values())}
    for lender, key in key_of.items():
        if key in number_of_key:
            continue
        state = ""
        if len(set(key_of.values())) > 1:  # else no tokenizer has to be loaded
            state = _state(lender, key, config, models, memory)
        number_of_key[key] = number_of_state.setdefault(state, len(names))
        if number_of_key[key] == len(names):
            names.append(lender)
            keys.append(key)
    return Tokenizers(
        names=tuple(names),
        keys=tuple(keys),
        experts=tuple(number_of_key[key_of[lenders[name]]] for name in model.expert_model_names),
        notes=tuple(
            f"{name} brings no tokenizer and is read with that of {lender}."
            for name, lender in lenders.items()
            if name != lender
        ),
    )


def check_one(config: TrialConfig, tokenizers: Tokenizers) -> None:
    """Refuses several tokenizers where the experts take the stem's hidden states.

    Raises:
        ModelError: an expert's tokens are not the stem's.
    """
    names = config.model.expert_model_names
    unlike = [name for name, number in zip(names, tokenizers.experts, strict=True) if number]
    if config.model.shared_stem and unlike:
        raise ModelError(
            f"shared_stem=true hands the stem's states on, and {unlike[0]} has another tokenizer "
            f"than the stem {_stem(config)}; set shared_stem=false, or name encoders of one "
            "vocabulary"
        )


def _stem(config: TrialConfig) -> str:
    """Names the encoder that the router looks through."""
    model = config.model
    return model.router_model_name if model.stem == "model" else model.expert_model_names[0]


def _lender(name: str, encoders: Sequence[str], models: Models) -> str:
    """Names the encoder whose tokenizer reads this one's text: itself if it brings one."""
    if _brings_one(name, models):
        return name
    words = _vocabulary(name, models)
    for other in encoders:
        if _brings_one(other, models) and _vocabulary(other, models) == words:
            return other
    raise ModelError(
        f"{name} brings no tokenizer (looked for {', '.join(TOKENIZER_FILES)}), and no encoder of "
        f"the pool that brings one knows {words} tokens as it does; copy its tokenizer's files "
        "into its folder, or set tokenizer_model_name to a model whose tokenizer fits all"
    )


def _brings_one(name: str, models: Models) -> bool:
    if name.startswith(SAMPLE_PREFIX):
        return True
    folder = _folder(name, models)
    return any((folder / file).is_file() for file in (*TOKENIZER_FILES, *SENTENCEPIECE_FILES))


def _vocabulary(name: str, models: Models) -> object:
    return getattr(load_config(models.resolve(name)), "vocab_size", None)


def _folder(name: str, models: Models) -> Path:
    """Gives the folder that a model's tokenizer is read from."""
    model = models.resolve(name)
    if model.kind == "hub":
        return hub_folder(model.name, (*_PARTS, _MERGES_FILE, *SENTENCEPIECE_FILES))
    return Path(model.path_or_name)


def _state(name: str, key: str, config: TrialConfig, models: Models, memory: Path | None) -> str:
    """Gives a hash of what a tokenizer of this key does, which others may do too."""

    def read() -> dict[str, Any]:
        from mpc_router.data.tokens import tokenizer_state

        tokenizer = load_tokenizer(name, models)
        return {"state": digest(tokenizer_state(tokenizer, config.data.max_length))}

    # names the class where tokenizer_config.json does not
    shape = (
        Path(_folder(name, models)) / CONFIG_FILE if not name.startswith(SAMPLE_PREFIX) else None
    )
    of_shape = file_hash(shape, None) if shape is not None and shape.is_file() else ""
    return str(remembered(memory, ["tokenizer", key, of_shape], read)["state"])


def own_words(names: Sequence[str], models: Models) -> list[str]:
    """Gives a hash of each model's own tokenizer files; empty where it has none."""
    hashes = []
    for name in names:
        try:
            hashes.append(_hash(name, models))
        except ModelError:
            hashes.append("")
    return hashes


def _key(name: str, config: TrialConfig, models: Models) -> str:
    return digest(_hash(name, models), config.data.max_length)


def _hash(name: str, models: Models) -> str:
    if name.startswith(SAMPLE_PREFIX):
        return sample_hash()
    folder = _folder(name, models)
    check_tokenizer_files(folder)
    files = [folder / file for file in _PARTS if (folder / file).is_file()]
    held = {file.name for file in files}
    if not held & set(TOKENIZER_FILES):
        # SentencePiece's files count only where they are what is read
        files += [folder / file for file in SENTENCEPIECE_FILES if (folder / file).is_file()]
    if TOKENIZER_FILES[0] not in held and (folder / _MERGES_FILE).is_file():
        files.append(folder / _MERGES_FILE)
    return digest([[file.name, file_hash(file, None)] for file in files])
