"""Answers texts through a router on shares of two parties, and compares with the clear router.

    python examples/secure/run.py EXPORTED --texts FILE [--count 50] [--tokens 32] [--python PATH]

EXPORTED is a folder of `mpc-router-export` whose router is gated; FILE is Parquet with the task's
text columns. Two processes of `routed.py` hold shares and speak over TCP. README.md says more.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch

from mpc_router.results.assembly import assemble_export
from mpc_router.secure import programs
from mpc_router.secure.environment import environment, other_python
from mpc_router.secure.jobs import PROTOCOLS, on_loopback
from mpc_router.secure.pool import Options, SecurePart, secure_parts

ROUTED = Path(__file__).with_name("routed.py")
TOKENS = ("input_ids", "token_type_ids", "attention_mask")


def main() -> None:
    """Prepares files, runs both parties, and compares."""
    options = parser().parse_args()
    assembled = assemble_export(options.exported)
    rows = pq.read_table(options.texts, columns=list(assembled.task.columns)).to_pylist()
    texts = [tuple(row.values()) for row in rows[: options.count]]
    parts = secure_parts(assembled, Options(tokens=(options.tokens,), largest=0))
    names = ["router", *(f"expert{number}" for number in range(len(parts) - 1))]
    encodings = [encoded(assembled.tokenizers[part.tokenizer], texts, options) for part in parts]
    python = other_python(options.python)
    with tempfile.TemporaryDirectory(prefix="mpc-router-secure-") as name:
        folder = Path(name)
        write_files(folder, dict(zip(names, parts, strict=True)), encodings, options.protocol)
        run_parties(python.path, folder)
        answers = json.loads((folder / "answers.json").read_text(encoding="utf-8"))
    compare(assembled, encodings, parts, answers)


def parser() -> argparse.ArgumentParser:
    """Gives the parser of the command line."""
    made = argparse.ArgumentParser(description=__doc__)
    made.add_argument("exported", type=Path)
    made.add_argument("--texts", type=Path, required=True)
    made.add_argument("--count", type=int, default=50)
    made.add_argument("--tokens", type=int, default=32)
    made.add_argument("--protocol", choices=list(PROTOCOLS), default="semi2k")
    made.add_argument("--python", type=Path)
    return made


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
    return [encoding[name] for name in TOKENS]


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


def run_parties(python: Path, folder: Path) -> None:
    """Runs both processes; the client's lines are shown."""
    processes = []
    logs = []
    for rank in (0, 1):
        log = (folder / f"log.{rank}").open("w+b")
        command = [python, ROUTED, folder, str(rank)]
        processes.append(
            subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment()
            )
        )
        logs.append(log)
    try:
        while None in (codes := [process.poll() for process in processes]) and not any(codes):
            time.sleep(0.2)
    finally:
        for process in processes:
            process.kill()
            process.wait()
    if any(codes):
        last = [(folder / f"log.{rank}").read_text("utf-8", "replace")[-2000:] for rank in (0, 1)]
        sys.exit(f"a party failed: {last}")


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
    said = np.array([answer["outputs"] for answer in answers])
    same_routes = sum(
        answer["route"] == int(route) for answer, route in zip(answers, routes, strict=True)
    )
    same_answers = int((said.argmax(-1) == outputs.numpy().argmax(-1)).sum())
    kept = np.array([a["route"] for a in answers]) == routes.numpy()
    errors = np.abs(said - outputs.numpy())[kept]
    seconds = np.array([answer["seconds"] for answer in answers])
    routing = np.array([answer["router_seconds"] for answer in answers])
    worked = np.array([answer["worked"] for answer in answers])
    print(f"{len(answers)} texts: routes equal in {same_routes}, answers in {same_answers}")
    print(f"outputs within {errors.max():.1e} of the clear ones")
    print(
        f"seconds a text: {seconds.mean():.2f} passed, {routing.mean():.2f} of them for the route"
    )
    for number in range(len(parts) - 1):
        rows = np.array([answer["route"] == number for answer in answers])
        if rows.any():
            print(
                f"  expert {number}: {rows.sum()} texts, {seconds[rows].mean():.2f} s passed, "
                f"{worked[rows].mean():.2f} s of the client's work"
            )


if __name__ == "__main__":
    main()
