"""`python -m analysis.report RUN`: one HTML file that needs no network and no server."""

from __future__ import annotations

import functools
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

    from analysis.fronts.survey import Survey
    from analysis.questions.answers import Answers
    from analysis.runs.load import Run


MOST_SETTINGS: Final = 6
"""Of more settings there is no picture each, only their importance and the lines through all."""

MOST_LINES: Final = 1500
"""Points whose lines still make a picture."""


def write_report(
    run: Run | Path,
    out: Path | None = None,
    *,
    split: str | None = None,
    vector: str | None = None,
) -> Path:
    """Write the report of a run, or of its folder, by default to RUN/report.html; give its path.

    The file appears whole or not at all.

    Raises:
        RunError: the folder cannot be read, or no point can be judged.
    """
    from analysis import schema
    from analysis.runs.load import load_run

    if isinstance(run, Path):
        run = load_run(run)
    page = render(run, split=split, vector=vector)
    path = run.path / schema.REPORT_FILE if out is None else Path(out)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)  # a link there would be followed
    try:
        with draft.open("x", encoding="utf-8") as file:
            file.write(page)
        if out is None:  # who may read the run may read its report
            draft.chmod(0o644 & run.path.stat().st_mode)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    return path


def render(run: Run, *, split: str | None = None, vector: str | None = None) -> str:
    """The report as HTML text: template, style, scripts and data in one."""
    import jinja2
    from markupsafe import Markup

    from analysis.figures.style import MOST_NAMED
    from analysis.fronts.constraints import bounds
    from analysis.fronts.survey import survey as take
    from analysis.questions.answers import answers
    from analysis.questions.utilization import DEAD_SHARE, utilization
    from analysis.report import abstract, rows
    from analysis.report.notices import notices

    survey = take(run, split=split, vector=vector)
    use = utilization(run, split=survey.split)
    found = answers(run, survey)
    specs = {name: _spec(chart) for name, chart in pictures(run, survey, use, found).items()}
    here = Path(__file__).parent
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(here),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template("report.html")
    return template.render(
        run=run,
        survey=survey,
        found=found,
        pictures=specs,
        objective_pictures=[name for name in specs if name.startswith("objectives-")],
        objectives=_objectives(run, found),
        setting_pictures=[name for name in specs if name.startswith("setting-")],
        notices=notices(run, survey),
        sentences=abstract.sentences(run, survey, found),
        front=rows.front_rows(run, survey),
        bounds=bounds(survey.judged.constraints),
        named=len(run.settings) > MOST_NAMED,
        offers=rows.offer_rows(run, found),
        rivals=rows.rival_rows(run, found),
        several=found.headroom is not None and found.headroom["pool"].nunique() > 1,
        depends=rows.depends_rows(run, found),
        leaks=rows.leak_rows(run, found),
        quality=rows.quality_rows(found),
        said={
            "seeds": rows.seed_sentence(found),
            "moving": rows.moving_sentence(found),
            "trust": rows.trust_sentence(found),
            "calibration": rows.calibration_sentence(found),
            "caps": rows.cap_sentence(survey, found),
        },
        use=rows.use_rows(run, survey, use),
        dead_share=DEAD_SHARE,
        provenance=rows.provenance_rows(run, survey),
        colours=_colours(run),
        style=Markup((here / "report.css").read_text(encoding="utf-8")),
        script=Markup((here / "report.js").read_text(encoding="utf-8")),
        vega=Markup(vega_scripts()),
        specs=Markup(_embedded(specs)),
        trials=Markup(_embedded(rows.trial_table(run, survey))),
        count=len(run.trials),
    )


def pictures(
    run: Run, survey: Survey, use: pd.DataFrame, found: Answers
) -> dict[str, alt.LayerChart]:
    """Every picture of the report by its name; those that the run cannot give are left out."""
    from analysis.figures import front as figures
    from analysis.figures import history, objectives, rivals, settings, usage

    wide: Any = "container"
    charts: dict[str, alt.LayerChart | None] = {
        "front": figures.front_figure(run, survey, found=found, width=wide, height=420),
        "headroom": None
        if found.headroom is None
        else rivals.headroom_figure(found.headroom, survey, width=wide),
        "use": usage.utilization_figure(run, survey, use, width=wide),
        "curve-score": usage.training_figure(run, survey, "score", width=wide),
        "curve-cost": usage.training_figure(run, survey, "cost", width=wide),
    }
    charts |= objectives.objective_pictures(
        run, found.objectives, found.objective_yards, survey.split, width=wide
    )
    if found.history is not None and len(found.history) > 2:
        for over in ("epochs", "hours"):
            charts[f"history-{over}"] = history.history_figure(found.history, over=over, width=wide)
    if found.epochs is not None:
        charts["agreement"] = history.agreement_figure(found.epochs, width=wide)
    if found.surfaces is not None:
        charts["attainment"] = history.attainment_figure(
            found.surfaces, survey, width=wide, height=220
        )
    if found.importance is not None:
        charts["importance"] = settings.importance_figure(found.importance, width=wide)
    if found.settings is not None and len(found.settings) > 2:
        table = found.settings
        differ = [name for name in run.settings if table[name].astype(str).nunique() > 1]
        for name in differ if len(differ) <= MOST_SETTINGS else ():
            for objective in ("score", "cost"):
                charts[f"setting-{name}-{objective}"] = settings.setting_figure(
                    table, name, objective, width=wide
                )
        if len(differ) > 1 and len(table) <= MOST_LINES:
            front = set(survey.front["point"].astype(str))
            charts["parallel"] = settings.parallel_figure(run, table, front, width=wide)
    return {name: chart for name, chart in charts.items() if chart is not None}


def write_figures(run: Run, folder: Path, *, split: str | None, vector: str | None) -> list[Path]:
    """Every picture as .svg, .pdf and .png in a folder; gives the files.

    Raises:
        RunError: no point can be judged.
    """
    from analysis.figures.style import save
    from analysis.fronts.survey import survey as take
    from analysis.questions.answers import answers
    from analysis.questions.utilization import utilization

    survey = take(run, split=split, vector=vector)
    use = utilization(run, split=survey.split)
    charts = pictures(run, survey, use, answers(run, survey))
    folder.mkdir(parents=True, exist_ok=True)
    return [
        save(fixed(chart), folder / f"{name}{ending}")
        for name, chart in charts.items()
        for ending in (".svg", ".pdf", ".png")
    ]


def fixed(chart: alt.LayerChart) -> alt.LayerChart:
    """A picture of a page with a width of its own."""
    done: alt.LayerChart = chart.properties(width=620)
    return done


@functools.cache
def vega_scripts() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script, `vegaEmbed` made global."""
    import vl_convert

    bundle: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vegalite_version())
    return bundle


def vegalite_version() -> str:
    """The Vega-Lite that the charts were made for, as vl-convert names it."""
    import altair as alt
    import vl_convert

    wanted = ".".join(str(alt.SCHEMA_VERSION).removeprefix("v").split(".")[:2])
    offered: list[str] = vl_convert.get_vegalite_versions()
    return wanted if wanted in offered else offered[-1]


def _objectives(run: Run, found: Answers) -> dict[str, Any] | None:
    """What the page says of the study's own objectives; None where they are score and cost."""
    from analysis.figures.objectives import MOST_OBJECTIVES
    from analysis.fronts.objectives import own_objectives
    from analysis.report.rows import objective_rows, objective_words

    if found.objectives is None:
        return None
    own = own_objectives(run)
    return {
        "names": [name.replace("_", " ") for name in own],
        "words": objective_words(own),
        "points": len(found.objectives),
        "rows": objective_rows(found.objectives, own),
        "more": len(own) > MOST_OBJECTIVES,
        "yards": found.objective_yards is not None,
    }


def _spec(chart: alt.LayerChart) -> dict[str, Any]:
    spec: dict[str, Any] = chart.to_dict()
    spec.pop("$schema", None)
    spec["autosize"] = {"type": "fit-x", "contains": "padding"}
    return spec


def _embedded(data: Any) -> str:
    """JSON that cannot end the script element that it stands in."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _colours(run: Run) -> list[str]:
    from analysis.figures.style import expert_colours

    return expert_colours(len(run.expert_names))
