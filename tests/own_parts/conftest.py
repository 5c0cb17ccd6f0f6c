"""The example package as it is installed, and runs with its parts."""

from __future__ import annotations

import functools
import importlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mpc_router import plugins
from mpc_router.config import own_kinds, own_pools
from mpc_router.tasks import own_metrics, task_of
from sweeps import run
from sweeps.search import samplers
from sweeps.stopping import own_rules
from tests.sweeps.conftest import few_draws, in_process, on_disk

ROOT = Path(__file__).resolve().parents[2]
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
    *("mrpc_pareto", "pool=two_depths", "pool_size=3", "epochs=2", "seeds=[0]", "search.points=16"),
    *("search.batch=8", "search.method=near_best", "stopping.method=near_front"),
    *("stopping.bracket=8", "router_hidden_size=8", "cost_vector=layers"),
    "router_kind={choice: [gated, neighbours]}",
    f"task_definition={json.dumps(DEFINITION)}",
)
QUIET = ("--no-report", "--quiet")
Sweep = Callable[..., int]
__all__ = ["few_draws"]  # a fixture of the sweeps' tests that these use too


@pytest.fixture(autouse=True)
def trusting_nothing(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Begins and ends a test as a new process does: no part is trusted or loaded."""
    kept = dict(sys.modules)
    forget()
    yield
    forget()
    for name in sys.modules.keys() - kept.keys():
        if name.partition(".")[0] in ("example_parts", "evil", "mine", "broken"):
            del sys.modules[name]


def forget() -> None:
    plugins._trusted.clear()
    samplers._samplers_of_users.clear()
    own_metrics._parts.clear()
    own_metrics._fitting.clear()
    own_kinds._parts.clear()
    own_pools._parts.clear()
    own_rules._rules.clear()


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
    """A run with a part of each kind of the example's, for tests to copy."""
    out = tmp_path_factory.mktemp("finished") / "runs"
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(installed))
        in_process(patch, outputs)
        assert called(out, *SEARCH, "--name", "r") == 0
    return out / "r"


@pytest.fixture
def done(finished: Path, tmp_path: Path) -> Path:
    """The run, copied, in a process that knows none of its parts."""
    forget()
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
