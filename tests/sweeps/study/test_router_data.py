"""What a router learns from as a setting of a study: sets, keys, tables, plan and replay."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mpc_router import RoutedClassifier
from mpc_router.config.trial import trial_config
from mpc_router.data.sources import Source, load_splits
from sweeps.commands.routers import export
from sweeps.study.prepared_sets import sets_of
from sweeps.study.read import from_tree, load
from tests.sweeps.conftest import LITTLE, assert_same_tables, rows

Command = Callable[..., int]

KINDS = ("train", "cross_fitted", "held_out")
SEARCHED = (
    *("mrpc_pool_size", *LITTLE, "pool_size=3", "epochs=2", "seeds=[0]", "stem=expert"),
    *(f"router_data={{grid: [{', '.join(KINDS)}]}}", "router_folds=2"),
    "router_kind={grid: [gated, predictive]}",
)


def test_every_choice_of_rows_is_a_set_and_a_trial_of_it_is_replayed(
    sample: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "runs" / "r"
    assert sample(*SEARCHED, "--name", "r") == 0
    trials = rows(run, "trials")
    assert {trial["status"] for trial in trials} == {"COMPLETED"}
    assert len({trial["key"] for trial in trials}) == len(trials) == 2 * len(KINDS)
    experts = {
        kind: {t["experts_id"] for t in trials if t["router_data"] == kind} for kind in KINDS
    }
    assert experts["train"] == experts["cross_fitted"]
    assert experts["train"].isdisjoint(experts["held_out"])
    packs = {(trial["pack"], trial["router_data"]) for trial in trials}
    assert len({pack for pack, _ in packs}) == len(packs)  # no stack has two choices
    assert {row["split"] for row in rows(run, "experts")} == {"selection", "validation"}
    provenance = json.loads((run / "provenance.json").read_text())
    assert len({each["fingerprints"]["data"] for each in provenance["sets"]}) == len(KINDS)
    assert sum("Routers learn from" in note for note in provenance["notes"]) == len(KINDS) - 1
    key = next(
        trial["key"]
        for trial in trials
        if (trial["router_data"], trial["router_kind"]) == ("cross_fitted", "predictive")
    )
    capsys.readouterr()
    assert sample("--debug", "--key", key, "--run", str(run)) == 0
    assert "equal to the run's numbers" in capsys.readouterr().out


def test_an_interrupted_run_of_cross_fitted_routers_goes_on_to_the_same_tables_and_is_exported(
    sample: Command, tmp_path: Path, sample_cache: Path
) -> None:
    words = (
        *("mrpc_grid", *LITTLE, "epochs=2", "seeds=[0]", "stem=expert", "alpha=0.05", "beta=0.08"),
        *("router_data=cross_fitted", "router_folds=2", "combine=average", "pack.points=1"),
        "router_kind={grid: [gated, sequential]}",
    )
    whole, cut = tmp_path / "runs" / "whole", tmp_path / "runs" / "cut"
    assert sample(*words, "--name", "whole") == 0
    assert sample(*words, "budget.epochs=2", "--name", "cut") == 5
    assert sorted(trial["status"] for trial in rows(cut, "trials")) == ["COMPLETED", "INTERRUPTED"]
    assert sample("--resume", str(cut), "budget.epochs=99") == 0
    assert_same_tables(cut, whole)
    (trial,) = [trial for trial in rows(cut, "trials") if trial["router_kind"] == "sequential"]
    folder = tmp_path / "exported"
    places = ("--sample", "--cache", str(sample_cache))
    assert export.main(["--run", str(cut), "--key", trial["key"], *places, str(folder)]) == 0
    classifier = RoutedClassifier.from_pretrained(folder)
    routed = [
        row
        for row in rows(cut, "routing")
        if (row["key"], row["split"]) == (trial["key"], "validation")
    ]
    config = trial_config(json.loads(trial["config"]))
    texts = load_splits(config, Source(kind="sample"))["validation"].texts
    answers = classifier(list(zip(*texts, strict=True)))
    assert [answer.path for answer in answers] == [config.paths[row["route"]] for row in routed]


def test_a_dry_run_says_how_many_rows_no_expert_has_seen(
    sample: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sample(*SEARCHED, "--dry-run") == 0
    told = capsys.readouterr().out
    assert "cross_fitted: routers learn from 96 rows with outputs of experts that have" in told
    assert "held_out: routers learn from 24 rows with outputs of experts that have" in told
    assert "router_data train: routers learn" not in told


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (("router_data=cross_fitted", "router_folds=200"), "lower router_folds"),
        (("router_data=unused", "train_rows=8000"), "none beyond train_rows"),
        (("router_data=held_out", "router_share=1.5"), "above 0, below 1"),
        (("router_data=held_out", "experts=joint"), "experts=joint"),
    ],
)
def test_what_cannot_be_learned_from_is_one_message_and_exit_2(
    sample: Command,
    overrides: tuple[str, ...],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    def forbid(*_: object, **__: object) -> Any:
        raise AssertionError("nothing is to be prepared")

    monkeypatch.setattr("mpc_router.prepare.frozen.prepare", forbid)
    names = {word.partition("=")[0] for word in overrides}
    little = [word for word in LITTLE if word.partition("=")[0] not in names]
    assert sample("mrpc_pool_size", *little, "pool_size=3", *overrides) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert told.count("\n") == 1
    assert words in told
    assert not (tmp_path / "runs").exists()


def test_a_resolved_study_says_what_a_router_learns_from_where_it_is_not_the_usual() -> None:
    usual = load("mrpc_grid", ["pool=sample"])
    assert not any(name.startswith("router_data") for name in usual.to_tree()["trial"])
    crossed = load("mrpc_grid", ["pool=sample", "router_data=cross_fitted", "router_folds=4"])
    again = from_tree(crossed.to_tree())
    assert again.base == crossed.base
    assert again.base.data.router_folds == 4


def test_points_that_differ_in_what_routers_learn_from_are_prepared_apart() -> None:
    configs = {
        kind: trial_config({"pool": "sample", "router_data": kind, "train_rows": 9})
        for kind in (*KINDS, "unused")
    }
    assert len(sets_of(configs, ["router_data"])) == len(configs)
