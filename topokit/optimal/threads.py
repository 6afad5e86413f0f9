"""Threads of linear algebra, where they cost more than they bring."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from threadpoolctl import threadpool_limits

__all__ = ["few_threads"]

SMALL = 1500  # order of matrices up to which more threads gain less than waiting for one another can cost


def few_threads(order: int) -> AbstractContextManager[object]:
    """Keep linear algebra on one thread while matrices of this order are worked on, if they are small.

    Threads wait for one another by spinning. Where another process has one of their cores, a factorisation of a
    thousand rows takes twenty times as long on two threads as on one, and of a hundred rows a hundred times.

    Examples
    --------
    >>> with few_threads(50):
    ...     pass
    """
    return threadpool_limits(limits=1, user_api="blas") if order <= SMALL else nullcontext()
