"""The words `key=value` that a shell proposes: names of settings, and values that have names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mpc_router.config.sections import SECTIONS
from mpc_router.settings.allowed import Form, forms_of


def trial_forms() -> dict[str, Form]:
    """Gives what each setting of a trial holds, by leaf name."""
    return {leaf: form for part in SECTIONS.values() for leaf, form in forms_of(part).items()}


def setting_words(prefix: str, forms: Mapping[str, Form]) -> Iterable[str]:
    """Gives the words that go on from a prefix: `name=`, and behind it the values with names.

    The path of a setting is proposed once its section is written.
    """
    paths = {
        f"{name}.{leaf}": form
        for name, section in SECTIONS.items()
        if prefix.startswith(f"{name}.")
        for leaf, form in forms_of(section).items()
    }
    known = {**forms, **paths}
    name, equals, _ = prefix.partition("=")
    if not equals:
        return [f"{name}=" for name in known]
    return [f"{name}={value}" for value in known[name].choices()] if name in known else []


def complete_settings(prefix: str, **_: object) -> Iterable[str]:
    """Completes the settings of a trial, for argcomplete."""
    return setting_words(prefix, trial_forms())
