"""Small problems to train on, and what training is checked against: plain NumPy, written from the equations."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import TensorDataset

from topokit_trainer import Data, TrainConfig

__all__ = ["CLASSES", "FEATURES", "Softmax", "blobs", "image_blobs", "linear", "settings"]

FEATURES, CLASSES = 5, 3


def blobs(samples: int = 160, dtype: torch.dtype = torch.float64) -> Data:
    """Three overlapping Gaussian classes."""
    rng = np.random.default_rng(7)
    centres = rng.standard_normal((CLASSES, FEATURES))
    y = rng.integers(CLASSES, size=samples)
    x = centres[y] + rng.standard_normal((samples, FEATURES))
    held_out = samples // 5
    return Data(
        TensorDataset(torch.tensor(x[held_out:], dtype=dtype), torch.tensor(y[held_out:])),
        TensorDataset(torch.tensor(x[:held_out], dtype=dtype), torch.tensor(y[:held_out])),
    )


def image_blobs(samples: int = 160, size: int = 8) -> Data:
    """Images of three classes that differ in where they are bright."""
    rng = np.random.default_rng(8)
    y = rng.integers(CLASSES, size=samples)
    x = rng.standard_normal((samples, 1, size, size))
    x[np.arange(samples), 0, y] += 2.0
    held_out = samples // 5
    return Data(
        TensorDataset(torch.tensor(x[held_out:]), torch.tensor(y[held_out:])),
        TensorDataset(torch.tensor(x[:held_out]), torch.tensor(y[:held_out])),
    )


def linear() -> nn.Module:
    """Softmax regression."""
    return nn.Linear(FEATURES, CLASSES)


def settings(**changes: Any) -> TrainConfig:
    """Give a configuration in float64 on the CPU, without checkpoints and evaluations under way."""
    usual = {
        "steps": 20,
        "batch_size": 4,
        "dtype": "float64",
        "device": "cpu",
        "checkpoint_every": 0,
        "eval_every": 10_000,
        "gradients": "loop",
    }
    return TrainConfig(**(usual | changes))


class Softmax:
    """Softmax regression by hand; a node's parameters are one row: the weight matrix row by row, then the bias."""

    def __init__(self, data: Data) -> None:
        self.x, self.y = (t.numpy() for t in data.train.tensors)

    def gradient(self, parameters: np.ndarray, samples: np.ndarray) -> np.ndarray:
        """Gradient of the mean cross entropy of some samples."""
        x, y = self.x[samples], self.y[samples]
        weight, bias = parameters[:-CLASSES].reshape(CLASSES, FEATURES), parameters[-CLASSES:]
        scores = x @ weight.T + bias
        scores -= scores.max(axis=1, keepdims=True)
        probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
        error = (probabilities - np.eye(CLASSES)[y]) / len(y)
        return np.concatenate([(error.T @ x).ravel(), error.sum(axis=0)])
