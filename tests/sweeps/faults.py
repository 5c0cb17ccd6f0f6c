"""Runs to be damaged, and ways of damaging files: for the tests of faults."""

from __future__ import annotations

import contextlib
import io
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from sweeps import run
from sweeps.commands import sweep
from tests.sweeps.conftest import in_process

GRID = (
    *("mrpc_grid", "pool=sample", "router_hidden_size=8", "epochs=2", "seeds=[0]", "start=[]"),
    *("beta=0.01", "alpha={grid: [0.01, 1]}", "pack.points=1"),
)
"""Two trials in two packs."""

SEARCH = (
    *("mrpc_pareto", "pool=sample", "epochs=3", "seeds=[0]", "search.points=8", "search.batch=4"),
    *("search.method=tpe", "stopping.bracket=4", "router_hidden_size=8"),
)
"""Two brackets of four points, the second asked when the first is told; the front is finished."""

WIDE = (*GRID[:2], "router_hidden_size=2048", *GRID[3:])
"""The same two trials, whose weights are the largest files of their run."""

KINDS = {"grid": GRID, "search": SEARCH, "wide": WIDE}


def examples(count: int) -> settings:
    """So many, the same ones every time. A failing one is told as it is: shrinking takes long."""
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    return settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=slow,
    )


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the command said."""

    code: int
    out: str
    err: str

    @property
    def sentence(self) -> str:
        """Its one line of error."""
        lines = [line for line in self.err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, self.err
        assert "Traceback" not in self.err
        return lines[0]


@dataclass(frozen=True, kw_only=True)
class Laboratory:
    """Sound runs to copy, and the command."""

    folder: Path

    def ask(self, *arguments: str) -> Answer:
        """The command; an exception that it lets through is the test's failure."""
        out, err = io.StringIO(), io.StringIO()
        known = ["--cache", str(self.folder / "cache"), "--no-report", "--quiet"]
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = run.main([*arguments, *known])
        return Answer(code=code, out=out.getvalue(), err=err.getvalue())

    def new(self, kind: str, name: str) -> Answer:
        """Begins a run."""
        words = ("--sample", "--out", str(self.folder / "runs"), "--name", name)
        return self.ask(*KINDS[kind], *words)

    def resume(self, run: Path, *more: str) -> Answer:
        """Goes on with one."""
        return self.ask("--resume", str(run), *more)

    def sound(self, kind: str) -> Path:
        """A run that nobody disturbs."""
        found = self.folder / "sound" / kind
        if not found.exists():
            assert self.new(kind, f"sound-{kind}").code == 0
            found.parent.mkdir(exist_ok=True)
            (self.folder / "runs" / f"sound-{kind}").rename(found)
        return found

    def copy(self, kind: str) -> Path:
        """A copy of it, to be damaged."""
        found = self.folder / "runs" / "copy"
        shutil.rmtree(found, ignore_errors=True)
        found.parent.mkdir(exist_ok=True)
        shutil.copytree(self.sound(kind), found)
        return found

    def fresh(self) -> Path:
        """Where `new(kind, "fresh")` will begin a run; what was there is gone."""
        found = self.folder / "runs" / "fresh"
        shutil.rmtree(found, ignore_errors=True)
        return found


@contextlib.contextmanager
def laboratory(folder: Path, prepared: Path) -> Iterator[Laboratory]:
    """For a module of tests: no Ray, random outputs of experts, and no front in the terminal."""
    with pytest.MonkeyPatch.context() as patch:
        in_process(patch, prepared)
        patch.setattr(sweep, "_show", lambda *_: None)
        yield Laboratory(folder=folder)


@dataclass(frozen=True, kw_only=True)
class Damage:
    """Of a file; places are shares of its length, so that one damage fits files of any length."""

    kind: str
    place: float
    size: int
    """Bits, bytes or lines."""

    def to(self, data: bytes) -> bytes:
        """The bytes after it."""
        at = min(int(self.place * len(data)), len(data) - 1)
        if self.kind == "flipped":
            changed = bytearray(data)
            changed[at] ^= 1 << (self.size % 8)
            return bytes(changed)
        if self.kind == "cut":
            return data[:at]
        if self.kind == "zeroed":
            return data[:at] + bytes(min(self.size, len(data) - at)) + data[at + self.size :]
        if self.kind == "longer":
            return data + bytes(self.size)
        if self.kind == "holed":
            return data[:at] + data[at + self.size :]
        lines = data.splitlines(keepends=True)
        line = min(int(self.place * len(lines)), len(lines) - 1)
        if self.kind == "line gone":
            return b"".join([*lines[:line], *lines[line + 1 :]])
        if self.kind == "line doubled":
            return b"".join([*lines[: line + 1], *lines[line:]])
        assert self.kind == "lines swapped"
        other = (line + self.size) % len(lines)
        lines[line], lines[other] = lines[other], lines[line]
        return b"".join(lines)


_LINES = ("line gone", "line doubled", "lines swapped")
_BYTES = ("flipped", "flipped", "cut", "zeroed", "longer", "holed")


def damages(*, lines: bool = False) -> st.SearchStrategy[Damage]:
    """Any damage of a file; of one that has lines, those too."""
    return st.builds(
        Damage,
        kind=st.sampled_from([*_BYTES, *(_LINES if lines else ())]),
        place=st.floats(0, 1, exclude_max=True),
        size=st.integers(1, 600),
    )
