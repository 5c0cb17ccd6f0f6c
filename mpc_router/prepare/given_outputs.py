"""Prepares outputs that are handed in: experts that were run elsewhere, of whatever kind they are.

The result is what `mpc_router.prepare.frozen` makes of encoders, so that trials train on it alike.
No model is loaded. Letters: N examples, K experts, C classes, F features.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from mpc_router.config.trial import ConfigError, TrialConfig
from mpc_router.costs import FLOPS, PARAMETERS, to_json
from mpc_router.data.columns import Columns
from mpc_router.data.output_tables import GivenOutputs, read_features, read_outputs
from mpc_router.data.sources import Cut, Examples, Source, all_fingerprints, cut_all, read
from mpc_router.prepare._facts import describe
from mpc_router.prepare.frozen import Prepared, open_prepared
from mpc_router.prepare.inputs import ExpertInfo, Places, StemInfo, judged_by
from mpc_router.prepare.standardisation import standardised
from mpc_router.run_names import TRAIN
from mpc_router.storage import cache as caching
from mpc_router.tasks import Task

_VERSION: Final = 1


@dataclass(frozen=True)
class _Tables:
    """Holds the source files of a task, and every table as it was read for their rows."""

    source: Source
    task: Task
    files: dict[str, Columns]
    outputs: list[dict[str, NDArray[np.float32]]]
    """By expert, then source split: (N, C)."""

    features: dict[str, NDArray[np.float32]]
    """By source split: (N, F)."""


_checked: Final[WeakKeyDictionary[GivenOutputs, _Tables]] = WeakKeyDictionary()
"""Keeps what a check has read for the preparation, as long as there are places that name it."""


def check_given(config: TrialConfig, places: Places, vectors: Collection[str]) -> None:
    """Finds what is wrong with data or tables before anything is written.

    Raises:
        SourceError: as `prepare_given`.
        ConfigError: a setting or a cost vector that these experts cannot have.
    """
    for name in {FLOPS, PARAMETERS}.intersection(vectors):
        raise ConfigError(
            f"cost vector {name} is counted from models, and these experts are tables of outputs; "
            "take constants, or a file of measured costs"
        )
    cut_all(config, _read(config, places).files)


def prepare_given(config: TrialConfig, places: Places) -> Prepared:
    """Gives what trials over the given outputs train on: made once, then only opened.

    Raises:
        SourceError: data or a table are missing or bad.
        ConfigError: a setting that these experts cannot have.
    """
    tables = _read(config, places)
    prints = all_fingerprints(config, tables.files)
    hashes = [_content(outputs) for outputs in tables.outputs]
    stem_hash = hashes[0] if config.model.stem == "expert" else _content(tables.features)
    names = list(config.model.expert_model_names)
    name = caching.digest(
        "given outputs",
        _VERSION,
        prints.splits,
        hashes,
        stem_hash,
        names,
        to_json(config.vectors()),
        *judged_by(config),
    )
    folder = places.cache / "outputs" / name

    def make(new_folder: Path) -> dict[str, Any]:
        cut_rows = cut_all(config, tables.files)
        _write(new_folder, cut_rows.splits, tables)
        return _describe(config, places, cut_rows, prints.data, hashes, stem_hash)

    caching.entry(folder, make)
    return open_prepared(folder)


def _read(config: TrialConfig, places: Places) -> _Tables:
    """Reads data and tables, each once for the check and the preparation of all sets of a study.

    Raises:
        SourceError, ConfigError: as `prepare_given`.
    """
    given = places.outputs
    if given is None or [table.name for table in given.tables] != list(
        config.model.expert_model_names
    ):
        raise ConfigError(
            "pool=outputs needs the tables of its experts; name them in a study's `outputs:`"
        )
    if config.training.joint:
        raise ConfigError("outputs that are handed in cannot train; set experts=frozen")
    task: Task = config.data.definition
    earlier = _checked.get(given)
    if earlier is not None and earlier.source is places.source and earlier.task == task:
        return earlier
    files = read(config, places.source)
    outputs = [read_outputs(table, task, files) for table in given.tables]
    features = (
        outputs[0]
        if given.features is None
        else read_features(given.features, given.features_id, files)
    )
    _checked[given] = _Tables(places.source, task, files, outputs, features)
    return _checked[given]


def _content(arrays: Mapping[str, NDArray[np.float32]]) -> str:
    """Gives hex digits of what a table says of every row."""
    parts = [part for split in sorted(arrays) for part in (split, arrays[split].tobytes())]
    return caching.digest("outputs", *parts)


def _write(new_folder: Path, splits: Mapping[str, Examples], tables: _Tables) -> None:
    """Writes all arrays of `Prepared` into a folder."""
    for split, examples in splits.items():
        rows = examples.example
        outputs = [given[examples.origin][rows] for given in tables.outputs]
        arrays: dict[str, NDArray[Any]] = {
            "features": tables.features[examples.origin][rows],
            "outputs": np.stack(outputs, axis=1),
            "labels": examples.labels,
            "example": rows,
            "tokens": _words(examples),
        }
        caching.save(new_folder, {f"{split}.{name}": array for name, array in arrays.items()})
    train = tables.features[splits[TRAIN].origin][splits[TRAIN].example]
    caching.save(new_folder, standardised(train))


def _words(examples: Examples) -> NDArray[np.int64]:
    """Counts the words of every example: there is no tokenizer."""
    counts = np.zeros(len(examples), np.int64)
    for column in examples.texts:
        counts += np.fromiter((len(text.split()) for text in column), np.int64, len(examples))
    return counts


def _describe(
    config: TrialConfig,
    places: Places,
    cut_rows: Cut,
    data_fingerprint: str,
    hashes: list[str],
    stem_hash: str,
) -> dict[str, Any]:
    assert places.outputs is not None
    names = config.model.expert_model_names
    stem = names[0] if config.model.stem == "expert" else config.model.router_model_name
    experts = [
        ExpertInfo(name=name, layers=0, stand_in=None, hash=content)
        for name, content in zip(names, hashes, strict=True)
    ]
    described = describe(
        config,
        places,
        cut_rows,
        data_fingerprint,
        experts_id=caching.digest("given outputs", hashes),
        experts=experts,
        stem=StemInfo(name=stem, stand_in=None, hash=stem_hash),
        notes=_notes(places.outputs),
    )
    return described | {"vectors": to_json(config.vectors())}


def _notes(given: GivenOutputs) -> list[str]:
    notes = ["The experts' outputs were handed in as tables; `tokens` counts words."]
    if given.features is None:
        notes.append(f"The router looks at the outputs of {given.tables[0].name}, which it pays.")
    seen = [table.name for table in given.tables if table.seen]
    if seen:
        notes.append(
            f"{' and '.join(seen)} trained on the rows of train and look better there than they "
            "are: selection is a fixed half of validation, the other half is quoted."
        )
    return notes
