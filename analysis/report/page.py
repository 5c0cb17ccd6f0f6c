"""Writes the report: one HTML file that needs no network and no server."""

from __future__ import annotations

import functools
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import altair as alt
    import jinja2

    from analysis.questions.answers import Answers
    from analysis.runs.load import Run

_HERE: Final = Path(__file__).parent

_SCRIPTS: Final = "mpc-router-scripts"
"""The folder of the user's cache that bundled scripts are kept in."""

_GLOBAL: Final = "window.vegaEmbed = vegaEmbed;"
"""What the bundle does besides defining Vega, Vega-Lite and Vega-Embed."""


def write_report(
    run: Run | Path,
    out: Path | None = None,
    *,
    split: str | None = None,
    vector: str | None = None,
) -> Path:
    """Writes the report of a run, or of its folder; gives its path.

    By default it is RUN/report.html.

    The file appears whole or not at all.

    Raises:
        RunError: the folder cannot be read, or no point can be judged.
    """
    from analysis import schema
    from analysis.runs.load import load_run

    if isinstance(run, Path):
        run = load_run(run)
    page = _render(run, split=split, vector=vector)
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


def _render(run: Run, *, split: str | None = None, vector: str | None = None) -> str:
    """Gives the report as HTML text: template, style, scripts and data in one."""
    from altair.utils.schemapi import debug_mode
    from markupsafe import Markup

    from analysis.baselines.yardsticks import has_bounds
    from analysis.figures.front import MANY
    from analysis.fronts.constraints import bounds
    from analysis.fronts.survey import survey as take
    from analysis.questions.answers import answers
    from analysis.questions.utilization import DEAD_SHARE, utilization
    from analysis.report import _kinds, _sentences, _tables, abstract
    from analysis.report._figures import PLACES, figures
    from analysis.report._first import first_screen
    from analysis.report._provenance import provenance_rows
    from analysis.report._trials import trial_table
    from analysis.report.notices import notices

    survey = take(run, split=split, vector=vector)
    use = utilization(run, split=survey.split)
    answered = answers(run, survey)
    with debug_mode(False):  # tests hold every picture against Vega-Lite's schema, once
        drawn = figures(run, survey, use, answered)
    specs = {figure.name: _spec(figure.chart) for figure in drawn}
    return _template().render(
        run=run,
        survey=survey,
        found=answered,
        figures={place: [figure for figure in drawn if figure.place == place] for place in PLACES},
        cascades="cascades" in str(specs["front"]),
        objectives=_objectives(run, answered),
        notices=notices(run, survey),
        sentences=abstract.sentences(run, survey, answered),
        first=first_screen(run, survey, answered),
        tables=_tables.tables(run, survey, answered) | _kinds.tables(answered),
        bounds=bounds(survey.judged.constraints),
        several=answered.headroom is not None and answered.headroom["pool"].nunique() > 1,
        quality=_sentences.quality_rows(answered),
        said={
            "seeds": _sentences.seed_sentence(answered),
            "moving": _sentences.moving_sentence(answered),
            "trust": _sentences.trust_sentence(answered),
            "calibration": _sentences.calibration_sentence(answered),
            "caps": _sentences.cap_sentence(survey, answered),
            **_kinds.sentences(survey, answered),
        },
        use=_sentences.use_rows(run, survey, use),
        room_in_points=has_bounds(run.task),
        dead_share=DEAD_SHARE,
        provenance=provenance_rows(run, survey),
        colours=_colours(run),
        style=Markup((_HERE / "report.css").read_text(encoding="utf-8") + _dark_rules()),
        script=Markup((_HERE / "report.js").read_text(encoding="utf-8")),
        vega=Markup(_vega_scripts()),
        specs=Markup(_embedded(specs)),
        trials=Markup(_embedded(trial_table(run, survey))),
        count=len(run.trials),
        many=MANY,
    )


@functools.cache
def _template() -> jinja2.Template:
    """Gives the page's template, compiled once in a process."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html")


def write_figures(run: Run, folder: Path, *, split: str | None, vector: str | None) -> list[Path]:
    """Writes every picture as .svg, .pdf and .png in a folder; gives the files.

    Raises:
        RunError: no point can be judged.
    """
    from analysis.figures.style import save
    from analysis.fronts.survey import survey as take
    from analysis.questions.answers import answers
    from analysis.questions.utilization import utilization
    from analysis.report._figures import figures

    survey = take(run, split=split, vector=vector)
    use = utilization(run, split=survey.split)
    drawn = figures(run, survey, use, answers(run, survey))
    folder.mkdir(parents=True, exist_ok=True)
    return [
        save(_fixed(figure.chart), folder / f"{figure.name}{ending}")
        for figure in drawn
        for ending in (".svg", ".pdf", ".png")
    ]


def _fixed(chart: alt.LayerChart) -> alt.LayerChart:
    """Gives a picture of a page a width of its own."""
    done: alt.LayerChart = chart.properties(width=620)
    return done


@functools.cache
def _vega_scripts() -> str:
    """Gives Vega, Vega-Lite and Vega-Embed as one script, `vegaEmbed` made global.

    To bundle them takes longer than to judge a run, and gives the same text each time: it is kept
    in a private folder of this user's cache.
    """
    from importlib.metadata import version

    import platformdirs
    import vl_convert

    from mpc_router.storage.private_folder import kept_text

    wanted = _vegalite_version()
    return kept_text(
        platformdirs.user_cache_path(_SCRIPTS),
        lambda: str(vl_convert.javascript_bundle(_GLOBAL, wanted)),
        version("vl-convert-python"),
        wanted,
        _GLOBAL,
    )


def _vegalite_version() -> str:
    """Gives the Vega-Lite that the charts were made for, as vl-convert names it."""
    import altair as alt
    import vl_convert

    wanted = ".".join(str(alt.SCHEMA_VERSION).removeprefix("v").split(".")[:2])
    offered: list[str] = vl_convert.get_vegalite_versions()
    return wanted if wanted in offered else offered[-1]


def _objectives(run: Run, answered: Answers) -> dict[str, Any] | None:
    """Gives what the page says of own objectives; None where they are score and cost."""
    from analysis.figures.objectives import MOST_OBJECTIVES
    from analysis.fronts.objectives import own_objectives
    from analysis.report._sentences import objective_words

    if answered.objectives is None:
        return None
    directions = own_objectives(run)
    return {
        "count": len(directions),
        "words": objective_words(directions),
        "points": len(answered.objectives),
        "more": len(directions) > MOST_OBJECTIVES,
        "yards": answered.objective_yards is not None,
    }


def _spec(chart: alt.LayerChart) -> dict[str, Any]:
    spec: dict[str, Any] = chart.to_dict(validate=False)
    spec.pop("$schema", None)
    spec["config"]["background"] = "transparent"
    spec["autosize"] = {"type": "fit-x", "contains": "padding"}
    return spec


def _embedded(data: Any) -> str:
    """Gives JSON that cannot end the script element that it stands in."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _dark_rules() -> str:
    """Gives the style that puts a dark page's colours in the place of those of the pictures.

    A picture's colours are attributes of its marks, which a rule of style outdoes: so pictures
    follow the reader's setting at once, and there is one drawing of each.
    """
    from analysis.figures.style import DARK

    rules = "".join(
        f'.chart [fill="{light}"]{{fill:{dark}}}.chart [stroke="{light}"]{{stroke:{dark}}}'
        f'.shares i[style*="{light}"]{{background:{dark}!important}}'
        for light, dark in DARK.items()
    )
    return f"@media screen and (prefers-color-scheme:dark){{{rules}}}"


def _colours(run: Run) -> list[str]:
    from analysis.figures.usage import route_colours

    return route_colours(run)
