"""All-reduce SGD, the baseline: every node takes the same step, with the mean of all gradients."""

from __future__ import annotations

from topokit.schedule import Schedule
from topokit_trainer.algorithms.base import Algorithm, refuse_closures
from topokit_trainer.ddp import ReducedGradients, reducible
from topokit_trainer.gradients import LoopGradients
from topokit_trainer.nodes import Nodes
from topokit_trainer.optimizers import NodeOptimizer

__all__ = ["AllReduce"]


class AllReduce(Algorithm):
    """Synchronous data-parallel SGD; the schedule gives the number of nodes only.

    With one node on each rank the gradients go through DistributedDataParallel.
    """

    name = "all-reduce"

    def __init__(self) -> None:
        self.reduced: ReducedGradients | None = None

    def check(self, schedule: Schedule, optimizer: NodeOptimizer) -> None:
        """Accept every schedule, and every optimizer that takes gradients as they are."""
        refuse_closures(optimizer, self.name)

    def rounds(self, steps: int) -> int:
        """No gossip rounds."""
        return 0

    def step(self, nodes: Nodes, step: int) -> None:
        """Compute gradients, average them over all nodes, take the step."""
        if self.reduced is not None or reducible(nodes):
            self._reduce(nodes, step)
        else:
            nodes.compute_gradients(step)
            nodes.average_gradients()
        nodes.apply_gradients()

    def _reduce(self, nodes: Nodes, step: int) -> None:
        inputs, targets = nodes.batches(step)
        if self.reduced is None:
            assert isinstance(nodes.engine, LoopGradients)  # else it would not be reducible
            self.reduced = ReducedGradients(nodes.engine, nodes, inputs, targets, step)
        nodes.losses.add(self.reduced(inputs, targets, step))
        nodes.count_all_reduce()
