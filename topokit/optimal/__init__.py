"""Optimal mixing weights, with proof of how near to the optimum they are.

==================  ==================================================================================================
`weights`           from a graph to optimal weights: which method, and when it stops
`problem`           what is asked for: edges, signs, bounds, self-loops
`certificate`       a bound from below that anyone can compute again
`recheck`           the same from a schedule file
`one_weight`        graphs whose edges are all alike: a closed form
`symmetry`          orbits of edges
`characters`        circulant graphs, tori, hypercubes: a linear program
`interior_point`    any graph up to some thousand edges, to ten digits
`first_order`       larger ones
`sdp`               the same problems through cvxpy
==================  ==================================================================================================
"""

from topokit.optimal.certificate import Certificate
from topokit.optimal.problem import WeightProblem, weight_problem
from topokit.optimal.progress import Progress
from topokit.optimal.weights import OptimalWeights, optimal_weights

__all__ = ["Certificate", "OptimalWeights", "Progress", "WeightProblem", "optimal_weights", "weight_problem"]
