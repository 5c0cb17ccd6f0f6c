"""A rehearsal: every encoder of a pool does with two examples what it will do with all of them.

An encoder that cannot take examples this long, cannot run in this precision, has no gradient, or
says NaN is found here, before anything is trained. What passed is remembered in the cache. Letters:
N examples, T tokens.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from mpc_router.config.trial import TrialConfig
from mpc_router.data.tokens import Tokens
from mpc_router.experts.finetune import fine_tune, predict, resolve_device
from mpc_router.model.experts import BertExpert
from mpc_router.model.sources import SAMPLE_PREFIX, ModelError, Models, whatever_is_raised
from mpc_router.prepare._surroundings import CHECKS_VERSION
from mpc_router.recipes.recipes import Recipe, Recipes
from mpc_router.storage.cache import digest, write_json
from mpc_router.tasks import Task, label_key

LIKE: Final = 1e-5
"""Features that differ less than this are the same but for rounding."""

UNLIKE: Final = 1e-2
"""Share of the largest output that padding may not change."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """Holds one encoder, and what it will have to do."""

    recipe: Recipe
    trains: bool
    """It is trained, alone or with the others; else it is only asked."""

    pooled: bool
    """Its pooled features are looked at: it gets a fresh head, or is the stem."""

    precision: str
    """What it is trained in."""

    tokenizer: int
    """Number of the tokenizer that it is read with."""


def parts_of(config: TrialConfig, pool_recipes: Recipes) -> Iterator[Part]:
    """Gives the encoders of a pool, each once; the sample's own are known to work."""
    joint = config.training.experts == "joint"
    parts = [
        Part(
            recipe=recipe,
            trains=joint or recipe.epochs > 0,
            pooled=recipe.epochs > 0,
            precision=config.training.precision if joint else recipe.precision,
            tokenizer=number,
        )
        for recipe, number in zip(
            pool_recipes.experts, pool_recipes.tokenizers.experts, strict=True
        )
    ]
    trains = parts[0].trains if pool_recipes.stem_is_expert else joint
    precision = parts[0].precision if pool_recipes.stem_is_expert else config.training.precision
    parts.append(
        Part(recipe=pool_recipes.stem, trains=trains, pooled=True, precision=precision, tokenizer=0)
    )
    for part in dict.fromkeys(parts):
        if not part.recipe.name.startswith(SAMPLE_PREFIX):
            yield part


def rehearse(
    config: TrialConfig,
    pool_recipes: Recipes,
    models: Models,
    tokens: Sequence[Tokens],
    *,
    device: str,
    memory: Path,
) -> None:
    """Has every encoder say what two examples are, and learn from them where it will be trained.

    `tokens` (N = 2), those of each tokenizer, come from `two_examples`. Encoders for a GPU are
    tried on the CPU first: a wrong index is an error there, and on a GPU the end of the process.
    `device` is where they are tried, or `auto`.
    `memory` is a folder that remembers what passed, by the model's content, the lengths and the
    libraries.

    Raises:
        ModelError: one of them cannot: its name, what it said, what to do.
    """
    task, kind = config.data.definition, resolve_device(device).type
    for part in parts_of(config, pool_recipes):
        recipe = part.recipe
        key = pool_recipes.tokenizers.keys[part.tokenizer]
        note = memory / f"rehearsed-{_fingerprint(config, part, key, kind)}.json"
        if note.exists():
            continue
        for place in dict.fromkeys(("cpu", kind)):
            _rehearse(part, task, models, tokens[part.tokenizer], place)
        memory.mkdir(parents=True, exist_ok=True)
        write_json(note, {"model": recipe.name, "layers": recipe.layers})


def _fingerprint(config: TrialConfig, part: Part, tokenizer: str, device: str) -> str:
    import transformers

    recipe = part.recipe
    return digest(
        "rehearsal",
        CHECKS_VERSION,
        [recipe.weights, recipe.layers, recipe.pooling, recipe.keep_head],
        [
            part.trains,
            part.pooled,
            part.precision,
            label_key(config.data.definition),
            tokenizer,
            device,
        ],
        [torch.__version__, transformers.__version__],
    )


def _rehearse(part: Part, task: Task, models: Models, tokens: Tokens, device: str) -> None:
    """Has one encoder do its part on one device.

    Raises:
        ModelError: it cannot.
    """
    recipe = part.recipe
    cut = f", cut at {recipe.layers} layers," if recipe.layers else ""

    def unreadable(reason: str) -> ModelError:
        return ModelError(
            f"{recipe.name}{cut} cannot be built from its files: {reason}; copy or download them "
            "again, or name another model"
        )

    with whatever_is_raised(unreadable):
        expert = BertExpert(
            recipe.name,
            task.outputs,
            layers=recipe.layers,
            pooling=recipe.pooling,
            label_names=task.label_names,
            models=models,
            seed=recipe.seed,
            keep_head=recipe.keep_head,
        )

    def ask(some: Tokens) -> None:
        _ask(expert, part, some, device)

    def train(some: Tokens, precision: str = part.precision) -> None:
        fine_tune(
            expert,
            some,
            task,
            epochs=1,
            learning_rate=recipe.learning_rate,
            batch_size=len(some),
            seed=recipe.seed,
            precision=precision,
            device=device,
        )

    for step, doing in ((ask, "does not run"), (train, "cannot be trained")):
        if step is train and not part.trains:
            continue
        reason = _reason(step, tokens)
        if reason is not None:
            advice = _advice(step, tokens, expert)
            if step is train and _reason(lambda some: train(some, "float32"), tokens) is None:
                advice = "set precision=float32"
            raise ModelError(f"{recipe.name}{cut} {doing} with an example: {reason}; {advice}")
        some = _shortened(tokens, int(tokens.lengths.max()) // 2 | 1)
        reason = _reason(step, some)
        if reason is not None:
            raise ModelError(
                f"{recipe.name}{cut} {doing} with an example of {some.lengths.max()} tokens, "
                f"though with a longer one: {reason}; name another model"
            )


def _reason(step: Callable[[Tokens], None], tokens: Tokens) -> str | None:
    """Gives what was raised by a step; None if nothing was."""
    try:
        with whatever_is_raised(_Raised):
            step(tokens)
    except _Raised as error:
        return str(error)
    return None


class _Raised(ModelError):
    """Carries what a model raised, as the model said it."""


def _advice(step: Callable[[Tokens], None], tokens: Tokens, expert: BertExpert) -> str:
    """Gives what to do about a model that cannot do a step with these examples."""
    fits, fails = 1, int(tokens.lengths.max())
    if fails > 1 and _reason(step, _shortened(tokens, fits)) is None:
        while fails - fits > 1:
            middle = (fits + fails) // 2
            if _reason(step, _shortened(tokens, middle)) is None:
                fits = middle
            else:
                fails = middle
        return f"it takes no more than {fits} tokens, so set max_length={fits} or less"
    config: Any = getattr(expert.body, "config", None)
    if expert.fine_tuned and getattr(config, "pad_token_id", None) is None:
        return "set pad_token_id in its config.json to its tokenizer's, or name another model"
    return "name another model"


def _shortened(tokens: Tokens, most: int) -> Tokens:
    """Gives the same examples, each cut to so many tokens."""
    kept = [
        np.arange(start, min(stop, start + most))
        for start, stop in zip(tokens.offsets, tokens.offsets[1:], strict=False)
    ]
    rows = np.concatenate(kept)
    return dataclasses.replace(
        tokens,
        ids=tokens.ids[rows],
        segments=tokens.segments[rows],
        offsets=np.cumsum([0, *map(len, kept)]).astype(np.int64),
    )


def _ask(expert: BertExpert, part: Part, tokens: Tokens, device: str) -> None:
    """Refuses outputs of an expert that are of no use."""
    outputs, features = predict(expert, tokens, batch_size=len(tokens), device=device)
    if not (np.isfinite(outputs).all() and np.isfinite(features).all()):
        raise ModelError(
            f"{expert.name} gives NaN or infinite numbers; its weights are damaged: copy or "
            "download them again"
        )
    middle = int(tokens.offsets[1])
    unlike = not np.array_equal(tokens.ids[:middle], tokens.ids[middle:])
    first = part.pooled and part.recipe.pooling == "cls"
    if first and unlike and np.ptp(features, axis=0).max() <= LIKE * np.abs(features).max():
        raise ModelError(
            f"{expert.name} says the same of any two examples by their first token, as a decoder "
            "does, which reads from left to right; name an encoder, set expert_pooling and "
            "stem_pooling to mean, or keep its own head (expert_fine_tuned=true, not cut)"
        )
    kept: Any = getattr(expert.body, "config", None)
    padding = getattr(kept, "pad_token_id", None)
    if padding is None or padding == tokens.pad:
        return
    alone = predict(expert, tokens.part(1, 2), batch_size=1, device=device)[0]
    if np.abs(alone[0] - outputs[1]).max() > UNLIKE * np.abs(outputs).max():
        raise ModelError(
            f"{expert.name} takes token {padding} for padding and the tokenizer gives "
            f"{tokens.pad}, which changes what it says; set pad_token_id in its config.json, or "
            "tokenizer_model_name, so that they agree"
        )


def two_examples(tokenizer: Any, texts: Sequence[str], *, max_length: int, called: str) -> Tokens:
    """Gives one example of as many tokens as are ever kept, and one of about half as many.

    `texts` are those of an example, said again until it is long enough. Both begin with the same
    token, so that an encoder whose first token sees no other says the same of both.

    Raises:
        ModelError: the tokenizer `called` so cannot take them.
    """
    length = min(max_length, tokenizer.model_max_length)

    def refusal(reason: str) -> ModelError:
        return ModelError(
            f"tokenizer {called} cannot take an example of train ({reason}); set "
            "tokenizer_model_name to another model"
        )

    with whatever_is_raised(refusal):
        rounds = max(1, length // max(1, len(tokenizer(*texts, verbose=False)["input_ids"])) + 1)
        encoded = tokenizer(
            *(" ".join([text] * rounds) for text in texts),
            truncation=True,
            max_length=length,
            return_token_type_ids=True,
        )
        ids = np.asarray(encoded["input_ids"], np.int32)
        segments = np.asarray(encoded["token_type_ids"], np.uint8)
        if not len(ids):
            raise refusal("it gives no token")
    half = np.r_[0, np.arange(1 + len(ids) // 2, len(ids))]
    return Tokens(
        ids=np.concatenate([ids, ids[half]]),
        segments=np.concatenate([segments, segments[half]]),
        offsets=np.asarray([0, len(ids), len(ids) + len(half)], np.int64),
        labels=np.zeros(2),
        example=np.arange(2, dtype=np.int64),
        pad=getattr(tokenizer, "pad_token_id", None) or 0,
    )
