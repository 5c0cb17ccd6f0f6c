"""A round: a run that is killed again and again, resumed until it is done, and then checked."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import random
import shutil
import subprocess
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from sweeps.journal.journal import read
from sweeps.journal.state import JournalError, replay
from sweeps.provenance.facts import code_fingerprint
from sweeps.run import main
from tests.chaos import blows, processes, promises
from tests.chaos.alone import Alone
from tests.chaos.blows import DRIVER, HEAD, MACHINE, Blow, Course
from tests.chaos.nodes import Nodes
from tests.chaos.promises import Findings
from tests.chaos.sessions import NO_RAY, RAY, ROOT, Place, Session, hold
from tests.chaos.variants import Variant
from tests.sweeps.conftest import without_ray

SPARE: Final = 4
"""Sessions that may follow the last blow before a round counts as failed."""

SHARED: Final = ("--sample", "--no-report", "--quiet")


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What all rounds of a call have in common."""

    out: Path
    seed: int
    short: bool

    @property
    def cache(self) -> Path:
        """What is prepared of the sample."""
        return self.out / "cache"


@dataclass(kw_only=True)
class Round:
    """What came of one."""

    number: int
    variant: str
    folder: Path
    kills: Counter[str] = field(default_factory=Counter)
    sessions: int = 0
    orphans: int = 0
    """At most so many processes outlived a killed driver by a second."""

    spent: dict[str, float] = field(default_factory=dict)
    """Seconds by what they were spent on."""

    findings: Findings = field(default_factory=Findings)
    broken: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        """Whether the promise was kept."""
        return not self.broken and not self.findings.broken

    @contextlib.contextmanager
    def spending(self, what: str) -> Iterator[None]:
        """The time of the block is spent on this."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.spent[what] = self.spent.get(what, 0.0) + time.monotonic() - began


@dataclass(frozen=True, kw_only=True)
class Undisturbed:
    """The run that all others are held against."""

    run: Path
    course: Course
    alone: Alone


def undisturbed(variant: Variant, setting: Setting) -> Undisturbed:
    """Made once for each variant and state of the code."""
    name = f"{variant.name}{'-short' * setting.short}-{code_fingerprint()}"
    base = setting.out / "undisturbed"
    run = base / "runs" / name
    if not _is_done(run):
        shutil.rmtree(run, ignore_errors=True)
        base.mkdir(parents=True, exist_ok=True)
        arguments = _new(variant, setting, run)
        if setting.short:
            _here([*arguments, "--out", str(run.parent)])
        else:
            with tempfile.TemporaryDirectory(prefix="c", dir="/tmp") as temporary:
                _call(Place(run=run, temporary=Path(temporary), log=base), arguments)
    study = f"{zlib.crc32(repr(variant.command(short=setting.short)).encode()):08x}"
    events = list(read(run / "journal.jsonl"))
    seconds = events[-1]["mono"] - events[0]["mono"]
    return Undisturbed(
        run=run,
        course=Course(seconds=seconds + 4, lines=len(events)),  # as long again until `opened`
        alone=Alone(run, setting.cache, base / f"alone-{study}-{code_fingerprint()}"),
    )


def _is_done(run: Path) -> bool:
    try:
        return replay(read(run / "journal.jsonl")).closed == "done"
    except JournalError:
        return False


def _here(arguments: Sequence[str]) -> None:
    """Without Ray in this process, which has all that it needs in memory already."""
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()):
        without_ray(patch)
        if (code := main(arguments)) != 0:
            raise RuntimeError(f"the undisturbed run ended with {code}")


def _call(place: Place, arguments: Sequence[str]) -> None:
    done = subprocess.run(
        place.command(arguments),
        cwd=place.run.parent.parent,
        env=place.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"the undisturbed run ended with {done.returncode}: {done.stderr}")


def _new(variant: Variant, setting: Setting, run: Path) -> list[str]:
    known = ("--cache", str(setting.cache), "--out", "runs", "--name", run.name)
    return [*variant.command(short=setting.short), *SHARED, *known]


def play(variant: Variant, number: int, setting: Setting, other: Undisturbed) -> Round:
    """One round; everything in it is drawn from the seed, its number and the variant."""
    generator = random.Random(f"{setting.seed} {variant.name} {number}")
    planned = (
        blows.short(variant) if setting.short else blows.drawn(variant, other.course, generator)
    )
    folder = setting.out / f"{variant.name}-{setting.seed}-{number}"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "runs").mkdir(parents=True)
    found = Round(number=number, variant=variant.name, folder=folder)
    temporary = Path(tempfile.mkdtemp(prefix="c", dir="/tmp"))
    module = NO_RAY if setting.short and variant.searches else RAY
    place = Place(run=folder / "runs" / "r", temporary=temporary, log=folder, module=module)
    if variant.cluster:
        nodes = Nodes(folder / "cluster", place.environment(), cwd=ROOT)
        place = dataclasses.replace(place, nodes=nodes)
    try:
        if place.nodes is not None:
            with found.spending("cluster"):
                place.nodes.up()
        again = dataclasses.replace(place, module=NO_RAY) if setting.short else place
        first = _new(variant, setting, place.run)
        _sessions(found, planned, (place, again), first, generator)  # a Ray is enough for a test
        if not found.broken:
            with found.spending("check"):
                found.findings = promises.check(place.run, other.run, variant, other.alone)
            found.findings.litter += len(list(temporary.glob("mpcr-ray-*")))
    finally:
        if place.nodes is not None:
            with found.spending("cluster"):
                place.nodes.down()
        processes.end(processes.orphans())
        shutil.rmtree(temporary, ignore_errors=True)
    return found


def _sessions(
    found: Round,
    planned: Sequence[Blow],
    places: tuple[Place, Place],
    first: Sequence[str],
    generator: random.Random,
) -> None:
    """Until one that nobody disturbs ends well, or too many have been held; `places` are those of
    the first and of all that resume."""
    waiting = list(planned)
    lingering = False
    for number in range(len(planned) + SPARE):
        place = places[number > 0]
        blow = waiting.pop(0) if waiting else None
        begun = (place.run / "journal.jsonl").exists()
        if not begun:
            shutil.rmtree(place.run, ignore_errors=True)  # there is nothing to go on with
        arguments = ["--resume", "runs/r", *SHARED[1:]] if begun else list(first)
        arguments += place.nodes.flags if place.nodes is not None else ()
        with found.spending("sessions"):
            session = hold(place, number, arguments, blow, generator)
        found.sessions += 1
        found.orphans = max(found.orphans, session.orphans)
        if session.struck is not None:
            found.kills[session.struck.kind] += 1
        _log(place, number, arguments, blow, session)
        if place.nodes is not None and session.struck is not None and session.struck.kind == HEAD:
            with found.spending("cluster"):
                place.nodes.renew()
        cluster = place.nodes.everybody() if place.nodes is not None else set()
        if lingering:
            processes.end(processes.orphans(but=cluster))
        lingering = session.struck is not None and session.struck.lingers
        if _over(found, place, session):
            waiting = [each for each in waiting if each.may_strike_idle]
            if not waiting:
                return
        if found.broken:
            return
    found.broken.append(f"{found.sessions} sessions were not enough")


def _over(found: Round, place: Place, session: Session) -> bool:
    """Whether the run is done; notes what no session may do."""
    killed = session.struck is not None and session.struck.kind in (DRIVER, MACHINE)
    if session.code is None:
        found.broken.append(f"session {found.sessions - 1} hung for {session.seconds:.0f} s")
    elif killed:
        return False
    elif "Traceback" in session.said:
        found.broken.append(f"session {found.sessions - 1} printed a traceback")
    elif session.code == 2 and "was never begun; delete it" in session.said:
        shutil.rmtree(place.run)  # as the message says
    elif session.code == 3 and session.struck is not None:
        if "--resume" not in session.said:
            found.broken.append(f"session {found.sessions - 1} does not say how to go on")
    elif session.code != 0:
        said = session.said.strip().splitlines()[-1:]
        found.broken.append(f"session {found.sessions - 1} ended with {session.code}: {said}")
    return session.code == 0


def _log(
    place: Place, number: int, arguments: Sequence[str], blow: Blow | None, session: Session
) -> None:
    """A line a session beside its output."""
    struck = "struck" if session.struck is not None else "not struck"
    with (place.log / "sessions.txt").open("a") as log:
        log.write(
            f"{number}: {' '.join(arguments)} | {blow or 'undisturbed'}, {struck} | "
            f"exit {session.code}, {session.seconds:.1f} s, {session.orphans} orphans\n"
        )
