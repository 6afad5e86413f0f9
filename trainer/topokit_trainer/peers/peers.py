"""The other ranks of a run: which of them live, what they last said, and answers to short questions.

Two threads do this, whatever the training loop does: one sends a heartbeat to all others every sixth of ``lost_after``,
the other receives. The store of the launcher is needed only to find one another at the start: afterwards neither it nor
any single rank is needed by the others.

A question is sent again until it is answered. It bears the asker's rank, incarnation and a ticket, by which whoever is
asked recognizes it and gives the same answer again: that an answer was lost changes nothing.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
import traceback
import uuid
from collections import OrderedDict
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from ipaddress import ip_address
from threading import Condition, RLock, Thread
from threading import Event as Flag
from typing import Any, Literal

import torch.distributed as dist
from torch.distributed import Store  # type: ignore[attr-defined]

from topokit.errors import TopokitError
from topokit_trainer.peers.datagrams import Wire, own_host
from topokit_trainer.peers.mailbox import Mailbox, MailboxStore
from topokit_trainer.peers.membership import Event, Member, Membership

__all__ = ["Peers"]

BEATS = 6  # heartbeats within lost_after
LOOKS = 24  # looks at the clock within lost_after
NEWS_PAUSE = 0.1  # seconds between heartbeats that changes of the status bring forward
PATIENCE = 0.25  # seconds of one wait for a datagram
FIRST_REPEAT, LAST_REPEAT = 0.05, 0.4  # seconds until a question is sent again
REMEMBERED = 128  # answers to each rank
MAIL = "mail"


class Peers:
    """Who of the other ranks lives, and short questions between ranks.

    Parameters
    ----------
    rank, size : int
    store : torch.distributed.Store
        Where ranks find one another at the start; not used afterwards.
    lost_after : float, default=3.0
        Seconds of silence after which a rank is lost.
    timeout : float, default=60.0
        Seconds that the start may take.
    answer : callable, optional
        Takes the rank that asks and its question, gives the answer. It is called in the thread that receives, and has
        to return at once.

    Attributes
    ----------
    incarnation : int
        How often this rank had been started before in this run.
    host : str
        The address under which others reach this rank.
    answer : callable
    events : list of Event
        What has happened to other ranks so far.

    Raises
    ------
    TopokitError
        If not all ranks have come to the start in time, or some of them cannot be reached.
    """

    def __init__(
        self,
        rank: int,
        size: int,
        store: Store,
        *,
        lost_after: float = 3.0,
        timeout: float = 60.0,
        answer: Callable[[int, dict[str, Any]], dict[str, Any]] | None = None,
    ) -> None:
        self.rank, self.size, self.lost_after = rank, size, lost_after
        self.answer = answer or (lambda asker, question: {})
        self.events: list[Event] = []
        self.host = own_host()
        self._changed = Condition(RLock())
        self._mailbox = Mailbox()
        self._stores: dict[tuple[int, float], MailboxStore] = {}
        self._wire = Wire(self.host, PATIENCE)
        self._status: dict[str, Any] = {}
        self._said = itertools.count()
        self._tickets = itertools.count()
        self._waiting: dict[int, dict[str, Any] | None] = {}
        self._answered: dict[int, tuple[int, OrderedDict[int, dict[str, Any]]]] = {}
        self._closing, self._news = Flag(), Flag()
        try:
            self.incarnation, members = self._meet(store, timeout)
        except BaseException:
            self._wire.close()
            raise
        self._membership = Membership(members, lost_after, time.monotonic())
        self._threads = [
            Thread(target=target, name=f"topokit peers: {target.__name__.strip('_')}", daemon=True)
            for target in (self._beat, self._receive)
        ]
        for thread in self._threads:
            thread.start()

    def _meet(self, store: Store, timeout: float) -> tuple[int, dict[int, Member]]:
        """Publish where this rank is; find out where the others are."""
        try:
            self._wire.token = store.compare_set("peers token", "", uuid.uuid4().hex).decode()
            incarnation = store.add(f"peers started {self.rank}", 1) - 1
            # Published before the others are looked up: of two ranks that come back together, one at least then
            # finds the other's new address.
            store.set(f"peers address {self.rank}", json.dumps([incarnation, list(self._wire.address)]))
        except (dist.DistError, RuntimeError) as error:
            raise TopokitError(f"the store of the run is lost: {_first_line(error)}") from error
        others = [rank for rank in range(self.size) if rank != self.rank]
        deadline = time.monotonic() + timeout
        missing = [f"peers address {rank}" for rank in others]
        while missing:
            try:
                store.wait(missing[:1], timedelta(seconds=min(5.0, max(deadline - time.monotonic(), 0.01))))
                missing.pop(0)
            except (dist.DistError, RuntimeError) as error:
                if "imeout" not in str(error) and "imed out" not in str(error):
                    raise TopokitError(f"the store of the run is lost: {_first_line(error)}") from error
                if time.monotonic() > deadline:
                    raise TopokitError(
                        f"rank {missing[0].split()[-1]} did not start within {timeout:g} seconds"
                    ) from error
        members = {}
        for rank in others:
            number, address = json.loads(store.get(f"peers address {rank}"))
            # At the first start all are there. One that comes back does not know who still is until it hears of them.
            members[rank] = Member(tuple(address), number, time.monotonic(), suspected=incarnation > 0)
        places = {rank: member.address[0] for rank, member in members.items()} | {self.rank: self.host}
        inside = [rank for rank in sorted(places) if ip_address(places[rank].split("%")[0]).is_loopback]
        if 0 < len(inside) < self.size:
            raise TopokitError(
                f"rank {inside[0]} gives {places[inside[0]]} as its address, which other hosts cannot reach; set "
                "GLOO_SOCKET_IFNAME to the name of its network interface"
            )
        return incarnation, members

    # What is known of the others.

    def living(self) -> frozenset[int]:
        """Give the other ranks that were heard of within ``lost_after`` and are not suspected."""
        with self._changed:
            self._tick()
            return self._membership.living()

    def incarnation_of(self, rank: int) -> int:
        """Give how often a rank had been started before, as far as is known."""
        with self._changed:
            return self.incarnation if rank == self.rank else self._membership.members[rank].incarnation

    def status_of(self, rank: int) -> dict[str, Any]:
        """Give what a rank last said of itself in its present incarnation; its own for this rank."""
        with self._changed:
            return dict(self._status if rank == self.rank else self._membership.members[rank].status)

    def suspect(self, rank: int) -> None:
        """Take a rank for lost until it is heard of again: a connection to it broke."""
        with self._changed:
            self._membership.members[rank].suspected = True
            self._changed.notify_all()

    def suspects(self) -> frozenset[int]:
        """Give the ranks that are suspected, of which it is not yet known whether they are lost."""
        with self._changed:
            self._tick()
            return self._membership.suspects()

    @property
    def away(self) -> float:
        """The longest time, in seconds, that this rank itself was held up, or after which it heard someone again."""
        with self._changed:
            self._tick()
            return self._membership.away

    def clear_away(self) -> None:
        """Set ``away`` back to zero."""
        with self._changed:
            self._membership.clear_away()

    def wait(self, predicate: Callable[[], bool], timeout: float) -> bool:
        """Wait until a predicate holds, looking at it at every change of membership or status.

        Parameters
        ----------
        predicate : callable
            Called with the lock held that everything here takes: it has to return at once.
        timeout : float
            Seconds.

        Returns
        -------
        bool
            Whether it holds.
        """
        with self._changed:
            return self._changed.wait_for(predicate, timeout)

    # What is said to the others.

    def say(self, **status: Any) -> None:
        """Change what heartbeats say of this rank; a change brings the next heartbeat forward."""
        with self._changed:
            changed = any(name not in self._status or self._status[name] != status[name] for name in status)
            self._status.update(status)
        if changed:
            self._news.set()

    def ask(self, rank: int, question: dict[str, Any], timeout: float) -> dict[str, Any] | None:
        """Ask another rank, again and again, until it answers.

        Parameters
        ----------
        rank : int
        question : dict
            Small, and made of what JSON knows.
        timeout : float
            Seconds.

        Returns
        -------
        dict or None
            None if there is no answer in time, or the rank is lost, left, or was started anew meanwhile.
        """
        deadline = time.monotonic() + timeout
        ticket, repeat = next(self._tickets), FIRST_REPEAT
        with self._changed:
            self._waiting[ticket] = None
            before = self._membership.members[rank].incarnation
        try:
            while True:
                with self._changed:
                    member = self._membership.members[rank]
                    if member.incarnation != before or member.condition != "living":
                        return None
                    address = member.address
                self._send(address, "ask", ticket=ticket, question=question)
                left = deadline - time.monotonic()
                with self._changed:
                    self._changed.wait_for(lambda: self._waiting[ticket] is not None, min(repeat, max(left, 0.0)))
                    if self._waiting[ticket] is not None:
                        return self._waiting[ticket]
                if left <= repeat:
                    return None
                repeat = min(2 * repeat, LAST_REPEAT)
        finally:
            with self._changed:
                del self._waiting[ticket]

    def store_of(self, rank: int, timeout: float = 4.0) -> MailboxStore:
        """Give a store that a rank (this one, too) holds for others; each of its operations ends within ``timeout``."""
        with self._changed:
            if (rank, timeout) not in self._stores:
                self._stores[rank, timeout] = MailboxStore(partial(self._mail, rank), timeout)
            return self._stores[rank, timeout]  # kept: PyTorch's own reference does not keep a store of Python's alive

    def _mail(self, rank: int, question: dict[str, Any], timeout: float) -> dict[str, Any] | None:
        return self._mailbox.answer(question) if rank == self.rank else self.ask(rank, {MAIL: question}, timeout)

    def close(self) -> None:
        """Say goodbye to the others, who then know that this rank has left, and stop."""
        if self._closing.is_set():
            return
        self._closing.set()
        self._news.set()
        for thread in self._threads:
            thread.join()
        for _ in range(3):  # any one may be lost
            self._to_all("bye")
        self._wire.close()

    # The two threads.

    def _send(self, address: tuple[Any, ...], kind: str, **content: Any) -> None:
        self._wire.send(address, {"kind": kind, "rank": self.rank, "incarnation": self.incarnation, **content})

    def _to_all(self, kind: str, **content: Any) -> None:
        with self._changed:
            addresses = [m.address for m in self._membership.members.values() if m.condition != "left"]
        for address in addresses:
            self._send(address, kind, **content)

    def _tick(self) -> None:
        for kind, rank in self._membership.tick(time.monotonic()):
            self._note(kind, rank)

    def _note(self, kind: Literal["lost", "back", "rejoined", "left"], rank: int) -> None:
        self.events.append(Event(time.time(), kind, rank))
        self._changed.notify_all()

    def _beat(self) -> None:
        due, pause = time.monotonic(), self.lost_after / LOOKS
        while not self._closing.is_set():
            with self._changed:
                self._tick()
            now = time.monotonic()
            if now >= due or self._news.is_set():
                self._news.clear()
                due = now + self.lost_after / BEATS
                with self._changed:
                    status, said = dict(self._status), next(self._said)
                self._to_all("beat", status=status, said=said)
                self._closing.wait(min(NEWS_PAUSE, pause))
            self._news.wait(pause)

    def _receive(self) -> None:
        while not self._closing.is_set():
            received = self._wire.receive()
            if received is not None:
                try:
                    self._take(*received)
                except (KeyError, TypeError, ValueError):
                    # A datagram with this run's token that is not of this form, or an answer that JSON cannot say:
                    # neither may keep this rank from hearing the next.
                    traceback.print_exc(file=sys.stderr)

    def _take(self, message: dict[str, Any], address: tuple[Any, ...]) -> None:
        rank, incarnation = message["rank"], message["incarnation"]
        kind = message["kind"]
        with self._changed:
            if rank not in self._membership.members:
                return
            self._tick()
            change = self._membership.hear(rank, incarnation, address, time.monotonic())
            if change is None:
                return
            member = self._membership.members[rank]
            if change != "taken":
                self._note(change, rank)
            self._changed.notify_all()
            if kind == "beat" and message["said"] > member.said:
                member.status, member.said = message["status"], message["said"]
            elif kind == "bye":
                member.condition = "left"
                self._note("left", rank)
            elif kind == "answer" and message["ticket"] in self._waiting:
                self._waiting[message["ticket"]] = message["answer"]
        if kind == "ask":
            self._send(address, "answer", ticket=message["ticket"], answer=self._answer(rank, incarnation, message))

    def _answer(self, rank: int, incarnation: int, message: dict[str, Any]) -> dict[str, Any]:
        if self._answered.setdefault(rank, (incarnation, OrderedDict()))[0] != incarnation:
            self._answered[rank] = (incarnation, OrderedDict())
        given = self._answered[rank][1]
        ticket, question = message["ticket"], message["question"]
        if ticket not in given:
            try:
                mail = question.get(MAIL)
                given[ticket] = self._mailbox.answer(mail) if mail else self.answer(rank, question)
            except Exception as error:  # whoever asks must not wait for an answer that never comes
                traceback.print_exc(file=sys.stderr)
                given[ticket] = {"error": f"{type(error).__name__}: {error}"}
            while len(given) > REMEMBERED:
                given.popitem(last=False)
        return given[ticket]


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
