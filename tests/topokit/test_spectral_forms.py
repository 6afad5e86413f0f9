"""Closed forms: recognised from the entries, and only where they are."""

from math import prod

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from topokit import topologies as graphs
from topokit.spectral import laplacian_bounds, spectrum
from topokit.spectral.closed_forms import closed_ends
from topokit.spectral.groups import group_shape
from topokit.spectral.sparse_forms import Weighted, as_csr
from topokit.weights import metropolis_hastings_weights, uniform_weights

PARTS = {"path": nx.path_graph, "cycle": nx.cycle_graph, "complete": nx.complete_graph}


def kronecker_sum(matrices):
    total = sparse.csr_array((1, 1))
    for matrix in matrices:
        ours, theirs = sparse.eye_array(total.shape[0]), sparse.eye_array(matrix.shape[0])
        total = sparse.csr_array(sparse.kron(total, theirs) + sparse.kron(ours, matrix))
    return total


def invariant(shape, seed, symmetric):
    """A doubly stochastic matrix that is invariant under shifts of every digit."""
    rng = np.random.default_rng(seed)
    n = prod(shape)
    W = np.zeros((n, n))
    grid = np.arange(n).reshape(shape)
    for share in rng.dirichlet(np.ones(3)):
        shift = [int(rng.integers(size)) for size in shape]
        for way in (1, -1) if symmetric else (1,):
            moved = np.roll(grid, [way * s for s in shift], axis=range(len(shape))).ravel()
            W[np.arange(n), moved] += share / (2 if symmetric else 1)
    return W


@given(
    st.lists(
        st.tuples(st.sampled_from(sorted(PARTS)), st.integers(2, 6), st.sampled_from([0.25, 1.0])),
        max_size=3,
        min_size=1,
    ),
    st.integers(0, 10**6),
)
@settings(max_examples=30, deadline=None)
def test_products(parts, seed):
    parts = [(what, max(size, 3) if what == "cycle" else size, weight) for what, size, weight in parts]
    A = kronecker_sum([weight * nx.to_scipy_sparse_array(PARTS[what](size)) for what, size, weight in parts])
    graph = Weighted.of(as_csr(A))
    values = np.linalg.eigvalsh(graph.laplacian().toarray())
    low, high = closed_ends(graph)
    assert low.lower - 1e-13 <= values[1] <= low.upper + 1e-12
    assert high.lower - 1e-12 <= values[-1] <= high.upper + 1e-12
    # A change of one edge is seen.
    B = graph.weights.toarray()
    i, j = np.argwhere(B)[seed % graph.weights.nnz]
    B[[i, j], [j, i]] *= 1.5
    if graph.weights.nnz > 2 and closed_ends(Weighted.of(as_csr(B))) is not None:
        values = np.linalg.eigvalsh(np.diag(B.sum(axis=0)) - B)
        low, high = closed_ends(Weighted.of(as_csr(B)))
        assert low.lower - 1e-13 <= values[1] <= low.upper + 1e-12
        assert high.lower - 1e-12 <= values[-1] <= high.upper + 1e-12


@pytest.mark.parametrize(
    "graph",
    [nx.path_graph(9), nx.cycle_graph(8), nx.star_graph(6), nx.complete_bipartite_graph(3, 5), nx.complete_graph(7)],
)
def test_numbering_does_not_matter(graph):
    number = np.random.default_rng(0).permutation(len(graph))
    A = nx.to_numpy_array(graph)[np.ix_(number, number)]
    found = laplacian_bounds(sparse.csr_array(A))
    values = np.linalg.eigvalsh(np.diag(A.sum(axis=0)) - A)
    assert found.method in ("closed form", "Fourier")
    assert (found.fiedler.lower, found.largest.lower) == pytest.approx((values[1], values[-1]), abs=1e-12)


@pytest.mark.parametrize(
    "graph", [nx.petersen_graph(), nx.complete_multipartite_graph(2, 3, 4), nx.balanced_tree(2, 3), nx.wheel_graph(8)]
)
def test_no_closed_form_is_invented(graph):
    assert closed_ends(Weighted.of(as_csr(nx.to_scipy_sparse_array(graph, dtype=float)))) is None


@given(st.lists(st.integers(2, 5), min_size=1, max_size=4), st.integers(0, 10**6), st.booleans())
@settings(max_examples=30, deadline=None)
def test_groups(shape, seed, symmetric):
    W = invariant(shape, seed, symmetric)
    n = len(W)
    result = spectrum(sparse.csr_array(W))
    assert group_shape(as_csr(W)) is not None
    norm = np.linalg.norm(W - 1 / n, 2)
    assert result.method in ("circulant", "Fourier")
    assert result.slem == pytest.approx(norm, abs=1e-13)
    assert result.bounds.lower - 1e-13 <= norm <= result.bounds.upper + 1e-13
    # One entry that differs, anywhere, is seen.
    i, j = np.argwhere(W)[seed % np.count_nonzero(W)]
    W[i, j] *= 1 + 1e-12
    assert group_shape(as_csr(W)) is None


def test_families_that_are_groups():
    torus = uniform_weights(graphs.torus_graph(12 * 12))
    assert group_shape(torus.to_csr()) == (12, 12)
    assert group_shape(uniform_weights(graphs.hypercube_graph(256)).to_csr()) == (2,) * 8
    assert spectrum(uniform_weights(graphs.hypercube_graph(256))).gap == pytest.approx(2 / 9, rel=1e-12)
    number = np.random.default_rng(0).permutation(64)
    mixed = uniform_weights(graphs.torus_graph(64)).to_dense()[np.ix_(number, number)]
    assert group_shape(as_csr(mixed)) is None
    assert spectrum(mixed).method == "dense"


@pytest.mark.parametrize("nodes", [10, 1000, 10**5])
def test_tiny_gaps_keep_their_digits(nodes):
    i = np.arange(nodes)
    ring = sparse.coo_array(
        (np.full(3 * nodes, 1 / 3), (np.tile(i, 3), np.concatenate((i, (i + 1) % nodes, (i - 1) % nodes)))),
        shape=(nodes, nodes),
    )
    assert spectrum(ring).gap == pytest.approx(4 / 3 * np.sin(np.pi / nodes) ** 2, rel=1e-9)
    path = spectrum(metropolis_hastings_weights(graphs.path_graph(min(nodes, 5000))))
    assert path.method == "closed form"
    assert path.gap == pytest.approx(4 / 3 * np.sin(np.pi / 2 / min(nodes, 5000)) ** 2, rel=1e-12)
