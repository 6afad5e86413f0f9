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
from typing import Any, ClassVar, get_args

import numpy as np

from topokit.errors import InputError, ScheduleError
from topokit.faults import check_connected, mixing_fault
from topokit.kinds import Cyclic, Kind, Mixing, Sampled, Teleport
from topokit.kinds.base import Encoder, round_content
from topokit.matrix import MixingMatrix
from topokit.schedule.canonical import canonical_text, round_in_arrays
from topokit.schedule.claims import Claims, check_claims, compute_claims

__all__ = ["Claims", "Mixing", "Place", "Schedule"]


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
    """Mixing matrices for round 0, 1, 2, ... without end, with where they come from and what they promise.

    Build one with `Schedule.cyclic`, `Schedule.of`, `Schedule.load` or `topokit.design`: they check, the constructor
    does not. Two schedules are the same when their `content_hash` is.

    Parameters
    ----------
    rule : Kind
        How the rounds come about: a period repeated (`topokit.kinds.Cyclic`), or drawn at random.
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
    >>> schedule.kind, schedule.period, schedule.claims.symmetric
    ('cyclic', 1, True)
    """

    FORMAT: ClassVar[str] = "topokit-schedule"
    VERSION: ClassVar[int] = 1

    rule: Kind
    provenance: Mapping[str, Any] = field(default_factory=dict)
    claims: Claims = field(default_factory=Claims)
    placement: tuple[Place, ...] | None = None
    unchecked: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        rule: Kind,
        *,
        provenance: Mapping[str, Any] | None = None,
        claims: Claims | None = None,
        placement: Iterable[Place] | None = None,
    ) -> Schedule:
        """Check the rounds of any kind and make a schedule of them.

        Parameters
        ----------
        rule : Kind
            How the rounds come about.
        provenance : mapping, optional
            Anything that JSON can hold; topology, parameters, weights, seed and topokit have a meaning.
        claims : Claims, optional
            Checked where given; computed where not.
        placement : iterable of Place, optional
            Where the nodes are meant to run.

        Raises
        ------
        ScheduleError
            If a row or column does not sum to one, the nodes are not connected in the long run, a claim does not hold,
            or the placement names a node twice.

        Examples
        --------
        >>> from topokit.kinds import Pairwise
        >>> round(Schedule.of(Pairwise(3, [(0, 1), (1, 2)], [1, 1], seed=0)).claims.chi1, 12)
        1.0
        """
        _check_sums(rule)
        if (connections := rule.connections()) is not None:
            check_connected(connections, rule.copies)
        unchecked: tuple[str, ...] = ()
        if claims is None:
            claims = compute_claims(rule)
        else:
            unchecked = check_claims(rule, claims)
        return cls(
            rule=rule,
            provenance=_plain(provenance or {}),
            claims=claims,
            placement=_checked_placement(placement, rule.nodes),
            unchecked=unchecked,
        )

    @classmethod
    def cyclic(
        cls,
        rounds: Iterable[MixingMatrix],
        *,
        copies: int = 1,
        mixing: Mixing = "doubly-stochastic",
        provenance: Mapping[str, Any] | None = None,
        claims: Claims | None = None,
        placement: Iterable[Place] | None = None,
    ) -> Schedule:
        """Check the rounds of one period, used again and again, and make a schedule of them.

        Parameters
        ----------
        rounds : iterable of MixingMatrix
            The rounds, round 0 first, all with copies * n rows.
        copies : {1, 2}
            Number of states that each node keeps.
        mixing : {"doubly-stochastic", "column-stochastic", "row-stochastic", "push-pull"}
            Which sums must be one; see `topokit.kinds.Kind`.
        provenance, claims, placement
            As in `of`.

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
        if mixing not in get_args(Mixing):
            raise ScheduleError(f'mixing is "{mixing}"; expected {" or ".join(map(repr, get_args(Mixing)))}')
        rule = Cyclic(rounds, copies=copies, mixing=mixing)
        return cls.of(rule, provenance=provenance, claims=claims, placement=placement)

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
    def kind(self) -> str:
        """How rounds follow one another: cyclic, sampled, matchings, teleport or pairwise."""
        return self.rule.name

    @property
    def nodes(self) -> int:
        """Number of nodes, n."""
        return self.rule.nodes

    @property
    def copies(self) -> int:
        """Number of states that each node keeps."""
        return self.rule.copies

    @property
    def mixing(self) -> Mixing:
        """Which sums of a round are one."""
        return self.rule.mixing

    @property
    def period(self) -> int | None:
        """Number of rounds after which the schedule repeats, tau; None where rounds are drawn at random."""
        return self.rule.period

    @property
    def rounds(self) -> tuple[MixingMatrix, ...]:
        """The rounds of one period.

        Raises
        ------
        ScheduleError
            If the schedule draws its rounds at random, so that it has no period.
        """
        if not isinstance(self.rule, Cyclic):
            raise ScheduleError(
                f"{self.name} draws its rounds at random ({self.kind}) and has no period; "
                "name the rounds wanted, for instance rounds 0 to 99"
            )
        return self.rule.rounds

    def round(self, t: int) -> MixingMatrix:
        """Give the mixing matrix of round t, counted from 0 without end.

        Examples
        --------
        >>> schedule = Schedule.cyclic([MixingMatrix.from_matrix(np.full((2, 2), 0.5))])
        >>> schedule.round(7) is schedule.rounds[0]
        True
        """
        return self.rule.round(t)

    @property
    def name(self) -> str:
        """Short name for people: the topology and the number of nodes."""
        return f"{self.provenance.get('topology') or 'schedule'}-{self.nodes}"

    def content(self, encode: Encoder = round_content) -> dict[str, Any]:
        """Give everything but the hash as JSON values, matrices as `encode` does.

        Defaults are written out, absent things are not.
        """
        content: dict[str, Any] = {
            "format": self.FORMAT,
            "version": self.VERSION,
            "kind": self.kind,
            "nodes": self.nodes,
            "provenance": dict(self.provenance),
            "claims": self.claims.to_dict(),
            **self.rule.content(encode),
        }
        if self.placement is not None:
            content["placement"] = [asdict(place) for place in self.placement]
        return content

    @cached_property
    def content_hash(self) -> str:
        """Hash of the content, ``"sha256:..."``: the same for every formatting and every order of entries.

        SHA-256 over the JSON text of `content` with sorted keys and without spaces, in ASCII.
        """
        digest = hashlib.sha256()
        for piece in canonical_text(self.content(round_in_arrays)):
            digest.update(piece)
        return f"sha256:{digest.hexdigest()}"


def _check_sums(rule: Kind) -> None:
    """Check the matrices that come from outside; those that a kind makes itself are right by construction."""
    if isinstance(rule, (Cyclic, Sampled)):
        _check_rounds(rule.rounds, rule.mixing, rule.copies, "")
    if isinstance(rule, Teleport):
        for k, team in enumerate(rule.teams):
            place = f"teams[{k}]: "
            _check_rounds(team.rounds, rule.mixing, 1, place)
            try:
                check_connected(team.rounds)
            except ScheduleError as error:
                raise ScheduleError(f"{place}{error}") from None


def _check_rounds(rounds: Iterable[MixingMatrix], mixing: Mixing, copies: int, place: str) -> None:
    for t, W in enumerate(rounds):
        if (fault := mixing_fault(W, mixing, copies)) is not None:
            raise ScheduleError(f"{place}round {t}: {fault}")


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
