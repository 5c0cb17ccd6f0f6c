"""GatedBertPool: stem, router and experts as one module, under its published name.

With a shared stem its hidden states are what the experts are given; else they are whole encoders
that see the tokens. Letters: B examples of a batch, T tokens, F features, H hidden units of the
router, K experts, C outputs of an expert.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mpc_router.model._encoded_inputs import check_count, hold_pairs, warn_without_segments
from mpc_router.model._named_parts import named_parts
from mpc_router.model.description import read_pool
from mpc_router.model.experts import Encoded, ExpertPool, encoded
from mpc_router.model.losses import mix
from mpc_router.model.routed_run import price_of, run_routed
from mpc_router.model.router import (
    gumbel_gate,
    gumbel_noise,
    one_hot,
    router_logits,
    sees_features,
    sees_outputs,
    softmax_gate,
)
from mpc_router.model.seen import Seen
from mpc_router.model.sources import Models
from mpc_router.model.tied_stem import is_first_expert
from mpc_router.routers.fitted_router import FittedRouter
from mpc_router.routes import Decisions, Paths, single_paths


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
    """(K,) what a route to each expert adds to the cost, or (P,) each path: a bias at inference is
    of these. Empty where nothing is known of them."""

    paths: Paths | None
    """What the router chooses between, where that is not single experts."""

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
        stem, router, experts = named_parts(
            router_model_name,
            expert_model_names,
            num_labels,
            stem_layers=router_stem_layers,
            stem_pooling=stem_pooling,
            hidden_size=router_hidden_size,
            dropout=router_dropout,
            expert_layers=expert_layers,
            expert_pooling=expert_pooling,
            label_names=label_names,
            shared_stem=shared_stem,
            encodings=encodings,
            models=models
            if isinstance(models, Models)
            else Models(Path(models) if models else None),
            seed=seed,
        )
        self._assemble(stem, router, experts, shared=shared_stem)
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
        paths: Paths | None = None,
    ) -> GatedBertPool:
        """Builds a pool of modules: `stem` gives (B, F), `router` takes it to (B, K).

        With a shared stem it is a `RouterStem`, and each expert stands behind it (`behind_stem`).
        Without `paths` a route is one expert.
        """
        self = cls.__new__(cls)
        nn.Module.__init__(self)
        self._assemble(stem, router, experts, feature_mean, feature_deviation, shared=shared_stem)
        self._set_gate(gate, temperature, straight_through, mixing, regression)
        self.paths = paths
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
        self.paths = None
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

        The cheapest expert runs too where the router is given its outputs, once where it is the
        stem as well.

        Raises:
            ValueError: the pool has several tokenizers, and the tokens are not one tensor for each.
        """
        inputs = (input_ids, attention_mask, token_type_ids)
        for values in inputs:
            check_count(values, self.tokenizers)
        self._heed_segments(token_type_ids)
        states, mask = input_ids, attention_mask
        given = [encoded(values, 0) for values in inputs]
        features = first = None
        if self.shared_stem:
            if given[1] is None:
                mask = given[1] = torch.ones_like(given[0])  # type: ignore[arg-type]
            states, features = self.stem.tokens(*given)  # type: ignore[operator]
        elif sees_features(self.router) and is_first_expert(self.stem, self.experts):
            first, features = self.experts.experts[0].examine(*given)  # type: ignore[operator]
        elif sees_features(self.router):
            features = self.stem(*given)
        if first is None and sees_outputs(self.router):
            first = self.experts.ask(0, states, mask, token_type_ids)
        if features is not None:  # a stem in bfloat16 is standardised in the buffers' precision
            features = features.to(self.feature_mean.dtype) - self.feature_mean
            features = features / self.feature_deviation
        return Seen(features, states, mask, token_type_ids, first)

    def _heed_segments(self, token_type_ids: Encoded | None) -> None:
        """Remembers a training on pairs, and warns where their segments are missing."""
        if token_type_ids is not None:
            if self.training and not self.pairs:
                self.pairs = hold_pairs(token_type_ids, self.tokenizers)
        elif self.pairs and not self._warned:
            self._warned = True
            warn_without_segments(self)

    def ask(self, seen: Seen) -> Tensor:
        """Runs every expert on every example that was looked at: outputs (B, K, C)."""
        numbers = range(len(self.experts))
        return torch.stack([seen.ask(self.experts, number) for number in numbers], dim=1)

    def route_logits(
        self,
        input_ids: Encoded,
        attention_mask: Encoded | None = None,
        token_type_ids: Encoded | None = None,
    ) -> Tensor:
        """Gives the router's logits (B, K), before noise and temperature.

        A router that is given outputs has all experts run, and gives all its numbers (B, M).
        """
        seen = self.look(input_ids, attention_mask, token_type_ids)
        outputs = self.ask(seen) if sees_outputs(self.router) else None
        return router_logits(self.router, seen.features, outputs)

    @property
    def decisions(self) -> Decisions:
        """Gives how a route is made of the router's numbers."""
        if self.paths is not None:
            return self.paths.decisions
        return Decisions(single_paths(len(self.experts)))

    def gates(self, logits: Tensor, noise: Tensor | None = None) -> Tensor:
        """Gives soft gates (B, K) of logits; a Gumbel gate in training draws noise unless given.

        The gate of a router that is fitted at once is its hard route, (B, P) where it chooses
        between paths.
        """
        if isinstance(self.router, FittedRouter):
            routes = self.decisions.routes(logits.detach().cpu().numpy()).astype(np.int64)
            ways = len(self.decisions.paths)
            return one_hot(torch.from_numpy(routes).to(logits.device), ways).to(logits.dtype)
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
        noise from the global state unless it is handed in (B, K). Where routes are paths, their
        answers are mixed, and no gradient reaches the experts.
        """
        seen = self.look(input_ids, attention_mask, token_type_ids)
        outputs = self.ask(seen)
        gates = self.gates(router_logits(self.router, seen.features, outputs), noise)
        if self.paths is not None:
            spoken = outputs.detach().float().cpu().numpy()
            answers = self.paths.answers(spoken, regression=self.regression)
            outputs = torch.from_numpy(answers).to(outputs)
        return mix(gates, outputs, self.mixing, regression=self.regression), gates

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
        Where routes are `paths`, the numbers of the paths taken stand for the experts.

        Raises:
            ValueError: a bias is given that is no finite number, or `route_costs` are not known.
        """
        routes_are = "experts" if self.paths is None else "paths"
        price = price_of(bias, self.decisions, self.route_costs, routes_are)
        seen = self.look(input_ids, attention_mask, token_type_ids)
        ids = encoded(input_ids, 0)
        assert ids is not None

        def ask(expert: int, rows: NDArray[np.intp]) -> Tensor:
            return seen.ask(self.experts, expert, torch.from_numpy(rows).to(ids.device))

        run = run_routed(
            self.router, self.decisions, seen.features, ask, rows=len(ids), price=price
        )
        routes = torch.from_numpy(run.routes.astype(np.int64)).to(ids.device)
        return run.answers(self.paths, regression=self.regression), routes
