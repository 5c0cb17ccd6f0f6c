"""What a model's files say besides weights: its configuration and its tokenizer.

Nothing that a model brings is run, and whatever its files make a library raise is a ModelError.
"""

from __future__ import annotations

import contextlib
import copy
import importlib.util
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mpc_router.messages import quoted
from mpc_router.model.sources import (
    CONFIG_FILE,
    SAMPLE_PREFIX,
    SENTENCEPIECE_FILES,
    TOKENIZER_FILES,
    ModelError,
    Models,
    Resolved,
    check_folder,
    check_hub,
    unreachable,
    whatever_is_raised,
)


def load_config(resolved: Resolved) -> Any:
    """Loads the configuration of a model that `Models.resolve` gave, the sample's included."""
    if resolved.kind == "sample":
        return sample_config(resolved.name)
    from transformers import AutoConfig

    if resolved.kind == "hub":
        check_hub(resolved.name)
    else:
        check_folder(Path(resolved.path_or_name))
    with reading(resolved):
        config = AutoConfig.from_pretrained(resolved.path_or_name, trust_remote_code=False)
        _check_config(config)
        return config


def _check_config(config: Any) -> None:
    """Raises a ValueError unless architectures and labels have the types that are read later."""
    names = config.architectures
    if names is not None and not all(isinstance(entry, str) for entry in names):
        raise ValueError(f"architectures is {quoted(names)}, but must be a list of names")
    labels = config.id2label
    if not isinstance(labels, Mapping) or not all(isinstance(entry, int) for entry in labels):
        raise ValueError(f"id2label is {quoted(labels)}, but must name each number's label")


def load_tokenizer(name: str, models: Models) -> Any:
    """Loads the tokenizer called `name`, one of transformers' fast tokenizers.

    Raises:
        ModelError: not found, or the folder holds no tokenizer.
    """
    if name.startswith(SAMPLE_PREFIX):
        from mpc_router.sample import encoders

        return encoders.tokenizer()
    from transformers import AutoTokenizer

    resolved = models.resolve(name)
    folder = Path(resolved.path_or_name)
    wanted = (*TOKENIZER_FILES, *SENTENCEPIECE_FILES)
    if resolved.kind == "hub":
        check_hub(name, wanted)
    else:
        check_tokenizer_files(folder)
    with reading(resolved, "the tokenizer of "):
        tokenizer = AutoTokenizer.from_pretrained(resolved.path_or_name, trust_remote_code=False)
        if not hasattr(tokenizer, "backend_tokenizer"):
            raise ModelError(
                f"the tokenizer of {name} ({type(tokenizer).__name__}) has no fast version, which "
                "is needed; set tokenizer_model_name to a model with a tokenizer.json"
            )
        most = tokenizer.model_max_length
        if not isinstance(most, int) or most < 1:
            raise ValueError(f"model_max_length is {quoted(most)}, but must be a number from 1")
        return tokenizer


def check_tokenizer_files(folder: Path) -> None:
    """Makes sure that a folder holds a tokenizer, and that it can be read here.

    Raises:
        ModelError: it holds none, or SentencePiece's alone and that package is not installed.
    """
    wanted = (*TOKENIZER_FILES, *SENTENCEPIECE_FILES)
    files = [file for file in wanted if (folder / file).is_file()]
    if not files:
        raise ModelError(
            f"{folder} holds no tokenizer: looked for {', '.join(wanted)}; "
            "set tokenizer_model_name to a model that has one"
        )
    if files[0] in SENTENCEPIECE_FILES and importlib.util.find_spec("sentencepiece") is None:
        raise ModelError(
            f"{folder / files[0]} is a tokenizer of SentencePiece, which is not installed; "
            "pip install sentencepiece"
        )


@contextlib.contextmanager
def reading(resolved: Resolved, part: str = "") -> Iterator[None]:
    """Keeps the block quiet: nothing is printed there.

    Any exception inside it becomes a ModelError that names the model.
    """

    def refusal(reason: str) -> ModelError:
        if resolved.kind == "hub" and not _cached(resolved.name):
            return unreachable(resolved.name, reason)
        return ModelError(
            f"{part}{resolved.name} cannot be read from {resolved.path_or_name}: {reason}; copy or "
            "download it again, or name another model"
        )

    with whatever_is_raised(refusal), _quiet():
        yield


def _cached(name: str) -> bool:
    """Tells whether the hub's cache holds a model's configuration."""
    from huggingface_hub import try_to_load_from_cache

    try:
        return isinstance(try_to_load_from_cache(name, CONFIG_FILE), str)
    except ValueError:  # no name that the hub could know
        return False


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Turns transformers' loading bars and reports off inside, and restores them afterwards."""
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


def sample_config(name: str) -> Any:
    """Gives the configuration of one of the sample's encoders.

    Raises:
        ModelError: the sample has no such model.
    """
    from mpc_router.sample import encoders

    try:
        return copy.deepcopy(encoders.encoder_config(name))
    except (KeyError, ValueError) as error:
        raise ModelError(f"the sample has no model {name!r}: {error}") from error
