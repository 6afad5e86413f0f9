"""Optimizer steps of some nodes and not of others: each node has its own momentum, averages and step counter.

The optimizer of the stacks counts steps for all nodes together. Here the parameters of one torch optimizer are the rows
of the stacks, one after the other, and an optimizer passes over parameters without a gradient: so a node steps when it
has one. The learning rates, and their schedule, are common to all.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor, nn

from topokit_trainer.optimizers import Closure, NodeOptimizer, PerNodeOptimizer, StackedOptimizer
from topokit_trainer.stacks import NodeStacks

__all__ = ["RowOptimizer", "row_optimizer"]


class RowOptimizer(NodeOptimizer, Protocol):
    """An optimizer whose nodes step apart."""

    def step_rows(self, rows: Sequence[int]) -> None:
        """Take one step on some nodes, with their gradients in the stacks."""

    def advance(self) -> None:
        """Take one step of the learning-rate schedule."""


def row_optimizer(stacks: NodeStacks, optimizer: NodeOptimizer) -> RowOptimizer:
    """Give an optimizer whose nodes step apart, made of a fresh one of all nodes.

    Examples
    --------
    >>> import torch
    >>> stacks = NodeStacks(nn.Linear(2, 1), 3, [["weight", "bias"]])
    >>> sgd = torch.optim.SGD(stacks.template.parameters(), lr=1.0)
    >>> stacks.gradients[0].fill_(1.0).shape
    torch.Size([3, 3])
    >>> before = stacks.stacks[0].detach().clone()
    >>> row_optimizer(stacks, StackedOptimizer(stacks, sgd, None)).step_rows([1])
    >>> (before - stacks.stacks[0].detach()).sum(dim=1).round().abs().tolist()
    [0.0, 3.0, 0.0]
    """
    if isinstance(optimizer, StackedOptimizer):
        return ElementwiseRows(stacks, optimizer)
    assert isinstance(optimizer, PerNodeOptimizer)
    return WholeRows(optimizer)


class ElementwiseRows:
    """One elementwise optimizer, whose parameters are rows.

    Parameters
    ----------
    stacks : NodeStacks
    stacked : StackedOptimizer
        Before its first step; it is taken apart.
    """

    needs_closure = False

    def __init__(self, stacks: NodeStacks, stacked: StackedOptimizer) -> None:
        self.optimizer, self.scheduler = stacked.optimizer, stacked.scheduler
        self.kind = f"{type(self.optimizer).__name__}, row by row"
        # By stack and row; the same memory as the stacks.
        self.parameters = [[nn.Parameter(row) for row in stack.detach()] for stack in stacks.stacks]
        self.gradients = [list(gradient) for gradient in stacks.gradients]
        for index, group in enumerate(self.optimizer.param_groups):
            members = [rows for rows, g in zip(self.parameters, stacks.group_of, strict=True) if g == index]
            group["params"] = [row for rows in members for row in rows]

    def step(self, closures: Sequence[Closure] | None = None) -> None:
        """Take one step on all nodes."""
        self.step_rows(range(len(self.parameters[0])))

    def step_rows(self, rows: Sequence[int]) -> None:
        """Take one step on some nodes."""
        chosen = [(p[row], g[row]) for p, g in zip(self.parameters, self.gradients, strict=True) for row in rows]
        for parameter, gradient in chosen:
            parameter.grad = gradient
        self.optimizer.step()
        for parameter, _ in chosen:
            parameter.grad = None

    def advance(self) -> None:
        """Take one step of the learning-rate schedule."""
        if self.scheduler:
            _advance([self.scheduler])

    @property
    def lr(self) -> float:
        """Learning rate of the first group."""
        return float(self.optimizer.param_groups[0]["lr"])

    def state_of(self, row: int) -> dict[str, Any]:
        """Give the state of one node, and what the nodes have in common."""
        settings = [{k: v for k, v in group.items() if k != "params"} for group in self.optimizer.param_groups]
        return {
            "state": [dict(self.optimizer.state.get(rows[row], {})) for rows in self.parameters],
            "groups": settings,
            "scheduler": dict(self.scheduler.state_dict()) if self.scheduler else {},
        }

    def load_states(self, states: Sequence[dict[str, Any]], example: dict[str, Any]) -> None:
        """Give every node its own state."""
        for row, state in enumerate(states):
            for rows, entries in zip(self.parameters, state["state"], strict=True):
                if entries:
                    self.optimizer.state[rows[row]] = {k: _beside(v, rows[row]) for k, v in entries.items()}
        for group, saved in zip(self.optimizer.param_groups, example["groups"], strict=True):
            group.update(saved)
        if self.scheduler:
            self.scheduler.load_state_dict(example["scheduler"])


class WholeRows(PerNodeOptimizer):
    """The optimizers of `PerNodeOptimizer`, which look at whole tensors, one at a time."""

    def __init__(self, whole: PerNodeOptimizer) -> None:
        self.optimizers, self.schedulers = whole.optimizers, whole.schedulers
        self.needs_closure, self.kind = whole.needs_closure, f"{whole.kind}, at its own pace"

    def step_rows(self, rows: Sequence[int]) -> None:
        """Take one step on some nodes."""
        for row in rows:
            self.optimizers[row].step()

    def advance(self) -> None:
        """Take one step of the learning-rate schedules."""
        _advance(self.schedulers)


def _advance(schedulers: Sequence[Any]) -> None:
    with warnings.catch_warnings():
        # It is in order here: nobody may have had a gradient in the first unit of time.
        warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step\\(\\)` before")
        for scheduler in schedulers:
            scheduler.step()


def _beside(value: Any, parameter: Tensor) -> Any:
    """Put a state tensor where the parameter is; counters stay where the optimizer made them."""
    return value.to(parameter.device) if isinstance(value, Tensor) and value.shape == parameter.shape else value
