"""What all kinds of schedules have in common."""

from __future__ import annotations

import math
import operator
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from types import MappingProxyType
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np

from topokit.errors import ScheduleError
from topokit.matrix import INT64_MAX, IntArray, MixingMatrix
from topokit.traffic import traffic

__all__ = [
    "Encoder",
    "Kind",
    "Mixing",
    "Number",
    "exact",
    "edge_array",
    "fraction_of_text",
    "number",
    "number_content",
    "pair_averages",
    "require_enough_edges",
    "probability",
    "found_value",
    "round_content",
    "shortened",
]

Mixing = Literal["doubly-stochastic", "column-stochastic", "row-stochastic", "push-pull"]
Number: TypeAlias = Fraction | float

DIGITS = 40  # of a numerator or a denominator
MOST_EXPONENT = 30
NUMBER = re.compile(
    rf"[+-]?(?:[0-9]{{1,{DIGITS}}}/[0-9]{{1,{DIGITS}}}"
    rf"|(?=[0-9.]{{1,{DIGITS}}}(?![0-9.]))(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE](?P<exponent>[+-]?[0-9]{{1,2}}))?)"
)


def round_content(W: MixingMatrix) -> dict[str, Any]:
    """Give a round as the file has it: three arrays, and the filter that defines irrational weights."""
    weight: list[Any] = W.weight.tolist()
    if W.numerator is not None and W.denominator is not None:
        pairs = zip(W.numerator.tolist(), W.denominator.tolist(), strict=True)
        weight = [f"{p}" if q == 1 else f"{p}/{q}" for p, q in pairs]
    content: dict[str, Any] = {"target": W.target.tolist(), "source": W.source.tolist(), "weight": weight}
    if W.filter is not None:
        content["filter"] = {"shift": W.filter.shift, "turn": str(W.filter.turn)}
    return content


Encoder: TypeAlias = Callable[[MixingMatrix], dict[str, Any]]


class Kind(ABC):
    """One way in which rounds follow one another.

    Attributes
    ----------
    name : str
        The ``kind`` of the file.
    nodes : int
        Number of nodes n.
    copies : int
        Number of states that each node keeps. Rounds act on copies * n rows: row c * n + i is copy c of node i.
    mixing : {"doubly-stochastic", "column-stochastic", "row-stochastic", "push-pull"}
        Which sums of every round are one: rows and columns; columns (push-sum); rows; or, with two copies that do not
        mix, the rows of the first (pull) and the columns of the second (push).
    remarks : mapping
        What the builder found out besides, as JSON values for the provenance: how good its choice is, for instance.
    """

    name: ClassVar[str]
    nodes: int
    copies: int
    mixing: Mixing
    remarks: Mapping[str, Any] = MappingProxyType({})

    @property
    def period(self) -> int | None:
        """Number of rounds after which the schedule repeats; None where rounds are drawn at random."""
        return None

    @abstractmethod
    def round(self, t: int) -> MixingMatrix:
        """Give the mixing matrix of round t, counted from 0 without end."""

    def messages(self, t: int) -> int:
        """Count the vectors that nodes send to others in round t."""
        return traffic(self.round(t), self.copies).messages

    @abstractmethod
    def content(self, encode: Encoder = round_content) -> dict[str, Any]:
        """Give what the file holds for this kind besides the common header, as JSON values, rounds as `encode` does."""

    @abstractmethod
    def connections(self) -> Sequence[MixingMatrix] | None:
        """Give matrices whose graphs together connect exactly the nodes that the rounds, in the long run, connect.

        None where the rules themselves say that all nodes are connected.
        """


def number(value: Any, what: str) -> Number:
    """Take a finite number, or an exact fraction as a `Fraction` or as text ("1/3").

    Raises
    ------
    ScheduleError
        If it is none, or so large or small, or of so many digits, that computing with it could take for ever.

    Examples
    --------
    >>> number("2/6", "weight"), number(0.5, "weight")
    (Fraction(1, 3), 0.5)
    """
    result: Number
    if isinstance(value, str):
        try:
            result = fraction_of_text(value)
        except ValueError:
            found = f'"{shortened(ascii(value)[1:-1])}"'
            raise ScheduleError(f'{what} is {found}; expected a number or a fraction such as "1/3"') from None
    elif isinstance(value, (int, Fraction, np.integer)) and not isinstance(value, bool):
        result = Fraction(value) if isinstance(value, Fraction) else Fraction(int(value))
    else:
        try:
            result = float(value)
        except (TypeError, ValueError, OverflowError):
            result = math.nan
        if not math.isfinite(result) or isinstance(value, bool):
            found = found_value(value)
            raise ScheduleError(f'{what} is {found}; expected a finite number or a fraction such as "1/3"')
    if isinstance(result, Fraction) and max(abs(result.numerator), result.denominator) >= 10**DIGITS:
        raise ScheduleError(f"{what} has too many digits; expected at most {DIGITS} in a numerator or a denominator")
    if result and not 1e-100 <= abs(float(result)) <= 1e100:
        raise ScheduleError(f"{what} is {result}; expected 0 or a number of magnitude 1e-100 to 1e100")
    return result


def fraction_of_text(text: str) -> Fraction:
    """Read a fraction ("1/3") or a decimal number ("0.5", "5e-1") exactly, if it is short enough to compute with.

    Raises
    ------
    ValueError
        If it is neither, divides by zero, or has more digits or a larger exponent than anything meant has.

    Examples
    --------
    >>> fraction_of_text("-2/6"), fraction_of_text("0.53"), fraction_of_text("5e-1")
    (Fraction(-1, 3), Fraction(53, 100), Fraction(1, 2))
    """
    # Fraction itself writes out all the digits of "1e-99999999".
    match = NUMBER.fullmatch(text)
    if match is None or abs(int(match["exponent"] or 0)) > MOST_EXPONENT:
        raise ValueError("no number of a bounded length")
    try:
        return Fraction(text)
    except ZeroDivisionError as error:
        raise ValueError("division by zero") from error


def shortened(text: str) -> str:
    """Cut a text for a message to at most 60 characters."""
    return text if len(text) <= 60 else text[:57] + "..."


def found_value(value: Any) -> str:
    """Show any value in a message, shortened."""
    try:
        return shortened(repr(value))
    except ValueError:  # Python does not write out integers of more than 4300 digits
        return "a number of thousands of digits"


def probability(value: Any, what: str) -> Number:
    """Take a number from 0 to 1."""
    result = number(value, what)
    if not 0 <= result <= 1:
        raise ScheduleError(f"{what} is {shortened(str(result))}; expected a probability, 0 to 1")
    return result


def number_content(value: Number) -> str | float:
    """Give a number as the file has it: fractions as text in lowest terms."""
    return str(value) if isinstance(value, Fraction) else value


def exact(value: Number) -> Fraction:
    """Give the exact value of a number (that of its binary digits, for a float)."""
    return Fraction(value)


def require_enough_edges(nodes: int, edges: int) -> None:
    """Refuse what cannot connect the nodes before anything of their number is made: a file may name any number.

    Raises
    ------
    ScheduleError
    """
    if edges < nodes - 1:
        raise ScheduleError(
            f"the graph is disconnected: {nodes} nodes need at least {nodes - 1} edges, and there are {edges}"
        )


def edge_array(nodes: int, edges: Iterable[Any], what: str) -> IntArray:
    """Check undirected edges and give them as an array of shape (m, 2), the smaller node first, in the given order.

    Raises
    ------
    ScheduleError
        If an edge is no pair of different nodes, or comes twice.
    """
    seen: set[tuple[int, int]] = set()
    result = []
    for k, edge in enumerate(edges):
        try:
            u, v = (operator.index(node) for node in edge)
        except (TypeError, ValueError):
            raise ScheduleError(f"{what}[{k}] is {edge!r}; expected a pair of nodes such as [0, 1]") from None
        if not (0 <= u < nodes and 0 <= v < nodes):
            raise ScheduleError(f"{what}[{k}] joins {u} and {v}, but nodes are numbered 0 to {nodes - 1}")
        if u == v:
            raise ScheduleError(f"{what}[{k}] joins node {u} with itself; expected two nodes")
        pair = (min(u, v), max(u, v))
        if pair in seen:
            raise ScheduleError(f"{what}[{k}] joins {u} and {v}, which are joined already; expected each edge once")
        seen.add(pair)
        result.append(pair)
    return np.array(result, dtype=np.int64).reshape(-1, 2)


def pair_averages(nodes: int, edges: IntArray, weight: Number) -> MixingMatrix:
    """Give I - weight L, L the Laplacian of the edges: each node moves by `weight` towards each of its partners.

    Parameters
    ----------
    nodes : int
    edges : ndarray of int64, shape (m, 2)
    weight : Fraction or float

    Examples
    --------
    >>> pair_averages(3, np.array([[0, 2]]), Fraction(1, 2)).to_dense().tolist()
    [[0.5, 0.0, 0.5], [0.0, 1.0, 0.0], [0.5, 0.0, 0.5]]
    """
    degree = np.bincount(edges.ravel(), minlength=nodes)
    own = np.arange(nodes)
    target = np.concatenate((edges[:, 0], edges[:, 1], own))
    source = np.concatenate((edges[:, 1], edges[:, 0], own))
    # Few weights differ: that of an edge, and one for each degree.
    place = np.concatenate((np.zeros(2 * len(edges), dtype=np.int64), 1 + degree))
    values = [weight, *(1 - weight * d for d in range(int(degree.max(initial=0)) + 1))]
    keep = np.array([value != 0 for value in values])[place]
    target, source, place = target[keep], source[keep], place[keep]
    fractions = [value for value in values if isinstance(value, Fraction)]
    if len(fractions) < len(values) or max(max(abs(w.numerator), w.denominator) for w in fractions) > INT64_MAX:
        return MixingMatrix.from_entries(nodes, target, source, np.array([float(value) for value in values])[place])
    return MixingMatrix.from_entries(
        nodes,
        target,
        source,
        np.array([float(value) for value in values])[place],
        numerator=np.array([w.numerator for w in fractions])[place],
        denominator=np.array([w.denominator for w in fractions])[place],
    )
