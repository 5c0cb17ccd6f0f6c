"""Draws what each setting does to score and cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from analysis.figures.style import ACCENT, INK, ORACLE, OTHER, inline, styled
from analysis.words import LARGER, setting_text

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

    from analysis.runs.load import Run

_Width = int | str

_ROOM_FOR_P: Final = 1.25
"""End of the axis of shares, with room for the p of a setting that takes all."""

_MOST_DOTS: Final = 1000
"""Points that one picture of a setting shows."""

_MOST_PLACES: Final = 8
"""Numbers of so few values have a place each: 0, 0.001, 0.01 and 0.1 would be one blob."""


def importance_figure(table: pd.DataFrame, *, width: _Width = 620) -> alt.LayerChart:
    """Draws shares of importance by setting and objective, with intervals and p.

    The table is that of `importance`.

    Full bars are what chance seldom makes as long (p under .05), pale ones what it may well do.
    """
    import altair as alt

    names = ("objective", "parameter", "importance", "low", "high", "p")
    rows = [
        {name: _plain(row[name]) for name in names} | {"says": _p(row["p"])}
        for row in table.to_dict("records")
        if np.isfinite(row["importance"])
    ]
    order = (
        table.groupby("parameter")["importance"].sum().sort_values(ascending=False).index.tolist()
    )
    colour = alt.Color(
        "objective:N",
        scale=alt.Scale(domain=["score", "cost"], range=[ACCENT, ORACLE]),
        legend=alt.Legend(orient="top", title=None),
    )
    y = alt.Y("parameter:N", sort=order, title=None)
    base = alt.Chart(inline(rows)).encode(
        y=y,
        yOffset=alt.YOffset("objective:N", sort=["score", "cost"]),
        color=colour,
        tooltip=[
            alt.Tooltip("parameter:N"),
            alt.Tooltip("objective:N"),
            alt.Tooltip("importance:Q", format=".0%"),
            alt.Tooltip("low:Q", format=".0%"),
            alt.Tooltip("high:Q", format=".0%"),
            alt.Tooltip("p:Q", format=".2~g"),
        ],
    )
    title = "share of the importance"
    axis = alt.Axis(format="%", values=[0, 0.25, 0.5, 0.75, 1])
    scale = alt.Scale(domain=[0, _ROOM_FOR_P], nice=False)
    bars = base.mark_bar().encode(
        x=alt.X("importance:Q", title=title, axis=axis, scale=scale),
        opacity=alt.condition(f"datum.p < {LARGER}", alt.value(0.9), alt.value(0.3)),
    )
    rules = base.mark_rule().encode(
        x=alt.X("low:Q", title=title), x2=alt.X2("high:Q"), color=alt.ColorValue(INK)
    )
    words = base.mark_text(align="left", dx=5, fontSize=10).encode(
        x=alt.X("high:Q", title=title), text=alt.Text("says:N"), color=alt.ColorValue(INK)
    )
    return styled(alt.layer(bars, rules, words, width=width, height=34 * len(order)))


def _p(value: float) -> str:
    """Gives `p < .01`, `p = .03`, `p = .4`."""
    if value < 0.01:
        return "p < .01"
    return f"p = {value:.2f}".replace("0.", ".") if value < 0.995 else "p = 1"


def setting_figure(
    table: pd.DataFrame, setting: str, objective: str, *, width: _Width = 200, height: int = 150
) -> alt.LayerChart:
    """Draws score or cost of every point over one setting.

    `table` is that of `settings_table`; of many points it shows an even selection, and says of how
    many.
    """
    import altair as alt

    shown = table.iloc[:: -(-len(table) // _MOST_DOTS)]
    some = f" ({len(shown)} of {len(table)} points)" if len(shown) < len(table) else ""
    title = setting + some
    values = shown[setting].tolist()
    numbers = all(isinstance(value, int | float | np.number) for value in values)
    places = [setting_text(value) for value in sorted(set(values))] if numbers else None
    numbers = numbers and len(set(values)) > _MOST_PLACES
    spread = numbers and min(values) > 0 and max(values) / min(values) >= 10
    rows = [
        {
            "point": str(row["point"]),
            "setting": float(row[setting]) if numbers else setting_text(row[setting]),
            "value": round(float(row[objective]), 5),
        }
        for row in shown.to_dict("records")
    ]
    scale = alt.Scale(type="log" if spread else "linear", nice=False, zero=False, padding=6)
    axis = alt.Axis(grid=False, tickCount=4, format="~g")
    x = (
        alt.X("setting:Q", title=title, scale=scale, axis=axis)
        if numbers
        else alt.X(
            "setting:N", title=title, sort=places, axis=alt.Axis(labelLimit=80, labelAngle=0)
        )
    )
    marks = (
        alt.Chart(inline(rows))
        .mark_circle(size=24, opacity=0.55, color=ACCENT if objective == "score" else ORACLE)
        .encode(
            x=x,
            y=alt.Y("value:Q", title=objective, scale=alt.Scale(zero=False)),
            tooltip=[
                alt.Tooltip("point:N"),
                alt.Tooltip("setting:Q" if numbers else "setting:N", title=setting),
                alt.Tooltip("value:Q", title=objective, format=".4~g"),
            ],
        )
    )
    return styled(alt.layer(marks, width=width, height=height))


def parallel_figure(
    run: Run, table: pd.DataFrame, front: set[str], *, width: _Width = 620, height: int = 260
) -> alt.LayerChart:
    """Draws a line a point through its settings, score and cost; the front in red.

    Each axis has its own scale.

    Every axis runs over the ranks of its values, so that no scale squeezes the others.
    """
    import altair as alt

    names = [*(name for name in run.settings if table[name].astype(str).nunique() > 1)]
    names += ["score", "cost"]
    rows: list[dict[str, Any]] = []
    ranks = {name: _ranks(table[name].tolist()) for name in names}
    for place, row in enumerate(table.to_dict("records")):
        point = str(row["point"])
        for name in names:
            rows.append(
                {
                    "point": point,
                    "axis": name,
                    "rank": ranks[name][place],
                    "value": setting_text(row[name]),
                    "kind": "front" if point in front else "other points",
                }
            )
    base = alt.Chart(inline(rows)).encode(
        x=alt.X("axis:N", sort=names, title=None, axis=alt.Axis(labelAngle=0, grid=True)),
        y=alt.Y("rank:Q", title="rank among the points", axis=alt.Axis(format="%", tickCount=3)),
        detail=alt.Detail("point:N"),
        tooltip=[
            alt.Tooltip("point:N"),
            alt.Tooltip("axis:N", title="setting"),
            alt.Tooltip("value:N"),
        ],
    )
    others = base.transform_filter("datum.kind != 'front'").mark_line(
        color=OTHER, opacity=0.22, strokeWidth=0.8
    )
    on_front = base.transform_filter("datum.kind == 'front'").mark_line(
        color=ACCENT, opacity=0.9, strokeWidth=1.6, point={"color": ACCENT, "size": 24}
    )
    return styled(alt.layer(others, on_front, width=width, height=height))


def _ranks(values: list[Any]) -> list[float]:
    """Gives shares of the way from the least to the greatest; equal values share a place."""
    numbers = all(isinstance(value, int | float | np.number) for value in values)
    plain = [float(value) if numbers else setting_text(value) for value in values]
    different = sorted(set(plain))
    last = max(1, len(different) - 1)
    return [round(different.index(value) / last, 4) for value in plain]


def _plain(value: Any) -> Any:
    return round(float(value), 4) if isinstance(value, float) else value
