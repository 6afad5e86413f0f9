"""Small change of the language that reports, messages and the command line speak."""

from __future__ import annotations

__all__ = ["count"]


def count(number: int, noun: str) -> str:
    """Count things.

    Examples
    --------
    >>> count(1, "round"), count(4, "round")
    ('1 round', '4 rounds')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
