"""The pool as joint training begins with it, and what it says of a whole split.

Letters: N examples, F features, K experts, C outputs of an expert.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mpc_router.config.trial import TrialConfig
from mpc_router.data.tokens import Tokens, batches, gather
from mpc_router.experts.encoder_runs import load_trained
from mpc_router.frozen.randomness import order, starting_weights
from mpc_router.model.encoders import seeded
from mpc_router.model.experts import BertExpert, ExpertPool
from mpc_router.model.gated_pool import GatedBertPool
from mpc_router.model.router import RouterStem, build_router, router_logits
from mpc_router.model.shared_stem import behind_stem, layers_of
from mpc_router.prepare.joint import JointInputs, starts_fine_tuned
from mpc_router.prepare.standardisation import LEAST_DEVIATION
from mpc_router.run_names import TRAIN

_BATCH: Final = 64
"""Examples evaluated at a time."""

_MOMENT_ROWS: Final = 4096
"""Rows of train, at most, over which the features' mean and deviation are taken."""


@dataclass(frozen=True)
class Beginning:
    """Holds a router that was trained before, from which joint training begins."""

    weights: dict[str, Tensor]
    feature_mean: Tensor
    feature_deviation: Tensor


def empty_pool(config: TrialConfig, inputs: JointInputs, seed: int) -> GatedBertPool:
    """Builds stem, router and experts as joint training begins, features not standardised.

    What a checkpoint lacks (a head, the router) is drawn from `seed`. In evaluation mode.
    """
    model, tokenizers = config.model, inputs.tokenizers
    experts = []
    for recipe, number in zip(inputs.expert_recipes, tokenizers.experts, strict=True):
        bench = inputs.bench(config.training.device, tokenizer=number)
        fixed = starts_fine_tuned(config) or recipe.keep_head
        drawn = recipe if fixed else dataclasses.replace(recipe, seed=seed)
        expert = load_trained(drawn, bench, recipe.label)
        if inputs.task.regression and not expert.fine_tuned and not recipe.epochs:
            nn.init.constant_(expert.head.bias, float(np.mean(inputs.splits[TRAIN].labels)))
        experts.append(expert)
    recipe = inputs.stem_recipe
    stem = RouterStem(
        recipe.name,
        layers=recipe.layers,
        pooling=recipe.pooling,
        models=inputs.models,
        seed=recipe.seed,
    )
    if model.shared_stem:
        after = len(layers_of(stem.encoder, recipe.name))
        experts = [behind_stem(expert, after) for expert in experts]
    with seeded(seed):  # a module is born with draws from the global state
        router = build_router(config, stem.width)
    router.load_state_dict(
        starting_weights(
            seed,
            features=stem.width,
            hidden_size=model.router_hidden_size,
            experts=config.experts,
        )
    )
    return GatedBertPool.from_parts(
        stem,
        router,
        ExpertPool(experts, encodings=tokenizers.experts),
        gate=model.gate,
        temperature=model.temperature,
        straight_through=model.straight_through,
        mixing=model.mixing,
        regression=inputs.task.regression,
        shared_stem=model.shared_stem,
    ).eval()


def standardise(pool: GatedBertPool, tokens: Tokens, *, seed: int) -> None:
    """Sets the pool's feature moments to those of its stem as it is now, over rows of train.

    They stay as they are while the stem trains: what matters is that the router begins with inputs
    of unit size, as a frozen one does.
    """
    rows = np.sort(order(seed, epoch=0, rows=len(tokens))[:_MOMENT_ROWS])
    device = pool.feature_mean.device
    blocks = []
    with torch.inference_mode():
        for start in range(0, len(rows), _BATCH):
            batch = gather(tokens, rows[start : start + _BATCH]).to(device)
            blocks.append(pool.stem(batch.input_ids, batch.attention_mask, batch.token_type_ids))
    features = torch.cat(blocks).double().cpu()
    mean, deviation = features.mean(0), features.std(0, correction=0)
    deviation[deviation < LEAST_DEVIATION] = 1.0
    pool.feature_mean.copy_(mean)
    pool.feature_deviation.copy_(deviation)


def begin_with(pool: GatedBertPool, beginning: Beginning) -> None:
    """Gives a pool a trained router and the moments of the features that it learned on."""
    pool.router.load_state_dict(beginning.weights)
    pool.feature_mean.copy_(beginning.feature_mean)
    pool.feature_deviation.copy_(beginning.feature_deviation)


@dataclass(frozen=True, eq=False)
class Examined:
    """Holds a pool's logits and outputs on a split, in the split's order."""

    logits: NDArray[np.float32]
    """(N, K) of the router, before noise and temperature; (N, M) where it decides in steps."""

    outputs: NDArray[np.float32]
    """(N, K, C) of every expert."""

    @property
    def finite(self) -> bool:
        """Tells whether all logits and outputs are finite."""
        return bool(np.isfinite(self.logits).all() and np.isfinite(self.outputs).all())


def examine(pool: GatedBertPool, tokens: Tokens, outputs: int) -> Examined:
    """Runs router and all experts on every example, in evaluation mode and float32."""
    experts = len(pool.experts)
    examined = Examined(
        np.empty((len(tokens), pool.decisions.width), np.float32),
        np.empty((len(tokens), experts, outputs), np.float32),
    )
    device, training = pool.feature_mean.device, pool.training
    pool.eval()
    with torch.inference_mode():
        for batch in batches(tokens, _BATCH, generator=None):
            device_batch, rows = batch.to(device), batch.rows.numpy()
            view = pool.look(*device_batch.inputs)
            spoken = pool.ask(view)
            logits = router_logits(pool.router, view.features, spoken)
            examined.logits[rows] = logits.float().cpu().numpy()
            examined.outputs[rows] = spoken.float().cpu().numpy()
    pool.train(training)
    return examined


def widest(pool: GatedBertPool) -> int:
    """Gives the number of features of the widest encoder."""
    widths = [expert.width for expert in pool.experts.experts if isinstance(expert, BertExpert)]
    return max(int(getattr(pool.stem, "width", 1)), *widths)
