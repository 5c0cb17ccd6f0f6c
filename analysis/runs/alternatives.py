"""Lists what an example of a run can be sent to: an expert, or a path of several experts.

A path stands where an expert stands: it has a cost and an answer. Letters: K experts of the run,
A alternatives (its K experts first, then the paths of several experts of its trials), P paths of a
trial, S experts of a prepared set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from analysis.runs.load import Run, RunError
from analysis.runs.untrusted import anew
from mpc_router.costs import CostVector
from mpc_router.messages import quoted
from mpc_router.routes import LAST, Decisions, Paths
from mpc_router.run_names import PATHS, table_file

_Values = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Alternatives:
    """Holds the alternatives of a run, and where each trial's routes stand among them."""

    experts: tuple[tuple[int, ...], ...]
    """(A,) the experts of each, numbers among all of the run in the order in which they run."""

    names: tuple[str, ...]
    """(A,) in words, such as `tiny + large, average`."""

    count: int
    """K."""

    paths: dict[str, Paths]
    """By key of a trial whose routes are paths; experts are numbers in its own set."""

    places: dict[str, tuple[int, ...]]
    """By key the alternatives that the trial's routes stand for, (P,) or (S,)."""

    @property
    def runs(self) -> NDArray[np.bool_]:
        """Says which expert runs for which alternative, (A, K)."""
        runs = np.zeros((len(self.experts), self.count), np.bool_)
        for place, experts in enumerate(self.experts):
            runs[place, list(experts)] = True
        return runs

    def price(self, vector: CostVector) -> CostVector:
        """Gives a vector over the run's experts as one over its alternatives."""
        return vector.on(self.experts)

    def within(self, members: Sequence[int]) -> tuple[list[int], tuple[tuple[int, ...], ...]]:
        """Gives the alternatives of some experts, and those experts by their place in `members`."""
        row = {member: number for number, member in enumerate(members)}
        places = list(members)
        places += [
            place
            for place in range(self.count, len(self.experts))
            if set(self.experts[place]) <= row.keys()
        ]
        return places, tuple(tuple(row[one] for one in self.experts[place]) for place in places)

    def decisions(self, key: str) -> Decisions | None:
        """Says how a trial's logits become routes; None where the largest one is the route."""
        paths = self.paths.get(key)
        return None if paths is None else paths.decisions

    def own_price(self, key: str, vector: CostVector) -> CostVector:
        """Gives a vector over a trial's own experts as one over its own routes."""
        paths = self.paths.get(key)
        return vector if paths is None else vector.on(paths.decisions.paths)


@lru_cache(maxsize=4)
def alternatives(run: Run) -> Alternatives:
    """Reads the alternatives of a run; where a route is an expert they are its experts.

    Paths with the same experts in the same order and one way of combining them are one
    alternative, whatever weights were fitted.

    Raises:
        RunError: the run lacks the paths that a trial names, or they are those of other experts.
    """
    columns = (run.trials[name] for name in ("key", "point", "paths_id"))
    named: dict[str, str] = {}
    places: dict[str, tuple[int, ...]] = {}
    sets: dict[str, tuple[int, ...]] = {}
    for key, point, name in zip(*columns, strict=True):
        sets[str(key)] = run.sets[run.set_of_point[str(point)]].members
        places[str(key)] = sets[str(key)]
        if isinstance(name, str):
            named[str(key)] = name
    count = len(run.expert_names)
    place_of: dict[tuple[tuple[int, ...], str], int] = {}
    by_name = _paths(run) if named else {}
    paths = {}
    for key, name in named.items():
        paths[key] = _checked(run, key, name, by_name, len(sets[key]))
        numbers = []
        for path in paths[key].decisions.paths:
            experts = tuple(sets[key][expert] for expert in path)
            if len(experts) == 1:
                numbers.append(experts[0])
            else:
                numbers.append(
                    place_of.setdefault((experts, paths[key].combine), count + len(place_of))
                )
        places[key] = tuple(numbers)
    single = tuple((expert,) for expert in range(count))
    return Alternatives(
        experts=(*single, *(experts for experts, _ in place_of)),
        names=(*run.expert_names, *(_name(run, *path) for path in place_of)),
        count=count,
        paths=paths,
        places=places,
    )


def _name(run: Run, experts: tuple[int, ...], combine: str) -> str:
    """Names a path: its experts as they run, and how their outputs are combined."""
    names = " + ".join(run.expert_names[expert] for expert in experts)
    return names if combine == LAST else f"{names}, {combine}"


def _paths(run: Run) -> dict[str, Paths]:
    """Reads the paths of a run by their names."""
    from analysis import schema

    path = run.path / table_file(PATHS)
    rows_of: dict[tuple[str, str], list[dict[str, object]]] = {}
    table = run.table(PATHS, schema.paths(()).names)
    for row in table.to_pylist():
        rows_of.setdefault((row["set"], row["paths_id"]), []).append(row)
    paths = {}
    for (_, name), rows in rows_of.items():
        try:
            paths[name] = schema.paths_from(rows)
        except ValueError as error:
            raise RunError(
                f"{path}: the rows of {quoted(name)} are no paths ({error}); {anew(path)}"
            ) from error
    return paths


def _checked(run: Run, key: str, name: str, by_name: dict[str, Paths], experts: int) -> Paths:
    """Gives the paths that a trial names.

    Raises:
        RunError: there are none of this name, or they are those of other experts.
    """
    path = run.path / table_file(PATHS)
    if name not in by_name:
        raise RunError(f"{path}: no paths {quoted(name)}, which trial {key} names; {anew(path)}")
    if by_name[name].experts != experts:
        raise RunError(
            f"{path}: paths {name} are those of {by_name[name].experts} experts, and trial {key} "
            f"routes between {experts}; {anew(path)}"
        )
    return by_name[name]
