"""The four sections of a configuration: their settings, defaults and rules.

The shape is the published one: `model`, `loss_weights`, `training`, `data`. What one section alone
can say is checked here; what the pool decides is filled in by `mpc_router.config.trial`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

from mpc_router.config.own_pools import named_pool
from mpc_router.config.pools import CUSTOM, OUTPUTS, POOLS
from mpc_router.config.router_data import RouterData
from mpc_router.config.router_kinds import RouterKind
from mpc_router.messages import quoted
from mpc_router.settings.allowed import Number, OneOf, Text, check_allowed
from mpc_router.settings.rules import ConfigError, at_least, check_no_path_fault, one_of
from mpc_router.tasks import TASKS, Task

_LEAST_TEMPERATURE: Final = 1e-6
"""Of a gate: one-hot for all purposes, and still a number in float32."""


@dataclass(frozen=True, kw_only=True)
class ModelConfig(RouterKind):
    """Holds the settings of pool, stem and gate."""

    pool: Annotated[str, OneOf((*POOLS, CUSTOM, OUTPUTS), "a pool of one's own")] = "bert"
    """The experts: `bert`, `minilm`, `sample`, or `custom` with every expert spelled out, or
    `outputs` of experts that were run elsewhere, or a pool of one's own (see the guide to own
    parts)."""

    pool_size: Annotated[int, Number(0)] = 0
    """Experts K of a named pool, as the pool has them at that size; 0 takes its usual ones."""

    expert_model_names: tuple[str, ...] = ()
    """Cheapest first; empty takes the pool's."""

    expert_layers: Annotated[tuple[int, ...], Number(0)] = ()
    """Encoder layers kept of each expert; 0 is all of them."""

    expert_costs: Annotated[tuple[float, ...], Number(0)] = ()
    """Training costs by expert; empty takes the pool's constants."""

    expert_pooling: Annotated[str, OneOf(("cls", "mean", ""))] = ""
    """How an expert sums up its tokens: `cls` or `mean`; empty takes the pool's."""

    expert_fine_tuned: bool | None = None
    """The experts come fine-tuned, so selection is cut from validation; null takes the pool's."""

    tokenizer_model_name: str = ""
    """The model whose tokenizer all encoders are read with; empty takes the pool's, or each
    encoder's own where one of them is not the pool's."""

    stem: Annotated[str, OneOf(("model", "expert"))] = "model"
    """What the router looks through: `model`, or `expert` (the cheapest expert of the pool)."""

    router_model_name: str = ""
    """The stem's encoder; empty takes the pool's."""

    shared_stem: bool = False
    """Experts are the layers after the stem's (experts: joint); else they are whole encoders."""

    router_stem_layers: Annotated[int, Number(-1)] = -1
    """Layers of the stem; 0 is all of them, -1 takes the pool's."""

    router_cost: Annotated[float, Number(-1)] = -1.0
    """What stem and router cost an example, in the units of the pool's costs; -1 takes the pool's.
    """

    stem_pooling: Annotated[str, OneOf(("cls", "mean", ""))] = ""
    """How the stem sums up its tokens: `cls` or `mean`; empty takes the pool's."""

    router_hidden_size: Annotated[int, Number(1)] = 256
    """Hidden units of the router's MLP."""

    router_dropout: Annotated[float, Number(0, below=1)] = 0.1
    """Share of the hidden units that a training step drops."""

    gate: Annotated[str, OneOf(("gumbel", "softmax"))] = "gumbel"
    """`gumbel` (noise while training) or `softmax`."""

    temperature: Annotated[float, Number(_LEAST_TEMPERATURE)] = 1.0
    """The temperature of the gate while training: gates are softmax((logits + noise) /
    temperature)."""

    temperature_end: Annotated[float, Number(0)] = 0.0
    """Temperature of the last step; 0 keeps the first throughout."""

    temperature_schedule: Annotated[str, OneOf(("exponential", "linear"))] = "exponential"
    """From `temperature` to `temperature_end`: `linear` or `exponential` in the steps."""

    straight_through: bool = False
    """One-hot gates forward, soft gradients back (gate: gumbel)."""

    mixing: Annotated[str, OneOf(("logits", "probabilities"))] = "logits"
    """What the gate mixes while training: `logits` or `probabilities`."""

    def __post_init__(self) -> None:
        named_pool(self.pool)
        check_allowed(self)
        if self.temperature_end:
            at_least("temperature_end", self.temperature_end, _LEAST_TEMPERATURE)
        if self.shared_stem and self.stem == "expert":
            raise ConfigError(
                "shared_stem=true needs stem=model; set stem=model, or shared_stem=false"
            )
        if self.straight_through and self.gate != "gumbel":
            raise ConfigError(
                "straight_through=true needs gate=gumbel; set gate=gumbel, or "
                "straight_through=false"
            )
        for name in ("tokenizer_model_name", "router_model_name"):
            check_no_path_fault(name, getattr(self, name))
        for model in self.expert_model_names:
            check_no_path_fault("expert_model_names", model or " ")


@dataclass(frozen=True, kw_only=True)
class LossWeights:
    """Holds the weights of L = task + alpha * balance + beta * cost."""

    alpha: Annotated[float, Number(0)] = 0.01
    """Weight of the balance of load."""

    beta: Annotated[float, Number(0)] = 0.03
    """Weight of cost; its meaning changes with the unit of `expert_costs`."""

    balance_variance: Annotated[str, OneOf(("biased", "unbiased"))] = "biased"
    """`biased` divides by K, `unbiased` by K - 1."""

    auxiliary_gates: Annotated[str, OneOf(("noisy", "clean"))] = "noisy"
    """Gates that balance and cost see: `noisy` (published) or `clean` (softmax of the logits)."""

    aux_gradient: Annotated[str, OneOf(("router", "mlp"))] = "router"
    """What balance and cost update where all trains: the `router` (stem and MLP) or its `mlp`."""

    def __post_init__(self) -> None:
        check_allowed(self)


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Holds how the router, and before it each expert alone, is trained."""

    experts: Annotated[str, OneOf(("frozen", "joint"))] = "frozen"
    """How experts are trained. `frozen`: they are trained alone, once, and the router looks at
    their cached outputs; `joint`: stem, router and experts train together (published)."""

    router: Annotated[str, OneOf(("gated", "supervised"))] = "gated"
    """What a router learns from. `gated`: the loss of the mixed outputs (published), or
    `supervised`, a focal loss on labels made of the experts' outputs; balance and cost add to
    either with alpha and beta (alpha=0 beta=0 leaves a supervised router its labels alone). With
    experts: joint all then trains on from the supervised router."""

    router_labels: Annotated[str, OneOf(("cheapest_right", "loss_cost"))] = "cheapest_right"
    """The label of an example (router: supervised): `cheapest_right` expert, or `loss_cost`, the
    expert with the least loss + `label_cost` x its cost."""

    label_cost: Annotated[float, Number(0)] = 0.0
    """lambda of `loss_cost`: with expert_costs c the label is argmin_k loss_k + lambda c_k; its
    meaning changes with the unit of `expert_costs`."""

    focal_gamma: Annotated[float, Number(0)] = 2.0
    """gamma of the focal loss (router: supervised); 0 is cross-entropy."""

    class_balance: Annotated[float, Number(0, below=1)] = 0.999
    """b of the effective number of examples of a label (router: supervised); 0 weighs all labels
    alike."""

    router_epochs: Annotated[int, Number(1)] = 5
    """Epochs of the supervised router before all trains (router: supervised, experts: joint)."""

    epochs: Annotated[int, Number(1)] = 5
    """Passes over train."""

    batch_size: Annotated[int, Number(1)] = 32
    """Examples of a step."""

    learning_rate: Annotated[float, Number(0, above=True)] = 1e-3
    """The learning rate of the router."""

    encoder_learning_rate: Annotated[float, Number(0)] = 0.0
    """The learning rate of stem and experts (experts: joint); 0 takes the pool's."""

    weight_decay: Annotated[float, Number(0)] = 0.01
    """The weight decay of AdamW; where everything trains, biases and norms have none."""

    expert_start: Annotated[str, OneOf(("checkpoint", "fine_tuned"))] = "checkpoint"
    """Where joint training begins: each expert's `checkpoint` as it comes, or `fine_tuned` alone
    before, as for frozen experts."""

    trainable: Annotated[
        str, Text(r"all|head|last_[1-9][0-9]{0,3}", "all, head, and last_N such as last_2")
    ] = "all"
    """What of stem and experts trains (experts: joint): `all`, `head` (the experts' heads alone),
    or `last_N` (the heads and the last N encoder layers of each). The router always trains."""

    gradient_clip: Annotated[float, Number(0)] = 1.0
    """Largest norm of a step's gradient (experts: joint); 0 does not clip."""

    accumulation: Annotated[int, Number(1)] = 1
    """Batches whose gradients make one step (experts: joint)."""

    warmup: Annotated[float, Number(0, below=1)] = 0.1
    """Share of the steps in which the learning rates rise (experts: joint)."""

    decay: Annotated[str, OneOf(("linear", "constant"))] = "linear"
    """How the learning rates go on after that (experts: joint): `linear` to 0, or `constant`."""

    epoch: Annotated[str, OneOf(("last", "best_score"))] = "last"
    """Which epoch a trial's results are those of: `last`, or `best_score` on selection."""

    expert_seed: Annotated[int, Number(0)] = 0
    """The seed of everything random in fine-tuning the experts; another seed gives another set of
    them."""

    expert_epochs: Annotated[int, Number(0)] = 0
    """Epochs of fine-tuning each expert; 0 takes the pool's."""

    expert_learning_rate: Annotated[float, Number(0)] = 0.0
    """The learning rate of fine-tuning an expert; 0 takes the pool's."""

    expert_batch_size: Annotated[int, Number(0)] = 0
    """Examples of a step of fine-tuning an expert; 0 takes the pool's."""

    precision: Annotated[str, OneOf(("auto", "float32", "bfloat16"))] = "auto"
    """The numbers of fine-tuning: `auto` (bfloat16 where the processor has it), `float32`,
    `bfloat16`."""

    device: Annotated[str, OneOf(("auto", "cpu", "cuda"))] = "auto"
    """Where a trial trains: `auto`, `cpu` or `cuda`; no part of a trial's key."""

    def __post_init__(self) -> None:
        check_allowed(self)

    @property
    def joint(self) -> bool:
        """Whether the experts train too."""
        return self.experts == "joint"


@dataclass(frozen=True, kw_only=True)
class DataConfig(RouterData):
    """Holds the task, and how much of its data is used."""

    task: Annotated[str, OneOf(tuple(TASKS), "the name of task_definition")] = "mrpc"
    """One of GLUE's eight: cola, mnli, mrpc, qnli, qqp, rte, sst2, stsb; or the name of
    `task_definition`."""

    task_definition: Task | None = None
    """A task of one's own: a mapping with `name`, `text`, `label`, ... (see the guide to tasks)."""

    max_length: Annotated[int, Number(4)] = 128
    """Tokens kept of an example."""

    train_rows: Annotated[int, Number(0)] = 0
    """Rows of train used at most, chosen by a hash of the row; 0 is all of them."""

    validation_rows: Annotated[int, Number(0)] = 0
    """Rows of every quoted split used at most, likewise; 0 is all of them."""

    def __post_init__(self) -> None:
        if self.task_definition is None:
            one_of("task", self.task, TASKS)
        elif self.task_definition.name != self.task:
            raise ConfigError(
                f"task is {quoted(self.task)}, but task_definition defines "
                f"{quoted(self.task_definition.name)}; give both the same name"
            )
        elif self.task_definition == TASKS.get(self.task):
            object.__setattr__(self, "task_definition", None)
        check_allowed(self)

    @property
    def definition(self) -> Task:
        """Gives the task itself: the one that is defined here, or GLUE's."""
        return self.task_definition or TASKS[self.task]


SECTIONS: Final = {
    "model": ModelConfig,
    "loss_weights": LossWeights,
    "training": TrainingConfig,
    "data": DataConfig,
}


_USUAL: Final = {
    leaf.name: leaf.default
    for part in (RouterKind, RouterData)
    for leaf in dataclasses.fields(part)
}
"""Defaults of settings that not all files hold."""


def without_usual(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Leaves out settings of a router's kind and data that are the usual ones.

    Files that were written before there were such settings have none of them.
    """
    return {
        name: value
        for name, value in settings.items()
        if name not in _USUAL or value != _USUAL[name]
    }
