"""From a run to a router that runs: export, eval, demo and replay take what a run offers."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis.baselines.bias_curves import route
from analysis.choices.choice import choose
from analysis.runs.load import Run, load_run
from analysis.runs.recorded import examples, router_logits
from mpc_router import GatedBertPool
from mpc_router.commands import doors
from mpc_router.commands import export as of_checkpoint
from mpc_router.config.trial import flatten, trial_config
from mpc_router.data.sources import Source, cut, read, split_fingerprints
from mpc_router.data.tokens import gather
from mpc_router.model.sources import Models
from mpc_router.prepare.inputs import Places
from mpc_router.results.assembly import assemble
from sweeps import run as sweep
from sweeps.commands.routers import demo, export
from sweeps.commands.routers import eval as evaluation
from tests.mpc_router.secure.conftest import played as played
from tests.sweeps.conftest import LITTLE, without_ray

pytestmark = pytest.mark.slow

WORDS = ("mrpc_grid", *LITTLE, "epochs=3", "seeds=[0,1]", "alpha={grid: [0.01, 1]}", "beta=0.01")


@dataclass(frozen=True, kw_only=True)
class Made:
    """A run on a little of the sample, whose checkpoints are there."""

    folder: Path
    cache: Path

    @property
    def run(self) -> Run:
        return load_run(self.folder)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, sample_cache: Path) -> Made:
    out = tmp_path_factory.mktemp("routers")
    where = ("--out", str(out), "--cache", str(sample_cache), "--name", "r", "--no-report")
    with pytest.MonkeyPatch.context() as patch:
        without_ray(patch)
        assert sweep.main([*WORDS, *where, "--quiet", "--sample"]) == 0
    return Made(folder=out / "r", cache=sample_cache)


Refused = Callable[..., str]


@pytest.fixture
def refused(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Refused:
    """What a command says that ends with 2, writes nothing and prints one line."""

    def call(main: Callable[[list[str]], int], *words: object) -> str:
        capfd.readouterr()
        try:
            code = main([str(word) for word in words])
        except SystemExit as ended:
            code = int(str(ended.code))
        told = capfd.readouterr()
        errors = [line for line in told.err.splitlines() if line.startswith("error: ")]
        assert (code, told.out, len(errors)) == (2, "", 1)
        assert len(errors[0]) < 1010
        assert not (tmp_path / "out").exists()
        return errors[0]

    return call


def _routes(made: Made, key: str, folder: Path) -> tuple[Any, Any]:
    """Routes of an exported folder on validation, and the examples' numbers."""
    row = made.run.trials.set_index("key").loc[key]
    config = trial_config(flatten(json.loads(str(row["config"]))))
    source = Source(kind="sample", folder=None)
    files = read(config, source)
    validation = cut(config, files)["validation"]
    places = Places(source=source, models=Models(None), cache=made.cache)
    tokens = assemble(folder, places).tokenise(
        validation, fingerprint=split_fingerprints(config, files)["validation"], cache=made.cache
    )
    batch = gather(tokens, np.arange(len(tokens)))
    model = GatedBertPool.from_pretrained(folder)
    return model.forward_inference(*batch.inputs)[1].numpy(), np.asarray(validation.example)


def _costs(made: Made) -> tuple[float, float]:
    """The cheapest and the dearest that a router can be, the router paid."""
    vector = made.run.cost_vector()
    return vector.router + min(vector.routed), vector.router + max(vector.routed)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 1.0])
@pytest.mark.parametrize("vector", ["constants", "mpc_seconds_as_if"])
def test_an_exported_choice_routes_every_example_as_the_run_does(
    made: Made, tmp_path: Path, share: float, vector: str
) -> None:
    prices = made.run.cost_vector(vector)
    low, high = prices.router + min(prices.routed), prices.router + max(prices.routed)
    cap = low + share * (high - low)
    folder = tmp_path / "out"
    words = ["--run", str(made.folder), "--at-most", repr(cap), "--vector", vector, str(folder)]
    assert export.main(words) == 0
    choice = choose(made.run, at_most=cap, vector=vector)
    logits = router_logits(made.run, [choice.key], "validation")[choice.key]
    wanted = route(logits, choice.vector, np.asarray([choice.bias]))[0]
    found, numbers = _routes(made, choice.key, folder)
    order = np.argsort(numbers)
    assert (numbers[order] == examples(made.run, "validation").number).all()
    assert (found[order] == wanted).all()
    trial = json.loads((folder / "trial.json").read_text(encoding="utf-8"))
    if choice.bias:
        assert trial["bias"]["value"] == choice.bias
        assert list(trial["bias"]["vector"]) == [vector]
    splits = trial["summary"]["splits"]
    assert splits["validation"]["score"] == pytest.approx(choice.score)
    assert splits["validation"]["share"] == pytest.approx(choice.share)
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert f"| validation | {choice.score:.4f} (" in card
    assert str(made.folder) not in card + json.dumps(trial)


def _json(main: Callable[[list[str]], int], capfd: Any, *words: object) -> dict[str, Any]:
    capfd.readouterr()
    assert main([*map(str, words), "--json"]) == 0
    told: dict[str, Any] = json.loads(capfd.readouterr().out)
    return told


def test_eval_takes_the_same_words_and_finds_what_was_quoted(
    made: Made, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    cap = sum(_costs(made)) / 2
    choice = choose(made.run, at_most=cap)
    told = _json(evaluation.main, capfd, "--run", made.folder, "--at-most", repr(cap))
    assert told["score"] == pytest.approx(choice.score)
    assert told["cost"]["constants"] == pytest.approx(choice.cost)
    folder = tmp_path / "exported"
    assert export.main(["--run", str(made.folder), "--at-most", repr(cap), str(folder)]) == 0
    places = ("--sample", "--cache", made.cache)
    again = _json(evaluation.main, capfd, "--checkpoint", folder, *places)
    assert again == told | {"checkpoint": "exported"}
    # the bias taken back at run time: as trained
    back = _json(
        evaluation.main, capfd, "--checkpoint", folder, *places, "--bias", repr(-choice.bias)
    )
    plain = choose(made.run, point=choice.point, seed=choice.seed)
    assert back["score"] == pytest.approx(plain.score)


def test_a_point_and_the_start_of_a_key_are_taken_wherever_a_key_is(
    made: Made, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    choice = choose(made.run, point="p01")
    keys = made.run.trials["key"].astype(str)
    start = next(
        choice.key[:length]
        for length in range(1, 17)
        if sum(key.startswith(choice.key[:length]) for key in keys) == 1
    )
    places = ("--sample", "--cache", made.cache)
    told = [
        _json(evaluation.main, capfd, "--run", made.folder, "--point", "p01"),
        _json(evaluation.main, capfd, "--run", made.folder, "--key", start),
        _json(evaluation.main, capfd, "--checkpoint", made.folder / "checkpoints" / start, *places),
    ]
    assert told[0] == told[1] == told[2]
    assert told[0]["score"] == pytest.approx(choice.score)
    other = next(seed for seed in (0, 1) if seed != choice.seed)
    for words in (("--key", start), ("--point", "p01", "--seed", str(choice.seed))):
        assert sweep.main(["--debug", "--run", str(made.folder), *words, "--quiet"]) == 0
        assert f"trial {choice.key}: point p01, seed {choice.seed}" in capfd.readouterr().out
    words = ("--point", "p01", "--seed", str(other))
    assert sweep.main(["--debug", "--run", str(made.folder), *words, "--quiet"]) == 0
    assert f"point p01, seed {other}" in capfd.readouterr().out


def test_a_replay_of_a_point_takes_its_best_seed(
    made: Made, capfd: pytest.CaptureFixture[str]
) -> None:
    key = choose(made.run, point="p00").key
    assert sweep.main(["--debug", "--run", str(made.folder), "--point", "p00", "--quiet"]) == 0
    assert f"trial {key}: " in capfd.readouterr().out


def test_the_demo_takes_the_same_words(made: Made, capfd: pytest.CaptureFixture[str]) -> None:
    texts = ("the dog sees the cat", "the cat is seen by the dog")
    names = {}
    for cap in _costs(made):
        assert demo.main(["--run", str(made.folder), "--at-most", repr(cap), *texts]) == 0
        (line,) = [each for each in capfd.readouterr().out.splitlines() if "  Expert: [" in each]
        names[cap] = line.split()[-1]
    assert names[_costs(made)[0]] == "sample/tiny"


def test_what_none_meets_and_what_is_not_there_is_one_message(
    made: Made, tmp_path: Path, refused: Refused
) -> None:
    run, out = ("--run", made.folder), tmp_path / "out"
    cheapest = min(made.run.cost_vector().experts)
    said = refused(export.main, *run, "--at-most", cheapest, out)
    assert "no router costs at most 2 in constants" in said
    assert "no router reaches a score of 1" in refused(export.main, *run, "--reach", 1, out)
    assert "has no point 'p99'; its points are p00, p01" in refused(
        export.main, *run, "--point", "p99", out
    )
    assert "has no seed 7" in refused(export.main, *run, "--point", "p00", "--seed", 7, out)
    assert "has no trial 'zz'" in refused(export.main, *run, "--key", "zz", out)
    assert "has no trial ''" in refused(export.main, *run, "--key", "", out)
    assert "one of --at-most" in refused(export.main, *run, out)
    assert "--point and --knee" in refused(export.main, *run, "--point", "p00", "--knee", out)
    assert "needs --run" in refused(export.main, "--knee", out)
    assert "needs --run" in refused(export.main, "--seed", 1, "--checkpoint", "x", out)
    assert "name two routers" in refused(
        export.main, *run, "--key", "a", "--checkpoint", made.folder, out
    )
    assert "chooses the bias too" in refused(export.main, *run, "--knee", "--bias", 1, out)
    assert "--seed belongs to --point" in refused(export.main, *run, "--knee", "--seed", "1", out)
    assert "not allowed with" in refused(export.main, *run, "--knee", "--reach", "0.5", out)
    assert "no cost vector 'gold'" in refused(
        export.main, *run, "--at-most", 7, "--vector", "gold", out
    )
    assert "--checkpoint is missing" in refused(export.main, out)
    assert "has no point 'p99'" in refused(
        sweep.main, "--debug", "--run", made.folder, "--point", "p99"
    )


def test_a_start_that_several_keys_have_is_ambiguous(
    made: Made, tmp_path: Path, refused: Refused
) -> None:
    """Two checkpoints more, whose keys begin alike."""
    folder = tmp_path / "run" / "checkpoints"
    for name in ("abcd0", "abcd1"):
        (folder / name).mkdir(parents=True)
    said = refused(export.main, "--checkpoint", folder / "abc", tmp_path / "out")
    assert "'abc' begins 2 keys of" in said
    assert "abcd0, abcd1" in said


def test_a_bias_is_folded_once(made: Made, tmp_path: Path, refused: Refused) -> None:
    folder = tmp_path / "exported"
    assert (
        export.main(["--run", str(made.folder), "--point", "p00", "--bias", "0.1", str(folder)])
        == 0
    )
    before = (folder / "trial.json").read_bytes()
    said = refused(export.main, "--checkpoint", folder, "--bias", 0.1, tmp_path / "out")
    assert "a bias of 0.1 in constants is folded into this router already" in said
    assert (folder / "trial.json").read_bytes() == before
    again = tmp_path / "again"
    assert export.main(["--checkpoint", str(folder), str(again)]) == 0
    assert (again / "trial.json").read_bytes() == before
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "b = 0.1 and c = (2, 7, 13)" in card
    assert "not recorded beside its checkpoint" in card  # what it was without a bias is not told


def test_the_installed_names_are_these_commands(
    made: Made, tmp_path: Path, refused: Refused
) -> None:
    said = refused(doors.export, "--run", made.folder, "--point", "p99", tmp_path / "out")
    assert "has no point 'p99'" in said
    assert "nowhere" in refused(doors.export, "--checkpoint", "nowhere", tmp_path / "out")
    assert of_checkpoint.parser().flags() < export.parser().flags()


def test_the_pool_of_a_run_is_priced_and_the_run_reported_under_the_price(
    made: Made, refused: Refused, played: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from analysis import front

    price_flags = ("--protocol", "semi2k", "--tokens", "12", "--python", str(played), "--quiet")
    out = tmp_path / "price.json"
    assert "nothing to choose by" in refused(
        doors.price, "--run", made.folder, "--out", out, *price_flags
    )
    point = str(made.run.trials["point"].iloc[0])
    words = ("--run", str(made.folder), "--point", point, "--out", str(out), *price_flags)
    assert doors.price(words) == 0
    capfd.readouterr()
    assert front.main([str(made.folder), "--costs", f"file:{out}#semi2k_gb"]) == 0
    assert "GB sent" in capfd.readouterr().out
