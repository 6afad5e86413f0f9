"""What training is held to: exact gradients and the optimum that they lead to, separate models with Adam."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from problems import CLASSES, FEATURES, Softmax, blobs, linear
from torch.nn.functional import cross_entropy, one_hot
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from topokit_trainer import Trainer

__all__ = ["adam_by_hand", "exact_gradients", "optimum"]


def exact_gradients(trainer: Trainer, noise: float = 0.0) -> Trainer:
    """Have gradients of whole shares computed in closed form, in half of the time, plus noise as of samples."""
    nodes, split = trainer.nodes, CLASSES * FEATURES
    x, y = trainer.data.train.tensors
    shares = torch.from_numpy(np.stack([nodes.batches.shares[node] for node in nodes.keys]))
    x, truth = x[shares], one_hot(y[shares], CLASSES)
    generator = torch.Generator().manual_seed(0)

    def compute(step: int) -> None:
        (models,), (gradients,) = nodes.parameters, nodes.stacks.gradients
        weight, bias = models[:, :split].view(-1, CLASSES, FEATURES), models[:, None, split:]
        error = ((x @ weight.mT + bias).softmax(-1) - truth) / x.shape[1]
        gradients[:, :split].view_as(weight).copy_(error.mT @ x)
        gradients[:, split:] = error.sum(1)
        gradients.add_(torch.randn(gradients.shape, generator=generator).to(gradients.dtype), alpha=noise)

    nodes.compute_gradients = compute  # type: ignore[method-assign]
    return trainer


def optimum(weight_decay: float) -> np.ndarray:
    """Minimize the regularized mean loss over all samples, by Newton's method."""
    problem, x, h = Softmax(blobs()), np.zeros((FEATURES + 1) * CLASSES), 1e-6

    def gradient(x: np.ndarray) -> np.ndarray:
        return problem.gradient(x, np.arange(len(problem.y))) + weight_decay * x

    for _ in range(20):
        hessian = np.stack([(gradient(x + h * e) - gradient(x - h * e)) / (2 * h) for e in np.eye(x.size)])
        x = x - np.linalg.solve(hessian, gradient(x))
    assert np.abs(gradient(x)).max() < 1e-15
    return x


def adam_by_hand(trainer: Trainer, models: int, **settings: Any) -> Callable[[int, np.ndarray, np.ndarray, int], Any]:
    """Give ``update(i, z, batch, step)``: the change that the i-th of several separate Adams makes of z on a batch."""
    own = [linear().double() for _ in range(models)]
    optimizers = [torch.optim.Adam(model.parameters(), **settings) for model in own]
    x, y = trainer.data.train.tensors

    def update(i: int, z: np.ndarray, batch: np.ndarray, step: int) -> Any:
        vector_to_parameters(torch.from_numpy(z.copy()), own[i].parameters())
        optimizers[i].zero_grad()
        cross_entropy(own[i](x[batch]), y[batch]).backward()
        optimizers[i].step()
        return parameters_to_vector(own[i].parameters()).detach().numpy() - z

    return update
