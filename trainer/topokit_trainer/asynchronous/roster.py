"""What one rank knows of all ranks of a run: how far they are, and who was lost and came back."""

from __future__ import annotations

import time

from topokit_trainer.asynchronous.journal import Happening, Journal
from topokit_trainer.peers import Peers

__all__ = ["Roster"]

FINISHED = ("trained", "done")  # what a rank says of itself when it leaves because there is nothing left to do


class Roster:
    """The ranks of a run, as seen from one of them.

    What a rank has done stays done when it is lost. The others tell it, when it comes back, how far they had seen it
    come (``lost`` in what they say of themselves), and by how often they had lost it it knows that they had.

    Parameters
    ----------
    peers : Peers
    journal : Journal
    """

    def __init__(self, peers: Peers, journal: Journal) -> None:
        self.peers, self.journal = peers, journal
        self.counts: dict[int, int] = {rank: 0 for rank in range(peers.size) if rank != peers.rank}
        self._seen = 0  # events of peers that were written down
        self._lost: dict[str, list[int]] = {}
        self._missed: dict[int, int] = {}  # how often others had lost this rank, as far as it knows
        self._heard, self._alone = time.monotonic(), False

    def living(self) -> list[int]:
        """Give the living ranks, this one among them, in order."""
        return sorted((*self.peers.living(), self.peers.rank))

    def total(self, own: int) -> int:
        """Give the gradients of all ranks together, as far as they were heard of."""
        for rank, known in self.counts.items():
            self.counts[rank] = max(known, self.peers.status_of(rank).get("count", 0))
        return own + sum(self.counts.values())

    def says(self, phase: str) -> bool:
        """Whether any other rank has come to a phase."""
        return any(self.peers.status_of(rank).get("phase") == phase for rank in self.counts)

    def news(self) -> list[Happening]:
        """Write down what has happened to others since the last time, and give it."""
        happenings = []
        events = self.peers.events[self._seen :]
        self._seen += len(events)
        for event in events:
            status = self.peers.status_of(event.rank)
            gradients = max(self.counts[event.rank], status.get("count", 0))
            self.counts[event.rank] = gradients
            if event.kind in ("lost", "rejoined"):
                times, _ = self._lost.get(str(event.rank), (0, 0))
                self._lost[str(event.rank)] = [times + (event.kind == "lost"), gradients]
                self.peers.say(lost=dict(self._lost))
            if event.kind == "left" and status.get("phase") in FINISHED:
                continue
            happenings.append(self.journal.add(event.kind, event.rank, gradients=gradients))
        if self.peers.living() or any(self.says(phase) for phase in FINISHED):
            self._heard, self._alone = time.monotonic(), False
        elif not self._alone and time.monotonic() - self._heard > self.peers.lost_after:
            self._alone = True
            happenings.append(self.journal.add("alone", self.peers.rank))
        return happenings

    def remembered(self) -> int:
        """Give how far the living have seen this rank come before they lost it, 0 where they have not."""
        return max((count for _, count in self._said_of_me().values()), default=0)

    def was_dropped(self) -> bool:
        """Say whether a living rank has lost this one since the last time that was asked."""
        times = {rank: times for rank, (times, _) in self._said_of_me().items()}
        dropped = any(count > self._missed.get(rank, 0) for rank, count in times.items())
        self._missed |= times
        return dropped

    def _said_of_me(self) -> dict[int, tuple[int, int]]:
        me = str(self.peers.rank)
        return {rank: self.peers.status_of(rank).get("lost", {}).get(me, (0, 0)) for rank in self.peers.living()}
