"""The mixing schedule: which node mixes with which, round after round.

Everything that designs a topology produces a `Schedule`, everything that analyses or trains consumes one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from topokit.errors import InputError, ScheduleError
from topokit.matrix import MixingMatrix
from topokit.schedule.claims import Claims, check_claims, check_connected, compute_claims, sum_fault

__all__ = ["Claims", "Mixing", "Place", "Schedule"]

Mixing = Literal["doubly-stochastic", "column-stochastic"]


@dataclass(frozen=True)
class Place:
    """Where one node is meant to run, for designs made for a particular network.

    Attributes
    ----------
    node : int
    host : str or None
        Name of the machine.
    rank : int or None
        Rank of the process.
    device : str or None
        Device of the process, for instance ``"cuda:0"``.
    """

    node: int
    host: str | None = None
    rank: int | None = None
    device: str | None = None


@dataclass(frozen=True, eq=False)
class Schedule:
    """Mixing matrices that are used one after the other, again and again.

    Build one with `Schedule.cyclic`, `Schedule.load` or `topokit.design`: they check, the constructor does
    not. Two schedules are the same when their `content_hash` is.

    Parameters
    ----------
    nodes : int
        Number of nodes n.
    rounds : tuple of MixingMatrix
        The rounds of one period, round 0 first.
    kind : {"cyclic"}
        How rounds follow one another.
    mixing : {"doubly-stochastic", "column-stochastic"}
        Which sums are one: rows and columns, or columns alone (push-sum).
    copies : int
        Number of states that each node keeps.
    provenance : mapping
        Where the schedule comes from: topology, parameters, weights, seed, topokit (its version).
    claims : Claims
        What the designer promises.
    placement : tuple of Place, or None
        Where the nodes are meant to run.
    unchecked : tuple of str
        Claims that were too expensive to check when the schedule was built.

    Examples
    --------
    >>> from fractions import Fraction
    >>> pair = MixingMatrix.from_fractions(2, [0, 0, 1, 1], [0, 1, 0, 1], [Fraction(1, 2)] * 4)
    >>> schedule = Schedule.cyclic([pair])
    >>> schedule.period, schedule.claims.symmetric
    (1, True)
    """

    FORMAT: ClassVar[str] = "topokit-schedule"
    VERSION: ClassVar[int] = 1

    nodes: int
    rounds: tuple[MixingMatrix, ...] = field(repr=False)
    kind: Literal["cyclic"] = "cyclic"
    mixing: Mixing = "doubly-stochastic"
    copies: int = 1
    provenance: Mapping[str, Any] = field(default_factory=dict)
    claims: Claims = field(default_factory=Claims)
    placement: tuple[Place, ...] | None = None
    unchecked: tuple[str, ...] = ()

    @classmethod
    def cyclic(
        cls,
        rounds: Iterable[MixingMatrix],
        *,
        mixing: Mixing = "doubly-stochastic",
        provenance: Mapping[str, Any] | None = None,
        claims: Claims | None = None,
        placement: Iterable[Place] | None = None,
    ) -> Schedule:
        """Check the rounds of one period and make a schedule of them.

        Parameters
        ----------
        rounds : iterable of MixingMatrix
            The rounds, round 0 first, all with the same number of nodes.
        mixing : {"doubly-stochastic", "column-stochastic"}
            Which sums must be one.
        provenance : mapping, optional
            Anything that JSON can hold; topology, parameters, weights, seed and topokit have a meaning.
        claims : Claims, optional
            Checked where given; computed where not.
        placement : iterable of Place, optional
            Where the nodes are meant to run.

        Raises
        ------
        ScheduleError
            If there is no round, sizes differ, a row or column does not sum to one, the graph of all rounds together
            is not strongly connected, a claim does not hold, or the placement names a node twice.

        Examples
        --------
        >>> Schedule.cyclic([MixingMatrix.from_matrix(np.array([[0.5, 0.5], [0.4, 0.6]]))])
        Traceback (most recent call last):
            ...
        topokit.errors.ScheduleError: round 0: column 0 sums to 0.9, expected 1
        """
        period = tuple(rounds)
        if not period:
            raise ScheduleError("a schedule needs at least one round, found none")
        if mixing not in ("doubly-stochastic", "column-stochastic"):
            raise ScheduleError(f'mixing is "{mixing}"; expected "doubly-stochastic" or "column-stochastic"')
        nodes = period[0].nodes
        for t, W in enumerate(period):
            if W.nodes != nodes:
                raise ScheduleError(f"round {t} has {W.nodes} nodes, but round 0 has {nodes}; expected the same")
            for axis in ("row", "column") if mixing == "doubly-stochastic" else ("column",):
                if (fault := sum_fault(W, axis)) is not None:
                    raise ScheduleError(f"round {t}: {axis} {fault[0]} sums to {fault[1]}, expected 1")
        check_connected(period)
        unchecked: tuple[str, ...] = ()
        if claims is None:
            claims = compute_claims(period)
        else:
            unchecked = check_claims(period, claims)
        return cls(
            nodes=nodes,
            rounds=period,
            mixing=mixing,
            provenance=_plain(provenance or {}),
            claims=claims,
            placement=_checked_placement(placement, nodes),
            unchecked=unchecked,
        )

    @classmethod
    def load(cls, path: str | Path) -> Schedule:
        """Read and check a schedule file (``.json``, ``.json.gz`` or ``.npz``; told apart by their content).

        Raises
        ------
        InputError
            If the file cannot be read.
        ScheduleError
            If it is malformed or does not keep what it claims; the message names the place.
        """
        from topokit.schedule.files import load

        return load(Path(path))

    @classmethod
    def loads(cls, text: str | bytes, origin: str = "<string>") -> Schedule:
        """Read and check a schedule given as JSON text; `origin` names it in messages.

        Raises
        ------
        ScheduleError
            If it is malformed or does not keep what it claims; the message names the place.
        """
        from topokit.schedule.files import loads

        return loads(text, origin)

    def save(self, path: str | Path) -> None:
        """Write the schedule as ``.json``, ``.json.gz`` or ``.npz``, by suffix; an old file is replaced at once.

        Raises
        ------
        InputError
            If the suffix is another one, or the file cannot be written.
        """
        from topokit.schedule.files import save

        save(self, Path(path))

    def dumps(self) -> str:
        """Give the text of the schedule file."""
        from topokit.schedule.files import dumps

        return dumps(self)

    @property
    def period(self) -> int:
        """Number of rounds after which the schedule repeats, tau."""
        return len(self.rounds)

    def round(self, t: int) -> MixingMatrix:
        """Give the mixing matrix of round t, counted from 0 without end.

        Examples
        --------
        >>> schedule = Schedule.cyclic([MixingMatrix.from_matrix(np.full((2, 2), 0.5))])
        >>> schedule.round(7) is schedule.rounds[0]
        True
        """
        return self.rounds[t % len(self.rounds)]

    @property
    def name(self) -> str:
        """Short name for people: the topology and the number of nodes."""
        return f"{self.provenance.get('topology') or 'schedule'}-{self.nodes}"

    def header(self) -> dict[str, Any]:
        """Give everything but rounds and hash as JSON values; defaults are written out, absent things are not."""
        content: dict[str, Any] = {
            "format": self.FORMAT,
            "version": self.VERSION,
            "kind": self.kind,
            "nodes": self.nodes,
            "copies": self.copies,
            "mixing": self.mixing,
            "provenance": dict(self.provenance),
            "claims": self.claims.to_dict(),
        }
        if self.placement is not None:
            content["placement"] = [asdict(place) for place in self.placement]
        return content

    def content(self) -> dict[str, Any]:
        """Give everything but the hash as JSON values, the rounds included."""
        return {**self.header(), "rounds": [_round_content(W) for W in self.rounds]}

    @cached_property
    def content_hash(self) -> str:
        """Hash of the content, ``"sha256:..."``: the same for every formatting and every order of entries.

        SHA-256 over the JSON text of `content` with sorted keys and without spaces, in ASCII.
        """
        text = json.dumps(self.content(), sort_keys=True, separators=(",", ":"), allow_nan=False)
        return "sha256:" + hashlib.sha256(text.encode("ascii")).hexdigest()


def _round_content(W: MixingMatrix) -> dict[str, list[Any]]:
    weight: list[Any] = W.weight.tolist()
    if W.numerator is not None and W.denominator is not None:
        pairs = zip(W.numerator.tolist(), W.denominator.tolist(), strict=True)
        weight = [f"{p}" if q == 1 else f"{p}/{q}" for p, q in pairs]
    return {"target": W.target.tolist(), "source": W.source.tolist(), "weight": weight}


def _plain(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Copy into plain JSON values, so that a schedule equals what its file says."""
    try:
        plain: dict[str, Any] = json.loads(json.dumps(dict(provenance), allow_nan=False, default=_numpy_scalar))
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"the provenance must consist of finite JSON values: {error}") from None
    return plain


def _numpy_scalar(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} is not one")


def _checked_placement(placement: Iterable[Place] | None, nodes: int) -> tuple[Place, ...] | None:
    if placement is None:
        return None
    places = tuple(placement)
    seen: set[int] = set()
    for k, place in enumerate(places):
        if not 0 <= place.node < nodes:
            raise ScheduleError(f"placement[{k}] is for node {place.node}, but nodes are numbered 0 to {nodes - 1}")
        if place.node in seen:
            raise ScheduleError(f"placement[{k}] is for node {place.node}, which has a place already; expected one")
        seen.add(place.node)
    return places
