"""The command line of `python -m sweeps.run`; a test freezes it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final, NoReturn

EPILOGUE: Final = """examples:
  python -m sweeps.run mrpc_grid --sample
  python -m sweeps.run mrpc_grid pool=minilm --data DIR seeds=[0,1] epochs=3
  python -m sweeps.run mrpc_grid 'alpha={grid: [0, 0.1]}' beta=0.01
  python -m sweeps.run --resume runs/mrpc_grid-20261123-101500
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}\n")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = _Parser(
        prog="python -m sweeps.run",
        description="Train every router of a study, and say which are worth having.",
        epilog=EPILOGUE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = made.add_argument
    add("words", nargs="*", metavar="STUDY [key=value ...]", help="a shipped study or a YAML file")
    where = made.add_mutually_exclusive_group()
    where.add_argument("--sample", action="store_true", help="the embedded synthetic sample")
    where.add_argument("--data", type=Path, metavar="DIR", help="holds <task>/<split>.parquet")
    add("--models", type=Path, metavar="DIR", help="holds models as org/name or name")
    add("--cache", type=Path, metavar="DIR", help="what is prepared (default: the user's cache)")
    add("--out", type=Path, default=Path("runs"), metavar="DIR", help="run folders (runs/)")
    add("--name", metavar="NAME", help="of the run (default: <study>-<UTC time>)")
    add("--address", metavar="ADDR", help="a running Ray cluster (default: one on this machine)")
    add("--debug", action="store_true", help="one trial, in this process, without Ray")
    add("--key", metavar="KEY", help="with --debug and --run: the trial to replay")
    add("--run", type=Path, metavar="RUN", help="with --debug and --key: the run's folder")
    add("--dry-run", action="store_true", help="the plan and an estimate; writes only caches")
    add("--resume", type=Path, metavar="RUN", help="go on with what has not ended")
    add("--repair", action="store_true", help="with --resume: keep what is sound of a damaged run")
    add("--retry-failed", action="store_true", help="with --resume: FAILED trials once more")
    add("--no-report", action="store_true", help="tables only")
    add("--quiet", action="store_true", help="a line a pack and the front, no more")
    add("--list", action="store_true", help="the studies that ship")
    return made
