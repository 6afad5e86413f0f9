import networkx as nx
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from plain_sdp import smallest_slem

from topokit.errors import GraphError
from topokit.optimal.certificate import width
from topokit.optimal.interior_point import interior_point
from topokit.optimal.problem import weight_problem
from topokit.optimal.step_length import longest_step, longest_step_of_vector


def solved(problem, **options):
    *_, last = interior_point(problem, **options)
    return last


@settings(max_examples=12, deadline=None)
@given(st.integers(3, 8), st.integers(0, 10_000), st.sampled_from(["fdla", "fmmc"]), st.sampled_from([None, 0.15, 0.3]))
def test_a_general_solver_agrees(nodes, seed, objective, upper):
    graph = nx.gnp_random_graph(nodes, 0.6, seed=seed)
    assume(nx.is_connected(graph))
    problem = weight_problem(graph, objective, upper=upper)
    found, optimum = solved(problem), smallest_slem(problem)
    assume(optimum is not None)
    assert found.upper == pytest.approx(optimum, abs=1e-6)
    assert width(found.upper, found.lower) <= 1e-6
    assert problem.excess(found.weights) <= 1e-12


@pytest.mark.parametrize("objective", ["fdla", "fmmc"])
@pytest.mark.parametrize("graph", [nx.wheel_graph(5), nx.complete_graph(5), nx.gnp_random_graph(8, 0.7, seed=3)])
def test_a_general_solver_agrees_without_self_loops(graph, objective):
    problem = weight_problem(graph, objective, self_loops=False)
    found = solved(problem)
    assert found.upper == pytest.approx(smallest_slem(problem), abs=1e-6)
    assert width(found.upper, found.lower) <= 1e-5
    assert problem.excess(found.weights) <= 1e-9


def test_the_wheel_of_the_textbook():
    # Boyd, Vandenberghe, Convex Optimization, section 4.6.3.
    without = weight_problem(nx.wheel_graph(5), "fmmc", self_loops=False)
    assert solved(without).upper == pytest.approx(0.75, abs=1e-7)
    assert solved(weight_problem(nx.wheel_graph(5), "fmmc")).upper == pytest.approx(0.25, abs=1e-7)


def test_every_iterate_is_feasible_and_the_bounds_close_monotonically():
    problem = weight_problem(nx.karate_club_graph(), "fmmc", upper=0.4)
    last_upper, last_lower = np.inf, -np.inf
    for iterate in interior_point(problem):
        assert problem.excess(iterate.weights) == 0
        W = problem.matrix(iterate.weights).to_dense()
        assert iterate.upper == pytest.approx(np.linalg.norm(W - 1 / 34, 2), abs=1e-12)
        assert iterate.lower <= iterate.upper
        assert last_lower <= iterate.lower
        assert iterate.upper <= last_upper
        last_upper, last_lower = iterate.upper, iterate.lower
        assert iterate.certificate().bound(iterate.upper) <= iterate.upper
    assert width(last_upper, last_lower) <= 1e-7


def test_tied_weights_are_equal_and_no_better():
    graph = nx.cycle_graph(9)
    problem = weight_problem(graph, "fdla")
    tied = solved(problem, groups=np.zeros(9, dtype=np.int64))
    assert np.ptp(tied.weights) == 0
    c, h = np.cos(2 * np.pi / 9), np.cos(np.pi / 9)
    assert tied.upper == pytest.approx((c + h) / (2 - c + h), abs=1e-9)
    arbitrary = solved(problem, groups=np.arange(9) % 2)
    assert arbitrary.upper >= tied.upper - 1e-9


def test_the_bound_is_tight_where_symmetric_nodes_share_an_equation():
    bowtie = nx.Graph([(0, 1), (0, 2), (0, 3), (0, 4), (1, 2), (3, 4)])
    found = solved(weight_problem(bowtie, "fdla", self_loops=False), groups=np.array([0, 0, 0, 0, 1, 1]))
    assert found.weights == pytest.approx([0.25] * 4 + [0.75] * 2)
    assert (found.upper, found.lower) == pytest.approx((0.75, 0.75), abs=1e-7)


@pytest.mark.parametrize("upper", [0.001, 0.005, 0.01, 0.02])
def test_short_steps_near_tight_bounds_do_not_lead_astray(upper):
    graph = nx.complete_graph(7)
    graph.remove_edge(2, 4)
    problem = weight_problem(graph, "fdla", upper=upper)
    for groups in (None, np.array([0 if {u, v} & {2, 4} else 1 for u, v in problem.edges.tolist()])):
        found = solved(problem, groups=groups)
        assert width(found.upper, found.lower) <= 1e-6
        # All weights at their bound: mu_2 of the graph is 5.
        assert found.upper == pytest.approx(1 - 5 * upper, abs=1e-6)


def test_a_start_of_ones_own_changes_nothing_but_the_way():
    problem = weight_problem(nx.karate_club_graph(), "fdla")
    own = solved(problem, start=np.full(78, 0.01))
    assert own.upper == pytest.approx(solved(problem).upper, abs=1e-8)


def test_medium_sizes_take_the_lanczos_step_length():
    problem = weight_problem(nx.random_regular_graph(4, 200, seed=1), "fdla")
    found = solved(problem)
    assert width(found.upper, found.lower) <= 1e-7


def test_step_lengths():
    rng = np.random.default_rng(0)
    for n in (5, 200):
        half = rng.standard_normal((n, n))
        S, D = half @ half.T + np.eye(n), rng.standard_normal((n, n))
        D = D + D.T
        length = longest_step(np.linalg.cholesky(S), D)
        smallest = np.linalg.eigvalsh(S + length * D)[0]
        assert abs(smallest) < (1e-8 if n == 5 else 0.1)
        assert np.linalg.eigvalsh(S + 0.9 * length * D)[0] > 0
        assert longest_step(np.linalg.cholesky(S), np.eye(n)) == np.inf
    assert longest_step_of_vector(np.ones(2), np.ones(2)) == np.inf


def test_the_step_length_of_a_large_matrix_is_near_to_the_longest_and_hardly_above():
    values = np.concatenate(([-3.0, -2.9], np.linspace(-1, 5, 198)))
    basis = np.linalg.qr(np.random.default_rng(1).standard_normal((200, 200)))[0]
    assert 0.95 / 3 <= longest_step(np.eye(200), basis * values @ basis.T) <= 1.02 / 3
    # Lanczos ends at once where all eigenvalues are one.
    assert longest_step(np.eye(200), -2 * np.eye(200)) == pytest.approx(0.5)


def test_impossible_sums_are_explained():
    two_leaves = nx.Graph([(0, 1), (1, 2), (0, 2), (0, 3), (0, 4)])
    with pytest.raises(GraphError, match="no nonnegative weights sum to 1 at every node"):
        weight_problem(two_leaves, "fmmc", self_loops=False)
    paw = nx.Graph([(0, 1), (0, 2), (1, 2), (2, 3)])
    with pytest.raises(GraphError, match=r"some edges \(0-2 is one\) can only have the weight 0, .* disconnected"):
        weight_problem(paw, "fmmc", self_loops=False)
    with pytest.raises(GraphError, match="no weights between their bounds"):
        solved(weight_problem(nx.complete_graph(4), "fdla", self_loops=False, upper=0.2))


def test_edges_that_can_only_have_the_weight_0_are_left_out():
    # A bridge between two triangles and two more edges: perfect fractional matchings avoid some of them.
    graph = nx.Graph([(0, 1), (1, 2), (0, 2), (2, 3), (3, 4), (4, 5), (3, 5), (2, 4)])
    problem = weight_problem(graph, "fmmc", self_loops=False)
    found = solved(problem)
    assert found.upper == pytest.approx(smallest_slem(weight_problem(graph, "fmmc", self_loops=False)), abs=1e-6)
    assert problem.excess(found.weights) <= 1e-9
