"""Puts in words what the experts alone say: nothing to route, or splits that are not alike."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from analysis.fronts.survey import Survey, unit
from analysis.questions.verdicts import LEVEL, Verdicts, verdicts
from analysis.runs.load import Run
from analysis.words import amount, constant_words, number, percent
from mpc_router.run_names import SELECTION
from mpc_router.tasks import merit


def verdict_texts(run: Run, survey: Survey) -> list[str]:
    """Says what to know before any router is looked at, each with the next step."""
    judged = verdicts(run, survey)
    return [text for text in (_nothing(survey, judged), _unlike(run, survey, judged)) if text]


def _nothing(survey: Survey, judged: Verdicts) -> str:
    if judged.unlearned:
        best = best_single(survey)
        blind = constant_words(survey.task)
        return (
            f"Nothing to route: no expert beats the {blind} by more than chance (the best, "
            f"{best['name']}, scores {number(best['score'])}, {number(best['score_low'])} to "
            f"{number(best['score_high'])}; the {blind} {number(survey.majority['score'])}). "
            "A router chooses among answers and cannot make them right. Next: train the experts "
            "longer or on more examples, and look whether labels and texts belong together."
        )
    if judged.enough is None:
        return ""
    expert = single(survey, judged.enough)
    score, cost = survey.oracle
    return (
        f"Nothing to route: even the oracle ({number(score)} at {amount(cost)}{unit(survey)}) is "
        f"no better than {expert['name']} alone ({number(expert['score'])} at "
        f"{amount(expert['cost'])}{unit(survey)}) by more than chance. Next: run "
        f"{expert['name']} alone, or take a pool whose experts err on different examples."
    )


def best_single(survey: Survey) -> dict[Hashable, Any]:
    """Gives the row of the single expert that scores best on the quoted split."""
    rows = survey.singles.to_dict("records")
    return max(rows, key=lambda row: merit(survey.task, float(row["score"])))


def single(survey: Survey, expert: int) -> dict[Hashable, Any]:
    """Gives the row of a single expert by its number."""
    return next(row for row in survey.singles.to_dict("records") if row["expert"] == expert)


def _unlike(run: Run, survey: Survey, judged: Verdicts) -> str:
    if not judged.unlike:
        return ""
    shown = ", ".join(
        f"{run.expert_names[k]} {number(judged.selection_score[k])} and {number(judged.score[k])}"
        for k in judged.unlike
    )
    p = min(judged.p[k] for k in judged.unlike)
    return (
        f"Selection does not look like {survey.split}: scores of experts differ between them by "
        f"more than chance ({shown}; p {'< 0.001' if p < 0.001 else f'= {p:.3f}'}, tested at "
        f"{percent(LEVEL)} % over all experts). What was chosen on {SELECTION} may not be the best "
        f"on {survey.split}. Next: draw {SELECTION} from data like {survey.split}."
    )
