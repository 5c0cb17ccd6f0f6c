from __future__ import annotations

from pathlib import Path

import pytest

from mpc_router.storage.paths import _unmakeable, cannot_be_made, fault


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        ("  ", "empty"),
        ("a\nb", "cannot be printed"),
        ("a\x00b", "cannot be printed"),
        ("\x1b[2J", "cannot be printed"),
        ("\udcff", "utf-8"),
        ("~nobody/x", "begins with ~"),
        ("x" * 256, "longer than a file system takes"),
        ("\u00e9" * 128, "256 bytes"),
        ("x/" * 2500, "longer than a file system takes"),
    ],
)
def test_a_name_that_no_file_can_have_is_told(text: str, says: str) -> None:
    assert says in str(fault(text))


@pytest.mark.parametrize("text", ["a", "./~x", "/", "..", "x" * 255, "a b/c=d", "\u00e9"])
def test_a_name_that_a_file_can_have_has_no_fault(text: str) -> None:
    assert fault(text) is None


def test_a_folder_that_cannot_be_made_is_told_and_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "dangling").symlink_to("gone")
    for name in ("file", "file/below", "dangling", "dangling/below"):
        said = cannot_be_made("--out", tmp_path / name)
        assert said is not None
        assert said.startswith(f"--out {tmp_path / name} cannot be written to")
    for name in ("", "new", "new/below"):
        assert _unmakeable(tmp_path / name) is None
    assert cannot_be_made("--out", Path("/proc/x")) is not None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dangling", "file"]
