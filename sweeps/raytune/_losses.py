"""The module reads from Ray's errors why a pack's worker was lost, and puts it into a sentence."""

from __future__ import annotations

import re
from typing import Final

from ray.exceptions import ActorUnschedulableError, RayActorError

_LOW_ON_MEMORY: Final = "the node running low on memory"
_NEVER_RAN: Final = "The actor never ran"
"""It is Ray's last line about an actor that had not started yet."""

_REMOVED: Final = "associated placement group was removed"
"""They are Ray's words about an actor that had no place on a node yet."""

_NODE_GONE: Final = re.compile(r"node has died|node was terminated")
_DEAD: Final = re.compile(r"node has died|node was terminated|exit type: (?!INTENDED)")


def how(error: Exception | None) -> str:
    """Tells how a worker was lost: `died`, `left`, `failed`, `memory` or `cancelled`.

    It `left` with its node, `failed` by an exception, and Ray ended it for its `memory`. It was
    `cancelled` before it started: Tune found another actor, or Ray had no job for the worker.
    """
    text = str(error)
    if _LOW_ON_MEMORY in text:
        return "memory"
    if isinstance(error, ActorUnschedulableError | RayActorError) and _REMOVED in text:
        return "cancelled"
    if error is not None and not isinstance(error, RayActorError):
        return "failed"
    if _NODE_GONE.search(text):
        return "left"
    return "cancelled" if _NEVER_RAN in text and not _DEAD.search(text) else "died"


def reason(error: Exception | None) -> str:
    """Says in a sentence why a worker was lost, without Ray's general words on dead processes."""
    if error is None:
        return "its worker is gone"
    if _LOW_ON_MEMORY in str(error):
        used = re.search(r"[\d.]+GB used / [\d.]+GB", str(error))
        return f"Ray ended its worker{f' at {used[0]}' if used else ''}"
    text = last_line(str(error).partition(_NEVER_RAN)[0] or error)
    if cause := re.match(r"The actor (?:is dead|died) because (its .*?)\.", text):
        return cause[1]
    if re.search(r"The actor \w+ is unavailable", text):
        return "it cannot be reached"
    if "the actor's node was terminated" in text:
        return "its node has died"
    return text


def last_line(error: object) -> str:
    """Gives the last line of a traceback, which may be thousands of lines long."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__
