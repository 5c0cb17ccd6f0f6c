"""`key=value` words of `sweeps.run`: odd values for every setting, odd keys, slips of the pen."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from mpc_router.config.trial import leaf_paths
from mpc_router.messages import printable
from tests.fuzz.harness import Case
from tests.fuzz.odd import LISTS, VALUES, mutated

OF_STUDY: Final = (
    *("study", "trial", "space", "start", "seeds", "racing", "objectives", "cost_vector"),
    *("search", "search.method", "search.points", "search.seed", "search.batch", "stopping"),
    *("stopping.method", "stopping.eta", "budget", "budget.time", "budget.epochs", "constraints"),
    *("budget.gpu_hours", "constraints.cost.max", "pack", "pack.cpus", "pack.gpus", "pack.points"),
    *("pack.retries", "pack.timeout", "measured", "space.alpha", "trial.alpha", "objectives.score"),
)
SOUND: Final = (
    *("alpha=0.1", "alpha={grid: [0.01, 0.1]}", "beta={loguniform: [1e-3, 1]}", "seeds=[0, 1, 2]"),
    *("epochs=3", "experts=joint", "trainable=last_2", "budget.time=1h30m", "shared_stem=yes"),
    *("expert_costs=[1, 2, 3]", "start=[{alpha: 0.1}]", "objectives={score: max, cost: min}"),
    *("expert_model_names=[sample/tiny, sample/large]", "model.router_hidden_size=16", "racing=2"),
    *("search={method: tpe, points: 40}", "stopping={method: mo_asha}", "cost_vector=constants"),
    *("constraints={cost: {max: 6}}", "pool_size={grid: all}", "pack.timeout=10m", "device=cpu"),
)
LONGEST: Final = 40
"""Characters of a word that a message must repeat: longer ones are cut."""


def cases(seed: int, count: int, folder: Path) -> Iterator[Case]:
    """Words beside a sound study."""
    draw = random.Random(f"words {seed}")
    leaves = sorted(leaf_paths())
    for number in range(count):
        word = _word(draw, leaves)
        key, _, value = word.partition("=")
        culprits = [printable(key.strip())[:LONGEST]] if key.strip() else []
        culprits += [printable(word)[:LONGEST], printable(repr(word))[1 : LONGEST - 1]]
        culprits += [printable(value)[:LONGEST]] if len(value) > 1 else []
        culprits += re.findall("[a-z]{4,}", value)[:1]  # the key that stands where none may
        if "." in key:
            culprits += [key.rpartition(".")[2], key.partition(".")[0]]
        if key.startswith("expert_layers"):
            culprits.append("layers")
        yield Case(
            kind="words",
            name=f"{number} {printable(word)[:60]}",
            arguments=("mrpc_grid", "--sample", "--debug", word),
            culprits=tuple(each for each in culprits if each),
        )


def _word(draw: random.Random, leaves: list[str]) -> str:
    how = draw.random()
    if how < 0.45:
        return f"{draw.choice(leaves)}={draw.choice(VALUES)}"
    if how < 0.65:
        return f"{draw.choice(OF_STUDY)}={draw.choice(LISTS if draw.random() < 0.5 else VALUES)}"
    if how < 0.75:
        return f"{draw.choice(leaves)}={{grid: [{draw.choice(VALUES)}, {draw.choice(VALUES)}]}}"
    if how < 0.92:
        return mutated(draw.choice(SOUND), draw)
    key, _, value = draw.choice(SOUND).partition("=")
    return f"{mutated(key, draw)}={value}"
