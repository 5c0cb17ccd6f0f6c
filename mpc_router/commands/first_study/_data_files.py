"""Finds the labelled texts that a folder holds: which file is train, and which is validation."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from mpc_router.commands._exits import InputError
from mpc_router.data._find import ENDINGS
from mpc_router.data._hub_sets import is_saved, saved_splits
from mpc_router.data.dataset import DatasetSpec
from mpc_router.data.formats.split_files import path_kind
from mpc_router.source_error import listed, shown

_SPLITS: Final = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test",),
}
"""What a split may be called in a file's name."""

_READ_AS: Final = {
    "train": ("train",),
    "validation": ("validation", "dev", "val", "valid"),
}
"""Names that a data set is read by without `splits:`."""

_NO_DATA: Final = re.compile(
    r"(?:.*config|tokenizer|vocab|added_tokens|special_tokens_map|modules|.*_infos?|state"
    r"|dataset_dict|.*\.index|trainer_state|.*results)\.json",
    re.IGNORECASE,
)
"""JSON files that come with models and saved sets, and hold no rows."""

_FORMATS: Final = ".csv, .tsv, .json, .jsonl, .parquet, or a folder that datasets saved"


@dataclass(frozen=True, kw_only=True)
class DataFiles:
    """Says where the rows lie, as `dataset:` of a study names it."""

    path: Path
    """A folder or a file."""

    splits: dict[str, str] = field(default_factory=dict)
    """What is called otherwise there."""

    has_validation: bool
    """Whether a file or folder of it is validation by its name."""

    test: str | None = None
    """A split called test that could be validation, where there is none."""

    def spec(self) -> DatasetSpec:
        """Gives the data set as it is read."""
        return DatasetSpec(path=str(self.path.absolute()), local=True, splits=self.splits)


def find_data(place: Path) -> DataFiles:
    """Finds the data of a file, of a folder, or of the only folder below it that holds any.

    Raises:
        InputError: there are none, or several of which none is called train.
    """
    kind = path_kind(place)
    if kind == "file":
        return DataFiles(path=place, has_validation=False)
    if kind != "folder":
        raise InputError(
            f"{shown(place)} is {'not there' if kind == 'missing' else kind}; give a folder or a "
            f"file with labelled texts ({_FORMATS})"
        )
    if _holds_data(place):
        return _of_folder(place)
    below = [folder for folder in _folders(place) if _holds_data(folder)]
    with_train = [folder for folder in below if "train" in _by_split(folder)]
    if len(with_train or below) == 1:
        return _of_folder((with_train or below)[0])
    if below:
        names = [folder.name for folder in with_train or below]
        raise InputError(
            f"{shown(place)} holds data in several folders ({listed(names)}); say which: --data "
            f"{shown(place / names[0])}"
        )
    raise InputError(
        f"{shown(place)} holds no labelled texts: looked for {_FORMATS} there and one folder "
        "below; put train.csv there, or say where it lies: --data PATH"
    )


def _of_folder(folder: Path) -> DataFiles:
    """Gives the data of a folder that holds some."""
    saved = saved_splits(folder)
    if saved is not None:
        names = {split: [name for name in saved if _is(split, name)] for split in _SPLITS}
        return _named(folder, {split: entries for split, entries in names.items() if entries})
    if is_saved(folder):
        return DataFiles(path=folder, has_validation=False)
    by_split, entries = _by_split(folder), _data(folder)
    if "train" in by_split:
        return _named(folder, by_split)
    if len(entries) == 1:
        return DataFiles(path=folder / entries[0], has_validation=False)
    raise InputError(
        f"{shown(folder)} holds several files of data ({listed(entries)}), and none is called "
        "train; call one train, or name it: --data FILE"
    )


def _named(folder: Path, by_split: dict[str, list[str]]) -> DataFiles:
    """Gives the data of a folder whose splits are known by their names.

    Several files of a split are left to the reader of data sets, which puts parts together and
    refuses copies.
    """
    splits = {}
    for split, read_as in _READ_AS.items():
        names = by_split.get(split, [])
        if len(names) == 1 and _stem(names[0]) not in read_as:
            splits[split] = names[0]
    tests = by_split.get("test", [])
    has_validation = "validation" in by_split
    return DataFiles(
        path=folder,
        splits=splits,
        has_validation=has_validation,
        test=tests[0] if len(tests) == 1 and not has_validation else None,
    )


def _holds_data(folder: Path) -> bool:
    return saved_splits(folder) is not None or is_saved(folder) or bool(_data(folder))


def _data(folder: Path) -> list[str]:
    """Gives the names of a folder's files of data, and of its folders that are splits."""
    names = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith((".", "_")):
            continue
        if path.is_dir():
            is_split = any(_is(split, path.name) for split in _SPLITS)
            if is_saved(path) or (is_split and any(path.glob("*.parquet"))):
                names.append(path.name)
        elif path.suffix.lower() in (*ENDINGS, ".parquet") and not _NO_DATA.fullmatch(path.name):
            names.append(path.name)
    return names


def _by_split(folder: Path) -> dict[str, list[str]]:
    entries = _data(folder)
    names = {split: [name for name in entries if _is(split, _stem(name))] for split in _SPLITS}
    return {split: entries for split, entries in names.items() if entries}


def _is(split: str, name: str) -> bool:
    """Says whether a name is a split's: one of its words is."""
    words = re.split(r"[^a-z]+", name.lower())
    return any(word in words for word in _SPLITS[split])


def _stem(name: str) -> str:
    ending = os.path.splitext(name)[1].lower()
    return name[: -len(ending)] if ending in (*ENDINGS, ".parquet") else name


def _folders(place: Path) -> Sequence[Path]:
    return [
        path for path in sorted(place.iterdir()) if path.is_dir() and not path.name.startswith(".")
    ]
