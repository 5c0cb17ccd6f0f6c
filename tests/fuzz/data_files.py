"""Folders for `--data`, each a sound one with a spoilt split: in types, columns, bytes, values,
parts, or what lies where a file should."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from tests.fuzz.harness import Case

ARGUMENTS: Final = ("mrpc_grid", "pool=sample", "alpha=0.01", "beta=0.01", "seeds=[0]")
"""Of one trial: it is the data that are looked at."""

ROWS: Final = 60
SPLITS: Final = ("train", "validation")
TEXTS: Final = ("sentence1", "sentence2")
COLUMNS: Final = (*TEXTS, "label")

Spoil = Callable[[random.Random, Path, str, pa.Table], str]
"""Writes a split into the task's folder, spoilt; gives a few words for what is odd about it."""


def cases(seed: int, count: int, folder: Path) -> Iterator[Case]:
    """So many folders, each made just before its case is given, and removed after it."""
    from mpc_router.sample import examples

    sound = {split: examples.table("mrpc", split).slice(0, ROWS) for split in SPLITS}
    for number in range(count):
        chance = random.Random(f"data_files {seed} {number}")
        data = folder / f"data{number}"
        split = chance.choice(SPLITS)
        name = make(chance, data / "mrpc", split, sound)
        yield Case(
            kind="data_files",
            name=f"{number} {split} {name}",
            arguments=(*ARGUMENTS, "--data", str(data)),
            culprits=(f"mrpc/{split}", f"{split}.parquet", f"{split}-", f"{split}_", f"of {split}"),
            unchanged=(data,),
        )
        shutil.rmtree(data)


def make(chance: random.Random, task: Path, split: str, sound: Mapping[str, pa.Table]) -> str:
    """The task's folder with one split spoilt; gives a few words for what is odd about it."""
    task.mkdir(parents=True)
    for name, table in sound.items():
        if name != split:
            pq.write_table(table, task / f"{name}.parquet")
    return chance.choice(SPOILS)(chance, task, split, sound[split])


def _with(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    return table.set_column(table.schema.names.index(name), name, values)


def other_type(chance: random.Random, task: Path, split: str, table: pa.Table) -> str:
    """A column of another type."""
    column, kind = chance.choice(COLUMNS), chance.choice(list(TYPES))
    pq.write_table(_with(table, column, TYPES[kind](chance, table)), task / f"{split}.parquet")
    return f"{column} as {kind}"


def _numbers(chance: random.Random, table: pa.Table) -> list[int]:
    return [chance.choice((0, 1)) for _ in range(len(table))]


def _of(kind: pa.DataType) -> Callable[[random.Random, pa.Table], pa.Array]:
    """Labels 0 and 1 as this type."""
    return lambda chance, table: pa.array(_numbers(chance, table), pa.int64()).cast(kind)


def _same(value: Any, kind: pa.DataType | None = None) -> Callable[..., pa.Array]:
    return lambda _, table: pa.array([value] * len(table), kind)


def _words(*words: Any, kind: pa.DataType | None = None) -> Callable[..., pa.Array]:
    def column(chance: random.Random, table: pa.Table) -> pa.Array:
        found = pa.array([chance.choice(words) for _ in range(len(table))])
        return found if kind is None else found.cast(kind)

    return column


TYPES: Final[dict[str, Callable[[random.Random, pa.Table], pa.Array]]] = {
    **{str(kind): _of(kind) for kind in (pa.int8(), pa.uint8(), pa.int32(), pa.uint64())},
    **{str(kind): _of(kind) for kind in (pa.float32(), pa.float64(), pa.bool_())},
    "decimal": _of(pa.decimal128(22, 0)),
    "wide decimal": _of(pa.decimal256(50, 3)),
    "half decimal": _same(Decimal("0.5")),
    "float16": _same(1.0, pa.float16()),
    "null": _same(None, pa.null()),
    "all null": _same(None, pa.int64()),
    "bytes": _same(b"1"),
    "no UTF-8": lambda _, table: pa.array([b"\xff"] * len(table)).view(pa.string()),
    "fixed bytes": _same(b"ab", pa.binary(2)),
    "list": _same([0]),
    "struct": _same({"label": 0, "x" * 300: "\x1b[31m"}),
    "map": _same([("a", 1)], pa.map_(pa.string(), pa.int64())),
    "date": _same(1, pa.date32()),
    "timestamp": _same(1, pa.timestamp("us", "UTC")),
    "duration": _same(1, pa.duration("ms")),
    "words": _words("equivalent", "not_equivalent"),
    "words, some unknown": _words("equivalent", "not equivalent", "\x1b[1m" + "maybe" * 90),
    "numbers in words": _words("0", "1"),
    "LABEL_n": _words("LABEL_0", "LABEL_1", kind=pa.large_string()),
    "string_view": _words("equivalent", "not-equivalent", kind=pa.string_view()),
    "categories": _words("a", "b", kind=pa.dictionary(pa.int32(), pa.string())),
    "categories of numbers": lambda chance, table: pa.array(
        _numbers(chance, table)
    ).dictionary_encode(),
}


def odd_columns(chance: random.Random, task: Path, split: str, table: pa.Table) -> str:
    """Columns that are missing, there twice, many, or have names that nobody would give."""
    column, present = chance.choice(COLUMNS), table.schema.names
    names: dict[str, Callable[[], pa.Table]] = {
        "none": lambda: table.select([]),
        "missing": lambda: table.drop_columns([column]),
        "twice": lambda: table.append_column(column, table[column]),
        "others": lambda: table.rename_columns([f"{name}\x00\x1b[2J" for name in present]),
        "in capitals": lambda: table.rename_columns([name.upper() for name in present]),
        "with a long name": lambda: table.append_column("n" * 5000, table["idx"]),
        "many": lambda: pa.table({f"column{number}": table["idx"] for number in range(400)}),
        "another twice": lambda: table.append_column("idx", table["label"]),
        "with dots": lambda: table.append_column(f"{column}.x", table["idx"]),
        "nested": lambda: pa.table({column: [{"x": 0}]}),
        "empty": lambda: table.slice(0, 0),
    }
    kind = chance.choice(list(names))
    pq.write_table(names[kind](), task / f"{split}.parquet")
    return f"columns {kind} ({column})"


def odd_values(chance: random.Random, task: Path, split: str, table: pa.Table) -> str:
    """One value, in one row, that cannot be, or is odd and can be."""
    row, column = chance.randrange(len(table)), chance.choice(COLUMNS)
    labels = (2, -1, 0.5, float("nan"), float("inf"), -1e300, 2**53, None, 1.0)
    texts = ("", None, "\x00", "\x1b]0;x\x07", "word " * 20000, "\U0001f600", "a\x1fb", "\n")
    value = chance.choice(labels if column == "label" else texts)
    values = table[column].to_pylist()
    values[row] = value
    kind = pa.float64() if column == "label" else pa.string()
    pq.write_table(_with(table, column, pa.array(values, kind)), task / f"{split}.parquet")
    return f"{column} {str(value)[:20]!r} in row {row}"


def odd_bytes(chance: random.Random, task: Path, split: str, table: pa.Table) -> str:
    """A file whose bytes were changed on their way."""
    path = task / f"{split}.parquet"
    more = {"compression": chance.choice(("snappy", "gzip", "zstd", "none"))}
    pq.write_table(table, path, row_group_size=chance.choice((7, 60)), **more)
    raw = bytearray(path.read_bytes())
    kind = chance.choice(
        ("flipped", "flipped in the footer", "cut", "zeros", "head cut", "more", "magic", "text")
    )
    if kind.startswith("flipped"):
        start = 0 if kind == "flipped" else max(0, len(raw) - 2000)
        for _ in range(chance.choice((1, 3, 30))):
            raw[chance.randrange(start, len(raw))] = chance.randrange(256)
    elif kind == "cut":
        del raw[chance.randrange(len(raw)) :]
    elif kind == "head cut":
        del raw[: chance.randrange(1, len(raw))]
    elif kind == "zeros":
        start = chance.randrange(len(raw))
        raw[start : start + 200] = bytes(len(raw[start : start + 200]))
    elif kind == "more":
        raw += bytes(chance.randrange(256) for _ in range(chance.choice((1, 100))))
    elif kind == "magic":
        raw[-4:] = chance.choice((b"PARE", b"PAR2", b"\x00\x00\x00\x00"))
    else:
        raw = bytearray(chance.choice((b"", b"PAR1", b"PAR1PAR1", b"sentence1,label\na,1\n" * 9)))
    path.write_bytes(raw)
    return f"bytes {kind}"


SCHEMES: Final = (
    "{split}-{number:05d}-of-{total:05d}.parquet",
    "{split}-{number:05d}-of-{total:05d}-0123456789abcdef.parquet",
    "{split}_{next}of{total}.parquet",
    "{split}-{number:04d}.parquet",
    "{split}/{number:04d}.parquet",
    "{split}/{number}.parquet",
    "{split}/{split}-{number:05d}-of-{total:05d}.parquet",
    "{split}.parquet/part-{number}.parquet",
    "{split}.parquet/part.{number}.parquet",
    "{split}.parquet/part-{number:05d}-4b3c2d1e-aaaa-bbbb-cccc-1234567890ab-c000.snappy.parquet",
    "{split}/data_{number}.parquet",
    "{split}/{number:012d}.parquet",
)
"""How programs name parts."""


def odd_parts(chance: random.Random, task: Path, split: str, table: pa.Table) -> str:
    """A split in parts, of which one is missing, spoilt, or not alone."""
    scheme, total = chance.choice(SCHEMES), chance.choice((1, 2, 3, 12))
    size = -(-len(table) // total)
    paths = []
    for number in range(total):
        name = scheme.format(split=split, number=number, next=number + 1, total=total)
        paths.append(task / name)
        paths[-1].parent.mkdir(exist_ok=True)
        pq.write_table(table.slice(number * size, size), paths[-1])
    victim, kind = chance.choice(paths), chance.choice(list(PARTS))
    PARTS[kind](victim, task, split, table)
    return f"{kind} in {total} of {scheme}"


def _renamed(victim: Path, task: Path, split: str, table: pa.Table) -> None:
    victim.rename(victim.with_name(f"{split}-copy.parquet"))


def _nested(victim: Path, task: Path, split: str, table: pa.Table) -> None:
    inner = victim.parent / "label=0"
    inner.mkdir()
    pq.write_table(table, inner / victim.name)


def _folder(victim: Path, task: Path, split: str, table: pa.Table) -> None:
    victim.unlink()
    victim.mkdir()


def _whole(victim: Path, task: Path, split: str, table: pa.Table) -> None:
    path = task / f"{split}.parquet"
    if not path.exists():
        pq.write_table(table, path)


def _marks(victim: Path, task: Path, split: str, table: pa.Table) -> None:
    for name in ("_SUCCESS", f".{victim.name}.crc", f"._{victim.name}"):
        (victim.parent / name).write_bytes(b"\x00")


PARTS: Final[dict[str, Callable[[Path, Path, str, pa.Table], Any]]] = {
    "nothing": lambda victim, task, split, table: None,
    "a part missing": lambda victim, task, split, table: victim.unlink(),
    "an empty part": lambda victim, task, split, table: victim.write_bytes(b""),
    "a part of no rows": lambda v, task, split, table: pq.write_table(table.slice(0, 0), v),
    "a part of another schema": lambda v, task, split, table: pq.write_table(
        table.rename_columns(["a", "b", "label", "idx"]), v
    ),
    "a part with words for labels": lambda v, task, split, table: pq.write_table(
        _with(table, "label", pa.array(["equivalent"] * len(table))), v
    ),
    "a part under another name": _renamed,
    "a folder of a partition": _nested,
    "marks of programs": _marks,
    "a whole file beside": _whole,
    "a download beside": lambda victim, task, split, table: shutil.copy(
        victim, victim.with_name(f"{victim.name}.crdownload")
    ),
    "csv beside": lambda victim, task, split, table: victim.with_suffix(".csv").write_text("a\n"),
    "a folder for a part": _folder,
}


def odd_places(chance: random.Random, task: Path, split: str, table: pa.Table) -> str:
    """Something else where the file should be."""
    path = task / f"{split}.parquet"
    ending = chance.choice(
        ("csv", "tsv", "jsonl", "json", "arrow", "feather", "parquet.gz", "PARQUET", "csv.gz")
    )
    inner = task / split

    def folder_of_other_files() -> None:
        inner.mkdir()
        (inner / f"data-00000-of-00001.{ending}").write_text("a\n")

    def odd_name() -> None:
        inner.mkdir()
        write(table, os.fsencode(inner) + b"/\xffpart\x1b[2J-0.parquet")

    def linked() -> None:
        pq.write_table(table, task / "elsewhere")
        path.symlink_to(task / "elsewhere")

    def many_others() -> None:
        for number in range(40):
            (task / f"{split}{'x' * 200}{number}.csv").write_text("a\n")

    kinds: dict[str, Callable[[], object]] = {
        "nothing": lambda: None,
        "a folder": lambda: os.mkdir(path),
        "a pipe": lambda: os.mkfifo(path),
        "a device": lambda: os.symlink("/dev/zero", path),
        "a link to itself": lambda: os.symlink(path, path),
        "a link to nothing": lambda: os.symlink(task / "nowhere", path),
        "a link to a folder": lambda: os.symlink(task, path),
        "another format": lambda: (task / f"{split}.{ending}").write_text("a\n"),
        "a name that is no UTF-8": lambda: write(table, os.fsencode(inner) + b"\xff.parquet"),
        "a folder of other files": folder_of_other_files,
        "an odd name in a folder": odd_name,
        "a link to the file": linked,
        "many other files": many_others,
    }
    kind = chance.choice(list(kinds))
    kinds[kind]()
    return kind


def write(table: pa.Table, path: bytes) -> None:
    """The table as a file whose name need not be text."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    with open(path, "wb") as file:
        file.write(sink.getvalue())


def odd_metadata(chance: random.Random, task: Path, split: str, table: pa.Table) -> str:
    """The hub's own metadata, which name the labels, or try to."""
    names: Any = chance.choice(
        (
            ["not_equivalent", "equivalent"],
            ["equivalent", "not_equivalent"],
            ["0", "1"],
            ["1", "0"],
            ["LABEL_0", "LABEL_1"],
            ["class 0", " 1"],
            [0, 1.0],
            ["0", "1", "2"],
            [],
            "01",
            {"0": "a"},
            ["\x1b[31m" * 100, "b"],
            [None, []],
            [f"label number {number}" for number in range(1000)],
        )
    )
    stated = json.dumps({"info": {"features": {"label": {"names": names}}}}).encode()
    text = chance.choice((stated, stated, stated, stated[:-3], b"\xff\xfe", b"[" * 100000, b"3"))
    pq.write_table(table.replace_schema_metadata({b"huggingface": text}), task / f"{split}.parquet")
    return f"metadata {text[:40]!r} {str(names)[:40]!r}"


SPOILS: Final[tuple[Spoil, ...]] = (
    *(other_type, odd_columns, odd_values, odd_bytes, odd_bytes),
    *(odd_parts, odd_parts, odd_places, odd_metadata),
)
