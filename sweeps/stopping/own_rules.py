"""Finds stopping rules of one's own: functions of a rung's numbers that say which points go on.

N stands for points and M for objectives.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from mpc_router import plugins
from mpc_router.messages import quoted
from sweeps.records import SweepError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mpc_router.plugins import Part


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """Holds the numbers of a rung: what its points have reached after an epoch.

    The arrays cannot be written to. The order of their rows is drawn from the points' names, so it
    says nothing of the order in which points have arrived.
    """

    losses: NDArray[np.float64]
    """Holds means over a point's replicates, (N, M), all finite, to be minimised.

    Objectives stand in the study's order; those that are maximised have the other sign.
    """

    violations: NDArray[np.float64]
    """Sums up by how much each point breaks constraints, (N,); 0 is feasible, the most infinite."""

    epoch: int
    eta: int
    """Is the study's `stopping.eta`."""


@dataclass(frozen=True, slots=True)
class OwnRule:
    """Holds a stopping rule of one's own."""

    part: Part

    def going_on(self, rung: Rung) -> NDArray[np.bool_]:
        """Tells of each point of a rung whether it goes on, (N,).

        Raises:
            SweepError: the rule fails, or gives something else.
        """
        try:
            return _answer(self.part.thing, rung)
        except (Exception, SystemExit) as error:
            # Whatever is raised: it is the part's own code, which can fail in any way
            kind = "" if type(error) is AssertionError else f"{type(error).__name__}: "
            raise SweepError(
                f"stopping rule {quoted(self.part.name)} failed after epoch {rung.epoch}: "
                f"{kind}{error}"
            ) from error


_rules: Final[dict[str, OwnRule]] = {}
"""Keeps what was loaded, for every rung asks for it."""


def rule_of(method: str) -> OwnRule | None:
    """Gives the stopping rule of one's own of this name; None where there is none.

    Raises:
        PartError: it is not trusted, or cannot be loaded.
    """
    if method not in _rules:
        part = plugins.part(plugins.STOPPING_RULES, method)
        if part is None:
            return None
        _rules[method] = OwnRule(part)
    return _rules[method]


def check_stopping_rule(function: Any, *, objectives: int = 2) -> None:
    """Checks a stopping rule on made-up rungs of one point and more, with so many objectives.

    It gives a truth value for each point, the same ones when it is called again, and the same ones
    for the same points in another order: decisions are computed again from the journal.

    Raises:
        AssertionError: it is not so; one sentence says what is wrong.
    """
    import numpy as np

    assert callable(function), f"it is {type(function).__name__}, and must be a function"
    draw = np.random.Generator(np.random.PCG64(0))
    for points in (1, 2, 9):
        for broken in (0.0, 1.0):
            losses = draw.normal(size=(points, objectives))
            violations = broken * draw.integers(0, 3, points).astype(np.float64)
            answer, again = (_answer(function, rung_of(losses, violations, 1, 3)) for _ in range(2))
            assert np.array_equal(answer, again), "it gives other answers when it is called again"
            order = draw.permutation(points)
            turned = _answer(function, rung_of(losses[order], violations[order], 1, 3))
            assert np.array_equal(turned, answer[order]), (
                "it gives a point another answer where points stand in another order"
            )
    _answer(function, rung_of(np.zeros((3, objectives)), np.full(3, np.inf), 1, 3))


def rung_of(
    losses: NDArray[np.float64], violations: NDArray[np.float64], epoch: int, eta: int
) -> Rung:
    """Makes a rung of copies of these arrays that cannot be written to."""
    losses, violations = losses.copy(), violations.copy()
    losses.setflags(write=False)
    violations.setflags(write=False)
    return Rung(losses=losses, violations=violations, epoch=epoch, eta=eta)


def _answer(function: Any, rung: Rung) -> NDArray[np.bool_]:
    """Gives what a function says of a rung.

    Raises:
        AssertionError: it is not one truth value for each point.
    """
    import numpy as np

    answer = np.asarray(function(rung))
    wanted = f"must give one truth value for each of {len(rung.losses)} points"
    assert answer.dtype == np.bool_, f"it gives {answer.dtype}, and {wanted}"
    assert answer.shape == rung.violations.shape, f"it gives shape {answer.shape}, and {wanted}"
    return answer
