"""Rounds as typed on the command line: ``a:b`` for rounds a to b-1."""

from __future__ import annotations

from topokit.errors import InputError

__all__ = ["parse_rounds"]


def parse_rounds(text: str) -> range:
    """Read ``a:b``, or ``a`` alone for one round.

    Raises
    ------
    InputError
        If it is neither, or names no round.

    Examples
    --------
    >>> parse_rounds("2:4"), parse_rounds("7")
    (range(2, 4), range(7, 8))
    """
    first, colon, last = text.partition(":")
    try:
        start = int(first) if first else 0
        stop = int(last) if colon else start + 1
    except ValueError:
        start, stop = 0, 0
    if not 0 <= start < stop:
        raise InputError(f"--rounds is a:b with 0 <= a < b, for instance 0:4 for rounds 0 to 3; got {text!r}")
    return range(start, stop)
