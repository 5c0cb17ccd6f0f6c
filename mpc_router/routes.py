"""Paths of experts: which experts run for an example, in which order, and what is answered.

A gate's path is one expert. A router that looks at what experts say goes on step by step: at every
state (the experts that have run) it weighs the paths that are still open, and the first expert that
the best of them adds runs next, until the best one adds none. A path then stands where an expert
stood: it has a cost and an answer. Letters: N examples, K experts, C outputs of an expert, P paths,
M numbers that a router gives (one for each open path of each state).
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

LAST: Final = "last"
_AVERAGE: Final = "average"
LOGISTIC: Final = "logistic"
COMBINATIONS: Final = (LAST, _AVERAGE, LOGISTIC)
"""What an answer is made of where several experts ran: the last one's output, the average, or a
weighted sum that was fitted."""

Experts = tuple[int, ...]
_Floats = NDArray[np.floating[Any]]


def single_paths(experts: int) -> tuple[Experts, ...]:
    """Gives the paths of a gate: each of K experts alone."""
    return tuple((expert,) for expert in range(experts))


def pair_paths(experts: int) -> tuple[Experts, ...]:
    """Gives the paths of a router that the cheapest expert runs for: it alone, or one more."""
    return ((0,), *((0, expert) for expert in range(1, experts)))


def prefix_paths(experts: int) -> tuple[Experts, ...]:
    """Gives the paths of a cascade: the cheapest expert, the two cheapest, up to all."""
    return tuple(tuple(range(last + 1)) for last in range(experts))


def rising_paths(experts: int) -> tuple[Experts, ...]:
    """Gives every path that begins with the cheapest expert and adds dearer ones, 2^(K - 1)."""
    paths: list[Experts] = [(0,)]
    for expert in range(1, experts):
        paths += [(*path, expert) for path in list(paths)]
    return tuple(sorted(paths, key=lambda path: (len(path), path)))


def expert_shares(
    shares: NDArray[np.float64], paths: Sequence[Experts], experts: int
) -> NDArray[np.float64]:
    """Gives the shares (..., K) of examples that experts run for, of shares (..., P) by path.

    They add up to more than 1 where paths have several experts.
    """
    runs = np.zeros((len(paths), experts))
    for row, path in enumerate(paths):
        runs[row, list(path)] = 1
    return np.asarray(shares @ runs, np.float64)


@dataclass(frozen=True)
class Decisions:
    """Says how a router's M numbers become a route: a path, found state by state.

    Raises:
        ValueError: there is no path, or one stands there twice.
    """

    paths: tuple[Experts, ...]

    def __post_init__(self) -> None:
        if not self.paths or len(set(self.paths)) != len(self.paths):
            raise ValueError(f"paths are {self.paths}, but must be different ones, at least one")

    @cached_property
    def root(self) -> Experts:
        """Gives the experts that run for every example before anything is decided."""
        shortest = min(self.paths, key=len)
        for length in range(len(shortest), 0, -1):
            if all(path[:length] == shortest[:length] for path in self.paths):
                return shortest[:length]
        return ()

    @cached_property
    def states(self) -> tuple[Experts, ...]:
        """Gives the states with more than one open path, the root first, shorter ones earlier."""
        prefixes = {path[:length] for path in self.paths for length in range(len(path) + 1)}
        held = [state for state in prefixes if len(state) >= len(self.root)]
        undecided = [state for state in held if len(self._open(state)) > 1]
        return tuple(sorted({self.root, *undecided}, key=lambda state: (len(state), state)))

    def _open(self, state: Experts) -> tuple[int, ...]:
        return tuple(
            number for number, path in enumerate(self.paths) if path[: len(state)] == state
        )

    @cached_property
    def open_paths(self) -> tuple[tuple[int, ...], ...]:
        """Gives by state the numbers of the paths that are open there."""
        return tuple(self._open(state) for state in self.states)

    @cached_property
    def entries(self) -> NDArray[np.intp]:
        """Gives the path of each of the M numbers, (M,)."""
        return np.array([path for paths in self.open_paths for path in paths], np.intp)

    @cached_property
    def columns(self) -> tuple[slice, ...]:
        """Gives by state where its numbers stand among the M."""
        ends = np.cumsum([0, *(len(paths) for paths in self.open_paths)])
        return tuple(slice(int(start), int(stop)) for start, stop in itertools.pairwise(ends))

    @property
    def width(self) -> int:
        """Counts the numbers M that a router gives of an example."""
        return len(self.entries)

    @property
    def staged(self) -> bool:
        """Tells whether anything is decided after a further expert has run."""
        return len(self.states) > 1

    def step(self, state: int, path: int) -> tuple[int, int]:
        """Gives (next state, -1) or (-1, the route) of an example that chose a path in a state."""
        length, target = len(self.states[state]), self.paths[path]
        if len(target) == length:
            return -1, path
        after = target[: length + 1]
        if after in self.states:
            return self.states.index(after), -1
        return -1, self._open(after)[0]

    def routes(self, logits: _Floats) -> NDArray[np.uint8]:
        """Gives the route of each example, a path's number (...), of logits (..., M).

        Of equal paths the first one is taken.

        Raises:
            ValueError: there are not M numbers.
        """
        if logits.shape[-1] != self.width:
            raise ValueError(f"logits {logits.shape} of a router that gives {self.width} numbers")
        if not self.staged:
            return np.asarray(logits.argmax(-1), np.uint8)
        flat = np.reshape(logits, (-1, self.width))
        routes = np.zeros(len(flat), np.uint8)
        place = np.zeros(len(flat), np.intp)
        for state, (columns, paths) in enumerate(zip(self.columns, self.open_paths, strict=True)):
            (rows,) = np.nonzero(place == state)
            chosen = flat[rows, columns].argmax(-1)
            for number, path in enumerate(paths):
                after, route = self.step(state, path)
                taken = rows[chosen == number]
                place[taken] = after
                if after < 0:
                    routes[taken] = route
        return routes.reshape(logits.shape[:-1])

    def last_state(self, route: int) -> int:
        """Gives the number of the state in which a route was decided for good."""
        path = self.paths[route]
        return max(
            number for number, state in enumerate(self.states) if path[: len(state)] == state
        )

    def price(self, costs: Sequence[float] | _Floats) -> NDArray[np.float64]:
        """Gives the cost of the path of each number, (M,), of costs by path (P,)."""
        return np.asarray(costs, np.float64)[self.entries]


def walk(
    decisions: Decisions,
    rows: int,
    *,
    logits: Callable[[NDArray[np.intp]], _Floats],
    run: Callable[[int, NDArray[np.intp]], None],
) -> NDArray[np.uint8]:
    """Routes N examples step by step, (N,): an expert runs only for those whose path has it.

    `logits` gives a router's numbers (n, M), the bias taken off, for the rows named, of what their
    experts have said up to then; `run` has an expert run for the rows named.
    """
    routes = np.zeros(rows, np.uint8)
    everyone = np.arange(rows)
    for expert in decisions.root:
        run(expert, everyone)
    waiting = {0: everyone}
    for state, columns in enumerate(decisions.columns):
        here = waiting.pop(state, everyone[:0])
        if not len(here):
            continue
        chosen = np.asarray(logits(here))[:, columns].argmax(-1)
        done = len(decisions.states[state])
        for number, path in enumerate(decisions.open_paths[state]):
            taken = here[chosen == number]
            if not len(taken):
                continue
            after, route = decisions.step(state, path)
            reached = decisions.paths[route] if after < 0 else decisions.states[after]
            for expert in reached[done:]:
                run(expert, taken)
            if after < 0:
                routes[taken] = route
            else:
                waiting[after] = np.sort(np.concatenate([waiting.get(after, taken[:0]), taken]))
    return routes


@dataclass(frozen=True, eq=False, kw_only=True)
class Paths:
    """Holds the paths of a router, and how the outputs of a path's experts become its answer.

    Raises:
        ValueError: the arrays do not belong to the paths, or there is no such combination.
    """

    decisions: Decisions
    combine: str
    weights: NDArray[np.float64]
    """(P, K) of the outputs in the sum; 0 where an expert is not on the path."""

    offset: NDArray[np.float64]
    """(P, C) added to the sum."""

    def __post_init__(self) -> None:
        shapes = {self.weights.shape[:1], self.offset.shape[:1], (len(self.decisions.paths),)}
        if len(shapes) != 1 or self.weights.ndim != 2 or self.offset.ndim != 2:
            raise ValueError(
                f"{len(self.decisions.paths)} paths with weights {self.weights.shape} and an "
                f"offset {self.offset.shape}"
            )
        if self.combine not in COMBINATIONS:
            raise ValueError(f"combine is {self.combine!r}, allowed are {', '.join(COMBINATIONS)}")
        if not (np.isfinite(self.weights).all() and np.isfinite(self.offset).all()):
            raise ValueError("a weight of a path is NaN or infinite")

    @classmethod
    def of(cls, paths: Sequence[Experts], *, experts: int, outputs: int, combine: str) -> Paths:
        """Makes paths whose answers need no fit: the last expert's output, or the average."""
        weights = np.zeros((len(paths), experts))
        for row, path in enumerate(paths):
            if combine == _AVERAGE:
                weights[row, list(path)] = 1 / len(path)
            else:
                weights[row, path[-1]] = 1
        return cls(
            decisions=Decisions(tuple(paths)),
            combine=combine,
            weights=weights,
            offset=np.zeros((len(paths), outputs)),
        )

    @property
    def experts(self) -> int:
        """Counts the experts K."""
        return int(self.weights.shape[1])

    @property
    def plain(self) -> bool:
        """Tells whether every path is one expert and answers what that one says."""
        return self.decisions.paths == single_paths(self.experts)

    @property
    def runs(self) -> NDArray[np.bool_]:
        """Says which expert runs on which path, (P, K)."""
        runs = np.zeros(self.weights.shape, np.bool_)
        for row, path in enumerate(self.decisions.paths):
            runs[row, list(path)] = True
        return runs

    def answer(self, path: int, outputs: _Floats, *, regression: bool) -> NDArray[np.float32]:
        """Gives what one path answers, (N, C), of the outputs (N, K, C) of its experts.

        An average of classes is that of their probabilities, as logits; else it is a weighted sum.
        One expert alone answers what it says.
        """
        experts = list(self.decisions.paths[path])
        if len(experts) == 1 or self.combine == LAST:
            return np.asarray(outputs[:, experts[-1]], np.float32)
        spoken = np.asarray(outputs[:, experts], np.float64)
        if self.combine == _AVERAGE and not regression:
            return np.asarray(_log_mean_probability(spoken), np.float32)
        total = np.zeros((len(spoken), spoken.shape[2]))
        for place, expert in enumerate(experts):  # in this order however many rows there are
            total += self.weights[path, expert] * spoken[:, place]
        total += self.offset[path]
        return np.asarray(total, np.float32)

    def answers(self, outputs: _Floats, *, regression: bool) -> NDArray[np.float32]:
        """Gives what every path answers, (N, P, C), of the outputs (N, K, C) of all experts."""
        numbers = range(len(self.decisions.paths))
        answers = [self.answer(path, outputs, regression=regression) for path in numbers]
        return np.stack(answers, axis=1)

    def to_json(self) -> dict[str, Any]:
        """Gives the paths as plain JSON."""
        return {
            "paths": [list(path) for path in self.decisions.paths],
            "combine": self.combine,
            "weights": self.weights.tolist(),
            "offset": self.offset.tolist(),
        }

    @staticmethod
    def from_json(record: dict[str, Any]) -> Paths:
        """Reads what `to_json` gave.

        Raises:
            ValueError, TypeError, LookupError: it is something else.
        """
        paths = tuple(tuple(int(expert) for expert in path) for path in record["paths"])
        weights = np.array(record["weights"], np.float64)
        for path in paths:
            if not path or not all(0 <= expert < weights.shape[1] for expert in path):
                raise ValueError(f"a path is {path} of {weights.shape[1]} experts")
        return Paths(
            decisions=Decisions(paths),
            combine=str(record["combine"]),
            weights=weights,
            offset=np.array(record["offset"], np.float64),
        )

    @cached_property
    def name(self) -> str:
        """Names the paths and their combination by a hash, 16 hex digits."""
        text = json.dumps(self.to_json(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def _log_mean_probability(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gives the logarithm (N, C) of the mean over experts of softmax(z), z (N, k, C)."""
    top = logits.max(axis=-1, keepdims=True)
    log_p = logits - top - np.log(np.exp(logits - top).sum(axis=-1, keepdims=True))
    highest = log_p.max(axis=1)
    mean = np.exp(log_p - highest[:, None]).mean(axis=1)
    tiny = np.finfo(np.float64).tiny
    return np.asarray(np.log(np.maximum(mean, tiny)) + highest, np.float64)
