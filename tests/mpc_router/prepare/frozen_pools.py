"""Pools of the sample, and of two little models on disk, that tests prepare."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mpc_router.config.trial import TrialConfig, trial_config
from mpc_router.data.sources import Source, load_splits
from mpc_router.data.tokens import Tokens, tokenise
from mpc_router.experts.side_by_side import HERE
from mpc_router.model.encoders import load_tokenizer, seeded
from mpc_router.model.sources import Models
from mpc_router.prepare.inputs import ErrandRunner, Places
from mpc_router.sample import encoders

SHORT = {"train_rows": 96, "validation_rows": 50, "expert_epochs": 1}


def config(**settings: Any) -> TrialConfig:
    return trial_config({"pool": "sample", "task": "mrpc", **SHORT, **settings})


def places_at(cache: Path, models: Path | None = None, runner: ErrandRunner = HERE) -> Places:
    source = Source(kind="sample")
    return Places(source=source, models=Models(models), cache=cache, runner=runner)


def forbid(*_: object, **__: object) -> Any:
    raise AssertionError("this was to come from the cache")


def models_folder(folder: Path, *, tuned: bool) -> Path:
    """Two encoders and a tokenizer of the sample's words, in the layout of `--models`."""
    from transformers import BertConfig, BertForSequenceClassification, BertModel

    tokenizer = encoders.tokenizer()
    for seed, name in enumerate(("small", "large")):
        shape = BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=16,
            num_hidden_layers=2 + seed,
            num_attention_heads=2,
            intermediate_size=16,
            max_position_embeddings=64,
            initializer_range=0.3,
        )
        with seeded(seed):
            model = BertForSequenceClassification(shape) if tuned else BertModel(shape)
        model.save_pretrained(folder / "org" / name)
        tokenizer.save_pretrained(folder / "org" / name)
    return folder


def custom(**settings: Any) -> TrialConfig:
    return config(
        pool="custom",
        expert_model_names=["org/small", "org/large"],
        expert_costs=[1, 3],
        router_model_name="org/small",
        router_cost=0,
        train_rows=32,
        validation_rows=20,
        **settings,
    )


def split_tokens(
    chosen: TrialConfig, split: str, cache: Path, models: Path | None = None
) -> Tokens:
    return tokenise(
        load_splits(chosen, Source(kind="sample"))[split],
        load_tokenizer(
            chosen.model.tokenizer_model_name or chosen.model.router_model_name, Models(models)
        ),
        max_length=chosen.data.max_length,
        fingerprint="test",
        cache=cache,
    )
