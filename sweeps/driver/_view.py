"""Writes the points of a run for Optuna's own tools: those of a search, and those of a grid."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from sweeps.driver._results import result_of
from sweeps.journal.state import State
from sweeps.search.rule import OPEN, Proposal
from sweeps.search.space import Axis
from sweeps.search.view import ViewedPoint, write_view
from sweeps.study.study import Study


def show(path: Path, state: State, study: Study, *, running: bool) -> None:
    """Writes all points that were asked up to now, each with its result and its times.

    A search has a trial of Optuna's for each proposal, a grid one for each point.
    """
    assert state.opened is not None
    write_view(
        path,
        state.opened["run"],
        study.space if study.proposes else _listed(state),
        study.objectives,
        study.search,
        _points(state, study),
        running=running,
    )


def _listed(state: State) -> Mapping[str, Axis]:
    """Gives an axis of the values that a grid's points have by setting, start points included."""
    values: dict[str, list[object]] = {}
    for point in state.points.values():
        for leaf, value in point.settings.items():
            if value not in values.setdefault(leaf, []):
                values[leaf].append(value)
    return {leaf: Axis(kind="grid", values=tuple(listed)) for leaf, listed in values.items()}


def _points(state: State, study: Study) -> Iterator[ViewedPoint]:
    """Gives the points in the order of asking; one that was proposed twice comes twice."""
    if study.proposes:
        for batch, names in zip(state.batches, state.proposed, strict=True):
            for proposal, name in zip(batch.proposals, names, strict=True):
                yield _viewed(name, proposal, state, study)
    else:
        for name, point in state.points.items():
            yield _viewed(name, Proposal(settings=point.settings), state, study)


def _viewed(name: str, proposal: Proposal, state: State, study: Study) -> ViewedPoint:
    """Gives a point with its result, the start of its first trial and the end of its last."""
    keys, result = state.replicates[name], result_of(state, name, study)
    starts = [state.begun[key] for key in keys if key in state.begun]
    return ViewedPoint(
        name=name,
        proposal=proposal,
        result=result,
        begun=min(starts, default=None),
        ended=None if result == OPEN else max(state.ended[key] for key in keys),
    )
