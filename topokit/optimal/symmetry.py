"""Which edges of a graph look alike: automorphisms, and the orbits of edges and nodes under them.

Some optimal weights are the same on all edges of an orbit, as the SLEM is convex and the mean over all images of
weights is as good as they are. This holds for every group of automorphisms, the whole one or not. So a search that
misses some gives more orbits, never wrong ones, as long as each permutation that it uses is checked, edge by edge.

The search: nodes get colours that an automorphism cannot change (hashes of the colours around them, round after round).
To find one that takes one edge to another, the ends of both are marked in two copies of the graph, and the colours
refined in lockstep. Where they come to differ, there is none. Where they agree, nodes of equal colours are matched in
a few plausible ways, and if none is an automorphism, another pair is marked. Every automorphism found merges many
orbits at once, so that few have to be found.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from time import monotonic
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from topokit.errors import InputError
from topokit.matrix import IntArray
from topokit.spectral.groups import group_shape

__all__ = ["EdgeOrbits", "edge_orbits"]

Colours: TypeAlias = NDArray[np.uint64]

STEPS = 300  # pairs that are marked at most to find one automorphism
REFUTED = 3  # pairs without one, after which all candidates are told apart at once
MOST_ROUNDS = 100  # of refinement, where many nodes are marked one by one
BLOCK = 50_000  # colours that are refined at a time
MULTIPLIERS = 64  # that are tried on a cycle
SORTS = 8  # of edges, up to which joined nodes with the same neighbours are looked for
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
    search = _Search(nodes, pairs, kinds, directed, monotonic() + time_limit)
    for permutation in chain(_of_twins(search), _of_products(search)):
        search.add(permutation)
        if search.is_one() or monotonic() > search.deadline:
            break
    method, complete = "structure" if search.is_one() else "search", False
    with suppress(_TimeUp):
        complete = search.run()
    if not complete and not directed and nodes + len(pairs) <= NAUTY and importlib.util.find_spec("pynauty"):
        for permutation in _by_nauty(nodes, pairs, kinds):
            search.add(permutation)
        method, complete = "nauty", True
    edge_groups, node_groups = _in_order(search.labels[nodes:]), _in_order(search.labels[:nodes])
    generators = np.array(search.generators, dtype=np.int64).reshape(-1, nodes)
    return EdgeOrbits(edge_groups, int(edge_groups.max(initial=-1)) + 1, node_groups, generators, method, complete)


def _in_order(labels: IntArray) -> IntArray:
    _, first, place = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.empty(first.size, dtype=np.int64)
    rank[np.argsort(first)] = np.arange(first.size)
    return rank[place]


class _TimeUp(Exception):  # noqa: N818
    pass


class _TooHardError(Exception):
    pass


def _mixed(values: Colours) -> Colours:
    """Scramble the bits (the finaliser of splitmix64)."""
    values = values ^ (values >> np.uint64(30))
    values *= np.uint64(0xBF58476D1CE4E5B9)
    values ^= values >> np.uint64(27)
    values *= np.uint64(0x94D049BB133111EB)
    values ^= values >> np.uint64(31)
    return values


class _Search:
    """A graph, the automorphisms found, and the orbits under them: of nodes, then of edges, in one list of labels."""

    def __init__(self, nodes: int, edges: IntArray, kinds: IntArray, directed: bool, deadline: float) -> None:
        self.nodes, self.edges, self.kinds, self.directed, self.deadline = nodes, edges, kinds, directed, deadline
        codes = self.codes(edges)
        self.order = np.argsort(codes)
        self.sorted_codes = codes[self.order]
        u, v = edges.T
        out = _mixed((2 * kinds + 3).astype(np.uint64)) | np.uint64(1)
        back = _mixed((2 * kinds + 4).astype(np.uint64)) | np.uint64(1) if directed else out
        entries = np.concatenate((out, back)), (np.r_[v, u], np.r_[u, v])
        self.around = sparse.csr_array(entries, shape=(nodes, nodes), dtype=np.uint64)
        self.neighbours: list[list[int]] | None = None
        self.labels = np.arange(nodes + len(edges))
        self.generators: list[IntArray] = []
        self.colours = np.ones(nodes, dtype=np.uint64)  # of 0, the hash is 0

    # Automorphisms and orbits

    def codes(self, edges: IntArray) -> IntArray:
        u, v = edges.T
        first, second = (u, v) if self.directed else (np.minimum(u, v), np.maximum(u, v))
        return np.asarray(first * self.nodes + second, dtype=np.int64)

    def images(self, permutation: IntArray) -> IntArray | None:
        """Give the number of the edge that each edge goes to, or None if this is no automorphism."""
        if (np.bincount(permutation, minlength=self.nodes) != 1).any():
            return None
        for own in (slice(0, 32), slice(None)):  # most candidates fail at once
            codes = self.codes(permutation[self.edges[own]])
            place = np.minimum(np.searchsorted(self.sorted_codes, codes), self.order.size - 1)
            found = self.order[place]
            if (self.sorted_codes[place] != codes).any() or (self.kinds[found] != self.kinds[own]).any():
                return None
        # Different edges have different images, as the permutation has an inverse.
        return np.asarray(found, dtype=np.int64)

    def add(self, permutation: IntArray) -> bool:
        """Merge orbits, if this is an automorphism."""
        moved = self.images(permutation)
        if moved is None:
            return False
        after = np.r_[self.labels[permutation], self.labels[self.nodes + moved]]
        if (after == self.labels).all():
            return True  # nothing new
        size = self.labels.size
        links = sparse.csr_array((np.ones(size, dtype=np.int8), (self.labels, after)), shape=(size, size))
        self.labels = connected_components(links, directed=False)[1].astype(np.int64)[self.labels]
        self.generators.append(permutation)
        return True

    def is_one(self) -> bool:
        """Say whether all nodes are one orbit, and all edges are."""
        return all(bool((part == part[:1]).all()) for part in np.split(self.labels, [self.nodes]))

    # Colours

    def round(self, colours: Colours) -> Colours:
        return _mixed(colours * np.uint64(0x9E3779B97F4A7C15) + self.around @ _mixed(colours))

    def refined(self, colours: Colours) -> Colours | None:
        """Refine until that tells no more nodes apart; None as soon as the columns, shape (n, c), no longer agree."""
        count, step = 0, 1
        while True:
            if monotonic() > self.deadline:
                raise _TimeUp
            ordered = np.sort(colours, axis=0)
            if (ordered != ordered[:, :1]).any():
                return None
            now = 1 + int((ordered[1:, 0] != ordered[:-1, 0]).sum())
            if now in (count, self.nodes):
                return colours
            count = now
            for _ in range(step):
                colours = self.round(colours)
            step *= 2

    def tell_apart(self, ends: IntArray) -> Colours:
        """Give numbers, shape (k,), that differ only where no automorphism takes nodes ends[i] to nodes ends[j]."""
        rounds, colours = 1, self.marked(self.colours[:, None], ends[:1])
        count, now = 0, 1
        while count < now < self.nodes and rounds < MOST_ROUNDS:
            colours, rounds = self.round(colours), rounds + 1
            count, now = now, int(np.unique(colours).size)
        numbers = np.empty(len(ends), dtype=np.uint64)
        block = max(1, BLOCK // self.nodes)
        for start in range(0, len(ends), block):
            chosen = ends[start : start + block]
            colours = self.marked(np.repeat(self.colours[:, None], len(chosen), axis=1), chosen)
            for _ in range(rounds):
                if monotonic() > self.deadline:
                    raise _TimeUp
                colours = self.round(colours)
            numbers[start : start + block] = _mixed(colours).sum(axis=0, dtype=np.uint64)
        return numbers

    def marked(self, colours: Colours, ends: IntArray) -> Colours:
        """Mark the nodes ends[c], all alike, in column c."""
        marked = colours.copy()
        columns = np.arange(len(ends))
        for end in ends.T:
            marked[end, columns] = _mixed(marked[end, columns] + np.uint64(1))
        return marked

    # The search

    def run(self) -> bool:
        """Find the orbits of nodes, then those of edges; say whether none may be left to merge."""
        if self.is_one():
            return True
        refined = self.refined(self.colours[:, None])
        assert refined is not None
        self.colours = refined[:, 0]
        complete = self.search_among(np.arange(self.nodes), np.arange(self.nodes)[:, None], self.colours)
        a, b = (self.colours[end] for end in self.edges.T)
        pair = _mixed(a) * np.uint64(3) + _mixed(b) if self.directed else _mixed(a) + _mixed(b)
        own = np.arange(self.nodes, self.labels.size)
        return self.search_among(own, self.edges, _mixed(pair) + _mixed(self.kinds.astype(np.uint64))) and complete

    def search_among(self, own: IntArray, ends: IntArray, sort: Colours, *, split: bool = False) -> bool:
        """Merge those orbits of items, with numbers `own`, that are one, among items of the same sort."""
        complete = True
        # One item of each orbit, where others of its sort are left.
        chosen = np.unique(self.labels[own], return_index=True)[1]
        kind, place, count = np.unique(sort[chosen], return_inverse=True, return_counts=True)
        for k in np.flatnonzero(count > 1):
            if split or count[k] <= REFUTED:
                complete &= self.search_class(own, ends, chosen[place == k], len(chosen)) is not False
                continue
            members = chosen[place == k]
            done = self.search_class(own, ends, members, REFUTED)
            if done is None:
                left = members[np.unique(self.labels[own[members]], return_index=True)[1]]
                finer = self.tell_apart(ends[left])
                if ends.shape[1] == 1:  # colours of nodes serve the edges, too
                    by_label = dict(zip(self.labels[left].tolist(), finer.tolist(), strict=True))
                    same = np.flatnonzero(sort == kind[k])
                    self.colours[same] = _mixed(
                        self.colours[same]
                        + np.array([by_label[label] for label in self.labels[same].tolist()], np.uint64)
                    )
                complete &= self.search_among(own[left], ends[left], finer, split=True)
            else:
                complete &= done
        return complete

    def search_class(self, own: IntArray, ends: IntArray, members: IntArray, patience: int) -> bool | None:
        """Merge the orbits of some items; None when as many were found to differ as patience allows."""
        complete, apart = True, [int(members[0])]
        while True:
            labels = self.labels[own[members]]
            left = members[~np.isin(labels, self.labels[own[apart]])]
            if not left.size:
                return complete
            # The farthest first: neighbours are often swapped alone, which merges little.
            item = int(left[-1])
            for other in apart:
                try:
                    if self.merge(ends[other], ends[item]):
                        break
                except _TooHardError:
                    complete = False
            else:
                apart.append(item)
                if len(apart) > patience:
                    return None

    def merge(self, start: IntArray, end: IntArray) -> bool:
        """Look for an automorphism that takes some nodes to some others, for edges in either direction."""
        for image in (end,) if self.directed or end.size == 1 else (end, end[::-1]):
            steps = [STEPS]
            colours = np.repeat(self.colours[:, None], 2, axis=1)
            for mark, pair in enumerate(zip(start.tolist(), image.tolist(), strict=True)):
                colours = self.marked_pair(colours, *pair, mark)
            if self.extend(colours, steps, list(zip(start.tolist(), image.tolist(), strict=True))):
                return True
        return False

    def marked_pair(self, colours: Colours, node: int, image: int, mark: int = 0) -> Colours:
        marked = colours.copy()
        marked[(node, image), (0, 1)] = _mixed(marked[(node, image), (0, 1)] + np.uint64(mark + 1))
        return marked

    def extend(self, colours: Colours, steps: list[int], pairs: list[tuple[int, int]]) -> bool:
        """Refine, guess, and mark another pair, until there is an automorphism or there cannot be one."""
        steps[0] -= 1
        if steps[0] < 0:
            raise _TooHardError
        if steps[0] == STEPS - 1 and self.follow(colours, pairs):
            return True
        refined = self.refined(colours)
        if refined is None:
            return False
        before, after = (np.argsort(column, kind="stable") for column in refined.T)
        ordered = refined[before, 0]
        same = refined[:, 0] == refined[:, 1]
        permutation = np.empty(self.nodes, dtype=np.int64)
        permutation[before] = after
        if self.add(permutation):
            return True
        starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
        sizes = np.diff(np.r_[starts, self.nodes])
        if (sizes == 1).all():
            return False
        fixed = np.arange(self.nodes)
        fixed[before[~same[before]]] = after[~same[after]]
        if self.add(fixed) or self.follow(refined, pairs):
            return True
        # The smallest cell that is not the same in both copies.
        moved = np.add.reduceat(~same[before], starts) > 0
        cell = int(np.lexsort((sizes, ~moved, sizes == 1))[0])
        own = slice(int(starts[cell]), int(starts[cell] + sizes[cell]))
        node = int(before[own][np.argmin(same[before[own]])])
        for image in sorted(after[own].tolist(), key=lambda image: image != node):
            if self.extend(self.marked_pair(refined, node, image), steps, [*pairs, (node, image)]):
                return True
        return False

    def follow(self, colours: Colours, pairs: list[tuple[int, int]]) -> bool:
        """Match neighbours of matched nodes with neighbours of their images, as colours allow: enough for trees."""
        if self.neighbours is None:
            pattern = self.around
            self.neighbours = [row.tolist() for row in np.split(pattern.indices, pattern.indptr[1:-1])]
        left, right = colours.T.tolist()
        if any(left[node] != right[image] for node, image in pairs):
            return False
        images = dict(pairs)
        taken = set(images.values())
        queue = list(images)
        for node in queue:
            free: dict[int, list[int]] = {}
            around = [image for image in self.neighbours[images[node]] if image not in taken]
            for image in around:
                free.setdefault(right[image], []).append(image)
            waiting = [other for other in self.neighbours[node] if other not in images]
            if len(waiting) != len(around):
                return False
            # Who can stay, stays.
            for other in sorted(waiting, key=lambda other: other in taken or other not in free.get(left[other], ())):
                among = free.get(left[other])
                if not among:
                    return False
                images[other] = among.pop(among.index(other) if other in among else 0)
                taken.add(images[other])
                queue.append(other)
        permutation = np.arange(self.nodes)
        permutation[queue] = [images[node] for node in queue]
        return self.add(permutation)


def _of_products(search: _Search) -> Iterator[IntArray]:
    """Give permutations that many graphs on products of cycles have, where the numbers of the nodes show one."""
    u, v = search.edges.T
    kinds = search.kinds + 1.0
    rows, columns, values = (v, u, kinds) if search.directed else (np.r_[v, u], np.r_[u, v], np.r_[kinds, kinds])
    pattern = sparse.csr_array((values, (rows, columns)), shape=(search.nodes, search.nodes))
    pattern.sort_indices()
    shape = group_shape(pattern)
    if shape is None:
        return
    numbers = np.arange(search.nodes).reshape(shape)
    axes = range(len(shape))
    yield from (np.roll(numbers, -1, axis).ravel() for axis in axes)
    negated = [-np.arange(size) % size for size in shape]
    yield numbers[np.ix_(*negated)].ravel()
    for axis in axes:
        yield np.take(numbers, negated[axis], axis).ravel()
        if axis and shape[axis - 1] == shape[axis]:
            yield np.swapaxes(numbers, axis - 1, axis).ravel()
    if len(shape) == 1:
        n = search.nodes
        ahead = pattern.indices[: pattern.indptr[1]].astype(np.int64)
        coprime = ahead[np.gcd(ahead, n) == 1]
        if coprime.size:
            factors = ahead * pow(int(coprime[0]), -1, n) % n
            yield from (factor * np.arange(n) % n for factor in factors[:MULTIPLIERS])


def _of_twins(search: _Search) -> Iterator[IntArray]:
    """Give permutations of nodes with the same neighbours: cycles, and transpositions where they are joined."""
    n, colours = search.nodes, _mixed(np.arange(1, search.nodes + 1).astype(np.uint64))
    around: Colours = np.asarray(search.around @ colours)
    degrees = np.diff(search.around.indptr)
    joined = np.unique(search.around.data)
    leaves = np.arange(n)
    for loop in (None, *(joined if joined.size <= SORTS else ())):
        codes: Colours = around if loop is None else around + loop * colours
        order = np.argsort(codes, kind="stable")
        starts = np.flatnonzero(np.r_[True, codes[order][1:] != codes[order][:-1]])
        sizes = np.diff(np.r_[starts, n])
        for start, size in zip(starts[sizes > 1].tolist(), sizes[sizes > 1].tolist(), strict=True):
            twins = order[start : start + size]
            if loop is None and degrees[twins[0]] == 1:
                leaves[twins] = np.roll(twins, 1)  # no edge is at two of them, so that all classes can turn at once
                continue
            permutation = np.arange(n)
            permutation[twins] = np.roll(twins, 1)
            yield permutation
            if loop is not None:
                permutation = np.arange(n)
                permutation[twins[:2]] = twins[1::-1]
                yield permutation
    yield leaves


def _by_nauty(nodes: int, edges: IntArray, kinds: IntArray) -> Iterator[IntArray]:
    """Give generators of the group of all automorphisms; edges of several colours are paths through coloured nodes."""
    pynauty: Any = importlib.import_module("pynauty")
    adjacent: dict[int, list[int]] = {}
    cells = [set(range(nodes))]
    if kinds.max(initial=0) == 0:
        size = nodes
        for u, v in edges.tolist():
            adjacent.setdefault(u, []).append(v)
    else:
        size = nodes + len(edges)
        for k, (u, v) in enumerate(edges.tolist()):
            adjacent[nodes + k] = [u, v]
        cells += [set((nodes + np.flatnonzero(kinds == kind)).tolist()) for kind in np.unique(kinds)]
    graph = pynauty.Graph(size, adjacency_dict=adjacent, vertex_coloring=cells)
    for generator in pynauty.autgrp(graph)[0]:
        yield np.array(generator[:nodes], dtype=np.int64)
