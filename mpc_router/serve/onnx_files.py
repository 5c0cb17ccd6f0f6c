"""The parts of a router as ONNX: one file for stem and router, one for each expert, and their list.

What runs them elsewhere (under secure computation, or without Python) needs no code of this
package: `onnx.json` says which file takes which tokens, what a route costs and what outputs mean.
Letters: B examples, T tokens, F features, K experts, C outputs of an expert.
"""

from __future__ import annotations

import importlib.util
import inspect
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from mpc_router.costs import to_json
from mpc_router.model.gated_pool import GatedBertPool
from mpc_router.model.lazy_expert import load_experts
from mpc_router.model.router import router_logits, sees_features, sees_outputs
from mpc_router.model.tied_stem import is_first_expert
from mpc_router.results.assembled import Assembled, tokenizer_folder
from mpc_router.routes import Paths
from mpc_router.source_error import SourceError

ONNX_FOLDER: Final = "onnx"
_LIST_FILE: Final = "onnx.json"
_ROUTER_FILE: Final = "router.onnx"
_STEM_FILE: Final = "stem.onnx"
_FORMAT: Final = "mpc-router onnx 1"
_NEEDED: Final = ("onnx", "onnxscript")
_TOKENS: Final = ("input_ids", "attention_mask", "token_type_ids")
_STATES, _OUTPUTS, _FEATURES, _LOGITS = "states", "outputs", "features", "logits"
"""They are names of tensors in the files; those of tokens are as transformers has them."""


def check_onnx() -> None:
    """Makes sure that the packages which write ONNX are installed.

    Raises:
        SourceError: they are not.
    """
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise SourceError(
            f"writing ONNX needs {' and '.join(missing)}, which are not installed; "
            "pip install 'mpc-router[onnx]'"
        )


def _expert_file(number: int) -> str:
    """Gives the name of the file of an expert."""
    return f"expert-{number}.onnx"


class _Front(nn.Module):
    """Runs stem and router on tokens (B, T): logits (B, K), and what the router's parts leave."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, pool: GatedBertPool) -> None:
        super().__init__()
        self.stem, self.router = pool.stem, pool.router
        self.shared = pool.shared_stem
        self.is_tied = is_first_expert(pool.stem, pool.experts)
        first = self.is_tied or sees_outputs(pool.router)
        self.first = pool.experts.experts[0] if first else None
        self.register_buffer("mean", pool.feature_mean)
        self.register_buffer("deviation", pool.feature_deviation)

    @property
    def gives(self) -> tuple[str, ...]:
        """Names what is given."""
        if self.shared:
            return (_LOGITS, _STATES)
        return (_LOGITS,) if self.first is None else (_LOGITS, _OUTPUTS)

    def forward(self, *tokens: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Gives logits (B, K); of a shared stem its hidden states (B, T, F) too.

        A router that is given outputs (B, C) of the cheapest expert gives these too.
        """
        if self.shared:
            states, features = self.stem.tokens(*tokens)  # type: ignore[operator]
            return self.router(self._standard(features)), states
        if self.first is None:
            return router_logits(self.router, self._standard(self.stem(*tokens)))
        features = None
        if not sees_features(self.router):
            outputs = self.first(*tokens)
        elif self.is_tied:
            outputs, features = self.first.examine(*tokens)  # type: ignore[operator]
        else:
            outputs, features = self.first(*tokens), self.stem(*tokens)
        features = None if features is None else self._standard(features)
        return router_logits(self.router, features, outputs.unsqueeze(1)), outputs

    def _standard(self, features: Tensor) -> Tensor:
        standard: Tensor = (features - self.mean) / self.deviation
        return standard


class _Features(nn.Module):
    """Runs the stem on tokens (B, T): standardised features (B, F).

    A stem that is the cheapest expert gives its outputs (B, C) too.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, pool: GatedBertPool) -> None:
        super().__init__()
        self.stem = pool.stem
        tied = is_first_expert(pool.stem, pool.experts)
        self.first = pool.experts.experts[0] if tied else None
        self.register_buffer("mean", pool.feature_mean)
        self.register_buffer("deviation", pool.feature_deviation)

    @property
    def gives(self) -> tuple[str, ...]:
        """Names what is given."""
        return (_FEATURES,) if self.first is None else (_FEATURES, _OUTPUTS)

    def forward(self, *tokens: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Gives the features, and outputs where there are some."""
        if self.first is None:
            features: Tensor = (self.stem(*tokens) - self.mean) / self.deviation
            return features
        outputs, features = self.first.examine(*tokens)  # type: ignore[operator]
        return (features - self.mean) / self.deviation, outputs


class _Steps(nn.Module):
    """Gives the numbers (B, M) of a router that decides in steps, of outputs (B, K, C)."""

    def __init__(self, pool: GatedBertPool) -> None:
        super().__init__()
        self.router = pool.router

    def forward(self, outputs: Tensor, features: Tensor | None = None) -> Tensor:
        """Gives the numbers of all states; those of experts that have not run count for nothing."""
        return router_logits(self.router, features, outputs)


def write_onnx(assembled: Assembled, folder: Path) -> None:
    """Writes the parts into a new folder; the bias that is folded in is part of the router's file.

    Batch and number of tokens are free. Logits and outputs are those of the model in float32. A
    router that decides in steps takes the outputs (B, K, C) of the experts that have run, 0 for the
    others; `paths` of the list says which of its numbers count when, and what a path answers.

    Raises:
        SourceError: a package that this needs is not installed.
    """
    check_onnx()
    folder.mkdir()
    pool = assembled.model
    load_experts(pool.experts)
    width = len(assembled.task.columns)
    examples = [("one text",) * width, ("another",) * width]
    tokens = [_tokens(assembled, number, examples) for number in range(pool.tokenizers)]
    router, given = _write_router(pool, tokens[0], folder)
    parts = []
    for number, encoding in enumerate(pool.experts.encodings):
        expert = pool.experts.experts[number]
        names, values = _TOKENS, tokens[encoding]
        if pool.shared_stem:
            names, values = (_STATES, *_TOKENS[1:]), (given.clone(), *tokens[0][1:])
        target = folder / _expert_file(number)
        taken = _write(expert.eval(), values, target, names, (_OUTPUTS,))
        parts.append(_part(assembled, number, target.name, taken, tokenizer_folder(encoding)))
    listed = {
        "format": _FORMAT,
        "task": assembled.task.to_json(),
        "router": router,
        "experts": parts,
        **({} if pool.paths is None else {"paths": _listed_paths(pool.paths)}),
        "limits": list(assembled.limits),
        "cost_vectors": to_json(assembled.vectors),
    }
    (folder / _LIST_FILE).write_text(json.dumps(listed, indent=1) + "\n", encoding="utf-8")


def _write_router(
    pool: GatedBertPool, tokens: tuple[Tensor, ...], folder: Path
) -> tuple[dict[str, Any], Tensor]:
    """Writes the router.

    Gives its entry in the list of files, and the shared stem's states if there is one.
    """
    entry: dict[str, Any] = {"file": _ROUTER_FILE, "tokenizer": tokenizer_folder(0)}
    if not pool.decisions.staged:
        front = _Front(pool).eval()
        inputs = _write(front, tokens, folder / _ROUTER_FILE, _TOKENS, front.gives)
        with torch.inference_mode():
            given = front(*tokens)
        states = given[1] if isinstance(given, tuple) else given
        return {**entry, "inputs": inputs, "outputs": list(front.gives)}, states
    with torch.inference_mode():
        width = int(pool.experts.experts[0].num_labels)  # type: ignore[arg-type]
        outputs = torch.zeros(len(tokens[0]), len(pool.experts), width)
    names, values = (_OUTPUTS,), (outputs,)
    if sees_features(pool.router):
        stem = _Features(pool).eval()
        inputs = _write(stem, tokens, folder / _STEM_FILE, _TOKENS, stem.gives)
        entry["stem"] = {"file": _STEM_FILE, "inputs": inputs, "outputs": list(stem.gives)}
        with torch.inference_mode():
            given = stem(*tokens)
        features = (given[0] if isinstance(given, tuple) else given).clone()
        names, values = (_OUTPUTS, _FEATURES), (outputs, features)  # type: ignore[assignment]
    batch = {0: torch.export.Dim("batch")}
    shapes = tuple(batch for _ in values)
    inputs = _write(
        _Steps(pool).eval(), values, folder / _ROUTER_FILE, names, (_LOGITS,), shapes=shapes
    )
    return {**entry, "inputs": inputs, "outputs": [_LOGITS]}, outputs


def _listed_paths(paths: Paths) -> dict[str, Any]:
    """Says what the router chooses between, where its numbers stand, and what a path answers."""
    decisions = paths.decisions
    return {
        **paths.to_json(),
        "states": [
            {"experts": list(state), "first": columns.start, "paths": list(open_paths)}
            for state, columns, open_paths in zip(
                decisions.states, decisions.columns, decisions.open_paths, strict=True
            )
        ],
    }


def _part(
    assembled: Assembled, number: int, file: str, inputs: list[str], tokenizer: str
) -> dict[str, Any]:
    model = assembled.config.model
    return {
        "file": file,
        "name": model.expert_model_names[number],
        "layers": model.expert_layers[number],
        "inputs": inputs,
        "outputs": [_OUTPUTS],
        "tokenizer": tokenizer,
    }


def _tokens(
    assembled: Assembled, number: int, examples: list[tuple[str, ...]]
) -> tuple[Tensor, ...]:
    """Gives a batch of two examples as a tokenizer makes it: what the export is traced on."""
    encoding = assembled.tokenizers[number](
        *(list(column) for column in zip(*examples, strict=True)),
        padding=True,
        return_tensors="pt",
        return_token_type_ids=True,
    )
    return tuple(encoding[name] for name in _TOKENS)


def _write(
    module: nn.Module,
    values: tuple[Tensor, ...],
    path: Path,
    names: tuple[str, ...],
    outputs: tuple[str, ...],
    *,
    shapes: Any = None,
) -> list[str]:
    """Writes a module as ONNX, traced on these values; gives the names of the inputs it takes."""
    free = {0: torch.export.Dim("batch"), 1: torch.export.Dim("tokens")}
    if shapes is None:
        shapes = tuple(free for _ in values)
    if any(
        parameter.kind is parameter.VAR_POSITIONAL
        for parameter in inspect.signature(module.forward).parameters.values()
    ):
        shapes = (shapes,)
    with _quiet():
        program: Any = torch.onnx.export(
            module,
            values,
            input_names=list(names),
            output_names=list(outputs),
            dynamic_shapes=shapes,
            dynamo=True,
            verbose=False,
        )
    program.save(path, external_data=False)
    return [value.name for value in program.model.graph.inputs]


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the exporter's notes on packages that it does without from the terminal."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logger.setLevel(level)
