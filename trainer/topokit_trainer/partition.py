"""How the training data is dealt to the nodes: equal shares, alike or unlike."""

from __future__ import annotations

import numpy as np

from topokit.matrix import IntArray
from topokit_trainer.seeding import keyed_generator

__all__ = ["dirichlet_partition", "iid_partition", "sorted_partition"]


def iid_partition(samples: int, nodes: int, seed: int) -> IntArray:
    """Deal shuffled samples out in equal shares; a remainder smaller than the number of nodes is left out.

    Returns
    -------
    ndarray of int64, shape (nodes, samples // nodes)

    Examples
    --------
    >>> iid_partition(10, 3, seed=0).shape
    (3, 3)
    """
    order = keyed_generator(seed, "partition").permutation(samples)
    share = samples // nodes
    return order[: share * nodes].reshape(nodes, share)


def sorted_partition(labels: IntArray, nodes: int) -> IntArray:
    """Sort samples by label and cut them into equal parts, so that most nodes see one class: the hardest partition.

    Returns
    -------
    ndarray of int64, shape (nodes, samples // nodes)

    Examples
    --------
    >>> sorted_partition(np.array([1, 0, 1, 0, 0]), 2).tolist()
    [[1, 3], [4, 0]]
    """
    order = np.argsort(labels, kind="stable")
    share = labels.size // nodes
    return order[: share * nodes].reshape(nodes, share)


def dirichlet_partition(labels: IntArray, nodes: int, alpha: float, seed: int) -> IntArray:
    """Deal samples out unevenly by class, in equal shares.

    Each class is spread over the nodes by one draw from a symmetric Dirichlet distribution; the nodes' lists, one
    after the other, are then cut again into equal parts, so that shares are equal and slightly less skewed than the
    draws. This is the partition of the RelaySGD and quasi-global-momentum experiments, without their grouping of
    nodes by ten.

    Parameters
    ----------
    labels : ndarray of int64, shape (samples,)
    nodes : int
    alpha : float
        Concentration. Of ten classes, about four make up nine tenths of a node's samples at 0.1, eight at 1; 100 is
        close to i.i.d.
    seed : int

    Returns
    -------
    ndarray of int64, shape (nodes, samples // nodes)
        Sample numbers, each at most once.

    References
    ----------
    .. [1] T. Lin et al., Quasi-global momentum: accelerating decentralized deep learning on heterogeneous data, 2021.

    Examples
    --------
    >>> shares = dirichlet_partition(np.repeat(np.arange(10), 20), nodes=4, alpha=0.1, seed=0)
    >>> shares.shape, np.unique(shares).size
    ((4, 50), 200)
    """
    rng = keyed_generator(seed, "partition")
    owned: list[list[IntArray]] = [[] for _ in range(nodes)]
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        shares = rng.dirichlet(np.full(nodes, alpha))
        cuts = np.round(np.cumsum(shares)[:-1] * members.size).astype(np.int64)
        for node, part in enumerate(np.split(members, cuts)):
            owned[node].append(part)
    line = np.concatenate([rng.permutation(np.concatenate(parts)) for parts in owned])
    share = labels.size // nodes
    return line[: share * nodes].reshape(nodes, share)
