"""Threads of linear algebra, where they cost more than they bring."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from threadpoolctl import threadpool_limits

__all__ = ["few_threads"]

SMALL = 300  # order of matrices up to which threads wait for one another longer than they work


def few_threads(order: int) -> AbstractContextManager[object]:
    """Keep linear algebra on one thread while matrices of this order are worked on, if they are small.

    On a busy machine, a factorisation of a hundred rows can take a hundred times as long on two threads as on one.

    Examples
    --------
    >>> with few_threads(50):
    ...     pass
    """
    return threadpool_limits(limits=1, user_api="blas") if order <= SMALL else nullcontext()
