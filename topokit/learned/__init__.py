"""Learned topologies: graphs and sequences of rounds that are searched for, within limits and on networks.

=====================  =================================================================================================
`graphs`               from limits and an objective to a graph: structured graphs, local searches, and what bounds them
`graph_searches`       what single searches do
`limits`               degrees, edges, pairs that may be joined, edges that leave a host
`objectives`           what is minimised; `optimal_objective` where the weights are optimal ones
`local_search`         moves behind a barrier
`barrier`              what every move does to the whole spectrum
`moves`                graphs that are searched, and the moves
`weight_changes`       Metropolis-Hastings weights after a move
`starts`               random graphs within limits
`restarts`             many searches on several processes
`structured`           circulant graphs, Cayley graphs and lifts
`bounds`               what no graph can beat
`growth`               edges added one by one, and the bound of the semidefinite relaxation
`on_network`           the graph of fewest seconds on a network; `seconds` of its rounds
`sequences`            sequences of rounds
`placement`            which node goes where
`schedules`            schedules of what was learned
=====================  =================================================================================================
"""

from topokit.learned.graphs import OBJECTIVES, LearnedGraph, learn
from topokit.learned.growth import fiedler_upper_bound, greedy_edges
from topokit.learned.limits import Limits
from topokit.learned.on_network import NetworkGraph, learn_on_network
from topokit.learned.placement import Placement, place
from topokit.learned.schedules import graph_schedule, sequence_schedule
from topokit.learned.sequences import LearnedSequence, host_sequence, learn_sequence

__all__ = [
    "OBJECTIVES",
    "LearnedGraph",
    "LearnedSequence",
    "Limits",
    "NetworkGraph",
    "Placement",
    "fiedler_upper_bound",
    "graph_schedule",
    "greedy_edges",
    "host_sequence",
    "learn",
    "learn_on_network",
    "learn_sequence",
    "place",
    "sequence_schedule",
]
