"""Measures what a trial costs in sweeps of 100, 1,000 and 10,000 trials of little training.

    python -m benchmarks.ten_thousand [--trials 100 1000 10000] [--json FILE]

Each sweep is a grid of alpha and beta on the embedded sample with frozen experts and one epoch, run
by its command as a user runs it; then it is resumed, though nothing is left, and its report is
made. A sweep of few trials goes before, so that experts are prepared and loops compiled. What a
further trial costs is told from two sizes, whose starts are alike.

Processor seconds are counted by process, so that other work on the machine counts little: the
command's own process, Ray Tune's, the workers, and all else that Ray starts. They are read every
half second, so that the last one of a process may be missing. All include the start.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import yaml

_MARK: Final = "MPC_ROUTER_MEASURED"
"""Names the variable by which the processes of a command are found, wherever Ray puts them."""

_FEW: Final = 4
"""Trials of the sweep that goes before."""

_PAUSE: Final = 0.5
_TICK: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


def study_of(trials: int) -> dict[str, Any]:
    """Gives a study with a grid of so many points, as square as it can be."""
    rows = max(count for count in range(1, int(trials**0.5) + 1) if trials % count == 0)
    alphas = [float(f"{value:.5g}") for value in np.geomspace(1e-3, 10, trials // rows)]
    betas = [float(f"{value:.5g}") for value in np.geomspace(1e-4, 1, rows)]
    return {
        "study": f"grid_of_{trials}",
        "trial": {"task": "mrpc", "pool": "bert", "experts": "frozen", "epochs": 1},
        "space": {"alpha": {"grid": alphas}, "beta": {"grid": betas}},
        "seeds": [0],
        "objectives": {"score": "max", "cost": "min"},
        "cost_vector": "constants",
        "search": {"method": "grid"},
        "stopping": {"method": "none"},
        "budget": {},
        "checkpoints": "front",
    }


def _kind_of(pid: int, command_pid: int) -> str:
    """Names the part of a sweep that a process is."""
    if pid == command_pid:
        return "command"
    words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
    if b"sweeps.raytune" in words:
        return "Ray Tune"
    return "workers" if words.startswith(b"ray::") else "rest of Ray"


def _seconds_and_bytes(pid: int) -> tuple[float, int]:
    """Gives the processor seconds of a process, and the memory that it holds now."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK, int(fields[21]) * _PAGE


def measured(arguments: Sequence[str], output: Path) -> dict[str, Any]:
    """Runs a command; gives its processor seconds by kind of process, and its peak memory.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    mark = uuid.uuid4().hex
    environment = {**os.environ, _MARK: mark}
    seconds: dict[tuple[int, str], float] = {}
    peak, start = 0, time.monotonic()
    with output.open("w") as file:
        process = subprocess.Popen(arguments, env=environment, stdout=file, stderr=file)
        while process.poll() is None:
            for folder in Path("/proc").glob("[0-9]*"):
                try:
                    if f"{_MARK}={mark}".encode() not in (folder / "environ").read_bytes():
                        continue
                    pid = int(folder.name)
                    spent, held = _seconds_and_bytes(pid)
                    seconds[pid, _kind_of(pid, process.pid)] = spent
                except (OSError, IndexError):
                    continue  # it has ended meanwhile
                if pid == process.pid:
                    peak = max(peak, held)
            time.sleep(_PAUSE)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, arguments)
    totals: dict[str, float] = {}
    for (_, kind), spent in seconds.items():
        totals[kind] = totals.get(kind, 0.0) + spent
    return {
        "seconds": totals,
        "all": sum(totals.values()),
        "peak_mb": peak / 1e6,
        "wall": time.monotonic() - start,
    }


def slope(small: dict[str, Any], large: dict[str, Any], command: str) -> float:
    """Gives the milliseconds of a processor that a trial costs more in the larger of two sweeps."""
    seconds = large[command]["all"] - small[command]["all"]
    return float(seconds / (large["trials"] - small["trials"]) * 1e3)


def line(figures: dict[str, Any], before: dict[str, Any] | None) -> str:
    """Says what a sweep took, and each further trial of it than of the one before."""
    trials, words = figures["trials"], []
    for command in ("run", "resume", "report"):
        if command in figures:
            took = figures[command]
            parts = " + ".join(f"{kind} {value:.1f}" for kind, value in took["seconds"].items())
            words.append(f"{command} {parts} s, {took['peak_mb'] / 1e3:.2f} GB")
            if before is not None:
                words[-1] += f" ({slope(before, figures, command):.1f} ms a further trial)"
    kilobytes = figures["bytes_beside_routes"] / trials / 1e3
    return f"{trials} trials: {', '.join(words)}; {kilobytes:.1f} kB a trial beside routes"


def _bytes_below(path: Path) -> int:
    """Counts the bytes of a file, or of all files in a folder."""
    files = [path] if path.is_file() else [item for item in path.rglob("*") if item.is_file()]
    return sum(item.stat().st_size for item in files)


def sweep(trials: int, folder: Path, *, reports: bool) -> dict[str, Any]:
    """Runs and resumes a sweep of so many trials, and makes its report."""
    study, run = folder / f"grid_of_{trials}.yaml", folder / "runs" / f"n{trials}"
    study.write_text(yaml.safe_dump(study_of(trials)), encoding="utf-8")
    program = [sys.executable, "-m", "sweeps.run"]
    start = [*program, str(study), "--sample", "--name", run.name, "--no-report", "--quiet"]
    start += ["--out", str(run.parent)]
    again = [*program, "--resume", str(run), "--no-report", "--quiet"]
    page = folder / f"n{trials}.html"
    report = [sys.executable, "-m", "analysis.report", str(run), "--out", str(page)]
    figures: dict[str, Any] = {"trials": trials}
    commands = {"run": start, "resume": again} | ({"report": report} if reports else {})
    for name, arguments in commands.items():
        figures[name] = measured(arguments, folder / f"n{trials}-{name}.log")
    sizes = {path.name: _bytes_below(path) for path in run.iterdir()}
    figures["bytes"] = sizes
    routes = sizes["routing.parquet"] + sizes["parts"]
    figures["bytes_beside_routes"] = sum(sizes.values()) - routes
    if reports:
        figures["report_mb"] = page.stat().st_size / 1e6
    return figures


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints a line for each size, and writes all figures to a file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, nargs="+", default=[100, 1000, 10000])
    parser.add_argument("--folder", type=Path, help="folder of the runs (default: a temporary one)")
    parser.add_argument("--no-report", action="store_true", help="makes no report")
    parser.add_argument("--json", type=Path, help="file for all figures")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        before = folder / "before"
        before.mkdir()
        sweep(_FEW, before, reports=False)
        rows: list[dict[str, Any]] = []
        for trials in options.trials:
            rows.append(sweep(trials, folder, reports=not options.no_report))
            print(line(rows[-1], rows[-2] if len(rows) > 1 else None), flush=True)
            if options.json is not None:
                options.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
