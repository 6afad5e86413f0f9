"""Dealing samples to nodes: equal shares, each sample once, as skewed as asked for."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from topokit_trainer.partition import dirichlet_partition, iid_partition, sorted_partition

CLASSES = 10
LABELS = np.repeat(np.arange(CLASSES), 200)


def deal(kind, labels, nodes, seed, alpha=0.5):
    if kind == "iid":
        return iid_partition(labels.size, nodes, seed)
    if kind == "sorted":
        return sorted_partition(labels, nodes)
    return dirichlet_partition(labels, nodes, alpha, seed)


@pytest.mark.parametrize("kind", ["iid", "dirichlet", "sorted"])
@hypothesis_settings(max_examples=60, deadline=None)
@given(
    labels=st.lists(st.integers(0, 5), min_size=1, max_size=120).map(np.array),
    nodes=st.integers(1, 12),
    seed=st.integers(0, 2**40),
    alpha=st.sampled_from([1e-6, 0.01, 0.1, 1.0, 1e6]),
)
def test_shares_are_equal_and_disjoint(kind, labels, nodes, seed, alpha):
    shares = deal(kind, labels, nodes, seed, alpha)
    assert shares.shape == (nodes, labels.size // nodes)
    assert np.unique(shares).size == shares.size, "no sample is dealt twice"
    assert labels.size - shares.size < nodes, "no more is left out than the remainder"
    assert shares.size == 0 or (shares.min() >= 0 and shares.max() < labels.size)


@pytest.mark.parametrize("kind", ["iid", "dirichlet"])
def test_the_seed_decides(kind):
    shares = [deal(kind, LABELS, 8, seed) for seed in (3, 3, 4)]
    assert np.array_equal(shares[0], shares[1])
    assert not np.array_equal(shares[0], shares[2])


@pytest.mark.parametrize("kind", ["iid", "dirichlet"])
def test_samples_are_dealt_in_random_order(kind):
    """A node must not get its samples in the order of the file: taking a prefix would then be a biased draw."""
    for share in deal(kind, LABELS, 4, seed=0):
        assert abs(np.corrcoef(share, np.arange(share.size))[0, 1]) < 0.3 or kind == "dirichlet"
        assert np.any(np.diff(share) < 0)


def distance_from_uniform(labels, shares):
    """Total variation between the classes of a node and those of all, averaged over nodes: 0 to 0.9 for 10 classes."""
    counts = np.stack([np.bincount(labels[share], minlength=CLASSES) for share in shares]) / shares.shape[1]
    return np.abs(counts - 1 / CLASSES).sum(axis=1).mean() / 2


@pytest.mark.parametrize("seed", range(5))
def test_skew_falls_with_alpha(seed):
    skews = [
        distance_from_uniform(LABELS, dirichlet_partition(LABELS, 16, alpha, seed)) for alpha in (0.01, 0.1, 1, 10, 1e4)
    ]
    assert all(a > b for a, b in pairwise(skews))
    assert skews[0] > 0.65
    assert skews[1] > 0.45
    assert 0.2 < skews[2] < 0.4
    assert skews[4] < 0.12
    assert distance_from_uniform(LABELS, iid_partition(LABELS.size, 16, seed)) < 0.2


@pytest.mark.parametrize(("alpha", "classes"), [(0.1, 4), (1.0, 8)])
def test_alpha_is_as_skewed_as_documented(alpha, classes):
    needed = []  # to make up nine tenths of a node's samples
    for seed in range(10):
        for share in dirichlet_partition(LABELS, 16, alpha, seed):
            counts = np.sort(np.bincount(LABELS[share], minlength=CLASSES))[::-1]
            needed.append(1 + np.searchsorted(np.cumsum(counts), 0.9 * share.size))
    assert abs(np.median(needed) - classes) <= 1


def test_labels_need_not_be_consecutive():
    labels = np.array([-5, 100, 100, -5, 7, 7, 7, -5])
    assert sorted(dirichlet_partition(labels, 2, 1.0, seed=0).ravel()) == list(range(8))


@hypothesis_settings(max_examples=60, deadline=None)
@given(labels=st.lists(st.integers(-3, 5), min_size=1, max_size=120).map(np.array), nodes=st.integers(1, 12))
def test_sorted_shares_are_cut_from_the_samples_in_order_of_label(labels, nodes):
    line = sorted_partition(labels, nodes).ravel()
    kept = sorted((label, number) for number, label in enumerate(labels.tolist()))[: line.size]
    assert [(labels[number], number) for number in line.tolist()] == kept


def test_sorted_shares_are_as_unlike_as_can_be():
    rng = np.random.default_rng(0)
    labels = rng.permutation(LABELS)
    assert all(np.unique(labels[share]).size == 1 for share in sorted_partition(labels, 20))
    shares = sorted_partition(labels, 24)
    assert max(np.unique(labels[share]).size for share in shares) == 2
    assert distance_from_uniform(labels, shares) > distance_from_uniform(labels, deal("dirichlet", labels, 24, 0, 0.01))
