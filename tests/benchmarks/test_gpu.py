"""The program that measures a GPU, tried on the CPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import gpu
from benchmarks.gpu_agreement import Agreement

BARE = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"ray", "optuna", "omegaconf"}:
            raise ModuleNotFoundError(f"a bare machine has no {name}")

sys.meta_path.insert(0, Missing())
from benchmarks import gpu

gpu.LANES = (1, 2)
gpu.seconds_of = lambda action, **_: (action(), 1e-3)[1]
sys.exit(gpu.main(["--device", "cpu", "--seconds", "600", "--json", sys.argv[1]]))
"""


def test_it_measures_on_a_machine_with_torch_and_transformers_alone(tmp_path: Path) -> None:
    file = tmp_path / "numbers.json"
    subprocess.run(
        [sys.executable, "-c", BARE, str(file)], check=True, capture_output=True, timeout=600
    )
    found = json.loads(file.read_text())
    assert found.keys() == {"limits", "agreement", "stack", "experts", "joint"}
    assert found["agreement"] == [{"largest_loss_difference": 0, "equal_routes": 1}]
    assert [row["lanes"] for row in found["stack"]] == [1, 2]
    first, second = (row["traffic_milliseconds"] for row in found["stack"])
    assert second == pytest.approx(2 * first)


def test_operations_grow_as_the_formula_says() -> None:
    layers, width, _ = gpu.SIZES["tiny"]
    once = gpu.operations_of("tiny", np.array([10]))
    assert once == layers * (24 * 10 * width**2 + 4 * 10**2 * width)
    assert gpu.operations_of("tiny", np.array([10, 10])) == 2 * once


@pytest.mark.parametrize(
    ("difference", "routes", "holds"), [(1e-4, 0.999, True), (2e-4, 1, False), (0, 0.998, False)]
)
def test_devices_agree_within_both_tolerances(
    difference: float, routes: float, holds: bool
) -> None:
    assert Agreement(largest_loss_difference=difference, equal_routes=routes).holds is holds


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_missing_gpu_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        gpu.main([])
    assert ended.value.code == 2
    assert "torch sees no GPU" in capsys.readouterr().err
