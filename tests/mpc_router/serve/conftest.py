"""Exported routers, written once for all tests of the room."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mpc_router import RoutedClassifier
from mpc_router.commands import export
from mpc_router.data.sources import load_splits
from tests.trained import Train, Trained

Export = Callable[..., Path]


@pytest.fixture(scope="session")
def export_of(tmp_path_factory: pytest.TempPathFactory) -> Export:
    """Writes the exported folder of a training."""

    def made(trained: Trained, *words: str) -> Path:
        folder = tmp_path_factory.mktemp("exports") / "exported"
        assert export.main([*trained.flags, *words, str(folder)]) == 0
        return folder

    return made


@pytest.fixture(scope="session")
def exported(export_of: Export, router: Trained) -> Path:
    """Of pairs of sentences (mrpc)."""
    return export_of(router)


@pytest.fixture(scope="session")
def single(trained: Train) -> Trained:
    """A router of single sentences (sst2)."""
    return trained(task="sst2")


@pytest.fixture(scope="session")
def single_export(export_of: Export, single: Trained) -> Path:
    return export_of(single)


@pytest.fixture
def classifier(exported: Path) -> RoutedClassifier:
    return RoutedClassifier.from_pretrained(exported)


def pairs_of(trained: Trained) -> list[tuple[str, str]]:
    """The texts of validation."""
    first, second = load_splits(trained.config, trained.places.source)["validation"].texts
    return list(zip(first, second, strict=True))
