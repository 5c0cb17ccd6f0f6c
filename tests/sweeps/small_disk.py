"""`python -m tests.sweeps.small_disk FOLDER PREPARED KIB...`: runs on disks that are really full.

For a mount namespace of its own (`unshare -rm`): FOLDER/runs becomes a file system of so many KiB,
and has room again for the resume.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.sweeps.faults import laboratory
from tests.sweeps.journal.test_full_disks import check


def mount(where: Path, options: str) -> None:
    """A file system in memory; or the same one with other options."""
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(where)]
    subprocess.run(command, check=True)


def main(folder: Path, prepared: Path, sizes: list[int]) -> None:
    """Prints a line a size: its size, and how the run ended there."""
    with laboratory(folder, prepared) as lab:
        lab.sound("grid")
        where = folder / "runs"
        for size in sizes:
            mount(where, f"size={size}k")
            said = lab.new("grid", "fresh")
            print(size, said.code, said.err.strip().splitlines()[-1:], flush=True)
            mount(where, "remount,size=64m")
            check(lab, "grid", where / "fresh", said)
            subprocess.run(["umount", str(where)], check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), [int(word) for word in sys.argv[3:]])
