"""Writes what a pool takes under secure computation as a file of measured costs.

It holds three cost vectors, named after the protocol: seconds an example on a LAN, the same on a
WAN, and gigabytes that both parties send. `mpc_router.pricing.measured_costs` reads it. What was
measured, at every length, stands beside the costs.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from mpc_router.config.trial import TrialConfig
from mpc_router.messages import shown
from mpc_router.pricing.latency import machine
from mpc_router.pricing.measured_costs import FORMAT
from mpc_router.secure._usage import EXTRAPOLATED, Usage
from mpc_router.secure.environment import SecureError
from mpc_router.secure.jobs import Setting
from mpc_router.secure.networks import NETWORKS, seconds
from mpc_router.secure.parts import Options
from mpc_router.secure.pool import Measure, PoolMeasure
from mpc_router.storage.cache import write_json

CLEAR: Final = "clear"
SECRET: Final = "secret"
EMBEDDINGS: Final = {
    CLEAR: "words looked up in the clear by the owner of the text",
    SECRET: "words looked up secretly, by one-hot products",
}

TRUST: Final = {
    "semi2k": (
        "SEMI2K with multiplication triples of a trusted first party: to make them is in party 0's "
        "work, so that seconds are an upper bound for party 1, and to send them is free"
    ),
    "cheetah": "Cheetah with its default oblivious transfer, keys and base transfers set up before",
}
"""By protocol: what its price holds and leaves out."""


@dataclass(frozen=True, kw_only=True)
class PriceMeta:
    """Holds under what a pool was priced."""

    setting: Setting
    options: Options
    embeddings: str
    """One of `EMBEDDINGS`: what the costs are of. With `secret` the file says both prices apart."""


def price_document(measured: PoolMeasure, config: TrialConfig, meta: PriceMeta) -> dict[str, Any]:
    """Gives the file of a measurement as JSON data."""
    protocol = meta.setting.protocol
    first, *beside = _names(protocol)
    # the same encoder twice in a pool is one entry
    experts = {(expert.name, expert.layers): expert for expert in reversed(measured.experts)}
    order = dict.fromkeys((expert.name, expert.layers) for expert in measured.experts)
    model = config.model
    return {
        "format": FORMAT,
        **first,
        "beside": beside,
        "basis": basis(measured, meta),
        "task": None,
        "shared_stem": False,
        "experts": [
            {"name": name, "layers": layers, **_entry(experts[name, layers], meta)}
            for name, layers in order
        ],
        "router": {
            "stem": model.stem,
            "name": measured.router.name,
            "layers": measured.router.layers,
            "hidden_size": model.router_hidden_size,
            "router_kind": model.router_kind,
            **_entry(measured.router, meta),
        },
        "about": _about(measured, meta),
    }


def write_price(path: Path, document: Mapping[str, Any]) -> None:
    """Writes a new file, complete or not at all.

    Raises:
        SecureError: there is a file by now; it stays, and the price is in a file beside it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.stem}-{secrets.token_hex(4)}{path.suffix}")
    write_json(beside, document)
    try:
        os.link(beside, path)  # unlike a rename it replaces nothing
    except FileExistsError as error:
        raise SecureError(
            f"{shown(path)} was made by another process meanwhile and is left alone; the price is "
            f"in {shown(beside)}, rename it"
        ) from error
    beside.unlink()


def costs(usage: Usage) -> tuple[float, ...]:
    """Gives the costs under the three vectors: seconds by network, and gigabytes."""
    return (*(seconds(usage, network) for network in NETWORKS), usage.gigabytes)


def _paid(measure: Measure, tokens: int, embeddings: str) -> Usage:
    """Gives what an example takes at a length, with the lookup of its words if that is secret."""
    usage = measure.by_tokens[tokens]
    return usage + measure.lookups[tokens] if embeddings == SECRET else usage


def basis(measured: PoolMeasure, meta: PriceMeta) -> str:
    """Gives the sentence about what the costs rest on."""
    tokens = meta.options.tokens[0]
    measures = [("stem with router", measured.router)]
    measures += [(f"expert {number}", expert) for number, expert in enumerate(measured.experts)]
    guessed = [label for label, part in measures if part.by_tokens[tokens].how == EXTRAPOLATED]
    how = "every part measured whole"
    if guessed:
        how = f"{', '.join(guessed)} extrapolated from layers measured alone, the rest measured"
    ratios = _fit_ratios(measured, meta.setting.protocol)
    errors = [abs(ratio - 1) for values in ratios.values() for ratio in values]
    if guessed and errors:
        how += (
            f" (the fit is within {100 * max(errors):.0f} % of every cost of the parts that were "
            "measured whole)"
        )
    options = meta.options
    return (
        f"{TRUST[meta.setting.protocol]}, on SPU {meta.setting.python.versions.get('spu')}, "
        f"{tokens} tokens an example, {EMBEDDINGS[meta.embeddings]}, gelu {options.gelu}, softmax "
        f"{options.softmax}; {how}; seconds are work on this machine and the network's, computed "
        "from rounds and bytes"
    )


def _names(protocol: str) -> list[dict[str, str]]:
    """Gives the vectors' names and units."""
    vectors = [{"name": f"{protocol}_seconds_{network.name}", "unit": "s"} for network in NETWORKS]
    return [*vectors, {"name": f"{protocol}_gb", "unit": "GB sent"}]


def _entry(measure: Measure, meta: PriceMeta) -> dict[str, Any]:
    first, *beside = costs(_paid(measure, meta.options.tokens[0], meta.embeddings))
    return {
        "cost": first,
        "beside": beside,
        "by_tokens": _by_tokens(measure.by_tokens),
        **({"lookup_by_tokens": _by_tokens(measure.lookups)} if measure.lookups else {}),
        **({"predicted_by_tokens": _by_tokens(measure.predicted)} if measure.predicted else {}),
    }


def _by_tokens(usages: Mapping[int, Usage]) -> dict[str, Any]:
    return {str(tokens): usage.to_json() for tokens, usage in usages.items()}


def _fit_ratios(measured: PoolMeasure, protocol: str) -> dict[str, list[float]]:
    """Gives predicted over measured costs, by vector, of every part that was measured whole."""
    pairs = [
        (costs(usage), costs(measure.by_tokens[tokens]))
        for measure in (measured.router, *measured.experts)
        for tokens, usage in measure.predicted.items()
    ]
    return {
        vector["name"]: [predicted[number] / whole[number] for predicted, whole in pairs]
        for number, vector in enumerate(_names(protocol))
    }


def _about(measured: PoolMeasure, meta: PriceMeta) -> dict[str, Any]:
    setting, options = meta.setting, meta.options
    return {
        "protocol": setting.protocol,
        "rests_on": TRUST[setting.protocol],
        "field": "64 bits, fixed point with SPU's default of fraction bits",
        "tokens": list(options.tokens),
        "cost": f"an example of {options.tokens[0]} tokens, padding included",
        "embeddings": meta.embeddings,
        "gelu": options.gelu,
        "softmax": options.softmax,
        "networks": {
            network.name: {"latency_s": network.latency, "bits_per_s": network.bandwidth}
            for network in NETWORKS
        },
        "seconds": "work of the busier party on one thread + rounds x latency + its bytes",
        "predicted_over_measured": _fit_ratios(measured, setting.protocol),
        "repeats": setting.repeats,
        "machine": machine("cpu"),
        "versions": dict(setting.python.versions),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def table(measured: PoolMeasure, meta: PriceMeta) -> Sequence[str]:
    """Gives lines for people: a row a part and length, and the experts' costs by their ratio."""
    rows = [f"{'part':<18} tokens  work s  passed s      MB  rounds  memory MB     error  how"]
    parts = [("stem with router", measured.router)]
    parts += [(f"expert {number}", expert) for number, expert in enumerate(measured.experts)]
    for label, measure in parts:
        for tokens in measure.by_tokens:
            rows.append(_row(label, tokens, _paid(measure, tokens, meta.embeddings)))
            if tokens in measure.predicted:
                rows.append(_row("  predicted", tokens, measure.predicted[tokens]))
    for number, vector in enumerate(_names(meta.setting.protocol)):
        values = [
            costs(_paid(expert, meta.options.tokens[0], meta.embeddings))[number]
            for expert in measured.experts
        ]
        ratios = " : ".join(f"{value / values[0]:.3g}" for value in values)
        rows.append(
            f"{vector['name']}: {', '.join(f'{value:.4g}' for value in values)} {vector['unit']}, "
            f"that is {ratios}"
        )
    return rows


def _row(label: str, tokens: int, usage: Usage) -> str:
    memory = "-" if usage.memory_bytes is None else f"{usage.memory_bytes / 1e6:.0f}"
    error = "-" if usage.error is None else f"{usage.error:.1e}"
    return (
        f"{label:<18} {tokens:>6} {usage.worked:>7.2f} {usage.elapsed:>9.2f} "
        f"{1000 * usage.gigabytes:>7.1f} {usage.rounds:>7.0f} {memory:>10} {error:>9}  {usage.how}"
    )
