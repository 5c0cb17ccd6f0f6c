"""Finds what holds a split of a data set: files of one format, a saved set, or a set of the hub."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mpc_router.data._hub_sets import is_saved, saved_splits
from mpc_router.data.dataset import DatasetSpec
from mpc_router.data.formats.parts import PARQUET
from mpc_router.data.formats.split_files import (
    folder_of_parts,
    listing,
    path_kind,
    split_files,
    visible,
)
from mpc_router.run_names import TRAIN, VALIDATION
from mpc_router.source_error import SourceError, listed, shown

ENDINGS: Final = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
}
"""Formats of files that are no Parquet, by their endings."""

_READ: Final = ".parquet, .csv, .tsv, .json, .jsonl, or a folder that datasets saved"
_ALIASES: Final = {VALIDATION: ("dev", "val", "valid")}
"""What others call a split of ours."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Says where the rows of one split lie."""

    format: str
    """`parquet`, `csv`, `tsv`, `json`, `saved` or `hub`."""

    paths: tuple[Path, ...] = ()
    """Its files in order, or the folder of a saved set."""

    split: str = ""
    """Of a set of the hub: what the split is called there."""


def names_of(task: str, split: str) -> tuple[str, ...]:
    """Gives what a split may be called, ours first."""
    others = ("validation_matched",) if (task, split) == ("mnli", VALIDATION) else ()
    return (split, *others, *_ALIASES.get(split, ()))


def picked(available: Sequence[str], spec: DatasetSpec, task: str, split: str) -> str | None:
    """Gives the split of a set that is this one of ours; None where it has none.

    Raises:
        SourceError: the set has several that it may be, or not the one that is named for it.
    """
    given = spec.splits.get(split)
    names = (given,) if given is not None else names_of(task, split)
    candidates = [name for name in names if name in available]
    if len(candidates) > 1:
        raise _several(spec, split, candidates)
    if not candidates and (given is not None or split == TRAIN):
        raise SourceError(
            f"{spec.describe()} has no split {names[0]!r} (it has {listed(list(available))}); name "
            f"one of them: `splits: {{{split}: NAME}}`"
        )
    return candidates[0] if candidates else None


def place_of(spec: DatasetSpec, task: str, split: str) -> Place | None:
    """Gives where a split of a local data set lies; None where it has no such split.

    Raises:
        SourceError: it has no train, lacks what is named for a split, holds a split several times,
            or in a format that is not read.
    """
    root, given = Path(spec.path), spec.splits.get(split)
    if path_kind(root) == "file":
        if given is not None:
            return _named(root.parent, given, split)
        return _file(root, root.parent) if split == TRAIN else None
    available = saved_splits(root)
    if available is not None:
        name = picked(available, spec, task, split)
        return None if name is None else Place(format="saved", paths=(root / name,))
    if is_saved(root):
        if given is not None:
            return _named(root.parent, given, split)
        return Place(format="saved", paths=(root,)) if split == TRAIN else None
    if given is not None and (_is_data(given) or path_kind(root / given) != "missing"):
        return _named(root, given, split)
    return _in_folder(root, spec, task, split)


def _in_folder(root: Path, spec: DatasetSpec, task: str, split: str) -> Place | None:
    given = spec.splits.get(split)
    names = (given,) if given is not None else names_of(task, split)
    places = [place for name in names if (place := _saved_in(root, name)) is not None]
    if not places:
        files = split_files(root, names)
        places = [Place(format="parquet", paths=tuple(files))] if files else []
    places += [
        _file(path, root)
        for path in map(root.joinpath, visible(root))
        if path.stem in names and path.suffix.lower() in ENDINGS
    ]
    if len(places) > 1:
        raise _several(spec, split, [place.paths[0].name for place in places])
    if not places and (given is not None or split == TRAIN):
        data = [name for name in visible(root) if _is_data(name)]
        example = data[0] if len(data) == 1 else "FILE"
        raise SourceError(
            f"{shown(root)} holds no split {names[0]} in a format that is read (it holds "
            f"{listing(root)}); put {names[0]}.csv, .tsv, .json, .jsonl or {PARQUET} there, or "
            f"name a file: `splits: {{{split}: {example}}}`"
        )
    return places[0] if places else None


def _named(folder: Path, given: str, split: str) -> Place:
    """Gives a file or folder that is named for a split."""
    path = folder / given
    kind = path_kind(path)
    if kind == "missing":
        raise SourceError(
            f"{shown(path)} does not exist, which dataset names for split {split} "
            f"({shown(path.parent)} holds {listing(path.parent)}); name a file that is there"
        )
    if kind == "folder":
        if is_saved(path):
            return Place(format="saved", paths=(path,))
        return Place(format="parquet", paths=tuple(folder_of_parts(path)))
    return _file(path, folder)


def _file(path: Path, folder: Path) -> Place:
    ending, kind = path.suffix.lower(), path_kind(path)
    if kind != "file":
        noun = "a folder" if kind == "folder" else kind
        raise SourceError(f"{shown(path)} is {noun}, no file; put a file with rows there")
    if ending == PARQUET:
        return Place(format="parquet", paths=(path,))
    if ending not in ENDINGS:
        raise SourceError(
            f"{shown(path)} ends in {ending or 'nothing'!r}, but what is read ends in {_READ}; "
            f"convert or rename it ({shown(folder)} holds {listing(folder)})"
        )
    return Place(format=ENDINGS[ending], paths=(path,))


def _saved_in(root: Path, name: str) -> Place | None:
    return Place(format="saved", paths=(root / name,)) if is_saved(root / name) else None


def _is_data(name: str) -> bool:
    return Path(name).suffix.lower() in (*ENDINGS, PARQUET)


def _several(spec: DatasetSpec, split: str, names: Sequence[str]) -> SourceError:
    return SourceError(
        f"{spec.describe()} holds split {split} as {' and '.join(names[:3])}; keep one of them, or "
        f"name it: `splits: {{{split}: {names[0]}}}`"
    )
