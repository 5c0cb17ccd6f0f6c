"""Batches that depend on nothing but the journal, and what Optuna's own tools see of them."""

from __future__ import annotations

import dataclasses
import datetime
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from sweeps.search.ask import ask
from sweeps.search.rule import (
    _FIDELITIES,
    _METHODS,
    OPEN,
    UNREACHED,
    Batch,
    Proposal,
    Result,
    SearchError,
    SearchRule,
)
from sweeps.search.samplers import SAMPLERS
from sweeps.search.space import Axis, AxisError, axis_of
from sweeps.search.view import ViewedPoint, write_view

optuna = pytest.importorskip("optuna")

SPACE = {
    "alpha": axis_of("alpha", {"loguniform": [1e-3, 1]}),
    "temperature": axis_of("temperature", {"uniform": [0.5, 2]}),
    "router_hidden_size": axis_of("router_hidden_size", {"choice": [64, 128]}),
    "expert_costs": axis_of("expert_costs", {"choice": [[2, 7, 13], [1, 7, 19.5]]}),
    "pool_size": axis_of("pool_size", {"int": [2, 5]}),
}
WAYS = ("max", "min")
QUICK = ("random", "qmc", "tpe", "nsga2", "nsga3")
START = {
    "alpha": 0.1,
    "temperature": 1.0,
    "router_hidden_size": 64,
    "expert_costs": (1, 7, 19.5),
    "pool_size": 2,
}


def told(batch: Batch, number: int) -> Batch:
    """The batch with results that its points decide: complete, stopped and failed ones."""
    results = []
    for place, proposal in enumerate(batch.proposals):
        values = (proposal.settings["alpha"] ** 2, float(proposal.settings["pool_size"]))
        kind = (place + number) % 4
        if kind == 3:
            results.append(Result(ended="failed"))
        elif kind == 2:
            results.append(Result(ended="stopped", values=values, reached=0.3))
        else:
            results.append(Result(ended="complete", values=values))
    return Batch(proposals=batch.proposals, attributes=batch.attributes, results=tuple(results))


def asked(rule: SearchRule, *, seed: int = 3, chance: int | None = None) -> list[Batch]:
    """All batches; with `chance` some are told earlier than needed, as they are live."""
    lot = random.Random(chance)
    batches: list[Batch] = []
    while rule.size_of(len(batches)):
        due = len(batches) + 1 - rule.parallel
        seen = [
            told(batch, number)
            if number < due or (chance is not None and lot.random() < 0.5)
            else batch
            for number, batch in enumerate(batches)
        ]
        batches.append(ask(SPACE, WAYS, rule, seen, seed=seed, start=[START]))
    return batches


def points(batches: Sequence[Batch]) -> list[dict[str, Any]]:
    return [dict(proposal.settings) for batch in batches for proposal in batch.proposals]


@pytest.mark.parametrize("parallel", [1, 2])
@pytest.mark.parametrize("method", QUICK)
def test_the_same_points_whatever_the_order_of_arrival(method: str, parallel: int) -> None:
    rule = SearchRule(method=method, points=22, batch=6, parallel=parallel)
    assert points(asked(rule)) == points(asked(rule, chance=1))


@pytest.mark.slow
def test_the_gaussian_process_too() -> None:
    rule = SearchRule(method="gp", points=13, batch=6)
    assert points(asked(rule)) == points(asked(rule, chance=1))


@pytest.mark.parametrize("method", QUICK)
def test_another_seed_gives_other_points_all_of_them_in_the_space(method: str) -> None:
    rule = SearchRule(method=method, points=12, batch=6)
    one, other = points(asked(rule, seed=1)), points(asked(rule, seed=2))
    assert one[0] == other[0] == START
    assert one[1:] != other[1:]
    assert all(SPACE[leaf].holds(value) for each in one for leaf, value in each.items())
    assert len(one) == 12


@pytest.mark.parametrize("method", ["tpe", "nsga2", "qmc"])
def test_a_search_does_not_repeat_itself_from_batch_to_batch(method: str) -> None:
    batches = asked(SearchRule(method=method, points=24, batch=6))
    seen = [tuple(sorted(each.items())) for each in points(batches)]
    assert len(set(seen)) > 18


@pytest.mark.parametrize("fidelity", _FIDELITIES)
@pytest.mark.parametrize("method", ["tpe", "nsga2"])
def test_every_fidelity_rule_can_be_told_to_every_sampler(method: str, fidelity: str) -> None:
    rule = SearchRule(method=method, points=18, batch=6, fidelity=fidelity)
    assert len(points(asked(rule))) == 18


def test_nsga2_goes_on_from_what_was_good() -> None:
    """A later generation lies nearer to the front (alpha up, pool_size down) than the first."""
    rule = SearchRule(method="nsga2", points=120, batch=20)
    batches: list[Batch] = []
    while rule.size_of(len(batches)):
        seen = [
            Batch(
                proposals=batch.proposals,
                attributes=batch.attributes,
                results=tuple(
                    Result(
                        ended="complete",
                        values=(
                            proposal.settings["alpha"] - proposal.settings["temperature"],
                            proposal.settings["temperature"],
                        ),
                    )
                    for proposal in batch.proposals
                ),
            )
            for batch in batches
        ]
        batches.append(ask(SPACE, WAYS, rule, seen, seed=0))
    first, last = points(batches[:1]), points(batches[-1:])
    assert sum(p["temperature"] for p in last) < sum(p["temperature"] for p in first)
    assert sum(p["alpha"] for p in last) > sum(p["alpha"] for p in first)


def last_batch(method: str, *, sign: float = 1.0, broken: bool = False) -> list[dict[str, Any]]:
    """The last batch, of one point, after two of six whose values have this sign, and whose larger
    alphas may break a constraint."""
    rule, batches = SearchRule(method=method, points=13, batch=6), list[Batch]()
    while rule.size_of(len(batches)):
        batch = ask(SPACE, WAYS, rule, batches, seed=4)
        results = tuple(
            Result(
                ended="complete",
                values=(sign * settings["alpha"], sign * settings["temperature"]),
                violations={"cost": settings["alpha"] - 0.02 if broken else -1.0},
            )
            for settings in points([batch])
        )
        batches.append(
            Batch(proposals=batch.proposals, attributes=batch.attributes, results=results)
        )
    return points(batches[-1:])


@pytest.mark.parametrize("method", SAMPLERS)
def test_the_table_says_what_a_sampler_uses_of_results(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = {name: dataclasses.replace(made, learns=True) for name, made in SAMPLERS.items()}
    monkeypatch.setattr("sweeps.search.samplers.SAMPLERS", table)  # results reach all of them
    plain = last_batch(method)
    assert (last_batch(method, sign=-1.0) != plain) == SAMPLERS[method].learns
    assert (last_batch(method, broken=True) != plain) == SAMPLERS[method].heeds_constraints


def test_methods_come_from_the_table_of_samplers() -> None:
    assert _METHODS == ("grid", "random", "qmc", "tpe", "nsga2", "nsga3", "gp")
    learning = [method for method in SAMPLERS if SearchRule(method=method, points=1).learns]
    assert learning == ["tpe", "nsga2", "nsga3", "gp"]


TIMES = ("2026-01-02T03:04:05.006+00:00", "2026-01-02T04:04:05.006+00:00")


def view(tmp_path: Path, rule: SearchRule, *, running: bool) -> Any:
    proposals = tuple(Proposal(settings={**START, "alpha": alpha}) for alpha in (0.1, 0.2, 0.3))
    results = (
        Result(ended="complete", values=(0.8, 4.0), violations={"cost": -1.0}),
        Result(ended="stopped", values=(0.7, 3.0), violations={"cost": -2.0}, reached=0.25),
        Result(ended="failed"),
    )
    points = [
        ViewedPoint(name=f"p{n}", proposal=proposal, result=result, begun=begun, ended=ended)
        for n, (proposal, result, begun, ended) in enumerate(
            (
                *((*pair, TIMES[0], TIMES[1]) for pair in zip(proposals, results, strict=True)),
                (proposals[0], OPEN, TIMES[1], None),
                (proposals[1], OPEN, None, None),
            )
        )
    ]
    path = tmp_path / "optuna.journal"
    objectives = {"score": "max", "cost": "min"}
    write_view(path, "demo", SPACE, objectives, rule, points, running=running)
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(path)))
    return optuna.load_study(study_name="demo", storage=storage)


@pytest.mark.parametrize(("running", "started"), [(True, "RUNNING"), (False, "WAITING")])
def test_plain_optuna_opens_the_view(tmp_path: Path, running: bool, started: str) -> None:
    study = view(tmp_path, SearchRule(), running=running)
    assert [trial.state.name for trial in study.trials] == [
        *("COMPLETE", "COMPLETE", "FAIL"),
        *(started, "WAITING"),
    ]
    assert [trial.user_attrs["point"] for trial in study.trials] == ["p0", "p1", "p2", "p3", "p4"]
    assert study.metric_names == ["score", "cost"]
    assert study.trials[1].constraints == {"cost": -2.0, UNREACHED: 0.75}
    assert study.trials[0].constraints == {"cost": -1.0, UNREACHED: 0.0}
    assert study.trials[0].params["expert_costs"] == "[1, 7, 19.5]"


def test_the_view_has_the_times_of_the_run_and_not_those_of_its_writing(tmp_path: Path) -> None:
    def told(time: datetime.datetime | None) -> float | None:
        return None if time is None else time.timestamp()  # Optuna's times are local

    first, second = (datetime.datetime.fromisoformat(time).timestamp() for time in TIMES)
    trials = view(tmp_path, SearchRule(), running=True).trials
    times = [(told(trial.datetime_start), told(trial.datetime_complete)) for trial in trials]
    assert times == [(first, second)] * 3 + [(second, None), (None, None)]


def test_a_stopped_point_that_is_left_out_is_pruned(tmp_path: Path) -> None:
    study = view(tmp_path, SearchRule(fidelity="left_out"), running=False)
    assert study.trials[1].state.name == "PRUNED"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"method": "bohb", "points": 3}, "allowed are grid, random"),
        ({"method": "tpe"}, "needs search.points"),
        ({"method": "tpe", "points": 3, "batch": 0}, "search.batch is 0"),
        ({"fidelity": "guess"}, "search.fidelity"),
    ],
)
def test_a_search_that_cannot_be_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(SearchError, match=said):
        SearchRule(**given)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([1, 2], "write one of"),
        ({"normal": [0, 1]}, "write one of"),
        ({"uniform": [1, 1]}, "low below high"),
        ({"uniform": [0, True]}, "two finite numbers"),
        ({"loguniform": [0, 1]}, "above 0"),
        ({"int": [1, 2.5]}, "two whole numbers"),
        ({"grid": []}, "list of values"),
        ({"choice": "abc"}, "list of values"),
    ],
)
def test_an_axis_that_cannot_be_is_refused(given: Any, said: str) -> None:
    with pytest.raises(AxisError, match=said):
        axis_of("alpha", given)


@pytest.mark.parametrize("each", SPACE.values(), ids=list(SPACE))
def test_an_axis_survives_yaml(each: Axis) -> None:
    assert axis_of("x", each.plain()) == each
