"""A graph as an electrical circuit: edges with conductances, from whatever holds a graph, checked once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import inf
from typing import Any

import networkx as nx
import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from scipy.sparse import csgraph

from topokit.errors import GraphError, InputError
from topokit.laplacian import weighted_laplacian
from topokit.matrix import FloatArray, Graph, IntArray
from topokit.metrics.resistance.selected_inverse import Grounded

__all__ = ["Circuit"]

TREEWIDTH = 5.769  # a graph of m edges has a treewidth of at most m / 5.769 + O(log n)
DENSE_LIMIT = 5000  # nodes: 200 MB a matrix
DENSE_SPEED = 10.0  # multiplications of dense matrices in the time of one of a sparse factorisation
FRONTS = 10.0  # multiply-adds of a factorisation in cubes of the front: seen on planar and on 3-D meshes


@dataclass(frozen=True, eq=False)
class Circuit:
    """A connected graph whose edges have conductances.

    Build one with `of` or `of_edges`: they check, the constructor does not.

    Parameters
    ----------
    nodes : int
        Number of nodes n, at least 2.
    edges : ndarray of int64, shape (m, 2)
        Undirected edges, each once.
    conductances : ndarray of float64, shape (m,)
        Positive.
    """

    nodes: int
    edges: IntArray
    conductances: FloatArray

    @classmethod
    def of_edges(cls, nodes: int, edges: ArrayLike, conductances: ArrayLike | None = None) -> Circuit:
        """Check edges and conductances; without conductances all are 1.

        Raises
        ------
        InputError
            If there are fewer than 2 nodes, or a conductance is missing, not finite or not positive.
        GraphError
            If an edge is no pair of different nodes, comes twice, or the edges do not connect the nodes.

        Examples
        --------
        >>> Circuit.of_edges(3, [(0, 1), (1, 2)]).laplacian.toarray()[1].tolist()
        [-1.0, 2.0, -1.0]
        """
        if nodes < 2:
            raise InputError(f"effective resistances need at least 2 nodes, got {nodes}")
        pairs = np.asarray(edges, dtype=np.int64).reshape(-1, 2)
        values = np.ones(len(pairs)) if conductances is None else np.asarray(conductances, dtype=np.float64).ravel()
        if len(values) != len(pairs):
            raise InputError(f"there are {len(pairs)} edges and {len(values)} conductances; expected one each")
        if (bad := np.flatnonzero(~(np.isfinite(values) & (values > 0)))).size:
            k = int(bad[0])
            raise InputError(f"the conductance of edge {k} is {values[k]:.6g}; expected a positive number")
        if (bad := np.flatnonzero(((pairs < 0) | (pairs >= nodes)).any(axis=1))).size:
            u, v = pairs[bad[0]]
            raise GraphError(f"edge {bad[0]} joins {u} and {v}, but nodes are numbered 0 to {nodes - 1}")
        if (bad := np.flatnonzero(pairs[:, 0] == pairs[:, 1])).size:
            raise GraphError(f"edge {bad[0]} joins node {pairs[bad[0], 0]} with itself; expected two nodes")
        codes = pairs.min(axis=1) * nodes + pairs.max(axis=1)
        first = np.unique(codes, return_index=True)[1]
        if first.size < codes.size:
            k = int(np.setdiff1d(np.arange(codes.size), first)[0])
            raise GraphError(f"edge {k} joins {pairs[k, 0]} and {pairs[k, 1]}, which are joined already")
        circuit = cls(nodes, pairs, values)
        count, part = csgraph.connected_components(circuit.adjacency, directed=False)
        if count > 1:
            other = int(np.flatnonzero(part != part[0])[0])
            raise GraphError(f"the graph is disconnected ({count} components): node 0 cannot reach node {other}")
        return circuit

    @classmethod
    def of(cls, graph: Any, *, weighted: bool = False) -> Circuit:
        """Take a networkx graph or a sparse adjacency matrix; self-loops, which carry no current, are left out.

        Parameters
        ----------
        graph : networkx.Graph or sparse array, shape (n, n)
            Undirected. Nodes of a networkx graph are numbered in its order.
        weighted : bool, default False
            Whether the attribute ``weight`` of an edge, or the entry of the matrix, is its conductance; else all are 1.

        Raises
        ------
        GraphError
            If the graph is directed, not simple, not connected, or an edge has no weight though they are asked for.
        InputError
            As `of_edges`.
        """
        if isinstance(graph, nx.Graph):
            return cls.of_edges(*_of_networkx(graph, weighted))
        matrix = sparse.coo_array(graph)
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
            raise InputError(f"an adjacency matrix is square, got shape {matrix.shape}")
        matrix.sum_duplicates()
        pattern = sparse.csr_array(matrix if weighted else matrix.astype(bool).astype(np.float64))
        if abs(pattern - pattern.T).max() > 0:
            raise GraphError("effective resistances need an undirected graph: the adjacency matrix is not symmetric")
        rows, columns = matrix.coords
        keep = (rows < columns) & (matrix.data != 0)
        edges = np.stack((rows[keep], columns[keep]), axis=1)
        return cls.of_edges(matrix.shape[0], edges, matrix.data[keep] if weighted else None)

    @cached_property
    def adjacency(self) -> sparse.csr_array:
        """The symmetric matrix of the conductances."""
        u, v = self.edges.T
        half = sparse.coo_array((self.conductances, (u, v)), shape=(self.nodes, self.nodes))
        return sparse.csr_array(half + half.T)

    @cached_property
    def laplacian(self) -> sparse.csr_array:
        """The Laplacian, each edge weighted by its conductance."""
        return weighted_laplacian(self.nodes, self.edges, self.conductances)

    @cached_property
    def degrees(self) -> FloatArray:
        """Sum of the conductances at each node."""
        ends = self.edges.ravel()
        total = np.bincount(ends, weights=self.conductances.repeat(2), minlength=self.nodes)
        return np.asarray(total, dtype=np.float64)

    @cached_property
    def grounded(self) -> Grounded:
        """The sparse factors of the Laplacian, node 0 grounded; `factor_work` says before what they cost."""
        return Grounded.of(self.laplacian)

    @property
    def is_tree(self) -> bool:
        """Whether there is no cycle."""
        return len(self.edges) == self.nodes - 1

    @property
    def dense_work(self) -> float:
        """What a dense inverse costs, in multiplications of a sparse one; infinite where it needs gigabytes."""
        return inf if self.nodes > DENSE_LIMIT else float(self.nodes) ** 3 / DENSE_SPEED

    @cached_property
    def factor_work(self) -> float:
        """About how many multiply-adds a sparse factorisation takes, from three estimates of which the least counts.

        The envelope after a reverse Cuthill-McKee ordering; a multiple of the cube of its largest front, which is about
        what minimum degree makes of a mesh; and the cube of the largest treewidth that so many cycles allow.
        """
        order = csgraph.reverse_cuthill_mckee(self.adjacency, symmetric_mode=True)
        place = np.empty(self.nodes, dtype=np.int64)
        place[order] = np.arange(self.nodes)
        low, high = np.arange(self.nodes), np.arange(self.nodes)
        for here, there in (self.edges.T, self.edges.T[::-1]):
            np.maximum.at(high, place[here], place[there])
        # The front at step i: nodes eliminated before or now that still have a neighbour to come.
        opened = np.bincount(low, minlength=self.nodes)
        closed = np.bincount(high, minlength=self.nodes)
        front = np.cumsum(opened - closed) + closed
        cycles = len(self.edges) - self.nodes + 1
        width = min(len(self.edges), 3 * cycles) / TREEWIDTH
        limits = width**3 / 3, float(self.nodes) ** 3 / 3
        work = min(float((front.astype(float) ** 2).sum()), FRONTS * float(front.max()) ** 3, *limits)
        return work + 10.0 * (self.nodes + len(self.edges))


def _of_networkx(graph: Graph, weighted: bool) -> tuple[int, IntArray, FloatArray | None]:
    if graph.is_directed():
        raise GraphError(
            "effective resistances need an undirected graph, this one is directed; graph.to_undirected() makes every "
            "edge an exchange"
        )
    if graph.is_multigraph():
        raise GraphError("the graph is a multigraph; make it simple first: nx.Graph(graph)")
    number = {node: i for i, node in enumerate(graph.nodes)}
    kept = [(u, v, data) for u, v, data in graph.edges(data=True) if u != v]
    edges = np.array([(number[u], number[v]) for u, v, _ in kept], dtype=np.int64).reshape(-1, 2)
    return len(number), edges, np.array([_weight(*edge) for edge in kept]) if weighted else None


def _weight(u: Any, v: Any, data: Mapping[str, Any]) -> float:
    if "weight" not in data:
        raise GraphError(f"the edge between {u} and {v} has no weight, which was to be its conductance")
    return float(data["weight"])
