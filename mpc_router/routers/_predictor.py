"""Predicts by a linear model or a small network how good each of several choices is.

Letters: N examples of a fit, B of a batch, I inputs, Q choices.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor, nn

_ITERATIONS: Final = 200
_LEAST_DEVIATION: Final = 1e-6


class Predictor(nn.Module):
    """Predicts for each choice the chance of being right, or less its loss."""

    input_mean: Tensor
    input_deviation: Tensor
    scale: Tensor

    def __init__(
        self, inputs: int, choices: int, *, hidden_size: int = 0, gain: str = "right"
    ) -> None:
        super().__init__()
        self.gain = gain
        self.hidden_size = hidden_size
        self.register_buffer("input_mean", torch.zeros(inputs))
        self.register_buffer("input_deviation", torch.ones(inputs))
        self.register_buffer("scale", torch.ones(()))
        if hidden_size:
            self.hidden: nn.Module = nn.Linear(inputs, hidden_size)
            self.out = nn.Linear(hidden_size, choices)
        else:
            self.hidden = nn.Identity()
            self.out = nn.Linear(inputs, choices)

    def raw(self, inputs: Tensor) -> Tensor:
        """Gives by choice (B, Q) the log-odds of being right, or the expected loss over `scale`."""
        standard = (inputs.to(self.input_mean.dtype) - self.input_mean) / self.input_deviation
        hidden = self.hidden(standard)
        raw: Tensor = self.out(torch.tanh(hidden) if self.hidden_size else hidden)
        return raw

    def forward(self, inputs: Tensor) -> Tensor:
        """Gives how good each choice is, (B, Q): a chance, or less the expected loss."""
        raw = self.raw(inputs)
        return torch.sigmoid(raw) if self.gain == "right" else -raw * self.scale

    def fit(self, inputs: Tensor, targets: Tensor, *, ridge: float, seed: int) -> None:
        """Fits it in place: inputs (N, I), targets (N, Q), right (0 or 1) or losses by choice.

        The objective is the summed cross-entropy (of losses half the squared error, in units of
        their deviation) + ridge / 2 |w|^2 over weights, not biases, as in scikit-learn with
        C = 1 / ridge; minimised by L-BFGS in float64. `seed` draws where a network starts; a linear
        one starts at 0.

        Raises:
            ValueError: an input or target is not finite.
        """
        inputs, targets = inputs.double(), targets.double()
        if not (inputs.isfinite().all() and targets.isfinite().all()):
            raise ValueError("an input or a target of the router is NaN or infinite")
        self.double()
        deviation = inputs.std(dim=0, unbiased=False)
        self.input_mean.copy_(inputs.mean(dim=0))
        self.input_deviation.copy_(torch.where(deviation < _LEAST_DEVIATION, 1.0, deviation))
        if self.gain == "loss":
            spread = targets.std(unbiased=False)
            self.scale.copy_(torch.where(spread < _LEAST_DEVIATION, 1.0, spread))
            targets = targets / self.scale
        self._start(torch.Generator().manual_seed(seed))
        weights = [value for value in self.parameters() if value.ndim > 1]

        def loss_of(raw: Tensor) -> Tensor:
            if self.gain == "right":
                return nn.functional.binary_cross_entropy_with_logits(raw, targets, reduction="sum")
            return 0.5 * (raw - targets).square().sum()

        def objective() -> Tensor:
            penalty = sum((value.square().sum() for value in weights), torch.zeros(()))
            return loss_of(self.raw(inputs)) + 0.5 * ridge * penalty

        minimise(objective, list(self.parameters()), examples=len(inputs))
        self.float()

    @torch.no_grad()
    def _start(self, generator: torch.Generator) -> None:
        for value in self.parameters():
            value.zero_()
        if self.hidden_size:
            for layer in (self.hidden, self.out):
                weight: Tensor = layer.weight  # type: ignore[assignment]
                drawn = torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
                weight.copy_(drawn / weight.shape[1] ** 0.5)


def minimise(
    objective: Callable[[], Tensor], parameters: list[nn.Parameter], *, examples: int
) -> None:
    """Minimises a sum over so many examples in place, by L-BFGS."""
    optimizer = torch.optim.LBFGS(
        parameters,
        max_iter=_ITERATIONS,
        tolerance_grad=1e-9 * examples,
        tolerance_change=1e-12 * examples,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = objective()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    with torch.enable_grad():
        optimizer.step(closure)  # type: ignore[no-untyped-call]
