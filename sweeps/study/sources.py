"""Says where a study's examples and experts come from: its own sources in place of the flags'."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from sweeps.study.study import Study

if TYPE_CHECKING:
    from mpc_router.prepare.inputs import Places


def places_of_study(study: Study, places: Places) -> Places:
    """Gives the places of the flags, with the data set and outputs that the study names."""
    from mpc_router.data.dataset import dataset_of
    from mpc_router.data.output_tables import GivenOutputs, table_of
    from mpc_router.data.sources import Source

    if study.dataset is not None:
        spec = dataset_of(study.dataset, base=Path())
        places = dataclasses.replace(places, source=Source(kind="dataset", dataset=spec))
    if study.outputs:
        features = study.features or {}
        outputs = GivenOutputs(
            tables=tuple(table_of(table, base=Path()) for table in study.outputs),
            features=Path(features["path"]) if features else None,
            features_id=features.get("id", ""),
        )
        places = dataclasses.replace(places, outputs=outputs)
    return places
