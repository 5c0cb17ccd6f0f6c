from __future__ import annotations

import os
from pathlib import Path

import pytest

from mpc_router.config.trial import ConfigError, read_yaml
from mpc_router.settings.yaml_text import LARGEST_FILE, YamlError, plain


@pytest.mark.parametrize(
    ("text", "readings"),
    [
        ("017", ("15", "17")),
        ("-017", ("-15", "-17")),
        ("0_17", ("15", "17")),
        ("1:30", ("90", "a time")),
        ("190:20:30.15", ("685230.15", "a time")),
        ("0x1F", ("31", "text")),
        ("0b11", ("3", "text")),
        ("1e-400", ("0", "above 0")),
        ("-0.0001e-999", ("0", "above 0")),
        ("1e400", ("infinite", "a number")),
    ],
)
def test_a_number_that_yaml_reads_otherwise_than_a_person_is_refused_with_both_readings(
    text: str, readings: tuple[str, str]
) -> None:
    for written in (text, f"a: {{grid: [1, {text}]}}"):
        with pytest.raises(YamlError) as caught:
            plain(written)
        assert text in str(caught.value)
        for reading in readings:
            assert reading in str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("3", 3), ("+3", 3), ("0", 0), ("00", 0), ("07", 7), ("1_000", 1000), ("-0", 0)),
        *((".5", 0.5), ("1.", 1.0), ("1e5", 1e5), ("1E-5", 1e-5), ("017.5", 17.5), ("0e9", 0.0)),
        *((".inf", float("inf")), ("yes", True), ("Off", False), ("~", None), ("", None)),
        *(("'017'", "017"), ('"1:30"', "1:30"), ("2026-13-45", "2026-13-45"), ("1__0", "1__0")),
        *(("{<<: {a: 1, b: 1}, b: 2}", {"a": 1, "b": 2}), ("[&a [1], *a]", [[1], [1]])),
        ("{<<: [{a: 1}, {a: 2, b: 3}]}", {"a": 1, "b": 3}),
    ],
)
def test_what_a_person_and_yaml_read_alike_is_taken(text: str, value: object) -> None:
    assert plain(text) == value


def test_there_is_no_negative_zero() -> None:
    assert str(plain("-0.0")) == "0.0"


BOMB = "[&a [1,1,1,1,1,1,1,1,1,1]" + "".join(
    f", &{new} [{','.join([f'*{old}'] * 10)}]"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("!!int abc", "!!int"),
        ("!!python/name:os.system", "!!python/name:os.system"),
        ("!!timestamp x", "!!timestamp"),
        ("! x", "the tag !"),
        ("a: 1\na: 2", "duplicate key a (line 2)"),
        ("1: 2", "the key 1 is no name"),
        ("null: 2", "the key null is no name"),
        ("on: 2", "the key on is no name"),
        ("? [1]\n: 2", "a list or mapping is no name"),
        ("&x [*x]", "within itself"),
        (BOMB + "]", "more than 100000 values"),
        ("[" * 600, "inside each other"),
        ("[" * 600 + "]" * 600, "inside each other"),
        ("9" * 400, "2^63"),
        ("9" * 5000, "2^63"),
        ("0x" + "f" * 5000, "no decimal number"),
        ("0" + "7" * 5000, "no decimal number"),
        ("<<: 3", "<< takes a mapping"),
        ("{max:6}", "write a blank after the colon of max:6"),
        ("a: 1\n---\nb: 1", "document"),
        ("a:\n\tb: 1", "line 2"),
        ("\x00", "#x0000"),
        ("\udcff", "#xdcff"),
    ],
)
def test_what_is_no_plain_yaml_is_refused_in_a_few_words(text: str, says: str) -> None:
    with pytest.raises(YamlError) as caught:
        plain(text)
    assert says in str(caught.value)
    assert len(str(caught.value)) < 300


def test_a_file_is_text_of_a_readable_size(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    for raw, says in (
        (b"\xff\xfea\x00", "utf-8"),
        (b"a: \xe9", "at byte 3"),
        (b"a: 1\n" + b"#" * LARGEST_FILE, "larger than 1000 kB"),
        (b"", "no mapping"),
        (b"3", "no mapping"),
    ):
        path.write_bytes(raw)
        with pytest.raises(ConfigError, match=says) as caught:
            read_yaml(path)
        assert "own.yaml" in str(caught.value)
    path.write_bytes(b"\xef\xbb\xbfa: 1")
    assert read_yaml(path) == {"a": 1}


def test_what_is_no_regular_file_is_refused_and_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "zero.yaml").symlink_to("/dev/zero")
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    for name in ("pipe.yaml", "folder.yaml", "zero.yaml", "loop.yaml", "gone.yaml", "x" * 300):
        with pytest.raises(ConfigError) as caught:
            read_yaml(tmp_path / name)
        assert name[:50] in str(caught.value)
