"""Pictures of many points hold what can be told apart, and nothing of it moves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.figures import front, history
from analysis.figures.front import front_figure
from analysis.figures.history import history_figure
from analysis.fronts.survey import survey
from analysis.runs.load import Run


def _records(spec: dict[str, Any], field: str) -> list[dict[str, Any]]:
    """All records of a picture that have a field, of each layer."""
    records = []
    for layer in (spec, *spec["layer"]):
        data = layer.get("data", {})
        values = data.get("values") or spec.get("datasets", {}).get(data.get("name"), [])
        records += [record for record in values if field in record]
    return records


def test_among_many_points_the_front_alone_has_intervals_and_each_point_its_dot(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = survey(run, resamples=20)
    few = front_figure(run, taken).to_dict()
    monkeypatch.setattr(front, "MANY", 1)
    many = front_figure(run, taken).to_dict()
    with_intervals = {record["point"] for record in _records(many, "score_low")}
    assert with_intervals == set(taken.front["point"])
    assert {record["point"] for record in _records(few, "score_low")} == set(taken.points["point"])

    def places(spec: dict[str, Any]) -> set[tuple[Any, ...]]:
        names = ("point", "kind", "score", "cost", "breaks")
        return {tuple(record[name] for name in names) for record in _records(spec, "breaks")}

    assert places(many) == places(few)
    assert len({point for point, *_ in places(many)}) == len(taken.points)


def test_steps_that_raise_nothing_are_left_out_of_many(monkeypatch: pytest.MonkeyPatch) -> None:
    volumes = np.array([0.0, 0.0, 0.5, 0.5, 0.5, 0.7, 0.7, 0.7])
    table = pd.DataFrame(
        {"epochs": np.arange(8), "hypervolume": volumes, "point": [f"p{n}" for n in range(8)]}
    )

    def points() -> list[str]:
        return [record["point"] for record in _records(history_figure(table).to_dict(), "point")]

    assert set(points()) == set(table["point"])
    monkeypatch.setattr(history, "_MOST_STEPS", 7)
    assert list(dict.fromkeys(points())) == ["p0", "p2", "p5", "p7"]
