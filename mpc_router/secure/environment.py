"""Finds the Python that has the libraries of secure computation: another one than ours.

They need other versions of numpy than this project, so that both never meet in one process.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mpc_router.config.rules import ConfigError
from mpc_router.messages import one_line, shown

FOLDER: Final = ".venv-secure"
"""It is the environment that `make secure` makes."""

_CHECKOUT: Final = Path(__file__).resolve().parents[2]
_VERSIONS: Final = (
    "import json, jax, numpy, spu; "
    "print(json.dumps({part.__name__: part.__version__ for part in (jax, numpy, spu)}))"
)
_PATIENCE: Final = 120.0
"""Seconds that its imports may take."""


class SecureError(ConfigError):
    """Says what keeps a price from being measured, and what to do."""


@dataclass(frozen=True)
class OtherPython:
    """Holds the Python that runs the parties."""

    path: Path
    versions: Mapping[str, str]
    """By library: spu, jax and numpy."""


def other_python(asked: Path | None = None) -> OtherPython:
    """Gives the Python of `--python`, else that of `make secure`, here or in the checkout.

    Raises:
        SecureError: there is none, or it lacks a library.
    """
    bases = (Path(), _CHECKOUT)
    places = [asked] if asked else [base / FOLDER / "bin" / "python" for base in bases]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise SecureError(
            f"no Python with spu was found at {' or '.join(map(shown, dict.fromkeys(places)))}; "
            "`make secure` makes one, or give the Python of an environment that has spu with "
            "--python PATH"
        )
    try:
        answer = subprocess.run(
            [path.absolute(), "-c", _VERSIONS],
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            env=environment(),
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SecureError(_refusal(path, str(error))) from error
    if answer.returncode:
        raise SecureError(_refusal(path, (answer.stderr.strip().splitlines() or ["it failed"])[-1]))
    try:
        versions = json.loads(answer.stdout)
    except ValueError as error:
        raise SecureError(_refusal(path, f"it printed {answer.stdout[:80]!r}")) from error
    return OtherPython(path.absolute(), versions)


def environment() -> dict[str, str]:
    """Gives the variables of a process of the other Python: ours, without paths to our packages."""
    ours = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}
    variables = {name: value for name, value in os.environ.items() if name not in ours}
    return {**variables, "PYTHONNOUSERSITE": "1", "JAX_PLATFORMS": "cpu"}


def _refusal(path: Path, reason: str) -> str:
    return (
        f"{shown(path)} cannot import spu, jax and numpy ({one_line(reason)[:200]}); `make secure` "
        "makes an environment that can, or give another --python PATH"
    )
