"""Plays one party of a routed answer: `python routed.py FOLDER RANK`, in the Python with `spu`.

Party 0 has the texts and the embedding tables, party 1 the other weights. Of every text the parties
compute stem and router on shares, and the argmax; the route is opened to both, for it decides what
runs next; then the chosen expert alone runs on shares, and its outputs are opened to party 0.

It reads FOLDER/plan.json, party 0 FOLDER/client.npz and party 1 FOLDER/owner.npz, and party 0
writes FOLDER/answers.json.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

_FOLDER = Path(sys.argv[1])
_PLAN = json.loads((_FOLDER / "plan.json").read_text(encoding="utf-8"))
sys.path.insert(0, _PLAN["programs"])  # the programs of mpc_router.secure, by path

import encoders  # noqa: E402
import numpy as np  # noqa: E402
from party import CLIENT, OWNER, Job, Party, compiled, end_with_parent  # noqa: E402
from scipy import special  # noqa: E402

LIBRARY = encoders.Library(np, special.erf, lambda values: 1 / np.sqrt(values))


class Part:
    """Holds an encoder that both parties know the sizes of, compiled."""

    def __init__(self, name: str, plan: dict[str, Any]) -> None:
        self.name, self.form = name, encoders.Form.of(plan["form"])
        self._sizes: dict[str, Any] = plan["weights"]
        tokens, width = plan["tokens"], self.form.width
        job = Job("encoder", self.form, {"hidden": [tokens, width], "mask": [tokens]}, self._sizes)
        inputs = [f"{name}.hidden", f"{name}.mask"]
        weights = [f"{name}.{weight}" for weight in self._sizes]
        self._program = compiled(job, inputs, weights, f"{name}.output")

    def share_weights(self, party: Party, arrays: Any) -> None:
        """Shares the owner's weights, once for all texts."""
        for weight in self._sizes:
            tensor = arrays[f"{self.name}.{weight}"] if party.rank == OWNER else None
            party.share(f"{self.name}.{weight}", OWNER, tensor)

    def run(self, party: Party, hidden: Any, mask: Any) -> None:
        """Shares the client's embedded text, and runs the encoder on it."""
        party.share(f"{self.name}.hidden", CLIENT, hidden)
        party.share(f"{self.name}.mask", CLIENT, mask)
        party.run(self._program)


def embedded(name: str, part: Part, arrays: Any, text: int) -> tuple[Any, Any]:
    """Gives a text as a part's layers take it: looked up by the client in its own tables."""
    start = f"{name}.table."
    tables = {key.removeprefix(start): arrays[key] for key in arrays if key.startswith(start)}
    ids, segments = arrays[f"{name}.ids"][text], arrays[f"{name}.segments"][text]
    rows = encoders.embedded(tables, ids, segments, part.form, LIBRARY)
    return rows.astype(np.float32), arrays[f"{name}.mask"][text].astype(np.float32)


def main() -> None:
    """Answers all texts."""
    end_with_parent()
    rank = int(sys.argv[2])
    parts = {name: Part(name, plan) for name, plan in _PLAN["parts"].items()}
    numbers = _PLAN["experts"]
    argmax = compiled(
        Job("argmax", None, {"scores": [numbers]}, {}), ["router.output"], [], "route"
    )
    party = Party(rank, _PLAN["addresses"], _PLAN["protocol"])
    arrays = dict(np.load(_FOLDER / ("client.npz" if rank == CLIENT else "owner.npz")))
    for part in parts.values():
        part.share_weights(party, arrays)
    answers = []
    for text in range(_PLAN["texts"]):
        began, worked = time.perf_counter(), time.process_time()
        none = (None, None)
        router = parts["router"]
        is_client = rank == CLIENT
        router.run(party, *(embedded("router", router, arrays, text) if is_client else none))
        party.run(argmax)
        seen = [party.opened("route", reader) for reader in (CLIENT, OWNER)]
        route = int(np.asarray(seen[rank]))
        routed = time.perf_counter() - began
        name = f"expert{route}"
        expert = parts[name]
        expert.run(party, *(embedded(name, expert, arrays, text) if is_client else none))
        outputs = party.opened(f"{name}.output", CLIENT)
        if outputs is not None:
            answers.append(
                {
                    "route": route,
                    "outputs": np.asarray(outputs, float).tolist(),
                    "seconds": time.perf_counter() - began,
                    "router_seconds": routed,
                    "worked": time.process_time() - worked,
                }
            )
            print(f"{text + 1} of {_PLAN['texts']}: expert {route}", flush=True)
            (_FOLDER / "answers.json").write_text(json.dumps(answers), encoding="utf-8")
    party.close()


if __name__ == "__main__":
    main()
