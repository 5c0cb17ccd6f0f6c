from __future__ import annotations

from pathlib import Path

import nbclient
import nbformat
import pytest

import analysis

PACKAGE = Path(analysis.__file__).parent
NOTEBOOKS = sorted((PACKAGE / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_kept_without_outputs(path: Path) -> None:
    for cell in nbformat.read(path, as_version=4).cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_run_from_top_to_bottom(
    path: Path, run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MPC_ROUTER_RUN", str(run_folder))
    monkeypatch.setenv("PYTHONPATH", str(PACKAGE.parent))
    notebook = nbformat.read(path, as_version=4)
    done = nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    outputs = [output for cell in done.cells for output in cell.get("outputs", ())]
    pages = [
        output.data["text/html"] for output in outputs if "text/html" in output.get("data", {})
    ]
    charts = [page for page in pages if "vega" in page]
    assert len(charts) == 2
    assert not any('src="http' in chart for chart in charts)
    assert any("The best trade" in output.get("text", "") for output in outputs)
