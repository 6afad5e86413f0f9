"""From a name, a graph or a matrix to a mixing schedule that says where it comes from."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Mapping
from typing import Any

import networkx as nx
import numpy as np
from scipy import sparse

# Importing these two fills the registries.
import topokit.topologies
import topokit.weights  # noqa: F401
from topokit import __version__
from topokit.adjacency import GraphLike, asymmetric_pair, pattern_of
from topokit.errors import InputError
from topokit.kinds import Cyclic, Kind
from topokit.matrix import Graph, MatrixLike, MixingMatrix
from topokit.registry import TOPOLOGIES, WEIGHTS, Topology, Weighting
from topokit.schedule import Schedule

__all__ = ["design", "design_graph", "design_matrix"]

Seed = int | np.random.Generator


def design(
    topology: str,
    nodes: int,
    *,
    weights: str | None = None,
    weight_options: Mapping[str, Any] | None = None,
    seed: Seed | None = None,
    **parameters: Any,
) -> Schedule:
    """Make the schedule of a named topology.

    Parameters
    ----------
    topology : str
        A name from `topokit.registry.TOPOLOGIES`, or one with a number such as ``"base-3"``.
    nodes : int
        Number of nodes.
    weights : str, optional
        A name from `topokit.registry.WEIGHTS`, for topologies that are graphs; each has a default of its own.
    weight_options : mapping, optional
        Of optimal weights: ``time_limit``, ``width``, ``upper``, ``self_loops``, ``method`` and ``progress``; see
        `topokit.optimal.optimal_weights`. With ``network`` and ``message_bytes``, those that agree in the fewest
        seconds on that network; see `topokit.optimal.bandwidth.network_weights`.
    seed : int or numpy.random.Generator, optional
        For topologies that are drawn at random; the others do not use it. Only an integer makes the file tell how to
        draw a random graph again; schedules that draw their rounds need one.
    **parameters
        Further parameters of the topology.

    Returns
    -------
    Schedule
        With what could be found out about it as claims.

    Raises
    ------
    InputError
        If a name or a parameter is unknown or missing, or weights are asked for where the topology brings its own.
    GraphError
        If the topology does not exist for this number of nodes, or the graph cannot be given these weights.

    Examples
    --------
    >>> schedule = design("one-peer-exponential", 8)
    >>> schedule.period, schedule.claims.exact_averaging
    (3, True)
    >>> design("ring", 5, weights="uniform").round(0).fractions()[0]
    Fraction(1, 3)
    """
    entry, preset = TOPOLOGIES.resolve(topology)
    size = _whole(nodes)
    twice = sorted(set(preset) & set(parameters))
    if twice:
        raise InputError(
            f"the name {topology} says {twice[0]} = {preset[twice[0]]} already: leave the parameter out, or take "
            f"the topology {entry.name}"
        )
    arguments = _arguments(entry, seed, {**preset, **parameters})
    entry.require(size, **arguments)
    provenance: dict[str, Any] = {"topology": entry.label(arguments), "parameters": _recorded(arguments)}
    if "seed" in arguments:
        provenance["seed"] = None if isinstance(arguments["seed"], np.random.Generator) else arguments["seed"]
    if isinstance(arguments.get("graph"), nx.Graph):
        provenance |= _labels(arguments["graph"])
    built = entry.build(size, **arguments) if entry.edges is None else entry.adjacency(size, **arguments)
    if isinstance(built, (nx.Graph, sparse.sparray)):
        rule = WEIGHTS[weights or entry.weights or "metropolis-hastings"]
        return _weighted(built, rule, weight_options, provenance)
    kind = _as_kind(built)
    if weights is not None:
        kind = _reweighted(kind, topology, WEIGHTS[weights], weight_options, provenance)
    return Schedule.of(kind, provenance=_signed({**provenance, **kind.remarks}))


def _reweighted(
    kind: Kind, topology: str, rule: Weighting, options: Mapping[str, Any] | None, provenance: dict[str, Any]
) -> Cyclic:
    """Optimise the weights of a period's rounds, where that makes sense; their edges stay what they are."""
    if rule.optimise is None or not isinstance(kind, Cyclic) or kind.copies > 1 or kind.mixing != "doubly-stochastic":
        optimal = ""
        if isinstance(kind, Cyclic) and kind.copies == 1 and kind.mixing == "doubly-stochastic":
            optimal = "; the optimal ones, fmmc and fdla, keep the edges and optimise the whole period"
        raise InputError(
            f"{topology} takes no weights (asked for: {rule.name}): its rounds and their weights are one construction"
            f"{optimal}"
        )
    from topokit.optimal.options import foreign_options
    from topokit.optimal.period import period_weights
    from topokit.optimal.progress import in_words

    wanted = dict(options or {})
    foreign_options(wanted, {"time_limit", "progress"}, f"the weights of a period such as {topology}")
    found = period_weights(
        kind.rounds,
        nonnegative=rule.name != "fdla",
        time_limit=wanted.get("time_limit"),
        progress=in_words(wanted.get("progress"), "the period shrinks errors to {:.6g}"),
    )
    provenance["weights"] = rule.name
    provenance["optimality"] = found.provenance()
    return Cyclic(found.rounds)


def _as_kind(built: Any) -> Kind:
    if isinstance(built, Kind):
        return built
    return Cyclic([built] if isinstance(built, MixingMatrix) else built)


def design_graph(
    graph: GraphLike,
    weights: str | None = None,
    *,
    weight_options: Mapping[str, Any] | None = None,
    name: str | None = None,
) -> Schedule:
    """Make the schedule that repeats one round on a graph.

    Parameters
    ----------
    graph : networkx.Graph, networkx.DiGraph or SciPy sparse array, shape (n, n)
        Connected, nodes numbered 0 to n - 1. An edge u -> v of a directed graph says that u sends to v. An adjacency
        matrix is that of an undirected graph if its pattern is symmetric, else A[u, v] says that u sends to v; its
        values are ignored. Graphs of a million nodes are designed in seconds that way.
    weights : str, optional
        A name from `topokit.registry.WEIGHTS`; by default ``"metropolis-hastings"``, and for directed graphs
        ``"balanced"``.
    weight_options : mapping, optional
        Of optimal weights; see `design`.
    name : str, optional
        What to call the topology; by default the name of the graph, or ``"graph"``.

    Raises
    ------
    InputError
        If there is no such weighting.
    GraphError
        If the graph cannot be given these weights.

    Notes
    -----
    Names that nodes carry in their attribute ``label`` are kept in the provenance, as ``labels``.

    Examples
    --------
    >>> import networkx as nx
    >>> design_graph(nx.petersen_graph()).name
    'Petersen Graph-10'
    >>> triangle = sparse.csr_array(np.ones((3, 3)) - np.eye(3))
    >>> design_graph(triangle, "uniform", name="triangle").claims.exact_averaging
    True
    """
    rule = WEIGHTS[weights or ("balanced" if _is_directed(graph) else "metropolis-hastings")]
    provenance: dict[str, Any] = {"topology": name or "graph"}
    if isinstance(graph, nx.Graph):
        provenance["topology"] = name or str(graph.name or "graph")
        provenance |= _labels(graph)
    return _weighted(graph, rule, weight_options, provenance)


def _weighted(
    graph: GraphLike, rule: Weighting, options: Mapping[str, Any] | None, provenance: dict[str, Any]
) -> Schedule:
    """Weigh a graph; weights that come with a proof leave it in the provenance."""
    provenance["weights"] = rule.name
    if rule.optimise is None:
        if options:
            raise InputError(f"{next(iter(options))} is for optimal weights (fdla, fmmc, auto), not for {rule.name}")
        matrix = rule.build(graph)
    else:
        found = rule.optimise(graph, **(options or {}))
        matrix = found.matrix
        provenance["optimality"] = found.provenance()
    return Schedule.cyclic([matrix], mixing=rule.mixing, provenance=_signed(provenance))


def design_matrix(matrix: MatrixLike, *, name: str = "matrix") -> Schedule:
    """Make the schedule that repeats a mixing matrix of your own.

    Parameters
    ----------
    matrix : MixingMatrix, ndarray or SciPy sparse array, shape (n, n)
        Rows and columns sum to one; W[i, j] is the weight node i gives to what it receives from j.
    name : str
        What to call the topology.

    Raises
    ------
    InputError
        If the matrix is not square or not finite.
    ScheduleError
        If it is not doubly stochastic or not connected.

    Examples
    --------
    >>> design_matrix(np.full((4, 4), 0.25)).claims.exact_averaging
    True
    """
    provenance = _signed({"topology": name, "weights": "given"})
    return Schedule.cyclic([MixingMatrix.from_matrix(matrix)], provenance=provenance)


def _is_directed(graph: GraphLike) -> bool:
    if isinstance(graph, nx.Graph):
        return graph.is_directed()
    return asymmetric_pair(pattern_of(graph)) is not None


def _labels(graph: Graph) -> dict[str, Any]:
    """Keep the names that nodes of a user's graph have: they must not be lost when nodes are numbered."""
    labels = [graph.nodes[node].get("label") for node in sorted(graph)]
    if all(label is None for label in labels):
        return {}
    return {"labels": [label if isinstance(label, int) else str(label) for label in labels]}


def _whole(nodes: int) -> int:
    try:
        return operator.index(nodes)
    except TypeError:
        raise InputError(f"the number of nodes must be a whole number, got {nodes!r}") from None


def _arguments(entry: Topology, seed: Seed | None, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Complete the parameters of a builder by its defaults, so that the file says what was really used."""
    known = entry.parameters
    arguments = {**known, **parameters}
    if seed is not None and "seed" in known:
        arguments["seed"] = seed
    missing = [name for name, value in arguments.items() if value is inspect.Parameter.empty]
    if missing:
        raise InputError(f"{entry.name} needs a value for {missing[0]!r}")
    return arguments


def _recorded(arguments: Mapping[str, Any]) -> dict[str, Any]:
    def plain(value: Any) -> Any:
        if isinstance(value, nx.Graph):
            return str(value.name or "graph")
        return list(value) if isinstance(value, tuple) else value

    return {name: plain(value) for name, value in arguments.items() if name != "seed" and value is not None}


def _signed(provenance: dict[str, Any]) -> dict[str, Any]:
    return {**provenance, "topokit": __version__}
