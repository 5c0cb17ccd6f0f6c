"""Draws the experts' use, and training: a row or a line is a point."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from analysis.figures.style import (
    EXPERTS,
    FRONT,
    MUTED,
    POINT,
    expert_colours,
    inline,
    kind_colour,
    kind_shape,
    score_scale,
    short_label,
    styled,
)
from analysis.fronts.survey import Survey
from analysis.runs.alternatives import alternatives
from analysis.runs.load import Run
from analysis.words import amount, low_words, number
from mpc_router.run_names import SELECTION

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

_Width = int | str

MOST_POINTS: Final = 40
"""Points shown by a picture with a row a point: the front first."""

_MOST_CURVES: Final = 80


def utilization_figure(
    run: Run, survey: Survey, table: pd.DataFrame, *, width: _Width = 620
) -> alt.LayerChart:
    """Draws shares of examples by route, a bar a point, cheapest first; stars mark the front.

    `table` is that of `questions.utilization` on the same split.
    """
    import altair as alt

    shown = _shown(survey, table)
    names, ranks = alternatives(run).names, _ranks(run)
    ordered = [names[place] for place in np.argsort(ranks)]
    rows, order = [], []
    for _, row in shown.iterrows():
        place = _place(run, row)
        order.append(place)
        for k, share in enumerate(row["share"]):
            rows.append(
                {
                    "place": place,
                    "point": str(row["point"]),
                    "expert": names[k],
                    "rank": ranks[k],
                    "share": round(float(share), 4),
                    "cost": amount(row["cost"]),
                    "score": number(row["score"]),
                    "load CV\N{SUPERSCRIPT TWO}": round(float(row["load_cv2"]), 3),
                    "entropy of shares": round(float(row["share_entropy"]), 3),
                    "dead": ", ".join(row["dead"]) or "none",
                }
            )
    extra = ["cost", "score", "load CV\N{SUPERSCRIPT TWO}", "entropy of shares", "dead"]
    colours = alt.Scale(domain=ordered, range=_shades(len(ordered)))
    edges = {"stroke": "white", "strokeWidth": 1} if len(ordered) > len(EXPERTS) else {}
    bars = (
        alt.Chart(inline(rows))
        .mark_bar(height={"band": 0.74}, **edges)
        .encode(
            x=alt.X(
                "share:Q",
                title=f"share of the examples of {survey.split}",
                axis=alt.Axis(format="%", tickCount=5),
                scale=alt.Scale(domain=[0, 1]),
            ),
            y=alt.Y("place:N", sort=order, title=None, axis=alt.Axis(labelLimit=190)),
            color=alt.Color(
                "expert:N",
                scale=colours,
                sort=ordered,
                title=None,
                legend=alt.Legend(orient="top", columns=5 if len(ordered) > 8 else alt.Undefined),
            ),
            order=alt.Order("rank:Q"),
            tooltip=[
                alt.Tooltip("point:N", title="router"),
                alt.Tooltip("place:N", title="settings"),
                alt.Tooltip("expert:N"),
                alt.Tooltip("share:Q", format=".1%"),
                *(alt.Tooltip(f"{name}:N") for name in extra),
            ],
        )
    )
    return styled(alt.layer(bars, width=width, height=24 * len(order)))


def runs_figure(
    run: Run, survey: Survey, table: pd.DataFrame, *, width: _Width = 620
) -> alt.LayerChart | None:
    """Draws the share of examples that each expert runs for, a row a point as for their routes.

    None where every route is one expert: then it says what `utilization_figure` does.
    """
    import altair as alt

    if len(alternatives(run).experts) == len(run.expert_names):
        return None
    names, rows, order = list(run.expert_names), [], []
    for _, row in _shown(survey, table).iterrows():
        order.append(_place(run, row))
        rows += [
            {"place": order[-1], "point": str(row["point"]), "expert": name, "runs": round(runs, 4)}
            for name, runs in zip(names, row["runs"], strict=True)
        ]
    base = alt.Chart(inline(rows)).encode(
        x=alt.X(
            "runs:Q",
            title=f"share of the examples of {survey.split} that an expert runs for",
            axis=alt.Axis(format="%", tickCount=5),
            scale=alt.Scale(domain=[0, 1]),
        ),
        y=alt.Y("place:N", sort=order, title=None, axis=alt.Axis(labelLimit=190)),
        color=alt.Color(
            "expert:N",
            scale=alt.Scale(domain=names, range=expert_colours(len(names))),
            sort=names,
            title=None,
            legend=alt.Legend(orient="top"),
        ),
        tooltip=[
            alt.Tooltip("point:N", title="router"),
            alt.Tooltip("place:N", title="settings"),
            alt.Tooltip("expert:N"),
            alt.Tooltip("runs:Q", format=".1%"),
        ],
    )
    dots = base.mark_point(filled=True, size=110, opacity=1, stroke=MUTED, strokeWidth=0.8)
    return styled(alt.layer(dots, width=width, height=24 * len(order)))


def route_colours(run: Run) -> list[str]:
    """Gives the colour of each alternative of a run, light to dark as cheap to dear."""
    ranks = _ranks(run)
    colours = _shades(len(ranks))
    return [colours[rank] for rank in ranks]


def _shades(count: int) -> list[str]:
    """Gives so many colours, light to dark: those of experts, and more between them if needed."""
    if count <= len(EXPERTS):
        return expert_colours(count)
    stops = np.array([[int(one[at : at + 2], 16) for at in (1, 3, 5)] for one in EXPERTS])
    places = np.linspace(0, len(EXPERTS) - 1, count)
    mixed = [np.interp(places, range(len(EXPERTS)), stops[:, part]) for part in range(3)]
    return [
        "#" + "".join(f"{round(value):02x}" for value in shade)
        for shade in zip(*mixed, strict=True)
    ]


def _ranks(run: Run) -> list[int]:
    """Ranks the alternatives of a run by what they cost; experts alone stay as they are named."""
    choices = alternatives(run)
    if len(choices.experts) == choices.count:
        return list(range(choices.count))
    order = np.argsort(choices.price(run.cost_vector()).routed, kind="stable")
    ranks = np.empty(len(order), int)
    ranks[order] = np.arange(len(order))
    return [int(rank) for rank in ranks]


def _shown(survey: Survey, table: pd.DataFrame) -> pd.DataFrame:
    """Gives the points that a picture has room for, the front first, cheapest first."""
    others = [name for name in table.columns if name not in survey.points or name == "point"]
    joined = survey.points.merge(table[others], on="point")
    front_first = joined.sort_values(["on_front", "cost"], ascending=[False, True])
    shown: pd.DataFrame = front_first.head(MOST_POINTS).sort_values(["cost", "score"])
    return shown


def _place(run: Run, row: Any) -> str:
    """Names the row of a point; a star marks the front."""
    star = "\N{BLACK STAR} " if row["on_front"] else ""
    return f"{star}{short_label(row, run.settings)}"


def training_figure(
    run: Run, survey: Survey, measure: str, *, width: _Width = 300, height: int = 220
) -> alt.LayerChart:
    """Draws the mean of a measure (`score` or `cost`) on selection over epochs, by point."""
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
        y=alt.Y(
            "value:Q",
            title=f"{measure} on selection{low_words(run.task) if measure == 'score' else ''}",
            scale=score_scale(run.task, zero=False)
            if measure == "score"
            else alt.Scale(zero=False),
        ),
        detail=alt.Detail("point:N"),
        color=kind_colour([FRONT, POINT]),
        opacity=alt.condition("datum.kind == 'front'", alt.value(1.0), alt.value(0.55)),
        tooltip=[
            alt.Tooltip("point:N", title="router"),
            alt.Tooltip("label:N", title="settings"),
            alt.Tooltip("epoch:Q"),
            alt.Tooltip("value:Q", title=measure, format=".4~r"),
            alt.Tooltip("n:Q", title="replicates"),
        ],
    )
    dots = base.mark_point(filled=True, size=28).encode(shape=kind_shape([FRONT, POINT]))
    layers = [base.mark_line(strokeWidth=1.6), dots]
    return styled(alt.layer(*layers, width=width, height=height))


def _curve_records(run: Run, survey: Survey, measure: str) -> list[dict[str, Any]]:
    """Averages over the replicates that reported an epoch, for the survey's points."""
    ordered = survey.points.sort_values(["on_front", "cost"], ascending=[False, True])
    shown = ordered.head(_MOST_CURVES)
    trials = run.trials[["key", "point"]]
    reports = run.reports.loc[run.reports["split"] == SELECTION, ["key", "epoch", measure]]
    joined = reports.merge(trials, on="key")
    means = joined.groupby(["point", "epoch"])[measure].agg(["mean", "count"]).reset_index()
    named = means.merge(shown, on="point").sort_values(["on_front", "point", "epoch"])
    return [
        {
            "point": str(row["point"]),
            "label": short_label(row, run.settings),
            "kind": FRONT if row["on_front"] else POINT,
            "epoch": int(row["epoch"]),
            "value": float(f"{row['mean']:.5g}"),
            "n": int(row["count"]),
        }
        for _, row in named.iterrows()
        if math.isfinite(row["mean"])
    ]
