"""What `--dry-run` prints: the packs, what stopping saves, and how long it will take."""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Final

from mpc_router.commands.places import places_of
from mpc_router.config.trial import plain
from sweeps.commands._step_time import Measurement, measured_steps
from sweeps.commands.sweep import pack_share, planner_of
from sweeps.driver.session import Share
from sweeps.plan.plan import Plan, estimate
from sweeps.plan.preparation import Ready
from sweeps.records import Pack
from sweeps.search.rule import NON_LEARNING
from sweeps.stopping.ranks import places
from sweeps.stopping.rule import Rule
from sweeps.study.budget import duration_text
from sweeps.study.study import Study

_MOST_NAMED: Final = 3
"""Start points that a plan names one by one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Leg:
    """Holds the way from one rung to the next: how many points train, and how long."""

    points: int
    begin: int
    """Epochs that are done."""

    end: int

    @property
    def epochs(self) -> int:
        """Gives its cost in epochs of points."""
        return self.points * (self.end - self.begin)


def _legs(points: int, rule: Rule, epochs: int) -> tuple[_Leg, ...]:
    """Gives the stages of a bracket of `points`, from its first rung to the last epoch.

    Exact where a pack is ranked within itself. Between packs that arrive one by one some more go
    on, for the first to arrive are judged against few.
    """
    found, begin = [], 0
    for end in (*rule.rungs(epochs), epochs):
        found.append(_Leg(points=points, begin=begin, end=end))
        points, begin = places(points, rule.eta), end
    return tuple(found)


def _forecast(study: Study, ready: Sequence[Ready], planned: Plan, share: Share) -> None:
    """Measures steps of every set and prints the plan with an estimate.

    Of a search `planned` is its first batch: the others are taken to be like it.
    """
    workers = share.workers
    measured = _measured(planned.packs, ready, share)
    for pack in planned.packs:
        points = dict.fromkeys(trial.point for trial in pack.trials)
        trials = f"{len(pack.trials)} trial{'' if len(pack.trials) == 1 else 's'}"
        print(f"{pack.name}: {trials}, points {' '.join(points)}")
    print(_whole(study, planned, share))
    for line in _start_lines(study):
        print(line)
    rungs = _Rungs.of(study, planned)
    spent = {name: each.epoch for name, each in measured.items()}
    seconds = [
        estimate(
            (pack,),
            workers=1,
            epoch_seconds=lambda trial: spent[trial.prepared] * rungs.share[trial.point],
        )
        for pack in planned.packs
    ]
    for line in rungs.lines(study, fmean(spent.values())):
        print(line)
    if study.racing:
        print(f"then points of the front train with {len(study.seeds) - study.racing} more seeds")
    steps = ", ".join(
        f"{measured[each.prepared_set.name].step * 1e3:.3f} ms a step and {_what(each)}"
        for each in ready
        if each.prepared_set.name in measured
    )
    print(
        f"about {_clock(study, planned, seconds, workers):.0f} s of training, at {steps} (measured)"
    )
    if study.budget:
        ends = study.budget.plain()
        if "time" in ends:
            ends["time"] = duration_text(ends["time"])
        print(f"or less, if a budget ends it: {', '.join(f'{k} {v}' for k, v in ends.items())}")


def _measured(
    packs: Sequence[Pack], ready: Sequence[Ready], share: Share
) -> dict[str, Measurement]:
    """How long trials of each set take, by the set's name; some of the first pack's are trained."""
    inputs = {each.prepared_set.name: each.inputs for each in ready}
    found: dict[str, Measurement] = {}
    for pack in packs:
        for name in dict.fromkeys(trial.prepared for trial in pack.trials):
            if name in found:
                continue
            mine = tuple(trial for trial in pack.trials if trial.prepared == name)
            alone = dataclasses.replace(pack, trials=mine)
            found[name] = measured_steps(
                alone, inputs[name], threads=share.pack.threads, gpus=share.gpus
            )
    return found


def _whole(study: Study, planned: Plan, share: Share) -> str:
    """Counts points, seeds, trials and packs of all batches, and the workers."""
    workers = f"{share.workers} workers"
    if share.gpus:
        workers += f" with {share.gpus:g} GPU each"
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
        f"{'' if rule.method in NON_LEARNING else f', {rule.parallel} at a time'}, on {workers}; "
        "shown is the first batch"
    )


def _start_lines(study: Study) -> list[str]:
    """The points of the study's `start`: they come along whatever values a word gives to search."""
    named = [
        ", ".join(f"{leaf}={plain(value)}" for leaf, value in each.items()) or "all defaults"
        for each in study.start
    ]
    more = [f"and {len(named) - _MOST_NAMED} more"] if len(named) > _MOST_NAMED else []
    points = "; ".join(named[:_MOST_NAMED] + more)
    return [f"from start of the study: {points} (start=[] leaves out what it names)"] * bool(named)


def _clock(study: Study, planned: Plan, seconds: Sequence[float], workers: int) -> float:
    """Seconds by the clock of packs that take so long, each worker taking the next when it is free.

    Of a search all batches, as many at a time as may be open.
    """
    rounds, at_once = 1.0, workers
    if study.proposes:
        rounds = study.search.points / len(planned.points)
        if study.search.method not in NON_LEARNING:
            at_once = min(workers, study.search.parallel * len(planned.packs))
    busy = [0.0] * at_once
    last = [each * (rounds % 1) for each in seconds]
    for each in [*[*seconds] * int(rounds), *last]:
        busy[busy.index(min(busy))] += each
    return max(busy)


@dataclass(frozen=True, kw_only=True)
class _Rungs:
    """Tells how stopping changes a plan."""

    brackets: tuple[tuple[_Leg, ...], ...]
    """Of each pack that is ranked within itself; of all joint trials together."""

    share: Mapping[str, float]
    """Of its epochs that a point trains on average, by its name."""

    @staticmethod
    def of(study: Study, planned: Plan) -> _Rungs:
        """Gives the rungs of the study, none where nothing is stopped."""
        if study.stopping.method == "none":
            return _Rungs(brackets=(), share={point.name: 1.0 for point in planned.points})
        epochs = study.base.training.epochs
        joint = {each.name for each in study.sets if each.joint}
        groups = [
            list(dict.fromkeys(t.point for t in pack.trials if t.prepared not in joint))
            for pack in planned.packs
        ]
        groups.append(list(dict.fromkeys(t.point for t in planned.trials if t.prepared in joint)))
        brackets: list[tuple[_Leg, ...]] = []
        share: dict[str, float] = {}
        for points in filter(None, groups):
            found = _legs(len(points), study.stopping, epochs)
            brackets.append(found)
            share |= dict.fromkeys(points, sum(leg.epochs for leg in found) / len(points) / epochs)
        return _Rungs(brackets=tuple(brackets), share=share)

    def lines(self, study: Study, seconds: float) -> list[str]:
        """Says what each rung costs, at `seconds` an epoch of a trial, and what stopping saves."""
        if not self.brackets:
            return []
        seeds = len(study.first_seeds)
        said_of = [
            f"{leg.points} points to epoch {leg.end} ({leg.epochs * seeds} epochs of trials, about "
            f"{leg.epochs * seeds * seconds:.2g} s)"
            for leg in self.brackets[0]
        ]
        saved = 1 - fmean(self.share.values())
        points = study.search.points if study.proposes else len(self.share)
        total = points * seeds * study.base.training.epochs
        frozen = "with frozen experts " if any(each.joint for each in study.sets) else ""
        return [
            f"a bracket: {', '.join(said_of)}",
            f"stopping is expected to save {saved:.0%} of {total} epochs of trials",
            *(
                [f"then stopped points {frozen}that lie on the front train to the end"]
                if study.stopping.finish and not all(each.joint for each in study.sets)
                else []
            ),
        ]


def _what(each: Ready) -> str:
    what = "pool" if each.prepared_set.joint else "router"
    return f"{what} of {each.prepared_set.label}" if each.prepared_set.label else what


def show_plan(args: argparse.Namespace, study: Study) -> int:
    """`--dry-run`: prints the plan and an estimate; 0."""
    from sweeps.driver.queue import first_plan
    from sweeps.plan.preparation import prepare_sets
    from sweeps.terminal.live import make_display

    ready = prepare_sets(study, places_of(args), make_display(quiet=args.quiet))
    share = pack_share(args, study)
    _forecast(study, ready, first_plan(planner_of(study, ready, share)), share)
    return 0
