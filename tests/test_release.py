"""What is released: the wheel, its requirements, the changelog, the files that code hosts read."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))[
    "project"
]
PACKAGES = ("analysis", "cluster", "mpc_router", "sweeps")
UNPACKED = {"sweeps/README.md"}
"""A page of the documentation, which stands where people look for it."""

REQUIREMENTS = [
    Requirement(text)
    for texts in (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())
    for text in texts
]


def tracked(*paths: str) -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--", *paths],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    return listed.stdout.split("\0")[:-1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel of this checkout's tracked files, built without network."""
    pytest.importorskip("setuptools")
    source = tmp_path_factory.mktemp("wheel")
    for name in tracked(*PACKAGES, "pyproject.toml", "README.md", "LICENSE", "tests/__init__.py"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, source / name)
    code = "from setuptools import build_meta; build_meta.build_wheel('dist')"
    subprocess.run([sys.executable, "-c", code], cwd=source, capture_output=True, check=True)
    (path,) = (source / "dist").glob("*.whl")
    return zipfile.ZipFile(path)


def test_the_wheel_holds_every_file_of_the_packages_and_nothing_else(
    wheel: zipfile.ZipFile,
) -> None:
    names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert names == set(tracked(*PACKAGES)) - UNPACKED


def test_the_wheel_says_its_licence_and_installs_every_command(wheel: zipfile.ZipFile) -> None:
    (points,) = [name for name in wheel.namelist() if name.endswith("entry_points.txt")]
    text = wheel.read(points).decode()
    for name, place in PROJECT["scripts"].items():
        assert f"{name} = {place}\n" in text
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in wheel.namelist())


PRIVATE = {
    "ray": ("sweeps/raytune/_patches.py", "handle_error"),
    "optuna": ("sweeps/search/ask.py", "study._storage"),
    "altair": ("analysis/figures/style.py", "schemapi"),
    "torch": ("mpc_router/frozen/_optimizer.py", "torch._fused_adamw_"),
    "numba": ("mpc_router/frozen/_compiler.py", "loops._cache"),
}
"""Libraries of which something private is used, and where."""


@pytest.mark.parametrize("library", PRIVATE)
def test_a_library_with_private_parts_in_use_has_an_upper_bound(library: str) -> None:
    path, use = PRIVATE[library]
    assert use in (ROOT / path).read_text(encoding="utf-8")
    asked = [requirement for requirement in REQUIREMENTS if requirement.name == library]
    assert asked
    for requirement in asked:
        assert any(bound.operator == "<" for bound in requirement.specifier), str(requirement)


def test_no_other_file_uses_a_private_part_of_these_libraries() -> None:
    pattern = re.compile(r"\b(?<!sweeps\.)(?:ray|optuna|torch|study|altair)\._[a-z]\w*")
    uses = {
        (path, use)
        for path in tracked(*(f"{package}/*.py" for package in PACKAGES))
        for use in pattern.findall((ROOT / path).read_text(encoding="utf-8"))
        if path not in {place for place, _ in PRIVATE.values()}
    }
    assert uses == set()


def test_the_pins_keep_the_bounds() -> None:
    pins = dict(
        line.split("==")
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if not line.startswith("#")
    )
    versions = {name.lower().replace("_", "-"): version for name, version in pins.items()}
    for requirement in REQUIREMENTS:
        version = versions.get(requirement.name.lower().replace("_", "-"))
        assert version is None or requirement.specifier.contains(version), str(requirement)
    for required in PROJECT["dependencies"]:
        assert Requirement(required).name.lower().replace("_", "-") in versions


def test_every_supported_python_installs_the_wheel_in_ci_and_weekly_without_pins() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/wheel.yaml").read_text(encoding="utf-8"))
    pythons = workflow["jobs"]["wheel"]["strategy"]["matrix"]["python"]
    prefix = "Programming Language :: Python :: 3."
    classified = [text for text in PROJECT["classifiers"] if text.startswith(prefix)]
    assert [text.rpartition(" ")[2] for text in classified] == pythons
    assert PROJECT["requires-python"] == f">={pythons[0]}"
    triggers = workflow[True]  # YAML's word for `on`
    assert re.fullmatch(r"\d+ \d+ \* \* \d", triggers["schedule"][0]["cron"])
    runs = {step["if"]: step["run"] for step in workflow["jobs"]["wheel"]["steps"] if "if" in step}
    assert runs == {
        "github.event_name != 'schedule'": ".ci/wheel",
        "github.event_name == 'schedule'": "PINS= .ci/wheel",
    }
    assert os.access(ROOT / ".ci/wheel", os.X_OK)


@pytest.mark.parametrize(
    "path", sorted((ROOT / ".github").rglob("*.y*ml")), ids=lambda path: path.name
)
def test_the_files_for_a_code_host_are_read(path: Path) -> None:
    assert isinstance(yaml.safe_load(path.read_text(encoding="utf-8")), dict)
    if path.parent.name == "ISSUE_TEMPLATE" and path.name != "config.yml":
        form = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert {"name", "description", "body"} <= set(form)
        assert len({item["id"] for item in form["body"]}) == len(form["body"])


def test_the_citation_is_of_this_version_and_of_the_paper() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == PROJECT["version"]
    assert citation["title"] == PROJECT["name"]
    assert citation["license"] == PROJECT["license"]
    (paper,) = citation["references"]
    assert paper["identifiers"][0]["value"] == "arXiv:2604.15499"
    assert paper["url"].endswith("/2604.15499")


KINDS = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]


def test_the_changelog_is_by_kind_and_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = re.findall(r"^## (.+)$", text, flags=re.MULTILINE)
    assert versions[0] == "Unreleased"
    for version in versions[1:]:
        assert re.fullmatch(r"\d+\.\d+\.\d+ - \d{4}-\d{2}-\d{2}", version)
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        kinds = re.findall(r"^### (.+)$", section, flags=re.MULTILINE)
        assert kinds == [kind for kind in KINDS if kind in kinds]
        assert kinds
        before, *_ = re.split(r"^### ", section, flags=re.MULTILINE)
        assert "\n- " not in before, "a line belongs under Added, Changed, Fixed, ..."
