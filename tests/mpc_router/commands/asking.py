"""Commands called in this process, as a user calls them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence

import pytest

from tests.mpc_router.commands.conftest import Answer

HEAVY = {"torch", "transformers", "numpy", "pyarrow", "yaml", "rich", "pandas", "ray"}


def asked(
    main: Callable[[Sequence[str]], int],
    capfd: pytest.CaptureFixture[str],
    *arguments: str,
) -> Answer:
    """What a command says to these arguments."""
    capfd.readouterr()
    try:
        code = main(arguments)
    except SystemExit as error:
        code = int(error.code or 0)
    said = capfd.readouterr()
    return Answer(code, said.out, said.err)


def refused(answer: Answer, *words: str) -> None:
    """One line on stderr that holds these words, exit code 2, and no result."""
    assert answer.code == 2, answer
    assert answer.out == ""
    line = answer.err.splitlines()[-1]
    assert line.startswith("error: ")
    assert answer.err.count("error:") == 1
    for word in words:
        assert word in line


def loaded_for_help(module: str) -> set[str]:
    """The heavy packages that `--help` of a command loads."""
    code = (
        "import sys, contextlib, io\n"
        f"from {module} import main\n"
        "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):\n"
        "    main(['--help'])\n"
        "print(*{name.partition('.')[0] for name in sys.modules})\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return HEAVY & set(done.stdout.split())
