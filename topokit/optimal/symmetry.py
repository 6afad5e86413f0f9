"""Which edges of a graph look alike: automorphisms, and the orbits of edges and nodes under them.

Some optimal weights are the same on all edges of an orbit, as the SLEM is convex and the mean over all images of
weights is as good as they are. This holds for every group of automorphisms, the whole one or not. So a search that
misses some gives more orbits, never wrong ones, as long as each permutation that it uses is checked, edge by edge.

Permutations that many graphs have are tried first, then automorphisms are searched for, with colours that they cannot
change (`colour_refinement`, `automorphism_search`).
"""

from __future__ import annotations

import importlib.util
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from time import monotonic

import numpy as np
from numpy.typing import ArrayLike

from topokit.errors import InputError
from topokit.matrix import IntArray
from topokit.optimal.automorphism_search import AutomorphismSearch
from topokit.optimal.automorphisms import Automorphisms
from topokit.optimal.colour_refinement import ColouredGraph, TimeUp
from topokit.optimal.likely_automorphisms import by_nauty, of_products, of_twins

__all__ = ["EdgeOrbits", "edge_orbits"]

NAUTY = 4000  # nodes and edges that nauty is given at most: nothing can interrupt it


@dataclass(frozen=True)
class EdgeOrbits:
    """Orbits under a group of automorphisms.

    Attributes
    ----------
    groups : ndarray of int64, shape (m,)
        Number of the orbit of each edge, 0 to count - 1, in the order of their first edges.
    count : int
    node_groups : ndarray of int64, shape (n,)
        The same of the nodes.
    generators : ndarray of int64, shape (g, n)
        Of the group: node i goes to ``generator[i]``.
    method : str
        ``"structure"`` if nodes with the same neighbours and shifts, read off the numbers of the nodes, were enough,
        ``"search"``, or ``"nauty"``.
    complete : bool
        Whether these are the orbits of all automorphisms; if not, time or patience ended first.
    """

    groups: IntArray
    count: int
    node_groups: IntArray
    generators: IntArray
    method: str
    complete: bool


def edge_orbits(
    nodes: int,
    edges: IntArray,
    *,
    colours: ArrayLike | None = None,
    directed: bool = False,
    time_limit: float = 10.0,
) -> EdgeOrbits:
    """Find the orbits of the edges under automorphisms of the graph.

    Parameters
    ----------
    nodes : int
        Number of nodes n.
    edges : ndarray of int64, shape (m, 2)
        Each once.
    colours : array, shape (m,), optional
        That automorphisms have to keep: bounds of the weights, say.
    directed : bool, default False
        Whether (u, v) is another edge than (v, u).
    time_limit : float, default 10
        Seconds, after which the orbits under the automorphisms found so far are returned.

    Returns
    -------
    EdgeOrbits

    Raises
    ------
    InputError
        If edges are no pairs of nodes, or there are not as many colours.

    Notes
    -----
    Where this search is not complete, and the package pynauty is installed, nauty is asked.

    References
    ----------
    McKay and Piperno, "Practical graph isomorphism, II", Journal of Symbolic Computation 60, 2014, on refinement and
    individualisation.

    Examples
    --------
    >>> import networkx as nx
    >>> edge_orbits(5, np.array(nx.path_graph(5).edges)).groups.tolist()
    [0, 1, 1, 0]
    >>> petersen = edge_orbits(10, np.array(nx.petersen_graph().edges))
    >>> petersen.count, petersen.node_groups.tolist()
    (1, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
    """
    pairs = np.asarray(edges, dtype=np.int64).reshape(-1, 2)
    if pairs.size and (pairs.min() < 0 or pairs.max() >= nodes):
        raise InputError(f"an edge leaves the nodes 0 to {nodes - 1}")
    kinds = np.zeros(len(pairs), dtype=np.int64)
    if colours is not None:
        given = np.asarray(colours)
        if given.shape != kinds.shape:
            raise InputError(f"colours are one for each of the {len(pairs)} edges, got shape {given.shape}")
        kinds = np.unique(given, return_inverse=True)[1].astype(np.int64)
    graph = ColouredGraph(nodes, pairs, kinds, directed, monotonic() + time_limit)
    found = Automorphisms(nodes, pairs, kinds, directed)
    for permutation in chain(of_twins(graph), of_products(graph)):
        found.add(permutation)
        if found.is_one() or monotonic() > graph.deadline:
            break
    method, complete = "structure" if found.is_one() else "search", False
    with suppress(TimeUp):
        complete = AutomorphismSearch(graph, found).run()
    if not complete and not directed and nodes + len(pairs) <= NAUTY and importlib.util.find_spec("pynauty"):
        for permutation in by_nauty(nodes, pairs, kinds):
            found.add(permutation)
        method, complete = "nauty", True
    edge_groups, node_groups = _in_order(found.labels[nodes:]), _in_order(found.labels[:nodes])
    generators = np.array(found.generators, dtype=np.int64).reshape(-1, nodes)
    return EdgeOrbits(edge_groups, int(edge_groups.max(initial=-1)) + 1, node_groups, generators, method, complete)


def _in_order(labels: IntArray) -> IntArray:
    _, first, place = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.empty(first.size, dtype=np.int64)
    rank[np.argsort(first)] = np.arange(first.size)
    return rank[place]
