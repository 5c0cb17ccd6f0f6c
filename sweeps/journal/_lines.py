"""Writes an event as a line of the journal and reads it: JSON with a checksum."""

from __future__ import annotations

import dataclasses
import json
import zlib
from typing import Any, Final

from mpc_router.messages import quoted, shortened
from sweeps.journal.state import Event, OddEvent

VERSION: Final = 1
"""Numbers the format of the events; events of another one are refused."""

_LONGEST_LINE: Final = 2**28
"""Limits the bytes of a line; one that asks for ten thousand trials has a tenth of it."""

_CHECK: Final = b',"check":"'


def event_of(line: bytes) -> Event:
    """Reads the event of a line.

    Raises:
        ValueError: it is damaged, or written by another version.
        OddEvent: this program cannot have written it.
    """
    if len(line) > _LONGEST_LINE:
        raise ValueError(f"the line has {len(line)} bytes, more than the limit of {_LONGEST_LINE}")
    body, separator, check = line.rpartition(_CHECK)
    if not separator or check != b'%08x"}' % zlib.crc32(body):
        raise ValueError("the line is damaged (its checksum does not match its content)")
    try:
        event: dict[str, Any] = json.loads(body + b"}", parse_constant=_no_number)
        if b"\\ud" in body:  # half of a surrogate pair cannot be written to a file
            json.dumps(event, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise OddEvent(f"the line cannot be read ({shortened(str(error), 100)})") from error
    if event.get("v") != VERSION:
        raise ValueError(
            f"written with schema version {quoted(event.get('v'))}, and this program reads "
            f"{VERSION}"
        )
    return event


def _no_number(name: str) -> None:
    """Refuses NaN and infinities.

    Raises:
        ValueError: always.
    """
    raise ValueError(f"{name} is no number of JSON")


def line_of(event: Event) -> bytes:
    """Gives the line of an event, with its checksum and its end."""
    text = json.dumps(event, default=_plain, separators=(",", ":"), allow_nan=False)
    body = text[:-1].encode()
    return b'%s%s%08x"}\n' % (body, _CHECK, zlib.crc32(body))


def _plain(value: Any) -> Any:
    """Gives a dataclass as a mapping, for JSON."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: getattr(value, item.name) for item in dataclasses.fields(value)}
    raise TypeError(f"a {type(value).__name__} cannot be written as JSON: {quoted(value)}")
