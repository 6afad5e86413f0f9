"""Graphs as arrays: the same graphs and weights as networkx gives, and what only arrays are fast enough for."""

import time
from fractions import Fraction
from itertools import combinations

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from topokit.adjacency import adjacency_of_edges, asymmetric_pair, graph_of_edges, pattern_of, sorted_edges
from topokit.designer import design, design_graph
from topokit.errors import GraphError, InputError
from topokit.registry import TOPOLOGIES, WEIGHTS
from topokit.topologies import random_graphs
from topokit.topologies.random_edges import binomial_edges, geometric_edges, regular_edges

UNDIRECTED = ("metropolis-hastings", "metropolis-boyd", "uniform", "max-degree", "max-degree-plus-one", "laplacian")
ALL = (*UNDIRECTED, "balanced", "push-sum")
VARIANTS = {
    "circulant": [{"offsets": (1,)}, {"offsets": (2, -3, 5)}, {"offsets": (1, 3), "directed": True}],
    "erdos-renyi": [{"seed": 3}, {"probability": 1}],
    "grid": [{}, {"rows": 2}],
    "ring-lattice": [{}, {"degree": 6}],
    "torus": [{}, {"columns": 2}],
    "tree": [{}, {"arity": 3}],
}
FAMILIES = [
    (entry, parameters)
    for entry in TOPOLOGIES.values()
    if entry.leaves_weights
    for parameters in VARIANTS.get(entry.name, [{}])
]


def assert_same_entries(one, other):
    for name in ("target", "source", "weight", "numerator", "denominator"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def networkx_weights(name, graph):
    """Weights by the networkx path, or the message of the error."""
    try:
        return WEIGHTS[name].build(graph)
    except GraphError as error:
        return str(error)


@pytest.mark.parametrize(("entry", "parameters"), FAMILIES, ids=lambda value: getattr(value, "name", str(value)))
def test_sparse_and_networkx_paths_agree_on_every_family(entry, parameters):
    sizes = [n for n in (2, 3, 4, 6, 9, 16, 25, 34, 81) if entry.obstacle(n, **parameters) is None]
    for nodes in sizes or [10, 32]:
        if entry.obstacle(nodes, **parameters) is not None:
            continue
        graph, adjacency = entry.build(nodes, **parameters), entry.adjacency(nodes, **parameters)
        expected = nx.to_scipy_sparse_array(graph, nodelist=range(nodes), weight=None)
        assert (adjacency != expected).nnz == 0
        if entry.edges is not None:
            assert len(np.unique(np.sort(entry.edges(nodes, **parameters)), axis=0)) == len(graph.to_undirected().edges)
        matrix = WEIGHTS[entry.weights].build(graph)
        assert_same_entries(WEIGHTS[entry.weights].build(adjacency), matrix)
        assert_same_entries(design(entry.name, nodes, **parameters).round(0), matrix)


ORACLES = {
    "ring": lambda n: nx.cycle_graph(n) if n > 2 else nx.path_graph(n),
    "path": nx.path_graph,
    "star": lambda n: nx.star_graph(n - 1),
    "complete": nx.complete_graph,
    "hypercube": lambda n: nx.hypercube_graph(n.bit_length() - 1),
    "tree": lambda n: nx.full_rary_tree(2, n),
    "grid": lambda n: nx.grid_2d_graph(n // 4, 4),
    "torus": lambda n: nx.grid_2d_graph(n // 4, 4, periodic=True),
    "ring-lattice": lambda n: nx.circulant_graph(n, [1, 2]),
    "exponential": lambda n: nx.DiGraph(((i + 2**k) % n, i) for i in range(n) for k in range(8) if 2**k < n),
}


@pytest.mark.parametrize("name", ORACLES)
def test_edges_are_those_of_the_generators_of_networkx(name):
    sides = {"columns": 4} if name in ("grid", "torus") else {}
    for nodes in (4, 8, 12, 16, 32, 128):
        if TOPOLOGIES[name].obstacle(nodes, **sides) is None:
            oracle = ORACLES[name](nodes)
            number = {node: i for i, node in enumerate(sorted(oracle))}
            expected = nx.to_numpy_array(nx.relabel_nodes(oracle, number), nodelist=range(nodes))
            np.testing.assert_array_equal(TOPOLOGIES[name].adjacency(nodes, **sides).toarray(), expected)


def test_random_graphs_up_to_ten_thousand_nodes_are_those_of_networkx():
    def edges(graph):
        return np.array(sorted((min(e), max(e)) for e in graph.edges))

    rng = np.random.default_rng
    entry = TOPOLOGIES["random-regular"]
    np.testing.assert_array_equal(entry.edges(500, 4, 7), edges(nx.random_regular_graph(4, 500, seed=rng(7))))
    p = 2 * np.log(500) / 500
    entry = TOPOLOGIES["erdos-renyi"]
    np.testing.assert_array_equal(entry.edges(500, None, 7), edges(nx.fast_gnp_random_graph(500, p, seed=rng(7))))
    entry = TOPOLOGIES["random-geometric"]  # at every size: the points are drawn one after the other in both
    for nodes, radius in ((20, 0.7), (2000, 0.1)):
        graph = nx.random_geometric_graph(nodes, radius, seed=rng(3))
        np.testing.assert_array_equal(entry.edges(nodes, radius, 3), edges(graph))


@settings(max_examples=60, deadline=None)
@given(st.integers(5, 60), st.integers(1, 12), st.integers(0, 10**6))
def test_regular_edges_are_simple_and_regular(nodes, degree, seed):
    nodes = max(nodes, 2 * degree + 2)
    nodes += nodes * degree % 2
    edges = regular_edges(nodes, degree, np.random.default_rng(seed))
    assert len(edges) == nodes * degree // 2
    assert (edges[:, 0] < edges[:, 1]).all()
    np.testing.assert_array_equal(np.bincount(edges.ravel(), minlength=nodes), degree)
    np.testing.assert_array_equal(np.unique(edges, axis=0), edges)


def test_short_cycles_of_regular_graphs_are_as_frequent_as_in_uniform_ones():
    # The number of cycles of length k of a uniform d-regular graph tends to a Poisson variable of mean (d - 1)^k / 2k
    # (Bollobas 1980, Wormald 1981). Switches that favoured triangles or squares would show.
    triangles, squares, draws = 0, 0, 80
    for seed in range(draws):
        A = adjacency_of_edges(1000, regular_edges(1000, 4, np.random.default_rng(seed)))
        walks = A @ A
        triangles += int(walks.multiply(A).sum()) // 6
        common = walks - sparse.diags_array(walks.diagonal(), dtype=np.int64)
        squares += int((common.data * (common.data - 1)).sum()) // 8
    for total, mean in ((triangles, 3**3 / 6), (squares, 3**4 / 8)):
        assert abs(total - mean * draws) < 4 * np.sqrt(mean * draws)


def test_large_random_regular_graphs():
    entry = TOPOLOGIES["random-regular"]
    one, again, other = (entry.edges(20_000, 3, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()
    for degree in (2, 3, 7):
        A = entry.adjacency(10_002, degree=degree, seed=0)
        assert connected_components(A)[0] == 1
        assert set(np.diff(A.indptr).tolist()) == {degree}
    with pytest.raises(GraphError, match="needs an even number of nodes, got 10001"):
        entry.adjacency(10_001, degree=3)


class Steps:
    """A source of randomness that gives steps of one's own."""

    def __init__(self, steps):
        self.steps = steps

    def geometric(self, probability, size):
        given, self.steps = self.steps, np.full(size, 1 << 62)
        return given


def test_numbers_of_pairs_are_turned_into_pairs():
    nodes = 3_000_000
    ends = np.array([2, 3, 4, 1000, 94_906_266 // 64, nodes - 1])
    wanted = [(u, v) for v in ends.tolist() for u in (0, v - 1)]
    place = np.array([v * (v - 1) // 2 + u for u, v in wanted])
    edges = binomial_edges(nodes, 1e-9, Steps(np.diff(place, prepend=-1)))
    assert edges.tolist() == [list(pair) for pair in wanted]


def test_every_pair_is_an_edge_with_the_same_probability():
    nodes, p, draws = 7, 0.3, 3000
    rng = np.random.default_rng(0)
    count = np.zeros((nodes, nodes))
    for _ in range(draws):
        edges = binomial_edges(nodes, p, rng)
        assert (edges[:, 0] < edges[:, 1]).all()
        count[edges[:, 0], edges[:, 1]] += 1  # counts an edge that comes twice once
    deviation = [abs(count[u, v] - p * draws) for u, v in combinations(range(nodes), 2)]
    assert max(deviation) < 4.5 * np.sqrt(draws * p * (1 - p))
    A = TOPOLOGIES["erdos-renyi"].adjacency(20_000, seed=1)
    assert connected_components(A)[0] == 1
    assert A.nnz == pytest.approx(20_000 * 2 * np.log(20_000), rel=0.02)


def test_geometric_edges_join_what_is_near():
    place = np.random.default_rng(5).random((60, 2))
    near = np.linalg.norm(place[:, None] - place, axis=2) <= 0.3
    edges = geometric_edges(60, 0.3, np.random.default_rng(5))
    np.testing.assert_array_equal(adjacency_of_edges(60, edges).toarray(), near & ~np.eye(60, dtype=bool))


FORMATS = (sparse.csr_array, sparse.csc_array, sparse.coo_array, sparse.lil_array, sparse.csr_matrix)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 14), st.floats(0.2, 0.9), st.sampled_from(FORMATS), st.booleans(), st.integers(0, 10**6))
def test_weights_from_any_sparse_array_are_those_from_networkx(nodes, density, container, directed, seed):
    rng = np.random.default_rng(seed)
    there = np.triu(rng.random((nodes, nodes)) < density, 1)
    there |= np.triu(rng.random((nodes, nodes)) < density, 1).T if directed else there.T
    one_way = (there != there.T).any()  # a sparse array whose edges all go both ways is an undirected graph
    graph = nx.from_numpy_array(there.astype(int), create_using=nx.DiGraph if one_way else nx.Graph)
    values = np.where(there, rng.normal(size=there.shape), 0)
    matrix = container(values)
    for name in ALL:
        expected, found = networkx_weights(name, graph), networkx_weights(name, matrix)
        if isinstance(expected, str):
            assert isinstance(found, str)
            assert found.split(";")[0].split(" (A[")[0] == expected.split(";")[0]
        else:
            assert_same_entries(found, expected)
    np.testing.assert_array_equal(matrix.toarray(), values)  # the user's array is left as it is


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 40), st.integers(1, 60), st.integers(0, 10**6))
def test_self_weights_are_what_the_fractions_leave(hub, spread, seed):
    # A hub whose neighbours have many different degrees: least common multiples reach and exceed 64 bits.
    rng = np.random.default_rng(seed)
    graph = nx.star_graph(hub)
    fresh = hub
    for leaf in range(1, hub + 1):
        for _ in range(int(rng.integers(spread))):
            fresh += 1
            graph.add_edge(leaf, fresh)
    degree = dict(graph.degree)
    rest = {i: 1 - sum(Fraction(1, 1 + max(degree[i], degree[j])) for j in graph[i]) for i in graph}
    for source in (graph, nx.to_scipy_sparse_array(graph, nodelist=range(len(graph)))):
        matrix = WEIGHTS["metropolis-hastings"].build(source)
        own = matrix.target == matrix.source
        assert matrix.weight[own].tolist() == [float(rest[i]) for i in range(len(graph))]
        assert matrix.is_exact == all(w.denominator < 2**63 for w in rest.values())
        if matrix.is_exact:
            fractions = [w for w, k in zip(matrix.fractions(), own, strict=True) if k]
            assert fractions == [rest[i] for i in range(len(graph))]


def test_patterns():
    entries = sparse.coo_array(([1.0, 2.0, 0.0, 5.0], ([0, 0, 1, 2], [1, 1, 0, 0])), shape=(3, 3))
    assert pattern_of(entries).toarray().tolist() == [[0, 1, 0], [0, 0, 0], [1, 0, 0]]
    assert asymmetric_pair(pattern_of(entries)) == (0, 1)
    assert asymmetric_pair(pattern_of(entries + entries.T)) is None
    wide = sparse.csr_array((np.ones(2), np.array([1, 0], dtype=np.int64), np.array([0, 1, 2], dtype=np.int64)))
    assert pattern_of(wide).indices.dtype == np.int32
    edges = sorted_edges(5, np.array([4, 0, 3]), np.array([1, 2, 0]))
    assert edges.tolist() == [[0, 2], [0, 3], [1, 4]]
    assert graph_of_edges(5, edges, directed=True).number_of_edges() == 3


RING = nx.to_scipy_sparse_array(nx.cycle_graph(5))
LOOP = sparse.csr_array(np.ones((3, 3)))
ONE_WAY = sparse.csr_array(np.roll(np.eye(4), 1, axis=1))
APART = sparse.block_diag((np.ones((2, 2)) - np.eye(2), np.ones((2, 2)) - np.eye(2)))


@pytest.mark.parametrize(
    ("name", "graph", "message"),
    [
        ("uniform", sparse.csr_array((0, 0)), "^the graph has no nodes$"),
        ("uniform", sparse.csr_array((2, 3)), r"^an adjacency matrix is square, got shape \(2, 3\)$"),
        ("uniform", LOOP, "^node 0 has a self-loop, but uniform weights set the self weights; remove the loop$"),
        ("max-degree", ONE_WAY, r"directed \(A\[0, 1\] is not 0, A\[1, 0\] is\); balanced .* and A \+ A.T makes"),
        ("laplacian", APART, r"^the graph is disconnected \(2 components\): node 0 cannot reach node 2$"),
        ("push-sum", sparse.csr_array(np.eye(3, k=1)), r"\(3 strong components\): node 1 cannot reach node 0$"),
        ("uniform", sparse.csr_array(np.eye(3, k=-1)), r"\(3 strong components\): node 0 cannot reach node 1$"),
        ("balanced", sparse.csr_array(np.eye(3, k=1)), r"\(3 strong .* the edge 0 -> 1 lies on no cycle"),
        ("given", RING, "^given weights are those .* carry as 'weight', .*design_matrix takes"),
    ],
)
def test_sparse_graphs_that_cannot_mix_are_refused(name, graph, message):
    with pytest.raises(GraphError, match=message):
        WEIGHTS[name].build(graph)


def test_designs_from_sparse_graphs():
    schedule = design_graph(RING, name="five")
    assert schedule.name == "five-5"
    assert schedule.provenance["weights"] == "metropolis-hastings"
    assert design_graph(ONE_WAY).provenance["weights"] == "balanced"
    assert design_graph(ONE_WAY, "push-sum").mixing == "column-stochastic"
    same = design_graph(nx.cycle_graph(5), name="five")
    assert same.content_hash == schedule.content_hash
    with pytest.raises(InputError, match="base is no graph without weights"):
        TOPOLOGIES["base"].adjacency(8)


def test_no_networkx_graph_is_made(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a networkx graph")

    monkeypatch.setattr(nx.Graph, "__init__", refuse)
    monkeypatch.setattr(random_graphs, "NETWORKX_NODES", 0)
    for entry, parameters in FAMILIES:
        if entry.edges is not None and entry.obstacle(64, **parameters) is None:
            design(entry.name, 64, **parameters)


def test_a_hundred_thousand_nodes_take_a_fraction_of_the_time_of_networkx():
    started = time.process_time()
    schedule = design("random-regular", 100_000, weights="metropolis-hastings")
    assert time.process_time() - started < 2
    assert schedule.round(0).nonzeros == 500_000
    assert schedule.claims.exact_averaging is False
    entry = TOPOLOGIES["torus"]
    started = time.process_time()
    W = WEIGHTS["uniform"].build(entry.adjacency(40_000))
    middle = time.process_time()
    other = WEIGHTS["uniform"].build(entry.build(40_000))
    assert_same_entries(W, other)
    assert middle - started < (time.process_time() - middle) / 3


def test_few_edges_are_drawn_as_seldom_as_they_should():
    assert all(len(binomial_edges(2, 1e-9, np.random.default_rng(seed))) == 0 for seed in range(20))
    drawn = sum(len(binomial_edges(3, 0.3, np.random.default_rng(seed))) for seed in range(2000))
    assert abs(drawn - 2000 * 0.9) < 5 * (2000 * 3 * 0.3 * 0.7) ** 0.5
