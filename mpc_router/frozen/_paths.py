"""The paths that the lanes of a stack choose between, and what these answer."""

from __future__ import annotations

import dataclasses

from mpc_router.config.trial import TrialConfig
from mpc_router.prepare.frozen import Prepared
from mpc_router.prepare.inputs import SplitOutputs
from mpc_router.routers.combination import fitted_paths
from mpc_router.routes import Paths, single_paths
from mpc_router.run_names import TRAIN


def lane_paths(config: TrialConfig, prepared: Prepared) -> Paths | None:
    """Gives the paths of a configuration, their combination fitted to train.

    None stands for single experts, which need no fit.

    Raises:
        ValueError: an output or a label of train is not finite.
    """
    if config.paths == single_paths(config.experts):
        return None
    train = prepared.splits[TRAIN]
    return fitted_paths(
        config.paths,
        config.model.combine,
        train.outputs,
        train.labels,
        regression=prepared.task.regression,
    )


def answered(split: SplitOutputs, paths: Paths | None, prepared: Prepared) -> SplitOutputs:
    """Gives the split with paths in the place of experts: their answers (N, P, C) as outputs."""
    if paths is None:
        return split
    answers = paths.answers(split.outputs, regression=prepared.task.regression)
    return dataclasses.replace(split, outputs=answers)
