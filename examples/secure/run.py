"""Answers texts through a router on shares of two parties, and compares with the clear router.

    python examples/secure/run.py EXPORTED --texts FILE [--count 50] [--tokens 32] [--python PATH]

EXPORTED is a folder of `mpc-router-export` whose router is gated; FILE is Parquet with the task's
text columns. Two processes of `routed.py` hold shares and speak over TCP. README.md says more.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from mpc_router.messages import one_line, shown
from mpc_router.model.sources import ModelError
from mpc_router.results.assembly import assemble_export
from mpc_router.results.checkpoint import CheckpointError
from mpc_router.secure import programs
from mpc_router.secure.environment import other_python
from mpc_router.secure.jobs import PROTOCOLS, PartyError, on_loopback, run_parties
from mpc_router.secure.parts import (
    Options,
    SecurePart,
    check_lengths,
    checked_length,
    secure_parts,
)
from mpc_router.settings.rules import ConfigError
from mpc_router.terminal.flags import BAD_INPUT, Parser, number, place
from mpc_router.terminal.streams import say_error

ROUTED = Path(__file__).with_name("routed.py")
TOKENS = ("input_ids", "token_type_ids", "attention_mask")


FAILED = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Answers as the flags say; gives the exit code: 2 for bad input, 3 for a party that died."""
    options = parser().parse_args(arguments)
    try:
        answer(options)
    except (ConfigError, ModelError, CheckpointError) as error:
        return say_error(str(error), BAD_INPUT)
    except PartyError as error:
        return say_error(str(error), FAILED)
    return 0


def answer(options: argparse.Namespace) -> None:
    """Prepares files, runs both parties, and compares."""
    if options.count < 1:
        raise ConfigError(f"--count is {options.count}, but must be at least 1")
    python = other_python(options.python)
    assembled = assemble_export(options.exported)
    parts = secure_parts(assembled, Options(tokens=(options.tokens,), largest=0))
    check_lengths(assembled, parts, [options.tokens])
    texts = read_texts(options.texts, list(assembled.task.columns), options.count)
    names = ["router", *(f"expert{number}" for number in range(len(parts) - 1))]
    encodings = [encoded(assembled.tokenizers[part.tokenizer], texts, options) for part in parts]
    with tempfile.TemporaryDirectory(prefix="mpc-router-secure-") as name:
        folder = Path(name)
        write_files(folder, dict(zip(names, parts, strict=True)), encodings, options.protocol)
        run_parties([str(python.path), str(ROUTED), str(folder)], folder, show_answer)
        answers = json.loads((folder / "answers.json").read_text(encoding="utf-8"))
    compare(assembled, encodings, parts, answers)


def parser() -> Parser:
    """Gives the parser of the command line."""
    command_line = Parser("run.py", str(__doc__))
    add = command_line.add_argument
    add("exported", type=place)
    add("--texts", type=place, required=True)
    add("--count", type=number(int), default=50)
    add("--tokens", type=number(int), default=32)
    add("--protocol", choices=list(PROTOCOLS), default="semi2k")
    add("--python", type=place)
    return command_line


def read_texts(path: Path, columns: list[str], count: int) -> list[tuple[str, ...]]:
    """Gives the first texts of a Parquet file, a tuple a row.

    Raises:
        ConfigError: it cannot be read, lacks a column, or holds no text.
    """
    try:
        table = pq.read_table(path, columns=columns).slice(0, count)
    except (OSError, pa.ArrowException) as error:
        raise ConfigError(
            f"--texts {shown(path)} cannot be read ({one_line(str(error))[:200]}); give a Parquet "
            f"file with the columns {', '.join(columns)}"
        ) from error
    rows = [tuple(row[column] for column in columns) for row in table.to_pylist()]
    if not rows or not all(isinstance(text, str) for row in rows for text in row):
        raise ConfigError(
            f"--texts {shown(path)} has no row, or a cell that is no text, in the columns "
            f"{', '.join(columns)}; give another file"
        )
    return rows


def encoded(tokenizer: Any, texts: list[tuple[str, ...]], options: argparse.Namespace) -> Any:
    """Gives tokens, segments and mask of all texts, each (N, T), cut and padded."""
    columns = [list(column) for column in zip(*texts, strict=True)]
    encoding = tokenizer(
        *columns,
        truncation=True,
        max_length=options.tokens,
        padding="max_length",
        return_token_type_ids=True,
        return_tensors="np",
    )
    checked_length(encoding["input_ids"], options.tokens)
    return [encoding[name] for name in TOKENS]


def show_answer(line: str) -> None:
    """Prints a line of party 0 if it is of an answer; its library says more."""
    if re.fullmatch(r"\d+ of \d+: expert \d+", line):
        print(line, flush=True)


def write_files(
    folder: Path, parts: dict[str, SecurePart], encodings: list[Any], protocol: str
) -> None:
    """Writes what each party has, and what both know."""
    client: dict[str, Any] = {}
    owner: dict[str, Any] = {}
    plans = {}
    for (name, part), (ids, segments, mask) in zip(parts.items(), encodings, strict=True):
        weights = part.encoder.weights
        held = [weight for weight in weights if weight.startswith(("layer", "dense"))]
        owner |= {f"{name}.{weight}": weights[weight] for weight in held}
        client |= {f"{name}.table.{key}": weights[key] for key in weights if key not in held}
        client |= {f"{name}.ids": ids, f"{name}.segments": segments, f"{name}.mask": mask}
        plans[name] = {
            "form": part.encoder.plain_form(),
            "tokens": ids.shape[1],
            "weights": {weight: list(weights[weight].shape) for weight in held},
        }
    np.savez(folder / "client.npz", **client)
    np.savez(folder / "owner.npz", **owner)
    plan = {
        "programs": str(Path(programs.__file__).parent),
        "addresses": on_loopback()[0],
        "protocol": PROTOCOLS[protocol],
        "texts": len(encodings[0][0]),
        "experts": len(parts) - 1,
        "parts": plans,
    }
    (folder / "plan.json").write_text(json.dumps(plan), encoding="utf-8")


def compare(
    assembled: Any, encodings: list[Any], parts: list[SecurePart], answers: list[dict[str, Any]]
) -> None:
    """Prints routes, answers and seconds beside those of the clear router on the same tokens."""
    model = assembled.model
    tensors = [[torch.as_tensor(array) for array in encoding] for encoding in encodings]
    by_tokenizer = {part.tokenizer: at for at, part in enumerate(parts)}
    order = [tensors[by_tokenizer[number]] for number in sorted(by_tokenizer)]
    ids, segments, mask = (
        order[0] if len(order) == 1 else [tuple(values) for values in zip(*order, strict=True)]
    )
    with torch.inference_mode():
        outputs, routes = model.forward_inference(ids, mask, segments)
    secure_outputs = np.array([answer["outputs"] for answer in answers])
    same_routes = sum(
        answer["route"] == int(route) for answer, route in zip(answers, routes, strict=True)
    )
    same_answers = int((secure_outputs.argmax(-1) == outputs.numpy().argmax(-1)).sum())
    is_same_route = np.array([a["route"] for a in answers]) == routes.numpy()
    errors = np.abs(secure_outputs - outputs.numpy())[is_same_route]
    seconds = np.array([answer["seconds"] for answer in answers])
    routing = np.array([answer["router_seconds"] for answer in answers])
    worked = np.array([answer["worked"] for answer in answers])
    print(f"{len(answers)} texts: routes equal in {same_routes}, answers in {same_answers}")
    if len(errors):
        print(f"outputs within {errors.max():.1e} of the clear ones")
    print(
        f"seconds a text: {seconds.mean():.2f} passed, {routing.mean():.2f} of them for the route"
    )
    for expert in range(len(parts) - 1):
        rows = np.array([answer["route"] == expert for answer in answers])
        if rows.any():
            print(
                f"  expert {expert}: {rows.sum()} texts, {seconds[rows].mean():.2f} s passed, "
                f"{worked[rows].mean():.2f} s of the client's work"
            )


if __name__ == "__main__":
    sys.exit(main())
