"""The method for large graphs against closed forms, re-solved oracles, and its own promises about every iterate."""

import inspect
from itertools import islice
from math import cos, pi, sqrt

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_sdp import smallest_slem
from weight_oracles import cut_grid, small_example

from topokit.errors import GraphError, InputError
from topokit.optimal import augmented
from topokit.optimal.augmented import Multipliers, common_level, mean_multipliers
from topokit.optimal.certificate import Certificate, width
from topokit.optimal.extremes import Operator, TopBlock
from topokit.optimal.first_order import first_order
from topokit.optimal.problem import WeightProblem, weight_problem
from topokit.optimal.repair import Repair
from topokit.optimal.starts import simple_weights


def numbered(graph):
    return nx.convert_node_labels_to_integers(nx.Graph(graph.edges()))


def true_slem(problem, weights):
    eigenvalues = np.linalg.eigvalsh(problem.laplacian(weights))
    return max(1 - eigenvalues[1], eigenvalues[-1] - 1)


def solve(problem, target=1e-4, steps=2000, **settings):
    for iterate in islice(first_order(problem, **settings), steps):
        if width(iterate.upper, iterate.lower) <= target:
            break
    return iterate


def two_cliques(n):
    graph = nx.disjoint_union(nx.complete_graph(n), nx.complete_graph(n))
    graph.add_edge(0, n)
    return graph


def ring(n):
    c, h = cos(2 * pi / n), cos(pi / n)
    return (1 + c) / (3 - c) if n % 2 == 0 else (c + h) / (2 - c + h)


ORACLES = [  # graph, FDLA, FMMC
    ("8 nodes", small_example(), 0.6433314028, 0.6809606766),
    ("cut grid", cut_grid(), 0.9882918849, 0.9888261614),
    ("ring 12", nx.cycle_graph(12), ring(12), ring(12)),
    ("ring 17", nx.cycle_graph(17), ring(17), ring(17)),
    ("path 9", nx.path_graph(9), cos(pi / 9), cos(pi / 9)),
    ("star 6", nx.star_graph(6), 6 / 8, 5 / 6),
    ("complete 7", nx.complete_graph(7), 0.0, 0.0),
    ("hypercube 16", numbered(nx.hypercube_graph(4)), 3 / 5, 3 / 5),
    ("Petersen", nx.petersen_graph(), 3 / 7, 3 / 7),
    ("dodecahedron", nx.dodecahedral_graph(), sqrt(5) / 3, sqrt(5) / 3),
    ("K_{2,3}", nx.complete_bipartite_graph(2, 3), 3 / 7, 3 / 7),
    ("two K_4", two_cliques(4), sqrt(3 / 4), (8 + 12 * sqrt(2)) / 28),
    ("bowtie", nx.Graph([(0, 1), (1, 2), (2, 0), (2, 3), (3, 4), (4, 2)]), 2 / 3, 3 / 4),
    ("paw", nx.Graph([(0, 1), (1, 2), (2, 0), (2, 3)]), 1 / sqrt(3), 7 / 11),
    ("grid 4 x 4", numbered(nx.grid_2d_graph(4, 4)), 0.824388643, 0.824388643),
    ("karate club", nx.Graph(nx.karate_club_graph().edges()), 0.924588622, 0.953552320),
    ("random 4-regular 50", nx.random_regular_graph(4, 50, seed=1), 0.7730764, 0.7793277),
    ("random 4-regular 100", nx.random_regular_graph(4, 100, seed=1), 0.7961420, 0.8018681),
]


@pytest.mark.parametrize(("graph", "fdla", "fmmc"), [row[1:] for row in ORACLES], ids=[row[0] for row in ORACLES])
@pytest.mark.parametrize("objective", ["fdla", "fmmc"])
def test_reaches_what_is_known(graph, fdla, fmmc, objective):
    optimum = fdla if objective == "fdla" else fmmc
    problem = weight_problem(graph, objective)
    found = solve(problem, 3e-4)
    assert width(found.upper, found.lower) <= 3e-4
    assert found.lower - 1e-7 <= optimum <= found.upper + 1e-7
    assert found.upper == pytest.approx(true_slem(problem, found.weights), abs=1e-9)
    # It was found with a larger SLEM in hand, and is no smaller with this one.
    assert found.lower - 1e-9 <= found.certificate().bound(found.upper) <= optimum + 1e-7


@pytest.mark.parametrize("objective", ["fdla", "fmmc"])
def test_filters_find_what_whole_decompositions_find(objective, monkeypatch):
    problem = weight_problem(nx.random_regular_graph(4, 90, seed=3), objective)
    whole = solve(problem)
    monkeypatch.setattr(augmented, "DENSE", 0)
    filtered = solve(problem)
    assert width(filtered.upper, filtered.lower) <= 1e-4
    assert filtered.lower <= whole.upper
    assert whole.lower <= filtered.upper
    assert filtered.upper == pytest.approx(whole.upper, abs=3e-5)


@pytest.mark.parametrize("objective", ["fdla", "fmmc"])
@pytest.mark.parametrize("dense", [0, 1000])
def test_every_iterate_keeps_its_promises(objective, dense, monkeypatch):
    monkeypatch.setattr(augmented, "DENSE", dense)
    graph = numbered(nx.grid_2d_graph(7, 9))
    problem = weight_problem(graph, objective)
    optimum = solve(problem, 1e-5, 3000)
    assert width(optimum.upper, optimum.lower) <= 1e-5
    upper, lower = simple_weights(problem)[1], 0.0
    for iterate in islice(first_order(problem, seed=5), 60):
        assert problem.excess(iterate.weights) <= 1e-12
        assert iterate.upper <= upper + 1e-12
        assert iterate.lower >= lower
        assert iterate.lower <= optimum.upper
        assert true_slem(problem, iterate.weights) <= iterate.upper + 1e-10
        upper, lower = iterate.upper, iterate.lower
    assert upper < simple_weights(problem)[1] - 1e-3


@given(st.integers(4, 9), st.integers(0, 10**6), st.sampled_from(["fdla", "fmmc"]))
@settings(max_examples=8, deadline=None)
def test_bounds_never_cross_on_random_graphs(n, seed, objective):
    graph = nx.gnp_random_graph(n, 0.5, seed=seed)
    graph.add_edges_from(zip(range(n), range(1, n), strict=False))
    rng = np.random.default_rng(seed)
    problem = weight_problem(graph, objective, upper=rng.uniform(0.2, 0.8, graph.number_of_edges()))
    found = solve(problem, 1e-3, 200)
    # Any weights within the limits are above every bound.
    for _ in range(20):
        some = Repair(problem)(found.weights + 0.05 * rng.standard_normal(len(problem.edges)))
        assert problem.excess(some) <= 1e-12
        assert true_slem(problem, some) >= found.lower
    assert true_slem(problem, found.weights) <= found.upper + 1e-9


@pytest.mark.parametrize(
    ("objective", "limits"),
    [
        ("fdla", {"upper": 0.3}),
        ("fmmc", {"upper": 0.25}),
        ("fdla", {"self_loops": False}),
        ("fmmc", {"self_loops": False}),
    ],
)
def test_limits_against_a_semidefinite_program(objective, limits):
    problem = weight_problem(nx.circulant_graph(9, [1, 2]), objective, **limits)
    found = solve(problem)
    optimum = smallest_slem(problem)
    assert problem.excess(found.weights) <= 1e-12
    assert width(found.upper, found.lower) <= 1e-4
    assert found.lower - 1e-6 <= optimum <= found.upper + 1e-6


def test_irregular_graphs_without_self_loops():
    wheel = nx.wheel_graph(5)
    problem = weight_problem(wheel, "fmmc", self_loops=False)
    found = solve(problem)
    assert found.upper == pytest.approx(0.75, abs=1e-4)  # Boyd and Vandenberghe, section 4.6.3
    assert problem.excess(found.weights) <= 1e-12
    assert 0.75 - 1e-4 <= found.lower <= 0.75 + 1e-9


def test_weights_of_both_signs_with_nonnegative_self_weights():
    graph = small_example()
    edges = weight_problem(graph, "fdla").edges
    problem = WeightProblem(8, edges, self_weights="nonnegative")
    found = solve(problem)
    optimum = smallest_slem(problem)
    assert problem.excess(found.weights) <= 1e-12
    assert found.lower - 1e-6 <= optimum <= found.upper + 1e-6
    assert width(found.upper, found.lower) <= 1e-4


def test_a_start_is_used_and_never_spoilt():
    problem = weight_problem(nx.random_regular_graph(4, 40, seed=2), "fmmc")
    good = solve(problem, 1e-4).weights
    first = next(first_order(problem, good))
    assert first.upper <= true_slem(problem, good) + 1e-9
    cold = sum(1 for _ in until(problem, 1e-3))
    assert sum(1 for _ in until(problem, 1e-3, start=good)) < cold


def until(problem, target, **settings):
    for iterate in first_order(problem, **settings):
        yield iterate
        if width(iterate.upper, iterate.lower) <= target:
            return


def test_the_same_seed_gives_the_same_iterates():
    problem = weight_problem(nx.random_regular_graph(4, 200, seed=1), "fdla")
    a, b = (list(islice(first_order(problem, seed=7), 12)) for _ in range(2))
    assert all(np.array_equal(x.weights, y.weights) and x.lower == y.lower for x, y in zip(a, b, strict=True))


def test_it_is_a_generator_that_ends():
    problem = weight_problem(nx.path_graph(2), "fdla")
    steps = first_order(problem)
    assert inspect.isgenerator(steps)
    *_, last = steps
    assert last.upper == pytest.approx(0, abs=1e-9)


def test_one_node():
    (only,) = first_order(WeightProblem(1, np.zeros((0, 2), dtype=np.int64)))
    assert (only.upper, only.lower, only.weights.shape) == (0, 0, (0,))


def test_certificates_survive_storage():
    problem = weight_problem(small_example(), "fmmc")
    found = solve(problem)
    again = Certificate.from_dict(8, found.certificate().to_dict())
    assert again.bound(found.upper) >= found.lower - 1e-9


@pytest.mark.parametrize("start", [np.ones(3), np.full(13, np.nan)])
def test_bad_starts_are_refused(start):
    with pytest.raises(InputError, match="one finite weight for each of the 13 edges"):
        next(first_order(weight_problem(small_example(), "fdla"), start))


def test_directed_problems_are_refused():
    problem = WeightProblem(3, np.array([[0, 1], [1, 2], [2, 0]]), directed=True)
    with pytest.raises(InputError, match="undirected"):
        next(first_order(problem))


def test_impossible_limits_are_explained():
    graph = nx.star_graph(4)
    graph.add_edge(1, 2)
    with pytest.raises(GraphError, match="self-loops"):
        next(first_order(weight_problem(graph, "fmmc", self_loops=False)))


def test_a_block_follows_the_upper_end():
    rng = np.random.default_rng(0)
    graph = nx.random_regular_graph(3, 300, seed=4)
    L = nx.laplacian_matrix(graph).astype(float).tocsr()
    L.sort_indices()
    own = np.array([np.flatnonzero(L.indices[L.indptr[i] : L.indptr[i + 1]] == i)[0] + L.indptr[i] for i in range(300)])
    F = rng.standard_normal((300, 2))
    F -= F.mean(axis=0)
    A = Operator(L, own, 0.3 * F, 0.0)
    block = TopBlock(300, 12, rng)
    block.project(A)
    for k in range(30):
        if not block.improve(A, 5.5, 1e-8, k == 0, k < 4):
            break
    expected = np.linalg.eigvalsh(L.toarray() + 0.09 * F @ F.T)[::-1]
    count = int((expected > 5.5).sum())
    assert 10 < count < 100
    assert block.values[:count] == pytest.approx(expected[:count], abs=1e-9)
    assert not (block.values[count:] > 5.5).any()


@given(st.lists(st.floats(-3, 3), min_size=1, max_size=6), st.lists(st.floats(-3, 3), min_size=1, max_size=6))
def test_common_level_shares_out_one(a, b):
    values, stiff = [np.sort(a)[::-1], np.sort(b)[::-1]], np.array([2.0, 0.5])
    level = common_level(values, stiff)
    total = sum(np.maximum(v - s * level, 0).sum() for v, s in zip(values, stiff, strict=True))
    assert total == pytest.approx(1) if level > 0 else total <= 1 + 1e-12


def test_the_mean_of_dual_points_has_few_factors():
    rng = np.random.default_rng(0)
    shared = rng.standard_normal((20, 3))
    points = [
        Multipliers(shared * k, shared[:, :1] + k, np.full(20, 1.0 * k), np.full(5, 2.0 * k)) for k in range(1, 5)
    ]
    mean = mean_multipliers(points)
    assert mean.positive.shape == (20, 3)
    assert mean.positive @ mean.positive.T == pytest.approx(7.5 * shared @ shared.T)
    assert mean.negative @ mean.negative.T == pytest.approx(sum(p.negative @ p.negative.T for p in points) / 4)
    assert (mean.nodes == 2.5).all()
    assert (mean.edges == 5).all()


@pytest.mark.parametrize("objective", ["fdla", "fmmc"])
def test_many_edges_for_few_nodes(objective):
    # Here means of dual points prove more than each; the certificate has to prove what is claimed.
    rng = np.random.default_rng(0)
    graph = nx.random_geometric_graph(60, 0.4, pos=dict(enumerate(rng.random((60, 2)))))
    problem = weight_problem(graph, objective)
    assert len(problem.edges) > 500
    lower = 0.0
    for iterate in islice(first_order(problem), 300):
        if iterate.lower > lower:
            lower = iterate.lower
            last = iterate
    assert last.certificate().bound(last.upper) >= lower - 1e-9
    assert last.lower <= true_slem(problem, last.weights)
    assert width(last.upper, last.lower) <= 0.3


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["fdla", "fmmc"])
def test_a_thousand_nodes(objective):
    for graph in (nx.random_regular_graph(4, 1024, seed=1), numbered(nx.grid_2d_graph(32, 32))):
        problem = weight_problem(graph, objective)
        found = solve(problem, 1e-3, 600)
        assert width(found.upper, found.lower) <= 1e-3
        assert problem.excess(found.weights) <= 1e-12
        assert true_slem(problem, found.weights) <= found.upper + 1e-10
