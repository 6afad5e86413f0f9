"""Node-stacked parameters: the models of the nodes on this rank, as rows of a few contiguous tensors.

Every algorithm works on these stacks, so the same code runs one node on a rank or a thousand. A stack holds the
parameters of one optimizer group and one number type; parameters are views into it. Tied parameters appear once, frozen
ones not at all. Buffers that training changes (BatchNorm's statistics) have a row for each node as well.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from topokit.errors import InputError

__all__ = ["LossFunction", "ModelTraits", "NodeStacks", "model_traits"]

LossFunction = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class ModelTraits:
    """What a trial forward pass showed of a model.

    Attributes
    ----------
    random : bool
        The forward pass draws random numbers (dropout).
    changing_buffers : tuple of str
        Buffers that the forward pass changes (BatchNorm).
    """

    random: bool
    changing_buffers: tuple[str, ...]


def model_traits(model: nn.Module, inputs: Tensor) -> ModelTraits:
    """Find out by one forward pass of a copy, in training mode, what the model does besides computing.

    Parameters
    ----------
    model : Module
    inputs : Tensor, shape (batch, ...)

    Examples
    --------
    >>> model_traits(nn.Dropout(0.5), torch.ones(1, 4)).random
    True
    >>> model_traits(nn.BatchNorm1d(3), torch.randn(4, 3)).changing_buffers
    ('running_mean', 'running_var', 'num_batches_tracked')
    """
    trial = copy.deepcopy(model).train()
    before = {name: b.clone() for name, b in trial.named_buffers()}
    devices = [inputs.device] if inputs.is_cuda else []

    def generator_states() -> list[Tensor]:
        return [torch.get_rng_state(), *(torch.cuda.get_rng_state(d) for d in devices)]

    with torch.random.fork_rng(devices=devices), torch.no_grad():
        states = generator_states()
        trial(inputs)
        drew = any(not torch.equal(a, b) for a, b in zip(states, generator_states(), strict=True))
    changed = tuple(name for name, b in trial.named_buffers() if not torch.equal(b, before[name]))
    return ModelTraits(random=drew, changing_buffers=changed)


@dataclass(frozen=True)
class Slot:
    """Where a parameter lives: columns ``offset : offset + numel`` of a stack."""

    name: str
    shape: torch.Size
    stack: int
    offset: int

    @property
    def columns(self) -> slice:
        """Columns of the stack that hold the parameter."""
        return slice(self.offset, self.offset + self.shape.numel())


class NodeStacks:
    """Parameters, gradients and changing buffers of several nodes, all starting from one model.

    Parameters
    ----------
    model : Module
        The common starting point; it is kept as the template and not changed.
    rows : int
        Number of nodes on this rank.
    groups : sequence of sequences of str
        Names of the parameters of each optimizer group; others are frozen and shared.
    changing_buffers : sequence of str
        Buffers that need a row for each node.
    copies : int
        States that a node keeps, of which the first is the one that is trained.

    Attributes
    ----------
    rows : int
        Number of rows in use.
    stacks : list of Parameter, each of shape (rows, columns)
        With ``.grad`` allocated.
    wide : list of Tensor, each of shape (copies * rows, columns)
        The stacks with the other copies below them: the first rows are the stacks themselves.
    group_of : list of int
        The optimizer group of each stack.
    """

    def __init__(
        self,
        model: nn.Module,
        rows: int,
        groups: Sequence[Sequence[str]],
        changing_buffers: Sequence[str] = (),
        copies: int = 1,
    ) -> None:
        self.template, self.rows = model, rows
        parameters = dict(model.named_parameters())
        self.slots: list[Slot] = []
        self.stacks: list[nn.Parameter] = []
        self.group_of: list[int] = []
        self.wide: list[Tensor] = []
        self._slopes: list[Tensor] = []
        for group, names in enumerate(groups):
            if lazy := [name for name in names if is_lazy(parameters[name])]:
                raise InputError(f"parameter {lazy[0]} has no shape yet; run the lazy model once where it is made")
            if empty := [name for name in names if not parameters[name].numel()]:
                raise InputError(f"parameter {empty[0]} has no values; leave it out, or freeze it")
            kinds = list(dict.fromkeys((parameters[n].dtype, parameters[n].device) for n in names))
            for dtype, device in kinds:
                if not dtype.is_floating_point:
                    raise InputError(f"parameters of type {dtype} cannot be averaged; use floating point")
                offset, members = 0, []
                for name in names:
                    p = parameters[name]
                    if (p.dtype, p.device) == (dtype, device):
                        self.slots.append(Slot(name, p.shape, len(self.stacks), offset))
                        members.append(p.detach().reshape(-1))
                        offset += p.numel()
                wide = torch.cat(members).repeat(copies * rows, 1)
                stack = nn.Parameter(wide[:rows])
                stack.grad = torch.zeros_like(stack)
                self.stacks.append(stack)
                self.wide.append(wide)
                self._slopes.append(stack.grad)
                self.group_of.append(group)
        if not self.stacks:
            raise InputError("the model has no parameters to train")
        own = dict(model.named_buffers())
        self.buffers = {
            name: own[name].detach().unsqueeze(0).repeat(rows, *(1,) * own[name].ndim) for name in changing_buffers
        }
        self._modules: list[nn.Module] = []

    @property
    def gradients(self) -> list[Tensor]:
        """The gradient stacks, in the order of `stacks`."""
        return [stack.grad for stack in self.stacks if stack.grad is not None]

    def occupy(self, rows: int) -> None:
        """Use the first rows only (at most as many as there were at the start); the others keep their memory."""
        self.rows = rows
        for stack, wide, slopes in zip(self.stacks, self.wide, self._slopes, strict=True):
            stack.grad = None
            stack.data = wide[:rows]
            stack.grad = slopes[:rows]

    @property
    def bytes_per_node(self) -> int:
        """Bytes of one node's parameters: the size of one message of uncompressed gossip."""
        return sum(stack.shape[1] * stack.element_size() for stack in self.stacks)

    def start(self) -> list[Tensor]:
        """Give the common starting point, one row for each stack, shape (columns,)."""
        parameters = dict(self.template.named_parameters())
        rows: list[list[Tensor]] = [[] for _ in self.stacks]
        for slot in self.slots:
            rows[slot.stack].append(parameters[slot.name].detach().reshape(-1))
        return [torch.cat(parts) for parts in rows]

    def views(self, tensors: Sequence[Tensor]) -> dict[str, Tensor]:
        """Give each parameter's part of stack-shaped tensors, shape (rows, *parameter shape)."""
        return {s.name: tensors[s.stack].detach()[:, s.columns].view(-1, *s.shape) for s in self.slots}

    @property
    def modules(self) -> list[nn.Module]:
        """One module for each row in use, whose parameters, gradients and changing buffers are views of the stacks."""
        while len(self._modules) < self.rows:
            self._modules.append(self._module_of(len(self._modules)))
        return self._modules[: self.rows]

    def _module_of(self, row: int) -> nn.Module:
        parameters, buffers = dict(self.template.named_parameters()), dict(self.template.named_buffers())
        # Frozen tensors stay shared; the others are replaced wherever the model refers to them, also in plain lists.
        copies: dict[int, Any] = {id(t): t for t in (*parameters.values(), *buffers.values())}
        for slot in self.slots:
            parameter = nn.Parameter(self.stacks[slot.stack].detach()[row, slot.columns].view(slot.shape))
            parameter.grad = self.gradients[slot.stack][row, slot.columns].view(slot.shape)
            copies[id(parameters[slot.name])] = parameter
        for name, rows in self.buffers.items():
            copies[id(buffers[name])] = rows[row]
        return copy.deepcopy(self.template, copies)

    @torch.no_grad()
    def load_average(self, module: nn.Module, means: Sequence[Tensor], buffers: dict[str, Tensor]) -> None:
        """Write averaged parameters (each of shape (columns,)) and buffers into a module like the template."""
        parameters, own = dict(module.named_parameters()), dict(module.named_buffers())
        for slot in self.slots:
            parameters[slot.name].copy_(means[slot.stack][slot.columns].view(slot.shape))
        for name, value in buffers.items():
            own[name].copy_(value)
