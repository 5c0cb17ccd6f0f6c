"""Decides the share of a machine, or of a cluster, that packs get, and refuses what no node has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from mpc_router.threads import cores
from sweeps.driver._cluster_view import ClusterView, view_of
from sweeps.records import InputError, NodesWanted
from sweeps.study.lengths import duration_text
from sweeps.study.pack_share import MEASURED, PackSettings, packs_on
from sweeps.study.study import Study
from sweeps.worker.gpus import count_gpus

_PATIENCE: Final = 600.0
"""Limits the seconds without any node that has room for a pack, where no flag says otherwise."""


@dataclass(frozen=True, kw_only=True)
class Share:
    """Holds the share of a machine, or of a cluster, that a pack gets."""

    pack: PackSettings
    address: str | None
    gpus: float
    """Gives a pack's share of a GPU: `pack.gpus`, where `auto` is decided."""

    workers: int
    """Counts the packs at once, on this machine or at the start on the cluster that is joined."""

    machine: Mapping[str, float] | None = None
    """Gives this machine's resources by Ray's names; None on a cluster."""

    scaled: bool = False
    """Tells whether the cluster has an autoscaler, which starts nodes for packs that wait."""

    patience: float = _PATIENCE
    """Limits the seconds without any node that has room for a pack."""

    @property
    def measures(self) -> bool:
        """Tells whether a pack's share of a GPU is to be measured by a dry step."""
        return self.gpus > 0 and self.pack.gpus == MEASURED


def share_of(
    study: Study,
    address: str | None,
    wanted: NodesWanted | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Share:
    """Gives the share of this machine, or of a cluster, that packs of the study get.

    `wanted` nodes are waited for; `say` is told of that. A cluster with an autoscaler may be empty.

    Raises:
        InputError: the packs would wait for a GPU for ever, settings ask for a GPU and for none,
            there is no such cluster, or none of its nodes has room for a pack.
    """
    view = ClusterView(nodes=({"CPU": cores(), "GPU": count_gpus()},))
    if address is not None:
        view = view_of(address, wanted, lambda now: _ready(now, study), say)
    place = "this machine" if address is None else f"the cluster at {address}"
    gpus = _gpus(view, study)
    if gpus and view.most_gpus < 1 and not view.scaled:
        raise InputError(
            f"pack.gpus is {gpus:g}, but there is no GPU on {place}; set pack.gpus=auto or "
            "pack.gpus=0"
        )
    if not gpus:
        check_without_gpus(
            study, "pack.gpus is 0" if study.pack.gpus == 0 else _why_none(study, place)
        )
    room = sum(packs_on(node, study.pack.cpus, gpus) for node in view.nodes)
    if room < 1 and address is not None:
        if not view.scaled:
            raise InputError(_no_room(view, study, gpus, place, wanted))
        say(f"no node of {place} has room for a pack yet; its autoscaler will be asked for some")
    return Share(
        pack=study.pack,
        address=address,
        gpus=gpus,
        workers=max(1, room),
        machine=view.nodes[0] if address is None else None,
        scaled=view.scaled,
        patience=_PATIENCE if wanted is None else wanted.seconds,
    )


def _gpus(view: ClusterView, study: Study) -> float:
    """Gives a pack's share of a GPU; an autoscaler has GPUs where the study is to use some."""
    device = study.base.training.device
    available = view.most_gpus
    if view.scaled and device == "cuda":
        available = max(1.0, available)
    return study.pack.gpus_of(available, device)


def _ready(view: ClusterView, study: Study) -> int:
    """Counts the nodes that have room for a pack of the study."""
    gpus = _gpus(view, study)
    return sum(packs_on(node, study.pack.cpus, gpus) > 0 for node in view.nodes)


def _no_room(
    view: ClusterView, study: Study, gpus: float, place: str, wanted: NodesWanted | None
) -> str:
    """Says that no node has room for a pack, and what to do."""
    sizes = {f"{node.get('CPU', 0):g} CPU and {node.get('GPU', 0):g} GPU" for node in view.nodes}
    have, advice = ", ".join(sorted(sizes)[:5]) or "nothing", "set pack.cpus and pack.gpus to what"
    start = f"a pack takes {study.pack.cpus:g} CPU and {gpus:g} GPU, but no node of {place} has as"
    if wanted is None:
        return f"{start} many: they have {have}; {advice} one node has, or give --wait-nodes"
    waited = f"after {duration_text(wanted.seconds)} of --wait-nodes"
    return f"{start} many {waited}: they have {have}; {advice} one node has"


def _why_none(study: Study, place: str) -> str:
    """Says why `auto` gives packs no GPU at a place."""
    if study.base.training.device == "cpu":
        return "device is 'cpu'"
    return f"there is no GPU on {place}"


def check_without_gpus(study: Study, why: str) -> None:
    """Checks that packs can do without GPUs.

    Raises:
        InputError: the study is to use GPUs, or limits their hours.
    """
    if study.base.training.device == "cuda":
        raise InputError(
            f"device is 'cuda', but packs get no GPU, because {why}; set device=cpu or "
            "device=auto, or pack.gpus=auto where there is a GPU"
        )
    if study.budget.gpu_hours is not None:
        raise InputError(
            f"budget.gpu_hours is {study.budget.gpu_hours:g}, but {why}, so no GPU hours are ever "
            "spent; limit budget.time or budget.epochs"
        )
