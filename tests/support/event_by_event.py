"""Asynchronous gossip in plain NumPy: one event after the other, from the equations."""

from __future__ import annotations

import math

import numpy as np
import torch
from problems import Softmax
from scipy.linalg import expm

from topokit_trainer import Data

__all__ = ["run_by_hand", "two_groups"]


def two_groups(model):
    """Give SGD with momentum, weights and biases in groups of their own: the parameters are two stacks."""
    groups = [{"params": [model.weight]}, {"params": [model.bias]}]
    return torch.optim.SGD(groups, lr=0.1, momentum=0.9, weight_decay=0.01)


class Node:
    """One node: its pair (x, x~), its momentum and its own time."""

    def __init__(self, x):
        self.x, self.tilde = x.copy(), x.copy()
        self.velocity = np.zeros_like(x)
        self.since, self.gradients = 0.0, 0
        self.under_way = None

    def mix(self, now, eta):
        spread = expm((now - self.since) * eta * np.array([[-1.0, 1.0], [1.0, -1.0]]))
        self.x, self.tilde = spread @ np.stack((self.x, self.tilde))
        self.since = now


def run_by_hand(trainer, start, eta=0.0, alpha_tilde=0.5, late=False):
    """Give the final parameters and second copies of softmax regression, each of shape (nodes, parameters).

    Parameters
    ----------
    trainer : Trainer
        Gives the configuration, the events and the batches.
    start : ndarray
    eta, alpha_tilde : float
        No acceleration by default.
    late : bool
        AD-PSGD: the gradient applied is that of the parameters read at the node's last event.
    """
    config, batches = trainer.config, trainer.nodes.batches
    problem = Softmax(Data(batches.dataset, batches.dataset))
    nodes = [Node(x) for x in start]

    def gradient_of(i):
        found = problem.gradient(nodes[i].x, batches.samples(i, nodes[i].gradients))
        if config.clip is not None:
            found = found * min(1.0, config.clip / (np.linalg.norm(found) + 1e-6))
        return found

    for i, node in enumerate(nodes if late else []):
        node.under_way = gradient_of(i)
    for unit in range(config.steps):
        lr = config.lr
        if config.lr_schedule == "cosine":
            lr *= (1 + math.cos(math.pi * unit / config.steps)) / 2
        events = trainer.algorithm.clocks.events(unit)
        for time, i, j in zip(events.times, events.node, events.partner, strict=True):
            node, now = nodes[i], unit + time
            if j >= 0:
                other = nodes[j]
                for one in (node, other):
                    one.mix(now, eta)
                shown = node.x.copy(), other.x.copy()
                for one, theirs in ((node, shown[1]), (other, shown[0])):
                    m = one.x - theirs
                    one.x, one.tilde = one.x - m / 2, one.tilde - alpha_tilde * m
                continue
            node.mix(now, eta)
            slope = (node.under_way if late else gradient_of(i)) + config.weight_decay * node.x
            node.velocity = config.momentum * node.velocity + slope
            update = slope + config.momentum * node.velocity if config.nesterov else node.velocity
            node.x, node.tilde = node.x - lr * update, node.tilde - lr * update
            node.gradients += 1
            if late:
                node.under_way = gradient_of(i)
        for node in nodes:
            node.mix(unit + 1.0, eta)
    return np.stack([node.x for node in nodes]), np.stack([node.tilde for node in nodes])
