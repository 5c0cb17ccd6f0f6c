"""What files hold, as hashes: the same on every machine, remembered while a large file stays."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from mpc_router.model.sources import ModelError, unreachable, whatever_is_raised
from mpc_router.storage.cache import digest, write_json

_LEARNED_VERSION: Final = 1
"""Raised when this package would learn something else from the same files of a model."""

_READERS: Final = ("tokenizers", "transformers")
"""Libraries that read what a model's files say besides weights."""


def hub_folder(name: str, patterns: tuple[str, ...]) -> Path:
    """Gives a model's folder in the hub's cache, with the files of these patterns."""
    from huggingface_hub import snapshot_download

    with whatever_is_raised(lambda reason: unreachable(name, reason)):
        return Path(snapshot_download(name, allow_patterns=list(patterns)))


def sample_hash(name: str = "") -> str:
    """Gives a hash of the sample's words, and of the shape of the encoder `name`."""
    from mpc_router.sample import examples, language
    from mpc_router.sample.encoders import ENCODERS

    if not name:
        return digest("sample", examples.VERSION, list(language.words()))
    if name not in ENCODERS:
        names = ", ".join(ENCODERS)
        raise ModelError(f"the sample has no model {name!r}, allowed are {names}")
    return digest("sample", examples.VERSION, name, asdict(ENCODERS[name]))


def file_hash(path: Path, memory: Path | None) -> str:
    """Gives the sha256 of a file's bytes; remembered while size, times and inode stay."""
    if memory is None:
        return _sha256(path)
    state = path.stat()
    stamp = [state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino]
    note = memory / f"{digest(str(path.resolve()))}.json"
    noted = _noted(note)
    if noted.get("stamp") == stamp and "sha256" in noted:
        return str(noted["sha256"])
    checksum = _sha256(path)
    memory.mkdir(parents=True, exist_ok=True)
    write_json(note, {"stamp": stamp, "sha256": checksum})
    return checksum


def remembered(
    memory: Path | None, parts: Sequence[object], make: Callable[[], Mapping[str, Any]]
) -> Mapping[str, Any]:
    """Gives what `make` learns of a model's files by reading them with transformers: plain data.

    It is remembered in `memory`, under `parts` (the hash of these files among them) and the
    versions of the libraries that read them, so that the next process need not import them.
    """
    if memory is None:
        return make()
    versions = [importlib.metadata.version(name) for name in _READERS]
    note = memory / f"{digest('learned', _LEARNED_VERSION, *parts, versions)}.json"
    learned = _noted(note)
    if not learned:
        learned = make()
        memory.mkdir(parents=True, exist_ok=True)
        write_json(note, learned)
    return learned


def _noted(note: Path) -> Mapping[str, Any]:
    """Reads a note; it is empty where there is none."""
    try:
        noted = json.loads(note.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return noted if isinstance(noted, dict) else {}


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(
            f"{path} cannot be read ({error.strerror}); make it readable, or name another model"
        ) from error
