"""The file of a price: three cost vectors, what they rest on, and what was measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mpc_router.config.trial import trial_config
from mpc_router.pricing.measured_file import from_json, read_measured
from mpc_router.secure._usage import EXTRAPOLATED, Usage
from mpc_router.secure.environment import OtherPython, SecureError
from mpc_router.secure.jobs import Setting
from mpc_router.secure.networks import NETWORKS, seconds
from mpc_router.secure.parts import Options
from mpc_router.secure.pool import Measure, PoolMeasure, with_sharing
from mpc_router.secure.price_file import (
    CLEAR,
    SECRET,
    PriceMeta,
    costs,
    price_document,
    table,
    write_price,
)

CONFIG = trial_config({"pool": "minilm", "task": "mrpc"})


def usage(scale: float, **more: Any) -> Usage:
    return Usage(
        worked=scale,
        elapsed=3 * scale,
        sent_bytes=(1e8 * scale, 2e8 * scale),
        rounds=100 * scale,
        **{"memory_bytes": 10, "error": 0.001, **more},
    )


def measured() -> PoolMeasure:
    model = CONFIG.model
    parts = [
        Measure(
            name=name,
            layers=layers,
            by_tokens={32: usage(layers), 16: usage(layers / 2)},
            lookups={32: usage(0.5), 16: usage(0.25)},
            predicted={32: usage(1.25 * layers, how=EXTRAPOLATED)} if layers < 6 else {},
        )
        for name, layers in [
            (model.router_model_name, 2),
            *zip(model.expert_model_names, model.expert_layers, strict=True),
        ]
    ]
    large = Measure(
        name=parts[3].name,
        layers=6,
        by_tokens={32: usage(6, how=EXTRAPOLATED), 16: usage(3, how=EXTRAPOLATED)},
        lookups=parts[3].lookups,
    )
    return PoolMeasure(router=parts[0], experts=(parts[1], parts[2], large))


def meta(embeddings: str = CLEAR) -> PriceMeta:
    python = OtherPython(Path("python"), {"spu": "0.9.5"})
    return PriceMeta(
        setting=Setting(python=python, protocol="semi2k"),
        options=Options(tokens=(32, 16), largest=10, lookups=True),
        embeddings=embeddings,
    )


def test_the_file_is_three_cost_vectors_of_the_pool(tmp_path: Path) -> None:
    path = tmp_path / "price.json"
    write_price(path, price_document(measured(), CONFIG, meta()))
    vectors = read_measured(path).vectors(CONFIG)
    assert list(vectors) == ["semi2k_seconds_lan", "semi2k_seconds_wan", "semi2k_gb"]
    lan, wan, gigabytes = vectors.values()
    assert [vector.unit for vector in vectors.values()] == ["s", "s", "GB sent"]
    assert gigabytes.experts == pytest.approx((0.6, 1.2, 1.8))
    assert gigabytes.router == pytest.approx(0.6)
    for vector, network in zip((lan, wan), NETWORKS, strict=True):
        expected = [seconds(usage(layers), network) for layers in (2, 4, 6)]
        assert vector.experts == pytest.approx(expected)


def test_a_file_that_appeared_meanwhile_stays_and_the_price_is_beside_it(tmp_path: Path) -> None:
    path, document = tmp_path / "price.json", price_document(measured(), CONFIG, meta())
    path.write_text("mine")
    with pytest.raises(SecureError, match=r"price\.json was made .* the price is in"):
        write_price(path, document)
    assert path.read_text() == "mine"
    (beside,) = tmp_path.glob("price-*.json")
    assert json.loads(beside.read_text()) == document


def test_a_written_price_is_one_file(tmp_path: Path) -> None:
    write_price(tmp_path / "price.json", price_document(measured(), CONFIG, meta()))
    assert [path.name for path in tmp_path.iterdir()] == ["price.json"]


def test_shares_of_secret_words_are_party_0s_to_send() -> None:
    words = {"words": np.zeros((32, 1000), np.float32), "segments": np.zeros((32, 2), np.float32)}
    before = usage(1)
    after = with_sharing(before, words)
    assert after.sent_bytes[0] - before.sent_bytes[0] == 8 * 32 * 1002
    assert after.sent_bytes[1] == before.sent_bytes[1]


def test_a_secret_lookup_is_part_of_the_costs() -> None:
    clear = from_json(price_document(measured(), CONFIG, meta()), origin="x").vectors(CONFIG)
    secret = price_document(measured(), CONFIG, meta(SECRET))
    dearer = from_json(secret, origin="x").vectors(CONFIG)
    lookup = costs(usage(0.5))
    for (name, vector), more in zip(clear.items(), lookup, strict=True):
        added = [cost + more for cost in vector.experts]
        assert dearer[name].experts == pytest.approx(added)


def test_the_file_says_what_is_measured_and_what_is_extrapolated() -> None:
    document = price_document(measured(), CONFIG, meta())
    hows = [entry["by_tokens"]["32"]["how"] for entry in document["experts"]]
    assert hows == ["measured", "measured", "extrapolated"]
    ratios = document["about"]["predicted_over_measured"]
    assert list(ratios) == ["semi2k_seconds_lan", "semi2k_seconds_wan", "semi2k_gb"]
    for values in ratios.values():
        assert values == pytest.approx([1.25] * 3)
    for words in (
        "trusted first party",
        "32 tokens",
        "expert 2 extrapolated from layers",
        "within 25 %",
        "in the clear by the owner of the text",
    ):
        assert words in document["basis"], words
    assert json.loads(json.dumps(document)) == document


def test_the_vectors_carry_the_sentence_of_what_they_rest_on() -> None:
    document = price_document(measured(), CONFIG, meta())
    vectors = from_json(document, origin="x").vectors(CONFIG)
    assert {vector.basis for vector in vectors.values()} == {document["basis"]}


def test_the_table_has_a_row_for_every_part_and_length_and_the_ratio_of_prices() -> None:
    lines = "\n".join(table(measured(), meta()))
    assert lines.count("stem with router") == 2
    assert lines.count("extrapolated") == 2 + 3  # of the large one at two lengths, and predictions
    assert "semi2k_gb: 0.6, 1.2, 1.8 GB sent, that is 1 : 2 : 3" in lines
