"""The JSON Schema of studies takes what the reader takes, and refuses what it refuses."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from mpc_router.config.sections import SECTIONS
from mpc_router.settings.allowed import forms_of
from mpc_router.settings.yaml_text import plain
from sweeps.study.overrides import KEYS, with_overrides
from sweeps.study.part_settings import PARTS
from sweeps.study.read import from_tree, load
from sweeps.study.schema import settings_of, study_schema
from sweeps.study.shipped import shipped_studies

SCHEMA = study_schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def test_the_schema_is_a_sound_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert list(SCHEMA["properties"]) == list(KEYS)


@pytest.mark.parametrize("name", shipped_studies())
def test_every_shipped_study_keeps_the_schema_as_written_and_as_recorded(name: str) -> None:
    VALIDATOR.validate(shipped_studies()[name].tree())


@pytest.mark.parametrize("name", ["mrpc_grid", "mrpc_pareto", "mrpc_routers", "mrpc_pool_size"])
def test_what_a_run_records_keeps_the_schema(name: str) -> None:
    VALIDATOR.validate(load(name, sample=True).to_tree())


def test_the_guides_study_for_editors_keeps_the_schema_and_the_reader() -> None:
    page = (Path(__file__).parents[3] / "docs/guides/studies.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"```yaml\n(# yaml-language-server: .*?)```", page, flags=re.DOTALL)
    assert text.splitlines()[0] == "# yaml-language-server: $schema=study.schema.json"
    tree = plain(text)
    VALIDATOR.validate(tree)
    assert from_tree(tree).searched == ("beta",)


GOOD: dict[str, dict[str, Any]] = {
    "leaf": {"trial": {"alpha": 0.1}},
    "section": {"trial": {"loss_weights": {"alpha": 0.1}, "data.task": "sst2"}},
    "own names": {"search": {"method": "optuna.samplers:CmaEsSampler", "points": 3}},
    "a range": {"space": {"alpha": {"loguniform": [1e-3, 1]}}},
    "a dotted axis": {"space": {"loss_weights.alpha": {"grid": [0, 1]}}},
    "all sizes": {"space": {"pool_size": {"grid": "all"}}},
    "lists": {"space": {"expert_costs": {"grid": [[1, 2, 3], [2, 3, 4]]}}},
    "named costs": {"trial": {"expert_costs": "flops"}},
    "a length of time": {"budget": {"time": "1h30m", "epochs": 50}},
    "a share": {"pack": {"gpus": 0.25, "timeout": "2h"}},
    "no value": {"trial": {"expert_fine_tuned": None}},
    "a bound": {"constraints": {"cost": {"max": 8}}},
}


@pytest.mark.parametrize("tree", GOOD.values(), ids=GOOD)
def test_the_schema_takes_what_may_be_written(tree: dict[str, Any]) -> None:
    VALIDATOR.validate(tree)


BAD: dict[str, dict[str, Any]] = {
    "a key": {"serach": {"method": "tpe"}},
    "a setting": {"trial": {"alhpa": 0.1}},
    "a setting of a section": {"trial": {"data": {"alpha": 0.1}}},
    "a number": {"trial": {"alpha": "much"}},
    "a negative weight": {"trial": {"alpha": -1}},
    "a whole number": {"trial": {"epochs": 1.5}},
    "no epoch": {"trial": {"epochs": 0}},
    "all dropped": {"trial": {"router_dropout": 1}},
    "a choice": {"trial": {"gate": "hard"}},
    "a pattern": {"trial": {"trainable": "last_0"}},
    "an axis": {"space": {"alpha": {"grids": [1]}}},
    "two axes": {"space": {"alpha": {"grid": [1], "choice": [1]}}},
    "an empty axis": {"space": {"alpha": {"grid": []}}},
    "a value of an axis": {"space": {"gate": {"grid": ["hard"]}}},
    "a range of words": {"space": {"gate": {"uniform": [0, 1]}}},
    "a range of one end": {"space": {"alpha": {"uniform": [0]}}},
    "a range of whole numbers": {"space": {"epochs": {"uniform": [1, 2]}}},
    "seeds": {"seeds": "0"},
    "no seeds": {"seeds": []},
    "a direction": {"objectives": {"score": "most"}},
    "a fidelity": {"search": {"method": "tpe", "points": 3, "fidelity": "half"}},
    "a count": {"stopping": {"method": "asha", "eta": 1}},
    "a time": {"budget": {"time": "soon"}},
    "a share": {"pack": {"gpus": 2}},
    "a bound": {"constraints": {"cost": {"most": 8}}},
}


@pytest.mark.parametrize("tree", BAD.values(), ids=BAD)
def test_the_schema_refuses_what_the_reader_refuses(tree: dict[str, Any]) -> None:
    assert not VALIDATOR.is_valid(tree)
    whole = copy.deepcopy(shipped_studies()["mrpc_grid"].tree())
    for part, value in tree.items():
        whole[part] = {**whole[part], **value} if isinstance(whole.get(part), dict) else value
    with pytest.raises(ValueError):  # noqa: PT011  the kinds of errors are many
        from_tree(with_overrides(whole, {}))


@pytest.mark.parametrize("owner", [*SECTIONS.values(), *PARTS.values()])
def test_the_default_of_every_setting_is_one_of_its_values(owner: type) -> None:
    for name, schema in settings_of(owner).items():
        assert jsonschema.Draft202012Validator(schema).is_valid(schema["default"]) or (
            forms_of(owner)[name].optional
        ), name
        assert schema["description"], name
