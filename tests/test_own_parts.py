"""Parts of one's own: the example package in a sweep, and what a run's folder may not import."""

from __future__ import annotations

import functools
import importlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml

from analysis import compare, export, front
from mpc_router import plugins, testing
from mpc_router.config.trial import ConfigError
from mpc_router.tasks import metrics, own_metrics, task_of
from sweeps import run
from sweeps.journal.journal import _line_of
from sweeps.search import samplers
from sweeps.study.read import from_tree, load
from tests.sweeps.conftest import assert_same_tables, in_process, on_disk, rows

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples/own_parts"
DEFINITION = {
    "name": "mrpc",
    "text": ["sentence1", "sentence2"],
    "label": "label",
    "labels": ["not_equivalent", "equivalent"],
    "metrics": ["accuracy", "worst_recall"],
    "score": "worst_recall",
}
SEARCH = (
    *("mrpc_pareto", "pool=sample", "epochs=2", "seeds=[0]", "search.points=8", "search.batch=4"),
    *("stopping={method: none}", "router_hidden_size=8", "search.method=near_best"),
    "cost_vector=layers",
    f"task_definition={json.dumps(DEFINITION)}",
)
QUIET = ("--no-report", "--quiet")
Sweep = Callable[..., int]


@pytest.fixture(autouse=True)
def trusting_nothing(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Begins and ends a test as a new process does: no part is trusted or loaded."""
    kept = dict(sys.modules)
    _forget()
    yield
    _forget()
    for name in sys.modules.keys() - kept.keys():
        if name.partition(".")[0] in ("example_parts", "evil", "mine", "broken"):
            del sys.modules[name]


def _forget() -> None:
    plugins._trusted.clear()
    samplers._samplers_of_users.clear()
    own_metrics._parts.clear()
    own_metrics._fitting.clear()


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example package, installed into a folder of its own from a copy of its own folder."""
    source = tmp_path_factory.mktemp("source") / "own_parts"
    site = tmp_path_factory.mktemp("site")
    shutil.copytree(EXAMPLE, source)
    offline = ("--no-deps", "--no-build-isolation", "--no-index", "--quiet")
    command = [sys.executable, "-m", "pip", "install", *offline, "--target", str(site)]
    subprocess.run([*command, str(source)], check=True)
    return site


@pytest.fixture
def site(installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the installed package that a test may change, on Python's path."""
    folder = Path(shutil.copytree(installed, tmp_path / "site"))
    monkeypatch.syspath_prepend(str(folder))
    importlib.invalidate_caches()
    return folder


def upgrade(site: Path, version: str) -> None:
    """Makes the installed package one of this version."""
    (folder,) = site.glob("example_parts-*.dist-info")
    metadata = folder / "METADATA"
    text = metadata.read_text(encoding="utf-8").replace("Version: 1.0", f"Version: {version}")
    metadata.write_text(text, encoding="utf-8")
    folder.rename(site / f"example_parts-{version}.dist-info")
    importlib.invalidate_caches()


@pytest.fixture(scope="session")
def outputs(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random outputs of experts, prepared for a task with the example's metric."""
    folder = tmp_path_factory.mktemp("outputs") / "entry"
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(installed))
        with plugins.words_of_user():
            on_disk(folder, definition=task_of(DEFINITION).to_json())
    return folder


def called(out: Path, *words: str) -> int:
    """Calls the command; gives its exit code."""
    places = ("--out", str(out), "--cache", str(out.parent / "cache"))
    return run.main([*words, *places, *([] if "--resume" in words else ["--sample"]), *QUIET])


@pytest.fixture
def sweep(site: Path, outputs: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Sweep:
    """`sweeps.run` on random outputs of experts, in this process."""
    in_process(monkeypatch, outputs)
    return functools.partial(called, tmp_path / "runs")


@pytest.fixture(scope="session")
def finished(installed: Path, outputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with the example's sampler and metric, for tests to copy."""
    out = tmp_path_factory.mktemp("finished") / "runs"
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(installed))
        in_process(patch, outputs)
        assert called(out, *SEARCH, "--name", "r") == 0
    return out / "r"


@pytest.fixture
def done(finished: Path, tmp_path: Path) -> Path:
    """The run, copied, in a process that knows neither sampler nor metric."""
    _forget()
    return Path(shutil.copytree(finished, tmp_path / "runs/r"))


def cut(folder: Path, batches: int) -> None:
    """Leaves of a run's journal what was written before this batch was asked."""
    lines = (folder / "journal.jsonl").read_bytes().splitlines(keepends=True)
    asked = [n for n, line in enumerate(lines) if json.loads(line)["event"] == "asked"]
    (folder / "journal.jsonl").write_bytes(b"".join(lines[: asked[batches]]))


def message(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on stderr."""
    text = capsys.readouterr().err
    assert text.startswith("error: ")
    assert text.count("\n") == 1
    return text


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
    (folder / "journal.jsonl").write_bytes(b"".join(map(_line_of, events)))
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


BROKEN = {
    "raise RuntimeError('no licence')": "RuntimeError: no licence",
    "raise SystemExit(0)": "SystemExit",
    "def part(seed): raise KeyError('seed')": "KeyError",
    "def part(seed): return 5": "int, which is no optuna",
    "def part(): return 5": "takes no seed",
    "part = 5": "takes no seed",
    "other = 5": "has no attribute 'part'",
    "def part(seed):\n import optuna\n return optuna.samplers.RandomSampler()": "other points",
    "def part(seed):\n import optuna\n return optuna.samplers.BruteForceSampler(seed)": "step",
}


@pytest.mark.parametrize("text", BROKEN)
def test_a_sampler_that_fails_is_one_message_before_anything_is_prepared(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    (tmp_path / "broken.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    words = ("mrpc_pareto", "search.method=broken:part", "--sample", "--out", str(tmp_path / "o"))
    assert run.main([*words, "--cache", str(tmp_path / "cache")]) == 2
    said = message(capsys)
    assert BROKEN[text] in said
    assert "broken:part" in said
    assert not (tmp_path / "cache").exists()


BROKEN_METRICS = {
    "part = len": "must be an mpc_router.tasks.Metric",
    "from mpc_router.tasks import Metric\npart = Metric(name='x')": "must have one of of_counts",
    "from mpc_router.tasks import Metric\n"
    "part = Metric(name='x', of_counts=lambda counts: 1 / 0)": "ZeroDivisionError",
    "from mpc_router.tasks import Metric\n"
    "part = Metric(name='x', of_counts=lambda counts: counts.hits)": "gives shape (3, 2)",
    "from mpc_router.tasks import Metric\n"
    "part = Metric(name='x', of_counts=lambda counts: counts.hits.sum(-1))": "within its range",
    "from mpc_router.tasks.metrics import _METRICS\npart = _METRICS['pearson']": "of a regression",
}


@pytest.mark.parametrize("text", BROKEN_METRICS)
def test_a_metric_that_fails_is_one_message_too(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    (tmp_path / "broken.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    definition = DEFINITION | {"metrics": ["broken:part"], "score": "broken:part"}
    words = ("mrpc_grid", f"task_definition={json.dumps(definition)}", "--sample")
    assert run.main([*words, "--cache", str(tmp_path / "cache")]) == 2
    said = message(capsys)
    assert BROKEN_METRICS[text] in said
    assert "broken:part" in said


BROKEN_COSTS = {
    "part = 5": "it is int, and must be a function",
    "def part(config): return 5": "gives int",
    "def part(config): raise KeyError('tiny')": "KeyError: 'tiny'",
    "def part(config):\n from mpc_router.costs import CostVector\n"
    " return CostVector(name='x', unit='x', router=0, experts=(1.0,))": "costs of 1 experts",
}


@pytest.mark.parametrize("text", BROKEN_COSTS)
def test_a_cost_vector_that_fails_is_one_message_too(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    (tmp_path / "broken.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    words = ("mrpc_grid", "cost_vector=broken:part", "--sample")
    assert run.main([*words, "--cache", str(tmp_path / "cache")]) == 2
    line = message(capsys)
    assert BROKEN_COSTS[text] in line
    assert "broken:part" in line


def test_any_sampler_of_optunas_is_taken_by_its_class_path(capsys: Any) -> None:
    words = ("mrpc_pareto", "search.method=optuna.samplers:{}", "search.points=27")
    for name in ("TPESampler", "NSGAIISampler"):
        study = load(words[0], [words[1].format(name), words[2]])
        assert study.search.fidelity == "left_out"
        (part,) = study.to_tree()["parts"]
        assert (part["package"], part["version"]) == ("optuna", optuna.__version__)
    with pytest.raises(ConfigError, match="GridSampler' failed"):
        load(words[0], [words[1].format("GridSampler"), words[2]])


def test_a_run_with_a_class_of_optunas_asks_for_it_again() -> None:
    """Some of Optuna's samplers unpickle what a journal says they have noted."""
    tree = load("mrpc_pareto").to_tree()
    tree["search"] = tree["search"] | {"method": "optuna.samplers:TPESampler"}
    with pytest.raises(ConfigError, match=r"--trust optuna\.samplers:TPESampler"):
        from_tree(tree)


def test_the_example_package_passes_its_own_tests(site: Path) -> None:
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), str(ROOT)])}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n0"]
    tests = EXAMPLE / "tests"
    done = subprocess.run([*command, str(tests)], env=environ, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout.decode()


CONFORMING = ("RandomSampler", "TPESampler", "NSGAIISampler", "QMCSampler")


@pytest.mark.parametrize("name", CONFORMING)
def test_samplers_of_optunas_conform(name: str) -> None:
    testing.check_sampler(getattr(optuna.samplers, name))


def test_what_does_not_conform_is_said_in_a_sentence() -> None:
    def unseeded(seed: int) -> Any:
        return optuna.samplers.RandomSampler()

    def one_seed(seed: int) -> Any:
        return optuna.samplers.RandomSampler(seed=0)

    for factory, words in ((unseeded, "all randomness from its seed"), (len, "takes no seed")):
        with pytest.raises(AssertionError, match=words):
            testing.check_sampler(factory)
    with pytest.raises(AssertionError, match="same points with two seeds"):
        testing.check_sampler(one_seed)


@pytest.mark.parametrize("name", metrics._METRICS)
def test_every_metric_that_ships_conforms(name: str) -> None:
    for classes in (2, 5):
        testing.check_metric(metrics._METRICS[name], classes=classes)


def test_two_packages_with_one_name_are_refused(site: Path) -> None:
    (folder,) = site.glob("*.dist-info")
    other = Path(shutil.copytree(folder, site / "rival-2.0.dist-info"))
    text = (folder / "METADATA").read_text().replace("Name: example-parts", "Name: rival")
    (other / "METADATA").write_text(text.replace("Version: 1.0", "Version: 2.0"))
    importlib.invalidate_caches()
    with plugins.words_of_user(), pytest.raises(plugins.PartError, match=r"rival 2\.0"):
        plugins.part(plugins.SAMPLERS, "near_best")


def test_a_package_of_optunahub_is_a_sampler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = pytest.importorskip("optunahub", reason="optunahub is not installed")
    package = tmp_path / "samplers/near"
    package.mkdir(parents=True)
    shutil.copy(EXAMPLE / "example_parts/sampler.py", package / "near.py")
    (package / "__init__.py").write_text("from .near import NearBest\n__all__ = ['NearBest']\n")

    def local(name: str) -> Any:
        return hub.load_local_module(name, registry_root=str(tmp_path))

    monkeypatch.setattr(hub, "load_module", local)
    for method in ("optunahub:samplers/near", "optunahub:samplers/near:NearBest"):
        study = load("mrpc_pareto", [f"search.method={method}"])
        assert study.to_tree()["parts"][0]["name"] == method
    with pytest.raises(ConfigError, match="cannot be loaded"):
        load("mrpc_pareto", ["search.method=optunahub:samplers/none"])
