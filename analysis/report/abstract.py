"""Sums up a run in sentences with numbers, which terminal and report both say first."""

from __future__ import annotations

import shlex
from collections import Counter
from typing import TYPE_CHECKING, Final

from analysis.fronts.constraints import bounds
from analysis.fronts.survey import ABOVE, BELOW, EQUAL, Survey, least_seeds, unit
from analysis.questions.seed_effects import effects
from analysis.questions.verdicts import verdicts
from analysis.report._findings import findings
from analysis.runs.load import Run
from analysis.words import (
    LARGER,
    amount,
    constant_words,
    count,
    interval,
    number,
    percent,
    score_words,
    signed,
)
from mpc_router.config.pools import OUTPUTS
from mpc_router.run_names import FRONT, NONE

if TYPE_CHECKING:
    import pandas as pd

    from analysis.questions.answers import Answers

_MOST_COMPARED: Final = 12
"""Points of a study whose differences are tested as a whole: an ablation, and no search."""


def sentences(run: Run, survey: Survey, answered: Answers | None = None) -> list[str]:
    """Gives the abstract: what was run, the front, the best trade, yardsticks and findings."""
    return [
        run_sentence(run, survey),
        _the_front(survey),
        best_trade_sentence(run, survey),
        yardstick_sentence(survey),
        standing_sentence(survey),
        *_noise(run, survey),
        *(findings(survey, answered) if answered is not None else []),
    ]


def _noise(run: Run, survey: Survey) -> list[str]:
    """Says of a study with few points whether they differ by more than seeds do."""
    if not 2 <= len(survey.replicates) <= _MOST_COMPARED or least_seeds(survey) < 2:
        return []
    texts = [
        f"the {effect.name} differs by {amount(effect.test.span)} between the points that lie "
        f"farthest apart (95 % interval {amount(effect.test.span_low)} to "
        f"{amount(effect.test.span_high)}), and by {amount(effect.noise)} (standard deviation) "
        "between the seeds of a point: "
        f"{'more than' if effect.test.p < LARGER else 'no more than what'} seeds explain "
        f"(analysis of variance with seeds as blocks, p = {effect.test.p:.2g})"
        for effect in effects(run, split=survey.split, vector=survey.vector.name)
    ]
    return [f"{'; '.join(texts)}.".capitalize()] if texts else []


def what_was_run(run: Run) -> str:
    """Describes the run in one line: study, task, pool, trials."""
    status = Counter(str(one) for one in run.trials["status"])
    ended = ", ".join(f"{count} {name.lower()}" for name, count in sorted(status.items()))
    return (
        f"study {run.provenance['study']}, task {run.task.name}, pool {run.provenance['pool']} "
        f"({', '.join(run.expert_names)}): {len(run.trials)} trials, {ended}"
    )


def _best_trade(survey: Survey) -> pd.Series | None:
    """Gives the front's point farthest above the random mix, judged on selection only.

    None where no point keeps the study's constraints.
    """
    if survey.judged.none_feasible:
        return None
    front = survey.front
    row: pd.Series = front.iloc[int(front["selection_over_mix"].to_numpy().argmax())]
    return row


def recommended(run: Run, survey: Survey) -> pd.Series | None:
    """Gives the best trade, but where there is nothing to route None."""
    return None if verdicts(run, survey).nothing_to_route else _best_trade(survey)


def export_line(run: Run, survey: Survey) -> str:
    """Gives the command that exports the recommended point; empty where there is none.

    A run that keeps the routers of its own fronts alone may lack the best trade under costs that
    were given later.
    """
    given = survey.vector.name in run.provenance.get("cost_vectors_given", ())
    row = recommended(run, survey)
    if row is None or (given and run.study.get("checkpoints") == FRONT):
        return ""
    return export_command(run, "--point", str(row["point"]))


def export_command(run: Run, *words: str) -> str:
    """Gives the command that exports what these words choose of a run.

    Empty where the experts were handed in as tables, and where the study keeps no routers: then
    there is no model to export.
    """
    if run.provenance["pool"] == OUTPUTS or run.study.get("checkpoints") == NONE:
        return ""
    line = (
        "mpc-router-export",
        "--run",
        str(run.path),
        *words,
        f"exported/{run.path.resolve().name}",
    )
    return shlex.join(line)


def run_sentence(run: Run, survey: Survey) -> str:
    """Says what was trained and how it is measured."""
    points = run.trials["point"].nunique()
    seeds = sorted({int(seed) for seed in run.trials["seed"]})
    epochs = int(run.trials["epochs"].max())
    return (
        f"The study {run.provenance['study']} trained {count(len(run.trials), 'router')} "
        f"({count(points, 'configuration')}, {count(len(seeds), 'seed')}, up to "
        f"{count(epochs, 'epoch')}) over the {len(run.expert_names)} experts of pool "
        f"{run.provenance['pool']} on {run.task.name.upper()}; the score is "
        f"{score_words(run.task)} on {survey.split} "
        f"({survey.examples} examples), the cost is in {survey.vector.unit} per example "
        f"(vector {survey.vector.name}, router {survey.vector.router:g} paid)."
    )


def _the_front(survey: Survey) -> str:
    front = survey.front
    first, last = front.iloc[0], front.iloc[-1]
    if len(front) == 1:
        span = f"score {number(first['score'])} at cost {amount(first['cost'])}{unit(survey)}"
    else:
        span = (
            f"from score {number(first['score'])} at cost {amount(first['cost'])}{unit(survey)} "
            f"to {number(last['score'])} at {amount(last['cost'])}{unit(survey)}"
        )
    low, high = survey.hypervolume_interval
    over = f" over the {survey.partial} that are there" if survey.partial else ""
    over += ", all of which break a constraint" if survey.judged.none_feasible else ""
    on_front = (
        f"{len(front)} of {count(len(survey.replicates), 'point')} "
        f"{'lies' if len(front) == 1 else 'lie'} on the front chosen on selection{over}"
    )
    return (
        f"{on_front}: {span}. Its hypervolume is {survey.hypervolume:.3g} ({low:.3g} to {high:.3g};"
        f" reference: score {number(survey.reference[0])}, cost {amount(survey.reference[1])})."
    )


def best_trade_sentence(run: Run, survey: Survey) -> str:
    """Says what the best trade reaches, or why there is none."""
    row = _best_trade(survey)
    if row is None:
        return (
            "There is no best trade: no point keeps the study's constraints "
            f"({bounds(survey.judged.constraints)}) on selection."
        )
    dearest = run.expert_names[survey.vector.experts.index(max(survey.vector.experts))]
    verdict = {
        ABOVE: "more than its interval",
        EQUAL: "not distinguishable from a coin",
        BELOW: "worse than a coin",
    }[row["verdict"]]
    better = " (above 0 is better)" if survey.task.direction == "min" else ""
    headroom = (
        f" It captures {percent(row['headroom'])} % of the room between that coin and the oracle "
        "curve."
        if row["headroom"] == row["headroom"]
        else ""
    )
    return (
        f"The best trade, picked on selection, is {row['label']}: score {number(row['score'])} "
        f"(95 % interval {interval(row, 'score')}) at cost {amount(row['cost'])}{unit(survey)}, "
        f"{signed(row['over_mix'])}{better} against a random mix of the experts at the same cost "
        f"({signed(row['over_mix_low'])} to {signed(row['over_mix_high'])}: {verdict}), "
        f"a projected speed-up of {row['speed_up']:.2f} over {dearest} alone.{headroom}"
    )


def yardstick_sentence(survey: Survey) -> str:
    """Says what experts, the constant and the oracle reach."""
    singles = ", ".join(
        f"{row['name']} {number(row['score'])} at {amount(row['cost'])}{unit(survey)}"
        for _, row in survey.singles.iterrows()
    )
    score, cost = survey.oracle
    return (
        f"Single experts reach {singles}; the {constant_words(survey.task)} "
        f"{number(survey.majority['score'])}; an oracle that sends each example to the cheapest "
        f"expert that is {'nearest' if survey.task.regression else 'right'} "
        f"{number(score)} at {amount(cost)}{unit(survey)}, router paid."
    )


def standing_sentence(survey: Survey) -> str:
    """Says how many points beat the coin."""
    counts = Counter(survey.points["verdict"])
    total = len(survey.points)
    over = (
        "seeds and examples"
        if survey.points["n"].max() > 1
        else "examples only, for there is one seed"
    )
    return (
        f"Of all {count(total, 'point')}, {counts[ABOVE]} "
        f"{'beats' if counts[ABOVE] == 1 else 'beat'} the random mix at their own cost by more "
        f"than the interval, {counts[EQUAL]} cannot be told from it, and {counts[BELOW]} "
        f"{'is' if counts[BELOW] == 1 else 'are'} worse than it. Intervals hold 95 % of "
        f"{survey.resamples} draws of {over}."
    )
