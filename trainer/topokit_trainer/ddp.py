"""Gradients averaged by DistributedDataParallel: in buckets, while the backward pass still runs.

This is the all-reduce that most training runs today, and so the one that others are to be compared with.
"""

from __future__ import annotations

import copy
import random
import warnings
import weakref
from collections.abc import Sequence

import torch
from torch import Tensor, fx, nn
from torch.nn.parallel import DistributedDataParallel

from topokit_trainer.gradients import LoopGradients
from topokit_trainer.nodes import Nodes

__all__ = ["ReducedGradients", "reducible"]


class ReducedGradients(LoopGradients):
    """The engine of a rank's only node, whose gradients come out as the mean over all ranks.

    All ranks have to make it, and to call it, together: both communicate.

    Parameters
    ----------
    engine : LoopGradients
        Computes the node's own gradients.
    nodes : Nodes
    inputs, targets : Tensor
        A batch to try the model on.
    step : int
        The step that it belongs to.
    """

    def __init__(self, engine: LoopGradients, nodes: Nodes, inputs: Tensor, targets: Tensor, step: int) -> None:
        super().__init__(engine.stacks, engine.loss, engine.random_key)
        here = self._reaches_all(inputs[0], targets[0])
        # Some ranks may see a parameter go unused where others do not, and all must wait for the same messages.
        everywhere = all(nodes.world.gather(here))
        module = self.stacks.modules[0]
        # Each node keeps its own BatchNorm statistics, as in the other modes.
        left_alone = [name for name, _ in module.named_buffers(remove_duplicate=False)]
        parameters = dict(module.named_parameters())
        trained = {id(parameters[slot.name]) for slot in self.stacks.slots}
        for name, parameter in module.named_parameters(remove_duplicate=False):
            if id(parameter) not in trained:
                left_alone += [name, f".{name}"]  # the wrapper writes names in the outermost module in both ways
        module._ddp_params_and_buffers_to_ignore = left_alone  # type: ignore[assignment]
        self.reducing = DistributedDataParallel(
            module,
            init_sync=False,  # each node keeps its own start
            find_unused_parameters=not everywhere,
            gradient_as_bucket_view=False,  # the gradients lie in the stacks and are to stay there
        )
        # Whoever lets go of a process group last waits for its threads. The reducer would do so with Python's lock
        # held, which such a thread may be waiting for, and never end; the group's own Python object lets the lock go.
        weakref.finalize(self.reducing.reducer, lambda group: None, self.reducing.process_group)
        if everywhere:
            # After the first backward pass the buckets are cut anew, and sums come out in another order: begin with
            # the second, so that a run that goes on from a checkpoint gets the same bits as one that was not stopped.
            buffers = {name: buffer.clone() for name, buffer in self.stacks.buffers.items()}
            self(inputs, targets, step)
            for name, buffer in buffers.items():
                self.stacks.buffers[name].copy_(buffer)

    @property
    def modules(self) -> Sequence[nn.Module]:
        """The module in its wrapper."""
        return [self.reducing]

    def _reaches_all(self, x: Tensor, y: Tensor) -> bool:
        """Whether every batch gives every parameter a gradient, as far as this can be told."""
        model = copy.deepcopy(self.stacks.template)
        parameters = dict(model.named_parameters())
        trained = [parameters[slot.name] for slot in self.stacks.slots]
        with torch.random.fork_rng(devices=[x.device] if x.is_cuda else []):
            if not _is_always_the_same(model):
                return False
            with torch.enable_grad():
                gradients = torch.autograd.grad(self.loss(model(x), y), trained, allow_unused=True)
        return all(gradient is not None for gradient in gradients)


def _is_always_the_same(model: nn.Module) -> bool:
    """Whether the way through the model is the same for all data, and not drawn."""
    drawn = torch.get_rng_state(), random.getstate()
    try:
        with warnings.catch_warnings(action="ignore"):
            fx.symbolic_trace(model)  # fails where the way depends on the data; layers are not run
        # What is drawn in between would be part of the way.
        return torch.equal(torch.get_rng_state(), drawn[0]) and random.getstate() == drawn[1]
    except Exception:  # whatever the model does with what is no tensor
        return False
    finally:
        random.setstate(drawn[1])


def reducible(nodes: Nodes) -> bool:
    """Whether each rank has one node, with gradients of a kind that the wrapper can put where they belong."""
    sparse = any(getattr(m, "sparse", False) for m in nodes.stacks.template.modules())
    alone = nodes.stacks.rows == 1 and nodes.world.size == nodes.schedule.nodes > 1
    return alone and isinstance(nodes.engine, LoopGradients) and not sparse
