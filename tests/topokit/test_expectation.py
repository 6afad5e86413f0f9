import itertools
from fractions import Fraction

import networkx as nx
import numpy as np
import pytest
from enumeration import outcomes
from hypothesis import given, settings
from hypothesis import strategies as st

import topokit.metrics.expectation.closed_form
from topokit.kinds import Cyclic, Drawn, Matchings, Pairwise, Sampled, Teleport
from topokit.kinds.samplers import matched_by_shift
from topokit.matrix import MixingMatrix
from topokit.metrics.expectation import expected_contraction, pairs_by_shift, why_not
from topokit.metrics.expectation.tokens import token_contractions
from topokit.topologies import one_peer_exponential, one_peer_hypercube


def dense(nodes, entries):
    W = np.full((nodes, nodes), Fraction(0))
    for entry, weight in entries.items():
        W[entry] = weight
    return W


def worst(square):
    """Largest eigenvalue of an exact E[W^T W] on the complement of 1."""
    nodes = len(square)
    basis = np.linalg.qr(np.hstack([np.ones((nodes, 1)), np.eye(nodes)[:, 1:]]))[0][:, 1:]
    return np.linalg.eigvalsh(basis.T @ square.astype(float) @ basis)[-1]


def enumerated(name, nodes, parameters):
    total, number = np.full((nodes, nodes), Fraction(0)), 0
    for entries in outcomes(name, nodes, parameters):
        W = dense(nodes, entries)
        total, number = total + W.T @ W, number + 1
    return worst(total / number)


# --- samplers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "nodes", "parameters"),
    [
        ("matching", 2, {}),
        ("matching", 5, {}),
        ("matching", 4, {"peers": 2}),
        ("matching", 3, {"peers": 2}),
        ("groups", 5, {"size": 2}),
        ("groups", 5, {"size": 3}),
        ("groups", 4, {"size": 4}),
        ("shift", 6, {}),
        ("shift", 7, {"eta": "2/3"}),
        ("shift", 8, {"eta": 0.53, "shifts": [1, 2, 2, 5]}),
        ("shift", 6, {"shifts": [2, 4]}),
        ("shift-matching", 2, {}),
        ("shift-matching", 7, {}),
        ("shift-matching", 8, {"eta": "9/16"}),
        ("shift-matching", 9, {"eta": 0.7, "shifts": [1, 3, 3]}),
        ("epidemic", 4, {"peers": 1}),
        ("epidemic", 4, {"peers": 2}),
        ("epidemic", 4, {"peers": 3}),
    ],
)
def test_samplers_against_everything_that_they_can_draw(name, nodes, parameters):
    found = expected_contraction(Drawn(nodes, name, parameters, 0))
    assert found.value == pytest.approx(enumerated(name, nodes, parameters), abs=1e-13)


@pytest.mark.parametrize(
    ("name", "nodes", "parameters"),
    [
        ("matching", 10, {}),
        ("matching", 9, {"peers": 4}),
        ("groups", 10, {"size": 4}),
        ("shift", 10, {"eta": "3/5"}),
        ("shift-matching", 10, {}),
        ("epidemic", 10, {"peers": 3}),
    ],
)
def test_samplers_against_many_draws(name, nodes, parameters):
    kind = Drawn(nodes, name, parameters, 5)
    # Errors of random directions, after one round each.
    x = np.random.default_rng(0).standard_normal((1500, nodes))
    x -= x.mean(axis=1, keepdims=True)
    squares = [np.sum((kind.round(t).to_dense() @ x[t]) ** 2) for t in range(len(x))]
    ratio = np.sum(squares) / np.sum(x**2)
    found = expected_contraction(kind)
    # Equal where all directions are alike; for pairs by shifts the worst direction is a little slower than the mean.
    assert ratio == pytest.approx(found.value, abs=0.02 if name != "shift-matching" else 0.05)
    assert ratio < found.value + 0.02


@pytest.mark.parametrize("nodes", [2, 4, 6, 16, 1000, 10**6])
def test_one_random_peer(nodes):
    found = expected_contraction(Drawn(nodes, "matching", {}, 0))
    assert found.value == pytest.approx(1 / 2 - 1 / (2 * (nodes - 1)), abs=1e-15)
    assert found.method == "closed form"
    assert expected_contraction(Drawn(nodes, "groups", {"size": 2}, 0)).value == pytest.approx(found.value, abs=1e-15)
    assert expected_contraction(Drawn(nodes + 1, "matching", {}, 0)).value == 1 / 2


@settings(deadline=None)
@given(st.integers(2, 60), st.fractions(0, 1, max_denominator=100).filter(bool))
def test_all_shifts_by_formula_and_one_by_one(nodes, eta):
    by_formula = expected_contraction(Drawn(nodes, "shift", {"eta": str(eta)}, 0))
    one_by_one = expected_contraction(Drawn(nodes, "shift", {"eta": str(eta), "shifts": list(range(1, nodes))}, 0))
    assert (by_formula.method, one_by_one.method) == ("closed form", "enumeration")
    assert by_formula.value == float((1 - eta) ** 2 + eta**2 * (1 - Fraction(2, nodes)))
    assert one_by_one.value == pytest.approx(by_formula.value, abs=1e-13)


def test_the_best_eta_of_shifts():
    def value(eta):
        return expected_contraction(Drawn(17, "shift", {"eta": str(eta)}, 0)).value

    best = Fraction(17, 32)
    assert value(best) < min(value(best - Fraction(1, 1000)), value(best + Fraction(1, 1000)), value(0.53))


def test_published_range_of_matching_by_shifts():
    # Reported .52 to .565 at eta = 1/2 for sizes from 5 to 48; over all these sizes it is .5078 (n = 8) to .567 (45).
    values = {n: expected_contraction(Drawn(n, "shift-matching", {}, 0)).value for n in range(5, 49)}
    assert values[5] == pytest.approx(0.52, abs=1e-12)
    assert values[48] == pytest.approx(0.565, abs=1e-3)
    assert (min(values, key=values.get), max(values, key=values.get)) == (8, 45)
    assert values[8] == pytest.approx(0.5078125, abs=1e-12)
    assert values[45] < 0.5671


def test_shifts_that_do_not_connect_do_not_contract():
    for name in ("shift", "shift-matching"):
        found = expected_contraction(Drawn(6, name, {"shifts": [2, 4]}, 0))
        assert found.value == pytest.approx(1, abs=1e-15)


# --- lists, matchings, pairs ------------------------------------------------------------------------------------------


def exchange(nodes, *pairs):
    W = np.eye(nodes)
    for u, v in pairs:
        W[u, u] = W[v, v] = W[u, v] = W[v, u] = 0.5
    return W


def test_lists_of_rounds():
    rounds = [exchange(4, (0, 1), (2, 3)), exchange(4, (1, 2)), np.roll(np.eye(4), 1, axis=1)]
    chances = [Fraction(1, 2), Fraction(1, 6), Fraction(1, 3)]
    kind = Sampled(map(MixingMatrix.from_matrix, rounds), chances, seed=0)
    found = expected_contraction(kind)
    square = sum(float(p) * W.T @ W for p, W in zip(chances, rounds, strict=True))
    assert found.method == "enumeration"
    assert found.value == pytest.approx(worst(square), abs=1e-14)


def test_lists_of_circulant_rounds():
    rounds, chances = one_peer_exponential(12), [0.1, 0.2, 0.3, 0.4]
    found = expected_contraction(Sampled(rounds, chances, seed=0))
    square = sum(p * W.to_dense().T @ W.to_dense() for p, W in zip(chances, rounds, strict=True))
    assert found.value == pytest.approx(worst(square), abs=1e-14)


def test_large_lists_with_fourier_modes():
    found = expected_contraction(Sampled(one_peer_exponential(4096), ["1/12"] * 12, seed=0))
    modes = np.arange(1, 4096)
    square = sum((1 + np.cos(2 * np.pi * modes * 2**t / 4096)) / 2 for t in range(12)) / 12
    assert found.value == pytest.approx(square.max(), abs=1e-13)
    # Of the squares of twelve commuting projections, the worst mode is left alone by all but one.
    found = expected_contraction(Sampled(one_peer_hypercube(4096), ["1/12"] * 12, seed=0))
    assert found.value == pytest.approx(11 / 12, abs=1e-13)


def laplacian(nodes, edges):
    return nx.laplacian_matrix(nx.Graph([*edges, *((i, i) for i in range(nodes))])).toarray() * 1.0


@pytest.mark.parametrize("weight", ["1/2", 0.3, "7/10"])
def test_matchings_against_all_subsets(weight):
    nodes, matchings = 6, [[(0, 1), (2, 3), (4, 5)], [(1, 2), (3, 4)], [(0, 5)], [(1, 4)]]
    chances = [0.5, 0.9, 1.0, 0.25]
    kind = Matchings(nodes, matchings, chances, weight, seed=0)
    square = np.zeros((nodes, nodes))
    for active in itertools.product([0, 1], repeat=4):
        p = np.prod([q if on else 1 - q for q, on in zip(chances, active, strict=True)])
        W = np.eye(nodes)
        for edges, on in zip(matchings, active, strict=True):
            for u, v in edges:
                e = (np.eye(nodes)[u] - np.eye(nodes)[v]) * on
                W -= float(Fraction(weight)) * np.outer(e, e)
        square += p * W.T @ W
    found = expected_contraction(kind)
    assert found.method == "closed form"
    assert found.value == pytest.approx(worst(square), abs=1e-14)


def test_matchings_without_edges_do_not_contract():
    assert expected_contraction(Matchings(3, [[]], [1], "1/2", 0)).value == pytest.approx(1, abs=1e-15)


def test_pairs_against_all_events():
    nodes, edges, rates = 5, [(0, 1), (1, 2), (2, 3), (3, 4), (0, 2)], [1, "1/2", 2, 0.25, "1/3"]
    weights = [float(Fraction(rate)) for rate in rates]
    square = sum(p * (W := exchange(nodes, e)).T @ W for p, e in zip(weights, edges, strict=True)) / sum(weights)
    found = expected_contraction(Pairwise(nodes, edges, rates, seed=0))
    assert found.method == "closed form"
    assert found.value == pytest.approx(worst(square), abs=1e-14)


@pytest.mark.parametrize("nodes", [2, 3, 9])
def test_pairs_of_the_complete_graph(nodes):
    # E W = I - L / (n (n - 1)), and every eigenvalue of L is n or 0: 1 - 1/(n - 1).
    edges = list(itertools.combinations(range(nodes), 2))
    found = expected_contraction(Pairwise(nodes, edges, [3] * len(edges), seed=0))
    assert found.value == pytest.approx(1 - 1 / (nodes - 1), abs=1e-14)


# --- large schedules --------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 60))
def test_pairs_are_counted_as_the_sampler_finds_them(nodes):
    shifts = np.arange(1, nodes)
    assert pairs_by_shift(nodes, shifts).tolist() == [len(matched_by_shift(nodes, int(u), 0)) for u in shifts]


def test_a_million_nodes_matched_by_shift():
    found = expected_contraction(Drawn(10**6, "shift-matching", {}, 0))
    assert found.method == "enumeration"
    assert found.value == pytest.approx(expected_contraction(Drawn(2000, "shift-matching", {}, 0)).value, abs=1e-3)


def drawn_kind(which, seed):
    generator = np.random.default_rng(seed)
    nodes = int(generator.integers(100, 200))
    graph = nx.compose(nx.path_graph(nodes), nx.gnm_random_graph(nodes, nodes // 2, seed=seed))
    edges, numbers = list(graph.edges), generator.uniform(0.1, 1, graph.number_of_edges())
    if which == "pairwise":
        return Pairwise(nodes, edges, numbers, 0)
    if which == "matchings":  # weights above 1/2 make differences grow: the value may exceed 1
        return Matchings(nodes, [[e] for e in edges], numbers, [0.2, 0.5, 0.7][seed], 0)
    left = [nx.Graph(edges[k::20]) for k in range(20)]
    rounds = [MixingMatrix.from_matrix(exchange(nodes, *nx.maximal_matching(part))) for part in left]
    return Sampled(rounds, numbers[:20] / numbers[:20].sum(), 0)


@pytest.mark.parametrize("which", ["pairwise", "matchings", "sampled"])
@pytest.mark.parametrize("seed", range(3))
def test_sparse_methods_find_what_dense_ones_do(which, seed, monkeypatch):
    kind = drawn_kind(which, seed)
    by_decomposition = expected_contraction(kind)
    monkeypatch.setattr(topokit.metrics.expectation.closed_form, "DENSE_LIMIT", 1)
    found = expected_contraction(kind)
    assert found.value == pytest.approx(by_decomposition.value, abs=1e-9)
    assert found.method == by_decomposition.method


def test_large_schedules_with_known_values():
    ring = [(i, (i + 1) % 3000) for i in range(3000)]
    slowest = 2 - 2 * np.cos(2 * np.pi / 3000)
    found = expected_contraction(Pairwise(3000, ring, [1] * 3000, 0))
    assert 1 - found.value == pytest.approx(slowest / 6000, rel=1e-5)
    # Both matchings of the ring with probability 1/2: (1 - s/4)^2 + s/8 for every eigenvalue s, largest for the least.
    found = expected_contraction(Matchings(3000, [ring[::2], ring[1::2]], ["1/2", "1/2"], "1/2", 0))
    assert 1 - found.value == pytest.approx(slowest / 2 - slowest**2 / 16 - slowest / 8, rel=1e-4)
    # Numbered at random, a hypercube shows its Fourier modes to nobody.
    order = np.random.default_rng(0).permutation(2048)
    rounds = [
        MixingMatrix.from_entries(2048, order[W.target], order[W.source], W.weight) for W in one_peer_hypercube(2048)
    ]
    assert expected_contraction(Sampled(rounds, ["1/11"] * 11, 0)).value == pytest.approx(10 / 11, abs=1e-9)


def test_what_does_not_come_together_is_not_told_as_a_value(monkeypatch):
    monkeypatch.setattr(topokit.metrics.expectation.closed_form, "SECONDS", 0.0)
    graph = nx.random_regular_graph(3, 2002, seed=0)
    kind = Pairwise(2002, graph.edges, [1] * 3003, 0)
    assert expected_contraction(kind) is None
    assert "after 0 seconds it is known to lie between" in why_not(kind)


# --- what has none ----------------------------------------------------------------------------------------------------


def test_nothing_is_said_where_nothing_is_known():
    rounds = one_peer_hypercube(4)
    moving = MixingMatrix.from_matrix(np.array([[0.5, 0.5], [0.0, 1.0]]))
    for kind, reason in (
        (Cyclic(rounds), "nothing is drawn"),
        (Teleport(6, [rounds], seed=0), "values travel with the tokens"),
        (Drawn(6, "epidemic-local", {}, 0), "row-stochastic, and the mean moves"),
        (Sampled([moving], [1], seed=0, mixing="row-stochastic"), "row-stochastic, and the mean moves"),
    ):
        assert expected_contraction(kind, draws=100) is None
        assert reason in why_not(kind)


# --- tokens -----------------------------------------------------------------------------------------------------------


def test_tokens_contract_by_the_period_among_them():
    ring = MixingMatrix.from_matrix((np.eye(5) + np.roll(np.eye(5), 1, 0) + np.roll(np.eye(5), -1, 0)) / 3)
    alone = MixingMatrix.from_matrix(np.eye(1))
    kind = Teleport(20, [one_peer_hypercube(4), [ring, ring], one_peer_exponential(6), [alone]], seed=0)
    exact, slow, other, single = token_contractions(kind)
    assert (exact.value, exact.status) == (0.0, "proved")
    beta = (1 + 2 * np.cos(2 * np.pi / 5)) / 3
    assert slow.value == pytest.approx(beta**4, abs=1e-14)
    assert slow.per_round == pytest.approx(beta**2, abs=1e-14)
    product = np.linalg.multi_dot([W.to_dense() for W in reversed(one_peer_exponential(6))])
    assert other.value == pytest.approx(np.linalg.norm(product - 1 / 6, 2) ** 2, abs=1e-14)
    assert "5 tokens" in slow.sentence()
    assert single.sentence() == "a single token has nothing to average with"
