"""Factors of whole numbers, of which families of topologies and proofs are made."""

from __future__ import annotations

from math import isqrt

from topokit.errors import InputError

__all__ = ["fewest_factors", "prime_factors", "smooth_part"]


def prime_factors(number: int) -> tuple[int, ...]:
    """Give the prime factors of a positive integer in ascending order, repeated ones as often as they divide it.

    Examples
    --------
    >>> prime_factors(60), prime_factors(1)
    ((2, 2, 3, 5), ())
    """
    factors = []
    candidate = 2
    while candidate * candidate <= number:
        while number % candidate == 0:
            factors.append(candidate)
            number //= candidate
        candidate += 1
    if number > 1:
        factors.append(number)
    return tuple(factors)


def smooth_part(number: int, largest: int) -> int:
    """Give the largest divisor of a number that has no prime factor above a bound.

    Examples
    --------
    >>> smooth_part(60, 3)
    12
    """
    part, p = 1, 2
    while p <= largest and p * p <= number:
        while number % p == 0:
            part, number = part * p, number // p
        p += 1
    return part * number if number <= largest else part


def fewest_factors(number: int, largest: int) -> tuple[int, ...]:
    """Write a number as the product of as few factors as possible, none above a bound.

    Among the shortest products it takes the one with the smallest sum, which in a hyper-hypercube means the fewest
    messages. Dividing by the largest possible factor first would not do: 216 = 8 * 3 * 3 * 3 = 6 * 6 * 6.

    Parameters
    ----------
    number : int
        Positive, without prime factors above `largest`.
    largest : int
        The bound, at least 1.

    Returns
    -------
    tuple of int
        The factors, at least 2 each, in ascending order.

    Raises
    ------
    InputError
        If the number has a prime factor above the bound.

    Examples
    --------
    >>> fewest_factors(216, 8), fewest_factors(24, 12), fewest_factors(1, 2)
    ((6, 6, 6), (4, 6), ())
    """
    small = [d for d in range(1, isqrt(number) + 1) if number % d == 0]
    divisors = sorted({*small, *(number // d for d in small)})
    best: dict[int, tuple[int, ...]] = {1: ()}
    for divisor in divisors[1:]:
        products = [
            tuple(sorted((*best[divisor // factor], factor)))
            for factor in divisors[1:]
            if factor <= largest and divisor % factor == 0 and divisor // factor in best
        ]
        if products:
            best[divisor] = min(products, key=lambda factors: (len(factors), sum(factors), factors))
    if number not in best:
        raise InputError(f"{number} has a prime factor above {largest}: it is no product of factors up to {largest}")
    return best[number]
