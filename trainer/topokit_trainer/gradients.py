"""Gradients of all nodes on this rank: one module after the other, or all at once under vmap.

vmap turns n small matrix products into one batched product and saves n times the overhead; but a vmapped convolution
becomes a grouped one, which can be slower than the loop on a CPU. So both are tried once on a real batch, and the
faster is kept for the whole run.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.functional import linear
from torch.overrides import TorchFunctionMode

from topokit.errors import InputError
from topokit_trainer.optimizers import Closure
from topokit_trainer.seeding import keyed_seed
from topokit_trainer.stacks import LossFunction, ModelTraits, NodeStacks

__all__ = ["GradientEngine", "LoopGradients", "VmapGradients", "choose_engine"]


class GradientEngine(Protocol):
    """Computes the gradients of all nodes on this rank."""

    name: str

    def __call__(self, inputs: Tensor, targets: Tensor, step: int) -> Tensor:
        """Write the gradients of one batch a node into the stacks' ``.grad``; give the losses, shape (rows,)."""

    def some(self, rows: Sequence[int], inputs: Tensor, targets: Tensor, numbers: Sequence[int]) -> Tensor:
        """Do the same for some rows, each with a batch and a step number of its own; other gradients stay."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Evaluate every node's model on the same inputs (batch, ...): outputs of shape (rows, batch, ...)."""


class LoopGradients:
    """One node after the other, each a module whose parameters are views of the stacks.

    Parameters
    ----------
    stacks : NodeStacks
    loss : callable
    random_key : callable, optional
        ``random_key(row, step)`` seeds the forward pass of a model that draws random numbers.
    """

    name = "loop"

    def __init__(
        self, stacks: NodeStacks, loss: LossFunction, random_key: Callable[[int, int], int] | None = None
    ) -> None:
        self.stacks, self.loss, self.random_key = stacks, loss, random_key

    @property
    def modules(self) -> Sequence[nn.Module]:
        """What is called for each row's loss."""
        return self.stacks.modules

    def __call__(self, inputs: Tensor, targets: Tensor, step: int) -> Tensor:
        """Give the losses and leave the gradients in the stacks."""
        return torch.stack([closure().detach() for closure in self.closures(inputs, targets, step)])

    def some(self, rows: Sequence[int], inputs: Tensor, targets: Tensor, numbers: Sequence[int]) -> Tensor:
        """Give the losses of some rows and leave their gradients in the stacks."""
        batches = zip(rows, inputs, targets, numbers, strict=True)
        return torch.stack([self._closure(*batch)().detach() for batch in batches])

    def closures(self, inputs: Tensor, targets: Tensor, step: int) -> list[Closure]:
        """For each node, a function that computes its loss anew and leaves the gradient in its row."""
        return [self._closure(row, inputs[row], targets[row], step) for row in range(self.stacks.rows)]

    def _closure(self, row: int, x: Tensor, y: Tensor, step: int) -> Closure:
        module = self.modules[row]

        def compute() -> Tensor:
            for gradient in self.stacks.gradients:
                gradient[row].zero_()
            with torch.enable_grad():
                if self.random_key is None:
                    loss = self.loss(module(x), y)
                else:
                    with torch.random.fork_rng(devices=[x.device] if x.is_cuda else []):
                        torch.manual_seed(self.random_key(row, step))
                        loss = self.loss(module(x), y)
                loss.backward()
            return loss

        return compute

    def forward(self, inputs: Tensor) -> Tensor:
        """Evaluate every node's model, in evaluation mode."""
        outputs = []
        for module in self.stacks.modules:
            module.eval()
            with torch.no_grad():
                outputs.append(module(inputs))
            module.train()
        return torch.stack(outputs)


class ContiguousWeightGradients(TorchFunctionMode):
    """Computes a linear layer as (W xᵀ)ᵀ, so that the gradient of W comes out in the layout of W.

    Under vmap PyTorch's own form gives it transposed, and copying that into the gradient stack took a third of a step
    of 64 small models.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is linear and not kwargs and args[0].ndim == 2:
            inputs, weight, *bias = args
            outputs = (weight @ inputs.mT).mT
            return outputs if not bias or bias[0] is None else outputs + bias[0]
        return func(*args, **(kwargs or {}))


class VmapGradients:
    """All nodes at once: one vmapped forward pass, one backward pass of the sum of the losses."""

    name = "vmap"

    def __init__(self, stacks: NodeStacks, loss: LossFunction) -> None:
        self.stacks = stacks
        model = stacks.template

        def node_loss(parameters: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
            return loss(functional_call(model, parameters, (x,)), y)

        self._losses = vmap(node_loss)
        self._outputs = vmap(lambda p, x: functional_call(model, p, (x,)), in_dims=(0, None))

    def __call__(self, inputs: Tensor, targets: Tensor, step: int) -> Tensor:
        """Give the losses and leave the gradients in the stacks."""
        losses, gradients = self._differentiate(self.stacks.views(self.stacks.stacks), inputs, targets)
        for place, gradient in zip(self.stacks.views(self.stacks.gradients).values(), gradients, strict=True):
            if gradient is None:
                place.zero_()
            else:
                place.copy_(gradient)
        return losses

    def some(self, rows: Sequence[int], inputs: Tensor, targets: Tensor, numbers: Sequence[int]) -> Tensor:
        """Give the losses of some rows and leave their gradients in the stacks."""
        index = torch.tensor(rows, device=inputs.device)
        chosen = {name: view[index] for name, view in self.stacks.views(self.stacks.stacks).items()}
        losses, gradients = self._differentiate(chosen, inputs, targets)
        for place, gradient in zip(self.stacks.views(self.stacks.gradients).values(), gradients, strict=True):
            if gradient is None:
                place.index_fill_(0, index, 0)
            else:
                place.index_copy_(0, index, gradient)
        return losses

    def _differentiate(
        self, values: dict[str, Tensor], inputs: Tensor, targets: Tensor
    ) -> tuple[Tensor, Sequence[Tensor | None]]:
        leaves = {name: value.requires_grad_() for name, value in values.items()}
        with torch.enable_grad(), ContiguousWeightGradients():
            losses: Tensor = self._losses(leaves, inputs, targets)
        # Nodes do not see one another's parameters, so the gradient of the sum is every node's own.
        return losses.detach(), torch.autograd.grad(losses.sum(), list(leaves.values()), allow_unused=True)

    def forward(self, inputs: Tensor) -> Tensor:
        """Evaluate every node's model, in evaluation mode."""
        self.stacks.template.eval()
        with torch.no_grad():
            outputs: Tensor = self._outputs(self.stacks.views(self.stacks.stacks), inputs)
        self.stacks.template.train()
        return outputs


def choose_engine(
    wanted: str,
    stacks: NodeStacks,
    loss: LossFunction,
    traits: ModelTraits,
    batch: tuple[Tensor, Tensor],
    *,
    seed: int,
    keys: Callable[[], Sequence[int]],
    closures: bool = False,
) -> tuple[GradientEngine, str]:
    """Give the gradient engine (``"auto"``, ``"vmap"`` or ``"loop"``) and the reason for it.

    Under ``auto`` a model that vmap cannot carry (changing buffers, random numbers, unsupported operations) is looped,
    and so is one whose optimizer asks for losses itself (`closures`); otherwise both are timed on the batch given.
    Random numbers are drawn by seed, key of the row (its node, from `keys`) and step.

    Raises
    ------
    InputError
        If vmap was asked for and cannot be had; the message says why.
    """

    def random_key(row: int, step: int) -> int:
        return keyed_seed(seed, "forward", keys()[row], step)

    loop = LoopGradients(stacks, loss, random_key if traits.random else None)
    if wanted == "loop":
        return loop, "asked for"
    if wanted == "auto" and stacks.rows == 1:
        return loop, "one node on this rank"
    obstacle = "its optimizer evaluates the loss itself, node by node" if closures else None
    obstacle = obstacle or _vmap_obstacle(stacks, loss, traits, batch)
    if obstacle is not None:
        if wanted == "vmap":
            raise InputError(f"--gradients vmap cannot be had for this model: {obstacle}; use loop or auto")
        return loop, obstacle
    vmapped = VmapGradients(stacks, loss)
    if wanted == "vmap":
        return vmapped, "asked for"
    seconds = _measure((vmapped, loop), batch)
    for gradient in stacks.gradients:
        gradient.zero_()
    fastest: GradientEngine = vmapped if seconds["vmap"] < seconds["loop"] else loop
    return fastest, f"measured: vmap {1e3 * seconds['vmap']:.1f} ms, loop {1e3 * seconds['loop']:.1f} ms a step"


def _vmap_obstacle(
    stacks: NodeStacks, loss: LossFunction, traits: ModelTraits, batch: tuple[Tensor, Tensor]
) -> str | None:
    if traits.changing_buffers:
        return f"its forward pass changes the buffer {traits.changing_buffers[0]}"
    if traits.random:
        return "its forward pass draws random numbers, which must be each node's own"
    # Two rows suffice to try, on unlike parameters so that a row mixed up shows.
    trial = NodeStacks(copy.deepcopy(stacks.template), 2, _groups(stacks))
    with torch.no_grad():
        for stack in trial.stacks:
            stack[1].mul_(1.1)
    x, y = (t[:1].expand(2, *t.shape[1:]) for t in batch)
    try:
        VmapGradients(trial, loss)(x, y, 0)
    except (RuntimeError, ValueError, NotImplementedError) as error:
        return f"vmap does not support it ({str(error).splitlines()[0][:120]})"
    vmapped = [gradient.clone() for gradient in trial.gradients]
    LoopGradients(trial, loss)(x, y, 0)
    for a, b in zip(vmapped, trial.gradients, strict=True):
        tolerance = 0.05 if a.dtype in (torch.bfloat16, torch.float16) else 1e-3
        if not (a - b).abs().max() <= tolerance * b.abs().max() + 1e-12:
            return "vmap gives other gradients than the model alone"
    return None


def _groups(stacks: NodeStacks) -> list[list[str]]:
    count = max(stacks.group_of) + 1
    return [[s.name for s in stacks.slots if stacks.group_of[s.stack] == g] for g in range(count)]


def _measure(engines: Sequence[GradientEngine], batch: tuple[Tensor, Tensor], budget: float = 3.0) -> dict[str, float]:
    """Time the engines in turn, and give the best of each in seconds: whatever disturbs only ever adds time.

    Five turns, or fewer (at least two) where those would take longer than the budget in seconds.
    """
    times: dict[str, list[float]] = {engine.name: [] for engine in engines}
    started = time.perf_counter()
    for turn in range(5):
        if turn >= 2 and time.perf_counter() - started > budget:
            break
        for engine in engines:
            engine(*batch, 0)  # back in the caches, and the first time memory is allocated
            before = _now(batch[0])
            engine(*batch, 0)
            times[engine.name].append(_now(batch[0]) - before)
    return {name: min(seconds) for name, seconds in times.items()}


def _now(tensor: Tensor) -> float:
    if tensor.is_cuda:
        torch.cuda.synchronize(tensor.device)
    return time.perf_counter()
