"""A training in plain text: a line an epoch, and at its end a table by split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from mpc_router.costs import CONSTANTS, CostVector
from mpc_router.messages import decimal
from mpc_router.results.records import EpochResult, Failure, LanesEnded
from mpc_router.results.summary import split_summary
from mpc_router.tasks import Task, merit


class Record:
    """Holds the epochs of one lane on selection, its end or its failure."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self.history: list[dict[str, Any]] = []
        """`split_summary` of selection with its `epoch`, in order."""

        self.ended: LanesEnded | None = None
        self.failure: Failure | None = None

    def hear(self, event: EpochResult | LanesEnded) -> bool:
        """Takes an event in; says whether it is an epoch, and the best one so far."""
        if isinstance(event, LanesEnded):
            self.ended = event if event.reason != "failed" else None
            return False
        if event.failures:
            self.failure = event.failures[0]
            return False
        summary = {"epoch": event.epoch, **split_summary(event.report)}
        score = merit(self._task, float(summary["score"]))
        best = all(merit(self._task, float(past["score"])) < score for past in self.history)
        self.history.append(summary)
        return best

    def selection(self, epoch: int) -> dict[str, Any]:
        """Gives what an epoch was worth on selection."""
        return {name: value for name, value in self.history[epoch - 1].items() if name != "epoch"}


HEADER: Final = "  epoch   score     cost     loss     task  balance cost loss  shares %"

_NAME: Final = 26
"""Characters of an expert's name: what is longer loses its organisation, then its end."""


def epoch_line(summary: Mapping[str, Any], *, epochs: int, best: bool) -> str:
    """Gives a line under `HEADER` of `split_summary` and its `epoch`; `*` marks the best so far."""
    losses = summary["losses"]
    shares = " ".join(f"{100 * share:.0f}" for share in summary["share"])
    count = f"{summary['epoch']}/{epochs}"
    numbers = "".join(
        f"{value:9.4g}"
        for value in (
            summary["cost"][CONSTANTS],
            *(losses[name] for name in ("total", "task", "balance", "cost")),
        )
    )
    return f"{count:>7} {decimal(summary['score'], 4):>7}{numbers}  {shares}{' *' if best else ''}"


def expert_words(experts: Sequence[tuple[str, int]]) -> list[str]:
    """Gives names and cuts in a few words; all names lose their folders where one is too long."""
    names = [name for name, _ in experts]
    if any(len(name) > _NAME for name in names):
        names = [name.rpartition("/")[2] for name in names]
    return [
        f"{name[:_NAME]}{f' [{layers} layers]' if layers else ''}"
        for name, (_, layers) in zip(names, experts, strict=True)
    ]


def table(
    splits: Mapping[str, Mapping[str, Any]],
    *,
    vectors: Mapping[str, CostVector],
    experts: Sequence[tuple[str, int]],
) -> list[str]:
    """Gives lines of a table: a column a split, rows for scores, costs and experts' shares."""
    every = list(splits.values())
    names = [name.removeprefix("validation_") for name in splits]
    rows = [("", names), ("score", [decimal(summary["score"], 4) for summary in every])]
    for name in every[0]["metrics"]:
        rows.append((f"  {name}", [decimal(summary["metrics"][name], 4) for summary in every]))
    for name, vector in vectors.items():
        if all(name in summary["cost"] for summary in every):
            costs = [f"{summary['cost'][name]:.4g}" for summary in every]
            rows.append((f"cost, {name} ({vector.unit})", costs))
    for number, words in enumerate(expert_words(experts)):
        shares = [f"{100 * summary['share'][number]:.1f} %" for summary in every]
        rows.append((f"share, {words}", shares))
    width = max(len(label) for label, _ in rows)
    columns = [max(len(name), 8) + 2 for name in names]
    return [
        f"{label:<{width}}" + "".join(f"{v:>{w}}" for v, w in zip(values, columns, strict=True))
        for label, values in rows
    ]
