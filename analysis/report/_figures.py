"""Lists the figures of the report: a figure is one line of one list.

A line has the figure's name, its place in the page, what it says to a reader who cannot see it, and
the chart. The page draws each place's figures where its text stands; nothing else names them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from analysis.figures import front, history, objectives, rivals, settings, usage
from analysis.fronts.survey import Survey
from analysis.questions.answers import Answers
from analysis.report.abstract import recommended
from analysis.runs.load import Run

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

PLACES: Final = (
    *("front", "objectives", "headroom", "use"),
    *("importance", "settings", "parallel", "training"),
)
"""Where figures stand, in the order of the page."""

_MOST_SETTINGS: Final = 6
"""Of more settings there is no picture each, only their importance and the lines through all."""

_MOST_LINES: Final = 1500
"""Points whose lines still make a picture."""

_WIDE: Final[Any] = "container"
"""The page decides how wide a figure is."""


@dataclass(frozen=True, slots=True)
class Figure:
    """Holds a figure of the page."""

    name: str
    place: str
    """One of `PLACES`."""

    text: str
    """Read aloud in its place: says in words what the picture shows."""

    chart: alt.LayerChart | None
    """None where the run cannot give it."""

    def __post_init__(self) -> None:
        if self.place not in PLACES:
            raise ValueError(f"figure {self.name} stands in {self.place}; allowed: {PLACES}")


def figures(run: Run, survey: Survey, use: pd.DataFrame, answered: Answers) -> list[Figure]:
    """Draws every figure of the report, without those that the run cannot give."""
    listed = [
        Figure(
            "front",
            "front",
            "Score over cost of all points, with yardsticks",
            front.front_figure(
                run, survey, found=answered, marked=_marked(run, survey), width=_WIDE, height=400
            ),
        ),
        Figure(
            "headroom",
            "headroom",
            "How much better than a coin of the same cost: gates, cascades, and the room up to the "
            "oracle",
            None
            if answered.headroom is None
            else rivals.headroom_figure(answered.headroom, survey, width=_WIDE),
        ),
        Figure(
            "use",
            "use",
            "Share of examples by route for each point",
            usage.utilization_figure(run, survey, use, width=_WIDE),
        ),
        Figure(
            "runs",
            "use",
            "Share of examples that each expert runs for, for each point",
            usage.runs_figure(run, survey, use, width=_WIDE),
        ),
        Figure(
            "curve-score",
            "training",
            "Score on selection by epoch",
            usage.training_figure(run, survey, "score", width=_WIDE),
        ),
        Figure(
            "curve-cost",
            "training",
            "Cost on selection by epoch",
            usage.training_figure(run, survey, "cost", width=_WIDE),
        ),
        *_of_objectives(run, survey, answered),
        *_of_history(answered),
        Figure(
            "agreement",
            "training",
            "Rank correlation of the points after each epoch with their ranks after the last one, "
            "for score and cost",
            None
            if answered.epochs is None
            else history.agreement_figure(answered.epochs, width=_WIDE),
        ),
        Figure(
            "attainment",
            "training",
            "Score over cost that a quarter, half and three quarters of the seeds attain, and the "
            "coin",
            None
            if answered.surfaces is None
            else history.attainment_figure(answered.surfaces, survey, width=_WIDE, height=220),
        ),
        Figure(
            "importance",
            "importance",
            "Importance of each setting for score and cost",
            None
            if answered.importance is None
            else settings.importance_figure(answered.importance, width=_WIDE),
        ),
        *_of_settings(run, survey, answered.settings),
    ]
    return [figure for figure in listed if figure.chart is not None]


def _marked(run: Run, survey: Survey) -> str:
    """Names the recommended point; empty where there is none."""
    row = recommended(run, survey)
    return "" if row is None else str(row["point"])


def _of_objectives(run: Run, survey: Survey, answered: Answers) -> list[Figure]:
    """Draws every two of the study's own objectives."""
    charts = objectives.objective_pictures(
        run, answered.objectives, answered.objective_yards, survey.split, width=_WIDE
    )
    text = "Two of the study's own objectives over each other, with the front of all"
    if len(charts) == 1:
        text = "The study's own objectives over each other, with their front"
    return [Figure(name, "objectives", text, chart) for name, chart in charts.items()]


def _of_history(answered: Answers) -> list[Figure]:
    if answered.history is None or len(answered.history) <= 2:
        return []
    return [
        Figure(
            f"history-{over}",
            "training",
            f"Hypervolume of the front on selection over the {spent} so far",
            history.history_figure(answered.history, over=over, width=_WIDE),
        )
        for over, spent in (("epochs", "epochs of trials"), ("hours", "hours of packs"))
    ]


def _of_settings(run: Run, survey: Survey, table: pd.DataFrame | None) -> list[Figure]:
    """Draws each setting that differs, where they are few, and a line a point through all."""
    if table is None or len(table) <= 2:
        return []
    differ = [name for name in run.settings if table[name].astype(str).nunique() > 1]
    named = [
        (f"setting-{name}-{objective}", name, objective)
        for name in (differ if len(differ) <= _MOST_SETTINGS else ())
        for objective in ("score", "cost")
    ]
    drawn = [
        Figure(
            key,
            "settings",
            f"{objective.capitalize()} of every point over its {name}",
            settings.setting_figure(table, name, objective, width=_WIDE),
        )
        for key, name, objective in named
    ]
    if len(differ) > 1 and len(table) <= _MOST_LINES:
        best = set(survey.front["point"].astype(str))
        chart = settings.parallel_figure(run, table, best, width=_WIDE)
        text = "A line a point through its settings, score and cost"
        drawn.append(Figure("parallel", "parallel", text, chart))
    return drawn
