"""Any torch optimizer on node stacks.

An elementwise optimizer (SGD, Adam ...) treats the stack of all nodes as one big parameter and gives every node what it
would have got alone. Others (LBFGS, Muon, Adafactor: they look at whole tensors) run once for each node. Which is which
is found out by trying, not from a list of names.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer, lr_scheduler
from torch.optim.lr_scheduler import LRScheduler

from topokit.errors import InputError
from topokit_trainer.config import TrainConfig
from topokit_trainer.stacks import NodeStacks

__all__ = [
    "NodeOptimizer",
    "OptimizerFactory",
    "SchedulerFactory",
    "StackedOptimizer",
    "configured_optimizer",
    "configured_scheduler",
    "group_names",
    "is_elementwise",
    "node_optimizer",
]

OptimizerFactory = Callable[[nn.Module], Optimizer]
SchedulerFactory = Callable[[Optimizer], LRScheduler]
Closure = Callable[[], Tensor]


class NodeOptimizer(Protocol):
    """What the trainer needs of an optimizer of several nodes."""

    needs_closure: bool
    kind: str  # what its states belong to

    def step(self, closures: Sequence[Closure] | None = None) -> None:
        """Take one step with the gradients in the stacks (or the closures, one for each node)."""

    @property
    def lr(self) -> float:
        """Learning rate of the first group."""

    def state_of(self, row: int) -> dict[str, Any]:
        """Give the state of one node."""

    def load_states(self, states: Sequence[dict[str, Any]], example: dict[str, Any]) -> None:
        """Take over the states of all nodes on this rank; what nodes have in common is that of any (`example`)."""


def configured_optimizer(config: TrainConfig) -> OptimizerFactory:
    """Give what makes the optimizer that the configuration names."""
    kinds: dict[str, Callable[..., Optimizer]] = {
        "sgd": torch.optim.SGD,
        "adam": torch.optim.Adam,
        "adamw": torch.optim.AdamW,
    }
    settings: dict[str, Any] = {"lr": config.lr, "weight_decay": config.weight_decay}
    if config.optimizer == "sgd":
        settings["momentum"] = config.momentum
        settings["nesterov"] = config.nesterov or (config.algorithm == "squarm-sgd" and config.momentum > 0)
    return lambda model: kinds[config.optimizer](model.parameters(), **settings)


def configured_scheduler(config: TrainConfig) -> SchedulerFactory | None:
    """Give what makes the learning-rate schedule that the configuration names; None where it is constant."""
    if config.lr_schedule == "cosine":
        return lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, T_max=config.steps)
    if config.lr_schedule == "step":
        return lambda optimizer: lr_scheduler.MultiStepLR(optimizer, [config.steps // 2, 3 * config.steps // 4])
    return None


def group_names(model: nn.Module, optimizer: Optimizer) -> list[list[str]]:
    """Give the parameter names of each optimizer group.

    Raises
    ------
    InputError
        If the optimizer was not made for this model.
    """
    names = {id(p): name for name, p in model.named_parameters()}
    groups = [[names.get(id(p), "") for p in group["params"] if p.requires_grad] for group in optimizer.param_groups]
    if any("" in group for group in groups):
        raise InputError("the optimizer holds parameters that are not the model's; build it from the model it is given")
    return groups


def node_optimizer(
    stacks: NodeStacks, factory: OptimizerFactory, template: Optimizer, scheduler: SchedulerFactory | None
) -> NodeOptimizer:
    """Give the fastest optimizer that does for every node what the factory's would do for it alone."""
    if is_elementwise(stacks, factory):
        return StackedOptimizer(stacks, template, scheduler)
    return PerNodeOptimizer(stacks, factory, scheduler)


def _needs_closure(optimizer: Optimizer) -> bool:
    return "closure" in _required(optimizer.step)


def _made(factory: SchedulerFactory, optimizer: Optimizer) -> LRScheduler:
    scheduler = factory(optimizer)
    if required := _required(scheduler.step):
        raise InputError(
            f"{type(scheduler).__name__} wants a value ({required[0]}) at every step, which nodes do not have in "
            "common; use a schedule of the step number"
        )
    return scheduler


def _required(function: Callable[..., Any]) -> list[str]:
    parameters = inspect.signature(function).parameters.values()
    named = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    return [p.name for p in named if p.default is inspect.Parameter.empty]


def is_elementwise(stacks: NodeStacks, factory: OptimizerFactory, steps: int = 3) -> bool:
    """Try whether one optimizer on a stack of two nodes does what two separate optimizers do.

    Raises
    ------
    InputError
        If the optimizer does not change parameters in place.

    Examples
    --------
    >>> model = nn.Linear(4, 3)
    >>> stacks = NodeStacks(model, 1, [["weight", "bias"]])
    >>> is_elementwise(stacks, lambda m: torch.optim.Adam(m.parameters()))
    True
    >>> is_elementwise(stacks, lambda m: torch.optim.LBFGS(m.parameters()))
    False
    """
    model = copy.deepcopy(stacks.template).double()  # half precision would differ by its rounding alone
    template = factory(model)
    # State made at construction has the shapes of single models and cannot be stacked afterwards.
    if _needs_closure(template) or template.state:
        return False
    groups = group_names(model, template)
    together, apart = NodeStacks(model, 2, groups), NodeStacks(model, 2, groups)
    devices = [together.stacks[0].device] if together.stacks[0].is_cuda else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(0)
        for stack in together.stacks:
            stack.data.normal_()
        for a, b in zip(apart.stacks, together.stacks, strict=True):
            a.data.copy_(b)
        start = [stack.detach().clone() for stack in together.stacks]
        one = StackedOptimizer(together, template, None)
        two = PerNodeOptimizer(apart, factory, None)
        for _ in range(steps):
            for mine, theirs in zip(apart.gradients, together.gradients, strict=True):
                # Nodes of unlike scale: an optimizer that couples rows by a norm gives itself away.
                theirs.normal_().mul_(torch.tensor([[1.0], [100.0]], dtype=theirs.dtype, device=theirs.device))
                mine.copy_(theirs)
            try:
                one.step()
                two.step()
            except (RuntimeError, ValueError, TypeError):
                return False
    _require_in_place(apart, type(template).__name__)
    for a, b, x in zip(apart.stacks, together.stacks, start, strict=True):
        moved, difference = (b - x).abs().max(), (a - b).detach().abs().max()
        if not difference <= 1e-3 * moved + 1e-12:
            return False
    return True


def _require_in_place(stacks: NodeStacks, name: str) -> None:
    """Refuse an optimizer after whose steps the parameters are views of the stacks no longer."""
    for parameter, rows in stacks.views(stacks.stacks).items():
        for row, module in zip(rows, stacks.modules, strict=True):
            if module.get_parameter(parameter).data_ptr() != row.data_ptr():
                raise InputError(
                    f"{name} gives parameters new memory (p.data = ...); use an optimizer that changes them in place"
                )


class StackedOptimizer:
    """One elementwise optimizer for all nodes on this rank; the template's groups get the stacks as parameters."""

    needs_closure = False

    def __init__(self, stacks: NodeStacks, template: Optimizer, scheduler: SchedulerFactory | None) -> None:
        self.stacks = stacks.stacks
        for index, group in enumerate(template.param_groups):
            members = [s for s, g in zip(self.stacks, stacks.group_of, strict=True) if g == index]
            group["params"] = members
        self.optimizer = template
        self.kind = f"stacked {type(template).__name__}"
        self.scheduler = _made(scheduler, template) if scheduler else None

    def step(self, closures: Sequence[Closure] | None = None) -> None:
        """Take one step, and one of the learning-rate schedule."""
        self.optimizer.step()
        if self.scheduler:
            self.scheduler.step()

    @property
    def lr(self) -> float:
        """Learning rate of the first group."""
        return float(self.optimizer.param_groups[0]["lr"])

    def state_of(self, row: int) -> dict[str, Any]:
        """Give the row of every state tensor, and what the nodes have in common."""
        state = []
        for stack in self.stacks:
            entries = self.optimizer.state.get(stack, {})
            rows = {k: v[row].clone() for k, v in entries.items() if _is_row_wise(v, stack)}
            state.append({"rows": rows, "common": {k: v for k, v in entries.items() if k not in rows}})
        return {"state": state, "groups": _settings(self.optimizer), "scheduler": _state_dict(self.scheduler)}

    def load_states(self, states: Sequence[dict[str, Any]], example: dict[str, Any]) -> None:
        """Stack the rows again."""
        for index, stack in enumerate(self.stacks):
            entries: dict[str, Any] = {}
            for key, row in example["state"][index]["rows"].items():
                rows = [state["state"][index]["rows"][key] for state in states]
                entries[key] = (torch.stack(rows) if rows else row.new_empty((0, *row.shape))).to(stack.device)
            entries.update(example["state"][index]["common"])
            if entries:
                self.optimizer.state[stack] = entries
        for group, saved in zip(self.optimizer.param_groups, example["groups"], strict=True):
            group.update(saved)
        if self.scheduler:
            self.scheduler.load_state_dict(example["scheduler"])

    # What moves with a model that changes its place

    @property
    def rows(self) -> list[Tensor]:
        """Every state tensor with a row for each node, in an order that is the same on all ranks."""
        return [self.optimizer.state[stack][key] for stack, key in self._row_wise()]

    def take_rows(self, tensors: Iterable[Tensor]) -> None:
        """Replace the `rows`, also by a different number of them; further tensors are left alone."""
        for (stack, key), rows in zip(self._row_wise(), tensors, strict=False):
            self.optimizer.state[stack][key] = rows

    def forget(self) -> None:
        """Start anew, with the learning rate as it is."""
        self.optimizer.state.clear()

    def _row_wise(self) -> list[tuple[Tensor, str]]:
        states = [(stack, self.optimizer.state.get(stack, {})) for stack in self.stacks]
        return [(stack, key) for stack, entries in states for key in sorted(entries) if _by_column(entries[key], stack)]


class PerNodeOptimizer:
    """One optimizer for each node, on parameters of their true shape."""

    def __init__(self, stacks: NodeStacks, factory: OptimizerFactory, scheduler: SchedulerFactory | None) -> None:
        self.optimizers = [factory(module) for module in stacks.modules]
        self.schedulers = [_made(scheduler, optimizer) for optimizer in self.optimizers] if scheduler else []
        self.needs_closure = _needs_closure(self.optimizers[0])
        self.kind = f"{type(self.optimizers[0]).__name__} for each node"

    def step(self, closures: Sequence[Closure] | None = None) -> None:
        """Take one step on every node, and one of the learning-rate schedules."""
        for row, optimizer in enumerate(self.optimizers):
            if closures is None:
                optimizer.step()
            else:
                optimizer.step(closures[row])  # type: ignore[arg-type]  # torch types the loss as float
        for scheduler in self.schedulers:
            scheduler.step()

    @property
    def lr(self) -> float:
        """Learning rate of the first group."""
        return float(self.optimizers[0].param_groups[0]["lr"])

    def state_of(self, row: int) -> dict[str, Any]:
        """Give the node's own optimizer state."""
        scheduler = self.schedulers[row] if self.schedulers else None
        return {"optimizer": self.optimizers[row].state_dict(), "scheduler": _state_dict(scheduler)}

    def load_states(self, states: Sequence[dict[str, Any]], example: dict[str, Any]) -> None:
        """Give every node its own optimizer state."""
        for row, state in enumerate(states):
            self.optimizers[row].load_state_dict(state["optimizer"])
            if self.schedulers:
                self.schedulers[row].load_state_dict(state["scheduler"])


def _is_row_wise(value: Any, stack: Tensor) -> bool:
    return isinstance(value, Tensor) and value.shape == stack.shape


def _by_column(value: Any, stack: Tensor) -> bool:
    """Whether a state tensor has the columns of the stack, whose number of rows may just have changed."""
    return isinstance(value, Tensor) and value.ndim == 2 and value.shape[1] == stack.shape[1]


def _settings(optimizer: Optimizer) -> list[dict[str, Any]]:
    return [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]


def _state_dict(scheduler: LRScheduler | None) -> dict[str, Any]:
    return {} if scheduler is None else dict(scheduler.state_dict())
