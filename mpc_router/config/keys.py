"""Keys of trials: which settings a trial's numbers depend on, and the text that is hashed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

from mpc_router.config.router_data import CROSS_FITTED, HELD_OUT, TRAIN_ROWS, UNUSED
from mpc_router.config.router_kinds import GATED
from mpc_router.config.trial import TrialConfig, settings
from mpc_router.tasks import TASKS, Task

_STEPS: Final = (
    *("alpha", "beta", "balance_variance", "auxiliary_gates", "router", "router_dropout"),
    *("gate", "temperature", "temperature_end", "temperature_schedule", "straight_through"),
    *("mixing", "epochs", "batch_size", "learning_rate", "weight_decay", "epoch"),
)
"""Settings of a router that is trained by steps."""

_ONLY_WHERE: Final[tuple[tuple[tuple[str, ...], dict[str, str]], ...]] = (
    (_STEPS, {"router_kind": GATED}),
    (("router_share",), {"router_data": HELD_OUT}),
    (("router_rows",), {"router_data": UNUSED}),
    (("router_folds",), {"router_data": CROSS_FITTED}),
    (
        ("shared_stem", "aux_gradient", "encoder_learning_rate", "expert_start", "trainable"),
        {"experts": "joint"},
    ),
    (("gradient_clip", "accumulation", "warmup", "decay"), {"experts": "joint"}),
    (
        ("router_labels", "focal_gamma", "class_balance"),
        {"router_kind": GATED, "router": "supervised"},
    ),
    (
        ("label_cost",),
        {"router_kind": GATED, "router": "supervised", "router_labels": "loss_cost"},
    ),
    (("router_epochs",), {"router": "supervised", "experts": "joint"}),
    (
        ("router_model_name", "router_stem_layers", "stem_pooling", "router_cost"),
        {"stem": "model"},
    ),
)
"""Settings that no number of a trial depends on but where other settings have these values."""


def applied(config: TrialConfig) -> dict[str, Any]:
    """Gives the settings that a trial's numbers depend on, by leaf name.

    As `settings`, less the device and what does not apply: the settings of joint training where
    experts are frozen, those of supervision where the router learns from its gates, those of a stem
    that the cheapest expert takes the place of. Configurations of which this is equal train alike.
    """
    all_settings = settings(config)
    idle = {"device", "task_definition"} | config.model.idle()
    if config.model.fitted and ("predictor" in idle or config.model.predictor != "mlp"):
        idle.add("router_hidden_size")
    if config.data.router_data == TRAIN_ROWS:
        idle.add("router_data")  # trials of before had no other
    for names, needs in _ONLY_WHERE:
        if any(all_settings[name] != value for name, value in needs.items()):
            idle.update(names)
    counted = {name: value for name, value in all_settings.items() if name not in idle}
    if config.data.task_definition is not None:
        identity, glue = config.data.definition.identity(), TASKS.get(config.data.task)
        if glue is None or identity != glue.identity():
            counted["task_definition"] = identity
    return counted


_CANONICAL: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)

_AS_THEY_ARE: Final = frozenset({str, int, bool, type(None)})
"""Types of values that canonical JSON writes as they are."""


def canonical(value: Any) -> str:
    """Gives JSON in which equal values are equal text: keys sorted, 0 = 0.0, tuples as lists."""
    return _CANONICAL.encode(_typed(value))


def _typed(value: Any) -> Any:
    if type(value) in _AS_THEY_ARE:  # most are, and thousands of points are compared
        return value
    if isinstance(value, Task):
        return _typed(value.to_json())
    if isinstance(value, Mapping):
        return {str(name): _typed(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_typed(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def trial_key(config: TrialConfig, seed: int, *, data: str, experts: str) -> str:
    """Gives the trial's key: 16 hex digits, the same on every machine and in every run.

    `data` and `experts` are the fingerprints of the data, and of the trained experts and the stem:
    they stand for the models, whose names may be paths of one machine. Settings that do not apply
    (see `applied`) are no part of it.
    """
    counts = applied(config)
    for name in ("expert_model_names", "router_model_name", "tokenizer_model_name"):
        counts.pop(name, None)
    text = canonical({"config": counts, "seed": seed, "data": data, "experts": experts})
    return hashlib.sha256(text.encode()).hexdigest()[:16]
