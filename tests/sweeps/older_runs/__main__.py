"""Records a run as this program writes it: `python -m tests.sweeps.older_runs FOLDER`.

Do so before the version of the tables is raised; the folder's name is `version` and its number. The
run is of four trials on made-up outputs, and says nothing of the machine.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Final

import pytest

from mpc_router.run_names import JOURNAL_FILE
from sweeps import run
from sweeps.journal._lines import event_of, line_of
from sweeps.provenance import facts
from tests.sweeps.conftest import FIX, in_process, on_disk

ROWS: Final = {"train": 64, "selection": 30, "validation": 40}
WORDS: Final = (
    *("mrpc_grid", *FIX, "seeds=[0,1]", "start=[]", "beta=0.01", "alpha={grid: [0.01, 1]}"),
    *("--sample", "--no-report", "--quiet"),
)


def record(folder: Path) -> None:
    """Makes the run and leaves in the folder what is recorded of it."""
    with tempfile.TemporaryDirectory() as temporary, pytest.MonkeyPatch.context() as patch:
        patch.chdir(temporary)
        on_disk(Path("prepared"), rows=ROWS)
        in_process(patch, Path("prepared").absolute())
        patch.setattr(facts, "machine", lambda: {"cpu": "any", "system": "Linux", "python": "3.11"})
        patch.setattr(facts, "commit", lambda: None)
        places = ("--out", "runs", "--cache", "cache", "--name", folder.name)
        assert run.main([*WORDS, *places]) == 0
        for unneeded in ("checkpoints", "optuna.journal"):
            path = Path("runs", folder.name, unneeded)
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        shutil.copytree(Path("runs", folder.name), folder)
    forget_places(folder / JOURNAL_FILE)


def forget_places(journal: Path) -> None:
    """Writes another cache's path into a journal than this machine's."""
    opened, *others = journal.read_bytes().splitlines(keepends=True)
    event = event_of(opened.rstrip(b"\n"))
    facts_of_run = {name: value for name, value in event.items() if name != "check"}
    facts_of_run["places"] = {**event["places"], "cache": "/elsewhere/cache"}
    journal.write_bytes(b"".join([line_of(facts_of_run), *others]))


if __name__ == "__main__":
    record(Path(sys.argv[1]).absolute())
