"""The communication thread of one node: it averages with one neighbour at a time, whoever of them is free.

Neighbours find one another without a coordinator: a node asks one neighbour, chosen at random by the rates of its
edges, and has an answer at once, which is no if that neighbour is itself asking or averaging, or has had its share.
There is no deadlock, whatever the graph: nobody who has promised to take part asks anybody, nobody who asks has
promised anything, and every question, answer and exchange ends after a bounded time. Of two who ask each other at the
same moment, the question of the lower rank counts. When all neighbours have refused, a node pauses, for a random time
that doubles from pass to pass; it may be asked meanwhile.

The ratio of averagings to gradients comes from credits: the gradient loop gives some for each gradient, an averaging
takes one of each partner's. Who has credit asks; who has none may still lend one averaging to a neighbour that asks. In
AD-PSGD only who asks pays, and whoever is free says yes. Credits that a slow network cannot use expire.

What is shown to a partner is mixed first and copied in one go; gradients may come while it travels.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from threading import Condition, Thread
from typing import Any, Literal, NamedTuple

import numpy as np
from torch import Tensor

from topokit.errors import InputError
from topokit_trainer.asynchronous.links import OUTCOME, LinkBroken, Links
from topokit_trainer.asynchronous.state import NodeState
from topokit_trainer.peers import Peers

__all__ = ["Gossip"]

ANSWER_TIME = 1.0  # seconds
PATIENCE = 1.5  # seconds that whoever asked may take to begin: it may have given up before the answer came
FIRST_PAUSE, LONGEST_PAUSE = 0.001, 0.05  # seconds, after a pass over all neighbours in vain
PENALTY = 0.5  # seconds in which a neighbour whose link has broken is not asked
CREDITS = 4.0  # averagings that may pile up
FETCH_TIME = 15.0  # seconds
HANGING = 60.0  # seconds
AVERAGE: Literal["average"] = "average"
FETCH: Literal["fetch"] = "fetch"
CLOSED = "closed"  # answer of a rank that does not average, and is not to be asked again soon


class _Promise(NamedTuple):
    purpose: Literal["average", "fetch"]
    rank: int
    number: int


class Gossip(Thread):
    """A thread that averages a node's state with those of its neighbours.

    It takes over the answers to other ranks' questions; those that it does not know go where they went before.

    Parameters
    ----------
    peers : Peers
    links : Links
    state : NodeState
    neighbours : sequence of (int, float)
        Ranks, and the rates of the edges to them: averagings in the time of one gradient.
    draw : numpy.random.Generator
    mode : {"gossip", "ad-psgd"}
        Who pays for an averaging: both partners, or who asks.

    Attributes
    ----------
    averagings : dict of int to int
        How many there were with each neighbour.
    broken : dict of int to int
        How many exchanges with each were begun and not finished.
    gradients : int
        How often credit was given: the count that a rank that fetches this one's state gets.
    error : Exception or None
        What ended this thread, if it was not ``stop``.

    Raises
    ------
    InputError
        If the mode is neither.
    """

    def __init__(
        self,
        peers: Peers,
        links: Links,
        state: NodeState,
        neighbours: Sequence[tuple[int, float]],
        draw: np.random.Generator,
        mode: Literal["gossip", "ad-psgd"] = "gossip",
    ) -> None:
        super().__init__(name="topokit gossip", daemon=True)
        if mode not in ("gossip", "ad-psgd"):
            raise InputError(f"mode must be gossip or ad-psgd, got {mode!r}")
        self.peers, self.links, self.state, self.draw, self.mode = peers, links, state, draw, mode
        self.rates = dict(neighbours)
        self.averagings = dict.fromkeys(self.rates, 0)
        self.broken = dict.fromkeys(self.rates, 0)
        self.gradients = 0
        self.error: Exception | None = None
        self._turn = Condition()
        self._credit = 0.0
        self._engaged = False  # with a question, a promise or a fetch
        self._since = 0.0  # when that began
        self._asking: int | None = None
        self._promise: _Promise | None = None
        self._stopping = False
        self._refused: set[int] = set()
        self._pause, self._resume_at = FIRST_PAUSE, 0.0
        self._shunned: dict[int, float] = {}
        origin = peers.incarnation * peers.size + peers.rank
        self._numbers = itertools.count(origin << 32)  # no two ranks name an exchange alike
        self._answer_others: Callable[[int, dict[str, Any]], dict[str, Any]] = peers.answer
        peers.answer = self._answer

    # For the gradient loop.

    def credit(self, averagings: float) -> None:
        """Allow for averagings, after a gradient."""
        with self._turn:
            self.gradients += 1
            self._credit = min(self._credit + averagings, max(CREDITS, 2 * averagings))
            self._turn.notify_all()

    def stop(self) -> None:
        """End the thread, after the exchange that is under way."""
        with self._turn:
            self._stopping = True
            self._turn.notify_all()
        while self.is_alive() and not self.hangs:
            self.join(HANGING / 10)

    @property
    def hangs(self) -> bool:
        """Whether nothing has moved for far longer than all time-outs together allow."""
        with self._turn:
            return self._engaged and time.monotonic() - max(self._since, self.links.moved) > HANGING

    def fetch_from(self, rank: int) -> tuple[list[Tensor], list[Tensor], int]:
        """Get another node's x, x~ and count of gradients; the rank has to have the same acceleration.

        Raises
        ------
        LinkBroken
            If it did not come about.
        """
        x, tilde = self.state.pair()
        deadline = time.monotonic() + FETCH_TIME
        while time.monotonic() < deadline:
            with self._turn:
                if not self._turn.wait_for(lambda: not self._engaged, max(deadline - time.monotonic(), 0.0)):
                    break
                self._engaged, self._since = True, time.monotonic()
            try:
                number = next(self._numbers)
                answer = self._ask(rank, FETCH, number)
                if answer is not None and "accepted" in answer:
                    self.links.settle(rank, answer["accepted"])
                    values, count = self.links.take(rank, number, [*x, *tilde])
                    return values[: len(x)], values[len(x) :], count
            finally:
                self._disengage()
            if answer is not None and answer.get("no") == CLOSED:
                raise LinkBroken(f"rank {rank}, whose state was asked for, has not begun to average, or has ended")
            if rank not in self.peers.living():
                raise LinkBroken(f"rank {rank}, whose state was asked for, does not answer")
            time.sleep(LONGEST_PAUSE * self.draw.uniform(0.5, 1.5))
        raise LinkBroken(f"rank {rank} did not give its state within {FETCH_TIME:g} seconds")

    # The thread.

    def run(self) -> None:
        """Average until told to stop."""
        try:
            while (task := self._next()) is not None:
                try:
                    if isinstance(task, _Promise):
                        self._keep(task)
                    else:
                        self._propose_to(task)
                finally:
                    self._disengage()
        except Exception as error:  # the gradient loop looks here: a thread of its own cannot raise there
            self.error = error
            with self._turn:
                self._stopping = True
            raise

    def _next(self) -> _Promise | int | None:
        """Wait for something to do: a promise to keep, or a neighbour to ask; None to stop."""
        with self._turn:
            while True:
                if self._promise is not None:
                    return self._promise
                if self._stopping:
                    return None
                wait: float | None = None
                if not self._engaged and self._credit > 0:
                    wait = self._resume_at - time.monotonic()
                    if wait <= 0:
                        rank = self._choose()
                        if rank is not None:
                            self._engaged, self._since, self._asking = True, time.monotonic(), rank
                            return rank
                        wait = self._rest()
                self._turn.wait(wait)

    def _choose(self) -> int | None:
        """Draw a neighbour that lives and has not refused in this pass."""
        now, living = time.monotonic(), self.peers.living()
        candidates = [
            rank
            for rank in self.rates
            if rank in living and rank not in self._refused and self._shunned.get(rank, 0.0) <= now
        ]
        if not candidates:
            return None
        weights = np.array([self.rates[rank] for rank in candidates])
        return int(self.draw.choice(candidates, p=weights / weights.sum()))

    def _rest(self) -> float:
        """Pause after a pass in vain; give for how long."""
        self._refused.clear()
        pause = self._pause * self.draw.uniform(0.5, 1.5)
        self._pause = min(2 * self._pause, LONGEST_PAUSE)
        self._resume_at = time.monotonic() + pause
        return float(pause)

    def _propose_to(self, rank: int) -> None:
        number = next(self._numbers)
        answer = self._ask(rank, AVERAGE, number)
        with self._turn:
            self._asking = None
            promise = self._promise  # made while asking, to the one that was asked
        if promise is not None:
            self._keep(promise)
        elif answer is not None and "accepted" in answer:
            self.links.settle(rank, answer["accepted"])
            self._average(rank, number, pays=True, patience=None)
        else:
            self._refused.add(rank)

    def _ask(self, rank: int, purpose: str, number: int) -> dict[str, Any] | None:
        question = {purpose: number, "proposal": self.links.propose(rank)}
        answer = self.peers.ask(rank, question, ANSWER_TIME)
        if answer is None:
            self.peers.suspect(rank)
        return answer

    def _keep(self, promise: _Promise) -> None:
        if promise.purpose == AVERAGE:
            self._average(promise.rank, promise.number, pays=self.mode == "gossip", patience=PATIENCE)
        else:
            x, tilde = self.state.pair()
            try:
                self.links.give(promise.rank, promise.number, [*x, *tilde], self.gradients, PATIENCE)
            except LinkBroken:
                self._shun(promise.rank)

    def _average(self, rank: int, number: int, pays: bool, patience: float | None) -> None:
        shown = self.state.snapshot()
        try:
            seen = self.links.exchange(rank, number, shown, patience)
        except LinkBroken:
            self.broken[rank] += 1
            self._shun(rank)
            return
        self.state.average(shown, seen)
        with self._turn:
            self.averagings[rank] += 1
            self._credit -= pays
            self._refused.clear()
            self._pause, self._resume_at = FIRST_PAUSE, 0.0

    def _shun(self, rank: int) -> None:
        self._shunned[rank] = time.monotonic() + PENALTY
        self.peers.suspect(rank)

    def _disengage(self) -> None:
        with self._turn:
            self._engaged, self._asking, self._promise = False, None, None
            self._turn.notify_all()

    # For the thread that receives.

    def _answer(self, asker: int, question: dict[str, Any]) -> dict[str, Any]:
        if OUTCOME in question:
            return self.links.answer(question)
        purpose: Literal["average", "fetch"]
        if AVERAGE in question:
            purpose = AVERAGE
        elif FETCH in question:
            purpose = FETCH
        else:
            return self._answer_others(asker, question)
        with self._turn:
            overtaken = self._promise is None and self._asking == asker and asker < self.peers.rank
            if self._stopping or not self.is_alive():
                return {"no": CLOSED}
            if self._engaged and not overtaken:
                return {"no": "busy"}
            if purpose == AVERAGE and (asker not in self.rates or (self.mode == "gossip" and self._credit <= -1)):
                return {"no": "spent"}
            self._engaged, self._since = True, time.monotonic()
            self._promise = _Promise(purpose, asker, question[purpose])
            self._turn.notify_all()
            return {"accepted": self.links.accept(asker, question["proposal"])}
