"""What the sections of a report hold: rows and sentences, ready to be shown."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from analysis.figures.objectives import interval_words, name_words, value_words
from analysis.figures.style import MOST_NAMED
from analysis.figures.usage import MOST_POINTS
from analysis.fronts.survey import EQUAL, Survey
from analysis.questions.answers import Answers
from analysis.runs.load import Run
from analysis.words import LARGER, amount, interval, number, percent, setting_text, signed

if TYPE_CHECKING:
    import pandas as pd


def _setting(value: Any) -> str:
    return setting_text(value)


def front_rows(run: Run, survey: Survey) -> list[dict[str, Any]]:
    """The front in numbers, cheapest first; then what only constraints keep from it."""
    shown = [row for part in (survey.front, survey.barred) for _, row in part.iterrows()]
    return [
        {
            "point": row["point"],
            "label": row["label"],
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
            "chance": f"{percent(row['chance'])} %",
            "seeds": row["n"],
            "breaks": row["breaks"].replace("_", " "),
        }
        for row in shown
    ]


def use_rows(run: Run, survey: Survey, use: pd.DataFrame) -> dict[str, Any]:
    """What the text under the picture of utilization says."""
    dead = {name: int(sum(name in names for names in use["dead"])) for name in run.expert_names}
    return {
        "points": len(use),
        "shown": min(len(use), MOST_POINTS),
        "dead": {name: count for name, count in dead.items() if count},
        "collapsed": int(use["collapsed"].sum()),
        "trials": int(use["n"].sum()),
        "load_cv2": [f"{use['load_cv2'].min():.2f}", f"{use['load_cv2'].max():.2f}"],
    }


def trial_table(run: Run, survey: Survey) -> dict[str, Any]:
    """The table of trials as data, which the page's script draws, sorts and filters.

    `columns` name the cells of `rows`; a number is a number, sorted as such and shown with `digits`
    of its column. `base` is the configuration that all trials have, by its paths, and `settings`
    names for every row what it has of its own: together one trial's complete configuration.
    """
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
    table = run.trials.sort_values(["point", "seed"])
    named = bool(table["reason"].notna().any())
    bounds = _bounds_by_point(survey)
    columns = ["status", "point", *run.settings, "seed", *measured, *(["bounds"] if bounds else [])]
    columns += ["epochs", "seconds", "key"]
    digits: dict[str, int] = {**dict.fromkeys(measured, 3), "seconds": 1}
    rows, own = [], []
    base: dict[str, Any] | None = None
    for row in table.to_dict("records"):
        cells = [row["status"], row["point"], *(_brief(row[name]) for name in run.settings)]
        cells += [_cell(row["seed"]), *(_cell(row[column], 4) for column in measured.values())]
        cells += [bounds.get(str(row["point"]), "")] if bounds else []
        cells += [_cell(row["epochs"]), _cell(row["seconds"], 1), str(row["key"])]
        rows.append([*cells, *([_cell(row["reason"])] if named else [])])
        config = _flat(json.loads(row["config"])) if row.get("config") else {}
        base = config if base is None else base
        own.append({path: value for path, value in config.items() if base.get(path) != value})
    return {
        "columns": [*columns, *(["reason"] if named else [])],
        "digits": digits,
        "rows": rows,
        "base": base or {},
        "own": own,
    }


def _bounds_by_point(survey: Survey) -> dict[str, str]:
    """What each judged point breaks of the study's constraints; empty where it has none."""
    if not survey.judged.constraints:
        return {}
    rows = survey.points[["point", "breaks"]].to_dict("records")
    return {
        str(row["point"]): f"breaks {row['breaks']}" if row["breaks"] else "kept" for row in rows
    }


def _brief(value: Any) -> Any:
    """A setting's cell: a number with four digits, for its configuration has them all."""
    cell = _cell(value)
    return float(f"{cell:.4g}") if isinstance(cell, float) else cell


def _cell(value: Any, digits: int | None = None) -> Any:
    """A number, or text; None where there is nothing."""
    if isinstance(value, bool | str):
        return str(value)
    if isinstance(value, int | float):
        number = float(value)
        if not math.isfinite(number):
            return None
        return number if digits is None else round(number, digits)
    return None if value is None else _setting(value)


def _flat(tree: dict[str, Any], before: str = "") -> dict[str, Any]:
    """Nested settings by their dotted path."""
    found: dict[str, Any] = {}
    for name, value in tree.items():
        path = f"{before}{name}"
        found |= _flat(value, f"{path}.") if isinstance(value, dict) else {path: value}
    return found


def _called(run: Run, point: object, label: object) -> str:
    """A point by its settings, or by its name where they are many."""
    return str(label if len(run.settings) <= MOST_NAMED else point)


def offer_rows(run: Run, found: Answers) -> list[dict[str, Any]]:
    """What to run for at most some costs; `over` where it costs more than that when quoted."""
    return [
        {
            "cap": amount(each.cap),
            "label": _called(run, each.point, each.label),
            "bias": f"{each.bias:.3g}".replace("-", "\N{MINUS SIGN}"),
            "score": number(each.score),
            "cost": amount(each.cost),
            "over": each.cost > each.cap,
        }
        for each in found.offers or ()
    ]


def cap_sentence(survey: Survey, found: Answers) -> str:
    """Whether the caps that were kept on selection are kept when quoted."""
    over = [each for each in found.offers or () if each.cost > each.cap]
    if not over:
        return ""
    worst = max(over, key=lambda each: each.cost / each.cap)
    return (
        f"{len(over)} of {len(found.offers or ())} cost more on {survey.split} than the cap that "
        f"they keep on selection, at worst {amount(worst.cost)} for {amount(worst.cap)} "
        f"({percent(worst.cost / worst.cap - 1)} % more): where the cap is hard, leave that much "
        "room."
    )


def rival_rows(run: Run, found: Answers) -> list[dict[str, str]]:
    """Gates of the front beside the cascades that cost no more."""
    return [
        {
            "gate": _called(run, each.point, each.label),
            "gate_score": number(each.gate_score),
            "gate_cost": amount(each.gate_cost),
            "cascade": each.cascade,
            "cascade_score": number(each.cascade_score),
            "cascade_cost": amount(each.cascade_cost),
            "difference": signed(each.difference),
            "interval": f"{signed(each.low)} to {signed(each.high)}",
            "verdict": "above" if each.low > 0 else "below" if each.high < 0 else EQUAL,
        }
        for each in found.rivals or ()
    ]


def depends_rows(run: Run, found: Answers) -> list[dict[str, Any]]:
    """What routes tell of each feature: a row a point of the front, cheapest first."""
    if found.information is None:
        return []
    rows = []
    for (point, label), mine in found.information.groupby(["point", "label"], sort=False):
        cells = [
            {
                "feature": row["feature"],
                "bits": f"{row['information']:.3f}",
                "chance": f"{row['high']:.3f}",
                "more": bool(row["p"] < LARGER),
            }
            for row in mine.to_dict("records")
        ]
        rows.append({"label": _called(run, point, label), "cells": cells})
    return rows


def leak_rows(run: Run, found: Answers) -> list[dict[str, Any]]:
    """What times tell of the label, and what hiding costs."""
    if found.leakage is None:
        return []
    return [
        {
            "label": _called(run, row["point"], row["label"]),
            "bits": f"{row['bits']:.3f}",
            "chance": f"{row['high']:.3f}",
            "more": bool(row["p"] < LARGER),
            "cost": amount(row["cost"]),
            "padded": amount(row["padded_cost"]),
            "bucketed": amount(row["bucket_cost"]),
            "left": f"{row['bucket_bits']:.3f}",
        }
        for row in found.leakage.to_dict("records")
    ]


def quality_rows(found: Answers) -> list[tuple[str, str, str]]:
    """The literature's numbers: name, value, what it is."""
    each = found.quality
    if each is None:
        return []
    rows = [
        ("AIQ", each.aiq, f"mean height of the front's hull; a coin has {each.aiq_coin:.3f}"),
        ("APGR", each.apgr, "mean gap recovered from the cheapest to the dearest expert"),
        ("CPT(50)", each.cpt50, "least share of dear calls that recovers half of the gap"),
        ("CPT(80)", each.cpt80, "the same for four fifths"),
        ("IGD+", each.igd_plus, "mean distance to the oracle's curve, in shares of the frame"),
        ("epsilon", each.epsilon, "least shift that would cover the oracle's curve"),
    ]
    return [(name, f"{value:.3f}", text) for name, value, text in rows if value == value]


def seed_sentence(found: Answers) -> str:
    """Whether seeds send the same examples to the same experts."""
    if found.seeds is None:
        return ""
    kappa = found.seeds["kappa"].dropna()
    if kappa.empty:
        return ""
    return (
        f"Two seeds of a point agree on {percent(found.seeds['agreement'].mean())} % of the routes "
        f"on average, where their shares alone would give "
        f"{percent(found.seeds['chance'].mean())} % (kappa {kappa.min():.2f} to {kappa.max():.2f})."
    )


def moving_sentence(found: Answers) -> str:
    """Whether a dearer point sends some examples to cheaper experts."""
    if found.moving is None or found.moving.empty:
        return ""
    down = found.moving["down"]
    return (
        f"From one point of the front to the next {percent(found.moving['up'].mean())} % of the "
        f"examples move to a dearer expert and {percent(down.mean())} % to a cheaper one (at most "
        f"{percent(down.max())} %)."
    )


def trust_sentence(found: Answers) -> str:
    """From which epoch on a rung may be trusted."""
    if found.epochs is None:
        return ""
    last = int(found.epochs["epoch"].max()) + 1
    points = int(found.epochs["points"].max())
    who = f"the {points} points that trained to the end"
    if found.trusted is None:
        return (
            f"Among {who} no epoch before the last ({last}) has a rank correlation of .9 with it, "
            f"for score and cost, that lasts (the least is {found.epochs['rho'].min():.2f}): early "
            "stopping would drop some points that end well."
        )
    return (
        f"Among {who} the order by score and by cost after epoch {found.trusted} is that after "
        f"epoch {last} (rank correlation .9 or more from there on)."
    )


def calibration_sentence(found: Answers) -> str:
    """How far the experts' confidences can be believed."""
    if found.calibration is None:
        return ""
    experts = found.calibration[found.calibration["kind"] == "expert"]
    if experts.empty:
        before, after = (found.calibration[name].mean() for name in ("before", "after"))
        return (
            "Expected calibration error of the front's routers, each trial with its own experts, "
            f"before and after temperatures fitted on selection: {before:.3f} to {after:.3f}."
        )
    said = ", ".join(
        f"{row['label']} {row['before']:.3f} to {row['after']:.3f} (T = {row['temperature']:.2f})"
        for row in experts.to_dict("records")
    )
    return (
        "Expected calibration error of the experts' confidences, before and after a temperature "
        f"fitted on selection: {said}."
    )


def provenance_rows(run: Run, survey: Survey) -> list[tuple[str, str]]:
    """Where the run comes from: names and values."""
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
            f"95 % percentiles of {survey.resamples} draws: resampled examples and, where seeds "
            "differ by more than their examples explain, Student's t over seeds",
        ),
        ("tables", f"schema version {facts['schema']}"),
    ]
    return [(name, str(value)) for name, value in rows if value]


def _pairs(mapping: Any) -> str:
    return ", ".join(f"{name} {value}" for name, value in (mapping or {}).items())


def objective_rows(table: pd.DataFrame, objectives: Mapping[str, str]) -> list[dict[str, Any]]:
    """The front in numbers: point, label, chance to be on it, a cell an objective; best first."""
    first, way = next(iter(objectives.items()))
    front = table[table["on_front"]].sort_values(first, ascending=way == "min")
    return [
        {
            "point": row["point"],
            "label": row["label"],
            "chance": f"{percent(row['chance'])} %" if row["chance"] == row["chance"] else "",
            "breaks": row["breaks"],
            "cells": [
                {"value": value_words(name, row[name]), "interval": interval_words(name, row)}
                for name in objectives
            ],
        }
        for row in front.to_dict("records")
    ]


def objective_words(objectives: Mapping[str, str]) -> str:
    """`f1 (max), cost mpc seconds as if (min)`."""
    return ", ".join(f"{name_words(name)} ({way})" for name, way in objectives.items())
