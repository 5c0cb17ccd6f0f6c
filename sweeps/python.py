"""The module offers the command `sweeps.run` as a function, for notebooks and scripts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mpc_router.storage.paths import fault
from sweeps.commands.arguments import check_flags, parser
from sweeps.records import InputError, SweepError
from sweeps.run import begin

if TYPE_CHECKING:
    from analysis.runs.load import Run

_TRAINED: Final = (0, 4, 5)
"""They are the exit codes of runs that ended by themselves: done, trials FAILED, budget spent."""


def run_study(
    study: str | Path,
    overrides: Mapping[str, Any] | None = None,
    *,
    sample: bool = False,
    data: Path | str | None = None,
    models: Path | str | None = None,
    cache: Path | str | None = None,
    out: Path | str = "runs",
    name: str | None = None,
    address: str | None = None,
    report: bool = True,
    dataset: Mapping[str, Any] | str | None = None,
    track: Sequence[str] = (),
) -> Run:
    """Runs a study as `mpc-router-sweep` does, and gives the run that it leaves.

    `study` is a shipped study's name or a YAML file, `overrides` settings by name or path, as
    plain data (`{"alpha": {"grid": [0, 0.1]}, "seeds": [0, 1]}`). The other arguments are the
    command's flags. The front is printed, and the report written unless `report` is false.

    `dataset` is as `dataset:` in a study, or rows in memory by split: DataFrames, Datasets or
    Arrow tables, `{"train": frame, "validation": frame}`. Rows in memory are kept in the cache, so
    that the run can be resumed.

    Raises:
        InputError: the input is wrong; one message, and nothing was written but caches.
        SweepError: the machine failed, or the run was stopped; what was done is safe, and the
            message tells how to go on.
    """
    from analysis import load_run
    from mpc_router.settings.rules import ConfigError

    args = parser().parse_args([])
    settings = dict(overrides or {})
    if dataset is not None:
        settings["dataset"] = _named_dataset(dataset, cache)
    words = [f"{key}={json.dumps(value)}" for key, value in settings.items()]
    args.words = [str(study), *words]
    args.sample, args.name, args.address = sample, name, address
    args.no_report, args.quiet, args.track = not report, True, list(track)
    folders = {"data": data, "models": models, "cache": cache, "out": out}
    for flag, folder in folders.items():
        if folder is not None and (why := fault(str(folder))) is not None:
            raise InputError(f"{flag} is {str(folder)!r}, which {why}")
        setattr(args, flag, None if folder is None else Path(folder))
    if sample and data is not None:
        raise InputError("sample=True and data= are two sources of examples; give one of them")
    check_flags(args)
    try:
        folder, code = begin(args, args.words)
    except ConfigError as error:
        raise InputError(str(error)) from error
    if code not in _TRAINED:
        raise SweepError(f"stopped; go on with mpc-router-sweep --resume {folder}")
    run: Run = load_run(folder)
    return run


def _named_dataset(dataset: Mapping[str, Any] | str, cache: Path | str | None) -> dict[str, Any]:
    """Gives a data set as a study names it; rows in memory are written to the cache before."""
    if isinstance(dataset, str):
        return {"path": dataset}
    if isinstance(dataset.get("path"), str):
        return dict(dataset)
    import platformdirs

    from mpc_router.data.frames import tables_of
    from mpc_router.data.kept_tables import keep
    from mpc_router.data.sources import SourceError

    folder = Path(cache) if cache is not None else platformdirs.user_cache_path("mpc-router")
    try:
        return {"path": str(keep(tables_of(dataset), folder.absolute() / "frames"))}
    except SourceError as error:
        raise InputError(str(error)) from error
