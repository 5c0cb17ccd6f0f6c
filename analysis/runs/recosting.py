"""The same routes under other prices: no training, only another cost vector.

Letters: L trials, N examples, K experts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from analysis.runs.alternatives import alternatives
from analysis.runs.load import Run, RunError
from mpc_router.costs import CostVector, from_json, to_json
from mpc_router.pricing.measured_costs import CostsFileError, MeasuredCosts, called, file_and_vector
from mpc_router.run_names import SELECTION

if TYPE_CHECKING:
    import pandas as pd

_Values = NDArray[np.float64]

FILE: Final = "file:"
"""Before a path: costs that are not in the run."""


def _read_vectors(path: Path | str, run: Run | None = None) -> dict[str, CostVector]:
    """Cost vectors of a JSON file, as `cost_vectors` of a run's provenance are written.

        {"ours": {"unit": "s", "router": 0.4, "experts": [0.5, 3, 9]}}

    `as_if` and `stem_is_expert` are false unless given. Experts stand cheapest first, as in the
    run. Or the vectors of measured costs, whose experts are those of `run`, by name and layers:
    see `mpc_router.pricing.measured_costs`.

    Raises:
        RunError: the file is missing, no JSON, or neither of both; one sentence.
    """
    path = Path(path)
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise RunError(f"{path}: not readable as JSON ({error})") from error
    if _is_measured(data):
        if run is None:
            raise RunError(f"{path}: measured costs are those of named experts; name a run")
        return _measured_vectors(run, data, str(path))
    shape = '{"NAME": {"unit": "s", "router": 0.4, "experts": [0.5, 3, 9]}}'
    measured = "or what mpc-router-eval --measure-latency writes"
    if not isinstance(data, dict) or not data:
        raise RunError(
            f"{path}: found {type(data).__name__}, need vectors by name: {shape}, {measured}"
        )
    free = {"as_if": False, "stem_is_expert": False}
    try:
        return from_json({name: {**free, **vector} for name, vector in data.items()})
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"{path}: no cost vectors ({error}); need {shape}, {measured}") from error


def priced(run: Run, costs: str | None) -> tuple[Run, str | None]:
    """The run, and the name of the vector that `--costs` asks for: one of its own, or of a file.

    `file:PATH` asks for the first vector of the file and `file:PATH#NAME` for another; the run
    gets all of them.

    Raises:
        RunError: the file cannot be read, has no such vector, or does not fit the run.
    """
    if costs is None or not costs.startswith(FILE):
        return run, costs
    path, name = file_and_vector(costs.removeprefix(FILE))
    vectors = _read_vectors(path, run)
    if name is not None and name not in vectors:
        raise RunError(
            f"{path} has no cost vector {name!r}; it has {', '.join(vectors)}, name one of these"
        )
    return recosted(run, vectors), name or next(iter(vectors))


def recosted(run: Run, vectors: Mapping[str, CostVector]) -> Run:
    """The run with more cost vectors, so that fronts and pictures can be asked for under them.

    A vector prices all experts of the run in the order of `run.expert_names`, and every prepared
    set takes the prices of its own. Nothing is written.

    Raises:
        RunError: a vector has another number of experts, or a name that is taken by other costs.
    """
    for vector in vectors.values():
        _refuse_misfit(run, vector)
    parts = [
        to_json({name: vector.of_members(each.members) for name, vector in vectors.items()})
        for each in run.sets
    ]
    facts: dict[str, Any] = {**run.provenance}
    facts["cost_vectors"] = {**facts["cost_vectors"], **parts[0]}
    facts["cost_vectors_given"] = [*facts.get("cost_vectors_given", ()), *vectors]
    if facts.get("sets"):
        facts["sets"] = [
            {**one, "cost_vectors": {**one["cost_vectors"], **part}}
            for one, part in zip(facts["sets"], parts, strict=True)
        ]
    recosted_run = replace(run, provenance=facts)
    recosted_run.__dict__["trials"] = _priced_trials(
        recosted_run, tuple(vectors)
    )  # where the property is kept
    return recosted_run


def _priced_trials(run: Run, names: Sequence[str]) -> pd.DataFrame:
    """The trials with `S_cost_NAME` of every vector, from the shares of their last reports."""
    choices = alternatives(run)
    last = run.reports.sort_values("epoch").drop_duplicates(["key", "split"], keep="last")
    shares = dict(zip(zip(last["key"], last["split"], strict=True), last["share"], strict=True))
    trials = run.trials
    keys = trials["key"].tolist()
    vectors = [run.sets[run.set_of_point[point]].vectors for point in trials["point"].astype(str)]
    columns: dict[str, list[float]] = {}
    for split in (SELECTION, *run.task.quoted):
        done = trials[f"{split}_score"].notna().tolist()
        for name in names:
            columns[f"{split}_cost_{name}"] = [
                _paid(choices.own_price(key, by_name[name]), shares.get((key, split)))
                if known
                else np.nan
                for key, by_name, known in zip(keys, vectors, done, strict=True)
            ]
    return trials.assign(**columns)


def _paid(vector: CostVector, share: Sequence[float] | None) -> float:
    """NaN where no share of every route was reported."""
    if share is None or len(share) != len(vector.routed):
        return float("nan")
    return float(vector.mean(np.asarray(share, np.float64)))


def _refuse_misfit(run: Run, vector: CostVector) -> None:
    names = run.expert_names
    if len(vector.experts) != len(names):
        raise RunError(
            f"{run.name}: cost vector {vector.name!r} has {len(vector.experts)} experts, the run "
            f"{len(names)} ({', '.join(names)}); give one cost for each, in this order"
        )
    for each in run.sets:
        known = each.vectors.get(vector.name)
        if known is not None and known != vector.of_members(each.members):
            raise RunError(
                f"{run.name}: it has a cost vector {vector.name!r} already, with other costs; "
                "give yours another name"
            )


def _mean_costs(routes: NDArray[np.integer[Any]], vector: CostVector) -> _Values:
    """Mean cost of routed examples, the router paid: (L, N) -> (L,)."""
    return np.asarray(vector.of_routes(routes).mean(axis=-1))


def break_even(share: _Values, vector: CostVector) -> _Values:
    """The router's cost at which a routing costs as much as the dearest expert alone: (.., K) -> ..

    A router that is dearer than this saves nothing, however well it routes; one that looks through
    the cheapest expert is priced as the vector says.
    """
    routed = np.asarray(share, np.float64) @ np.asarray(vector.routed, np.float64)
    return np.asarray(max(vector.experts) - routed)


def _is_measured(data: object) -> bool:
    """Whether JSON data say that they are measured costs, of whatever version."""
    return isinstance(data, dict) and isinstance(data.get("format"), str)


def _measured_vectors(run: Run, data: dict[str, Any], origin: str) -> dict[str, CostVector]:
    """Gives the measured costs as vectors over all experts of the run; `origin` names the file.

    Raises:
        RunError: the data are of another format or lack something, or they were measured on
            another task, with another router, or without one of the run's experts.
    """
    try:
        measured = MeasuredCosts.from_json(data, origin=origin)
    except CostsFileError as error:
        raise RunError(str(error)) from error
    if measured.task not in (None, run.task.name):
        raise RunError(
            f"{origin} was measured on {measured.task}, whose examples have other lengths than "
            f"those of {run.task.name}; measure on {run.task.name}, or write "
            '"task": null into it'
        )
    _refuse_router(run, measured)
    return {
        costs.name: CostVector(
            name=costs.name,
            unit=costs.unit,
            router=costs.router.cost,
            experts=_of_run(run, costs),
            stem_is_expert=costs.router.stem == "expert",
            basis=costs.basis,
        )
        for costs in measured.all_vectors()
    }


def _of_run(run: Run, measured: MeasuredCosts) -> tuple[float, ...]:
    """Gives the costs (K,) in the order of the run's experts."""
    costs = {(expert.name, expert.layers): expert.cost for expert in measured.experts}
    wanted = {
        place: expert
        for each in run.sets
        for place, expert in zip(each.members, each.experts, strict=True)
    }
    missing = [called(*expert) for _, expert in sorted(wanted.items()) if expert not in costs]
    if missing:
        raise RunError(
            f"{measured.origin} has no cost of {', '.join(missing)}, which {run.name} routes to; "
            f"it has {', '.join(called(*expert) for expert in costs)}"
        )
    return tuple(costs[expert] for _, expert in sorted(wanted.items()))


def _refuse_router(run: Run, measured: MeasuredCosts) -> None:
    """Refuses costs that were measured with another router than a trial's configuration names."""
    router, shared, origin = measured.router, measured.shared_stem, measured.origin
    stem, hidden = (router.stem, router.name, router.layers), router.hidden_size
    words = f"{called(router.name, router.layers)} (stem={router.stem})"
    for text in dict.fromkeys(run.trials["config"]):
        config = json.loads(text) if text else {}
        model = config.get("model") or {}
        if "stem" not in model:
            continue
        run_stem = ("model", model["router_model_name"], model["router_stem_layers"])
        if model["stem"] == "expert":
            run_stem = ("expert", model["expert_model_names"][0], model["expert_layers"][0])
        joint = (config.get("training") or {}).get("experts") == "joint"
        if run_stem != stem:
            difference = (
                f"the stem {words}, {run.name} has {called(*run_stem[1:])} (stem={run_stem[0]})"
            )
        elif (bool(model.get("shared_stem")) and joint) != shared:
            difference = (
                f"shared_stem={str(shared).lower()}, {run.name} has {str(not shared).lower()}"
            )
        elif hidden not in (None, model.get("router_hidden_size")):
            difference = (
                f"router_hidden_size={hidden}, {run.name} has {model.get('router_hidden_size')}"
            )
            pardon = ', or write "hidden_size": null into its router entry'
            raise RunError(f"{origin} was measured with {difference}; measure this one{pardon}")
        else:
            continue
        raise RunError(f"{origin} was measured with {difference}; measure this one")
