"""Small change of the language that reports, messages and the command line speak."""

from __future__ import annotations

__all__ = ["count", "factor"]


def count(number: int, noun: str) -> str:
    """Count things.

    Examples
    --------
    >>> count(1, "round"), count(4, "round")
    ('1 round', '4 rounds')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def factor(value: float) -> str:
    """Write a factor on an error with four digits, so that one that is less than 1 never reads as 1.

    Examples
    --------
    >>> factor(0.5), factor(1.0), factor(1 - 2.2e-5)
    ('0.5', '1', '1 - 2.2e-05')
    """
    text = f"{value:.4g}"
    return f"1 - {1 - value:.2g}" if text == "1" and 1 - value > 1e-13 else text
