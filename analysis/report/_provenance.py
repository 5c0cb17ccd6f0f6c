"""Says in names and values where a run comes from."""

from __future__ import annotations

from typing import Any

from analysis.fronts.survey import Survey
from analysis.runs.load import Run


def provenance_rows(run: Run, survey: Survey) -> list[tuple[str, str]]:
    """Says where the run comes from: names and values."""
    facts = run.provenance
    vectors = "; ".join(
        f"{vector.name}: router {vector.router:g}, experts "
        f"{', '.join(f'{cost:g}' for cost in vector.experts)} {vector.unit}"
        f"{' (as if)' if vector.as_if else ''}"
        f"{f' ({vector.basis})' if vector.basis else ''}"
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
