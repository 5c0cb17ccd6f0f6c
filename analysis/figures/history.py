"""Draws how a run came by its front: what was spent, and when rankings could be trusted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from analysis.figures.style import ACCENT, MIX, ORACLE, inline, score_scale, styled
from analysis.words import low_words

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

    from analysis.fronts.survey import Survey
    from analysis.stats.indicators import Surface

_Width = int | str

_MOST_STEPS = 1000
"""Rows above which those that raise nothing are left out of the picture."""


def history_figure(
    table: pd.DataFrame, *, over: str = "epochs", width: _Width = 300, height: int = 220
) -> alt.LayerChart:
    """Draws hypervolume over the `trials`, `epochs` or `hours` spent; a step is a point.

    The table is that of `history`.
    """
    import altair as alt

    rows = [
        {
            over: round(float(row[over]), 5),
            "hypervolume": round(float(row["hypervolume"]), 6),
            "point": row["point"],
        }
        for row in _steps(table).to_dict("records")
    ]
    titles = {"trials": "trials", "epochs": "epochs of trials", "hours": "hours of packs"}
    base = alt.Chart(inline(rows)).encode(
        x=alt.X(f"{over}:Q", title=titles[over], axis=alt.Axis(tickCount=5, grid=False)),
        y=alt.Y("hypervolume:Q", title="hypervolume on selection"),
        tooltip=[
            alt.Tooltip("point:N"),
            alt.Tooltip(f"{over}:Q", title=titles[over], format=".4~r"),
            alt.Tooltip("hypervolume:Q", format=".4f"),
        ],
    )
    line = base.mark_line(interpolate="step-after", color=ACCENT, strokeWidth=1.8)
    layers = [line, base.mark_point(filled=True, size=26, color=ACCENT)]
    return styled(alt.layer(*layers, width=width, height=height))


def _steps(table: pd.DataFrame) -> pd.DataFrame:
    """Leaves out of many rows those that raise nothing: the line through them stays as it is."""
    if len(table) <= _MOST_STEPS:
        return table
    volume = table["hypervolume"]
    kept = volume.diff().fillna(1) != 0
    kept.iloc[-1] = True
    return table[kept]


def agreement_figure(
    table: pd.DataFrame, *, width: _Width = 300, height: int = 220
) -> alt.LayerChart:
    """Draws rank correlations of points after each epoch with the last, with intervals."""
    import altair as alt

    rows = [
        {name: _plain(row[name]) for name in ("epoch", "objective", "rho", "low", "high", "points")}
        for row in table.to_dict("records")
        if row["rho"] == row["rho"]
    ]
    colour = alt.Color(
        "objective:N",
        scale=alt.Scale(domain=["score", "cost"], range=[ACCENT, ORACLE]),
        legend=alt.Legend(orient="top", title=None),
    )
    base = alt.Chart(inline(rows)).encode(
        x=alt.X("epoch:O", title="epoch", axis=alt.Axis(labelAngle=0)),
        color=colour,
        tooltip=[
            alt.Tooltip("objective:N"),
            alt.Tooltip("epoch:O"),
            alt.Tooltip("rho:Q", title="rank correlation", format=".2f"),
            alt.Tooltip("low:Q", format=".2f"),
            alt.Tooltip("high:Q", format=".2f"),
            alt.Tooltip("points:Q"),
        ],
    )
    title = "rank correlation with the last epoch"
    y = alt.Y("rho:Q", title=title)
    layers = [
        base.mark_rule(opacity=0.5).encode(y=alt.Y("low:Q", title=title), y2=alt.Y2("high:Q")),
        base.mark_line(strokeWidth=1.6).encode(y=y),
        base.mark_point(filled=True, size=36).encode(y=y),
    ]
    return styled(alt.layer(*layers, width=width, height=height))


def attainment_figure(
    surfaces: tuple[Surface, ...], survey: Survey, *, width: _Width = 620, height: int = 260
) -> alt.LayerChart:
    """Draws what a quarter, half and three quarters of the seeds attain, and the coin."""
    import altair as alt

    rows: list[dict[str, Any]] = []
    for surface in surfaces:
        kind = f"{surface.share:.0%} of the seeds"
        for cost, score in zip(surface.costs, surface.scores, strict=True):
            rows.append({"kind": kind, "cost": float(cost), "score": float(score)})
    coin = [
        {"kind": "random mix", "cost": float(cost), "score": float(score)}
        for cost, score in zip(survey.mix.costs, survey.mix.scores[:, 0], strict=True)
    ]
    kinds = [*dict.fromkeys(row["kind"] for row in rows), "random mix"]
    colour = alt.Color(
        "kind:N",
        scale=alt.Scale(domain=kinds, range=["#7c2d12", ACCENT, "#eab08f", MIX][-len(kinds) :]),
        legend=alt.Legend(orient="top", title=None, columns=2),
    )
    tooltip = [
        alt.Tooltip("kind:N"),
        alt.Tooltip("cost:Q", format=".4~r"),
        alt.Tooltip("score:Q", format=".3f"),
    ]
    unit = survey.vector.unit
    x = alt.X("cost:Q", title=f"cost per example ({unit})", scale=alt.Scale(zero=False, nice=False))
    title = f"score on {survey.split}{low_words(survey.task)}"
    y = alt.Y("score:Q", title=title, scale=score_scale(survey.task, zero=False))
    steps = (
        alt.Chart(inline(rows))
        .mark_line(interpolate="step-after", strokeWidth=1.8)
        .encode(x=x, y=y, color=colour, order=alt.Order("cost:Q"), tooltip=tooltip)
    )
    line = (
        alt.Chart(inline(coin))
        .mark_line(strokeWidth=1.4, strokeDash=[4, 3])
        .encode(x=x, y=y, color=colour, order=alt.Order("cost:Q"), tooltip=tooltip)
    )
    return styled(alt.layer(line, steps, width=width, height=height))


def _plain(value: Any) -> Any:
    return round(float(value), 4) if isinstance(value, float) else value
