"""What a router is made of: the stem it looks through, the small network, and the gates.

Letters: B examples of a batch, F features, H hidden units, K experts; `...` are lanes or nothing.
Nothing here draws random numbers but modules in training mode and functions that take a generator.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn

from mpc_router.config import router_kinds as kinds
from mpc_router.config.sections import ModelConfig
from mpc_router.config.trial import TrialConfig
from mpc_router.model.encoders import PooledEncoder, load_encoder, summarise
from mpc_router.model.fitted_routers import (
    FITTED_ROUTERS,
    ClusterRouter,
    PredictiveRouter,
    fit_clusters,
    fit_predictive,
)
from mpc_router.model.output_features import output_features, output_width
from mpc_router.model.sources import Models


class RouterStem(PooledEncoder):
    """Gives the features (B, F) that a router sees: first layers of an encoder, and pooling."""

    def __init__(
        self,
        model_name_or_encoder: str | nn.Module,
        *,
        layers: int = 0,
        pooling: str = "cls",
        models: Models | None = None,
        seed: int = 0,
    ) -> None:
        encoder = model_name_or_encoder
        if isinstance(encoder, str):
            encoder = load_encoder(encoder, layers, models or Models(), seed=seed)
        super().__init__(encoder, pooling)

    def tokens(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Gives hidden states (B, T, F) of the last layer, and the features (B, F) of them."""
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        segments = {"token_type_ids": token_type_ids} if self._segments else {}
        hidden: Tensor = self.encoder(input_ids, attention_mask=mask, **segments).last_hidden_state
        return hidden, summarise(hidden, mask, self.pooling)


class MLPRouter(nn.Module):
    """Takes features to the experts' logits: linear (F, H), ReLU, dropout, linear (H, K)."""

    sees_outputs: Final = False
    sees_features: Final = True

    def __init__(
        self, features: int, num_experts: int, hidden_size: int = 256, dropout: float = 0.1
    ) -> None:
        super().__init__()
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout is {dropout}, but must lie in [0, 1)")
        self.hidden = nn.Linear(features, hidden_size)
        self.out = nn.Linear(hidden_size, num_experts)
        self.dropout = dropout

    def forward(self, features: Tensor, dropout_mask: Tensor | None = None) -> Tensor:
        """Gives logits (B, K) of features (B, F).

        `dropout_mask` (B, H) multiplies the hidden units and is already scaled by 1 / (1 - p).
        Without one a module in training mode draws its own from the global state, and a module in
        evaluation mode drops nothing: under `torch.func.vmap` hand masks in, or call `eval()`.
        """
        hidden = torch.relu(self.hidden(features))
        if dropout_mask is not None:
            hidden = hidden * dropout_mask
        elif self.training and self.dropout:
            hidden = nn.functional.dropout(hidden, self.dropout)
        logits: Tensor = self.out(hidden)
        return logits


@dataclass(frozen=True, kw_only=True)
class RouterShape:
    """Holds what a router is built from where no trial's configuration says it."""

    experts: int
    hidden_size: int
    dropout: float


def build_router(config: TrialConfig | RouterShape, features: int) -> nn.Module:
    """Builds the router of a configuration over F features, in training mode.

    No other function makes one. Its weights are torch's own draws from the global state, or 0: load
    those of `initial_weights`, or of a checkpoint, or fit them (`fit_router`).
    """
    if isinstance(config, TrialConfig):
        if config.model.fitted:
            return _fitted_router(config, features)
        config = RouterShape(
            experts=config.experts,
            hidden_size=config.model.router_hidden_size,
            dropout=config.model.router_dropout,
        )
    return MLPRouter(features, config.experts, config.hidden_size, config.dropout)


def _fitted_router(config: TrialConfig, features: int) -> nn.Module:
    model = config.model
    match model.router_kind:
        case kinds.CLUSTERS:
            return ClusterRouter(features, config.experts, clusters=model.router_clusters)
        case kinds.PREDICTIVE:
            return PredictiveRouter(
                _router_width(config, features),
                config.experts,
                hidden_size=model.router_hidden_size if model.predictor == "mlp" else 0,
                gain=model.router_gain,
                sees_features=model.sees_features,
            )
    raise ValueError(f"router_kind={model.router_kind} has no module")


def _router_width(config: TrialConfig, features: int) -> int:
    """Gives the numbers I that a router over F features is given of an example."""
    task, width = config.data.definition, 0
    if config.model.sees_outputs:
        width += output_width(task.outputs, regression=task.regression)
    return width + (features if config.model.sees_features else 0)


def router_shape(router: nn.Module) -> dict[str, Any]:
    """Describes a router as plain JSON, so that `rebuilt_router` makes one of its shape.

    Raises:
        TypeError: it is of a kind that this package does not make.
    """
    if isinstance(router, MLPRouter):
        return {"hidden_size": router.hidden.out_features, "dropout": router.dropout}
    if isinstance(router, PredictiveRouter):
        return {
            "kind": kinds.PREDICTIVE,
            "inputs": len(router.input_mean),
            "hidden_size": router.hidden_size,
            "gain": router.gain,
            "sees_features": router.sees_features,
        }
    if isinstance(router, ClusterRouter):
        return {"kind": kinds.CLUSTERS, "clusters": len(router.centres)}
    raise TypeError(f"a {type(router).__name__} cannot be described; take an MLPRouter")


def rebuilt_router(shape: Mapping[str, Any], features: int, experts: int) -> nn.Module:
    """Makes a router of what `router_shape` gave, with arbitrary weights."""
    kind = shape.get("kind")
    if kind == kinds.PREDICTIVE:
        return PredictiveRouter(
            shape["inputs"],
            experts,
            hidden_size=shape["hidden_size"],
            gain=shape["gain"],
            sees_features=shape["sees_features"],
        )
    if kind == kinds.CLUSTERS:
        return ClusterRouter(features, experts, clusters=shape["clusters"])
    return build_router(
        RouterShape(experts=experts, hidden_size=shape["hidden_size"], dropout=shape["dropout"]),
        features,
    )


def logit_offset(router: nn.Module) -> Tensor:
    """Gives the vector (K,) that a router adds to its logits last: where a bias is folded in.

    Raises:
        TypeError: it is of a kind that this package does not make.
    """
    if isinstance(router, MLPRouter):
        return router.out.bias
    if isinstance(router, FITTED_ROUTERS):
        return router.offset
    raise TypeError(f"a {type(router).__name__} has no vector to fold a bias into")


def router_inputs(features: Tensor | None, outputs: Tensor | None, *, regression: bool) -> Tensor:
    """Puts together what a router is given: standardised features (N, F), outputs (N, C), or both.

    Outputs of the cheapest expert come first, as `output_features`.
    """
    parts = [] if outputs is None else [output_features(outputs, regression=regression)]
    return torch.cat([*parts, *([] if features is None else [features])], dim=-1)


def fit_router(
    router: nn.Module, config: TrialConfig, inputs: Tensor, worth: Tensor, *, seed: int
) -> None:
    """Fits a router of a kind that is fitted at once, in place.

    `inputs` (N, I) are `router_inputs` of train; `worth` (N, K) says by expert whether it was
    right, or its loss (`router_gain`).

    Raises:
        ValueError: an input is not finite, or there are fewer examples than clusters.
    """
    if isinstance(router, ClusterRouter):
        worth = worth if config.model.router_gain == "right" else -worth
        fit_clusters(router, inputs, worth, seed=seed)
    elif isinstance(router, PredictiveRouter):
        fit_predictive(router, inputs, worth, ridge=config.model.router_ridge, seed=seed)
    else:
        raise TypeError(f"a {type(router).__name__} is trained by steps, and not fitted")


def initial_weights(
    features: int, hidden_size: int, num_experts: int, generator: torch.Generator
) -> dict[str, Tensor]:
    """Draws the state dict of a new `MLPRouter` from `generator` alone.

    The distribution is that of `nn.Linear`: uniform within 1 / sqrt(inputs).
    """
    shapes = {"hidden": (hidden_size, features), "out": (num_experts, hidden_size)}
    weights: dict[str, Tensor] = {}
    for name, (rows, columns) in shapes.items():
        bound = 1 / math.sqrt(columns)
        for part, shape in (("weight", (rows, columns)), ("bias", (rows,))):
            uniform = torch.rand(shape, generator=generator)
            weights[f"{name}.{part}"] = (2 * uniform - 1) * bound
    return weights


def gumbel_noise(shape: tuple[int, ...], generator: torch.Generator | None = None) -> Tensor:
    """Draws standard Gumbel noise -log(-log U), float32, finite."""
    # -log U is exponential; drawing that directly loses nothing near U = 0 and 1
    draws = torch.empty(shape).exponential_(generator=generator)
    return -draws.clamp_min(torch.finfo(torch.float32).tiny).log()


def softmax_gate(logits: Tensor, temperature: float | Tensor = 1.0) -> Tensor:
    """Gives softmax(z / tau) over the last axis (..., K); the limit tau -> 0 is one-hot.

    `temperature` is above 0, a number or a tensor that broadcasts against the logits.
    """
    # the largest logit is moved to 0 before the division, so no temperature overflows
    shifted = logits - logits.amax(-1, keepdim=True).detach()
    return torch.softmax(shifted / temperature, -1)


def gumbel_gate(
    logits: Tensor,
    noise: Tensor,
    temperature: float | Tensor = 1.0,
    *,
    straight_through: bool = False,
) -> Tensor:
    """Gives softmax((z + G) / tau) over the last axis (..., K), the noise G handed in.

    `logits` z are unnormalised log-probabilities: the argmax of z + G is distributed as softmax(z).
    Straight-through: one-hot forward, the soft gate's gradient back.
    Jang et al. 2017, arXiv:1611.01144.
    """
    soft = softmax_gate(logits + noise, temperature)
    if not straight_through:
        return soft
    hard = one_hot(soft.argmax(-1), soft.shape[-1]).to(soft.dtype)
    return hard + (soft - soft.detach())  # in this order the forward value is exactly one-hot


def one_hot(routes: Tensor, num_experts: int) -> Tensor:
    """Gives the hard gate (..., K) of routes (...) as booleans, also under `torch.func.vmap`."""
    return routes.unsqueeze(-1) == torch.arange(num_experts, device=routes.device)


def temperature_at(model: ModelConfig, step: int, steps: int) -> float:
    """Gives the temperature in step 0..steps - 1; an end of 0 keeps it constant.

    linear:       start + (end - start) t,      t = step / (steps - 1)
    exponential:  start^(1 - t) end^t
    """
    start, end = model.temperature, model.temperature_end or model.temperature
    share = min(1.0, step / (steps - 1)) if steps > 1 else 0.0
    if model.temperature_schedule == "linear":
        return start + (end - start) * share
    return float(start ** (1 - share) * end**share)
