"""Encoders and tokenizers, loaded whole or cut at their first layers; their tokens summed up.

Safetensors are preferred; torch files are read by transformers with `weights_only`. Code that a
model brings is never run. Letters: B examples, T tokens, F features (the encoder's width).
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Final

import torch
from torch import Tensor, nn

from mpc_router.models import (
    SAMPLE_PREFIX,
    TOKENIZER_FILES,
    ModelError,
    Models,
    Resolved,
    check_folder,
    check_hub,
    unreachable,
)

HEAD_SUFFIX: Final = "ForSequenceClassification"
"""Architectures of transformers whose checkpoint has a classification head."""

POOLINGS: Final = ("cls", "mean")


class PooledEncoder(nn.Module):
    """An encoder whose tokens are summed up into one vector an example."""

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
        """Features (B, F) of tokens (B, T); without a mask all of them count."""
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        segments = {"token_type_ids": token_type_ids} if self._segments else {}
        hidden = self.encoder(input_ids, attention_mask=mask, **segments).last_hidden_state
        return summarise(hidden, mask, self.pooling)


def summarise(hidden: Tensor, attention_mask: Tensor, pooling: str) -> Tensor:
    """(B, F) of hidden states (B, T, F): the first token's (`cls`), or the `mean` of the unmasked.

    Padding does not change either.
    """
    if pooling == "cls":
        return hidden[:, 0]
    weights = attention_mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weights).sum(1) / weights.sum(1).clamp_min(1)


def check_pooling(pooling: str) -> None:
    """Raise a ModelError unless this is a way to sum up tokens."""
    if pooling not in POOLINGS:
        raise ModelError(f"pooling is {pooling!r}, allowed are {', '.join(POOLINGS)}")


def width_of(encoder: nn.Module) -> int:
    """F: the width of an encoder's hidden states."""
    config: Any = getattr(encoder, "config", None)
    width = getattr(config, "hidden_size", None)
    if not isinstance(width, int):
        raise ModelError(
            f"{type(encoder).__name__} states no hidden_size; give a BERT-like encoder"
        )
    return width


def takes_segments(encoder: nn.Module) -> bool:
    """Whether an encoder tells the two texts of a pair apart by token_type_ids."""
    kinds = getattr(getattr(encoder, "config", None), "type_vocab_size", 0)
    return kinds > 1 and "token_type_ids" in inspect.signature(encoder.forward).parameters


def load_encoder(name: str, layers: int, models: Models, *, seed: int) -> nn.Module:
    """The encoder called `name`, its first `layers` layers (0: all), without a pooler.

    `seed` draws the weights of the sample's encoders; the others come trained. The global random
    state is left alone. Layers that are cut off are not read. In evaluation mode.

    Raises:
        ModelError: not found, no weights, damaged, or fewer layers than asked for.
    """
    return load_resolved(models.resolve(name), layers, seed=seed)


def load_resolved(found: Resolved, layers: int, *, seed: int) -> nn.Module:
    """As `load_encoder`, of a model that `Models.resolve` found."""
    if found.kind == "sample":
        return _sample_encoder(found.name, layers, seed)
    from transformers import AutoModel

    config = load_config(found)
    cut(config, layers, found.name)
    encoder = _load(found, AutoModel.from_pretrained, config)
    if hasattr(encoder, "pooler"):
        # features are taken from the last layer: a pooler would only be dead weight
        setattr(encoder, "pooler", None)  # noqa: B010 (an attribute that nn.Module does not state)
    return encoder


def load_classifier(found: Resolved, config: Any) -> nn.Module:
    """The checkpoint as transformers' classifier, its head included. In evaluation mode."""
    from transformers import AutoModelForSequenceClassification

    return _load(found, AutoModelForSequenceClassification.from_pretrained, config)


def load_config(found: Resolved) -> Any:
    """The configuration of a model that `Models.resolve` found, the sample's included."""
    if found.kind == "sample":
        return _sample_config(found.name)
    from transformers import AutoConfig

    if found.kind == "hub":
        check_hub(found.name)
    else:
        check_folder(Path(found.path_or_name))
    with _reading(found):
        return AutoConfig.from_pretrained(found.path_or_name, trust_remote_code=False)


def load_tokenizer(name: str, models: Models) -> Any:
    """The tokenizer called `name`: one of transformers' fast tokenizers.

    Raises:
        ModelError: not found, or the folder holds no tokenizer.
    """
    if name.startswith(SAMPLE_PREFIX):
        from mpc_router import sample

        return sample.tokenizer()
    from transformers import AutoTokenizer

    found = models.resolve(name)
    folder = Path(found.path_or_name)
    if found.kind == "hub":
        check_hub(name, TOKENIZER_FILES)
    elif not any((folder / file).is_file() for file in TOKENIZER_FILES):
        raise ModelError(
            f"{folder} holds no tokenizer: looked for {', '.join(TOKENIZER_FILES)}; "
            "set tokenizer_model_name to a model that has one"
        )
    with _reading(found):
        return AutoTokenizer.from_pretrained(found.path_or_name, trust_remote_code=False)


def depth_of(config: Any) -> int:
    """Encoder layers of a configuration.

    Raises:
        ModelError: it states none, or is one of an encoder with a decoder.
    """
    depth = getattr(config, "num_hidden_layers", None)
    if not isinstance(depth, int) or getattr(config, "is_encoder_decoder", False):
        raise ModelError(f"a model of type {config.model_type!r} is no BERT-like encoder; give one")
    return depth


def cut(config: Any, layers: int, name: str) -> None:
    """Make a configuration one of the first `layers` layers; 0 leaves it as it is.

    Raises:
        ModelError: there are fewer layers than that.
    """
    depth = depth_of(config)
    if not 0 <= layers <= depth:
        raise ModelError(f"{name} has {depth} layers, {layers} were asked for; give 0..{depth}")
    if layers:
        config.num_hidden_layers = layers


def weights_hash(module: nn.Module) -> str:
    """sha256 in hex over names, types, shapes and values of the state dict, sorted by name."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        plain = value.detach().cpu().contiguous()
        digest.update(f"{name} {plain.dtype} {tuple(plain.shape)}\n".encode())
        digest.update(plain.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Global random state of the CPU set by `seed` inside, and put back afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def _sample_config(name: str) -> Any:
    from mpc_router import sample

    try:
        return copy.deepcopy(sample.encoder_config(name))
    except (KeyError, ValueError) as error:
        raise ModelError(f"the sample has no model {name!r}: {error}") from error


def _sample_encoder(name: str, layers: int, seed: int) -> nn.Module:
    from transformers import BertModel

    config = _sample_config(name)
    cut(config, layers, name)
    with seeded(seed):
        encoder: nn.Module = BertModel(config, add_pooling_layer=False).eval()
    return encoder


def _load(found: Resolved, read: Callable[..., Any], config: Any) -> nn.Module:
    with _reading(found), seeded(0):
        model, info = read(
            found.path_or_name,
            config=config,
            dtype=torch.float32,
            trust_remote_code=False,
            weights_only=True,
            output_loading_info=True,
        )
    missing = sorted(key for key in info["missing_keys"] if "pooler" not in key.split("."))
    if isinstance(model, nn.Module) and type(model).__name__.endswith(HEAD_SUFFIX):
        missing = sorted(info["missing_keys"])
    if missing:
        raise ModelError(
            f"the weights of {found.name} ({found.path_or_name}) lack {len(missing)} tensors, "
            f"{missing[0]} among them; they belong to another architecture than its config.json"
        )
    loaded: nn.Module = model.eval()
    return loaded


@contextlib.contextmanager
def _reading(found: Resolved) -> Iterator[None]:
    """Quiet loading whose errors are ModelErrors that name the model."""
    from huggingface_hub.errors import HFValidationError
    from safetensors import SafetensorError

    try:
        with _quiet():
            yield
    except (
        OSError,
        ValueError,
        RuntimeError,
        KeyError,
        EOFError,
        SafetensorError,
        UnpicklingError,
        HFValidationError,
    ) as error:
        if found.kind == "hub":
            raise unreachable(found.name, error) from error
        reason = " ".join(str(error).split())[:300]
        raise ModelError(
            f"{found.name} cannot be read from {found.path_or_name}: {reason}"
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Transformers' loading bars and reports off inside, as they were afterwards."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
