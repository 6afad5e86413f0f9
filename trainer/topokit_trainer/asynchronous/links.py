"""Tensors between two ranks: a gloo group of two for each pair, made when first needed and thrown away at any failure.

Which group two ranks use is agreed with the question that precedes an exchange. The asker proposes the group that it
has and a name for a new one, unheard of before; the other accepts the former if it still has it, too, and the latter
otherwise. So it does not matter when and why either has thrown a group away, and no half of an old one is ever met.

Both partners of an averaging must apply it, or neither. Each sends one byte when it has everything, and applies when it
has the other's byte. Whoever has everything but that byte asks the other, apart from the broken connection, for the
outcome, by which the other, if it has not applied it yet, gives it up. What remains is the loss of the very last byte:
a rank that has applied the averaging, and can be reached neither way from then on, leaves a partner that has not.
"""

from __future__ import annotations

import itertools
import os
import time
from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from threading import Lock
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.distributed import PrefixStore, ProcessGroupGloo  # type: ignore[attr-defined]

from topokit.errors import TopokitError
from topokit_trainer.peers import Peers

__all__ = ["LinkBroken", "Links"]

BUCKET = 1 << 20  # bytes in one message: so much has to arrive within the time-out
WINDOW = 4  # messages under way each way
TAG = 0
CONNECTING = 5  # gloo waits so many times as long as it is told for a partner who has to connect
REMEMBERED = 256  # outcomes
OUTCOME = "outcome"


class LinkBroken(TopokitError):  # noqa: N818 (it is what happened, not a mistake)
    """Two ranks did not finish what they had begun: the other is gone, silent, or thinks of something else."""


class _Link(NamedTuple):
    name: str
    group: Any
    other: int  # the partner's rank in it


class Links:
    """The connections of a rank to others.

    Parameters
    ----------
    peers : Peers
    timeout : float, default=4.0
        Seconds of silence after which a link is broken.
    """

    def __init__(self, peers: Peers, timeout: float = 4.0) -> None:
        self.peers, self.timeout = peers, timeout
        interface = os.environ.get("GLOO_SOCKET_IFNAME", "").split(",")[0]
        place = {"interface": interface} if interface else {"hostname": peers.host}
        self._device = ProcessGroupGloo.create_device(**place)
        self.moved = 0.0  # when something last came or went
        self._names = itertools.count()
        self._lock = Lock()
        self._agreed: dict[int, str] = {}
        self._links: dict[int, _Link] = {}
        self._outcomes: OrderedDict[int, Literal["open", "done", "void"]] = OrderedDict()
        self._pinned: dict[tuple[str, int, int], Tensor] = {}

    # Which group: agreed with a question and its answer.

    def propose(self, peer: int) -> list[str]:
        """Give what the question to a rank has to say: the group there is (or nothing), and a name for a new one."""
        with self._lock:
            link = self._links.get(peer)
            fresh = f"{self.peers.rank}.{self.peers.incarnation}.{next(self._names)}"
            return [link.name if link else "", fresh]

    def accept(self, peer: int, proposal: Sequence[str]) -> str:
        """Choose from a rank's proposal, at once; the answer has to say what is given here.

        Not while something is exchanged with that rank, which may yet end with throwing the connection away.
        """
        present, fresh = proposal
        with self._lock:
            link = self._links.get(peer)
            self._agreed[peer] = present if link and link.name == present else fresh
            return self._agreed[peer]

    def settle(self, peer: int, accepted: str) -> None:
        """Take note of what a rank has accepted."""
        with self._lock:
            self._agreed[peer] = accepted

    # What goes over it.

    def exchange(
        self, peer: int, number: int, tensors: Sequence[Tensor], patience: float | None = None
    ) -> list[Tensor]:
        """Send tensors and get the partner's, both ways at once.

        Parameters
        ----------
        peer : int
        number : int
            Names this exchange and no other; the partner has to have the same.
        tensors : sequence of Tensor
            Of the same shapes and types at both.
        patience : float, optional
            Seconds that the partner may take to begin; the time-out of the links if not given.

        Returns
        -------
        list of Tensor
            The partner's, on the devices of one's own. The partner gets one's own, too, but for the loss of the last
            byte.

        Raises
        ------
        LinkBroken
            If it did not come about. It did not at the partner's, either, with the same exception.
        """
        self._record(number, "open")
        try:
            with self._unbroken(peer):
                link = self._link(peer, patience)
                mine = [self._outgoing(k, values) for k, values in enumerate(tensors)]
                theirs = [self._incoming(k, values) for k, values in enumerate(tensors)]
                self._greet(link, peer, number, sum(map(_bytes, mine)), 0, patience)
                self._swap(link, list(_buckets(mine)), list(_buckets(theirs)))
            self._confirm(link, peer, number)
        except BaseException:
            self._record(number, "void")
            raise
        return [self._arrived(values, like) for values, like in zip(theirs, tensors, strict=True)]

    def give(
        self, peer: int, number: int, tensors: Sequence[Tensor], count: int, patience: float | None = None
    ) -> None:
        """Send tensors and a count to a rank that takes them.

        Raises
        ------
        LinkBroken
            If they did not arrive.
        """
        with self._unbroken(peer):
            link = self._link(peer, patience)
            mine = [self._outgoing(k, values) for k, values in enumerate(tensors)]
            self._greet(link, peer, number, sum(map(_bytes, mine)), count, patience)
            self._swap(link, list(_buckets(mine)), [])
            self._swap(link, [], [torch.empty(1, dtype=torch.uint8)])

    def take(self, peer: int, number: int, like: Sequence[Tensor]) -> tuple[list[Tensor], int]:
        """Get the tensors and the count that a rank gives; ``like`` says their shapes, types and devices.

        Raises
        ------
        LinkBroken
            If they did not arrive.
        """
        with self._unbroken(peer):
            link = self._link(peer, None)
            theirs = [self._incoming(k, values) for k, values in enumerate(like)]
            count = self._greet(link, peer, number, sum(map(_bytes, theirs)), 0, None)
            self._swap(link, [], list(_buckets(theirs)))
            self._swap(link, [torch.ones(1, dtype=torch.uint8)], [])
        return [self._arrived(values, other) for values, other in zip(theirs, like, strict=True)], count

    def forget(self, peer: int) -> None:
        """Throw the connection to a rank away."""
        with self._lock:
            link = self._links.pop(peer, None)
        if link is not None:
            self._clear(peer, link.name)

    def _clear(self, peer: int, name: str) -> None:
        """Forget what the two groups of a link have left in the lower rank's store to find one another."""
        if peer > self.peers.rank:
            self.peers.store_of(self.peers.rank).forget(f"{name}/")

    def close(self) -> None:
        """Throw all connections away."""
        for peer in list(self._links):
            self.forget(peer)

    # Outcomes.

    def answer(self, question: dict[str, Any]) -> dict[str, Any]:
        """Say what became of an exchange, at once; one that a partner gives up and that is still open is given up."""
        number = question[OUTCOME]
        with self._lock:
            outcome = self._outcomes.get(number, "void")
            if outcome == "open" and question["given_up"]:
                self._outcomes[number] = outcome = "void"
            return {OUTCOME: outcome}

    def _record(self, number: int, outcome: Literal["open", "done", "void"]) -> bool:
        """Write down an outcome; whether it could be: what was given up stays so."""
        with self._lock:
            if self._outcomes.get(number) == "void":
                return outcome == "void"
            self._outcomes[number] = outcome
            while len(self._outcomes) > REMEMBERED:
                self._outcomes.popitem(last=False)
            return True

    def _confirm(self, link: _Link, peer: int, number: int) -> None:
        """Make sure that both partners have everything."""
        begun, limit = time.monotonic(), 0.75 * self.timeout
        try:
            with self._unbroken(peer):
                self._swap(link, [torch.ones(1, dtype=torch.uint8)], [torch.empty(1, dtype=torch.uint8)], limit)
            # Whoever was held up may find a byte that is there, from a partner who has given up since.
            outcome = "open" if time.monotonic() - begun < limit / 2 else self._outcome(peer, number, given_up=False)
        except LinkBroken:
            outcome = "done" if self._outcome(peer, number, given_up=True) == "done" else "void"
        if outcome == "void" or not self._record(number, "done"):
            self.forget(peer)
            raise LinkBroken(f"rank {peer} did not confirm an exchange")

    def _outcome(self, peer: int, number: int, given_up: bool) -> str:
        answer = self.peers.ask(peer, {OUTCOME: number, "given_up": given_up}, self.timeout / 4)
        return str(answer.get(OUTCOME, "void")) if answer else "void"

    # Messages.

    @contextmanager
    def _unbroken(self, peer: int) -> Iterator[None]:
        try:
            yield
        except (RuntimeError, TimeoutError) as error:
            self.forget(peer)
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise LinkBroken(f"the link to rank {peer} broke: {reason}") from error
        except BaseException:
            self.forget(peer)
            raise

    def _link(self, peer: int, patience: float | None) -> _Link:
        with self._lock:
            link, name = self._links.get(peer), self._agreed.get(peer)
        if name is None:
            raise LinkBroken(f"nothing is agreed with rank {peer}")
        if link is None or link.name != name:
            self.forget(peer)
            try:
                link = self._connect(peer, name, self.timeout if patience is None else patience)
            except BaseException:
                self._clear(peer, name)
                raise
            with self._lock:
                self._links[peer] = link
        return link

    def _connect(self, peer: int, name: str, patience: float) -> _Link:
        options = ProcessGroupGloo._Options()  # type: ignore[attr-defined]
        options._timeout = timedelta(seconds=patience / CONNECTING)
        options._threads = 1
        options._devices = [self._device]
        low = min(peer, self.peers.rank)
        store = PrefixStore(name, self.peers.store_of(low, patience))
        place = int(self.peers.rank > peer)
        return _Link(name, ProcessGroupGloo(store, place, 2, options), 1 - place)

    def _greet(self, link: _Link, peer: int, number: int, size: int, count: int, patience: float | None) -> int:
        """Make sure that both mean the same exchange; give the partner's count."""
        mine, theirs = torch.tensor([number, size, count]), torch.zeros(3, dtype=torch.int64)
        self._swap(link, [mine], [theirs], patience)
        if theirs[:2].tolist() != [number, size]:
            raise RuntimeError(f"it expects another exchange, or other tensors ({theirs[1]} bytes, here {size})")
        return int(theirs[2])

    def _swap(
        self, link: _Link, outgoing: Sequence[Tensor], incoming: Sequence[Tensor], seconds: float | None = None
    ) -> None:
        limit = timedelta(seconds=self.timeout if seconds is None else seconds)
        under_way: deque[list[Any]] = deque()
        for sent, received in itertools.zip_longest(outgoing, incoming):
            works = [link.group.recv([received], link.other, TAG)] if received is not None else []
            works += [link.group.send([sent], link.other, TAG)] if sent is not None else []
            under_way.append(works)
            if len(under_way) == WINDOW:
                self._finish(under_way.popleft(), limit)
        while under_way:
            self._finish(under_way.popleft(), limit)

    def _finish(self, works: Sequence[Any], limit: timedelta) -> None:
        for work in works:
            work.wait(limit)
        self.moved = time.monotonic()

    # Copies in main memory.

    def _outgoing(self, place: int, values: Tensor) -> Tensor:
        values = values.detach().contiguous().view(-1)
        if values.device.type == "cpu":
            return values.view(torch.uint8)
        staged = self._staged("out", place, values)
        staged.copy_(values.view(torch.uint8), non_blocking=True)
        torch.cuda.current_stream(values.device).synchronize()
        return staged

    def _incoming(self, place: int, like: Tensor) -> Tensor:
        if like.device.type == "cpu":
            return torch.empty(_bytes(like), dtype=torch.uint8)
        return self._staged("in", place, like)

    def _arrived(self, values: Tensor, like: Tensor) -> Tensor:
        result = values.view(like.dtype).view(like.shape)
        if like.device.type == "cpu":
            return result
        moved = result.to(like.device, non_blocking=True)
        torch.cuda.current_stream(like.device).synchronize()  # the next exchange overwrites the copy in main memory
        return moved

    def _staged(self, way: str, place: int, like: Tensor) -> Tensor:
        """Give pinned memory, which is slow to get and therefore kept."""
        key = (way, place, _bytes(like))
        if key not in self._pinned:
            self._pinned[key] = torch.empty(_bytes(like), dtype=torch.uint8, pin_memory=True)
        return self._pinned[key]


def _bytes(values: Tensor) -> int:
    return values.numel() * values.element_size()


def _buckets(tensors: Sequence[Tensor]) -> Iterator[Tensor]:
    for values in tensors:
        if values.numel():
            yield from values.split(BUCKET)
