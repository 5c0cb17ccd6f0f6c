"""The module reads and shortens a file of many routers without loading torch.

The file is safetensors. It holds the tensors of trial KEY as `KEY.NAME`, and in the metadata of its
header a JSON text with what is no tensor, by key. A file may come from elsewhere.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import stat
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from mpc_router.messages import quoted
from mpc_router.plain_names import is_plain
from mpc_router.storage.files import atomic
from mpc_router.storage.json_text import json_value

ENDING: Final = ".safetensors"
LANES_FORMAT: Final = "mpc-router lanes 1"

_FORM, _TRIALS, _METADATA = "format", "trials", "__metadata__"
_TYPE, _SHAPE, _OFFSETS = "dtype", "shape", "data_offsets"

_WIDTHS: Final = {
    **dict.fromkeys(("BOOL", "U8", "I8"), 1),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 2),
    **dict.fromkeys(("U32", "I32", "F32"), 4),
    **dict.fromkeys(("U64", "I64", "F64"), 8),
}
"""It gives the bytes of a number by the name that safetensors has for its type."""

_DIMENSIONS: Final = 8
"""It is how many a tensor of a router has at most; the most that it has is two."""

_LENGTH: Final = 8
"""It is how many bytes at the beginning give the length of the header."""

_LONGEST_HEADER: Final = 100_000_000
"""It is the limit of safetensors."""


class LaneFileError(ValueError):
    """Says why a file of routers cannot be read."""


def metadata(trials: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Gives the metadata of a file that holds these trials."""
    return {_FORM: LANES_FORMAT, _TRIALS: json.dumps(trials, allow_nan=False)}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Span:
    """Holds a tensor's type, its shape, and where its bytes are among those of all tensors."""

    type: str
    shape: list[int]
    begin: int
    end: int

    def entry(self, begin: int) -> dict[str, Any]:
        """Gives the header's entry for the tensor where it begins at another byte."""
        offsets = [begin, begin + self.end - self.begin]
        return {_TYPE: self.type, _SHAPE: self.shape, _OFFSETS: offsets}


@dataclass(frozen=True, kw_only=True)
class LaneFile:
    """Holds the header of a file of routers."""

    path: Path
    trials: Mapping[str, Mapping[str, Any]]
    """It gives by key what is no tensor."""

    _spans: Mapping[str, _Span]
    """It gives the tensors by name, in the order of their bytes."""

    _start: int
    """It is the place of the first tensor's first byte."""

    @classmethod
    def read(cls, path: Path) -> LaneFile:
        """Reads the header of a file.

        Raises:
            LaneFileError: it is no file of routers, or damaged.
        """
        try:
            with _opened(path) as file:
                size = os.fstat(file.fileno()).st_size - _LENGTH
                length = int.from_bytes(file.read(_LENGTH), "little")
                if length > min(size, _LONGEST_HEADER):
                    raise ValueError(f"its header of {length} bytes is too long")
                entries = json_value(file.read(length))
            metadata = entries.pop(_METADATA)
            if metadata[_FORM] != LANES_FORMAT:
                raise ValueError(f"its format is {quoted(metadata[_FORM])}")
            trials = json_value(metadata[_TRIALS])
            spans = _spans_of(entries, size - length)
            _check_trials(trials, spans)
        except (
            OSError,
            LookupError,
            TypeError,
            ValueError,
            AttributeError,
            RecursionError,
        ) as error:
            raise LaneFileError(_unsound(path, error)) from error
        return cls(path=path, trials=trials, _spans=spans, _start=_LENGTH + length)

    def alone(self, key: str) -> bytes:
        """Gives the tensors of one trial, by their own names, as a file of safetensors.

        Raises:
            OSError: the file is gone.
        """
        begin = f"{key}."
        spans = {
            name.removeprefix(begin): span
            for name, span in self._spans.items()
            if name.startswith(begin)
        }
        return b"".join(self._packed(spans, {_FORM: LANES_FORMAT}))

    def keep(self, keys: Collection[str]) -> None:
        """Removes the other trials from the file, and the file where none is left.

        Raises:
            LaneFileError: a trial is nested too deeply to be written; the file is as it was.
            OSError: the disk refuses.
        """
        trials = {key: trial for key, trial in self.trials.items() if key in keys}
        if not trials:
            self.path.unlink(missing_ok=True)
            return
        try:
            facts = metadata(trials)
        except RecursionError as error:
            raise LaneFileError(_unsound(self.path, error)) from error
        spans = {name: span for name, span in self._spans.items() if _key_of(name) in trials}
        with atomic(self.path) as temporary, temporary.open("wb") as file:
            file.writelines(self._packed(spans, facts))

    def _packed(self, spans: Mapping[str, _Span], facts: Mapping[str, str]) -> Iterator[bytes]:
        """Gives the bytes of a file of safetensors with some of the tensors."""
        header: dict[str, Any] = {_METADATA: facts}
        place = 0
        for name, span in spans.items():
            header[name] = span.entry(place)
            place += span.end - span.begin
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % _LENGTH)  # tensors begin at a multiple of it
        yield len(text).to_bytes(_LENGTH, "little") + text
        with _opened(self.path) as file:
            for span in spans.values():
                file.seek(self._start + span.begin)
                yield file.read(span.end - span.begin)


def _key_of(name: str) -> str:
    """Gives the key of the trial that a tensor is of."""
    return name.partition(".")[0]


def _unsound(path: Path, error: Exception) -> str:
    """Says that a file of routers cannot be read."""
    return (
        f"{path} is no sound file of routers ({quoted(error)}); take another checkpoint, or train "
        "the trial again"
    )


def _spans_of(entries: Mapping[str, Any], size: int) -> dict[str, _Span]:
    """Gives the tensors that a header names, in the order of their bytes.

    As safetensors demands, each begins where the last one ends, and they take all `size` bytes: so
    no file makes a larger one, however often its header names the same bytes.

    Raises:
        ValueError: they do not, or a tensor's bytes are not those of its shape.
        LookupError: an entry lacks something, or its type is unknown.
        TypeError: an entry is of another shape.
    """
    spans = {}
    place = 0
    for name, entry in sorted(entries.items(), key=lambda item: item[1][_OFFSETS]):
        kind, shape, (begin, end) = entry[_TYPE], entry[_SHAPE], entry[_OFFSETS]
        if not isinstance(shape, list) or len(shape) > _DIMENSIONS:
            raise ValueError(f"the shape of {quoted(name)} is no list of a few numbers")
        if not all(type(number) is int and number >= 0 for number in (begin, end, *shape)):
            raise ValueError(f"shape and place of {quoted(name)} are no whole numbers")
        if begin != place or end - begin != math.prod(shape) * _WIDTHS[kind]:
            raise ValueError(f"{quoted(name)} is not at its place, or of another length")
        spans[name] = _Span(type=kind, shape=shape, begin=begin, end=end)
        place = end
    if place != size:
        raise ValueError(f"its tensors have {place} bytes, but {size} are there")
    return spans


def _check_trials(trials: Any, names: Collection[str]) -> None:
    """Checks what is no tensor against the names of the tensors.

    Raises:
        ValueError: it is of another shape, or of other trials.
    """
    if not isinstance(trials, dict) or trials.keys() != set(map(_key_of, names)):
        raise ValueError("its trials are not those of its tensors")
    for key, trial in trials.items():
        if not is_plain(key) or not isinstance(trial, dict):
            raise ValueError(f"trial {quoted(key)} has no plain name, or is no mapping")


def _opened(path: Path) -> IO[bytes]:
    """Opens a file for reading that is no link and no pipe.

    Raises:
        OSError: it is one, or cannot be read.
    """
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb")


def lane_files(folder: Path) -> list[Path]:
    """Gives the files of routers in a run's folder of checkpoints, the newest first.

    A trial that was trained again is in a newer file too, until the run removes it from the older.
    """
    with_time = []
    for path in folder.glob(f"[!.]*{ENDING}"):
        with contextlib.suppress(FileNotFoundError):  # it went meanwhile
            facts = path.lstat()
            if stat.S_ISREG(facts.st_mode):
                with_time.append((facts.st_mtime_ns, path))
    return [path for _, path in sorted(with_time, reverse=True)]


def files_in(folder: Path) -> Iterator[LaneFile | LaneFileError]:
    """Reads the files of routers in a folder, the newest first; gives a damaged one's error."""
    for path in lane_files(folder):
        try:
            yield LaneFile.read(path)
        except LaneFileError as error:
            yield error


def files_by_key(folder: Path) -> dict[str, LaneFile]:
    """Gives the newest sound file of every trial of a run's folder of checkpoints."""
    by_key: dict[str, LaneFile] = {}
    for file in files_in(folder):
        if isinstance(file, LaneFile):
            by_key |= {key: file for key in file.trials if key not in by_key}
    return by_key
