"""Training costs by name: the numbers count, and the cheapest expert's is 1."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mpc_router.config.keys import trial_key
from mpc_router.config.trial import trial_config
from mpc_router.config.yaml_files import settle
from mpc_router.costs import FLOPS, PARAMETERS
from mpc_router.model.sources import ModelError, Models
from mpc_router.prepare.inputs import notes_of
from mpc_router.pricing.counts import counted
from mpc_router.pricing.measured_costs import FORMAT
from mpc_router.pricing.named_costs import with_costs
from mpc_router.settings.rules import ConfigError

SAMPLE = {"pool": "sample", "max_length": 24}


@pytest.mark.parametrize("word", [FLOPS, PARAMETERS])
def test_a_word_becomes_what_is_counted_as_shares_of_the_cheapest(word: str) -> None:
    settings, note = with_costs({**SAMPLE, "expert_costs": word}, Models(), base=Path())
    costs = counted(trial_config(SAMPLE), Models(), tokens=24).vectors[word].experts
    assert settings["expert_costs"][0] == 1
    assert settings["expert_costs"] == pytest.approx([cost / costs[0] for cost in costs], rel=1e-5)
    assert note is not None
    assert note.startswith(f"expert_costs={word}: 1, ")


def test_the_key_holds_the_numbers_and_not_the_word() -> None:
    settings, _ = with_costs({**SAMPLE, "expert_costs": "flops"}, Models(), base=Path())
    written = {**SAMPLE, "expert_costs": settings["expert_costs"]}
    keys = {trial_key(trial_config(each), 0, data="d", experts="e") for each in (settings, written)}
    assert len(keys) == 1


def test_measured_costs_are_those_of_the_file_beside_the_study(tmp_path: Path) -> None:
    config = trial_config(SAMPLE)
    names = config.model.expert_model_names
    router = {"name": config.model.router_model_name, "layers": 0, "stem": "model"}
    experts = [{"name": name, "layers": 0, "cost": 2.0 + 3 * k} for k, name in enumerate(names)]
    content: dict[str, Any] = {
        "format": FORMAT,
        "name": "seconds",
        "unit": "s",
        "task": None,
        "shared_stem": False,
        "router": {**router, "hidden_size": None, "cost": 0.5},
        "experts": experts,
        "about": {},
    }
    (tmp_path / "costs.json").write_text(json.dumps(content))
    settings, _ = with_costs({**SAMPLE, "expert_costs": "file:costs.json"}, Models(), base=tmp_path)
    assert settings["expert_costs"] == [1.0, 2.5, 4.0]


def test_numbers_stay_and_another_word_is_refused_with_what_is_allowed() -> None:
    numbers = {**SAMPLE, "expert_costs": [1, 2, 3]}
    assert with_costs(numbers, Models(), base=Path()) == (numbers, None)
    with pytest.raises(ConfigError, match=r"'flop', allowed are a list of numbers, flops, param"):
        with_costs({**SAMPLE, "expert_costs": "flop"}, Models(), base=Path())


def test_a_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    names = ["org/none", str(tmp_path / "nothing")]
    settings = {"pool": "custom", "expert_model_names": names, "expert_costs": "parameters"}
    with pytest.raises(ModelError):
        with_costs(settings, Models(tmp_path), base=Path())


def test_a_file_of_one_trial_names_its_costs_too(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("model: {pool: sample, expert_costs: parameters}\ndata: {task: mrpc}\n")
    done = settle(
        path, {}, complete=lambda settings: with_costs(settings, Models(), base=path.parent)
    )
    assert done.config.model.expert_costs[0] == 1
    assert any(note.startswith("expert_costs=parameters") for note in done.notes)


def test_a_pool_that_names_no_stem_looks_through_its_cheapest_expert_and_says_so() -> None:
    config = trial_config(
        {"pool": "custom", "expert_model_names": ["org/a", "org/b"], "expert_costs": [1, 2]}
    )
    assert config.model.stem == "expert"
    assert config.model.tokenizer_model_name == ""  # each expert's own
    assert "looks through its cheapest expert, org/a" in notes_of(config)[0]
