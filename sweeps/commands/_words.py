"""The module proposes the words of a sweep's command line to a shell: studies and settings."""

from __future__ import annotations

import argparse
from collections.abc import Iterable

from mpc_router.config.setting_words import setting_words, trial_forms
from mpc_router.settings.allowed import Form, forms_of
from sweeps.study.part_settings import PARTS
from sweeps.study.shipped import shipped_studies


def complete_words(prefix: str, *, parsed_args: argparse.Namespace, **_: object) -> Iterable[str]:
    """Completes the name of the study, unless there is one, and settings of study and trial."""
    given = [word for word in getattr(parsed_args, "words", None) or [] if word != prefix]
    words = [] if any("=" not in word for word in given) else _studies(prefix)
    return [*words, *setting_words(prefix, _forms())]


def _studies(prefix: str) -> list[str]:
    """Gives the studies that ship, and YAML files."""
    from argcomplete.completers import FilesCompleter

    return [*shipped_studies(), *FilesCompleter(("yaml", "yml"))(prefix)]


def _forms() -> dict[str, Form]:
    """Gives what each setting of a trial and of a study's parts holds, by its name."""
    parts = {
        f"{name}.{setting}": form
        for name, owner in PARTS.items()
        for setting, form in forms_of(owner).items()
    }
    return trial_forms() | parts
