import math
import time
import warnings
from itertools import combinations

import networkx as nx
import numpy as np
import pytest

from topokit.errors import InputError
from topokit.learned.growth import fiedler_bound, greedy
from topokit.learned.growth.candidates import open_pairs, room_of_nodes
from topokit.learned.growth.fiedler_bound import fiedler_upper_bound, value_of_certificate
from topokit.learned.growth.greedy import greedy_edges
from topokit.learned.growth.soft_choice import soft_choice

NONE = np.zeros((0, 2), dtype=np.int64)


def edges_of(graph):
    return np.array(sorted((min(edge), max(edge)) for edge in graph.edges), dtype=np.int64).reshape(-1, 2)


def laplacian(nodes, edges, weights=None):
    graph = nx.empty_graph(nodes)
    ones = np.ones(len(edges)) if weights is None else weights
    graph.add_weighted_edges_from((int(u), int(v), w) for (u, v), w in zip(edges, ones, strict=True))
    return nx.laplacian_matrix(graph, nodelist=range(nodes)).toarray().astype(float)


def mu2(nodes, edges, weights=None):
    return np.linalg.eigvalsh(laplacian(nodes, edges, weights))[1]


def grid(rows, columns):
    return nx.convert_node_labels_to_integers(nx.grid_2d_graph(rows, columns))


def best_choice(edges, nodes, k, allowed=None, max_degree=None):
    """The best of all choices of up to k edges."""
    pairs = np.argwhere(np.triu(open_pairs(edges, nodes, allowed)))
    most = 0.0
    for count in range(min(k, len(pairs)), 0 if max_degree is not None else min(k, len(pairs)) - 1, -1):
        for chosen in combinations(pairs.tolist(), count):
            everything = np.concatenate((edges, np.array(chosen, dtype=np.int64).reshape(-1, 2)))
            if max_degree is None or (np.bincount(everything.reshape(-1), minlength=nodes) <= max_degree).all():
                most = max(most, mu2(nodes, everything))
    return most


def by_cvxpy(edges, nodes, k, allowed=None, max_degree=None):
    cp = pytest.importorskip("cvxpy")
    pairs = np.argwhere(np.triu(open_pairs(edges, nodes, allowed)))
    room = room_of_nodes(edges, nodes, max_degree)
    x, t = cp.Variable(len(pairs)), cp.Variable()
    ends = np.zeros((nodes, len(pairs)))
    ends[pairs.T, np.arange(len(pairs))] = 1
    L = laplacian(nodes, edges) + sum(x[k] * laplacian(nodes, [pair]) for k, pair in enumerate(pairs))
    J = np.full((nodes, nodes), 1 / nodes)
    limits = [x >= 0, x <= 1, cp.sum(x) <= k, ends @ x <= room, L - t * (np.eye(nodes) - J) + J >> 0]
    programme = cp.Problem(cp.Maximize(t), limits)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of some inaccuracy
        programme.solve(solver="CLARABEL")
    return programme.value


CASES = {
    "path": (edges_of(nx.path_graph(6)), 6, 2, {}),
    "ring": (edges_of(nx.cycle_graph(7)), 7, 3, {}),
    "ring, cubic": (edges_of(nx.cycle_graph(6)), 6, 3, {"max_degree": 3}),
    "star, short of room": (edges_of(nx.star_graph(5)), 6, 3, {"max_degree": np.array([5, 2, 2, 2, 3, 1])}),
    "nothing": (NONE, 5, 5, {}),
    "nothing, degree 2": (NONE, 5, 6, {"max_degree": 2}),
    "two triangles": (np.array([[0, 1], [0, 2], [1, 2], [3, 4], [3, 5], [4, 5]]), 6, 2, {}),
    "few pairs": (edges_of(nx.path_graph(7)), 7, 2, {"allowed": [(0, 6), (1, 5), (4, 0), (6, 2), (3, 5)]}),
    "all pairs": (edges_of(nx.path_graph(5)), 5, 20, {}),
    "no more": (edges_of(nx.path_graph(5)), 5, 0, {}),
    "never connected": (NONE, 5, 4, {"allowed": [(0, 1), (1, 2), (3, 4)]}),
}


@pytest.mark.parametrize("name", CASES)
def test_greedy_below_exhaustive_below_semidefinite(name):
    edges, nodes, k, limits = CASES[name]
    best = best_choice(edges, nodes, k, **limits)
    grown, bound = greedy_edges(edges, nodes, k, **limits), fiedler_upper_bound(edges, nodes, k, **limits)
    assert grown.fiedler <= best + 1e-9
    assert best <= bound.value + 1e-9
    assert bound.value - bound.mu2 <= 1e-6 * bound.value + 1e-12
    if best > 0:
        assert grown.fiedler >= 0.6 * best


@pytest.mark.parametrize("name", [name for name in CASES if name not in ("no more", "never connected")])
def test_the_bound_by_cvxpy(name):
    edges, nodes, k, limits = CASES[name]
    value = by_cvxpy(edges, nodes, k, **limits)
    assert fiedler_upper_bound(edges, nodes, k, **limits).value == pytest.approx(value, abs=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_the_certificate_and_the_weights_are_what_they_are_said_to_be(name):
    edges, nodes, k, limits = CASES[name]
    bound = fiedler_upper_bound(edges, nodes, k, **limits)
    assert value_of_certificate(edges, nodes, k, bound.factor, bound.prices, **limits) == bound.value
    # Once more from its definition.
    P = np.eye(nodes) - 1 / nodes
    Z = P @ bound.factor @ bound.factor.T @ P
    Z /= np.trace(Z)
    net = [Z[u, u] + Z[v, v] - 2 * Z[u, v] - bound.prices[[u, v]].sum() for u, v in candidates(edges, nodes, limits)]
    room = room_of_nodes(edges, nodes, limits.get("max_degree"))
    total = np.vdot(Z, laplacian(nodes, edges)) + bound.prices @ room + sum(sorted(np.maximum(net, 0))[::-1][:k])
    assert total == pytest.approx(bound.value, abs=1e-10)
    assert (bound.prices >= 0).all()
    # The relaxed weights keep the limits and reach their value.
    w, pairs = bound.weights, bound.pairs
    assert ((w >= 0) & (w <= 1)).all()
    assert w.sum() <= k + 1e-9
    assert (np.bincount(pairs.reshape(-1), weights=np.repeat(w, 2), minlength=nodes) <= room + 1e-9).all()
    reached = mu2(nodes, np.concatenate((edges, pairs)), np.concatenate((np.ones(len(edges)), w)))
    assert reached == pytest.approx(bound.mu2, abs=1e-9)


def candidates(edges, nodes, limits):
    room = room_of_nodes(edges, nodes, limits.get("max_degree"))
    pairs = np.argwhere(np.triu(open_pairs(edges, nodes, limits.get("allowed"))))
    return [(u, v) for u, v in pairs if room[u] > 0 and room[v] > 0]


@pytest.mark.parametrize(("nodes", "k"), [(5, 4), (9, 12), (16, 24)])
def test_the_bound_from_nothing_is_the_mean_of_the_eigenvalues(nodes, k):
    assert fiedler_upper_bound(NONE, nodes, k).value == pytest.approx(2 * k / (nodes - 1), rel=1e-6)


def test_any_certificate_is_a_bound():
    rng = np.random.default_rng(3)
    edges, nodes, k, limits = CASES["ring, cubic"]
    best = best_choice(edges, nodes, k, **limits)
    least = fiedler_upper_bound(edges, nodes, k, **limits).mu2
    for _ in range(30):
        factor, prices = rng.standard_normal((nodes, rng.integers(1, 4))), rng.uniform(0, 0.5, nodes)
        assert value_of_certificate(edges, nodes, k, factor, prices, **limits) >= max(best, least) - 1e-9


def test_the_bound_with_some_candidates_at_a_time(monkeypatch):
    edges = edges_of(grid(4, 6))
    whole = fiedler_upper_bound(edges, 24, 10, tolerance=1e-5)
    monkeypatch.setattr(fiedler_bound, "COLUMNS", 80)
    monkeypatch.setattr(fiedler_bound, "MORE", 30)
    said = []
    parts = fiedler_upper_bound(edges, 24, 10, tolerance=1e-5, tell=said.append)
    assert parts.value == pytest.approx(whole.value, rel=2e-5)
    assert len(parts.pairs) < len(whole.pairs)
    assert "no choice of edges" in said[-1].sentence()
    early = fiedler_upper_bound(edges, 24, 10, deadline=time.monotonic())
    assert early.value >= whole.mu2


@pytest.mark.parametrize("most", [None, 4])
def test_the_choice_of_first_order_is_below_the_bound_and_near_to_it(most):
    edges, nodes, k = edges_of(grid(4, 5)), 20, 8
    limits = {"max_degree": most}
    bound = fiedler_upper_bound(edges, nodes, k, **limits)
    pairs = np.array(candidates(edges, nodes, limits))
    room = room_of_nodes(edges, nodes, most)
    x, Z = soft_choice(laplacian(nodes, edges), pairs, k, room, iterations=400)
    assert x.sum() <= k + 1e-9
    assert ((x >= 0) & (x <= 1)).all()
    assert (np.bincount(pairs.reshape(-1), weights=np.repeat(x, 2), minlength=nodes) <= room + 1e-9).all()
    reached = mu2(nodes, np.concatenate((edges, pairs)), np.concatenate((np.ones(len(edges)), x)))
    assert 0.9 * bound.value < reached <= bound.value + 1e-9
    np.testing.assert_allclose(Z.sum(axis=0), 0, atol=1e-12)
    assert np.trace(Z) == pytest.approx(1)
    assert np.linalg.eigvalsh(Z)[0] > -1e-12
    if most is None:
        proved = value_of_certificate(edges, nodes, k, np.linalg.cholesky(Z + 1 / nodes + 1e-12 * np.eye(nodes)))
        assert bound.mu2 - 1e-9 <= proved < 1.15 * bound.value


@pytest.mark.parametrize(
    ("graph", "k", "value"),
    [
        (nx.path_graph(5), 1, 2 - 2 * math.cos(2 * math.pi / 5)),  # a ring
        (nx.cycle_graph(16), 1, 2 - 2 * math.cos(math.pi / 8)),  # repeated: no edge raises it
        (nx.cycle_graph(16), 2, 0.4071376),
        (nx.cycle_graph(16), 4, 0.5857864),
        (nx.cycle_graph(4), 2, 4),  # complete
        (nx.empty_graph(4), 6, 4),
        (nx.empty_graph(2), 1, 2),
        (nx.complete_graph(3), 0, 3),
    ],
)
def test_greedy_edges_of_simple_graphs(graph, k, value):
    grown = greedy_edges(edges_of(graph), len(graph), k)
    assert grown.fiedler == pytest.approx(value, abs=1e-7)
    assert grown.stopped == "end"


def test_what_greedy_edges_are():
    edges = edges_of(grid(5, 6))
    grown = greedy_edges(edges, 30, 12)
    given, new = set(map(tuple, edges.tolist())), list(map(tuple, grown.added.tolist()))
    assert len(set(new) - given) == 12
    assert all(u < v for u, v in new)
    assert grown.edges.tolist() == sorted(map(list, given | set(new)))
    for count, value in enumerate(grown.trace):
        assert value == pytest.approx(mu2(30, np.concatenate((edges, grown.added[:count]))), abs=1e-10)
    assert grown.fiedler == grown.trace[-1] > 4 * grown.trace[0]
    again = greedy_edges(edges, 30, 12)
    assert np.array_equal(again.added, grown.added)


def test_the_edge_is_the_one_that_lowers_the_trace_most():
    """With so few nodes, all eigenvectors count, and inverses of whole matrices say the same."""
    nodes = greedy.VECTORS
    for seed in range(8):
        edges = edges_of(nx.gnm_random_graph(nodes, 18, seed=seed))
        values = np.linalg.eigvalsh(laplacian(nodes, edges))[1:]
        barrier = values[0] - greedy.NEAR * min(1, values[-1] - values[0])
        traces = {}
        for u, v in np.argwhere(np.triu(open_pairs(edges, nodes))).tolist():
            after = np.linalg.eigvalsh(laplacian(nodes, np.concatenate((edges, [[u, v]]))))[1:]
            traces[u, v] = (1 / (after - barrier)).sum()
        chosen = tuple(greedy_edges(edges, nodes, 1).added[0].tolist())
        assert traces[chosen] == pytest.approx(min(traces.values()), rel=1e-7)


def test_greedy_edges_keep_limits():
    edges = edges_of(grid(5, 5))
    mask = np.zeros((25, 25), dtype=bool)
    mask[:12, 12:] = True
    most = np.full(25, 4)
    most[3] = 3
    grown = greedy_edges(edges, 25, 100, allowed=mask, max_degree=most)
    assert grown.stopped == "full"
    assert (np.bincount(grown.edges.reshape(-1), minlength=25) <= most).all()
    assert all(mask[u, v] for u, v in grown.added)
    left = np.flatnonzero(np.bincount(grown.edges.reshape(-1), minlength=25) < most)
    joined = set(map(tuple, grown.edges.tolist()))
    assert not any(mask[u, v] and (u, v) not in joined for u, v in combinations(left.tolist(), 2))


@pytest.mark.parametrize("graph", [nx.cycle_graph(60), nx.path_graph(50), nx.empty_graph(40), grid(7, 8)])
def test_inverse_iteration_agrees_with_all_eigenvectors(graph, monkeypatch):
    nodes, k = len(graph), 30 + 40 * (graph.number_of_edges() == 0)
    dense = greedy_edges(edges_of(graph), nodes, k)
    monkeypatch.setattr(greedy, "DENSE", 10)
    monkeypatch.setattr(greedy, "RENEWED", 20)
    sparse = greedy_edges(edges_of(graph), nodes, k)
    assert sparse.fiedler == pytest.approx(mu2(nodes, sparse.edges), abs=1e-9)
    assert sparse.fiedler > 0.9 * dense.fiedler
    trace = [mu2(nodes, np.concatenate((edges_of(graph), sparse.added[:count]))) for count in range(k + 1)]
    np.testing.assert_allclose(sparse.trace, trace, atol=1e-4)


def test_greedy_edges_of_a_large_graph():
    edges = edges_of(nx.random_regular_graph(3, 500, seed=2))
    grown = greedy_edges(edges, 500, 30)
    assert grown.fiedler == pytest.approx(mu2(500, grown.edges), abs=1e-9)
    rng = np.random.default_rng(0)
    anywhere = np.concatenate((edges, rng.choice(np.argwhere(np.triu(open_pairs(edges, 500))), 30)))
    assert grown.fiedler - mu2(500, edges) > 3 * (mu2(500, anywhere) - mu2(500, edges))


def test_time_and_interrupts_keep_what_there_is(monkeypatch):
    edges = edges_of(nx.cycle_graph(20))
    late = greedy_edges(edges, 20, 5, deadline=time.monotonic())
    assert late.stopped == "time"
    assert late.edges.tolist() == edges.tolist()

    calls = []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return pair(*arguments)

    pair = greedy._best_pair
    monkeypatch.setattr(greedy, "_best_pair", interrupted)
    stopped = greedy_edges(edges, 20, 5)
    assert stopped.stopped == "interrupt"
    assert len(stopped.added) == 2
    assert stopped.fiedler == pytest.approx(mu2(20, stopped.edges))


@pytest.mark.parametrize(
    ("edges", "nodes", "k", "limits", "message"),
    [
        ([[0, 1]], 1, 1, {}, "at least 2 nodes, got 1"),
        ([[0, 3]], 3, 1, {}, "an edge is 0-3"),
        ([[1, 1]], 3, 1, {}, "an edge is 1-1"),
        ([[0, 1], [1, 2], [1, 0]], 3, 1, {}, "the edge 0-1 is given 2 times; expected each edge once"),
        ([[0, 1]], 3, -1, {}, "cannot be negative, got -1"),
        ([[0, 1]], 3, 1, {"allowed": [(0, 5)]}, "an allowed edge is 0-5"),
        ([[0, 1]], 3, 1, {"allowed": np.ones((2, 2), dtype=bool)}, "shape"),
        ([[0, 1], [0, 2]], 3, 1, {"max_degree": 1}, "node 0 has 2 edges already"),
        ([[0, 1]], 3, 1, {"max_degree": [1, 2]}, "one for each of the 3 nodes"),
        (NONE, 10**5, 1, {}, "at most"),
    ],
)
def test_requests_that_make_no_sense(edges, nodes, k, limits, message):
    for asked in (greedy_edges, fiedler_upper_bound):
        with pytest.raises(InputError, match=message):
            asked(np.array(edges), nodes, k, **limits)
