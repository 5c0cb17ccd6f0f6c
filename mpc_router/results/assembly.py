"""A checkpoint as a model that can be asked: stem, router and experts, put together again.

Of a joint trial and of an exported folder the checkpoint holds all weights. A lane of frozen
experts holds its router alone: its experts come from the cache, or from where models are found, and
have to be those that it was trained with.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from safetensors import SafetensorError
from safetensors.torch import load_file

from mpc_router.config.pools import OUTPUTS
from mpc_router.config.trial import ConfigError, TrialConfig, flatten, trial_config
from mpc_router.costs import CONSTANTS, from_json
from mpc_router.data.columns import SourceError
from mpc_router.data.sources import read, split_fingerprints
from mpc_router.experts.encoder_runs import WEIGHTS_FILE, untrained_expert
from mpc_router.messages import quoted
from mpc_router.model.description import POOL_FILE, filled, read_pool
from mpc_router.model.encoders import load_tokenizer
from mpc_router.model.experts import BertExpert, ExpertPool
from mpc_router.model.gated_pool import GatedBertPool
from mpc_router.model.router import RouterStem, build_router
from mpc_router.model.shared_stem import base_of
from mpc_router.model.sources import ModelError
from mpc_router.plain_names import is_plain
from mpc_router.prepare.inputs import Places
from mpc_router.recipes.pool_tokenizers import tokenizers_of
from mpc_router.recipes.recipes import Recipe, Recipes, recipes
from mpc_router.results.assembled import Assembled, tokenizer_folder
from mpc_router.results.bias import read_biases
from mpc_router.results.checkpoint import (
    CheckpointError,
    JointCheckpoint,
    LaneCheckpoint,
    load,
)
from mpc_router.results.checkpoint_places import CheckpointPlace, checkpoint_place
from mpc_router.results.summary import of_run, read_summary
from mpc_router.run_names import TRAIN

_EXPORTED: Final = "exported"
_JOINT: Final = "joint"
_FROZEN: Final = "frozen"


def assemble(path: Path, places: Places) -> Assembled:
    """Loads the model of a checkpoint: a run's `checkpoints/KEY`, a training's, or an export.

    Raises:
        CheckpointError: there is no checkpoint, it is damaged, or its experts are not to be had.
        ModelError: an encoder or tokenizer that it names cannot be read.
    """
    return _checked(path, lambda place: _assembled(place, places))


def assemble_export(folder: Path, *, lazy: bool = False) -> Assembled:
    """Loads the model of an exported folder; a `lazy` one reads an expert when that is first asked.

    Raises:
        CheckpointError: it is no exported folder, or a damaged one.
    """
    if folder.is_dir() and not (folder / POOL_FILE).is_file():
        raise CheckpointError(
            f"{folder} is no exported model: it holds no {POOL_FILE}; write one with "
            "mpc-router-export --checkpoint PATH FOLDER"
        )
    return _checked(folder, lambda place: _exported(place.folder, place.note, lazy=lazy))


def _checked(path: Path, load_from: Callable[[CheckpointPlace], Assembled]) -> Assembled:
    """Gives what `load_from` makes of a checkpoint, whose parts have to fit."""
    place = checkpoint_place(path)
    try:
        assembled = load_from(place)
        _refuse_misfit(assembled)
    except (CheckpointError, ConfigError, ModelError, SourceError, OSError):
        raise
    except Exception as error:
        # Whatever is raised: a checkpoint may come from elsewhere, its checksums are no signature,
        # and what it says goes into many parts of a model
        raise CheckpointError(
            f"{place.folder} cannot be put together ({quoted(error)}); it is damaged, or was not "
            "written by this program: take another checkpoint"
        ) from error
    return assembled


def _refuse_misfit(assembled: Assembled) -> None:
    """Refuses a model whose parts state different numbers of experts or outputs.

    Raises:
        ValueError: it does.
    """
    experts = assembled.model.experts.experts
    counts = {len(experts), assembled.config.experts}
    counts |= {len(vector.experts) for vector in assembled.vectors.values()}
    if assembled.model.decisions.paths != assembled.config.paths:
        raise ValueError("its paths are not those of its configuration")
    if len(counts) > 1:
        raise ValueError(f"it speaks of {' and of '.join(map(str, sorted(counts)))} experts")
    outputs = {expert.num_labels for expert in experts}
    if outputs != {assembled.task.outputs}:
        raise ValueError(f"experts with {outputs} outputs for {assembled.task.name}")


def _assembled(place: CheckpointPlace, places: Places) -> Assembled:
    folder = place.folder
    if place.lanes is None and (folder / POOL_FILE).is_file():
        return _exported(folder, place.note)
    checkpoint = load(folder, place.lanes)
    if checkpoint.config.model.pool == OUTPUTS:
        raise CheckpointError(
            f"the experts of {folder} were run elsewhere and handed in as outputs, so that there "
            "is no model to run on a text or to export; the router's own weights are in its "
            "weights file"
        )
    tokenizers = tokenizers_of(checkpoint.config, places.models)
    joint = isinstance(checkpoint, JointCheckpoint)
    model = (
        filled(checkpoint.description, checkpoint.weights, GatedBertPool.from_parts)
        if isinstance(checkpoint, JointCheckpoint)
        else _lane(checkpoint, places, folder)
    )
    if not joint:
        model.experts.encodings = tokenizers.experts
    elif model.experts.encodings != tokenizers.experts:
        raise CheckpointError(
            f"{folder} was trained with other tokenizers than its encoders have now; give the "
            "--models of the training"
        )
    model.pairs = len(checkpoint.config.data.definition.columns) > 1
    summary = read_summary(folder) or of_run(folder)
    vectors = checkpoint.config.vectors()
    if summary is not None:
        vectors = from_json(summary["cost_vectors"]) | vectors
    model.route_costs = vectors[CONSTANTS].on(checkpoint.config.paths).routed
    return Assembled(
        model=model,
        tokenizers=tuple(load_tokenizer(name, places.models) for name in tokenizers.names),
        config=checkpoint.config,
        vectors=vectors,
        kind=_JOINT if joint else _FROZEN,
        origin={
            "seed": checkpoint.seed,
            "epoch": checkpoint.epoch,
            "stem": checkpoint.stem,
            "experts": list(checkpoint.experts),
        },
        summary=summary,
        note=place.note,
    )


def _exported(folder: Path, note: str | None, *, lazy: bool = False) -> Assembled:
    from transformers import AutoTokenizer

    model, trial = read_pool(folder, GatedBertPool.from_parts, lazy=lazy)
    try:
        tokenizers = tuple(
            AutoTokenizer.from_pretrained(
                folder / tokenizer_folder(number), trust_remote_code=False
            )
            for number in range(model.tokenizers)
        )
        config = trial_config(flatten(trial["config"]))
        vectors = from_json(trial["cost_vectors"])
        origin = dict(trial["origin"])
        biases = read_biases(trial)
        strict = bool(trial.get("strict", False))
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{folder} is no whole export ({error}); export the model again"
        ) from error
    return Assembled(
        model=model,
        tokenizers=tokenizers,
        config=config,
        vectors=vectors,
        kind=_EXPORTED,
        origin=origin,
        summary=trial.get("summary"),
        note=note,
        biases=biases,
        strict=strict,
    )


def _lane(checkpoint: LaneCheckpoint, places: Places, folder: Path) -> GatedBertPool:
    """Puts a lane's router before the experts that it was trained with."""
    config = checkpoint.config
    if not all(is_plain(encoder.get("hash")) for encoder in (checkpoint.stem, *checkpoint.experts)):
        raise CheckpointError(
            f"{folder} does not name the hash of every encoder; it is damaged, take another "
            "checkpoint"
        )
    if len(checkpoint.experts) != config.experts:
        raise CheckpointError(
            f"{folder} names {len(checkpoint.experts)} experts and is configured for "
            f"{config.experts}; it is damaged, take another checkpoint"
        )
    encoder_recipes = _recipes(checkpoint, places)
    experts = [
        _expert(recipe, named, config, places, folder)
        for recipe, named in zip(encoder_recipes.experts, checkpoint.experts, strict=True)
    ]
    stem = _stem(checkpoint, encoder_recipes, experts, places, folder)
    width = checkpoint.feature_mean.numel()
    model = config.model
    router = build_router(config, width)
    try:
        if stem.width != width or checkpoint.feature_deviation.shape != (width,):
            raise ValueError("moments of another stem")
        router.load_state_dict(checkpoint.weights)
    except (RuntimeError, ValueError) as error:
        raise CheckpointError(
            f"{folder}: the router's weights are not of its configuration's shape; it is damaged, "
            "take another checkpoint"
        ) from error
    return GatedBertPool.from_parts(
        stem,
        router,
        ExpertPool(experts),
        feature_mean=checkpoint.feature_mean,
        feature_deviation=checkpoint.feature_deviation,
        gate=model.gate,
        temperature=model.temperature,
        straight_through=model.straight_through,
        mixing=model.mixing,
        regression=config.data.definition.regression,
        paths=checkpoint.paths,
    ).eval()


def _recipes(checkpoint: LaneCheckpoint, places: Places) -> Recipes:
    """Gives the recipes of a lane's encoders.

    Of an expert that is trained the key is another, for the rows are not known here. One that comes
    with a head without label names is judged on train, whose rows are then in its key: only for
    these are the data asked for.
    """
    memory = places.cache / "hashes"
    encoder_recipes = recipes(checkpoint.config, places.models, trained_on="", memory=memory)
    unlike = any(
        recipe.keep_head and not recipe.epochs and recipe.key != named["hash"]
        for recipe, named in zip(encoder_recipes.experts, checkpoint.experts, strict=True)
    )
    if not unlike:
        return encoder_recipes
    files = read(checkpoint.config, places.source)
    train = split_fingerprints(checkpoint.config, files)[TRAIN]
    return recipes(checkpoint.config, places.models, trained_on=train, memory=memory)


def _expert(
    recipe: Recipe, named: dict[str, Any], config: TrialConfig, places: Places, folder: Path
) -> BertExpert:
    """Loads an expert: its cached weights by hash, or the model's own where it came fine-tuned."""
    task = config.data.definition
    weights = places.cache / "experts" / str(named["hash"]) / WEIGHTS_FILE
    kept = recipe.keep_head and not recipe.epochs
    if kept and recipe.key != named["hash"]:
        raise CheckpointError(_other(folder, recipe.name, places))
    if not kept and not weights.is_file():
        raise CheckpointError(
            f"{folder} needs the expert {recipe.label} as it was trained, and {places.cache} does "
            "not hold it; give the --cache of the training, or export the model where it is"
        )
    expert = untrained_expert(recipe, task, places.models)
    if not kept:
        try:
            expert.load_state_dict(load_file(weights))
        except (SafetensorError, RuntimeError) as error:
            raise CheckpointError(
                f"{weights} is damaged ({str(error).splitlines()[0]}); delete its folder and "
                "prepare the experts again, with any sweep or training over them"
            ) from error
    elif named.get("label_order"):
        expert.label_order.copy_(expert.label_order.new_tensor(named["label_order"]))
    return expert.eval()


def _stem(
    checkpoint: LaneCheckpoint,
    encoder_recipes: Recipes,
    experts: list[BertExpert],
    places: Places,
    folder: Path,
) -> RouterStem:
    """Loads the stem of the router with the weights of its hash."""
    model = checkpoint.config.model
    if encoder_recipes.stem_is_expert:
        return RouterStem(base_of(experts[0]), pooling=model.expert_pooling)
    if encoder_recipes.stem.key != checkpoint.stem["hash"]:
        raise CheckpointError(_other(folder, encoder_recipes.stem.name, places))
    return RouterStem(
        encoder_recipes.stem.name,
        layers=encoder_recipes.stem.layers,
        pooling=encoder_recipes.stem.pooling,
        models=places.models,
        seed=encoder_recipes.stem.seed,
    )


def _other(folder: Path, name: str, places: Places) -> str:
    where = places.models.folder or "the hub"
    return (
        f"{folder} was trained with other weights of {name} than {where} has, or on other data; "
        "give the --models, --data or --sample of the training"
    )
