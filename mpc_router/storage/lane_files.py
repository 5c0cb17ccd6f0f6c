"""The module reads and shortens a file of many routers without loading torch.

The file is safetensors. It holds the tensors of trial KEY as `KEY.NAME`, and in the metadata of its
header a JSON text with what is no tensor, by key. A file may come from elsewhere.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from mpc_router.messages import quoted
from mpc_router.storage.files import atomic

ENDING: Final = ".safetensors"
LANES_FORMAT: Final = "mpc-router lanes 1"

_FORM, _TRIALS, _METADATA, _OFFSETS = "format", "trials", "__metadata__", "data_offsets"

_LENGTH: Final = 8
"""It is how many bytes at the beginning give the length of the header."""

_LONGEST_HEADER: Final = 100_000_000
"""It is the limit of safetensors."""


class LaneFileError(ValueError):
    """Says why a file of routers cannot be read."""


def metadata(trials: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Gives the metadata of a file that holds these trials."""
    return {_FORM: LANES_FORMAT, _TRIALS: json.dumps(trials, allow_nan=False)}


@dataclass(frozen=True, kw_only=True)
class LaneFile:
    """Holds the header of a file of routers."""

    path: Path
    trials: Mapping[str, Mapping[str, Any]]
    """It gives by key what is no tensor."""

    _entries: Mapping[str, Mapping[str, Any]]
    """It gives by tensor the header's entry: type, shape, and first and last byte."""

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
                size = os.fstat(file.fileno()).st_size
                length = int.from_bytes(file.read(_LENGTH), "little")
                if length > min(size, _LONGEST_HEADER):
                    raise ValueError(f"its header of {length} bytes is too long")
                entries = json.loads(file.read(length))
            metadata = entries.pop(_METADATA)
            if metadata[_FORM] != LANES_FORMAT:
                raise ValueError(f"its format is {quoted(metadata[_FORM])}")
            trials = json.loads(metadata[_TRIALS])
            keys = {name.partition(".")[0] for name in entries}
            ends = [end for entry in entries.values() for end in entry[_OFFSETS]]
            if not isinstance(trials, dict) or keys != trials.keys():
                raise ValueError("its trials are not those of its tensors")
            if not all(type(end) is int and 0 <= end <= size - _LENGTH - length for end in ends):
                raise ValueError("it is cut off")
        except (
            OSError,
            LookupError,
            TypeError,
            ValueError,
            AttributeError,
            RecursionError,
        ) as error:
            raise LaneFileError(
                f"{path} is no sound file of routers ({quoted(error)}); take another checkpoint, "
                "or train the trial again"
            ) from error
        return cls(path=path, trials=trials, _entries=entries, _start=_LENGTH + length)

    def alone(self, key: str) -> bytes:
        """Gives the tensors of one trial, by their own names, as a file of safetensors.

        Raises:
            OSError: the file is gone.
        """
        begin = f"{key}."
        entries = {
            name.removeprefix(begin): entry
            for name, entry in self._entries.items()
            if name.startswith(begin)
        }
        return b"".join(self._packed(entries, {_FORM: LANES_FORMAT}))

    def keep(self, keys: Collection[str]) -> None:
        """Removes the other trials from the file, and the file where none is left.

        Raises:
            OSError: the disk refuses.
        """
        trials = {key: trial for key, trial in self.trials.items() if key in keys}
        if not trials:
            self.path.unlink(missing_ok=True)
            return
        entries = {
            name: entry for name, entry in self._entries.items() if name.partition(".")[0] in trials
        }
        with atomic(self.path) as temporary, temporary.open("wb") as file:
            file.writelines(self._packed(entries, metadata(trials)))

    def _packed(
        self, entries: Mapping[str, Mapping[str, Any]], facts: Mapping[str, str]
    ) -> Iterator[bytes]:
        """Gives the bytes of a file of safetensors with some of the tensors."""
        header: dict[str, Any] = {_METADATA: facts}
        place = 0
        for name, entry in entries.items():
            begin, end = entry[_OFFSETS]
            header[name] = {**entry, _OFFSETS: [place, place + end - begin]}
            place += end - begin
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % _LENGTH)  # tensors begin at a multiple of it
        yield len(text).to_bytes(_LENGTH, "little") + text
        with _opened(self.path) as file:
            for entry in entries.values():
                begin, end = entry[_OFFSETS]
                file.seek(self._start + begin)
                yield file.read(end - begin)


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
        facts = path.lstat()
        if path.is_file() and not path.is_symlink():
            with_time.append((facts.st_mtime_ns, path))
    return [path for _, path in sorted(with_time, reverse=True)]


def files_by_key(folder: Path) -> dict[str, LaneFile]:
    """Gives the newest sound file of every trial of a run's folder of checkpoints."""
    by_key: dict[str, LaneFile] = {}
    for path in lane_files(folder):
        with contextlib.suppress(LaneFileError):  # `damage` says it where a trial is missing
            file = LaneFile.read(path)
            by_key |= {key: file for key in file.trials if key not in by_key}
    return by_key


def damage(folder: Path) -> LaneFileError | None:
    """Gives what is wrong with a file of routers in a folder; None where all are sound."""
    for path in lane_files(folder):
        try:
            LaneFile.read(path)
        except LaneFileError as error:
            return error
    return None
