"""What can be known to be wrong before a run starts; nothing is trained here."""

from __future__ import annotations

import warnings
import zipfile
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any, Final

import torch
from safetensors import safe_open
from torch import nn

from mpc_router.config.own_pools import pool_of
from mpc_router.config.sections import DataConfig
from mpc_router.config.trial import TrialConfig
from mpc_router.data.sources import cut, read
from mpc_router.messages import quoted
from mpc_router.model.encoders import blank_encoder, places_of
from mpc_router.model.encoders import cut as shorten
from mpc_router.model.experts import comes_with_head, head_order
from mpc_router.model.reading import load_config, load_tokenizer, reading
from mpc_router.model.sources import ModelError, Models, Resolved, whatever_is_raised
from mpc_router.prepare._rehearsal import rehearse, two_examples
from mpc_router.prepare._surroundings import check_surroundings
from mpc_router.recipes.recipes import recipes, weight_files
from mpc_router.run_names import TRAIN

if TYPE_CHECKING:
    from mpc_router.prepare.inputs import Places

LEAST_KNOWN: Final = 0.5
"""Share of a tokenizer's words that a model of the same vocabulary knows; some lack a few."""

MOST_A_BYTE: Final = 2
"""Parameters that a byte of weights can stand for: they come in four bits or more."""

LFS: Final = b"version https://git-lfs"
"""How the small file begins that stands for a large one until git LFS fetches it."""


def check_inputs(config: TrialConfig, places: Places) -> None:
    """Finds everything that can be known to be wrong before a run starts; trains nothing.

    Two examples go through every encoder, as they will when all do.

    Raises:
        SourceError: data files, columns or labels are missing or bad, or the hub is out of reach.
        ModelError: a model is missing, has no sound weights, no tokenizer, too few layers, words or
            positions, or comes with a head that is not the task's.
        ConfigError: cuda without a GPU, or a cache folder that cannot be written.
    """
    check_surroundings(config, places)
    train = cut(config, read(config, places.source))[TRAIN]
    model, memory = config.model, places.cache / "hashes"
    experts = set(zip(model.expert_model_names, model.expert_layers, strict=True))
    stem = {(model.router_model_name, model.router_stem_layers)} if model.stem == "model" else set()
    pairs = experts | stem
    names = sorted({name for name, _ in pairs})
    places.models.check_all(names)
    pool_recipes = recipes(config, places.models, trained_on="", memory=memory)
    for name in names:
        for path in weight_files(places.models.resolve(name)):
            _check_weights(path)
    tokenizers = pool_recipes.tokenizers
    read_with = [load_tokenizer(called, places.models) for called in tokenizers.names]
    for called, tokenizer in zip(tokenizers.names, read_with, strict=True):
        _check_padding(tokenizer, called)
    number_of = tokenizers.of_encoders(config)
    for name, layers in sorted(pairs):
        resolved = places.models.resolve(name)
        with reading(resolved):
            shape = load_config(resolved)
            if (name, layers) in experts:
                _check_head(config, shape, name, layers)
            shorten(shape, layers, name)
            blank = blank_encoder(shape)
            _check_size(resolved, blank)
            number = number_of[name]
            _check_tokens(config, read_with[number], tokenizers.names[number], blank, name)
    if model.tokenizer_model_name:
        for name in sorted({name for name, _ in pairs} - {model.tokenizer_model_name}):
            _check_words(config, read_with[0], places.models, name)
    texts = [next(iter(column)) for column in train.texts]
    tokens = [
        two_examples(tokenizer, texts, max_length=config.data.max_length, called=called)
        for called, tokenizer in zip(tokenizers.names, read_with, strict=True)
    ]
    device = "auto" if places.runner.elsewhere else config.training.device
    rehearse(config, pool_recipes, places.models, tokens, device=device, memory=memory)


def _check_head(config: TrialConfig, shape: Any, name: str, layers: int) -> None:
    """Refuses a head that will be kept without the task's outputs, in words told apart."""
    task = config.data.definition
    if config.model.expert_fine_tuned and comes_with_head(shape, layers):
        head_order(name, shape, task.outputs, task.label_names)


def _check_size(model: Resolved, blank: nn.Module) -> None:
    """Refuses more parameters than the files of weights can hold."""
    parameters = sum(weights.numel() for weights in blank.parameters())
    held = sum(path.stat().st_size for path in weight_files(model))
    if model.kind != "sample" and parameters > MOST_A_BYTE * held:
        raise ModelError(
            f"config.json of {model.name} describes {parameters:,} parameters, its weights are "
            f"{held:,} bytes; copy or download both again"
        )


def _check_padding(tokenizer: Any, called: str) -> None:
    """Refuses a tokenizer that no batch can be filled up with."""

    def refusal(reason: str) -> ModelError:
        return ModelError(
            f"the tokenizer of {called} has no padding token that can be used ({reason}), and a "
            "batch is filled up with it; set pad_token in its tokenizer_config.json, or "
            "tokenizer_model_name to a model whose tokenizer has one"
        )

    with whatever_is_raised(refusal):
        padding = tokenizer.pad_token_id
    if not isinstance(padding, int):
        raise refusal(f"pad_token is {quoted(tokenizer.pad_token)}")


def _check_tokens(
    config: TrialConfig, tokenizer: Any, called: str, blank: nn.Module, name: str
) -> None:
    """Refuses an encoder that lacks a token, or takes fewer than an example may have."""
    shape: Any = blank.config
    words = 1 + max([len(tokenizer) - 1, *tokenizer.get_vocab().values()])
    vocabulary = getattr(shape, "vocab_size", None)
    if not isinstance(vocabulary, int):
        raise ModelError(
            f"{name} (of type {shape.model_type!r}) states no vocab_size in its config.json, so "
            "it reads no text; name a BERT-like encoder"
        )
    if words > vocabulary:
        whose = "its own tokenizer" if called == name else f"tokenizer {called}"
        raise ModelError(
            f"{name} knows {vocabulary} tokens and {whose} gives {words}; "
            + (_own(config) if called != name else "copy or download model and tokenizer again")
        )
    chosen, kept = config.data.max_length, tokenizer.model_max_length
    places = places_of(blank)
    limit = kept if places is None else min(kept, places)
    # the default is no wish: a tokenizer that cuts earlier may do so
    if min(chosen, kept) > limit or chosen > max(limit, DataConfig().max_length):
        raise ModelError(
            f"max_length is {chosen}, but {name} takes {limit} tokens at most; "
            f"set max_length={limit} or less"
        )


def _check_words(config: TrialConfig, tokenizer: Any, models: Models, name: str) -> None:
    """Refuses a model's own tokenizer whose words have other numbers than they are given.

    Two vocabularies of one size look alike to the model's shape.
    """
    called = config.model.tokenizer_model_name
    try:
        theirs = load_tokenizer(name, models).get_vocab()
    except ModelError:  # it brings none
        return
    ours = tokenizer.get_vocab()
    for word in sorted(ours):
        if theirs.get(word, ours[word]) != ours[word]:
            raise ModelError(
                f"{name} has another vocabulary than tokenizer {called}: token {word!r} is "
                f"{theirs[word]} to it and {ours[word]} here; {_own(config)}"
            )
    shared = len(ours.keys() & theirs.keys())
    if shared < LEAST_KNOWN * len(ours):
        raise ModelError(
            f"{name} has another vocabulary than tokenizer {called}: it knows {shared} of its "
            f"{len(ours)} tokens; {_own(config)}"
        )


def _own(config: TrialConfig) -> str:
    """Says how each encoder comes to be read with its own tokenizer."""
    pool = pool_of(config.model.pool)
    if pool is not None and pool.tokenizer == config.model.tokenizer_model_name:
        return (
            f"pool {pool.name!r} reads all encoders with that one: set pool=custom, where each is "
            "read with its own"
        )
    return "leave tokenizer_model_name empty, so that each encoder is read with its own"


def _check_weights(path: Path) -> None:
    """Refuses a file whose header is bad or that lacks tensors; nothing in it is run."""

    def refusal(reason: str) -> ModelError:
        return ModelError(
            f"{path} is not a whole file of weights ({reason}); copy or download it again"
        )

    with whatever_is_raised(refusal):
        with path.open("rb") as file:
            if file.read(len(LFS)) == LFS:
                raise ModelError(
                    f"{path} is a git LFS pointer and no weights; fetch it: git lfs pull"
                )
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt"):
                return
        try:
            is_zip = zipfile.is_zipfile(path)  # torch's files of old cannot be mapped
            with warnings.catch_warnings():
                warnings.simplefilter(
                    "ignore"
                )  # of another pickle protocol: what follows says more
                torch.load(path, map_location="meta", weights_only=True, mmap=is_zip)
        except UnpicklingError as error:
            raise ModelError(
                f"{path} is damaged, or holds more than tensors, which is never loaded; "
                "copy or download it again, best as model.safetensors"
            ) from error


def headless(config: TrialConfig, models: Models) -> list[str]:
    """Gives the experts that were to come fine-tuned and come without a head for the task."""
    if not config.model.expert_fine_tuned:
        return []
    pairs = zip(config.model.expert_model_names, config.model.expert_layers, strict=True)
    return [
        name
        for name, layers in pairs
        if not comes_with_head(load_config(models.resolve(name)), layers)
    ]
