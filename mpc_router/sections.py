"""The four sections of a configuration: their settings, defaults and rules.

The shape is the published one: `model`, `loss_weights`, `training`, `data`. What one section alone
can say is checked here; what the pool decides is filled in by `mpc_router.config`.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from mpc_router.pools import CUSTOM, POOLS
from mpc_router.tasks import TASKS

LEAST_TEMPERATURE: Final = 1e-6
"""Of a gate: one-hot for all purposes, and still a number in float32."""


class ConfigError(ValueError):
    """A setting that cannot be: what was found, what is allowed, what to do."""


def one_of(name: str, value: object, allowed: Iterable[str]) -> None:
    """Refuse a value that is not among `allowed`, with the nearest one."""
    names = sorted(allowed)
    if value not in names:
        close = difflib.get_close_matches(str(value), names, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ConfigError(f"{name} is {value!r}, allowed are {', '.join(names)}{hint}")


def at_least(name: str, value: float, least: float, *, open_end: bool = False) -> None:
    """Refuse a value that is not finite or under `least` (`open_end`: or equal to it)."""
    if not math.isfinite(value) or value < least or (open_end and value == least):
        bound = f"above {least:g}" if open_end else f"at least {least:g}"
        raise ConfigError(f"{name} is {value}, but must be a finite number {bound}")


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Pool, stem and gate."""

    pool: str = "bert"
    """`bert`, `minilm`, `sample`, or `custom` with every expert spelled out."""

    expert_model_names: tuple[str, ...] = ()
    """Cheapest first; empty takes the pool's."""

    expert_layers: tuple[int, ...] = ()
    """Encoder layers kept of each expert; 0 is all of them."""

    expert_costs: tuple[float, ...] = ()
    """Training costs by expert; empty takes the pool's constants."""

    expert_pooling: str = ""
    """How an expert sums up its tokens: `cls` or `mean`; empty takes the pool's."""

    expert_fine_tuned: bool | None = None
    """The experts come fine-tuned, so selection is cut from validation; null takes the pool's."""

    tokenizer_model_name: str = ""
    """Empty takes the pool's."""

    stem: str = "model"
    """What the router looks through: `model`, or `expert` (the cheapest expert of the pool)."""

    router_model_name: str = ""
    """The stem's encoder; empty takes the pool's."""

    router_stem_layers: int = -1
    """Layers of the stem; 0 is all of them, -1 takes the pool's."""

    router_cost: float = -1.0
    """What stem and router cost an example, in the units of the pool's costs; -1 takes the pool's.
    """

    stem_pooling: str = ""
    router_hidden_size: int = 256
    router_dropout: float = 0.1
    gate: str = "gumbel"
    """`gumbel` (noise while training) or `softmax`."""

    temperature: float = 1.0
    temperature_end: float = 0.0
    """Temperature of the last step; 0 keeps the first throughout."""

    temperature_schedule: str = "exponential"
    """From `temperature` to `temperature_end`: `linear` or `exponential` in the steps."""

    straight_through: bool = False
    """One-hot gates forward, soft gradients back (gate: gumbel)."""

    mixing: str = "logits"
    """What the gate mixes while training: `logits` or `probabilities`."""

    def __post_init__(self) -> None:
        one_of("pool", self.pool, [*POOLS, CUSTOM])
        one_of("stem", self.stem, ["model", "expert"])
        one_of("gate", self.gate, ["gumbel", "softmax"])
        one_of("temperature_schedule", self.temperature_schedule, ["linear", "exponential"])
        one_of("mixing", self.mixing, ["logits", "probabilities"])
        at_least("temperature", self.temperature, LEAST_TEMPERATURE)
        if self.temperature_end:
            at_least("temperature_end", self.temperature_end, LEAST_TEMPERATURE)
        at_least("router_cost", self.router_cost, -1)
        at_least("router_hidden_size", self.router_hidden_size, 1)
        at_least("router_stem_layers", self.router_stem_layers, -1)
        at_least("router_dropout", self.router_dropout, 0)
        if self.router_dropout >= 1:
            raise ConfigError(f"router_dropout is {self.router_dropout}, but must lie below 1")
        if self.straight_through and self.gate != "gumbel":
            raise ConfigError("straight_through=true needs gate=gumbel; set one of the two")
        for cost in self.expert_costs:
            at_least("expert_costs", cost, 0)
        for layers in self.expert_layers:
            at_least("expert_layers", layers, 0)


@dataclass(frozen=True, kw_only=True)
class LossWeights:
    """L = task + alpha * balance + beta * cost."""

    alpha: float = 0.01
    """Weight of the balance of load."""

    beta: float = 0.03
    """Weight of cost; its meaning changes with the unit of `expert_costs`."""

    balance_variance: str = "biased"
    """`biased` divides by K, `unbiased` by K - 1."""

    auxiliary_gates: str = "noisy"
    """Gates that balance and cost see: `noisy` (published) or `clean` (softmax of the logits)."""

    def __post_init__(self) -> None:
        at_least("alpha", self.alpha, 0)
        at_least("beta", self.beta, 0)
        one_of("balance_variance", self.balance_variance, ["biased", "unbiased"])
        one_of("auxiliary_gates", self.auxiliary_gates, ["noisy", "clean"])


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How the router, and before it each expert alone, is trained."""

    experts: str = "frozen"
    """`frozen`: experts are trained alone, once, and the router looks at their cached outputs."""

    epochs: int = 5
    batch_size: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    epoch: str = "last"
    """Which epoch a trial's results are those of: `last`, or `best_score` on selection."""

    expert_seed: int = 0
    expert_epochs: int = 0
    """Epochs of fine-tuning each expert; 0 takes the pool's."""

    expert_learning_rate: float = 0.0
    """0 takes the pool's."""

    expert_batch_size: int = 0
    """0 takes the pool's."""

    precision: str = "auto"
    """Of fine-tuning: `auto` (bfloat16 where the processor has it), `float32`, `bfloat16`."""

    device: str = "auto"
    """`auto`, `cpu` or `cuda`; no part of a trial's key."""

    def __post_init__(self) -> None:
        one_of("experts", self.experts, ["frozen"])
        one_of("epoch", self.epoch, ["last", "best_score"])
        one_of("precision", self.precision, ["auto", "float32", "bfloat16"])
        one_of("device", self.device, ["auto", "cpu", "cuda"])
        for name in ("epochs", "batch_size"):
            at_least(name, getattr(self, name), 1)
        for name in (
            "weight_decay",
            "expert_epochs",
            "expert_learning_rate",
            "expert_seed",
            "expert_batch_size",
        ):
            at_least(name, getattr(self, name), 0)
        at_least("learning_rate", self.learning_rate, 0, open_end=True)


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Task, and how much of its data."""

    task: str = "mrpc"
    max_length: int = 128
    """Tokens kept of an example."""

    train_rows: int = 0
    """Rows of train used at most, chosen by a hash of the row; 0 is all of them."""

    validation_rows: int = 0
    """Rows of every quoted split used at most, likewise; 0 is all of them."""

    def __post_init__(self) -> None:
        one_of("task", self.task, TASKS)
        at_least("max_length", self.max_length, 4)
        at_least("train_rows", self.train_rows, 0)
        at_least("validation_rows", self.validation_rows, 0)


SECTIONS: Final = {
    "model": ModelConfig,
    "loss_weights": LossWeights,
    "training": TrainingConfig,
    "data": DataConfig,
}
