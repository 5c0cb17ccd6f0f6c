"""Draws what routers are held against: the coin's and the oracle's curve, experts, label-blind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from analysis.figures.style import BEST, BLIND, COIN, EXPERT, INK, MUTED, inline
from analysis.fronts.survey import Survey
from analysis.words import constant_words, number
from mpc_router.tasks import merit

if TYPE_CHECKING:
    import altair as alt

    from analysis.questions.answers import Answers


def ends(survey: Survey, scores: Sequence[float]) -> tuple[float, float]:
    """Gives the merit of the worst and of the best score."""
    merits = [merit(survey.task, float(score)) for score in scores]
    return min(merits), max(merits)


def majority_near(survey: Survey, worst: float, best: float) -> bool:
    """Says whether a majority class is near these merits; one far below squeezes the picture.

    The text names it then.
    """
    return merit(survey.task, survey.majority["score"]) >= worst - 0.35 * (best - worst)


def curves(survey: Survey, x: alt.X, y: alt.Y, colour: alt.Color) -> list[alt.Chart]:
    """Draws the curves of coin and oracle, and the majority class where it is near."""
    import altair as alt

    coin = zip(survey.mix.costs, survey.mix.scores[:, 0], strict=True)
    best = zip(survey.oracle_curve.costs, survey.oracle_curve.scores, strict=True)
    layers = []
    for kind, curve, dash in ((BEST, best, [5, 3]), (COIN, coin, [1, 0])):
        rows = [
            {"kind": kind, "cost": round(float(c), 5), "score": round(float(s), 5)}
            for c, s in curve
        ]
        chart = (
            alt.Chart(inline(rows))
            .mark_line(strokeWidth=1.6, strokeDash=dash)
            .encode(
                x=x,
                y=y,
                color=colour,
                order=alt.Order("cost:Q"),
                tooltip=[
                    alt.Tooltip("kind:N", title="yardstick"),
                    alt.Tooltip("cost:Q", format=".4~r"),
                    alt.Tooltip("score:Q", format=".3f"),
                ],
            )
        )
        layers.append(chart)
    score = survey.majority["score"]
    worst, _ = ends(survey, survey.singles["score"].tolist())
    if majority_near(survey, worst, merit(survey.task, float(survey.oracle[0]))):
        words = constant_words(survey.task)
        rule = alt.Chart(inline([{"score": round(score, 5), "text": words}])).encode(y=y)
        layers.append(rule.mark_rule(stroke=MUTED, strokeDash=[1, 3], strokeWidth=1.2))
        label = rule.mark_text(align="right", dy=-7, dx=-4, color=MUTED, fontSize=11)
        layers.append(label.encode(x=alt.XValue("width"), text=alt.Text("text:N")))
    return layers


def blind(
    answered: Answers | None, x: alt.X, y: alt.Y, colour: alt.Color, shape: alt.Shape
) -> list[alt.Chart]:
    """Draws the label-blind yardstick as a line between its two prices.

    The lower is paid where looking is free, the higher where the cheapest expert always runs first.
    """
    import altair as alt

    if answered is None or answered.worth is None:
        return []
    worth = answered.worth
    rows = [
        {
            "kind": BLIND,
            "what": what,
            "cost": round(price.value, 5),
            "score": round(worth.score.value, 5),
        }
        for what, price in (
            ("looking is free", worth.free),
            ("the cheapest expert always runs first", worth.paid),
        )
    ]
    chart = alt.Chart(inline(rows)).encode(
        x=x,
        y=y,
        color=colour,
        tooltip=[
            alt.Tooltip("kind:N", title="yardstick"),
            alt.Tooltip("what:N", title="price"),
            alt.Tooltip("cost:Q", format=".4~r"),
            alt.Tooltip("score:Q", format=".3f"),
        ],
    )
    return [
        chart.mark_line(strokeWidth=1.6, strokeDash=[2, 2], clip=True),
        chart.mark_point(filled=True, size=70, opacity=1, clip=True).encode(shape=shape),
    ]


def experts(
    survey: Survey, x: alt.X, y: alt.Y, colour: alt.Color, shape: alt.Shape
) -> list[alt.Chart]:
    """Draws single experts with their names."""
    import altair as alt

    rows = [
        {
            "cost": float(row["cost"]),
            "score": round(float(row["score"]), 5),
            "kind": EXPERT,
            "name": str(row["name"]),
            "interval": f"{number(row['score_low'])} to {number(row['score_high'])}",
        }
        for _, row in survey.singles.sort_values("cost").iterrows()
    ]
    tooltip = [
        alt.Tooltip("name:N", title="expert"),
        alt.Tooltip("cost:Q", format=".4~r"),
        alt.Tooltip("score:Q", format=".3f"),
        alt.Tooltip("interval:N", title="95 % interval"),
    ]
    marks = (
        alt.Chart(inline(rows))
        .mark_point(size=190, filled=True, opacity=1, stroke="white")
        .encode(x=x, y=y, color=colour, shape=shape, tooltip=tooltip)
    )
    layers = [marks]
    for named, align, shift in ((rows[:-1], "left", 8), (rows[-1:], "right", 6)):
        text = alt.Chart(inline(named)).mark_text(
            align=align, dx=shift, dy=17, fontSize=12, fontWeight=600, color=INK
        )
        layers.append(text.encode(x=x, y=y, text=alt.Text("name:N")))
    return layers
