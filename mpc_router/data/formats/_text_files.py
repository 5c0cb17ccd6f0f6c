"""What csv and JSON files have in common: an encoding, batches of rows, labels without a type."""

from __future__ import annotations

import codecs
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from mpc_router.source_error import SourceError, shown

_BATCH: Final = 4096
"""Rows of a batch."""

_MARKS: Final = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""Encodings by what their files begin with; the longer marks first, for one begins another."""

_OTHERS: Final = {
    b"PAR1": "a Parquet file",
    b"PK\x03\x04": "a zip archive or a spreadsheet",
    b"\x1f\x8b": "a gzip file",
    b"\x28\xb5\x2f\xfd": "a zstandard file",
    b"BZh": "a bzip2 file",
    b"ARROW1": "an Arrow file",
}
"""Formats by what their files begin with."""


def encoding_of(path: Path) -> str:
    """Gives the encoding that a file's first bytes say: UTF-8 unless they are a mark.

    Raises:
        SourceError: it cannot be read, or is no text.
    """
    try:
        with path.open("rb") as file:
            head = file.read(4096)
    except OSError as error:
        raise SourceError(f"{shown(path)} cannot be read ({error.strerror}); mend that") from error
    for mark, encoding in _MARKS.items():
        if head.startswith(mark):
            return encoding
    for magic, kind in _OTHERS.items():
        if head.startswith(magic):
            raise SourceError(
                f"{shown(path)} is {kind} by its first bytes, not what its name says; rename or "
                "unpack it"
            )
    if head.count(0) > len(head) // 4:
        raise SourceError(
            f"{shown(path)} holds null bytes: it is no text, or UTF-16 without a mark; save it as "
            "UTF-8"
        )
    return "utf-8"


def undecodable(path: Path, error: UnicodeError) -> SourceError:
    """Gives the message about a file with bytes that are no text."""
    reason = getattr(error, "reason", error)
    return SourceError(
        f"{shown(path)} holds bytes that are not {encoding_of(path).upper()}{_first_bad(path)} "
        f"({reason}); save it as UTF-8"
    )


def _first_bad(path: Path) -> str:
    """Says which line is the first that is no UTF-8."""
    if encoding_of(path) != "utf-8":
        return ""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode()
            except UnicodeError:
                return f" in line {number}"
    return ""


def in_batches(rows: Iterable[Any]) -> Iterator[list[Any]]:
    """Gives rows in lists of `_BATCH`."""
    remaining = iter(rows)
    while batch := list(itertools.islice(remaining, _BATCH)):
        yield batch


def typed(texts: Any) -> Any:
    """Gives a column of labels as what all of its texts are, else the texts as they stand.

    That is truth values, whole numbers, or numbers.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    trimmed = pc.utf8_trim_whitespace(texts)
    forms = (
        (r"^(?i:true|false)$", pa.bool_()),
        (r"^[+-]?[0-9]+$", pa.int64()),
        (r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$", pa.float64()),
    )
    for form, kind in forms:
        if not pc.all(pc.match_substring_regex(trimmed, form)).as_py():
            continue
        bare = pc.utf8_lower(pc.replace_substring_regex(trimmed, r"^\+", ""))
        try:
            return bare.cast(kind)
        except pa.ArrowInvalid:  # a whole number beyond 64 bits: as a text it loses no digit
            return texts
    return texts
