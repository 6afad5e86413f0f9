"""Momentum that the nodes share: mixed like the parameters, or quasi-global."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from topokit.errors import InputError
from topokit.schedule import Schedule
from topokit_trainer.algorithms.base import Algorithm
from topokit_trainer.algorithms.wrapper import Wrapper
from topokit_trainer.nodes import Nodes
from topokit_trainer.optimizers import NodeOptimizer, PerNodeOptimizer, StackedOptimizer

__all__ = ["QuasiGlobalMomentum", "learning_rates", "momentum_buffers", "require_momentum"]

BUFFER = "momentum_buffer"  # what torch's optimizers call it


class QuasiGlobalMomentum(Wrapper):
    """D-SGD whose momentum follows the way that a node went, mixing included (QG-DSGDm).

    With beta the momentum of SGD, eta its learning rate and g the gradient (and weight decay), in its ATC form:

        x+ = W (x - eta (beta m + g))
        m+ = beta m + (1 - beta) (x - x+) / eta,  from m = 0

    The other orders change x+ only. m stands in the optimizer's momentum buffer before each step, so that a variant of
    the step (Nesterov's) is the optimizer's. With H local steps it is the same m before each of them, x - x+ is the way
    over them all, and eta the sum of their learning rates; where that is zero, m stays as it was.

    Parameters
    ----------
    base : Algorithm
        Takes the steps.

    References
    ----------
    T. Lin et al., Quasi-global momentum: accelerating decentralized deep learning on heterogeneous data, ICML 2021.
    """

    def __init__(self, base: Algorithm) -> None:
        super().__init__(base)
        self.momentum: list[Tensor] = []
        self.start: list[Tensor] | None = None
        self.rates: list[float] = []

    def check(self, schedule: Schedule, optimizer: NodeOptimizer) -> None:
        """Refuse optimizers without momentum."""
        super().check(schedule, optimizer)
        require_momentum(optimizer, "quasi-global")

    def prepare(self, nodes: Nodes, step: int) -> None:
        """Begin with no momentum."""
        super().prepare(nodes, step)
        self.momentum = nodes.keep_zeros("quasi-global momentum")

    def step(self, nodes: Nodes, step: int) -> None:
        """Step with the quasi-global momentum, and learn it anew where a round ends."""
        if self.start is None:
            self.start, self.rates = [x.clone() for x in nodes.parameters], [0.0] * len(self.momentum)
        # The optimizer makes its buffers in the first step, as if they had been zero.
        for buffer, m in zip(momentum_buffers(nodes), self.momentum, strict=False):
            buffer.copy_(m)
        rates = learning_rates(nodes)  # a schedule changes them within the step
        super().step(nodes, step)
        self.rates = [total + rate for total, rate in zip(self.rates, rates, strict=True)]
        if (step + 1) % self.local_steps == 0:
            self._learn(nodes, self.start)
            self.start = None

    def _learn(self, nodes: Nodes, start: list[Tensor]) -> None:
        betas = [settings["momentum"] for settings in _settings(nodes)]
        for m, x, now, eta, beta in zip(self.momentum, start, nodes.parameters, self.rates, betas, strict=True):
            if eta > 0:
                m.mul_(beta).add_(x.sub_(now), alpha=(1 - beta) / eta)

    def at_rest(self, steps: int) -> bool:
        """Between the local steps of a round, the way since its start is not known to a checkpoint."""
        return self.start is None and super().at_rest(steps)

    def finish(self) -> None:
        """Leave a round that was cut short as it is."""
        super().finish()
        self.start = None


def momentum_buffers(nodes: Nodes) -> list[Tensor]:
    """Give the optimizer's momentum of each stack; none before its first step."""
    optimizer = nodes.optimizer
    if not isinstance(optimizer, StackedOptimizer):
        return []
    states = [optimizer.optimizer.state.get(stack, {}) for stack in nodes.stacks.stacks]
    return [state[BUFFER] for state in states if BUFFER in state]


def learning_rates(nodes: Nodes) -> list[float]:
    """Give the learning rate of each stack in the next step."""
    return [float(settings["lr"]) for settings in _settings(nodes)]


def _settings(nodes: Nodes) -> list[dict[str, Any]]:
    """Give, for each stack, the settings of its optimizer group, which all nodes have in common."""
    optimizer = nodes.optimizer
    assert isinstance(optimizer, StackedOptimizer | PerNodeOptimizer)
    one = optimizer.optimizer if isinstance(optimizer, StackedOptimizer) else optimizer.optimizers[0]
    return [one.param_groups[group] for group in nodes.stacks.group_of]


def require_momentum(optimizer: NodeOptimizer, mixing: str) -> None:
    """Refuse optimizers whose momentum the nodes could not share.

    Raises
    ------
    InputError
    """
    option = f"--momentum-mixing {mixing}"
    if not isinstance(optimizer, StackedOptimizer):
        raise InputError(
            f"{option} needs an elementwise optimizer with momentum, such as SGD; this run has {optimizer.kind}"
        )
    if not _keeps_momentum(optimizer):
        raise InputError(
            f"{option} needs --optimizer sgd with --momentum above 0; this run's optimizer ({optimizer.kind}) keeps no "
            "momentum buffer"
        )


def _keeps_momentum(optimizer: StackedOptimizer) -> bool:
    """Try a step of a copy on parameters of one element."""
    small = {id(stack): nn.Parameter(torch.zeros(1, 1).to(stack.detach())) for stack in optimizer.stacks}
    # A copy of the optimizer that takes these for its parameters.
    trial = copy.deepcopy(optimizer.optimizer, dict(small))
    for parameter in small.values():
        parameter.grad = torch.zeros_like(parameter)
    trial.step()
    momentum = all(group.get("momentum") for group in trial.param_groups if group["params"])
    return momentum and all(BUFFER in trial.state[parameter] for parameter in small.values())
