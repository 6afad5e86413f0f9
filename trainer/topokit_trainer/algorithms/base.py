"""What an algorithm is to the training loop."""

from __future__ import annotations

from abc import ABC, abstractmethod

from topokit.errors import InputError
from topokit.schedule import Schedule
from topokit_trainer.evaluation import Averages
from topokit_trainer.nodes import Nodes
from topokit_trainer.optimizers import NodeOptimizer

__all__ = ["Algorithm", "refuse_closures", "require_mean_preserving", "require_one_state", "require_rounds"]


class Algorithm(ABC):
    """One step at a time; the state lives in the nodes, so that a run can go on from any step.

    Attributes
    ----------
    name : str
        As in the documentation, for messages.
    local_steps : int
        Gradient steps of a node between two rounds of communication.
    idles : bool
        Whether ranks may be idle for long, so that others must not wait for them with a time-out.
    packs : bool
        Whether its messages are counted as they are sent (`Nodes.counts`): the schedule alone does not tell their size.
    """

    name: str
    local_steps: int = 1
    idles: bool = False
    packs: bool = False

    @abstractmethod
    def check(self, schedule: Schedule, optimizer: NodeOptimizer) -> None:
        """Refuse schedules and optimizers with which the algorithm would be wrong.

        Raises
        ------
        InputError
        """

    def capacity(self, schedule: Schedule, local: range) -> int:
        """Give the most rows that this rank needs at once: by default one for each of its nodes."""
        return len(local)

    def copies(self, schedule: Schedule) -> int:
        """Give the number of states that a node keeps and mixes in rounds on copies * n rows (`NodeStacks.wide`)."""
        return 1

    def activity(self, schedule: Schedule) -> float:
        """Give the share of the nodes that compute gradients in a step: by default all."""
        return 1.0

    def place(self, nodes: Nodes, step: int) -> None:  # noqa: B027  # most leave every node in its row
        """Settle which node or model is in which row (`Nodes.keys`), before anything is put there."""

    def prepare(self, nodes: Nodes, step: int) -> None:  # noqa: B027  # most keep nothing
        """Set up what the algorithm keeps (`Nodes.keep`), for a run that stands at ``step``.

        Called once, on nodes that stand at their starting point; what was saved is loaded afterwards.
        """

    def notes(self) -> list[str]:
        """Say, after `prepare`, what a user should know of how the algorithm treats this schedule."""
        return []

    @abstractmethod
    def step(self, nodes: Nodes, step: int) -> None:
        """Take step number ``step`` (from 0) on all nodes of this rank."""

    def at_rest(self, steps: int) -> bool:
        """Say whether nothing is under way after ``steps`` steps, so that the run can be saved there."""
        return True

    def rounds(self, steps: int) -> int:
        """Give the number of communication rounds that ``steps`` steps make."""
        return steps // self.local_steps

    def finish(self) -> None:  # noqa: B027  # most have nothing under way
        """Complete what is under way; the run ends."""

    def figures(self) -> dict[str, float]:
        """Tell what else belongs into the figures of an evaluation."""
        return {}

    def averages(self, nodes: Nodes) -> Averages:
        """Give the models that the run is about, as shares of the local rows in each: by default the mean of all."""
        return {"": nodes.uniform}


def require_rounds(schedule: Schedule, algorithm: str) -> None:
    """Refuse schedules that are not run in rounds of all nodes.

    Raises
    ------
    InputError
    """
    if schedule.kind in ("teleport", "pairwise"):
        raise InputError(
            f"{algorithm} runs cyclic, sampled and matchings schedules; {schedule.name} is a {schedule.kind} schedule"
        )


def require_one_state(schedule: Schedule, algorithm: str) -> None:
    """Refuse schedules that are not run in rounds of all nodes, or keep several copies.

    Raises
    ------
    InputError
    """
    require_rounds(schedule, algorithm)
    if schedule.copies != 1:
        raise InputError(f"{algorithm} keeps one state a node, {schedule.name} asks for {schedule.copies} copies")


def require_mean_preserving(schedule: Schedule, algorithm: str) -> None:
    """Refuse schedules that do not keep the mean of the nodes, keep several copies, or are not run in rounds.

    Raises
    ------
    InputError
    """
    require_one_state(schedule, algorithm)
    if schedule.mixing != "doubly-stochastic":
        raise InputError(f"{algorithm} needs doubly stochastic mixing, {schedule.name} is {schedule.mixing}")


def refuse_closures(optimizer: NodeOptimizer, algorithm: str) -> None:
    """Refuse optimizers that evaluate the loss themselves, where gradients have to be changed before the step.

    Raises
    ------
    InputError
    """
    if optimizer.needs_closure:
        raise InputError(
            f"{algorithm} changes gradients between evaluation and step, but this optimizer evaluates the loss itself "
            "(it needs a closure); use --algorithm dsgd or another optimizer"
        )
