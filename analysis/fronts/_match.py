"""Decides which runs can be compared: on what they must agree, and what may differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.runs.load import Run, RunError
from mpc_router.tasks import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Holds runs that can be compared."""

    names: tuple[str, ...]
    """One a run, unlike each other."""

    paired: bool
    """Whether all were quoted on the same examples, so that examples are resampled together."""

    notes: tuple[str, ...]
    """What differs between them and was let pass."""


def match(runs: Sequence[Run], split: str | None, vector: str | None, *, force: bool) -> Match:
    """Refuses runs that answer different questions; `force` lets other data and prices pass.

    Raises:
        RunError: fewer than two runs, one of them twice, runs of different tasks; without `force`
            other data, or other prices under the vector.
    """
    names = _names_of(runs)
    paired, notes = True, []
    for number in range(1, len(runs)):
        both = names[0], names[number]
        _refuse_other_task(both, runs[0], runs[number])
        data = _other_data(both, runs[0], runs[number], runs[0].split(split))
        prices = _other_prices(both, runs[0], runs[number], vector)
        if data and not force:
            raise RunError(
                f"{data}: their examples cannot be paired; run both on the same data, or compare "
                "them unpaired with --force"
            )
        if prices and not force:
            raise RunError(f"{prices}; {_way_out(runs[0], runs[number])}")
        paired = paired and not data
        notes += [f"{data}, so nothing is paired"] if data else []
        notes += [prices] if prices else []
    return Match(names=names, paired=paired, notes=tuple(notes))


def _names_of(runs: Sequence[Run]) -> tuple[str, ...]:
    """Gives the runs' names; where two are the same, the folders that tell them apart.

    Raises:
        RunError: fewer than two runs, or a folder twice.
    """
    if len(runs) < 2:
        raise RunError(f"{len(runs)} run to compare; name two or more")
    paths = [run.path.resolve() for run in runs]
    for number, path in enumerate(paths):
        if path in paths[:number]:
            raise RunError(f"{runs[number].path} is named twice; name each run once")
    names = [run.name for run in runs]
    folders = [f"{path.parent.name}/{path.name}" for path in paths]
    run_names = [
        folder if names.count(name) > 1 else name
        for name, folder in zip(names, folders, strict=True)
    ]
    return tuple(
        str(path) if run_names.count(name) > 1 else name
        for name, path in zip(run_names, paths, strict=True)
    )


def _refuse_other_task(names: tuple[str, str], first: Run, second: Run) -> None:
    if second.task.name != first.task.name:
        raise RunError(
            f"{names[0]} is of task {first.task.name} and {names[1]} of {second.task.name}; "
            "runs of one task can be compared"
        )
    if _judged_by(first.task) != _judged_by(second.task):
        raise RunError(
            f"{names[0]} and {names[1]} define task {first.task.name} differently: other labels, "
            f"or another score ({', '.join(first.task.score_metrics)} and "
            f"{', '.join(second.task.score_metrics)}); runs of one task can be compared"
        )


def _judged_by(task: Task) -> tuple[object, ...]:
    """Gives what labels and scores of a task mean."""
    return task.kind, task.label_names, task.label_range, task.score_metrics


def _other_data(names: tuple[str, str], first: Run, second: Run, split: str) -> str:
    """Says how data differ; empty where fingerprints and the quoted examples are the same."""
    one, two = ((run.provenance.get("fingerprints") or {}).get("data") for run in (first, second))
    if one != two:
        return f"{names[0]} and {names[1]} have other data (fingerprints {one} and {two})"
    if not _same_examples(first, second, split):
        return f"{names[0]} and {names[1]} were quoted on other examples of {split}"
    return ""


def _same_examples(first: Run, second: Run, split: str) -> bool:
    """Says whether a split's examples are the same by number and label, in any order."""
    rows = []
    for run in (first, second):
        table = run.examples
        quoted_rows = table.loc[table["split"] == split, ["example", "label"]].sort_values(
            "example"
        )
        rows.append(quoted_rows.to_numpy(np.float64))
    return bool(np.array_equal(rows[0], rows[1]))


def _other_prices(names: tuple[str, str], first: Run, second: Run, vector: str | None) -> str:
    """Says how prices differ under a vector (None: each study's own); empty where equal."""
    one, two = first.cost_vector(vector), second.cost_vector(vector)
    if one == two and first.expert_names == second.expert_names:
        return ""
    under = repr(one.name) if one.name == two.name else f"{one.name!r} and {two.name!r}"
    return (
        f"{names[0]} and {names[1]} are priced differently under {under}: "
        f"{_priced(first, one.experts, one.router)} against "
        f"{_priced(second, two.experts, two.router)}"
    )


def _priced(run: Run, experts: Sequence[float], router: float) -> str:
    named = zip(run.expert_names, experts, strict=True)
    return ", ".join([*(f"{name} {cost:g}" for name, cost in named), f"router {router:g}"])


def _way_out(first: Run, second: Run) -> str:
    alike = [
        name
        for name, vector in first.cost_vectors.items()
        if second.cost_vectors.get(name) == vector and first.expert_names == second.expert_names
    ]
    if alike:
        return f"alike in both are {', '.join(alike)} (--costs), or compare them with --force"
    return "no vector is alike in both; compare them all the same with --force"
