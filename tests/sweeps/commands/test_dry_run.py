"""What a dry run says of searches and of stopping."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from sweeps.commands import dry_run as module
from sweeps.commands.dry_run import _forecast, _Stage, _stages, _start_lines
from sweeps.driver.share import Share
from sweeps.plan.plan import Fingerprints, Plan, trials_of
from sweeps.records import InputError, Pack
from sweeps.stopping.ranks import Entry, cut
from sweeps.stopping.rule import Rule
from sweeps.study.read import load
from sweeps.study.study import Study
from sweeps.worker.step_time import Measurement
from tests.mpc_router.prepare.frozen_pools import forbid

Command = Callable[..., int]

RULE = Rule(method="mo_asha", eta=3, grace=1, bracket=27)


def test_a_bracket_of_27_over_9_epochs_costs_a_quarter() -> None:
    found = _stages(27, RULE, 9)
    assert found == (
        _Stage(points=27, begin=0, end=1),
        _Stage(points=9, begin=1, end=3),
        _Stage(points=3, begin=3, end=9),
    )
    assert [leg.epochs for leg in found] == [27, 18, 18]


def test_without_stopping_all_train_to_the_end() -> None:
    assert _stages(5, Rule(), 9) == (_Stage(points=5, begin=0, end=9),)


@pytest.mark.parametrize("points", [1, 2, 3, 10, 27, 28])
@pytest.mark.parametrize("eta", [2, 3, 4])
def test_stages_are_what_the_rungs_decide(points: int, eta: int) -> None:
    rule = Rule(method="asha", eta=eta, grace=1)
    there = [Entry(name=str(each), losses=(float(each),)) for each in range(points)]
    spent, begin = 0, 0
    for end in (*rule.rungs(20), 20):
        spent += len(there) * (end - begin)
        kept = {each.name for each in cut(there, rule, seed=0, epoch=end) if each.goes_on}
        there, begin = [each for each in there if each.name in kept], end
    assert sum(leg.epochs for leg in _stages(points, rule, 20)) == spent


def first_batch(study: Study, points: int, packs: int = 1) -> Plan:
    """A plan of a search's first batch, as the engine makes it."""
    configs = [study.config({leaf: a.middle for leaf, a in study.space.items()})] * points
    named = [study.point(f"p{number:02d}", each) for number, each in enumerate(configs)]
    prints = Fingerprints(data="d", models="m")
    size = points // packs
    trials = [
        trials_of(config, point, study.seeds, prepared_set=study.set_of(config), prints=prints)
        for config, point in zip(configs, named, strict=True)
    ]
    cut_up = [
        tuple(trial for point in trials[start : start + size] for trial in point)
        for start in range(0, points, size)
    ]
    return Plan(
        points=tuple(named),
        packs=tuple(Pack(name=f"pack{n:02d}", trials=each) for n, each in enumerate(cut_up)),
    )


def said(
    study: Study,
    planned: Plan,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *,
    workers: int = 1,
    gpus: float = 0.0,
) -> Sequence[str]:
    """What is printed where an epoch of a trial takes a second."""
    names = {trial.prepared for trial in planned.trials}
    taken = {name: Measurement(step=0.01, epoch=1.0) for name in names}
    monkeypatch.setattr(module, "_measured", lambda *_, **__: taken)

    class Ready:
        def __init__(self, prepared_set: Any) -> None:
            self.prepared_set = prepared_set
            rows = SimpleNamespace(features=np.empty((3301, 128), np.float32))
            self.inputs = SimpleNamespace(splits={"train": rows})

    ready: Any = [Ready(each) for each in study.sets]
    share = Share(pack=study.pack, address=None, gpus=gpus, workers=workers)
    _forecast(study, ready, planned, share)
    return capsys.readouterr().out.splitlines()


def test_a_search_is_forecast_from_its_first_batch(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study = load("mrpc_pareto", ["pool=sample", "search.method=tpe", "search.parallel=2"])
    lines = said(study, first_batch(study, 27), monkeypatch, capsys)
    assert lines[0].split() == ["point", "origin", "pack", *study.searched]
    assert [line.split()[:3] for line in lines[1:28]] == [
        [f"p{number:02d}", "tpe", "pack00"] for number in range(27)
    ]
    assert lines[29] == (
        "216 points x 3 seeds = 648 trials of 9 epochs, proposed by tpe in 8 batches of 27, 2 at a "
        "time, on 1 worker; shown is the first batch"
    )
    assert [" ".join(line.split()) for line in lines[30:34]] == [
        "a bracket's rungs points to epoch epochs of trials about",
        "rung 1 27 1 81 81 s",
        "rung 2 9 3 54 54 s",
        "to the end 3 9 54 54 s",
    ]
    assert lines[34] == "stopping is expected to save 74% of 5832 epochs of trials"
    assert lines[35] == "then stopped points that lie on the front train to the end"
    assert lines[36].startswith(f"about {8 * (81 + 54 + 54)} s of training, at 10.000 ms a step")


def test_every_point_is_listed_with_its_settings_and_where_it_comes_from(
    sample: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    little = ("train_rows=96", "validation_rows=60", "router_hidden_size=8", "epochs=2")
    assert sample("mrpc_grid", *little, "seeds=[0]", "alpha={grid: [0.5, 2]}", "--dry-run") == 0
    lines = capsys.readouterr().out.splitlines()
    head = lines.index(next(line for line in lines if line.startswith("point ")))
    rows = [line.split() for line in lines[head + 1 : head + 8]]
    assert lines[head].split()[3:] == ["beta", "alpha"]
    assert [(row[0], row[1], *row[3:]) for row in rows] == [
        ("p00", "start", "0", "0"),
        *(
            (f"p{number:02d}", "grid", beta, alpha)
            for number, (beta, alpha) in enumerate(
                itertools.product(("0.001", "0.01", "0.1"), ("0.5", "2")), 1
            )
        ),
    ]


def test_as_many_batches_run_at_a_time_as_may_be_open(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study = load("mrpc_pareto", ["pool=sample", "search.method=tpe", "search.parallel=2"])
    lines = said(study, first_batch(study, 27), monkeypatch, capsys, workers=16, gpus=0.5)
    assert lines[29].endswith(
        "2 at a time, on 16 workers with 0.5 GPU each; shown is the first batch"
    )
    assert lines[-1].startswith(f"about {8 * (81 + 54 + 54) // 2} s")


def test_without_stopping_nothing_is_saved_and_a_budget_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["pool=sample", "stopping.method=none", "search.points=32", "budget={time: 90m}"]
    study = load("mrpc_pareto", given)
    lines = said(study, first_batch(study, 16, packs=2), monkeypatch, capsys)
    assert not any("bracket" in line or "save" in line for line in lines)
    assert lines[-2].startswith(f"about {32 * 3 * 9} s")
    assert lines[-1] == "or less, if a budget ends it: time 1.5 h"


def test_a_dry_run_of_a_grid_says_what_stopping_saves(
    sample: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    little = ("train_rows=96", "validation_rows=60", "router_hidden_size=8", "epochs=4")
    stopping = "stopping={method: mo_asha, bracket: 10}"
    assert sample("mrpc_grid", *little, "seeds=[0]", stopping, "--dry-run") == 0
    printed = capsys.readouterr().out
    assert "a bracket's rungs" in printed
    assert "of 40 epochs of trials" in printed


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_dry_run_for_a_cluster_s_gpus_is_refused_before_it_prepares_where_there_is_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    study = load("mrpc_grid", ["device=cuda"], sample=True)
    share = Share(pack=study.pack, address="10.0.0.1:6379", gpus=1.0, workers=1)
    monkeypatch.setattr(module, "pack_share", lambda *_: share)
    monkeypatch.setattr("sweeps.plan.preparation.prepare_sets", forbid)
    with pytest.raises(InputError, match=r"^--dry-run measures steps .*; add device=auto"):
        module.show_plan(argparse.Namespace(quiet=True), study)


def test_a_start_point_that_comes_along_unasked_is_named() -> None:
    (line,) = _start_lines(load("mrpc_grid", ["alpha={grid: [0.5]}"], sample=True))
    assert "alpha=0, beta=0" in line
    assert "start=[]" in line
    (line,) = _start_lines(load("mrpc_grid", ["alpha={grid: [0.5]}", "beta=0.1"], sample=True))
    assert "alpha=0 (" in line
    assert _start_lines(load("mrpc_grid", ["start=[]"], sample=True)) == []


def test_searches_are_listed_with_how_they_propose_and_stop(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from sweeps.run import main

    assert main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "mrpc_grid: 10 points x 3 seeds" in lines
    assert "mrpc_pareto: 216 points x 3 seeds, proposed by qmc, stopped early by mo_asha" in lines
    assert max(map(len, lines)) <= 80
