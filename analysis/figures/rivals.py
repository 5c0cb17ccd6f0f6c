"""Draws gates, cascades and runs against the coin and each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.figures.style import (
    ACCENT,
    BEST,
    CASCADE,
    COIN,
    EXPERTS,
    FRONT,
    MIX,
    MUTED,
    inline,
    kind_colour,
    kind_shape,
    score_scale,
    styled,
)
from analysis.words import low_words
from mpc_router.tasks import merit

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

    from analysis.fronts.comparison import Comparison
    from analysis.fronts.survey import Survey

_Width = int | str


def headroom_figure(
    table: pd.DataFrame, survey: Survey, *, width: _Width = 620, height: int = 300
) -> alt.LayerChart:
    """Draws score above the coin at the same cost: gates, cascades, the oracle's room.

    `table` is that of `headroom`; bars are 95 % intervals. Whatever lies at zero is worth no more
    than a coin.
    """
    import altair as alt

    kinds = {"gate": FRONT, "cascade": CASCADE}
    rows = [
        {
            "kind": kinds[row["kind"]],
            "label": row["label"],
            "point": row["point"],
            **{
                name: round(float(row[name]), 5)
                for name in ("cost", "score", "over_mix", "over_mix_low", "over_mix_high")
            },
            "verdict": row["verdict"],
            "headroom": _percent(row),
        }
        for row in table.to_dict("records")
    ]
    costs = survey.oracle_curve.costs
    apart = survey.oracle_curve.scores - survey.mix.at(costs[:, None])[:, 0]
    room = merit(survey.task, apart)
    best = [
        {"kind": BEST, "cost": round(float(c), 5), "over_mix": round(float(r), 5)}
        for c, r in zip(costs, room, strict=True)
    ]
    shown = [FRONT, BEST, *([CASCADE] if (table["kind"] == "cascade").any() else [])]
    colour = kind_colour(shown)
    x = alt.X(
        "cost:Q",
        title=f"cost per example ({survey.vector.unit}, {survey.vector.name})",
        scale=alt.Scale(zero=False, nice=False, padding=12),
    )
    better = "above" if survey.task.direction == "max" else "better than"
    title = f"score {better} the coin's  \N{UPWARDS ARROW} better"
    zero = alt.Chart(inline([{"over_mix": 0}])).mark_rule(stroke=MIX, strokeDash=[4, 3])
    tooltip = [
        alt.Tooltip("kind:N"),
        alt.Tooltip("point:N", title="router"),
        alt.Tooltip("label:N", title="settings"),
        alt.Tooltip("cost:Q", format=".4~r"),
        alt.Tooltip("score:Q", format=".3f"),
        alt.Tooltip("over_mix:Q", title="above the coin", format="+.3f"),
        alt.Tooltip("over_mix_low:Q", title="95 % from", format="+.3f"),
        alt.Tooltip("over_mix_high:Q", title="to", format="+.3f"),
        alt.Tooltip("headroom:N"),
        alt.Tooltip("verdict:N"),
    ]
    base = alt.Chart(inline(rows)).encode(x=x, color=colour, tooltip=tooltip)
    layers = [
        zero.encode(y=alt.Y("over_mix:Q", title=title)),
        alt.Chart(inline(best))
        .mark_line(strokeWidth=1.4, strokeDash=[5, 3])
        .encode(x=x, y=alt.Y("over_mix:Q", title=title), color=colour, order=alt.Order("cost:Q")),
        base.mark_rule(strokeWidth=1.2, opacity=0.55).encode(
            y=alt.Y("over_mix_low:Q", title=title), y2=alt.Y2("over_mix_high:Q")
        ),
        base.mark_point(size=70, opacity=1, filled=True).encode(
            y=alt.Y("over_mix:Q", title=title), shape=kind_shape(shown, dots=(CASCADE,))
        ),
    ]
    return styled(alt.layer(*layers, width=width, height=height))


def comparison_figure(
    comparison: Comparison, *, width: _Width = 620, height: int = 360
) -> alt.LayerChart:
    """Draws the fronts of runs over each other; filled points stand on the front of all.

    Dashed is the random mix: one where the runs share experts and examples, else one a run.
    """
    import altair as alt

    names = [side.name for side in comparison.sides]
    merged = {(row["run"], row["point"]) for row in comparison.merged.to_dict("records")}
    rows: list[dict[str, Any]] = []
    for name, survey in zip(names, comparison.surveys, strict=True):
        for row in survey.front.to_dict("records"):
            rows.append(
                {
                    "run": name,
                    "label": row["label"],
                    **{
                        key: round(float(row[key]), 5)
                        for key in ("score", "score_low", "score_high", "cost")
                    },
                    "merged": "on the front of all" if (name, row["point"]) in merged else "beaten",
                }
            )
    first = comparison.surveys[0]
    shared = all(
        survey.mix.scores.shape == first.mix.scores.shape
        and np.array_equal(survey.mix.costs, first.mix.costs)
        and np.array_equal(survey.mix.scores[:, 0], first.mix.scores[:, 0])
        for survey in comparison.surveys
    )
    coins = [(COIN, first)] if shared else zip(names, comparison.surveys, strict=True)
    coin = [
        {"run": name, "cost": float(c), "score": float(s)}
        for name, survey in coins
        for c, s in zip(survey.mix.costs, survey.mix.scores[:, 0], strict=True)
    ]
    colours = [ACCENT, EXPERTS[3], "#7b5ea7", "#1a8a80", "#d9a21b", MUTED]
    domain = [*names, *([COIN] if shared else [])]
    inks = (colours * len(names))[: len(names)] + ([MIX] if shared else [])
    colour = alt.Color(
        "run:N",
        scale=alt.Scale(domain=domain, range=inks),
        legend=alt.Legend(orient="top", title=None, symbolOpacity=1),
    )
    x = alt.X(
        "cost:Q",
        title=f"cost per example ({first.vector.unit}, {comparison.vector})",
        scale=alt.Scale(zero=False, padding=12),
        axis=alt.Axis(tickCount=8),
    )
    title = f"score on {comparison.split}{low_words(first.task)}"
    y = alt.Y("score:Q", title=title, scale=score_scale(first.task, zero=False))
    base = alt.Chart(inline(rows)).encode(x=x, color=colour)
    tooltip = [alt.Tooltip("run:N"), alt.Tooltip("label:N"), alt.Tooltip("score:Q", format=".3f")]
    tooltip += [alt.Tooltip("cost:Q", format=".4~r"), alt.Tooltip("merged:N")]
    fill = alt.FillOpacity(
        "merged:N",
        scale=alt.Scale(domain=["on the front of all", "beaten"], range=[1, 0]),
        legend=None,
    )
    layers = [
        alt.Chart(inline(coin))
        .mark_line(strokeDash=[4, 3], strokeWidth=1.4)
        .encode(x=x, y=y, order=alt.Order("cost:Q"), color=colour),
        base.mark_rule(opacity=0.35).encode(
            y=alt.Y("score_low:Q", title=title), y2=alt.Y2("score_high:Q")
        ),
        base.mark_line(strokeWidth=1.2, opacity=0.6).encode(y=y, order=alt.Order("cost:Q")),
        base.mark_point(size=70, strokeWidth=1.6).encode(
            y=y, fill=colour, fillOpacity=fill, tooltip=tooltip
        ),
    ]
    return styled(alt.layer(*layers, width=width, height=height))


def _percent(row: Mapping[Any, Any]) -> str:
    if not np.isfinite(row["headroom"]):
        return "no room at this cost"
    low, high = row["headroom_low"], row["headroom_high"]
    return f"{row['headroom']:.0%} of the room ({low:.0%} to {high:.0%})"
