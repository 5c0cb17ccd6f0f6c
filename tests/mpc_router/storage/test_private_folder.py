"""What is slow to make is kept where no other user may enter, and believed where it is whole."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from mpc_router.storage.private_folder import is_private, kept_text

SCRIPT = "const snow = '❄';\n\r\n" * 50


class Maker:
    """Makes the script, and counts how often."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        return SCRIPT


def test_what_is_kept_is_kept_only_where_no_other_user_may_enter(tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "compiled"
    assert is_private(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for mode in (0o770, 0o702, 0o711):
        folder.chmod(mode)
        assert not is_private(folder)
    assert not is_private(Path("/proc/none"))


def test_a_text_is_made_once_and_read_again_to_the_byte(tmp_path: Path) -> None:
    make = Maker()
    texts = [kept_text(tmp_path / "kept", make, "1.9.0", "6.4") for _ in range(3)]
    assert texts == [SCRIPT] * 3
    assert make.calls == 1
    kept_text(tmp_path / "kept", make, "1.9.1", "6.4")
    assert make.calls == 2
    assert len(list((tmp_path / "kept").iterdir())) == 2


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: b"",
        lambda raw: raw[:-1],
        lambda raw: raw.replace(b"snow", b"evil", 1),
        lambda raw: raw.partition(b"\n")[2],
        lambda raw: b"\xff" + raw,
    ],
    ids=["empty", "cut short", "changed", "without its hash", "no text"],
)
def test_a_damaged_file_is_not_used_and_is_written_anew(tmp_path: Path, damage: object) -> None:
    assert callable(damage)
    make = Maker()
    folder = tmp_path / "kept"
    kept_text(folder, make, "1.9.0")
    (file,) = folder.iterdir()
    sound = file.read_bytes()
    file.write_bytes(damage(sound))
    assert kept_text(folder, make, "1.9.0") == SCRIPT
    assert make.calls == 2
    assert file.read_bytes() == sound


def test_in_a_folder_of_others_nothing_is_read_or_kept(tmp_path: Path) -> None:
    make = Maker()
    folder = tmp_path / "kept"
    kept_text(folder, make, "1.9.0")
    folder.chmod(0o755)
    assert kept_text(folder, make, "1.9.0") == SCRIPT
    assert kept_text(folder, make, "1.9.1") == SCRIPT
    assert make.calls == 3
    assert len(list(folder.iterdir())) == 1


def test_a_folder_that_cannot_be_written_to_costs_time_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = Maker()
    (tmp_path / "file").write_text("no folder")
    assert kept_text(tmp_path / "file" / "kept", make, "1.9.0") == SCRIPT
    monkeypatch.setattr(Path, "write_bytes", _no_space)
    assert kept_text(tmp_path / "kept", make, "1.9.0") == SCRIPT
    assert make.calls == 2
    assert list((tmp_path / "kept").iterdir()) == []


def _no_space(path: Path, data: bytes) -> int:
    raise OSError(28, "No space left on device", str(path))
