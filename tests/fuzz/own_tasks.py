"""Studies with a task, a data set and outputs of their own, spoilt: blocks of YAML and tables."""

from __future__ import annotations

import copy
import csv
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from tests.fuzz.harness import Case
from tests.fuzz.odd import mutated
from tests.fuzz.study_files import ODD

QUEUES: Final = ("billing", "refund", "other thing")
EXPERTS: Final = ("words", "llm")
SIZES: Final = {"train": 60, "validation": 20}

STUDY: Final[dict[str, Any]] = {
    "study": "tickets",
    "dataset": {"path": "data"},
    "task_definition": {
        "name": "tickets",
        "text": "body",
        "label": "queue",
        "metrics": ["accuracy"],
        "score": "accuracy",
    },
    "outputs": [
        {"name": name, "path": f"{name}.csv", "cost": 1 + 9 * number, "kind": "probabilities"}
        for number, name in enumerate(EXPERTS)
    ],
    "trial": {"epochs": 1, "router_hidden_size": 8, "alpha": 0.01, "beta": 0.01},
    "space": {"learning_rate": {"grid": [0.001]}},
}

BLOCKS: Final = ("dataset", "task_definition", "outputs")

Rows = list[list[str]]


def cases(seed: int, count: int, folder: Path) -> Iterator[Case]:
    """A folder each: half with a spoilt block of the study, half with a spoilt table."""
    for number in range(count):
        draw = random.Random(f"own_tasks {seed} {number}")
        place = folder / f"own{number}"
        tables = _write_tables(place, draw)
        tree = copy.deepcopy(STUDY)
        if draw.random() < 0.5:
            how, culprits = _spoil_block(tree, draw)
        else:
            how, culprits = _spoil_table(tables, draw)
        study = place / "tickets.yaml"
        study.write_bytes(yaml.dump(tree).encode("utf-8", "surrogatepass"))
        yield Case(
            kind="own_tasks",
            name=f"{number} {how}",
            arguments=(str(study),),
            culprits=culprits,
            unchanged=(place,),
        )
        shutil.rmtree(place)


def _write_tables(place: Path, draw: random.Random) -> dict[str, Path]:
    """Writes sound csv files: two of examples, one an expert; gives their paths by name."""
    (place / "data").mkdir(parents=True)
    tables = {}
    for split, size in SIZES.items():
        rows = [["body", "queue"]]
        rows += [[f"text {row} of {draw.random()}", QUEUES[row % 3]] for row in range(size)]
        tables[split] = _write(place / "data" / f"{split}.csv", rows)
    for name in EXPERTS:
        rows = [["split", "example", *sorted(QUEUES)]]
        for split, size in SIZES.items():
            rows += [[split, str(row), "0.5", "0.25", "0.25"] for row in range(size)]
        tables[name] = _write(place / f"{name}.csv", rows)
    return tables


def _write(path: Path, rows: Rows) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return path


def _spoil_block(tree: dict[str, Any], draw: random.Random) -> tuple[str, tuple[str, ...]]:
    """Puts an odd value into a block, or loses or misspells a key of it."""
    block = draw.choice(BLOCKS)
    place: Any = draw.choice(tree[block]) if block == "outputs" else tree[block]
    key = draw.choice(list(place))
    how = draw.randrange(4)
    if how == 0:
        del place[key]
    elif how == 1:
        place[mutated(key, draw)] = place.pop(key)
    elif how == 2:
        place[key] = draw.choice(ODD)
    else:
        tree[block] = draw.choice(ODD)
    return f"block {block}.{key} {how}", (block, key, "tickets.yaml", "train", "words", "llm")


ODD_CELLS: Final = ("", "NaN", "x", "1e999")

Spoil = Callable[[Rows, random.Random], Rows]

SPOILS: Final[dict[str, Spoil]] = {
    "a row less": lambda rows, draw: rows[:-1],
    "no row": lambda rows, draw: rows[:1],
    "nothing": lambda rows, draw: [],
    "a row twice": lambda rows, draw: [*rows, rows[-1]],
    "another header": lambda rows, draw: [[mutated(name, draw) for name in rows[0]], *rows[1:]],
    "a header twice": lambda rows, draw: [[rows[0][0]] * len(rows[0]), *rows[1:]],
    "an odd cell": lambda rows, draw: _with_cell(
        rows, draw, draw.choice(("", "NaN", "x", "1e999"))
    ),
    "a long cell": lambda rows, draw: _with_cell(rows, draw, "x" * 5000),
    "escapes": lambda rows, draw: _with_cell(rows, draw, "\x1b[31m\u202e[/x]"),
    "a short row": lambda rows, draw: [*rows[:-1], rows[-1][:1]],
    "a long row": lambda rows, draw: [*rows[:-1], [*rows[-1], "more", "cells"]],
    "one label": lambda rows, draw: [
        rows[0],
        *([row[0], *row[1:-1], rows[1][-1]] for row in rows[1:]),
    ],
}


def _with_cell(rows: Rows, draw: random.Random, text: str) -> Rows:
    row = draw.randrange(1, len(rows))
    column = draw.randrange(len(rows[0]))
    spoilt = [list(cells) for cells in rows]
    spoilt[row][column] = text
    return spoilt


def _spoil_table(tables: dict[str, Path], draw: random.Random) -> tuple[str, tuple[str, ...]]:
    """Spoils one csv file: its rows, its bytes, or what lies in its place."""
    name = draw.choice(list(tables))
    path = tables[name]
    culprits = (path.name, name, "of train", *map(repr, ODD_CELLS[1:]))
    how = draw.randrange(6)
    if how == 0:
        raw = bytearray(path.read_bytes())
        for _ in range(draw.randint(1, 20)):
            raw[draw.randrange(len(raw))] = draw.randrange(256)
        path.write_bytes(bytes(raw))
        return f"{name} bytes", culprits
    if how == 1:
        path.unlink()
        if draw.random() < 0.5:
            path.mkdir()
        return f"{name} gone", culprits
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    spoil = draw.choice(list(SPOILS))
    _write(path, SPOILS[spoil](rows, draw))
    return f"{name} {spoil}", culprits
