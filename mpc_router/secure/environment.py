"""Finds the Python that has the libraries of secure computation: another one than ours.

They need other versions of numpy than this project, so that both never meet in one process.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mpc_router.messages import one_line, quoted, shown
from mpc_router.settings.rules import ConfigError

FOLDER: Final = ".venv-secure"
"""It is the environment that `make secure` makes."""

_CHECKOUT: Final = Path(__file__).resolve().parents[2]
_LIBRARIES: Final = ("jax", "numpy", "spu")
_REMEDY: Final = (
    "`make secure` makes one in a checkout; without a checkout: python3.11 -m venv DIR; "
    "DIR/bin/pip install spu==0.9.5 jax==0.4.34 jaxlib==0.4.34 numpy==1.26.4; and give "
    "--python DIR/bin/python"
)
_HANDED_ON: Final = re.compile(r"PATH|HOME|TMPDIR|LANG|LC_\w+|LD_LIBRARY_PATH|OMP_\w+")
"""It names the variables of ours that a party gets. No secret is among them, and no path to our
packages."""

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
    """Gives the Python of `--python`, else that of `make secure` in the checkout.

    The current folder is not searched: a stranger may have written it.

    Raises:
        SecureError: there is none, or it lacks a library.
    """
    path = asked or _CHECKOUT / FOLDER / "bin" / "python"
    if not path.is_file():
        raise SecureError(f"no Python with spu was found at {shown(path)}; {_REMEDY}")
    try:
        answer = subprocess.run(
            [path.absolute(), "-c", _VERSIONS],
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            env={**environment(), "PYTHONSAFEPATH": "1"},  # nothing of the current folder
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SecureError(_refusal(path, str(error))) from error
    if answer.returncode:
        raise SecureError(_refusal(path, (answer.stderr.strip().splitlines() or ["it failed"])[-1]))
    try:
        versions = json.loads(answer.stdout)
    except ValueError:
        versions = None
    if not isinstance(versions, dict) or not all(
        isinstance(versions.get(library), str) for library in _LIBRARIES
    ):
        raise SecureError(_refusal(path, f"it printed {quoted(answer.stdout[:80])}"))
    return OtherPython(path.absolute(), versions)


def environment() -> dict[str, str]:
    """Gives the variables of a process of the other Python: few of ours, and no secret."""
    variables = {name: value for name, value in os.environ.items() if _HANDED_ON.fullmatch(name)}
    return {**variables, "PYTHONNOUSERSITE": "1", "JAX_PLATFORMS": "cpu"}


def _refusal(path: Path, reason: str) -> str:
    return f"{shown(path)} cannot import spu, jax and numpy ({one_line(reason)[:200]}); {_REMEDY}"
