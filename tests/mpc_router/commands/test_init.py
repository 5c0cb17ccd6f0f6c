"""`mpc-router-init` on small data and tiny models: what it finds out, what it writes, what it
refuses; and that what it writes runs to a front."""

from __future__ import annotations

import csv
import json
import random
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from analysis import load_run, survey
from mpc_router.commands import init
from mpc_router.commands._exits import InputError
from mpc_router.commands.first_study._column_choice import Column, choose
from mpc_router.commands.first_study._study_text import beta_values
from mpc_router.sample import examples
from sweeps.run import main as sweep
from tests.mpc_router.commands.asking import asked, loaded_for_help, refused
from tests.mpc_router.commands.conftest import Answer
from tests.mpc_router.families import save_tiny
from tests.mpc_router.vocabularies import FAMILIES, save_families
from tests.sweeps.conftest import without_ray

QUEUES = {"billing": 45, "sales": 30, "technical": 20, "other": 5}
"""A class, and how many rows of a hundred it has."""

Call = Callable[..., Answer]


def rows_of(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Rows whose texts begin with a word of their class, and whose last class is rare."""
    random.seed(seed)
    queues = random.choices(list(QUEUES), list(QUEUES.values()), k=count - 4) + list(QUEUES)
    return [
        {
            "id": number,
            "body": " ".join([queue, *random.choices(["a", "the", "my", "is", "not"], k=12)]),
            "priority": random.choice(["low", "high"]),
            "queue": queue,
        }
        for number, queue in enumerate(queues)
    ]


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]], delimiter: str = ",") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)


def named(labels: Sequence[str]) -> dict[str, Any]:
    """Settings of a model's head with these classes."""
    return {
        "id2label": dict(enumerate(labels)),
        "label2id": {label: number for number, label in enumerate(labels)},
    }


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models that come without the task's head."""
    folder = tmp_path_factory.mktemp("models")
    for name, layers in (("large", 3), ("small", 1)):
        save_tiny(folder / "org" / name, "bert", num_hidden_layers=layers, **named("xyz"))
    return folder


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models whose heads name the four classes."""
    folder = tmp_path_factory.mktemp("tuned")
    for name, layers in (("large", 2), ("small", 1)):
        save_tiny(folder / name, "bert", num_hidden_layers=layers, **named(list(QUEUES)))
    return folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def call(cache: Path, capfd: pytest.CaptureFixture[str]) -> Call:
    return lambda *words: asked(init.main, capfd, *map(str, words), "--cache", str(cache))


@pytest.fixture
def tickets(tmp_path: Path) -> Path:
    """A folder with train.csv and validation.csv of four classes."""
    folder = tmp_path / "tickets"
    write_csv(folder / "train.csv", rows_of(120))
    write_csv(folder / "validation.csv", rows_of(60, seed=1))
    return folder


def study_of(path: Path) -> dict[str, Any]:
    tree: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return tree


def test_the_study_of_a_csv_and_two_models_runs_to_a_front(
    call: Call, tickets: Path, models: Path, cache: Path, tmp_path: Path
) -> None:
    shutil.copytree(models, tickets / "models")
    answer = call(tickets)
    assert answer.code == 0, answer
    summary = " ".join(answer.out.split())
    for words in (
        "4 classes: ",
        "billing ",
        "max_length 16",
        "an estimate",
        "not known",
        "--dry-run",
    ):
        assert words in summary
    study = tickets / "tickets.yaml"
    tree = study_of(study)
    names = [Path(name).name for name in tree["trial"]["expert_model_names"]]
    assert names == ["small", "large"]
    assert tree["trial"]["expert_costs"] == "flops"
    assert tree["trial"]["expert_fine_tuned"] is False
    assert tree["dataset"] == {"path": "."}
    lines = study.read_text(encoding="utf-8").splitlines()
    assert max(map(len, lines)) <= 100 + len(str(tickets))
    assert sum("# " in line for line in lines) > len(lines) / 2
    assert tree["task_definition"] | {"metrics": [], "score": ""} == {
        "name": "tickets",
        "text": "body",
        "label": "queue",
        "metrics": [],
        "score": "",
    }
    little = ["epochs=1", "expert_epochs=1", "alpha=0.01"]
    where = ["--out", str(tmp_path), "--cache", str(cache), "--name", "r", "--no-report"]
    with pytest.MonkeyPatch.context() as patch:
        without_ray(patch)
        assert sweep([str(study), *little, *where]) == 0
    assert len(survey(load_run(tmp_path / "r"), resamples=20).points) == 3


def test_a_study_that_is_there_is_never_overwritten(call: Call, tickets: Path) -> None:
    (tickets / "tickets.yaml").write_text("mine")
    refused(call(tickets), "tickets.yaml is there already", "--out")
    assert (tickets / "tickets.yaml").read_text() == "mine"


def test_models_with_a_head_of_these_classes_are_taken_as_they_are(
    call: Call, tickets: Path, tuned: Path, tmp_path: Path
) -> None:
    out = tmp_path / "elsewhere" / "study.yaml"
    answer = call(tickets, "--models", tuned / "large", tuned / "small", "--out", out)
    assert answer.code == 0, answer
    tree = study_of(out)
    assert tree["trial"]["expert_fine_tuned"] is True
    assert "expert_epochs" not in tree["trial"]
    assert Path(tree["dataset"]["path"]) == tickets
    assert "asking the experts" in " ".join(answer.out.split())


def test_tuned_models_without_a_validation_file_are_trained_and_that_is_said(
    call: Call, tickets: Path, tuned: Path
) -> None:
    (tickets / "validation.csv").unlink()
    answer = call(tickets, "--models", tuned)
    assert answer.code == 0, answer
    assert study_of(tickets / "tickets.yaml")["trial"]["expert_fine_tuned"] is False
    said = " ".join(answer.out.split())
    assert "there is no validation, so that all are trained once more here" in said


def test_one_model_is_cut_and_named_files_of_other_names_are_found(
    call: Call, tickets: Path, models: Path
) -> None:
    (tickets / "train.csv").rename(tickets / "tickets_train.csv")
    (tickets / "validation.csv").rename(tickets / "tickets_test.csv")
    answer = call(tickets, "--models", models / "org" / "large", "--name", "cut")
    assert answer.code == 0, answer
    tree = study_of(tickets / "cut.yaml")
    assert tree["trial"]["expert_layers"] == [1, 2, 3]
    assert tree["dataset"]["splits"] == {
        "train": "tickets_train.csv",
        "validation": "tickets_test.csv",
    }
    assert "whether tickets_test.csv may be used" in " ".join(answer.out.split())


def test_a_column_of_decimals_is_a_regression(call: Call, tmp_path: Path, models: Path) -> None:
    rows = [
        {"sentence1": f"a the {n}", "sentence2": "my is not", "score": n / 7} for n in range(80)
    ]
    (tmp_path / "pairs").mkdir()
    text = "\n".join(map(json.dumps, rows))
    (tmp_path / "pairs" / "train.jsonl").write_text(text)
    answer = call(tmp_path / "pairs", "--models", models)
    assert answer.code == 0, answer
    definition = study_of(tmp_path / "pairs" / "pairs.yaml")["task_definition"]
    assert definition["kind"] == "regression"
    assert definition["text"] == ["sentence1", "sentence2"]
    assert definition["score"] == "pearson"
    assert "values from 0 to 11.2857" in " ".join(answer.out.split())


def test_a_saved_data_set_is_read_and_the_flags_overrule_what_is_found(
    call: Call, tmp_path: Path, models: Path
) -> None:
    import datasets

    splits = {"train": rows_of(60), "validation": rows_of(40, seed=1)}
    data = {split: datasets.Dataset.from_list(rows) for split, rows in splits.items()}
    datasets.DatasetDict(data).save_to_disk(str(tmp_path / "saved"))
    flags = ["--text", "body", "queue", "--label", "priority"]
    answer = call(tmp_path / "saved", "--models", models, *flags)
    assert answer.code == 0, answer
    definition = study_of(tmp_path / "saved" / "saved.yaml")["task_definition"]
    assert (definition["text"], definition["label"]) == (["body", "queue"], "priority")


def spoil_json(folder: Path) -> None:
    (folder / "train.csv").unlink()
    (folder / "train.json").write_text("[{")


def one_class(folder: Path) -> None:
    write_csv(folder / "train.csv", [{**row, "queue": "sales"} for row in rows_of(40)])


def no_label(folder: Path) -> None:
    write_csv(folder / "train.csv", [{"a": f"text {n}", "b": f"other {n}"} for n in range(40)])


def several_labels(folder: Path) -> None:
    (folder / "train.csv").unlink()
    rows = [{"body": row["body"], "label": [row["queue"]]} for row in rows_of(20)]
    (folder / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))


def empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def two_files(folder: Path) -> None:
    (folder / "train.csv").rename(folder / "a.csv")
    (folder / "validation.csv").rename(folder / "b.csv")


def damaged_model(folder: Path) -> None:
    save_tiny(folder / "models" / "small", "bert")
    save_tiny(folder / "models" / "large", "bert", num_hidden_layers=3)
    (folder / "models" / "large" / "model.safetensors").write_bytes(b"damaged")


def no_weights(folder: Path) -> None:
    save_tiny(folder / "models" / "small", "bert")
    (folder / "models" / "small" / "model.safetensors").unlink()


@pytest.mark.parametrize(
    ("spoil", "flags", "words"),
    [
        (spoil_json, [], ["train.json", "mend it"]),
        (one_class, [], ["every label is 'sales'"]),
        (no_label, [], ["no label column found", "a (text, 40 distinct)", "--label COLUMN"]),
        (several_labels, [], ["a task has one label a row"]),
        (empty, [], ["holds no labelled texts", "--data PATH"]),
        (two_files, [], ["a.csv, b.csv", "none is called train", "--data FILE"]),
        (damaged_model, [], ["large/model.safetensors", "not a whole file of weights"]),
        (no_weights, [], ["holds no weights"]),
        (None, ["--label", "quue"], ["--label is 'quue'", "queue (text, 4 distinct)"]),
        (None, ["--text", "queue"], ["both text and label"]),
        (None, ["--text", "id", "body", "priority"], ["names 3 columns"]),
        (None, ["--data", "nowhere.csv"], ["nowhere.csv is not there"]),
        (None, ["--models", "nowhere"], ["--models nowhere is no folder"]),
        (None, ["--name", "../x"], ["--name is '../x'"]),
        (None, ["--out", "study.txt"], ["study.txt", "ends in .yaml"]),
    ],
)
def test_what_cannot_be_is_one_message_and_nothing_is_written(
    spoil: Callable[[Path], None] | None,
    flags: list[str],
    words: list[str],
    call: Call,
    tickets: Path,
) -> None:
    if spoil is not None:
        spoil(tickets)
    if flags == ["--text", "queue"]:
        flags = [*flags, "--label", "queue"]
    before = sorted(tickets.rglob("*"))
    refused(call(tickets, *flags), *words)
    assert sorted(tickets.rglob("*")) == before


def test_without_models_it_says_what_to_give_or_takes_the_installed_pool(
    call: Call, tickets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mpc_router.commands.first_study import first_look as _first_look

    monkeypatch.setattr(_first_look, "_MINILM_PACKAGE", "a_package_that_is_not_there")
    refused(call(tickets), "holds no model", "--models PATH PATH", "mpc-router[minilm]")


def test_help_is_quick() -> None:
    assert not loaded_for_help("mpc_router.commands.init")


def column(name: str, kind: str = "text", distinct: int = 90, **more: Any) -> Column:
    return Column(name=name, kind=kind, rows=100, distinct=distinct, **more)


@pytest.mark.parametrize(
    ("columns", "texts", "label"),
    [
        ([column("body", length=90), column("label", distinct=3)], ("body",), "label"),
        ([column("body", length=90), column("kind", distinct=3)], ("body",), "kind"),
        (
            [column("title", length=9), column("body", length=90), column("y", "whole", 4)],
            ("body",),
            "y",
        ),
        (
            [column("text_b", length=9), column("text_a", length=90), column("class", distinct=2)],
            ("text_a", "text_b"),
            "class",
        ),
        (
            [column("category", distinct=9), column("b", length=80), column("label", distinct=3)],
            ("b",),
            "label",
        ),
        (
            [column("hypothesis"), column("premise"), column("label", distinct=3)],
            ("premise", "hypothesis"),
            "label",
        ),
    ],
)
def test_columns_are_chosen_by_names_and_values(
    columns: list[Column], texts: tuple[str, ...], label: str
) -> None:
    choice = choose(columns, "train.csv", texts=(), label=None)
    assert (choice.texts, choice.label.name) == (texts, label)


def test_several_columns_that_could_be_the_label_are_a_question() -> None:
    columns = [column("body", length=90), column("tone", distinct=3), column("size", distinct=4)]
    with pytest.raises(InputError, match="2 columns have few distinct values"):
        choose(columns, "train.csv", texts=(), label=None)


@pytest.mark.parametrize("scale", [1.0, 10.0, 1000.0])
def test_beta_weighs_the_span_of_costs_alike_in_every_unit(scale: float) -> None:
    costs = [1.0 * scale, 3.0 * scale, 11.0 * scale]
    weighed = [beta * (costs[-1] - costs[0]) for beta in beta_values(costs)]
    assert weighed == pytest.approx([0.1, 0.3, 1.0])


def test_models_of_three_families_are_each_read_with_their_own_tokenizer(
    call: Call, tmp_path: Path
) -> None:
    save_families(tmp_path / "models")
    shutil.rmtree(tmp_path / "models" / "org" / "stem")
    table = examples.table("mrpc", "train").slice(0, 120).to_pylist()
    rows = [
        {"a_text": row["sentence1"], "b_text": row["sentence2"], "target": row["label"]}
        for row in table
    ]
    write_csv(tmp_path / "train.tsv", rows[:80], "\t")
    write_csv(tmp_path / "val.tsv", rows[80:], "\t")
    answer = call(tmp_path, "--text", "a_text", "b_text", "--name", "pairs")
    assert answer.code == 0, answer
    tree = study_of(tmp_path / "pairs.yaml")
    names = [Path(name).name for name in tree["trial"]["expert_model_names"]]
    assert sorted(names) == sorted(FAMILIES)
    assert "tokenizer_model_name" not in tree["trial"]
    assert tree["task_definition"]["label"] == "target"
