"""A study over experts that were run elsewhere: from tables of outputs to a front."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from analysis import front, load_run, survey
from analysis.report.abstract import export_line
from mpc_router.commands import eval as evaluation
from mpc_router.config.trial import ConfigError, trial_config
from mpc_router.data.sources import Source, read
from mpc_router.storage.lane_files import files_by_key
from sweeps.run import main
from sweeps.study.read import from_tree, load
from tests.sweeps.conftest import assert_same_tables, without_ray

NAMES = {"words": 0.7, "trees": 0.8, "llm": 0.95}
"""An expert, and how often it is right."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study file with its tables beside it, whose paths are relative."""
    folder = tmp_path_factory.mktemp("own")
    rng = np.random.default_rng(0)
    files = read(trial_config({"pool": "sample", "task": "mrpc"}), Source(kind="sample"))
    for name, accuracy in NAMES.items():
        parts = []
        for split, columns in files.items():
            right = rng.random(len(columns)) < accuracy
            said = np.where(right, columns.labels, 1 - columns.labels)
            share = np.where(said == 1, 0.9, 0.1)
            part = pd.DataFrame({"split": split, "example": np.arange(len(columns))})
            parts.append(part.assign(not_equivalent=1 - share, equivalent=share))
        pd.concat(parts).to_csv(folder / f"{name}.csv", index=False)
    study = {
        "trial": {"task": "mrpc", "epochs": 2, "router_hidden_size": 8},
        "outputs": [
            {"name": name, "path": f"{name}.csv", "cost": 2 + 5 * number, "kind": "probabilities"}
            for number, name in enumerate(NAMES)
        ],
        "space": {"alpha": {"grid": [0, 0.1]}, "beta": {"grid": [0.01, 0.1]}},
        "seeds": [0, 1],
    }
    (folder / "handed.yaml").write_text(yaml.safe_dump(study))
    return folder


@pytest.fixture(scope="module")
def run(folder: Path) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        without_ray(patch)
        where = ["--out", str(folder), "--cache", str(folder / "cache"), "--name", "r"]
        assert main([str(folder / "handed.yaml"), "--sample", "--no-report", *where]) == 0
    return folder / "r"


@pytest.mark.slow
def test_its_experts_are_quoted_as_they_were_handed_in(run: Path, folder: Path) -> None:
    loaded = load_run(run)
    taken = survey(loaded, resamples=20)
    accuracy = loaded.experts.query("split == 'validation'").groupby("expert")["right"].mean()
    assert list(accuracy) == pytest.approx(list(NAMES.values()), abs=0.05)
    assert len(taken.points) == 4
    assert set(loaded.cost_vectors) == {"constants"}
    assert any("handed in as tables" in note for note in loaded.provenance["notes"])


def test_its_study_is_complete_and_resumes_to_the_same_tables(run: Path, folder: Path) -> None:
    tree = yaml.safe_load((run / "study.yaml").read_text())
    assert Path(tree["outputs"][0]["path"]).is_absolute()
    assert from_tree(tree).outputs == load(str(folder / "handed.yaml")).outputs
    before = shutil.copytree(run, folder / "before")
    for table in run.glob("*.parquet"):
        table.unlink()
    with pytest.MonkeyPatch.context() as patch:
        without_ray(patch)
        assert main(["--resume", str(run), "--no-report"]) == 0
    assert_same_tables(run, before)


def test_a_router_over_tables_cannot_be_run_on_text_and_says_so(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = run / "checkpoints" / min(files_by_key(run / "checkpoints"))
    assert evaluation.main(["--checkpoint", str(checkpoint), "--sample"]) == 2
    assert "were run elsewhere and handed in as outputs" in capsys.readouterr().err


def test_no_command_is_printed_that_would_be_refused(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert front.main([str(run), "--knee"]) == 0
    assert "mpc-router-export" not in capsys.readouterr().out
    assert export_line(load_run(run), survey(load_run(run), resamples=20)) == ""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"outputs": []}, "must be a list of at least 2 experts"),
        ({"outputs": "a.csv"}, "outputs is 'a.csv', but must be a list"),
        ({"features": 3}, "features is 3, but must be a path"),
        ({"trial": {"pool": "minilm"}}, "pool is 'minilm', but the study's outputs are"),
        ({"trial": {"expert_model_names": ["a", "b"]}}, "both name the experts"),
    ],
)
def test_outputs_that_cannot_be_are_one_message(
    change: dict[str, object], message: str, folder: Path
) -> None:
    tree = yaml.safe_load((folder / "handed.yaml").read_text())
    with pytest.raises(ConfigError, match=message):
        from_tree({**tree, "study": "x", **change})


def test_routers_that_see_outputs_refuse_features_of_their_own_in_one_message(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    features = ["features=words.csv", "router_cost=1", "router_kind=predictive"]
    with pytest.raises(
        ConfigError, match=r"looks at the cheapest expert's outputs.*leave out feat"
    ):
        load(str(folder / "handed.yaml"), features)
    assert load(str(folder / "handed.yaml"), ["router_kind=predictive"]).base.model.sees_outputs
