"""Rates, sizes and times as people write them: "1Gbit/s", "12.5MB/s", "100MB", "50us".

Inside, everything is bytes, bytes a second and seconds. Bits and bytes are told apart by the words `bit` and `B` alone;
what could be read either way ("1G", "10Mb") is refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from contextlib import suppress
from decimal import Decimal
from typing import Any

from topokit.errors import InputError

__all__ = ["format_rate", "format_seconds", "format_size", "parse_rate", "parse_seconds", "parse_size"]

# Decimal, so that a number is read exactly and written as short as it was.
DECIMAL = {prefix: Decimal(10) ** power for prefix, power in {"": 0, "k": 3, "M": 6, "G": 9, "T": 12}.items()}
BINARY = {prefix: Decimal(2) ** power for prefix, power in {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40}.items()}
BYTES = {f"{prefix}B": factor for prefix, factor in {**DECIMAL, **BINARY}.items()} | {"KB": Decimal(1000)}
BITS = {f"{prefix}bit": factor / 8 for prefix, factor in DECIMAL.items()}
RATES = {f"{unit}/s": factor for unit, factor in (BITS | BYTES).items()} | BITS  # "1Gbit" can only be a rate
TIMES = {
    unit: Decimal(text) for unit, text in {"s": "1", "ms": "1e-3", "us": "1e-6", "ns": "1e-9", "min": "60"}.items()
}
TIMES["µs"] = TIMES["us"]
NUMBER = re.compile(r"((?:[0-9]{1,20}\.?[0-9]{0,20}|\.[0-9]{1,20})(?:[eE][+-]?[0-9]{1,3})?)\s*(\S*)")
LARGEST = 1e30  # of anything: far beyond every machine, and far from overflow


def parse_rate(value: str | float, what: str = "the bandwidth") -> float:
    """Read a rate; give bytes a second.

    Parameters
    ----------
    value : str or float
        Text with a unit (``bit``, ``kbit/s``, ``Mbit/s``, ``Gbit/s``, ``MB/s``, ``MiB/s`` ...; 1 GB/s is 8 Gbit/s), or
        a number, which is taken as bytes a second.
    what : str
        What it is, for messages.

    Raises
    ------
    InputError
        If it is none, or not above 0; infinity is allowed as a number and as ``inf``.

    Examples
    --------
    >>> parse_rate("1Gbit"), parse_rate("100 Mbit/s"), parse_rate("12.5MB/s")
    (125000000.0, 12500000.0, 12500000.0)
    >>> parse_rate("1G")
    Traceback (most recent call last):
        ...
    topokit.errors.InputError: the bandwidth is '1G'; expected a number with bit/s or B/s, for instance 1Gbit/s or 125MB/s
    """  # noqa: E501
    expected = "a number with bit/s or B/s, for instance 1Gbit/s or 125MB/s"
    if value == "inf":
        return math.inf
    rate = _parse(value, RATES, what, expected, infinite=True)
    if rate <= 0:
        raise InputError(f"{what} is {value!r}; expected a rate above 0")
    return rate


def parse_size(value: str | float, what: str = "the size") -> float:
    """Read a size; give bytes. A number is taken as bytes.

    Examples
    --------
    >>> parse_size("100MB"), parse_size("1GiB"), parse_size(4096)
    (100000000.0, 1073741824.0, 4096.0)
    """
    return _parse(value, BYTES, what, "a number with B, kB, MB, GB, KiB, MiB or GiB, for instance 100MB")


def parse_seconds(value: str | float, what: str = "the latency") -> float:
    """Read a time; give seconds. A number is taken as seconds.

    Examples
    --------
    >>> parse_seconds("1ms"), parse_seconds("0s"), parse_seconds(0.5)
    (0.001, 0.0, 0.5)
    """
    return _parse(value, TIMES, what, "a number with s, ms, us or ns, for instance 50us")


def format_rate(rate: float) -> str:
    """Write a rate so that `parse_rate` reads the same number again.

    Examples
    --------
    >>> format_rate(125e6), format_rate(11.96e6), format_rate(math.inf)
    ('1Gbit/s', '95.68Mbit/s', 'inf')
    """
    if math.isinf(rate):
        return "inf"
    return _format(rate, {f"{prefix}bit/s": RATES[f"{prefix}bit/s"] for prefix in ("T", "G", "M", "k", "")}, "B/s")


def format_size(size: float) -> str:
    """Write a size so that `parse_size` reads the same number again.

    Examples
    --------
    >>> format_size(1e8), format_size(396504)
    ('100MB', '396.504kB')
    """
    return _format(size, {f"{prefix}B": BYTES[f"{prefix}B"] for prefix in ("T", "G", "M", "k", "")}, "B")


def format_seconds(seconds: float) -> str:
    """Write a time so that `parse_seconds` reads the same number again.

    Examples
    --------
    >>> format_seconds(0.00005), format_seconds(0.0)
    ('50us', '0s')
    """
    return _format(seconds, {unit: TIMES[unit] for unit in ("s", "ms", "us", "ns")}, "s")


def _parse(value: Any, units: Mapping[str, Decimal], what: str, expected: str, *, infinite: bool = False) -> float:
    result = math.nan
    if isinstance(value, str):
        match = NUMBER.fullmatch(value.strip())
        if match is not None and match[2] in units:
            result = float(Decimal(match[1]) * units[match[2]])
    elif not isinstance(value, bool):
        with suppress(TypeError, ValueError, OverflowError):
            result = float(value)
    if infinite and result == math.inf:
        return result
    if not 0 <= result <= LARGEST:  # also for NaN
        found = repr(value)
        raise InputError(f"{what} is {found if len(found) <= 60 else found[:57] + '...'}; expected {expected}")
    return result


def _format(value: float, shown: Mapping[str, Decimal], plain: str) -> str:
    """Take the largest unit of which there is at least one."""
    if value == 0:
        return f"0{plain}"
    exact = Decimal(repr(float(value)))
    unit = next((unit for unit, factor in shown.items() if exact >= factor), list(shown)[-1])
    text = f"{(exact / shown[unit]).normalize():f}"
    return f"{text}{unit}" if len(text) <= 20 else f"{float(value)!r}{plain}"
