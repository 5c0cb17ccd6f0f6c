"""Fills in training costs that are named instead of numbered: `expert_costs: flops`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from mpc_router.config.trial import TrialConfig, trial_config
from mpc_router.costs import COSTS_FILE, FLOPS, PARAMETERS, names_costs
from mpc_router.messages import quoted
from mpc_router.model.sources import Models
from mpc_router.pricing.counts import check_counted, counted
from mpc_router.pricing.measured_file import read_named
from mpc_router.settings.rules import ConfigError

_DIGITS: Final = 6
"""Significant digits of a cost: libraries that count a little otherwise give the same key."""


def with_costs(
    settings: Mapping[str, Any], models: Models, *, base: Path
) -> tuple[dict[str, Any], str | None]:
    """Gives the settings with numbers where `expert_costs` is a word, and a sentence that says so.

    The word is `flops` (of `max_length` tokens), `parameters`, or `file:PATH` of measured costs,
    relative to `base`. The costs are scaled so that the cheapest is 1. Settings by leaf name;
    without a word they are given back as they are.

    Raises:
        ConfigError: another word, or a file without one of the experts.
        ModelError: a model that cannot be found, or cannot be counted.
    """
    word = settings.get("expert_costs")
    if not isinstance(word, str):
        return dict(settings), None
    if not names_costs(word):
        raise ConfigError(
            f"expert_costs is {quoted(word)}, allowed are a list of numbers, {FLOPS}, {PARAMETERS} "
            f"and {COSTS_FILE}PATH of measured costs"
        )
    names = settings.get("expert_model_names")
    stand_ins = {"expert_costs": [1.0] * len(names)} if isinstance(names, list | tuple) else {}
    unpriced = {leaf: value for leaf, value in settings.items() if leaf != "expert_costs"}
    config = trial_config({**unpriced, **stand_ins})
    costs = _scaled(_named_costs(word, config, models, base), word)
    shown = ", ".join(f"{cost:g}" for cost in costs)
    return (
        {**settings, "expert_costs": list(costs)},
        f"expert_costs={word}: {shown}, the cheapest expert's as 1",
    )


def _named_costs(word: str, config: TrialConfig, models: Models, base: Path) -> tuple[float, ...]:
    if word.startswith(COSTS_FILE):
        return read_named(word, base=base).vector(config).experts
    check_counted(config, models, word)
    return counted(config, models, tokens=config.data.max_length).vectors[word].experts


def _scaled(costs: tuple[float, ...], word: str) -> tuple[float, ...]:
    least = min(costs)
    if least <= 0:
        raise ConfigError(
            f"expert_costs={word} gives {quoted(list(costs))}, and the cheapest must cost "
            "something; give numbers"
        )
    return tuple(float(f"{cost / least:.{_DIGITS}g}") for cost in costs)
