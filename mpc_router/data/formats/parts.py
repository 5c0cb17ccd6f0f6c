"""The parts of a split, in the order of their numbers, and none of them missing.

A part says its number by its name: `train-00000-of-00003.parquet` and `train_1of3.parquet` say how
many there are as well, `part-00000-UUID-c000.snappy.parquet` and `0000.parquet` do not: their
numbers begin at 0, as those of all programs do.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mpc_router.source_error import SourceError, listed, shown

PARQUET: Final = ".parquet"

_COMPRESSION: Final = re.compile(
    r"\.(?:snappy|gz|gzip|zstd|lz4|lz4raw|br|brotli|lzo|uncompressed)$"
)
_UUID: Final = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_HASH: Final = re.compile(r"-[0-9a-f]{16}")
"""What older versions of datasets put behind each part's number."""

_FORMS: Final = (
    re.compile(r"(?P<before>.*?)(?P<number>[0-9]+)[-_. ]*of[-_. ]*(?P<total>[0-9]+)(?P<after>.*)"),
    re.compile(
        r"(?P<before>(?:.*[-_. ])?(?:part|shard|chunk)[-_. ]*)(?P<number>[0-9]+)"
        r"(?P<after>.*?)(?:-[0-9]+-[0-9]+)?(?:[-_.]c(?P<piece>[0-9]+))?"
    ),
    re.compile(rf"(?!.*{_UUID}$)(?P<before>(?:.*[-_. ])?)(?P<number>[0-9]{{1,12}})(?P<after>)"),
)
"""Of the names of parts, without `.parquet`; the first one that fits is meant. Spark's (the second)
end in the numbers of a task, which tell nothing, and of a piece."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """Holds a file, and what its name says of its place among the parts of a split."""

    path: Path
    scheme: str
    """The name without its number: the parts of one writing have it in common."""

    number: int
    piece: int = 0
    """Spark may write several files for one part."""

    total: int | None = None


def in_order(files: Sequence[Path], where: Path) -> list[Path]:
    """Gives the parts of a split by their numbers, which are compared as numbers: 10 comes after 9.

    Raises:
        SourceError: a name says no number, parts are named in several ways, a number
            is there twice, or one is missing.
    """
    if len(files) == 1 and part_of(files[0]) is None:
        return list(files)
    parts: list[Part] = []
    for path in files:
        part = part_of(path)
        if part is None:
            raise SourceError(
                f"{shown(where)} holds {len(files)} Parquet files, and no name tells which part of "
                f"the split {shown(Path(path.name))} is; keep the split's own, or write them as "
                "one file"
            )
        parts.append(part)
    parts.sort(key=lambda part: (part.scheme, part.number, part.piece))
    schemes = {part.scheme: part.path.name for part in parts}
    if len(schemes) > 1:
        raise SourceError(
            f"{shown(where)} holds parts named in several ways ({listed(list(schemes.values()))}), "
            "as if the split was saved more than once; keep one set, or write one file"
        )
    _check_complete(parts, where)
    return [part.path for part in parts]


def _check_complete(parts: Sequence[Part], where: Path) -> None:
    """Raises a SourceError unless every number is there once."""
    for first, second in itertools.pairwise(parts):
        if (first.number, first.piece) == (second.number, second.piece):
            raise SourceError(
                f"{shown(where)} holds part {first.number} twice, as "
                f"{listed([first.path.name, second.path.name])}; keep one of them"
            )
    numbers = {part.number for part in parts}
    total = parts[0].total
    # some programs count the parts from 1
    least = 1 if total is not None and total in numbers else 0
    wanted = range(least, least + total if total is not None else max(numbers) + 1)
    gone = len(wanted) - sum(number in wanted for number in numbers)
    if gone:
        some = [
            str(missing_number)
            for missing_number in itertools.islice((n for n in wanted if n not in numbers), 5)
        ]
        if total is not None and not {0, total} & numbers:
            some[0] = f"0 or {total}"  # counted from 0 or from 1
        missing = ", ".join([*some, *([f"and {gone - 5} more"] if gone > 5 else [])])
        raise SourceError(
            f"{shown(where)} holds {len(numbers)} of the {len(wanted)} files that "
            f"{shown(Path(parts[0].path.name))} is one of: missing {missing}; copy what is missing "
            "there, or write the split as one file"
        )
    if any(number not in wanted for number in numbers):
        raise SourceError(
            f"{shown(where)} holds {listed([parts[-1].path.name])}, a part beyond the "
            f"{len(wanted)} that there are; keep the split's own"
        )
    for number, group in itertools.groupby(parts, key=lambda part: part.number):
        pieces = [part.piece for part in group]
        if pieces != list(range(len(pieces))):
            raise SourceError(
                f"{shown(where)} holds pieces {', '.join(map(str, pieces[:5]))} of part {number}, "
                f"but not those before; copy what is missing there"
            )


def part_of(path: Path) -> Part | None:
    """Gives what a file's name says of its place; None if it says nothing."""
    stem = _COMPRESSION.sub("", path.name.removesuffix(PARQUET))
    for form in _FORMS:
        match = form.fullmatch(stem)
        if match is None:
            continue
        texts = match.groupdict()
        after = "" if _HASH.fullmatch(texts["after"]) else texts["after"]
        total = texts.get("total")
        return Part(
            path=path,
            scheme=f"{texts['before']}*{'' if total is None else int(total)}{after}",
            number=int(texts["number"]),
            piece=int(texts.get("piece") or 0),
            total=None if total is None else int(total),
        )
    return None
