"""Where to draw the nodes: at places that show how a topology is made, the same ones in all its rounds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import cos, isqrt, pi, sin
from typing import Any

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from topokit.errors import InputError
from topokit.kinds import Cyclic, Matchings, Pairwise, Sampled
from topokit.matrix import FloatArray, IntArray, MixingMatrix
from topokit.schedule import Schedule

__all__ = ["LAYOUTS", "STUB", "Layout", "end_to_end", "lay_out", "union_edges"]

LAYOUTS = ("auto", "circle", "spring", "spectral")
STRESS_LIMIT = 150  # nodes up to which distances on paper are fitted to those in the graph, within a second
SPRING_LIMIT = 450  # nodes, above which balancing springs takes many seconds
LONGEST_LATTICE = 6  # times its height
STUB = 0.42  # of the distance of two neighbours: how far an edge is drawn that comes back at the other side


@dataclass(frozen=True)
class Layout:
    """Places of the nodes.

    Attributes
    ----------
    name : {"circle", "lattice", "hypercube", "hosts", "tree", "spring", "spectral"}
    at : ndarray, shape (n, 2)
        Coordinates, from -1 to 1.
    sides : tuple of int, or None
        Rows and columns of a lattice, row by row.
    turns : bool
        Whether edges join the ends of its rows or columns.
    hosts : tuple of ndarray
        Nodes of each host, where they are drawn together.
    """

    name: str
    at: FloatArray
    sides: tuple[int, int] | None = None
    turns: bool = False
    hosts: tuple[IntArray, ...] = ()

    @property
    def words(self) -> str:
        """How to tell a reader."""
        return {
            "circle": "on a circle",
            "lattice": "on a lattice",
            "hypercube": "at the corners of a hypercube",
            "hosts": "host by host",
            "tree": "around the centre of the tree",
            "spring": "near those they share edges with",
            "spectral": "at two eigenvectors of the Laplacian",
        }[self.name]


def lay_out(schedule: Schedule, layout: str = "auto") -> Layout:
    """Choose places for the nodes of a schedule.

    Parameters
    ----------
    schedule : Schedule
    layout : {"auto", "circle", "spring", "spectral"}
        ``auto`` looks at the edges of all rounds together: hosts, trees, hypercubes, lattices and circulant graphs are
        drawn as such, other graphs by a spring model, and other sequences on a circle.

    Raises
    ------
    InputError
        If the layout is none of these.

    Examples
    --------
    >>> from topokit import design
    >>> [lay_out(design(name, 16)).name for name in ("ring", "torus", "hypercube", "star", "two-level")]
    ['circle', 'lattice', 'hypercube', 'tree', 'hosts']
    """
    if layout not in LAYOUTS:
        raise InputError(f"there is no layout {layout!r}; expected one of {', '.join(LAYOUTS)}")
    n = schedule.nodes
    edges = union_edges(schedule)
    if layout == "circle" or n < 3 or not len(edges):
        return Layout("circle", _circle(n))
    if layout == "spectral":
        return Layout("spectral", _spectral(n, edges))
    if layout == "spring":
        return Layout("spring", _spring(n, edges))
    return _chosen(schedule, edges)


def _chosen(schedule: Schedule, edges: IntArray) -> Layout:
    n = schedule.nodes
    if (hosts := _hosts(schedule)) is not None:
        return Layout("hosts", _groups(n, hosts), hosts=hosts)
    if _around_a_circle(n, edges):
        return Layout("circle", _circle(n))
    if len(edges) == n - 1 and (at := _tree(n, edges)) is not None:
        return Layout("tree", at)
    if _along_bits(n, edges):
        return Layout("hypercube", _hypercube(n))
    if (sides := _lattice_sides(n, edges)) is not None:
        return Layout("lattice", _lattice(*sides), sides=sides, turns=bool(end_to_end(edges, sides).any()))
    one_graph = schedule.period == 1 or isinstance(schedule.rule, (Matchings, Pairwise))
    if one_graph and n > SPRING_LIMIT:
        return Layout("spectral", _spectral(n, edges))
    if one_graph and not _without_shape(n, edges):
        return Layout("spring", _spring(n, edges))
    return Layout("circle", _circle(n))


def union_edges(schedule: Schedule) -> IntArray:
    """Give the undirected edges of all rounds together, shape (m, 2), the smaller node first.

    There are none where rounds are drawn from all pairs.
    """
    rule, n = schedule.rule, schedule.nodes
    if isinstance(rule, (Cyclic, Sampled)):
        matrices: Sequence[MixingMatrix] = rule.rounds
    elif isinstance(rule, (Matchings, Pairwise)):
        matrices = rule.connections()
    else:
        matrices = ()
    keys = [np.zeros(0, dtype=np.int64)]
    for W in matrices:
        used = W.weight != 0
        u, v = W.target[used] % n, W.source[used] % n
        low, high = np.minimum(u, v), np.maximum(u, v)
        keys.append(np.unique((low * n + high)[low < high]))
    found = np.unique(np.concatenate(keys))
    return np.stack((found // n, found % n), axis=1)


def _circle(n: int, turn: float = 0.0) -> FloatArray:
    angle = 2 * pi * (np.arange(n) + turn) / n
    return np.stack((np.sin(angle), np.cos(angle)), axis=1)


def _around_a_circle(n: int, edges: IntArray) -> bool:
    """Whether the edges are those of a circulant graph, or of a path along the numbers."""
    shift = edges[:, 1] - edges[:, 0]
    shift = np.minimum(shift, n - shift)
    counts = np.bincount(shift)
    present = np.flatnonzero(counts)
    whole = np.where(2 * present == n, n // 2, n)
    return bool((counts[present] == whole).all() or (edges[:, 1] - edges[:, 0] == 1).all())


def _hosts(schedule: Schedule) -> tuple[IntArray, ...] | None:
    """Give the nodes of each host where the schedule says which they are."""
    n = schedule.nodes
    if schedule.placement is not None and len(schedule.placement) == n:
        of: dict[Any, list[int]] = {}
        for place in schedule.placement:
            of.setdefault(place.host, []).append(place.node)
        if None not in of and 1 < len(of) < n:
            return tuple(np.array(sorted(nodes)) for nodes in of.values())
    if schedule.provenance.get("topology") in ("two-level", "inner-outer-exponential"):
        # The default of both: sides as equal as possible, not more hosts than GPUs.
        given = schedule.provenance.get("parameters")
        given = given if isinstance(given, dict) else {}
        hosts, gpus = given.get("hosts"), given.get("gpus")
        if hosts is None:
            hosts = n // gpus if isinstance(gpus, int) and gpus > 0 else _smaller_side(n)
        if isinstance(hosts, int) and 1 < hosts < n and n % hosts == 0:
            return tuple(np.arange(n).reshape(hosts, -1))
    return None


def _smaller_side(n: int) -> int:
    return next(side for side in range(isqrt(n), 0, -1) if n % side == 0)


def _groups(n: int, hosts: Sequence[IntArray]) -> FloatArray:
    """Put hosts on a circle, and the nodes of each on a small one."""
    at = np.zeros((n, 2))
    ratio = np.sin(pi / len(hosts))
    radius = ratio / (1.45 + ratio)  # so that neighbouring circles keep a distance
    for centre, nodes in zip(_circle(len(hosts)) * (1 - radius), hosts, strict=True):
        # Turned a little, so that lines to the same place in another host do not run through nodes of their own.
        at[nodes] = centre + (radius * _circle(len(nodes), 0.25) if len(nodes) > 1 else 0)
    return at


def _without_shape(n: int, edges: IntArray) -> bool:
    """Whether a graph has many edges and no two nodes far from each other: a spring model makes a ball of it."""
    if 2 * len(edges) <= n * max(n / 4, 8):
        return False
    near = np.eye(n, dtype=np.float32)
    near[edges[:, 0], edges[:, 1]] = near[edges[:, 1], edges[:, 0]] = 1
    return bool((near @ near > 0).all())


def _tree(n: int, edges: IntArray) -> FloatArray | None:
    """Put the centre of a tree in the middle and the others around it by their depth, siblings side by side."""
    tree: nx.Graph[int] = nx.Graph()
    tree.add_nodes_from(range(n))
    tree.add_edges_from(edges.tolist())
    if not nx.is_connected(tree):
        return None
    root = min(nx.center(tree))
    children: dict[int, list[int]] = {node: sorted(after) for node, after in nx.bfs_successors(tree, root)}
    order = [root, *(child for _, child in nx.bfs_edges(tree, root, sort_neighbors=sorted))]
    depth = nx.single_source_shortest_path_length(tree, root)
    leaves = np.ones(n)
    for node in reversed(order):
        if node in children:
            leaves[node] = sum(leaves[child] for child in children[node])
    first = {root: 0.0}
    at = np.zeros((n, 2))
    for node in order:
        start = first[node]
        for child in children.get(node, []):
            first[child] = start
            start += leaves[child]
        angle = 2 * pi * (first[node] + leaves[node] / 2) / leaves[root]
        at[node] = depth[node] * np.array((np.sin(angle), np.cos(angle)))
    return _normalised(at)


def _along_bits(n: int, edges: IntArray) -> bool:
    """Whether all edges join numbers that differ in one bit."""
    differ = edges[:, 0] ^ edges[:, 1]
    return n >= 8 and n & (n - 1) == 0 and bool((differ & (differ - 1) == 0).all())


def _hypercube(n: int) -> FloatArray:
    """Draw a cube, cubes side by side, a cube of cubes, ...: no line passes through a third node."""
    node = np.arange(n)
    at = np.zeros((n, 2))
    for bit in range(n.bit_length() - 1):
        at += ((node >> bit) & 1)[:, None] * np.array(_direction(bit, few=n <= 32))
    return _normalised(at)


def _direction(bit: int, few: bool) -> tuple[float, float]:
    """Give where the neighbour across a bit lies: found by a search for the most distance of nodes from lines."""
    inner = ((1.0, 0.0), (0.0, -1.0), (0.46, 0.40))
    if bit < 3:
        return inner[bit]
    level = bit // 3
    size, turn = (1.85, -0.19) if few else (3.83, 0.16) if level == 1 else (8.0 * 2.1 ** (level - 2), 0.2)
    outer = ((cos(turn), sin(turn)), (sin(turn), -cos(turn)), (-0.38, -0.64))
    x, y = outer[bit % 3]
    return size * x, size * y


def _lattice_sides(n: int, edges: IntArray) -> tuple[int, int] | None:
    """Find rows and columns such that all edges join neighbours in a row or a column, or its two ends."""
    u, v = edges.T
    for rows in range(_smaller_side(n), 1, -1):
        if n % rows or n // rows > LONGEST_LATTICE * rows:
            continue
        for sides in ((rows, n // rows), (n // rows, rows)):
            across, down = (np.abs(a - b) for a, b in zip(_place(u, sides), _place(v, sides), strict=True))
            beside = (down == 0) & np.isin(across, (1, sides[1] - 1))
            above = (across == 0) & np.isin(down, (1, sides[0] - 1))
            if bool((beside | above).all()):
                return sides
    return None


def _place(node: IntArray, sides: tuple[int, int]) -> tuple[IntArray, IntArray]:
    return node % sides[1], node // sides[1]


def end_to_end(pairs: IntArray, sides: tuple[int, int]) -> NDArray[np.bool_]:
    """Tell which pairs of nodes, shape (m, 2), are the two ends of a row or a column of more than two nodes."""
    rows, columns = sides
    across, down = (np.abs(place[:, 1] - place[:, 0]) for place in _place(pairs, sides))
    ends: NDArray[np.bool_] = ((across == columns - 1) & (columns > 2)) | ((down == rows - 1) & (rows > 2))
    return ends


def _lattice(rows: int, columns: int) -> FloatArray:
    node = np.arange(rows * columns)
    return _normalised(np.stack((node % columns, -(node // columns)), axis=1).astype(np.float64))


def _spring(n: int, edges: IntArray) -> FloatArray:
    """Fit distances on paper to those in the graph; in large graphs, balance springs."""
    graph: nx.Graph[int] = nx.Graph()
    graph.add_nodes_from(range(n))
    graph.add_edges_from(edges.tolist())
    if n <= STRESS_LIMIT and nx.is_connected(graph):
        places = nx.kamada_kawai_layout(graph)
    else:
        start = {node: tuple(place) for node, place in enumerate(_spectral(n, edges))}
        places = nx.spring_layout(graph, pos=start, iterations=100, seed=0)
    return _normalised(_as_rows(places.values()))


def _as_rows(places: Iterable[Any]) -> FloatArray:
    return np.array([tuple(place) for place in places], dtype=np.float64)


def _spectral(n: int, edges: IntArray) -> FloatArray:
    from scipy.linalg import eigh

    laplacian = np.zeros((n, n))
    u, v = edges.T
    laplacian[u, v] = laplacian[v, u] = -1
    np.fill_diagonal(laplacian, -laplacian.sum(axis=1))
    vectors = eigh(laplacian, subset_by_index=(1, 2))[1]
    # An eigenvector has no sign of its own: its largest entry (the first of them, up to rounding) is to be positive.
    largest = (np.abs(vectors) > np.abs(vectors).max(axis=0) * (1 - 1e-6)).argmax(axis=0)
    return _normalised(vectors * np.sign(vectors[largest, [0, 1]]))


def _normalised(at: FloatArray) -> FloatArray:
    """Centre, and scale both directions by the same factor to -1 to 1."""
    low, high = at.min(axis=0), at.max(axis=0)
    return np.asarray((at - (low + high) / 2) / max(float((high - low).max()) / 2, 1e-12), dtype=np.float64)
