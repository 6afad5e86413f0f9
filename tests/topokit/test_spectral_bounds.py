"""Bounds on spectra: that they hold, that they are as sure as they say, and that every method tells the same."""

from math import cos, log, pi, sqrt

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.special import betainc

from topokit import topologies as graphs
from topokit.errors import InputError
from topokit.matrix import MixingMatrix
from topokit.registry import TOPOLOGIES
from topokit.spectral import ends as ends_module
from topokit.spectral import laplacian_bounds, limits, one_matrix, spectrum
from topokit.spectral.dissection import Cost, estimate_cost
from topokit.spectral.inertia import count_below
from topokit.spectral.lanczos import Interval, Lanczos, outer_bound, smallest_mass
from topokit.weights import (
    laplacian_weights,
    max_degree_plus_one_weights,
    max_degree_weights,
    metropolis_hastings_weights,
)


@pytest.fixture
def numeric(monkeypatch):
    """Leave no closed form and no dense decomposition to lean on."""
    monkeypatch.setattr(limits, "DENSE_LIMIT", 1)
    monkeypatch.setattr(one_matrix, "group_shape", lambda W: None)
    monkeypatch.setattr(one_matrix, "closed_ends", lambda graph: None)


@pytest.fixture
def factored(numeric, monkeypatch):
    """Turn to factorisations after a few steps."""
    monkeypatch.setattr(limits, "PILOT_STEPS", 3)
    monkeypatch.setattr(limits, "FREE_WORK", 0)


def dense_ends(W):
    """Eigenvalues of W - J on the complement of the constant vector: largest and smallest."""
    n = W.shape[0]
    basis = np.linalg.qr(np.column_stack((np.ones(n), np.eye(n)[:, : n - 1])))[0][:, 1:]
    values = np.linalg.eigvalsh(basis.T @ W @ basis)
    return values[-1], values[0]


def contains(bounds, value, slack=1e-13):
    return bounds.lower - slack <= value <= bounds.upper + slack


def ends_of(values, seed, failure, steps):
    """Run Lanczos on the operator with these eigenvalues."""
    within = Interval(min(values) - 5, max(values) + 5)
    run = Lanczos(lambda x: values * x, len(values), mean_free=False, within=within, seed=seed)
    run.advance(steps)
    return run.ends(failure)


@pytest.mark.parametrize("dimension", [1, 2, 3, 4, 10, 1000, 10**6])
@pytest.mark.parametrize("failure", [0.5, 0.1, 1e-3, 1e-9])
def test_the_mass_of_a_random_direction(dimension, failure):
    mass = np.exp(smallest_mass(dimension, failure))
    if dimension == 1:
        assert failure > 0.8 or mass < 1
        return
    # The square of a component is Beta(1/2, (N - 1)/2).
    chance = betainc(0.5, (dimension - 1) / 2, mass)
    assert chance <= failure
    assert chance > 0.5 * failure  # and the bound is no idle one


def test_the_probability_is_the_one_stated():
    # After one step on the spectrum {0, ..., 0, 1}, the bound is sharp: it fails where the mass at 1 is too small.
    values = np.zeros(50)
    values[7] = 1
    wrong = sum(ends_of(values, seed, 0.5, 1)[1].upper < 1 for seed in range(400))
    expected = 400 * betainc(0.5, 24.5, np.exp(smallest_mass(50, 0.25)))
    assert abs(wrong - expected) < 4 * sqrt(expected)
    assert not any(ends_of(values, seed, 1e-9, 1)[1].upper < 1 for seed in range(400))


@pytest.mark.parametrize("failure", [0.5, 0.1])
def test_coverage_of_a_soft_edge(failure):
    values = np.cos(np.linspace(0, pi, 300))
    wrong = 0
    for seed in range(150):
        low, high = ends_of(values, seed, failure, 25)
        assert low.upper > -1
        assert high.lower < 1
        wrong += (low.lower > -1) + (high.upper < 1)
    assert wrong <= 150 * failure + 4 * sqrt(150 * failure)
    sure = [ends_of(values, seed, 1e-9, 25) for seed in range(50)]
    assert all(low.lower <= -1 and high.upper >= 1 for low, high in sure)
    # A smaller probability costs width, less than by its logarithm squared.
    assert max(high.width for _, high in sure) < 100 * log(1e9) ** 2 / 25**2


@given(st.integers(2, 40), st.integers(0, 10**6), st.integers(1, 60), st.floats(1e-8, 1e8))
@settings(max_examples=60, deadline=None)
def test_bounds_hold_after_any_number_of_steps(size, seed, steps, scale):
    rng = np.random.default_rng(seed)
    values = scale * rng.choice([rng.standard_normal(size), np.round(rng.standard_normal(size)), np.arange(size)])
    low, high = ends_of(values, seed, 1e-9, steps)
    assert contains(low, values.min(), 0)
    assert contains(high, values.max(), 0)


def test_the_outer_bound_is_the_christoffel_function():
    # Of the standard normal distribution: Hermite polynomials.
    k, mass = 12, 1e-7
    bound = outer_bound(np.zeros(k), np.sqrt(np.arange(1, k + 1)), 4.0, 100.0, log(mass), 1e-12)
    hermite = [
        np.polynomial.hermite_e.HermiteE.basis(j)(bound) ** 2 / np.prod(np.arange(1.0, j + 1)) for j in range(k + 1)
    ]
    assert sum(hermite) == pytest.approx(1 / mass, rel=1e-4)


def normal_families():
    for name, family in TOPOLOGIES.items():
        if family.kind != "static" or family.takes_graph:
            continue
        for nodes in (5, 8, 12, 25):
            if family.obstacle(nodes) is None:
                yield name, nodes


def families():
    from topokit import design

    for name, nodes in normal_families():
        try:
            [W] = design(name, nodes).rounds
        except (InputError, ValueError):
            continue
        if np.allclose(W.to_dense().sum(axis=0), 1) and np.allclose(W.to_dense().sum(axis=1), 1):
            yield pytest.param(W, id=f"{name}-{nodes}")


FAMILIES = list(families())


@pytest.mark.parametrize("W", FAMILIES)
def test_all_methods_agree(W, monkeypatch):
    dense = W.to_dense()
    norm = np.linalg.norm(dense - 1 / W.nodes, 2)
    at_once = spectrum(W)
    assert contains(at_once.bounds, norm)
    assert at_once.bounds.failure == 0
    assert at_once.beta == pytest.approx(norm, abs=1e-13)
    if at_once.ends is not None:
        assert at_once.ends == pytest.approx(dense_ends(dense), abs=1e-12)
    monkeypatch.setattr(limits, "DENSE_LIMIT", 1)
    monkeypatch.setattr(one_matrix, "group_shape", lambda W: None)
    monkeypatch.setattr(one_matrix, "closed_ends", lambda graph: None)
    by_lanczos = spectrum(W)
    monkeypatch.setattr(limits, "PILOT_STEPS", 2)
    monkeypatch.setattr(limits, "FREE_WORK", 0)
    by_pivots = spectrum(W)
    for result in (by_lanczos, by_pivots):
        assert contains(result.bounds, norm)
        assert result.bounds.width <= max(1.01e-3 * abs(1 - norm), 1e-12)
        assert result.beta == pytest.approx(norm, abs=max(1e-9, 1e-3 * abs(1 - norm)))
        assert (result.slem is None) == (at_once.slem is None)


def test_the_families_are_worth_the_name():
    methods = {spectrum(case.values[0]).method for case in FAMILIES}
    assert methods >= {"circulant", "Fourier", "closed form", "dense"}
    assert len(FAMILIES) > 40


@given(st.integers(4, 30), st.integers(0, 10**6), st.sampled_from(["plain", "signed", "lazy", "directed", "uneven"]))
@settings(max_examples=30, deadline=None)
def test_against_dense(nodes, seed, what):
    rng = np.random.default_rng(seed)
    A = np.triu(rng.random((nodes, nodes)) * (rng.random((nodes, nodes)) < 0.4), 1) + np.diag(
        np.full(nodes - 1, 0.5), 1
    )
    if what == "signed":
        A *= rng.choice([-1, 1], A.shape, p=[0.2, 0.8])
    A = A + A.T
    L = np.diag(A.sum(axis=0)) - A
    W = np.eye(nodes) - L * {"plain": 0.5, "lazy": 0.01}.get(what, 1.0) / max(L.diagonal().max(), 0.1)
    if what == "directed":
        W = 0.5 * W + 0.5 * np.eye(nodes)[rng.permutation(nodes)]
    if what == "uneven":
        W = W + np.diag(rng.random(nodes))
    norm = np.linalg.norm(W - 1 / nodes, 2)
    for pilot, free in ((150, 2e8), (3, 0)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(limits, "DENSE_LIMIT", 1)
            patch.setattr(limits, "PILOT_STEPS", pilot)
            patch.setattr(limits, "FREE_WORK", free)
            result = spectrum(sparse.csr_array(W))
        assert contains(result.bounds, norm, 1e-12 * max(norm, 1))
        assert result.bounds.width <= max(1.01e-3 * abs(1 - norm), 1e-9) or "wider" in result.reason
        if result.ends is not None:
            # Both are Rayleigh quotients; the one that does not decide may be rough.
            high, low = dense_ends(W)
            assert low - 1e-11 <= result.ends[1] <= result.ends[0] <= high + 1e-11
            assert max(result.ends[0], -result.ends[1]) == pytest.approx(norm, abs=1e-3)


def test_two_expanders_joined_by_an_edge(numeric):
    half = nx.random_regular_graph(4, 200, seed=1)
    barbell = nx.disjoint_union(half, half)
    barbell.add_edge(0, 200)
    W = metropolis_hastings_weights(barbell)
    top, _ = dense_ends(W.to_dense())
    result = spectrum(W)
    assert contains(result.bounds, top)
    assert result.relative_width < 1e-3
    # A weak link: the gap of 1e-6 that a small residual would not see.
    weak = W.to_dense()
    cut = weak[0, 200] * (1 - 1e-4)
    weak[[0, 200], [200, 0]] -= cut
    weak[[0, 200], [0, 200]] += cut
    exact = 1 - dense_ends(weak)[0]
    assert exact < 1e-6
    found = spectrum(sparse.csr_array(weak))
    assert contains(found.bounds, 1 - exact)
    assert found.gap == pytest.approx(exact, rel=1e-3)
    assert found.relative_width < 1e-3


@pytest.mark.parametrize("nodes", [101, 1001])
def test_the_low_end_decides(factored, nodes):
    # On an odd ring without self weights values nearly swap sides: the eigenvalues are cos(2 pi k / n).
    result = spectrum(max_degree_weights(nx.cycle_graph(nodes)))
    assert contains(result.bounds, cos(pi / nodes), 0)
    assert (result.method, result.bounds.failure) == ("inertia", 0)
    assert result.relative_width < 1e-3
    assert result.gap == pytest.approx(1 - cos(pi / nodes), rel=1e-6)
    assert result.ends == pytest.approx((cos(2 * pi / nodes), -cos(pi / nodes)), abs=1e-3)


def test_graphs_that_do_not_average():
    apart = sparse.block_diag([np.full((3, 3), 1 / 3), np.full((4, 4), 0.25)])
    assert (spectrum(apart).slem, spectrum(apart).bounds.failure) == (1, 0)
    swapped = spectrum(metropolis_hastings_weights(nx.path_graph(2)))
    assert swapped.slem == 0
    for graph in (nx.hypercube_graph(3), nx.grid_2d_graph(4, 4, periodic=True)):
        W = max_degree_weights(nx.convert_node_labels_to_integers(graph))
        assert spectrum(W).slem == pytest.approx(1, abs=1e-15)
    tree = nx.adjacency_matrix(nx.complete_bipartite_graph(3, 3)).toarray() / 3
    assert spectrum(tree[np.ix_([0, 3, 1, 4, 2, 5], [0, 3, 1, 4, 2, 5])]).slem == pytest.approx(1, abs=1e-15)


def test_exact_averaging_has_norm_zero(numeric):
    result = spectrum(np.full((40, 40), 1 / 40))
    assert result.bounds.lower == pytest.approx(0, abs=1e-13)
    assert result.bounds.upper < 1e-12


@pytest.mark.parametrize(("nodes", "expected"), [(1024, 0.999987450188), (4096, 0.999999215634)])
def test_rings_by_the_numeric_way(factored, nodes, expected):
    W = metropolis_hastings_weights(graphs.ring_graph(nodes))
    result = spectrum(W)
    gap = 2 / 3 * (1 - cos(2 * pi / nodes))
    assert result.method == "inertia"
    assert result.slem == pytest.approx(expected, abs=1e-12)
    assert result.gap == pytest.approx(gap, rel=1e-5)
    assert contains(result.bounds, 1 - gap, 0)
    assert result.relative_width < 1e-4


def test_a_grid_against_its_closed_form_and_a_dense_one(numeric, monkeypatch):
    W = max_degree_plus_one_weights(nx.convert_node_labels_to_integers(nx.grid_2d_graph(60, 60)))
    result = spectrum(W)
    assert contains(result.bounds, 1 - 2 / 5 * (1 - cos(pi / 60)), 0)
    assert result.relative_width < 1e-4
    W = metropolis_hastings_weights(graphs.grid_graph(30 * 30))
    assert contains(spectrum(W).bounds, dense_ends(W.to_dense())[0])


def test_long_graphs_with_an_irregularity():
    ring = nx.cycle_graph(9_000)
    ring.add_edge(0, 2999)
    result = spectrum(metropolis_hastings_weights(ring))
    assert (result.method, result.bounds.failure) == ("inertia", 0)
    assert result.relative_width < 1e-3
    path = spectrum(metropolis_hastings_weights(nx.path_graph(9_000)))
    assert path.gap == pytest.approx(2 / 3 * (1 - cos(pi / 9_000)), rel=1e-7)
    # An edge more cannot shrink the gap of equal weights, by interlacing; the smaller weights around it can, a bit.
    assert 0.25 * 3 * 2 / 3 * (1 - cos(2 * pi / 9_000)) < result.gap < 4 * path.gap * 1.5


def test_an_expander_is_never_factored(numeric, monkeypatch):
    monkeypatch.setattr(ends_module, "smallest_eigenvalue", None)  # would fail if it were called
    W = metropolis_hastings_weights(nx.random_regular_graph(4, 6000, seed=0))
    result = spectrum(W, tolerance=1e-6)
    assert (result.method, result.reason) == ("Lanczos", None)
    assert result.relative_width < 1e-6
    again = spectrum(W, seed=1)
    assert again.bounds.lower <= result.bounds.upper
    assert result.bounds.lower <= again.bounds.upper
    assert estimate_cost(W.to_csr(), Cost(4e6, 1e9)) is None


@pytest.mark.parametrize(
    "graph", [nx.path_graph(5000), nx.random_labeled_tree(5000, seed=0), nx.grid_2d_graph(60, 60), nx.star_graph(3000)]
)
def test_costs_are_estimated_well(graph):
    from scipy.sparse.linalg import splu

    L = sparse.csc_array(nx.laplacian_matrix(graph).astype(float) + sparse.eye_array(len(graph)))
    options = {"SymmetricMode": True, "Equil": False}
    true = splu(L, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=options).L.nnz
    estimate = estimate_cost(sparse.csr_array(nx.to_scipy_sparse_array(graph)), Cost(1e9, 1e12)).fill
    assert true / 2 < estimate < 4 * true


@given(st.integers(3, 30), st.integers(0, 10**6), st.floats(-0.5, 3))
@settings(max_examples=50, deadline=None)
def test_pivots_count_eigenvalues(nodes, seed, point):
    A = nx.to_numpy_array(nx.gnp_random_graph(nodes, 0.3, seed=seed)) * np.random.default_rng(seed).random()
    L = np.diag(A.sum(axis=0)) - A
    counted = count_below(sparse.csc_array(L), point)
    if counted is None:
        return
    values = np.linalg.eigvalsh(L)
    assert (values < point - counted.margin - 1e-13).sum() <= counted.negative
    assert counted.negative <= (values < point + counted.margin + 1e-13).sum()


def test_pivots_off_the_diagonal_are_no_count():
    assert count_below(sparse.csc_array(np.array([[0.0, 1.0], [1.0, 0.0]])), 0.0) is None


def test_out_of_time(numeric):
    W = metropolis_hastings_weights(graphs.path_graph(3000))
    result = spectrum(W, max_seconds=0.0)
    assert "wider than the 0.001 asked for" in result.reason
    assert contains(result.bounds, 1 - 2 / 3 * (1 - cos(pi / 3000)), 0)
    assert result.relative_width > 1e-3
    assert result.reason in result.sentence()


def test_what_is_said():
    W = metropolis_hastings_weights(nx.random_regular_graph(4, 3000, seed=0))
    result = spectrum(W)
    steps = result.bounds.how_upper
    assert result.sentence().startswith(f"SLEM {result.slem:.6f}"[:10])
    assert "below by a Rayleigh quotient, above by a random start (" in result.sentence()
    assert "but for a probability of 5e-07" in result.sentence()
    assert steps in result.sentence()
    wide = spectrum(W, tolerance=0.5, failure=1e-3)
    assert wide.bounds.failure == 5e-4
    with pytest.raises(InputError, match="tolerance must lie between"):
        spectrum(W, tolerance=0)
    with pytest.raises(InputError, match="failure must lie between"):
        spectrum(W, failure=2)


@given(st.integers(3, 30), st.integers(0, 10**6), st.floats(0.05, 0.9))
@settings(max_examples=25, deadline=None)
def test_laplacians_against_dense(nodes, seed, density):
    graph = nx.gnp_random_graph(nodes, density, seed=seed)
    values = np.linalg.eigvalsh(nx.laplacian_matrix(graph).toarray().astype(float))
    for limit in (1, 1000):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(limits, "DENSE_LIMIT", limit)
            found = laplacian_bounds(graph)
        assert contains(found.fiedler, values[1], 1e-12 * nodes)
        assert contains(found.largest, values[-1], 1e-12 * nodes)
        assert found.largest.width <= 1.01e-3 * max(values[-1], 1e-9)
        assert found.fiedler.width <= max(1.01e-3 * values[1], 1e-11)


def test_both_ends_of_a_laplacian(factored):
    # The low end is settled by pivots, the high one by going on with Lanczos.
    graph = nx.convert_node_labels_to_integers(nx.grid_2d_graph(20, 31))
    graph.add_edge(0, 300)
    values = np.linalg.eigvalsh(nx.laplacian_matrix(graph).toarray().astype(float))
    found = laplacian_bounds(graph)
    assert (found.method, found.failure) == ("inertia", 5e-07)
    assert contains(found.fiedler, values[1])
    assert contains(found.largest, values[-1])
    assert found.fiedler.width < 1e-5 * values[1]
    assert 0 < found.largest.width < 1e-3 * values[-1]


def test_laplacian_weights_of_a_large_graph():
    graph = nx.convert_node_labels_to_integers(nx.grid_2d_graph(37, 41))
    result = spectrum(laplacian_weights(graph))
    low = 2 - 2 * cos(pi / 41)
    high = 4 + 2 * cos(pi / 37) + 2 * cos(pi / 41)
    assert result.method == "closed form"
    assert result.slem == pytest.approx((high - low) / (high + low), abs=1e-12)


def test_directed_matrices(numeric):
    rng = np.random.default_rng(0)
    W = sum(np.eye(60)[rng.permutation(60)] for _ in range(3)) / 3
    result = spectrum(MixingMatrix.from_matrix(W))
    assert result.slem is None
    assert contains(result.bounds, np.linalg.norm(W - 1 / 60, 2))
    assert result.bounds.width < 1e-3 * (1 - result.beta)


def test_a_large_matrix_keeps_its_spectrum(monkeypatch):
    monkeypatch.setattr(limits, "KEPT_FROM", 50)
    W = metropolis_hastings_weights(graphs.random_regular_graph(60, degree=4))
    assert spectrum(W) is spectrum(W)
    assert spectrum(W, seed=1) is not spectrum(W)
    assert spectrum(W.to_csr()).slem == spectrum(W).slem


@pytest.mark.parametrize("scale", [1 - 1e-3, 1 - 1e-6, 1 + 1e-6])
def test_row_sums_that_are_not_one_do_not_pass_for_a_gap(scale):
    n = 2000
    row = np.zeros(n)
    row[[0, 1, -1]] = scale / 3
    found = spectrum(sparse.csr_array([np.roll(row, i) for i in range(n)]))
    values = np.fft.fft(row).real
    values[0] -= 1
    assert found.slem == pytest.approx(np.abs(values).max(), rel=1e-12)
    if np.abs(values).argmax():
        assert found.gap == pytest.approx(1 - found.slem, abs=1e-13)


@pytest.mark.parametrize("noise", [1e-14, 9e-13])
def test_rounding_of_one_triangle_stays_inside_the_bounds(noise):
    for W in (np.array([[0.1, 0.9], [0.9 + noise, 0.1 - noise]]), np.array([[0.5, 0.5], [0.5 - noise, 0.5 + noise]])):
        found = spectrum(W).bounds
        assert found.lower <= np.linalg.norm(W - 0.5, 2) <= found.upper


def test_norms_of_matrices_without_balance(numeric):
    rng = np.random.default_rng(0)
    W = (rng.random((60, 60)) < 0.1) + np.eye(60)
    for matrix in (
        W / W.sum(axis=1, keepdims=True),
        (0.3 * np.eye(60) + 0.7 * np.eye(60)[rng.permutation(60)]) * 1.0005,
    ):
        found = spectrum(matrix)
        true = np.linalg.norm(matrix - 1 / 60, 2)
        assert found.bounds.lower <= true <= found.bounds.upper
        assert found.bounds.width < 1e-6


@pytest.mark.parametrize("nonsense", [np.zeros((0, 0)), None, 3.0, [["a"]], [[1 + 1j, 0], [0, 1]]])
def test_what_is_no_matrix_is_refused(nonsense):
    with pytest.raises(InputError, match="a square array of real numbers"):
        spectrum(nonsense)
