"""Timed messages between ranks: one pair alone, or many at once. What `measure` is made of."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from topokit.errors import TopokitError
from topokit_trainer.world import PeerLostError, World

__all__ = ["Flow", "PairTime", "Probes", "lost_ranks", "rate"]

FIRST = 64 * 1024  # bytes with which the search for a telling size begins
PINGS = 30  # round trips of a pair
ROUNDS = 15  # of small messages between all
STARTING = 1.1  # a message may be so much faster than it seems, because connections start slowly
ATTEMPTS = 3
GROWTH = 8.0  # at most, from one trial to the next


class Flow(NamedTuple):
    """A message from one rank to another, in bytes."""

    source: int
    target: int
    size: int


class PairTime(NamedTuple):
    """What one pair of ranks does alone: bytes a second, and seconds."""

    bandwidth: float
    latency: float


def rate(sizes: Sequence[float], seconds: Sequence[float], constant: float) -> float:
    """Give bytes a second from the times of messages of growing size.

    The slope of the times is free of what every message pays alike. It is bounded by what the largest message did
    beyond the `constant` time of an empty one, of which it may have lost a tenth in getting started: a steeper slope is
    noise in the small ones.

    Examples
    --------
    >>> rate([100, 200, 400], [1.5, 2.5, 4.5], constant=0.5)
    100.0
    >>> rate([100, 200, 400], [4.25, 4.25, 4.5], constant=0.5)
    110.0
    """
    x, y = np.asarray(sizes, dtype=float), np.asarray(seconds, dtype=float)
    x = x - x.mean()
    gradient = float(x @ (y - y.mean()) / (x @ x))
    most = round(STARTING * sizes[-1] / max(seconds[-1] - constant, seconds[-1] / 20, 1e-9), 9)
    return min(float(most), round(1 / gradient, 9)) if gradient > 0 else float(most)


class Probes:
    """The ranks of a world, sending each other messages of zeros.

    Parameters
    ----------
    world : World
    repeats : int
        How often each size is timed.
    largest : float
        Bytes of the largest message.
    """

    def __init__(self, world: World, repeats: int, largest: float) -> None:
        self.world, self.repeats, self.largest = world, repeats, int(largest)
        self._place = torch.device("cpu") if world.staged else world.device
        self._outgoing = self._bytes(FIRST)
        self._incoming = self._bytes(FIRST)

    def _bytes(self, size: int) -> Tensor:
        """Make a message; the one place where it is decided what a message is and where it lies."""
        return torch.zeros(size, dtype=torch.uint8, device=self._place)

    def _numbers(self, values: Sequence[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.int64, device=self._place)

    def _finish(self, works: Sequence[dist.Work]) -> None:
        for work in works:
            work.wait()
        if self._place.type == "cuda":
            torch.cuda.synchronize()  # NCCL's wait only holds up the stream

    def _run(self, operations: list[dist.P2POp]) -> None:
        self._finish(dist.batch_isend_irecv(operations) if operations else [])

    def _send(self, tensor: Tensor, peer: int) -> None:
        self._run([dist.P2POp(dist.isend, tensor, peer)])

    def _receive(self, tensor: Tensor, peer: int) -> Tensor:
        self._run([dist.P2POp(dist.irecv, tensor, peer)])
        return tensor

    def _reserve(self, outgoing: int, incoming: int) -> None:
        """Have memory that has been touched before anything is timed."""
        if outgoing > self._outgoing.numel():
            self._outgoing = self._bytes(outgoing)
        if incoming > self._incoming.numel():
            self._incoming = self._bytes(incoming)

    def connect(self) -> None:
        """Open all connections: ranks that talk for the first time take long."""
        n = self.world.size
        self.together([Flow(a, b, 8) for a in range(n) for b in range(n) if a != b])

    # One pair alone. The sender decides about sizes and tells the receiver: a positive number is a message of so many
    # bytes, a negative one so many round trips, 0 the end.

    def pair(self, peer: int, seconds: float) -> PairTime:
        """Time this rank's messages to a peer, which calls `answer`; the largest takes about so many seconds."""
        self._send(self._numbers([-PINGS]), peer)
        small, trips = self._bytes(8), []
        for _ in range(PINGS):
            start = time.perf_counter()
            self._send(small, peer)
            self._receive(small, peer)
            trips.append(time.perf_counter() - start)
        size = min(FIRST, self.largest)
        for _ in range(ATTEMPTS):
            taken = self._one_way(peer, size)
            while taken < 0.6 * seconds and size < self.largest:
                size = min(self.largest, int(size * min(GROWTH, max(1.2, seconds / taken))))
                taken = self._one_way(peer, size)
            sizes = [max(16, size // 4), max(32, size // 2), max(64, size)]
            times = [[self._one_way(peer, part) for part in sizes] for _ in range(self.repeats)]
            # The least of the repeats: what else the machine does only ever adds.
            best = [min(column) for column in zip(*times, strict=True)]
            if best[-1] >= 0.5 * seconds or size >= self.largest:
                break  # else the search was held up, and ended early
        self._send(self._numbers([0]), peer)
        return PairTime(rate(sizes, best, min(trips)), statistics.median(trips) / 2)

    def _one_way(self, peer: int, size: int) -> float:
        self._reserve(size, 0)
        self._send(self._numbers([size]), peer)
        answer = self._bytes(1)
        self._receive(answer, peer)
        start = time.perf_counter()
        self._send(self._outgoing[:size], peer)
        self._receive(answer, peer)
        return time.perf_counter() - start

    def answer(self, peer: int) -> None:
        """Be the peer of `pair`."""
        answer, small = self._bytes(1), self._bytes(8)
        while size := int(self._receive(self._numbers([0]), peer).item()):
            for _ in range(max(0, -size)):
                self._receive(small, peer)
                self._send(small, peer)
            if size > 0:
                self._reserve(0, size)
                self._send(answer, peer)
                self._receive(self._incoming[:size], peer)
                self._send(answer, peer)

    # Many at once. All ranks call these together with the same flows.

    def together(self, flows: Sequence[Flow]) -> float:
        """Send all flows at once; give the seconds from the first rank's start until the last rank is done."""
        rank = self.world.rank
        arriving = sorted((flow for flow in flows if flow.target == rank), key=lambda flow: flow.source)
        leaving = sorted((flow for flow in flows if flow.source == rank), key=lambda flow: flow.target)
        self._reserve(max((flow.size for flow in leaving), default=0), sum(flow.size for flow in arriving))
        operations, start = [], 0
        # Receives first: gloo announces them on the same connection, where they would wait behind the data.
        for flow in arriving:
            operations.append(dist.P2POp(dist.irecv, self._incoming[start : start + flow.size], flow.source))
            start += flow.size
        operations += [dist.P2POp(dist.isend, self._outgoing[: flow.size], flow.target) for flow in leaving]
        self.world.barrier()
        begun = time.perf_counter()
        self._run(operations)
        # Ranks leave the first barrier at different times, and a sender is done before its bytes have arrived.
        self.world.barrier()
        return float(max(self.world.gather(time.perf_counter() - begun)))

    def load(self, flows: Sequence[Flow]) -> float:
        """Give the bytes a second that pass when all flows start at once."""
        fractions = (0.0, 0.25, 1.0)
        rounds = [[Flow(a, b, max(8, int(size * fraction))) for a, b, size in flows] for fraction in fractions]
        self.together(flows)
        times = [[self.together(sized) for sized in rounds] for _ in range(self.repeats)]
        # The least of the repeats: what else the machines do only ever adds.
        empty, *best = (min(column) for column in zip(*times, strict=True))
        return rate([sum(flow.size for flow in sized) for sized in rounds[1:]], best, empty)

    def small(self, peers: int) -> float:
        """Give the median seconds in which every rank sends 8 bytes to so many others and receives as many."""
        n = self.world.size
        flows = [Flow(rank, (rank + offset) % n, 8) for rank in range(n) for offset in range(1, peers + 1)]
        return statistics.median(self.together(flows) for _ in range(ROUNDS))


@contextmanager
def lost_ranks() -> Iterator[None]:
    """Say in one sentence that a rank is gone.

    Raises
    ------
    TopokitError
    """
    try:
        yield
    except (RuntimeError, PeerLostError) as error:
        reason = error.reason if isinstance(error, PeerLostError) else str(error).splitlines()[0]
        raise TopokitError(
            f"measuring broke off: a rank is lost, or took longer than --timeout ({reason}); start all ranks again"
        ) from error
