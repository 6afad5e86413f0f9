"""The nodes of this rank, with the verbs that algorithms are written in: descend, mix, average."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from topokit.errors import InputError
from topokit.schedule import Schedule
from topokit.survivors import Survivors
from topokit_trainer.consensus import consensus_distance
from topokit_trainer.data import NodeBatches
from topokit_trainer.exchange import Exchange, Messages, Plans, RoundPlan
from topokit_trainer.gradients import GradientEngine, LoopGradients
from topokit_trainer.optimizers import Closure, NodeOptimizer
from topokit_trainer.pace import Pace
from topokit_trainer.recovery import Recovery
from topokit_trainer.stacks import NodeStacks
from topokit_trainer.world import PeerLostError, World

__all__ = ["Counts", "LossMeter", "Nodes", "Overlap", "State"]


@dataclass
class LossMeter:
    """Training losses since the last evaluation, summed up.

    Attributes
    ----------
    total : Tensor or None
        Their sum, in float64.
    count : int
        How many there are.
    """

    total: Tensor | None = None
    count: int = 0

    def add(self, losses: Tensor) -> None:
        """Add the losses of one step, shape (rows,)."""
        step = losses.sum(dtype=torch.float64)
        self.total = step if self.total is None else self.total + step
        self.count += losses.numel()

    def reset(self) -> None:
        """Start anew."""
        self.total, self.count = None, 0


@dataclass
class Counts:
    """What this rank's nodes have sent where that depends on the data, over all links and messages.

    Attributes
    ----------
    bytes : int
        Bytes sent, a message as often as there are nodes that it goes to.
    packed : int
        The same with each message counted once.
    messages, silent : int
        Messages to a node that carried something, and those that only said that there is nothing to say.
    """

    bytes: int = 0
    packed: int = 0
    messages: int = 0
    silent: int = 0


@dataclass(frozen=True)
class State:
    """What an algorithm keeps of each node besides its parameters.

    Attributes
    ----------
    tensors : list of Tensor
    rows : list of slice
        The rows of the tensors that belong to each local node.
    """

    tensors: list[Tensor]
    rows: list[slice]

    def of(self, row: int) -> list[Tensor]:
        """Give the part of one local node."""
        return [tensor[self.rows[row]] for tensor in self.tensors]


class Nodes:
    """Everything the nodes of this rank own, and what they can do.

    Parameters
    ----------
    stacks, engine, optimizer, batches : NodeStacks, GradientEngine, NodeOptimizer, NodeBatches
    schedule : Schedule
        The mixing schedule of the whole run.
    world : World
    clip : float, optional
        Largest norm of a node's gradient, over all its parameters.

    Attributes
    ----------
    measure : bool
        Whether the next round of mixing is to measure its contraction.
    contraction : float or None
        What the last measured round left of the consensus distance.
    bytes_per_node : float
        Bytes that an average node has sent so far, also to nodes of the same rank, where it follows from the schedule.
    counts : Counts
        What this rank's nodes have sent, where it depends on the data.
    losses : LossMeter
        Training losses since the last evaluation.
    keys : sequence of int
        Who the rows are: numbers of the local nodes, or of the tokens that nodes of this rank hold. What is saved is
        saved by key.
    draw : callable
        Gives the batches of a step, one for each row.
    states : dict of str to State
        What the algorithm keeps besides the parameters; it is saved with them.
    pace : Pace
        Around every gradient: how much longer it takes than it needs.
    recovery : Recovery or None
        What rounds are done with, where they are to survive the loss of ranks.
    rounds : Schedule or Survivors
        The rounds of the nodes that live.
    living : int
        How many nodes of the run live.
    lost : tuple of int
        Those that do not.
    """

    def __init__(
        self,
        stacks: NodeStacks,
        engine: GradientEngine,
        optimizer: NodeOptimizer,
        batches: NodeBatches,
        schedule: Schedule,
        world: World,
        clip: float | None = None,
    ) -> None:
        self.stacks, self.engine, self.optimizer, self.batches = stacks, engine, optimizer, batches
        self.schedule, self.world, self.clip = schedule, world, clip
        self.exchange = Exchange(world)
        self.losses = LossMeter()
        self.measure = False
        self.contraction: float | None = None
        self.bytes_per_node = 0.0
        self.counts = Counts()
        self.keys: Sequence[int] = batches.local
        self.draw: Callable[[int], tuple[Tensor, Tensor]] = batches
        self.states: dict[str, State] = {}
        self.pace = Pace()
        self.plans = Plans(schedule.round, schedule.period, world, schedule.copies)
        self.recovery: Recovery | None = None
        self.rounds: Schedule | Survivors = schedule
        self.living, self.lost = schedule.nodes, tuple[int, ...]()
        self._overlap: Overlap | None = None

    # What an algorithm keeps

    @property
    def parameters(self) -> list[Tensor]:
        """The parameter stacks as plain tensors, each of shape (rows, columns)."""
        return [stack.detach() for stack in self.stacks.stacks]

    def keep(self, name: str, tensors: Sequence[Tensor], rows: Sequence[slice] | None = None) -> list[Tensor]:
        """Keep tensors under a name, a row for each local node (or those that `rows` says); give them back."""
        each = [slice(row, row + 1) for row in range(self.stacks.rows)]
        self.states[name] = State(list(tensors), list(rows or each))
        return self.states[name].tensors

    def keep_zeros(self, name: str) -> list[Tensor]:
        """Keep zeros in the form of the parameters."""
        return self.keep(name, [torch.zeros_like(stack) for stack in self.parameters])

    @property
    def uniform(self) -> Tensor:
        """Weights of the plain mean over all nodes, one for each local node."""
        share = 1 / self.living
        return torch.full((self.stacks.rows,), share, dtype=torch.float64, device=self.world.device)

    # The gradient step

    def compute_gradients(self, step: int) -> None:
        """Leave every node's gradient, on its own batch, in the stacks."""
        inputs, targets = self.draw(step)
        with self.pace:
            losses = self.engine(inputs, targets, step)
        self.losses.add(losses)

    def average_gradients(self) -> None:
        """Replace every gradient by the mean over all nodes, as an all-reduce does."""
        for gradient in self.stacks.gradients:
            mean = self.world.sum(gradient.sum(0)) / self.living
            gradient.copy_(mean.expand_as(gradient))
        self.count_all_reduce()

    def apply_gradients(self) -> None:
        """Clip, then take one optimizer step on every node."""
        self._clip()
        self.optimizer.step()

    def descend(self, step: int) -> None:
        """Take one optimizer step on every node, each on its own batch."""
        if not self.optimizer.needs_closure:
            losses = self.losses.total, self.losses.count
            self.compute_gradients(step)
            if self._rolled_back():
                self.losses.total, self.losses.count = losses
                self.compute_gradients(step)
            self.apply_gradients()
            return
        self._rolled_back()
        if not isinstance(self.engine, LoopGradients):
            raise InputError("an optimizer that evaluates the loss several times a step needs --gradients loop")
        inputs, targets = self.draw(step)
        first_losses: dict[int, Tensor] = {}

        def clipped(row: int, closure: Closure) -> Closure:
            def compute() -> Tensor:
                loss = closure()
                self._clip()
                first_losses.setdefault(row, loss.detach())
                return loss

            return compute

        closures = self.engine.closures(inputs, targets, step)
        with self.pace:
            self.optimizer.step([clipped(row, closure) for row, closure in enumerate(closures)])
        self.losses.add(torch.stack([first_losses[row] for row in range(self.stacks.rows)]))

    def _rolled_back(self) -> bool:
        """Before values change: whether the last round was done again, because ranks were lost in it."""
        if self.recovery is None or not self.recovery.settle():
            return False
        if self._overlap is not None:
            self._overlap.begin()
        return True

    def _clip(self) -> None:
        if self.clip is None:
            return
        squares = [torch.linalg.vector_norm(g, dim=1, dtype=_wide(g)).square() for g in self.stacks.gradients]
        scale = (self.clip / (torch.stack(squares).sum(0).sqrt() + 1e-6)).clamp(max=1.0)
        for gradient in self.stacks.gradients:
            gradient.mul_(scale.to(gradient.dtype).unsqueeze(1))

    # The communication step

    def mix(self, round_number: int, *others: Sequence[Tensor]) -> None:
        """Average with the neighbours of one round: X <- W X; in the same messages, other stacks likewise."""
        tensors = [*self.parameters, *(tensor for stack in others for tensor in stack)]

        def act() -> None:
            with self.measured():
                self.combine((self.plans(round_number), tensors))

        self.together(act, tensors)

    def together(self, act: Callable[[], None], tensors: Sequence[Tensor]) -> None:
        """Do a round, which changes some tensors in place; again without the ranks that are lost, where it may."""
        if self.recovery is None:
            act()
        else:
            self.recovery.round(act, [*tensors, *self.stacks.buffers.values()])

    def go_on_without(self, world: World, left: Survivors) -> None:
        """Take over the ranks and the rounds that are left when others are lost."""
        sent = self.exchange.bytes_sent
        self.world, self.exchange = world, Exchange(world)
        self.exchange.bytes_sent = sent
        self.rounds, self.living, self.lost = left, left.nodes, left.lost
        self.plans = Plans(left.round, left.period, world)

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Around a round, note what it leaves of the consensus distance, where that is wanted."""
        before = self._distance(self.parameters) if self.measure else None
        yield
        self.note_contraction(before, self._distance(self.parameters) if self.measure else None)

    def changes(self, plan: RoundPlan, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Give what a round changes of each stack, sum_j w_ij (x_j - x_i), and leave the stacks as they are."""
        received = self.exchange.start([(plan.route, tensors)]).wait()
        self.count_messages(plan.messages, tensors)
        return [plan.operator.correction(x, rows) for x, rows in zip(tensors, received, strict=True)]

    def combine(self, *parts: tuple[RoundPlan, Sequence[Tensor]]) -> None:
        """Mix stacks in place, each by its own plan, all in one phase of messages."""
        messages = self.exchange.start([(plan.route, tensors) for plan, tensors in parts])
        received = iter(messages.wait())
        for plan, tensors in parts:
            for tensor in tensors:
                plan.mix_(tensor, next(received))
            self.count_messages(plan.messages, tensors)

    def start_mixing(self, round_number: int) -> Overlap:
        """Start a round on the values as they are now; gradients can be computed while messages are under way."""
        self._overlap = Overlap(self, round_number)
        return self._overlap

    def count_messages(self, messages: float, tensors: Sequence[Tensor]) -> None:
        """Count messages of all nodes together, each with a row of every tensor."""
        row = sum(tensor.shape[1:].numel() * tensor.element_size() for tensor in tensors)
        self.bytes_per_node += messages * row / self.living

    def count_all_reduce(self, size: int | None = None) -> None:
        """Count what a ring all-reduce of so many bytes (one model) sends: each node, and each rank on the wire."""
        n, ranks, size = self.schedule.nodes, self.world.size, size or self.stacks.bytes_per_node
        self.bytes_per_node += 2 * (n - 1) / n * size
        if ranks > 1:
            self.exchange.bytes_sent += round(2 * (ranks - 1) / ranks * size)

    def note_contraction(self, before: float | None, after: float | None) -> None:
        """Remember what a measured round left of the consensus distance."""
        if before is None or after is None or not self.stacks.rows:
            return
        # Nodes that agree are apart by no more than the rounding of their mean.
        size = torch.stack([x[0].norm().double() * torch.finfo(x.dtype).eps for x in self.parameters]).sum()
        self.contraction = after / before if before > float(size) else None

    def _distance(self, stacks: Sequence[Tensor]) -> float:
        return consensus_distance(stacks, self.uniform, self.world)


def _wide(tensor: Tensor) -> torch.dtype:
    """Half-precision squares overflow and lose digits: sum them in float32."""
    return torch.promote_types(tensor.dtype, torch.float32)


class Overlap:
    """A round of mixing under way; `finish` adds what it changes, sum_j w_ij (x_j - x_i) of the values at its start.

    Adding the change after the optimizer step, instead of mixing before it, gives x+ = W x - eta u(x) for every
    optimizer: also where the step depends on the parameters themselves (weight decay), which then are still x.
    """

    def __init__(self, nodes: Nodes, round_number: int) -> None:
        self.nodes, self.measure, self.round_number = nodes, nodes.measure, round_number
        self.world: World | None = None  # that of the ranks which the messages went to
        self.begin()

    def begin(self) -> None:
        """Start with the values as they are now."""
        nodes = self.nodes
        self.plan = nodes.plans(self.round_number)
        waits = self.plan.route.needed
        kept = waits or self.measure or nodes.recovery is not None
        self.start = [v.clone() for v in nodes.parameters] if kept else nodes.parameters
        # Without messages the change can be computed at once, and no copy of the start is needed.
        self.changes = None if kept else [self.plan.operator.correction(v) for v in self.start]
        try:
            self._send()
        except PeerLostError:
            if nodes.recovery is None:
                raise
            self.world = None  # `finish` will send again, and come to know who is lost

    def _send(self) -> None:
        self.world = self.nodes.world
        self.plan = self.nodes.plans(self.round_number)
        self.messages: Messages = self.nodes.exchange.start([(self.plan.route, self.start)])

    def finish(self) -> None:
        """Wait for the neighbours' values and add the change."""
        self.nodes._overlap = None
        self.nodes.together(self._finish, self.nodes.parameters)

    @torch.no_grad()
    def _finish(self) -> None:
        nodes = self.nodes
        if self.world is not nodes.world:
            self._send()  # the messages went to ranks of which some are lost
        received = self.messages.wait()
        changes = self.changes or [
            self.plan.operator.correction(x, rows) for x, rows in zip(self.start, received, strict=True)
        ]
        before = after = None
        if self.measure:
            before = nodes._distance(self.start)
            after = nodes._distance([x + c for x, c in zip(self.start, changes, strict=True)])
        for stack, change in zip(nodes.parameters, changes, strict=True):
            stack.add_(change)
        nodes.count_messages(self.plan.messages, nodes.parameters)
        nodes.note_contraction(before, after)
