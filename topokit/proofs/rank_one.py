"""After how many rounds a product has equal rows, 1 u^T, or equal columns, v 1^T.

A vector modulo a prime shows in one simulated step per round that a product is not of that form: 1 u^T makes every
vector constant, and v 1^T makes every vector with sum 0 vanish. Where it does not show that, the product itself
decides, multiplied in blocks of rows modulo as many primes as the size of its entries demands.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import prod
from typing import Any, Literal, TypeAlias

import numpy as np
from scipy import sparse

from topokit.matrix import MixingMatrix
from topokit.proofs.arrival import TOLERANCE, arrival
from topokit.proofs.residues import IntMatrix, ScaledRound, exact_rounds, moduli, size_bound

__all__ = ["Equal", "Lines", "Number", "Unequal", "equal_after"]

Lines = Literal["rows", "columns"]
Number: TypeAlias = Fraction | float
State: TypeAlias = np.ndarray[Any, np.dtype[Any]]
Flags: TypeAlias = np.ndarray[Any, np.dtype[np.bool_]]

MODULUS = (1 << 20) - 3  # a prime; the exact product decides what vectors modulo it do not
PROBES = 4  # random vectors where weights are floating-point numbers
BLOCK = 1 << 22  # entries of a block of rows


@dataclass(frozen=True)
class Equal:
    """A product whose rows, or columns, are all equal.

    Attributes
    ----------
    rounds : int
        The smallest number of rounds for which they are, from round 0 on.
    line : dict of int to Fraction or float
        The nonzero entries of one of them, exact where the weights are.
    """

    rounds: int
    line: dict[int, Number]


@dataclass(frozen=True)
class Unequal:
    """Two rows, or columns, of a product that differ."""

    first: int
    second: int


def equal_after(rounds: Sequence[MixingMatrix], lines: Lines, limit: int) -> Equal | Unequal:
    """Find the smallest number of rounds whose product has equal rows (or columns).

    Parameters
    ----------
    rounds : sequence of MixingMatrix
        One period, used again and again, round 0 first; rows (or columns) sum to 1.
    lines : {"rows", "columns"}
    limit : int
        Number of rounds to try, at least 1.

    Returns
    -------
    Equal or Unequal
        Exact if all weights are, else up to rounding. `Unequal` tells of the product of `limit` rounds.

    Examples
    --------
    >>> from topokit.topologies import one_peer_exponential
    >>> equal_after(one_peer_exponential(2), "rows", 10)
    Equal(rounds=1, line={0: Fraction(1, 2), 1: Fraction(1, 2)})
    >>> equal_after(one_peer_exponential(3), "rows", 10)
    Unequal(first=0, second=1)
    """
    exact = exact_rounds(rounds)
    search: _Search = _Rounding(lines, rounds) if exact is None else _Exact(lines, exact)
    for count in search.candidates(limit):
        line = search.line(count)
        if line is not None:
            return Equal(count, line)
    return search.unequal(limit)


class _Search(ABC):
    """Apply rounds to vectors that they treat in a special way once lines are equal.

    Attributes
    ----------
    factors : sequence of sparse array, shape (n, n)
        The rounds of a period.
    state : ndarray, shape (n, probes)
        The vectors after the rounds that were applied so far. For columns they sum to 0.
    """

    lines: Lines
    factors: Sequence[Any]
    state: State

    def candidates(self, limit: int) -> Iterator[int]:
        """Give the numbers of rounds of which the vectors do not show that they are too few."""
        for t in range(limit):
            self.step(t)
            if not self._wrong().any():
                yield t + 1

    def step(self, t: int) -> None:
        """Apply round t."""
        self.state = self.reduced(self.factors[t % len(self.factors)] @ self.state)

    @abstractmethod
    def line(self, count: int) -> dict[int, Number] | None:
        """Give the line that all are equal to after so many rounds; None if they are not equal after all."""

    @abstractmethod
    def reduced(self, values: State) -> State:
        """Bring values that have grown into range again."""

    @abstractmethod
    def nonzero(self, values: State) -> Flags:
        """Say which values differ from 0."""

    def unequal(self, count: int) -> Unequal:
        """Give two lines that differ after so many rounds, the last that were tried."""
        node = self.wrong_row()
        if self.lines == "rows":
            return Unequal(0, node)
        row = self.row(node, count)
        return Unequal(0, int(self.nonzero(row - row[0]).argmax()))

    def row(self, node: int, count: int) -> State:
        """Compute one row of the product."""
        row = np.zeros(len(self.state), dtype=self.state.dtype)
        row[node] = 1
        for t in reversed(range(count)):
            row = self.reduced(self.factors[t % len(self.factors)].T @ row)
        return row

    def wrong_row(self) -> int:
        """Give a row that differs from row 0 (or that is not constant) after the rounds that were tried last."""
        return int(self._wrong().argmax())

    def _wrong(self) -> Flags:
        """Say at which nodes the vectors are not what equal lines make of them."""
        return np.asarray(self.nonzero(self._deviation()).any(axis=1))

    def _deviation(self) -> State:
        """Subtract what equal lines make of the vectors."""
        return self.state - self.state[0] if self.lines == "rows" else self.state


class _Rounding(_Search):
    """Weights that are known as floating-point numbers: several vectors, and a tolerance."""

    def __init__(self, lines: Lines, rounds: Sequence[MixingMatrix]) -> None:
        self.lines, self.factors = lines, [W.to_csr() for W in rounds]
        self.state = np.random.default_rng(0).standard_normal((rounds[0].nodes, PROBES))
        if lines == "columns":
            self.state -= self.state.mean(axis=0)

    def candidates(self, limit: int) -> Iterator[int]:
        """Give the number of rounds after which the vectors are, at one stroke, what equal lines make of them."""

        def errors() -> Iterator[float]:
            for t in range(limit):
                self.step(t)
                yield float(np.abs(self._deviation()).max())

        if (count := arrival(errors())) is not None:
            yield count

    def wrong_row(self) -> int:
        """Give the row that differs most."""
        return int(np.abs(self._deviation()).max(axis=1).argmax())

    def reduced(self, values: State) -> State:
        return values

    def nonzero(self, values: State) -> Flags:
        return np.asarray(np.abs(values) > TOLERANCE)

    def line(self, count: int) -> dict[int, Number]:
        if self.lines == "rows":
            values = self.row(0, count)
        else:
            values = np.zeros(len(self.state))
            values[0] = 1
            for t in range(count):
                values = self.factors[t % len(self.factors)] @ values
        return {i: float(values[i]) for i in np.flatnonzero(self.nonzero(values)).tolist()}


class _Exact(_Search):
    """Exact weights: one vector of integers modulo a prime, and the product where it leaves a doubt."""

    def __init__(self, lines: Lines, rounds: Sequence[MixingMatrix]) -> None:
        self.lines, self.nodes = lines, rounds[0].nodes
        self.rounds = [ScaledRound(W) for W in rounds]
        self.wrong_in_product = 0
        self._start(MODULUS)

    def _start(self, prime: int) -> None:
        self.modulus, self.factors = prime, self._factors(prime)
        self.state = np.random.default_rng(0).integers(prime, size=(self.nodes, 1))
        if self.lines == "columns":
            self.state[0] = -self.state[1:].sum(axis=0) % prime

    def reduced(self, values: State) -> State:
        return values % self.modulus

    def nonzero(self, values: State) -> Flags:
        return np.asarray(values % self.modulus != 0)

    def wrong_row(self) -> int:
        return super().wrong_row() if self._wrong().any() else self.wrong_in_product

    def line(self, count: int) -> dict[int, Number] | None:
        used = [self.rounds[t % len(self.rounds)] for t in range(count)]
        line = _first_line(self.lines, used)
        for prime in moduli(2 * size_bound(used), self.nodes, primes_only=True):
            assert prime is not None
            expected = np.zeros(self.nodes, dtype=np.int64)
            for i, value in line.items():
                expected[i] = value % prime
            wrong = _wrong_row(self.lines, self._factors(prime), count, prime, expected, 0, self.nodes)
            if wrong is not None:
                # From here on modulo this prime, which can show what was overlooked.
                self.wrong_in_product = wrong
                self._start(prime)
                for t in range(count):
                    self.step(t)
                return None
        whole = prod(scaled.denominator for scaled in used)
        return {i: Fraction(value, whole) for i, value in sorted(line.items()) if value}

    def _factors(self, prime: int) -> list[IntMatrix]:
        return [scaled.modulo(prime)[0] for scaled in self.rounds]


def _first_line(lines: Lines, used: Sequence[ScaledRound]) -> dict[int, int]:
    """Compute row 0 (or column 0) of a product in whole numbers, times the product of the denominators."""
    lists: dict[int, list[list[tuple[int, int]]]] = {}
    line = {0: 1}
    for scaled in reversed(used) if lines == "rows" else used:
        W = scaled.matrix
        if id(scaled) not in lists:
            assert W.numerator is not None
            assert W.denominator is not None
            common = scaled.denominator
            near, far = (W.target, W.source) if lines == "rows" else (W.source, W.target)
            entries: list[list[tuple[int, int]]] = [[] for _ in range(W.nodes)]
            for i, j, p, q in zip(*(a.tolist() for a in (near, far, W.numerator, W.denominator)), strict=True):
                entries[i].append((j, p * (common // q)))
            lists[id(scaled)] = entries
        following: dict[int, int] = {}
        for i, value in line.items():
            for j, weight in lists[id(scaled)][i]:
                following[j] = following.get(j, 0) + weight * value
        line = following
    return line


def _wrong_row(
    lines: Lines, factors: Sequence[IntMatrix], count: int, prime: int, expected: State, start: int, stop: int
) -> int | None:
    """Find a row, from start to stop, of a product that is not what equal lines demand, modulo a prime."""
    nodes, size = expected.size, stop - start
    own = np.arange(size)
    block: IntMatrix = sparse.csr_array((np.ones(size, dtype=np.int64), (own, own + start)), shape=(size, nodes))
    for t in reversed(range(count)):
        block = block @ factors[t % len(factors)]
        block.data %= prime
        block.eliminate_zeros()
        if block.nnz > BLOCK and size > 1:
            break
    else:
        block.sort_indices()
        if lines == "rows":
            full = np.flatnonzero(expected)
            widths, indices, data = np.full(size, full.size), np.tile(full, size), np.tile(expected[full], size)
        else:
            wanted = expected[start:stop]
            kept = wanted[wanted != 0]
            widths, indices, data = np.where(wanted, nodes, 0), np.tile(np.arange(nodes), kept.size), kept.repeat(nodes)
        pairs = ((np.diff(block.indptr), widths), (block.indices, indices), (block.data, data))
        if all(np.array_equal(found, right) for found, right in pairs):
            return None
        if size == 1:
            return start
    middle = (start + stop) // 2
    wrong = _wrong_row(lines, factors, count, prime, expected, start, middle)
    return wrong if wrong is not None else _wrong_row(lines, factors, count, prime, expected, middle, stop)
