"""A file of measured costs: what each expert and the router cost on some machine, read and checked.

`mpc-router-eval --measure-latency FILE` writes one, and a study takes it as
`cost_vector=file:FILE`. It is JSON, so that numbers measured elsewhere can be put into one by hand:

    {"format": "mpc-router costs 1",
     "name": "latency", "unit": "s", "task": "mrpc", "shared_stem": false,
     "experts": [{"name": "org/model", "layers": 2, "cost": 0.0041}, ...],
     "router": {"stem": "model", "name": "org/stem", "layers": 2, "hidden_size": 256,
                "cost": 0.001},
     "about": {"device": "cpu", "threads": 1, ...}}

`layers` is what the configuration says, 0 for all. `task` and `hidden_size` may be null: then the
costs hold for any. An entry may say more (`quartiles`, `memory_bytes`), and `about` says how it was
measured: both are for people.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from mpc_router.config.sections import ConfigError
from mpc_router.config.trial import TrialConfig
from mpc_router.costs import CONSTANTS, FLOPS, PARAMETERS, PUBLISHED, CostVector
from mpc_router.messages import quoted

FORMAT: Final = "mpc-router costs 1"

HOW: Final = "write one with mpc-router-eval --measure-latency FILE"

_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")
_TAKEN: Final = (
    *(CONSTANTS, PARAMETERS, FLOPS),
    *(name for published in PUBLISHED for name in (published, f"{published}_as_if")),
)


@dataclass(frozen=True, kw_only=True)
class ExpertCost:
    """What one encoder cost an example as an expert."""

    name: str
    layers: int
    """As in the configuration; 0 is all of them."""

    cost: float
    more: Mapping[str, Any] = field(default_factory=dict)
    """What else the file says: quartiles, memory."""


@dataclass(frozen=True, kw_only=True)
class RouterCost:
    """What stem and MLP cost an example."""

    stem: str
    """`model`, or `expert`: the cheapest expert, which is paid once."""

    name: str
    layers: int
    hidden_size: int | None
    cost: float
    more: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The costs of a file; `vector` gives those of a configuration."""

    origin: str
    """Where it was read, for messages."""

    name: str
    unit: str
    task: str | None
    """Whose examples it was measured on: their lengths decide; None holds for any."""

    shared_stem: bool
    """Experts are the layers after the stem's."""

    experts: tuple[ExpertCost, ...]
    router: RouterCost
    about: Mapping[str, Any]

    def vector(self, config: TrialConfig) -> CostVector:
        """The cost vector of a configuration's experts and router.

        Experts are matched by name and layers, so one file serves every pool made of them.

        Raises:
            ConfigError: an expert is not in the file, or it was measured with another stem, router
                or task.
        """
        self._check_task(config)
        self._check_router(config)
        model = config.model
        costs = {(entry.name, entry.layers): entry.cost for entry in self.experts}
        wanted = list(zip(model.expert_model_names, model.expert_layers, strict=True))
        missing = [_called(*each) for each in wanted if each not in costs]
        if missing:
            known = ", ".join(_called(*each) for each in costs)
            raise ConfigError(
                f"{self.origin} has no cost of {', '.join(missing)}; it has {known}; measure this "
                "pool with mpc-router-eval --measure-latency, or take another cost_vector"
            )
        return CostVector(
            name=self.name,
            unit=self.unit,
            router=self.router.cost,
            experts=tuple(costs[each] for each in wanted),
            stem_is_expert=model.stem == "expert",
        )

    def to_json(self) -> dict[str, Any]:
        """What the file holds; `from_json` reads it back."""

        def entry(cost: ExpertCost | RouterCost) -> dict[str, Any]:
            plain = asdict(cost)
            return {**plain.pop("more"), **plain}

        return {
            "format": FORMAT,
            "name": self.name,
            "unit": self.unit,
            "task": self.task,
            "shared_stem": self.shared_stem,
            "experts": [entry(cost) for cost in self.experts],
            "router": entry(self.router),
            "about": dict(self.about),
        }

    def _check_task(self, config: TrialConfig) -> None:
        if self.task not in (None, config.data.task):
            raise ConfigError(
                f"{self.origin} was measured on {self.task}, whose examples have other lengths "
                f"than those of {config.data.task}; measure on {config.data.task}, or write "
                '"task": null into it'
            )

    def _check_router(self, config: TrialConfig) -> None:
        model, mine = config.model, self.router
        shared = model.shared_stem and config.training.experts == "joint"
        if shared != self.shared_stem:
            raise ConfigError(
                f"{self.origin} was measured with shared_stem={str(self.shared_stem).lower()}, "
                f"this router has shared_stem={str(shared).lower()}; measure this one"
            )
        stem = (model.router_model_name, model.router_stem_layers)
        if model.stem == "expert":
            stem = (model.expert_model_names[0], model.expert_layers[0])
        if (mine.stem, mine.name, mine.layers) != (model.stem, *stem):
            raise ConfigError(
                f"{self.origin} was measured with the stem {_called(mine.name, mine.layers)} "
                f"(stem={mine.stem}), this router looks through {_called(*stem)} "
                f"(stem={model.stem}); measure this one, or take another cost_vector"
            )
        if mine.hidden_size not in (None, model.router_hidden_size):
            raise ConfigError(
                f"{self.origin} was measured with router_hidden_size={mine.hidden_size}, this "
                f'router has {model.router_hidden_size}; measure this one, or write "hidden_size": '
                "null into its router entry"
            )


def read_measured(path: Path) -> Measured:
    """The measured costs in a file.

    Raises:
        ConfigError: no such file, no JSON, another format, or a value that cannot be a cost.
    """
    try:
        data = json.loads(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}; {HOW}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is no JSON, or was cut short; {HOW}") from error
    return from_json(data, origin=str(path))


def from_json(data: object, *, origin: str) -> Measured:
    """The measured costs in JSON data; `origin` names it in messages.

    Raises:
        ConfigError: another format, or a value that cannot be a cost.
    """
    if not isinstance(data, Mapping) or data.get("format") != FORMAT:
        found = data.get("format") if isinstance(data, Mapping) else None
        raise ConfigError(
            f"{origin} is no file of measured costs: its format is {quoted(found)}, "
            f"not {FORMAT!r}; {HOW}"
        )
    reader = _Reader(origin)
    name = reader.text(data, "name")
    if not _NAME.fullmatch(name) or name in _TAKEN:
        raise reader.refusal("name", name, "a new name of small letters, digits and _")
    experts = data.get("experts")
    if not isinstance(experts, list) or not experts:
        raise reader.refusal("experts", experts, "a list of at least one expert")
    costs = tuple(reader.expert(each, f"experts[{at}]") for at, each in enumerate(experts))
    if len({(cost.name, cost.layers) for cost in costs}) < len(costs):
        names = [_called(cost.name, cost.layers) for cost in costs]
        raise reader.refusal("experts", names, "every expert once")
    about = data.get("about", {})
    return Measured(
        origin=origin,
        name=name,
        unit=reader.text(data, "unit"),
        task=None if data.get("task") is None else reader.text(data, "task"),
        shared_stem=data.get("shared_stem", False) is True,
        experts=costs,
        router=reader.router(data.get("router")),
        about=about if isinstance(about, Mapping) else {},
    )


@dataclass(frozen=True)
class _Reader:
    """Takes values out of JSON data and refuses what they cannot be."""

    origin: str

    def expert(self, entry: object, place: str) -> ExpertCost:
        found = self._mapping(entry, place)
        return ExpertCost(
            name=self.text(found, "name", place),
            layers=self._count(found, "layers", place),
            cost=self._cost(found, place),
            more=_rest(found, "name", "layers", "cost"),
        )

    def router(self, entry: object) -> RouterCost:
        found = self._mapping(entry, "router")
        stem = self.text(found, "stem", "router")
        if stem not in ("model", "expert"):
            raise self.refusal("router.stem", stem, "model or expert")
        hidden = found.get("hidden_size")
        return RouterCost(
            stem=stem,
            name=self.text(found, "name", "router"),
            layers=self._count(found, "layers", "router"),
            hidden_size=None if hidden is None else self._count(found, "hidden_size", "router"),
            cost=self._cost(found, "router"),
            more=_rest(found, "stem", "name", "layers", "hidden_size", "cost"),
        )

    def text(self, found: Mapping[str, Any], key: str, place: str = "") -> str:
        value = found.get(key)
        if not isinstance(value, str) or not value:
            raise self.refusal(f"{place}.{key}".lstrip("."), value, "a name")
        return value

    def refusal(self, place: str, value: object, allowed: str) -> ConfigError:
        return ConfigError(
            f"{self.origin}: {place} is {quoted(value)}, but must be {allowed}; {HOW}"
        )

    def _mapping(self, entry: object, place: str) -> Mapping[str, Any]:
        if not isinstance(entry, Mapping):
            raise self.refusal(place, entry, "an entry with name, layers and cost")
        return entry

    def _count(self, found: Mapping[str, Any], key: str, place: str) -> int:
        value = found.get(key)
        if type(value) is not int or value < 0:
            raise self.refusal(f"{place}.{key}", value, "a whole number from 0")
        return value

    def _cost(self, found: Mapping[str, Any], place: str) -> float:
        value: Any = found.get("cost")
        if type(value) not in (int, float) or not math.isfinite(value) or value < 0:
            raise self.refusal(f"{place}.cost", value, "a finite number from 0")
        return float(value)


def _rest(found: Mapping[str, Any], *known: str) -> dict[str, Any]:
    return {str(key): value for key, value in found.items() if key not in known}


def _called(name: str, layers: int) -> str:
    return f"{name} ({layers} layers)" if layers else name
