"""Tells what routers that have a knob after their training reach at every setting of it.

The knob is a bias on costs, turned as `operating_points` does. The table is derived from routing,
experts, examples and paths alone, so that equal runs have equal tables.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from analysis.choices.operating_points import trial_curves
from analysis.runs.load import Run
from analysis.runs.outcomes import GATED, roster, router_kinds
from mpc_router.run_names import SELECTION

if TYPE_CHECKING:
    import pyarrow as pa


def curves_table(run: Run) -> pa.Table | None:
    """Gives the table `curves` of a run (see `analysis.schema.curves`), points as in its roster.

    None where no point that can be judged is of another kind than `gated`, and where the run has no
    routes.

    Raises:
        RunError: no point can be judged, or a table lacks rows.
    """
    import pyarrow as pa

    from analysis import schema

    kinds = router_kinds(run)
    points = [point for point in roster(run).points if kinds[point.point] != GATED]
    if not points or not run.routed:
        return None
    splits = (SELECTION, *run.task.quoted)
    kind = schema.curves(run.task.quoted)
    columns: dict[str, list[Any]] = {name: [] for name in kind.names}
    for vector in run.cost_vectors:
        for key, curves in trial_curves(run, points, run.task.quoted, vector=vector):
            biases = curves[SELECTION].biases
            columns["key"] += [key] * len(biases)
            columns["cost_vector"] += [vector] * len(biases)
            columns["bias"] += biases.tolist()
            for split in splits:
                columns[f"{split}_score"] += curves[split].scores.tolist()
                columns[f"{split}_cost"] += curves[split].costs.tolist()
    return pa.table(columns, kind)
