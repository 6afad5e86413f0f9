from functools import cache

import networkx as nx
import numpy as np
import pytest

from topokit.errors import InputError
from topokit.learned.bounds.linear_bound import Family, estimated_excess, excludes
from topokit.learned.bounds.lower import (
    OBJECTIVES,
    ball_slem,
    lower_bound,
    moore_diameter,
    ramanujan_cost,
    ramanujan_slem,
)
from topokit.optimal import optimal_weights

ROUNDING = 1e-9
UNIFORM = ("laplacian", "metropolis-hastings", "fiedler", "eigenratio", "mixing-time")


def costs(graph):
    """What a graph costs, from dense matrices."""
    L = nx.laplacian_matrix(graph, nodelist=sorted(graph)).toarray().astype(float)
    values = np.linalg.eigvalsh(L)
    low, high, degree = values[1], values[-1], np.diag(L)
    slem = (high - low) / (high + low)
    W = np.where(L < 0, 1 / (1 + np.maximum.outer(degree, degree)), 0)
    W += np.diag(1 - W.sum(axis=1))
    hastings = np.abs(np.linalg.eigvalsh(W - 1 / len(W))).max()
    return {
        "laplacian": slem,
        "metropolis-hastings": hastings,
        "fiedler": -low,
        "eigenratio": high / low,
        "mixing-time": 1 / (1 - slem**2),
    }


@cache
def small_graphs():
    return [graph for graph in nx.graph_atlas_g() if len(graph) >= 2 and nx.is_connected(graph)]


def limits(graph):
    degrees = [degree for _, degree in graph.degree]
    return len(graph), max(degrees), graph.number_of_edges(), min(degrees) == max(degrees)


def paley(prime):
    squares = {x * x % prime for x in range(1, prime)}
    return nx.circulant_graph(prime, sorted(squares))


KNOWN = {
    "Petersen": nx.petersen_graph(),
    "K33": nx.complete_bipartite_graph(3, 3),
    "K7": nx.complete_graph(7),
    "Hoffman-Singleton": nx.hoffman_singleton_graph(),
    "Heawood": nx.heawood_graph(),
    "Tutte-Coxeter": nx.LCF_graph(30, [-13, -9, 7, -7, 9, 13], 5),
    "Paley": paley(13),
    "ring": nx.cycle_graph(11),
    "random, 200": nx.random_regular_graph(3, 200, seed=1),
}
LONG = ("Heawood", "Tutte-Coxeter", "Paley", "random, 200")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in LONG else name for name in KNOWN]
)
def test_no_known_regular_graph_beats_the_bounds(name):
    nodes, degree, edges, _ = limits(KNOWN[name])
    for objective, cost in costs(KNOWN[name]).items():
        for regular in (True, False):
            bound = lower_bound(objective, nodes, degree=degree, edges=edges, regular=regular)
            assert bound.cost <= cost + ROUNDING, (objective, bound)


def test_no_small_graph_beats_the_bounds():
    best = {}
    for graph in small_graphs():
        nodes, degree, edges, regular = limits(graph)
        for objective, cost in costs(graph).items():
            for key in ((nodes, degree, edges, False), (nodes, None, edges, False), (nodes, degree, None, False)):
                best[objective, *key] = min(best.get((objective, *key), np.inf), cost)
            if regular:
                key = objective, nodes, degree, None, True
                best[key] = min(best.get(key, np.inf), cost)
    assert len(best) > 800
    for k, ((objective, nodes, degree, edges, regular), cost) in enumerate(best.items()):
        if objective == "fiedler" and not regular and k % 7:
            continue  # it takes a while, and other tests look at the eigenvalues of each graph
        bound = lower_bound(objective, nodes, degree=degree, edges=edges, regular=regular)
        assert bound.cost <= cost + ROUNDING, bound


def test_no_optimal_weights_beat_the_bounds():
    graphs = [*small_graphs()[::60], KNOWN["Petersen"], nx.star_graph(8), nx.complete_bipartite_graph(2, 7)]
    for graph in graphs:
        nodes, degree, edges, regular = limits(graph)
        for objective in ("fdla", "fmmc"):
            slem = optimal_weights(graph, objective).slem
            assert lower_bound(objective, nodes, degree=degree, edges=edges, regular=regular).cost <= slem + ROUNDING


@pytest.mark.parametrize(
    ("name", "objective", "cost"),
    [
        ("Petersen", "laplacian", 3 / 7),
        ("Petersen", "fiedler", -2),
        ("Petersen", "metropolis-hastings", 1 / 2),
        ("Petersen", "eigenratio", 5 / 2),
        ("Petersen", "mixing-time", 49 / 40),
        ("Hoffman-Singleton", "fiedler", -5),
        ("Hoffman-Singleton", "laplacian", 1 / 3),
        ("Heawood", "fiedler", -3 + np.sqrt(2)),
        ("Tutte-Coxeter", "fiedler", -1),
        ("K33", "fiedler", -3),
        ("K7", "laplacian", 0),
        ("K7", "fiedler", -7),
        ("ring", "laplacian", None),
        ("ring", "metropolis-hastings", None),
    ],
)
def test_bounds_that_graphs_reach(name, objective, cost):
    nodes, degree, _, _ = limits(KNOWN[name])
    reached = costs(KNOWN[name])[objective]
    if cost is not None:
        assert reached == pytest.approx(cost, abs=1e-9)
    bound = lower_bound(objective, nodes, degree=degree, regular=True)
    assert bound.cost == pytest.approx(reached, abs=2e-5)


def test_most_edges_that_graphs_reach():
    for nodes, edges, most in ((5, 6, 2), (5, 8, 3), (6, 9, 3), (6, 12, 4), (7, 12, 3)):
        assert lower_bound("fiedler", nodes, edges=edges).cost == -most


@pytest.mark.parametrize(
    ("degree", "low", "high", "nodes"),
    [
        (3, -2, 1, 10),
        (7, -3, 2, 50),
        (3, -3, 2**0.5, 14),
        (3, -3, 2, 30),
        (4, -2, 1, 9),
        (6, -(1 + 13**0.5) / 2, (13**0.5 - 1) / 2, 13),
    ],
)
def test_nodes_of_graphs_that_are_unique(degree, low, high, nodes):
    family = Family(nodes, degree, terms=10)
    assert estimated_excess(family, low, high, 12) == pytest.approx(0, abs=1e-3)
    assert not excludes(family, low, high)
    assert excludes(Family(nodes + 1, degree, terms=10), low, high)


def test_the_bound_on_nodes_by_a_fine_grid():
    """The same linear programme, on a grid: it allows a little less."""
    from scipy.optimize import linprog

    rng = np.random.default_rng(5)
    for degree in (3, 4, 8):
        for _ in range(4):
            high = 2 * np.sqrt(degree - 1) * rng.uniform(0.5, 0.85)
            low = -high * rng.uniform(0.9, 1.2)
            x = np.append(np.linspace(low, high, 1500), degree)
            F = [np.ones_like(x), x, x**2 - degree]
            for _ in range(5):
                F.append(x * F[-1] - (degree - 1) * F[-2])
            F = np.array(F).T * (degree - 1.0) ** (-np.arange(8) / 2)
            free = [(None, None)] * 2 + [(0, None)] * 5
            found = linprog(F[-1, 1:], F[:-1, 1:], -np.ones(1500), bounds=free)
            family = Family(100, degree, terms=7)
            most = estimated_excess(family, low, high, 12)
            assert 100 * np.exp(most) == pytest.approx(1 + found.fun, rel=1e-4)
            assert estimated_excess(family, low, high) <= most + 1e-9
            assert estimated_excess(Family(100, degree, loops=0.0, terms=7), low, high, 12) >= most - 1e-6
            for nodes in range(degree + 2, 40):
                if abs(nodes / (1 + found.fun) - 1) > 1e-3:
                    assert excludes(Family(nodes, degree, terms=7), low, high) == (nodes > 1 + found.fun)


def test_no_graph_has_eigenvalues_in_an_interval_that_is_excluded():
    for graph in [*small_graphs()[::9], *KNOWN.values()]:
        nodes, largest, edges, regular = limits(graph)
        mu = np.linalg.eigvalsh(nx.laplacian_matrix(graph).toarray())
        for degree in (max(largest, 3), largest + 2):
            low, high = degree - mu[-1], degree - mu[1]
            assert not excludes(Family(nodes, degree, loops=degree - 2 * edges / nodes, terms=8), low, high)
            if regular and degree == largest < nodes - 1:
                assert not excludes(Family(nodes, degree, terms=8), low, high)


def test_walks_that_never_go_straight_back():
    """Their numbers in graphs made regular by loops, one by one, and by polynomials."""
    for graph in (nx.star_graph(3), nx.lollipop_graph(3, 2), nx.path_graph(4)):
        nodes, degree = len(graph), 4
        arcs = [(u, v, k) for k, (u, v) in enumerate(graph.edges)]
        arcs += [(v, u, k) for u, v, k in arcs]
        for node, own in graph.degree:
            arcs += [(node, node, len(arcs) + j) for j in range(degree - own)]
        A = degree * np.eye(nodes) - nx.laplacian_matrix(graph, nodelist=range(nodes)).toarray()
        F = [np.eye(nodes), A, A @ A - degree * np.eye(nodes)]
        walks = [[arc] for arc in arcs]
        for length in range(1, 5):
            counted = np.zeros((nodes, nodes))
            for walk in walks:
                counted[walk[0][0], walk[-1][1]] += 1
            np.testing.assert_allclose(counted, F[length], atol=1e-9)
            walks = [[*w, arc] for w in walks for arc in arcs if arc[0] == w[-1][1] and arc[2] != w[-1][2]]
            if length >= 2:
                F.append(A @ F[-1] - (degree - 1) * F[-2])
        loops = degree - 2 * graph.number_of_edges() / nodes
        whole = int(loops)
        assert np.trace(F[1]) == pytest.approx(nodes * loops)
        assert np.trace(F[2]) >= nodes * (whole * (whole - 1) + 2 * whole * (loops - whole)) - 1e-9


@pytest.mark.slow
def test_the_linear_bound_of_irregular_graphs_is_no_weaker_than_others():
    for nodes, degree in ((10, 3), (64, 4)):
        loose, tight = (lower_bound("fiedler", nodes, degree=degree, regular=regular) for regular in (False, True))
        assert loose.name == "linear programming"
        assert loose.cost <= tight.cost + 1e-6
        fewer = lower_bound("fiedler", nodes, degree=degree, edges=nodes * degree // 2 - nodes // 4)
        assert fewer.cost > loose.cost + 1e-3


def test_balls():
    assert ball_slem(10, degree=9) == 0
    # Squares of cubic weights on 10 nodes sum to 10/4 at least.
    assert ball_slem(10, degree=3) == pytest.approx(np.sqrt(1.5 / 9))
    assert ball_slem(10, edges=9) == pytest.approx(np.sqrt((2 / 2 + 8 / 3 - 1) / 9))
    for degree in (3, 4, 8):
        slems = [ball_slem(10**power, degree=degree) for power in (2, 4, 8, 16, 32, 64)]
        assert slems == sorted(slems)
        assert 0.99 < slems[-1] / ramanujan_slem(degree) < 1
    assert ball_slem(1000, degree=4, edges=1500) > ball_slem(1000, degree=4)


def test_moore_diameters_of_moore_graphs():
    for graph in (KNOWN["Petersen"], KNOWN["Hoffman-Singleton"], KNOWN["K7"], KNOWN["ring"]):
        nodes, degree, _, _ = limits(graph)
        assert moore_diameter(nodes, degree) == nx.diameter(graph)
    for graph in small_graphs():
        nodes, degree, _, _ = limits(graph)
        assert moore_diameter(nodes, degree) <= nx.diameter(graph)


def test_ramanujan_costs():
    # The 6-regular Paley graph is none, and a hypothetical graph that reaches both ends costs the same by all formulas.
    slem = ramanujan_slem(5)
    assert slem == 4 / 5
    low, high = 1, 9
    assert ramanujan_cost("fiedler", 5) == pytest.approx(-low)
    assert ramanujan_cost("eigenratio", 5) == pytest.approx(high / low)
    assert ramanujan_cost("metropolis-hastings", 5) == pytest.approx(5 / 6)
    assert ramanujan_cost("mixing-time", 5) == pytest.approx(1 / (1 - 0.64))
    assert ramanujan_cost("fdla", 5) == slem


def test_all_objectives_have_a_bound():
    for objective in OBJECTIVES:
        bound = lower_bound(objective, 1000, degree=4)
        assert bound.cost > lower_bound(objective, 1000).cost


@pytest.mark.parametrize(
    ("objective", "nodes", "limits", "message"),
    [
        ("speed", 5, {}, "no objective 'speed'"),
        ("fdla", 1, {}, "at least 2 nodes"),
        ("fdla", 5, {"degree": 1}, "no degree above 1"),
        ("fdla", 5, {"edges": 3}, "it takes 4"),
        ("fdla", 5, {"degree": 3, "regular": True}, "no regular graph of degree 3 on 5 nodes"),
        ("fdla", 5, {"regular": True}, "no regular graph"),
    ],
)
def test_limits_that_no_graph_keeps(objective, nodes, limits, message):
    with pytest.raises(InputError, match=message):
        lower_bound(objective, nodes, **limits)
