"""Draws the front of a run with its yardsticks, as Vega-Altair charts.

Every function gives a chart that shows itself in a notebook; `width="container"` lets a page decide
the width. Data are put inline, rounded, so a chart is complete in itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

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
    MUTED,
    POINT,
    inline,
    kind_colour,
    score_scale,
    styled,
)
from analysis.fronts.survey import Survey
from analysis.runs.load import Run
from analysis.words import (
    amount,
    constant_words,
    low_words,
    number,
    percent,
    setting_text,
    signed,
)
from mpc_router.tasks import merit

if TYPE_CHECKING:
    import altair as alt

    from analysis.questions.answers import Answers

Width = int | str


def front_figure(
    run: Run,
    survey: Survey,
    *,
    found: Answers | None = None,
    width: Width = 620,
    height: int = 380,
) -> alt.LayerChart:
    """Draws score over cost: front, other points, experts, random mix, oracle curve.

    Points are quoted on the survey's split; bars are 95 % intervals on both axes. With `found` also
    the front of the cascades and that of the routers' cost-bias curves, quoted as well. What breaks
    a constraint of the study is hollow.
    """
    import altair as alt

    rows = [_point_record(run, survey, row) for _, row in survey.points.iterrows()]
    few = alt.Axis(tickCount=8)
    x = alt.X("cost:Q", title=_cost_title(survey), scale=_cost_scale(survey, rows), axis=few)
    y = alt.Y("score:Q", title=_score_title(survey), scale=_score_scale(survey, rows), axis=few)
    more = _offered(found)
    colour = kind_colour(
        [
            *(FRONT, POINT),
            *([BROKEN] if _any_broken(rows, found) else []),
            *(EXPERT, COIN),
            *([BLIND] if found is not None and found.worth is not None else []),
            BEST,
            *dict.fromkeys(m["kind"] for m in more if m["kind"] != BROKEN),
        ]
    )
    layers = [
        *_curves(survey, x, y, colour),
        *_blind(found, x, y, colour),
        *_offers(more, x, y, colour),
        *_bars(survey, rows, x, y, colour),
        *_dots(run, rows, x, y, colour),
        *_experts(survey, x, y, colour),
    ]
    chart = alt.layer(*layers).properties(width=width, height=height)
    return styled(chart)


def _any_broken(rows: list[dict[str, Any]], answered: Answers | None) -> bool:
    return any(row["breaks"] for row in rows) or bool(answered and answered.barred)


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
        "kind": FRONT if row["on_front"] else POINT if row["feasible"] else BROKEN,
        "breaks": row["breaks"],
        "bounds": f"breaks {row['breaks']}" if row["breaks"] else "kept",
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
    return f"score on {survey.split}{low_words(survey.task)}"


def _cost_scale(survey: Survey, rows: list[dict[str, Any]]) -> alt.Scale:
    import altair as alt

    ends = [*survey.mix.costs[[0, -1]], *survey.oracle_curve.costs[[0, -1]]]
    ends += [row["cost_low"] for row in rows] + [row["cost_high"] for row in rows]
    low, high = float(min(ends)), float(max(ends))
    pad = 0.05 * (high - low) or 1.0
    return alt.Scale(domain=[max(0.0, low - pad), high + pad], nice=False, zero=False)


def _score_scale(survey: Survey, rows: list[dict[str, Any]]) -> alt.Scale:
    ends = [*survey.singles["score"], *survey.oracle_curve.scores]
    ends += [row["score_low"] for row in rows] + [row["score_high"] for row in rows]
    task = survey.task
    worst, best = _ends(survey, ends)
    if _majority_near(survey, worst, best):
        worst = min(worst, merit(task, survey.majority["score"]))
    pad = 0.06 * (best - worst) or 0.05
    domain = sorted([merit(task, worst - pad), merit(task, best + pad / 2)])
    return score_scale(task, domain=domain, nice=False, zero=False)


def _ends(survey: Survey, scores: Sequence[float]) -> tuple[float, float]:
    """Gives the merit of the worst and of the best score."""
    merits = [merit(survey.task, float(score)) for score in scores]
    return min(merits), max(merits)


def _majority_near(survey: Survey, worst: float, best: float) -> bool:
    """Says whether a majority class is near these merits; one far below squeezes the picture.

    The text names it then.
    """
    return merit(survey.task, survey.majority["score"]) >= worst - 0.35 * (best - worst)


def _curves(survey: Survey, x: alt.X, y: alt.Y, colour: alt.Color) -> list[alt.Chart]:
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
    worst, _ = _ends(survey, survey.singles["score"].tolist())
    if _majority_near(survey, worst, merit(survey.task, float(survey.oracle[0]))):
        words = constant_words(survey.task)
        rule = alt.Chart(inline([{"score": round(score, 5), "text": words}])).encode(y=y)
        layers.append(rule.mark_rule(stroke=MUTED, strokeDash=[1, 3], strokeWidth=1.2))
        label = rule.mark_text(align="right", dy=-7, dx=-4, color=MUTED, fontSize=11)
        layers.append(label.encode(x=alt.value("width"), text="text:N"))
    return layers


def _blind(answered: Answers | None, x: alt.X, y: alt.Y, colour: alt.Color) -> list[alt.Chart]:
    """Draws the label-blind yardstick: a line from its price where looking is free to where the
    cheapest expert always runs first."""
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
            alt.Tooltip("cost:Q", format=".3~g"),
            alt.Tooltip("score:Q", format=".3f"),
        ],
    )
    return [
        chart.mark_line(strokeWidth=1.6, strokeDash=[2, 2], clip=True),
        chart.mark_point(shape="triangle-left", filled=True, size=70, opacity=1, clip=True),
    ]


def _offered(answered: Answers | None) -> list[dict[str, Any]]:
    """Gives what else the trained models offer: cascades, and routers with a bias."""
    rows: list[dict[str, Any]] = []
    if answered is not None and answered.headroom is not None:
        cascades = answered.headroom[answered.headroom["kind"] == "cascade"]
        rows += [
            {
                "kind": CASCADE,
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
                "what": f"bias {point.bias:.3g}",
                "pool": "",
            }
            for point in answered.operating or ()
        ]
        rows += [
            {
                "kind": BROKEN,
                "cost": round(point.cost, 5),
                "score": round(point.score, 5),
                "what": f"bias {point.bias:.3g}, breaks {point.breaks}",
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
            detail="pool:N",
            order="cost:Q",
            tooltip=[
                alt.Tooltip("kind:N", title="what"),
                alt.Tooltip("what:N", title="how"),
                alt.Tooltip("cost:Q", format=".3~g"),
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
        x=x, y=alt.Y("score_low:Q", title=_score_title(survey)), y2="score_high:Q"
    )
    across = base.mark_rule(strokeWidth=1.3).encode(
        y=y, x=alt.X("cost_low:Q", title=_cost_title(survey)), x2="cost_high:Q"
    )
    return [upright, across]


def _dots(
    run: Run, rows: list[dict[str, Any]], x: alt.X, y: alt.Y, colour: alt.Color
) -> list[alt.Chart]:
    import altair as alt

    tooltip = [
        *(alt.Tooltip(f"s_{name}:N", title=name) for name in run.settings),
        alt.Tooltip("seeds:N"),
        alt.Tooltip("n:N"),
        alt.Tooltip("score interval:N", title="score"),
        alt.Tooltip("cost interval:N", title="cost"),
        alt.Tooltip("over the mix:N"),
        alt.Tooltip("shares:N"),
        *([alt.Tooltip("bounds:N")] if any(row["breaks"] for row in rows) else []),
    ]
    layers = []
    for kind, size, opacity in ((POINT, 48, 0.85), (BROKEN, 60, 1.0), (FRONT, 95, 1.0)):
        shown = sorted((row for row in rows if row["kind"] == kind), key=lambda row: row["cost"])
        base = alt.Chart(inline(shown)).encode(x=x, y=y, color=colour, tooltip=tooltip)
        if kind == FRONT:
            layers.append(base.mark_line(strokeWidth=1.2, opacity=0.6).encode(order="cost:Q"))
        if any(row["breaks"] for row in shown):
            layers.append(base.mark_point(size=size, opacity=opacity, strokeWidth=1.8))
        else:
            layers.append(base.mark_circle(size=size, opacity=opacity))
    return layers


def _experts(survey: Survey, x: alt.X, y: alt.Y, colour: alt.Color) -> list[alt.Chart]:
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
        .encode(x=x, y=y, color=colour, tooltip=tooltip)
    )
    layers = [marks]
    for named, align, shift in ((rows[:-1], "left", 8), (rows[-1:], "right", 6)):
        text = alt.Chart(inline(named)).mark_text(
            align=align, dx=shift, dy=17, fontSize=12, fontWeight=600, color=INK
        )
        layers.append(text.encode(x=x, y=y, text="name:N"))
    return layers
