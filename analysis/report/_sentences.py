"""Says in sentences what stands beside the report's tables and pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from analysis.figures.objectives import name_words
from analysis.figures.usage import MOST_POINTS
from analysis.fronts.survey import Survey
from analysis.questions.answers import Answers
from analysis.runs.alternatives import alternatives
from analysis.runs.load import Run
from analysis.words import amount, number, percent

if TYPE_CHECKING:
    import pandas as pd


def use_rows(run: Run, survey: Survey, use: pd.DataFrame) -> dict[str, Any]:
    """Gives what the text under the picture of utilization says."""
    dead = {name: int(sum(name in names for names in use["dead"])) for name in run.expert_names}
    return {
        "points": len(use),
        "paths": len(alternatives(run).experts) > len(run.expert_names),
        "shown": min(len(use), MOST_POINTS),
        "dead": {name: count for name, count in dead.items() if count},
        "collapsed": int(use["collapsed"].sum()),
        "trials": int(use["n"].sum()),
        "load_cv2": [f"{use['load_cv2'].min():.2f}", f"{use['load_cv2'].max():.2f}"],
    }


def cap_sentence(survey: Survey, answered: Answers) -> str:
    """Says whether the caps that were kept on selection are kept when quoted."""
    over = [offer for offer in answered.offers or () if offer.cost > offer.cap]
    if not over:
        return ""
    worst = max(over, key=lambda offer: offer.cost / offer.cap)
    return (
        f"{len(over)} of {len(answered.offers or ())} cost more on {survey.split} than the cap "
        f"that they keep on selection, at worst {amount(worst.cost)} for {amount(worst.cap)} "
        f"({percent(worst.cost / worst.cap - 1)} % more): where the cap is hard, leave that much "
        "room."
    )


def quality_rows(answered: Answers) -> list[tuple[str, str, str]]:
    """Gives the literature's numbers: name, value, what it is."""
    quality = answered.quality
    if quality is None:
        return []
    rows = [
        (
            "AIQ",
            quality.aiq,
            f"mean height of the front's hull; a coin has {number(quality.aiq_coin)}",
        ),
        ("APGR", quality.apgr, "mean gap recovered from the cheapest to the dearest expert"),
        ("CPT(50)", quality.cpt50, "least share of dear calls that recovers half of the gap"),
        ("CPT(80)", quality.cpt80, "the same for four fifths"),
        ("IGD+", quality.igd_plus, "mean distance to the oracle's curve, in shares of the frame"),
        ("epsilon", quality.epsilon, "least shift that would cover the oracle's curve"),
    ]
    return [(name, number(value), text) for name, value, text in rows if value == value]


def seed_sentence(answered: Answers) -> str:
    """Says whether seeds send the same examples to the same experts."""
    if answered.seeds is None:
        return ""
    kappa = answered.seeds["kappa"].dropna()
    if kappa.empty:
        return ""
    return (
        f"Two seeds of a point agree on {percent(answered.seeds['agreement'].mean())} % of the "
        "routes on average, where their shares alone would give "
        f"{percent(answered.seeds['chance'].mean())} % "
        f"(kappa {kappa.min():.2f} to {kappa.max():.2f})."
    )


def moving_sentence(answered: Answers) -> str:
    """Says whether a dearer point sends some examples to cheaper experts."""
    if answered.moving is None or answered.moving.empty:
        return ""
    down = answered.moving["down"]
    return (
        f"From one point of the front to the next {percent(answered.moving['up'].mean())} % of the "
        f"examples move to a dearer expert and {percent(down.mean())} % to a cheaper one (at most "
        f"{percent(down.max())} %)."
    )


def trust_sentence(answered: Answers) -> str:
    """Says from which epoch on a rung may be trusted."""
    if answered.epochs is None:
        return ""
    last = int(answered.epochs["epoch"].max()) + 1
    points = int(answered.epochs["points"].max())
    who = f"the {points} points that trained to the end"
    if answered.trusted is None:
        return (
            f"Among {who} no epoch before the last ({last}) has a rank correlation of .9 with it, "
            f"for score and cost, that lasts (the least is {answered.epochs['rho'].min():.2f}): "
            "early stopping would drop some points that end well."
        )
    return (
        f"Among {who} the order by score and by cost after epoch {answered.trusted} is that after "
        f"epoch {last} (rank correlation .9 or more from there on)."
    )


def calibration_sentence(answered: Answers) -> str:
    """Says how far the experts' confidences can be believed."""
    if answered.calibration is None:
        return ""
    experts = answered.calibration[answered.calibration["kind"] == "expert"]
    if experts.empty:
        before, after = (answered.calibration[name].mean() for name in ("before", "after"))
        return (
            "Expected calibration error of the front's routers, each trial with its own experts, "
            f"before and after temperatures fitted on selection: {before:.3f} to {after:.3f}."
        )
    texts = ", ".join(
        f"{row['label']} {row['before']:.3f} to {row['after']:.3f} (T = {row['temperature']:.2f})"
        for row in experts.to_dict("records")
    )
    return (
        "Expected calibration error of the experts' confidences, before and after a temperature "
        f"fitted on selection: {texts}."
    )


def objective_words(objectives: Mapping[str, str]) -> str:
    """Gives `f1 (max), cost mpc seconds as if (min)`."""
    return ", ".join(f"{name_words(name)} ({way})" for name, way in objectives.items())
