"""Sizes and amounts of work at which the spectral methods give way to one another, in one place.

They are read when a method runs, so that tests can make the methods for large matrices work on small ones.
"""

from __future__ import annotations

__all__ = [
    "DENSE_LIMIT",
    "FACTOR_LIMIT",
    "FAILURE",
    "FILL_LIMIT",
    "FREE_WORK",
    "KEPT_FROM",
    "MAX_SECONDS",
    "PILOT_STEPS",
    "PRODUCT_LIMIT",
    "SQUARE_LIMIT",
    "TOLERANCE",
]

DENSE_LIMIT = 1000  # nodes up to which dense eigenvalues cost less than a second
PRODUCT_LIMIT = 2000  # nodes up to which the product of a period is formed without being asked

TOLERANCE = 1e-3  # width of an interval, relative to the spectral gap
FAILURE = 1e-6  # probability with which an interval may be wrong, over the random start
KEPT_FROM = 10_000  # nodes from which on a matrix keeps its spectrum
MAX_SECONDS = 60.0  # after which the interval that was reached is reported

PILOT_STEPS = 150  # of Lanczos before a factorisation is thought of
FREE_WORK = 2e8  # multiplications that cost so little that an interval is narrowed beyond what was asked for
FILL_LIMIT = 5e7  # entries of a triangular factor: some two gigabytes in all
FACTOR_LIMIT = 3e10  # multiplications of a factorisation: about half a minute
SQUARE_LIMIT = 3e7  # entries up to which the product of a sparse matrix and its transpose is formed
