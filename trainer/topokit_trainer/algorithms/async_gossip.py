"""Asynchronous gossip with a simulated clock, with A²CiD² or without: no rounds, every node at its own pace.

Node i computes gradients at the ticks of a Poisson clock whose rate is its speed, neighbours i and j average at those
of another whose rate is that of their edge; the unit of time is that of one gradient at speed 1. With u the update
direction of the node's optimizer and gamma the learning rate,

    gradient of i       x_i <- x_i - gamma u(x_i)
    averaging of i, j   x_i, x_j <- (x_i + x_j) / 2

With acceleration (A²CiD²) every node has a second copy of its parameters, which mixes with the first in between, and
averagings move the two by different shares: `topokit_trainer.asynchronous.dynamics` has the equations. Both copies move
by the same step of the optimizer, whose momentum, averages and step counter are the node's own and are never averaged.

A step of the trainer is one unit of time. Learning rates follow time: they are the same for all nodes, and are changed
after each unit. A node goes through its own data in the order of its own gradients. At whole units both copies are
mixed up to that moment; what is evaluated and saved is that. The averaged model is the mean of the first copies.

The second copy is kept as its lead, x~ - x, times a number of the node's own: then letting the two mix changes x and
the number, a gradient changes x alone, and neither passes through the memory of the second copy more than once.

Events of disjoint nodes commute: they are worked off in waves (`topokit_trainer.asynchronous.events`), gradients many
at a time. What is drawn depends neither on waves nor on ranks. Pairs on different ranks exchange their parameters.

References
----------
S. Boyd, A. Ghosh, B. Prabhakar, D. Shah, Randomized gossip algorithms, IEEE Transactions on Information Theory 52(6),
2006.
A. Nabli, E. Belilovsky, E. Oyallon, A²CiD²: Accelerating asynchronous communication in decentralized deep learning,
NeurIPS 2023.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import nan
from typing import cast

import numpy as np
import torch
from torch import Tensor

from topokit.errors import InputError
from topokit.kinds import Pairwise
from topokit.matrix import IntArray
from topokit.schedule import Schedule
from topokit_trainer.algorithms.base import Algorithm
from topokit_trainer.asynchronous.dynamics import Dynamics, dynamics_of
from topokit_trainer.asynchronous.events import Clocks, FloatArray, Wave, speeds_of, waves
from topokit_trainer.asynchronous.row_optimizer import RowOptimizer, row_optimizer
from topokit_trainer.config import TrainConfig
from topokit_trainer.exchange import Route
from topokit_trainer.nodes import Nodes
from topokit_trainer.optimizers import NodeOptimizer

__all__ = ["AsyncGossip"]

GRADIENTS, AVERAGINGS = 0, 1  # columns of the tally
SMALL = 2.0**-10  # scales below are multiplied out, long before leads overflow


class AsyncGossip(Algorithm):
    """Asynchronous gossip on a pairwise schedule.

    Parameters
    ----------
    config : TrainConfig
        Its seed, speeds and acceleration.

    Attributes
    ----------
    clocks : Clocks
    dynamics : Dynamics
    x, lead : list of lists of Tensor
        Of each local node, the rows of the stacks that are its parameters, and of those that hold the lead of its
        second copy (none without acceleration).
    scale : ndarray of float64, shape (rows,)
        The second copy of a node is x + scale lead.
    tally : ndarray of int64, shape (rows, 2)
        Gradients that each local node has taken, and averagings that it has been part of.
    """

    name = "asynchronous gossip"
    partners = False  # whether an averaging belongs to each gradient, instead of clocks of the edges

    def __init__(self, config: TrainConfig) -> None:
        self.config = config
        self.dynamics = Dynamics()
        self.x: list[list[Tensor]] = []
        self.lead: list[list[Tensor]] = []
        self.scale: FloatArray = np.zeros(0)
        self.tally: IntArray = np.zeros((0, 2), dtype=np.int64)

    def check(self, schedule: Schedule, optimizer: NodeOptimizer) -> None:
        """Refuse schedules without clocks, nodes that there are not, and optimizers that want the loss."""
        if not isinstance(schedule.rule, Pairwise):
            raise InputError(
                f"{self.name} runs pairwise schedules; {schedule.name} is a {schedule.kind} schedule (design one with "
                "--topology pairwise)"
            )
        if optimizer.needs_closure:
            raise InputError(
                f"{self.name} steps with gradients that were computed before, but this optimizer evaluates the loss "
                "itself (it needs a closure); take another optimizer"
            )
        speeds = speeds_of(self.config.speeds, schedule.nodes)
        self.clocks = Clocks(schedule.rule, speeds, self.config.seed, self.partners)
        self.dynamics = dynamics_of(schedule, self.config.acid)
        self.claims = schedule.claims

    def activity(self, schedule: Schedule) -> float:
        """Gradients of a node in a unit of time, in the mean."""
        return float(self.clocks.speeds.mean())

    def prepare(self, nodes: Nodes, step: int) -> None:
        """Let nodes step apart; set up second copies and the tally."""
        if self.config.clock == "real":
            raise InputError(
                f"--clock real needs one process for each node (--processes {nodes.schedule.nodes}); one process alone "
                "takes --clock simulated"
                if nodes.world.size == 1
                else "Trainer simulates the clock; topokit_trainer.train and topokit train run --clock real"
            )
        self.nodes, stacks = nodes, nodes.parameters
        nodes.optimizer = row_optimizer(nodes.stacks, nodes.optimizer)
        rows = range(nodes.stacks.rows)
        self.x = [[stack[row] for stack in stacks] for row in rows]
        if self.dynamics.accelerated:
            lead = nodes.keep_zeros("lead")
            (scale,) = nodes.keep("scale", [torch.ones((len(rows), 1), dtype=torch.float64)])
            self.lead, self.scale = [[stack[row] for stack in lead] for row in rows], scale.numpy()[:, 0]
        (tally,) = nodes.keep("tally", [torch.zeros((len(rows), 2), dtype=torch.int64)])
        self.tally = tally.numpy()  # the same memory
        self.mixed = np.zeros(len(rows))

    def notes(self) -> list[str]:
        """Tell the constants."""
        lines = ["the clock is simulated: a step is one unit of time, in which a node of speed 1 takes one gradient"]
        eta, alpha_tilde = self.dynamics.eta, self.dynamics.alpha_tilde
        if self.dynamics.accelerated:
            chi1, chi2 = alpha_tilde / eta, 1 / (4 * alpha_tilde * eta)  # as these were made of those
            lines.append(f"A2CiD2: eta {eta:.6g}, alpha~ {alpha_tilde:.6g}, from chi_1 {chi1:.6g} and chi_2 {chi2:.6g}")
            if alpha_tilde < 0.5 * (1 + 1e-6):
                lines.append("chi_1 and chi_2 are equal here: A2CiD2 has nothing to gain on this graph")
        elif not self.partners:
            chi1, chi2 = self.claims.chi1 or nan, self.claims.chi2 or nan
            lines.append(f"no acceleration: eta 0, alpha~ 0.5; chi_1 is {chi1:.6g} and chi_2 {chi2:.6g}")
        return lines

    def step(self, nodes: Nodes, step: int) -> None:
        """Let everything happen that happens from ``step`` to ``step + 1``."""
        events = self.clocks.events(step)
        self.mixed[:] = 0
        for wave in waves(events, nodes.schedule.nodes):
            if wave.averages:
                self._average(nodes, wave)
            else:
                self._gradients(nodes, wave)
        self._mix(range(len(self.x)), [1.0] * len(self.x))
        nodes.count_messages(2 * events.averagings, nodes.parameters)
        cast(RowOptimizer, nodes.optimizer).advance()

    def rounds(self, steps: int) -> int:
        """Averagings of all nodes so far: each is a round of the schedule."""
        return int(self._totals()[AVERAGINGS]) // 2

    def figures(self) -> dict[str, float]:
        """Tell how many gradients a node has taken, and how many averagings came to each."""
        gradients, averagings = self._totals().tolist()
        return {
            "gradients": gradients / self.nodes.schedule.nodes,
            "averagings_per_gradient": averagings / gradients if gradients else nan,
        }

    def _totals(self) -> IntArray:
        of_ranks: list[IntArray] = self.nodes.world.gather(self.tally.sum(axis=0))
        totals: IntArray = np.stack(of_ranks).sum(axis=0)
        return totals

    # Between events

    @torch.no_grad()
    def _mix(self, rows: Sequence[int], times: Sequence[float]) -> None:
        """Bring the pairs of some nodes from when they were last mixed to a later time of the unit."""
        if not self.lead:
            return
        for row, time in zip(rows, times, strict=True):
            share = self.dynamics.share(time - float(self.mixed[row]))
            scale = float(self.scale[row])
            for values, lead in zip(self.x[row], self.lead[row], strict=True):
                values.add_(lead, alpha=scale * share)
            self.scale[row] = scale * (1 - 2 * share)
            if self.scale[row] < SMALL:
                for lead in self.lead[row]:
                    lead.mul_(float(self.scale[row]))
                self.scale[row] = 1.0
            self.mixed[row] = time

    # Gradients

    def _gradients(self, nodes: Nodes, wave: Wave) -> None:
        """Let the local nodes of a wave take their gradients."""
        rows = wave.node - nodes.batches.local.start
        here = (rows >= 0) & (rows < len(self.x))
        if here.any():
            chosen = rows[here].tolist()
            self._mix(chosen, wave.times[here].tolist())
            self._descend(nodes, chosen)

    def _descend(self, nodes: Nodes, rows: list[int]) -> None:
        """Compute and apply gradients at the present parameters."""
        self._compute(nodes, rows)
        self._apply(nodes, rows)

    def _compute(self, nodes: Nodes, rows: list[int]) -> None:
        """Leave in the stacks the gradients of some nodes, each on the next batch of its own."""
        numbers = self.tally[rows, GRADIENTS].tolist()
        inputs, targets = nodes.batches.of([nodes.batches.local[row] for row in rows], numbers)
        nodes.losses.add(nodes.engine.some(rows, inputs, targets, numbers))
        if nodes.clip is not None:
            _clip(nodes.stacks.gradients, rows, nodes.clip)

    def _apply(self, nodes: Nodes, rows: list[int]) -> None:
        """Take the optimizer's step with the gradients in the stacks; the second copy keeps its lead."""
        cast(RowOptimizer, nodes.optimizer).step_rows(rows)
        self.tally[rows, GRADIENTS] += 1

    # Averagings

    @torch.no_grad()
    def _average(self, nodes: Nodes, wave: Wave) -> None:
        """Let the pairs of a wave average, first showing each other what has been mixed up to that moment."""
        share, first, rank = len(self.x), nodes.batches.local.start, nodes.world.rank
        inside: list[tuple[int, int]] = []
        across: dict[int, list[tuple[int, int]]] = {}  # by the other rank: rows here and there
        for time, i, j in zip(wave.times.tolist(), wave.node.tolist(), wave.partner.tolist(), strict=True):
            here = [node - first for node in (i, j) if node // share == rank]
            self._mix(here, [time] * len(here))
            self.tally[here, AVERAGINGS] += 1
            if len(here) == 2:
                inside.append((here[0], here[1]))
            elif here:
                other = j if i - first == here[0] else i
                across.setdefault(other // share, []).append((here[0], other % share))
        # Both ranks go through the pairs in the order of the wave.
        sends, receives = (
            {peer: np.array([pair[side] for pair in pairs]) for peer, pairs in across.items()} for side in (0, 1)
        )
        messages = nodes.exchange.start([(Route(sends, receives), nodes.parameters)]) if across else None
        for a, b in inside:
            self._move(a, self.x[b], b)
        if messages is not None:
            received = cast(list[Tensor], messages.wait())
            for k, row in enumerate(row for _, pairs in sorted(across.items()) for row, _ in pairs):
                self._move(row, [rows[k] for rows in received])

    def _move(self, row: int, seen: Sequence[Tensor], other: int | None = None) -> None:
        """Move a node by its difference from what it sees of its partner, and a partner on this rank likewise."""
        alpha, ahead = self.dynamics.alpha, self.dynamics.alpha_tilde - self.dynamics.alpha
        for k, (values, theirs) in enumerate(zip(self.x[row], seen, strict=True)):
            m = values - theirs
            values.sub_(m, alpha=alpha)
            if self.lead:
                self.lead[row][k].sub_(m, alpha=ahead / float(self.scale[row]))
            if other is not None:
                self.x[other][k].add_(m, alpha=alpha)
                if self.lead:
                    self.lead[other][k].add_(m, alpha=ahead / float(self.scale[other]))


def _clip(gradients: Sequence[Tensor], rows: Sequence[int], largest: float) -> None:
    for row in rows:
        # Half-precision squares overflow and lose digits.
        wide = [torch.promote_types(gradient.dtype, torch.float32) for gradient in gradients]
        norms = [torch.linalg.vector_norm(g[row], dtype=kind) for g, kind in zip(gradients, wide, strict=True)]
        scale = (largest / (torch.linalg.vector_norm(torch.stack(norms)) + 1e-6)).clamp(max=1.0)
        for gradient in gradients:
            gradient[row].mul_(scale.to(gradient.dtype))
