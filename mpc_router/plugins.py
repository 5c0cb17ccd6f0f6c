"""Finds parts of one's own, such as samplers and metrics, in a package or in a module.

A part is named by its entry point (`steady`) or by its place (`my_package.samplers:Steady`). Its
code is imported only where it is trusted. It is trusted where the user names it: in a study, in a
configuration, or by `--trust NAME`. What a run's folder names may come from a stranger, so of it
an installed entry point in the recorded version is trusted, and nothing else.

Trust is a fact of the process, as imported modules are: whatever reads the name of a part there,
in whatever room, finds the same.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import re
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mpc_router.messages import quoted

if TYPE_CHECKING:
    import importlib.metadata

SAMPLERS: Final = "mpc_router.samplers"
METRICS: Final = "mpc_router.metrics"
COST_VECTORS: Final = "mpc_router.cost_vectors"
POOLS: Final = "mpc_router.pools"
STOPPING_RULES: Final = "mpc_router.stopping_rules"
ROUTER_KINDS: Final = "mpc_router.router_kinds"
_GROUPS: Final = (SAMPLERS, METRICS, COST_VECTORS, POOLS, STOPPING_RULES, ROUTER_KINDS)
"""Names the groups of entry points, one for each kind of part."""

_WORDS: Final = {
    SAMPLERS: "sampler",
    METRICS: "metric",
    COST_VECTORS: "cost vector",
    POOLS: "pool",
    STOPPING_RULES: "stopping rule",
    ROUTER_KINDS: "router kind",
}
_PLACE: Final = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)
"""Matches `module:name`, both with dots where they are nested."""

_NAME: Final = re.compile(r"[\w.:/-]{1,200}", re.ASCII)
"""Matches what a message may repeat behind `--trust`, for users copy it into a shell."""

_trusted: Final[set[tuple[str, str]]] = set()
"""Holds (group, name) of the parts whose code this process may import."""

_named_by_user: Final[ContextVar[bool]] = ContextVar("named_by_user", default=False)


class PartError(ValueError):
    """Says in one message why a part cannot be had, and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Holds a part and where it came from."""

    group: str
    name: str
    """Names the part as the user does."""

    package: str | None
    """Names the installed package that brings it; None for a module of no package."""

    version: str | None
    """Is the package's version, or of a module without a package a hash of its file."""

    thing: Any
    """Holds the part itself."""

    def record(self) -> dict[str, Any]:
        """Gives what a run records of the part, as plain data."""
        return {
            "group": self.group,
            "name": self.name,
            "package": self.package,
            "version": self.version,
        }


def trust(names: Iterable[str]) -> None:
    """Trusts the parts of these names from now on, of whatever kind they are."""
    _trusted.update((group, name) for name in names for group in _GROUPS)


def trusted() -> tuple[tuple[str, str], ...]:
    """Gives (group, name) of the trusted parts, for the way to another process."""
    return tuple(sorted(_trusted))


def trust_pairs(pairs: Iterable[tuple[str, str]]) -> None:
    """Trusts what `trusted` gave in another process of the same user."""
    _trusted.update(pairs)


@contextlib.contextmanager
def words_of_user() -> Iterator[None]:
    """Trusts every part that is named inside a `with`, for the user wrote what is read there."""
    token = _named_by_user.set(True)
    try:
        yield
    finally:
        _named_by_user.reset(token)


def trust_recorded(
    records: object,
    folder: object,
    names: Iterable[str] = (),
    *,
    groups: Collection[str] = _GROUPS,
    again: bool = False,
) -> None:
    """Trusts of the parts that a folder has recorded those that are installed entry points.

    Package and version must be the recorded ones. `names` are the parts that the user names again;
    they are trusted whatever they are. Parts of other `groups` are left out. Parts that this
    process trusts already are let be, unless they are to be checked `again`.

    Raises:
        PartError: a part is neither, or the record is none.
    """
    names = tuple(names)
    trust(names)
    for record in records if isinstance(records, list | tuple) else ():
        group, name = _group_and_name(record, folder)
        if group not in groups or name in names or ((group, name) in _trusted and not again):
            continue
        point = _entry_point(group, name)
        if point is None:
            raise PartError(_untrusted(group, name))
        package, version = _package_of(point)
        if (package, version) != (record.get("package"), record.get("version")):
            raise PartError(
                f"{_WORDS[group]} {quoted(name)} of {folder} came from "
                f"{_shown(record.get('package'), record.get('version'))}, and installed is "
                f"{_shown(package, version)}; install the recorded version, or give "
                f"--trust {name} to take the one that is installed"
            )
        _trusted.add((group, name))


def _group_and_name(record: object, folder: object) -> tuple[str, str]:
    """Gives group and name of a recorded part.

    Raises:
        PartError: it has none.
    """
    if isinstance(record, Mapping):
        group, name = record.get("group"), record.get("name")
        if group in _GROUPS and isinstance(name, str) and _NAME.fullmatch(name):
            return str(group), name
    raise PartError(
        f"{folder} has recorded the part {quoted(record)}, but a part has a group "
        f"({', '.join(_GROUPS)}) and a name"
    )


def part(
    group: str, name: str, *, find: Callable[[str], tuple[Any, str]] | None = None
) -> Part | None:
    """Gives the part of this name; None where the name is neither an entry point nor a place.

    `find` gives the part and the module whose package it belongs to, for names that another
    library resolves; by default names are entry points and `module:name`.

    Raises:
        PartError: it is not trusted, two packages bring it, or its code raises.
    """
    if not _NAME.fullmatch(name):
        return None
    point = None if find is not None or ":" in name else _entry_point(group, name)
    if find is None and point is None and not _PLACE.fullmatch(name):
        return None
    if _named_by_user.get():
        _trusted.add((group, name))
    if (group, name) not in _trusted:
        raise PartError(_untrusted(group, name))
    try:
        if point is not None:
            thing, (package, version) = point.load(), _package_of(point)
        else:
            _search_current_folder()
            thing, module = _found(name) if find is None else find(name)
            package, version = _package_of_module(module)
    except (Exception, SystemExit) as error:
        # Whatever is raised: importing runs the part's own code, which can fail in any way
        raise PartError(
            f"{_WORDS[group]} {quoted(name)} cannot be loaded ({type(error).__name__}: {error}); "
            "install its package, or put its module's folder into PYTHONPATH"
        ) from error
    return Part(group=group, name=name, package=package, version=version, thing=thing)


def part_error(error: BaseException | None) -> PartError | None:
    """Gives the error about a part that another error began with; None where it did not."""
    while error is not None and not isinstance(error, PartError):
        error = error.__cause__ or error.__context__
    return error


def _untrusted(group: str, name: str) -> str:
    """Says that a part was not loaded, and how it would be."""
    return (
        f"{_WORDS[group]} {quoted(name)} is code that only a folder names, so it was not loaded; "
        f"if you know this code and want to run it, give --trust {name}"
    )


def _entry_point(group: str, name: str) -> importlib.metadata.EntryPoint | None:
    """Gives the installed entry point of this name; reads metadata and imports nothing.

    Raises:
        PartError: several packages have one.
    """
    import importlib.metadata  # it reads e-mail headers: only where a part is looked for

    points = list(importlib.metadata.entry_points(group=group, name=name))
    packages = sorted({_shown(*_package_of(point)) for point in points})
    if len(packages) > 1:
        raise PartError(
            f"{_WORDS[group]} {quoted(name)} is in {' and in '.join(packages)}; remove one, or "
            "name it by its place, module:name"
        )
    return points[0] if points else None


def _package_of(point: importlib.metadata.EntryPoint) -> tuple[str | None, str | None]:
    """Gives the package of an entry point, and its version."""
    return (None, None) if point.dist is None else (point.dist.name, point.dist.version)


def _search_current_folder() -> None:
    """Has Python look for modules in the current folder too, last, so that it hides no other.

    `python -m` looks there first, and an installed command does not look there at all.
    """
    folder = str(Path.cwd())
    if not {"", folder}.intersection(sys.path):
        sys.path.append(folder)


def _found(name: str) -> tuple[Any, str]:
    """Imports the part at `module:name`; gives it and its module."""
    module, _, inner = name.partition(":")
    thing: Any = importlib.import_module(module)
    for attribute in inner.split("."):
        thing = getattr(thing, attribute)
    return thing, module


def _package_of_module(module: str) -> tuple[str | None, str | None]:
    """Gives the installed package of a module and its version, or None and its file's hash."""
    import importlib.metadata

    packages = importlib.metadata.packages_distributions().get(module.partition(".")[0])
    if packages:
        return packages[0], importlib.metadata.version(packages[0])
    path = getattr(sys.modules.get(module), "__file__", None)
    if path is None or not Path(path).is_file():
        return None, None
    return None, f"sha256:{hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]}"


def _shown(package: object, version: object) -> str:
    """Names a package and its version for a message."""
    return quoted(f"{package} {version}") if package else quoted(f"no package ({version})")
