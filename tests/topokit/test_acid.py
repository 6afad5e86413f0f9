from fractions import Fraction
from math import cos, inf, pi, sin, sqrt

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import topokit.metrics.resistance.connectivity
import topokit.metrics.resistance.effective
from topokit.designer import design
from topokit.errors import ConvergenceError, GraphError, InputError, ScheduleError
from topokit.kinds import Cyclic, Matchings, Sampled
from topokit.matrix import MixingMatrix
from topokit.metrics.acid import acid_constants, acid_constants_of, natural_rates
from topokit.metrics.resistance.circuit import Circuit
from topokit.metrics.resistance.connectivity import algebraic_connectivity
from topokit.registry import TOPOLOGIES
from topokit.topologies import one_peer_exponential
from topokit.weights import metropolis_hastings_weights


def numbered(graph):
    return nx.convert_node_labels_to_integers(graph)


def exponential(nodes):
    return nx.circulant_graph(nodes, [1 << j for j in range((nodes - 1).bit_length())])


def rates_of(graph):
    """Every node averages once in a unit of time where all degrees are equal."""
    degree = dict(graph.degree)
    return [Fraction(1, 2 * degree[u]) + Fraction(1, 2 * degree[v]) for u, v in graph.edges]


def constants(graph):
    return acid_constants(len(graph), list(graph.edges), rates_of(graph))


def authors_exponential(nodes):
    """Simple, with the rates of a list of neighbours that names the opposite node twice."""
    graph = exponential(nodes)
    neighbours = 2 * (nodes - 1).bit_length()
    return graph, [Fraction(2 if abs(u - v) == nodes // 2 else 1, neighbours) for u, v in graph.edges]


# n, chi1, chi2, sqrt(chi1 chi2), eta, alpha_tilde, sqrt(chi1 / chi2)
TABLE = {
    "complete 16": (nx.complete_graph(16), 0.9375, 0.9375, 0.9375, 0.533333, 0.5, 1),
    "complete 64": (nx.complete_graph(64), 0.9844, 0.9844, 0.9844, 0.507937, 0.5, 1),
    "exponential 16": (exponential(16), 1.75, 0.9571, 1.2942, 0.386336, 0.676088, 1.352),
    "exponential 64": (exponential(64), 2.75, 1.0007, 1.6589, 0.301400, 0.828851, 1.658),
    "ring 4": (nx.cycle_graph(4), 1.0, 0.75, 0.8660, 0.577350, 0.577350, 1.155),
    "ring 8": (nx.cycle_graph(8), 3.4142, 0.8750, 1.7284, 0.289281, 0.987669, 1.975),
    "ring 16": (nx.cycle_graph(16), 13.1371, 0.9375, 3.5094, 0.142474, 1.871689, 3.743),
    "ring 32": (nx.cycle_graph(32), 52.0434, 0.9688, 7.1005, 0.070418, 3.664773, 7.33),
    "ring 64": (nx.cycle_graph(64), 207.6725, 0.9844, 14.2978, 0.034970, 7.262385, 14.525),
    "torus 8x8": (numbered(nx.grid_2d_graph(8, 8, periodic=True)), 6.8284, 0.9844, 2.5926, 0.192854, 1.316892, 2.634),
    "hypercube 16": (numbered(nx.hypercube_graph(4)), 2.0, 0.9375, 1.3693, 0.365148, 0.730297, 1.461),
    "hypercube 64": (numbered(nx.hypercube_graph(6)), 3.0, 0.9844, 1.7185, 0.290957, 0.872872, 1.746),
    "authors' exponential 16": (authors_exponential(16), 2.0, 1.0097, 1.4210, 0.351858, 0.703716, 1.407),
    "authors' exponential 64": (authors_exponential(64), 3.0, 1.0241, 1.7528, 0.285262, 0.855785, 1.712),
}


@pytest.mark.parametrize("name", TABLE)
def test_table_of_constants(name):
    graph, chi1, chi2, mean, eta, alpha_tilde, ratio = TABLE[name]
    graph, rates = graph if isinstance(graph, tuple) else (graph, rates_of(graph))
    found = acid_constants(len(graph), list(graph.edges), rates)
    assert found.exact
    assert found.acceleration == pytest.approx(ratio, abs=5.1e-4)
    assert (found.chi1, found.chi2) == pytest.approx((chi1, chi2), abs=5.1e-5)
    assert sqrt(found.chi1 * found.chi2) == pytest.approx(mean, abs=5.1e-5)
    assert (found.eta, found.alpha, found.alpha_tilde) == pytest.approx((eta, 0.5, alpha_tilde), abs=5.1e-7)


@pytest.mark.parametrize("nodes", [3, 4, 9, 25, 100, 1000])
def test_closed_forms(nodes):
    edge_transitive = (nodes - 1) / nodes  # Foster: sum_e rate_e R_e = n - 1
    ring = constants(nx.cycle_graph(nodes))
    assert ring.chi1 == pytest.approx(1 / (1 - cos(2 * pi / nodes)), rel=1e-9)
    assert ring.chi2 == pytest.approx(edge_transitive, rel=1e-9)
    if nodes <= 100:
        complete = constants(nx.complete_graph(nodes))
        assert (complete.chi1, complete.chi2) == pytest.approx((edge_transitive, edge_transitive), rel=1e-12)
        assert complete.alpha_tilde == pytest.approx(0.5, rel=1e-9)


@pytest.mark.parametrize("dimension", [1, 2, 5, 8])
def test_hypercubes(dimension):
    found = constants(numbered(nx.hypercube_graph(dimension)))
    assert found.chi1 == pytest.approx(dimension / 2, rel=1e-12)
    assert found.chi2 == pytest.approx(1 - 2.0**-dimension, rel=1e-12)


def test_in_a_tree_every_edge_is_its_own_resistance():
    rates = [1, 0.25, 3]
    found = acid_constants(4, [(0, 1), (2, 1), (3, 1)], rates)
    assert found.chi2 == pytest.approx(1 / (2 * min(rates)), rel=1e-14)


@given(st.integers(3, 18), st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_both_methods_give_the_resistances_of_networkx(nodes, seed):
    rng = np.random.default_rng(seed)
    graph = nx.compose(nx.gnp_random_graph(nodes, 0.3, seed=seed), nx.path_graph(nodes))
    edges = rng.permutation([edge if rng.random() < 0.5 else edge[::-1] for edge in graph.edges])
    rates = rng.uniform(0.1, 3, len(edges))
    nx.set_edge_attributes(graph, {tuple(e): r for e, r in zip(edges.tolist(), rates, strict=True)}, "rate")
    resistance = nx.resistance_distance(graph, weight="rate", invert_weight=False)
    mu2 = np.linalg.eigvalsh(nx.laplacian_matrix(graph, weight="rate").toarray())[1]
    foster = sum(r * resistance[u][v] for (u, v), r in zip(edges.tolist(), rates, strict=True))
    assert foster == pytest.approx(nodes - 1, rel=1e-9)  # of the oracle
    for limit in (1, 1000):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(topokit.metrics.resistance.connectivity, "DENSE_LIMIT", limit)
            patch.setattr(topokit.metrics.resistance.effective, "DENSE_LIMIT", limit)
            found = acid_constants(nodes, edges, rates)
            scaled = acid_constants(nodes, edges, 2 * rates)
        assert found.chi1 == pytest.approx(1 / mu2, rel=1e-9)
        assert found.chi2 == pytest.approx(max(resistance[u][v] for u, v in edges.tolist()) / 2, rel=1e-9)
        assert (nodes - 1) / (2 * rates.sum()) <= found.chi2 * (1 + 1e-12)
        assert found.chi2 <= found.chi1 * (1 + 1e-12)
        assert found.eta == pytest.approx(1 / (2 * sqrt(found.chi1 * found.chi2)), rel=1e-12)
        assert found.alpha_tilde == pytest.approx(sqrt(found.chi1 / found.chi2) / 2, rel=1e-12)
        # Twice the rates are the same thing in half the time.
        assert (scaled.chi1, scaled.chi2) == pytest.approx((found.chi1 / 2, found.chi2 / 2), rel=1e-9)
        assert (scaled.eta, scaled.alpha_tilde) == pytest.approx((2 * found.eta, found.alpha_tilde), rel=1e-9)


def test_large_graphs():
    # Paths and grids have no translations: these are factorised.
    path = acid_constants_of(nx.path_graph(5000))
    assert (path.chi2, path.method) == (1.0, "tree")
    grid = numbered(nx.grid_2d_graph(30, 35))
    edges = np.array(grid.edges)
    found = acid_constants(1050, edges, np.full(len(edges), 0.5))
    assert found.chi1 == pytest.approx(1 / (1 - cos(pi / 35)), rel=1e-9)
    assert found.method == "factorization"
    ring = constants(nx.cycle_graph(5000))
    assert ring.chi1 == pytest.approx(0.5 / sin(pi / 5000) ** 2, rel=1e-12)
    assert ring.chi2 == pytest.approx(4999 / 5000, rel=1e-12)
    torus = constants(numbered(nx.grid_2d_graph(36, 36, periodic=True)))
    assert torus.chi1 == pytest.approx(2 / (1 - cos(2 * pi / 36)), rel=1e-12)
    assert torus.chi2 == pytest.approx(1295 / 1296, rel=1e-12)


@pytest.mark.parametrize("graph", [nx.random_regular_graph(4, 900, seed=2), nx.barabasi_albert_graph(900, 2, seed=2)])
def test_graphs_too_large_to_factorise_say_so(graph, monkeypatch):
    exact = acid_constants_of(graph)
    monkeypatch.setattr(Circuit, "factor_work", inf)
    monkeypatch.setattr(Circuit, "dense_work", inf)
    estimate = acid_constants_of(graph)
    assert exact.exact
    assert exact.method == "factorization"
    assert not estimate.exact
    assert estimate.method == "projection"
    assert estimate.chi1 == pytest.approx(exact.chi1, rel=1e-6)
    low, high = estimate.chi2_bounds
    assert low * (1 - 1e-9) <= exact.chi2 <= high == estimate.chi2
    assert estimate.eta <= exact.eta
    assert "at least" in estimate.sentence()


def test_what_takes_too_long_is_given_up():
    graph = nx.connected_watts_strogatz_graph(3000, 4, 0.01, seed=1)
    with pytest.raises(ConvergenceError, match="the algebraic connectivity of 3000 nodes is only known to be from"):
        algebraic_connectivity(Circuit.of(graph), max_seconds=0.0)


def decay(graph, eta, alpha, alpha_tilde):
    """The rate at which E||z||^2 falls at least, z = (x, x~) without means: from the equation of E[z z^T]."""
    nodes = len(graph)
    basis = np.linalg.svd(np.eye(nodes) - 1 / nodes)[0][:, : nodes - 1]
    size = nodes - 1
    copies = 2 if eta else 1
    flow = np.kron([[-eta, eta], [eta, -eta]], np.eye(size)) if eta else np.zeros((size, size))
    eye = np.eye(copies * size)
    lifted = np.kron(flow, eye) + np.kron(eye, flow)
    for (u, v), rate in zip(graph.edges, rates_of(graph), strict=True):
        a = basis[u] - basis[v]
        jump = eye.copy()
        jump[:size, :size] -= alpha * np.outer(a, a)
        if eta:
            jump[size:, :size] -= alpha_tilde * np.outer(a, a)
        lifted += float(rate) * (np.kron(jump, jump) - np.kron(eye, eye))
    return -np.linalg.eigvals(lifted).real.max()


@pytest.mark.parametrize(
    ("graph", "plain", "accelerated"),
    [
        (nx.cycle_graph(8), 0.268056, 0.359864),
        (nx.cycle_graph(12), 0.130683, 0.255261),
        (nx.path_graph(8), 0.076756, 0.194081),
        (nx.complete_graph(8), 0.571429, 0.571429),
    ],
)
def test_gossip_is_as_fast_as_the_constants_promise(graph, plain, accelerated):
    found = constants(graph)
    baseline, acid = decay(graph, 0, 0.5, 0.5), decay(graph, found.eta, found.alpha, found.alpha_tilde)
    assert (baseline, acid) == pytest.approx((plain, accelerated), abs=1e-6)
    assert baseline >= (1 - 1e-9) / (2 * found.chi1)
    assert acid >= (1 - 1e-9) * found.eta


@given(st.integers(2, 9), st.integers(0, 10**6), st.floats(1, 3), st.floats(1, 3))
@settings(max_examples=25, deadline=None)
def test_the_energy_of_the_proof_falls_as_fast_as_promised(nodes, seed, more1, more2):
    """V = |x - mean|^2 + (1/chi1) x~^T L^+ x~ has dE V/dt <= -eta V, also with constants that are too large."""
    rng = np.random.default_rng(seed)
    graph = nx.compose(nx.gnp_random_graph(nodes, 0.4, seed=seed), nx.random_labeled_tree(nodes, seed=seed))
    edges, rates = list(graph.edges), np.exp(rng.uniform(-2, 2, graph.number_of_edges()))
    found = acid_constants(nodes, edges, rates)
    chi1, chi2 = found.chi1 * more1 * more2, found.chi2 * more2
    eta, alpha_tilde = 1 / (2 * sqrt(chi1 * chi2)), sqrt(chi1 / chi2) / 2
    eye, centred = np.eye(nodes), np.eye(nodes) - 1 / nodes
    incidence = np.array([eye[u] - eye[v] for u, v in edges])
    laplacian = incidence.T @ np.diag(rates) @ incidence
    zero = np.zeros((nodes, nodes))
    V = np.block([[centred, zero], [zero, np.linalg.pinv(laplacian, hermitian=True) / chi1]])
    flow = np.kron([[-eta, eta], [eta, -eta]], centred)
    change = flow.T @ V + V @ flow
    for a, rate in zip(incidence, rates, strict=True):
        jump = np.eye(2 * nodes)
        jump[:nodes, :nodes] -= np.outer(a, a) / 2
        jump[nodes:, :nodes] -= alpha_tilde * np.outer(a, a)
        change += rate * (jump.T @ V @ jump - V)
    assert np.linalg.eigvalsh(change + eta * V).max() <= 1e-9 * eta * max(1, np.abs(V).max())


# --- rates ------------------------------------------------------------------------------------------------------------


def rates_by_edge(source, rate=None):
    nodes, edges, rates = natural_rates(source, rate)
    assert rates.sum() == pytest.approx(nodes * (rate or 1) / 2, rel=1e-12)
    return {tuple(sorted(edge)): value for edge, value in zip(edges.tolist(), rates.tolist(), strict=True)}


@pytest.mark.parametrize("name", ["ring", "torus", "hypercube", "complete", "star", "path"])
def test_a_graph_has_the_rates_of_its_pairwise_schedule(name):
    schedule = design("pairwise", 16, graph=name, rate=0.5)
    _, edges, rates = natural_rates(schedule)
    assert dict(zip(map(tuple, edges.tolist()), rates.tolist(), strict=True)) == pytest.approx(
        rates_by_edge(TOPOLOGIES[name].build(16), 0.5)
    )
    assert acid_constants_of(schedule) == acid_constants(16, edges, rates)
    if name in ("ring", "torus", "hypercube", "complete"):  # regular: the same from the mixing matrix
        assert rates_by_edge(design(name, 16), 0.5) == pytest.approx(
            dict(zip(map(tuple, edges.tolist()), rates.tolist(), strict=True))
        )


@pytest.mark.parametrize("nodes", [16, 64])
def test_the_exponential_schedules_are_the_authors_graph(nodes):
    graph, rates = authors_exponential(nodes)
    wanted = {tuple(sorted(edge)): float(rate) for edge, rate in zip(graph.edges, rates, strict=True)}
    for name in ("exponential", "one-peer-exponential"):
        assert rates_by_edge(design(name, nodes)) == pytest.approx(wanted)


def test_rates_of_periods_draws_and_matchings():
    rounds = one_peer_exponential(4)
    assert rates_by_edge(Cyclic(rounds)) == pytest.approx(
        {(0, 1): 1 / 4, (1, 2): 1 / 4, (2, 3): 1 / 4, (0, 3): 1 / 4, (0, 2): 1 / 2, (1, 3): 1 / 2}
    )
    drawn = rates_by_edge(Sampled(rounds, ["3/4", "1/4"], seed=0), 2)
    # 4 edges with 3/4 of half a message, 2 edges with 1/4 of two halves
    assert drawn[0, 1] / drawn[0, 2] == pytest.approx(3 / 2)
    matcha = rates_by_edge(Matchings(4, [[(0, 1), (2, 3)], [(1, 2)]], ["1", "1/2"], "1/2", seed=0))
    assert matcha == pytest.approx({(0, 1): 0.8, (2, 3): 0.8, (1, 2): 0.4})
    weighted = metropolis_hastings_weights(nx.star_graph(3))
    assert rates_by_edge(weighted, 0.5) == pytest.approx({(0, k): 1 / 3 for k in (1, 2, 3)})


@pytest.mark.parametrize(
    ("source", "rate", "message"),
    [
        (nx.path_graph(3), 0, "rate must be a positive number"),
        (design("pairwise", 4), 1.0, "rates of its own"),
        (design("ceca-2p", 5), None, "rounds that average one value a node"),
        (design("tree-push-pull", 5), None, "rounds that average one value a node"),
        (design("random-matching", 6), None, "too many to list; take its graph"),
        (design("teleportation", 6, active=(2,)), None, "a teleport schedule draws its rounds from too many"),
        (MixingMatrix.from_matrix(np.array([[1.2, -0.2], [-0.2, 1.2]])), None, "an edge has a negative weight"),
        (np.eye(3), None, "need a graph, or rounds"),
    ],
)
def test_what_has_no_rates_is_refused(source, rate, message):
    with pytest.raises(InputError, match=message):
        acid_constants_of(source, rate)


@pytest.mark.parametrize(
    ("nodes", "edges", "rates", "error", "message"),
    [
        (1, [], [], InputError, "at least 2 nodes, got 1"),
        (4, [(0, 1), (2, 3)], [1, 1], GraphError, "disconnected .*: node 0 cannot reach node 2"),
        (3, [(0, 1)], [1], GraphError, "node 0 cannot reach node 2"),
        (2, [(0, 1)], [0], ScheduleError, r"rates\[0\] is 0; expected a positive rate"),
        (2, [(0, 1)], [1, 1], ScheduleError, "1 edges and 2 rates"),
        (2, [(0, 2)], [1], ScheduleError, "numbered 0 to 1"),
    ],
)
def test_what_has_no_constants_is_refused(nodes, edges, rates, error, message):
    with pytest.raises(error, match=message):
        acid_constants(nodes, edges, rates)
