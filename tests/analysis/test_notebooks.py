"""The notebooks that ship, and the recorded runs that they read."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import numpy as np
import pytest
from jupyter_client.manager import KernelManager

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
    "05_from_a_run_to_answers": (1, "a route says at most"),
}
"""By notebook, how many pictures it shows and words that it prints."""


@pytest.fixture(scope="module")
def kernel() -> Iterator[KernelManager]:
    """One for all notebooks: modules stay loaded, names do not."""
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel(env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)})
    first = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(QUICK)])
    nbclient.NotebookClient(first, timeout=300, km=manager).execute()
    yield manager
    manager.shutdown_kernel(now=True)


QUICK = """
from analysis.stats import resampling
from mpc_router.commands import train
few = ["train_rows=200", "validation_rows=100", "expert_epochs=1"]
resampling.resamples_for = lambda _: 20
train.main = lambda words, few=few, whole=train.main: whole([*words, *few])
"""
"""Draws and rows of the notebooks, which take minutes with all of them; said once to a kernel."""


def _executed(path: Path, kernel: KernelManager, run: Path | str | None = None) -> list[Any]:
    """The cells of a notebook, run from top to bottom, with the variable that names a run."""
    notebook = nbformat.read(path, as_version=4)
    named = {} if run is None else {"MPC_ROUTER_RUN": str(run)}
    before = "%reset -f\n__import__('os').environ.pop('MPC_ROUTER_RUN', None)\n"
    before += f"__import__('os').environ.update({named})"
    notebook.cells.insert(0, nbformat.v4.new_code_cell(before))
    done = nbclient.NotebookClient(notebook, timeout=300, km=kernel).execute()
    cells: list[Any] = done.cells[1:]
    return cells


def _outputs(cells: list[Any]) -> list[Any]:
    return [output for cell in cells for output in cell.get("outputs", ())]


def _pictures(outputs: list[Any]) -> list[str]:
    return [picture for output in outputs if (picture := output.get("data", {}).get("image/png"))]


def _kinds(cell: Any) -> list[list[str]]:
    """What each output of a cell can be shown as, but printed text, which comes in any pieces."""
    return [sorted(output["data"]) for output in cell.get("outputs", ()) if "data" in output]


def test_there_are_five_notebooks() -> None:
    assert [path.stem for path in NOTEBOOKS] == list(SHOWS)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_kept_as_they_were_executed_from_top_to_bottom(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    code = [cell for cell in nbformat.reads(text, as_version=4).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    pictures, words = SHOWS[path.stem]
    assert len(_pictures(outputs)) == pictures
    assert any(words in output.get("text", "") for output in outputs)
    assert not any(output.get("name") == "stderr" for output in outputs)
    assert not re.search(r"/(root|home|tmp|work)/", text)
    assert len(text) < 500_000


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_run_on_the_recorded_runs(path: Path, kernel: KernelManager) -> None:
    cells = _executed(path, kernel)
    outputs = _outputs(cells)
    pictures, words = SHOWS[path.stem]
    assert len(_pictures(outputs)) == pictures
    kept = nbformat.read(path, as_version=4).cells
    assert list(map(_kinds, cells)) == list(map(_kinds, kept))
    assert any(words in output.get("text", "") for output in outputs)
    assert not any(output.get("name") == "stderr" for output in outputs)


@pytest.mark.slow
@pytest.mark.parametrize("path", [NOTEBOOKS[0], NOTEBOOKS[3]], ids=lambda path: path.stem)
def test_notebooks_run_on_the_run_that_they_are_given(
    path: Path, written: Any, kernel: KernelManager
) -> None:
    """A regression: the recorded runs are of another kind."""
    run = written("notebook-stsb", task="stsb")
    assert len(_pictures(_outputs(_executed(path, kernel, run)))) == 2


@pytest.mark.slow
def test_the_comparison_takes_the_runs_that_it_is_given(kernel: KernelManager) -> None:
    named = os.pathsep.join(str(RECORDED[place]) for place in (1, 0))
    outputs = _outputs(_executed(NOTEBOOKS[2], kernel, named))
    printed = "".join(output.get("text", "") for output in outputs)
    assert "search - grid: " in printed
    assert "grid - search: " not in printed
    alone = _outputs(_executed(NOTEBOOKS[2], kernel, RECORDED[0]))
    assert "grid - search: " in "".join(output.get("text", "") for output in alone)


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
