"""Edges added to a graph such that its Fiedler value grows most, and how much any could make it grow.

=================  =====================================================================================================
`greedy`           one edge after the other, by the Fiedler vector
`fiedler_bound`    the bound of the semidefinite relaxation, with a certificate
`soft_choice`      a start for it
`candidates`       which pairs may be joined
=================  =====================================================================================================
"""

from topokit.learned.growth.fiedler_bound import FiedlerBound, fiedler_upper_bound, value_of_certificate
from topokit.learned.growth.greedy import GreedyGraph, greedy_edges

__all__ = ["FiedlerBound", "GreedyGraph", "fiedler_upper_bound", "greedy_edges", "value_of_certificate"]
