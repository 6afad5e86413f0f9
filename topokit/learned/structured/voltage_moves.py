"""Random voltage graphs, and the random changes of their arcs that keep every degree."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from topokit.learned.structured.groups import SemidirectGroup
from topokit.learned.structured.voltage import VoltageGraph, arc_keys
from topokit.matrix import IntArray

__all__ = ["NONE", "propose", "random_arcs"]

BoolArray: TypeAlias = "np.ndarray[Any, np.dtype[np.bool_]]"

NONE = -1  # in place of an arc
ALONE = 0.4  # share of changes of one arc
SPLIT = 0.15  # share of those that make two halves of loops of it
DRAWS = 20
REPAIRS = 30


def random_arcs(group: SemidirectGroup, base: int, degree: int, rng: np.random.Generator) -> IntArray | None:
    """Draw arcs whose lift is simple and regular.

    Parameters
    ----------
    group : SemidirectGroup
    base : int
        Number of nodes of the base.
    degree : int
        Of the lift.
    rng : Generator

    Returns
    -------
    ndarray of int64, shape (arcs, 3), or None
        As `VoltageGraph` has them; None if no draw was right, as where the number of ends is odd and the group has no
        element of order two.

    Examples
    --------
    >>> from topokit.learned.structured.groups import cyclic_group
    >>> arcs = random_arcs(cyclic_group(8), 2, 3, np.random.default_rng(0))
    >>> VoltageGraph(cyclic_group(8), 2, arcs).degrees.tolist()
    [3, 3]
    """
    ends = np.repeat(np.arange(base), degree)
    involutions = group.involutions
    halves = len(ends) % 2
    if len(involutions) and rng.random() < 0.5:
        halves += 2 * int(rng.integers(0, min(len(involutions), degree) * base // 2 + 1))
        halves = min(halves, len(ends))
    if halves and not len(involutions):
        return None
    for _ in range(DRAWS):
        order = rng.permutation(ends)
        arcs = np.zeros(((len(ends) + halves) // 2, 3), dtype=np.int64)
        arcs[:halves, :2] = order[:halves, None]
        arcs[halves:, :2] = np.sort(order[halves:].reshape(-1, 2), axis=1)
        whole_loops = arcs[:, 0] == arcs[:, 1]
        whole_loops[:halves] = False
        wrong = np.arange(len(arcs))
        for _ in range(REPAIRS):
            arcs[wrong, 2] = rng.integers(0, group.size, len(wrong))
            few = wrong[wrong < halves]
            arcs[few, 2] = rng.choice(involutions, len(few)) if len(few) else 0
            _, first = np.unique(arc_keys(group, base, arcs), return_index=True)
            again = np.ones(len(arcs), dtype=bool)
            again[first] = False
            wrong = np.flatnonzero(again | (whole_loops & (group.inverse[arcs[:, 2]] == arcs[:, 2])))
            if not len(wrong):
                return arcs
    return None


def propose(graph: VoltageGraph, rng: np.random.Generator, count: int) -> tuple[IntArray, IntArray]:
    """Draw changes of one or two arcs, all but a few of which keep the degrees.

    One arc gets another element, or becomes two halves of loops; two arcs trade ends and get other elements, where two
    halves of loops may become one arc. An element of order two that falls on a whole loop spoils the degree: whoever
    applies a change has to look.

    Returns
    -------
    removed : ndarray of int64, shape (count, 2)
        Places of arcs, `NONE` for none.
    added : ndarray of int64, shape (count, 2, 3)
        Arcs, rows of `NONE` for none.

    Examples
    --------
    >>> from topokit.learned.structured.groups import cyclic_group
    >>> ring = VoltageGraph(cyclic_group(9), 1, np.array([[0, 0, 1]]))
    >>> removed, added = propose(ring, np.random.default_rng(0), 1)
    >>> removed.tolist(), added.tolist()
    ([[0, -1]], [[[0, 0, 0], [-1, -1, -1]]])
    """
    group, ends, half = graph.group, graph.arcs[:, :2], graph.half
    arcs = len(ends)
    first = rng.integers(0, arcs, count)
    second = (first + rng.integers(1, arcs, count)) % arcs if arcs > 1 else first
    alone = (rng.random(count) < ALONE) | (arcs == 1)
    flip = rng.random(count) < 0.5
    join = rng.random(count) < 0.5
    any_element = rng.integers(0, group.size, (count, 2))
    involution = any_element
    split = np.zeros(count, dtype=bool)
    if len(group.involutions):
        involution = rng.choice(group.involutions, (count, 2))
        split = alone & ~half[first] & (rng.random(count) < SPLIT)

    added = np.full((count, 2, 3), NONE, dtype=np.int64)

    def add(which: BoolArray, slot: int, tail: IntArray, head: IntArray, elements: IntArray) -> None:
        added[which, slot] = np.stack([tail, head, elements[:, slot]], axis=1)[which]

    (u, v), (x, y) = ends[first].T, np.where(flip, ends[second].T, ends[second].T[::-1])
    add(alone & half[first], 0, u, v, involution)
    add(alone & ~half[first], 0, u, v, any_element)
    for slot, end in enumerate((u, v)):
        add(split, slot, end, end, involution)
    both, one, other = ~alone, half[first], half[second]
    whole = both & ~one & ~other
    add(whole, 0, u, x, any_element)
    add(whole, 1, v, y, any_element)
    # A half and a whole: the half moves to one of the whole's ends.
    add(both & one & ~other, 0, x, x, involution)
    add(both & one & ~other, 1, u, y, any_element)
    w, z = np.where(flip, (u, v), (v, u))
    add(both & ~one & other, 0, w, w, involution)
    add(both & ~one & other, 1, z, x, any_element)
    add(both & one & other & join, 0, u, x, any_element)
    add(both & one & other & ~join, 0, u, u, involution)
    add(both & one & other & ~join, 1, x, x, involution)
    added[:, :, :2].sort(axis=2)  # elements are uniform: which way they point does not matter
    return np.stack([first, np.where(alone, NONE, second)], axis=1), added
