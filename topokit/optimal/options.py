"""The options that some optimal weights take, and others do not."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from topokit.errors import InputError

__all__ = ["foreign_options"]

OPTION_NAMES = {
    "upper": "a bound on weights (--max-weight)",
    "self_loops": "going without self-loops (--no-self-loops)",
    "width": "a certificate width (--width)",
    "method": "a method",
}


def foreign_options(options: Mapping[str, Any], known: Collection[str], what: str) -> None:
    """Refuse options that some optimal weights do not take.

    Parameters
    ----------
    options : mapping
    known : collection of str
        The names of those that they take.
    what : str
        What these weights are, for the message.

    Raises
    ------
    InputError

    Examples
    --------
    >>> foreign_options({"upper": 1}, {"time_limit"}, "those of a period")
    Traceback (most recent call last):
    topokit.errors.InputError: a bound on weights (--max-weight) is for the smallest SLEM of one graph, not for those \
of a period
    """
    for name in options:
        if name not in known:
            raise InputError(f"{OPTION_NAMES.get(name, name)} is for the smallest SLEM of one graph, not for {what}")
