from functools import cache
from math import cos, pi

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from topokit.errors import GraphError, InputError
from topokit.optimal import central_path, connectivity, edge_products
from topokit.optimal.connectivity import fastest_mixing_process, maximal_connectivity
from topokit.optimal.connectivity_problem import ConnectivityProblem

PAW = nx.Graph([(0, 1), (1, 2), (0, 2), (2, 3)])


def connected(nodes, probability, seed):
    return nx.compose(nx.gnp_random_graph(nodes, probability, seed=seed), nx.path_graph(nodes))


def laplacian(nodes, edges, weights):
    L = np.zeros((nodes, nodes))
    for (u, v), w in zip(edges, weights, strict=True):
        L[[u, v], [u, v]] += w
        L[[u, v], [v, u]] -= w
    return L


def mu2(nodes, edges, weights):
    return np.linalg.eigvalsh(laplacian(nodes, edges, weights))[1]


def random_problem(nodes, seed, rows=4):
    """Groups of edges within random limits, the first of which is one to all of them."""
    rng = np.random.default_rng(seed)
    edges = np.array(sorted((min(e), max(e)) for e in connected(nodes, 0.4, seed).edges))
    count = int(rng.integers(1, len(edges) + 1))
    groups = rng.permutation(np.concatenate((np.arange(count), rng.integers(0, count, len(edges) - count))))
    limits = rng.uniform(0.1, 3, (rows, count)) * (rng.random((rows, count)) < 0.5)
    limits[0] = rng.uniform(0.1, 3, count)
    return ConnectivityProblem(nodes, edges, sparse.csr_array(limits), rng.uniform(0.5, 2, rows), groups)


def by_cvxpy(problem):
    """The largest connectivity as a semidefinite programme."""
    import cvxpy as cp

    x, t = cp.Variable(problem.count, nonneg=True), cp.Variable()
    n = problem.nodes
    Ls = [laplacian(n, problem.edges, (problem.groups == k).astype(float)) for k in range(problem.count)]
    S = sum(x[k] * L for k, L in enumerate(Ls)) - t * (np.eye(n) - 1 / n) + 1 / n
    programme = cp.Problem(cp.Maximize(t), [S >> 0, problem.limits @ x <= problem.bounds])
    programme.solve(solver="CLARABEL")
    return programme.value


@pytest.mark.parametrize(
    ("graph", "weights", "value"),
    [
        (nx.path_graph(4), [0.9, 1.2, 0.9], 0.6),
        (nx.path_graph(5), [0.8, 1.2, 1.2, 0.8], 0.4),
        (nx.star_graph(4), [1] * 4, 1),
        (nx.cycle_graph(6), [1] * 6, 1),
        (nx.cycle_graph(7), [1] * 7, 2 - 2 * cos(2 * pi / 7)),
        (nx.complete_graph(6), [1] * 15, 6),
        (nx.petersen_graph(), [1] * 15, 2),
        (nx.convert_node_labels_to_integers(nx.hypercube_graph(4)), [1] * 32, 2),
        (PAW, None, 1.395661),
    ],
)
def test_the_absolute_algebraic_connectivity(graph, weights, value):
    best = fastest_mixing_process(graph, budget=graph.number_of_edges())
    assert best.mu2 == pytest.approx(value, abs=5e-7)
    assert 0 <= best.width <= 1e-8
    if weights is not None:
        np.testing.assert_allclose(best.weights, weights, rtol=1e-6)
    assert best.mu2 == pytest.approx(mu2(len(graph), best.edges, best.weights), rel=1e-10)


def farthest(tree):
    """The least sum of squared distances to a point of a tree, on whichever of its edges (Fiedler 1990)."""
    distance = dict(nx.all_pairs_dijkstra_path_length(tree, weight="length"))
    least = np.inf
    for u, v, length in tree.edges(data="length"):
        near_u = np.array([distance[u][w] for w in tree])
        near_v = np.array([distance[v][w] for w in tree])
        side = np.where(near_u < near_v, 1, -1)
        near = np.minimum(near_u, near_v + length * (side < 0))
        # At a distance a from u: near_u + a on the side of u, near_v + length - a on the other.
        base = np.where(side > 0, near_u, near_v + length)
        a = np.clip(-(side * base).mean(), 0, length)
        assert (near <= base + 1e-12).all()
        least = min(least, ((base + side * a) ** 2).sum())
    return least


@pytest.mark.parametrize("seed", range(8))
def test_trees_have_the_connectivity_that_their_distances_say(seed):
    rng = np.random.default_rng(seed)
    nodes = int(rng.integers(3, 30))
    tree = nx.Graph((int(rng.integers(0, v)), v) for v in range(1, nodes))
    edges = sorted((min(e), max(e)) for e in tree.edges)
    lengths = rng.uniform(0.5, 2, len(edges))
    tree.add_edges_from((u, v, {"length": length}) for (u, v), length in zip(edges, lengths, strict=True))
    best = fastest_mixing_process(tree, costs=lengths**2, budget=3)
    assert best.mu2 == pytest.approx(3 / farthest(tree), rel=1e-7)
    assert best.width <= 1e-8


@pytest.mark.parametrize("seed", range(4))
def test_the_dual_is_the_unfolding_of_largest_variance(seed):
    cp = pytest.importorskip("cvxpy")
    rng = np.random.default_rng(seed)
    graph = connected(9, 0.3, seed)
    edges = sorted((min(e), max(e)) for e in graph.edges)
    costs = rng.uniform(0.2, 3, len(edges))
    X = cp.Variable((9, 9), PSD=True)
    apart = [X[u, u] + X[v, v] - 2 * X[u, v] <= c for (u, v), c in zip(edges, costs, strict=True)]
    programme = cp.Problem(cp.Maximize(cp.trace(X)), [cp.sum(X) == 0, *apart])
    programme.solve(solver="CLARABEL")
    best = fastest_mixing_process(graph, costs=costs, budget=2)
    assert best.mu2 == pytest.approx(2 / programme.value, rel=1e-6)
    assert best.edges.tolist() == [list(edge) for edge in edges]
    assert costs @ best.weights <= 2


@pytest.mark.parametrize("seed", range(8))
def test_any_limits_are_solved_as_by_cvxpy(seed):
    pytest.importorskip("cvxpy")
    problem = random_problem(5 + seed, seed)
    best = maximal_connectivity(problem)
    assert best.mu2 == pytest.approx(by_cvxpy(problem), rel=1e-6)
    assert best.width <= 1e-8


@given(st.integers(2, 14), st.integers(0, 10**6))
@settings(max_examples=15, deadline=None)
def test_the_values_keep_the_limits_and_no_others_reach_the_bound(nodes, seed):
    problem = random_problem(nodes, seed)
    best = maximal_connectivity(problem)
    assert best.values.min() >= 0
    assert (problem.limits @ best.values <= problem.bounds).all()
    assert best.mu2 == pytest.approx(mu2(nodes, problem.edges, best.weights), rel=1e-9)
    assert best.mu2 <= best.bound <= best.mu2 * (1 + 1e-7)
    rng = np.random.default_rng(seed)
    for _ in range(10):
        other = rng.exponential(size=problem.count) ** 2 * (best.values + rng.random())
        other /= (problem.limits @ other / problem.bounds).max()
        assert mu2(nodes, problem.edges, other[problem.groups]) <= best.bound


@cache
def solved(nodes, seed):
    problem = random_problem(nodes, seed)
    return problem, maximal_connectivity(problem).mu2


@given(st.integers(2, 9), st.integers(0, 10**6), st.floats(0, 1))
@settings(max_examples=100, deadline=None)
def test_whatever_the_dual_point_its_bound_holds(nodes, seed, part):
    problem, best = solved(nodes, seed % 3)
    rng = np.random.default_rng(seed)
    factor = rng.standard_normal((nodes, rng.integers(1, nodes + 1)))
    prices = rng.normal(part, 1, problem.bounds.size) * 10 ** rng.uniform(-3, 3)
    assert problem.bound(factor, prices) >= best * (1 - 1e-9)
    assert problem.bound(factor, np.zeros(problem.bounds.size)) >= best * (1 - 1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_every_step_of_the_path_lies_between_its_bounds(seed):
    problem = random_problem(9, seed)
    found = maximal_connectivity(problem, tolerance=1e-10)
    best = found.mu2
    assert mu2(9, problem.edges, found.weights) == pytest.approx(best, rel=1e-11)
    path, widths = central_path.CentralPath(problem), []
    for _ in range(30):
        assert (problem.limits @ path.x < problem.bounds).all()
        assert path.x.min() > 0
        assert path.t <= best * (1 + 1e-9)
        assert path.bound >= best * (1 - 1e-12)
        widths.append(path.bound - path.t)
        if widths[-1] < 1e-8 * best or not path.advance():
            break
    assert widths[-1] < 1e-8 * best
    before = path.x @ path.y, path.s @ path.p
    assert path.centre()
    # All products are the same then.
    np.testing.assert_allclose(path.x * path.y, path.x @ path.y / path.x.size, rtol=0.3)
    assert path.x @ path.y + path.s @ path.p < 10 * sum(before)


def test_a_factor_without_differences_proves_nothing():
    problem = random_problem(5, 1)
    assert problem.bound(np.ones((5, 2)), np.ones(4)) == np.inf


def test_time_may_run_out_at_any_moment():
    graph = connected(40, 0.1, 3)
    bounds, values = [], []
    for limit in (1e-9, 1e-3, 5e-3, 60):
        some = fastest_mixing_process(graph, time_limit=limit)
        assert 0 < some.mu2 <= some.bound
        assert some.weights.sum() == pytest.approx(1)
        bounds.append(some.bound)
        values.append(some.mu2)
    assert max(values) <= min(bounds)
    assert fastest_mixing_process(graph, time_limit=1e-9).iterations == 0
    assert some.width <= 1e-8


def test_a_rough_answer_takes_less():
    graph = connected(30, 0.1, 3)
    rough, fine = (fastest_mixing_process(graph, tolerance=tolerance) for tolerance in (1e-2, 1e-8))
    assert rough.iterations < fine.iterations
    assert rough.mu2 <= fine.mu2 <= rough.bound <= rough.mu2 * 1.01


@pytest.mark.parametrize(
    "graph",
    [
        nx.convert_node_labels_to_integers(nx.grid_2d_graph(3, 4)),
        nx.barbell_graph(4, 1),
        nx.wheel_graph(8),
        nx.circular_ladder_graph(5),
    ],
)
def test_edges_that_a_symmetry_interchanges_get_the_same(graph):
    best = fastest_mixing_process(graph)
    place = {tuple(edge): k for k, edge in enumerate(best.edges.tolist())}
    symmetries = nx.isomorphism.GraphMatcher(graph, graph).isomorphisms_iter()
    for turned, _ in zip(symmetries, range(50), strict=False):
        images = [place[min(turned[u], turned[v]), max(turned[u], turned[v])] for u, v in best.edges.tolist()]
        np.testing.assert_allclose(best.weights[images], best.weights, atol=1e-6 * best.weights.max())


def test_the_choice_is_central_where_several_are_optimal():
    # A limit that is never reached leaves the second group of a doubled edge as good as the first.
    edges = np.array([[0, 1], [1, 2], [0, 1]])
    limits = sparse.csr_array(np.ones((1, 3)))
    best = maximal_connectivity(ConnectivityProblem(3, edges, limits, np.array([2.0]), np.arange(3)))
    np.testing.assert_allclose(best.values, [0.5, 1, 0.5], atol=1e-6)
    assert best.mu2 == pytest.approx(1, rel=1e-8)


def test_edges_of_a_group_have_one_weight():
    graph = nx.barbell_graph(5, 2)
    m = graph.number_of_edges()
    single = fastest_mixing_process(graph, budget=m, groups=np.zeros(m, dtype=np.int64))
    assert single.mu2 == pytest.approx(nx.laplacian_spectrum(graph, weight=None)[1], rel=1e-8)
    free = fastest_mixing_process(graph, budget=m)
    orbits = np.unique(free.weights.round(5), return_inverse=True)[1]
    tied = fastest_mixing_process(graph, budget=m, groups=orbits)
    assert tied.values.size < m / 2
    np.testing.assert_allclose(tied.weights, free.weights, atol=1e-5)
    assert tied.mu2 == pytest.approx(free.mu2, rel=1e-8)


def test_graphs_of_some_hundred_nodes():
    torus = nx.convert_node_labels_to_integers(nx.grid_2d_graph(14, 14, periodic=True))
    best = fastest_mixing_process(torus, budget=392)
    np.testing.assert_allclose(best.weights, 1, atol=1e-5)
    assert best.mu2 == pytest.approx(2 - 2 * cos(2 * pi / 14), rel=1e-8)
    assert best.iterations <= 20


def test_long_paths_are_solved_as_far_as_rounding_errors_let_them():
    # Weights k (n - k), and mu_2 = (n - 1) / sum of squared distances to the middle.
    n = 201
    best = fastest_mixing_process(nx.path_graph(n), budget=n - 1)
    assert best.mu2 == pytest.approx((n - 1) / (2 * sum(k * k for k in range(101))), rel=1e-7)
    assert best.width <= 1e-7


def test_a_graph_is_an_adjacency_matrix_as_well():
    graph = connected(12, 0.2, 5)
    values = [fastest_mixing_process(form).mu2 for form in (graph, nx.to_scipy_sparse_array(graph, nodelist=range(12)))]
    assert values[0] == values[1]


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("nodes", [6, 30])
def test_the_linear_system_is_what_its_definition_says(nodes, tied, monkeypatch):
    monkeypatch.setattr(edge_products, "BLOCK", 7)
    monkeypatch.setattr(edge_products, "TIED_BLOCK", 5)
    monkeypatch.setattr(edge_products, "GATHERED", 0)
    rng = np.random.default_rng(nodes)
    edges = np.array(connected(nodes, 0.3, 1).edges)
    m = len(edges)
    groups = rng.permutation(np.arange(m) % 4 if tied else np.arange(m))
    count = int(groups.max()) + 1
    problem = ConnectivityProblem(nodes, edges, sparse.csr_array(np.ones((1, count))), np.ones(1), groups)
    X, Y, Z = rng.standard_normal((3, nodes, nodes))
    X, Y = X + X.T, Y + Y.T
    Ls = [laplacian(nodes, edges, (groups == k).astype(float)) for k in range(count)]
    expected = np.array([[np.trace(K @ X @ L @ Y) for L in Ls] for K in Ls])
    np.testing.assert_allclose(edge_products.congruences(problem, X, Y), expected, atol=1e-9)
    np.testing.assert_allclose(edge_products.by_products(problem, X, Y), expected, atol=1e-9)
    worth = [np.trace(L @ X @ Z) for L in Ls]
    np.testing.assert_allclose(edge_products.worth_of_product(problem, X, Z.T), worth, atol=1e-9)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"graph": nx.empty_graph(1)}, InputError, "at least 2 nodes, got 1"),
        ({"graph": nx.Graph([(0, 1), (2, 3)])}, GraphError, "disconnected"),
        ({"graph": nx.DiGraph([(0, 1), (1, 0)])}, GraphError, "undirected graph"),
        ({"budget": 0}, InputError, "budget must be a positive number, got 0"),
        ({"budget": float("inf")}, InputError, "budget must be a positive number"),
        ({"costs": [1, 0, 1]}, InputError, "cost of edge 1-2 is 0; expected a positive number"),
        ({"costs": [1, 2]}, InputError, "one for each of the 3 edges"),
        ({"costs": "cheap"}, InputError, "one for each of the 3 edges, got 'cheap'"),
        ({"groups": [0, 1]}, InputError, "one whole number for each of the 3 edges"),
        ({"groups": [0, 2, 2]}, InputError, "numbered 0 to K - 1"),
        ({"groups": [0.0, 1.0, 1.0]}, InputError, "one whole number"),
        ({"tolerance": 0}, InputError, "tolerance must be a positive number, got 0"),
        ({"time_limit": -1}, InputError, "time limit must be a positive number of seconds, got -1"),
    ],
)
def test_what_cannot_be_solved_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        fastest_mixing_process(**{"graph": nx.path_graph(4), **arguments})


def test_what_is_too_large_is_refused(monkeypatch):
    monkeypatch.setattr(connectivity, "MEMORY", 8 * (12 * 10**2 + 4 * 20**2))
    fastest_mixing_process(nx.path_graph(10))
    with pytest.raises(InputError, match=r"of 12 nodes with 30 different weights would take .* GB: .* by groups"):
        fastest_mixing_process(nx.icosahedral_graph())


@pytest.mark.parametrize(
    ("limits", "bounds", "groups", "message"),
    [
        ([[1, -1]], [1], [0, 1], "an entry of the limits is negative or no number"),
        ([[1, np.inf]], [1], [0, 1], "an entry of the limits is negative or no number"),
        ([[1, 1]], [-1], [0, 1], "a bound is negative or no number"),
        ([[1, 1]], [0], [0, 1], "a bound is 0"),
        ([[1, 0]], [1], [0, 1], "group 1 of edges has no limit"),
        ([[1, 1]], [1], [0, 0], "a group has no edges"),
        ([[1, 1]], [1], [0, 2], "each of the 2 edges belongs to one of the groups 0 to 1"),
        ([[1, 1]], [1], [0], "each of the 2 edges belongs to one of the groups 0 to 1"),
        ([[1, 1]], [1, 1], [0, 1], "there are 1 limits and 2 bounds"),
    ],
)
def test_problems_that_are_none_are_refused(limits, bounds, groups, message):
    with pytest.raises(InputError, match=message):
        ConnectivityProblem(
            3,
            np.array([[0, 1], [1, 2]]),
            sparse.csr_array(np.array(limits, dtype=np.float64)),
            np.array(bounds, dtype=np.float64),
            np.array(groups),
        )


@pytest.mark.parametrize("edges", [[[0, 1], [1, 3]], [[0, -1], [1, 2]], [[0, 1], [2, 2]]])
def test_edges_that_are_none_are_refused(edges):
    with pytest.raises(InputError, match="edges join two of the nodes 0 to 2"):
        ConnectivityProblem(3, np.array(edges), sparse.csr_array(np.ones((1, 2))), np.ones(1), np.arange(2))


def test_the_square_with_a_diagonal_is_solved_by_hand():
    # By symmetry s on the sides, d on the diagonal 0-2: eigenvalues 2s, 2s + 2d and 4s, so that d = 0.
    best = fastest_mixing_process(nx.Graph([(0, 1), (1, 2), (2, 3), (3, 0), (0, 2)]), budget=4)
    assert best.mu2 == pytest.approx(2, rel=1e-8)
    assert best.weights[best.edges.tolist().index([0, 2])] == pytest.approx(0, abs=1e-7)
