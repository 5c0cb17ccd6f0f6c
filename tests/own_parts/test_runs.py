"""Runs with parts of one's own, and what a run's folder may not import."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from analysis import compare, export, front
from mpc_router import plugins
from sweeps.journal._lines import line_of
from tests.own_parts.conftest import SEARCH, Sweep, cut, message, upgrade
from tests.sweeps.conftest import assert_same_tables, rows


def test_an_installed_package_brings_a_sampler_and_a_metric(done: Path) -> None:
    recorded = [
        {"group": group, "name": name, "package": "example-parts", "version": "1.0"}
        for group, name in (
            (plugins.SAMPLERS, "near_best"),
            (plugins.METRICS, "worst_recall"),
            (plugins.COST_VECTORS, "layers"),
        )
    ]
    provenance = json.loads((done / "provenance.json").read_text())
    assert provenance["parts"] == recorded
    assert yaml.safe_load((done / "study.yaml").read_text())["parts"] == recorded
    trials = rows(done, "trials")
    assert len(trials) == 8
    for trial in trials:
        assert 0 <= trial["validation_worst_recall"] <= trial["validation_accuracy"]
        assert trial["validation_score"] == trial["validation_worst_recall"]
        assert 2 <= trial["validation_cost_layers"] <= 25


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
    names = ("--trust", "near_best", "--trust", "worst_recall", "--trust", "layers")
    assert again(sweep, done, way, *names) == 0
    changes = json.loads((done / "provenance.json").read_text()).get("changes", ())
    assert [(change["what"], change["then"], change["now"]) for change in changes] == [
        (f"part {name}", "example-parts 1.0", "example-parts 1.1")
        for name in ("near_best", "worst_recall", "layers")
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


def test_analysis_needs_neither_sampler_nor_cost_vector_of_a_run(
    done: Path, sweep: Sweep, evil: Path
) -> None:
    shutil.copy(done / "study.yaml", done.parent / "kept.yaml")
    strange(done, named("near_best", "evil:Sampler", recorded=True))
    shutil.copy(done.parent / "kept.yaml", done / "study.yaml")
    provenance = json.loads((done / "provenance.json").read_text())
    for part in provenance["parts"]:
        if part["group"] == plugins.COST_VECTORS:
            part["name"] = "evil:costs"
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
