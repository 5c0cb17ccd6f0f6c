"""Draws the front of a run with its yardsticks, as Vega-Altair charts.

Every function gives a chart that shows itself in a notebook; `width="container"` lets a page decide
the width. Data are put inline, rounded, so a chart is complete in itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from analysis.figures import _yardsticks as yardsticks
from analysis.figures.style import (
    BEST,
    BIASED,
    BLIND,
    BROKEN,
    CASCADE,
    COIN,
    EXPERT,
    FRONT,
    INK,
    POINT,
    better_arrow,
    inline,
    kind_colour,
    kind_shape,
    score_scale,
    short_label,
    styled,
)
from analysis.fronts.survey import ABOVE, Survey
from analysis.runs.alternatives import alternatives
from analysis.runs.load import Run
from analysis.words import amount, number, percent, score_words, setting_text, signed
from mpc_router.tasks import merit

if TYPE_CHECKING:
    import altair as alt

    from analysis.questions.answers import Answers

_Width = int | str

MANY = 1000
"""Points above which only those of the front have intervals and long texts in the picture."""

_EDGE = 0.3
"""Share of the picture at either side in which a name is written towards the middle."""


def front_figure(
    run: Run,
    survey: Survey,
    *,
    found: Answers | None = None,
    marked: str = "",
    width: _Width = 620,
    height: int = 380,
) -> alt.LayerChart:
    """Draws score over cost: front, other points, experts, random mix, oracle curve.

    The point `marked` has a ring and its name.

    Points are quoted on the survey's split; bars are 95 % intervals on both axes. With `found` also
    the front of the cascades and that of the routers' cost-bias curves, quoted as well. What breaks
    a constraint of the study is hollow.
    """
    import altair as alt

    points = survey.points.to_dict("records")
    many = len(points) > MANY
    rows = [_point_record(run, survey, row, brief=many and not row["on_front"]) for row in points]
    few = alt.Axis(tickCount=8)
    x = alt.X("cost:Q", title=_cost_title(survey), scale=_cost_scale(survey, rows), axis=few)
    y = alt.Y("score:Q", title=_score_title(survey), scale=_score_scale(survey, rows), axis=few)
    more = _offered(found)
    kinds = [
        *(FRONT, POINT),
        *([BROKEN] if _any_broken(rows, found) else []),
        *(EXPERT, COIN),
        *([BLIND] if found is not None and found.worth is not None else []),
        BEST,
        *dict.fromkeys(m["kind"] for m in more if m["kind"] != BROKEN),
    ]
    colour, shape = kind_colour(kinds), kind_shape(kinds)
    recommended = [row for row in rows if row["point"] == marked]
    layers = [
        *yardsticks.curves(survey, x, y, colour),
        *yardsticks.blind(found, x, y, colour, shape),
        *_offers(more, x, y, colour),
        *_bars(survey, [row for row in rows if not many or row["kind"] == FRONT], x, y, colour),
        *_dots(run, rows, x, y, colour, shape, many=many),
        *_names(survey, recommended, x, y),
        *yardsticks.experts(survey, x, y, colour, shape),
        *better_arrow(),
    ]
    return styled(alt.layer(*layers, width=width, height=height))


def _any_broken(rows: list[dict[str, Any]], answered: Answers | None) -> bool:
    return any(row["breaks"] for row in rows) or bool(answered and answered.barred)


def _point_record(run: Run, survey: Survey, row: Any, *, brief: bool = False) -> dict[str, Any]:
    """Gives what is drawn and said of a point; where it is `brief`, no more than a dot needs."""
    numbers = {
        name: round(float(row[name]), 5)
        for base in ("score", "cost")
        for name in (base, *(() if brief else (f"{base}_low", f"{base}_high")))
    }
    settings = {f"s_{name}": setting_text(row[name]) for name in run.settings}
    kind = FRONT if row["on_front"] else POINT if row["feasible"] else BROKEN
    if brief:
        return {
            **numbers,
            "point": str(row["point"]),
            "kind": kind,
            "breaks": row["breaks"],
            **settings,
        }
    shares = zip(alternatives(run).names, row["share"], strict=True)
    over = f"{signed(row['over_mix_low'])} to {signed(row['over_mix_high'])}"
    return {
        **numbers,
        "point": str(row["point"]),
        "name": short_label(row, run.settings),
        "key": str(row["key"]),
        "verdict": row["verdict"],
        "kind": kind,
        "breaks": row["breaks"],
        "bounds": f"breaks {row['breaks']}" if row["breaks"] else "kept",
        **settings,
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
    return f"cost per example ({survey.vector.unit}, {survey.vector.name})"


def _score_title(survey: Survey) -> str:
    """Gives what the score is, and where: of several metrics it is their mean."""
    return f"{score_words(survey.task).removeprefix('the ')} on {survey.split}"


def _cost_scale(survey: Survey, rows: list[dict[str, Any]]) -> alt.Scale:
    import altair as alt

    ends = [*survey.mix.costs[[0, -1]], *survey.oracle_curve.costs[[0, -1]]]
    ends += [row.get(name, row["cost"]) for row in rows for name in ("cost_low", "cost_high")]
    low, high = float(min(ends)), float(max(ends))
    pad = 0.05 * (high - low) or 1.0
    return alt.Scale(domain=[max(0.0, low - pad), high + pad], nice=False, zero=False)


def _score_scale(survey: Survey, rows: list[dict[str, Any]]) -> alt.Scale:
    ends = [*survey.singles["score"], *survey.oracle_curve.scores]
    ends += [row.get(name, row["score"]) for row in rows for name in ("score_low", "score_high")]
    task = survey.task
    worst, best = yardsticks.ends(survey, ends)
    if yardsticks.majority_near(survey, worst, best):
        worst = min(worst, merit(task, survey.majority["score"]))
    pad = 0.06 * (best - worst) or 0.05
    domain = sorted([merit(task, worst - pad), merit(task, best + pad / 2)])
    return score_scale(task, domain=domain, nice=False, zero=False)


def _offered(answered: Answers | None) -> list[dict[str, Any]]:
    """Gives what else the trained models offer: cascades, and routers with a bias."""
    rows: list[dict[str, Any]] = []
    if answered is not None and answered.headroom is not None:
        cascades = answered.headroom[answered.headroom["kind"] == "cascade"]
        rows += [
            {
                "kind": CASCADE,
                "point": "",
                "cost": round(float(row["cost"]), 5),
                "score": round(float(row["score"]), 5),
                "what": row["label"],
                "pool": row["pool"],
            }
            for row in cascades.to_dict("records")
        ]
    if answered is not None:
        rows += [
            {
                "kind": BIASED,
                "cost": round(point.cost, 5),
                "score": round(point.score, 5),
                "point": answered.routers[point.curve],
                "what": f"{answered.routers[point.curve]}, bias {point.bias:.3g}",
                "pool": "",
            }
            for point in answered.operating or ()
        ]
        rows += [
            {
                "kind": BROKEN,
                "cost": round(point.cost, 5),
                "score": round(point.score, 5),
                "point": answered.routers[point.curve],
                "what": f"{answered.routers[point.curve]}, bias {point.bias:.3g}, breaks "
                f"{point.breaks}",
                "pool": "",
            }
            for point in answered.barred or ()
        ]
    return rows


def _offers(rows: list[dict[str, Any]], x: alt.X, y: alt.Y, colour: alt.Color) -> list[alt.Chart]:
    """Draws thin lines, chosen on selection: where they fall the choice did not hold."""
    import altair as alt

    layers = []
    for kind in dict.fromkeys(row["kind"] for row in rows):
        base = alt.Chart(inline([row for row in rows if row["kind"] == kind])).encode(
            x=x,
            y=y,
            color=colour,
            detail=alt.Detail("pool:N"),
            order=alt.Order("cost:Q"),
            tooltip=[
                alt.Tooltip("kind:N", title="what"),
                alt.Tooltip("what:N", title="which"),
                alt.Tooltip("cost:Q", format=".4~r"),
                alt.Tooltip("score:Q", format=".3f"),
            ],
        )
        if kind != BROKEN:
            layers.append(base.mark_line(strokeWidth=1.1, opacity=0.8))
        layers.append(base.mark_point(size=16, filled=kind != BROKEN, opacity=0.8))
    return layers


def _bars(
    survey: Survey, rows: list[dict[str, Any]], x: alt.X, y: alt.Y, colour: alt.Color
) -> list[alt.Chart]:
    import altair as alt

    base = alt.Chart(inline(rows)).encode(
        color=colour,
        opacity=alt.condition("datum.kind == 'front'", alt.value(0.75), alt.value(0.3)),
    )
    upright = base.mark_rule(strokeWidth=1.3).encode(
        x=x, y=alt.Y("score_low:Q", title=_score_title(survey)), y2=alt.Y2("score_high:Q")
    )
    across = base.mark_rule(strokeWidth=1.3).encode(
        y=y, x=alt.X("cost_low:Q", title=_cost_title(survey)), x2=alt.X2("cost_high:Q")
    )
    return [upright, across]


def _dots(
    run: Run,
    rows: list[dict[str, Any]],
    x: alt.X,
    y: alt.Y,
    colour: alt.Color,
    shape: alt.Shape,
    *,
    many: bool,
) -> list[alt.Chart]:
    import altair as alt

    which = [
        alt.Tooltip("point:N", title="router"),
        *(alt.Tooltip(f"s_{name}:N", title=name) for name in run.settings),
    ]
    brief = [
        *which,
        alt.Tooltip("score:Q", format=".3f"),
        alt.Tooltip("cost:Q", format=".4~r"),
        *([alt.Tooltip("breaks:N")] if any(row["breaks"] for row in rows) else []),
    ]
    tooltip = [
        *which,
        alt.Tooltip("key:N"),
        alt.Tooltip("seeds:N"),
        alt.Tooltip("n:N"),
        alt.Tooltip("score interval:N", title="score"),
        alt.Tooltip("cost interval:N", title="cost"),
        alt.Tooltip("over the mix:N"),
        alt.Tooltip("shares:N"),
        *([alt.Tooltip("bounds:N")] if any(row["breaks"] for row in rows) else []),
    ]
    layers = []
    sizes = {POINT: (48, 0.85), BROKEN: (60, 1.0), FRONT: (95, 1.0)}
    if many:  # dots that can be told apart where they crowd, and a front that is not a thick line
        sizes = {POINT: (7, 0.5), BROKEN: (9, 0.6), FRONT: (30, 1.0)}
    for kind, (size, opacity) in sizes.items():
        shown = sorted((row for row in rows if row["kind"] == kind), key=lambda row: row["cost"])
        texts = brief if many and kind != FRONT else tooltip
        base = alt.Chart(inline(shown)).encode(x=x, y=y, color=colour, tooltip=texts)
        if kind == FRONT:
            layers.append(
                base.mark_line(strokeWidth=1.2, opacity=0.6).encode(order=alt.Order("cost:Q"))
            )
        marks = base.mark_point(size=size, opacity=opacity, filled=True)
        layers.append(marks.encode(shape=shape))
    return layers


def _names(survey: Survey, rows: list[dict[str, Any]], x: alt.X, y: alt.Y) -> list[alt.Chart]:
    """Rings a point and writes its name under it, where the front leaves room."""
    import altair as alt

    layers = []
    low, high = (float(cost) for cost in survey.mix.costs[[0, -1]])
    for row in rows:
        place = (row["cost"] - low) / (high - low) if high > low else 0.5
        look: dict[str, Any] = {
            "align": "left" if place < _EDGE else "right" if place > 1 - _EDGE else "center",
            "baseline": "top",
            "dy": 14,
            "fontSize": 12.5,
            "fontWeight": 600,
            "lineBreak": "\n",
        }
        role = "recommended" if row["verdict"] == ABOVE else "best trade"
        named = {**row, "text": f"{role}\n{row['name']}"}
        base = alt.Chart(inline([named])).encode(x=x, y=y)
        halo = base.mark_text(**look, color="white", stroke="white", strokeWidth=5)
        ring = base.mark_point(size=330, strokeWidth=2, color=INK, opacity=1)
        name = base.mark_text(**look, color=INK)
        layers += [ring, *(text.encode(text=alt.Text("text:N")) for text in (halo, name))]
    return layers
