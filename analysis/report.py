"""`python -m analysis.report RUN`: one HTML file that needs no network and no server."""

from __future__ import annotations

import argparse
import functools
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from analysis.fronts import Survey
    from analysis.load import Run


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
        RunError: the folder cannot be read, or no point is whole.
    """
    from analysis import schema
    from analysis.load import load_run

    if isinstance(run, Path):
        run = load_run(run)
    page = render(run, split=split, vector=vector)
    path = run.path / schema.REPORT_FILE if out is None else Path(out)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(page, encoding="utf-8")
    draft.replace(path)
    return path


def render(run: Run, *, split: str | None = None, vector: str | None = None) -> str:
    """The report as HTML text: template, style, scripts and data in one."""
    import jinja2
    from markupsafe import Markup

    from analysis import abstract
    from analysis.fronts import survey as take
    from analysis.utilization import DEAD_SHARE, utilization

    survey = take(run, split=split, vector=vector)
    use = utilization(run, split=survey.split)
    here = Path(__file__).parent
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(here), autoescape=True, undefined=jinja2.StrictUndefined
    )
    template = environment.get_template("report.html")
    return template.render(
        run=run,
        survey=survey,
        notices=abstract.notices(run, survey),
        sentences=abstract.sentences(run, survey),
        front=_front_rows(run, survey),
        use=_use_rows(run, survey, use),
        dead_share=DEAD_SHARE,
        trials=_trials(run, survey),
        provenance=_provenance(run, survey),
        colours=_colours(run),
        style=Markup((here / "report.css").read_text(encoding="utf-8")),
        script=Markup((here / "report.js").read_text(encoding="utf-8")),
        vega=Markup(vega_scripts()),
        specs=Markup(_embedded(_specs(run, survey, use))),
    )


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


def _specs(run: Run, survey: Survey, use: pd.DataFrame) -> dict[str, Any]:
    from analysis import figures

    charts = {
        "front": figures.front_figure(run, survey, width="container", height=420),
        "use": figures.utilization_figure(run, survey, use, width="container"),
        "curve-score": figures.training_figure(run, survey, "score", width="container"),
        "curve-cost": figures.training_figure(run, survey, "cost", width="container"),
    }
    specs = {name: chart.to_dict() for name, chart in charts.items()}
    for spec in specs.values():
        spec.pop("$schema", None)
        spec["autosize"] = {"type": "fit-x", "contains": "padding"}
    return specs


def _embedded(data: Any) -> str:
    """JSON that cannot end the script element that it stands in."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _colours(run: Run) -> list[str]:
    from analysis.palette import expert_colours

    return expert_colours(len(run.expert_names))


def _setting(value: Any) -> str:
    from analysis.outcomes import setting_text

    return setting_text(value)


def _front_rows(run: Run, survey: Survey) -> list[dict[str, Any]]:
    from analysis.abstract import amount, interval, number, percent, signed

    return [
        {
            "settings": [_setting(row[name]) for name in run.settings],
            "score": number(row["score"]),
            "score_interval": interval(row, "score"),
            "cost": amount(row["cost"]),
            "cost_interval": f"{amount(row['cost_low'])} to {amount(row['cost_high'])}",
            "over_mix": signed(row["over_mix"]),
            "over_interval": f"{signed(row['over_mix_low'])} to {signed(row['over_mix_high'])}",
            "verdict": row["verdict"],
            "headroom": f"{percent(row['headroom'])} %"
            if row["headroom"] == row["headroom"]
            else "\N{EN DASH}",
            "speed_up": f"{row['speed_up']:.2f}\N{MULTIPLICATION SIGN}",
            "share": [
                {"name": name, "percent": f"{100 * share:.1f}"}
                for name, share in zip(run.expert_names, row["share"], strict=True)
            ],
            "seeds": row["n"],
        }
        for _, row in survey.front.iterrows()
    ]


def _use_rows(run: Run, survey: Survey, use: pd.DataFrame) -> dict[str, Any]:
    """What the text under the picture of utilization says."""
    from analysis.figures import MOST_POINTS

    dead = {name: int(sum(name in names for names in use["dead"])) for name in run.expert_names}
    return {
        "points": len(use),
        "shown": min(len(use), MOST_POINTS),
        "dead": {name: count for name, count in dead.items() if count},
        "collapsed": int(use["collapsed"].sum()),
        "trials": int(use["n"].sum()),
        "load_cv2": [f"{use['load_cv2'].min():.2f}", f"{use['load_cv2'].max():.2f}"],
    }


def _trials(run: Run, survey: Survey) -> dict[str, Any]:
    """Columns and rows of the table of trials; a cell is (text, value to sort by)."""
    quoted = survey.split
    cost = f"cost_{survey.vector.name}"
    measured = {
        f"{quoted} score": f"{quoted}_score",
        **{name: f"{quoted}_{name}" for name in run.task.metrics if len(run.task.metrics) > 1},
        f"{quoted} cost": f"{quoted}_{cost}",
        "selection score": "selection_score",
        "selection cost": f"selection_{cost}",
    }
    measured = {name: column for name, column in measured.items() if column in run.trials}
    columns = ["status", *run.settings, "seed", *measured, "epochs", "seconds", "key", "reason"]
    rows = []
    for _, row in run.trials.sort_values(["point", "seed"]).iterrows():
        cells = [_cell(row["status"])]
        cells += [_cell(row[name]) for name in run.settings]
        cells += [_cell(row["seed"])]
        cells += [_cell(row[column], digits=3) for column in measured.values()]
        cells += [_cell(row["epochs"]), _cell(row["seconds"], digits=1)]
        cells += [_cell(str(row["key"])[:12]), _cell(row["reason"])]
        rows.append(cells)
    named = any(cells[-1]["text"] for cells in rows)
    if not named:
        columns, rows = columns[:-1], [cells[:-1] for cells in rows]
    return {"columns": columns, "rows": rows}


def _cell(value: Any, *, digits: int | None = None) -> dict[str, Any]:
    if not isinstance(value, str | int | float | None):
        value = _setting(value)  # a list, as pandas gives it
    if value is None or value != value:
        return {"text": "", "value": "", "number": False}
    if isinstance(value, str):
        return {"text": value, "value": value, "number": False}
    text = f"{float(value):g}" if digits is None else f"{float(value):.{digits}f}"
    return {"text": text, "value": repr(float(value)), "number": True}


def _provenance(run: Run, survey: Survey) -> list[tuple[str, str]]:
    facts = run.provenance
    vectors = "; ".join(
        f"{vector.name}: router {vector.router:g}, experts "
        f"{', '.join(f'{cost:g}' for cost in vector.experts)} {vector.unit}"
        f"{' (as if)' if vector.as_if else ''}"
        for vector in run.cost_vectors.values()
    )
    experts = "; ".join(
        dict.fromkeys(
            f"{one['name']}{', ' + str(one['layers']) + ' layers' if one['layers'] else ''}"
            f"{' (stand-in: ' + str(one['stand_in']) + ')' if one.get('stand_in') else ''}"
            for each in facts.get("sets") or [facts]
            for one in each["experts"]
        )
    )
    splits = "; ".join(
        f"{name}: {one['rows']} rows of {one['source']}"
        for name, one in (facts.get("splits") or {}).items()
    )
    rows = [
        ("run", run.name),
        ("study", facts["study"]),
        ("started", facts.get("started")),
        ("arguments", " ".join(map(str, facts.get("arguments") or ()))),
        ("task", facts["task"]),
        ("pool", facts["pool"]),
        ("experts", experts),
        ("stem", (facts.get("stem") or {}).get("name")),
        ("splits", splits),
        ("cost vectors", vectors),
        ("fingerprints", _pairs(facts.get("fingerprints"))),
        ("commit", facts.get("commit") or "not known"),
        ("machine", _pairs(facts.get("machine"))),
        ("versions", _pairs(facts.get("versions"))),
        (
            "intervals",
            f"95 % percentile bootstrap, {survey.resamples} resamples of examples and of the seeds "
            "that there are",
        ),
        ("tables", f"schema version {facts['schema']}"),
    ]
    return [(name, str(value)) for name, value in rows if value]


def _pairs(mapping: Any) -> str:
    return ", ".join(f"{name} {value}" for name, value in (mapping or {}).items())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m analysis.report",
        description="Write a run's report: one HTML file that needs no network.",
        epilog="example: python -m analysis.report runs/mrpc_grid-20261123T120000",
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a run")
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: RUN/report.html")
    parser.add_argument("--split", help="quoted split (default: the task's first)")
    parser.add_argument("--costs", metavar="VECTOR", help="cost vector (default: the study's)")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the report and print its path; 0, or 2 with one line where that cannot be."""
    options = _parser().parse_args(arguments)
    from analysis.load import RunError

    try:
        path = write_report(options.run, options.out, split=options.split, vector=options.costs)
    except RunError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {options.out or options.run}: cannot be written ({error})", file=sys.stderr)
        return 2
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
