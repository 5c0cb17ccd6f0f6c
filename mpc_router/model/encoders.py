"""Encoders and tokenizers, loaded whole or cut at their first layers; their tokens summed up.

Safetensors are preferred; torch files are read by transformers with `weights_only`. Code that a
model brings is never run. Letters: B examples, T tokens, F features (the encoder's width).
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import torch
from torch import Tensor, nn

from mpc_router.model.reading import load_config as load_config
from mpc_router.model.reading import load_tokenizer as load_tokenizer
from mpc_router.model.reading import reading, sample_config
from mpc_router.model.sources import ModelError, Models, Resolved

HEAD_SUFFIX: Final = "ForSequenceClassification"
"""Architectures of transformers whose checkpoint has a classification head."""

_POOLINGS: Final = ("cls", "mean")

_MOST_LAYERS: Final = 1000
"""Of an encoder: more are a slip in its config.json, and would take hours to build."""


class PooledEncoder(nn.Module):
    """Runs an encoder and sums up its tokens into one vector an example."""

    def __init__(self, encoder: nn.Module, pooling: str = "cls") -> None:
        super().__init__()
        check_pooling(pooling)
        self.encoder = encoder
        self.pooling = pooling
        self.width = width_of(encoder)
        self._segments = takes_segments(encoder)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
    ) -> Tensor:
        """Gives features (B, F) of tokens (B, T); without a mask all of them count."""
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        segments = {"token_type_ids": token_type_ids} if self._segments else {}
        hidden = self.encoder(input_ids, attention_mask=mask, **segments).last_hidden_state
        return summarise(hidden, mask, self.pooling)


def summarise(hidden: Tensor, attention_mask: Tensor, pooling: str) -> Tensor:
    """Takes hidden states (B, T, F) to (B, F): the first token (`cls`) or the unmasked `mean`.

    Padding does not change either.
    """
    if pooling == "cls":
        return hidden[:, 0]
    weights = attention_mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weights).sum(1) / weights.sum(1).clamp_min(1)


def check_pooling(pooling: str) -> None:
    """Raises a ModelError unless this is a way to sum up tokens."""
    if pooling not in _POOLINGS:
        raise ModelError(f"pooling is {pooling!r}, allowed are {', '.join(_POOLINGS)}")


def width_of(encoder: nn.Module) -> int:
    """Gives F, the width of an encoder's hidden states."""
    config: Any = getattr(encoder, "config", None)
    width = getattr(config, "hidden_size", None)
    if not isinstance(width, int):
        raise ModelError(
            f"{type(encoder).__name__} states no hidden_size; give a BERT-like encoder"
        )
    return width


def takes_segments(encoder: nn.Module) -> bool:
    """Tells whether an encoder separates the two texts of a pair by token_type_ids."""
    kinds = getattr(getattr(encoder, "config", None), "type_vocab_size", 0)
    if not isinstance(kinds, int) or kinds < 2:
        return False
    return "token_type_ids" in inspect.signature(encoder.forward).parameters


def places_of(encoder: nn.Module) -> int | None:
    """Gives how many tokens an encoder has positions for; None where it states no limit.

    RoBERTa and its like count positions from the padding's number on: where a table of positions
    has a row for padding, that row and those before it are no token's.
    """
    stated = getattr(getattr(encoder, "config", None), "max_position_embeddings", None)
    if not isinstance(stated, int) or stated < 1:  # XLNet says -1
        return None
    lost = [
        1 + table.padding_idx
        for name, table in encoder.named_modules()
        if name.endswith("position_embeddings")
        and isinstance(getattr(table, "padding_idx", None), int)
    ]
    return stated - max(lost, default=0)


def blank_encoder(config: Any, *, head: bool = False) -> nn.Module:
    """Builds the module of a configuration on torch's meta device: shapes without numbers.

    In evaluation mode, with its `head` or without a pooler.
    """
    from transformers import AutoModel, AutoModelForSequenceClassification

    kind = AutoModelForSequenceClassification if head else AutoModel
    with torch.device("meta"):
        model: nn.Module = kind.from_config(config, trust_remote_code=False).eval()
    if not head:
        drop_pooler(model)
    return model


def load_encoder(name: str, layers: int, models: Models, *, seed: int) -> nn.Module:
    """Loads the encoder called `name`, its first `layers` layers (0: all), without a pooler.

    `seed` draws the weights of the sample's encoders; the others come trained. The global random
    state is left alone. Layers that are cut off are not read. In evaluation mode.

    Raises:
        ModelError: not found, no weights, damaged, or fewer layers than asked for.
    """
    return load_resolved(models.resolve(name), layers, seed=seed)


def load_resolved(resolved: Resolved, layers: int, *, seed: int) -> nn.Module:
    """Loads an encoder as `load_encoder` does, from what `Models.resolve` gave."""
    if resolved.kind == "sample":
        return _sample_encoder(resolved.name, layers, seed)
    from transformers import AutoModel

    config = load_config(resolved)
    cut(config, layers, resolved.name)
    encoder = _load(resolved, AutoModel.from_pretrained, config)
    drop_pooler(encoder)
    return encoder


class _NoPooler(nn.Module):
    """Stands in place of a pooler, because some encoders call theirs unasked."""

    def forward(self, hidden: Tensor, *_: object, **__: object) -> Tensor:
        """Gives the first token (B, F) of hidden states (B, T, F)."""
        return hidden[:, 0]


def drop_pooler(encoder: nn.Module) -> None:
    """Removes an encoder's pooler: features are taken from the last layer, so it has no use."""
    if getattr(encoder, "pooler", None) is not None:
        setattr(encoder, "pooler", _NoPooler())  # noqa: B010 (nn.Module does not state it)


def has_pooler(encoder: nn.Module) -> bool:
    """Tells whether an encoder still has its pooler."""
    return not isinstance(getattr(encoder, "pooler", None), _NoPooler | None)


def load_classifier(resolved: Resolved, config: Any) -> nn.Module:
    """Loads a checkpoint as transformers' classifier with its head, in evaluation mode."""
    from transformers import AutoModelForSequenceClassification

    return _load(resolved, AutoModelForSequenceClassification.from_pretrained, config)


def depth_of(config: Any) -> int:
    """Gives the number of encoder layers of a configuration.

    Raises:
        ModelError: it states none, or is one of an encoder with a decoder.
    """
    depth = getattr(config, "num_hidden_layers", None)
    model = f"{config.name_or_path or 'a model'} (of type {config.model_type!r})"
    if not isinstance(depth, int) or getattr(config, "is_encoder_decoder", False):
        raise ModelError(f"{model} is no BERT-like encoder; give one")
    if not 0 <= depth <= _MOST_LAYERS:
        raise ModelError(
            f"{model} has {depth} layers by its config.json, allowed are 0 to {_MOST_LAYERS}; copy "
            "or download its config.json again"
        )
    return depth


def cut(config: Any, layers: int, name: str) -> None:
    """Cuts a configuration to its first `layers` layers; 0 leaves it as it is.

    Raises:
        ModelError: there are fewer layers than that.
    """
    depth = depth_of(config)
    if not 0 <= layers <= depth:
        raise ModelError(f"{name} has {depth} layers, {layers} were asked for; give 0..{depth}")
    if not layers:
        return
    for setting, value in vars(config).items():
        # what is said layer by layer, such as Longformer's windows, is said of those that are kept
        if isinstance(value, list) and len(value) == depth and _by_layer(setting, value):
            setattr(config, setting, value[:layers])
    config.num_hidden_layers = layers


def _by_layer(setting: str, values: list[Any]) -> bool:
    """Tells whether a list with one entry a layer says something of each layer."""
    return setting.startswith("layer") or all(isinstance(value, int | float) for value in values)


def weights_hash(module: nn.Module) -> str:
    """Hashes names, types, shapes and values of a state dict, sorted by name: sha256 in hex."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        plain = value.detach().cpu().contiguous()
        digest.update(f"{name} {plain.dtype} {tuple(plain.shape)}\n".encode())
        digest.update(plain.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Sets the CPU's global random state by `seed` inside, and restores it afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def _sample_encoder(name: str, layers: int, seed: int) -> nn.Module:
    from transformers import BertModel

    config = sample_config(name)
    cut(config, layers, name)
    with seeded(seed):
        encoder: nn.Module = BertModel(config, add_pooling_layer=False).eval()
    return encoder


def _load(resolved: Resolved, read: Callable[..., Any], config: Any) -> nn.Module:
    with reading(resolved), seeded(0):
        model, info = read(
            resolved.path_or_name,
            config=config,
            dtype=torch.float32,
            trust_remote_code=False,
            weights_only=True,
            ignore_mismatched_sizes=True,  # they are refused below, by name
            output_loading_info=True,
        )
    _check_shapes(resolved, info["mismatched_keys"])
    missing = sorted(key for key in info["missing_keys"] if "pooler" not in key.split("."))
    if isinstance(model, nn.Module) and type(model).__name__.endswith(HEAD_SUFFIX):
        missing = sorted(info["missing_keys"])
    if missing:
        raise ModelError(
            f"the weights of {resolved.name} ({resolved.path_or_name}) lack {len(missing)} "
            f"tensors, {missing[0]} among them; they belong to another architecture than its "
            "config.json"
        )
    loaded: nn.Module = model.eval()
    return loaded


def _check_shapes(resolved: Resolved, unlike: Iterable[Any]) -> None:
    """Raises a ModelError if tensors have other shapes than the configuration gives them.

    Each is its name, the shape that it has and the one that it should have.
    """
    tensors = sorted((str(name), tuple(has), tuple(should)) for name, has, should in unlike)
    if tensors:
        name, has, should = tensors[0]
        raise ModelError(
            f"{len(tensors)} tensors of {resolved.name} ({resolved.path_or_name}) have other "
            f"shapes than its config.json says: {name} has {has} instead of {should}; copy or "
            "download both again"
        )
