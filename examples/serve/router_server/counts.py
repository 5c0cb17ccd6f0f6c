"""What was routed where, against what was quoted: other texts than the router knows show here.

Letters: K experts.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from scipy.stats import chi2

from mpc_router import RoutedClassifier
from mpc_router.serve.answers import Answer

DRIFT = 0.001
"""A chance below this is called drift."""


class Counts:
    """Counts examples by expert and what they cost; several threads may add to it."""

    def __init__(self, router: RoutedClassifier) -> None:
        self._lock = threading.Lock()
        self._router = router
        self._examples = [0] * len(router.experts)
        self._cost = 0.0

    def add(self, answers: Sequence[Answer]) -> None:
        """Counts some answers."""
        with self._lock:
            for answer in answers:
                self._examples[answer.expert] += 1
                self._cost += answer.cost

    def report(self) -> dict[str, Any]:
        """Gives shares and mean cost so far, what was quoted, and the chance of such shares.

        The chance is that of a chi-square test: how often as many examples would be shared out as
        unevenly if they were like those of the quoted split. It is None before the first example,
        and where nothing was quoted: without a summary, or with a bias that the export has not.
        """
        with self._lock:
            examples, cost = list(self._examples), self._cost
        count = sum(examples)
        quoted = _quoted(self._router)
        shares = None if quoted is None else quoted["share"]
        chance = None if shares is None or not count else _chance(examples, shares)
        return {
            "examples": count,
            "by_expert": examples,
            "shares": [number / count for number in examples] if count else None,
            "quoted_shares": shares,
            "cost": cost / count if count else None,
            "quoted_cost": None if quoted is None else quoted["cost"].get(self._router.vector.name),
            "cost_vector": self._router.vector.name,
            "unit": self._router.vector.unit,
            "chance": chance,
            "drifted": None if chance is None else chance < DRIFT,
        }


def _quoted(router: RoutedClassifier) -> dict[str, Any] | None:
    """Gives share and cost of the first quoted split, if this router is the one that was quoted."""
    splits = (router.assembled.summary or {}).get("splits") or {}
    names = [name for name in router.task.quoted if name in splits]
    return splits[names[0]] if names and not router.bias else None


def _chance(examples: Sequence[int], shares: Sequence[float]) -> float:
    """Gives the probability of counts (K,) at least this far from shares (K,)."""
    count = sum(examples)
    if any(number and not share for number, share in zip(examples, shares, strict=True)):
        return 0.0
    pairs = [(number, share) for number, share in zip(examples, shares, strict=True) if share]
    distance = sum((number - count * share) ** 2 / (count * share) for number, share in pairs)
    return float(chi2.sf(distance, len(pairs) - 1)) if len(pairs) > 1 else 1.0
