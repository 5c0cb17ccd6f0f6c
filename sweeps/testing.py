"""Checks parts of one's own as this program uses them, for the tests of the package that has them.

Each function raises AssertionError with one sentence where a part does not conform:

    from sweeps.testing import check_metric, check_sampler

    def test_my_parts():
        check_sampler(MySampler)
        check_metric(my_metric)
"""

from mpc_router.config.own_pools import check_pool
from mpc_router.pricing.own_costs import check_cost_vector
from mpc_router.routers.own_routers import check_router_kind
from mpc_router.tasks.own_metrics import check_metric
from sweeps.search.conformance import check_sampler
from sweeps.stopping.own_rules import check_stopping_rule

__all__ = [
    "check_cost_vector",
    "check_metric",
    "check_pool",
    "check_router_kind",
    "check_sampler",
    "check_stopping_rule",
]
