"""The steps of one lane as compiled loops: done one after the other they find it in the cache.

A step is `forward`, `losses`, `update`: what `StackedRouters.step` does through autograd, written
out, with AdamW in the same pass as the gradient. Products are float32; gates and losses, which are
few numbers, float64. The three are compiled apart, and none calls another compiled function whose
sums the compiler may reorder: so they give the same bits when they come from the cache.

Letters: n steps, of which one is done, B batch, F features, H hidden units, K experts, C outputs of
an expert; B', F', H', K' are padded with zeros, which stay zero.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mpc_router.frozen._compiler import compiled, exact, inlined
from mpc_router.frozen._optimizer import BETA1, BETA2, EPSILON
from mpc_router.model.losses import LARGEST_EXPONENT

Floats = NDArray[np.float32]
Values = NDArray[np.float64]

BLOCK: Final = 4
"""Rows, and terms of their sums, that a product takes at once: B', F' and K' are multiples."""

_ZERO: Final = np.float32(0)
_NEW: Final = np.float32(1 - BETA1)
_DECAY: Final = np.float32(BETA2)
_NEW_SQUARE: Final = np.float32(1 - BETA2)


class LaneNumbers(NamedTuple):
    """Holds settings of the losses in which lanes differ."""

    alpha: float
    beta: float
    gamma: float


class Form(NamedTuple):
    """Says what the losses of a stack's lanes are made of."""

    supervised: bool
    regression: bool
    mixes_probabilities: bool
    straight_through: bool
    clean: bool
    unbiased: bool


@compiled
def forward(
    step: int,
    features: Floats,
    kept: NDArray[np.bool_],
    scale: np.float32,
    weights: Floats,
    biases: Floats,
    hidden: Floats,
    logits: Floats,
) -> None:
    """Writes a step's hidden units (B', H'), after dropout, and its logits (B, K).

    `features` (n, B', F') are standardised and end with a column of ones, which meets the biases;
    `kept` (n, B, H) are the units that dropout leaves, (n, 0, H) without dropout; `scale` is
    1 / (1 - p). For `weights` (F' + K', H') and `biases` (3, K') see `update`.
    """
    inputs = features.shape[2]
    _set_zero(hidden)
    _add_product(hidden, features[step], weights)
    for b in range(len(hidden)):
        for h in range(hidden.shape[1]):
            if hidden[b, h] < _ZERO:  # what is NaN stays NaN
                hidden[b, h] = _ZERO
    for b in range(kept.shape[1]):
        for h in range(kept.shape[2]):
            hidden[b, h] *= scale if kept[step, b, h] else _ZERO
    for b in range(len(logits)):
        for k in range(logits.shape[1]):
            total = _ZERO
            for h in range(hidden.shape[1]):
                total += hidden[b, h] * weights[inputs + k, h]
            logits[b, k] = total + biases[0, k]


@compiled
def update(
    step: int,
    features_by_column: Floats,
    hidden: Floats,
    scale: np.float32,
    slopes: Floats,
    rates: Floats,
    weights: Floats,
    means: Floats,
    squares: Floats,
    biases: Floats,
    hidden_slopes: Floats,
    gradient: Floats,
    slopes_by_expert: Floats,
) -> None:
    """Updates a lane in place by the slopes (B', K') of a step's loss by its logits.

    `weights`, `means` and `squares` (F' + K', H') hold the hidden layer by feature, its biases,
    zeros, and the last layer by expert; `biases` (3, K') are the last layer's, with their moments.
    `features_by_column` is (n, F', B'), `rates` (n, 3) are of `adamw_rates`. `hidden_slopes`
    (B', H'), `gradient` (4, H') and `slopes_by_expert` (K', B') are room to work in.
    """
    inputs = features_by_column.shape[1]
    _set_zero(hidden_slopes)
    _add_product(hidden_slopes, slopes, weights[inputs:])
    for b in range(len(hidden)):
        for h in range(hidden.shape[1]):  # a unit that is 0 lets no slope through
            slope = hidden_slopes[b, h] * scale
            hidden_slopes[b, h] = _ZERO if hidden[b, h] == _ZERO else slope
    shrink, size, epsilon = rates[step, 0], rates[step, 1], rates[step, 2]
    for k in range(slopes.shape[1]):
        gradient[0, k] = _ZERO
        for b in range(len(slopes)):
            slopes_by_expert[k, b] = slopes[b, k]
            gradient[0, k] += slopes[b, k]
    _adamw(biases[0], biases[1], biases[2], gradient[0], shrink, size, epsilon)
    for first in range(0, len(weights), BLOCK):
        left, right = features_by_column[step, first : first + BLOCK], hidden_slopes
        if first >= inputs:
            left, right = slopes_by_expert[first - inputs : first - inputs + BLOCK], hidden
        _set_zero(gradient)
        _add_product(gradient, left, right)
        for block_row in range(BLOCK):
            row = first + block_row
            _adamw(
                weights[row], means[row], squares[row], gradient[block_row], shrink, size, epsilon
            )


@inlined
def _set_zero(matrix: Floats) -> None:
    """Sets a matrix to 0."""
    for row in range(matrix.shape[0]):
        for column in range(matrix.shape[1]):
            matrix[row, column] = _ZERO


@inlined
def _add_product(total: Floats, left: Floats, right: Floats) -> None:
    """Adds left (M, N) @ right (N, H) to a total (M, H), in blocks; M and N are whole blocks.

    Sixteen products meet four loads and stores of the total, in a loop along H that the compiler
    makes vectors of.
    """
    for m in range(0, left.shape[0], BLOCK):
        for n in range(0, left.shape[1], BLOCK):
            a0, a1, a2, a3 = left[m, n], left[m, n + 1], left[m, n + 2], left[m, n + 3]
            i = m + 1
            b0, b1, b2, b3 = left[i, n], left[i, n + 1], left[i, n + 2], left[i, n + 3]
            i = m + 2
            c0, c1, c2, c3 = left[i, n], left[i, n + 1], left[i, n + 2], left[i, n + 3]
            i = m + 3
            d0, d1, d2, d3 = left[i, n], left[i, n + 1], left[i, n + 2], left[i, n + 3]
            for h in range(total.shape[1]):
                r0, r1, r2, r3 = right[n, h], right[n + 1, h], right[n + 2, h], right[n + 3, h]
                total[m, h] += a0 * r0 + a1 * r1 + a2 * r2 + a3 * r3
                total[m + 1, h] += b0 * r0 + b1 * r1 + b2 * r2 + b3 * r3
                total[m + 2, h] += c0 * r0 + c1 * r1 + c2 * r2 + c3 * r3
                total[m + 3, h] += d0 * r0 + d1 * r1 + d2 * r2 + d3 * r3


@inlined
def _adamw(
    weights: Floats,
    means: Floats,
    squares: Floats,
    gradient: Floats,
    shrink: np.float32,
    size: np.float32,
    epsilon: np.float32,
) -> None:
    """Updates weights and moments in place by a gradient, all (H,): see `adamw_rates`."""
    for h in range(len(weights)):
        means[h] += (gradient[h] - means[h]) * _NEW
        squares[h] = squares[h] * _DECAY + gradient[h] * gradient[h] * _NEW_SQUARE
        step = size * means[h] / (math.sqrt(squares[h]) + epsilon)
        weights[h] = weights[h] * shrink - step


def adamw_rates(learning_rate: float, weight_decay: float, *, first: int, steps: int) -> Floats:
    """Gives what AdamW needs in steps first..first + steps - 1, counted from 1: (steps, 3).

    w = w (1 - r d) - r / (1 - b1^t) m / (sqrt(v / (1 - b2^t)) + e): the rows are 1 - r d, and the
    numbers before m and of e, both times sqrt(1 - b2^t). Loshchilov and Hutter 2019,
    arXiv:1711.05101.
    """
    number = np.arange(first, first + steps, dtype=np.float64)
    root = np.sqrt(1 - BETA2**number)
    shrink = np.full(steps, 1 - learning_rate * weight_decay)
    with np.errstate(over="ignore"):  # a rate that is too large for float32 ends the lane
        return np.stack(
            [shrink, learning_rate * root / (1 - BETA1**number), EPSILON * root], axis=1
        ).astype(np.float32)


@exact
def losses(
    step: int,
    logits: Floats,
    all_noise: Floats,
    all_outputs: Floats,
    all_labels: Values,
    temperatures: Floats,
    lane: LaneNumbers,
    form: Form,
    costs: Values,
    label_weights: Values,
    slopes: Floats,
    all_terms: Floats,
) -> None:
    """Writes a step's loss terms (n, 4), and the slopes of their sum by the logits (B', K').

    Noise is (n, B, K), outputs (n, B, K, C), labels (n, B): classes, values, or what a supervised
    router learns, by `label_weights` (K,); temperatures are (n,), costs (K,). For the terms see
    `mpc_router.model.losses`, for the gates `gumbel_gate`.
    """
    noise, outputs, labels = all_noise[step], all_outputs[step], all_labels[step]
    terms, temperature = all_terms[step], float(temperatures[step])
    examples, experts = logits.shape
    values, soft = np.empty((examples, experts)), np.empty((examples, experts))
    by_logit, by_gate = np.zeros((examples, experts)), np.zeros((examples, experts))
    for b in range(examples):
        for k in range(experts):
            values[b, k] = logits[b, k] + noise[b, k]
    _softmax(values, temperature, soft)
    gates = soft
    if form.straight_through:
        gates = np.zeros((examples, experts))
        for b in range(examples):
            gates[b, np.argmax(soft[b])] = 1.0
    seen = gates
    if form.clean:
        seen = np.empty((examples, experts))
        _softmax(logits, 1.0, seen)
    if form.supervised:
        task = _focal(logits, labels, label_weights, lane.gamma, by_logit)
    elif form.regression:
        task = _squared_error(gates, outputs, labels, by_gate)
    elif form.mixes_probabilities:
        task = _probabilities(gates, outputs, labels, by_gate)
    else:
        task = _cross_entropy(gates, outputs, labels, by_gate)
    by_seen = by_gate
    if form.clean:
        by_seen = np.zeros((examples, experts))
    balance = _balance(seen, form.unbiased, lane.alpha, by_seen)
    cost = 0.0
    for b in range(examples):
        for k in range(experts):
            cost += seen[b, k] * costs[k] / examples
            by_seen[b, k] += lane.beta * costs[k] / examples
    _through_softmax(soft, by_gate, temperature, by_logit)
    if form.clean:
        _through_softmax(seen, by_seen, 1.0, by_logit)
    for b in range(examples):
        for k in range(experts):
            slopes[b, k] = by_logit[b, k]
    terms[0], terms[1], terms[2] = task, balance, cost
    terms[3] = task + lane.alpha * balance + lane.beta * cost


@exact
def _softmax(values: Values, temperature: float, gates: Values) -> None:
    """Writes softmax(values / temperature) of every row, (B, K)."""
    for b in range(values.shape[0]):
        top, total = values[b, 0], 0.0
        for k in range(values.shape[1]):
            top = max(top, values[b, k])
        for k in range(values.shape[1]):
            gates[b, k] = math.exp((values[b, k] - top) / temperature)
            total += gates[b, k]
        for k in range(values.shape[1]):
            gates[b, k] /= total


@exact
def _through_softmax(gates: Values, by_gate: Values, temperature: float, by_value: Values) -> None:
    """Adds slopes by the values of `_softmax`, given those by its gates, all (B, K)."""
    for b in range(gates.shape[0]):
        mean = 0.0
        for k in range(gates.shape[1]):
            mean += gates[b, k] * by_gate[b, k]
        for k in range(gates.shape[1]):
            by_value[b, k] += gates[b, k] * (by_gate[b, k] - mean) / temperature


@exact
def _squared_error(gates: Values, outputs: Floats, labels: Values, by_gate: Values) -> float:
    """Gives the mean squared error of outputs (B, K, 1) mixed by gates, and its slopes by them."""
    loss = 0.0
    for b in range(len(labels)):
        error = -labels[b]
        for k in range(gates.shape[1]):
            error += gates[b, k] * outputs[b, k, 0]
        loss += error * error / len(labels)
        for k in range(gates.shape[1]):
            by_gate[b, k] = 2 * error * outputs[b, k, 0] / len(labels)
    return loss


@exact
def _cross_entropy(gates: Values, outputs: Floats, labels: Values, by_gate: Values) -> float:
    """Gives the cross-entropy of logits (B, K, C) mixed by gates, and its slopes by them."""
    loss = 0.0
    mixed = np.empty(outputs.shape[2])
    for b in range(len(labels)):
        for c in range(len(mixed)):
            mixed[c] = 0.0
            for k in range(gates.shape[1]):
                mixed[c] += gates[b, k] * outputs[b, k, c]
        loss += _cross_entropy_of(mixed, int(labels[b])) / len(labels)
        for k in range(gates.shape[1]):
            for c in range(len(mixed)):
                by_gate[b, k] += mixed[c] * outputs[b, k, c] / len(labels)
    return loss


@exact
def _probabilities(gates: Values, outputs: Floats, labels: Values, by_gate: Values) -> float:
    """Gives the cross-entropy of mixed probabilities, and its slopes by the gates (B, K).

    sum_k g_k p_kc = e^shift_c total_c, where the shift is the largest term's logarithm: see `mix`.
    """
    loss = 0.0
    _, experts, classes = outputs.shape
    log_p, mixed, total = np.empty((experts, classes)), np.empty(classes), np.empty(classes)
    for b in range(len(labels)):
        for k in range(experts):
            for c in range(classes):
                mixed[c] = outputs[b, k, c]
            normal = _log_sum(mixed)
            for c in range(classes):
                log_p[k, c] = outputs[b, k, c] - normal
        for c in range(classes):
            shift, total[c] = -np.inf, 0.0
            for k in range(experts):
                if gates[b, k] > 0:
                    shift = max(shift, log_p[k, c] + math.log(gates[b, k]))
            for k in range(experts):
                log_p[k, c] = math.exp(min(log_p[k, c] - shift, LARGEST_EXPONENT))
                total[c] += gates[b, k] * log_p[k, c]
            mixed[c] = math.log(total[c]) + shift
        loss += _cross_entropy_of(mixed, int(labels[b])) / len(labels)
        for k in range(experts):
            for c in range(classes):
                by_gate[b, k] += mixed[c] * log_p[k, c] / total[c] / len(labels)
    return loss


@exact
def _log_sum(values: Values) -> float:
    """Gives log sum exp of values (C,)."""
    top, total = values[0], 0.0
    for c in range(len(values)):
        top = max(top, values[c])
    for c in range(len(values)):
        total += math.exp(values[c] - top)
    return top + math.log(total)


@exact
def _cross_entropy_of(logits: Values, label: int) -> float:
    """Gives the cross-entropy of logits (C,), and writes its slopes in their place."""
    normal = _log_sum(logits)
    loss = normal - logits[label]
    for c in range(len(logits)):
        logits[c] = math.exp(logits[c] - normal)
    logits[label] -= 1.0
    return loss


@exact
def _focal(
    logits: Floats, labels: Values, weights: Values, gamma: float, by_logit: Values
) -> float:
    """Gives the mean `focal_loss` of logits (B, K), and its slopes by them.

    With o = 1 - p_y:  -w o^gamma log p_y, slopes -w o^gamma (d log p_y + gamma log p_y d log o).
    """
    loss, experts = 0.0, logits.shape[1]
    values, others = np.empty(experts), np.empty(experts)
    for b in range(len(labels)):
        label = int(labels[b])
        for k in range(experts):
            values[k] = logits[b, k]
            others[k] = -np.inf if k == label else values[k]
        normal, normal_of_others = _log_sum(values), _log_sum(others)
        log_p = values[label] - normal
        factor = -weights[label] * math.exp(gamma * (normal_of_others - normal)) / len(labels)
        loss += factor * log_p
        for k in range(experts):
            p = math.exp(values[k] - normal)
            slope = gamma * log_p * (math.exp(others[k] - normal_of_others) - p) - p
            by_logit[b, k] = factor * (slope + 1 if k == label else slope)
    return loss


@exact
def _balance(gates: Values, unbiased: bool, alpha: float, by_gate: Values) -> float:
    """Gives `balance_loss` of gates (B, K), and adds alpha times its slopes to those by gates."""
    examples, experts = gates.shape
    importance, mean, loss = np.zeros(experts), 0.0, 0.0
    for b in range(examples):
        for k in range(experts):
            importance[k] += gates[b, k]
            mean += gates[b, k] / experts
    count = max(1, experts - 1) if unbiased else experts
    for k in range(experts):
        loss += (importance[k] / mean - 1) ** 2 / count
    for b in range(examples):
        for k in range(experts):
            slope = (importance[k] / mean - 1) / count - loss / experts
            by_gate[b, k] += alpha * 2 / mean * slope
    return loss
