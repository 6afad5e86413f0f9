"""One node that learns at its own pace: gradients, the optimizer, and what is saved of both.

The stacks of the node are working copies: a gradient is taken at a snapshot of the state, and applied to the state as
it is then, which averagings may have changed meanwhile.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from topokit.errors import InputError
from topokit_trainer.assembly import Assembly
from topokit_trainer.asynchronous.dynamics import Dynamics
from topokit_trainer.asynchronous.marks import Snapshot
from topokit_trainer.asynchronous.state import NodeState
from topokit_trainer.optimizers import PerNodeOptimizer, StackedOptimizer

__all__ = ["Learner"]

NOWHERE = -1  # a version that no state has


class Learner:
    """The node of this rank.

    Parameters
    ----------
    assembly : Assembly
        Of a single node.
    dynamics : Dynamics

    Attributes
    ----------
    state : NodeState
        What averagings change, too.
    count : int
        Gradients of this node, over all starts.
    """

    def __init__(self, assembly: Assembly, dynamics: Dynamics) -> None:
        self.nodes, self.evaluator = assembly.nodes, assembly.evaluator
        self.state = NodeState([stack[0] for stack in self.nodes.parameters], dynamics)
        self.count = 0
        self._held = NOWHERE  # the version of the state that is in the stacks
        self._schedulers = _take_schedulers(self.nodes.optimizer)
        self._scheduled = 0

    def gradient(self) -> None:
        """Take one gradient, at a snapshot, and apply it; the batch is that of the node's own count."""
        if self._stale:
            self._show(self.state.snapshot())
        self.nodes.compute_gradients(self.count)
        self.state.step(self._apply)
        self.count += 1

    @property
    def _stale(self) -> bool:
        # With a second copy the state moves all the time.
        return bool(self.state.tilde) or self.state.version != self._held

    @torch.no_grad()
    def _show(self, x: list[Tensor]) -> None:
        for stack, values in zip(self.nodes.parameters, x, strict=True):
            stack[0].copy_(values)

    def _apply(self, x: list[Tensor]) -> None:
        """Let the optimizer change x, by the gradient in the stacks (the state is locked)."""
        if self._stale:
            self._show(x)
        self.nodes.apply_gradients()
        for values, stack in zip(x, self.nodes.parameters, strict=True):
            values.copy_(stack[0])
        self._held = self.state.version

    def advance(self, steps: int) -> None:
        """Bring the learning rate to where an average node has taken so many steps."""
        while self._scheduled < steps:
            for scheduler in self._schedulers:
                scheduler.step()
            self._scheduled += 1

    def forget(self) -> None:
        """Let the optimizer start anew, with the learning rate as it is: its past belongs to other parameters."""
        optimizer = self.nodes.optimizer
        if isinstance(optimizer, StackedOptimizer):
            optimizer.forget()
        elif isinstance(optimizer, PerNodeOptimizer):
            for each in optimizer.optimizers:
                each.state.clear()

    def snapshot(self) -> Snapshot:
        """Give what is to be saved of the node, and how good it is; the losses since the last snapshot start anew.

        This goes through the whole test set.
        """
        nodes = self.nodes
        x, tilde = self.state.pair()
        self._show(x)
        self._held = NOWHERE
        loss, accuracy = self.evaluator.measure(nodes.engine.forward, rows=1)[0].tolist()
        total, samples = float(nodes.losses.total or 0.0), nodes.losses.count
        nodes.losses.reset()
        return {
            "count": self.count,
            "x": [values.cpu() for values in x],
            "tilde": [values.cpu() for values in tilde],
            "buffers": {name: stack[0].cpu() for name, stack in nodes.stacks.buffers.items()},
            "kind": nodes.optimizer.kind,
            "optimizer": nodes.optimizer.state_of(0),
            "schedulers": [scheduler.state_dict() for scheduler in self._schedulers],
            "scheduled": self._scheduled,
            "lr": nodes.optimizer.lr,
            "loss": loss,
            "accuracy": accuracy,
            "train_total": total,
            "train_count": samples,
        }

    def restore(self, snapshot: Snapshot) -> None:
        """Go on from a snapshot of this node.

        Raises
        ------
        InputError
            If it is of another model or optimizer.
        """
        nodes = self.nodes
        here = [len(values) for values in self.state.x], list(nodes.stacks.buffers), nodes.optimizer.kind
        there = [len(values) for values in snapshot["x"]], list(snapshot["buffers"]), snapshot["kind"]
        if here != there or len(self._schedulers) != len(snapshot["schedulers"]):
            raise InputError(
                f"the snapshots are of another model or optimizer ({there[2]}, not {here[2]}); give those that the run "
                "was started with, another --out, or --overwrite"
            )
        self.state.adopt(snapshot["x"], snapshot["tilde"])
        for name, value in snapshot["buffers"].items():
            nodes.stacks.buffers[name][0].copy_(value)
        nodes.optimizer.load_states([snapshot["optimizer"]], snapshot["optimizer"])
        for scheduler, state in zip(self._schedulers, snapshot["schedulers"], strict=True):
            scheduler.load_state_dict(state)
        self._scheduled, self.count = snapshot["scheduled"], snapshot["count"]


def _take_schedulers(optimizer: Any) -> list[LRScheduler]:
    """Take over the learning-rate schedules: they follow the whole run, not the steps of one node."""
    if isinstance(optimizer, PerNodeOptimizer):
        schedulers, optimizer.schedulers = list(optimizer.schedulers), []
        return schedulers
    scheduler, optimizer.scheduler = optimizer.scheduler, None
    return [] if scheduler is None else [scheduler]
