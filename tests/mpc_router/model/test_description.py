"""A pool as a description and tensors: rebuilt, it says bit for bit what it said."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mpc_router import GatedBertPool
from mpc_router.model.description import POOL_FILE, describe, filled, read_pool, rebuild, write_pool
from mpc_router.model.experts import BertExpert, ExpertPool
from mpc_router.model.router import MLPRouter, RouterStem
from mpc_router.model.sources import Models
from mpc_router.results.assembly import assemble
from mpc_router.results.checkpoint import CheckpointError
from tests.mpc_router.joint_pools import small_pool
from tests.mpc_router.small_models import save_classifier, save_encoder, some_tokens
from tests.trained import Trained

Make = Callable[[Path], GatedBertPool]


def with_label_order(folder: Path) -> GatedBertPool:
    """The last expert keeps its checkpoint's head, whose classes have another order."""
    save_classifier(folder / "org/kept", layers=3, id2label={0: "yes", 1: "no"})
    save_encoder(folder / "org/plain", hidden=8, seed=1)
    models = Models(folder)
    stem = RouterStem("org/plain", layers=1, models=models)
    experts = [
        BertExpert("org/plain", 2, layers=1, pooling="mean", models=models, seed=3),
        BertExpert("org/kept", 2, label_names=("no", "yes"), models=models, keep_head=True),
    ]
    assert experts[1].label_order.tolist() == [1, 0]
    return GatedBertPool.from_parts(
        stem, MLPRouter(stem.width, 2, 6, 0.3), ExpertPool(experts), temperature=0.5
    )


def shared(folder: Path) -> GatedBertPool:
    """BERTs of one width behind the layers of the first."""
    save_classifier(folder / "org/deep", layers=3)
    save_encoder(folder / "org/flat", layers=2, seed=1)
    return GatedBertPool(
        "org/deep",
        ["org/flat", "org/deep"],
        router_stem_layers=1,
        router_hidden_size=6,
        models=folder,
        shared_stem=True,
        gate="softmax",
    )


POOLS: dict[str, Make] = {
    "label order": with_label_order,
    "shared stem": shared,
    "separate": lambda _: small_pool(),
    "behind one stem": lambda _: small_pool(shared=True),
    "regression": lambda _: small_pool(outputs=1, mixing="logits", straight_through=True),
}


@pytest.fixture(params=POOLS, ids=list(POOLS))
def pool(request: pytest.FixtureRequest, tmp_path: Path) -> GatedBertPool:
    return POOLS[request.param](tmp_path).eval()


def said(pool: GatedBertPool) -> list[torch.Tensor]:
    """Everything that a pool gives for some tokens."""
    ids, mask = some_tokens()
    kinds = (ids > 20).long()
    with torch.no_grad():
        seen = pool.look(ids, mask, kinds)
        return [
            pool.route_logits(ids, mask, kinds),
            pool.ask(seen),
            *pool(ids, mask, kinds),
            *pool.forward_inference(ids, mask, kinds),
        ]


def same(mine: GatedBertPool, theirs: GatedBertPool) -> None:
    assert mine.state_dict().keys() == theirs.state_dict().keys()
    for one, other in zip(said(mine), said(theirs), strict=True):
        assert torch.equal(one, other)


def test_a_pool_made_of_its_description_and_weights_says_the_same(pool: GatedBertPool) -> None:
    written = json.loads(json.dumps(describe(pool), allow_nan=False))
    again = filled(written, pool.state_dict(), GatedBertPool.from_parts)
    assert not again.training
    same(again, pool)
    assert json.loads(json.dumps(describe(again))) == written
    for name in ("gate", "temperature", "straight_through", "mixing", "regression"):
        assert getattr(again, name) == getattr(pool, name)


def test_a_description_alone_gives_the_shape_and_not_the_weights(pool: GatedBertPool) -> None:
    bare = rebuild(describe(pool), GatedBertPool.from_parts).state_dict()
    shapes = {name: value.shape for name, value in pool.state_dict().items()}
    assert {name: value.shape for name, value in bare.items()} == shapes
    assert not all(torch.equal(bare[name], value) for name, value in pool.state_dict().items())


def test_rebuilding_draws_nothing_from_the_global_state() -> None:
    description = describe(small_pool())
    torch.manual_seed(1)
    before = torch.get_rng_state()
    rebuild(description, GatedBertPool.from_parts)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_rebuilt_pool_drops_out_as_the_first_one_does(pool: GatedBertPool) -> None:
    again = filled(describe(pool), pool.state_dict(), GatedBertPool.from_parts)
    found = []
    for each in (pool, again):
        each.train()
        torch.manual_seed(0)
        found.append(said(each))
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


def test_the_sample_s_pool_comes_back(router: Trained) -> None:
    model = assemble(router.folder, router.places).model
    same(
        filled(
            json.loads(json.dumps(describe(model))), model.state_dict(), GatedBertPool.from_parts
        ),
        model,
    )


def test_a_folder_holds_the_pool_and_what_is_said_of_it(
    pool: GatedBertPool, tmp_path: Path
) -> None:
    folder = tmp_path / "written"
    folder.mkdir()
    write_pool(folder, pool, {"note": "mine"})
    again, about = read_pool(folder, GatedBertPool.from_parts)
    assert about["note"] == "mine"
    same(again, pool)
    same(GatedBertPool.from_pretrained(folder), pool)
    same(GatedBertPool.from_pretrained(str(folder)), pool)


def test_a_description_names_no_folder_of_the_machine(tmp_path: Path) -> None:
    said_of = describe(shared(tmp_path))
    for expert in said_of["experts"]:
        assert expert["encoder"]["config"].get("_name_or_path") is None
    assert str(tmp_path) not in json.dumps(said_of)


def without(*path: str | int) -> Callable[[dict[str, Any]], None]:
    def change(said: Any) -> None:
        for key in path[:-1]:
            said = said[key]
        del said[path[-1]]

    return change


def given(value: Any, *path: str | int) -> Callable[[dict[str, Any]], None]:
    def change(said: Any) -> None:
        for key in path[:-1]:
            said = said[key]
        said[path[-1]] = value

    return change


DAMAGE = {
    "no stem": without("stem"),
    "no gate": without("gate"),
    "another gate": given("hard", "gate", "gate"),
    "a setting that is not ours": given(1, "gate", "colour"),
    "experts are a number": given(3, "experts"),
    "an expert without an encoder": without("experts", 0, "encoder"),
    "no class of transformers": given("BertOracle", "experts", 0, "encoder", "class"),
    "a class that is no module": given("AutoConfig", "experts", 0, "encoder", "class"),
    "an unknown kind of model": given("oracle", "stem", "encoder", "config", "model_type"),
    "a width that cannot be": given("16", "router", "hidden_size"),
    "a pooling that is not": given("max", "stem", "pooling"),
    "no layers": given(99, "experts", 0, "behind"),
    "negative outputs": given(-1, "experts", 0, "outputs"),
    "a configuration that is none": given([], "stem", "encoder", "config"),
    "a hidden size that its heads do not divide": given(
        15, "stem", "encoder", "config", "hidden_size"
    ),
}


@pytest.mark.parametrize("change", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_description_that_is_damaged_is_refused(change: Callable[[dict[str, Any]], None]) -> None:
    description = copy.deepcopy(describe(small_pool(shared=True)))
    change(description)
    with pytest.raises(CheckpointError, match="description of the model cannot be read"):
        rebuild(description, GatedBertPool.from_parts)


def test_weights_of_another_shape_are_refused() -> None:
    pool = small_pool()
    weights = pool.state_dict()
    router = "router.hidden.weight"
    for wrong in (
        {name: value for name, value in weights.items() if name != router},
        weights | {router: weights[router][:, :3]},
        weights | {"experts.9.weight": torch.zeros(1)},
        {},
    ):
        with pytest.raises(CheckpointError, match="weights do not fit their description"):
            filled(describe(pool), wrong, GatedBertPool.from_parts)


def test_modules_of_another_kind_cannot_be_described() -> None:
    pool = small_pool()
    foreign = GatedBertPool.from_parts(torch.nn.Identity(), pool.router, pool.experts)
    with pytest.raises(TypeError, match="Identity"):
        describe(foreign)
    experts = ExpertPool([torch.nn.Identity(), torch.nn.Identity()])
    with pytest.raises(TypeError, match="take a BertExpert"):
        describe(GatedBertPool.from_parts(pool.stem, pool.router, experts))


def test_a_folder_that_is_damaged_is_named(tmp_path: Path) -> None:
    write_pool(tmp_path, small_pool(), {})
    weights, trial = tmp_path / POOL_FILE, tmp_path / "trial.json"
    whole, plain = weights.read_bytes(), json.loads(trial.read_text(encoding="utf-8"))
    del plain["sha256"]
    weights.write_bytes(whole[:-8])
    with pytest.raises(CheckpointError, match="truncated"):
        read_pool(tmp_path, GatedBertPool.from_parts)
    weights.write_bytes(b"\x80\x04" + whole)
    with pytest.raises(CheckpointError, match="pickle"):
        read_pool(tmp_path, GatedBertPool.from_parts)
    weights.write_bytes(whole)
    for change, words in (
        (plain | {"description": None}, "does not describe its model"),
        (plain | {"format": "mpc-router lane 1"}, "mpc-router export 1"),
        (plain | {"description": {}}, "cannot be read"),
    ):
        trial.write_text(json.dumps(change), encoding="utf-8")
        with pytest.raises(CheckpointError, match=words):
            read_pool(tmp_path, GatedBertPool.from_parts)
    with pytest.raises(CheckpointError, match=r"trial\.json"):
        GatedBertPool.from_pretrained(tmp_path / "elsewhere")
