"""Pictures of settings: values, and the importance of each."""

from __future__ import annotations

import pandas as pd
import pytest

from analysis.figures.settings import _MOST_PLACES, setting_figure


@pytest.mark.parametrize(("many", "kind"), [(_MOST_PLACES, "nominal"), (40, "quantitative")])
def test_a_setting_of_few_values_gives_each_a_place(many: int, kind: str) -> None:
    values = [0.0, *(10.0 ** -(place / 4) for place in range(many - 1))]
    table = pd.DataFrame({"point": [f"p{n}" for n in range(many)], "beta": values})
    table["score"] = 0.5
    x = setting_figure(table, "beta", "score").to_dict()["layer"][0]["encoding"]["x"]
    assert x["type"] == kind
    if kind == "nominal":
        assert [float(text) for text in x["sort"]] == pytest.approx(sorted(values), rel=0.01)
