"""A pool of experts as a description and tensors: rebuilt without the models it came from.

`describe` says the shape of every module in plain JSON, `rebuild` makes the same modules with
arbitrary weights, and a state dict fills them. An exported folder holds both, and the tokenizer.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import torch
from torch import nn

from mpc_router.costs import CONSTANTS, from_json
from mpc_router.messages import quoted
from mpc_router.model.encoders import PooledEncoder, drop_pooler, has_pooler, seeded
from mpc_router.model.experts import BertExpert, ExpertPool
from mpc_router.model.lazy_expert import LazyExpert
from mpc_router.model.router import RouterStem, rebuilt_router, router_shape
from mpc_router.model.shared_stem import behind_stem, layers_before
from mpc_router.model.tied_stem import tie
from mpc_router.routes import Paths
from mpc_router.storage.tensor_files import (
    CheckpointError,
    OpenTensors,
    read_tensors,
    read_trial,
    write_tensors,
    write_trial,
)
from mpc_router.tasks import from_record

Pool = TypeVar("Pool", bound=nn.Module)

POOL_FILE: Final = "model.safetensors"
_EXPORT_FORMAT: Final = "mpc-router export 1"
_EXPERTS: Final = "experts.experts."
"""It begins the names of the experts' tensors in a pool's state dict; a number and `.` follow."""

_GATE: Final = (
    *("gate", "temperature", "straight_through", "mixing", "regression", "shared_stem"),
)
"""What `GatedBertPool.from_parts` is told besides its parts."""

_COUNTS: Final = frozenset({"layers", "num_hidden_layers", "n_layers", "num_hidden_groups"})
"""What a description or a configuration calls a number of layers, each with a tensor or more."""


def describe(pool: Any) -> dict[str, Any]:
    """Describes a `GatedBertPool` as plain JSON: everything that its state dict does not say.

    Raises:
        TypeError: a part of it is a module of another kind than this package makes.
    """
    stem, router = pool.stem, pool.router
    if not isinstance(stem, PooledEncoder):
        raise TypeError(f"a {type(stem).__name__} cannot be described; take a RouterStem")
    # of a pool with one tokenizer nothing is said
    encodings = {"encodings": list(pool.experts.encodings)} if pool.tokenizers > 1 else {}
    return {
        **encodings,
        "stem": {"encoder": _shape(stem.encoder), "pooling": stem.pooling},
        "router": {"features": len(pool.feature_mean), **router_shape(router)},
        "experts": [_described(expert) for expert in pool.experts.experts],
        "gate": {name: getattr(pool, name) for name in _GATE},
        **({} if pool.paths is None else {"paths": pool.paths.to_json()}),
    }


def rebuild(
    description: Mapping[str, Any],
    build: Callable[..., Pool],
    expert_of: Callable[[int, Mapping[str, Any]], nn.Module] | None = None,
) -> Pool:
    """Builds a pool of this shape with arbitrary weights, in evaluation mode, without model files.

    `build` makes it of its parts: `GatedBertPool.from_parts`. `expert_of` makes an expert of its
    number and description; without it a `BertExpert` is made.

    Raises:
        CheckpointError: the description is not one that `describe` gave.
    """
    try:
        with seeded(0):
            stem = RouterStem(
                _encoder(description["stem"]["encoder"]), pooling=description["stem"]["pooling"]
            )
            experts = ExpertPool(
                (
                    expert_of(number, shape_of_expert) if expert_of else _expert(shape_of_expert)
                    for number, shape_of_expert in enumerate(description["experts"])
                ),
                description.get("encodings", ()),
            )
            shape = description["router"]
            router = rebuilt_router(shape, shape["features"], len(experts))
            pool = build(
                stem,
                router,
                experts,
                feature_mean=torch.zeros(shape["features"]),
                feature_deviation=torch.ones(shape["features"]),
                **description["gate"],
                paths=_paths(description, len(experts)),
            )
    except Exception as error:
        # Whatever is raised: a description may come from elsewhere, and of what it says a library
        # makes a model
        raise CheckpointError(
            f"the description of the model cannot be read ({quoted(error)}); it is damaged, or of "
            "another version"
        ) from error
    return pool.eval()


def _paths(description: Mapping[str, Any], experts: int) -> Paths | None:
    """Reads the paths that a description has.

    Raises:
        ValueError, TypeError, LookupError: they are none of so many experts.
    """
    if description.get("paths") is None:
        return None
    paths = Paths.from_json(description["paths"])
    if paths.experts != experts:
        raise ValueError(f"paths of {paths.experts} experts in a pool of {experts}")
    return paths


def filled(
    description: Mapping[str, Any],
    weights: Mapping[str, torch.Tensor],
    build: Callable[..., Pool],
) -> Pool:
    """Builds the pool of this shape with these weights, in evaluation mode; see `rebuild`.

    Raises:
        CheckpointError: the weights are not those of this shape.
    """
    _refuse_deeper(description, len(weights))
    pool = rebuild(description, build)
    _load_into(pool, weights)
    return pool


def _lazily_filled(
    description: Mapping[str, Any], weights: OpenTensors, build: Callable[..., Pool]
) -> Pool:
    """Builds the pool of this shape whose stem and router have these weights; see `filled`."""
    _refuse_deeper(description, len(weights.names))

    def later(number: int, shape: Mapping[str, Any]) -> LazyExpert:
        def load() -> nn.Module:
            with seeded(0):
                expert = _expert(shape)
            _load_into(expert, weights.with_prefix(f"{_EXPERTS}{number}."))
            return expert.eval()

        with torch.device("meta"):
            skeleton = _expert(shape)
        return LazyExpert(skeleton, load)

    pool = rebuild(description, build, later)
    names = [name for name in weights.names if not name.startswith(_EXPERTS)]
    _load_into(pool, {name: weights.tensor(name) for name in names}, without=_EXPERTS)
    _tie(pool, weights.tensor)
    return pool


def _tie(pool: nn.Module, tensor: Callable[[str], torch.Tensor]) -> None:
    """Makes the first expert's encoder the stem where a file has it twice; see `tie`."""
    parts: Any = pool
    tie(parts.stem, parts.experts, lambda name: tensor(f"{_EXPERTS}0.{name}"))


def _load_into(
    module: nn.Module, weights: Mapping[str, torch.Tensor], *, without: str | None = None
) -> None:
    """Loads a state dict; nothing may be missing but what begins with `without`.

    Raises:
        CheckpointError: the weights are not those of the module's shape.
    """
    try:
        missing, unexpected = module.load_state_dict(dict(weights), strict=False)
    except (RuntimeError, TypeError, ValueError) as error:
        reason = str(error).splitlines()[-1].strip()
        raise CheckpointError(f"the weights do not fit their description: {reason}") from error
    missing = [name for name in missing if without is None or not name.startswith(without)]
    if missing or unexpected:
        raise CheckpointError(
            f"the weights do not fit their description: {len(missing)} tensors are missing, "
            f"{len(unexpected)} are of no part, {quoted([*missing, *unexpected][0])} among them"
        )


def _refuse_deeper(description: Mapping[str, Any], tensors: int) -> None:
    """Refuses numbers of layers that these weights cannot fill, before a model of them is made.

    Raises:
        CheckpointError: there are more.
    """
    waiting: list[Any] = [description]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list | tuple):
            waiting += value
        if not isinstance(value, Mapping):
            continue
        waiting += value.values()
        for name in _COUNTS & value.keys():
            if isinstance(value[name], int | float) and value[name] > tensors:
                raise CheckpointError(
                    f"the weights do not fit their description: they are {tensors} tensors, and "
                    f"{name} is {quoted(value[name])}"
                )


def write_pool(folder: Path, pool: nn.Module, more: Mapping[str, Any]) -> None:
    """Writes a pool into a folder that exists, and `more` (plain JSON) beside it."""
    sha256 = write_tensors(folder / POOL_FILE, pool.state_dict(), format=_EXPORT_FORMAT)
    write_trial(
        folder,
        {
            "format": _EXPORT_FORMAT,
            "weights_sha256": sha256,
            "description": describe(pool),
            **more,
        },
    )


def read_pool(
    folder: Path, build: Callable[..., Pool], *, lazy: bool = False
) -> tuple[Pool, dict[str, Any]]:
    """Reads the pool that `write_pool` left in a folder, and the JSON beside it; see `rebuild`.

    A `lazy` pool reads the weights of an expert when that is asked for the first time.

    Raises:
        CheckpointError: a file is missing, damaged, or of another format.
    """
    trial = read_trial(folder, (_EXPORT_FORMAT,))
    if not isinstance(trial.get("description"), dict):
        raise CheckpointError(f"{folder} does not describe its model; it is damaged")
    if lazy:
        weights = OpenTensors(folder / POOL_FILE, trial["weights_sha256"])
        pool = _lazily_filled(trial["description"], weights, build)
    else:
        tensors = read_tensors(folder / POOL_FILE, trial["weights_sha256"])
        pool = filled(trial["description"], tensors, build)
        _tie(pool, tensors.__getitem__)
    # what types of modules do not declare
    setattr(pool, "pairs", _of_pairs(trial))  # noqa: B010
    setattr(pool, "route_costs", _route_costs(trial))  # noqa: B010
    return pool, trial


def _route_costs(trial: Mapping[str, Any]) -> tuple[float, ...]:
    """Gives the costs beside a pool that a bias is of: those of its own bias, or the constants."""
    try:
        folded = trial.get("bias")
        vectors = from_json(
            folded["vector"] if folded else {CONSTANTS: trial["cost_vectors"][CONSTANTS]}
        )
        vector = next(iter(vectors.values()))
        paths = trial["description"].get("paths")
        return (vector if paths is None else vector.on(paths["paths"])).routed
    except (AttributeError, LookupError, TypeError, ValueError, StopIteration):
        return ()


def _of_pairs(trial: Mapping[str, Any]) -> bool:
    """Tells whether the configuration beside a pool, if there is one, has a task of pairs."""
    try:
        return len(from_record(trial["config"]["data"]).columns) > 1
    except (KeyError, TypeError, ValueError):
        return False


def _shape(encoder: nn.Module) -> dict[str, Any]:
    """Describes an encoder of transformers by class and configuration, without paths."""
    config: Any = encoder.config
    plain = {
        name: value
        for name, value in config.to_dict().items()
        if name not in ("_name_or_path", "transformers_version")
    }
    return {
        "class": type(encoder).__name__,
        "config": plain,
        "pooler": has_pooler(encoder),
    }


def _encoder(shape: Mapping[str, Any]) -> nn.Module:
    """Builds an encoder of this shape."""
    import transformers

    plain = copy.deepcopy(dict(shape["config"]))
    config = transformers.AutoConfig.for_model(plain.pop("model_type"), **plain)
    kind = shape["class"]
    architecture = getattr(transformers, kind, None)
    if not (isinstance(architecture, type) and issubclass(architecture, nn.Module)):
        raise ValueError(f"transformers has no encoder {quoted(kind)}")
    encoder: nn.Module = architecture(config)
    if not shape["pooler"]:
        drop_pooler(encoder)
    return encoder


def _described(expert: nn.Module) -> dict[str, Any]:
    if not isinstance(expert, BertExpert):
        raise TypeError(f"a {type(expert).__name__} cannot be described; take a BertExpert")
    body: Any = expert.body
    return {
        "name": expert.name,
        "layers": expert.layers,
        "encoder": _shape(body if expert.fine_tuned else body.encoder),
        "pooling": expert.pooling,
        "outputs": expert.num_labels,
        "dropout": None if expert.fine_tuned else expert.dropout.p,
        "behind": layers_before(expert),
    }


def _expert(description: Mapping[str, Any]) -> BertExpert:
    expert = BertExpert(
        _encoder(description["encoder"]),
        description["outputs"],
        layers=description["layers"],
        pooling=description["pooling"],
    )
    expert.name = description["name"]
    if not expert.fine_tuned:
        expert.dropout.p = description["dropout"]
    if description["behind"] is not None:
        behind_stem(expert, description["behind"])  # the configuration keeps the full depth
    return expert
