"""Checks the machine that inputs are prepared on: its device, its cache, the folder of models."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mpc_router.config.trial import ConfigError, TrialConfig

if TYPE_CHECKING:
    from mpc_router.prepare.inputs import Places

CHECKS_VERSION: Final = 1
"""Raised when inputs and encoders that passed the checks before must pass them again."""


def check_surroundings(config: TrialConfig, places: Places) -> None:
    """Checks the device, the cache's folder, and that `--models` is a folder.

    Raises:
        ConfigError, ModelError: one of them cannot be.
    """
    check_device(config.training.device, places)
    _check_cache(places.cache)
    places.models.check_place()


def check_device(device: str, places: Places) -> None:
    """Checks that there is a GPU where the device is `cuda` and encoders are trained here.

    Raises:
        ConfigError: there is none.
    """
    if device != "cuda" or places.runner.elsewhere:
        return
    import torch  # it takes a second, and nothing else here needs it

    if not torch.cuda.is_available():
        raise ConfigError("device is 'cuda', but torch sees no GPU; set device=cpu or device=auto")


def _check_cache(cache: Path) -> None:
    try:
        cache.mkdir(parents=True, exist_ok=True)
        writable = os.access(cache, os.W_OK | os.X_OK)
    except OSError as error:
        raise ConfigError(
            f"--cache {cache} cannot be made ({error.strerror}); give another folder"
        ) from error
    if not writable:
        raise ConfigError(f"--cache {cache} cannot be written to; give another folder")
