"""The lines of the Dockerfile, run in an empty folder in place of an image."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from mpc_router import RoutedClassifier
from tests.serve_example.conftest import EXAMPLE, ROOT, Client, until

PAIR = ["the dog sees the cat", "the cat is seen by the dog"]


class Image:
    """A folder that takes the place of an image's root, with a Python environment of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root
        self.command: list[str] = []
        environment = root / "venv"
        subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
        (site,) = environment.glob("lib/python*/site-packages")
        # what is installed here need not be fetched again; this checkout is not installed there
        here = [path for path in sys.path if "site-packages" in path]
        (site / "here.pth").write_text("\n".join(here), encoding="utf-8")
        self.variables = {**os.environ, "PATH": f"{environment}/bin:{os.environ['PATH']}"}
        self.variables.pop("PYTHONPATH", None)

    def place(self, path: str) -> Path:
        return self.root / path.lstrip("/") if path.startswith("/") else self.folder / path

    def run(self, line: str) -> None:
        word, _, words = line.partition(" ")
        if word == "WORKDIR":
            self.folder = self.place(words)
            self.folder.mkdir(parents=True, exist_ok=True)
        elif word == "COPY":
            *sources, target = words.split()
            for source in sources:
                self._copy(ROOT / source, self.place(target), into=len(sources) > 1)
        elif word == "RUN":
            subprocess.run(["sh", "-c", words], cwd=self.folder, env=self.variables, check=True)
        elif word == "CMD":
            self.command = json.loads(words)
        else:
            assert word in ("FROM", "EXPOSE"), line

    def _copy(self, source: Path, target: Path, *, into: bool) -> None:
        if source.is_dir():
            skipped = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, target, dirs_exist_ok=True, ignore=skipped)
        else:
            shutil.copy(source, target / source.name if into else target)


def pip_works(folder: Path) -> bool:
    """Says whether a package can be fetched."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "setuptools"]
    done = subprocess.run(
        [*command, "--dest", str(folder)], capture_output=True, text=True, check=False
    )
    return done.returncode == 0


def free_port() -> int:
    with socket.socket() as port:
        port.bind(("127.0.0.1", 0))
        number: int = port.getsockname()[1]
        return number


@pytest.mark.long
def test_its_lines_make_a_server_that_answers(exported: Path, tmp_path: Path) -> None:
    if not pip_works(tmp_path / "fetched"):
        pytest.skip("pip fetches nothing here")
    text = (EXAMPLE / "Dockerfile").read_text(encoding="utf-8")
    image = Image(tmp_path / "root")
    for line in text.splitlines():
        if line and not line.startswith("#"):
            image.run(line)
    shutil.copytree(exported, image.place("/model"))
    port = free_port()
    replaced = {"/model": str(image.place("/model")), "0.0.0.0": "127.0.0.1", "8000": str(port)}
    command = [replaced.get(word, word) for word in image.command]
    at = subprocess.check_output(
        ["python", "-c", "import mpc_router; print(mpc_router.__file__)"],
        cwd=image.folder,
        env=image.variables,
        text=True,
    )
    assert str(image.root) in at
    server = subprocess.Popen(command, cwd=image.folder, env=image.variables)
    try:
        client = Client(port)
        until(lambda: answers(client) or server.poll() is not None)
        status, reply = client.post("/answers", {"texts": [PAIR]})
        assert status == 200
        answer = RoutedClassifier.from_pretrained(exported)((PAIR[0], PAIR[1]))
        assert reply["answers"][0]["expert"] == answer.expert
    finally:
        server.terminate()
        server.wait()


def answers(client: Client) -> bool:
    try:
        return bool(client.get("/health"))
    except OSError:
        return False
