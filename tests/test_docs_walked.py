"""Tutorials and guides as a stranger follows them: each command in order, on little data."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import platformdirs
import pyarrow.parquet as pq
import pytest

from analysis.stats import resampling
from tests.mpc_router.families import save_tiny
from tests.sweeps.conftest import LITTLE, without_ray
from tests.walks import SMALL, walk

ROOT = Path(__file__).resolve().parent.parent

FEW_POINTS = {"search.points=54": "search.points=9 stopping.bracket=9"}
"""What a page's commands say, and what they say here."""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A reader's folder, in which sweeps train in this process and fronts draw few resamples."""
    before = Path.cwd()
    folder = tmp_path_factory.mktemp("reader")
    with pytest.MonkeyPatch.context() as patch:
        without_ray(patch)
        patch.setattr(resampling, "resamples_for", lambda _: 20)
        os.chdir(folder)
        yield folder
        os.chdir(before)


@pytest.fixture(scope="module")
def first_sweep(reader: Path, sample_cache: Path) -> Path:
    walk("tutorials/first_sweep", cache=sample_cache, settings=SMALL)
    return reader


def test_the_first_sweep_ends_with_a_router_that_answers(first_sweep: Path) -> None:
    assert (first_sweep / "runs/first/trials.parquet").is_file()
    assert (first_sweep / "exported/first/README.md").is_file()


@pytest.fixture(scope="module")
def search(first_sweep: Path, sample_cache: Path) -> Path:
    walk("tutorials/a_search", cache=sample_cache, settings=SMALL, replaced=FEW_POINTS)
    return first_sweep


def test_the_search_ends_with_a_front_that_is_compared_with_the_grids(search: Path) -> None:
    statuses = pq.read_table(search / "runs/search/trials.parquet")["status"].to_pylist()
    assert set(statuses) == {"COMPLETED", "STOPPED"}


@pytest.fixture
def tickets(reader: Path, sample_cache: Path) -> Path:
    """The tutorial's tickets with two small models below them, which are found there."""
    save_tiny(reader / "tickets/models/small", "bert", num_hidden_layers=1)
    save_tiny(reader / "tickets/models/large", "bert", num_hidden_layers=2)
    little = ("expert_epochs=1", "epochs=1", "train_rows=200", "validation_rows=100")
    walk("tutorials/your_data", cache=sample_cache, settings=little)
    return reader


def test_your_data_end_with_a_router_that_answers_their_texts(tickets: Path) -> None:
    assert (tickets / "tickets/tickets.yaml").is_file()
    assert (tickets / "exported/tickets/README.md").is_file()


@pytest.fixture
def guide(reader: Path, sample_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Follows a guide in the reader's folder; the user's cache is that of the tests."""
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda _: sample_cache)

    def followed(name: str, replaced: Mapping[str, str]) -> Path:
        walk(f"guides/{name}", cache=sample_cache, settings=LITTLE, replaced=replaced)
        return reader

    return followed


LITTLE_JSON = "".join(
    f', "{name}": {value if value.isdigit() else json.dumps(value)}'
    for name, value in (setting.split("=") for setting in LITTLE)
)


def test_a_run_is_made_and_asked_from_python(
    guide: Callable[..., Path], quick_reports: None
) -> None:
    folder = guide("from_python", {'"beta": 0.01': f'"beta": 0.01{LITTLE_JSON}'})
    assert (folder / "runs/python/report.html").is_file()


def test_the_published_commands_work_on_the_published_files(
    guide: Callable[..., Path], reader: Path
) -> None:
    (reader / "configs").symlink_to(ROOT / "configs")
    assert (guide("published_code", {}) / "outputs/mrpc_best_model").is_dir()


@pytest.mark.parametrize("name", ["gates", "ray_and_optuna"])
def test_the_commands_of_a_guide_are_run(guide: Callable[..., Path], name: str) -> None:
    guide(name, FEW_POINTS)
