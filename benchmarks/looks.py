"""A trace of a search looked at now and then: its hypervolume by three measures.

`benchmarks.search` says what the measures are. Letters: L looks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import moocore
import numpy as np

from benchmarks.replay import Setting, Trace, Values

MEASURES: Final = ("finished", "completed", "reached")
STRIDE: Final = 5
"""Epochs between two looks at a trace."""


@dataclass(frozen=True, kw_only=True)
class Looks:
    """A trace looked at now and then: (L,) each."""

    epochs: Values
    time: Values
    with_finish: Values
    """Epochs when the front of the reports is trained to its end."""

    time_with_finish: Values
    hypervolume: dict[str, Values]
    """By measure."""

    def after(self, measure: str, budget: float, *, by_time: bool) -> float:
        """Hypervolume at the last look that the budget pays for; 0 before the first."""
        if measure == "finished":
            paid = self.time_with_finish if by_time else self.with_finish
        else:
            paid = self.time if by_time else self.epochs
        fits = np.flatnonzero(paid <= budget)
        return float(self.hypervolume[measure][fits[-1]]) if len(fits) else 0.0


def looks(trace: Trace, setting: Setting) -> Looks:
    """Hypervolumes of a trace as it grows."""
    curves, end = setting.curves, setting.curves.epochs
    reached = np.zeros(len(curves.settings), np.int64)
    rows: list[tuple[float, ...]] = []
    count = len(trace.time)
    for number in range(count):
        reached[trace.point[number]] = trace.epoch[number]
        done = number + 1
        if done % STRIDE and done != count:
            continue
        started = np.flatnonzero(reached)
        reports = curves.losses[started, reached[started] - 1]
        front = started[moocore.is_nondominated(reports, keep_weakly=True)]
        completed = started[reached[started] == end]
        missing = (end - reached[front]) * setting.speed[front]
        # workers share what is missing; nobody can be faster than the longest
        finish = max(float(missing.max()), float(missing.sum()) / setting.workers)
        rows.append(
            (
                done,
                trace.time[number],
                done + float((end - reached[front]).sum()),
                trace.time[number] + finish,
                curves.percent(curves.losses[np.union1d(front, completed), -1]),
                curves.percent(curves.losses[completed, -1]),
                curves.percent(reports),
            )
        )
    columns = np.array(rows).T
    return Looks(
        epochs=columns[0],
        time=columns[1],
        with_finish=columns[2],
        time_with_finish=columns[3],
        hypervolume=dict(zip(MEASURES, columns[4:], strict=True)),
    )
