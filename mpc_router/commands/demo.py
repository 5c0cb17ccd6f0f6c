"""`mpc-router-demo --checkpoint PATH [TEXT ...]`: which expert takes a sentence, and its answer.

Exit codes: 0 done; 2 the input is wrong; 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from mpc_router.commands._exits import DONE, InputError, ended
from mpc_router.commands.places import add_place_flags
from mpc_router.commands.routers import (
    Chosen,
    add_router_flags,
    assembled_of,
    bias_of,
    refuse_idle_vector,
)
from mpc_router.terminal.completion import complete_tasks, completed_by
from mpc_router.terminal.flags import Parser, add_trust_flag
from mpc_router.terminal.streams import command

if TYPE_CHECKING:
    from mpc_router.results.assembled import Assembled
    from mpc_router.serve.answers import Answer
    from mpc_router.serve.classifier import RoutedClassifier
    from mpc_router.tasks import Task

_EXAMPLES: Final = """\
  mpc-router-demo --checkpoint outputs/sst2_best_model "a joy from start to end"
  mpc-router-demo --checkpoint outputs/mrpc_best_model "He bought it." "It was bought by him."
  mpc-router-demo --checkpoint outputs/mrpc_best_model      # asks for sentences
"""

_HEADINGS: Final = {"sst2": "Sentiment"}
_HEADING: Final = "Label"
"""Name what a label is, by task; the published demo is of SST-2."""

_BAR: Final = 24
"""Characters of a bar that is full."""


def parser() -> Parser:
    """Gives the parser of the command line."""
    command_line = Parser(
        "mpc-router-demo",
        "Ask a trained router: which expert takes a sentence, and what it answers.",
        _EXAMPLES,
    )
    add = command_line.add_argument
    add("texts", nargs="*", metavar="TEXT", help="sentences, for tasks of pairs two at a time")
    add_router_flags(command_line)
    task = add("--task", metavar="NAME", help="refuse a checkpoint of another task")
    completed_by(task, complete_tasks)
    add("--strict", action="store_true", help="refuse text that is longer than the model takes")
    add_place_flags(command_line)
    add_trust_flag(command_line)
    return command_line


@command("")
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    args = parser().parse_args(sys.argv[1:] if arguments is None else arguments)
    from mpc_router.plugins import trust

    trust(args.trust)
    return demo(args)


def demo(args: argparse.Namespace, chosen: Chosen | None = None) -> int:
    """Does what the flags say, with the bias that was chosen if any; gives the exit code."""
    return ended(lambda: _command(args, chosen), stopped="stopped")


def _command(args: argparse.Namespace, chosen: Chosen | None) -> int:
    sentences = list(args.texts)
    if any(not text.strip() for text in sentences):
        raise InputError("a sentence is empty; give text, or none at all to be asked for it")
    refuse_idle_vector(args, chosen)
    from mpc_router.costs import CONSTANTS
    from mpc_router.serve.classifier import RoutedClassifier

    assembled = assembled_of(args)
    if assembled.note:
        print(f"note: {assembled.note}", file=sys.stderr)
    if (bias := bias_of(args, assembled, chosen)) is not None:
        from mpc_router.results.bias import add

        assembled = add(assembled, bias)
    width = len(assembled.task.columns)
    if len(sentences) % width:
        raise InputError(
            f"{assembled.task.name} takes pairs ({' and '.join(assembled.task.columns)}), and "
            f"{len(sentences)} sentences are no pairs; give two for each"
        )
    strict = args.strict or assembled.strict
    router = RoutedClassifier(assembled, vector=CONSTANTS, strict=False, device="cpu")
    if sentences:
        examples = [sentences[start : start + width] for start in range(0, len(sentences), width)]
        for texts in examples:  # all of them before the first answer
            _check(assembled, texts, strict=strict)
        for texts in examples:
            _show(router, texts)
        return DONE
    print(_greeting(assembled), file=sys.stderr)
    for texts in _asked(assembled.task.columns):
        try:
            _check(assembled, texts, strict=strict)
            _show(router, texts)
        except InputError as error:
            print(f"error: {error}", file=sys.stderr)
    return DONE


def _greeting(assembled: Assembled) -> str:
    names = ", ".join(_experts(assembled))
    return f"{assembled.task.name}: {names}; an empty line asks again, Ctrl-D ends"


def _asked(columns: Sequence[str]) -> Iterator[list[str]]:
    """Gives texts from the terminal or a pipe, one for each column, until there are no more."""
    while True:
        texts: list[str] = []
        for column in columns:
            while not (line := _line(column)).strip():
                if line == "":
                    if texts:
                        raise InputError(f"a pair lacks its {column}; give two lines for each")
                    return
                print("that is empty; write a sentence, or end with Ctrl-D", file=sys.stderr)
            texts.append(line.strip())
        yield texts


def _line(column: str) -> str:
    """Gives the next line with its end; empty text when there is none."""
    if sys.stdin.isatty():
        print(f"{column}> ", end="", flush=True)
        line = sys.stdin.readline()
        if not line:
            print()
        return line
    return sys.stdin.readline()


def _excess(assembled: Assembled, texts: Sequence[str]) -> tuple[int, int] | None:
    """Gives the tokens of an example and what the model takes, where that is less; else None.

    Of several tokenizers it is the one that loses most.
    """
    pairs = zip(assembled.lengths(texts), assembled.limits, strict=True)
    tokens, limit = max(pairs, key=lambda pair: pair[0] - pair[1])
    return (tokens, limit) if tokens > limit else None


def _is_text(text: str) -> bool:
    """Says whether a text is UTF-8: other bytes reach Python as lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _label_words(task: Task, answer: Answer) -> str:
    """Gives an answer's label as people read it, its first letter a capital, as published."""
    if isinstance(answer.label, str):
        words = answer.label.replace("_", " ")
        return words[:1].upper() + words[1:]
    bounds = " on {:g} to {:g}".format(*task.label_range) if task.label_range else ""
    return f"{answer.label:.2f}{bounds}"


def _experts(assembled: Assembled) -> list[str]:
    from mpc_router.commands._training_log import expert_words

    model = assembled.config.model
    return expert_words(list(zip(model.expert_model_names, model.expert_layers, strict=True)))


def _numbers(path: Sequence[int]) -> str:
    return "experts " + ", ".join(map(str, path))


def _check(assembled: Assembled, texts: Sequence[str], *, strict: bool) -> None:
    """Refuses an example that cannot be answered.

    Raises:
        InputError: it is no text, or longer than the model takes and `strict` refuses to cut it.
    """
    for text in texts:
        if not _is_text(text):
            raise InputError("a sentence holds bytes that are no UTF-8; give text")
    excess = _excess(assembled, texts)
    if excess is not None and strict:
        raise InputError(
            f"the text has {excess[0]} tokens, the model takes {excess[1]}; shorten it, or "
            "leave out --strict to have it cut"
        )


def _show(router: RoutedClassifier, texts: Sequence[str]) -> None:
    """Prints the answer to one example."""
    excess = _excess(router.assembled, texts)
    with warnings.catch_warnings(action="ignore"):  # what is cut is said below
        (reply,) = router([tuple(texts) if len(texts) > 1 else texts[0]])  # type: ignore[list-item]
    print("\n".join(f"  {text}" for text in texts))
    if excess is not None:
        print(f"  (cut: {excess[0]} tokens, the model takes {excess[1]})")
    names, vector = _experts(router.assembled), router.vector
    print(f"  {_HEADINGS.get(router.task.name, _HEADING)}: {_label_words(router.task, reply)}")
    if reply.probability is not None:
        print(f"  Confidence: {100 * reply.probability:.1f}%")
    print(f"  Expert: [{reply.expert}] {names[reply.expert]}")
    if len(reply.path) > 1:
        print(f"  Ran: {', '.join(f'[{number}]' for number in reply.path)}")
    print("  Router Scores:")
    paths = router.paths
    called = [names[path[0]] if len(path) == 1 else _numbers(path) for path in paths]
    width = max(map(len, called))
    best = max(range(len(paths)), key=reply.scores.__getitem__)
    for number, (name, score) in enumerate(zip(called, reply.scores, strict=True)):
        bar = "\N{FULL BLOCK}" * round(_BAR * score)
        arrow = " <--" if number == best else ""
        print(f"    [{number}] {name:<{width}} {bar:<{_BAR}} {100 * score:5.1f}%{arrow}")
    saved = 1 - reply.cost / max(vector.experts)
    verb = "saved" if saved >= 0 else "more than"
    print(
        f"  Cost: {reply.cost:.4g} {vector.unit}, router paid: {100 * abs(saved):.0f}% {verb} "
        f"{'against ' if saved >= 0 else ''}the largest alone ({max(vector.experts):g})\n"
    )


if __name__ == "__main__":
    sys.exit(main())
