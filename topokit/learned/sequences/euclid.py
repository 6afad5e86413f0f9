"""Euclid sequences: exact averaging in pairs for every n, what searches found for small n, made a rule.

In the round with shift s, node i of a ring of m nodes is joined with node s - i: a reflection, and a round mixes the
identity and a reflection. An even number of nodes n = 2 m makes two rings, node i of one joined with node i + s of the
other, which multiplies alike. So a period is a product of weights on the 2 m rotations and reflections of a ring, and
exact where it ends with all of them equal. For that, cut the ring into two arcs of coprime lengths x + y = m. In every
round the longer arcs lose a piece as long as the shorter ones, as in Euclid's algorithm: of p arcs of the longer length
and q of the shorter one, there are p and p + q after it. The shift is the longer length and the weight p/(2p + q), the
share of what is cut off. At the end all m arcs have length 1. A mean of pairs at shift m before that, and one at shift
1 after it, do the rest.

A factor of m at a time is shorter still: what has been averaged over already is one place of a smaller ring. That this
averages exactly is proved for each sequence, by `topokit.prove_exact_averaging`, not in general.
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from math import gcd, isqrt

from topokit.errors import GraphError
from topokit.learned.sequences.exact_weights import rounds_of
from topokit.matrix import MixingMatrix

__all__ = ["euclid_length", "euclid_sequence"]

Step = tuple[int, Fraction]  # shift and weight


def euclid_sequence(nodes: int) -> tuple[MixingMatrix, ...]:
    """Build one period of the shortest Euclid sequence.

    Parameters
    ----------
    nodes : int
        Number of nodes, at least 2.

    Returns
    -------
    tuple of MixingMatrix
        Symmetric rounds of one peer a node, of an odd number all but one, with weights up to 1/2. Their product is J.
        They do not commute: the period has to be run from its start.

    Raises
    ------
    GraphError
        If there are fewer than 2 nodes.

    Notes
    -----
    It takes log2 n rounds for powers of two, and up to about 1.44 log2 n for others, where base-2 has up to 2 log2 n:
    for 100 nodes 8 and 11.

    Examples
    --------
    >>> rounds = euclid_sequence(26)
    >>> [str(min(W.fractions())) for W in rounds], [W.source[W.target == 0].tolist()[1] for W in rounds]
    (['1/2', '1/3', '2/5', '3/8', '5/13', '1/2'], [1, 17, 11, 7, 5, 3])
    """
    _check(nodes)
    ring = nodes if nodes % 2 else nodes // 2
    steps: list[Step] = [(0, Fraction(1, 2))]
    stride = ring
    for factor in _factors(ring):
        stride //= factor
        steps += [(stride * shift, weight) for shift, weight in _cuts(factor)]
    return rounds_of(nodes, [_pairs(nodes, shift) for shift, _ in steps], [[w] * (nodes // 2) for _, w in steps])


def _pairs(nodes: int, shift: int) -> list[tuple[int, int]]:
    """Join node i of the one ring, 2 i, with node i + s of the other, 2 (i + s) + 1; in one ring i with s - i."""
    if nodes % 2 == 0:
        return [(2 * i, (2 * (i + shift) + 1) % nodes) for i in range(nodes // 2)]
    return [(i, (shift - i) % nodes) for i in range(nodes) if i < (shift - i) % nodes]


def euclid_length(nodes: int) -> int:
    """Count the rounds of `euclid_sequence`.

    Raises
    ------
    GraphError
        If there are fewer than 2 nodes.

    Examples
    --------
    >>> [euclid_length(n) for n in (5, 6, 10, 64, 100)]
    [4, 3, 4, 6, 8]
    """
    _check(nodes)
    return 1 + sum(len(_cuts(factor)) for factor in _factors(nodes if nodes % 2 else nodes // 2))


def _check(nodes: int) -> None:
    if nodes < 2:
        raise GraphError(f"a Euclid sequence needs at least 2 nodes, got {nodes}")


@lru_cache
def _factors(number: int) -> tuple[int, ...]:
    """Split a number into factors whose cuts are fewest together."""
    if number == 1:
        return ()
    best: tuple[int, ...] = (number,)
    least = len(_cuts(number))
    for a in range(2, isqrt(number) + 1):
        if number % a == 0:
            both = _factors(a) + _factors(number // a)
            rounds = sum(len(_cuts(factor)) for factor in both)
            if rounds <= least:
                best, least = both, rounds
    return best


@lru_cache
def _cuts(ring: int) -> tuple[Step, ...]:
    """Cut a ring into arcs of length 1 in the fewest rounds, the last mean included."""
    longest = min(
        (x for x in range((ring + 1) // 2, ring) if gcd(x, ring) == 1), key=lambda x: (_count(x, ring - x), x)
    )
    x, y, p, q = longest, ring - longest, 1, 1
    steps: list[Step] = []
    while x != y:
        if x < y:
            x, y, p, q = y, x, q, p
        steps.append((x, Fraction(p, 2 * p + q)))
        x, q = x - y, p + q
    return (*steps, (1, Fraction(1, 2)))


def _count(x: int, y: int) -> int:
    """Count the subtractions of Euclid's algorithm that make two coprime numbers 1 and 1."""
    total = -1
    while y:
        total += x // y
        x, y = y, x % y
    return total
