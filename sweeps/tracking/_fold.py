"""Folds a journal's events into the trials that a tracker is told of."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from mpc_router.run_names import REPORT_NUMBERS
from sweeps.journal.rows import results_of
from sweeps.journal.state import Event, State, apply
from sweeps.records import INTERRUPTED, SELECTION, Ending, Report
from sweeps.tracking._tracker import End, Measurement, Sweep, TrackedTrial


class Fold:
    """Holds the state of a run with the times of its reports, and which trials have changed."""

    def __init__(self) -> None:
        self.state = State()
        self._times: dict[str, dict[tuple[int, str], float]] = {}
        """Gives the time by key, epoch and split of a report that counts."""

        self._versions: Counter[str] = Counter()
        self._changed: dict[str, None] = {}
        self.last = 0.0
        """Gives the time of the last event, in seconds since 1970."""

    def add(self, event: Event) -> None:
        """Adds an event.

        Raises:
            JournalError: it cannot follow the ones before it.
        """
        apply(self.state, event)
        self.last = _seconds(event["time"])
        kind, keys = event["event"], []
        if kind == "reported":
            keys = [report["key"] for report in event["reports"]]
            for report in event["reports"]:
                times = self._times.setdefault(report["key"], {})
                times.setdefault((report["epoch"], report["split"]), self.last)
        elif kind == "ended":
            keys = [ending["key"] for ending in event["endings"]]
        elif kind == "reopened":
            keys = event["keys"]
        elif kind == "unlike":
            keys = event["keys"]
            for key in keys:
                self._replace(key)
        self._changed.update(dict.fromkeys(keys))

    def _replace(self, key: str) -> None:
        """Takes out the reports of a trial that no longer count."""
        times = self._times.get(key, {})
        counting = {
            place: time for place, time in times.items() if (key, *place) in self.state.reports
        }
        if counting != times:
            self._times[key] = counting
            self._versions[key] += 1

    def sweep(self) -> Sweep:
        """Gives the facts about the run, once it is opened."""
        opened = self.state.opened
        assert opened is not None
        splits = (SELECTION, *opened["quoted"])
        return Sweep(
            name=opened["run"],
            study=opened["study"]["study"],
            identity=f"{opened['run']} {opened['time']}",
            time=_seconds(opened["time"]),
            settings=opened["settings"],
            results=tuple(f"{split}_{name}" for split in splits for name in ("score", "cost")),
        )

    def changed(self) -> Iterator[TrackedTrial]:
        """Gives each trial that has changed since the last call."""
        keys, self._changed = self._changed, {}
        for key in keys:
            yield self._trial(key, self._ending(key) if self.state.is_final(key) else None)

    def unended(self) -> Iterator[TrackedTrial]:
        """Gives each started trial that may still go on, as it stands when its run is left."""
        for trial in self.state.unended():
            if trial.key in self.state.begun:
                yield self._trial(trial.key, self._ending(trial.key))

    def _trial(self, key: str, ending: Ending | None) -> TrackedTrial:
        """Gives a trial with this ending."""
        state, trial = self.state, self.state.trials[key]
        measurements = tuple(self._measurements(key))
        begun = state.begun.get(key)
        return TrackedTrial(
            key=key,
            point=trial.point,
            seed=trial.seed,
            settings=state.points[trial.point].settings,
            version=self._versions[key],
            begun=_seconds(begun) if begun is not None else self.last,
            measurements=measurements,
            end=None if ending is None else self._end(ending),
        )

    def _measurements(self, key: str) -> Iterator[Measurement]:
        """Gives a trial's reports, those of one epoch that arrived together as one."""
        assert self.state.opened is not None
        vector = self.state.opened["study"]["cost_vector"]
        values: dict[tuple[float, int], dict[str, float]] = {}
        for (epoch, split), time in self._times.get(key, {}).items():
            report = self.state.reports[key, epoch, split]
            values.setdefault((time, epoch), {}).update(_values(report, vector))
        for (time, epoch), numbers in sorted(values.items(), key=lambda item: item[0]):
            yield Measurement(epoch=epoch, time=time, values=numbers)

    def _ending(self, key: str) -> Ending:
        """Gives the ending that stands, or that of a trial whose run was left before it ended."""
        last = self.state.latest.get((key, SELECTION))
        return self.state.endings.get(key) or Ending(
            key=key,
            status=INTERRUPTED,
            epochs=last.epoch if last else 0,
            seconds=last.seconds if last else 0.0,
            attempt=1,
            reason="the run ended before it",
        )

    def _end(self, ending: Ending) -> End:
        """Gives an ending with its time and results, as the table of trials has them."""
        time = self.state.ended.get(ending.key)
        results = results_of(self.state, ending.key)
        return End(
            status=ending.status,
            reason=ending.reason,
            time=_seconds(time) if time is not None else self.last,
            epochs=ending.epochs,
            results={name: value for name, value in results.items() if value is not None},
        )


def _values(report: Report, vector: str) -> Mapping[str, float]:
    """Gives the numbers of a report by `split/column`; experts, or paths, count from 0."""
    route = "path" if report.runs else "expert"
    numbers: dict[str, Any] = {
        **report.metrics,
        "cost": report.cost[vector],
        **{f"cost_{name}": value for name, value in report.cost.items()},
        **report.losses,
        **{name: getattr(report, name) for name in REPORT_NUMBERS},
        **{f"share_{route}_{number}": share for number, share in enumerate(report.share)},
        **{f"gate_{route}_{number}": gate for number, gate in enumerate(report.gate)},
        **{f"runs_expert_{expert}": share for expert, share in enumerate(report.runs)},
        "seconds": report.seconds,
    }
    return {f"{report.split}/{name}": float(value) for name, value in numbers.items()}


def _seconds(time: str) -> float:
    """Gives an event's time in seconds since 1970."""
    return datetime.datetime.fromisoformat(time).timestamp()
