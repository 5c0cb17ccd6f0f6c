"""Which files hold a split, and that no part of it can go missing in silence."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mpc_router.config.trial import trial_config
from mpc_router.data.formats.parts import in_order
from mpc_router.data.formats.split_files import split_files
from mpc_router.data.sources import Source, data_fingerprint, load_splits
from mpc_router.source_error import SourceError
from tests.mpc_router.data.test_sources import pairs

CONFIG = trial_config({"pool": "minilm", "task": "mrpc"})
UUID = "4b3c2d1e-aaaa-bbbb-cccc-1234567890ab"
SAYING_HOW_MANY = (
    "train-{0:05d}-of-{2:05d}.parquet",
    "train-{0:05d}-of-{2:05d}-0123456789abcdef.parquet",
    "train_{1}of{2}.parquet",
    "train-{1:02d}-of-{2:02d}.snappy.parquet",
    "train/train-{0:05d}-of-{2:05d}.parquet",
    "train/data-{1}_of_{2}.parquet",
)
NUMBERED = (
    "train-{0:04d}.parquet",
    "train.{0}.parquet",
    "train-part-{0}.parquet",
    "train/{0:04d}.parquet",
    "train/{0}.parquet",
    "train/{0:012d}.parquet",
    "train/data_{0}.parquet",
    "train.parquet/part-{0}.parquet",
    "train.parquet/part.{0}.parquet",
    "train.parquet/0123456789abcdef0123456789abcdef-{0}.parquet",
    f"train.parquet/part-{{0:05d}}-{UUID}-c000.snappy.parquet",
    f"train.parquet/part-{{0:05d}}-tid-77-{UUID}-4{{0}}-1-c000.zstd.parquet",
)


def write_parts(folder: Path, scheme: str, total: int = 12) -> list[Path]:
    """The rows of one table in so many parts beside a whole validation, named by a scheme of
    number, next number and total."""
    task, table = folder / "mrpc", pairs(24 * 10)
    task.mkdir(parents=True)
    pq.write_table(pairs(30, seed=1), task / "validation.parquet")
    size = len(table) // total
    paths = []
    for number in range(total):
        path = task / scheme.format(number, number + 1, total)
        path.parent.mkdir(exist_ok=True)
        pq.write_table(table.slice(number * size, size), path)
        paths.append(path)
    return paths


def source(folder: Path) -> Source:
    return Source(kind="folder", folder=folder)


@pytest.mark.parametrize("scheme", [*SAYING_HOW_MANY, *NUMBERED])
def test_parts_give_the_rows_and_the_keys_of_one_file(tmp_path: Path, scheme: str) -> None:
    paths = write_parts(tmp_path / "parts", scheme)
    (paths[0].parent / "_SUCCESS").touch()
    (paths[0].parent / f".{paths[0].name}.crc").write_bytes(b"\x00")
    (paths[0].parent / f"._{paths[0].name}").write_bytes(b"\x00")
    write_parts(tmp_path / "whole", "train.parquet", total=1)
    assert data_fingerprint(CONFIG, source(tmp_path / "parts")) == data_fingerprint(
        CONFIG, source(tmp_path / "whole")
    )


@pytest.mark.parametrize("gone", [0, 1, 4, 11])
@pytest.mark.parametrize("scheme", [*SAYING_HOW_MANY, *NUMBERED])
def test_a_part_that_is_missing_is_named(tmp_path: Path, scheme: str, gone: int) -> None:
    paths = write_parts(tmp_path, scheme)
    paths[gone].unlink()
    number = gone + 1 if "{1" in scheme else gone
    if scheme in NUMBERED and gone == 11:
        return  # no name says that there was one more
    with pytest.raises(SourceError, match=rf"11 of the 12 files.*missing ({number}|0 or 12);"):
        load_splits(CONFIG, source(tmp_path))


def refused(folder: Path, *says: str) -> None:
    with pytest.raises(SourceError) as error:
        load_splits(CONFIG, source(folder))
    for words in ("mrpc", *says):
        assert words in str(error.value)
    assert len(str(error.value)) < 1000


def test_many_missing_parts_are_counted(tmp_path: Path) -> None:
    paths = write_parts(tmp_path, "train/{0}.parquet", total=1)
    paths[0].rename(paths[0].with_name("99999999.parquet"))
    refused(tmp_path, "1 of the 100000000 files", "missing 0, 1, 2, 3, 4, and 99999994 more")


Change = Callable[[list[Path]], object]


def copied(path: Path, name: str) -> None:
    """A copy of a part under a name relative to its folder."""
    target = path.parent / name
    target.parent.mkdir(exist_ok=True)
    shutil.copyfile(path, target)


def replaced(path: Path) -> None:
    """A folder in a part's place."""
    path.unlink()
    path.mkdir()


IN_DOUBT: dict[str, tuple[str, Change, tuple[str, ...]]] = {
    "a file and parts": (
        "train-{0:04d}.parquet",
        lambda parts: copied(parts[0], "train.parquet"),
        ("train.parquet and train-0000.parquet", "keep one"),
    ),
    "two folders": (
        "train/{0:04d}.parquet",
        lambda parts: copied(parts[0], "../train.parquet/0.parquet"),
        ("train.parquet/0.parquet and train/0000.parquet", "keep one"),
    ),
    "two writings": (
        f"train/part-{{0:05d}}-{UUID}-c000.parquet",
        lambda parts: copied(parts[0], f"part-00000-{UUID[::-1]}-c000.parquet"),
        ("named in several ways", UUID),
    ),
    "two totals": (
        "train-{0:05d}-of-{2:05d}.parquet",
        lambda parts: copied(parts[0], "train-00000-of-00013.parquet"),
        ("named in several ways", "of-00013"),
    ),
    "a number twice": (
        "train/{0:04d}.parquet",
        lambda parts: copied(parts[3], "3.parquet"),
        ("part 3 twice", "0003.parquet", "3.parquet"),
    ),
    "a part beyond": (
        "train-{0:05d}-of-{2:05d}.parquet",
        lambda parts: copied(parts[3], "train-00012-of-00012.parquet"),
        ("of-00012",),
    ),
    "a copy": (
        "train/{0:04d}.parquet",
        lambda parts: copied(parts[3], "0003 (1).parquet"),
        ("no name tells", "0003 (1)"),
    ),
    "a partition": (
        "train/{0:04d}.parquet",
        lambda parts: copied(parts[0], "label=0/0.parquet"),
        ("partitioned", "label=0"),
    ),
    "half a download": (
        "train/{0:04d}.parquet",
        lambda parts: copied(parts[0], "0012.parquet.crdownload"),
        ("0012.parquet.crdownload", "only Parquet"),
    ),
    "half a download beside": (
        "train-{0:04d}.parquet",
        lambda parts: copied(parts[0], "train-0012.parquet.part"),
        ("train-0012.parquet.part", "only *.parquet"),
    ),
    "another format": (
        "train/{0:04d}.parquet",
        lambda parts: copied(parts[0], "0012.csv"),
        ("0012.csv", "only Parquet"),
    ),
    "a job that did not end": (
        "train/{0:04d}.parquet",
        lambda parts: (parts[0].parent / "_temporary").mkdir(),
        ("_temporary", "not written to its end"),
    ),
    "a Delta table": (
        "train/{0:04d}.parquet",
        lambda parts: (parts[0].parent / "_delta_log").mkdir(),
        ("Delta", "one Parquet file"),
    ),
    "no bytes": (
        "train/{0:04d}.parquet",
        lambda parts: parts[5].write_bytes(b""),
        ("0005.parquet", "not a whole Parquet file"),
    ),
    "another schema": (
        "train/{0:04d}.parquet",
        lambda parts: pq.write_table(pairs(5).drop_columns(["sentence2"]), parts[5]),
        ("0005.parquet", "no column 'sentence2'"),
    ),
    "a folder for a part": (
        "train-{0:04d}.parquet",
        lambda parts: replaced(parts[5]),
        ("train-0005.parquet", "folder"),
    ),
}


@pytest.mark.parametrize("what", IN_DOUBT)
def test_a_folder_that_leaves_a_split_in_doubt_is_refused(tmp_path: Path, what: str) -> None:
    scheme, change, says = IN_DOUBT[what]
    change(write_parts(tmp_path, scheme))
    refused(tmp_path, *says)


def test_pieces_that_spark_writes_of_one_part_stay_together(tmp_path: Path) -> None:
    names = [f"part-0000{part}-{UUID}-c00{piece}.parquet" for part in (0, 1) for piece in (0, 1)]
    files = [tmp_path / name for name in names]
    assert in_order(files[::-1], tmp_path) == files
    with pytest.raises(SourceError, match="pieces 1 of part 0"):
        in_order(files[1:], tmp_path)


def test_one_file_in_a_folder_may_have_any_name(tmp_path: Path) -> None:
    for name in ("data", UUID, "0123456789abcdef0123456789abcdef", "0123-" + UUID[:-12] + "0" * 12):
        assert in_order([tmp_path / f"{name}.parquet"], tmp_path)


OTHERS = {
    "train.csv": "pandas.read_csv('train.csv').to_parquet('train.parquet')",
    "train.tsv": "sep='\\t'",
    "train.jsonl": "lines=True",
    "train.json": "read_json",
    "train.arrow": "datasets.Dataset.from_file",
    "train.csv.gz": "pandas.read_csv('train.csv.gz')",
    "train.parquet.gz": "gunzip train.parquet.gz",
    "train.PARQUET": "rename it to train.parquet",
    "train.xlsx": "make train.parquet of it",
}


@pytest.mark.parametrize("name", OTHERS)
def test_data_of_another_format_are_named_with_what_converts_them(
    tmp_path: Path, name: str
) -> None:
    for path in write_parts(tmp_path, "train.parquet", total=1):
        path.rename(path.with_name(name))
    refused(tmp_path, "train.parquet does not exist", name, OTHERS[name])


def test_a_saved_dataset_of_the_hubs_library_is_named(tmp_path: Path) -> None:
    (path,) = write_parts(tmp_path, "train/data-{0:05d}-of-{2:05d}.arrow", total=1)
    (path.parent / "state.json").write_text("{}")
    refused(tmp_path, "mrpc/train holds data-00000-of-00001.arrow", "Dataset.from_file")


def test_a_task_that_is_not_there_is_told_what_is(tmp_path: Path) -> None:
    (tmp_path / "MRPC").mkdir()
    refused(tmp_path, "mrpc/train.parquet does not exist", "holds MRPC", "--sample")


PLACES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a pipe": (lambda path: os.mkfifo(path), "a named pipe"),
    "a device": (lambda path: os.symlink("/dev/zero", path), "a device"),
    "a loop": (lambda path: os.symlink(path, path), "symbolic links"),
    "a lost link": (lambda path: os.symlink(path.parent / "gone", path), "a link to nothing"),
    "an empty folder": (lambda path: os.mkdir(path), "without a Parquet file"),
}


@pytest.mark.parametrize("kind", PLACES)
def test_what_is_no_file_is_named(tmp_path: Path, kind: str) -> None:
    (path,) = write_parts(tmp_path, "train.parquet", total=1)
    path.unlink()
    make, says = PLACES[kind]
    make(path)
    refused(tmp_path, "train.parquet", says)


def test_a_name_that_is_no_text_is_named(tmp_path: Path) -> None:
    (path,) = write_parts(tmp_path, "train/0.parquet", total=1)
    os.rename(path, os.fsencode(path.parent) + b"/\xff-0.parquet")
    refused(tmp_path, "udcff-0.parquet", "UTF-8")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    (path,) = write_parts(tmp_path, "train.parquet", total=1)
    path.chmod(0)
    refused(tmp_path, "train.parquet", "ermission")


def test_a_folder_beside_a_file_that_holds_nothing_is_left_alone(tmp_path: Path) -> None:
    (path,) = write_parts(tmp_path, "train.parquet", total=1)
    (path.parent / "train").mkdir()
    (path.parent / "train" / ".keep").touch()
    assert split_files(path.parent, ["train"]) == [path]


def test_parts_without_rows_are_parts(tmp_path: Path) -> None:
    paths = write_parts(tmp_path, "train/{0:04d}.parquet")
    pq.write_table(pairs(5).slice(0, 0), paths[5])
    splits = load_splits(CONFIG, source(tmp_path))
    assert len(splits["train"]) + len(splits["selection"]) == 220


def test_a_file_that_holds_fewer_rows_than_it_says_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_parts(tmp_path, "train.parquet", total=1)
    whole = pq.ParquetFile.iter_batches

    def cut_short(*args: object, **more: object) -> object:
        for batch in whole(*args, **more):
            yield batch.slice(0, len(batch) - 1)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", cut_short)
    refused(tmp_path, "train.parquet", "says that it has 240 rows, and 239 can be read")


def test_a_damaged_page_is_found_by_its_checksum(tmp_path: Path) -> None:
    (path,) = write_parts(tmp_path, "train.parquet", total=1)
    table = pa.table(pairs(240))
    pq.write_table(table, path, compression="none", use_dictionary=False, write_page_checksum=True)
    pieces = path.read_bytes().split(b"the first")  # the first few are statistics
    path.write_bytes(
        b"the first".join(pieces[:100]) + b"the worst" + b"the first".join(pieces[100:])
    )
    refused(tmp_path, "train.parquet", "not a whole Parquet file")
