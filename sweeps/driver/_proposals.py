"""Asks the search for proposals, names their points, and checks those of a journal."""

from __future__ import annotations

from typing import Any

from sweeps.journal.state import State
from sweeps.records import InputError
from sweeps.search.ask import ask
from sweeps.search.rule import Batch
from sweeps.study.study import Study


def next_batch(study: Study, earlier_batches: list[Batch]) -> Batch:
    """Asks the search for the batch after these."""
    return ask(
        study.space,
        list(study.objectives.values()),
        study.search,
        earlier_batches,
        seed=study.seed,
        start=study.start_points,
    )


def point_name(number: int, study: Study) -> str:
    """Gives a point's name, such as `p007`, with as many digits as the last point needs."""
    return f"p{number:0{max(2, len(str(study.search.points - 1)))}d}"


def check_space(study: Study, state: State) -> None:
    """Refuses a journal whose proposals lie outside of the study's space.

    Raises:
        InputError: one of them does.
    """
    for batch in state.batches:
        for proposal in batch.proposals:
            inside = proposal.settings.keys() == study.space.keys() and all(
                axis.holds(_from_json(proposal.settings[leaf]))
                for leaf, axis in study.space.items()
            )
            if not inside:
                raise InputError(
                    f"the journal's point {dict(proposal.settings)} lies outside of the study's "
                    f"space ({', '.join(study.space)}); the journal belongs to another study"
                )


def _from_json(value: Any) -> Any:
    """Gives a value as an axis has it: a list from JSON becomes a tuple."""
    return tuple(value) if isinstance(value, list) else value
