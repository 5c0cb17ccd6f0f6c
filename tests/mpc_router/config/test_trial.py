from __future__ import annotations

import dataclasses
import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mpc_router.config.keys import _ONLY_WHERE, applied, canonical, trial_key
from mpc_router.config.pools import POOLS
from mpc_router.config.sections import SECTIONS
from mpc_router.config.trial import (
    ConfigError,
    flatten,
    leaf_of,
    leaf_paths,
    parse_overrides,
    read_yaml,
    settings,
    to_tree,
    trial_config,
)


def test_leaf_names_are_unique_over_the_tree() -> None:
    names = [leaf.name for kind in SECTIONS.values() for leaf in dataclasses.fields(kind)]
    assert len(names) == len(set(names))
    assert not set(names) & set(SECTIONS)


@pytest.mark.parametrize("pool", POOLS)
def test_a_configuration_is_complete_and_survives_its_own_tree(pool: str) -> None:
    config = trial_config({"pool": pool, "alpha": 0.1})
    assert trial_config(to_tree(config)) == config
    assert trial_config(settings(config)) == config
    assert config.experts == len(config.model.expert_layers) == len(config.model.expert_costs)


def test_the_published_shape_and_short_names_say_the_same() -> None:
    nested = {"loss_weights": {"alpha": 0.5}, "model": {"pool": "sample"}}
    dotted = {"loss_weights.alpha": 0.5, "model.pool": "sample"}
    short = {"alpha": 0.5, "pool": "sample"}
    assert trial_config(nested) == trial_config(dotted) == trial_config(short)


def test_the_bert_pool_is_the_published_one() -> None:
    config = trial_config({})
    assert config.model.expert_model_names == (
        "M-FAC/bert-tiny-finetuned-mrpc",
        "howey/bert-base-uncased-mrpc",
        "yoshitomo-matsubara/bert-large-uncased-mrpc",
    )
    assert config.model.expert_costs == (2, 7, 13)
    assert config.vectors()["mpc_seconds"].experts == (4.11, 69.71, 199.78)


@pytest.mark.parametrize(
    ("layers", "costs"), [([2, 6], (2, 6)), ([1, 2, 3, 5, 6], (1, 2, 3, 5, 6))]
)
def test_minilm_can_be_cut_anywhere(layers: list[int], costs: tuple[int, ...]) -> None:
    config = trial_config({"pool": "minilm", "expert_layers": layers})
    assert config.model.expert_costs == costs
    assert len(set(config.model.expert_model_names)) == 1


def test_training_costs_do_not_change_what_is_reported() -> None:
    config = trial_config({"pool": "sample", "expert_costs": [13, 7, 2]})
    assert config.model.expert_costs == (13, 7, 2)
    assert config.vectors()["constants"].experts == (2, 7, 13)


def test_a_stem_that_is_an_expert_is_paid_once() -> None:
    plain = trial_config({"pool": "minilm"}).vectors()["constants"]
    vector = trial_config({"pool": "minilm", "stem": "expert"}).vectors()["constants"]
    assert (plain.router, plain.experts) == (0.22, (2, 4, 6))
    assert (vector.router, vector.experts, vector.routed) == (2, (2, 4, 6), (0, 4, 6))


def test_a_pool_can_be_spelled_out() -> None:
    config = trial_config(
        {
            "pool": "custom",
            "expert_model_names": ["a/small", "a/large"],
            "expert_costs": [1, 10],
            "router_model_name": "a/stem",
            "router_cost": 0.5,
        }
    )
    assert config.model.expert_layers == (0, 0)
    assert config.vectors()["constants"].experts == (1, 10)
    assert config.vectors()["constants"].router == 0.5


def test_another_stem_has_another_price() -> None:
    bert = {"router_model_name": "prajjwal1/bert-small", "router_stem_layers": 0}
    config = trial_config(bert)
    assert config.vectors()["constants"].router == 4
    assert not {"mpc_seconds", "mpc_gb"} & set(config.vectors())
    with pytest.raises(ConfigError, match="router_cost"):
        trial_config({"router_model_name": "nobody/knows"})
    priced = trial_config({"router_model_name": "nobody/knows", "router_cost": 3})
    assert priced.vectors()["constants"].router == 3


BAD: list[tuple[dict[str, Any], str]] = [
    ({"alhpa": 1}, "did you mean alpha"),
    ({"model.alpha": 1}, "unknown setting 'model.alpha'"),
    ({"alpha": -1}, "alpha is -1"),
    ({"beta": float("nan")}, "finite"),
    ({"alpha": "much"}, "alpha"),
    ({"epochs": 0}, "epochs is 0"),
    ({"epochs": 1.5}, "epochs"),
    ({"batch_size": 0}, "batch_size"),
    ({"learning_rate": 0}, "learning_rate"),
    ({"temperature": 0}, "temperature"),
    ({"router_dropout": 1}, "router_dropout"),
    ({"expert_costs": [1, 2]}, "2 values"),
    ({"expert_model_names": ["a/b"], "expert_costs": [1], "expert_layers": [0]}, "at least 2"),
    ({"expert_model_names": ["a/b", "c/d"]}, "give expert_costs"),
    ({"expert_layers": [2, 4]}, "expert_model_names"),
    ({"expert_costs": [2, -7, 13]}, "expert_costs"),
    ({"task": "mrcp"}, "did you mean 'mrpc'"),
    ({"pool": "brt"}, "did you mean 'bert'"),
    ({"gate": "hard"}, "gumbel"),
    ({"gate": "softmax", "straight_through": True}, "gate=gumbel, or straight_through=false"),
    ({"pool": "custom"}, "expert_model_names"),
    ({"pool": "minilm", "expert_layers": [6, 4, 2]}, "cheapest first"),
    ({"temperature": 1e-300}, "temperature"),
    ({"expert_layers": [[1], [2]]}, "item of a list"),
    ({"max_length": 2}, "max_length"),
    ({"model": 3}, "mapping"),
    ({"trainable": "last_0"}, "last_2"),
    ({"trainable": 2}, "trainable is 2, but must be a name"),
    ({"gradient_clip": True}, "gradient_clip"),
    ({"accumulation": 2.5}, "accumulation"),
    ({"warmup": 1}, "warmup is 1"),
    ({"shared_stem": "maybe"}, "shared_stem"),
    ({"shared_stem": True, "stem": "expert"}, "set stem=model, or shared_stem=false"),
    ({"pool_size": 7}, "2, 3, 4, 5 experts"),
    ({"alpha": 1, "loss_weights.alpha": 2}, "given twice"),
]


@pytest.mark.parametrize(("bad", "message"), BAD, ids=[str(bad) for bad, _ in BAD])
def test_a_setting_that_cannot_be_is_refused_in_one_line(bad: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")) as caught:
        trial_config(bad)
    assert "\n" not in str(caught.value)


def test_keys_do_not_tell_whole_numbers_from_floats() -> None:
    assert canonical({"b": 0, "a": (1.0, 2.5)}) == canonical({"a": [1, 2.5], "b": 0.0})
    one = trial_config({"alpha": 0, "task": "rte"})
    other = trial_config({"task": "rte", "alpha": 0.0})
    assert trial_key(one, 0, data="d", experts="e") == trial_key(other, 0, data="d", experts="e")


def test_keys_change_with_everything_that_changes_results() -> None:
    base = trial_config({})
    keys = [
        trial_key(base, 0, data="d", experts="e"),
        trial_key(base, 1, data="d", experts="e"),
        trial_key(base, 0, data="D", experts="e"),
        trial_key(base, 0, data="d", experts="E"),  # the names of models stand for no more than it
        trial_key(trial_config({"alpha": 0.02}), 0, data="d", experts="e"),
    ]
    assert all(one != other for one, other in itertools.combinations(keys, 2))


def test_the_device_is_no_part_of_a_key() -> None:
    on_cpu, anywhere = trial_config({"device": "cpu"}), trial_config({})
    assert trial_key(on_cpu, 0, data="", experts="") == trial_key(anywhere, 0, data="", experts="")


IDLE: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {"shared_stem": True}),
    ({}, {"aux_gradient": "mlp", "encoder_learning_rate": 1e-5, "trainable": "last_2"}),
    ({}, {"gradient_clip": 0, "accumulation": 4, "warmup": 0, "decay": "constant"}),
    ({}, {"expert_start": "fine_tuned", "router_epochs": 9}),
    ({}, {"router_labels": "loss_cost", "label_cost": 1, "focal_gamma": 0, "class_balance": 0}),
    ({"experts": "joint"}, {"focal_gamma": 1, "router_epochs": 3}),
    ({"router": "supervised"}, {"label_cost": 0.5, "router_epochs": 3}),
    ({"stem": "expert"}, {"router_stem_layers": 1, "stem_pooling": "mean", "router_cost": 3}),
    ({}, {"device": "cpu"}),
]


@pytest.mark.parametrize(("mode", "idle"), IDLE, ids=[str(idle) for _, idle in IDLE])
def test_what_does_not_apply_is_no_part_of_a_key(
    mode: dict[str, Any], idle: dict[str, Any]
) -> None:
    plain, other = trial_config(mode), trial_config({**mode, **idle})
    assert settings(plain) != settings(other)
    assert applied(plain) == applied(other)
    assert trial_key(plain, 0, data="d", experts="e") == trial_key(other, 0, data="d", experts="e")


LIVE: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"experts": "joint"}, {"trainable": "last_2"}),
    ({"experts": "joint"}, {"aux_gradient": "mlp"}),
    ({"experts": "joint"}, {"expert_start": "fine_tuned"}),
    ({"experts": "joint"}, {"accumulation": 4}),
    ({"experts": "joint"}, {"shared_stem": True}),
    ({"router": "supervised"}, {"focal_gamma": 0}),
    ({"router": "supervised"}, {"router_labels": "loss_cost"}),
    ({"router": "supervised", "router_labels": "loss_cost"}, {"label_cost": 0.5}),
    ({"router": "supervised", "experts": "joint"}, {"router_epochs": 3}),
    ({"pool": "sample", "router_data": "cross_fitted"}, {"router_folds": 4}),
    ({"pool": "sample", "router_data": "held_out"}, {"router_share": 0.5}),
    ({"pool": "sample", "router_data": "unused", "train_rows": 9}, {"router_rows": 5}),
    ({"pool": "sample"}, {"router_data": "cross_fitted"}),
    ({}, {"stem_pooling": "mean"}),
    ({}, {"router": "supervised"}),
    ({}, {"experts": "joint"}),
]


@pytest.mark.parametrize(("mode", "live"), LIVE, ids=[f"{mode} {live}" for mode, live in LIVE])
def test_what_applies_in_its_mode_is_part_of_a_key(
    mode: dict[str, Any], live: dict[str, Any]
) -> None:
    plain, other = trial_config(mode), trial_config({**mode, **live})
    assert applied(plain) != applied(other)
    assert trial_key(plain, 0, data="d", experts="e") != trial_key(other, 0, data="d", experts="e")


def test_the_table_of_what_applies_names_settings_once_and_values_that_exist() -> None:
    names = [name for group, _ in _ONLY_WHERE for name in group]
    assert len(names) == len(set(names))
    assert set(names) <= set(leaf_paths())
    for _, needs in _ONLY_WHERE:
        stem = {"stem": "expert"} if needs.get("router_kind") == "predictive" else {}
        pool = {"pool": "sample", "train_rows": 9} if "router_data" in needs else {}
        assert set(settings(trial_config({**needs, **stem, **pool})).items()) >= set(needs.items())


def test_labels_of_experts_that_have_learned_nothing_are_refused() -> None:
    unborn = {"pool": "minilm", "experts": "joint", "router": "supervised"}
    with pytest.raises(ConfigError, match="set expert_start=fine_tuned"):
        trial_config(unborn)
    trial_config({**unborn, "expert_start": "fine_tuned"})
    trial_config({**unborn, "pool": "bert"})
    trial_config({**unborn, "experts": "frozen"})


def test_the_settings_of_all_modes_are_typed() -> None:
    given = ["experts=joint", "shared_stem=yes", "trainable=last_2", "warmup=0", "accumulation=2"]
    found = settings(trial_config(parse_overrides(given)))
    assert [found[name.partition("=")[0]] for name in given] == ["joint", True, "last_2", 0, 2]


def test_a_key_is_the_same_in_another_process() -> None:
    code = (
        "from mpc_router.config.trial import trial_config;"
        "from mpc_router.config.keys import trial_key;"
        "print(trial_key(trial_config({'alpha': 0.3}), 2, data='d', experts='e'))"
    )
    printed = subprocess.check_output([sys.executable, "-c", code], text=True).strip()
    assert printed == trial_key(trial_config({"alpha": 0.3}), 2, data="d", experts="e")


def test_overrides_are_typed() -> None:
    assert parse_overrides(["a=1e-4", "b=[x, y]", "c=true", "d=two words", "e="]) == {
        "a": 1e-4,
        "b": ["x", "y"],
        "c": True,
        "d": "two words",
        "e": None,
    }


@pytest.mark.parametrize("argument", ["alpha", "=1", "a=[1,", "a=1\nb: 2", "a=!!set {a}"])
def test_an_override_that_is_none_is_refused(argument: str) -> None:
    with pytest.raises(ConfigError, match=r"key=value|YAML"):
        parse_overrides([argument])


def test_yaml_is_read_safely(tmp_path: Path) -> None:
    good = tmp_path / "good.yaml"
    good.write_text("loss_weights:\n  alpha: 1e-4\n")
    assert flatten(read_yaml(good)) == {"alpha": 1e-4}
    bad = tmp_path / "bad.yaml"
    for text in ("- 1\n", "a: [1\n", "a: !!python/object/apply:os.getcwd []\n"):
        bad.write_text(text)
        with pytest.raises(ConfigError, match=r"bad\.yaml"):
            read_yaml(bad)
    with pytest.raises(ConfigError, match=r"missing\.yaml"):
        read_yaml(tmp_path / "missing.yaml")


def test_every_leaf_answers_to_its_name_and_its_path() -> None:
    for leaf, path in leaf_paths().items():
        assert leaf_of(leaf) == leaf_of(path) == leaf
