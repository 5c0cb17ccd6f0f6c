"""Parts that fail, one message each, and the conformance suite for third parties."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import optuna
import pytest

from mpc_router import plugins
from mpc_router.config.pools import POOLS
from mpc_router.config.trial import ConfigError
from mpc_router.tasks import metrics
from sweeps import run, testing
from sweeps.study.read import from_tree, load
from tests.own_parts.conftest import DEFINITION, EXAMPLE, ROOT, message

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


BROKEN_POOLS = {
    "part = 5": "must be an mpc_router.config.pools.Pool",
    "make([('a', 2), ('b', 1)])": "members stand cheapest first",
    "make([('a', 1), ('b', float('inf'))])": "finite numbers from 0",
    "make([('a', 1)])": "a router needs 2",
    "make([('a-{part}', 1), ('b', 2)])": "braces around something else than {task}",
    "make([('a', 1), ('b-{', 2)])": "braces that do not match",
    "make([('', 1), ('b', 2)])": "names no model",
    "make([('a', 1), ('b', 2)], sizes={2: (1, 0)})": "rising from 0",
    "make([('a', 1), ('b', 2)], sizes={3: (0, 1)})": "give as many members",
    "make([('a', 1), ('b', 2)], sizes=[(0, 1)])": "AttributeError",
    "make([('a', 1), ('b', 2)], usual_size=3)": "is not among its sizes",
    "make([('a', 1), ('b', 2)], stem='')": "it has no stem",
    "make([('a', 1), ('b', 2)], stem_pooling='max')": "allowed are cls and mean",
    "make([('a', 1), ('b', 2)], expert_epochs=0)": "an integer from 1",
    "make([('a', 1), ('b', 2)], expert_learning_rate=0.0)": "must be above 0",
}
MAKE = """
from mpc_router.config.pools import Member, Pool
def make(members, **settings):
    global part
    usual = dict(name='x', sizes={2: (0, 1)}, usual_size=2, router_cost=0.1, stem='s')
    members = tuple(Member(model=model, cost=cost) for model, cost in members)
    part = Pool(members=members, **{**usual, **settings})
"""


@pytest.mark.parametrize("text", BROKEN_POOLS)
def test_a_pool_that_fails_is_one_message_too(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    (tmp_path / "broken.py").write_text(MAKE + text)
    monkeypatch.syspath_prepend(str(tmp_path))
    words = ("mrpc_grid", "pool=broken:part", "--sample")
    assert run.main([*words, "--cache", str(tmp_path / "cache")]) == 2
    line = message(capsys)
    assert BROKEN_POOLS[text] in line
    assert "broken:part" in line


BROKEN_RULES = {
    "part = 5": "it is int, and must be a function",
    "def part(rung): return 5": "it gives int64, and must give one truth value for each of",
    "def part(rung): return rung.losses > 0": "gives shape (1, 2)",
    "def part(rung): return [True]": "gives shape (1,), and must",
    "def part(rung): return rung.losses[:, 2] > 0": "IndexError",
    "def part(rung): rung.losses[0] = 0": "ValueError: assignment destination is read-only",
    "import itertools\ncalls = itertools.count()\n"
    "def part(rung): return rung.losses[:, 0] > 9 * (-1) ** next(calls)": "called again",
    "def part(rung): return [n % 2 == 0 for n, _ in enumerate(rung.losses)]": "another order",
}


@pytest.mark.parametrize("text", BROKEN_RULES)
def test_a_stopping_rule_that_fails_is_one_message_too(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    (tmp_path / "broken.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    words = ("mrpc_pareto", "stopping.method=broken:part", "--sample")
    assert run.main([*words, "--cache", str(tmp_path / "cache")]) == 2
    line = message(capsys)
    assert BROKEN_RULES[text] in line
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


@pytest.mark.slow
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


@pytest.mark.parametrize("name", ["bert", "minilm"])
def test_pools_that_ship_conform(name: str) -> None:
    testing.check_pool(POOLS[name])


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
