"""Measured costs, as `mpc-router-eval --measure-latency FILE` writes them, for a run's experts.

The format is that of `mpc_router.measured`, which a study takes as `cost_vector=file:FILE`: experts
by name and layers, the router by its stem. Here it prices a run that is there already.
"""

from __future__ import annotations

import json
from typing import Any, Final

from analysis.load import Run, RunError
from mpc_router.costs import CostVector

FORMAT: Final = "mpc-router costs 1"


def is_measured(data: object) -> bool:
    """Whether JSON data say that they are measured costs, of whatever version."""
    return isinstance(data, dict) and isinstance(data.get("format"), str)


def measured_vector(run: Run, data: dict[str, Any], origin: str) -> CostVector:
    """The measured costs as a vector over all experts of the run; `origin` names the file.

    Raises:
        RunError: the data are of another version or lack something, or they were measured on
            another task, with another router, or without one of the run's experts.
    """
    if data["format"] != FORMAT:
        raise RunError(f"{origin}: format {data['format']!r}, this program reads {FORMAT!r}")
    try:
        costs = {(str(one["name"]), int(one["layers"])): one["cost"] for one in data["experts"]}
        router = data["router"]
        vector = CostVector(
            name=_text(data["name"]),
            unit=_text(data["unit"]),
            router=float(router["cost"]),
            experts=tuple(map(float, costs.values())),
            stem_is_expert=router["stem"] == "expert",
        )
        stem = (router["stem"], _text(router["name"]), int(router["layers"]))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise RunError(
            f"{origin}: says {FORMAT!r} but lacks or garbles a part of it "
            f"({type(error).__name__}: {error}); write one with mpc-router-eval --measure-latency"
        ) from error
    task = data.get("task")
    if task not in (None, run.task.name):
        raise RunError(
            f"{origin} was measured on {task}, whose examples have other lengths than those of "
            f'{run.task.name}; measure on {run.task.name}, or write "task": null into it'
        )
    _refuse_router(run, stem, router.get("hidden_size"), data.get("shared_stem") is True, origin)
    return CostVector(
        name=vector.name,
        unit=vector.unit,
        router=vector.router,
        experts=_of_run(run, dict(zip(costs, vector.experts, strict=True)), origin),
        stem_is_expert=vector.stem_is_expert,
    )


def _of_run(run: Run, costs: dict[tuple[str, int], float], origin: str) -> tuple[float, ...]:
    """(K,) in the order of the run's experts."""
    wanted = {
        place: expert
        for each in run.sets
        for place, expert in zip(each.members, each.experts, strict=True)
    }
    missing = [_called(*each) for _, each in sorted(wanted.items()) if each not in costs]
    if missing:
        raise RunError(
            f"{origin} has no cost of {', '.join(missing)}, which {run.name} routes to; it has "
            f"{', '.join(_called(*each) for each in costs)}"
        )
    return tuple(costs[expert] for _, expert in sorted(wanted.items()))


def _refuse_router(
    run: Run, stem: tuple[str, str, int], hidden: int | None, shared: bool, origin: str
) -> None:
    """Where a trial's own configuration names another router than the one that was measured."""
    measured = f"{_called(*stem[1:])} (stem={stem[0]})"
    for text in dict.fromkeys(run.trials["config"]):
        config = json.loads(text) if text else {}
        model = config.get("model") or {}
        if "stem" not in model:
            continue
        mine = ("model", model["router_model_name"], model["router_stem_layers"])
        if model["stem"] == "expert":
            mine = ("expert", model["expert_model_names"][0], model["expert_layers"][0])
        joint = (config.get("training") or {}).get("experts") == "joint"
        if mine != stem:
            found = f"the stem {measured}, {run.name} has {_called(*mine[1:])} (stem={mine[0]})"
        elif (bool(model.get("shared_stem")) and joint) != shared:
            found = f"shared_stem={str(shared).lower()}, {run.name} has {str(not shared).lower()}"
        elif hidden not in (None, model.get("router_hidden_size")):
            found = f"router_hidden_size={hidden}, {run.name} has {model.get('router_hidden_size')}"
            pardon = ', or write "hidden_size": null into its router entry'
            raise RunError(f"{origin} was measured with {found}; measure this one{pardon}")
        else:
            continue
        raise RunError(f"{origin} was measured with {found}; measure this one")


def _called(name: str, layers: int) -> str:
    return f"{name} ({layers} layers)" if layers else name


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{value!r} is no name")
    return value
