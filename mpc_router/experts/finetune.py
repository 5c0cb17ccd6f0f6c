"""One expert alone: fine-tuned on a task, and asked for its outputs over a whole split.

Letters: N examples of a split, C outputs, F features.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mpc_router.data.tokens import Tokens, batch_count, batches
from mpc_router.experts.kept_epochs import KeptEpochs
from mpc_router.model.experts import BertExpert
from mpc_router.model.losses import task_loss
from mpc_router.model.sources import ModelError
from mpc_router.tasks import Task
from mpc_router.threads import cores

_Advance = Callable[[int], object]
"""Told after every batch how many batches were done: `Progress.advance` fits."""

_LARGEST_GRADIENT: Final = 1.0
"""Norm that gradients are clipped to."""

SMALL_WIDTH: Final = 128
"""Encoders up to this wide run on one thread: handing such small products to others costs more
than it saves, and far more where another process wants the cores (seen: 9 s against 199 s)."""


class _DivergedError(ModelError):
    """Says that an expert's loss became NaN or infinite while it was fine-tuned."""

    def __init__(self, expert: str, step: int, learning_rate: float) -> None:
        super().__init__(
            f"the loss of expert {expert} is not finite in step {step} of its fine-tuning; lower "
            f"expert_learning_rate (it is {learning_rate:g}) or set precision=float32"
        )
        self.expert = expert
        self.step = step


def fine_tune(
    expert: BertExpert,
    tokens: Tokens,
    task: Task,
    *,
    epochs: int,
    learning_rate: float,
    batch_size: int,
    seed: int,
    precision: str = "auto",
    device: str = "auto",
    weight_decay: float = 0.01,
    warmup: float = 0.1,
    progress: _Advance | None = None,
    kept: KeptEpochs | None = None,
) -> None:
    """Trains the expert in place: AdamW, linear warm-up and decay, gradients clipped.

    Cross-entropy, or mean squared error for a regression (a fresh head's bias then starts at the
    labels' mean). Weight decay leaves vectors (biases, norms) alone. `seed` decides order and
    dropout; on one machine the same call gives the same weights, and the global random state is as
    before. The expert ends in evaluation mode, on the CPU. There are
    `epochs * batch_count(N, batch_size)` steps. Training goes on from the epoch that is in `kept`,
    to the bits of one that never stopped, and `progress` is told of that epoch's batches at once.

    Raises:
        DivergedError: the loss is not finite; the expert's weights are of no use then.
    """
    place = resolve_device(device)
    expert.to(place).train()
    if task.regression and not expert.fine_tuned:
        nn.init.constant_(expert.head.bias, float(np.mean(tokens.labels)))
    optimizer = _optimizer(expert, learning_rate, weight_decay)
    batches_an_epoch = batch_count(len(tokens), batch_size)
    steps = epochs * batches_an_epoch
    order = torch.Generator().manual_seed(seed)
    with own_randomness(seed, place), threads_for(expert.width):
        done = kept.restore(expert, optimizer, order) if kept is not None else 0
        step = done * batches_an_epoch
        if progress is not None and done:
            progress(step)
        for epoch in range(done + 1, epochs + 1):
            for batch in batches(tokens, batch_size, generator=order):
                step += 1
                for group in optimizer.param_groups:
                    group["lr"] = learning_rate * schedule(step, steps, warmup)
                here = batch.to(place)
                with autocast(precision, place):
                    outputs = expert(here.input_ids, here.attention_mask, here.token_type_ids)
                loss = task_loss(outputs.float(), here.labels, regression=task.regression)
                if not math.isfinite(loss.item()):
                    raise _DivergedError(expert.name, step, learning_rate)
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                nn.utils.clip_grad_norm_(expert.parameters(), _LARGEST_GRADIENT)
                optimizer.step()
                if progress is not None:
                    progress(1)
            if kept is not None:
                kept.keep(epoch, expert, optimizer, order)
    expert.cpu().eval()


def schedule(step: int, steps: int, warmup: float, decay: str = "linear") -> float:
    """Gives the rate's share in step 1..steps: up linearly to 1, then down linearly to 0.

    The last step still moves: the rate would be 0 in step `steps` + 1. A `constant` one stays at 1.
    """
    rising = max(1, round(warmup * steps))
    if step <= rising:
        return step / rising
    if decay == "constant":
        return 1.0
    return max(0.0, (steps + 1 - step) / (steps + 1 - rising))


def predict(
    expert: BertExpert,
    tokens: Tokens,
    *,
    batch_size: int = 64,
    device: str = "auto",
    precision: str = "float32",
    progress: _Advance | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Gives an expert's outputs (N, C) and pooled features (N, F), in the split's order.

    In evaluation mode. Float32 unless `bfloat16` is asked for by name (`auto` is float32 too):
    these outputs are quoted, and bfloat16 turns near-ties (1 of MRPC's 408 predictions, logits
    moved by up to .006) for half the seconds of a pass that is made once.
    """
    place = resolve_device(device)
    outputs = np.empty((len(tokens), expert.num_labels), np.float32)
    features = np.empty((len(tokens), expert.width), np.float32)
    training = expert.training
    expert.to(place).eval()
    kept = "float32" if precision == "auto" else precision
    with torch.inference_mode(), autocast(kept, place), threads_for(expert.width):
        for batch in batches(tokens, batch_size, generator=None):
            here = batch.to(place)
            output, feature = expert.examine(
                here.input_ids, here.attention_mask, here.token_type_ids
            )
            rows = batch.rows.numpy()
            outputs[rows] = output.float().cpu().numpy()
            features[rows] = feature.float().cpu().numpy()
            if progress is not None:
                progress(1)
    expert.cpu().train(training)
    return outputs, features


def resolve_device(device: str) -> torch.device:
    """Gives the device that `auto`, `cpu` or `cuda` means here.

    Raises:
        ModelError: cuda without a GPU.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ModelError(f"device is {device!r}, but torch sees no GPU; set device=cpu")
    return torch.device(device)


def _has_bfloat16(device: torch.device) -> bool:
    """Says whether the processor multiplies bfloat16 matrices in hardware."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if hasattr(torch.cpu, "get_capabilities"):
        able = torch.cpu.get_capabilities()
        return any(able.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    # an older torch knows only the one private question
    return bool(getattr(torch.cpu, "_is_avx512_bf16_supported", bool)())


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """Casts to bfloat16 where `precision` says so: `auto` does where the processor has it."""
    on = precision == "bfloat16" or (precision == "auto" and _has_bfloat16(device))
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=on)


def _optimizer(expert: nn.Module, learning_rate: float, weight_decay: float) -> torch.optim.AdamW:
    weights = [value for value in expert.parameters() if value.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [x for x in weights if x.ndim > 1], "weight_decay": weight_decay},
        {"params": [x for x in weights if x.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=learning_rate, fused=True)


@contextlib.contextmanager
def threads_for(width: int) -> Iterator[None]:
    """Gives torch one thread for a small encoder, else at most the cores of this process.

    `width` is the encoder's; on leaving torch has as many threads as before.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1 if width <= SMALL_WIDTH else min(before, cores()))
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def own_randomness(seed: int, device: torch.device) -> Iterator[None]:
    """Sets the global random state, which dropout draws from; restores it on leaving."""
    cards = [device.index or 0] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cards):
        torch.default_generator.manual_seed(seed)
        if cards:
            torch.cuda.manual_seed(seed)
        yield
