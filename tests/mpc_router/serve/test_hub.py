"""A router goes to a hub and comes back, over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard, constants

from mpc_router import RoutedClassifier
from mpc_router.serve._hub import exported_folder
from tests.mpc_router.serve.hub_server import Hub
from tests.mpc_router.serve.test_classifier import PAIR, close


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """It has the hub's address, as a process has that starts with HF_ENDPOINT."""
    files = "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with Hub() as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.address)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.address + files)
        yield server


@pytest.mark.slow
def test_a_router_that_was_pushed_is_fetched_and_answers_alike(
    hub: Hub, exported: Path, tmp_path: Path
) -> None:
    router = RoutedClassifier.from_pretrained(exported)
    assert "/org/mrpc/commit/" in str(router.push_to_hub("org/mrpc", branch="tried"))
    fetched = RoutedClassifier.from_pretrained("org/mrpc", revision="tried", cache_dir=tmp_path)
    files = hub.files("org/mrpc", "tried")
    assert set(files) >= {"model.safetensors", "trial.json", "README.md"}
    assert files["model.safetensors"] == (exported / "model.safetensors").read_bytes()
    assert hub.tokens == {"Bearer hf_secret"}
    assert hub.fetched >= set(files)
    assert fetched(PAIR) == router(PAIR)


def test_a_saved_router_is_the_export_and_answers_alike(exported: Path, tmp_path: Path) -> None:
    for lazy in (False, True):
        folder = tmp_path / f"saved-{lazy}"
        router = RoutedClassifier.from_pretrained(exported, lazy=lazy)
        router.save_pretrained(folder)
        for name in ("model.safetensors", "trial.json"):
            assert (folder / name).read_bytes() == (exported / name).read_bytes()
        assert {path.name for path in folder.iterdir()} == {
            path.name for path in exported.iterdir()
        }
        assert close([RoutedClassifier.from_pretrained(folder)(PAIR)], [router(PAIR)])


def test_a_folder_with_something_in_it_is_left_alone(exported: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("mine", encoding="utf-8")
    with pytest.raises(ValueError, match="give a new or an empty folder"):
        RoutedClassifier.from_pretrained(exported).save_pretrained(tmp_path)
    assert (tmp_path / "config.json").read_text(encoding="utf-8") == "mine"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_bias_of_the_moment_is_not_saved(exported: Path, tmp_path: Path) -> None:
    router = RoutedClassifier.from_pretrained(exported, bias=0.1)
    with pytest.raises(ValueError, match="mpc-router-export --bias"):
        router.save_pretrained(tmp_path / "saved")
    assert not (tmp_path / "saved").exists()


def test_the_card_has_metadata_that_the_hubs_own_reader_takes(exported: Path) -> None:
    data: Any = ModelCard.load(exported / "README.md").data
    assert data.library_name == "mpc-router"
    assert data.pipeline_tag == "text-classification"
    assert data.license == "mit"  # all parts are the sample's


@pytest.mark.parametrize("name", ["org/mrpc-router", "no such name", "a/b/c"])
def test_without_network_an_id_is_one_message(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ValueError, match="is no folder here, and the hub did not give it") as told:
        RoutedClassifier.from_pretrained(name, cache_dir=tmp_path)
    text = str(told.value)
    assert repr(name) in text
    assert "\n" not in text
    assert len(text) <= 1000


@pytest.mark.parametrize("name", ["./exported", "/no/such/folder", "../exported", "~/exported"])
def test_a_path_is_never_looked_for_on_the_hub(name: str) -> None:
    with pytest.raises(ValueError, match=r"is no folder; give one that mpc-router-export wrote"):
        exported_folder(name)
    with pytest.raises(ValueError, match="is no folder"):
        exported_folder(Path(name))


def test_a_folder_has_no_revision(exported: Path) -> None:
    with pytest.raises(ValueError, match="is a folder, which has none"):
        RoutedClassifier.from_pretrained(exported, revision="v1")
