"""Linear programs over characters against closed forms, dense matrices, semidefinite programs and their own proofs."""

import itertools
from math import cos, isqrt, pi, prod
from time import perf_counter

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topokit.errors import ConvergenceError, GraphError, InputError
from topokit.optimal import characters
from topokit.optimal.certificate import Certificate, width
from topokit.optimal.character_program import CharacterProgram
from topokit.optimal.characters import cayley_shape, character_weights
from topokit.optimal.problem import WeightProblem, weight_problem
from topokit.spectral.groups import group_shape
from topokit.topologies import hypercube_graph, torus_graph

LIMITS = {
    "fdla": (False, "free"),
    "fmmc": (True, "nonnegative"),
    "no self-loops": (True, "zero"),
    "sum": (False, "zero"),
}


def differences(shape, edges):
    u, v = (np.stack(np.unravel_index(ends, shape)) for ends in edges.T)
    return np.ravel_multi_index(tuple((v - u) % np.array(shape)[:, None]), shape)


def cayley(shape, offsets, limits="fmmc", *, directed=False, bounds=None, seed=0):
    """Make the problem of a Cayley graph, its edges in random order; bounds are of differences."""
    digits = np.stack(np.unravel_index(np.arange(prod(shape)), shape))
    edges = []
    for offset in offsets:
        moved = (digits + np.array(np.unravel_index(offset, shape))[:, None]) % np.array(shape)[:, None]
        edges.append(np.stack((np.arange(prod(shape)), np.ravel_multi_index(tuple(moved), shape)), axis=1))
    edges = np.concatenate(edges)
    if not directed:
        edges = np.unique(np.sort(edges, axis=1), axis=0)
    edges = np.random.default_rng(seed).permutation(edges)
    upper = None
    if bounds is not None:
        upper = np.array(bounds)[differences(shape, edges)]
        if not directed:
            upper = np.minimum(upper, np.array(bounds)[differences(shape, edges[:, ::-1])])
    return WeightProblem(prod(shape), edges, *LIMITS[limits], upper, directed)


def slem(problem, weights):
    return np.linalg.norm(np.eye(problem.nodes) - problem.laplacian(weights) - 1 / problem.nodes, 2)


def allowance(problem):
    """Give how far bounds differ: the certificate allows for rounding edge by edge, the program by differences."""
    return 5e-13 + 4 * np.finfo(float).eps * len(problem.edges)


def solved(problem, shape=None):
    """Solve a problem, and check all that the answer says of itself."""
    best = character_weights(problem, shape or cayley_shape(problem))
    assert problem.excess(best.weights) < 1e-14
    assert best.lower <= best.upper
    assert best.certificate().bound(best.upper) == pytest.approx(best.lower, abs=allowance(problem))
    if problem.nodes <= 300:
        assert slem(problem, best.weights) == pytest.approx(best.upper, abs=1e-13)
    return best


def rings(nodes):
    c, h = cos(2 * pi / nodes), cos(pi / nodes)
    return (1 + c) / (3 - c) if nodes % 2 == 0 else (c + h) / (2 - c + h)


@pytest.mark.parametrize("limits", ["fdla", "fmmc"])
@pytest.mark.parametrize("nodes", [3, 4, 5, 8, 17, 100, 9999, 10_000])
def test_rings(nodes, limits):
    best = solved(cayley((nodes,), [1], limits))
    assert best.upper == pytest.approx(rings(nodes), abs=1e-14)
    assert width(best.upper, best.lower) < 1e-6  # the gap is 2e-7, and the bound is lowered by rounding errors of 1e-15
    assert width(best.upper, best.lower) < 1e-9 or nodes > 1000


@pytest.mark.parametrize("limits", ["fdla", "fmmc"])
def test_closed_forms(limits):
    for d in (1, 2, 3, 5, 10):
        best = solved(weight_problem(hypercube_graph(2**d), limits))
        assert best.upper == pytest.approx((d - 1) / (d + 1), abs=1e-13)
        assert best.weights == pytest.approx(np.full(d * 2 ** (d - 1), 1 / (d + 1)), abs=1e-9)
    for nodes, expected in ((9, 1 / 3), (16, 3 / 5)):
        assert solved(weight_problem(torus_graph(nodes), limits)).upper == pytest.approx(expected, abs=1e-13)
    for nodes in (3, 4, 7, 30):
        best = solved(weight_problem(nx.complete_graph(nodes), limits))
        assert best.upper < 1e-13
        assert best.weights == pytest.approx(np.full(nodes * (nodes - 1) // 2, 1 / nodes))


def test_tori_of_ten_thousand_nodes():
    # The slowest mode has the eigenvalue 1 - 2 w (1 - c), the fastest 1 - 8 w.
    side, c = 100, cos(2 * pi / 100)
    best = solved(cayley((side, side), [1, side]))
    assert best.upper == pytest.approx((3 + c) / (5 - c), abs=1e-13)
    assert width(best.upper, best.lower) < 1e-9


@pytest.mark.parametrize("limits", ["fdla", "fmmc"])
@pytest.mark.parametrize("offsets", [(1, 100), (1, 7, 50, 300, 2100), (1, *range(30, 4900, 541))])
def test_circulants_of_ten_thousand_nodes(offsets, limits):
    best = solved(cayley((10_000,), offsets, limits))
    assert width(best.upper, best.lower) < 1e-9


def test_circulants_without_self_loops():
    # The wheel's rim and the like: on a triangle without self-loops all weights are 1/2.
    assert solved(cayley((3,), [1], "no self-loops")).upper == pytest.approx(0.5)
    best = solved(cayley((5,), [1, 2], "no self-loops"))
    assert best.upper == pytest.approx(0.25, abs=1e-13)  # K_5: eigenvalue -1/4


@pytest.mark.parametrize("nodes", [3, 5, 7, 9, 11])
def test_odd_rings_without_self_loops_have_one_point(nodes):
    for upper in (0.5, 0.6):
        best = solved(weight_problem(nx.cycle_graph(nodes), "fmmc", upper=upper, self_loops=False))
        assert best.upper == pytest.approx(cos(pi / nodes), abs=1e-13)
        assert width(best.upper, best.lower) < 1e-9


def test_a_directed_ring_without_self_loops_turns_for_ever():
    best = solved(cayley((7,), [1], "no self-loops", directed=True))
    assert best.lower == pytest.approx(1, abs=1e-12)


def test_bounds_that_leave_one_point_are_proved():
    best = solved(weight_problem(nx.complete_graph(6), "fmmc", upper=0.2, self_loops=False))
    assert best.upper == pytest.approx(0.2, abs=1e-13)
    assert width(best.upper, best.lower) < 1e-9
    for directed, share in itertools.product((False, True), (0.1, 0.3, 0.5, 0.9)):
        bounds = np.zeros(9)
        bounds[[1, 2]] = np.array([share, 1 - share]) / (1 if directed else 2)
        bounds[[8, 7]] = bounds[[1, 2]]
        best = solved(cayley((9,), [1, 2], "no self-loops", directed=directed, bounds=bounds))
        turns = np.exp(2j * pi * np.arange(1, 9)[:, None] * np.array([1, 2]) / 9)
        eigenvalues = (turns if directed else turns.real) @ [share, 1 - share]
        assert best.upper == pytest.approx(np.abs(eigenvalues).max(), abs=1e-13)
        assert width(best.upper, best.lower) < 1e-9


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(["fmmc", "no self-loops", "sum"]))
def test_no_other_price_proves_more(seed, limits):
    rng = np.random.default_rng(seed)
    bounds = rng.uniform(0.1, 0.6, 12)
    program = CharacterProgram.of(cayley((12,), [1, 2, 5], limits, bounds=bounds + 0.1), (12,))
    mode, worth = np.arange(3), rng.dirichlet(np.ones(3))
    angle = rng.choice([0.0, pi], 3)
    value = worth @ program.rows(mode, angle)[0]
    best = program.bound(mode, angle, worth, program.best_price(value))
    least = 0.0 if limits == "fmmc" else -3.0
    others = [program.bound(mode, angle, worth, price) for price in np.linspace(least, 3, 301)]
    assert best >= max(others) - 1e-12


@pytest.mark.parametrize("limits", ["fdla", "fmmc"])
@pytest.mark.parametrize("upper", [1e-6, 1e-9, 1e-12, 1e-200])
def test_tiny_bounds_are_used_up(upper, limits):
    # The gap of the slowest mode, and what rounding takes off the bound.
    cases = [
        (weight_problem(nx.cycle_graph(30), limits, upper=upper), 2 * upper * (1 - cos(2 * pi / 30))),
        (cayley((12,), [1, 2], limits, bounds=tiny(upper)), 4 * upper),
        (cayley((12,), [1, 2], limits, bounds=tiny(upper), directed=True), 2 * upper),
    ]
    for problem, gap in cases:
        best = solved(problem)
        ahead = differences((problem.nodes,), problem.edges)
        single = np.isin(ahead, [1, problem.nodes - 1])
        np.testing.assert_allclose(best.weights[single], upper, rtol=1e-6)
        assert 1 - best.upper <= gap <= 1 - best.lower
        assert best.upper - best.lower < 1e-13


def tiny(upper):
    """Bound the difference 1 of a dozen, and 2 not at all."""
    bounds = np.full(12, np.inf)
    bounds[[1, 11]] = upper
    return bounds


def test_what_highs_cannot_solve_is_not_passed_over(monkeypatch):
    def refuse(program, *others):
        raise ConvergenceError("HiGHS found no weights")

    monkeypatch.setattr(characters, "solve_cuts", refuse)
    with pytest.raises(ConvergenceError, match="HiGHS found no weights"):
        character_weights(cayley((12,), [1, 2]), (12,))
    bounded = solved(cayley((30,), [1], bounds=np.full(30, 1e-9)))
    assert 1 - bounded.lower < 4.4e-11


def test_time_may_run_out(monkeypatch):
    solve, calls = characters.solve_cuts, []
    monkeypatch.setattr(characters, "solve_cuts", lambda *given: calls.append(1) or solve(*given))
    problem = cayley((2000,), (1, *range(30, 980, 97)))
    best = character_weights(problem, (2000,))
    assert len(calls) > 2
    calls.clear()
    some = character_weights(problem, (2000,), perf_counter() - 1)
    assert len(calls) == 1
    assert 0.5 * best.lower < some.lower <= best.lower + 1e-12
    assert best.upper <= some.upper < 1
    assert some.certificate().bound(some.upper) == pytest.approx(some.lower, abs=allowance(problem))


@pytest.mark.parametrize("limits", ["fdla", "fmmc"])
def test_directed_closed_forms(limits):
    for nodes in (3, 5, 16, 1000):  # a directed ring: |1 + exp(i t)| / 2
        best = solved(cayley((nodes,), [1], limits, directed=True))
        assert best.upper == pytest.approx(cos(pi / nodes), abs=1e-14)
        assert best.weights == pytest.approx(np.full(nodes, 0.5), abs=1e-6)
    # The exponential graph of 4 nodes: |w_1| = |1 - 2 w_1|.
    best = solved(cayley((4,), [1, 2], limits, directed=True))
    assert best.upper == pytest.approx(1 / 3, abs=1e-13)
    assert solved(cayley((6,), range(1, 6), limits, directed=True)).upper < 1e-12


@pytest.mark.parametrize("nodes", [8, 64, 1024, 10_000])
def test_exponential_graphs_gain_on_uniform_weights(nodes):
    degree = (nodes - 1).bit_length()
    best = solved(cayley((nodes,), [2**k for k in range(degree)], directed=True))
    assert width(best.upper, best.lower) < 1e-9
    assert best.upper <= (degree - 1) / (degree + 1) + 1e-12


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_every_answer_is_proved(data):
    shape = tuple(data.draw(st.lists(st.integers(2, 7), min_size=1, max_size=3), "shape"))
    nodes = prod(shape)
    if nodes < 3:
        return
    offsets = data.draw(st.lists(st.integers(1, nodes - 1), min_size=1, max_size=6, unique=True), "offsets")
    directed = data.draw(st.booleans(), "directed")
    rng = np.random.default_rng(data.draw(st.integers(0, 99), "seed"))
    bounds = rng.random(nodes) if data.draw(st.booleans(), "bounded") else None
    limits = data.draw(st.sampled_from(sorted(LIMITS)), "limits")
    problem = cayley(shape, offsets, limits, directed=directed, bounds=bounds)
    graph = nx.DiGraph if directed else nx.Graph
    connected = nx.is_strongly_connected if directed else nx.is_connected
    if not connected(graph([*problem.edges.tolist(), *((i, i) for i in range(nodes))])):
        return
    try:
        best = solved(problem, shape)
    except GraphError:
        assert problem.self_weights == "zero"
        assert problem.node_sums(problem.upper).max() < 1
        return
    assert best.upper - best.lower <= max(1e-9 * (1 - best.upper), 1e-12)
    # The proof, on other weights of the graph.
    start = rng.random(len(problem.edges)) / len(offsets) / 2
    if problem.upper is not None:
        start = np.minimum(start, problem.upper)
    if problem.self_weights != "zero":
        assert slem(problem, start / max(1, problem.node_sums(start).max())) >= best.lower
    copy = Certificate.from_dict(nodes, best.certificate().to_dict())
    assert copy.bound(best.upper) == pytest.approx(best.lower, abs=allowance(problem))


@pytest.mark.parametrize(
    ("shape", "offsets", "limits", "directed"),
    [
        ((10,), (1, 3, 5), "fmmc", False),
        ((10,), (1, 2), "fdla", False),
        ((3, 4), (1, 4, 5), "fmmc", False),
        ((9,), (1, 2, 4), "no self-loops", False),
        ((11,), (1, 4), "sum", False),
        ((9,), (1, 2, 4), "fmmc", True),
        ((9,), (1, 4, 6), "fdla", True),
        ((3, 3), (1, 3, 5), "fdla", True),
    ],
)
def test_optima_are_those_of_semidefinite_programs_in_all_weights(shape, offsets, limits, directed):
    cp = pytest.importorskip("cvxpy")
    bounds = np.full(prod(shape), np.inf)
    bounds[offsets[0]] = 0.17
    problem = cayley(shape, offsets, limits, directed=directed, bounds=bounds)
    w = cp.Variable(len(problem.edges))
    unit = np.eye(w.size)
    L = sum(w[k] * problem.laplacian(unit[k]) for k in range(w.size))
    sums = np.stack([problem.node_sums(row) for row in unit], axis=1) @ w
    capped = np.isfinite(problem.upper)
    constraints = [w[capped] <= problem.upper[capped]]
    constraints += [w >= 0] if problem.nonnegative else []
    constraints += {"free": [], "nonnegative": [sums <= 1], "zero": [sums == 1]}[problem.self_weights]
    model = cp.Problem(cp.Minimize(cp.sigma_max(np.eye(problem.nodes) - L - 1 / problem.nodes)), constraints)
    assert solved(problem).upper == pytest.approx(model.solve(solver=cp.CLARABEL), abs=1e-6)


@pytest.mark.parametrize("limits", ["fdla", "fmmc"])
@pytest.mark.parametrize("offsets", [(1, 2, 4, 8, 16, 32), (1, 17, 23, 45, 70), (1, 2, 3, 4, 5), (1, 99, 9, 91)])
def test_directed_optima_are_those_of_second_order_cones(offsets, limits):
    cp = pytest.importorskip("cvxpy")
    nodes = 100
    angles = 2 * np.pi * np.outer(np.arange(1, nodes // 2 + 1), offsets) / nodes
    w, s = cp.Variable(len(offsets)), cp.Variable()
    real, imaginary = 1 - (1 - np.cos(angles)) @ w, np.sin(angles) @ w
    constraints = [cp.norm(cp.vstack((real, imaginary)), 2, axis=0) <= s]
    constraints += [w >= 0, cp.sum(w) <= 1] if limits == "fmmc" else []
    expected = cp.Problem(cp.Minimize(s), constraints).solve(solver=cp.CLARABEL)
    best = solved(cayley((nodes,), offsets, limits, directed=True))
    assert best.upper == pytest.approx(expected, abs=1e-7)
    assert width(best.upper, best.lower) < 1e-9


def test_bounds_are_used_up_where_that_costs():
    free = solved(cayley((12,), [1, 2]))
    bounds = np.full(12, np.inf)
    bounds[2] = 0.1
    bounded = solved(cayley((12,), [1, 2], bounds=bounds))
    assert free.upper + 1e-3 < bounded.upper < rings(12) - 1e-3
    assert bounded.weights.min() == pytest.approx(0.1)
    assert width(bounded.upper, bounded.lower) < 1e-9


def test_a_disconnected_graph_never_mixes():
    best = solved(cayley((12,), [2, 4]))
    assert (best.upper, best.lower) == (1.0, pytest.approx(1.0, abs=1e-13))


def test_shapes_are_found_with_bounds_and_directions():
    assert cayley_shape(cayley((12,), [1, 5])) == (12,)
    assert cayley_shape(cayley((12,), [1, 5], directed=True)) == (12,)
    assert cayley_shape(cayley((3, 5), [1, 5])) == (3, 5)
    assert cayley_shape(weight_problem(nx.path_graph(9), "fdla")) is None
    ring = weight_problem(nx.cycle_graph(8), "fmmc")
    upper = np.where(np.arange(8) == 3, 0.2, 0.4)
    assert cayley_shape(WeightProblem(8, ring.edges, True, "nonnegative", upper)) is None
    assert cayley_shape(WeightProblem(8, ring.edges, True, "nonnegative", np.full(8, 0.2))) == (8,)
    adjacency = nx.to_scipy_sparse_array(nx.cycle_graph(isqrt(81)), dtype=float, format="csr")
    adjacency.sort_indices()
    assert cayley_shape(weight_problem(nx.cycle_graph(9), "fmmc")) == group_shape(adjacency)


def test_bad_input_is_explained():
    path = weight_problem(nx.path_graph(4), "fmmc")
    with pytest.raises(InputError, match=r"change when nodes are shifted along digits of sizes \(4,\)"):
        character_weights(path, (4,))
    with pytest.raises(InputError, match=r"digits of sizes \(2, 3\) number 6 nodes, and the problem has 4"):
        character_weights(path, (2, 3))
    ring = weight_problem(nx.cycle_graph(5), "fmmc")
    with pytest.raises(InputError, match="edges or bounds change"):
        character_weights(WeightProblem(5, ring.edges, True, "free", np.arange(5.0)), (5,))
    with pytest.raises(GraphError, match=r"sum to 1, and the bounds allow 0\.6 at most"):
        character_weights(WeightProblem(5, ring.edges, True, "zero", np.full(5, 0.3)), (5,))
    with pytest.raises(InputError, match="without edges"):
        character_weights(WeightProblem(1, np.zeros((0, 2), dtype=np.int64)), (1,))
