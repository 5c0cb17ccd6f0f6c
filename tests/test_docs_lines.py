"""The commands that pages print one by one: about a run they are run, of a study they are read."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from analysis.stats import resampling
from mpc_router.commands import train
from sweeps.commands.arguments import parser
from sweeps.run import study_of
from tests.command_lines import command_of
from tests.sweeps.conftest import without_ray
from tests.test_docs import ROOT, SH_LINES, blocks
from tests.trained import Trained
from tests.walks import DOCS, FOLLOWED, OF_THE_SHELL, SMALL, call, lines_of

pytestmark = pytest.mark.slow

ELSEWHERE = {
    "mpc-router-cluster": "starts a cluster; tests/cluster does",
    "mpc-router-price": "needs the other Python; tests/mpc_router/secure",
    "--track": "needs a tracker; tests/sweeps/tracking",
    "runs remove": "asks; tests/sweeps/commands/test_runs.py",
    "--trust my_": "needs a run with that part; tests/own_parts",
    "file:price.json": "needs a measured file; tests/mpc_router/pricing",
    "file:mrpc_seconds.json": "likewise",
    "mpc-router-tune": "tests/sweeps/test_tune.py, and the page of the published code",
    "--figures": "tests/analysis/report/test_figures.py",
    "mpc-router-init DIR": "needs data; tests/mpc_router/commands/test_init.py",
}
"""Words of lines that other tests run, with where."""

FOLLOWED_LINES = {line for name in FOLLOWED for line in lines_of(DOCS / f"{name}.md")}


def kind_of(line: str) -> str | None:
    """How a line is tried: `run`, or its study is `read`; None where another test runs it."""
    words = shlex.split(line, comments=True)
    command = command_of(words)
    if command is None or words[0] in OF_THE_SHELL:
        return None
    if line in FOLLOWED_LINES or any(text in line for text in ELSEWHERE):
        return None
    begins = command in ("mpc-router-sweep", "mpc-router-tune", "mpc-router-train")
    alone = {"--list", "--settings", "--schema", "--resume", "--run"} & set(words)
    return "read" if command == "mpc-router-train" or (begins and not alone) else "run"


LINES = {line: kind_of(line) for line in {line.partition(" #")[0].strip() for line in SH_LINES}}
TRIED = {kind: sorted(line for line in LINES if LINES[line] == kind) for kind in ("run", "read")}


@pytest.fixture(scope="module")
def world(
    tmp_path_factory: pytest.TempPathFactory, sample_cache: Path, router: Trained
) -> Iterator[Callable[[str], str]]:
    """A folder with what the pages' placeholders name; calls a line there."""
    folder, before = tmp_path_factory.mktemp("world"), Path.cwd()
    with pytest.MonkeyPatch.context() as patch:
        without_ray(patch)
        patch.setattr(resampling, "resamples_for", lambda _: 20)
        os.chdir(folder)
        call(
            "mpc-router-sweep mrpc_grid --sample --name NAME",
            cache=sample_cache,
            settings=(*SMALL, "epochs=2"),
        )
        for name in "AB":
            shutil.copytree("runs/NAME", f"runs/{name}")
        shutil.copytree(router.folder, "outputs/mrpc_best_model")
        key = pq.read_table("runs/NAME/trials.parquet")["key"][0].as_py()
        call("mpc-router-export --run runs/NAME --knee exported/NAME", cache=sample_cache)

        def called(line: str) -> str:
            words = re.sub(r"\b(KEY|9baf)\b", key, line)
            words = re.sub(r"--(at-most|reach) [\d.]+", "--knee", words)
            words = re.sub(r"(mpc-router-export .*) (exported/\w+)$", r"\1 \2-again", words)
            return call(words.partition(" > ")[0], cache=sample_cache)

        yield called
        os.chdir(before)


@pytest.mark.parametrize("line", TRIED["run"])
def test_a_line_about_a_run_is_run(
    line: str, world: Callable[[str], str], quick_reports: None
) -> None:
    for folder in (*Path("exported").glob("*-again"), Path("tables")):
        shutil.rmtree(folder, ignore_errors=True)
    assert world(line)


@pytest.fixture
def study_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files that the pages' studies name, as printed, and configuration files."""
    monkeypatch.chdir(tmp_path)
    (study,) = [text for text in blocks("yaml") if "\nstudy: mine\n" in text]
    Path("path/to").mkdir(parents=True)
    Path("path/to/my_study.yaml").write_text(study)
    Path("configs").symlink_to(ROOT / "configs")


@pytest.mark.parametrize("line", TRIED["read"])
def test_the_study_of_a_line_can_be_read(line: str, study_files: None) -> None:
    command, *words = shlex.split(line, comments=True)
    if command == "mpc-router-train":
        assert train._settled(train.parser().parse_intermixed_args(words)).config
    else:
        assert study_of(parser().parse_intermixed_args(words)).seeds
