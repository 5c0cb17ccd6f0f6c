"""Names the parts of a study that are mappings of settings, each with its class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sweeps.search.rule import SearchRule
from sweeps.stopping.rule import Rule
from sweeps.study.budget import Budget
from sweeps.study.pack_share import PackSettings

PARTS: Final[Mapping[str, type]] = {
    "search": SearchRule,
    "stopping": Rule,
    "budget": Budget,
    "pack": PackSettings,
}
