"""The notebooks that ship, and the recorded runs that they read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import numpy as np
import pytest

import analysis
from analysis import schema
from analysis.fronts.survey import survey
from analysis.runs.load import load_run

PACKAGE = Path(analysis.__file__).parent
NOTEBOOKS = sorted((PACKAGE / "notebooks").glob("*.ipynb"))
RECORDED = sorted((PACKAGE / "notebooks" / "recorded").iterdir())

SHOWS = {
    "01_pareto_front": (2, "The best trade"),
    "02_expert_utilization": (2, "ranks can be trusted from epoch"),
    "03_compare_runs": (1, "the least these seeds can give"),
    "04_choose_an_operating_point": (2, "knee: "),
}
"""By notebook, how many pictures it shows and words that it prints."""


def _executed(path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every output of a notebook, run from top to bottom."""
    monkeypatch.setenv("PYTHONPATH", str(PACKAGE.parent))
    notebook = nbformat.read(path, as_version=4)
    done = nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    return [output for cell in done.cells for output in cell.get("outputs", ())]


def _pictures(outputs: list[Any]) -> list[str]:
    pages = [output.get("data", {}).get("text/html", "") for output in outputs]
    return [page for page in pages if "vega" in page]


def test_there_are_four_notebooks() -> None:
    assert [path.stem for path in NOTEBOOKS] == list(SHOWS)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_kept_without_outputs(path: Path) -> None:
    for cell in nbformat.read(path, as_version=4).cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_run_on_the_recorded_runs(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MPC_ROUTER_RUN", raising=False)
    outputs = _executed(path, monkeypatch)
    pictures, words = SHOWS[path.stem]
    shown = _pictures(outputs)
    assert len(shown) == pictures
    assert not any('src="http' in page for page in shown)
    assert any(words in output.get("text", "") for output in outputs)
    assert not any(output.get("name") == "stderr" for output in outputs)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["rte", "stsb"])
@pytest.mark.parametrize("path", [NOTEBOOKS[0], NOTEBOOKS[3]], ids=lambda path: path.stem)
def test_notebooks_run_on_the_run_that_they_are_given(
    path: Path, task: str, written: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MPC_ROUTER_RUN", str(written(f"notebook-{task}", task=task)))
    assert len(_pictures(_executed(path, monkeypatch))) == 2


def test_the_recorded_runs_are_small_and_say_that_they_are_made_up() -> None:
    files = [path for folder in RECORDED for path in folder.rglob("*") if path.is_file()]
    assert [folder.name for folder in RECORDED] == ["grid", "search"]
    assert sum(path.stat().st_size for path in files) < 400_000
    for folder in RECORDED:
        run = load_run(folder)
        assert run.provenance["synthetic"]
        assert any("Recorded for the notebooks" in note for note in run.provenance["notes"])


@pytest.mark.parametrize("folder", RECORDED, ids=lambda path: path.name)
def test_the_recorded_runs_name_no_machine(folder: Path) -> None:
    provenance = json.loads((folder / schema.PROVENANCE_FILE).read_text())
    assert provenance["machine"] == {}
    assert not any(word.startswith("/") for word in provenance["arguments"])


@pytest.mark.parametrize("folder", RECORDED, ids=lambda path: path.name)
def test_rounding_changed_no_route_and_no_score(folder: Path) -> None:
    run = load_run(folder)
    routing = run.routing
    logits = np.stack(routing["logits"].to_list())
    assert np.array_equal(logits.argmax(axis=1), routing["route"].to_numpy())
    found = survey(run, resamples=0)
    trials = run.trials[run.trials["status"] == schema.COMPLETED].groupby("point")
    means = trials["validation_score"].mean()[found.points["point"]]
    assert found.points["score"].to_numpy() == pytest.approx(means.to_numpy(), abs=1e-12)
