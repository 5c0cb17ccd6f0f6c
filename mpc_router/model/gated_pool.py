"""GatedBertPool: stem, router and experts as one module, under its published name.

With a shared stem its hidden states are what the experts are given; else they are whole encoders
that see the tokens. Letters: B examples of a batch, T tokens, F features, H hidden units of the
router, K experts, C outputs of an expert.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from mpc_router.model._vocabularies import check_one_vocabulary
from mpc_router.model.description import read_pool
from mpc_router.model.encoders import takes_segments
from mpc_router.model.experts import BertExpert, Encoded, ExpertPool, encoded
from mpc_router.model.fitted_routers import FITTED_ROUTERS
from mpc_router.model.losses import mix
from mpc_router.model.router import (
    RouterShape,
    RouterStem,
    build_router,
    gumbel_gate,
    gumbel_noise,
    initial_weights,
    one_hot,
    router_inputs,
    softmax_gate,
)
from mpc_router.model.shared_stem import behind_stem, layers_of
from mpc_router.model.sources import ModelError, Models


@dataclass(frozen=True)
class Seen:
    """Holds a batch after the stem."""

    features: Tensor
    """(B, I), what the router is given: the stem's features, standardised, or what else it sees."""

    states: Encoded
    """What each expert is given: token numbers (B, T), or of a shared stem hidden states
    (B, T, F)."""

    attention_mask: Encoded | None
    token_type_ids: Encoded | None
    first: Tensor | None = None
    """(B, C) outputs of the cheapest expert, where the router sees them."""


class GatedBertPool(nn.Module):
    """Mixes a pool of experts by a gate in training, and runs one an example at inference.

    Built from model names (published), or from parts with `from_parts`. The classes' order is that
    of `label_names`, if given. Where encoders have several tokenizers, `encodings` says for each
    expert the number of its tokenizer (the stem's is 0), and a batch is a tuple of tensors, one for
    each tokenizer.

    Raises:
        ModelError: a model cannot be found, read or used.
    """

    feature_mean: Tensor
    """(F,); features are standardised by it before the router sees them, 0 unless set."""

    feature_deviation: Tensor
    """(F,); 1 unless set."""

    pairs: bool
    """Whether it was trained on pairs, whose two texts `token_type_ids` tell apart. It warns, once,
    where they are missing."""

    route_costs: tuple[float, ...]
    """(K,) what a route to each expert adds to the cost: what a bias at inference is of. Empty
    where nothing is known of them."""

    def __init__(
        self,
        router_model_name: str,
        expert_model_names: Sequence[str],
        num_labels: int = 2,
        *,
        router_stem_layers: int = 0,
        stem_pooling: str = "cls",
        router_hidden_size: int = 256,
        router_dropout: float = 0.1,
        expert_layers: Sequence[int] = (),
        expert_pooling: str = "cls",
        label_names: Sequence[str] = (),
        gate: str = "gumbel",
        temperature: float = 1.0,
        straight_through: bool = False,
        mixing: str = "logits",
        regression: bool = False,
        shared_stem: bool = False,
        encodings: Sequence[int] = (),
        models: Models | Path | str | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        places = models if isinstance(models, Models) else Models(Path(models) if models else None)
        layers = tuple(expert_layers) or (0,) * len(expert_model_names)
        if len(layers) != len(expert_model_names):
            raise ModelError(
                f"expert_layers has {len(layers)} values for {len(expert_model_names)} experts; "
                "give one an expert"
            )
        stem = RouterStem(
            router_model_name,
            layers=router_stem_layers,
            pooling=stem_pooling,
            models=places,
            seed=seed,
        )
        experts = [
            BertExpert(
                name,
                num_labels,
                layers=depth,
                pooling=expert_pooling,
                label_names=label_names,
                models=places,
                seed=seed,
            )
            for name, depth in zip(expert_model_names, layers, strict=True)
        ]
        if not encodings:
            check_one_vocabulary(stem, router_model_name, experts, expert_model_names)
        elif shared_stem and any(encodings):
            raise ModelError(
                "shared_stem=True gives the experts what the stem made of its tokens, so that all "
                "have its tokenizer; leave encodings out"
            )
        if shared_stem:
            after = len(layers_of(stem.encoder, router_model_name))
            experts = [behind_stem(expert, after) for expert in experts]
        shape = RouterShape(
            experts=len(experts), hidden_size=router_hidden_size, dropout=router_dropout
        )
        router = build_router(shape, stem.width)
        generator = torch.Generator().manual_seed(seed)
        router.load_state_dict(
            initial_weights(stem.width, router_hidden_size, len(experts), generator)
        )
        self._assemble(stem, router, ExpertPool(experts, encodings), shared=shared_stem)
        self._set_gate(gate, temperature, straight_through, mixing, regression)

    @classmethod
    def from_parts(
        cls,
        stem: nn.Module,
        router: nn.Module,
        experts: ExpertPool,
        *,
        feature_mean: Tensor | None = None,
        feature_deviation: Tensor | None = None,
        gate: str = "gumbel",
        temperature: float = 1.0,
        straight_through: bool = False,
        mixing: str = "logits",
        regression: bool = False,
        shared_stem: bool = False,
    ) -> GatedBertPool:
        """Builds a pool of modules: `stem` gives (B, F), `router` takes it to (B, K).

        With a shared stem it is a `RouterStem`, and each expert stands behind it (`behind_stem`).
        """
        self = cls.__new__(cls)
        nn.Module.__init__(self)
        self._assemble(stem, router, experts, feature_mean, feature_deviation, shared=shared_stem)
        self._set_gate(gate, temperature, straight_through, mixing, regression)
        return self

    @classmethod
    def from_pretrained(cls, folder: Path | str) -> GatedBertPool:
        """Loads the model of a folder that `mpc-router-export` wrote, in evaluation mode.

        Raises:
            CheckpointError: the folder holds no such model, or a damaged one.
        """
        return read_pool(Path(folder), cls.from_parts)[0]

    def _assemble(
        self,
        stem: nn.Module,
        router: nn.Module,
        experts: ExpertPool,
        mean: Tensor | None = None,
        deviation: Tensor | None = None,
        *,
        shared: bool = False,
    ) -> None:
        self.shared_stem = shared
        self.pairs = False
        self.route_costs = ()
        self._warned = False
        self.stem = stem
        self.router = router
        self.experts = experts
        width = int(getattr(stem, "width", 1))
        self.register_buffer("feature_mean", torch.zeros(width) if mean is None else mean)
        self.register_buffer(
            "feature_deviation", torch.ones(width) if deviation is None else deviation
        )

    def _set_gate(
        self, gate: str, temperature: float, straight_through: bool, mixing: str, regression: bool
    ) -> None:
        if gate not in ("gumbel", "softmax"):
            raise ValueError(f"gate is {gate!r}, allowed are gumbel, softmax")
        if not temperature > 0:
            raise ValueError(f"temperature is {temperature}, but must be above 0")
        self.gate = gate
        self.temperature = temperature
        self.straight_through = straight_through
        self.mixing = mixing
        self.regression = regression

    @property
    def tokenizers(self) -> int:
        """Counts the tokenizers that its encoders are read with."""
        return 1 + max(self.experts.encodings)

    def look(
        self,
        input_ids: Encoded,
        attention_mask: Encoded | None = None,
        token_type_ids: Encoded | None = None,
    ) -> Seen:
        """Runs the stem on tokens (B, T): what the router is given, and what experts take.

        A router that sees outputs has the cheapest expert run for every example.

        Raises:
            ValueError: the pool has several tokenizers, and the tokens are not one tensor for each.
        """
        inputs = (input_ids, attention_mask, token_type_ids)
        for values in inputs:
            self._check_count(values)
        self._heed_segments(token_type_ids)
        states, mask = input_ids, attention_mask
        given = [encoded(values, 0) for values in inputs]
        if self.shared_stem:
            if given[1] is None:
                mask = given[1] = torch.ones_like(given[0])  # type: ignore[arg-type]
            states, features = self.stem.tokens(*given)  # type: ignore[operator]
        elif getattr(self.router, "sees_features", True):
            features = self.stem(*given)
        else:
            features = None
        if features is not None:  # a stem in bfloat16 is standardised in the buffers' precision
            features = features.to(self.feature_mean.dtype) - self.feature_mean
            features = features / self.feature_deviation
        if not getattr(self.router, "sees_outputs", False):
            assert features is not None
            return Seen(features, states, mask, token_type_ids)
        first = self.experts.ask(0, *inputs)
        seen = router_inputs(features, first, regression=self.regression)
        return Seen(seen, states, mask, token_type_ids, first)

    def _check_count(self, values: Encoded | None) -> None:
        """Refuses another number of tensors than there are tokenizers."""
        count = len(values) if isinstance(values, tuple | list) else 1
        if values is not None and count != self.tokenizers:
            raise ValueError(
                f"this pool has {self.tokenizers} tokenizers and was given {count} of each tensor; "
                "give a tuple with one for each tokenizer, the stem's first"
            )

    def _heed_segments(self, token_type_ids: Encoded | None) -> None:
        """Remembers a training on pairs, and warns where their segments are missing."""
        if token_type_ids is not None:
            if self.training and not self.pairs:
                numbers = range(self.tokenizers)
                segments = [encoded(token_type_ids, number) for number in numbers]
                self.pairs = any(bool(ids.any()) for ids in segments if ids is not None)
            return
        if not self.pairs or self._warned:
            return
        self._warned = True
        if any(takes_segments(part) for part in self.modules() if hasattr(part, "config")):
            warnings.warn(
                "this pool was trained on pairs, but token_type_ids are missing, so that it cannot "
                "tell the two texts apart: give those of tokenizer(first, second, "
                "return_token_type_ids=True) as the third argument",
                stacklevel=5,  # of `forward_inference`: the line that called it
            )

    def ask(self, seen: Seen) -> Tensor:
        """Runs every expert on every example: outputs (B, K, C)."""
        outputs: Tensor = self.experts(seen.states, seen.attention_mask, seen.token_type_ids)
        return outputs

    def route_logits(
        self,
        input_ids: Encoded,
        attention_mask: Encoded | None = None,
        token_type_ids: Encoded | None = None,
    ) -> Tensor:
        """Gives the router's logits (B, K), before noise and temperature."""
        logits: Tensor = self.router(self.look(input_ids, attention_mask, token_type_ids).features)
        return logits

    def gates(self, logits: Tensor, noise: Tensor | None = None) -> Tensor:
        """Gives soft gates (B, K) of logits; a Gumbel gate in training draws noise unless given.

        The gate of a router that is fitted at once is its hard route.
        """
        if isinstance(self.router, FITTED_ROUTERS):
            return one_hot(logits.argmax(-1), logits.shape[-1]).to(logits.dtype)
        if self.gate == "gumbel" and (self.training or noise is not None):
            if noise is None:
                noise = gumbel_noise(tuple(logits.shape)).to(logits)
            return gumbel_gate(
                logits, noise, self.temperature, straight_through=self.straight_through
            )
        return softmax_gate(logits, self.temperature)

    def forward(
        self,
        input_ids: Encoded,
        attention_mask: Encoded | None = None,
        token_type_ids: Encoded | None = None,
        *,
        noise: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Runs all experts and mixes their outputs: predictions (B, C) and gates (B, K).

        Predictions are logits (values for a regression). In training mode a Gumbel gate draws its
        noise from the global state unless it is handed in (B, K).
        """
        seen = self.look(input_ids, attention_mask, token_type_ids)
        gates = self.gates(self.router(seen.features), noise)
        return mix(gates, self.ask(seen), self.mixing, regression=self.regression), gates

    @torch.no_grad()
    def forward_inference(
        self,
        input_ids: Encoded,
        attention_mask: Encoded | None = None,
        token_type_ids: Encoded | None = None,
        *,
        bias: float = 0.0,
    ) -> tuple[Tensor, Tensor]:
        """Gives predictions (B, C) and the chosen experts (B,): the logits' argmax, no noise.

        Each expert runs once over the examples that chose it. Call `eval()` before, as for any
        module: a module in training mode drops out. `bias` b makes it argmax(z - b c) with c the
        `route_costs`: above 0 it saves, below 0 it spends. It adds to a bias that an export has.

        Raises:
            ValueError: a bias is given that is no finite number, or `route_costs` are not known.
        """
        costs = self._biased_costs(bias)
        seen = self.look(input_ids, attention_mask, token_type_ids)
        logits = self.router(seen.features)
        chosen = (logits if costs is None else logits.double() - costs.to(logits.device)).argmax(-1)
        inputs = (seen.states, seen.attention_mask, seen.token_type_ids)
        return self.experts.route(chosen, *inputs, first=seen.first), chosen

    def _biased_costs(self, bias: float) -> Tensor | None:
        """Gives what a bias takes from the logits, (K,); None without one."""
        if not bias:
            return None
        if not math.isfinite(bias):
            raise ValueError(f"bias is {bias}, but must be a finite number")
        if len(self.route_costs) != len(self.experts):
            raise ValueError(
                f"this pool knows the costs of {len(self.route_costs)} of its {len(self.experts)} "
                "experts, so a bias means nothing; set route_costs to what a route to each costs"
            )
        return bias * torch.tensor(self.route_costs, dtype=torch.float64)
