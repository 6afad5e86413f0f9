"""Random connected graphs within limits, from which searches start."""

from __future__ import annotations

import numpy as np
from scipy.sparse.csgraph import connected_components

from topokit.errors import GraphError
from topokit.learned.limits import BoolArray, Limits
from topokit.learned.moves import State
from topokit.matrix import IntArray

__all__ = ["random_start"]

TRIES = 20
EVEN, HUBS = 1, -1  # degrees as equal as can be, or as unequal; 0 for neither
REPAIRS = 50  # for each node: edges of a tree that are taken back, so that a node finds a place


def random_start(limits: Limits, rng: np.random.Generator) -> State:
    """Draw a connected graph within limits, with as many edges as fit.

    Parameters
    ----------
    limits : Limits
    rng : Generator

    Raises
    ------
    GraphError
        If there is none, naming the limit that cannot be met; or none was found (connecting nodes within tight limits
        on degrees and pairs is as hard as finding a Hamiltonian path).

    Examples
    --------
    >>> start = random_start(Limits(10, max_degree=3), np.random.default_rng(0))
    >>> len(start.edges), start.degree.max().item()
    (15, 3)
    """
    limits.require()
    found = _attempt(limits, rng)
    if found is not None:
        return found
    culprits = [name for name, other in limits.relaxed() if _attempt(other, rng) is not None]
    named = " or ".join(culprits) or "several limits at once"
    raise GraphError(
        f"no connected graph of {limits.nodes} nodes was found within the limits ({TRIES} attempts); without "
        f"{named} there is one: relax {'that' if len(culprits) == 1 else 'one of them' if culprits else 'them'}"
    )


def _attempt(limits: Limits, rng: np.random.Generator) -> State | None:
    try:
        limits.require()
    except GraphError:
        return None
    for _ in range(TRIES):
        room = _Room(limits, rng)
        if not room.span():
            continue
        room.fill()
        if len(room.edges()) >= limits.fewest_edges:
            return State.of(limits.nodes, room.edges())
    return None


class _Room:
    """A graph that grows, and what its nodes and hosts can still take."""

    def __init__(self, limits: Limits, rng: np.random.Generator) -> None:
        n = limits.nodes
        self.limits, self.rng = limits, rng
        self.adjacency = np.zeros((n, n), dtype=np.bool_)
        self.left = limits.degrees.copy()
        self.host = np.zeros(n, dtype=np.int64) if limits.host_of is None else limits.host_of
        self.leaving = limits.leaving.copy()
        # Where degrees may differ, so do the best ones: a star with few edges, say.
        self.shape = EVEN if limits.regular is not None else int(rng.integers(HUBS, EVEN + 1))

    def edges(self) -> IntArray:
        return np.argwhere(np.triu(self.adjacency))

    def put(self, u: int, v: int, sign: int = 1) -> None:
        """Add an edge, or take it away."""
        self.adjacency[u, v] = self.adjacency[v, u] = sign > 0
        self.left[u] -= sign
        self.left[v] -= sign
        if self.host[u] != self.host[v]:
            self.leaving[self.host[u]] -= sign
            self.leaving[self.host[v]] -= sign

    def partners(self, u: int) -> BoolArray:
        """Say to which nodes an edge from u fits."""
        if self.left[u] < 1:
            return np.zeros(self.limits.nodes, dtype=np.bool_)
        fits = self.limits.pairs[u] & ~self.adjacency[u] & (self.left > 0)
        apart = self.host != self.host[u]
        if self.leaving[self.host[u]] < 1:
            return np.asarray(fits & ~apart)
        return np.asarray(fits & (~apart | (self.leaving[self.host] > 0)))

    def span(self) -> bool:
        """Make a tree of all nodes."""
        n = self.limits.nodes
        inside = np.zeros(n, dtype=np.bool_)
        inside[self.rng.integers(n)] = True
        repairs = REPAIRS * n
        while not inside.all():
            outside = self.rng.permutation(np.flatnonzero(~inside))
            for u in outside.tolist():
                open_ends = np.flatnonzero(self.partners(u) & inside)
                if open_ends.size:
                    room = self.shape * self.left[open_ends] + self.rng.random(open_ends.size)
                    self.put(u, int(open_ends[room.argmax()]))
                    inside[u] = True
                    break
            else:
                repairs -= 1
                if repairs < 0 or not self._repair(int(outside[0]), inside):
                    return False
        return True

    def _repair(self, u: int, inside: BoolArray) -> bool:
        """Cut a tree in two at a node that u may join, so that there is room; what is cut off comes back later."""
        ends = np.flatnonzero(self.limits.pairs[u] & inside)
        if not ends.size:
            ends = np.flatnonzero(inside)
        t = int(self.rng.choice(ends))
        neighbours = np.flatnonzero(self.adjacency[t])
        if not neighbours.size:
            return False
        x = int(self.rng.choice(neighbours))
        self.put(t, x, -1)
        side, pile = {x}, [x]
        while pile:
            for y in np.flatnonzero(self.adjacency[pile.pop()]).tolist():
                if y not in side:
                    side.add(y)
                    pile.append(y)
        if self.rng.random() < 0.5 or 2 * len(side) <= inside.sum():
            lost = list(side)
        else:
            lost = [node for node in np.flatnonzero(inside).tolist() if node not in side]
        for node in lost:
            for y in np.flatnonzero(self.adjacency[node]).tolist():
                self.put(node, y, -1)
            inside[node] = False
        return True

    def fill(self) -> None:
        """Add edges at random until no more fit."""
        most = self.limits.most_edges
        count = int(self.adjacency.sum()) // 2
        while count < most:
            # In a regular graph, nodes of which most is missing come first: else the last have only each other left.
            need = self.shape * self.left + self.rng.random(self.left.size)
            for u in np.argsort(-need).tolist():
                fits = np.flatnonzero(self.partners(u))
                if fits.size:
                    self.put(u, int(fits[need[fits].argmax()]))
                    count += 1
                    break
            else:
                if not self._make_room():
                    return
                count += 1

    def _make_room(self) -> bool:
        """Where two nodes that could take an edge are joined already, put them into an edge elsewhere."""
        open_nodes = np.repeat(np.arange(self.left.size), np.minimum(self.left, 2).clip(0))
        if open_nodes.size < 2 or self.limits.host_edges is not None:
            return False
        edges = self.edges()
        for _ in range(4):
            u, v = self.rng.choice(open_nodes, 2, replace=False).tolist()
            x, y = np.concatenate((edges, edges[:, ::-1])).T
            taken = self.adjacency | ~self.limits.pairs
            fits = np.flatnonzero(~taken[u, x] & ~taken[v, y])
            if fits.size:
                k = int(self.rng.choice(fits))
                detour = ((int(x[k]), int(y[k]), -1), (u, int(x[k]), 1), (v, int(y[k]), 1))
                for one, other, sign in detour:
                    self.put(one, other, sign)
                if connected_components(self.adjacency, directed=False)[0] == 1:
                    return True
                for one, other, sign in reversed(detour):
                    self.put(one, other, -sign)
        return False
