"""Semidefinite programs against closed forms, published numbers, and the problem as one would write it down."""

import ctypes
import os
import subprocess
import sys
from types import SimpleNamespace

import networkx as nx
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from plain_sdp import smallest_slem
from weight_oracles import LARGE, SMALL

from topokit.errors import ConvergenceError, GraphError, InputError
from topokit.optimal.certificate import width
from topokit.optimal.problem import WeightProblem, weight_problem
from topokit.optimal.sdp import SOLVERS, installed_solvers, sdp_weights

cp = pytest.importorskip("cvxpy")
if "CLARABEL" not in installed_solvers():
    pytest.skip("CLARABEL is not installed", allow_module_level=True)

ACCURACY = {"SCS": 1e-5}  # of solvers that are less than exact
PAW = nx.Graph([(0, 1), (0, 2), (1, 2), (2, 3)])


def cases(oracles):
    return [
        pytest.param(oracle, objective, value, id=f"{oracle.name} {objective}")
        for oracle in oracles
        for objective, value in oracle.cases().items()
    ]


def slem_of(problem, weights):
    W = np.eye(problem.nodes)
    for (u, v), weight in zip(problem.edges.tolist(), weights.tolist(), strict=True):
        W[[u, v], [u, v]] -= weight
        W[[u, v], [v, u]] += weight
    return np.linalg.norm(W - 1 / problem.nodes, 2)


def check(problem, found, value, tolerance, most_width=1e-4, accuracy=1e-6):
    """Hold weights against what is known, and all they say of themselves against the weights."""
    assert found.upper == pytest.approx(slem_of(problem, found.weights), abs=1e-12)
    assert problem.excess(found.weights) <= 1e-12
    assert found.upper == pytest.approx(value, abs=tolerance + accuracy)
    assert found.upper >= value - tolerance
    assert found.lower <= value + tolerance
    assert width(found.upper, found.lower) <= most_width
    assert found.certificate().bound(found.upper) == pytest.approx(found.lower, abs=1e-15)


@pytest.mark.parametrize(("oracle", "objective", "value"), cases(SMALL))
def test_small_oracles(oracle, objective, value):
    problem = weight_problem(oracle.build(), objective, self_loops=oracle.self_loops)
    found = sdp_weights(problem, solver="CLARABEL")
    check(problem, found, value, oracle.tolerance, 1e-5)
    weights = {tuple(edge): weight for edge, weight in zip(problem.edges.tolist(), found.weights, strict=True)}
    for (u, v), weight in oracle.weights:
        assert weights[min(u, v), max(u, v)] == pytest.approx(weight, abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("oracle", "objective", "value"), cases(LARGE))
def test_large_oracles(oracle, objective, value):
    problem = weight_problem(oracle.build(), objective)
    check(problem, sdp_weights(problem, solver="clarabel"), value, oracle.tolerance)


@pytest.mark.parametrize("solver", SOLVERS)
def test_every_installed_solver(solver):
    if solver not in installed_solvers():
        pytest.skip(f"{solver} is not installed")
    for oracle in SMALL:
        if oracle.name in ("paw", "grid 3x3", "CVX small example", "wheel 5 without self-loops", "K4"):
            for objective, value in oracle.cases().items():
                problem = weight_problem(oracle.build(), objective, self_loops=oracle.self_loops)
                found = sdp_weights(problem, solver=solver)
                assert found.solver == solver
                check(problem, found, value, oracle.tolerance, accuracy=ACCURACY.get(solver, 1e-6))


@st.composite
def problems(draw):
    nodes = draw(st.integers(3, 6))
    tree = [(draw(st.integers(0, v - 1)), v) for v in range(1, nodes)]
    others = [(u, v) for v in range(nodes) for u in range(v)]
    graph = nx.Graph(tree + draw(st.lists(st.sampled_from(others), max_size=6)))
    upper = draw(st.none() | st.floats(0.05, 0.8))
    objective = draw(st.sampled_from(["fdla", "fmmc"]))
    self_loops = draw(st.booleans()) or nx.is_bipartite(graph) or objective == "fmmc"
    return weight_problem(graph, objective, upper=upper if self_loops else None, self_loops=self_loops)


@settings(max_examples=40, deadline=None)
@given(problems())
def test_any_limits(problem):
    value = smallest_slem(problem)
    assume(value is not None)
    if value > 1 - 1e-6:
        with pytest.raises((GraphError, ConvergenceError), match="mix"):
            sdp_weights(problem, solver="CLARABEL")
    else:
        check(problem, sdp_weights(problem, solver="CLARABEL"), value, 1e-6, 1e-4 if value < 0.99 else 1.0)


@pytest.mark.parametrize("objective", ["fdla", "fmmc"])
def test_an_upper_bound_that_binds(objective):
    problem = weight_problem(nx.path_graph(3), objective, upper=0.4)
    check(problem, sdp_weights(problem), 0.6, 1e-12)  # 1 - w, as w (1, 0, -1) is an eigenvector


@pytest.mark.parametrize("objective", ["fdla", "fmmc"])
def test_orbits_of_edges_share_a_weight_and_lose_nothing(objective):
    graph = nx.convert_node_labels_to_integers(nx.grid_2d_graph(3, 3))
    problem = weight_problem(graph, objective)
    place = {tuple(edge): k for k, edge in enumerate(problem.edges.tolist())}
    same = nx.Graph()
    same.add_nodes_from(range(len(place)))
    for mapping in nx.isomorphism.GraphMatcher(graph, graph).isomorphisms_iter():
        same.add_edges_from((k, place[tuple(sorted((mapping[u], mapping[v])))]) for (u, v), k in place.items())
    groups = np.zeros(len(place), dtype=np.int64)
    for number, orbit in enumerate(nx.connected_components(same)):
        groups[list(orbit)] = number
    assert groups.max() == 1
    for solver in ("CLARABEL", "SCS"):
        if solver in installed_solvers():
            found = sdp_weights(problem, solver=solver, groups=groups)
            check(problem, found, 0.692551220, 1e-8, accuracy=ACCURACY.get(solver, 1e-6))
            assert all(np.ptp(found.weights[groups == group]) == 0 for group in range(2))


@pytest.mark.parametrize("solver", SOLVERS)
def test_groups_without_self_loops(solver):
    if solver not in installed_solvers():
        pytest.skip(f"{solver} is not installed")
    problem = weight_problem(nx.wheel_graph(5), "fdla", self_loops=False)
    rim = (problem.edges[:, 0] > 0).astype(np.int64)
    found = sdp_weights(problem, solver=solver, groups=rim)
    check(problem, found, 0.75, 1e-12)
    np.testing.assert_allclose(found.weights, np.where(rim, 0.375, 0.25), atol=1e-12)


def test_groups_that_are_no_orbits_keep_an_honest_bound():
    values = np.linalg.eigvalsh(nx.laplacian_matrix(PAW).toarray().astype(float))
    common = (values[-1] - values[1]) / (values[-1] + values[1])
    found = sdp_weights(weight_problem(PAW, "fdla"), groups=np.zeros(4, dtype=np.int64))
    assert found.upper == pytest.approx(common, abs=1e-6)
    assert 0 < found.lower <= 3**-0.5 < common - 0.01


def test_one_node_needs_nothing():
    found = sdp_weights(weight_problem(nx.empty_graph(1), "fmmc"))
    assert (found.upper, found.lower, found.certificate().bound(0.0)) == (0, 0, 0)


def test_weights_that_cannot_mix_are_refused():
    # Each of the two leaves needs the whole of node 0's attention, so that 0-3 and 0-4 have to be negative.
    graph = nx.Graph([(0, 1), (0, 2), (0, 3), (0, 4), (3, 4)])
    problem = weight_problem(graph, "fdla", self_loops=False)
    with pytest.raises(GraphError, match="no weights within the limits mix values: their SLEM is at least 2"):
        sdp_weights(problem, solver="CLARABEL")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"solver": "SEDUMI"}, "unknown SDP solver 'SEDUMI'; known: MOSEK, SDPA, CVXOPT, CLARABEL, SCS"),
        ({"time_limit": 0}, "positive number of seconds, got 0"),
        ({"groups": np.zeros(3, dtype=np.int64)}, "one number for each of the 4 edges"),
    ],
)
def test_bad_input(options, message):
    with pytest.raises(InputError, match=message):
        sdp_weights(weight_problem(PAW, "fdla"), **options)


def test_directed_problems_are_refused():
    edges = np.array([[0, 1], [1, 2], [2, 0]])
    with pytest.raises(InputError, match="symmetric weights, and this problem is directed"):
        sdp_weights(WeightProblem(3, edges, directed=True))


def test_a_solver_that_is_not_installed(monkeypatch):
    monkeypatch.setattr(cp, "installed_solvers", lambda: ["SCS", "CLARABEL", "OSQP"])
    assert installed_solvers() == ("CLARABEL", "SCS")
    with pytest.raises(InputError, match="the SDP solver MOSEK is not installed; installed here: CLARABEL, SCS"):
        sdp_weights(weight_problem(PAW, "fdla"), solver="mosek")
    monkeypatch.setattr(cp, "installed_solvers", lambda: ["OSQP"])
    with pytest.raises(InputError, match=r"none of the SDP solvers MOSEK, .*: pip install clarabel"):
        sdp_weights(weight_problem(PAW, "fdla"))


def test_without_cvxpy(monkeypatch):
    monkeypatch.setitem(sys.modules, "cvxpy", None)
    assert installed_solvers() == ()
    with pytest.raises(InputError, match=r"need cvxpy: pip install 'topokit\[sdp\]'; the interior-point method"):
        sdp_weights(weight_problem(PAW, "fdla"))


def test_cvxpy_is_loaded_when_it_is_needed():
    code = "import sys, topokit.optimal.sdp; sys.exit('cvxpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def instead(monkeypatch, behaviour):
    """Let ``behaviour(program, solver)`` happen instead of solving; return the options of all calls."""
    calls = []
    solve = cp.Problem.solve

    def fake(program, *, solver, **options):
        calls.append(options | {"solver": solver})
        behaviour(program, SimpleNamespace(name=solver, solve=lambda: solve(program, solver="CLARABEL")))

    monkeypatch.setattr(cp.Problem, "solve", fake)
    return calls


def test_nothing_that_solvers_print_reaches_the_standard_output(monkeypatch, capfd):
    def talkative(program, solver):
        ctypes.CDLL(None).puts(b"from C")
        os.write(1, b"from a system call\n")
        print("from Python")
        solver.solve()

    instead(monkeypatch, talkative)
    print("before")
    ctypes.CDLL(None).puts(b"before, from C")
    sdp_weights(weight_problem(PAW, "fdla"))
    os.write(1, b"after\n")
    print("after", flush=True)
    ctypes.CDLL(None).fflush(None)
    written, errors = capfd.readouterr()
    assert sorted(written.splitlines()) == ["after", "after", "before", "before, from C"]
    assert errors == ""


@pytest.mark.skipif(sys.platform != "linux", reason="asks for C's own buffer")
def test_what_c_keeps_in_its_buffer_is_not_written_later():
    code = "import ctypes; from topokit.optimal.sdp import _silence\nwith _silence(): ctypes.CDLL(None).puts(b'from C')"
    # With PYTHONUNBUFFERED, C would have no buffer.
    ran = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONUNBUFFERED": ""}, capture_output=True, check=True
    )
    assert ran.stdout == b""


def test_the_next_solver_helps_out(monkeypatch):
    def no_licence(program, solver):
        if solver.name == "MOSEK":
            raise RuntimeError("the licence has\n expired")
        solver.solve()

    calls = instead(monkeypatch, no_licence)
    monkeypatch.setattr(cp, "installed_solvers", lambda: ["MOSEK", "CLARABEL"])
    assert sdp_weights(weight_problem(PAW, "fmmc")).solver == "CLARABEL"
    assert [call["solver"] for call in calls] == ["MOSEK", "CLARABEL"]
    with pytest.raises(ConvergenceError, match=r"^MOSEK failed: the licence has expired$"):
        sdp_weights(weight_problem(PAW, "fmmc"), solver="MOSEK")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "CLARABEL found no weights within the limits: it came back with None"),
        (np.nan, "CLARABEL found no weights within the limits"),
        (0.0, r"the weights of CLARABEL do not mix \(SLEM 1\)"),
    ],
)
def test_weights_that_are_none(monkeypatch, value, message):
    def useless(program, solver):
        [x] = (variable for variable in program.variables() if variable.shape)
        x.save_value(None if value is None else np.full(4, value))

    instead(monkeypatch, useless)
    with pytest.raises(ConvergenceError, match=message):
        sdp_weights(weight_problem(PAW, "fdla"), solver="CLARABEL")


@pytest.mark.parametrize("objective", ["fdla", "fmmc"])
def test_what_a_solver_claims_is_not_believed(monkeypatch, objective):
    rng = np.random.default_rng(0)

    def liar(program, solver):
        solver.solve()
        assert program.status == "optimal"
        for variable in program.variables():
            variable.value = variable.value + rng.uniform(-0.1, 0.1, variable.shape)
        for constraint in program.constraints:
            dual = constraint.dual_variables[0]
            dual.save_value(dual.value + rng.uniform(-0.1, 0.1, dual.shape))

    problem = weight_problem(PAW, objective)
    value = {"fdla": 3**-0.5, "fmmc": 7 / 11}[objective]
    instead(monkeypatch, liar)
    for _ in range(5):
        found = sdp_weights(problem, solver="CLARABEL")
        assert problem.excess(found.weights) <= 1e-12
        assert found.upper == pytest.approx(slem_of(problem, found.weights), abs=1e-12)
        assert found.lower < value < found.upper
        assert width(found.upper, found.lower) > 1e-3


@pytest.mark.parametrize(
    ("solver", "expected"),
    [
        ("CLARABEL", {"time_limit": 5.0}),
        ("SCS", {"time_limit_secs": 5.0}),
        ("MOSEK", {"mosek_params": {"MSK_DPAR_OPTIMIZER_MAX_TIME": 5.0}}),
        ("SDPA", {}),
    ],
)
def test_the_time_limit_is_handed_on(monkeypatch, solver, expected):
    calls = instead(monkeypatch, lambda program, solver: solver.solve())
    monkeypatch.setattr(cp, "installed_solvers", lambda: list(SOLVERS))
    sdp_weights(weight_problem(PAW, "fdla"), solver=solver, time_limit=5.0)
    sdp_weights(weight_problem(PAW, "fdla"), solver=solver)
    limited, unlimited = calls
    assert limited == unlimited | expected
    assert not set(expected) & set(unlimited)


def test_a_solver_that_is_cut_short_gives_honest_weights(monkeypatch):
    # A few steps from the start, whatever the speed of the machine.
    solve = cp.Problem.solve
    steps = iter((4, 6, 8, 10))
    cut_short = lambda program, **options: solve(program, **options, max_iter=next(steps))  # noqa: E731
    monkeypatch.setattr(cp.Problem, "solve", cut_short)
    problem = weight_problem(nx.random_regular_graph(4, 32, seed=1), "fmmc")
    widths = []
    for _ in range(4):
        found = sdp_weights(problem, solver="CLARABEL")
        assert found.lower <= 0.7594353 <= found.upper + 1e-6
        assert found.upper == pytest.approx(slem_of(problem, found.weights), abs=1e-12)
        widths.append(width(found.upper, found.lower))
    assert widths[-1] < 1e-2 < widths[0]
