"""All-reduce SGD, the baseline: every node takes the same step, with the mean of all gradients."""

from __future__ import annotations

from topokit.errors import InputError
from topokit.schedule import Schedule
from topokit_trainer.nodes import Nodes
from topokit_trainer.optimizers import NodeOptimizer

__all__ = ["AllReduce"]


class AllReduce:
    """Synchronous data-parallel SGD; the schedule gives the number of nodes only."""

    local_steps = 1

    def check(self, schedule: Schedule, optimizer: NodeOptimizer) -> None:
        """Accept every schedule, and every optimizer that takes gradients as they are."""
        if optimizer.needs_closure:
            raise InputError(
                "all-reduce averages gradients between evaluation and step, but this optimizer evaluates the loss "
                "itself (it needs a closure); use --algorithm dsgd or another optimizer"
            )

    def at_rest(self, steps: int) -> bool:
        """Nothing is ever under way between two steps."""
        return True

    def finish(self) -> None:
        """Nothing is left to do."""

    def rounds(self, steps: int) -> int:
        """No gossip rounds."""
        return 0

    def step(self, nodes: Nodes, step: int) -> None:
        """Compute gradients, average them over all nodes, take the step."""
        nodes.compute_gradients(step)
        nodes.average_gradients()
        nodes.apply_gradients()
