"""Defines how pictures look: colours, labels and axes that all of them share."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mpc_router.tasks import Task

if TYPE_CHECKING:
    import altair as alt

INK: Final = "#1f2933"
MUTED: Final = "#66727f"
_GRID: Final = "#e8ecef"
ACCENT: Final = "#c2491d"
OTHER: Final = "#b3a79f"
MIX: Final = "#5b6774"
ORACLE: Final = "#1a8a80"
EXPERTS: Final = ("#c6dfe8", "#8dbfd0", "#4f95b3", "#236a8e", "#113f5c")
"""Cheapest to dearest."""

_FONT: Final = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
FRONT, POINT = "front", "other points"
EXPERT, COIN, BLIND, BEST = "experts", "random mix", "label-blind", "oracle"
CASCADE, BIASED = "cascades", "biased routers"
BROKEN = "breaks a constraint"
MOST_NAMED: Final = 3
"""Settings that name a point; points of more go by their own names."""

_GREEK: Final = {"alpha": "\N{GREEK SMALL LETTER ALPHA}", "beta": "\N{GREEK SMALL LETTER BETA}"}


def expert_colours(count: int) -> list[str]:
    """Gives colours of `count` experts, light to dark as cheap to dear."""
    if count == 1:
        return [EXPERTS[3]]
    places = np.linspace(0, len(EXPERTS) - 1, min(count, len(EXPERTS))).round().astype(int)
    chosen = [EXPERTS[place] for place in places]
    return [chosen[min(k * len(chosen) // count, len(chosen) - 1)] for k in range(count)]


def short_label(row: Any, settings: tuple[str, ...]) -> str:
    """Gives a point's settings, short for a picture; its name where there are many."""
    if len(settings) > MOST_NAMED:
        return str(row["point"])
    parts = []
    for name in settings:
        value = row[name]
        shown = f"{value:.3g}" if isinstance(value, float) else str(value)
        parts.append(f"{_GREEK.get(name, name)} {shown}")
    return " \N{MIDDLE DOT} ".join(parts) or str(row["label"])


def kind_colour(kinds: list[str] | None = None, legend: Any = "shared") -> alt.Color:
    """Colours marks by kind, with the legend that the layers of a picture share."""
    import altair as alt

    colours = {FRONT: ACCENT, POINT: OTHER, EXPERT: INK, COIN: MIX, BEST: ORACLE}
    colours |= {CASCADE: "#7b5ea7", BIASED: "#d9a21b", BROKEN: "#c0507f", BLIND: "#2f8f9d"}
    domain = list(colours)[:5] if kinds is None else kinds
    shared = alt.Legend(orient="top", title=None, columns=3, symbolType="circle", symbolOpacity=1)
    return alt.Color(
        "kind:N",
        scale=alt.Scale(domain=domain, range=[colours[kind] for kind in domain]),
        legend=shared if legend == "shared" else legend,
    )


def score_scale(task: Task, **scale: Any) -> alt.Scale:
    """Makes the scale of scores upwards; turned over where a low one is better: up is better."""
    import altair as alt

    turned = {"reverse": True} if task.direction == "min" else {}
    return alt.Scale(**scale, **turned)


def inline(rows: list[dict[str, Any]]) -> alt.InlineData:
    """Makes records a chart's own data; NaN and infinity, which JSON lacks, are null."""
    import altair as alt
    from altair.utils.schemapi import debug_mode

    plain = [{name: _finite(value) for name, value in row.items()} for row in rows]
    with debug_mode(False):  # records need no check against the schema, which takes seconds
        return alt.InlineData(values=plain)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def styled(chart: alt.LayerChart) -> alt.LayerChart:
    """Gives the chart the fonts, grid and legend of this project."""
    done: alt.LayerChart = (
        chart.configure(font=_FONT, background="white")
        .configure_view(stroke=None)
        .configure_axis(
            gridColor=_GRID,
            domainColor="#b8c0c8",
            tickColor="#b8c0c8",
            labelColor=MUTED,
            titleColor=INK,
            labelFontSize=12,
            titleFontSize=12,
            titleFontWeight="normal",
            titlePadding=8,
        )
        .configure_legend(labelFontSize=12, labelColor=INK, symbolSize=90, padding=4)
    )
    return done


def save(chart: alt.LayerChart, path: Path) -> Path:
    """Writes a chart as .svg, .png, .pdf or .html, by what the path ends in; needs no network.

    Raises:
        RunError: another ending.
    """
    from analysis.runs.load import RunError

    if path.suffix not in (".svg", ".png", ".pdf", ".html"):
        raise RunError(
            f"{path} ends in {path.suffix or 'nothing'}; write .svg, .png, .pdf or .html"
        )
    more = {"scale_factor": 2} if path.suffix == ".png" else {}
    if path.suffix == ".html":
        more = {"inline": True}
    chart.save(str(path), **more)
    return path
