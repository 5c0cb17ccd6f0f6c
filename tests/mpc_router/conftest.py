"""Small random outputs of experts, made without any model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mpc_router.prepare.frozen import Prepared
from mpc_router.prepare.inputs import ExpertInfo, SplitOutputs, StemInfo
from mpc_router.tasks import TASKS

ROWS = {"train": 600, "selection": 200, "validation": 200}
FEATURES = 32
EXPERTS = 3


def random_split(
    split: str,
    rows: int,
    *,
    regression: bool,
    features: int,
    generator: np.random.Generator,
    experts: int = EXPERTS,
) -> SplitOutputs:
    """Features that say which rows are hard; each dearer expert is right more often."""
    seen = generator.standard_normal((rows, features), dtype=np.float32) * 2 + 1
    hard = seen[:, 0] - 1 + 0.5 * generator.standard_normal(rows)
    labels: NDArray[np.float64]
    if regression:
        labels = generator.uniform(0, 5, rows)
        spread = np.exp(hard[:, None] / 4) / np.arange(1, experts + 1)
        noise = spread * generator.standard_normal((rows, experts))
        outputs = (labels[:, None] + noise)[..., None]
    else:
        labels = generator.integers(0, 2, rows).astype(np.float64)
        sign = 2 * labels[:, None] - 1
        margin = np.arange(experts) - 0.7 * hard[:, None]
        margin = margin + generator.standard_normal((rows, experts))
        outputs = np.stack([-sign * margin, sign * margin], -1)
    return SplitOutputs(
        split=split,
        features=seen,
        outputs=outputs.astype(np.float32),
        labels=labels,
        example=generator.permutation(10 * rows)[:rows].astype(np.int64),
        tokens=generator.integers(5, 60, rows),
    )


def random_prepared(
    *,
    task: str = "mrpc",
    rows: dict[str, int] | None = None,
    seed: int = 0,
    features: int = FEATURES,
    experts: int = EXPERTS,
) -> Prepared:
    """A `Prepared` of some experts; mrpc (C = 2) or stsb (C = 1)."""
    generator = np.random.default_rng(seed)
    splits = {
        name: random_split(
            name,
            count,
            regression=TASKS[task].regression,
            features=features,
            generator=generator,
            experts=experts,
        )
        for name, count in (rows or ROWS).items()
    }
    train = splits["train"].features
    return Prepared(
        task=TASKS[task],
        splits=splits,
        feature_mean=train.mean(0),
        feature_deviation=train.std(0),
        data_fingerprint="0" * 16,
        experts_id="1" * 16,
        experts=tuple(
            ExpertInfo(name=f"sample/{name}", layers=0, stand_in=None, hash=name)
            for name in ("tiny", "base", "large", "larger", "largest")[:experts]
        ),
        stem=StemInfo(name="sample/stem", stand_in=None, hash="stem"),
        notes=(),
        synthetic=True,
        split_notes=dict.fromkeys(splits),
        split_origin={name: "train" for name in splits},
        folder=Path("nowhere"),
    )


@pytest.fixture(scope="session")
def prepared() -> Prepared:
    """A classification of two classes."""
    return random_prepared()


@pytest.fixture(scope="session")
def regression_prepared() -> Prepared:
    """A regression."""
    return random_prepared(task="stsb")
