"""Seconds of an all-reduce, what decentralized training is compared with: over a ring, or over a binary tree."""

from __future__ import annotations

from typing import Literal

import numpy as np

from topokit.errors import InputError
from topokit.matrix import IntArray
from topokit.network.cost import message_seconds
from topokit.network.model import Network
from topokit.network.quantities import parse_size

__all__ = ["allreduce_seconds"]


def allreduce_seconds(
    network: Network,
    message_bytes: str | float,
    algorithm: Literal["ring", "tree"] = "ring",
    *,
    segments: int = 1,
) -> float:
    """Predict the seconds in which all nodes get the mean of a vector.

    Parameters
    ----------
    network : Network
    message_bytes : str or float
        Size of the vector.
    algorithm : {"ring", "tree"}
        Ring: n - 1 steps of reduce-scatter and n - 1 of all-gather, in each of which node i sends 1/n of the vector to
        node i + 1. Tree: node i's parent is (i - 1) // 2; every node adds what its children send and passes the sum up,
        then the sum of all goes down.
    segments : int, default 1
        Pieces into which the tree cuts the vector: a node passes one piece on while the next comes in.

    Returns
    -------
    float

    Raises
    ------
    InputError
        If there is no such algorithm, or a link is missing.

    Notes
    -----
    On a full-duplex network of one rate B and latency a, the ring takes 2(n - 1)(a + M / (n B)). The tree of
    n = 2^d - 1 nodes and one piece takes 2(d - 1)(a + 2 M / B): a parent's card passes the vectors of both children.

    Examples
    --------
    >>> network = Network.uniform(8, "1Gbit/s", "1ms")
    >>> round(allreduce_seconds(network, "100MB"), 4), round(allreduce_seconds(network, "100MB", "tree"), 4)
    (1.414, 7.206)
    """
    size, n = parse_size(message_bytes, "the size of the vector"), network.nodes
    if algorithm not in ("ring", "tree"):
        raise InputError(f"the algorithm is {algorithm!r}; expected 'ring' or 'tree'")
    if segments < 1:
        raise InputError(f"the number of segments is {segments}; expected at least 1")
    if n == 1:
        return 0.0
    if algorithm == "ring":
        nodes = np.arange(n)
        return 2 * (n - 1) * message_seconds(network, nodes, (nodes + 1) % n, size / n).seconds
    return _tree(network, size / segments, segments)


def _tree(network: Network, size: float, segments: int) -> float:
    children = np.arange(1, network.nodes)
    height, depth = _heights(network.nodes), np.floor(np.log2(np.arange(network.nodes) + 1)).astype(np.int64)
    total = 0.0
    for upwards in (True, False):
        # Up, a node passes piece s on in step s + (its height), as soon as it has that of its children; down, its
        # parent sends it the piece in step s + (its depth - 1).
        turn = height[1:] if upwards else depth[1:] - 1
        last = int(turn.max())
        known: dict[tuple[int, int], float] = {}
        for step in range(last + segments):
            window = max(0, step - segments + 1), min(step, last)
            if window not in known:
                active = children[(turn >= window[0]) & (turn <= window[1])]
                ends = (active, (active - 1) // 2) if upwards else ((active - 1) // 2, active)
                known[window] = message_seconds(network, *ends, size).seconds
            total += known[window]
    return total


def _heights(nodes: int) -> IntArray:
    """Give for each node the number of edges down to the deepest leaf below it; that is always its leftmost one."""
    height = np.zeros(nodes, dtype=np.int64)
    low = 2 * np.arange(nodes) + 1
    while (low < nodes).any():
        height += low < nodes
        low = 2 * low + 1
    return height
