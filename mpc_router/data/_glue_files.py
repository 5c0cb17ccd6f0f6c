"""The files of GLUE's tasks, and of others in their form: of a folder, the hub, or the sample."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, Final

from mpc_router.data.formats.parts import in_order
from mpc_router.data.formats.split_files import absent, is_folder, split_files
from mpc_router.run_names import VALIDATION
from mpc_router.source_error import SourceError, shown

HUB: Final = "nyu-mll/glue"


@functools.cache
def sample_table(task: str, split: str) -> Any:
    """Gives a table of the embedded sample, which is generated once a process."""
    from mpc_router.sample import examples  # generates text: only where the sample is asked for

    return examples.table(task, split)


def files_of(folder: Path, task: str, split: str) -> list[Path]:
    """Gives the files of a split, which must be there."""
    if not is_folder(folder):
        raise SourceError(
            f"--data {shown(folder)} is not a folder; give one that holds {task}/*.parquet"
        )
    paths = stored(folder, task, split)
    if not paths:
        raise absent(folder / task, split)
    return paths


def stored(folder: Path, task: str, split: str) -> list[Path]:
    """Gives the files of a split as we or the hub name them; empty where there are none."""
    return split_files(folder / task, (split, _hub_name(task, split)))


def _hub_name(task: str, split: str) -> str:
    return "validation_matched" if (task, split) == ("mnli", VALIDATION) else split


def hub_files(task: str, split: str) -> list[Path]:
    """Gives the split's files in the hub's cache, downloaded if they are not there."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]  # of its client

    pattern = f"{task}/{_hub_name(task, split)}-*.parquet"
    instead = "give --data DIR with Parquet files, or --sample for the embedded sample"
    try:
        folder = snapshot_download(HUB, repo_type="dataset", allow_patterns=[pattern])
    except (OSError, HTTPError) as error:
        reason = str(error).splitlines()[0].rstrip(". ")
        raise SourceError(
            f"cannot get {pattern} of {HUB} from the hub ({reason}); {instead}"
        ) from error
    files = list(Path(folder).glob(pattern))
    if not files:
        raise SourceError(f"the hub's {HUB} has no {pattern}; {instead}")
    return in_order(files, files[0].parent)
