"""Mixing weights for a graph: registered rules that turn a connected graph into a mixing matrix.

Rules that go by degrees give exact fractions. Two families have two conventions in the literature, which differ by
one in the denominator; they are named apart here:

====================  =======================================  ==============================================
name                  weight of an edge                        where it is called so
====================  =======================================  ==============================================
metropolis-hastings   1 / (1 + max(d_i, d_j))                  decentralized learning, gossip implementations
metropolis-boyd       1 / max(d_i, d_j)                        Boyd, Diaconis, Xiao 2004 ("local-degree")
max-degree            1 / max degree                           Xiao, Boyd 2004
max-degree-plus-one   1 / (1 + max degree)                     decentralized learning, gossip implementations
====================  =======================================  ==============================================

Without the "+ 1" a node of the largest degree keeps nothing of its own value: on a bipartite regular graph (an even
ring, a hypercube) the SLEM is then 1 and the values never agree.

``fdla`` and ``fmmc`` are optimal: no symmetric weights, or no nonnegative ones, have a smaller SLEM, and the schedule
carries the proof (`topokit.optimal`).

Directed graphs are served by ``balanced``, whose rows and columns sum to 1 where that is possible, and by
``push-sum``, whose columns alone do.
"""

from topokit.weights.by_degree import (
    max_degree_plus_one_weights,
    max_degree_weights,
    metropolis_boyd_weights,
    metropolis_hastings_weights,
    uniform_weights,
)
from topokit.weights.directed import balanced_weights, push_sum_weights
from topokit.weights.given import given_weights
from topokit.weights.laplacian import laplacian_weights
from topokit.weights.messages import require_connected
from topokit.weights.optimal import auto_weights, fdla_weights, fmmc_weights

__all__ = [
    "auto_weights",
    "balanced_weights",
    "fdla_weights",
    "fmmc_weights",
    "given_weights",
    "laplacian_weights",
    "max_degree_plus_one_weights",
    "max_degree_weights",
    "metropolis_boyd_weights",
    "metropolis_hastings_weights",
    "push_sum_weights",
    "require_connected",
    "uniform_weights",
]
