"""What families are built upon: a graph of the user's own or of another family, or the rounds of another family."""

from __future__ import annotations

from inspect import Parameter
from typing import Any

import networkx as nx

import topokit.weights  # noqa: F401  # fills the registry that graphs without weights take theirs from
from topokit.errors import GraphError, InputError
from topokit.kinds import Cyclic
from topokit.matrix import Graph, MixingMatrix
from topokit.registry import TOPOLOGIES, WEIGHTS, Topology
from topokit.weights.messages import messages_of

__all__ = ["graph_obstacle", "rounds_obstacle", "underlying_graph", "underlying_rounds"]


def graph_obstacle(nodes: int, graph: str | Graph) -> str | None:
    """Say why there is no such graph of this many nodes, or give None.

    Raises
    ------
    InputError
        If `graph` is neither a graph nor the name of an undirected topology that leaves the weights to a weighting.

    Examples
    --------
    >>> graph_obstacle(6, "hypercube")
    'on hypercube needs a power of two'
    """
    if isinstance(graph, nx.Graph):
        size = graph.number_of_nodes()
        return None if nodes == size else f"on a graph of {size} nodes needs {size}"
    entry, parameters = _graph_family(graph)
    reason = entry.obstacle(nodes, **parameters)
    return None if reason is None else f"on {graph} {reason}"


def underlying_graph(nodes: int, graph: str | Graph, seed: int, what: str) -> Graph:
    """Give a graph, checked, or build the topology of that name, with this seed if it is drawn at random.

    Parameters
    ----------
    nodes : int
        Number of nodes.
    graph : str or networkx.Graph
        The same for which `graph_obstacle` gave None.
    seed : int
        Of graphs that are drawn.
    what : str
        What the graph is for, for messages.

    Raises
    ------
    GraphError
        If the graph is directed, not connected, not simple or not numbered 0 to n - 1.

    Examples
    --------
    >>> underlying_graph(3, "path", 0, "matcha").number_of_edges()
    2
    """
    if isinstance(graph, str):
        entry, parameters = _graph_family(graph)
        built = entry.build(nodes, **parameters, **_seeded(entry, seed))
        assert isinstance(built, nx.Graph)
        return built
    if graph.is_directed():
        raise GraphError(
            f"{what} needs an undirected graph, this one is directed; graph.to_undirected() makes all edges exchanges"
        )
    messages_of(graph, what)
    return graph


def rounds_obstacle(nodes: int, name: str) -> str | None:
    """Say why the topology of this name has no rounds for this many nodes, or give None.

    Raises
    ------
    InputError
        If there is no such topology, it needs parameters, or its rounds are drawn at random.

    Examples
    --------
    >>> rounds_obstacle(6, "one-peer-hypercube")
    'needs a power of two'
    """
    entry, parameters = _without_choice(name)
    if entry.kind == "random":
        raise InputError(f"a static topology or a sequence is needed, but the rounds of {name} are drawn at random")
    return entry.obstacle(nodes, **parameters)


def underlying_rounds(nodes: int, name: str, seed: int) -> tuple[MixingMatrix, ...]:
    """Build one period of the topology of this name, graphs with the weights that suit them.

    Raises
    ------
    InputError
        If its rounds do not average one value a node.

    Examples
    --------
    >>> [W.to_dense().tolist() for W in underlying_rounds(2, "base-2", seed=0)]
    [[[0.5, 0.5], [0.5, 0.5]]]
    """
    entry, parameters = TOPOLOGIES.resolve(name)
    built = entry.build(nodes, **parameters, **_seeded(entry, seed))
    if isinstance(built, nx.Graph):
        return (WEIGHTS[entry.weights or "metropolis-hastings"].build(built),)
    if isinstance(built, Cyclic) and built.copies == 1 and built.mixing == "doubly-stochastic":
        return built.rounds
    if isinstance(built, MixingMatrix):
        return (built,)
    if isinstance(built, tuple):
        return built
    raise InputError(f"rounds that average one value a node (doubly stochastic) are needed, {name} has others")


def _graph_family(name: Any) -> tuple[Topology, dict[str, Any]]:
    if not isinstance(name, str):
        raise InputError(f"the graph must be a networkx graph or the name of a topology, got {type(name).__name__}")
    entry, parameters = _without_choice(name)
    if not entry.leaves_weights or entry.directed:
        raise InputError(f"the graph must be an undirected static topology such as ring or erdos-renyi, {name} is none")
    return entry, parameters


def _without_choice(name: str) -> tuple[Topology, dict[str, Any]]:
    """Resolve the name of a topology that can be built from its name and a number of nodes alone."""
    entry, parameters = TOPOLOGIES.resolve(name)
    missing = [key for key, default in {**entry.parameters, **parameters}.items() if default is Parameter.empty]
    if missing:
        raise InputError(f"{name} needs a value for {missing[0]!r}: take a topology that needs none")
    return entry, parameters


def _seeded(entry: Topology, seed: int) -> dict[str, int]:
    return {"seed": seed} if "seed" in entry.parameters else {}
