"""Pictures of a run as Vega-Altair charts, with the yardsticks drawn.

Every function gives a chart that shows itself in a notebook; `width="container"` lets a page decide
the width. Data are put inline, rounded, so a chart is complete in itself.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from analysis.fronts import Survey
from analysis.load import Run
from analysis.outcomes import setting_text
from analysis.palette import (
    BEST,
    COIN,
    EXPERT,
    FRONT,
    INK,
    MUTED,
    POINT,
    expert_colours,
    inline,
    kind_colour,
    short_label,
    styled,
)
from analysis.words import amount, number, percent, signed

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

Width = int | str

MOST_POINTS: Final = 40
"""Points shown by a picture with a row a point: the front first."""

_MOST_CURVES: Final = 80


def front_figure(
    run: Run, survey: Survey, *, width: Width = 620, height: int = 380
) -> alt.LayerChart:
    """Score over cost: the front, all other points, single experts, random mix, oracle curve.

    Points are quoted on the survey's split; bars are 95 % intervals on both axes.
    """
    import altair as alt

    rows = [_point_record(run, survey, row) for _, row in survey.points.iterrows()]
    few = alt.Axis(tickCount=8)
    x = alt.X("cost:Q", title=_cost_title(survey), scale=_cost_scale(survey, rows), axis=few)
    y = alt.Y("score:Q", title=_score_title(survey), scale=_score_scale(survey, rows), axis=few)
    layers = [
        *_curves(survey, x, y),
        *_bars(survey, rows, x, y),
        *_dots(run, rows, x, y),
        *_experts(survey, x, y),
    ]
    chart = alt.layer(*layers).properties(width=width, height=height)
    return styled(chart)


def utilization_figure(
    run: Run, survey: Survey, table: pd.DataFrame, *, width: Width = 620
) -> alt.LayerChart:
    """Share of the examples by expert, a bar a point, cheapest point first; stars mark the front.

    `table` is that of `utilization.utilization` on the same split.
    """
    import altair as alt

    joined = survey.points.merge(table.drop(columns=["label", "n", "share"]), on="point")
    front_first = joined.sort_values(["on_front", "cost"], ascending=[False, True])
    shown = front_first.head(MOST_POINTS).sort_values(["cost", "score"])
    names = list(run.expert_names)
    rows, order = [], []
    for _, row in shown.iterrows():
        star = "\N{BLACK STAR} " if row["on_front"] else ""
        place = f"{star}{short_label(row, run.settings)}"
        order.append(place)
        for k, share in enumerate(row["share"]):
            rows.append(
                {
                    "place": place,
                    "expert": names[k],
                    "rank": k,
                    "share": round(float(share), 4),
                    "cost": amount(row["cost"]),
                    "score": number(row["score"]),
                    "load CV\N{SUPERSCRIPT TWO}": round(float(row["load_cv2"]), 3),
                    "entropy of shares": round(float(row["share_entropy"]), 3),
                    "dead": ", ".join(row["dead"]) or "none",
                }
            )
    extra = ["cost", "score", "load CV\N{SUPERSCRIPT TWO}", "entropy of shares", "dead"]
    colours = alt.Scale(domain=names, range=expert_colours(len(names)))
    bars = (
        alt.Chart(inline(rows))
        .mark_bar(height={"band": 0.74})
        .encode(
            x=alt.X(
                "share:Q",
                title=f"share of {survey.split}",
                axis=alt.Axis(format="%", tickCount=5),
                scale=alt.Scale(domain=[0, 1]),
            ),
            y=alt.Y("place:N", sort=order, title=None, axis=alt.Axis(labelLimit=190)),
            color=alt.Color(
                "expert:N", scale=colours, sort=names, title=None, legend=alt.Legend(orient="top")
            ),
            order=alt.Order("rank:Q"),
            tooltip=[
                alt.Tooltip("place:N", title="point"),
                "expert:N",
                alt.Tooltip("share:Q", format=".1%"),
                *(alt.Tooltip(f"{name}:N") for name in extra),
            ],
        )
    )
    return styled(alt.layer(bars).properties(width=width, height={"step": 24}))


def training_figure(
    run: Run, survey: Survey, measure: str, *, width: Width = 300, height: int = 220
) -> alt.LayerChart:
    """Mean of a measure (`score` or `cost`) on selection over epochs, a line a point."""
    import altair as alt

    rows = _curve_records(run, survey, measure)
    ends = {int(row["epoch"]) for row in rows}
    ticks = sorted(ends) if len(ends) <= 10 else None
    base = alt.Chart(inline(rows)).encode(
        x=alt.X(
            "epoch:Q",
            title="epoch",
            axis=alt.Axis(values=ticks, format="d", tickMinStep=1, grid=False)
            if ticks
            else alt.Axis(format="d", tickMinStep=1, grid=False),
            scale=alt.Scale(domain=[min(ends, default=1), max(ends, default=1)], nice=False),
        ),
        y=alt.Y("value:Q", title=f"{measure} on selection", scale=alt.Scale(zero=False)),
        detail="point:N",
        color=kind_colour([FRONT, POINT], legend=alt.Legend(orient="top", title=None)),
        opacity=alt.condition("datum.kind == 'front'", alt.value(1.0), alt.value(0.55)),
        tooltip=[
            alt.Tooltip("label:N", title="point"),
            "epoch:Q",
            alt.Tooltip("value:Q", title=measure, format=".3f"),
            alt.Tooltip("n:Q", title="replicates"),
        ],
    )
    layers = [base.mark_line(strokeWidth=1.6), base.mark_point(filled=True, size=28)]
    return styled(alt.layer(*layers).properties(width=width, height=height))


def _curve_records(run: Run, survey: Survey, measure: str) -> list[dict[str, Any]]:
    """Means over the replicates that reported an epoch, for the points of the survey."""
    ordered = survey.points.sort_values(["on_front", "cost"], ascending=[False, True])
    shown = ordered.head(_MOST_CURVES)
    trials = run.trials[["key", "point"]]
    reports = run.reports.loc[run.reports["split"] == "selection", ["key", "epoch", measure]]
    joined = reports.merge(trials, on="key")
    means = joined.groupby(["point", "epoch"])[measure].agg(["mean", "count"]).reset_index()
    named = means.merge(shown, on="point").sort_values(["on_front", "point", "epoch"])
    return [
        {
            "point": str(row["point"]),
            "label": short_label(row, run.settings),
            "kind": FRONT if row["on_front"] else POINT,
            "epoch": int(row["epoch"]),
            "value": round(float(row["mean"]), 5),
            "n": int(row["count"]),
        }
        for _, row in named.iterrows()
        if math.isfinite(row["mean"])
    ]


def _point_record(run: Run, survey: Survey, row: Any) -> dict[str, Any]:
    shares = zip(run.expert_names, row["share"], strict=True)
    numbers = {
        name: round(float(row[name]), 5)
        for base in ("score", "cost")
        for name in (base, f"{base}_low", f"{base}_high")
    }
    settings = {name: setting_text(row[name]) for name in run.settings}
    over = f"{signed(row['over_mix_low'])} to {signed(row['over_mix_high'])}"
    return {
        **numbers,
        "kind": FRONT if row["on_front"] else POINT,
        **{f"s_{name}": value for name, value in settings.items()},
        "seeds": ", ".join(map(str, row["seeds"])),
        "n": f"{survey.examples} examples x {row['n']} seeds",
        "score interval": (
            f"{number(row['score'])} ({number(row['score_low'])} to {number(row['score_high'])})"
        ),
        "cost interval": (
            f"{amount(row['cost'])} ({amount(row['cost_low'])} to {amount(row['cost_high'])})"
        ),
        "over the mix": f"{signed(row['over_mix'])} ({over}): {row['verdict']}",
        "shares": ", ".join(f"{name} {percent(share)} %" for name, share in shares),
    }


def _cost_title(survey: Survey) -> str:
    unit = survey.vector.unit
    return f"cost per example ({unit}, {survey.vector.name}), router paid"


def _score_title(survey: Survey) -> str:
    return f"score on {survey.split}"


def _cost_scale(survey: Survey, rows: list[dict[str, Any]]) -> alt.Scale:
    import altair as alt

    ends = [*survey.mix.costs[[0, -1]], *survey.oracle_curve.costs[[0, -1]]]
    ends += [row["cost_low"] for row in rows] + [row["cost_high"] for row in rows]
    low, high = float(min(ends)), float(max(ends))
    pad = 0.05 * (high - low) or 1.0
    return alt.Scale(domain=[max(0.0, low - pad), high + pad], nice=False, zero=False)


def _score_scale(survey: Survey, rows: list[dict[str, Any]]) -> alt.Scale:
    import altair as alt

    ends = [*survey.singles["score"], *survey.oracle_curve.scores]
    ends += [row["score_low"] for row in rows] + [row["score_high"] for row in rows]
    low, high = float(min(ends)), float(max(ends))
    if _majority_near(survey, low, high):
        low = min(low, survey.majority["score"])
    pad = 0.06 * (high - low) or 0.05
    return alt.Scale(domain=[low - pad, high + pad / 2], nice=False, zero=False)


def _majority_near(survey: Survey, low: float, high: float) -> bool:
    """A majority class far below everything would squeeze the picture; the text names it then."""
    return survey.majority["score"] >= low - 0.35 * (high - low)


def _curves(survey: Survey, x: alt.X, y: alt.Y) -> list[alt.Chart]:
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
                color=kind_colour(),
                order="cost:Q",
                tooltip=[
                    alt.Tooltip("kind:N", title="yardstick"),
                    alt.Tooltip("cost:Q", format=".3~g"),
                    alt.Tooltip("score:Q", format=".3f"),
                ],
            )
        )
        layers.append(chart)
    score = survey.majority["score"]
    if _majority_near(survey, float(survey.singles["score"].min()), float(survey.oracle[0])):
        rule = alt.Chart(inline([{"score": round(score, 5), "text": "majority class"}])).encode(y=y)
        layers.append(rule.mark_rule(stroke=MUTED, strokeDash=[1, 3], strokeWidth=1.2))
        label = rule.mark_text(align="right", dy=-7, dx=-4, color=MUTED, fontSize=11)
        layers.append(label.encode(x=alt.value("width"), text="text:N"))
    return layers


def _bars(survey: Survey, rows: list[dict[str, Any]], x: alt.X, y: alt.Y) -> list[alt.Chart]:
    import altair as alt

    base = alt.Chart(inline(rows)).encode(
        color=kind_colour(),
        opacity=alt.condition("datum.kind == 'front'", alt.value(0.75), alt.value(0.3)),
    )
    upright = base.mark_rule(strokeWidth=1.3).encode(
        x=x, y=alt.Y("score_low:Q", title=_score_title(survey)), y2="score_high:Q"
    )
    across = base.mark_rule(strokeWidth=1.3).encode(
        y=y, x=alt.X("cost_low:Q", title=_cost_title(survey)), x2="cost_high:Q"
    )
    return [upright, across]


def _dots(run: Run, rows: list[dict[str, Any]], x: alt.X, y: alt.Y) -> list[alt.Chart]:
    import altair as alt

    tooltip = [
        *(alt.Tooltip(f"s_{name}:N", title=name) for name in run.settings),
        alt.Tooltip("seeds:N"),
        alt.Tooltip("n:N"),
        alt.Tooltip("score interval:N", title="score"),
        alt.Tooltip("cost interval:N", title="cost"),
        alt.Tooltip("over the mix:N"),
        alt.Tooltip("shares:N"),
    ]
    layers = []
    for kind, size, opacity in ((POINT, 48, 0.85), (FRONT, 95, 1.0)):
        mine = sorted((row for row in rows if row["kind"] == kind), key=lambda row: row["cost"])
        base = alt.Chart(inline(mine)).encode(x=x, y=y, color=kind_colour(), tooltip=tooltip)
        if kind == FRONT:
            layers.append(base.mark_line(strokeWidth=1.2, opacity=0.6).encode(order="cost:Q"))
        layers.append(base.mark_circle(size=size, opacity=opacity))
    return layers


def _experts(survey: Survey, x: alt.X, y: alt.Y) -> list[alt.Chart]:
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
        alt.Tooltip("cost:Q", format=".3~g"),
        alt.Tooltip("score:Q", format=".3f"),
        alt.Tooltip("interval:N", title="95 % interval"),
    ]
    marks = (
        alt.Chart(inline(rows))
        .mark_point(shape="diamond", size=190, filled=True, opacity=1, stroke="white")
        .encode(x=x, y=y, color=kind_colour(), tooltip=tooltip)
    )
    layers = [marks]
    for mine, align, shift in ((rows[:-1], "left", 8), (rows[-1:], "right", 6)):
        text = alt.Chart(inline(mine)).mark_text(
            align=align, dx=shift, dy=17, fontSize=12, fontWeight=600, color=INK
        )
        layers.append(text.encode(x=x, y=y, text="name:N"))
    return layers
