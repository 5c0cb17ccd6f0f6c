"""Trained routers on the embedded sample, small and quick, for whatever takes a checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mpc_router.config.trial import TrialConfig, trial_config
from mpc_router.data.sources import Source, cut, read, split_fingerprints
from mpc_router.data.tokens import Tokens, tokenise
from mpc_router.frozen import train as frozen_training
from mpc_router.frozen.lanes import Lane
from mpc_router.joint import train as joint
from mpc_router.model.encoders import load_tokenizer
from mpc_router.model.sources import Models
from mpc_router.prepare.frozen import prepare
from mpc_router.prepare.inputs import Places
from mpc_router.prepare.joint import prepare_joint
from mpc_router.results import checkpoint
from mpc_router.results.records import LanesEnded, SplitReport

SAMPLE = Source(kind="sample", folder=None)


@dataclass(frozen=True, kw_only=True, eq=False)
class Trained:
    """A checkpoint, where its experts are, and what its training said."""

    folder: Path
    places: Places
    config: TrialConfig
    ended: LanesEnded

    @property
    def report(self) -> SplitReport:
        """Of validation."""
        (found,) = [each for each in self.ended.reports if each.split == "validation"]
        return found

    @property
    def routes(self) -> NDArray[np.uint8]:
        """(N,) of validation."""
        (found,) = [each for each in self.ended.routing if each.split == "validation"]
        routes: NDArray[np.uint8] = found.routes[0]
        return routes

    def validation(self) -> Tokens:
        """The split's tokens."""
        files = read(self.config, self.places.source)
        return tokenise(
            cut(self.config, files)["validation"],
            load_tokenizer(self.config.model.tokenizer_model_name, self.places.models),
            max_length=self.config.data.max_length,
            fingerprint=split_fingerprints(self.config, files)["validation"],
            cache=self.places.cache,
        )

    @property
    def flags(self) -> tuple[str, ...]:
        """What a command is called with."""
        return ("--checkpoint", str(self.folder), "--sample", "--cache", str(self.places.cache))


Train = Callable[..., Trained]


def train(folder: Path, cache: Path, *, models: Path | None = None, **settings: Any) -> Trained:
    """Trains one router, of frozen experts unless told otherwise, and saves it in `folder`."""
    torch.set_num_threads(1)
    base = {
        "task": "mrpc",
        "pool": "sample",
        "experts": "frozen",
        "train_rows": 200,
        "validation_rows": 100,
        "epochs": 1,
        "expert_epochs": 1,
        "batch_size": 32,
        "learning_rate": 0.01,
        "alpha": 1.0,
        "beta": 0.0,
    }
    config = trial_config(base | settings)
    places = Places(source=SAMPLE, models=Models(models), cache=cache)
    lane = Lane(config=config, seed=0)
    *_, ended = (
        joint.train([lane], prepare_joint(config, places))
        if config.training.experts == "joint"
        else frozen_training.train([lane], prepare(config, places), device="cpu")
    )
    assert isinstance(ended, LanesEnded)
    checkpoint.save(ended.checkpoints[0], folder)
    return Trained(folder=folder, places=places, config=config, ended=ended)


def classifiers(folder: Path) -> dict[str, Any]:
    """Two small classifiers for `--models`, and the settings of a pool of them.

    The first does not name its labels; the second names them in the other order.
    """
    from transformers import BertConfig, BertForSequenceClassification

    from mpc_router.model.encoders import seeded
    from mpc_router.sample import encoders

    words = encoders.tokenizer()
    names: dict[str, dict[str, Any]] = {
        "org/unnamed": {},
        "org/named": {"id2label": {0: "equivalent", 1: "not_equivalent"}},
    }
    for seed, (name, more) in enumerate(names.items()):
        shape = BertConfig(
            vocab_size=len(words),
            hidden_size=16,
            num_hidden_layers=1 + seed,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=64,
            initializer_range=0.3,
            **more,
        )
        with seeded(seed):
            BertForSequenceClassification(shape).save_pretrained(folder / name)
        words.save_pretrained(folder / name)
    return {
        "pool": "custom",
        "expert_model_names": list(names),
        "expert_layers": [0, 0],
        "expert_costs": [1, 2],
        "expert_fine_tuned": True,
        "router_model_name": "org/named",
        "router_stem_layers": 1,
        "tokenizer_model_name": "org/named",
        "router_cost": 0.1,
        "max_length": 64,
        "router_hidden_size": 8,
    }
