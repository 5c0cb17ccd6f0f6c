"""Prepares rows and sentences of a report's sections, ready to be shown."""

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
    """Gives the front in numbers, cheapest first; then what only constraints keep from it."""
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
            "breaks": _broken_words(row["breaks"]),
        }
        for row in shown
    ]


def _broken_words(breaks: str) -> str:
    return ", ".join(name_words(name) for name in breaks.split(", "))


def use_rows(run: Run, survey: Survey, use: pd.DataFrame) -> dict[str, Any]:
    """Gives what the text under the picture of utilization says."""
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
    """Gives the table of trials as data, which the page's script draws, sorts and filters.

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
    rows, differences = [], []
    base: dict[str, Any] | None = None
    for row in table.to_dict("records"):
        cells = [row["status"], row["point"], *(_brief(row[name]) for name in run.settings)]
        cells += [_cell(row["seed"]), *(_cell(row[column], 4) for column in measured.values())]
        cells += [bounds.get(str(row["point"]), "")] if bounds else []
        cells += [_cell(row["epochs"]), _cell(row["seconds"], 1), str(row["key"])]
        rows.append([*cells, *([_cell(row["reason"])] if named else [])])
        config = _flat(json.loads(row["config"])) if row.get("config") else {}
        base = config if base is None else base
        differences.append(
            {path: value for path, value in config.items() if base.get(path) != value}
        )
    return {
        "columns": [*columns, *(["reason"] if named else [])],
        "digits": digits,
        "rows": rows,
        "base": base or {},
        "own": differences,
    }


def _bounds_by_point(survey: Survey) -> dict[str, str]:
    """Says which constraints each judged point breaks; empty where the study has none."""
    if not survey.judged.constraints:
        return {}
    rows = survey.points[["point", "breaks"]].to_dict("records")
    return {
        str(row["point"]): f"breaks {row['breaks']}" if row["breaks"] else "kept" for row in rows
    }


def _brief(value: Any) -> Any:
    """Gives a setting's cell: a number with four digits, for its configuration has them all."""
    cell = _cell(value)
    return float(f"{cell:.4g}") if isinstance(cell, float) else cell


def _cell(value: Any, digits: int | None = None) -> Any:
    """Gives a number or text, or None where there is nothing."""
    if isinstance(value, bool | str):
        return str(value)
    if isinstance(value, int | float):
        number = float(value)
        if not math.isfinite(number):
            return None
        return number if digits is None else round(number, digits)
    return None if value is None else _setting(value)


def _flat(tree: dict[str, Any], before: str = "") -> dict[str, Any]:
    """Gives nested settings by their dotted path."""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        path = f"{before}{name}"
        flat |= _flat(value, f"{path}.") if isinstance(value, dict) else {path: value}
    return flat


def _called(run: Run, point: object, label: object) -> str:
    """Names a point by its settings, or by its name where they are many."""
    return str(label if len(run.settings) <= MOST_NAMED else point)


def offer_rows(run: Run, answered: Answers) -> list[dict[str, Any]]:
    """Says what to run for at most some costs; `over` where it costs more when quoted."""
    return [
        {
            "cap": amount(offer.cap),
            "label": _called(run, offer.point, offer.label),
            "bias": f"{offer.bias:.3g}".replace("-", "\N{MINUS SIGN}"),
            "score": number(offer.score),
            "cost": amount(offer.cost),
            "over": offer.cost > offer.cap,
        }
        for offer in answered.offers or ()
    ]


def cap_sentence(survey: Survey, answered: Answers) -> str:
    """Says whether the caps that were kept on selection are kept when quoted."""
    over = [offer for offer in answered.offers or () if offer.cost > offer.cap]
    if not over:
        return ""
    worst = max(over, key=lambda offer: offer.cost / offer.cap)
    return (
        f"{len(over)} of {len(answered.offers or ())} cost more on {survey.split} than the cap "
        f"that they keep on selection, at worst {amount(worst.cost)} for {amount(worst.cap)} "
        f"({percent(worst.cost / worst.cap - 1)} % more): where the cap is hard, leave that much "
        "room."
    )


def rival_rows(run: Run, answered: Answers) -> list[dict[str, str]]:
    """Compares gates of the front with the cascades that cost no more."""
    return [
        {
            "gate": _called(run, rival.point, rival.label),
            "gate_score": number(rival.gate_score),
            "gate_cost": amount(rival.gate_cost),
            "cascade": rival.cascade,
            "cascade_score": number(rival.cascade_score),
            "cascade_cost": amount(rival.cascade_cost),
            "difference": signed(rival.difference),
            "interval": f"{signed(rival.low)} to {signed(rival.high)}",
            "verdict": "above" if rival.low > 0 else "below" if rival.high < 0 else EQUAL,
        }
        for rival in answered.rivals or ()
    ]


def depends_rows(run: Run, answered: Answers) -> list[dict[str, Any]]:
    """Says what routes tell of each feature: a row a point of the front, cheapest first."""
    if answered.information is None:
        return []
    rows = []
    for (point, label), feature_rows in answered.information.groupby(
        ["point", "label"], sort=False
    ):
        cells = [
            {
                "feature": row["feature"],
                "bits": f"{row['information']:.3f}",
                "chance": f"{row['high']:.3f}",
                "more": bool(row["p"] < LARGER),
            }
            for row in feature_rows.to_dict("records")
        ]
        rows.append({"label": _called(run, point, label), "cells": cells})
    return rows


def leak_rows(run: Run, answered: Answers) -> list[dict[str, Any]]:
    """Says what times tell of the label, and what hiding costs."""
    if answered.leakage is None:
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
        for row in answered.leakage.to_dict("records")
    ]


def quality_rows(answered: Answers) -> list[tuple[str, str, str]]:
    """Gives the literature's numbers: name, value, what it is."""
    quality = answered.quality
    if quality is None:
        return []
    rows = [
        (
            "AIQ",
            quality.aiq,
            f"mean height of the front's hull; a coin has {number(quality.aiq_coin)}",
        ),
        ("APGR", quality.apgr, "mean gap recovered from the cheapest to the dearest expert"),
        ("CPT(50)", quality.cpt50, "least share of dear calls that recovers half of the gap"),
        ("CPT(80)", quality.cpt80, "the same for four fifths"),
        ("IGD+", quality.igd_plus, "mean distance to the oracle's curve, in shares of the frame"),
        ("epsilon", quality.epsilon, "least shift that would cover the oracle's curve"),
    ]
    return [(name, number(value), text) for name, value, text in rows if value == value]


def seed_sentence(answered: Answers) -> str:
    """Says whether seeds send the same examples to the same experts."""
    if answered.seeds is None:
        return ""
    kappa = answered.seeds["kappa"].dropna()
    if kappa.empty:
        return ""
    return (
        f"Two seeds of a point agree on {percent(answered.seeds['agreement'].mean())} % of the "
        "routes on average, where their shares alone would give "
        f"{percent(answered.seeds['chance'].mean())} % "
        f"(kappa {kappa.min():.2f} to {kappa.max():.2f})."
    )


def moving_sentence(answered: Answers) -> str:
    """Says whether a dearer point sends some examples to cheaper experts."""
    if answered.moving is None or answered.moving.empty:
        return ""
    down = answered.moving["down"]
    return (
        f"From one point of the front to the next {percent(answered.moving['up'].mean())} % of the "
        f"examples move to a dearer expert and {percent(down.mean())} % to a cheaper one (at most "
        f"{percent(down.max())} %)."
    )


def trust_sentence(answered: Answers) -> str:
    """Says from which epoch on a rung may be trusted."""
    if answered.epochs is None:
        return ""
    last = int(answered.epochs["epoch"].max()) + 1
    points = int(answered.epochs["points"].max())
    who = f"the {points} points that trained to the end"
    if answered.trusted is None:
        return (
            f"Among {who} no epoch before the last ({last}) has a rank correlation of .9 with it, "
            f"for score and cost, that lasts (the least is {answered.epochs['rho'].min():.2f}): "
            "early stopping would drop some points that end well."
        )
    return (
        f"Among {who} the order by score and by cost after epoch {answered.trusted} is that after "
        f"epoch {last} (rank correlation .9 or more from there on)."
    )


def calibration_sentence(answered: Answers) -> str:
    """Says how far the experts' confidences can be believed."""
    if answered.calibration is None:
        return ""
    experts = answered.calibration[answered.calibration["kind"] == "expert"]
    if experts.empty:
        before, after = (answered.calibration[name].mean() for name in ("before", "after"))
        return (
            "Expected calibration error of the front's routers, each trial with its own experts, "
            f"before and after temperatures fitted on selection: {before:.3f} to {after:.3f}."
        )
    texts = ", ".join(
        f"{row['label']} {row['before']:.3f} to {row['after']:.3f} (T = {row['temperature']:.2f})"
        for row in experts.to_dict("records")
    )
    return (
        "Expected calibration error of the experts' confidences, before and after a temperature "
        f"fitted on selection: {texts}."
    )


def provenance_rows(run: Run, survey: Survey) -> list[tuple[str, str]]:
    """Says where the run comes from: names and values."""
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
            for prepared_set in facts.get("sets") or [facts]
            for one in prepared_set["experts"]
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
    """Gives the front by objective: point, label, chance, a cell an objective; best first."""
    first, way = next(iter(objectives.items()))
    front = table[table["on_front"]].sort_values(first, ascending=way == "min")
    return [
        {
            "point": row["point"],
            "label": row["label"],
            "chance": f"{percent(row['chance'])} %" if row["chance"] == row["chance"] else "",
            "breaks": _broken_words(row["breaks"]),
            "cells": [
                {"value": value_words(name, row[name]), "interval": interval_words(name, row)}
                for name in objectives
            ],
        }
        for row in front.to_dict("records")
    ]


def objective_words(objectives: Mapping[str, str]) -> str:
    """Gives `f1 (max), cost mpc seconds as if (min)`."""
    return ", ".join(f"{name_words(name)} ({way})" for name, way in objectives.items())
