"""Errands: what one encoder is trained on and asked, for whichever process or machine does it.

What an errand leaves lies in the cache, as if it had been made where it is needed. Letters: N
examples.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mpc_router.data.tokens import KeptTokens
from mpc_router.experts.encoder_runs import (
    Bench,
    Split,
    expert_folder,
    load_trained,
    pass_folder,
)
from mpc_router.model.sources import Models
from mpc_router.recipes.recipes import Recipe, loaded_files, weight_files
from mpc_router.storage import cache as caching
from mpc_router.tasks import Task, label_key

if TYPE_CHECKING:
    from mpc_router.terminal.progress import Progress


@dataclass(frozen=True, kw_only=True)
class KeptSplit:
    """Says where a tokenised split is kept, and the fingerprint of its rows."""

    tokens: KeptTokens
    fingerprint: str

    def open(self) -> Split:
        """Gives the split, memory-mapped."""
        return Split(tokens=self.tokens.open(), fingerprint=self.fingerprint)


@dataclass(frozen=True, kw_only=True)
class Errand:
    """Says what one encoder is trained on and asked; it can be pickled."""

    recipe: Recipe
    label: str
    """What people read of it."""

    task: Task
    splits: Mapping[str, KeptSplit]
    """What the encoder is asked about; of none where it is trained alone."""

    train: KeptSplit
    """What it is trained on, if its recipe says so."""

    models: Models
    cache: Path
    tokenizer: str
    """Hash of the tokenizer and the length kept."""

    device: str
    trained: Path | None = None
    """Where the expert lies if it is trained already, but in another cache."""

    @property
    def key(self) -> str:
        """Names the encoder and how it is asked: errands of one key can be one."""
        return caching.digest("errand", self.recipe.key, label_key(self.task), self.tokenizer)

    @property
    def trains(self) -> bool:
        """Says whether the encoder is still to be trained."""
        return bool(self.recipe.epochs) and caching.peek(self._expert_folder) is None

    @property
    def is_done(self) -> bool:
        """Says whether the cache holds all that the errand leaves."""
        return not (self.unasked or (self.trains and not self.splits))

    @property
    def unasked(self) -> dict[str, KeptSplit]:
        """Gives the splits that the encoder is still to be asked about."""
        return {
            name: split
            for name, split in self.splits.items()
            if caching.peek(self._pass_folder(split)) is None
        }

    @property
    def folders(self) -> dict[Path, tuple[str, ...] | None]:
        """Gives the folders that the errand reads, and the names of the files that it reads there.

        They are folders of tokens, weights, and what is trained already; None: all that is there.
        """
        kept = [split.tokens.folder for split in (self.train, *self.splits.values())]
        expert = [self._expert_folder] if self.recipe.epochs and not self.trains else []
        folders: dict[Path, tuple[str, ...] | None] = dict.fromkeys([*kept, *expert])
        if (model := self._model_folder) is not None:
            folders[model] = loaded_files(self.models.resolve(self.recipe.name))
        return folders

    def bench(self, progress: Progress) -> Bench:
        """Gives the bench that the errand is done at."""
        return Bench(
            task=self.task,
            splits={name: split.open() for name, split in self.splits.items()},
            learned=self.train.open(),
            models=self.models,
            cache=self.cache,
            tokenizer=self.tokenizer,
            device=self.device,
            progress=progress,
        )

    def run(self, progress: Progress) -> None:
        """Does the errand: leaves in the cache what is not there.

        An expert that is trained already is taken from where it lies.

        Raises:
            ModelError: the model is bad, or diverges.
        """
        trained, expert = self.trained, self._expert_folder
        if trained is not None and caching.peek(trained) is not None and not expert.exists():
            expert.parent.mkdir(parents=True, exist_ok=True)
            expert.symlink_to(trained)
        bench = self.bench(progress)
        if self.splits:
            bench.outputs(self.recipe, self.label)
        else:
            load_trained(self.recipe, bench, self.label)

    def pinned(self) -> Errand:
        """Gives the errand with its model's folder in place of where models are looked for."""
        model = self._model_folder
        pinned = Models() if model is None else Models(copies=((self.recipe.name, model),))
        return dataclasses.replace(self, models=pinned)

    def moved(self, copies: Mapping[str, str], cache: Path | None = None) -> Errand:
        """Gives a pinned errand for a machine where folders lie elsewhere, and the cache too.

        `copies` are the folders there, by the folder here; a folder that is not named lies at the
        same path.
        """

        def there(folder: Path) -> Path:
            return Path(copies.get(str(folder), folder))

        def moved_split(split: KeptSplit) -> KeptSplit:
            folder = there(split.tokens.folder)
            return dataclasses.replace(
                split, tokens=dataclasses.replace(split.tokens, folder=folder)
            )

        models = tuple((name, there(folder)) for name, folder in self.models.copies)
        return dataclasses.replace(
            self,
            splits={name: moved_split(split) for name, split in self.splits.items()},
            train=moved_split(self.train),
            models=Models(copies=models),
            cache=cache or self.cache,
            trained=None if cache is None else there(self._expert_folder),
        )

    def _pass_folder(self, split: KeptSplit) -> Path:
        return pass_folder(
            self.cache,
            self.recipe,
            self.task,
            fingerprint=split.fingerprint,
            tokenizer=self.tokenizer,
        )

    @property
    def _expert_folder(self) -> Path:
        return expert_folder(self.cache, self.recipe)

    @property
    def _model_folder(self) -> Path | None:
        """Gives the folder of the weights that training starts from; None for the sample's."""
        resolved = self.models.resolve(self.recipe.name)
        return None if resolved.kind == "sample" else weight_files(resolved)[0].parent.absolute()


def errand_of(
    bench: Bench, recipe: Recipe, label: str, splits: Collection[str] | None = None
) -> Errand:
    """Gives the errand of asking a recipe's encoder about these splits of a bench, or about all.

    The tokens of the bench are kept in a cache.
    """
    asked = bench.splits if splits is None else splits
    return Errand(
        recipe=recipe,
        label=label,
        task=bench.task,
        splits={name: _kept(bench.splits[name]) for name in asked},
        train=_kept(bench.train),
        models=bench.models,
        cache=bench.cache.absolute(),
        tokenizer=bench.tokenizer,
        device=bench.device,
    )


def _kept(split: Split) -> KeptSplit:
    assert split.tokens.kept is not None
    return KeptSplit(tokens=split.tokens.kept, fingerprint=split.fingerprint)


def unfinished(errands: Iterable[Errand]) -> tuple[Errand, ...]:
    """Gives the errands that are left to do, each encoder once, in their order.

    An encoder that several errands ask is asked about the splits of all of them, less those whose
    answers the cache holds.
    """
    merged: dict[str, Errand] = {}
    for errand in errands:
        first = merged.get(errand.key, errand)
        merged[errand.key] = dataclasses.replace(first, splits={**first.splits, **errand.splits})
    return tuple(
        dataclasses.replace(errand, splits=errand.unasked)
        for errand in merged.values()
        if not errand.is_done
    )
