"""Prices of a file that mpc-router-eval wrote: `latency_minilm.json` is such a one."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mpc_router.pricing.measured_file
from analysis import front
from analysis.runs.load import Run, RunError
from analysis.runs.recosting import _read_vectors, priced
from mpc_router.config.trial import trial_config

FILE = Path(__file__).with_name("latency_minilm.json")
REAL: dict[str, Any] = json.loads(FILE.read_text())
MODEL = {
    "stem": "model",
    "router_model_name": "prajjwal1/bert-tiny",
    "router_stem_layers": 2,
    "router_hidden_size": 256,
    "shared_stem": False,
}
Minilm = Callable[..., Run]


@pytest.fixture
def minilm(run: Run) -> Minilm:
    """The plain run as if its experts were the three cuts of MiniLM, on MRPC."""

    def made(**model: Any) -> Run:
        experts = [
            {"expert": number, "name": one["name"], "layers": one["layers"], "stand_in": None}
            for number, one in enumerate(REAL["experts"])
        ]
        other = {**run.provenance, "experts": experts, "task": "mrpc"}
        found = Run(path=run.path, provenance=other, study=run.study)
        config = json.dumps({"model": {**MODEL, **model}, "training": {"experts": "frozen"}})
        found.__dict__["trials"] = run.trials.assign(config=config)
        return found

    return made


def _changed(folder: Path, **top: Any) -> Path:
    path = folder / "costs.json"
    path.write_text(json.dumps({**copy.deepcopy(REAL), **top}))
    return path


def test_a_measured_file_prices_a_run_as_it_would_have_priced_its_sweep(minilm: Minilm) -> None:
    run, name = priced(minilm(), f"file:{FILE}")
    config = trial_config({"pool": "minilm", "task": "mrpc"})
    assert name == "latency"
    assert run.cost_vector(name) == mpc_router.pricing.measured_file.read_measured(FILE).vector(
        config
    )


def test_experts_are_found_by_name_and_layers_in_whatever_order(
    minilm: Minilm, tmp_path: Path
) -> None:
    more = [{"name": "org/other", "layers": 0, "cost": 9}, *reversed(REAL["experts"])]
    found = _read_vectors(_changed(tmp_path, experts=more), minilm())["latency"]
    assert found.experts == tuple(one["cost"] for one in REAL["experts"])


@pytest.mark.parametrize(
    ("top", "said"),
    [
        (
            {"format": "mpc-router costs 2"},
            "format is 'mpc-router costs 2', not 'mpc-router costs 1'",
        ),
        ({"experts": REAL["experts"][:2]}, r"no cost of .*MiniLM-L6-v2 \(6 layers\)"),
        ({"experts": [{"name": "a"}]}, r"experts\[0\]\.layers is None"),
        ({"experts": None}, "experts is None"),
        (
            {"router": {**REAL["router"], "cost": -1}},
            r"router\.cost is -1, but must be a finite number from 0",
        ),
        ({"router": 3}, "router is 3"),
        ({"name": ""}, "name is '', but must be a name"),
        ({"task": "sst2"}, "measured on sst2"),
        ({"shared_stem": True}, "shared_stem=true, fixture has false"),
        ({"router": {**REAL["router"], "layers": 4}}, r"bert-tiny \(4 layers\)"),
        ({"router": {**REAL["router"], "stem": "expert"}}, r"\(stem=expert\)"),
        ({"router": {**REAL["router"], "hidden_size": 64}}, "router_hidden_size=64"),
        ({"name": "constants"}, "but must be a new name"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_in_one_sentence(
    top: dict[str, Any], said: str, minilm: Minilm, tmp_path: Path
) -> None:
    with pytest.raises(RunError, match=said) as refused:
        priced(minilm(), f"file:{_changed(tmp_path, **top)}")
    assert "\n" not in str(refused.value)


def test_null_holds_for_any_task_and_any_width(minilm: Minilm, tmp_path: Path) -> None:
    path = _changed(tmp_path, task=None, router={**REAL["router"], "hidden_size": None})
    assert priced(minilm(router_hidden_size=64), f"file:{path}")[1] == "latency"


def _three(folder: Path) -> Path:
    """A file of three vectors, each ten times the one before."""

    def with_others(entry: dict[str, Any]) -> dict[str, Any]:
        return {**entry, "beside": [10 * entry["cost"], 100 * entry["cost"]]}

    return _changed(
        folder,
        beside=[{"name": "wan", "unit": "s"}, {"name": "gb", "unit": "GB sent"}],
        basis="two parties on one machine",
        experts=[with_others(entry) for entry in REAL["experts"]],
        router=with_others(REAL["router"]),
    )


def test_a_file_of_three_vectors_gives_the_run_all_and_is_asked_for_any(
    minilm: Minilm, tmp_path: Path
) -> None:
    path = _three(tmp_path)
    run, name = priced(minilm(), f"file:{path}")
    assert name == "latency"
    first = run.cost_vector("latency").experts
    assert run.cost_vector("wan").experts == pytest.approx([10 * cost for cost in first])
    assert run.cost_vector("gb").router == pytest.approx(100 * run.cost_vector("latency").router)
    again, asked = priced(minilm(), f"file:{path}#gb")
    assert asked == "gb"
    assert again.cost_vectors == run.cost_vectors
    with pytest.raises(RunError, match="no cost vector 'lan'; it has latency, wan, gb"):
        priced(minilm(), f"file:{path}#lan")


def test_the_report_says_what_measured_costs_rest_on(minilm: Minilm, tmp_path: Path) -> None:
    from analysis.fronts.survey import survey
    from analysis.report._provenance import provenance_rows
    from analysis.report.notices import notices

    run, name = priced(minilm(), f"file:{_three(tmp_path)}#gb")
    shown = survey(run, vector=name, resamples=20)
    texts = [notice.text for notice in notices(run, shown)]
    assert "Costs gb (GB sent) rest on this: two parties on one machine." in texts
    assert "two parties on one machine" in dict(provenance_rows(run, shown))["cost vectors"]
    plain = survey(run, vector="constants", resamples=20)
    assert not any("rest on this" in notice.text for notice in notices(run, plain))


def test_measured_costs_without_a_run_are_nobodys() -> None:
    with pytest.raises(RunError, match="name a run"):
        _read_vectors(FILE)


def test_the_command_says_which_expert_was_not_measured(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = _changed(tmp_path, task="rte")
    assert front.main([str(run_folder), "--costs", f"file:{path}"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "no cost of org/tiny, org/base, org/large" in said
    assert "all-MiniLM-L6-v2 (2 layers)" in said
    experts = [
        {"name": name, "layers": 0, "cost": cost}
        for name, cost in (("org/large", 9), ("org/base", 3), ("org/tiny", 0.5))
    ]
    path = _changed(tmp_path, task="rte", unit="guineas", experts=experts)
    assert front.main([str(run_folder), "--costs", f"file:{path}"]) == 0
    assert "guineas" in capsys.readouterr().out
