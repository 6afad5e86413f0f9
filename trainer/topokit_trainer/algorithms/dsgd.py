"""Decentralized SGD.

x_i is the model of node i, u(x) the update direction of its optimizer, eta the learning rate, W the round's matrix:

- ATC, adapt then combine:  x+ = W (x - eta u(x))
- AWC, adapt with combine:  x+ = W x - eta u(x), whose exchange overlaps the gradient (D-PSGD)

With H local steps, H optimizer steps stand between two rounds.

References
----------
X. Lian et al., Can decentralized algorithms outperform centralized algorithms? NeurIPS 2017 (D-PSGD).
B. Ying et al., Exponential graph is provably efficient for decentralized deep training, NeurIPS 2021 (one-peer rounds).
"""

from __future__ import annotations

from topokit.schedule import Schedule
from topokit_trainer.algorithms.base import require_mean_preserving
from topokit_trainer.nodes import Nodes, Overlap
from topokit_trainer.optimizers import NodeOptimizer

__all__ = ["AdaptThenCombine", "AdaptWithCombine"]


class AdaptThenCombine:
    """D-SGD as ATC: x+ = W (x - eta u(x)).

    Parameters
    ----------
    local_steps : int
        Optimizer steps between two rounds.
    """

    def __init__(self, local_steps: int = 1) -> None:
        self.local_steps = local_steps

    def check(self, schedule: Schedule, optimizer: NodeOptimizer) -> None:
        """Refuse schedules that would move the mean."""
        require_mean_preserving(schedule, "D-SGD")

    def at_rest(self, steps: int) -> bool:
        """Nothing is ever under way between two steps."""
        return True

    def rounds(self, steps: int) -> int:
        """One round after every ``local_steps`` steps."""
        return steps // self.local_steps

    def finish(self) -> None:
        """Nothing is left to do."""

    def step(self, nodes: Nodes, step: int) -> None:
        """Descend; mix when the local steps are done."""
        nodes.descend(step)
        if (step + 1) % self.local_steps == 0:
            nodes.mix(step // self.local_steps)


class AdaptWithCombine(AdaptThenCombine):
    """D-SGD as AWC: x+ = W x - eta u(x), with x the values at the start of the local steps."""

    def __init__(self, local_steps: int = 1) -> None:
        super().__init__(local_steps)
        self.under_way: Overlap | None = None

    def step(self, nodes: Nodes, step: int) -> None:
        """Start a round at the first local step, descend, and finish the round after the last."""
        if step % self.local_steps == 0:
            self.under_way = nodes.start_mixing(step // self.local_steps)
        nodes.descend(step)
        if (step + 1) % self.local_steps == 0:
            self.finish()

    def at_rest(self, steps: int) -> bool:
        """Between the local steps of a round its messages are under way."""
        return self.under_way is None

    def rounds(self, steps: int) -> int:
        """One round for each ``local_steps`` steps begun, less the one that is under way."""
        return -(-steps // self.local_steps) - (self.under_way is not None)

    def finish(self) -> None:
        """Finish the round under way."""
        if self.under_way is not None:
            self.under_way.finish()
            self.under_way = None
