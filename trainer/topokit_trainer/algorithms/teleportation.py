"""TELEPORTATION: k models (tokens) travel among n nodes, train on their holders' data, and mix among themselves.

With a_t(j) the node that holds token j in round t, drawn without replacement by (seed, t), W the matrix of the small
topology among the tokens, and u(x) the update of the optimizer on the holder's data:

- x_j  <-  x_j - eta u(x_j), computed by node a_t(j), once or `local_steps` times
- x_j  <-  sum_l W_jl x_l
- node a_{t+1}(j) takes over token j

The last two are one phase of messages: node a_t(l) sends its model straight to the next holders of all tokens that
take part of it.

The state of the optimizer (momentum, Adam's averages) travels with the token, unmixed, or starts anew at every holder.
A node goes through its own data in the order in which it is visited, and nodes that hold no token do nothing: a rank
without tokens sleeps in the run's store until a model is on its way to it.

References
----------
Y. Takezawa, S. U. Stich, Scalable decentralized learning with teleportation, ICLR 2025. (How nodes agree on the
sample, and what becomes of momentum, is left open there.)
"""

from __future__ import annotations

from typing import Literal, cast

import numpy as np
import torch
from torch import Tensor

from topokit.errors import InputError
from topokit.kinds import Teleport
from topokit.matrix import IntArray, MixingMatrix
from topokit.schedule import Schedule
from topokit_trainer.algorithms.base import Algorithm
from topokit_trainer.evaluation import Averages
from topokit_trainer.exchange import RoundPlan, plan_round
from topokit_trainer.nodes import Nodes
from topokit_trainer.optimizers import NodeOptimizer, StackedOptimizer
from topokit_trainer.relocation import Relocation, block_diagonal, messages_between, plan_relocation

__all__ = ["Teleportation"]


class Teleportation(Algorithm):
    """TELEPORTATION on a teleport schedule; several teams train side by side on disjoint nodes.

    Parameters
    ----------
    local_steps : int
        Optimizer steps of a holder before the tokens mix and move on.
    handover : {"travel", "reset"}
        Whether the optimizer's state travels with the token or starts anew in every round.

    Attributes
    ----------
    holders : ndarray of int64, shape (k,)
        Who holds each token now, all teams one after the other.
    visits : ndarray of int64, shape (n,)
        Gradients that each node has computed up to the current round.
    """

    name = "TELEPORTATION"
    idles = True

    def __init__(self, local_steps: int = 1, handover: Literal["travel", "reset"] = "travel") -> None:
        self.local_steps, self.handover = local_steps, handover
        self.holders: IntArray = np.empty(0, dtype=np.int64)
        self.visits: IntArray = np.empty(0, dtype=np.int64)
        self._mixing: dict[tuple[int, ...], MixingMatrix] = {}
        self._plans: dict[tuple[int, ...], RoundPlan] = {}

    def check(self, schedule: Schedule, optimizer: NodeOptimizer) -> None:
        """Accept optimizers whose state is a row for each token."""
        if not isinstance(optimizer, StackedOptimizer):
            raise InputError(
                f"{self.name} hands the optimizer's state over with the model, element by element, which cannot be "
                f"done with {optimizer.kind}; use SGD, Adam or another elementwise optimizer"
            )

    def capacity(self, schedule: Schedule, local: range) -> int:
        """As many rows as nodes of this rank can be active at once; refuse what is no teleport schedule."""
        if not isinstance(schedule.rule, Teleport):
            raise InputError(
                f"{self.name} runs teleport schedules; {schedule.name} is a {schedule.kind} schedule (design one with "
                "--topology teleportation --active K)"
            )
        self.kind = schedule.rule
        return min(self.kind.active, len(local))

    def activity(self, schedule: Schedule) -> float:
        """Share of the nodes that are active."""
        return self.kind.active / schedule.nodes

    def place(self, nodes: Nodes, step: int) -> None:
        """Find out who holds which token, by drawing all rounds so far again."""
        rounds = step // self.local_steps
        self.visits = np.zeros(self.kind.nodes, dtype=np.int64)
        for t in range(rounds):
            self.visits[self._drawn(t)] += self.local_steps
        self.holders = self._drawn(rounds)
        nodes.draw = lambda now: nodes.batches.of(*self._work(nodes, now))
        self._settle(nodes, np.flatnonzero(self._ranks(nodes, self.holders) == nodes.world.rank))

    def notes(self) -> list[str]:
        """Say where the optimizer has no time to use what it keeps."""
        if self.handover == "travel" or self.local_steps > 1:
            return []
        return [
            "with --handover reset the optimizer starts anew in every round, and a round is one step: momentum has no "
            "effect; take --local-steps above 1, or --handover travel"
        ]

    def step(self, nodes: Nodes, step: int) -> None:
        """Descend where there are tokens; mix and move when the local steps are done."""
        if nodes.stacks.rows:
            nodes.descend(step)
        else:
            nodes.optimizer.step()  # of no rows: learning rates and counters go on
        if (step + 1) % self.local_steps == 0:
            self._move_on(nodes, step // self.local_steps)

    def averages(self, nodes: Nodes) -> Averages:
        """Give the mean over the tokens of each team."""
        result: Averages = {}
        first = 0
        for team in self.kind.teams:
            name = f"k={team.active}" if len(self.kind.teams) > 1 else ""
            if name in result:
                name += f" ({len(result)})"
            shares = [1 / team.active if first <= key < first + team.active else 0.0 for key in nodes.keys]
            result[name] = torch.tensor(shares, dtype=torch.float64, device=nodes.world.device)
            first += team.active
        return result

    def _drawn(self, t: int) -> IntArray:
        return np.concatenate(self.kind.holders(t))

    def _ranks(self, nodes: Nodes, holders: IntArray) -> IntArray:
        return holders // (self.kind.nodes // nodes.world.size)

    def _work(self, nodes: Nodes, step: int) -> tuple[list[int], list[int]]:
        """Give the holders of this rank's tokens, and how many gradients each has computed before."""
        mine = self.holders[list(nodes.keys)]
        return mine.tolist(), (self.visits[mine] + step % self.local_steps).tolist()

    def _settle(self, nodes: Nodes, tokens: IntArray) -> None:
        nodes.keys = tokens.tolist()
        nodes.stacks.occupy(len(tokens))

    def _matrix(self, t: int) -> tuple[tuple[int, ...], MixingMatrix]:
        """Give the mixing among all tokens in round t, and what it is known by."""
        key = tuple(t % len(team.rounds) for team in self.kind.teams)
        if key not in self._mixing:
            self._mixing[key] = block_diagonal([team.round(t) for team in self.kind.teams])
        return key, self._mixing[key]

    def _move_on(self, nodes: Nodes, t: int) -> None:
        key, matrix = self._matrix(t)
        before, after = self.holders, self._drawn(t + 1)
        self.visits[before] += self.local_steps
        self.holders = after
        optimizer = cast(StackedOptimizer, nodes.optimizer)
        if self.handover == "reset":
            optimizer.forget()
        carried = [*optimizer.rows, *(b[: nodes.stacks.rows] for b in nodes.stacks.buffers.values())]
        nodes.count_messages(messages_between(matrix, before, after), nodes.parameters)
        nodes.count_messages(int(np.count_nonzero(before != after)), carried)
        if nodes.world.size == 1:  # every token stays in its row
            if key not in self._plans:
                self._plans[key] = plan_round(matrix, 0, 1)
            for stack in nodes.parameters:
                self._plans[key].mix_(stack)
            return
        ranks = self._ranks(nodes, before), self._ranks(nodes, after)
        self._relocate(nodes, plan_relocation(matrix, *ranks, nodes.world.rank), ranks[0], carried, t)

    @torch.no_grad()
    def _relocate(self, nodes: Nodes, plan: Relocation, holding: IntArray, carried: list[Tensor], t: int) -> None:
        world, optimizer = nodes.world, cast(StackedOptimizer, nodes.optimizer)
        # A rank without tokens learns from the senders that something comes: until then it waits for nothing.
        for peer in plan.mixed.sends:
            if peer not in holding:
                world.announce(f"round {t}, {world.rank} to {peer}")
        if world.rank not in holding:
            for peer in plan.mixed.receives:
                world.await_word(f"round {t}, {peer} to {world.rank}")
        parameters = nodes.parameters
        parts = [(plan.mixed, parameters), (plan.moved, carried)]
        received = nodes.exchange.start(parts).wait()
        mixed = [plan.mix(x, rows) for x, rows in zip(parameters, received, strict=False)]
        moved = [plan.carry(x, rows) for x, rows in zip(carried, received[len(parameters) :], strict=True)]
        self._settle(nodes, plan.tokens)
        for stack, rows in zip(nodes.parameters, mixed, strict=True):
            stack.copy_(rows)
        optimizer.take_rows(moved)
        for buffer, rows in zip(nodes.stacks.buffers.values(), moved[len(optimizer.rows) :], strict=True):
            buffer[: len(rows)].copy_(rows)
