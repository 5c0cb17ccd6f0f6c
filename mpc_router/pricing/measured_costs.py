"""The module reads and checks measured costs: what experts and the router cost on some machine.

`mpc-router-eval --measure-latency FILE` writes a file of them, and a study takes it as
`cost_vector=file:FILE`. It is JSON, so that numbers from elsewhere can be written by hand:

    {"format": "mpc-router costs 1",
     "name": "latency", "unit": "s", "task": "mrpc", "shared_stem": false,
     "experts": [{"name": "org/model", "layers": 2, "cost": 0.0041}, ...],
     "router": {"stem": "model", "name": "org/stem", "layers": 2, "hidden_size": 256,
                "cost": 0.001},
     "about": {"device": "cpu", "threads": 1, ...}}

One file may hold several vectors: `"beside": [{"name": "gb", "unit": "GB sent"}, ...]` names more
of them, and `"beside": [0.2, ...]` of every expert and of the router holds their costs in this
order. `file:FILE` reports under all of them and under the first by default; `file:FILE#NAME` puts
another one first. `basis` is a sentence about what the costs rest on, for reports.

`layers` is as in the configuration, 0 for all. `task` and `hidden_size` may be null: then the
costs hold for any. An entry may have more fields (`quartiles`, `memory_bytes`, the `router_kind`
that was measured), and `about` tells how it was measured: both are for people. The costs hold for
every kind of router behind the same stem: beside an encoder their heads cost nothing.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, Self, TypeVar

from mpc_router.costs import CONSTANTS, FLOPS, PARAMETERS, PUBLISHED
from mpc_router.messages import printable, quoted, shortened

FORMAT: Final = "mpc-router costs 1"

HOW: Final = "write one with mpc-router-eval --measure-latency FILE"
"""It is the remedy in messages about a file that cannot be read."""

_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")
_LONGEST_BASIS: Final = 1000
"""It limits the characters of the sentence about what costs rest on."""

_TAKEN: Final = (
    *(CONSTANTS, PARAMETERS, FLOPS),
    *(name for published in PUBLISHED for name in (published, f"{published}_as_if")),
)


class CostsFileError(ValueError):
    """Reports JSON data that are no measured costs: the value, what is allowed, what to do."""


@dataclass(frozen=True, kw_only=True)
class ExpertCost:
    """Holds what one encoder cost an example as an expert."""

    name: str
    layers: int
    """They are counted as in the configuration; 0 is all of them."""

    cost: float
    beside: tuple[float, ...] = ()
    """Costs under the other vectors of the file, in their order."""

    more: Mapping[str, Any] = field(default_factory=dict)
    """It holds the other fields of the file: quartiles, memory."""


@dataclass(frozen=True, kw_only=True)
class RouterCost:
    """Holds what stem and MLP cost an example."""

    stem: str
    """It is `model`, or `expert` for the cheapest expert, which is paid once."""

    name: str
    layers: int
    hidden_size: int | None
    cost: float
    beside: tuple[float, ...] = ()
    more: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class VectorName:
    """Holds the name of a vector and the unit of its costs."""

    name: str
    unit: str


@dataclass(frozen=True, kw_only=True)
class MeasuredCosts:
    """Holds the costs of a file, with what they were measured on."""

    origin: str
    """It names the file in messages."""

    name: str
    unit: str
    task: str | None
    """It is the task of the measured examples, whose lengths count; None holds for any."""

    shared_stem: bool
    """It is true where experts are the layers after the stem's."""

    experts: tuple[ExpertCost, ...]
    router: RouterCost
    about: Mapping[str, Any]
    beside: tuple[VectorName, ...] = ()
    """Vectors that the file holds beside the first."""

    basis: str = ""
    """A sentence about what the costs rest on."""

    @property
    def names(self) -> tuple[str, ...]:
        """Gives the names of all vectors, the first one first."""
        return (self.name, *(other.name for other in self.beside))

    def led_by(self, name: str) -> Self:
        """Gives the same costs with another vector first.

        Raises:
            CostsFileError: the file has no such vector.
        """
        if name not in self.names:
            raise CostsFileError(
                f"{self.origin} has no cost vector {quoted(name)}; it has {', '.join(self.names)}"
            )
        if name == self.name:
            return self
        at = self.names.index(name) - 1
        return replace(
            self,
            name=name,
            unit=self.beside[at].unit,
            beside=_swapped(self.beside, at, VectorName(name=self.name, unit=self.unit)),
            experts=tuple(_led(expert, at) for expert in self.experts),
            router=_led(self.router, at),
        )

    def all_vectors(self) -> tuple[Self, ...]:
        """Gives the costs once for each vector, with this one first; the first one first."""
        return tuple(self.led_by(name) for name in self.names)

    @classmethod
    def from_json(cls, data: object, *, origin: str) -> Self:
        """Gives the measured costs in JSON data; `origin` names the data in messages.

        Raises:
            CostsFileError: another format, or a value that cannot be a cost.
        """
        if not isinstance(data, Mapping) or data.get("format") != FORMAT:
            format_name = data.get("format") if isinstance(data, Mapping) else None
            raise CostsFileError(
                f"{origin} is no file of measured costs: its format is {quoted(format_name)}, "
                f"not {FORMAT!r}; {HOW}"
            )
        reader = _Reader(origin)
        first, *beside = reader.vector_names(data)
        experts = data.get("experts")
        if not isinstance(experts, list) or not experts:
            raise reader.refusal("experts", experts, "a list of at least one expert")
        costs = tuple(
            reader.expert(entry, f"experts[{at}]", len(beside)) for at, entry in enumerate(experts)
        )
        if len({(cost.name, cost.layers) for cost in costs}) < len(costs):
            names = [called(cost.name, cost.layers) for cost in costs]
            raise reader.refusal("experts", names, "every expert once")
        about = data.get("about", {})
        return cls(
            origin=origin,
            name=first.name,
            unit=first.unit,
            beside=tuple(beside),
            basis=_shown(reader.text(data, "basis")) if "basis" in data else "",
            task=None if data.get("task") is None else reader.text(data, "task"),
            shared_stem=data.get("shared_stem", False) is True,
            experts=costs,
            router=reader.router(data.get("router"), len(beside)),
            about=about if isinstance(about, Mapping) else {},
        )

    def to_json(self) -> dict[str, Any]:
        """Gives what the file holds; `from_json` reads it back."""

        def entry(cost: ExpertCost | RouterCost) -> dict[str, Any]:
            plain = asdict(cost)
            beside = list(plain.pop("beside"))
            return {**plain.pop("more"), **plain, **({"beside": beside} if beside else {})}

        beside = [asdict(other) for other in self.beside]
        return {
            "format": FORMAT,
            "name": self.name,
            "unit": self.unit,
            **({"beside": beside} if beside else {}),
            **({"basis": self.basis} if self.basis else {}),
            "task": self.task,
            "shared_stem": self.shared_stem,
            "experts": [entry(cost) for cost in self.experts],
            "router": entry(self.router),
            "about": dict(self.about),
        }


@dataclass(frozen=True)
class _Reader:
    """Takes values out of JSON data and refuses wrong ones."""

    origin: str

    def vector_names(self, data: Mapping[str, Any]) -> list[VectorName]:
        """Reads name and unit of the first vector, and of those beside it."""
        entries = [("", data)]
        beside = data.get("beside", [])
        if not isinstance(beside, list):
            raise self.refusal("beside", beside, "a list of names and units")
        entries += [
            (f"beside[{at}]", self._mapping(entry, f"beside[{at}]"))
            for at, entry in enumerate(beside)
        ]
        names: list[VectorName] = []
        for place, entry in entries:
            name = self.text(entry, "name", place)
            taken = (*_TAKEN, *(earlier.name for earlier in names))
            if not _NAME.fullmatch(name) or name in taken:
                raise self.refusal(
                    f"{place}.name".lstrip("."), name, "a new name of small letters, digits and _"
                )
            names.append(VectorName(name=name, unit=self.text(entry, "unit", place)))
        return names

    def expert(self, entry: object, place: str, others: int) -> ExpertCost:
        """Reads the costs of an expert under the first vector and so many others."""
        fields = self._mapping(entry, place)
        return ExpertCost(
            name=self.text(fields, "name", place),
            layers=self._count(fields, "layers", place),
            cost=self._cost(fields.get("cost"), f"{place}.cost"),
            beside=self._costs(fields, place, others),
            more=_besides(fields, "name", "layers", "cost", "beside"),
        )

    def router(self, entry: object, others: int) -> RouterCost:
        """Reads the costs of the router under the first vector and so many others."""
        fields = self._mapping(entry, "router")
        stem = self.text(fields, "stem", "router")
        if stem not in ("model", "expert"):
            raise self.refusal("router.stem", stem, "model or expert")
        hidden = fields.get("hidden_size")
        return RouterCost(
            stem=stem,
            name=self.text(fields, "name", "router"),
            layers=self._count(fields, "layers", "router"),
            hidden_size=None if hidden is None else self._count(fields, "hidden_size", "router"),
            cost=self._cost(fields.get("cost"), "router.cost"),
            beside=self._costs(fields, "router", others),
            more=_besides(fields, "stem", "name", "layers", "hidden_size", "cost", "beside"),
        )

    def text(self, entry: Mapping[str, Any], key: str, place: str = "") -> str:
        """Reads a text that is not empty."""
        value = entry.get(key)
        if not isinstance(value, str) or not value:
            raise self.refusal(f"{place}.{key}".lstrip("."), value, "a name")
        return value

    def refusal(self, place: str, value: object, allowed: str) -> CostsFileError:
        """Makes the error about a wrong value."""
        return CostsFileError(
            f"{self.origin}: {place} is {quoted(value)}, but must be {allowed}; {HOW}"
        )

    def _mapping(self, entry: object, place: str) -> Mapping[str, Any]:
        """Reads a mapping."""
        if not isinstance(entry, Mapping):
            raise self.refusal(place, entry, "an entry with name, layers and cost")
        return entry

    def _count(self, entry: Mapping[str, Any], key: str, place: str) -> int:
        """Reads a whole number from 0."""
        value = entry.get(key)
        if type(value) is not int or value < 0:
            raise self.refusal(f"{place}.{key}", value, "a whole number from 0")
        return value

    def _costs(self, entry: Mapping[str, Any], place: str, count: int) -> tuple[float, ...]:
        """Reads the costs under the vectors beside the first."""
        values = entry.get("beside", [])
        if not isinstance(values, list) or len(values) != count:
            raise self.refusal(f"{place}.beside", values, f"a list of {count} costs")
        return tuple(self._cost(value, f"{place}.beside[{at}]") for at, value in enumerate(values))

    def _cost(self, value: Any, place: str) -> float:
        """Reads a finite number from 0."""
        if type(value) not in (int, float) or not 0 <= value <= sys.float_info.max:
            raise self.refusal(place, value, "a finite number from 0")
        return float(value)


_Cost = TypeVar("_Cost", ExpertCost, RouterCost)
_Entry = TypeVar("_Entry")


def _shown(sentence: str) -> str:
    """Gives a sentence as a report shows it: printable, and cut."""
    return shortened(printable(sentence), _LONGEST_BASIS)


def _led(cost: _Cost, at: int) -> _Cost:
    """Gives the costs of an entry with that of the vector `at` of those beside it first."""
    return replace(cost, cost=cost.beside[at], beside=_swapped(cost.beside, at, cost.cost))


def _swapped(entries: tuple[_Entry, ...], at: int, entry: _Entry) -> tuple[_Entry, ...]:
    """Gives the entries with another one at a place."""
    return (*entries[:at], entry, *entries[at + 1 :])


def _besides(entry: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Gives the fields of an entry without those of these names."""
    return {str(key): value for key, value in entry.items() if key not in names}


def file_and_vector(word: str) -> tuple[str, str | None]:
    """Splits `PATH#NAME`, what stands after `file:`, into the path and a vector's name, if any."""
    path, mark, name = word.rpartition("#")
    if mark and _NAME.fullmatch(name):
        return path, name
    return word, None


def called(name: str, layers: int) -> str:
    """Gives the words for an encoder in messages; 0 layers are all of them."""
    return f"{name} ({layers} layers)" if layers else name
