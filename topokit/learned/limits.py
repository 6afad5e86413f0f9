"""What a learned graph has to keep to: degrees, edges, pairs that may be joined, messages through network cards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse.csgraph import connected_components

from topokit.adjacency import adjacency_of_edges
from topokit.errors import GraphError, InputError
from topokit.matrix import IntArray
from topokit.network.model import Network

__all__ = ["BoolArray", "Limits"]

BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class Limits:
    """Limits on a connected undirected graph.

    Parameters
    ----------
    nodes : int
        Number of nodes n, at least 2.
    max_degree : int or array_like of int, shape (n,), optional
        Most neighbours of every node, or of each.
    edges : int, optional
        Most edges.
    min_edges : int, optional
        Fewest edges; more edges can mix slower with constant weights.
    allowed : array_like of bool, shape (n, n), or sequence of pairs, optional
        Which pairs of nodes may be joined.
    hosts : array_like of int, shape (n,), optional
        Number of each node's host.
    host_edges : int or array_like of int, shape (hosts,), optional
        Most edges that leave a host: the messages that its network card sends, and receives, in a round.

    Raises
    ------
    InputError
        If a number is out of range, or an array has the wrong shape.

    Examples
    --------
    >>> limits = Limits(6, max_degree=3)
    >>> limits.regular, limits.most_edges
    (3, 9)
    >>> limits.broken(np.array([[0, 1], [1, 2]]))
    'the graph is not connected: no path joins nodes 0 and 3'
    """

    nodes: int
    max_degree: int | ArrayLike | None = None
    edges: int | None = None
    min_edges: int | None = None
    allowed: ArrayLike | Sequence[tuple[int, int]] | None = field(default=None, repr=False)
    hosts: ArrayLike | None = field(default=None, repr=False)
    host_edges: int | ArrayLike | None = None

    def __post_init__(self) -> None:
        if int(_whole(self.nodes, "the number of nodes", ())) < 2:
            raise InputError(f"a graph to learn needs at least 2 nodes, got {self.nodes}")
        for what, value in (("edges", self.edges), ("min_edges", self.min_edges)):
            if value is not None and int(_whole(value, what, ())) < 1:
                raise InputError(f"{what} must be at least 1, got {value}")
        if self.hosts is None and self.host_edges is not None:
            raise InputError("a limit on the edges that leave a host needs to know the hosts: give hosts too")
        if self.degrees.min() < 1:
            node = int(self.degrees.argmin())
            raise InputError(f"max_degree of node {node} is {self.degrees[node]}; expected at least 1")
        if self.host_of is not None and self.leaving.min() < 0:
            raise InputError(f"host_edges must not be negative, got {self.leaving.min()}")
        _ = self.partners

    @classmethod
    def of_network(cls, network: Network, **limits: Any) -> Limits:
        """Give limits for the nodes, hosts and links of a network: pairs without links both ways are not allowed.

        Examples
        --------
        >>> limits = Limits.of_network(Network.uniform(4, "1Gbit/s", nodes_per_host=2), host_edges=1)
        >>> limits.nodes, limits.hosts.tolist()
        (4, [0, 0, 1, 1])
        """
        u, v = np.triu_indices(network.nodes, 1)
        linked = ~(np.isnan(network.link(u, v)[0]) | np.isnan(network.link(v, u)[0]))
        mask = np.zeros((network.nodes, network.nodes), dtype=np.bool_)
        mask[u[linked], v[linked]] = mask[v[linked], u[linked]] = True
        own = limits.pop("allowed", None)
        if own is not None:
            mask &= cls(network.nodes, allowed=own).pairs
        return cls(network.nodes, allowed=mask, hosts=network.host_of, **limits)

    @cached_property
    def pairs(self) -> BoolArray:
        """Which pairs may be joined, shape (n, n), symmetric."""
        n = self.nodes
        mask = np.ones((n, n), dtype=np.bool_)
        if self.allowed is not None:
            given = _array(self.allowed, "allowed")
            if given.ndim == 2 and given.shape == (n, n):
                if not np.array_equal(given, given.T):
                    u, v = np.argwhere(given != given.T)[0]
                    raise InputError(f"allowed says different things of the pairs ({u}, {v}) and ({v}, {u})")
                mask = given.astype(np.bool_)
            elif given.ndim == 2 and given.shape[1] == 2 and given.dtype.kind in "iu":
                if given.size and not (given.min() >= 0 and given.max() < n):
                    node = given.max() if given.min() >= 0 else given.min()
                    raise InputError(f"allowed names node {node}, but nodes are numbered 0 to {n - 1}")
                mask = np.zeros((n, n), dtype=np.bool_)
                mask[given[:, 0], given[:, 1]] = mask[given[:, 1], given[:, 0]] = True
            else:
                raise InputError(f"allowed has shape {given.shape}; expected ({n}, {n}), or pairs of node numbers")
        mask = mask.copy()
        np.fill_diagonal(mask, False)
        return mask

    @cached_property
    def partners(self) -> IntArray:
        """How many others each node may be joined to, shape (n,)."""
        if self.allowed is None:
            return np.full(self.nodes, self.nodes - 1, dtype=np.int64)
        return np.asarray(self.pairs.sum(axis=1), dtype=np.int64)

    @cached_property
    def degrees(self) -> IntArray:
        """Most neighbours of each node, shape (n,)."""
        most = np.full(self.nodes, self.nodes - 1, dtype=np.int64)
        if self.max_degree is None:
            return most
        given = _whole(self.max_degree, "max_degree")
        if given.shape not in ((), (self.nodes,)):
            raise InputError(f"max_degree has shape {given.shape}; expected a number, or one for each of {self.nodes}")
        return np.minimum(most, given)

    @cached_property
    def host_of(self) -> IntArray | None:
        """Number of each node's host, or None."""
        if self.hosts is None:
            return None
        given = _whole(self.hosts, "hosts")
        if given.shape != (self.nodes,) or given.min() < 0:
            raise InputError(f"hosts must be {self.nodes} numbers from 0, one for each node")
        return given

    @cached_property
    def leaving(self) -> IntArray:
        """Most edges that leave each host, shape (hosts,)."""
        count = 1 if self.host_of is None else int(self.host_of.max()) + 1
        if self.host_edges is None:
            return np.full(count, self.nodes**2, dtype=np.int64)
        given = _whole(self.host_edges, "host_edges")
        if given.shape not in ((), (count,)):
            raise InputError(f"host_edges has shape {given.shape}; expected a number, or one for each of {count} hosts")
        return np.array(np.broadcast_to(given, (count,)))

    @cached_property
    def most_edges(self) -> int:
        """Most edges of any graph within the limits on edges and degrees."""
        reach = int(np.minimum(self.degrees, self.partners).sum() // 2)
        return reach if self.edges is None else min(reach, self.edges)

    @cached_property
    def fewest_edges(self) -> int:
        """Fewest edges: those of a tree, unless more are asked for."""
        return max(self.nodes - 1, self.min_edges or 0)

    @cached_property
    def regular(self) -> int | None:
        """The degree, if nothing but one limit on all degrees is given, and graphs of that degree exist."""
        n, d = self.nodes, int(self.degrees[0])
        free = self.host_edges is None and bool((self.partners == n - 1).all())
        alike = bool((self.degrees == d).all()) and n * d % 2 == 0
        return d if free and alike and self.most_edges == n * d // 2 and (d > 1 or n == 2) else None

    def require(self) -> None:
        """Refuse limits that no connected graph can meet, naming the one that cannot be met.

        Where the reason is not one of the simple ones, only the search for a start can tell.

        Raises
        ------
        GraphError

        Examples
        --------
        >>> Limits(8, edges=6).require()
        Traceback (most recent call last):
            ...
        topokit.errors.GraphError: at most 6 edges cannot connect 8 nodes: allow 7 or more
        """
        n = self.nodes
        if self.allowed is not None:
            pieces, piece = connected_components(self.pairs, directed=False)
            if pieces > 1:
                other = int(np.flatnonzero(piece != piece[0])[0])
                raise GraphError(f"the allowed edges never connect node {other} with node 0: allow more pairs")
        if self.edges is not None and self.edges < n - 1:
            raise GraphError(f"at most {self.edges} edges cannot connect {n} nodes: allow {n - 1} or more")
        ends = int(np.minimum(self.degrees, self.partners).sum())
        if ends < 2 * (n - 1):
            raise GraphError(
                f"the limits on degrees leave {ends // 2} edges for {n} nodes, and to connect them takes {n - 1}: "
                f"raise max_degree"
            )
        if self.fewest_edges > self.most_edges:
            raise GraphError(
                f"min_edges asks for {self.fewest_edges} edges, but the other limits leave {self.most_edges} at most"
            )
        if self.host_of is not None and self.host_edges is not None:
            self._require_hosts(self.host_of)

    def _require_hosts(self, host_of: IntArray) -> None:
        used = np.unique(host_of)
        if used.size == 1:
            return
        most = self.leaving[used]
        if most.min() < 1:
            raise GraphError(f"no edge may leave host {used[most.argmin()]}, so that it stays alone: raise host_edges")
        if most.sum() < 2 * (used.size - 1):
            raise GraphError(
                f"host_edges leaves {int(most.sum()) // 2} edges between {used.size} hosts, and to connect them takes "
                f"{used.size - 1}: raise host_edges"
            )

    def relaxed(self) -> list[tuple[str, Limits]]:
        """Give the limits with one of them lifted, and what it is called.

        Examples
        --------
        >>> [name for name, _ in Limits(4, max_degree=2, edges=4).relaxed()]
        ['max_degree', 'edges']
        """
        names = ("max_degree", "edges", "min_edges", "host_edges", "allowed")
        lifted: list[dict[str, Any]] = [{name: None} for name in names if getattr(self, name) is not None]
        return [(next(iter(none)), replace(self, **none)) for none in lifted]

    def broken(self, edges: IntArray) -> str | None:
        """Say which limit a graph breaks; None if it keeps them all and is connected and simple.

        Parameters
        ----------
        edges : ndarray of int64, shape (m, 2)
        """
        n, (u, v) = self.nodes, edges.T
        if (u == v).any() or len(np.unique(np.sort(edges, axis=1), axis=0)) < len(edges):
            return "the graph has a self-loop or an edge twice"
        pieces, piece = connected_components(adjacency_of_edges(n, edges), directed=False)
        if pieces > 1:
            other = int(np.flatnonzero(piece != piece[0])[0])
            return f"the graph is not connected: no path joins nodes 0 and {other}"
        degree = np.bincount(edges.ravel(), minlength=n)
        if (degree > self.degrees).any():
            node = int((degree - self.degrees).argmax())
            return f"node {node} has {degree[node]} neighbours, at most {self.degrees[node]} are allowed"
        if not self.fewest_edges <= len(edges) <= self.most_edges:
            return f"the graph has {len(edges)} edges, allowed are {self.fewest_edges} to {self.most_edges}"
        if self.allowed is not None and not self.pairs[u, v].all():
            i, j = edges[~self.pairs[u, v]][0]
            return f"nodes {i} and {j} are joined, which is not allowed"
        if self.host_of is not None:
            busy = self.crossing(edges)
            if (busy > self.leaving).any():
                host = int((busy - self.leaving).argmax())
                return f"{busy[host]} edges leave host {host}, at most {self.leaving[host]} are allowed"
        return None

    def crossing(self, edges: IntArray) -> IntArray:
        """Count the edges that leave each host, shape (hosts,).

        Examples
        --------
        >>> Limits(4, hosts=[0, 0, 1, 1]).crossing(np.array([[0, 1], [1, 2], [0, 3]]))
        array([2, 2])
        """
        count = self.leaving.size
        if self.host_of is None:
            return np.zeros(count, dtype=np.int64)
        ends = self.host_of[edges]
        between = ends[ends[:, 0] != ends[:, 1]]
        return np.bincount(between.ravel(), minlength=count).astype(np.int64)


def _array(given: Any, what: str) -> NDArray[Any]:
    try:
        return np.asarray(given)
    except ValueError as error:
        raise InputError(f"{what} is no array: its rows differ in length") from error


def _whole(given: Any, what: str, shape: tuple[int, ...] | None = None) -> IntArray:
    """Give whole numbers, and refuse all else: 2.5 neighbours are not 2."""
    array = _array(given, what)
    if array.dtype.kind not in "iu" or shape not in (None, array.shape):
        raise InputError(f"{what} must be {'a whole number' if shape == () else 'whole numbers'}, got {given!r}")
    return array.astype(np.int64)
