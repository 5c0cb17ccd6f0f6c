"""Draws the front of a study's own objectives, where they are not score and cost.

Of M objectives every two are a picture; a point of the front is beaten by no other in all M, so it
may look beaten in one picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import TYPE_CHECKING, Any, Final

from analysis.figures.style import (
    BROKEN,
    COIN,
    EXPERT,
    FRONT,
    POINT,
    inline,
    kind_colour,
    kind_shape,
    styled,
)
from analysis.fronts.objectives import COST, OF_VECTOR, own_objectives
from analysis.runs.load import Run
from analysis.words import amount, number

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

_Width = int | str

MOST_OBJECTIVES: Final = 4
"""Of more, the first so many are drawn: six pictures."""


def _pairs(objectives: Mapping[str, str]) -> list[tuple[str, str]]:
    """Gives (across, up) of every picture: costs lie across, scores go up."""
    shown = list(objectives)[:MOST_OBJECTIVES]
    return [
        (first, second) if _is_cost(first) and not _is_cost(second) else (second, first)
        for first, second in combinations(shown, 2)
    ]


def objective_pictures(
    run: Run,
    table: pd.DataFrame | None,
    yards: pd.DataFrame | None,
    split: str,
    *,
    width: _Width,
) -> dict[str, alt.LayerChart]:
    """Draws every picture of the study's own objectives, by name; none without `table`."""
    directions = own_objectives(run)
    return {
        f"objectives-{number}": _objective_figure(
            run, table, directions, pair, yards=yards, split=split, width=width
        )
        for number, pair in enumerate(_pairs(directions))
        if table is not None
    }


def _objective_figure(
    run: Run,
    table: pd.DataFrame,
    objectives: Mapping[str, str],
    pair: tuple[str, str],
    *,
    yards: pd.DataFrame | None = None,
    split: str,
    width: _Width = 620,
    height: int = 300,
) -> alt.LayerChart:
    """Draws one objective over another: every point, the front's in red with intervals.

    `table` is that of `objective_front`, quoted on `split`. Of two objectives the front is a line.
    `yards` are those of `objective_yardsticks`, drawn beneath.
    """
    import altair as alt

    ends = ("", "_low", "_high")
    rows = [
        {
            "kind": FRONT if row["on_front"] else POINT if row["feasible"] else BROKEN,
            "breaks": row["breaks"],
            "point": str(row["point"]),
            "label": str(row["label"]),
            "chance": row["chance"],
            **{
                f"{axis}{end}": _short(row[f"{name}{end}"])
                for axis, name in zip("xy", pair, strict=True)
                for end in ends
            },
            **{f"says{n}": _interval(name, row) for n, name in enumerate(objectives)},
        }
        for row in table.to_dict("records")
    ]
    across, up = (_title(run, name, objectives[name], split) for name in pair)
    scale = alt.Scale(zero=False, nice=False, padding=12)
    few = alt.Axis(tickCount=6)
    x, y = alt.X("x:Q", title=across, scale=scale, axis=few), alt.Y("y:Q", title=up, scale=scale)
    kinds = [FRONT, POINT] if yards is None else [FRONT, POINT, EXPERT, COIN]
    kinds += [BROKEN] if any(row["kind"] == BROKEN for row in rows) else []
    colour, shape = kind_colour(kinds), kind_shape(kinds)
    tooltip = [
        alt.Tooltip("point:N", title="router"),
        alt.Tooltip("label:N", title="settings"),
        *(alt.Tooltip(f"says{n}:N", title=name_words(name)) for n, name in enumerate(objectives)),
        alt.Tooltip("chance:Q", title="on the front", format=".0%"),
    ]
    layers = [] if yards is None else _yard_layers(yards, pair, x, y, colour, shape)
    for kind, size, opacity in ((POINT, 40, 0.8), (BROKEN, 50, 1.0), (FRONT, 85, 1.0)):
        of_kind = [row for row in rows if row["kind"] == kind]
        base = alt.Chart(inline(of_kind)).encode(x=x, y=y, color=colour, tooltip=tooltip)
        if kind == FRONT:
            bar = base.mark_rule(strokeWidth=1.2, opacity=0.5)
            layers.append(bar.encode(y=alt.Y("y_low:Q", title=up), y2=alt.Y2("y_high:Q")))
            layers.append(bar.encode(x=alt.X("x_low:Q", title=across), x2=alt.X2("x_high:Q")))
            if len(objectives) == 2:
                line = base.mark_line(strokeWidth=1.2, opacity=0.6)
                layers.append(line.encode(order=alt.Order("x:Q")))
        marks = base.mark_point(size=size, opacity=opacity, filled=True)
        layers.append(marks.encode(shape=shape))
    return styled(alt.layer(*layers, width=width, height=height))


def _yard_layers(
    yards: pd.DataFrame,
    pair: tuple[str, str],
    x: alt.X,
    y: alt.Y,
    colour: alt.Color,
    shape: alt.Shape,
) -> list[alt.Chart]:
    """Draws coins between the experts as a line, and the experts on it by name."""
    import altair as alt

    rows = [
        {
            "kind": COIN,
            "place": place,
            "expert": row["expert"],
            "x": row[pair[0]],
            "y": row[pair[1]],
        }
        for place, row in enumerate(yards.to_dict("records"))
    ]
    experts = [{**row, "kind": EXPERT} for row in rows if row["expert"]]
    line = alt.Chart(inline(rows)).mark_line(strokeWidth=1.2)
    named = alt.Chart(inline(experts)).encode(x=x, y=y, color=colour)
    tooltip = alt.Tooltip("expert:N", title="expert alone")
    return [
        line.encode(x=x, y=y, color=colour, order=alt.Order("place:Q")),
        named.mark_point(filled=True, size=70, opacity=1).encode(shape=shape, tooltip=tooltip),
        named.mark_text(align="left", dx=7, dy=9, fontWeight="bold").encode(
            text=alt.Text("expert:N")
        ),
    ]


def _is_cost(name: str) -> bool:
    return name == COST or name.startswith(OF_VECTOR)


def _title(run: Run, name: str, way: str, split: str) -> str:
    if not _is_cost(name):
        return f"{name_words(name)} on {split} ({way})"
    vector = run.cost_vector(None if name == COST else name.removeprefix(OF_VECTOR))
    return f"cost ({vector.unit}, {vector.name}; {way})"


def name_words(name: str) -> str:
    """Gives the name of an objective in words; a label in it keeps its own signs."""
    before, colon, label = name.partition(":")
    return f"{before.replace('_', ' ')}{colon}{label}"


def value_words(name: str, value: float) -> str:
    """Gives the value of an objective in words."""
    return amount(value) if _is_cost(name) else number(value)


def interval_words(name: str, row: Mapping[Any, Any]) -> str:
    """Gives the interval of an objective in words, empty where there is none."""
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return f"{value_words(name, low)} to {value_words(name, high)}" if low == low else ""


def _interval(name: str, row: Mapping[Any, Any]) -> str:
    between = interval_words(name, row)
    return (
        f"{value_words(name, row[name])} ({between})" if between else value_words(name, row[name])
    )


def _short(value: float) -> float:
    return float(f"{value:.6g}")
