"""Executes the notebooks that ship, and keeps their outputs, which code hosts show.

    python -m benchmarks.notebook_outputs [--only 01]

They read the recorded runs beside them, and are written in place. It takes some minutes, most of
them for intervals.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import nbclient
import nbformat

FOLDER: Final = Path(__file__).resolve().parent.parent / "analysis" / "notebooks"


def executed(notebook: Any, folder: Path) -> Any:
    """Runs a notebook from top to bottom in a folder; gives it with outputs, and no times."""
    metadata = dict(notebook.metadata)
    os.environ |= {"PYTHONPATH": str(FOLDER.parent.parent), "PYTHONWARNINGS": "ignore"}
    client = nbclient.NotebookClient(
        notebook,
        timeout=3600,
        kernel_name="python3",
        record_timing=False,
        resources={"metadata": {"path": str(folder)}},
    )
    done = client.execute()
    done.metadata = nbformat.from_dict(metadata)  # the kernel adds its version
    return done


def main(arguments: Sequence[str] | None = None) -> None:
    """Executes the notebooks whose names begin with `--only`."""
    parser = argparse.ArgumentParser(description="execute the notebooks and keep their outputs")
    parser.add_argument("--only", default="", metavar="NAME", help="the beginning of a name")
    args = parser.parse_args(arguments)
    os.environ.pop("MPC_ROUTER_RUN", None)
    for path in sorted(FOLDER.glob(f"{args.only}*.ipynb")):
        with tempfile.TemporaryDirectory() as folder:
            notebook = executed(nbformat.read(path, as_version=4), Path(folder))
        nbformat.write(notebook, path)
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
