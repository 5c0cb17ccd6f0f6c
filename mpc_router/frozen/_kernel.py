"""Trains one lane for many steps in compiled loops, so that its weights stay in the cache.

It is what `StackedRouters.step` does through autograd, written out, with AdamW in the same pass as
the gradient. Products are float32; gates and losses, which are few numbers, float64. What is
inlined becomes a part of its callers, and is rounded as these are; what is `exact` gives the same
bits however it is linked: so what is compiled now and what was kept give the same bits too.

Letters: n steps, B batch, F features, H hidden units, K experts, C outputs of an expert; B', F',
H', K' are padded with zeros to whole blocks, and what is padded stays 0.

A loop along H' is one of whole vectors (`_width`), and its rows begin where vectors do
(`aligned_zeros`): the compiler then adds no loop for a remainder, whose numbers would take the
registers, and no load crosses two lines of the cache.
"""

from __future__ import annotations

import functools
import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mpc_router.frozen._compiler import compiled, exact, inlined, inlined_by_reciprocals
from mpc_router.frozen._optimizer import BETA1, BETA2, EPSILON
from mpc_router.frozen._products import BLOCK, WIDTH, Floats, set_product

Values = NDArray[np.float64]

_LINE: Final = 64
"""Bytes of a line of the cache."""

_ZERO: Final = np.float32(0)
_ONE: Final = np.float32(1)
_NEW: Final = np.float32(1 - BETA1)
_DECAY: Final = np.float32(BETA2)
_NEW_SQUARE: Final = np.float32(1 - BETA2)


def aligned_zeros(*shape: int) -> Floats:
    """Gives zeros that begin with a line of the cache."""
    size = math.prod(shape)
    room = np.zeros(size + _LINE // 4, np.float32)
    first = -room.ctypes.data % _LINE // 4
    return room[first : first + size].reshape(shape)


@inlined
def _width(matrix: Floats) -> int:
    """Gives H' of a matrix (N, H'), in a form that tells the compiler what it is a multiple of."""
    columns: int = matrix.shape[1]
    return columns // WIDTH * WIDTH


@compiled
def train_steps(
    rows: Floats,
    biases: Floats,
    places: tuple[Floats, Floats, Floats],
    features: Floats,
    kept: NDArray[np.bool_],
    scale: np.float32,
    outputs: Floats,
    labels: Values,
    noise: Floats,
    temperatures: Floats,
    rates: Floats,
    loss_weights: tuple[float, float],
    costs: Values,
    form: tuple[bool, bool, bool, bool],
    terms: Floats,
) -> None:
    """Trains a lane in place; writes its loss terms (n, 4) before each step.

    `rows` (3, F' + K', H') are weights, means and squares: of the hidden layer by feature, of its
    biases, zeros, and of the last layer by expert; `biases` (3, 1, K') are the last layer's.
    Places to work in are those of the hidden units, of their slopes, both (B', H'), and of a block
    of the gradient (BLOCK, H').
    `features` (n, B', F') are standardised and end with a column of ones, which meets the biases.
    `kept` (n, B, H) are the hidden units that dropout leaves, (n, 0, H) without dropout, `scale` is
    1 / (1 - p). Outputs are (n, B, K, C), labels (n, B), noise (n, B, K), temperatures (n,),
    `rates` (n, 3) of `adamw_rates`, costs (K,). For loss weights and form see `_losses`.
    """
    weights, means, squares = rows[0], rows[1], rows[2]
    examples, experts = noise.shape[1:]
    hidden, hidden_slopes, gradient = places
    logits = np.empty((examples, experts), np.float32)
    slopes = np.zeros((features.shape[1], biases.shape[2]), np.float32)
    bias_gradient = np.zeros((1, biases.shape[2]), np.float32)
    inputs = features.shape[2]
    last_layer = weights[inputs:]
    for step in range(len(terms)):
        shrink, size, epsilon = rates[step, 0], rates[step, 1], rates[step, 2]
        _forward(features[step], kept[step], scale, weights, hidden)
        _combine(hidden, last_layer, biases[0, 0], logits)
        _losses(
            logits,
            noise[step],
            outputs[step],
            labels[step],
            temperatures[step],
            loss_weights,
            costs,
            form,
            slopes,
            terms[step],
        )
        _backward(slopes, last_layer, hidden, scale, hidden_slopes)
        for k in range(experts):
            bias_gradient[0, k] = _ZERO
            for b in range(examples):
                bias_gradient[0, k] += slopes[b, k]
        _adamw(biases[0], biases[1], biases[2], bias_gradient, 0, shrink, size, epsilon)
        for first in range(0, len(weights), BLOCK):
            left, right = features[step, :, first : first + BLOCK].T, hidden_slopes
            if first >= inputs:
                left, right = slopes[:, first - inputs : first - inputs + BLOCK].T, hidden
            set_product(gradient, left, right)
            _adamw(weights, means, squares, gradient, first, shrink, size, epsilon)


@compiled
def evaluate(
    weights: Floats, biases: Floats, features: Floats, hidden: Floats, logits: Floats
) -> None:
    """Writes the logits (N, K) of features (N', F') without noise, temperature and dropout.

    Weights (F' + K', H'), biases (K',) and a place for hidden units (B', H') are those of
    `train_steps`; N' are whole batches B'.
    """
    nothing = np.empty((0, 0), np.bool_)
    batch = len(hidden)
    for first in range(0, len(logits), batch):
        _forward(features[first : first + batch], nothing, _ONE, weights, hidden)
        _combine(hidden, weights[features.shape[1] :], biases, logits[first : first + batch])


@inlined
def _forward(
    features: Floats, kept: NDArray[np.bool_], scale: np.float32, weights: Floats, hidden: Floats
) -> None:
    """Writes the hidden units (B', H') of features (B', F'), after ReLU and dropout."""
    set_product(hidden, features, weights)
    for b in range(len(hidden)):
        for h in range(_width(hidden)):
            if hidden[b, h] < _ZERO:  # what is NaN stays NaN
                hidden[b, h] = _ZERO
    for b in range(len(kept)):
        for h in range(kept.shape[1]):
            hidden[b, h] *= scale if kept[b, h] else _ZERO


@inlined
def _combine(hidden: Floats, last_layer: Floats, biases: Floats, logits: Floats) -> None:
    """Writes the logits (B, K) of hidden units (B', H')."""
    for b in range(logits.shape[0]):
        for k in range(logits.shape[1]):
            total = _ZERO
            for h in range(_width(hidden)):
                total += hidden[b, h] * last_layer[k, h]
            logits[b, k] = total + biases[k]


@inlined
def _backward(
    slopes: Floats, last_layer: Floats, hidden: Floats, scale: np.float32, hidden_slopes: Floats
) -> None:
    """Writes slopes of the loss by the hidden sums (B', H'), given those by the logits (B', K')."""
    set_product(hidden_slopes, slopes, last_layer)
    for b in range(len(hidden)):
        for h in range(_width(hidden)):  # a unit that is 0 lets no slope through
            hidden_slopes[b, h] = hidden_slopes[b, h] * scale if hidden[b, h] != _ZERO else _ZERO


@inlined_by_reciprocals
def _adamw(
    weights: Floats,
    means: Floats,
    squares: Floats,
    gradient: Floats,
    first: int,
    shrink: np.float32,
    size: np.float32,
    epsilon: np.float32,
) -> None:
    """Updates the rows from `first` in place by a gradient (rows, H'): see `adamw_rates`."""
    for row in range(len(gradient)):
        w, m, v, g = weights[first + row], means[first + row], squares[first + row], gradient[row]
        for h in range(len(g)):
            m[h] += (g[h] - m[h]) * _NEW
            v[h] = v[h] * _DECAY + g[h] * g[h] * _NEW_SQUARE
            w[h] = w[h] * shrink - size * m[h] / (math.sqrt(v[h]) + epsilon)


@functools.lru_cache(maxsize=256)  # most lanes of a stack have the same
def adamw_rates(learning_rate: float, weight_decay: float, *, first: int, steps: int) -> Floats:
    """Gives what AdamW needs in steps first..first + steps - 1, counted from 1: (steps, 3).

    w = w (1 - r d) - r / (1 - b1^t) m / (sqrt(v / (1 - b2^t)) + e): the rows are 1 - r d, and the
    numbers before m and of e, both times sqrt(1 - b2^t). They are not to be changed. Loshchilov and
    Hutter 2019, arXiv:1711.05101.
    """
    number = np.arange(first, first + steps, dtype=np.float64)
    root = np.sqrt(1 - BETA2**number)
    shrink = np.full(steps, 1 - learning_rate * weight_decay)
    with np.errstate(over="ignore"):  # a rate that is too large for float32 ends the lane
        return np.stack(
            [shrink, learning_rate * root / (1 - BETA1**number), EPSILON * root], axis=1
        ).astype(np.float32)


@exact
def _losses(
    logits: Floats,
    noise: Floats,
    outputs: Floats,
    labels: Values,
    temperature: float,
    loss_weights: tuple[float, float],
    costs: Values,
    form: tuple[bool, bool, bool, bool],
    slopes: Floats,
    terms: Floats,
) -> None:
    """Writes a step's loss terms (4,), and the slopes of their sum by the logits, (B', K').

    The form says, in this order, whether the task is a regression, the gates are straight-through,
    balance and cost see clean gates, and the variance is unbiased. See `gumbel_gate` for the gates,
    and `mpc_router.model.losses`.
    """
    regression, straight_through, clean, unbiased = form
    alpha, beta = loss_weights
    examples, experts = logits.shape
    gates, by_gate = np.empty((examples, experts)), np.empty((examples, experts))
    soft, seen = np.empty((examples, experts)), np.empty((examples, experts))
    importance, by_seen = np.zeros(experts), np.empty(experts)
    mixed = np.empty(outputs.shape[2])
    task, cost, mean, balance = 0.0, 0.0, 0.0, 0.0
    for b in range(examples):
        for k in range(experts):
            gates[b, k] = logits[b, k] + noise[b, k]
            seen[b, k] = logits[b, k]
        _softmax(gates, b, temperature, soft)
        _harden(soft, b, straight_through, gates)
        if clean:
            _softmax(seen, b, 1.0, seen)
        for k in range(experts):
            if not clean:
                seen[b, k] = gates[b, k]
            cost += seen[b, k] * costs[k] / examples
            importance[k] += seen[b, k]
            mean += seen[b, k] / experts
        task += _mixed_loss(gates, outputs, labels, b, regression, mixed, by_gate)
    count = experts - 1 if unbiased else experts
    for k in range(experts):
        balance += (importance[k] / mean - 1) ** 2 / count
    for k in range(experts):
        of_balance = 2 / mean * ((importance[k] / mean - 1) / count - balance / experts)
        by_seen[k] = alpha * of_balance + beta * costs[k] / examples
    _write_slopes(soft, seen, by_gate, by_seen, temperature, clean, slopes)
    terms[0], terms[1], terms[2] = task / examples, balance, cost
    terms[3] = task / examples + alpha * balance + beta * cost


@inlined
def _write_slopes(
    soft: Values,
    seen: Values,
    by_gate: Values,
    by_seen: Values,
    temperature: float,
    clean: bool,
    slopes: Floats,
) -> None:
    """Writes slopes (B, K') by the logits, given those by gates (B, K) and those by what is seen.

    The task's mean is over examples, each with slopes of its own; balance and cost see every
    example alike: theirs, `by_seen`, are (K,).
    """
    examples, experts = by_gate.shape
    for b in range(examples):
        for k in range(experts):
            slopes[b, k] = _ZERO
            by_gate[b, k] /= examples
            by_gate[b, k] += 0.0 if clean else by_seen[k]
        _add_slopes(soft, by_gate, b, temperature, slopes)
        if clean:
            for k in range(experts):
                by_gate[b, k] = by_seen[k]
            _add_slopes(seen, by_gate, b, 1.0, slopes)


@inlined
def _softmax(values: Values, b: int, temperature: float, gates: Values) -> None:
    """Writes softmax(values / temperature) of row b, both (B, K); they may be one."""
    top, total = values[b, 0], 0.0
    for k in range(values.shape[1]):
        top = max(top, values[b, k])
    for k in range(values.shape[1]):
        gates[b, k] = math.exp((values[b, k] - top) / temperature)
        total += gates[b, k]
    for k in range(values.shape[1]):
        gates[b, k] /= total


@inlined
def _harden(soft: Values, b: int, straight_through: bool, gates: Values) -> None:
    """Writes row b of the gates that answer: the soft ones, or 1 for the largest, else 0."""
    best = 0
    for k in range(soft.shape[1]):
        best = k if soft[b, k] > soft[b, best] else best
    for k in range(soft.shape[1]):
        gates[b, k] = soft[b, k]
        if straight_through:
            gates[b, k] = 1.0 if k == best else 0.0


@inlined
def _add_slopes(
    gates: Values, by_gate: Values, b: int, temperature: float, by_value: Floats
) -> None:
    """Adds to row b the slopes by the values of `_softmax`, given those by its gates."""
    mean = 0.0
    for k in range(gates.shape[1]):
        mean += gates[b, k] * by_gate[b, k]
    for k in range(gates.shape[1]):
        by_value[b, k] += gates[b, k] * (by_gate[b, k] - mean) / temperature


@inlined
def _mixed_loss(
    gates: Values,
    outputs: Floats,
    labels: Values,
    b: int,
    regression: bool,
    mixed: Values,
    by_gate: Values,
) -> float:
    """Gives an example's task loss of outputs (B, K, C) mixed by gates (B, K); writes its slopes.

    They are those by the gates, in row b; `mixed` (C,) is room to work in.
    """
    for c in range(len(mixed)):
        mixed[c] = 0.0
        for k in range(gates.shape[1]):
            mixed[c] += gates[b, k] * outputs[b, k, c]
    if regression:
        loss = (mixed[0] - labels[b]) ** 2
        mixed[0] = 2 * (mixed[0] - labels[b])
    else:
        label, top, total = int(labels[b]), mixed[0], 0.0
        for c in range(len(mixed)):
            top = max(top, mixed[c])
        right = mixed[label]
        for c in range(len(mixed)):
            mixed[c] = math.exp(mixed[c] - top)
            total += mixed[c]
        loss = top + math.log(total) - right
        for c in range(len(mixed)):
            mixed[c] /= total
        mixed[label] -= 1.0
    for k in range(gates.shape[1]):
        by_gate[b, k] = 0.0
        for c in range(len(mixed)):
            by_gate[b, k] += mixed[c] * outputs[b, k, c]
    return float(loss)
