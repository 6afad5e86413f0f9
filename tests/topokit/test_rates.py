from itertools import product
from math import cos, pi, sqrt

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topokit.designer import design
from topokit.errors import GraphError, InputError
from topokit.metrics.acid import acid_constants, acid_constants_of
from topokit.optimal.rates import optimal_rates
from topokit.topologies.pairwise import pairwise_topology

PAW = nx.Graph([(0, 1), (1, 2), (0, 2), (2, 3)])


def mu2(nodes, edges, rates):
    L = np.zeros((nodes, nodes))
    for (u, v), w in zip(edges, rates, strict=True):
        L[[u, v], [u, v]] += w
        L[[u, v], [v, u]] -= w
    return np.linalg.eigvalsh(L)[1]


def sums(nodes, edges, rates):
    return np.bincount(np.asarray(edges).ravel(), weights=np.repeat(rates, 2), minlength=nodes)


def connected(nodes, probability, seed):
    return nx.compose(nx.gnp_random_graph(nodes, probability, seed=seed), nx.path_graph(nodes))


@pytest.mark.parametrize(
    ("graph", "rate", "value"),
    [
        (nx.path_graph(2), 1, 2),
        (nx.path_graph(3), 1 / 2, 1 / 2),
        (nx.path_graph(4), 1 / 2, (2 - sqrt(2)) / 2),
        (nx.star_graph(7), 1 / 7, 1 / 7),
        (nx.cycle_graph(9), 1 / 2, 1 - cos(2 * pi / 9)),
        (nx.complete_graph(6), 1 / 5, 6 / 5),
        (nx.complete_bipartite_graph(2, 5), 1 / 5, 2 / 5),
        (nx.petersen_graph(), 1 / 3, 2 / 3),
        (nx.convert_node_labels_to_integers(nx.hypercube_graph(4)), 1 / 4, 1 / 2),
    ],
)
@pytest.mark.parametrize("limit", [1, 0.3])
def test_where_all_edges_are_alike_or_every_node_is_busy_rates_are_equal(graph, rate, value, limit):
    best = optimal_rates(graph, limit=limit)
    np.testing.assert_allclose(best.weights, limit * rate, rtol=1e-6)
    assert best.mu2 == pytest.approx(limit * value, rel=1e-8)
    assert 0 <= best.width <= 1e-8


@pytest.mark.parametrize("seed", range(6))
def test_the_optimum_is_that_of_a_semidefinite_programme(seed):
    cp = pytest.importorskip("cvxpy")
    rng = np.random.default_rng(seed)
    nodes = 5 + seed
    graph = connected(nodes, 0.35, seed)
    limit = rng.uniform(0.3, 2, nodes)
    edges = sorted((min(e), max(e)) for e in graph.edges)
    upper = rng.uniform(0.1, 1.5, len(edges)) if seed % 2 else None
    w, t = cp.Variable(len(edges), nonneg=True), cp.Variable()
    B = np.zeros((nodes, len(edges)))
    for k, (u, v) in enumerate(edges):
        B[u, k], B[v, k] = 1, -1
    limits = [B @ cp.diag(w) @ B.T - t * (np.eye(nodes) - 1 / nodes) + 1 / nodes >> 0, np.abs(B) @ w <= limit]
    programme = cp.Problem(cp.Maximize(t), limits + ([] if upper is None else [w <= upper]))
    programme.solve(solver="CLARABEL")
    best = optimal_rates(graph, limit=limit, upper=upper)
    assert best.edges.tolist() == [list(edge) for edge in edges]
    assert best.mu2 == pytest.approx(programme.value, rel=1e-6)
    assert (sums(nodes, edges, best.weights) <= limit).all()
    assert upper is None or (best.weights <= upper).all()


def test_no_rates_on_a_grid_are_better():
    best = optimal_rates(PAW)
    edges = best.edges.tolist()
    reached = [
        mu2(4, edges, np.array(rates) / 14)
        for rates in product(range(15), repeat=4)
        if sums(4, edges, rates).max() <= 14
    ]
    assert 0.9 * best.mu2 < max(reached) <= best.bound


@given(st.integers(2, 20), st.integers(0, 10**6))
@settings(max_examples=12, deadline=None)
def test_the_rates_keep_the_limits_and_no_others_reach_the_bound(nodes, seed):
    rng = np.random.default_rng(seed)
    graph = connected(nodes, 0.3, seed)
    limit = rng.uniform(0.1, 3, nodes)
    best = optimal_rates(graph, limit=limit)
    assert best.weights.min() >= 0
    assert (sums(nodes, best.edges, best.weights) <= limit).all()
    assert best.mu2 == pytest.approx(mu2(nodes, best.edges, best.weights), rel=1e-9)
    assert best.mu2 <= best.bound <= best.mu2 * (1 + 1e-7)
    for _ in range(10):
        other = rng.exponential(size=len(best.edges)) ** 2 + rng.random() * best.weights
        other /= (sums(nodes, best.edges, other) / limit).max()
        assert mu2(nodes, best.edges, other) <= best.bound


def test_edges_bounded_by_nothing_are_left_out():
    graph = nx.cycle_graph(6)
    path = optimal_rates(nx.path_graph(6))
    upper = [1, 0, 1, 1, 1, 1]  # of the edge between 0 and 5
    best = optimal_rates(graph, upper=upper)
    assert best.edges[1].tolist() == [0, 5]
    assert best.weights[1] == 0
    assert best.mu2 == pytest.approx(path.mu2, rel=1e-8)
    tied = optimal_rates(graph, upper=upper, groups=[0, 1, 2, 2, 2, 0])
    assert tied.values[1] == 0
    assert tied.weights[0] == tied.weights[5]


def test_an_upper_bound_holds_for_the_whole_group():
    best = optimal_rates(nx.cycle_graph(4), upper=[0.1, 1, 1, 1], groups=[0, 0, 0, 0])
    np.testing.assert_allclose(best.weights, 0.1, rtol=1e-9)


def test_the_limit_of_a_group_counts_each_of_its_edges():
    graph = nx.lollipop_graph(4, 2)
    free = optimal_rates(graph)
    orbits = np.unique(free.weights.round(5), return_inverse=True)[1]
    tied = optimal_rates(graph, groups=orbits)
    assert tied.values.size < len(free.edges)
    assert tied.mu2 == pytest.approx(free.mu2, rel=1e-7)
    assert sums(6, tied.edges, tied.weights).max() <= 1


def test_time_may_run_out():
    graph = connected(30, 0.1, 1)
    some = optimal_rates(graph, time_limit=1e-9)
    assert some.iterations == 0
    best = optimal_rates(graph, time_limit=60)
    assert 0 < some.mu2 < best.mu2 <= best.bound <= some.bound
    assert sums(30, some.edges, some.weights).max() == pytest.approx(1)


def test_an_iteration_that_would_take_too_long_is_not_begun():
    # Some 6,000 rates: seconds for each iteration, on any machine more than a tenth of one.
    graph = nx.gnp_random_graph(200, 0.3, seed=1)
    some = optimal_rates(graph, time_limit=0.1)
    assert some.iterations == 0
    assert 0 < some.mu2 < some.bound < np.inf
    assert sums(200, some.edges, some.weights).max() == pytest.approx(1)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"graph": nx.empty_graph(1)}, InputError, "at least 2 nodes, got 1"),
        ({"graph": nx.Graph([(0, 1), (2, 3)])}, GraphError, "disconnected"),
        ({"limit": 0}, InputError, "limit of node 0 is 0; expected a positive number"),
        ({"limit": [1, 1, float("inf"), 1]}, InputError, "limit of node 2 is inf"),
        ({"limit": [1, 1]}, InputError, "one for each of the 4 nodes"),
        ({"limit": "often"}, InputError, "one for each of the 4 nodes, got 'often'"),
        ({"upper": [1, -1, 1]}, InputError, "rate of edge 1-2 is bounded by -1"),
        ({"upper": float("nan")}, InputError, "rate of edge 0-1 is bounded by nan"),
        ({"upper": [1, 1]}, InputError, "one for each of the 3 edges"),
        ({"upper": [1, 0, 1]}, GraphError, "without the edges whose rate is bounded by 0, the graph is disconnected"),
        ({"groups": [1, 1, 1]}, InputError, "numbered 0 to K - 1"),
        ({"tolerance": float("nan")}, InputError, "tolerance must be a positive number"),
    ],
)
def test_what_cannot_be_solved_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        optimal_rates(**{"graph": nx.path_graph(4), **arguments})


@pytest.mark.parametrize("graph", [PAW, nx.karate_club_graph(), nx.barbell_graph(4, 2), nx.balanced_tree(2, 3)])
def test_pairwise_averages_as_often_as_it_may_where_it_connects(graph):
    nodes = len(graph)
    kind = pairwise_topology(nodes, graph=graph, rate=0.5, rates="optimal")
    assert sums(nodes, kind.edges, kind.rates).max() <= 0.5 * (1 + 1e-4)
    best = optimal_rates(graph, limit=0.5)
    found = acid_constants_of(kind)
    assert found.chi1 == pytest.approx(1 / best.mu2, rel=1e-4)
    # Rates by degrees, slowed down until no node exceeds the limit.
    by_degrees = pairwise_topology(nodes, graph=graph, rate=0.5)
    rates = np.array([float(rate) for rate in by_degrees.rates])
    slowed = rates * 0.5 / sums(nodes, by_degrees.edges, rates).max()
    assert found.chi1 <= acid_constants(nodes, by_degrees.edges, slowed).chi1 * (1 + 1e-4)


@pytest.mark.parametrize("graph", [PAW, nx.karate_club_graph(), nx.barbell_graph(4, 2), nx.balanced_tree(2, 3)])
def test_pairwise_spends_the_same_in_the_mean(graph):
    nodes = len(graph)
    kind = pairwise_topology(nodes, graph=graph, rate=0.5, rates="optimal-mean")
    assert sum(kind.rates) == pytest.approx(nodes / 4, rel=1e-4)
    assert acid_constants_of(kind).chi1 < acid_constants_of(pairwise_topology(nodes, graph=graph, rate=0.5)).chi1


def test_rounded_rates_are_the_same_however_nodes_are_numbered():
    graph = nx.convert_node_labels_to_integers(nx.grid_2d_graph(4, 4))
    turned = nx.relabel_nodes(graph, dict(enumerate(np.random.default_rng(0).permutation(16).tolist())))
    rates = [sorted(pairwise_topology(16, graph=g, rates="optimal").rates) for g in (graph, turned)]
    assert rates[0] == rates[1]
    assert pairwise_topology(16, graph="ring", rates="optimal").rates == (0.5,) * 16


def test_edges_that_bring_nothing_never_fire():
    # A square with a diagonal: the diagonal takes from the rates of the sides.
    graph = nx.Graph([(0, 1), (1, 2), (2, 3), (3, 0), (0, 2)])
    kind = pairwise_topology(4, graph=graph, rates="optimal")
    assert kind.edges.tolist() == [[0, 1], [0, 3], [1, 2], [2, 3]]
    assert kind.rates == (0.5,) * 4


def test_the_default_is_by_degrees_and_leaves_no_trace():
    assert design("pairwise", 8).provenance["parameters"] == {"graph": "ring", "rate": 1.0}
    same = design("pairwise", 9, graph="path", rates="degrees")
    assert same.rule.rates == design("pairwise", 9, graph="path").rule.rates
    named = design("pairwise", 9, graph="path", rates="optimal", seed=4)
    assert named.provenance["parameters"] == {"graph": "path", "rate": 1.0, "rates": "optimal"}
    assert named.claims.chi1 == pytest.approx(1 / optimal_rates(nx.path_graph(9)).mu2, rel=1e-5)
    with pytest.raises(InputError, match="rates are degrees, optimal or optimal-mean, got 'best'"):
        design("pairwise", 9, rates="best")
