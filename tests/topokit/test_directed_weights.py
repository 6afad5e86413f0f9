"""Weights of directed graphs: which exist, checked against linear programs over all small graphs; the Perron vector."""

from collections import defaultdict
from fractions import Fraction
from itertools import permutations
from math import ceil, lcm

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from topokit.errors import ConvergenceError, GraphError, InputError
from topokit.matrix import MixingMatrix
from topokit.perron import perron_vector
from topokit.registry import WEIGHTS
from topokit.weights import balanced_weights, max_degree_plus_one_weights, push_sum_weights

PAIRS = {n: [(i, j) for i in range(n) for j in range(n) if i != j] for n in (2, 3, 4)}


def digraph(nodes, bits):
    graph = nx.empty_graph(nodes, create_using=nx.DiGraph)
    graph.add_edges_from(pair for k, pair in enumerate(PAIRS[nodes]) if bits >> k & 1)
    return graph


def up_to_renaming(nodes):
    """One of all directed graphs that differ only in the names of their nodes."""
    place = {pair: k for k, pair in enumerate(PAIRS[nodes])}
    renamings = [[place[p[i], p[j]] for i, j in PAIRS[nodes]] for p in permutations(range(nodes))]
    seen = set()
    for bits in range(1 << len(PAIRS[nodes])):
        if bits not in seen:
            edges = [k for k in range(len(PAIRS[nodes])) if bits >> k & 1]
            seen.update(sum(1 << renaming[k] for k in edges) for renaming in renamings)
            yield digraph(nodes, bits)


def largest_smallest_weight(graph):
    """Maximise s such that doubly stochastic weights of at least s on all edges and nodes exist: a linear program."""
    nodes = len(graph)
    edges = [*graph.edges, *((i, i) for i in range(nodes))]
    sums = np.zeros((2 * nodes, len(edges) + 1))
    for k, (u, v) in enumerate(edges):
        sums[u, k] = sums[nodes + v, k] = 1
    above = np.hstack([-np.eye(len(edges)), np.ones((len(edges), 1))])
    cost = np.zeros(len(edges) + 1)
    cost[-1] = -1
    result = linprog(cost, A_ub=above, b_ub=np.zeros(len(edges)), A_eq=sums, b_eq=np.ones(2 * nodes))
    assert result.status == 0
    return -result.fun


def exact_sums(matrix):
    rows, columns = defaultdict(Fraction), defaultdict(Fraction)
    for i, j, w in zip(matrix.target.tolist(), matrix.source.tolist(), matrix.fractions(), strict=True):
        rows[i] += w
        columns[j] += w
    return rows, columns


def assert_balanced(matrix, graph):
    nodes = graph.number_of_nodes()
    rows, columns = exact_sums(matrix)
    assert rows == columns == dict.fromkeys(range(nodes), 1)
    assert (matrix.weight > 0).all()
    support = set(zip(matrix.source.tolist(), matrix.target.tolist(), strict=True))
    assert support == set(graph.to_directed().edges) | {(i, i) for i in range(nodes)}
    np.testing.assert_array_equal(matrix.weight, [float(w) for w in matrix.fractions()])


@pytest.mark.parametrize("nodes", [2, 3, 4])
def test_balanced_weights_exist_where_a_linear_program_finds_some_and_are_as_even(nodes):
    strong = 0
    for graph in up_to_renaming(nodes):
        if not nx.is_weakly_connected(graph):
            continue
        smallest = largest_smallest_weight(graph)
        assert (smallest > 1e-9) == nx.is_strongly_connected(graph)
        if smallest < 1e-9:
            with pytest.raises(GraphError, match="lies on no cycle"):
                balanced_weights(graph)
            continue
        strong += 1
        matrix = balanced_weights(graph)
        assert_balanced(matrix, graph)
        assert min(matrix.fractions()) == Fraction(1, 1 + ceil(round(1 / smallest - 1, 6)))
    assert strong == {2: 1, 3: 5, 4: 83}[nodes]  # how many strongly connected graphs there are, up to renaming


def random_digraph(nodes, messages, seed):
    """A random directed ring with random shortcuts."""
    rng = np.random.default_rng(seed)
    graph = nx.empty_graph(nodes, create_using=nx.DiGraph)
    nx.add_cycle(graph, rng.permutation(nodes).tolist())
    pairs = rng.integers(nodes, size=(messages - nodes, 2)).tolist()
    graph.add_edges_from((u, v) for u, v in pairs if u != v)
    return graph


@settings(max_examples=30, deadline=None)
@given(st.integers(3, 12), st.floats(0, 0.6), st.integers(0, 10**6))
def test_balanced_weights_of_random_graphs(nodes, density, seed):
    graph = random_digraph(nodes, nodes + int(density * nodes * (nodes - 2)), seed)
    matrix = balanced_weights(graph)
    assert_balanced(matrix, graph)
    shuffled = nx.DiGraph()
    shuffled.add_nodes_from(reversed(range(nodes)))
    shuffled.add_edges_from(reversed(list(graph.edges)))
    assert balanced_weights(shuffled).fractions() == matrix.fractions()


def least_busiest_flow(graph):
    """The least that leaves the busiest node in a circulation of at least 1 on every edge: a linear program."""
    edges, nodes = [*graph.edges], len(graph)
    balance, leaving = np.zeros((nodes, len(edges) + 1)), np.zeros((nodes, len(edges) + 1))
    for k, (u, v) in enumerate(edges):
        balance[u, k], balance[v, k], leaving[u, k] = 1, -1, 1
    leaving[:, -1] = -1
    cost = [*[0] * len(edges), 1]
    zero = np.zeros(nodes)
    result = linprog(cost, leaving, zero, balance, zero, bounds=[*[(1, None)] * len(edges), (0, None)])
    assert result.status == 0
    return result.fun


def test_the_denominator_is_the_smallest():
    raised = 0
    for seed in range(100):
        nodes = 5 + seed % 8
        graph = random_digraph(nodes, nodes + 3 + seed % 15, seed)
        denominator = lcm(*(w.denominator for w in balanced_weights(graph).fractions()))
        assert denominator == 1 + ceil(round(least_busiest_flow(graph), 6))
        raised += denominator > 1 + max(*dict(graph.in_degree).values(), *dict(graph.out_degree).values())
    assert raised > 5


def test_a_bottleneck_raises_the_denominator_above_the_degrees():
    # Node 0 sends to k nodes, each of these to k others, each of which to 0: no degree is above k, but k^2 pass 0.
    k = 4
    first, second = range(1, k + 1), range(k + 1, 2 * k + 1)
    graph = nx.DiGraph([(i, j) for i in first for j in second])
    graph.add_edges_from([*((0, i) for i in first), *((j, 0) for j in second)])
    matrix = balanced_weights(graph)
    assert_balanced(matrix, graph)
    entries = dict(
        zip(zip(matrix.source.tolist(), matrix.target.tolist(), strict=True), matrix.fractions(), strict=True)
    )
    assert {entries[edge] for edge in graph.edges if 0 in edge} == {Fraction(k, k * k + 1)}
    assert {entries[edge] for edge in graph.edges if 0 not in edge} == {Fraction(1, k * k + 1)}
    assert entries[0, 0] == Fraction(1, k * k + 1)


@pytest.mark.parametrize(
    "graph", [nx.star_graph(4), nx.karate_club_graph(), nx.path_graph(5), nx.empty_graph(1)], ids=str
)
def test_undirected_graphs_get_max_degree_plus_one_weights(graph):
    expected = max_degree_plus_one_weights(graph)
    for same in (graph, graph.to_directed()):
        matrix = balanced_weights(same)
        np.testing.assert_array_equal(matrix.to_dense(), expected.to_dense())
        assert matrix.fractions() == expected.fractions()


def test_balanced_weights_at_a_thousand_nodes():
    graph = random_digraph(1000, 10_000, seed=0)
    assert_balanced(balanced_weights(graph), graph)


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (
            nx.DiGraph([(0, 1), (1, 2), (2, 1)]),
            r"not strongly connected \(2 strong components\): the edge 0 -> 1 lies on no cycle, .* such as 1 -> 0, "
            "which push-sum would need too",
        ),
        (nx.DiGraph([(0, 1), (1, 0), (2, 3), (3, 2)]), r"\(2 strong components\): node 0 cannot reach node 2"),
        (nx.Graph([(0, 1), (2, 3)]), r"disconnected \(2 components\): node 0 cannot reach node 2"),
        (nx.DiGraph([(0, 1), (1, 0), (1, 1)]), "node 1 has a self-loop, but balanced weights set the self weights"),
        (nx.MultiDiGraph([(0, 1), (0, 1), (1, 0)]), "nodes 0 and 1 are joined more than once"),
    ],
)
def test_balanced_weights_are_refused_with_a_reason(graph, message):
    with pytest.raises(GraphError, match=message):
        balanced_weights(graph)


@pytest.mark.parametrize(
    "name", ["metropolis-hastings", "metropolis-boyd", "max-degree", "max-degree-plus-one", "laplacian"]
)
def test_undirected_rules_name_the_directed_ones(name):
    with pytest.raises(GraphError, match=f"^{name} weights need an undirected .* balanced .* push-sum .* serve"):
        WEIGHTS[name].build(nx.DiGraph([(0, 1), (1, 0)]))


def test_push_sum_weights_by_their_definition():
    graph = random_digraph(20, 60, seed=3)
    for same in (graph, graph.to_undirected()):
        matrix = push_sum_weights(same)
        W = np.zeros((20, 20))
        for u in same:
            for v in (u, *same[u]):
                W[v, u] = 1 / (1 + len(same[u]))
        np.testing.assert_array_equal(matrix.to_dense(), W)
        assert exact_sums(matrix)[1] == dict.fromkeys(range(20), 1)
    assert WEIGHTS["push-sum"].mixing == "column-stochastic"
    assert WEIGHTS["balanced"].mixing == "doubly-stochastic"
    with pytest.raises(GraphError, match=r"not strongly connected \(2 strong components\): node 1 cannot reach node 0"):
        push_sum_weights(nx.DiGraph([(0, 1)]))


def null_vector(W):
    """The Perron vector by a singular value decomposition."""
    vector = np.linalg.svd(W - np.eye(len(W)))[2][-1]
    return vector / vector.sum()


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.floats(0, 3), st.integers(0, 10**6))
def test_perron_vector_is_the_null_vector(nodes, density, seed):
    graph = random_digraph(nodes, nodes + int(density * nodes), seed) if nodes > 5 else nx.complete_graph(nodes)
    W = push_sum_weights(graph)
    pi = perron_vector(W)
    np.testing.assert_allclose(pi, null_vector(W.to_dense()), rtol=0, atol=1e-12)
    assert pi.sum() == pytest.approx(1, abs=1e-14)
    assert pi.min() > 0


def test_perron_vector_in_closed_form():
    graph = nx.DiGraph([(0, 1), (1, 2), (2, 0)])
    np.testing.assert_allclose(perron_vector(push_sum_weights(graph)), [1 / 3] * 3, rtol=1e-15)
    star = nx.star_graph(9)  # undirected: pi is proportional to 1 + degree
    np.testing.assert_allclose(perron_vector(push_sum_weights(star)) * (10 + 18), [10, *[2] * 9], rtol=1e-14)
    swap = np.array([[0, 1], [1, 0]])  # periodic: W^t never converges, pi exists all the same
    np.testing.assert_array_equal(perron_vector(swap), [0.5, 0.5])
    # A path on which all but node 1 also send back to node 0: what arrives at a node is all but what it keeps.
    n = 60
    path = nx.DiGraph([(i, i + 1) for i in range(n - 1)] + [(i, 0) for i in range(2, n)])
    pi = perron_vector(push_sum_weights(path))
    np.testing.assert_allclose(pi[1:] / pi[:-1], [1, 3 / 4, *[1 / 2] * (n - 4), 2 / 3], rtol=1e-12)
    assert perron_vector(MixingMatrix.from_fractions(1, [0], [0], [Fraction(1)])).tolist() == [1.0]


@pytest.mark.parametrize("messages", [4400, 12_000])
def test_push_sum_divides_by_what_the_perron_vector_says_beyond_the_dense_sizes(messages):
    graph = random_digraph(4000, messages, seed=1)
    W = push_sum_weights(graph)
    pi = perron_vector(W)
    A = W.to_csr()
    np.testing.assert_allclose(A @ pi, pi, rtol=1e-8)
    if messages == 12_000:  # mixes fast enough to be watched
        values = np.stack((np.arange(4000.0), np.ones(4000)), axis=1)
        for _ in range(400):
            values = A @ values
        np.testing.assert_allclose(values[:, 1], 4000 * pi, rtol=1e-9)
        np.testing.assert_allclose(values[:, 0] / values[:, 1], 3999 / 2, rtol=1e-9)


def test_perron_vector_of_a_long_ring_with_a_shortcut():
    # Too slow for iterations: the factorization has to take over. Half of what leaves 0 skips 1 to 1,999.
    n, shortcut = 8_000, 2000
    graph = nx.cycle_graph(n, create_using=nx.DiGraph)
    graph.add_edge(0, shortcut)
    pi = perron_vector(push_sum_weights(graph))
    # With 1 on each of the two edges that leave it, node 0 holds 3; the others send half of what they hold.
    holds = np.array([3.0] + [2.0] * (shortcut - 1) + [4.0] * (n - shortcut))
    np.testing.assert_allclose(pi, holds / holds.sum(), rtol=1e-10)


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.array([[1.5, 0.5], [-0.5, 0.5]]), r"W\[1, 0\] is -0.5; .* weights of at least 0"),
        (np.array([[0.5, 0.5], [0.5, 0.25]]), "column 1 sums to 0.75; .* columns that sum to 1"),
        (np.array([[0.5, 0.0], [0.5, 1.0]]), r"\(2 strong components\): .* from node 0 to node 1 and back"),
    ],
)
def test_perron_vector_refuses_what_has_none(matrix, message):
    with pytest.raises(InputError, match=message):
        perron_vector(matrix)


def test_perron_vector_is_not_given_where_rounding_decides():
    # Two nodes that exchange 1e-12 of their mass in a round and back: the ratio is known to few digits, if any.
    lazy = np.array([[1 - 2e-12, 1e-12], [2e-12, 1 - 1e-12]])
    with pytest.raises(ConvergenceError, match="relative error can only be bounded by"):
        perron_vector(lazy)
    graph = nx.DiGraph([(i, i + 1) for i in range(1199)] + [(i, 0) for i in range(1, 1200)])
    with pytest.raises(ConvergenceError, match="holds too little for double precision"):
        perron_vector(push_sum_weights(graph))
