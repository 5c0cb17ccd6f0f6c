"""What a router is made of: the stem it looks through, the small network, and the gates.

Letters: B examples of a batch, F features, H hidden units, K experts; `...` are lanes or nothing.
Nothing here draws random numbers but modules in training mode and functions that take a generator.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mpc_router.config.sections import ModelConfig
from mpc_router.config.trial import TrialConfig
from mpc_router.model.encoders import PooledEncoder, load_encoder, summarise
from mpc_router.model.sources import Models
from mpc_router.routers.by_kind import fitted_router, rebuilt
from mpc_router.routers.fitted_router import FittedRouter, RouterSettings, RouterSizes


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
    those of `initial_weights`, or of a checkpoint, or fit them (`FittedRouter.fit`).
    """
    if isinstance(config, TrialConfig):
        if config.model.fitted:
            return build_fitted(config, features)
        config = RouterShape(
            experts=config.experts,
            hidden_size=config.model.router_hidden_size,
            dropout=config.model.router_dropout,
        )
    return MLPRouter(features, config.experts, config.hidden_size, config.dropout)


def build_fitted(config: TrialConfig, features: int) -> FittedRouter:
    """Builds the router of a configuration whose kind is fitted at once, over F features."""
    model, task = config.model, config.data.definition
    return fitted_router(
        model.router_kind,
        RouterSettings(
            sees_features=model.sees_features,
            hidden_size=model.router_hidden_size if model.predictor == "mlp" else 0,
            gain=model.router_gain,
            ridge=model.router_ridge,
            clusters=model.router_clusters,
            threshold=model.router_threshold,
            shares=model.router_shares,
        ),
        RouterSizes(
            features=features,
            outputs=task.outputs,
            regression=task.regression,
            paths=config.paths,
        ),
    )


def router_shape(router: nn.Module) -> dict[str, Any]:
    """Describes a router as plain JSON, so that `rebuilt_router` makes one of its shape.

    Raises:
        TypeError: it is of a kind that this package does not make.
    """
    if isinstance(router, MLPRouter):
        return {"hidden_size": router.hidden.out_features, "dropout": router.dropout}
    if isinstance(router, FittedRouter):
        return router.shape()
    raise TypeError(f"a {type(router).__name__} cannot be described; take an MLPRouter")


def rebuilt_router(shape: Mapping[str, Any], features: int, experts: int) -> nn.Module:
    """Makes a router of what `router_shape` gave, with arbitrary weights."""
    if "kind" in shape:
        return rebuilt(shape)
    return build_router(
        RouterShape(experts=experts, hidden_size=shape["hidden_size"], dropout=shape["dropout"]),
        features,
    )


def logit_offset(router: nn.Module) -> Tensor:
    """Gives the vector (M,) that a router adds to its logits last: where a bias is folded in.

    Raises:
        TypeError: it is of a kind that this package does not make.
    """
    if isinstance(router, MLPRouter):
        return router.out.bias
    if isinstance(router, FittedRouter):
        return router.offset
    raise TypeError(f"a {type(router).__name__} has no vector to fold a bias into")


def sees_features(router: nn.Module) -> bool:
    """Tells whether a router is given features of the stem."""
    return not isinstance(router, FittedRouter) or router.takes_features


def sees_outputs(router: nn.Module) -> bool:
    """Tells whether a router is given outputs of the experts that have run."""
    return isinstance(router, FittedRouter) and router.traits.sees_outputs


def router_logits(
    router: nn.Module, features: Tensor | None, outputs: Tensor | None = None
) -> Tensor:
    """Gives a router's numbers (B, M) of standardised features (B, F) and outputs (B, K, C).

    Of outputs only those of experts that have run count; a router that sees none is given none.
    """
    if not isinstance(router, FittedRouter):
        logits: Tensor = router(features)
        return logits
    numbers: Tensor = router(
        features if router.takes_features else None,
        outputs if router.traits.sees_outputs else None,
    )
    return numbers


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
