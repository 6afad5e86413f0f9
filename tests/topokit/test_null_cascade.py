import numpy as np
import pytest

from topokit.errors import GraphError, InputError
from topokit.registry import TOPOLOGIES
from topokit.topologies.null_cascade import null_cascade

# Published, or measured independently; (n, k) -> rounds.
LENGTHS = {
    (15, 2): 3,
    (17, 2): 8,
    (30, 2): 4,
    (69, 2): 12,
    (60, 2): 5,
    (25, 2): 4,
    (50, 2): 5,
    (100, 2): 6,
    (200, 2): 7,
}


def removed(W):
    """Modes i at which the symbol of a circulant round is exactly 0, from integers alone."""
    n = W.nodes
    i = np.arange(n)
    if W.filter is not None:
        part, whole = W.filter.turn.numerator, W.filter.turn.denominator
        angle = whole * W.filter.shift * i % (whole * n)  # in units of a turn / (whole n)
        return set(i[(angle == part * n) | (angle == (whole - part) * n)].tolist())
    offsets = np.sort(W.source[W.target == 0])
    factor, step = offsets.size, int(offsets[1])
    assert (offsets == step * np.arange(factor)).all()
    assert set(W.weight) == {1 / factor}
    return set(i[(i * step * factor % n == 0) & (i * step % n != 0)].tolist())


@pytest.mark.parametrize(("nodes", "peers"), LENGTHS)
def test_lengths(nodes, peers):
    assert len(null_cascade(nodes, peers)) == LENGTHS[nodes, peers]


@pytest.mark.parametrize("peers", [2, 3, 4])
def test_every_size_is_exact_and_keeps_its_promises(peers):
    for nodes in range(2, 121):
        rounds = null_cascade(nodes, peers)
        promise = TOPOLOGIES["null-cascade"].promise(nodes, peers=peers)
        degrees = {int(W.in_degree[0]) for W in rounds}
        assert (len(rounds), max(degrees), True) == (promise.period, promise.degree, promise.exact)
        assert promise.degree <= peers
        assert set.union(*map(removed, rounds)) == set(range(1, nodes))
        first = np.eye(nodes)[:, 0]
        for W in rounds:
            assert (W.weight > 0).all()
            first = W.to_csr() @ first
        np.testing.assert_allclose(first, 1 / nodes, atol=1e-15)


@pytest.mark.parametrize("peers", [2, 3, 5])
def test_rounds_are_circulant_and_commute(peers):
    for nodes in (2, 7, 12, 30, 35, 44):
        rounds = [W.to_dense() for W in null_cascade(nodes, peers)]
        for W in rounds:
            np.testing.assert_array_equal(np.roll(W, (1, 1), axis=(0, 1)), W)
            np.testing.assert_allclose(W.sum(axis=1), 1, rtol=1e-15)
        for order in (rounds, rounds[::-1], np.random.default_rng(nodes).permutation(rounds)):
            product = np.eye(nodes)
            for W in order:
                product = W @ product
            np.testing.assert_allclose(product, 1 / nodes, atol=1e-15)


@pytest.mark.parametrize(("nodes", "peers"), [(17, 2), (35, 2), (35, 4), (66, 3), (125, 2)])
def test_filters_have_the_published_weights(nodes, peers):
    for W in null_cascade(nodes, peers):
        if W.filter is None:
            assert int(W.in_degree[0]) <= peers
            continue
        prime = W.filter.turn.denominator
        theta = np.pi * (prime - 1) / prime
        w = 1 / (2 - 2 * np.cos(theta))
        row = W.to_dense()[0]
        shift = np.flatnonzero(row)[1]
        assert shift == W.filter.shift
        expected = np.zeros(nodes)
        expected[[0, shift, -shift]] = 1 - 2 * w, w, w
        np.testing.assert_allclose(row, expected, rtol=1e-14)


def test_filters_remove_pairs_of_modes_in_order():
    for prime in (5, 7, 13, 101):
        rounds = null_cascade(prime)
        pairs = [{s, prime - s} for s in range(1, prime // 2 + 1)]
        assert list(map(removed, rounds)) == pairs
        assert [{i for i in range(prime) if W.filter.removes(i, prime)} for W in rounds] == pairs


def test_promises_of_larger_sizes():
    for nodes in range(201, 301):
        rounds = null_cascade(nodes, 3)
        promise = TOPOLOGIES["null-cascade"].promise(nodes, peers=3)
        assert (promise.period, promise.degree) == (len(rounds), max(int(W.in_degree[0]) for W in rounds))


def test_thousands_of_nodes_average():
    values = np.random.default_rng(0).standard_normal(10_000)
    mean = values.mean()
    for W in null_cascade(10_000):
        values = W.to_csr() @ values
    np.testing.assert_allclose(values, mean, atol=1e-14)


def test_what_does_not_exist():
    with pytest.raises(GraphError, match=r"^null-cascade needs at least 2 nodes, got 1: 2 would do$"):
        null_cascade(1)
    with pytest.raises(InputError, match=r"^peers must be at least 2, as a null filter has two, got 1$"):
        null_cascade(5, peers=1)
