"""Bad input is one line on stderr that names the culprit, exit 2, and nothing started or written.

The command is called as a user calls it: the real study, data and models are read. Only what must
not be reached, preparing, is a tripwire.
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis import front
from analysis.report import __main__ as report
from mpc_router.prepare import frozen
from mpc_router.sample import encoders, examples
from sweeps import run
from tests.sweeps.conftest import without_ray

Refused = Callable[..., str]
pytestmark = pytest.mark.filterwarnings("error::UserWarning")  # one would be a line of its own
POOL = "pool=sample"

MODELS = (
    "pool=custom",
    "expert_model_names=[org/small, org/large]",
    "expert_costs=[1, 3]",
    "expert_fine_tuned=true",
    "router_model_name=org/small",
    "router_cost=0",
)
"""Two experts that come fine-tuned, in a folder for `--models`."""


@pytest.fixture(scope="module")
def glue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound folder for `--data`: a little of the sample's mrpc."""
    folder = tmp_path_factory.mktemp("glue")
    write_glue(folder)
    return folder


def write_glue(folder: Path, files: Mapping[str, Any] | None = None, *, task: str = "mrpc") -> None:
    """`folder`/task/split.parquet of both splits; `files` gives tables or bytes of some."""
    (folder / task).mkdir(parents=True)
    for split in ("train", "validation"):
        found = (files or {}).get(split, table(task, split))
        if isinstance(found, bytes):
            (folder / task / f"{split}.parquet").write_bytes(found)
        else:
            pq.write_table(found, folder / task / f"{split}.parquet")


def table(task: str = "mrpc", split: str = "train") -> pa.Table:
    return examples.table(task, split).slice(0, 120)


def models_folder(folder: Path) -> Path:
    """Two random classifiers, named so that each test may spoil org/large."""
    from transformers import BertConfig, BertForSequenceClassification

    from mpc_router.model.encoders import seeded

    tokenizer = encoders.tokenizer()
    for layers, name in ((2, "small"), (3, "large")):
        shape = BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=16,
            num_hidden_layers=layers,
            num_attention_heads=2,
            intermediate_size=16,
            max_position_embeddings=64,
        )
        with seeded(layers):
            model = BertForSequenceClassification(shape)
        model.save_pretrained(folder / "org" / name)
        tokenizer.save_pretrained(folder / "org" / name)
    return folder


def state_of(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture
def refused(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Refused:
    """Calls the command, sure of exit 2 and of all that goes with it; gives what it said."""

    def reached(*_: object, **__: object) -> None:
        pytest.fail("bad input was not refused before preparing began")

    monkeypatch.setattr(frozen, "prepare", reached)

    def call(*arguments: str | Path, says: tuple[str, ...] = ()) -> str:
        out, cache = tmp_path / "out", tmp_path / "cache"
        capfd.readouterr()
        code: int | str | None
        try:
            code = run.main([*map(str, arguments), "--out", str(out), "--cache", str(cache)])
        except SystemExit as ended:  # argparse
            code = ended.code
        said = capfd.readouterr()
        assert code == 2, said.err
        assert said.err.startswith("error: ")
        assert said.err.endswith("\n")
        assert said.err.count("\n") == 1, said.err
        assert said.out == ""
        assert not out.exists()
        left = {path.name for path in cache.iterdir()} if cache.exists() else set()
        assert left <= {"hashes"}, "something was prepared"
        assert "ray" not in sys.modules or not sys.modules["ray"].is_initialized()
        for word in says:
            assert word in said.err
        return said.err

    return call


def test_the_sound_input_that_the_others_spoil_passes(
    glue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Reached(Exception):
        pass

    def reached(*_: object, **__: object) -> None:
        raise Reached

    monkeypatch.setattr(frozen, "prepare", reached)
    models = models_folder(tmp_path / "models")
    there = ["--data", str(glue), "--out", str(tmp_path / "o"), "--cache", str(tmp_path / "c")]
    for pool in ([POOL], [*MODELS, "--models", str(models)]):
        with pytest.raises(Reached):
            run.main(["mrpc_grid", *pool, *there])


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("alhpa=1", ("'alhpa'", "did you mean alpha")),
        ("model.alpha=1", ("'model.alpha'", "alpha")),
        ("epochs=0", ("epochs is 0", "from 1")),
        ("epochs=abc", ("epochs", "'abc'")),
        ("epochs=1.5", ("epochs", "1.5")),
        ("epochs=", ("epochs",)),
        ("epochs=[1]", ("epochs",)),
        ("alpha=-1", ("alpha is -1",)),
        ("alpha=nan", ("alpha is nan", "finite")),
        ("beta=.inf", ("beta is inf", "finite")),
        ("alpha=null", ("alpha", "None")),
        ("alpha=[1, 2]", ("alpha",)),
        ("alpha={grid: [-1]}", ("alpha is -1",)),
        ("alpha={grid: [0.1, .nan]}", ("space.alpha.grid", "finite")),
        ("alpha={grid: []}", ("space.alpha.grid", "[]")),
        ("alpha={grid: 1}", ("space.alpha.grid",)),
        ("alpha={grid: [abc]}", ("alpha", "'abc'")),
        ("alpha={gird: [1]}", ("space.alpha", "{grid: [value, ...]}")),
        ("alpha={uniform: [0, 1]}", ("space.alpha", "uniform")),
        ("alpha={}", ("space.alpha",)),
        ("start=[{alpha: -1}]", ("alpha is -1",)),
        ("start=[{alhpa: 1}]", ("'alhpa'", "did you mean alpha")),
        ("start=3", ("start is 3",)),
        ("seeds=[]", ("seeds is empty",)),
        ("seeds=abc", ("seeds is 'abc'",)),
        ("seeds=[0, 0]", ("seeds is [0, 0]", "once")),
        ("seeds=[a]", ("'a'",)),
        ("seeds=[-1]", ("-1",)),
        ("seeds=[true]", ("True",)),
        ("seeds=null", ("seeds is None",)),
        ("points=3", ("'points'",)),
        ("search.points=3", ("'points'", "leave it out")),
        ("search.method=tpe", ("'tpe'", "search.points")),
        ("search=tpe", ("search is 'tpe'",)),
        ("stopping.method=asha", ("'asha'", "stopping.method=mo_asha")),
        ("stopping.eta=2", ("'eta'",)),
        ("budget.time=3 weeks", ("budget.time", "2h, 90m")),
        ("budget.epochs=0", ("budget.epochs is 0",)),
        ("budget=3", ("budget is 3",)),
        ("cost_vector=nope", ("'nope'", "constants", "mpc_seconds_as_if")),
        ("cost_vector=mpc_secnds", ("did you mean mpc_seconds_as_if",)),
        ("objectives={nonsense: max}", ("'nonsense'", "score", "cost")),
        ("objectives={validation_score: max}", ("'validation_score'", "score")),
        ("objectives={score: up}", ("'up'", "max and min")),
        ("objectives={}", ("objectives is empty",)),
        ("expert_costs=[1, 2]", ("expert_costs has 2", "3 experts")),
        ("expert_costs=[1, 2, -3]", ("expert_costs is -3",)),
        ("expert_costs=[1, 2, .nan]", ("expert_costs is nan",)),
        ("expert_layers=[1, 2]", ("expert_layers",)),
        ("expert_model_names=[sample/tiny]", ("at least 2 experts",)),
        ("expert_model_names=[sample/tiny, sample/nope]", ("sample/nope", "expert_costs")),
        ("device=tpu", ("'tpu'", "cuda")),
        ("task=mrcp", ("'mrcp'", "did you mean 'mrpc'")),
        ("task={grid: [mrpc, rte]}", ("task", "a study for each value")),
        ("pool=foo", ("'foo'", "minilm")),
        ("temperature=0", ("temperature is 0",)),
        ("batch_size=0", ("batch_size is 0",)),
        ("learning_rate=0", ("learning_rate is 0",)),
        ("router_dropout=1", ("router_dropout is 1",)),
        ("max_length=3", ("max_length is 3",)),
        ("max_length=5000", ("max_length is 5000", "64 tokens at most", "max_length=64")),
        ("router_stem_layers=77", ("sample/stem", "77")),
        ("experts=thawed", ("'thawed'", "frozen", "joint")),
        ("trainable=some", ("'some'", "last_N")),
        ("pool_size=1", ("pool_size is 1", "2, 3")),
        ("study=a/b", ("'a/b'",)),
        ("study=../up", ("'../up'",)),
        ("pack.cpus=0", ("pack.cpus is 0",)),
        ("pack.foo=1", ("'foo'", "cpus")),
        ("alpha=!!python/object/apply:os.getcwd []", ("cannot be read as YAML",)),
        ("alpha={grid: [1", ("cannot be read as YAML",)),
        ("=3", ("'=3'",)),
        ("alpha=${beta}", ("alpha is '${beta}'",)),
        ("epochs=${oc.env:HOME}", ("epochs is '${oc.env:HOME}'",)),
        ("alpha=???", ("alpha is '???'",)),
        ("alpha={grid: ['${beta}']}", ("alpha is '${beta}'",)),
        ("expert_costs=[1, 2, a]", ("expert_costs=[1, 2, 'a']",)),
        ("alpha={grid:1}", ("write a blank",)),
    ],
)
def test_a_setting_that_cannot_be(
    refused: Refused, glue: Path, override: str, says: tuple[str, ...]
) -> None:
    refused("mrpc_grid", POOL, override, "--data", glue, says=says)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["mrpc_gird"], ("'mrpc_gird'", "did you mean mrpc_grid")),
        (["nothing_like_it"], ("known are cola_grid, cola_pareto",)),
        ([], ("name one study",)),
        (["mrpc_grid", "sst2_grid"], ("name one study",)),
        (["../../etc/passwd"], ("'../../etc/passwd'", "YAML")),
        (["/etc/passwd"], ("'/etc/passwd'", "YAML")),
        (["nowhere.yaml"], ("nowhere.yaml", "No such file")),
        (["mrpc_grid", "--name", "../x"], ("--name is '../x'",)),
        (["mrpc_grid", "--name", "/abs"], ("--name is '/abs'",)),
        (["mrpc_grid", "--name", ".."], ("--name is '..'",)),
        (["mrpc_grid", "--name", "two\nlines"], ("--name is",)),
        (["mrpc_grid", "--sample", "--data", "x"], ("--sample", "--data")),
        (["mrpc_grid", "--bogus"], ("--bogus",)),
        (["mrpc_grid", POOL, "--data", "nowhere"], ("--data nowhere", "not a folder")),
        (["mrpc_grid", "--sample", "--models", "nowhere"], ("--models nowhere", "not a folder")),
        (["mrpc_grid", "--sample", "--key", "abc"], ("--key", "--run")),
        (["--debug", "--key", "abc"], ("--key", "--run")),
        (["--resume", "nowhere"], ("nowhere", "journal.jsonl")),
    ],
)
def test_a_command_that_cannot_be(
    refused: Refused,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    says: tuple[str, ...],
) -> None:
    monkeypatch.chdir(tmp_path)
    refused(*arguments, says=says)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("study: a/b\n", ("'a/b'",)),
        ("study: ../up\n", ("'../up'",)),
        ("study: 3\n", ("name is 3",)),
        ("- a\n- b\n", ("own.yaml", "mapping")),
        ("trial:\n\ttask: mrpc\n", ("own.yaml cannot be read as YAML", "line 2")),
        ("seeds: [0]\nseeds: [1]\n", ("own.yaml cannot be read as YAML", "duplicate key seeds")),
        ("trial: {task: mrpc, task: rte}\n", ("duplicate key task",)),
        (
            "study: !!python/object/apply:os.system ['touch pwned']\n",
            ("own.yaml cannot be read as YAML",),
        ),
        ("study: !!python/name:os.system\n", ("own.yaml cannot be read as YAML",)),
        ("trial: {task: mrpc\n", ("own.yaml cannot be read as YAML", "line 2")),
        ("seeds: [0]\n---\nseeds: [1]\n", ("own.yaml cannot be read as YAML", "document")),
        ("a: &a [x, *a]\n", ("own.yaml cannot be read as YAML",)),
        ("epohcs: 3\n", ("'epohcs'",)),
        ("", ("own.yaml", "mapping")),
        (
            f"space: {{alpha: {{grid: {[*range(101)]}}}, beta: {{grid: {[*range(101)]}}}}}\n",
            ("10201 points",),
        ),
        ("# nothing\n", ("own.yaml", "mapping")),
        ("trial: {epochs: '${x}'}\n", ("epochs is '${x}'",)),
        ("trial: {alpha: 1, loss_weights: {alpha: 2}}\n", ("'alpha' is given twice",)),
        ("trial: {alpha: 1}\nspace: {alpha: {grid: [1]}}\n", ("alpha is fixed", "keep one")),
        ("space: {alpha: }\n", ("space.alpha is None",)),
        ("study: \x00\n", ("own.yaml cannot be read as YAML",)),
        ("\udcff\n", ("own.yaml cannot be read as YAML", "utf-8")),
    ],
)
def test_a_study_file_that_cannot_be(
    refused: Refused, tmp_path: Path, text: str, says: tuple[str, ...]
) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(text, encoding="utf-8", errors="surrogateescape")
    refused(path, "--sample", says=says)
    assert not Path("pwned").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_study_file_that_may_not_be_read(refused: Refused, tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("study: a\n")
    path.chmod(0)
    refused(path, "--sample", says=("own.yaml", "ermission"))


def labelled(*labels: object) -> pa.Table:
    """Train with these labels at its head and zeros after them."""
    found = table()
    column = pa.array([*labels, *[type(labels[-1])(0)] * (len(found) - len(labels))])  # type: ignore[call-arg]
    return found.set_column(found.schema.get_field_index("label"), "label", column)


def texts(column: pa.Array) -> pa.Table:
    found = table()
    return found.set_column(found.schema.get_field_index("sentence1"), "sentence1", column)


def raw() -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table(), sink)
    return bytes(sink.getvalue().to_pybytes())


def bytes_as_text() -> pa.Array:
    return pa.array([b"\xff\xfe"] * len(table()), pa.binary()).view(pa.string())


BAD_FILES: dict[str, tuple[Callable[[], pa.Table | bytes], tuple[str, ...]]] = {
    "no label": (lambda: table().drop_columns(["label"]), ("no column 'label'", "sentence1")),
    "no text": (lambda: table().drop_columns(["sentence2"]), ("no column 'sentence2'",)),
    "empty": (lambda: table().slice(0, 0), ("no rows",)),
    "a class too many": (lambda: labelled(2), ("row 0 is 2", "0..1", "1 of 120")),
    "a test split": (lambda: labelled(*[-1] * 120), ("-1", "test split")),
    "null label": (lambda: labelled(0, None, 0), ("row 1 is null",)),
    "half a label": (lambda: labelled(0.5), ("0.5",)),
    "NaN label": (lambda: labelled(float("nan")), ("nan",)),
    "words for labels": (lambda: labelled("yes"), ("'label'", "string")),
    "null text": (lambda: texts(pa.array([None, *["a"] * 119])), ("'sentence1'", "row 0")),
    "numbers for text": (lambda: texts(pa.array([1] * 120)), ("'sentence1'", "int64")),
    "bytes for text": (lambda: texts(bytes_as_text()), ("'sentence1'", "UTF-8")),
    "label twice": (
        lambda: table().append_column("label", table()["label"]),
        ("several columns 'label'",),
    ),
    "cut short": (lambda: raw()[:-100], ("not a whole Parquet file", "again")),
    "cut by a byte": (lambda: raw()[:-1], ("not a whole Parquet file",)),
    "nothing": (lambda: b"", ("not a whole Parquet file",)),
    "damaged inside": (
        lambda: raw()[:200] + bytes(200) + raw()[400:],
        ("not a whole Parquet file",),
    ),
    "no Parquet": (lambda: b'{"a": 1}', ("not a whole Parquet file",)),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_data_that_cannot_be(refused: Refused, tmp_path: Path, kind: str) -> None:
    split = ("train", "validation")[list(BAD_FILES).index(kind) % 2]
    make, says = BAD_FILES[kind]
    write_glue(tmp_path / "data", {split: make()})
    place = str(Path("mrpc") / f"{split}.parquet")
    refused("mrpc_grid", POOL, "--data", tmp_path / "data", says=(place, *says))


def test_a_train_too_small_to_cut_selection_from(refused: Refused, tmp_path: Path) -> None:
    write_glue(tmp_path / "data", {"train": table().slice(0, 1)})
    refused("mrpc_grid", POOL, "--data", tmp_path / "data", says=("selection", "1 rows of train"))


def test_a_split_that_is_not_there(refused: Refused, tmp_path: Path) -> None:
    write_glue(tmp_path / "data")
    (tmp_path / "data" / "mrpc" / "validation.parquet").unlink()
    refused("mrpc_grid", POOL, "--data", tmp_path / "data", says=("validation.parquet", "--sample"))


def test_a_score_out_of_range(refused: Refused, tmp_path: Path) -> None:
    found = table("stsb")
    high = pa.array([5.5] * len(found))
    spoilt = found.set_column(found.schema.get_field_index("label"), "label", high)
    write_glue(tmp_path / "data", {"train": spoilt}, task="stsb")
    refused("stsb_grid", POOL, "--data", tmp_path / "data", says=("5.5", "0..5"))


@pytest.mark.parametrize("command", [["--resume"], ["--debug", "--key", "abc", "--run"]])
def test_what_is_no_run(refused: Refused, glue: Path, tmp_path: Path, command: list[str]) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    for path in (tmp_path / "nowhere", glue, file):
        refused(*command, path, says=(str(path),))


def test_a_run_that_was_never_begun(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "journal.jsonl").write_text("")
    refused("--resume", tmp_path / "run", says=(str(tmp_path / "run"),))
    assert (tmp_path / "run" / "journal.jsonl").read_text() == ""


def test_a_run_that_exists_is_left_as_it_is(
    glue: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run_folder = tmp_path / "out" / "mine"
    run_folder.mkdir(parents=True)
    (run_folder / "kept").write_text("kept")
    where = ["--data", str(glue), "--out", str(tmp_path / "out"), "--cache", str(tmp_path / "c")]
    assert run.main(["mrpc_grid", POOL, "--name", "mine", *where]) == 2
    said = capfd.readouterr().err
    assert said.count("\n") == 1
    assert f"--resume {run_folder}" in said
    assert state_of(tmp_path / "out") == {"mine/kept": b"kept"}


@pytest.mark.parametrize("out", ["file", "file/below"])
def test_a_place_for_runs_that_cannot_be_written(
    glue: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], out: str
) -> None:
    (tmp_path / "file").write_text("x")
    where = ["--data", str(glue), "--out", str(tmp_path / out), "--cache", str(tmp_path / "c")]
    assert run.main(["mrpc_grid", POOL, *where]) == 2
    said = capfd.readouterr().err
    assert said.count("\n") == 1
    assert f"--out {tmp_path / out}" in said
    assert not (tmp_path / "c").exists()


def test_a_cache_that_is_a_file(
    glue: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("x")
    where = ["--data", str(glue), "--out", str(tmp_path / "o"), "--cache", str(tmp_path / "file")]
    assert run.main(["mrpc_grid", POOL, *where]) == 2
    said = capfd.readouterr().err
    assert said.count("\n") == 1
    assert f"--cache {tmp_path / 'file'}" in said
    assert not (tmp_path / "o").exists()


def spoil_config(**changes: Any) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return spoil


def write_config(text: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        (folder / "config.json").write_text(text)

    return spoil


def no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def cut_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def pointer(folder: Path) -> None:
    (folder / "model.safetensors").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    )


class Evil:
    """What a pickle must not be able to do."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, ("pwned",)


def evil_pickle(folder: Path) -> None:
    no_weights(folder)
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"weight": Evil()}))


def evil_zip(folder: Path) -> None:
    import torch

    no_weights(folder)
    torch.save({"weight": Evil()}, folder / "pytorch_model.bin")


def broken_index(folder: Path) -> None:
    no_weights(folder)
    (folder / "model.safetensors.index.json").write_text("{}")


def lost_part(folder: Path) -> None:
    no_weights(folder)
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "part-1"}}')


def own_code(folder: Path) -> None:
    spoil_config(model_type="evil", auto_map={"AutoConfig": "evil.Config"})(folder)
    (folder / "evil.py").write_text("import os\nos.mkdir('pwned')\nclass Config: pass\n")


BAD_MODELS: dict[str, tuple[Callable[[Path], None], tuple[str, ...]]] = {
    "no weights": (no_weights, ("no weights", "model.safetensors")),
    "no config": (lambda folder: (folder / "config.json").unlink(), ("no config.json",)),
    "no JSON": (write_config("{"), ("org/large",)),
    "an empty config": (write_config("{}"), ("org/large",)),
    "cut weights": (cut_weights, ("model.safetensors", "again")),
    "a pointer for weights": (pointer, ("model.safetensors", "git lfs pull")),
    "a pickle that acts": (evil_pickle, ("pytorch_model.bin", "never loaded")),
    "a zipped pickle that acts": (evil_zip, ("pytorch_model.bin", "never loaded")),
    "an index of nothing": (broken_index, ("model.safetensors.index.json", "no index")),
    "a lost part": (lost_part, ("part-1", "not there")),
    "code of its own": (own_code, ("org/large",)),
    "few positions": (spoil_config(max_position_embeddings=20), ("max_length", "20 tokens")),
    "few words": (spoil_config(vocab_size=9), ("org/large", "knows 9 tokens")),
    "a head of another size": (
        spoil_config(id2label={"0": "a", "1": "b", "2": "c"}, label2id={"a": 0, "b": 1, "c": 2}),
        ("org/large", "3 outputs", "has 2"),
    ),
    "labels of another task": (
        spoil_config(id2label={"0": "cat", "1": "dog"}, label2id={"cat": 0, "dog": 1}),
        ("org/large", "cat", "equivalent", "id2label"),
    ),
}


@pytest.mark.parametrize("kind", BAD_MODELS)
def test_a_model_that_cannot_be(
    refused: Refused, glue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)
    models = models_folder(tmp_path / "models")
    spoil, says = BAD_MODELS[kind]
    spoil(models / "org" / "large")
    refused("mrpc_grid", *MODELS, "--data", glue, "--models", models, says=says)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("expert_layers=[1, 9]", ("org/large has 3 layers", "9")),
        ("expert_model_names=[org/small, ./nowhere]", ("./nowhere", "folder")),
        ("tokenizer_model_name=./nowhere", ("./nowhere", "folder")),
        ("router_model_name=../org/small", ("../org/small", "folder")),
    ],
)
def test_a_pool_that_cannot_be(
    refused: Refused, glue: Path, tmp_path: Path, override: str, says: tuple[str, ...]
) -> None:
    models = models_folder(tmp_path / "models")
    refused("mrpc_grid", *MODELS, override, "--data", glue, "--models", models, says=says)


def test_cuda_without_a_gpu(refused: Refused, glue: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    refused("mrpc_grid", POOL, "device=cuda", "--data", glue, says=("cuda", "device=cpu"))


@pytest.mark.parametrize(("offline", "missing"), [("0", "--data"), ("1", "--models")])
def test_no_network_is_said(glue: Path, tmp_path: Path, offline: str, missing: str) -> None:
    away = {
        **os.environ,
        "HF_HUB_OFFLINE": offline,
        "HF_ENDPOINT": "http://127.0.0.1:9",  # nobody listens there
        "HF_HOME": str(tmp_path / "hub"),
    }
    out = ["--out", str(tmp_path / "out"), "--cache", str(tmp_path / "cache")]
    given = ["--data", str(glue)] if missing == "--models" else []
    done = subprocess.run(
        [sys.executable, "-m", "sweeps.run", "mrpc_grid", *given, *out],
        env=away,
        capture_output=True,
        text=True,
        timeout=300,  # only one that tries again and again takes so long
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert missing in done.stderr
    assert "--sample" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.filterwarnings("default::UserWarning")
def test_a_table_cut_short_is_named_and_made_again_by_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    without_ray(monkeypatch)
    few = ["train_rows=64", "validation_rows=40", "expert_epochs=1", "epochs=1", "seeds=[0]"]
    where = ["--out", str(tmp_path / "out"), "--cache", str(tmp_path / "cache"), "--no-report"]
    assert run.main(["mrpc_grid", "--sample", "--name", "r", *few, *where]) == 0
    folder = tmp_path / "out" / "r"
    for name in ("trials", "reports", "routing", "experts", "examples"):
        path = folder / f"{name}.parquet"
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    capsys.readouterr()
    for reader in (front.main, report.main):
        assert reader([str(folder)]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1, error
        assert ".parquet" in error
        assert not (folder / "report.html").exists()
    assert run.main(["--resume", str(folder), *where]) == 0
    assert front.main([str(folder)]) == 0
