"""Writes what a study's YAML may say as JSON Schema, which editors complete and check from.

All of it is read from the classes that a study is read into. Rules between settings are not in it:
they are checked when a study is read.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

from mpc_router.config.sections import SECTIONS
from mpc_router.config.trial import plain
from mpc_router.costs import COSTS_FILE, FLOPS, PARAMETERS
from mpc_router.run_names import KEEPS
from mpc_router.settings.allowed import Form, Whole, forms_of
from mpc_router.settings.setting_lines import plain_default, texts_of
from sweeps.search.space import LISTED, RANGES
from sweeps.study.overrides import KEYS
from sweeps.study.part_settings import PARTS
from sweeps.study.study import Study

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

_AXIS: Final = "axis_"
"""Begins the name of the schema of a setting's axis."""

_OPEN: Final = {"type": "object"}

_NAMES: Final[Mapping[str, tuple[Mapping[str, Any], str]]] = {
    "study": ({"type": "string"}, "The study's name; without one it is the file's."),
    "cost_vector": (
        {"type": "string"},
        "The cost vector that points are judged by: a name, `file:PATH`, or one of one's own.",
    ),
    "objectives": (
        {"type": "object", "additionalProperties": {"enum": ["max", "min"]}},
        "The values that points are judged by, and which way each is better.",
    ),
    "constraints": (
        {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "properties": {"min": {"type": "number"}, "max": {"type": "number"}},
                "additionalProperties": False,
                "minProperties": 1,
            },
        },
        "Bounds of reported values, such as `cost: {max: 8}`.",
    ),
    "dataset": (_OPEN, "A data set of one's own (see the guide to tasks)."),
    "task_definition": ({"type": "object"}, "A task of one's own (see the guide to tasks)."),
    "outputs": ({"type": "array", "items": _OPEN}, "Tables of experts that were run elsewhere."),
    "features": (_OPEN, "The table that routers over such experts look at."),
    "measured": (_OPEN, "Measured costs, as a run has recorded them."),
    "parts": ({"type": "array", "items": _OPEN}, "Parts of one's own that a run has recorded."),
}
"""Gives form and sentence of the keys that are no settings of a class."""


def study_schema() -> dict[str, Any]:
    """Gives the JSON Schema of a study's file."""
    properties: dict[str, Any] = {
        name: {"description": text, **form} for name, (form, text) in _NAMES.items()
    }
    properties |= {
        "trial": {"description": "Settings that all points share.", **_reference("trial")},
        "space": {"description": "Settings that are searched.", **_reference("space")},
        "start": {
            "description": "Settings of points that are tried first.",
            "type": "array",
            "items": _reference("trial"),
        },
        "seeds": {
            "description": "The seeds of every point.",
            "type": "array",
            "items": Whole(0).schema(),
            "minItems": 1,
        },
        "checkpoints": {"description": texts_of(Study)["checkpoints"], "enum": [*KEEPS]},
        "racing": {"description": texts_of(Study)["racing"], **Whole(0).schema()},
    }
    for name, owner in PARTS.items():
        properties[name] = _part(owner)
    properties["search"]["properties"]["seed"] = {
        "description": texts_of(Study)["seed"],
        **Whole(0).schema(),
    }
    return {
        "$schema": _DIALECT,
        "title": "A study of mpc-router",
        "type": "object",
        "properties": {name: properties[name] for name in KEYS},
        "additionalProperties": False,
        "$defs": _definitions(),
    }


def settings_of(section: type) -> dict[str, dict[str, Any]]:
    """Gives the schema of each setting of a class, with its sentence and default."""
    texts, forms = texts_of(section), forms_of(section)
    schemas = {}
    for setting in dataclasses.fields(section):
        described = {"description": texts.get(setting.name, ""), **_value(forms[setting.name])}
        default = plain_default(setting)
        if default is not dataclasses.MISSING:
            described["default"] = plain(default)
        schemas[setting.name] = described
    return schemas


def _value(form: Form) -> dict[str, Any]:
    """Gives the values of a setting, with those that a study may name instead."""
    if form.name == "expert_costs":
        named = f"^({FLOPS}|{PARAMETERS}|{COSTS_FILE}.+)$"
        return {"anyOf": [form.schema(), {"type": "string", "pattern": named}]}
    return form.schema()


def _part(owner: type) -> dict[str, Any]:
    """Gives the schema of a part that is a mapping of the settings of a class."""
    return {
        "description": (owner.__doc__ or "").splitlines()[0],
        "type": "object",
        "properties": settings_of(owner),
        "additionalProperties": False,
    }


def _definitions() -> dict[str, Any]:
    """Gives the schemas that others refer to: of settings and of axes, by leaf name."""
    definitions: dict[str, Any] = {}
    for section in SECTIONS.values():
        definitions |= settings_of(section)
        texts = texts_of(section)
        for form in forms_of(section).values():
            definitions[f"{_AXIS}{form.name}"] = {
                "description": texts[form.name],
                **_axis(form),
            }
    return definitions | {"trial": _named(""), "space": _named(_AXIS)}


def _named(kind: str) -> dict[str, Any]:
    """Gives the schema of a mapping whose settings have all the names that they may have.

    Editors propose leaf names and sections. Dotted paths are accepted, and not proposed.
    """
    by_section = {
        name: {leaf: _reference(f"{kind}{leaf}") for leaf in forms_of(section)}
        for name, section in SECTIONS.items()
    }
    sections = {
        name: {"type": "object", "properties": settings, "additionalProperties": False}
        for name, settings in by_section.items()
    }
    leaves = {leaf: value for settings in by_section.values() for leaf, value in settings.items()}
    dotted = {
        rf"^{name}\.{leaf}$": value
        for name, settings in by_section.items()
        for leaf, value in settings.items()
    }
    return {
        "type": "object",
        "properties": leaves | sections,
        "patternProperties": dotted,
        "additionalProperties": False,
    }


def _reference(definition: str) -> dict[str, str]:
    """Gives a reference to a schema of `_definitions`."""
    return {"$ref": f"#/$defs/{definition}"}


def _axis(form: Form) -> dict[str, Any]:
    """Gives the schema of an axis: one of its kinds, and ranges for numbers alone."""
    values: dict[str, Any] = {"type": "array", "items": _value(form), "minItems": 1}
    if form.name == "pool_size":
        values = {"anyOf": [values, {"const": "all"}]}
    kinds = dict.fromkeys(LISTED, values)
    if not form.several and set(form.types) <= {int, float}:
        ends = {"type": "array", "items": form.schema(), "minItems": 2, "maxItems": 2}
        kinds |= {kind: ends for kind in RANGES if kind == "int" or form.types == (float,)}
    return {
        "type": "object",
        "properties": kinds,
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": 1,
    }
