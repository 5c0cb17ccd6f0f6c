"""Writes and reads a file of measured costs, and gives a configuration's cost vector from it.

`mpc-router-eval --measure-latency FILE` writes one, and a study takes it as
`cost_vector=file:FILE`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mpc_router.config.trial import TrialConfig
from mpc_router.costs import COSTS_FILE, CostVector
from mpc_router.pricing.measured_costs import (
    FORMAT,
    HOW,
    CostsFileError,
    MeasuredCosts,
    called,
    file_and_vector,
)
from mpc_router.settings.rules import ConfigError
from mpc_router.storage.cache import write_json

if TYPE_CHECKING:
    from mpc_router.pricing.latency import Latency, Timing

_MEMORY: Final = (
    "weights, and the most that was allocated at once while the longest batch ran "
    "(CPU: torch.profiler; CUDA: torch.cuda.max_memory_allocated)"
)


@dataclass(frozen=True, kw_only=True)
class Measured(MeasuredCosts):
    """Holds the costs of a file; `vector` gives those of a configuration."""

    def vectors(self, config: TrialConfig) -> dict[str, CostVector]:
        """Gives all cost vectors of a configuration's experts and router by name, the first first.

        Raises:
            ConfigError: as `vector` does.
        """
        return {costs.name: costs.vector(config) for costs in self.all_vectors()}

    def vector(self, config: TrialConfig) -> CostVector:
        """Gives the first cost vector of a configuration's experts and router.

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
        missing = [called(*expert) for expert in wanted if expert not in costs]
        if missing:
            measured = ", ".join(called(*expert) for expert in costs)
            raise ConfigError(
                f"{self.origin} has no cost of {', '.join(missing)}; it has {measured}; measure "
                "this pool with mpc-router-eval --measure-latency, or take another cost_vector"
            )
        return CostVector(
            name=self.name,
            unit=self.unit,
            router=self.router.cost,
            experts=tuple(costs[expert] for expert in wanted),
            stem_is_expert=model.stem == "expert",
            basis=self.basis,
        )

    def _check_task(self, config: TrialConfig) -> None:
        if self.task not in (None, config.data.task):
            raise ConfigError(
                f"{self.origin} was measured on {self.task}, whose examples have other lengths "
                f"than those of {config.data.task}; measure on {config.data.task}, or write "
                '"task": null into it'
            )

    def _check_router(self, config: TrialConfig) -> None:
        model, router = config.model, self.router
        shared = model.shared_stem and config.training.experts == "joint"
        if shared != self.shared_stem:
            raise ConfigError(
                f"{self.origin} was measured with shared_stem={str(self.shared_stem).lower()}, "
                f"this router has shared_stem={str(shared).lower()}; measure this one"
            )
        stem = (model.router_model_name, model.router_stem_layers)
        if model.stem == "expert":
            stem = (model.expert_model_names[0], model.expert_layers[0])
        if (router.stem, router.name, router.layers) != (model.stem, *stem):
            raise ConfigError(
                f"{self.origin} was measured with the stem {called(router.name, router.layers)} "
                f"(stem={router.stem}), this router looks through {called(*stem)} "
                f"(stem={model.stem}); measure this one, or take another cost_vector"
            )
        if not model.fitted and router.hidden_size not in (None, model.router_hidden_size):
            raise ConfigError(
                f"{self.origin} was measured with router_hidden_size={router.hidden_size}, this "
                f'router has {model.router_hidden_size}; measure this one, or write "hidden_size": '
                "null into its router entry"
            )


def read_named(word: str, *, base: Path = Path()) -> Measured:
    """Gives the measured costs that a word names, `file:PATH` or `file:PATH#NAME` of a vector.

    Paths are relative to `base`.

    Raises:
        ConfigError: as `read_measured` does, or the file has no vector of this name.
    """
    path, name = file_and_vector(word.removeprefix(COSTS_FILE))
    measured = read_measured(base / path)
    try:
        return measured if name is None else measured.led_by(name)
    except CostsFileError as error:
        raise ConfigError(str(error)) from error


def read_measured(path: Path) -> Measured:
    """Gives the measured costs in a file.

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
    """Gives the measured costs in JSON data; `origin` names the data in messages.

    Raises:
        ConfigError: another format, or a value that cannot be a cost.
    """
    try:
        return Measured.from_json(data, origin=origin)
    except CostsFileError as error:
        raise ConfigError(str(error)) from error


def write_measured(
    path: Path, latency: Latency, config: TrialConfig, *, name: str = "latency"
) -> None:
    """Writes a measurement of a configuration's pool as `read_measured` reads it.

    Raises:
        ValueError: the measurement is of another number of experts.
    """
    data = _document(latency, config, name=name)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, data)


def _document(latency: Latency, config: TrialConfig, *, name: str = "latency") -> dict[str, Any]:
    """Gives a measurement as the JSON data of its file."""
    model = config.model
    members = list(zip(model.expert_model_names, model.expert_layers, strict=True))
    if len(members) != len(latency.experts):
        raise ValueError(
            f"{len(latency.experts)} experts were measured, the configuration has {len(members)}"
        )
    # the same encoder twice in a pool is one entry
    experts = dict(reversed(list(zip(members, latency.experts, strict=True))))
    stem = (model.router_model_name, model.router_stem_layers)
    if model.stem == "expert":
        stem = members[0]
    return {
        "format": FORMAT,
        "name": name,
        "unit": "s",
        "task": config.data.task,
        "shared_stem": model.shared_stem and config.training.experts == "joint",
        "experts": [
            {"name": member[0], "layers": member[1], **_entry(experts[member])}
            for member in dict.fromkeys(members)
        ],
        "router": {
            "stem": model.stem,
            "name": stem[0],
            "layers": stem[1],
            "hidden_size": None if model.fitted else model.router_hidden_size,
            "router_kind": model.router_kind,
            **_entry(latency.router),
        },
        "about": {
            "device": latency.device,
            "threads": latency.threads,
            "machine": latency.machine,
            "torch": latency.torch_version,
            "date": latency.date,
            "batch_size": latency.batch_size,
            "rounds": latency.repeats,
            "examples": latency.examples,
            "mean_tokens": latency.mean_tokens,
            "longest": latency.longest,
            **(
                {"mean_tokens_by_expert": list(latency.mean_tokens_by_expert)}
                if latency.mean_tokens_by_expert
                else {}
            ),
            "cost": "seconds an example, median over the rounds",
            "memory_bytes": _MEMORY,
        },
    }


def _entry(timing: Timing) -> dict[str, Any]:
    return {
        "cost": timing.seconds,
        "quartiles": list(timing.quartiles),
        "memory_bytes": timing.memory,
    }
