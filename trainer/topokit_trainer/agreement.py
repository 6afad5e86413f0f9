"""Who is left, and what is done: how ranks agree when some are lost, without the process group that broke.

Each rank says, in the heartbeats of `Peers`, that it looks for a new generation of the group, and how much it knows to
be done by all. When every rank has said so or is known to be gone, each says whom it takes to be left; they go on when
all of those say the same, and with the next generation otherwise. What a rank says of one generation it does not take
back, so whoever sees that all said the same knows that the others will see it, too.

A process that is gone is told from one that hangs: every rank holds a socket open that nobody reads, and where its
process is gone the operating system refuses what is sent there. Ranks that do not answer otherwise are waited for until
they have been silent for ``lost_after``.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from topokit.errors import TopokitError
from topokit_trainer.peers import Peers
from topokit_trainer.world import AGAIN

__all__ = ["Agreement", "Outcome"]

LOOK = 0.02  # seconds between two looks whether processes are gone
SHOWN = 8  # ranks named in a message


@dataclass(frozen=True)
class Outcome:
    """What ranks have agreed on.

    Attributes
    ----------
    generation : int
        Of the group they make now.
    members : tuple of int
        Who is left, by the ranks of the start.
    done : int
        How many things, since the start, are known to be done by all.
    finished : bool
        Whether another rank has seen the end of the run: then there is nothing left to do together.
    """

    generation: int
    members: tuple[int, ...]
    done: int
    finished: bool = False


class Agreement:
    """The part of one rank in agreeing on who is left.

    Parameters
    ----------
    peers : Peers
    """

    def __init__(self, peers: Peers) -> None:
        self.peers = peers
        self._gone: set[int] = set()
        self._probes: dict[int, socket.socket] = {}
        self._door = _datagram_socket(peers.host)
        self._door.bind((peers.host, 0))
        peers.say(door=list(self._door.getsockname()[:2]), generation=0)

    def close(self) -> None:
        """Give the sockets back."""
        for one in (self._door, *self._probes.values()):
            one.close()

    def trouble(self, members: Sequence[int], generation: int) -> bool:
        """Whether the group of a generation has come to an end: someone is lost, or looks for the next one."""
        return any(not self._lives(rank) or self._said(rank) > generation for rank in self._others(members))

    def reach(self, members: Sequence[int], generation: int, done: int) -> Outcome:
        """Agree with the others that are left; waits for those that live, however long that takes.

        Parameters
        ----------
        members : sequence of int
            Who belonged to the group that broke.
        generation : int
            Of that group.
        done : int
            What this rank knows to be done by all.

        Raises
        ------
        TopokitError
            If the others go on without this rank, or too few are left that can reach one another.
        """
        generation += 1
        while True:
            self.peers.say(generation=generation, done=done, members=None)
            self._wait_for_all(members, generation)
            statuses = {rank: self.peers.status_of(rank) for rank in self._others(members)}
            if ended := [int(status["done"]) for status in statuses.values() if status.get("finished")]:
                return Outcome(generation, tuple(members), max(done, *ended), finished=True)
            latest = max((status.get("generation", 0) for status in statuses.values()), default=0)
            if latest > generation:
                generation = latest
                continue
            left = [
                rank
                for rank in members
                if rank == self.peers.rank or (self._lives(rank) and self._said(rank) == generation)
            ]
            self._require_most(left, members)
            self.peers.say(members=left)
            if self._all_agree(left, members, generation):
                known = [int(self.peers.status_of(rank)["done"]) for rank in left]
                return Outcome(generation, tuple(left), max(known))
            generation += 1

    def _wait_for_all(self, members: Sequence[int], generation: int) -> None:
        """Wait until every other rank has spoken of this generation, or is gone."""

        def settled() -> bool:
            return self._dropped(members, generation) or not silent()

        def silent() -> list[int]:
            return [
                rank
                for rank in self._others(members)
                if self._said(rank) < generation and self._lives(rank) and not self._finished(rank)
            ]

        while not self.peers.wait(settled, LOOK):
            self._look_for_gone(silent())
        if self._dropped(members, generation):
            raise TopokitError(
                f"rank {self.peers.rank} was silent for too long ({self.peers.away:.1f} s), and the others go on "
                "without it"
            )

    def _dropped(self, members: Sequence[int], generation: int) -> bool:
        """Whether others have agreed on a group without this rank."""
        for rank in self._others(members):
            status = self.peers.status_of(rank)
            group = status.get("members")
            if not group or self.peers.rank in group or status["generation"] < generation:
                continue
            said = [self.peers.status_of(other) for other in group]
            if all(s.get("generation") == status["generation"] and s.get("members") == group for s in said):
                return True
        return False

    def _all_agree(self, left: list[int], members: Sequence[int], generation: int) -> bool:
        """Wait until all of those left have said the same; False as soon as one says something else, or is gone."""
        others = [rank for rank in left if rank != self.peers.rank]

        def waiting() -> list[int]:
            return [
                rank
                for rank in others
                if self._said(rank) == generation and self.peers.status_of(rank).get("members") is None
            ]

        def settled() -> bool:
            return not waiting() or any(not self._lives(rank) for rank in waiting())

        while not self.peers.wait(settled, LOOK):
            self._look_for_gone(waiting())
        return all(
            self._said(rank) == generation and self.peers.status_of(rank).get("members") == left for rank in others
        )

    def _require_most(self, left: Sequence[int], members: Sequence[int]) -> None:
        """Of two parts that cannot reach one another only one may go on: the larger, of halves that of the first rank.

        Processes that are known to be gone form no part.
        """
        counted = [rank for rank in members if rank in left or not self._is_gone(rank)]
        if 2 * len(left) > len(counted) or (2 * len(left) == len(counted) and counted[0] in left):
            return
        raise TopokitError(
            f"{'only ' if len(left) > 1 else ''}{_ranks(left)} of {len(members)} ranks can reach one another, too few "
            f"to go on: the others may go on without them; if they do not, {AGAIN}"
        )

    def _others(self, members: Sequence[int]) -> list[int]:
        return [rank for rank in members if rank != self.peers.rank]

    def _said(self, rank: int) -> int:
        return int(self.peers.status_of(rank).get("generation", 0))

    def _lives(self, rank: int) -> bool:
        """Whether a rank may still speak: one that has ended the run has, whether or not it left since."""
        if self._finished(rank):
            return True
        return rank not in self._gone and rank in self.peers.living() and self.peers.incarnation_of(rank) == 0

    def _finished(self, rank: int) -> bool:
        return bool(self.peers.status_of(rank).get("finished"))

    def _is_gone(self, rank: int) -> bool:
        left = any(event.rank == rank and event.kind in ("left", "rejoined") for event in list(self.peers.events))
        return left or rank in self._gone

    def _look_for_gone(self, ranks: Sequence[int]) -> None:
        for rank in ranks:
            door = self.peers.status_of(rank).get("door")
            if door is None:
                continue
            try:
                if rank not in self._probes:
                    self._probes[rank] = _datagram_socket(door[0])
                    self._probes[rank].connect(tuple(door))
                self._probes[rank].send(b"")  # fails when an earlier one was refused
            except ConnectionRefusedError:
                self._gone.add(rank)
            except OSError:  # no way there: that says nothing of the process
                continue


def _datagram_socket(host: str) -> socket.socket:
    family: Any = socket.getaddrinfo(host, None, type=socket.SOCK_DGRAM)[0][0]
    made = socket.socket(family, socket.SOCK_DGRAM)
    with suppress(OSError):
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)  # nobody reads it
    made.setblocking(False)
    return made


def _ranks(ranks: Sequence[int]) -> str:
    if len(ranks) == 1:
        return f"rank {ranks[0]}"
    shown = ", ".join(map(str, ranks[:SHOWN]))
    return f"ranks {shown}{' ...' if len(ranks) > SHOWN else ''}"
