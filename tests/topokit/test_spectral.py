"""Spectra against closed forms, and every method against plain numpy."""

from math import ceil, cos, log2, pi

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from topokit import topologies as graphs
from topokit.circulant import circulant_row, period_symbol
from topokit.errors import ConvergenceError, InputError
from topokit.matrix import MixingMatrix
from topokit.proofs.contraction import run_contraction
from topokit.spectral import (
    beta,
    centred,
    fiedler_value,
    is_normal,
    is_symmetric,
    iterative_norm,
    laplacian_extremes,
    limits,
    period_product,
    periods,
    slem,
    spectral_gap,
    spectrum,
)
from topokit.topologies import one_peer_exponential, one_peer_hypercube
from topokit.weights import laplacian_weights, metropolis_hastings_weights, uniform_weights


def de_bruijn(base, digits):
    """Row i receives from base * i + r (mod n): W^digits = J although ||W - J|| = 1."""
    n = base**digits
    target = np.arange(n).repeat(base)
    source = (base * target + np.tile(np.arange(base), n)) % n
    return MixingMatrix.from_entries(n, target, source, np.full(n * base, 1 / base))


def random_permutations(nodes, seed, count=3):
    """A doubly stochastic matrix that is neither symmetric nor normal: a mean of random permutations."""
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet(np.ones(count))
    return sum(share * np.eye(nodes)[rng.permutation(nodes)] for share in shares)


@pytest.mark.parametrize("n", [3, 4, 5, 16, 100, 5000])
def test_ring(n):
    W = uniform_weights(graphs.ring_graph(n))
    assert spectral_gap(W) == pytest.approx(2 / 3 * (1 - cos(2 * pi / n)), abs=1e-14)
    assert spectrum(W).method == "circulant"


@pytest.mark.parametrize("a", [3, 4, 5, 10])
def test_square_torus(a):
    W = uniform_weights(graphs.torus_graph(a * a))
    assert spectral_gap(W) == pytest.approx(2 / 5 * (1 - cos(2 * pi / a)), abs=1e-12)


@pytest.mark.parametrize("n", [2, 4, 16, 128])
def test_hypercube(n):
    assert spectral_gap(uniform_weights(graphs.hypercube_graph(n))) == pytest.approx(2 / (1 + log2(n)), abs=1e-12)


@pytest.mark.parametrize("n", [2, 3, 16, 50])
def test_star_and_complete(n):
    star = metropolis_hastings_weights(graphs.star_graph(n))
    assert spectral_gap(star) == pytest.approx(1 / n if n > 2 else 1, abs=1e-12)
    assert spectral_gap(uniform_weights(graphs.complete_graph(n))) == pytest.approx(1, abs=1e-12)


def test_exponential():
    for n in range(2, 200):
        gap = spectral_gap(uniform_weights(graphs.exponential_graph(n)))
        formula = 2 / (1 + ceil(log2(n)))
        assert gap == pytest.approx(formula, abs=1e-12) if n % 2 == 0 else gap > formula
    gap, formula = spectral_gap(uniform_weights(graphs.exponential_graph(15))), 2 / 5
    assert gap / formula == pytest.approx(1.275, abs=5e-4)


@pytest.mark.parametrize(
    ("n", "gap"), [(16, 0.1314), (25, 0.0838), (36, 0.0579), (64, 0.0323), (100, 0.0205), (256, 0.0079)]
)
def test_grid_reference_values(n, gap):
    assert spectral_gap(metropolis_hastings_weights(graphs.grid_graph(n))) == pytest.approx(gap, abs=5e-5)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 20), st.integers(0, 10**6), st.booleans())
def test_against_numpy(nodes, seed, symmetric):
    W = random_permutations(nodes, seed)
    if symmetric:
        W = (W + W.T) / 2
    J = np.full((nodes, nodes), 1 / nodes)
    assert beta(W) == pytest.approx(np.linalg.norm(W - J, 2), abs=1e-12)
    assert is_symmetric(W) == (np.abs(W - W.T).max() < 1e-12)
    normal = np.abs(W @ W.T - W.T @ W).max() < 1e-12
    assert is_normal(W) == normal
    result = spectrum(sparse.csr_array(W))
    if normal:
        assert result.slem == pytest.approx(np.abs(np.linalg.eigvals(W - J)).max(), abs=1e-7)
        assert result.gap == pytest.approx(1 - result.slem, abs=2e-16)
    else:
        assert result.slem is None
        assert "not normal" in result.reason
        with pytest.raises(InputError, match="use beta"):
            slem(W)


def test_a_nilpotent_error_has_norm_one_and_no_computed_slem():
    W = de_bruijn(2, 10)
    result = spectrum(W)
    assert result.slem is None
    assert result.beta == pytest.approx(1, abs=1e-12)
    assert run_contraction([W] * 10) < 1e-12
    assert run_contraction([W] * 9) > 0.5


def test_large_matrices():
    n = 48 * 48
    torus = spectrum(uniform_weights(graphs.torus_graph(n)))
    assert torus.method == "Fourier"
    assert torus.gap == pytest.approx(2 / 5 * (1 - cos(2 * pi / 48)), rel=1e-12)
    assert slem(uniform_weights(graphs.hypercube_graph(2048))) == pytest.approx(10 / 12, abs=1e-10)
    assert slem(laplacian_weights(graphs.star_graph(1500))) == pytest.approx(1499 / 1501, abs=1e-10)
    low, high = laplacian_extremes(graphs.torus_graph(n))
    assert low == pytest.approx(2 - 2 * cos(2 * pi / 48), abs=1e-10)
    assert high == pytest.approx(8, abs=1e-8)
    assert run_contraction(one_peer_hypercube(2048)) < 1e-13
    part = run_contraction(one_peer_hypercube(2048)[:-1])
    assert part == pytest.approx(1, abs=1e-12)
    assert laplacian_extremes(nx.complete_bipartite_graph(3, 1000)) == pytest.approx((3, 1003), abs=1e-8)
    assert fiedler_value(nx.disjoint_union(nx.star_graph(600), nx.star_graph(600))) == pytest.approx(0, abs=1e-10)


def test_iterative_and_dense_methods_agree(monkeypatch):
    matrices = [random_permutations(90, seed) for seed in range(3)]
    symmetric = metropolis_hastings_weights(graphs.erdos_renyi_graph(90, seed=3))
    rounds = [MixingMatrix.from_matrix(W) for W in matrices]

    def measure():
        ends = laplacian_extremes(nx.path_graph(90))
        return [*(beta(W) for W in [*matrices, symmetric]), run_contraction(rounds), *ends]

    dense = measure()
    monkeypatch.setattr(limits, "DENSE_LIMIT", 10)
    assert spectrum(symmetric).method == "Lanczos"
    np.testing.assert_allclose(measure(), dense, atol=1e-10)


def test_an_eigensolver_that_gives_up_says_so(monkeypatch):
    monkeypatch.setattr(periods, "MAX_RESTARTS", 1)
    W = metropolis_hastings_weights(graphs.path_graph(3000))
    with pytest.raises(ConvergenceError, match="gave up on 3000 nodes"):
        iterative_norm(*centred([W]), 3000)
    assert run_contraction([W, W], max_work=1e7) is None


@pytest.mark.parametrize("n", [2, 3, 7, 12, 33, 64])
def test_periods_of_circulants(n):
    rounds = one_peer_exponential(n)
    product = np.eye(n)
    for matrix in rounds:
        product = matrix.to_dense() @ product
    np.testing.assert_allclose(period_product(rounds), product, atol=1e-15)
    assert run_contraction(rounds) == pytest.approx(np.linalg.norm(product - 1 / n, 2), abs=1e-14)


def test_round_zero_acts_first():
    A, B = (MixingMatrix.from_matrix(random_permutations(6, seed)) for seed in (1, 2))
    np.testing.assert_allclose(period_product([A, B]), B.to_dense() @ A.to_dense(), atol=1e-15)
    norm = np.linalg.norm(B.to_dense() @ A.to_dense() - 1 / 6, 2)
    assert run_contraction([A, B]) == pytest.approx(norm, abs=1e-13)


def test_circulants_are_recognised():
    rng = np.random.default_rng(0)
    row = rng.random(9) * (rng.random(9) < 0.5)
    C = np.array([np.roll(row, i) for i in range(9)])
    shifts, _ = circulant_row(MixingMatrix.from_matrix(C))
    np.testing.assert_array_equal(shifts, np.flatnonzero(row))
    np.testing.assert_allclose(
        np.sort(period_symbol([MixingMatrix.from_matrix(C)])[0]),
        np.sort(np.abs(np.linalg.eigvals(C - np.outer(np.ones(9), np.ones(9)) / 9))),
        atol=1e-12,
    )
    C[3, 4] += 0.25
    assert circulant_row(MixingMatrix.from_matrix(C)) is None
    assert circulant_row(one_peer_hypercube(8)[0]) is None


@pytest.mark.parametrize(
    ("graph", "expected"),
    [
        (nx.path_graph(5), 2 - 2 * cos(pi / 5)),
        (nx.cycle_graph(9), 2 - 2 * cos(2 * pi / 9)),
        (nx.complete_graph(6), 6),
        (nx.star_graph(7), 1),
        (nx.petersen_graph(), 2),
        (nx.Graph([(0, 1), (2, 3)]), 0),
    ],
)
def test_fiedler_values(graph, expected):
    assert fiedler_value(graph) == pytest.approx(expected, abs=1e-12)
    assert fiedler_value(nx.to_scipy_sparse_array(graph)) == pytest.approx(expected, abs=1e-12)


def test_the_laplacian_ignores_weights_and_loops():
    graph = nx.Graph([(0, 1, {"weight": 7}), (1, 2), (2, 2)])
    assert fiedler_value(graph) == pytest.approx(1, abs=1e-12)
    assert fiedler_value(sparse.csr_array(nx.to_numpy_array(graph))) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fiedler_value(nx.DiGraph([(0, 1)])), "this one is directed"),
        (lambda: fiedler_value(nx.empty_graph(1)), "at least 2 nodes"),
        (lambda: fiedler_value(nx.Graph()), "at least 2 nodes"),
        (lambda: fiedler_value(sparse.csr_array(np.triu(np.ones((3, 3))))), "not symmetric"),
        (lambda: fiedler_value(sparse.csr_array(np.ones((2, 3)))), r"shape \(2, 3\)"),
        (lambda: beta(np.ones((2, 3))), "square"),
        (lambda: period_product([]), "at least one round"),
        (lambda: run_contraction([*one_peer_exponential(4), *one_peer_exponential(8)]), "round 2 has 8 nodes"),
        (lambda: period_product(one_peer_exponential(2001)), "pass limit=2001"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(InputError, match=message):
        call()
