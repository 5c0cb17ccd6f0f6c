"""Pictures as files."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.runs.load import RunError, load_run


def test_pictures_of_another_kind_are_refused(run_folder: Path, tmp_path: Path) -> None:
    from analysis.figures.front import front_figure
    from analysis.figures.style import save
    from analysis.fronts.survey import survey

    run = load_run(run_folder)
    with pytest.raises(RunError, match=r"write \.svg, \.png, \.pdf or \.html"):
        save(front_figure(run, survey(run, resamples=20)), tmp_path / "front.gif")
