"""Lists the parts of one's own that a study uses, and those that a run has recorded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpc_router import plugins
from mpc_router.config.own_kinds import part_of as kind_part
from mpc_router.config.own_pools import part_of as pool_part
from mpc_router.config.router_kinds import FITTED_KINDS, GATED
from mpc_router.pricing.own_costs import OwnCosts
from sweeps.records import InputError
from sweeps.search.samplers import sampler_of

if TYPE_CHECKING:
    from mpc_router.plugins import Part
    from mpc_router.pricing.measured_file import Measured
    from mpc_router.tasks import Task
    from sweeps.search.rule import SearchRule
    from sweeps.stopping.rule import Rule


def parts_of(
    search: SearchRule,
    stopping: Rule,
    *,
    task: Task,
    costs: Measured | OwnCosts | None,
    pools: Iterable[str],
    kinds: Iterable[str],
) -> tuple[Part, ...]:
    """Gives the parts of one's own among the parts of a study; `pools` and `kinds` are names."""
    sampler, own_rule = sampler_of(search.method), stopping.own_rule
    parts = (
        None if sampler is None else sampler.part,
        *task.parts,
        costs.part if isinstance(costs, OwnCosts) else None,
        *map(pool_part, dict.fromkeys(pools)),
        None if own_rule is None else own_rule.part,
        *(kind_part(kind) for kind in dict.fromkeys(kinds) if kind not in (GATED, *FITTED_KINDS)),
    )
    return tuple(part for part in parts if part is not None)


def trust_run(run: Path, study: Mapping[str, Any], names: Iterable[str]) -> None:
    """Trusts the parts of a run's own study as far as they may be loaded.

    Those are installed entry points in the version that the run has recorded, and the `names` that
    the user names again (--trust).

    Raises:
        InputError: the run has used another part, or another version of one.
    """
    try:
        plugins.trust_recorded(study.get("parts"), run, names, again=True)
    except plugins.PartError as error:
        raise InputError(str(error)) from error
