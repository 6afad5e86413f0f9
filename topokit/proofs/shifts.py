"""Invariance of rounds under a shift of the nodes: what happens at node i happens at node i + s."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from topokit.matrix import IntArray, MixingMatrix

__all__ = ["shift_period"]


def shift_period(rounds: Sequence[MixingMatrix], copies: int = 1) -> int:
    """Find the smallest divisor s of n such that no round changes when every node i is renamed i + s (mod n).

    With it, column j of a product of the rounds is column j mod s, shifted. It is 1 if all rounds are circulant, and n
    if there is no such symmetry.

    Parameters
    ----------
    rounds : sequence of MixingMatrix
        All of copies * n rows; weights must agree exactly.
    copies : int, default 1
        Row c * n + i is copy c of node i; a shift moves all copies alike.

    Examples
    --------
    >>> from topokit.topologies import one_peer_exponential, one_peer_hypercube
    >>> shift_period(one_peer_exponential(8)), shift_period(one_peer_hypercube(8)[:2])
    (1, 4)
    """
    nodes = rounds[0].nodes // copies
    tables = [_by_node(matrix, nodes, copies) for matrix in rounds]
    divisors = (s for s in range(1, nodes) if nodes % s == 0)
    return next((s for s in divisors if all(_unchanged(*table, s) for table in tables)), nodes)


def _by_node(matrix: MixingMatrix, nodes: int, copies: int) -> tuple[IntArray, list[np.ndarray[Any, Any]]]:
    """Sort entries by target node, and sources by their distance: rows of the same shape are then stored alike."""
    node = matrix.target % nodes
    # Within a node: the copy of the target, the distance of the source, and its copy.
    place = (matrix.target // nodes * nodes + (matrix.source - node) % nodes) * copies + matrix.source // nodes
    order = np.argsort(node * (copies**2 * nodes) + place, kind="stable")
    values: list[np.ndarray[Any, Any]] = [matrix.weight]
    if matrix.numerator is not None and matrix.denominator is not None:
        values = [matrix.numerator, matrix.denominator]
    return np.bincount(node, minlength=nodes), [array[order] for array in (place, *values)]


def _unchanged(counts: IntArray, entries: list[np.ndarray[Any, Any]], shift: int) -> bool:
    if not np.array_equal(counts, np.roll(counts, -shift)):
        return False
    ahead = int(counts[:shift].sum())
    # Most shifts fail at the first nodes: no reason to copy everything for them.
    few = min(64, entries[0].size - ahead)
    if not all(np.array_equal(array[:few], array[ahead : ahead + few]) for array in entries):
        return False
    return all(np.array_equal(array, np.roll(array, -ahead)) for array in entries)
