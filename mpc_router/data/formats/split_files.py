"""Which files hold a split: one, or parts beside each other, or a folder of parts.

Parts lie in the task's folder, or in a folder of their own, `train` or `train.parquet`. What is not
read lies there for a reason, and is named: another format, a partition, half a download.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from mpc_router.data.formats.parts import PARQUET, in_order, part_of
from mpc_router.run_names import VALIDATION
from mpc_router.source_error import SourceError, listed, shown

_UNFINISHED: Final = {
    "_temporary": "was not written to its end",
    "_delta_log": "is a Delta table, whose log says which files count",
    ".hoodie": "is a Hudi table, whose log says which files count",
}
"""Entries of a folder after which its Parquet files alone are not the split."""

_CONVERSIONS: Final = {
    ".csv": "pandas.read_csv({name!r}).to_parquet({target!r})",
    ".tsv": "pandas.read_csv({name!r}, sep='\\t').to_parquet({target!r})",
    ".jsonl": "pandas.read_json({name!r}, lines=True).to_parquet({target!r})",
    ".json": "pandas.read_json({name!r}).to_parquet({target!r})",
    ".feather": "pandas.read_feather({name!r}).to_parquet({target!r})",
    ".arrow": "datasets.Dataset.from_file({name!r}).to_parquet({target!r})",
}
"""What makes a Parquet file of another format, by its ending."""

_OTHER_DATA: Final = re.compile(
    r"\.(?:csv|tsv|jsonl|ndjson|json|feather|arrow|orc|avro|pq|parq|xlsx|parquet)"
    r"(?:\.[a-z0-9]+)?$",
    re.IGNORECASE,
)

_SIDECARS: Final = ("dataset_info.json", "state.json", "dataset_infos.json")
"""What tells of data and is none."""


def split_files(folder: Path, names: Sequence[str]) -> list[Path]:
    """Gives the files of a split under one of these names in a task's folder.

    Empty if the folder has none.

    Raises:
        SourceError: there are several such sets of files, a part of one is missing, or what is
            there is no file, or no Parquet.
    """
    entries = _entries(folder)
    sets = [paths for name in dict.fromkeys(names) for paths in _sets(folder, entries, name)]
    if len(sets) > 1:
        heads = " and ".join(shown(files[0].relative_to(folder)) for files in sets[:3])
        raise SourceError(
            f"{shown(folder)} holds split {names[0]} as {heads}; keep one of them, for "
            "rows that stand there twice would count twice"
        )
    return sets[0] if sets else []


def absent(folder: Path, split: str) -> SourceError:
    """Gives the message about a split of which `split_files` gave nothing."""
    kind, entries = path_kind(folder), _entries(folder)
    target = f"{split}{PARQUET}"
    if kind != "folder":
        above = listed([name for name in _entries(folder.parent) if _visible(name)])
        return SourceError(
            f"{shown(folder / target)} does not exist, for {shown(folder)} is no folder "
            f"({shown(folder.parent)} holds {above}); put the task's splits there, or use --sample"
        )
    unread = [name for name in entries if _other_data(name) and _begins(name, split)]
    if unread:
        return SourceError(
            f"{shown(folder / target)} does not exist, but {listed(unread)} does, and only Parquet "
            f"is read; {_conversion(unread[0], target)}"
        )
    visible_names = listed([name for name in entries if _visible(name)])
    return SourceError(
        f"{shown(folder / target)} does not exist, {shown(folder)} holds {visible_names}; put the "
        "task's split there, or use --sample"
    )


def check_is_file(path: Path) -> None:
    """Raises a SourceError unless a path names a regular file of which bytes may be asked."""
    kind = path_kind(path)
    if kind == "missing":
        raise SourceError(
            f"{shown(path)} does not exist; put the task's split there, or use --sample"
        )
    if kind != "file":
        raise SourceError(f"{shown(path)} is {kind}, no file; put the Parquet file there")
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise SourceError(
            f"the name of {shown(path)} holds bytes that are no UTF-8; give it another name"
        ) from error


def listing(folder: Path) -> str:
    """Gives what a folder shows, for messages; `none` where it shows nothing."""
    return listed(visible(folder))


def visible(folder: Path) -> list[str]:
    """Gives the names in a folder that are neither hidden nor a program's mark, sorted."""
    return [name for name in _entries(folder) if _visible(name)]


def is_folder(path: Path) -> bool:
    """Says whether a path names a folder.

    Raises:
        SourceError: it may not be looked at.
    """
    return path_kind(path) == "folder"


def _sets(folder: Path, entries: Sequence[str], name: str) -> Iterator[list[Path]]:
    """Gives every set of files that is the split under this name."""
    single = folder / f"{name}{PARQUET}"
    if single.name in entries:
        if is_folder(single):
            yield folder_of_parts(single)
        else:
            check_is_file(single)
            yield [single]
    if name in entries and is_folder(folder / name) and any(map(_visible, _entries(folder / name))):
        yield folder_of_parts(folder / name)
    beside = [folder / entry for entry in entries if _is_part_of(entry, name)]
    if beside:
        odd = [entry for entry in entries if entry.startswith(name) and f"{PARQUET}." in entry]
        if odd:
            raise SourceError(
                f"{shown(folder)} holds {listed(odd)} beside parts of split {name}, but only "
                f"*{PARQUET} is read; take it away, or unpack it"
            )
        for path in beside:
            check_is_file(path)
        yield in_order(beside, folder)


def _is_part_of(entry: str, split: str) -> bool:
    """Says whether a file beside others is by its name a part of the split."""
    if not (_visible(entry) and entry.endswith(PARQUET) and entry.startswith(split)):
        return False
    part = part_of(Path(entry))
    if part is None:
        return False
    before = part.scheme.partition("*")[0]
    return (
        re.fullmatch(r"[-_. ]*(?:(?:part|shard|chunk)[-_. ]*)?", before[len(split) :]) is not None
    )


def folder_of_parts(folder: Path) -> list[Path]:
    """Gives the Parquet files of a folder that holds one split, in order."""
    entries = _entries(folder)
    for name, why in _UNFINISHED.items():
        if name in entries:
            raise SourceError(
                f"{shown(folder)} {why} (it holds {name}); write the split as one Parquet file"
            )
    visible = [name for name in entries if _visible(name)]
    folders = [name for name in visible if is_folder(folder / name)]
    if folders:
        raise SourceError(
            f"{shown(folder)} is partitioned: it holds the folder {listed(folders)}, and a column "
            "may stand in the names of folders alone; write the split as one Parquet file, or as "
            "parts that lie in it directly"
        )
    files = [folder / name for name in visible if name.endswith(PARQUET)]
    unread = [
        name for name in visible if _other_data(name) and not (files and name.endswith(".json"))
    ]
    if unread:
        target = f"{folder.name.removesuffix(PARQUET)}{PARQUET}"
        raise SourceError(
            f"{shown(folder)} holds {listed(unread)}, but only Parquet is read; "
            + (_conversion(unread[0], target) if not files else "take it away, or convert it")
        )
    if not files:
        raise SourceError(
            f"{shown(folder)} is a folder without a Parquet file (it holds {listed(visible)}); put "
            "the split's parts there"
        )
    for path in files:
        check_is_file(path)
    return in_order(files, folder)


def _visible(name: str) -> bool:
    """Says whether an entry is neither hidden nor a program's mark (`_SUCCESS`, `._x`)."""
    return not name.startswith(("_", "."))


def _other_data(name: str) -> bool:
    """Says whether a name is that of data which are not read."""
    return (
        _visible(name)
        and not name.endswith(PARQUET)
        and name.lower() not in _SIDECARS
        and _OTHER_DATA.search(name) is not None
    )


def _begins(name: str, split: str) -> bool:
    """Says whether a file may be meant for a split; GLUE's archives call validation `dev`."""
    words = (split, split.replace(VALIDATION, "dev"))
    return any(re.match(rf"{re.escape(word)}(?![a-z])", name.lower()) for word in words)


def _conversion(name: str, target: str) -> str:
    """Says how a file of another format becomes Parquet."""
    if name.endswith(f"{PARQUET}.gz"):
        return f"unpack it: gunzip {listed([name])}"
    if name.lower().endswith((PARQUET, ".pq", ".parq")):
        return f"if it is Parquet, rename it to {target}"
    ending = next((end for end in _CONVERSIONS if f"{end}." in f"{name.lower()}."), None)
    if ending is None:
        return f"make {target} of it"
    shown_name = shown(Path(name))
    return f"convert it: {_CONVERSIONS[ending].format(name=shown_name, target=target)}"


def _entries(folder: Path) -> list[str]:
    """Gives the names in a folder, sorted; none where there is no folder.

    Raises:
        SourceError: it may not be read.
    """
    if path_kind(folder) != "folder":
        return []
    try:
        return sorted(os.listdir(folder))
    except OSError as error:
        raise SourceError(
            f"{shown(folder)} cannot be read ({error.strerror}); mend that"
        ) from error


def path_kind(path: Path) -> str:
    """Says what a path names: `file`, `folder`, `missing`, or something else.

    Raises:
        SourceError: that cannot be known: a loop of links, no permission, a name that cannot be.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return "a link to nothing" if path.is_symlink() else "missing"
    except OSError as error:
        raise SourceError(
            f"{shown(path)} cannot be read ({error.strerror}); give a path that can"
        ) from error
    except ValueError as error:  # a null character in the name
        raise SourceError(f"{shown(path)} is no path ({error}); give one") from error
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISDIR(mode):
        return "folder"
    kinds = {stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")
