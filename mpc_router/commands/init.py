"""`mpc-router-init DIR`: looks at labelled texts and models, and writes a study that runs.

Exit codes: 0 done; 2 the input is wrong; 3 the surroundings failed; 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from mpc_router.commands._exits import DONE, InputError, ended
from mpc_router.messages import quoted, shown
from mpc_router.plain_names import PLAIN, is_plain
from mpc_router.storage.paths import cannot_be_made
from mpc_router.terminal.flags import Parser, place
from mpc_router.terminal.streams import command, tell
from mpc_router.threads import sleep_while_waiting

_EXAMPLES: Final = """\
  mpc-router-init tickets
  mpc-router-init tickets --models models/small models/large
  mpc-router-init tickets --text subject body --label queue --name queues
"""


def parser() -> argparse.ArgumentParser:
    """Gives the parser of the command line."""
    command_line = Parser(
        "mpc-router-init",
        "Look at labelled texts and some models, and write a study that runs, with comments.",
        _EXAMPLES,
    )
    add = command_line.add_argument
    add("folder", type=place, metavar="DIR", help="holds the data, and models if there are any")
    add("--data", type=place, metavar="PATH", help="a file or folder of data elsewhere")
    add(
        "--models",
        type=place,
        nargs="+",
        metavar="PATH",
        help="folders of models elsewhere, or folders that hold some",
    )
    add("--text", nargs="+", default=[], metavar="COLUMN", help="the texts, or the two of a pair")
    add("--label", metavar="COLUMN", help="the label")
    add("--name", metavar="NAME", help="of study and task (default: the folder's)")
    add("--out", type=place, metavar="FILE", help="the study (default: DIR/NAME.yaml)")
    add("--cache", type=place, metavar="DIR", help="what is prepared (default: the user's cache)")
    return command_line


@command("")
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    sleep_while_waiting()
    args = parser().parse_args(sys.argv[1:] if arguments is None else arguments)
    return ended(lambda: _command(args), stopped="stopped; nothing was written")


def _command(args: argparse.Namespace) -> int:
    folder: Path = args.folder
    if not folder.is_dir():
        missing = "is no folder" if folder.exists() else "is not there"
        raise InputError(
            f"{shown(folder)} {missing}; give a folder, which the study is written into, and name "
            "a file of data elsewhere by --data FILE"
        )
    name = _name(args.name, folder)
    out: Path = args.out or folder / f"{name}.yaml"
    if out.suffix not in (".yaml", ".yml"):
        raise InputError(f"--out is {quoted(str(out))}, but a study's file ends in .yaml")
    if os.path.lexists(out):
        raise InputError(
            f"{shown(out)} is there already; give another --name or --out, or remove it"
        )
    if (why := cannot_be_made("--out", out.parent)) is not None:
        raise InputError(why)
    import platformdirs

    from mpc_router.commands.first_study._study_text import study_text, summary
    from mpc_router.commands.first_study.first_look import Look, found_by

    cache: Path = args.cache or platformdirs.user_cache_path("mpc-router")
    findings = found_by(
        Look(
            folder=folder,
            out=out,
            name=name,
            data=args.data,
            models=tuple(args.models or ()),
            texts=tuple(args.text),
            label=args.label,
            cache=cache.absolute(),
            step=_step,
        )
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("x", encoding="utf-8") as file:
        file.write(study_text(findings))
    print(summary(findings))
    return DONE


def _name(given: str | None, folder: Path) -> str:
    if given is not None:
        if not is_plain(given):
            raise InputError(f"--name is {quoted(given)}, but must be {PLAIN}")
        return given
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", folder.absolute().resolve().name).strip("._-")[:100]
    return plain or "task"


def _step(text: str) -> None:
    """Says what is done now, to a person who waits."""
    if sys.stderr.isatty():
        tell(f"{text} ...")


if __name__ == "__main__":
    sys.exit(main())
