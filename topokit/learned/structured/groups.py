"""Finite groups A ⋊ Z_k: an Abelian group and a cyclic one that acts on it, their products and their characters.

Cyclic, Abelian, dihedral, affine and metacyclic groups are all of this kind. Elements are pairs (a, c) with

    (a, c) (a', c') = (a + M^c a', c + c'),

where the matrix M is an automorphism of A = Z_m1 x ... x Z_ms with M^k = I. Characters of A turn every matrix that
commutes with left multiplications into blocks of k rows, one for each orbit of characters under M: its eigenvalues
cost |A| k^2 in all, where those of the whole matrix cost |A|^3 k^3.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from math import gcd, isqrt, lcm, prod

import numpy as np

from topokit.errors import InputError
from topokit.matrix import IntArray

__all__ = ["SemidirectGroup", "cyclic_group", "groups_of_order"]

POLYNOMIALS = 4096  # of one degree that are looked at


@dataclass(frozen=True)
class SemidirectGroup:
    """The group A ⋊ Z_k of pairs (a, c), A = Z_m1 x ... x Z_ms, where the generator of Z_k acts on A as a matrix.

    Element (a, c) has the code ``c * |A| + index of a``, indices counting the last coordinate fastest; code 0 is the
    identity.

    Attributes
    ----------
    orders : tuple of int
        m1 ... ms, each at least 1.
    matrix : tuple of tuple of int
        M, row by row.
    turns : int
        k, at least 1.

    Raises
    ------
    InputError
        If M is no automorphism of A, or M^k is not the identity.

    Examples
    --------
    The symmetries of a square, and that reflections do not commute with rotations:

    >>> dihedral = SemidirectGroup((4,), ((-1,),), 2)
    >>> dihedral.size, dihedral.name
    (8, 'Z_4 ⋊ Z_2 (by 3)')
    >>> int(dihedral.product(1, 4)), int(dihedral.product(4, 1))
    (5, 7)
    """

    orders: tuple[int, ...]
    matrix: tuple[tuple[int, ...], ...]
    turns: int

    def __post_init__(self) -> None:
        rank = len(self.orders)
        if self.turns < 1 or rank < 1 or min(self.orders) < 1:
            raise InputError(f"orders {self.orders} and {self.turns} turns: each has to be at least 1")
        if len(self.matrix) != rank or any(len(row) != rank for row in self.matrix):
            raise InputError(f"the matrix of a group on {rank} coordinates has to have {rank} rows and columns")
        object.__setattr__(
            self,
            "matrix",
            tuple(tuple(entry % order for entry in row) for row, order in zip(self.matrix, self.orders, strict=True)),
        )
        # Column j is the image of e_j, whose m_j-fold has to vanish; M^k = I then makes M invertible.
        if any(
            self.orders[j] * self.matrix[i][j] % self.orders[i] for i in range(rank) for j in range(rank)
        ) or not np.array_equal(self._power(self.turns), self._power(0)):
            raise InputError(
                f"{self.matrix} is no automorphism of {_product(self.orders)} whose {self.turns}th power is 1"
            )

    @cached_property
    def plane(self) -> int:
        """Give the number of elements of A."""
        return prod(self.orders)

    @property
    def size(self) -> int:
        """Give the number of elements."""
        return self.plane * self.turns

    @property
    def name(self) -> str:
        """Name the group; ``(by 3)`` is M, where the action is not trivial."""
        if self.turns == 1:
            return _product(self.orders)
        if np.array_equal(self._power(1), self._power(0)):
            return _product((*self.orders, self.turns))
        by = self.matrix[0][0] if len(self.orders) == 1 else [list(row) for row in self.matrix]
        return f"{_product(self.orders)} ⋊ Z_{self.turns} (by {by})"

    def _power(self, exponent: int) -> IntArray:
        """Give M^exponent, entries of row i modulo m_i."""
        orders = np.array(self.orders)[:, None]
        result, base = np.eye(len(self.orders), dtype=np.int64) % orders, np.array(self.matrix, dtype=np.int64)
        while exponent:
            if exponent & 1:
                result = result @ base % orders
            base = base @ base % orders
            exponent >>= 1
        return np.asarray(result)

    @cached_property
    def _strides(self) -> IntArray:
        return np.array([prod(self.orders[i + 1 :]) for i in range(len(self.orders))], dtype=np.int64)

    @cached_property
    def _digits(self) -> IntArray:
        """Coordinates of the elements of A, shape (|A|, s)."""
        return np.asarray(np.arange(self.plane)[:, None] // self._strides % np.array(self.orders))

    @cached_property
    def action(self) -> IntArray:
        """Give the indices of M^c a, shape (k, |A|)."""
        rows = [np.arange(self.plane)]
        step = self._digits @ self._power(1).T % np.array(self.orders) @ self._strides
        for _ in range(self.turns - 1):
            rows.append(step[rows[-1]])
        return np.array(rows)

    def product(self, left: IntArray | int, right: IntArray | int) -> IntArray:
        """Multiply elements given by their codes, entry by entry."""
        c, a = np.divmod(np.asarray(left), self.plane)
        other, b = np.divmod(np.asarray(right), self.plane)
        moved = self.action[c, b]
        if len(self.orders) == 1:
            together = (a + moved) % self.plane
        else:
            together = (self._digits[a] + self._digits[moved]) % np.array(self.orders) @ self._strides
        return np.asarray((c + other) % self.turns * self.plane + together)

    @cached_property
    def inverse(self) -> IntArray:
        """Give the code of the inverse of every element."""
        c, a = np.divmod(np.arange(self.size), self.plane)
        negative = -self._digits % np.array(self.orders) @ self._strides
        back = -c % self.turns
        return np.asarray(back * self.plane + self.action[back, negative[a]])

    @cached_property
    def involutions(self) -> IntArray:
        """Give the codes of the elements of order two."""
        codes = np.arange(1, self.size)
        return np.asarray(codes[self.inverse[1:] == codes])

    @cached_property
    def exponent(self) -> int:
        """Give the order of the roots of unity that characters of A take as values."""
        return lcm(*self.orders)

    def angles(self, characters: IntArray, elements: IntArray) -> IntArray:
        """Evaluate characters y of A at elements a, as multiples of the angle 2 pi / exponent.

        Parameters
        ----------
        characters, elements : ndarray of int64
            Indices of y and a, of shapes that broadcast.
        """
        scale = self.exponent // np.array(self.orders)
        terms = self._digits[characters] * scale * self._digits[elements] % self.exponent
        return np.asarray(terms.sum(axis=-1) % self.exponent)

    @cached_property
    def characters(self) -> tuple[IntArray, IntArray]:
        """Give one character of A of each orbit under M and conjugation, and the lengths of these orbits.

        The trivial character comes first.
        """
        scale = self.exponent // np.array(self.orders)
        # The character a -> y(M a) takes at e_j the value y(M e_j), from which its coordinates are read off.
        turned = self._digits @ (scale[:, None] * self._power(1)) % self.exponent // scale % np.array(self.orders)
        step = turned @ self._strides
        conjugate = -self._digits % np.array(self.orders) @ self._strides
        least = np.minimum(np.arange(self.plane), conjugate)
        image = step
        for _ in range(self.turns - 1):
            least = np.minimum(least, np.minimum(image, conjugate[image]))
            image = step[image]
        representatives, lengths = np.unique(least, return_counts=True)
        return representatives, lengths


def _product(orders: tuple[int, ...]) -> str:
    """Name a product of cycles."""
    counts = Counter(order for order in orders if order > 1) or Counter([1])
    return " x ".join(f"Z_{order}^{count}" if count > 1 else f"Z_{order}" for order, count in counts.items())


def cyclic_group(order: int) -> SemidirectGroup:
    """Give the integers modulo ``order``.

    Examples
    --------
    >>> cyclic_group(12).name
    'Z_12'
    """
    return SemidirectGroup((order,), ((1,),), 1)


def groups_of_order(order: int, most_turns: int | None = None) -> list[SemidirectGroup]:
    """List groups A ⋊ Z_k of an order: Z_l x Z_m, cyclic A with every action, and Z_m^s turned by companion matrices.

    Parameters
    ----------
    order : int
    most_turns : int, optional
        Groups with longer Z_k are left out.

    Returns
    -------
    list of SemidirectGroup
        The integers modulo ``order`` first. Some may be isomorphic.

    Examples
    --------
    >>> [group.name for group in groups_of_order(12)]
    ['Z_12', 'Z_6 x Z_2', 'Z_6 ⋊ Z_2 (by 5)', 'Z_2^2 ⋊ Z_3 (by [[0, 1], [1, 1]])', 'Z_3 ⋊ Z_4 (by 2)']
    """
    found = [cyclic_group(order)]
    found += [
        SemidirectGroup((order // m, m), ((1, 0), (0, 1)), 1) for m in range(2, isqrt(order) + 1) if order % m**2 == 0
    ]
    for turns in range(2, min(order // 2, most_turns or order) + 1):
        if order % turns == 0:
            found += [SemidirectGroup((order // turns,), ((by,),), turns) for by in _units(order // turns, turns)]
            found += _companions(order // turns, turns)
    return found


def _units(modulus: int, turns: int) -> list[int]:
    """List units r != 1 whose power ``turns`` is 1 modulo ``modulus``, one for each group of powers."""
    power, base = np.ones(max(modulus, 0), dtype=np.int64), np.arange(modulus, dtype=np.int64)
    for bit in f"{turns:b}":
        power = power * power % modulus
        if bit == "1":
            power = power * base % modulus
    units = []
    seen = {1}
    for by in np.flatnonzero(power == 1).tolist():
        if by not in seen:
            seen.update(pow(by, j, modulus) for j in range(1, turns) if gcd(j, turns) == 1)
            units.append(by)
    return units


def _companions(plane: int, turns: int) -> list[SemidirectGroup]:
    """List groups Z_m^s ⋊ Z_k, s > 1, whose matrix is the companion of a polynomial."""
    groups = []
    for rank in range(2, plane.bit_length()):
        m = round(plane ** (1 / rank))
        if m**rank != plane:
            continue
        matrices = np.zeros((min(plane, POLYNOMIALS), rank, rank), dtype=np.int64)
        matrices[:, np.arange(1, rank), np.arange(rank - 1)] = 1
        matrices[:, :, -1] = np.arange(len(matrices))[:, None] // m ** np.arange(rank) % m
        powers = np.broadcast_to(np.eye(rank, dtype=np.int64), matrices.shape)
        for bit in f"{turns:b}":
            powers = powers @ powers % m
            if bit == "1":
                powers = powers @ matrices % m
        right = (powers == np.eye(rank, dtype=np.int64)).all(axis=(1, 2))
        groups += [SemidirectGroup((m,) * rank, tuple(map(tuple, rows)), turns) for rows in matrices[right].tolist()]
    return groups
