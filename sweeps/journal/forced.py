"""What changed between two sessions of a run, in the journal's words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import yaml

from mpc_router.messages import LONGEST_VALUE, printable, shortened
from sweeps.records import STUDY_FILE

NUMERIC: Final = ("torch", "transformers", "tokenizers", "numpy")
"""Libraries whose other versions give other numbers."""

_SHOWN: Final = 3
"""Settings of an edited study that are named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Holds a fact that is not what it was when the run began."""

    what: str
    """`code`, a library's name, `data`, `experts` or `stem` (`... of SET`), or `study.yaml`."""

    then: Any
    now: Any
    """Of the study the settings that differ, by their path."""


def study_text(tree: Mapping[str, Any]) -> str:
    """Gives a study as the run's `study.yaml` has it."""
    return yaml.safe_dump(dict(tree), sort_keys=False, default_flow_style=None)


def said(change: Change) -> str:
    """Says the change in words."""
    if change.what != STUDY_FILE:
        then, now = _brief(change.then), _brief(change.now or "not installed")
        return f"{change.what} was {then} and is {now}"
    names = list({**change.then, **change.now})
    shown = [
        f"{_brief(name)}: {_brief(change.now.get(name, 'gone'))}, in the run "
        f"{_brief(change.then.get(name, 'not there'))}"
        for name in names[:_SHOWN]
    ]
    more = [f"and {len(names) - _SHOWN} more"] if len(names) > _SHOWN else []
    return "; ".join([*shown, *more])


def _brief(value: object) -> str:
    return shortened(printable(str(value)), LONGEST_VALUE)


def notes(forced: Sequence[Mapping[str, Any]]) -> list[str]:
    """A sentence for each change that was forced: what a reader of the results must know."""
    found = []
    for each in forced:
        change = Change(what=each["what"], then=each["then"], now=each["now"])
        when = f"{each['time'][:16].replace('T', ' ')} UTC"
        if change.what == STUDY_FILE:
            text = f"{STUDY_FILE} had been edited ({said(change)}); the run kept its own study"
        elif change.what in ("code", *NUMERIC):
            text = f"{said(change)}; trials that ended since may differ from the others for that"
        else:
            text = f"{said(change)}; nothing was trained on it"
        found.append(f"Resumed with --force on {when}: {text}.")
    return found
