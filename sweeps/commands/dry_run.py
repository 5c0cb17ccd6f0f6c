"""The module prints the plan of `--dry-run`: packs, what stopping saves, and the time they take."""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Final

from mpc_router.commands.places import places_of
from mpc_router.config.router_data import TRAIN_ROWS
from mpc_router.config.trial import plain
from mpc_router.messages import shortened
from mpc_router.run_names import TRAIN
from sweeps.commands.listings.text_table import table_lines
from sweeps.commands.sweep import pack_share, planner_of, prepared_on, workers_of
from sweeps.driver.share import Share
from sweeps.plan.plan import Plan, estimate
from sweeps.plan.preparation import Ready
from sweeps.records import Pack
from sweeps.stopping.ranks import places
from sweeps.stopping.rule import Rule
from sweeps.study.lengths import duration_text
from sweeps.study.study import Study
from sweeps.worker.step_time import Measurement, check_measurable, measured_steps

_MOST_NAMED: Final = 3
"""It is how many start points a plan names one by one."""


_LONGEST_CELL: Final = 30
"""It limits the characters of a setting in the table of points."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stage:
    """Holds a stage from one rung to the next: how many points train, and for how long."""

    points: int
    begin: int
    """It counts the epochs that are done at the start of the stage."""

    end: int

    @property
    def epochs(self) -> int:
        """Gives how many epochs the stage trains, added up over its points."""
        return self.points * (self.end - self.begin)


def _stages(points: int, rule: Rule, epochs: int) -> tuple[_Stage, ...]:
    """Gives the stages of a bracket of `points`, from its first rung to the last epoch.

    It is exact where a pack is ranked within itself. Between packs that end one by one some more
    points go on, for the first packs are compared with few. Of a rule of one's own it is the most:
    all points go on.
    """
    stages, begin = [], 0
    for end in (*rule.rungs(epochs), epochs):
        stages.append(_Stage(points=points, begin=begin, end=end))
        points, begin = points if rule.own_rule else places(points, rule.eta), end
    return tuple(stages)


def _forecast(study: Study, ready: Sequence[Ready], planned: Plan, share: Share) -> None:
    """Measures steps of every set and prints the plan with an estimate.

    For a search `planned` is its first batch, and the other batches count as equal to it.
    """
    workers = workers_of(study, ready, share)
    measured = _measured(planned.packs, ready, share)
    for line in [*_point_lines(study, planned), "", _totals(study, planned, share, workers)]:
        print(line)
    for line in [*_start_lines(study), *_router_lines(ready)]:
        print(line)
    rungs = _Rungs.of(study, planned)
    epoch_seconds = {name: measurement.epoch for name, measurement in measured.items()}
    seconds = [
        estimate(
            (pack,),
            workers=1,
            epoch_seconds=lambda trial: epoch_seconds[trial.prepared] * rungs.share[trial.point],
        )
        for pack in planned.packs
    ]
    for line in rungs.lines(study, fmean(epoch_seconds.values())):
        print(line)
    if study.racing:
        print(f"then points of the front train with {len(study.seeds) - study.racing} more seeds")
    steps = ", ".join(
        f"{measured[name].step * 1e3:.3f} ms a step and {_trained_part(prepared)}"
        for prepared in ready
        if (name := prepared.prepared_set.name) in measured
    )
    print(
        f"about {_clock(study, planned, seconds, workers):.0f} s of training, at {steps} (measured)"
    )
    if study.budget:
        ends = study.budget.plain()
        if "time" in ends:
            ends["time"] = duration_text(ends["time"])
        limits = ", ".join(f"{name} {limit}" for name, limit in ends.items())
        print(f"or less, if a budget ends it: {limits}")


def _measured(
    packs: Sequence[Pack], ready: Sequence[Ready], share: Share
) -> dict[str, Measurement]:
    """Measures trials of each set, from the first pack with some; gives times by the set's name."""
    inputs = {prepared.prepared_set.name: prepared.inputs for prepared in ready}
    measured: dict[str, Measurement] = {}
    for pack in packs:
        for name in dict.fromkeys(trial.prepared for trial in pack.trials):
            if name in measured:
                continue
            trials = tuple(trial for trial in pack.trials if trial.prepared == name)
            pack_of_set = dataclasses.replace(pack, trials=trials)
            measured[name] = measured_steps(
                pack_of_set, inputs[name], threads=share.pack.threads, gpus=share.gpus
            )
    return measured


def _totals(study: Study, planned: Plan, share: Share, count: int) -> str:
    """Counts points, seeds, trials and packs of all batches, and the workers, `count` of them."""
    workers = f"{count} worker{'s' * (count > 1)}"
    if share.gpus:
        workers += f" with {share.gpus:g} GPU each"
    if count < share.workers:
        workers += f" (a further one would start longer than it would save; {share.workers} fit)"
    seeds, packs = len(study.first_seeds), len(planned.packs)
    if not study.proposes:
        return (
            f"{len(planned.points)} points x {seeds} seeds = {len(planned.trials)} trials in "
            f"{packs} packs on {workers}"
        )
    rule, epochs = study.search, study.base.training.epochs
    trials = rule.points * seeds
    length = "" if "epochs" in study.searched else f" of {epochs} epochs"
    return (
        f"{rule.points} points x {seeds} seeds = {trials} trials{length}, proposed by "
        f"{rule.method} in {math.ceil(rule.points / rule.batch)} batches of "
        f"{'up to ' if rule.points % rule.batch else ''}{rule.batch}"
        f"{f', {rule.parallel} at a time' if rule.learns else ''}, on {workers}; "
        "shown is the first batch"
    )


def _point_lines(study: Study, planned: Plan) -> list[str]:
    """Lists the points with their settings, where they come from, and their packs."""
    starts = study.start_points if study.proposes else study.start
    start_settings = [study.point("", study.config(start)).settings for start in starts]
    packs: dict[str, list[str]] = {}
    for pack in planned.packs:
        for name in dict.fromkeys(trial.point for trial in pack.trials):
            packs.setdefault(name, []).append(pack.name)
    rows: list[tuple[str, ...]] = [("point", "origin", "pack", *study.searched)]
    for point in planned.points:
        first, *_, last = packs[point.name] * 2
        rows.append(
            (
                point.name,
                "start" if point.settings in start_settings else study.search.method,
                first if first == last else f"{first} to {last}",
                *(_setting_text(value) for value in point.settings.values()),
            )
        )
    return table_lines(rows, left=3)


def _setting_text(value: object) -> str:
    """Writes a setting's value in a cell."""
    text = f"{value:.4g}" if isinstance(value, float) else str(plain(value))
    return shortened(text, _LONGEST_CELL)


def _start_lines(study: Study) -> list[str]:
    """Names the points of the study's `start`, which are trained besides the searched ones."""
    points = [
        ", ".join(f"{name}={plain(value)}" for name, value in point.items()) or "all defaults"
        for point in study.start
    ]
    if not points:
        return []
    hidden = len(points) - _MOST_NAMED
    shown = points[:_MOST_NAMED] + ([f"and {hidden} more"] if hidden > 0 else [])
    return [f"from start of the study: {'; '.join(shown)} ('start=[]' leaves these points out)"]


def _router_lines(ready: Sequence[Ready]) -> list[str]:
    """Says of each set how many rows its routers learn from, where no expert has seen them."""
    lines = []
    for prepared in ready:
        data, label = prepared.prepared_set.config.data, prepared.prepared_set.label
        if data.router_data != TRAIN_ROWS:
            rows = len(prepared.inputs.splits[TRAIN])
            lines.append(
                f"{label}: "
                * bool(label)
                + f"routers learn from {rows} rows with outputs of experts that have not seen "
                f"them (router_data={data.router_data})"
            )
    return lines


def _clock(study: Study, planned: Plan, seconds: Sequence[float], workers: int) -> float:
    """Gives the seconds until packs that take so long are trained by the workers.

    Each worker takes the next pack when it is free. For a search all batches count, as many at a
    time as may be open.
    """
    rounds, at_once = 1.0, workers
    if study.proposes:
        rounds = study.search.points / len(planned.points)
        if study.search.learns:
            at_once = min(workers, study.search.parallel * len(planned.packs))
    busy = [0.0] * at_once
    last_round = [duration * (rounds % 1) for duration in seconds]
    for duration in [*[*seconds] * int(rounds), *last_round]:
        busy[busy.index(min(busy))] += duration
    return max(busy)


@dataclass(frozen=True, kw_only=True)
class _Rungs:
    """Tells how stopping changes a plan."""

    brackets: tuple[tuple[_Stage, ...], ...]
    """They are the stages of each pack that is ranked within itself, and of all joint trials."""

    share: Mapping[str, float]
    """It is the share of its epochs that a point trains on average, by the point's name."""

    @staticmethod
    def of(study: Study, planned: Plan) -> _Rungs:
        """Gives the rungs of the study, none where nothing is stopped."""
        if study.stopping.method == "none":
            return _Rungs(brackets=(), share={point.name: 1.0 for point in planned.points})
        epochs = study.base.training.epochs
        joint = {prepared.name for prepared in study.sets if prepared.joint}
        groups = [
            list(dict.fromkeys(trial.point for trial in pack.trials if trial.prepared not in joint))
            for pack in planned.packs
        ]
        joint_trials = [trial for trial in planned.trials if trial.prepared in joint]
        groups.append(list(dict.fromkeys(trial.point for trial in joint_trials)))
        brackets: list[tuple[_Stage, ...]] = []
        share: dict[str, float] = {}
        for points in filter(None, groups):
            stages = _stages(len(points), study.stopping, epochs)
            brackets.append(stages)
            trained = sum(stage.epochs for stage in stages)
            share |= dict.fromkeys(points, trained / len(points) / epochs)
        return _Rungs(brackets=tuple(brackets), share=share)

    def lines(self, study: Study, seconds: float) -> list[str]:
        """Says what each rung costs, at `seconds` an epoch of a trial, and what stopping saves."""
        if not self.brackets:
            return []
        seeds = len(study.first_seeds)
        rows: list[tuple[str, ...]]
        rows = [("a bracket's rungs", "points", "to epoch", "epochs of trials", "about")]
        for number, stage in enumerate(self.brackets[0], 1):
            epochs = stage.epochs * seeds
            name = f"rung {number}" if stage.end < self.brackets[0][-1].end else "to the end"
            cells = (stage.points, stage.end, epochs, f"{epochs * seconds:.2g} s")
            rows.append((name, *map(str, cells)))
        saved = 1 - fmean(self.share.values())
        points = study.search.points if study.proposes else len(self.share)
        total = points * seeds * study.base.training.epochs
        frozen = "with frozen experts " if any(prepared.joint for prepared in study.sets) else ""
        expected = f"stopping is expected to save {saved:.0%} of {total} epochs of trials"
        if study.stopping.own_rule is not None:
            expected = (
                f"stopping rule {study.stopping.method} decides who goes on, so all points count "
                f"with their {total} epochs of trials"
            )
        return [
            *table_lines(rows),
            expected,
            *(
                [f"then stopped points {frozen}that lie on the front train to the end"]
                if study.stopping.finish and not all(prepared.joint for prepared in study.sets)
                else []
            ),
        ]


def _trained_part(prepared: Ready) -> str:
    """Names what a set's trials train: a router, or a whole pool."""
    part = "pool" if prepared.prepared_set.joint else "router"
    return f"{part} of {prepared.prepared_set.label}" if prepared.prepared_set.label else part


def show_plan(args: argparse.Namespace, study: Study) -> int:
    """Runs `--dry-run`: prints the plan and an estimate; gives exit code 0.

    Raises:
        InputError: steps cannot be measured on this machine.
    """
    from sweeps.driver.queue import first_plan
    from sweeps.plan.preparation import prepare_sets
    from sweeps.terminal.live import make_display

    display, share = make_display(quiet=args.quiet), pack_share(args, study)
    check_measurable(study.base.training.device)  # before encoders are trained anywhere
    ready = prepare_sets(study, prepared_on(share, places_of(args), display), display)
    _forecast(study, ready, first_plan(planner_of(study, ready, share)), share)
    return 0
