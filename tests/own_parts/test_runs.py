"""Runs with parts of one's own, and what a run's folder may not import."""

from __future__ import annotations

import importlib
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from analysis import compare, export, front
from mpc_router import plugins
from sweeps.journal._lines import line_of
from sweeps.stopping.own_rules import rung_of
from tests.own_parts.conftest import SEARCH, Sweep, cut, forget, message, upgrade
from tests.sweeps.conftest import assert_same_tables, rows

PARTS = {
    plugins.SAMPLERS: "near_best",
    plugins.METRICS: "worst_recall",
    plugins.COST_VECTORS: "layers",
    plugins.POOLS: "two_depths",
    plugins.STOPPING_RULES: "near_front",
    plugins.ROUTER_KINDS: "neighbours",
}
"""The parts of the run, in the order in which it records them."""


def test_an_installed_package_brings_a_part_of_each_kind(done: Path) -> None:
    assert tuple(PARTS) == plugins._GROUPS
    recorded = [
        {"group": group, "name": name, "package": "example-parts", "version": "1.0"}
        for group, name in PARTS.items()
    ]
    provenance = json.loads((done / "provenance.json").read_text())
    assert provenance["parts"] == recorded
    assert yaml.safe_load((done / "study.yaml").read_text())["parts"] == recorded
    trials = rows(done, "trials")
    # proposals of `neighbours` differ in settings that it does not heed, and are one point
    assert len(trials) == 7
    kinds = {json.loads(trial["config"])["model"].get("router_kind") for trial in trials}
    assert kinds == {None, "neighbours"}
    for trial in trials:
        assert 0 <= trial["validation_worst_recall"] <= trial["validation_accuracy"]
        assert trial["validation_score"] == trial["validation_worst_recall"]
        assert 2 <= trial["validation_cost_layers"] <= 7
        assert 1.2 <= trial["validation_cost_constants"] <= 5.2
    config = json.loads(trials[0]["config"])
    assert config["model"]["expert_layers"] == [1, 3, 6]
    assert config["model"]["router_cost"] == 0.2


def test_a_stopping_rule_decides_by_what_the_journal_says_of_a_rung(done: Path, site: Path) -> None:
    near_front = importlib.import_module("example_parts.stopping").near_front
    reports = {
        row["key"]: (-row["score"], row["cost"])
        for row in rows(done, "reports")
        if (row["epoch"], row["split"]) == (1, "selection")
    }
    brackets = decisions(done)
    for bracket in brackets:
        losses = np.array([reports[decision["key"]] for decision in bracket])
        answers = near_front(rung_of(losses, np.zeros(len(losses)), 1, 3))
        assert [decision["goes_on"] for decision in bracket] == answers.tolist()
        words = f"near_front lets {answers.sum()} of {len(losses)} go on after epoch 1"
        assert {decision["reason"] for decision in bracket} == {words}
        assert answers.sum() > 0
    assert sum(map(len, brackets)) == 7
    assert any(not decision["goes_on"] for bracket in brackets for decision in bracket)


def decisions(folder: Path) -> list[list[dict[str, Any]]]:
    """The decisions of each of a run's rungs, in the journal's order."""
    events = map(json.loads, (folder / "journal.jsonl").read_bytes().splitlines())
    return [event["decisions"] for event in events if event["event"] == "decided"]


def test_a_search_by_a_sampler_of_ones_own_is_resumed_as_if_it_had_not_stopped(
    done: Path, sweep: Sweep, tmp_path: Path
) -> None:
    before = Path(shutil.copytree(done, tmp_path / "before"))
    cut(done, 1)
    assert sweep("--resume", str(done)) == 0
    assert_same_tables(done, before)


@pytest.mark.parametrize("way", ["resume", "repair", "debug", "front"])
def test_another_version_than_the_recorded_one_is_refused(
    done: Path, sweep: Sweep, site: Path, way: str, capsys: pytest.CaptureFixture[str]
) -> None:
    cut(done, 1) if way in ("resume", "repair") else None
    upgrade(site, "1.1")
    capsys.readouterr()
    assert again(sweep, done, way) == 2
    said = message(capsys)
    for text in ("example-parts 1.0", "example-parts 1.1", "--trust "):
        assert text in said


@pytest.mark.parametrize("way", ["resume", "debug", "front"])
def test_a_part_that_is_named_again_is_taken_in_any_version(
    done: Path, sweep: Sweep, site: Path, way: str
) -> None:
    cut(done, 1) if way == "resume" else None
    upgrade(site, "1.1")
    names = [word for name in PARTS.values() for word in ("--trust", name)]
    assert again(sweep, done, way, *names) == 0
    changes = json.loads((done / "provenance.json").read_text()).get("changes", ())
    assert [(change["what"], change["then"], change["now"]) for change in changes] == [
        (f"part {name}", "example-parts 1.0", "example-parts 1.1")
        for name in PARTS.values()
        if way == "resume"
    ]


def again(sweep: Sweep, folder: Path, way: str, *more: str) -> int:
    """Reads a run anew in this way; gives the exit code."""
    if way == "resume":
        return sweep("--resume", str(folder), *more)
    if way == "repair":
        return sweep("--resume", str(folder), "--repair", *more)
    if way == "debug":
        key = rows(folder, "trials")[0]["key"]
        return sweep("--debug", "--key", key, "--run", str(folder), *more)
    if way == "compare":
        return compare.main([str(folder), str(folder), *more])
    if way == "export":
        return export.main([str(folder), "--to", "csv", str(folder / "csv"), *more])
    return front.main([str(folder), *more])


def strange(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Changes what a run says of itself, with checksums that are right."""
    lines = (folder / "journal.jsonl").read_bytes().splitlines()
    events = [json.loads(line) for line in lines]
    for event in events:
        del event["check"]
    opened = events[0]
    for tree in (opened["study"], opened["provenance"], opened):
        change(tree)
    (folder / "journal.jsonl").write_bytes(b"".join(map(line_of, events)))
    provenance = json.loads((folder / "provenance.json").read_text())
    change(provenance)
    (folder / "provenance.json").write_text(json.dumps(provenance))
    (folder / "study.yaml").unlink()


def named(old: str, new: str, *, recorded: bool) -> Callable[[dict[str, Any]], None]:
    """Puts another name into a tree, and into its recorded parts or not."""

    def change(tree: dict[str, Any]) -> None:
        parts = tree.get("parts")
        changed = json.loads(json.dumps(tree).replace(json.dumps(old), json.dumps(new)))
        tree |= changed
        if isinstance(parts, list) and not recorded:
            tree["parts"] = [part for part in parts if part["name"] != old]

    return change


@pytest.fixture
def evil(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module on Python's path that leaves a file when it is imported, and the file."""
    mark = tmp_path / "imported"
    text = (
        f"open({str(mark)!r}, 'w').close()\nfrom example_parts.sampler import NearBest as Sampler\n"
    )
    text += "from example_parts.metric import worst_recall as metric\n"
    text += "from example_parts.costs import layers as costs\n"
    text += "from example_parts.pool import two_depths as pool\n"
    text += "from example_parts.stopping import near_front as rule\n"
    (tmp_path / "evil.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    return mark


@pytest.mark.parametrize("recorded", [True, False])
@pytest.mark.parametrize("way", ["resume", "repair", "debug"])
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("near_best", "evil:Sampler"),
        ("worst_recall", "evil:metric"),
        ("layers", "evil:costs"),
        ("two_depths", "evil:pool"),
        ("near_front", "evil:rule"),
    ],
)
def test_code_that_a_strangers_run_names_is_not_imported(
    done: Path,
    sweep: Sweep,
    evil: Path,
    way: str,
    old: str,
    new: str,
    recorded: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    strange(done, named(old, new, recorded=recorded))
    capsys.readouterr()
    assert again(sweep, done, way) == 2
    assert f"--trust {new}" in message(capsys)
    assert not evil.exists()
    assert "evil" not in sys.modules


@pytest.mark.parametrize("recorded", [True, False])
@pytest.mark.parametrize("way", ["front", "compare", "export"])
def test_analysis_imports_no_metric_that_a_strangers_run_names(
    done: Path, sweep: Sweep, evil: Path, way: str, recorded: bool, capsys: Any
) -> None:
    strange(done, named("worst_recall", "evil:metric", recorded=recorded))
    capsys.readouterr()
    assert again(sweep, done, way) == 2
    assert "--trust evil:metric" in message(capsys)
    assert not evil.exists()


def test_analysis_needs_no_part_of_a_run_but_its_metrics(
    done: Path, sweep: Sweep, evil: Path
) -> None:
    shutil.copy(done / "study.yaml", done.parent / "kept.yaml")
    strange(done, named("near_best", "evil:Sampler", recorded=True))
    shutil.copy(done.parent / "kept.yaml", done / "study.yaml")
    provenance = json.loads((done / "provenance.json").read_text())
    for part in provenance["parts"]:
        if part["group"] != plugins.METRICS:
            part["name"] = f"evil:{part['name']}"
    (done / "provenance.json").write_text(json.dumps(provenance))
    assert again(sweep, done, "front") == 0
    assert not evil.exists()


def test_a_module_of_ones_own_is_taken_from_a_study_and_asked_for_again_at_a_resume(
    sweep: Sweep, evil: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep(*SEARCH, "search.method=evil:Sampler", "--name", "m") == 0
    assert evil.exists()
    folder = tmp_path / "runs/m"
    (part, *_) = json.loads((folder / "provenance.json").read_text())["parts"]
    assert part["package"] is None
    assert part["version"].startswith("sha256:")
    cut(folder, 1)
    capsys.readouterr()
    assert sweep("--resume", str(folder)) == 2
    assert "--trust evil:Sampler" in message(capsys)
    assert sweep("--resume", str(folder), "--trust", "evil:Sampler") == 0


@pytest.mark.parametrize("command", ["eval", "demo", "export"])
def test_a_routers_checkpoint_asks_for_its_parts_by_name(
    done: Path, site: Path, command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = rows(done, "trials")[0]["key"]
    words = {
        "eval": ["--sample"],
        "demo": ["a text"],
        "export": [str(tmp_path / "exported")],
    }
    main = importlib.import_module(f"mpc_router.commands.{command}").main
    names: list[str] = []
    for name in ("worst_recall", "two_depths"):
        trusted = [word for other in names for word in ("--trust", other)]
        folder = str(done / "checkpoints" / key)
        assert main(["--checkpoint", folder, *words[command], *trusted]) == 2
        line = message(capsys)
        assert "is code that only a folder names, so it was not loaded; if you know" in line
        assert line.endswith(f"give --trust {name}\n")
        assert len(line) < 400
        names.append(name)
        forget()
