"""Describes the changes between two sessions of a run that --force lets through."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import yaml

from mpc_router.messages import LONGEST_VALUE, printable, shortened
from sweeps.records import STUDY_FILE

NUMERIC: Final = ("torch", "transformers", "tokenizers", "numpy", "numba", "llvmlite")
"""Names the libraries of which another version may give other numbers."""

PART: Final = "part "
"""Begins what has changed where a sampler or a metric of one's own is of another version."""

_SHOWN: Final = 3
"""Limits the settings of an edited study that are named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Holds a fact that has changed since the run began."""

    what: str
    """Names the fact: `code`, a library, `data`, `experts` or `stem` (`... of SET`), `study.yaml`,
    `part NAME`.
    """

    then: Any
    now: Any
    """Hold the fact then and now; of a study, the settings that differ by their path."""


def study_text(tree: Mapping[str, Any]) -> str:
    """Gives a study as the text of a run's `study.yaml`."""
    return yaml.safe_dump(dict(tree), sort_keys=False, default_flow_style=None)


def change_text(change: Change) -> str:
    """Describes a change in words."""
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
    """Gives a value as a short printable text."""
    return shortened(printable(str(value)), LONGEST_VALUE)


def notes(forced: Sequence[Mapping[str, Any]]) -> list[str]:
    """Gives a sentence for each forced change, for readers of the results."""
    sentences = []
    for event in forced:
        change = Change(what=event["what"], then=event["then"], now=event["now"])
        text = change_text(change)
        when = f"{event['time'][:16].replace('T', ' ')} UTC"
        if change.what == STUDY_FILE:
            note = f"{STUDY_FILE} had been edited ({text}); the run kept its own study"
        elif change.what in ("code", *NUMERIC) or change.what.startswith(PART):
            note = f"{text}; trials that ended since may differ from the others for that"
        else:
            note = f"{text}; nothing was trained on it"
        flag = "--trust" if change.what.startswith(PART) else "--force"
        sentences.append(f"Resumed with {flag} on {when}: {note}.")
    return sentences
