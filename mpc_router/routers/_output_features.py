"""What a router is given of an expert's outputs: numbers in which a few weights say much.

An unsigned confidence is worse where an expert leans to a class, so the margin stands beside the
class that it is for. Letters: C outputs of an expert (classes, or 1 for a regression).
"""

from __future__ import annotations

import torch
from torch import Tensor


def output_width(outputs: int, *, regression: bool) -> int:
    """Gives the numbers D that `output_features` makes of C outputs: 3 C + 2, or 2 of a value."""
    return 2 if regression else 3 * outputs + 2


def output_features(outputs: Tensor, *, regression: bool) -> Tensor:
    """Gives the features (..., D) of outputs (..., C).

    Of classes: the logits less their mean (C), the margin of the best over the second and its
    square, the chosen class as one-hot (C), and that times the margin (C). With two classes these
    span the signed margin s, |s|, s^2, [s > 0] and s [s > 0]. Of a regression: value and square.
    """
    if regression:
        return torch.cat([outputs, outputs.square()], dim=-1)
    centred = outputs - outputs.mean(dim=-1, keepdim=True)
    best = outputs.topk(2, dim=-1).values
    margin = (best[..., :1] - best[..., 1:]).clamp_max(_LARGEST)
    chosen = torch.nn.functional.one_hot(outputs.argmax(-1), outputs.shape[-1]).to(outputs.dtype)
    return torch.cat([centred, margin, margin.square(), chosen, chosen * margin], dim=-1)


def sure_features(outputs: Tensor) -> Tensor:
    """Gives the features (..., 2 C) of class outputs (..., C) that say how sure an expert is.

    They are the chosen class as one-hot, and that times the margin.
    """
    classes = outputs.shape[-1]
    return output_features(outputs, regression=False)[..., -2 * classes :]


_LARGEST = 1e4
"""Margins are cut here, so that a square stays finite and no example outweighs all others."""
