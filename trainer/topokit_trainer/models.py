"""The models that come with the trainer, and a user's own by name."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from math import prod
from typing import Any

from torch import nn

from topokit.errors import InputError

__all__ = ["ModelFactory", "import_object", "model_factory"]

ModelFactory = Callable[[], nn.Module]


def mlp(shape: tuple[int, ...], classes: int, hidden: int = 128) -> nn.Module:
    """Two hidden ReLU layers on the flattened input."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(prod(shape), hidden),
        nn.ReLU(),
        nn.Linear(hidden, hidden),
        nn.ReLU(),
        nn.Linear(hidden, classes),
    )


def cnn(shape: tuple[int, ...], classes: int, width: int = 16) -> nn.Module:
    """Two 3 x 3 convolutions with GroupNorm and pooling, then a linear layer.

    GroupNorm and not BatchNorm: batch statistics of unlike local data make replicas diverge in what they normalise by.
    """
    channels, height, breadth = shape
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1),
        nn.GroupNorm(4, width),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(width, 2 * width, 3, padding=1),
        nn.GroupNorm(4, 2 * width),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(2 * width * (height // 4) * (breadth // 4), classes),
    )


def import_object(path: str, option: str) -> Any:
    """Import ``package.module:name``; the message of a failure names the command-line option."""
    module, _, name = path.partition(":")
    here = os.getcwd()
    if here not in sys.path:
        sys.path.append(here)  # an installed command, unlike `python -m`, does not look into the current folder
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise InputError(f"{option} {path} cannot be imported: {error}") from error


def model_factory(name: str, shape: tuple[int, ...], classes: int) -> ModelFactory:
    """Give a function that makes one fresh model for inputs of this shape.

    Examples
    --------
    >>> import torch
    >>> model_factory("mlp", (1, 8, 8), 10)()(torch.zeros(2, 1, 8, 8)).shape
    torch.Size([2, 10])
    """
    if name == "mlp":
        return lambda: mlp(shape, classes)
    if name == "cnn":
        if len(shape) != 3:
            raise InputError(f"--model cnn needs images (channels, height, width); the data has shape {shape}")
        return lambda: cnn(shape, classes)
    return import_object(name, "--model")  # type: ignore[no-any-return]
