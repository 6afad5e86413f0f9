"""Optimal mixing weights, with proof of how near to the optimum they are.

========================  ==============================================================================================
`weights`                 from a graph to optimal weights: when a method stops, and what is kept
`methods`                 which method suits a problem, and when one hands over to the next
`problem`                 what is asked for: edges, signs, bounds, self-loops
`certificate`             a bound from below that anyone can compute again
`compact_dual`            certificates of few columns
`recheck`                 the bound again from a schedule file
`iterates`                what the solvers have in common
`progress`                what a running search tells
`starts`                  simple weights that optimal ones have to beat
`one_weight`              graphs whose edges are all alike: a closed form
`characters`              circulant graphs, tori, hypercubes: a linear program
`character_program`       its weights, eigenvalues and proofs
`character_cuts`          its inequalities, found one by one
`character_polish`        its last digits
`interior_point`          any graph up to some thousand edges, to ten digits
`linear_limits`           the limits of the weights as slacks
`first_order`             larger graphs
`augmented`               the smooth function that it minimises
`extremes`                extreme eigenpairs, from those of the call before
`repair`                  weights moved to where they keep the limits
`sdp`                     the same problems through cvxpy
`sdp_program`             the program that it is given
`symmetry`                orbits of edges
`automorphisms`           permutations that are checked, and the orbits that they make
`likely_automorphisms`    permutations that many graphs have, and those of nauty
`automorphism_search`     the search for more
`colour_refinement`       colours that automorphisms keep
`connectivity`            the largest algebraic connectivity within linear limits
`connectivity_problem`    what is asked for there
`central_path`            its interior-point method
`edge_products`           the entries of its linear system
`rates`                   rates of asynchronous gossip
`period`                  weights for all rounds of a period
`period_patterns`         what the weights of a round act on
`period_search`           all rounds at once to first order, then one at a time
`affine_norm`             the least spectral norm of an affine matrix
`bandwidth`               weights that agree soonest on a network
`bandwidth_search`        which edges are worth their time
`round_loads`             how long a round takes with them
`dense`                   factors and inverses of dense matrices
`step_length`             how far one may go and stay positive definite
`threads`                 one thread for small matrices
========================  ==============================================================================================
"""

from topokit.optimal.bandwidth import NetworkWeights, network_weights
from topokit.optimal.certificate import Certificate
from topokit.optimal.connectivity import Connectivity, fastest_mixing_process
from topokit.optimal.period import PeriodWeights, period_weights
from topokit.optimal.problem import WeightProblem, weight_problem
from topokit.optimal.progress import Progress
from topokit.optimal.rates import optimal_rates
from topokit.optimal.weights import OptimalWeights, optimal_weights

__all__ = [
    "Certificate",
    "Connectivity",
    "NetworkWeights",
    "OptimalWeights",
    "PeriodWeights",
    "Progress",
    "WeightProblem",
    "fastest_mixing_process",
    "network_weights",
    "optimal_rates",
    "optimal_weights",
    "period_weights",
    "weight_problem",
]
