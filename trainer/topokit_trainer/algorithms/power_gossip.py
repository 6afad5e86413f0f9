"""PowerGossip: neighbours send each other their models as seen along a few directions, and find good ones on the way.

A parameter of node i is a matrix X_i of a rows and b columns. The ends i < j of a link keep the same orthonormal block
V of r directions. In a half step i and j send X_i V and X_j V, so that both know r columns of their difference, and do

    D   = (X_j - X_i) V
    X_i <- X_i + w_ij D V^T,    X_j <- X_j - w_ij D V^T

An orthonormal basis of D is the block of the next half step, which works on the other side: on the transposes. That is
power iteration on X_j - X_i, which changes little from one half step to the next: the blocks turn towards what the ends
differ in most. After the optimizer steps, a round has s half steps.

As in the code of the authors, every half step moves the models. One could also let the first s - 1 of a round improve
the block alone, and move them in the last: with the same messages, that leaves the nodes further apart.

No step size is needed. In terms of all models a half step is the symmetric map I - sum over links of w_ij (a_ij a_ij^T)
x (V V^T), with a_ij = e_i - e_j. Projections are between 0 and I and weights not negative: the eigenvalues of the map
are between the least of W and 1. What i takes is what j gives, so that the mean stays where it is.

Where r directions are all there are, and for parameters of fewer than two dimensions, the parameter itself travels,
once a round, in the messages of the first half step: X <- W X.

Both ends compute a block from the same numbers by operations on single elements alone, which give the same bits on all
machines. Matrix products and sums would not, and in directions in which the ends hardly differ that would be fatal.
(What a node sends may differ in its last bits with the number of threads; it is what was sent that both ends go by.
Gossip keeps the largest singular values of differences equal, and which direction comes first may hang on such bits.)

References
----------
T. Vogels, S. P. Karimireddy, M. Jaggi, Practical low-rank communication compression in decentralized deep learning,
NeurIPS 2020.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from topokit.errors import InputError
from topokit.schedule import Schedule
from topokit_trainer.algorithms.base import Algorithm, require_mean_preserving
from topokit_trainer.channels import ChannelPlans, Channels, require_channels
from topokit_trainer.compression.low_rank import as_matrix
from topokit_trainer.directions import Blocks
from topokit_trainer.half_steps import LEFT, RIGHT, HalfStep, half_steps, link_ends
from topokit_trainer.nodes import Nodes
from topokit_trainer.optimizers import NodeOptimizer
from topokit_trainer.seeding import keyed_generator

__all__ = ["Blocks", "HalfStep", "PowerGossip"]

TOLERANCE = 1e-9  # of weights, as for schedules
MAX_KEPT = 1024  # half steps that may come back


@dataclass(frozen=True)
class Matrix:
    """A parameter that is compressed: columns of a stack, as a matrix of a rows and b columns."""

    stack: int
    columns: slice
    sides: tuple[int, int]  # b and a: the length of directions to the right and to the left of X

    def of(self, stacks: Sequence[Tensor]) -> Tensor:
        """Give it for all nodes, shape (nodes, a, b)."""
        b, a = self.sides
        return stacks[self.stack][:, self.columns].view(-1, a, b)


class PowerGossip(Algorithm):
    """Descend; then, in half steps, X_i <- X_i + sum_j w_ij (X_j - X_i) V V^T with V of rank r, kept for each link.

    Parameters
    ----------
    local_steps : int
        Optimizer steps between two rounds.
    rank : int
        Directions of a block, r.
    iterations : int
        Half steps in a round.
    seed : int
        Of the first blocks.
    """

    name = "PowerGossip"
    packs = True

    def __init__(self, local_steps: int = 1, rank: int = 1, iterations: int = 1, seed: int = 0) -> None:
        self.local_steps, self.rank, self.iterations, self.seed = local_steps, rank, iterations, seed
        self._matrices: dict[torch.dtype, list[Matrix]] = {}
        self._whole: list[list[slice]] = []
        self._sides: dict[torch.dtype, tuple[Blocks, Blocks]] = {}
        self._blocks: tuple[list[Tensor], list[Tensor]] = ([], [])
        self._turns = torch.zeros(0, 1, dtype=torch.int64)
        self._made: dict[tuple[int, bytes], list[tuple[int, HalfStep]]] = {}

    def check(self, schedule: Schedule, optimizer: NodeOptimizer) -> None:
        """Refuse schedules that would move the mean, whose links are not known or go one way, and negative weights."""
        require_mean_preserving(schedule, self.name)
        require_channels(schedule, self.name)
        for W in schedule.rule.connections() or ():
            least = float(W.weight[W.target != W.source].min(initial=0.0))
            if least < -TOLERANCE:
                raise InputError(
                    f"{self.name} needs weights of at least 0 between nodes, as others can drive them apart where only "
                    f"a part of their difference is seen; {schedule.name} has {least:.3g}"
                )

    def prepare(self, nodes: Nodes, step: int) -> None:
        """Give every link its first blocks, the same at both ends, and keep them with the half steps it has done."""
        self._plans = ChannelPlans(Channels(nodes.schedule, apart=True), nodes.schedule, nodes.world)
        self._ends = link_ends(self._plans)
        self._share_out(nodes)
        first: tuple[list[Tensor], list[Tensor]] = ([], [])
        number = 0
        for dtype, matrices in self._matrices.items():
            drawn = self._drawn(range(number, number + len(matrices)), matrices)
            number += len(matrices)
            for side, blocks in enumerate(self._sides[dtype]):
                start = torch.from_numpy(drawn[side]).to(nodes.world.device)
                first[side].append(blocks.turned(torch.zeros_like(start), start, start).to(_wide(dtype)))
        rows = self._ends.of_nodes
        right, left = nodes.keep("right", first[RIGHT], rows), nodes.keep("left", first[LEFT], rows)
        self._blocks = right, left
        turns = torch.zeros((len(self._ends.owner), 1), dtype=torch.int64)
        (self._turns,) = nodes.keep("half steps", [turns], rows)

    def _share_out(self, nodes: Nodes) -> None:
        """Tell apart what is compressed, by number type, and what travels whole, by stack."""
        stacks = nodes.stacks.stacks
        self._whole = [[] for _ in stacks]
        for slot in nodes.stacks.slots:
            a, b = as_matrix(slot.shape)
            if len(slot.shape) < 2 or min(a, b) <= self.rank:
                self._whole[slot.stack].append(slot.columns)
            else:
                several = self._matrices.setdefault(stacks[slot.stack].dtype, [])
                several.append(Matrix(slot.stack, slot.columns, (b, a)))
        for dtype, several in self._matrices.items():
            right, left = (Blocks(self.rank, [m.sides[side] for m in several]) for side in (RIGHT, LEFT))
            self._sides[dtype] = right, left

    def _drawn(self, numbers: range, matrices: Sequence[Matrix]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Draw the first blocks of all ends, to the right and to the left."""
        ends = self._ends
        drawn: tuple[list[NDArray[np.float64]], ...] = ([], [])
        pairs = zip(np.minimum(ends.owner, ends.neighbour), np.maximum(ends.owner, ends.neighbour), strict=True)
        for i, j in pairs:
            rows: tuple[list[NDArray[np.float64]], ...] = ([], [])
            for number, matrix in zip(numbers, matrices, strict=True):
                generator = keyed_generator(self.seed, "power gossip", int(i), int(j), number)
                for side in (RIGHT, LEFT):
                    rows[side].append(generator.standard_normal(self.rank * matrix.sides[side]))
            for side in (RIGHT, LEFT):
                drawn[side].append(np.concatenate(rows[side]))
        widths = [self.rank * sum(m.sides[side] for m in matrices) for side in (RIGHT, LEFT)]
        right, left = (np.array(drawn[side]).reshape(-1, widths[side]) for side in (RIGHT, LEFT))
        return right, left

    def step(self, nodes: Nodes, step: int) -> None:
        """Descend; take a round of half steps when the local steps are done."""
        nodes.descend(step)
        if (step + 1) % self.local_steps == 0:
            with nodes.measured():
                for half in range(self.iterations):
                    self._half_step(nodes, step // self.local_steps, first=half == 0)

    @torch.no_grad()
    def _half_step(self, nodes: Nodes, number: int, first: bool) -> None:
        """Move the ends of open links by what their blocks show, and turn the blocks; first, mix what travels whole."""
        x = nodes.parameters
        parts, dtypes = self._open(nodes, number), list(self._matrices)
        sent = [
            (side, half, k, self._seen(x, side, half, self._blocks[side][k], dtype))
            for side, half in parts
            for k, dtype in enumerate(dtypes)
        ]
        plan, whole = nodes.plans(number), self._gathered(x) if first else []
        messages = nodes.exchange.start(
            [*((half.route, [values]) for _, half, _, values in sent), (plan.route, [values for _, values in whole])]
        )
        received = iter(messages.wait())
        for (side, half, k, values), dtype in zip(sent, dtypes * len(parts), strict=True):
            arrived = next(received)
            other = (values if arrived is None else torch.cat((values, arrived)))[half.partner]
            change = (other - values) * half.weight.to(values)
            self._move(x, side, half, self._blocks[side][k][half.ends], change, dtype)
            ends = torch.where(half.lower, values, other), torch.where(half.lower, other, values)
            blocks, kept = self._sides[dtype][1 - side], self._blocks[1 - side][k]
            kept[half.ends] = blocks.turned(*ends, kept[half.ends])
        for stack, parameters in whole:
            plan.mix_(parameters, next(received))
            self._put_back(x[stack], parameters, self._whole[stack])
        self._count(nodes, parts, [values for *_, values in sent], [values for _, values in whole])
        for _, half in parts:
            self._turns[half.ends.cpu()] += 1

    def _open(self, nodes: Nodes, number: int) -> list[tuple[int, HalfStep]]:
        """Give the open links of a round by the side on which they stand."""
        period = nodes.schedule.period
        key = (number if period is None else number % period, (self._turns % 2).numpy().tobytes())
        if key not in self._made:
            if period is None or len(self._made) >= MAX_KEPT:
                self._made.clear()
            matrix, turns = nodes.schedule.round(key[0]), self._turns.numpy()[:, 0]
            self._made[key] = half_steps(self._ends, self._plans, matrix, key[0], turns, nodes.world.device)
        return self._made[key]

    def _seen(self, x: Sequence[Tensor], side: int, half: HalfStep, block: Tensor, dtype: torch.dtype) -> Tensor:
        """Give what the ends send: their models as seen along their block, shape (ends, width of the other side)."""
        here, there = self._sides[dtype][side], self._sides[dtype][1 - side]
        block = block[half.ends]
        result = block.new_empty((len(block), there.width))
        for number, matrix in enumerate(self._matrices[dtype]):
            models = matrix.of(x) if side == LEFT else matrix.of(x).mT
            half.look(models, block[:, here.columns[number]], result[:, there.columns[number]])
        return result

    def _move(
        self, x: Sequence[Tensor], side: int, half: HalfStep, block: Tensor, change: Tensor, dtype: torch.dtype
    ) -> None:
        """Add what the ends see of the difference: the sum over the ends of a node of D V^T."""
        rows = (block, change) if side == RIGHT else (change, block)
        for number, matrix in enumerate(self._matrices[dtype]):
            v, u = (rows[k][:, self._sides[dtype][k].columns[number]] for k in (RIGHT, LEFT))
            half.add(matrix.of(x), u, v)

    def _gathered(self, x: Sequence[Tensor]) -> list[tuple[int, Tensor]]:
        """Give what travels whole, by stack."""
        return [
            (stack, torch.cat([x[stack][:, columns] for columns in several], dim=1))
            for stack, several in enumerate(self._whole)
            if several
        ]

    def _put_back(self, x: Tensor, values: Tensor, several: Sequence[slice]) -> None:
        parts = torch.split(values, [columns.stop - columns.start for columns in several], dim=1)
        for columns, part in zip(several, parts, strict=True):
            x[:, columns] = part

    def _count(
        self, nodes: Nodes, parts: Sequence[tuple[int, HalfStep]], seen: Sequence[Tensor], whole: Sequence[Tensor]
    ) -> None:
        """Count a message for each end, with a row of what it sees and, if any, of what travels whole."""
        ends = sum(len(half.ends) for _, half in parts)
        size = sum(values.numel() * values.element_size() for values in seen)
        size += ends * sum(values.shape[1] * values.element_size() for values in whole)
        nodes.counts.bytes += size
        nodes.counts.packed += size
        nodes.counts.messages += ends if size else 0


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)
