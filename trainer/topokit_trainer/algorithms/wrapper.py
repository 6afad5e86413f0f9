"""An algorithm around another one, which takes the steps."""

from __future__ import annotations

from topokit.schedule import Schedule
from topokit_trainer.algorithms.base import Algorithm
from topokit_trainer.evaluation import Averages
from topokit_trainer.nodes import Nodes
from topokit_trainer.optimizers import NodeOptimizer

__all__ = ["Wrapper"]


class Wrapper(Algorithm):
    """Passes everything on to the algorithm inside; what is around it overrides the parts that it changes.

    Parameters
    ----------
    base : Algorithm
    """

    def __init__(self, base: Algorithm) -> None:
        self.base = base
        self.name, self.local_steps = base.name, base.local_steps
        self.idles, self.packs = base.idles, base.packs

    def check(self, schedule: Schedule, optimizer: NodeOptimizer) -> None:
        """Refuse what the algorithm inside refuses."""
        self.base.check(schedule, optimizer)

    def capacity(self, schedule: Schedule, local: range) -> int:
        """As inside."""
        return self.base.capacity(schedule, local)

    def copies(self, schedule: Schedule) -> int:
        """As inside."""
        return self.base.copies(schedule)

    def activity(self, schedule: Schedule) -> float:
        """As inside."""
        return self.base.activity(schedule)

    def place(self, nodes: Nodes, step: int) -> None:
        """Settle rows as inside."""
        self.base.place(nodes, step)

    def prepare(self, nodes: Nodes, step: int) -> None:
        """Set up what the algorithm inside keeps."""
        self.base.prepare(nodes, step)

    def notes(self) -> list[str]:
        """As inside."""
        return self.base.notes()

    def step(self, nodes: Nodes, step: int) -> None:
        """Take the step of the algorithm inside."""
        self.base.step(nodes, step)

    def at_rest(self, steps: int) -> bool:
        """As inside."""
        return self.base.at_rest(steps)

    def rounds(self, steps: int) -> int:
        """As inside."""
        return self.base.rounds(steps)

    def finish(self) -> None:
        """Complete what is under way inside."""
        self.base.finish()

    def figures(self) -> dict[str, float]:
        """As inside."""
        return self.base.figures()

    def averages(self, nodes: Nodes) -> Averages:
        """As inside."""
        return self.base.averages(nodes)
