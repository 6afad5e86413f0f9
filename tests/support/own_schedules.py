"""A schedule for each training algorithm, of the kind that it asks for."""

from __future__ import annotations

import networkx as nx
import numpy as np

from topokit.designer import design, design_graph
from topokit.matrix import MixingMatrix
from topokit.schedule import Schedule

__all__ = ["ASYNCHRONOUS", "NEEDED", "PACKED", "directed", "own_schedules"]

# Options that algorithms cannot do without; on several ranks clocks are real, unless simulated ones are asked for.
NEEDED = {
    "squarm-sgd": {"momentum": 0.9},
    "async-gossip": {"clock": "simulated"},
    "ad-psgd": {"clock": "simulated"},
}
PACKED = ("choco-sgd", "sparq-sgd", "squarm-sgd", "power-gossip")  # those whose messages are compressed

ASYNCHRONOUS = ("async-gossip", "ad-psgd")


def directed(nodes: int) -> Schedule:
    """A directed ring in which node 0 also sends to the second half: columns sum to one, rows do not."""
    weights = np.eye(nodes) + np.roll(np.eye(nodes), 1, axis=0)
    weights[nodes // 2 :, 0] += 1
    return Schedule.cyclic([MixingMatrix.from_matrix(weights / weights.sum(axis=0))], mixing="column-stochastic")


def own_schedules(nodes: int, active: int) -> dict[str, Schedule]:
    """Give a schedule by name of the algorithm; ``active`` nodes of TELEPORTATION are so at once."""
    return {
        "dsgd": design("one-peer-exponential", nodes),
        "gradient-tracking": design("exponential", nodes),
        "exact-diffusion": design("ring", nodes),
        "push-sum": directed(nodes),
        "ceca": design("ceca-1p", nodes),
        "push-pull": design("tree-push-pull", nodes),
        "relay-sgd": design_graph(nx.full_rary_tree(2, nodes)),
        "choco-sgd": design("ring", nodes),
        "sparq-sgd": design("ring", nodes),
        "squarm-sgd": design("ring", nodes),
        "power-gossip": design("ring", nodes),
        "teleportation": design("teleportation", nodes, active=[active], inner="ring", seed=3),
        "async-gossip": design("pairwise", nodes),
        "ad-psgd": design("pairwise", nodes),
        "local-sgd": design("ring", nodes),
        "allreduce": design("ring", nodes),
    }
