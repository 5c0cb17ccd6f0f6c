"""Lists the samplers that propose points, and finds samplers of one's own by their names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from mpc_router import plugins

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

    from mpc_router.plugins import Part


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampler:
    """Describes a way to propose points: how it is made, and what it uses of results."""

    make: Callable[[Any, int, int], BaseSampler]
    """Makes the sampler from the module `optuna.samplers`, a seed, and the size of a population."""

    learns: bool = True
    """Tells whether its points depend on results."""

    heeds_constraints: bool = True
    """Tells whether it prefers points that keep the constraints."""

    one_sequence: bool = False
    """Tells whether all batches continue one sequence, so that every batch needs the same seed."""

    part: Part | None = None
    """Says where a sampler of one's own came from; None for those of the table."""


SAMPLERS: Final[Mapping[str, Sampler]] = {
    "random": Sampler(
        make=lambda samplers, seed, population: samplers.RandomSampler(seed=seed),
        learns=False,
        heeds_constraints=False,
    ),
    "qmc": Sampler(
        make=lambda samplers, seed, population: samplers.QMCSampler(
            scramble=True, seed=seed, independent_sampler=samplers.RandomSampler(seed=seed)
        ),
        learns=False,
        heeds_constraints=False,
        one_sequence=True,
    ),
    "tpe": Sampler(make=lambda samplers, seed, population: samplers.TPESampler(seed=seed)),
    "nsga2": Sampler(
        make=lambda samplers, seed, population: samplers.NSGAIISampler(
            population_size=population, seed=seed
        )
    ),
    "nsga3": Sampler(
        make=lambda samplers, seed, population: samplers.NSGAIIISampler(
            population_size=population, seed=seed
        )
    ),
    "gp": Sampler(
        make=lambda samplers, seed, population: samplers.GPSampler(
            seed=seed, deterministic_objective=False
        )
    ),
}
"""Gives the sampler by method; `grid` has none, because it tries each point of its space once."""


def sampler_of(method: str) -> Sampler | None:
    """Gives the sampler of a method: one of the table, or of one's own; None where it has none.

    A sampler of one's own is taken to learn from results and not to heed constraints, unless it
    has attributes `learns` or `heeds_constraints` that say otherwise.

    Raises:
        PartError: the sampler is not trusted, cannot be loaded, or takes no seed.
    """
    if method in SAMPLERS or method == "grid":
        return SAMPLERS.get(method)
    if method not in _samplers_of_users:
        part = _part(method)
        if part is None:
            return None
        _samplers_of_users[method] = described(part)
    return _samplers_of_users[method]


_samplers_of_users: Final[dict[str, Sampler]] = {}
"""Keeps what was loaded, for it is asked for with every batch."""

_HUB: Final = "optunahub:"
"""Begins the name of a package of OptunaHub: `optunahub:samplers/NAME`, or with `:CLASS`."""


def _part(method: str) -> Part | None:
    """Finds a sampler of one's own.

    Raises:
        PartError: it is not trusted, or cannot be loaded.
    """
    if method.startswith(_HUB):
        return plugins.part(plugins.SAMPLERS, method, find=_of_hub)
    return plugins.part(plugins.SAMPLERS, method)


def _of_hub(method: str) -> tuple[Any, str]:
    """Loads a sampler of OptunaHub; gives its class, and the package that versions it.

    Raises:
        ValueError: the package has no sampler, or several.
    """
    import optunahub  # type: ignore[import-not-found, unused-ignore]
    from optuna.samplers import BaseSampler

    package, _, name = method.removeprefix(_HUB).partition(":")
    module = optunahub.load_module(package)
    if name:
        return getattr(module, name), module.__name__
    names = getattr(module, "__all__", None) or vars(module)
    classes = [
        thing
        for thing in map(module.__dict__.get, names)
        if isinstance(thing, type)
        and issubclass(thing, BaseSampler)
        and thing.__module__.startswith(module.__name__)
    ]
    if len(classes) != 1:
        raise ValueError(
            f"it has {len(classes)} samplers ({', '.join(thing.__name__ for thing in classes)}); "
            f"write one's name behind it: {_HUB}{package}:NAME"
        )
    return classes[0], module.__name__


def described(part: Part) -> Sampler:
    """Describes a sampler of one's own.

    Raises:
        PartError: it cannot be called with a seed.
    """
    import inspect

    thing = part.thing
    try:
        parameters = list(inspect.signature(thing).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    if not any(item.name == "seed" or item.kind is item.VAR_KEYWORD for item in parameters):
        raise plugins.PartError(
            f"sampler {part.name!r} takes no seed, and a search without one could not be resumed; "
            "name a class or a function that is called with seed=NUMBER and gives an Optuna sampler"
        )

    def make(samplers: Any, seed: int, population: int) -> BaseSampler:
        made = thing(seed=seed)
        if not isinstance(made, samplers.BaseSampler):
            raise TypeError(f"it gives {type(made).__name__}, which is no optuna.samplers sampler")
        return cast("BaseSampler", made)

    return Sampler(
        make=make,
        learns=bool(getattr(thing, "learns", True)),
        heeds_constraints=bool(getattr(thing, "heeds_constraints", False)),
        one_sequence=bool(getattr(thing, "one_sequence", False)),
        part=part,
    )
