from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from mpc_router.config.pools import MINILM_MODEL
from mpc_router.config.trial import ConfigError, trial_config
from mpc_router.pricing.measured_costs import FORMAT
from mpc_router.pricing.measured_file import from_json, read_measured, read_named

GOOD: dict[str, Any] = {
    "format": FORMAT,
    "name": "latency",
    "unit": "s",
    "task": "mrpc",
    "shared_stem": False,
    "experts": [
        {"name": MINILM_MODEL, "layers": 2, "cost": 0.5, "quartiles": [0.4, 0.6]},
        {"name": MINILM_MODEL, "layers": 4, "cost": 1},
        {"name": MINILM_MODEL, "layers": 6, "cost": 1.5},
    ],
    "router": {
        "stem": "model",
        "name": "prajjwal1/bert-tiny",
        "layers": 2,
        "hidden_size": 256,
        "cost": 0.1,
    },
    "about": {"device": "cpu", "threads": 1},
}


def changed(**top: Any) -> dict[str, Any]:
    return {**copy.deepcopy(GOOD), **top}


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in GOOD.items() if name != key}


def router(**more: Any) -> dict[str, Any]:
    return changed(router={**GOOD["router"], **more})


def expert(**more: Any) -> dict[str, Any]:
    return changed(experts=[{**GOOD["experts"][0], **more}, *GOOD["experts"][1:]])


def written(folder: Path, data: object) -> Path:
    path = folder / "costs.json"
    path.write_text(json.dumps(data))
    return path


def test_a_file_gives_the_costs_of_every_pool_made_of_its_experts(tmp_path: Path) -> None:
    measured = read_measured(written(tmp_path, GOOD))
    three = measured.vector(trial_config({"pool": "minilm"}))
    assert (three.name, three.unit, three.router) == ("latency", "s", 0.1)
    assert three.experts == (0.5, 1, 1.5)
    pair = measured.vector(trial_config({"pool": "minilm", "expert_layers": [2, 6]}))
    assert pair.experts == (0.5, 1.5)
    assert not pair.stem_is_expert


def test_a_file_survives_being_embedded(tmp_path: Path) -> None:
    measured = read_measured(written(tmp_path, GOOD))
    again = from_json(json.loads(json.dumps(measured.to_json())), origin=measured.origin)
    assert again == measured
    assert measured.to_json() == GOOD


def test_a_stem_that_is_an_expert_is_paid_once(tmp_path: Path) -> None:
    entry = router(stem="expert", name=MINILM_MODEL, layers=2, cost=0.55)
    measured = read_measured(written(tmp_path, entry))
    vector = measured.vector(trial_config({"pool": "minilm", "stem": "expert"}))
    assert vector.router == 0.55
    assert vector.routed == (0, 1, 1.5)


MISMATCHES: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    (GOOD, {"expert_layers": [2, 3]}, rf"no cost of {MINILM_MODEL} \(3 layers\)"),
    (GOOD, {"task": "rte"}, "measured on mrpc"),
    (GOOD, {"stem": "expert"}, "stem=model.*stem=expert"),
    (GOOD, {"router_hidden_size": 64}, "router_hidden_size=256"),
    (router(layers=1), {}, r"bert-tiny \(1 layers\)"),
    (changed(shared_stem=True), {}, "shared_stem=true"),
    (GOOD, {"shared_stem": True, "experts": "joint"}, "shared_stem=false"),
]


@pytest.mark.parametrize(("data", "settings", "message"), MISMATCHES)
def test_costs_of_another_router_are_refused_in_one_line(
    data: dict[str, Any], settings: dict[str, Any], message: str
) -> None:
    measured = from_json(data, origin="costs.json")
    with pytest.raises(ConfigError, match=message) as caught:
        measured.vector(trial_config({"pool": "minilm", **settings}))
    assert str(caught.value).startswith("costs.json ")
    assert "\n" not in str(caught.value)


def test_null_holds_for_any_task_and_any_hidden_size() -> None:
    data = {**router(hidden_size=None), "task": None}
    config = trial_config({"pool": "minilm", "task": "rte", "router_hidden_size": 64})
    assert from_json(data, origin="costs.json").vector(config).router == 0.1


def test_the_costs_hold_for_every_kind_of_router_behind_the_stem() -> None:
    entry = router(stem="expert", name=MINILM_MODEL, layers=2, cost=0.55, router_kind="gated")
    measured = from_json(entry, origin="costs.json")
    for kind in ("predictive", "sequential", "cascade"):
        settings = {"pool": "minilm", "stem": "expert", "router_kind": kind}
        assert measured.vector(trial_config({**settings, "router_hidden_size": 64})).router == 0.55
    assert measured.to_json()["router"]["router_kind"] == "gated"


BAD: list[tuple[object, str]] = [
    ([1, 2], "format is None"),
    (changed(format="another 7"), "'another 7'"),
    (without("name"), "name is None"),
    (changed(name="mpc_seconds"), "new name"),
    (changed(name="flops"), "new name"),
    (changed(name="Two Words"), "new name"),
    (changed(unit=""), "unit is ''"),
    (changed(experts=[]), "at least one expert"),
    (changed(experts=["tiny"]), r"experts\[0\] is 'tiny'"),
    (changed(experts=[GOOD["experts"][0]] * 2), "every expert once"),
    (expert(cost=-1), r"experts\[0\].cost is -1"),
    (expert(cost=float("nan")), r"experts\[0\].cost is nan"),
    (expert(cost=float("inf")), "finite"),
    (expert(cost=10**400), "cost is 1000"),
    (expert(cost=True), "cost is True"),
    (expert(cost="1"), "cost is '1'"),
    (expert(layers=1.5), "layers is 1.5"),
    (expert(name=3), "name is 3"),
    (without("router"), "router is None"),
    (router(stem="other"), "model or expert"),
    (router(hidden_size=-1), "hidden_size is -1"),
]


@pytest.mark.parametrize(("data", "message"), BAD, ids=[message for _, message in BAD])
def test_a_file_that_cannot_be_is_refused_in_one_line(
    data: object, message: str, tmp_path: Path
) -> None:
    path = written(tmp_path, data)
    with pytest.raises(ConfigError, match=message) as caught:
        read_measured(path)
    assert str(path) in str(caught.value)
    assert "--measure-latency" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("size", [0, 1, 100, 300])
def test_a_file_cut_short_is_refused(size: int, tmp_path: Path) -> None:
    path = tmp_path / "costs.json"
    path.write_text(json.dumps(GOOD)[:size])
    with pytest.raises(ConfigError, match="cut short"):
        read_measured(path)


def test_what_is_no_text_or_not_there_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "costs.json"
    with pytest.raises(ConfigError, match="No such file"):
        read_measured(path)
    path.write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(ConfigError, match="no JSON"):
        read_measured(path)
    with pytest.raises(ConfigError, match="directory"):
        read_measured(tmp_path)


THREE: dict[str, Any] = {
    **GOOD,
    "beside": [{"name": "wan", "unit": "s"}, {"name": "gb", "unit": "GB sent"}],
    "basis": "a guess",
    "experts": [
        {**entry, "beside": [at + 10, at + 20]} for at, entry in enumerate(GOOD["experts"])
    ],
    "router": {**GOOD["router"], "beside": [1, 2]},
}


def test_a_file_of_several_vectors_gives_each_with_what_it_rests_on(tmp_path: Path) -> None:
    vectors = read_measured(written(tmp_path, THREE)).vectors(trial_config({"pool": "minilm"}))
    assert {name: vector.unit for name, vector in vectors.items()} == {
        **{"latency": "s", "wan": "s", "gb": "GB sent"}
    }
    assert vectors["latency"].experts == (0.5, 1, 1.5)
    assert (vectors["gb"].router, vectors["gb"].experts) == (2, (20, 21, 22))
    assert {vector.basis for vector in vectors.values()} == {"a guess"}


def test_a_vector_that_is_named_leads_and_the_others_stay(tmp_path: Path) -> None:
    path, config = written(tmp_path, THREE), trial_config({"pool": "minilm"})
    led = read_named(f"file:{path.name}#gb", base=tmp_path)
    assert led.name == "gb"
    assert led.vectors(config) == read_measured(path).vectors(config)
    assert from_json(json.loads(json.dumps(led.to_json())), origin=led.origin) == led
    assert led.led_by("latency").vectors(config) == led.vectors(config)
    with pytest.raises(ConfigError, match="no cost vector 'lan'; it has latency, wan, gb"):
        read_named(f"file:{path}#lan")


def test_several_vectors_survive_being_embedded(tmp_path: Path) -> None:
    measured = read_measured(written(tmp_path, THREE))
    assert measured.to_json() == THREE


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({**THREE, "beside": 3}, "beside is 3"),
        ({**THREE, "beside": [3]}, r"beside\[0\] is 3"),
        ({**THREE, "beside": [{"name": "latency", "unit": "s"}]}, r"beside\[0\]\.name"),
        ({**THREE, "beside": [{"name": "wan"}]}, r"beside\[0\]\.unit is None"),
        ({**THREE, "router": GOOD["router"]}, r"router\.beside is \[\], but .* list of 2"),
        ({**THREE, "router": {**GOOD["router"], "beside": [1, -1]}}, r"router\.beside\[1\] is -1"),
        ({**GOOD, "basis": 3}, "basis is 3"),
    ],
)
def test_vectors_that_do_not_fit_are_refused(data: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_json(data, origin="costs.json")
