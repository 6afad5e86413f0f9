from fractions import Fraction
from math import cos, pi, sqrt

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import topokit.metrics.acid
from topokit.errors import GraphError, InputError, ScheduleError
from topokit.metrics.acid import acid_constants


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


# n, chi1, chi2, sqrt(chi1 chi2), eta, alpha_tilde
TABLE = {
    "complete 16": (nx.complete_graph(16), 0.9375, 0.9375, 0.9375, 0.533333, 0.5),
    "complete 64": (nx.complete_graph(64), 0.9844, 0.9844, 0.9844, 0.507937, 0.5),
    "exponential 16": (exponential(16), 1.75, 0.9571, 1.2942, 0.386336, 0.676088),
    "exponential 64": (exponential(64), 2.75, 1.0007, 1.6589, 0.301400, 0.828851),
    "ring 4": (nx.cycle_graph(4), 1.0, 0.75, 0.8660, 0.577350, 0.577350),
    "ring 8": (nx.cycle_graph(8), 3.4142, 0.8750, 1.7284, 0.289281, 0.987669),
    "ring 16": (nx.cycle_graph(16), 13.1371, 0.9375, 3.5094, 0.142474, 1.871689),
    "ring 32": (nx.cycle_graph(32), 52.0434, 0.9688, 7.1005, 0.070418, 3.664773),
    "ring 64": (nx.cycle_graph(64), 207.6725, 0.9844, 14.2978, 0.034970, 7.262385),
    "torus 8x8": (numbered(nx.grid_2d_graph(8, 8, periodic=True)), 6.8284, 0.9844, 2.5926, 0.192854, 1.316892),
    "hypercube 16": (numbered(nx.hypercube_graph(4)), 2.0, 0.9375, 1.3693, 0.365148, 0.730297),
    "hypercube 64": (numbered(nx.hypercube_graph(6)), 3.0, 0.9844, 1.7185, 0.290957, 0.872872),
}


@pytest.mark.parametrize("name", TABLE)
def test_table_of_constants(name):
    graph, chi1, chi2, mean, eta, alpha_tilde = TABLE[name]
    found = constants(graph)
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
            patch.setattr(topokit.metrics.acid, "DENSE_LIMIT", limit)
            patch.setattr(topokit.metrics.acid, "COLUMNS", 4)
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
    ring = constants(nx.cycle_graph(5000))
    assert ring.chi1 == pytest.approx(1 / (1 - cos(2 * pi / 5000)), rel=1e-7)
    assert ring.chi2 == pytest.approx(4999 / 5000, rel=1e-9)
    torus = constants(numbered(nx.grid_2d_graph(36, 36, periodic=True)))
    assert torus.chi1 == pytest.approx(2 / (1 - cos(2 * pi / 36)), rel=1e-9)
    assert torus.chi2 == pytest.approx(1295 / 1296, rel=1e-9)


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
