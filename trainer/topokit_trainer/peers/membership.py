"""What is known of the other ranks: when they were last heard of, in which incarnation, and what they said.

A rank is lost when nothing was heard of it for ``lost_after`` seconds. Whether this rank was itself held up (stopped,
or starved of processor time) shows in the gaps between its own ticks: that time is not held against the others, whose
messages wait unread.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from topokit_trainer.peers.datagrams import Address

__all__ = ["Event", "Member", "Membership"]


class Event(NamedTuple):
    """Something that happened to another rank.

    Attributes
    ----------
    time : float
        Seconds since the epoch.
    kind : str
        ``lost``; ``back``: heard of again, in the same incarnation; ``rejoined``: started anew; ``left``: it said so.
    rank : int
    """

    time: float
    kind: Literal["lost", "back", "rejoined", "left"]
    rank: int


@dataclass
class Member:
    """Another rank, as last seen."""

    address: Address
    incarnation: int
    heard: float
    suspected: bool = False
    condition: Literal["living", "lost", "left"] = "living"
    status: dict[str, Any] = field(default_factory=dict)
    said: int = -1  # number of its last status: datagrams may overtake one another


class Membership:
    """The other ranks; not safe for threads, and without a clock of its own.

    Parameters
    ----------
    members : dict of int to Member
    lost_after : float
        Seconds.
    now : float
        Time of a monotonic clock.

    Attributes
    ----------
    away : float
        The longest time, in seconds, that this rank was held up or heard nobody.
    """

    def __init__(self, members: dict[int, Member], lost_after: float, now: float) -> None:
        self.members, self.lost_after = members, lost_after
        self.away = 0.0
        self._ticked = self._heard_any = now

    def tick(self, now: float) -> list[tuple[Literal["lost"], int]]:
        """Let time pass; give what changed."""
        gap = now - self._ticked
        self._ticked = now
        if gap > self.lost_after / 2:
            self.away = max(self.away, gap)
            self._heard_any = min(self._heard_any + gap, now)
            for member in self.members.values():
                member.heard = min(member.heard + gap, now)
        changes: list[tuple[Literal["lost"], int]] = []
        for rank, member in self.members.items():
            if member.condition == "living" and now - member.heard > self.lost_after:
                member.condition = "lost"
                changes.append(("lost", rank))
        return changes

    def hear(
        self, rank: int, incarnation: int, address: Address, now: float
    ) -> Literal["taken", "back", "rejoined"] | None:
        """Note a sign of life; give what it means, None if it is out of date."""
        member = self.members[rank]
        if incarnation < member.incarnation or (incarnation == member.incarnation and member.condition == "left"):
            return None
        change: Literal["taken", "back", "rejoined"] = "taken"
        if incarnation > member.incarnation:
            self.members[rank] = Member(address, incarnation, now)
            change = "rejoined"
        else:
            # Silence that ends with a rank started anew was that rank's, not a cut in this one's line.
            self.away = max(self.away, now - self._heard_any)
            if member.condition == "lost":
                member.condition, change = "living", "back"
            member.heard, member.suspected = now, False
        self._heard_any = now
        return change

    def living(self) -> frozenset[int]:
        """Give the ranks that live and are not suspected."""
        return frozenset(
            rank for rank, member in self.members.items() if member.condition == "living" and not member.suspected
        )

    def suspects(self) -> frozenset[int]:
        """Give the ranks of which it is not yet known whether they are lost."""
        return frozenset(r for r, member in self.members.items() if member.condition == "living" and member.suspected)

    def clear_away(self) -> None:
        """Begin anew to look for times of absence."""
        self.away = 0.0
