"""Holds a cost vector of one's own: a function of a trial's configuration."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from mpc_router import plugins
from mpc_router.config.trial import ConfigError, TrialConfig, trial_config
from mpc_router.costs import CONSTANTS, FLOPS, PARAMETERS, PUBLISHED, CostVector
from mpc_router.messages import quoted
from mpc_router.plugins import Part, PartError


@dataclass(frozen=True, slots=True)
class OwnCosts:
    """Holds a function of one's own that gives the cost vector of a configuration."""

    part: Part

    @property
    def name(self) -> str:
        """Gives the name of its vector, which is that of the part."""
        return self.part.name

    def vector(self, config: TrialConfig) -> CostVector:
        """Gives the cost vector of a configuration's experts and router.

        Raises:
            ConfigError: the function fails, or gives no cost for each expert.
        """
        try:
            vector = _checked(self.part.thing, config)
        except (Exception, SystemExit) as error:
            # Whatever is raised: it is the part's own code, which can fail in any way
            kind = "" if type(error) is AssertionError else f"{type(error).__name__}: "
            experts = ", ".join(config.model.expert_model_names)
            raise ConfigError(
                f"cost_vector {quoted(self.name)} failed for the experts {quoted(experts)}: "
                f"{kind}{error}"
            ) from error
        return dataclasses.replace(vector, name=self.name)


def own_costs(name: str) -> OwnCosts | None:
    """Gives the cost vector of one's own of this name; None for those that ship, or unknown ones.

    Raises:
        ConfigError: it is not trusted, or cannot be loaded.
    """
    published = {*PUBLISHED, *(f"{vector}_as_if" for vector in PUBLISHED)}
    if name in {CONSTANTS, FLOPS, PARAMETERS, *published}:
        return None
    try:
        part = plugins.part(plugins.COST_VECTORS, name)
    except PartError as error:
        raise ConfigError(f"cost_vector: {error}") from error
    return None if part is None else OwnCosts(part)


def check_cost_vector(function: object, *, pool: str = "bert") -> None:
    """Checks a function that gives a cost vector, on the configuration of a pool.

    It gives a `CostVector` with a cost for each expert, and the same one when it is called again.

    Raises:
        AssertionError: it is not so; one sentence says what is wrong.
    """
    _checked(function, trial_config({"task": "mrpc", "pool": pool}))


def _checked(function: object, config: TrialConfig) -> CostVector:
    """Gives what a function says of a configuration.

    Raises:
        AssertionError: it is no function, or gives no cost for each expert.
    """
    assert callable(function), f"it is {type(function).__name__}, and must be a function"
    vector, again = function(config), function(config)
    assert isinstance(vector, CostVector), (
        f"it gives {type(vector).__name__}, and must give an mpc_router.costs.CostVector"
    )
    assert len(vector.experts) == config.experts, (
        f"it gives costs of {len(vector.experts)} experts, and the pool has {config.experts}"
    )
    assert vector == again, "it gives another vector when it is called again"
    return vector
