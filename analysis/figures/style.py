"""Defines how pictures look: colours, labels and axes that all of them share."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mpc_router.tasks import Task

if TYPE_CHECKING:
    import altair as alt

INK: Final = "#1f2933"
MUTED: Final = "#66727f"
_GRID: Final = "#e8ecef"
_AXIS: Final = "#b8c0c8"
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

_LINE: Final = "M-1.7,-.17L1.7,-.17L1.7,.17L-1.7,.17Z"
_DASHES: Final = "M-1.7,-.17L-.4,-.17L-.4,.17L-1.7,.17ZM.4,-.17L1.7,-.17L1.7,.17L.4,.17Z"
_BEADS: Final = "M-1.7,-.1L1.7,-.1L1.7,.1L-1.7,.1ZM.5,0A.5,.5,0,1,1,-.5,0A.5,.5,0,1,1,.5,0Z"
_ARROW: Final = "M-1,-1L.3,-1L-.2,-.5L1,.7L.7,1L-.5,-.2L-1,.3Z"
_RING: Final = "M1,0A1,1,0,1,1,-1,0A1,1,0,1,1,1,0ZM.62,0A.62,.62,0,1,0,-.62,0A.62,.62,0,1,0,.62,0Z"


@dataclass(frozen=True, slots=True)
class _Look:
    """Says how a kind of marks looks, in a picture and in its legend."""

    colour: str
    shape: str
    """A shape of Vega, or the path of one."""

    words: str


_KINDS: Final = {
    FRONT: _Look(ACCENT, "circle", "best routers"),
    POINT: _Look(OTHER, "circle", "other routers"),
    BROKEN: _Look("#c0507f", _RING, "breaks a constraint"),
    EXPERT: _Look(INK, "diamond", "single experts"),
    COIN: _Look(MIX, _LINE, "coin of experts"),
    BLIND: _Look("#2f8f9d", "triangle-left", "label-blind"),
    BEST: _Look(ORACLE, _DASHES, "all-knowing oracle"),
    CASCADE: _Look("#7b5ea7", _BEADS, "cascades"),
    BIASED: _Look("#d9a21b", _BEADS, "biased routers"),
}

DARK: Final = {
    "white": "#15191d",
    INK: "#e8ecef",
    MUTED: "#9aa6b2",
    _GRID: "#2a3138",
    _AXIS: "#4a545e",
    ACCENT: "#f0764a",
    MIX: "#9fabb8",
    ORACLE: "#35b5a8",
    "#7c2d12": "#b5532c",
    "#c0507f": "#e077a3",
    "#7b5ea7": "#a98ad6",
    "#236a8e": "#3b86ad",
    "#113f5c": "#2f6487",
}
"""What takes a colour's place on a dark page; the others can be seen on both."""

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


def kind_colour(kinds: list[str]) -> alt.Color:
    """Colours marks by kind, with the legend that the layers of a picture share."""
    import altair as alt

    scale = alt.Scale(domain=kinds, range=[_KINDS[kind].colour for kind in kinds])
    return alt.Color("kind:N", scale=scale, legend=_legend(kinds))


def kind_shape(kinds: list[str], dots: tuple[str, ...] = ()) -> alt.Shape:
    """Shapes marks by kind, so that the legend of `kind_colour` shows the marks themselves.

    Kinds in `dots` are dots here, whatever they are in other pictures.
    """
    import altair as alt

    shapes = ["circle" if kind in dots else _KINDS[kind].shape for kind in kinds]
    scale = alt.Scale(domain=kinds, range=shapes)
    return alt.Shape("kind:N", scale=scale, legend=_legend(kinds))


def _legend(kinds: list[str]) -> alt.Legend:
    """Makes the legend of kinds in words: two columns where a page is narrow."""
    import altair as alt

    return alt.Legend(
        orient="top",
        title=None,
        columns=alt.ExprRef(expr="width < 480 ? 2 : 4"),
        labelExpr=f"({json.dumps({kind: _KINDS[kind].words for kind in kinds})})[datum.label]",
        symbolOpacity=1,
        symbolStrokeWidth=0,
    )


def score_scale(task: Task, **scale: Any) -> alt.Scale:
    """Makes the scale of scores upwards; turned over where a low one is better: up is better."""
    import altair as alt

    turned = {"reverse": True} if task.direction == "min" else {}
    return alt.Scale(**scale, **turned)


def better_arrow() -> list[alt.Chart]:
    """Says in the upper left corner that a better and cheaper router lies there."""
    import altair as alt

    corner = alt.Chart(inline([{"text": "better"}]))
    arrow = corner.mark_point(shape=_ARROW, size=80, filled=True, color=MUTED, opacity=1)
    words = corner.mark_text(align="left", fontSize=13, fontWeight=600, color=MUTED)
    return [
        arrow.encode(x=alt.XValue(12), y=alt.YValue(12)),
        words.encode(x=alt.XValue(22), y=alt.YValue(12), text=alt.Text("text:N")),
    ]


def inline(rows: list[dict[str, Any]]) -> alt.InlineData:
    """Makes records a chart's own data; NaN and infinity, which JSON lacks, are null."""
    import altair as alt
    from altair.utils.schemapi import debug_mode

    # Altair copies the lists of a chart with every layer, tuples it shares
    plain = tuple({name: _finite(value) for name, value in row.items()} for row in rows)
    with debug_mode(False):  # records need no check against the schema, which takes seconds
        return alt.InlineData(values=plain)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def styled(chart: alt.LayerChart) -> alt.LayerChart:
    """Gives the chart, just made, the fonts, grid and legend of this project."""
    import altair as alt

    chart.config = alt.Config(  # `configure` would copy the chart
        font=_FONT,
        background="white",
        view=alt.ViewConfig(stroke=None),
        axis=alt.AxisConfig(
            gridColor=_GRID,
            domainColor=_AXIS,
            tickColor=_AXIS,
            labelColor=MUTED,
            titleColor=INK,
            labelFontSize=12,
            titleFontSize=12,
            titleFontWeight="normal",
            titlePadding=8,
        ),
        legend=alt.LegendConfig(labelFontSize=12, labelColor=INK, symbolSize=90, padding=4),
    )
    return chart


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
