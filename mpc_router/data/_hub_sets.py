"""What only the package `datasets` reads: sets of the hub, and folders of `save_to_disk`.

HF_HOME, HF_ENDPOINT and HF_HUB_OFFLINE work as they do in `datasets`.
"""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from mpc_router.data.formats.mapped import mapped
from mpc_router.data.formats.split_files import path_kind
from mpc_router.messages import one_line, shortened
from mpc_router.source_error import SourceError, shown

_DICT: Final = "dataset_dict.json"
_ONE: Final = ("state.json", "dataset_info.json")
_ROWS: Final = 4096
_LONGEST_REASON: Final = 300


def is_saved(folder: Path) -> bool:
    """Says whether `Dataset.save_to_disk` wrote this folder."""
    return all(path_kind(folder / name) == "file" for name in _ONE)


def saved_splits(folder: Path) -> tuple[str, ...] | None:
    """Gives the splits of a folder that `DatasetDict.save_to_disk` wrote; None for any other.

    Raises:
        SourceError: its list of splits is damaged.
    """
    path = folder / _DICT
    if path_kind(path) != "file":
        return None
    try:
        splits = json.loads(path.read_text(encoding="utf-8"))["splits"]
        return tuple(str(split) for split in splits)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SourceError(
            f"{shown(path)} does not list the splits of a saved data set; save it again"
        ) from error


def saved_table(folder: Path, names: Sequence[str]) -> Any:
    """Gives these columns of a saved `Dataset` as a pyarrow table.

    Raises:
        SourceError: it cannot be read.
    """
    import datasets

    try:
        dataset = datasets.Dataset.load_from_disk(str(folder))
        return table_of(dataset, names)
    except SourceError:
        raise
    except Exception as error:
        # whatever is raised: files that are damaged or missing end in errors of any type
        raise SourceError(
            f"{shown(folder)} cannot be read as a saved data set ({_reason(error)}); save it again"
        ) from error


@functools.lru_cache(maxsize=2)
def hub_sets(
    path: str, name: str | None, revision: str | None, *, instead: str
) -> Mapping[str, Any]:
    """Gives every split of a set of the hub, from the cache or downloaded.

    Raises:
        SourceError: there is no network, no such set, or `datasets` cannot read it.
    """
    import datasets
    from huggingface_hub.utils import logging as hub_logging

    verbosity = hub_logging.get_verbosity()
    hub_logging.set_verbosity(
        logging.ERROR
    )  # the error says what failed; the client warns of each try
    try:
        splits = datasets.load_dataset(path, name, revision=revision)
    except Exception as error:
        # whatever is raised: the client, the server and any reader of a format have errors of
        # their own
        raise SourceError(
            f"cannot get data set {path} from the hub ({_reason(error)}); {instead}"
        ) from error
    finally:
        hub_logging.set_verbosity(verbosity)
    return {str(split): dataset for split, dataset in splits.items()}


def table_of(dataset: Any, names: Sequence[str] | None = None) -> Any:
    """Gives a `datasets.Dataset` as a pyarrow table, its rows as they are chosen and ordered.

    Its metadata say what the numbers of a ClassLabel mean. A column that is missing leaves a table
    of all columns without rows.
    """
    schema = dataset.features.arrow_schema
    if names is not None:
        if not set(names) <= set(dataset.column_names):
            return schema.empty_table()
        dataset = dataset.select_columns(list(names))
        schema = dataset.features.arrow_schema
    arrow = dataset.with_format("arrow")

    def batches() -> Iterator[Any]:
        for table in arrow.iter(_ROWS):
            yield from table.cast(schema).combine_chunks().to_batches()

    return mapped(batches(), schema)


def _reason(error: Exception) -> str:
    text = one_line(str(error)) or type(error).__name__
    return shortened(text, _LONGEST_REASON).rstrip(". ")
