"""One encoder over the splits: its training if its recipe has any, then its outputs and features.

Both are kept in the cache under the recipe's key, so that a pool that shares an expert with another
finds it there. Letters: N examples, C outputs, F features.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from mpc_router.data.tokens import Tokens, batch_count
from mpc_router.experts import label_order as _label_order
from mpc_router.experts.finetune import fine_tune, predict
from mpc_router.experts.kept_epochs import KeptEpochs
from mpc_router.model.encoders import load_config
from mpc_router.model.experts import BertExpert, names_labels
from mpc_router.model.sources import ModelError, Models
from mpc_router.recipes.recipes import Recipe
from mpc_router.run_names import TRAIN
from mpc_router.storage import cache as caching
from mpc_router.storage.tensor_files import write_tensors
from mpc_router.tasks import Task, label_key
from mpc_router.terminal.progress import shown

if TYPE_CHECKING:
    from mpc_router.terminal.progress import Progress

_VERSION: Final = 1
"""Raised when the same weights would give other outputs."""

PASS_BATCH: Final = 64
"""Examples of a pass at a time; results do not depend on it beyond rounding."""

_WINDOW: Final = 256 * PASS_BATCH
"""Examples whose outputs and features are in memory at a time; batches do not reach across."""

WEIGHTS_FILE: Final = "model.safetensors"


@dataclass(frozen=True, kw_only=True)
class Split:
    """Holds a tokenised split and the fingerprint of its rows."""

    tokens: Tokens
    fingerprint: str


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Says where encoders are trained and asked: the same for all of a pool."""

    task: Task
    splits: Mapping[str, Split]
    """What encoders are asked about."""

    models: Models
    cache: Path
    tokenizer: str
    """Hash of the tokenizer and the length kept."""

    device: str
    progress: Progress
    learned: Split | None = None
    """What experts are trained on; None: split train."""

    @property
    def train(self) -> Split:
        """Gives what experts are trained on, and what the order of a head's labels is found on."""
        return self.learned or self.splits[TRAIN]

    def without(self, split: str) -> Bench:
        """Gives a bench that trains alike and does not ask about one split."""
        kept = {name: asked for name, asked in self.splits.items() if name != split}
        return dataclasses.replace(self, splits=kept, learned=self.train)

    def outputs(self, recipe: Recipe, who: str) -> dict[str, NDArray[np.float32]]:
        """Gives the outputs (N, C) of each split, memory-mapped; `who` names the progress."""
        return {split: caching.load(at, "outputs") for split, at in self._ask(recipe, who).items()}

    def features(self, recipe: Recipe, who: str) -> dict[str, NDArray[np.float32]]:
        """Gives the pooled hidden states (N, F) of each split, memory-mapped."""
        return {split: caching.load(at, "features") for split, at in self._ask(recipe, who).items()}

    def features_file(self, recipe: Recipe, split: str) -> Path:
        """Says where the features of a split lie, once they were asked for."""
        return self._place(recipe, self.splits[split]) / "features.npy"

    def _ask(self, recipe: Recipe, who: str) -> dict[str, Path]:
        """Gives the cache's entry of each split, made where it is not there."""
        places = {name: self._place(recipe, split) for name, split in self.splits.items()}
        missing = [name for name, place in places.items() if caching.description(place) is None]
        if not missing:
            return places
        expert = load_trained(recipe, self, who)
        total = sum(batch_count(len(self.splits[name].tokens), PASS_BATCH) for name in missing)
        self.progress.start(f"{who}: outputs", total)
        for name in missing:
            caching.entry(places[name], lambda folder, name=name: self._run(expert, folder, name))  # type: ignore[misc]
        self.progress.finish()
        return places

    def _place(self, recipe: Recipe, split: Split) -> Path:
        return pass_folder(
            self.cache,
            recipe,
            self.task,
            fingerprint=split.fingerprint,
            tokenizer=self.tokenizer,
        )

    def _run(self, expert: BertExpert, new_folder: Path, name: str) -> dict[str, Any]:
        """Writes what the expert says of a split to the entry in the making, as it comes."""
        tokens = self.splits[name].tokens
        outputs = caching.blank(new_folder, "outputs", (len(tokens), expert.num_labels), np.float32)
        features = caching.blank(new_folder, "features", (len(tokens), expert.width), np.float32)
        for start in range(0, len(tokens), _WINDOW):
            place = slice(start, start + _WINDOW)
            arrays = predict(
                expert,
                tokens.part(start, start + _WINDOW),
                batch_size=PASS_BATCH,
                device=self.device,
                progress=self.progress.advance,
            )
            if not all(np.isfinite(values).all() for values in arrays):
                raise ModelError(
                    f"expert {expert.name} gives NaN or infinite numbers on {name}; its weights "
                    "are damaged, or its training diverged: lower expert_learning_rate"
                )
            outputs[place], features[place] = arrays
        for array in (outputs, features):
            array.flush()
        return {"split": name, "expert": expert.name, "layers": expert.layers}


def pass_folder(
    cache: Path, recipe: Recipe, task: Task, *, fingerprint: str, tokenizer: str
) -> Path:
    """Names the entry of a cache with what an encoder says of the rows of this fingerprint."""
    name = caching.digest(_VERSION, recipe.key, label_key(task), fingerprint, tokenizer)
    return cache / "passes" / name


def expert_folder(cache: Path, recipe: Recipe) -> Path:
    """Names the entry of a cache with an expert's trained weights."""
    return cache / "experts" / recipe.key


def load_trained(recipe: Recipe, bench: Bench, who: str) -> BertExpert:
    """Gives the recipe's expert with its trained weights, from the cache or trained now.

    An expert that comes with its head, where heads are kept, is as it comes; if the head does not
    name its labels, their order is found on train.
    """
    task = bench.task
    expert = untrained_expert(recipe, bench.task, bench.models)
    if expert.fine_tuned and not task.regression and not expert.labels_named:
        order = _judged(recipe, bench, who, lambda: expert).taken
        expert.label_order.copy_(torch.tensor(order))
    if not recipe.epochs or expert.fine_tuned:
        return expert.eval()
    folder = expert_folder(bench.cache, recipe)
    caching.entry(
        folder,
        lambda new_folder: _train(expert, recipe, bench, task, new_folder, who),
        waiting=shown(bench.progress, f"{who}: waiting for another process that trains it"),
    )
    KeptEpochs(bench.cache, recipe.key, epochs=recipe.epochs).forget()
    expert.load_state_dict(load_file(folder / WEIGHTS_FILE))
    return expert.eval()


def found_order(recipe: Recipe, bench: Bench, who: str) -> tuple[int, ...] | None:
    """Gives the output for each class where a head does not name its labels; else None."""
    task = bench.task
    if not recipe.keep_head or recipe.epochs or task.regression or _named(recipe, bench):
        return None
    return _judged(
        recipe, bench, who, partial(untrained_expert, recipe, bench.task, bench.models)
    ).taken


def head_note(
    recipe: Recipe, bench: Bench, who: str, outputs: NDArray[np.float32] | None = None
) -> str | None:
    """Gives what a reader must know of an expert that comes with its head: its labels, their order.

    `outputs` are the expert's of train, where they are known; else it is asked about some rows.
    """
    task = bench.task
    if not recipe.keep_head or recipe.epochs or task.regression:
        return None
    named = _named(recipe, bench)
    if named and outputs is not None:
        judgement = _label_order.judge(outputs, bench.splits[TRAIN].tokens.labels)
    else:
        judgement = _judged(
            recipe, bench, who, partial(untrained_expert, recipe, bench.task, bench.models)
        )
    return _label_order.note(recipe.name, judgement, task.label_names, named=named)


def _named(recipe: Recipe, bench: Bench) -> bool:
    return names_labels(load_config(bench.models.resolve(recipe.name)).id2label)


def untrained_expert(recipe: Recipe, task: Task, models: Models) -> BertExpert:
    """Gives the recipe's expert before it is trained."""
    return BertExpert(
        recipe.name,
        task.outputs,
        layers=recipe.layers,
        pooling=recipe.pooling,
        label_names=task.label_names,
        models=models,
        seed=recipe.seed,
        keep_head=recipe.keep_head,
    )


def _judged(
    recipe: Recipe, bench: Bench, who: str, expert: Callable[[], BertExpert]
) -> _label_order.Judgement:
    """Says how the expert's outputs, as they come, fit the labels of train."""
    train = bench.train
    name = caching.digest(
        _label_order.VERSION,
        [recipe.weights, recipe.layers, label_key(bench.task)],
        train.fingerprint,
        bench.tokenizer,
    )
    with shown(bench.progress, f"{who}: the order of its labels"):
        return _label_order.judged(
            bench.cache / "orders" / name, expert, train.tokens, device=bench.device
        )


def _train(
    expert: BertExpert, recipe: Recipe, bench: Bench, task: Task, new_folder: Path, who: str
) -> dict[str, Any]:
    tokens = bench.train.tokens
    bench.progress.start(
        f"{who}: training", recipe.epochs * batch_count(len(tokens), recipe.batch_size)
    )
    facts = {"name": recipe.name, "layers": recipe.layers, "task": task.name}
    kept = KeptEpochs(bench.cache, recipe.key, epochs=recipe.epochs, facts=facts)
    try:
        fine_tune(
            expert,
            tokens,
            task,
            epochs=recipe.epochs,
            learning_rate=recipe.learning_rate,
            batch_size=recipe.batch_size,
            seed=recipe.seed,
            precision=recipe.precision,
            weight_decay=recipe.weight_decay,
            warmup=recipe.warmup,
            device=bench.device,
            progress=bench.progress.advance,
            kept=kept,
        )
    except KeyboardInterrupt as error:
        error.add_note(f"{who}: {kept.sentence()}")
        raise
    bench.progress.finish()
    write_tensors(new_folder / WEIGHTS_FILE, expert.state_dict())
    return facts
