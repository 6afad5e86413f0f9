"""The smallest SLEM that symmetric weights reach, on graphs where it is known: by closed forms, or from publications.

CVX: the examples `small_example` and `cut_grid_example` of CVX's library (directory graph_laplacian). BDX: S. Boyd,
P. Diaconis, L. Xiao, "Fastest mixing Markov chain on a graph", SIAM Review 46(4), 2004, table 1. BV: S. Boyd,
L. Vandenberghe, "Convex Optimization", 2004, section 4.6.3. Where none is named, the number is a closed form, or (nine
digits or less) from a run of an interior-point solver.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import cos, pi, sqrt

import networkx as nx

__all__ = ["LARGE", "ORACLES", "SMALL", "Oracle", "cut_grid", "small_example"]

EXACT = 1e-12  # of closed forms


@dataclass(frozen=True)
class Oracle:
    """A graph, nodes 0 to n - 1, and what is known of it.

    Attributes
    ----------
    name : str
    build : callable
        Gives the graph.
    fdla, fmmc : float or None
        Smallest SLEM with weights of any sign, and with none negative.
    tolerance : float
        Of these two.
    self_loops : bool
        Whether a node may keep a part of its own value.
    weights : tuple of (pair of nodes, float)
        Those of FMMC, where they are unique and known.
    """

    name: str
    build: Callable[[], nx.Graph]
    fdla: float | None
    fmmc: float | None
    tolerance: float = EXACT
    self_loops: bool = True
    weights: tuple[tuple[tuple[int, int], float], ...] = ()

    def cases(self):
        """Give the objectives with their values."""
        both = {"fdla": self.fdla, "fmmc": self.fmmc}
        return {name: value for name, value in both.items() if value is not None}


SMALL_EXAMPLE = (
    (1, 2), (2, 3), (3, 4), (1, 5), (2, 8), (2, 4), (5, 6), (5, 7), (3, 7), (4, 8), (6, 7), (7, 8), (2, 7),
)  # fmt: skip
CUT = (
    (49, 41), (50, 42), (16, 8), (24, 16), (15, 7), (23, 15), (10, 1), (21, 13), (13, 5), (22, 14), (14, 6), (51, 43),
    (52, 44), (53, 45), (54, 46), (42, 41), (34, 33), (26, 25),
)  # fmt: skip


def small_example():
    """CVX, 8 nodes and 13 edges."""
    return _ordered(nx.Graph((u - 1, v - 1) for u, v in SMALL_EXAMPLE))


def cut_grid():
    """CVX, an 8 x 8 grid without 17 of its edges: 64 nodes, 95 edges. The list has a pair that is no edge."""
    graph = _numbered(nx.grid_2d_graph(8, 8))
    graph.remove_edges_from((u - 1, v - 1) for u, v in CUT)
    return graph


def _numbered(graph):
    """Number the nodes in their sorted order."""
    return _ordered(nx.convert_node_labels_to_integers(graph, ordering="sorted"))


def _ordered(graph):
    ordered = nx.Graph()
    ordered.add_nodes_from(range(graph.number_of_nodes()))
    ordered.add_edges_from(graph.edges)
    return ordered


def _prism(n):
    return _numbered(nx.cartesian_product(nx.cycle_graph(n), nx.path_graph(2)))


def _torus(rows, columns):
    return _numbered(nx.grid_2d_graph(rows, columns, periodic=True))


def _two_cliques(n):
    return nx.barbell_graph(n, 0)


def _davis():
    return _ordered(nx.convert_node_labels_to_integers(nx.davis_southern_women_graph()))


def cycle(n):
    """Give the smallest SLEM of a cycle."""
    c, h = cos(2 * pi / n), cos(pi / n)
    return (1 + c) / (3 - c) if n % 2 == 0 else (c + h) / (2 - c + h)


def two_cliques(n):
    """Give the smallest SLEMs of two complete graphs joined by an edge."""
    fmmc = (n * (n - 2) + 4 * sqrt(2) * (n - 1)) / (n * n + 4 * n - 4)
    return sqrt((n - 1) / n), fmmc


def _closed_forms():
    for n in (2, 3, 4, 5, 9, 20):
        yield Oracle(f"path {n}", lambda n=n: nx.path_graph(n), cos(pi / n), cos(pi / n))
    for n in (3, 4, 5, 6, 9, 16, 19):
        yield Oracle(f"cycle {n}", lambda n=n: nx.cycle_graph(n), cycle(n), cycle(n))
    for k in (2, 3, 5, 12):
        yield Oracle(f"star {k}", lambda k=k: nx.star_graph(k), k / (k + 2), (k - 1) / k)
    for m, n in ((2, 2), (2, 3), (2, 5), (3, 3), (3, 4), (4, 9)):
        both = n / (n + 2 * m)
        yield Oracle(f"K{m},{n}", lambda m=m, n=n: nx.complete_bipartite_graph(m, n), both, max((n - m) / n, both))
    for n in (2, 3, 4, 7):
        yield Oracle(f"K{n}", lambda n=n: nx.complete_graph(n), 0.0, 0.0)
    for d in (2, 3, 4, 5):
        value = (d - 1) / (d + 1)
        yield Oracle(f"hypercube {2**d}", lambda d=d: _numbered(nx.hypercube_graph(d)), value, value)
    for n in (3, 4, 5, 8):
        # Of FDLA the form has been checked for 3 and 4 alone.
        fdla, fmmc = two_cliques(n)
        yield Oracle(f"two K{n}", lambda n=n: _two_cliques(n), fdla if n < 5 else None, fmmc)
    for name, build, value in (
        ("Petersen", nx.petersen_graph, 3 / 7),
        ("octahedron", nx.octahedral_graph, 1 / 5),
        ("icosahedron", nx.icosahedral_graph, 1 / sqrt(5)),
        ("dodecahedron", nx.dodecahedral_graph, sqrt(5) / 3),
        ("torus 4x4", lambda: _torus(4, 4), 3 / 5),
        ("torus 3x3", lambda: _torus(3, 3), 1 / 3),
        ("prism 3", lambda: _prism(3), 1 / 3),
        ("house", nx.house_graph, 3 / 7),
        ("grid 2x3", lambda: _numbered(nx.grid_2d_graph(2, 3)), 2 - sqrt(2)),
    ):
        yield Oracle(name, build, value, value)
    # BDX, whose other two graphs are path 4 and K2,3
    yield Oracle("paw", lambda: nx.Graph([(0, 1), (0, 2), (1, 2), (2, 3)]), 1 / sqrt(3), 7 / 11)
    yield Oracle("square with centre", lambda: nx.wheel_graph(5), None, 1 / 4)
    yield Oracle("bowtie", lambda: nx.Graph([(0, 1), (0, 2), (1, 2), (2, 3), (2, 4), (3, 4)]), 2 / 3, 3 / 4)
    yield Oracle("wheel 7", lambda: nx.wheel_graph(7), 9 / 19, 1 / 2, 1e-9)
    rim = tuple(((u, u % 4 + 1), 0.375) for u in range(1, 5))
    spokes = tuple(((0, u), 0.25) for u in range(1, 5))
    # BV
    yield Oracle("wheel 5 without self-loops", lambda: nx.wheel_graph(5), None, 3 / 4, EXACT, False, rim + spokes)


def _computed():
    yield Oracle("CVX small example", small_example, 0.6433314028, 0.6809606766, 1e-9)
    yield Oracle("CVX cut grid", cut_grid, 0.9882918849, 0.9888261614, 1e-8)
    for name, build, fdla, fmmc in (
        ("grid 3x3", lambda: _numbered(nx.grid_2d_graph(3, 3)), 0.692551220, 0.692551220),
        ("grid 4x4", lambda: _numbered(nx.grid_2d_graph(4, 4)), 0.824388643, 0.824388643),
        ("prism 5", lambda: _prism(5), 0.566915271, 0.566915271),
        ("bull", nx.bull_graph, sqrt(0.5), 0.724687167),
        ("lollipop", lambda: nx.lollipop_graph(4, 2), 0.790569413, 0.818149434),
        ("binary tree", lambda: nx.balanced_tree(2, 2), 0.879152869, 0.890388203),
        ("karate club", lambda: _ordered(nx.karate_club_graph()), 0.924588622, 0.953552320),
        ("Davis women", _davis, 0.829304555, 0.869687180),
    ):
        yield Oracle(name, build, fdla, fmmc, 4e-9)
    for n, fdla, fmmc in ((50, 0.7730764, 0.7793277), (100, 0.7961420, 0.8018681)):
        yield Oracle(f"random 4-regular {n}", lambda n=n: nx.random_regular_graph(4, n, seed=1), fdla, fmmc, 1e-7)


ORACLES: tuple[Oracle, ...] = (*_closed_forms(), *_computed())
SMALL = tuple(oracle for oracle in ORACLES if oracle.build().number_of_nodes() <= 20)
LARGE = tuple(oracle for oracle in ORACLES if oracle not in SMALL)
