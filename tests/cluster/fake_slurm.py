"""Commands of a Slurm that keeps its one job in a folder."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

COMMAND = """#!{python}
import sys
from pathlib import Path
name, words, folder = Path(sys.argv[0]).name, sys.argv[1:], Path({folder!r})
with (folder / "calls").open("a") as calls:
    calls.write(" ".join([name, *words]) + "\\n")
if (folder / f"refuse-{{name}}").exists():
    sys.exit((folder / f"refuse-{{name}}").read_text())
state, number = folder / "state", folder / "number"
if name == "sbatch":
    count = int(number.read_text()) + 1 if number.exists() else 1
    number.write_text(str(count))
    (folder / "script").write_text(words[-1])
    state.write_text("PENDING")
    print(f"{{count}};proof")
elif name == "squeue":
    if not state.exists():
        sys.exit("slurm_load_jobs error: Invalid job id specified")
    runs = state.read_text() == "RUNNING"
    print(state.read_text() + ("|None|n[1-3]|9:59" if runs else "|Priority||1:00:00"))
elif name == "scancel" and state.exists():
    state.write_text("CANCELLED")
"""


@dataclass(frozen=True)
class FakeSlurm:
    """The state of the only job."""

    folder: Path

    def set(self, state: str) -> None:
        """Gives the job a state."""
        (self.folder / "state").write_text(state)

    def state(self) -> str:
        """Gives the job's state."""
        return (self.folder / "state").read_text()

    def forget(self) -> None:
        """Lets Slurm know the job no more."""
        (self.folder / "state").unlink()

    def refuse(self, command: str, why: str) -> None:
        """Lets a command fail."""
        (self.folder / f"refuse-{command}").write_text(why)

    def allow(self, command: str) -> None:
        """Lets a command work again."""
        (self.folder / f"refuse-{command}").unlink()

    def calls(self) -> list[str]:
        """Lists the commands that were called."""
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []


def install(folder: Path) -> FakeSlurm:
    """Writes the commands into a folder."""
    folder.mkdir()
    for name in ("sbatch", "squeue", "scancel"):
        path = folder / name
        path.write_text(COMMAND.format(python=sys.executable, folder=str(folder)))
        path.chmod(0o755)
    return FakeSlurm(folder)
