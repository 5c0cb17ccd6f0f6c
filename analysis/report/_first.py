"""Says what stands on a report's first screen: three sentences, four big numbers and a command."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from analysis.figures.style import MOST_NAMED
from analysis.fronts.survey import ABOVE, BELOW, EQUAL, Survey, unit
from analysis.questions.answers import Answers
from analysis.report import abstract
from analysis.report._verdicts import best_single, single
from analysis.runs.load import Run
from analysis.words import (
    amount,
    constant_words,
    interval,
    number,
    percent,
    score_words,
    signed,
)

if TYPE_CHECKING:
    import pandas as pd

_VERDICTS = {
    ABOVE: "more than chance gives",
    EQUAL: "not distinguishable from a coin",
    BELOW: "worse than a coin",
}


@dataclass(frozen=True, slots=True)
class BigNumber:
    """Holds a number that is written large."""

    value: str
    label: str
    """What it is, in a few words."""

    below: str = ""
    """What it is held against, in small print: an interval, a verdict."""

    verdict: str = ""
    """Colours the number: `above`, `below`, `not distinguishable`."""


@dataclass(frozen=True, slots=True)
class First:
    """Holds what a reader sees before scrolling, beside the picture of the front."""

    sentences: tuple[str, ...]
    big_numbers: tuple[BigNumber, ...]
    command: str
    """It exports the recommended router; empty where none is."""


def first_screen(run: Run, survey: Survey, answered: Answers) -> First:
    """Says what to run and what it is worth; where no router is recommended, what experts do."""
    row = abstract.recommended(run, survey)
    if row is None:
        barred = (abstract.best_trade_sentence(run, survey),) if survey.judged.none_feasible else ()
        sentences = (
            abstract.yardstick_sentence(survey),
            abstract.standing_sentence(survey),
            abstract.run_sentence(run, survey),
        )
        return First((*barred, *sentences)[:3], _of_experts(survey, answered), "")
    return First(
        _sentences(run, survey, row, answered),
        _of_router(run, survey, row, answered),
        abstract.export_line(run, survey),
    )


def _dearest(run: Run, survey: Survey) -> str:
    return run.expert_names[survey.vector.experts.index(max(survey.vector.experts))]


def _sentences(run: Run, survey: Survey, row: pd.Series, answered: Answers) -> tuple[str, ...]:
    role = "Recommended" if row["verdict"] == ABOVE else "The best trade"
    share = percent(row["cost"] / max(survey.vector.experts))
    return (
        f"{role}: router {row['point']}{_settings(run, row)}. On {survey.split} it scores "
        f"{number(row['score'])} at {share} % of the cost of always asking "
        f"{_dearest(run, survey)}.",
        f"A coin between the experts that costs as much scores {number(row['mix'])}; the router "
        f"lies {signed(row['over_mix'])} from it ({signed(row['over_mix_low'])} to "
        f"{signed(row['over_mix_high'])}, above 0 is better): {_VERDICTS[row['verdict']]}.",
        _best_single(run, survey, row, answered),
    )


def _settings(run: Run, row: pd.Series) -> str:
    """Gives a point's settings in brackets; where they are many its name must do."""
    few = len(run.settings) <= MOST_NAMED
    return f" ({str(row['label']).replace('_', ' ')})" if few else ""


def _best_single(run: Run, survey: Survey, row: pd.Series, answered: Answers) -> str:
    """Says what the expert reaches that is best on selection, and for what part of its price."""
    if answered.worth is None:
        return abstract.yardstick_sentence(survey)
    expert = single(survey, run.expert_names.index(answered.worth.expert))
    price = answered.worth.price
    if price is None:
        near = "no router comes near that"
    else:
        who = "this router" if price.point == row["point"] else f"router {price.point}"
        near = f"{who} scores {number(price.score.value)} for {price.of_best:.2f} of that price"
    return (
        f"The best expert alone, {answered.worth.expert}, scores {number(expert['score'])} at cost "
        f"{amount(expert['cost'])}{unit(survey)}; {near}."
    )


def _of_router(
    run: Run, survey: Survey, row: pd.Series, answered: Answers
) -> tuple[BigNumber, ...]:
    over = f"{signed(row['over_mix_low'])} to {signed(row['over_mix_high'])}"
    return (
        BigNumber(number(row["score"]), _score_label(survey), f"95 %: {interval(row, 'score')}"),
        BigNumber(
            f"{amount(row['cost'])}{unit(survey)}",
            "cost per example",
            f"{row['speed_up']:.2f}\N{MULTIPLICATION SIGN} faster than {_dearest(run, survey)} "
            "(projected)",
        ),
        BigNumber(signed(row["over_mix"]), "over a coin", over, row["verdict"]),
        _blind_room(answered),
    )


def _score_label(survey: Survey) -> str:
    """Gives `score: mean of accuracy and F1`."""
    return f"score: {score_words(survey.task).removeprefix('the ')}"


def _blind_room(answered: Answers) -> BigNumber:
    """Gives the front's share of what a router can win that knows no label."""
    label = "of the label-blind room"
    share = None if answered.worth is None else answered.worth.blind_share
    if share is None or share.value != share.value:
        return BigNumber("\N{EN DASH}", label, "there is no room to speak of")
    ends = f"the whole front; {percent(share.low)} to {percent(share.high)} %"
    return BigNumber(f"{percent(share.value)} %", label, ends)


def _of_experts(survey: Survey, answered: Answers) -> tuple[BigNumber, ...]:
    best = best_single(survey)
    score, cost = survey.oracle
    return (
        BigNumber(number(best["score"]), f"best expert: {best['name']}", interval(best, "score")),
        BigNumber(number(survey.majority["score"]), constant_words(survey.task), "without looking"),
        BigNumber(number(score), "oracle", f"at cost {amount(cost)}{unit(survey)}"),
        _blind_room(answered),
    )
