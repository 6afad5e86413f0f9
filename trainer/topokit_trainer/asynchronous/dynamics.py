"""A²CiD²'s equations: what happens to a node between events, at an averaging, and at a gradient.

Each node has its parameters x and a second copy x~ that runs ahead of them. With time in units of one gradient,

    between events   dx = eta (x~ - x) dt,  dx~ = eta (x - x~) dt
    averaging i, j   m = x_i - x_j;  x_i -= alpha m,  x~_i -= alpha~ m  (and likewise at j, with -m)
    gradient at x_i  x_i -= gamma u,  x~_i -= gamma u

The first has a closed form: after a time d, both have moved towards their mean by the share 1 - exp(-2 eta d). Without
acceleration (eta = 0, alpha = alpha~ = 1/2) x~ plays no part, and is not kept.

An averaging conserves the sum of x + x~ over all nodes, because both partners see the same m: each lets its own values
mix up to the moment before it shows them to the other. (Showing them unmixed, and mixing afterwards, moves the mean.)

References
----------
A. Nabli, E. Belilovsky, E. Oyallon, A²CiD²: Accelerating asynchronous communication in decentralized deep learning,
NeurIPS 2023.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from topokit.metrics.acid import acid_constants_of
from topokit.schedule import Schedule

__all__ = ["Dynamics", "dynamics_of", "mix_"]


@dataclass(frozen=True)
class Dynamics:
    """Constants of the equations.

    Attributes
    ----------
    eta : float
        Rate at which x and x~ mix, for each unit of time (one gradient).
    alpha, alpha_tilde : float
        How far an averaging moves x and x~.
    """

    eta: float = 0.0
    alpha: float = 0.5
    alpha_tilde: float = 0.5

    @property
    def accelerated(self) -> bool:
        """Whether there is an x~."""
        return self.eta > 0

    def share(self, elapsed: float) -> float:
        """Give by how much of their difference x and x~ approach each other within a time.

        Examples
        --------
        >>> round(Dynamics(eta=0.5).share(1.0), 6)
        0.31606
        """
        return -math.expm1(-2 * self.eta * elapsed) / 2


def dynamics_of(schedule: Schedule, accelerated: bool) -> Dynamics:
    """Give the constants for a schedule, with A²CiD² or without.

    Examples
    --------
    >>> from topokit.designer import design
    >>> round(dynamics_of(design("pairwise", 16), accelerated=True).alpha_tilde, 4)
    1.8717
    """
    if not accelerated:
        return Dynamics()
    constants = acid_constants_of(schedule)
    return Dynamics(constants.eta, constants.alpha, constants.alpha_tilde)


@torch.no_grad()
def mix_(x: Sequence[Tensor], tilde: Sequence[Tensor], share: float | Tensor) -> None:
    """Let x and x~ approach each other by a share of their difference, in place; x + x~ stays as it is.

    Parameters
    ----------
    x, tilde : sequences of Tensor
        Rows of nodes, shape (rows, columns), or one node, shape (columns,).
    share : float, or Tensor of shape (rows, 1)
    """
    for values, others in zip(x, tilde, strict=True):
        move = others - values
        if isinstance(share, float):
            values.add_(move, alpha=share)
            others.sub_(move, alpha=share)
        else:
            move.mul_(share.to(values.dtype))
            values.add_(move)
            others.sub_(move)
