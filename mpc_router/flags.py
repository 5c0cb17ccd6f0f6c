"""The argument parser that all commands share: errors are one message, near flags are named."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

from mpc_router.messages import LONGEST_VALUE, one_line, quoted, shortened
from mpc_router.paths import fault

BAD_INPUT: Final = 2

_LITERAL: Final = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"")
"""A value as argparse repeats it."""


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one message, and which guesses no flag."""

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
        """As argparse does, but an unknown flag is said first, with the nearest one."""
        self.check_flags(args)
        found, rest = self.parse_known_args(args, namespace)
        return self._nothing_else(found, rest)

    def parse_intermixed_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse does, but an unknown flag is said first, with the nearest one."""
        self.check_flags(args)
        found, rest = self.parse_known_intermixed_args(args, namespace)
        return self._nothing_else(found, rest)

    def _nothing_else(self, found: Any, rest: Sequence[str]) -> Any:
        if rest:
            self.error(f"{quoted(rest[0])} is one argument too many; see --help")
        return found

    def check_flags(self, args: Iterable[str] | None, also: Collection[str] = ()) -> None:
        """Ends with a message if a word is a flag that neither the parser nor `also` knows."""
        known = {*self.flags(), *also}
        for word in args or ():
            if word == "--":
                return
            flag = word.partition("=")[0]
            if re.match(r"--?[^-\d.\s]", word) and " " not in flag and flag not in known:
                self.error(_unknown_flag(flag, known))

    def flags(self) -> set[str]:
        """All flags, those of commands below it too."""
        known = set(self._option_string_actions)
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                for each in action.choices.values():
                    known |= each.flags()
        return known

    def error(self, message: str) -> NoReturn:
        """Ends with one message on stderr and exit code 2."""
        cut = _LITERAL.sub(lambda literal: shortened(literal[0], LONGEST_VALUE), message)
        self.exit(BAD_INPUT, f"error: {one_line(cut)}\n")


def _unknown_flag(flag: str, known: Collection[str]) -> str:
    """A message about a flag that is not known, with the nearest ones or all of them."""
    close = difflib.get_close_matches(flag, known, n=2)
    hint = f"did you mean {' or '.join(close)}?" if close else f"known are {_listed(known)}"
    return f"there is no flag {quoted(flag)}; {hint}"


def _listed(flags: Iterable[str]) -> str:
    return ", ".join(sorted(flag for flag in flags if flag.startswith("--")))


def place(text: str) -> Path:
    """The type of a flag that names a file or a folder.

    Raises:
        argparse.ArgumentTypeError: no such path can be.
    """
    why = fault(text)
    if why is not None:
        raise argparse.ArgumentTypeError(f"{quoted(text)} {why}")
    return Path(text)


def number(kind: type[float]) -> Callable[[str], float]:
    """The type of a flag that takes a decimal number; `kind` is float or int.

    Raises:
        argparse.ArgumentTypeError: (of the type) the text is none.
    """
    pattern = r"[-+]?(0|[1-9]\d{0,17})" if kind is int else r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?"

    def parse(text: str) -> float:
        if not re.fullmatch(pattern, text, flags=re.ASCII | re.IGNORECASE):
            what = "a whole number such as 3" if kind is int else "a number such as 0.01"
            raise argparse.ArgumentTypeError(f"{quoted(text)} is not {what}")
        value = kind(text)
        if value == 0 and re.search("[1-9]", text.lower().partition("e")[0]):
            raise argparse.ArgumentTypeError(f"{quoted(text)} is 0 to a computer; write 0, or more")
        return value + 0

    return parse
