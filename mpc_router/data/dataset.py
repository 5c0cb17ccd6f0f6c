"""Says where the rows of a task of one's own lie: `dataset:` of a study.

A path names a folder, one file, or a set that `datasets` saved; `org/name` is a set of the hub
where no such path exists.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from mpc_router.data.formats.split_files import listing, path_kind
from mpc_router.messages import quoted
from mpc_router.plain_names import PLAIN, is_plain
from mpc_router.run_names import SELECTION
from mpc_router.source_error import SourceError, shown

__all__ = ["DatasetSpec", "dataset_of"]

_KEYS: Final = ("path", "name", "revision", "splits")
_HUB_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")
_HOW: Final = (
    "give `dataset: {path: FOLDER}`; path is a folder, a file, or org/name of the hub, and name, "
    "revision and splits may stand beside it"
)


@dataclass(frozen=True, kw_only=True)
class DatasetSpec:
    """Names a data set.

    Which file or split of it is read is found out when it is read.
    """

    path: str
    """An absolute path, or `org/name` of the hub."""

    local: bool
    """Whether `path` is a path of this machine."""

    name: str | None = None
    """The configuration of a set of the hub that has several."""

    revision: str | None = None
    """A commit, tag or branch of the hub."""

    splits: Mapping[str, str] = field(default_factory=dict)
    """What is called otherwise there: our split to a split of the set, or to a file."""

    def describe(self) -> str:
        """Gives a few words for plans, reports and messages."""
        if self.local:
            return shown(Path(self.path))
        parts = [f"the hub's {self.path}", self.name, self.revision and f"at {self.revision}"]
        return " ".join(part for part in parts if part)

    def to_json(self) -> dict[str, Any]:
        """Gives plain data that `dataset_of` reads as this data set, whatever its base."""
        tree: dict[str, Any] = {"path": self.path}
        for key in ("name", "revision"):
            if getattr(self, key) is not None:
                tree[key] = getattr(self, key)
        return tree | ({"splits": dict(self.splits)} if self.splits else {})


def dataset_of(tree: object, base: Path) -> DatasetSpec:
    """Reads `dataset:` of a study; paths are relative to `base`, the study's folder.

    Raises:
        SourceError: it is no mapping, has an unknown key, or its path is neither there nor a name
            of the hub.
    """
    if not isinstance(tree, Mapping):
        raise SourceError(f"dataset is {quoted(tree)}, but must be a mapping; {_HOW}")
    for key in tree:
        if key not in _KEYS:
            raise SourceError(f"dataset has no key {quoted(key)}; it has {', '.join(_KEYS)}")
    given = tree.get("path")
    if not isinstance(given, str) or not given.strip():
        raise SourceError(f"path of dataset is {quoted(given)}, but must be a text; {_HOW}")
    options = {key: _text_or_none(key, tree.get(key)) for key in ("name", "revision")}
    splits = _splits(tree.get("splits"))
    path = base.absolute() / _expanded(given)
    kind = path_kind(path)
    if kind in ("file", "folder"):
        for key, value in options.items():
            if value is not None:
                raise SourceError(
                    f"{key} of dataset is {quoted(value)}, but {shown(path)} is no set of the "
                    f"hub; leave {key} out"
                )
        return DatasetSpec(path=str(path), local=True, splits=splits)
    if kind != "missing" or _HUB_NAME.fullmatch(given) is None:
        state = "does not exist" if kind == "missing" else f"is {kind}"
        raise SourceError(
            f"path of dataset is {quoted(given)}, but {shown(path)} {state} "
            f"({shown(path.parent)} holds {listing(path.parent)}); give a folder or a file that "
            "is there, or a set of the hub as org/name"
        )
    return DatasetSpec(path=given, local=False, splits=splits, **options)


def _expanded(given: str) -> Path:
    try:
        return Path(given).expanduser()
    except RuntimeError as error:  # a user whom this machine does not know
        raise SourceError(f"path of dataset is {quoted(given)}: {error}; give a path") from error


def _text_or_none(key: str, value: object) -> str | None:
    if value is None or (isinstance(value, str) and value):
        return value
    raise SourceError(f"{key} of dataset is {quoted(value)}, but must be a text; put it in quotes")


def _splits(value: object) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not value:
        raise SourceError(
            f"splits of dataset is {quoted(value)}, but must be a mapping of our splits to theirs "
            "or to files: {train: train_v2.csv, validation: test}"
        )
    for split, theirs in value.items():
        if not is_plain(split) or split == SELECTION:
            raise SourceError(
                f"splits of dataset names {quoted(split)}, but a split is train, validation, or "
                f"another that the task quotes ({PLAIN}); selection is cut from train"
            )
        if not isinstance(theirs, str) or not theirs.strip():
            raise SourceError(
                f"split {split} of dataset is {quoted(theirs)}, but must be one name of a split or "
                "of a file"
            )
    return dict(value)
