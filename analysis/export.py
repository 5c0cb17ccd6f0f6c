"""`python -m analysis.export RUN --to csv FOLDER` writes a run for other tools.

These are every table of the run, and its points with their intervals, as CSV files in a folder.
Optuna's tools open the run's own `optuna.journal`, and trackers of experiments are told of a run by
`mpc-router-sweep --run RUN --track NAME`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mpc_router.terminal.flags import Parser, add_trust_flag, place
from mpc_router.terminal.streams import command, say_error

if TYPE_CHECKING:
    import pandas as pd

    from analysis.runs.load import Run

_TARGETS: Final = ("csv",)


def to_csv(run: Run, folder: Path) -> list[Path]:
    """Writes trials, reports, examples and points; lists are JSON; gives the files.

    Routing and experts, a row an example, stay Parquet: as CSV they would be gigabytes.

    Raises:
        RunError: a file is there already, or a table cannot be read.
    """
    from analysis.fronts.survey import points
    from analysis.runs.load import RunError
    from mpc_router.messages import one_line

    tables: dict[str, pd.DataFrame] = {"trials": run.trials, "reports": run.reports}
    tables["examples"] = run.examples
    try:
        tables["points"] = points(run)
    except BrokenPipeError:
        raise  # a reader is gone, which is no error
    except RunError as error:
        print(f"no points.csv: {one_line(str(error))}", file=sys.stderr)
    files = {folder / f"{name}.csv": table for name, table in tables.items()}
    _refuse_existing(files)
    folder.mkdir(parents=True, exist_ok=True)
    for path, table in files.items():
        plain = table.copy()
        for column in plain.columns:
            if plain[column].map(lambda value: hasattr(value, "tolist") or _listed(value)).any():
                plain[column] = plain[column].map(_as_json)
        plain.to_csv(path, index=False)
    return list(files)


def _listed(value: object) -> bool:
    return isinstance(value, list | tuple)


def _as_json(value: Any) -> str:
    return json.dumps(value.tolist() if hasattr(value, "tolist") else value)


def _refuse_existing(files: Any) -> None:
    from analysis.runs.load import RunError

    for path in files:
        if Path(path).exists():
            raise RunError(f"{path} exists; give another target, nothing is overwritten")


def parser() -> Parser:
    """Gives the parser of the command's arguments."""
    made = Parser(
        "python -m analysis.export",
        "Write a run's tables and points for other tools.",
        "  python -m analysis.export runs/mrpc_grid --to csv tables/\n",
    )
    made.add_argument("run", type=place, metavar="RUN", help="folder of a run")
    made.add_argument("--to", required=True, choices=_TARGETS, help="what to write")
    made.add_argument("target", type=place, metavar="FOLDER", help="where the files go")
    add_trust_flag(made)
    return made


@command("analysis")
def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the run and says where; gives 0, or 2 with one line where that cannot be."""
    options = parser().parse_args(arguments)
    from mpc_router.plugins import trust

    trust(options.trust)
    from analysis.runs.load import RunError, load_run
    from analysis.runs.untrusted import guarded

    try:
        with guarded(options.run):
            for path in to_csv(load_run(options.run), options.target):
                print(path)
    except BrokenPipeError:
        raise  # a reader is gone, which is no error
    except (RunError, OSError) as error:
        return say_error(str(error), 2)
    return 0


if __name__ == "__main__":
    sys.exit(main())
