"""Going on without the ranks that are lost: the torn round is rolled back, and done again by those that are left.

What ranks do together (a round, an evaluation, a checkpoint) is numbered, one after the other. Before it changes
anything, a rank keeps a copy of the values; when it is through, it joins in a sum over all ranks, whose end tells it
that all are through: then the thing is done, and its copy may go. That sum is waited for right before the next change
of values, so that it passes while the next gradients are computed, and one copy is enough.

When a connection breaks, a rank breaks its other ones, by which all come to know, and those left agree on who they are
and on the last thing that is done (`topokit_trainer.agreement`). Who had begun the next puts the copy back, and does it
again, with the weights of `topokit.survivors`, in a new process group, whose ranks find one another through a store
that the lowest of them holds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from threading import Lock, Thread
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import PrefixStore  # type: ignore[attr-defined]

from topokit.errors import InputError, TopokitError
from topokit.schedule import Schedule
from topokit.survivors import Survivors
from topokit_trainer.agreement import Agreement, Outcome
from topokit_trainer.config import TrainConfig
from topokit_trainer.connections import cut, is_lost_contact, tcp_connections
from topokit_trainer.peers import Peers
from topokit_trainer.world import PeerLostError, World

__all__ = ["Loss", "Recovery", "require_recoverable"]

Result = TypeVar("Result")

LOOK = 1.0  # seconds after which the watch looks again, if nothing wakes it
MEETING = 4.0  # seconds that ranks which have agreed may take to make a group, besides lost_after


@dataclass(frozen=True)
class Loss:
    """Ranks that were lost at one time, and what became of it.

    Attributes
    ----------
    ranks, nodes : tuple of int
        Who was lost.
    seconds : float
        From the first sign of it until the others went on, on this rank.
    sentence : str
        Whether the living are still connected.
    """

    ranks: tuple[int, ...]
    nodes: tuple[int, ...]
    seconds: float
    sentence: str


def require_recoverable(config: TrainConfig, world: World) -> None:
    """Refuse what cannot go on without lost ranks.

    Raises
    ------
    InputError
    """
    option = "--on-failure reweight"
    if config.outer_every:
        raise InputError(f"{option} cannot be had with outer steps, whose momentum all nodes share; leave one of them")
    if config.momentum_mixing == "quasi-global":
        raise InputError(f"{option} goes with --momentum-mixing local or mixed: quasi-global learns from torn rounds")
    if world.backend == "nccl":
        raise InputError(f"{option} needs --backend gloo: NCCL's ranks cannot find together again in a running process")


class Recovery:
    """What ranks do together, so that it survives the loss of some of them.

    Parameters
    ----------
    schedule, config, world : Schedule, TrainConfig, World
    adopt : callable
        Takes the world of those left, and the rounds on the nodes of those left; called after a loss.

    Attributes
    ----------
    losses : list of Loss
        What was lost so far.
    """

    def __init__(
        self, schedule: Schedule, config: TrainConfig, world: World, adopt: Callable[[World, Survivors], None]
    ) -> None:
        assert world.store is not None
        self.schedule, self.config, self.world, self.adopt = schedule, config, world, adopt
        self.losses: list[Loss] = []
        self.peers = Peers(world.rank, world.size, world.store, lost_after=config.lost_after, timeout=config.timeout)
        self.agreement = Agreement(self.peers)
        self._ranks = tuple(range(world.size))  # of the start
        self._members, self._generation = self._ranks, 0
        self._begun = self._done = 0
        self._kept: list[tuple[Tensor, Tensor]] = []  # values and their copies
        self._changes = False  # whether what was begun changes them
        self._again: Callable[[], None] = lambda: None
        self._ending: dist.Work | None = None
        self._lock, self._connections, self._closing = Lock(), world.connections, False
        world.barrier()  # all have published where they are: none takes another's silence for its end
        Thread(target=self._look, name="topokit recovery: watch", daemon=True).start()

    # What is done together

    def round(self, act: Callable[[], None], values: Sequence[Tensor]) -> None:
        """Do something together that changes values; `settle` tells when all have done it.

        Parameters
        ----------
        act : callable
            Can be called again, with the values as they were and the ranks that are left.
        values : sequence of Tensor
            What it changes, in place.
        """
        self.settle()
        self._keep(values)
        self._again = act
        self._begun += 1
        self._attempt()

    def together(self, act: Callable[[], Result]) -> Result:
        """Do something together that changes no values, or can be done twice, and wait until all have done it."""
        results: list[Result] = []
        self.round(lambda: results.append(act()), ())
        self.settle()
        return results[-1]

    def settle(self) -> bool:
        """Wait until all have done what was begun; call this before values are changed.

        Returns
        -------
        bool
            Whether it was rolled back and done again, so that values are others than before.
        """
        again = False
        while self._ending is not None:
            ending, self._ending = self._ending, None
            try:
                ending.wait()
                self._done = self._begun
            except RuntimeError as error:
                if not is_lost_contact(error):
                    raise
                del ending
                if not self._recover():
                    again = True
                    self._attempt()
        return again

    def _keep(self, values: Sequence[Tensor]) -> None:
        self._changes = bool(values)
        if not values:
            return
        fits = len(self._kept) == len(values) and all(
            copy.shape == value.shape and copy.dtype == value.dtype
            for (_, copy), value in zip(self._kept, values, strict=True)
        )
        copies = [copy for _, copy in self._kept] if fits else [torch.empty_like(value) for value in values]
        for copy, value in zip(copies, values, strict=True):
            copy.copy_(value)
        self._kept = list(zip(values, copies, strict=True))

    def _attempt(self) -> None:
        while not self._tried():
            if self._recover():
                raise TopokitError("the others have ended the run without this rank")

    def _tried(self) -> bool:
        try:
            self._again()
            self._ending = _sum_of_all()
        except PeerLostError:
            return False  # the error, which holds the messages of the broken group, is forgotten before it is replaced
        return True

    # When ranks are lost

    def _recover(self) -> bool:
        """Agree with those that are left, and make a group of them; give whether what was begun is done by all.

        If it is not, the values are put back.
        """
        started = time.perf_counter()
        self._break_off()
        while True:
            outcome = self.agreement.reach(self._members, self._generation, self._done)
            if outcome.finished:
                self._done = self._begun
                return True
            world = self._meet(outcome)
            self._generation = outcome.generation
            if world is not None:
                break
        done = outcome.done >= self._begun
        if done:
            self._done = self._begun
        elif self._changes:
            for value, copy in self._kept:
                value.copy_(copy)
        self._take_over(world, outcome, time.perf_counter() - started)
        return done

    def _break_off(self) -> None:
        with self._lock:
            cut(self._connections)  # the others cannot wait for this rank any longer
            self._connections = frozenset()
        if dist.is_initialized():
            dist.destroy_process_group()

    def _meet(self, outcome: Outcome) -> World | None:
        """Make the process group of a generation; None where another rank was lost meanwhile."""
        members, lowest = outcome.members, outcome.members[0]
        rank = members.index(self.peers.rank)
        before = tcp_connections()
        try:
            dist.init_process_group(
                "gloo",
                store=PrefixStore(f"generation {outcome.generation}", self.peers.store_of(lowest)),
                rank=rank,
                world_size=len(members),
                timeout=timedelta(seconds=min(self.config.timeout, self.config.lost_after + MEETING)),
            )
        except (RuntimeError, TimeoutError):
            if dist.is_initialized():
                dist.destroy_process_group()
            return None
        _set_timeout(self.config.timeout)
        connections = tcp_connections() - before
        return replace(self.world, rank=rank, size=len(members), store=None, connections=connections)

    def _take_over(self, world: World, outcome: Outcome, seconds: float) -> None:
        share = self.schedule.nodes // len(self._ranks)
        gone = [rank for rank in self._ranks if rank not in outcome.members]
        left = Survivors(self.schedule, [rank * share + k for rank in gone for k in range(share)])
        new = tuple(rank for rank in self._members if rank not in outcome.members)
        nodes = tuple(rank * share + k for rank in new for k in range(share))
        with self._lock:
            self.world, self._members, self._connections = world, outcome.members, world.connections
        if new:
            self.losses.append(Loss(new, nodes, seconds, left.sentence()))
        self.adopt(world, left)

    def _look(self) -> None:
        """End waits for a rank that does not answer, and those of a group that others have left."""
        while not self._closing:
            self.peers.wait(lambda: self._closing or self._broken(), LOOK)
            with self._lock:
                if not self._closing and self._broken():
                    cut(self._connections)
                    self._connections = frozenset()

    def _broken(self) -> bool:
        return bool(self._connections) and self.agreement.trouble(self._members, self._generation)

    # The end

    def close(self, finished: bool) -> None:
        """Stop watching; at the end of the run (``finished``) stay until the others know that it has ended."""
        with self._lock:
            self._closing = True
        if finished:
            self.peers.say(finished=True, done=self._done)
            self.peers.wait(self._all_know, self.config.lost_after)
        self.agreement.close()
        self.peers.close()

    def _all_know(self) -> bool:
        others = [rank for rank in self._members if rank != self.peers.rank]
        return all(self.peers.status_of(r).get("finished") or r not in self.peers.living() for r in others)


def _sum_of_all() -> dist.Work:
    try:
        work: Any = dist.all_reduce(torch.zeros(1), async_op=True)
    except RuntimeError as error:
        if not is_lost_contact(error):
            raise
        raise PeerLostError("the end of a round", error) from error
    return work  # type: ignore[no-any-return]


def _set_timeout(seconds: float) -> None:
    """Let what ranks do together take as long as the configuration says."""
    change = getattr(dist.distributed_c10d, "_set_pg_timeout", None)
    if change is not None:
        change(timedelta(seconds=seconds), dist.group.WORLD)
