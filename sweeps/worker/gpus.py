"""The module counts the GPUs of this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_DEVICES: Final = ("nvidia[0-9]*", "kfd", "dxg")
"""They match the files below `/dev` by which programs reach GPUs: of NVIDIA, of AMD, within WSL."""


def count_gpus(devices: Path = Path("/dev")) -> int:
    """Counts the GPUs that torch sees on this machine.

    Torch takes a second to be imported, so it is asked only where there may be a GPU.
    """
    if not any(any(devices.glob(pattern)) for pattern in _DEVICES):
        return 0
    import torch

    return torch.cuda.device_count()
