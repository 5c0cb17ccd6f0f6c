"""What csv, tsv and JSON files say, exactly, and what is said of damaged ones."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc_router.data.formats.csv_files import csv_table
from mpc_router.data.formats.json_files import json_table
from mpc_router.data.sources import SourceError
from tests.mpc_router.data.own import HEADER, lines, source_of, split

ROWS = lines(60, "ab")
UTF_8 = st.text(st.characters(codec="utf-8"))


def read_csv(text: str | bytes, folder: Path, *, delimiter: str = ",") -> pa.Table:
    path = folder / "train.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return csv_table(path, ["body"], "queue", delimiter=delimiter)


def read_json(text: str, folder: Path) -> pa.Table:
    path = folder / "train.json"
    path.write_text(text, encoding="utf-8")
    return json_table(path, ["body"], "queue")


def test_a_text_is_a_text_whatever_it_looks_like(tmp_path: Path) -> None:
    texts = ["null", "NA", "", "nan", "007", "1e5", "1.50", "True", "2020-01-01", " a ", "None"]
    table = read_csv(HEADER + "".join(f'"{text}",a\n' for text in texts), tmp_path)
    assert table["body"].to_pylist() == texts
    rows = [{"body": text, "queue": "a"} for text in texts]
    assert read_json(json.dumps(rows), tmp_path)["body"].to_pylist() == texts


@pytest.mark.parametrize(
    ("labels", "values"),
    [
        (["1", "2", " 3", "+4"], [1, 2, 3, 4]),
        (["1", "2.5", ".5", "1e-3"], [1.0, 2.5, 0.5, 1e-3]),
        (["true", "False"], [True, False]),
        (["1", "two"], ["1", "two"]),
        (["NA", "null", "1"], ["NA", "null", "1"]),
        (["1", "", " "], [1, None, None]),
        (["99999999999999999999", "1"], ["99999999999999999999", "1"]),
        (["0.1", "0.30000000000000004"], [0.1, 0.30000000000000004]),
    ],
)
def test_labels_have_the_type_that_all_of_them_fit(
    labels: list[str], values: list[Any], tmp_path: Path
) -> None:
    table = read_csv(HEADER + "".join(f"text,{label}\n" for label in labels), tmp_path)
    assert table["queue"].to_pylist() == values


@given(st.lists(st.tuples(UTF_8, UTF_8), min_size=1))
@settings(max_examples=30, deadline=None)
def test_what_python_writes_is_read_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
) -> None:
    folder = tmp_path_factory.mktemp("rows")
    rows = [(text, f"label {label}") for text, label in rows]
    written = io.StringIO()
    csv.writer(written).writerows([("body", "queue"), *rows])
    objects = [{"body": body, "queue": queue} for body, queue in rows]
    tables = [
        read_csv(written.getvalue(), folder),
        read_csv(written.getvalue().encode("utf-16"), folder),
        read_csv(b"\xef\xbb\xbf" + written.getvalue().encode(), folder),
        read_json(json.dumps(objects), folder),
        read_json("\n".join(map(json.dumps, objects)), folder),
        read_json(json.dumps(objects, ensure_ascii=False, indent=1), folder),
    ]
    for table in tables:
        assert list(zip(*table.to_pydict().values(), strict=True)) == rows


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_lines_may_end_in_any_way_and_empty_ones_are_none(ending: str, tmp_path: Path) -> None:
    text = (HEADER + "\n" + lines(5, "ab") + "\n\n").replace("\n", ending)
    assert read_csv(text, tmp_path)["queue"].to_pylist() == ["a", "b", "a", "b", "a"]


def test_a_tsv_file_without_csv_quotes_keeps_its_quotes(tmp_path: Path) -> None:
    bare = 'body\tqueue\n"Yes" he said\ta\n"open\tb\nsaid "no"\ta\n'
    assert read_csv(bare, tmp_path, delimiter="\t")["body"].to_pylist() == [
        '"Yes" he said',
        '"open',
        'said "no"',
    ]
    quoted = 'body\tqueue\n"a\ttab and ""quotes"""\ta\n'
    assert read_csv(quoted, tmp_path, delimiter="\t")["body"].to_pylist() == ['a\ttab and "quotes"']


def test_a_long_text_is_read_whole(tmp_path: Path) -> None:
    text = "word " * 400_000
    assert read_csv(f"{HEADER}{text},a\n", tmp_path)["body"].to_pylist() == [text]
    row = json.dumps({"body": text, "queue": "a"})
    assert read_json(f"[{row}, {row}]", tmp_path)["body"].to_pylist() == [text, text]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty; its first line must name the columns"),
        (HEADER, "has no rows"),
        ("body;queue\nx;a\n", "seem to be separated by a semicolon"),
        ("Body,quue\nx,a\n", r"no column 'queue' \(it has Body, quue\).*did you mean quue\?"),
        ("text 0,a\n" + ROWS, r"no column 'queue' \(it has text 0, a\)"),
        ("body,queue,queue\nx,a,b\n", "several columns 'queue'"),
        (HEADER + ROWS + "one, two,a\n", "row 60 .* has 3 values, but the header names 2 columns"),
        (HEADER + ROWS + "one\n", "row 60 .* has 1 values"),
        (HEADER + ROWS + '"a" b,a\n' + ROWS, "row 60 .* is no csv"),
        (HEADER + ROWS + '"a b,a\n' + ROWS, "row 60 .* is no csv"),
        (HEADER + ROWS + "x,\n", "label 'queue' of row 60 is null"),
        ((HEADER + ROWS).encode("utf-16-le"), "holds null bytes"),
        ((HEADER + ROWS + "caf\xe9,a\n").encode("latin-1"), "not UTF-8 in line 62"),
        ((HEADER + ROWS).encode("utf-16")[:-1], "not UTF-16"),
    ],
)
def test_a_csv_file_that_cannot_be_read_is_one_message(
    content: str | bytes, message: str, tmp_path: Path
) -> None:
    with pytest.raises(SourceError, match=message) as caught:
        split(source_of(tmp_path, {"train.csv": content}))
    assert len(str(caught.value)) <= 1000


A, B = '{"body": "x", "queue": "a"}', '{"body": "y", "queue": "b"}'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "has no rows"),
        ("[]", "has no rows"),
        (f"[{A}, {B}", "row 2 is no JSON .the list is not closed"),
        (f"[{A}, {B}] {A}", "row 2 is no JSON .more stands after the list"),
        (f"{A}\n{B[:-5]}", "row 1 is no JSON"),
        ("[1]", "row 0 is 1, but must be an object"),
        ("[" * 100_000, "row 0 is no JSON"),
        ('{"body": {"0": "x"}, "queue": {"0": "a"}}', "must be a list of rows.*orient='records'"),
        (f'{{"data": [{A}]}}', r"is an object with \['data'\], which hold lists"),
        (f'{A}\n{{"body": 7, "queue": "b"}}', "'body' of row 1 is 7, but must be a text"),
        (f'{A}\n{{"body": null, "queue": "b"}}', "'body' is null in row 1"),
        (f'{A}\n{{"body": "x"}}', "label 'queue' of row 1 is null"),
        (f'{A}\n{{"body": "x", "queue": ["a", "b"]}}', "one label a row"),
        (f'{A}\n{{"body": "x", "queue": 1}}', "row 1 is 1, and that of row 0 is of another kind"),
        ('{"body": "x", "quue": "a"}', "no column 'queue'.*did you mean quue"),
        (f'{A}\n{B}\n{{"body": "\\ud800", "queue": "a"}}', "half a surrogate pair"),
    ],
)
def test_a_json_file_that_cannot_be_read_is_one_message(
    content: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(SourceError, match=message) as caught:
        split(source_of(tmp_path, {"train.json": content}))
    assert len(str(caught.value)) <= 1000
