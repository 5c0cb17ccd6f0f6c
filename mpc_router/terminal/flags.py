"""The module holds the argument parser of all commands: errors are one message, with near flags."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

from mpc_router.messages import LONGEST_VALUE, one_line, quoted, shortened
from mpc_router.storage.paths import fault
from mpc_router.terminal.completion import answer_shell

BAD_INPUT: Final = 2

_LITERAL: Final = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"")
"""It finds a value as argparse repeats it."""


class Parser(argparse.ArgumentParser):
    """Parses arguments with errors of one message, and without guessing flags."""

    def __init__(
        self, prog: str, description: str = "", examples: str = "", **options: Any
    ) -> None:
        super().__init__(
            prog=prog,
            description=description,
            epilog=f"examples:\n{examples}" if examples else None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            **{"allow_abbrev": False, **options},
        )

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parses as argparse does, but reports an unknown flag first, with the nearest one."""
        self.check_flags(args)
        parsed, extra_words = self.parse_known_args(args, namespace)
        return self._without_extra(parsed, extra_words)

    def parse_intermixed_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parses as argparse does, but reports an unknown flag first, with the nearest one."""
        self.check_flags(args)
        parsed, extra_words = self.parse_known_intermixed_args(args, namespace)
        return self._without_extra(parsed, extra_words)

    def _without_extra(self, parsed: Any, extra_words: Sequence[str]) -> Any:
        """Gives what was parsed; ends with a message if words are left over."""
        if extra_words:
            self.error(f"{quoted(extra_words[0])} is one argument too many; see --help")
        return parsed

    def check_flags(self, args: Iterable[str] | None, also: Collection[str] = ()) -> None:
        """Ends with a message if a word is a flag that neither the parser nor `also` has.

        A shell that asks for completions is answered before.
        """
        answer_shell(self)
        flags = {*self.flags(), *also}
        for word in args or ():
            if word == "--":
                return
            flag = word.partition("=")[0]
            if re.match(r"--?[^-\d.\s]", word) and " " not in flag and flag not in flags:
                self.error(_unknown_flag(flag, flags))

    def flags(self) -> set[str]:
        """Gives all flags, those of subcommands too."""
        flags = set(self._option_string_actions)
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                for subparser in action.choices.values():
                    flags |= subparser.flags()
        return flags

    def error(self, message: str) -> NoReturn:
        """Ends with one message on stderr and exit code 2."""
        text = _LITERAL.sub(lambda literal: shortened(literal[0], LONGEST_VALUE), message)
        self.exit(BAD_INPUT, f"error: {one_line(text)}\n")


def _unknown_flag(flag: str, flags: Collection[str]) -> str:
    """Writes the message about a flag that does not exist, with the nearest flags or all."""
    import difflib

    close = difflib.get_close_matches(flag, flags, n=2)
    hint = f"did you mean {' or '.join(close)}?" if close else f"known are {_listed(flags)}"
    return f"there is no flag {quoted(flag)}; {hint}"


def _listed(flags: Iterable[str]) -> str:
    """Lists flags for a message."""
    return ", ".join(sorted(flag for flag in flags if flag.startswith("--")))


def add_trust_flag(command_line: argparse.ArgumentParser) -> None:
    """Adds `--trust NAME`, which may be repeated, to a command that reads a folder."""
    command_line.add_argument(
        "--trust",
        action="append",
        default=[],
        metavar="NAME",
        help="load this part, which a folder names (module:name); may be repeated",
    )


def add_choice_flags(command_line: argparse.ArgumentParser) -> None:
    """Adds `--at-most`, `--reach` and `--knee`, of which one may be given: what to choose."""
    wanted = command_line.add_mutually_exclusive_group()
    add = wanted.add_argument
    add("--at-most", type=number(float), metavar="COST", help="the best router for this cost")
    add("--reach", type=number(float), metavar="SCORE", help="the cheapest router of this score")
    add("--knee", action="store_true", help="where more cost stops buying much")


def place(text: str) -> Path:
    """Reads a flag that names a file or a folder.

    Raises:
        argparse.ArgumentTypeError: the text cannot be a path.
    """
    why = fault(text)
    if why is not None:
        raise argparse.ArgumentTypeError(f"{quoted(text)} {why}")
    return Path(text)


def number(kind: type[float]) -> Callable[[str], float]:
    """Makes the reader of a flag that takes a decimal number; `kind` is float or int.

    Raises:
        argparse.ArgumentTypeError: (by the reader) the text is not a number.
    """
    pattern = r"[-+]?(0|[1-9]\d{0,17})" if kind is int else r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?"

    def parse(text: str) -> float:
        if not re.fullmatch(pattern, text, flags=re.ASCII | re.IGNORECASE):
            wanted = "a whole number such as 3" if kind is int else "a number such as 0.01"
            raise argparse.ArgumentTypeError(f"{quoted(text)} is not {wanted}")
        value = kind(text)
        if value == 0 and re.search("[1-9]", text.lower().partition("e")[0]):
            raise argparse.ArgumentTypeError(f"{quoted(text)} is 0 to a computer; write 0, or more")
        return value + 0

    return parse
