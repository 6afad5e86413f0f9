"""Exact diffusion, also known as D2: D-SGD that corrects each step by the one before it.

x is the model of a node, u(x) the update of its optimizer (any one), V a symmetric mixing matrix. At step t:

    psi_t = x_t - eta u(x_t),    phi_t = psi_t + x_t - psi_{t-1},    x_{t+1} = V phi_t

with phi_0 = psi_0. For plain SGD with a constant learning rate this is x_{t+1} = V (2 x_t - x_{t-1} - eta (g_t -
g_{t-1})), the form of D2. Means obey mean(x_{t+1}) = mean(psi_t), and a point where all nodes agree is at rest as soon
as their updates sum to zero: unlike data does not move it, as it does with D-SGD. (With Adam the updates that sum to
zero are not gradients.)

Disagreement along an eigenvector of V with eigenvalue l follows z^2 = 2 l z - l, whose roots are inside of the unit
circle for -1/3 < l < 1 only. Where W has an eigenvalue that is not above -1/3, V is (I + W)/2.

References
----------
H. Tang et al., D2: decentralized training over decentralized data, ICML 2018.
K. Yuan, B. Ying, X. Zhao, A. Sayed, Exact diffusion for distributed optimization and learning, Part I, IEEE TSP 67(3),
2019.
"""

from __future__ import annotations

from contextlib import nullcontext

import torch
from scipy import sparse
from torch import Tensor

from topokit.errors import InputError
from topokit.matrix import MixingMatrix
from topokit.schedule import Schedule
from topokit.spectral import is_symmetric, spectrum
from topokit_trainer.algorithms.base import Algorithm
from topokit_trainer.exchange import Plans
from topokit_trainer.nodes import Nodes
from topokit_trainer.optimizers import NodeOptimizer

__all__ = ["ExactDiffusion", "damped", "least_eigenvalue"]


class ExactDiffusion(Algorithm):
    """Exact diffusion (D2) with one symmetric matrix.

    Attributes
    ----------
    correction : list of Tensor
        What the last step left over, d_t = x_t - psi_{t-1}. Written with it, phi_t = psi_t + d_t and d_{t+1} = d_t +
        (V - I) phi_t. It sums to zero over the nodes and is as small as a step: rounding errors of the models, which a
        kept psi would add up to a force that never ends, do not get into it.
    """

    name = "exact diffusion (D2)"

    def __init__(self) -> None:
        self.correction: list[Tensor] = []
        self._notes: list[str] = []

    def check(self, schedule: Schedule, optimizer: NodeOptimizer) -> None:
        """Refuse all but one symmetric doubly stochastic matrix, used in every round.

        Raises
        ------
        InputError
        """
        if fault := _fault(schedule):
            tracked = schedule.kind in ("cyclic", "sampled", "matchings") and schedule.mixing == "doubly-stochastic"
            other = "; gradient-tracking has no such limit" if tracked and schedule.copies == 1 else ""
            raise InputError(
                f"{self.name} needs one symmetric doubly stochastic matrix, the same in every round; {schedule.name} "
                f"{fault}{other}"
            )

    def prepare(self, nodes: Nodes, step: int) -> None:
        """Start from d = 0, that is phi_0 = psi_0; choose V."""
        wide = [torch.zeros_like(x, dtype=torch.promote_types(x.dtype, torch.float32)) for x in nodes.parameters]
        self.correction = nodes.keep("correction", wide)
        W, self._notes = nodes.schedule.round(0), []
        least = least_eigenvalue(W)
        self.damped = least <= -1 / 3
        self.plans = nodes.plans
        if self.damped:
            V = damped(W)
            self.plans = Plans(lambda t: V, 1, nodes.world)
            self._notes = [
                f"the least eigenvalue of {nodes.schedule.name} is {least:.4f}, and {self.name} needs one above -1/3: "
                "it mixes with (I + W)/2"
            ]

    def notes(self) -> list[str]:
        """Say whether (I + W)/2 is in use, and why."""
        return self._notes

    def step(self, nodes: Nodes, step: int) -> None:
        """Descend, correct by what the last step left over, mix."""
        nodes.descend(step)
        parameters = nodes.parameters
        for x, d in zip(parameters, self.correction, strict=True):
            x.add_(d)

        # What a round of (I + W)/2 leaves is not to be compared with the prediction for W.
        with nullcontext() if self.damped else nodes.measured():
            for x, d, change in zip(
                parameters, self.correction, nodes.changes(self.plans(step), parameters), strict=True
            ):
                x.add_(change)
                d.add_(change)


def least_eigenvalue(matrix: MixingMatrix) -> float:
    """Bound the least eigenvalue of a symmetric mixing matrix from below, closely where it is negative.

    2 W - I has the eigenvalues 2 l - 1, of which the least decides the norm if it is below -1; the bounds of that norm
    allow for rounding.

    Examples
    --------
    Even rings with equal weights reach -1/3 exactly:

    >>> from topokit.designer import design
    >>> least_eigenvalue(design("ring", 8).round(0)) <= -1 / 3
    True
    >>> round(least_eigenvalue(design("ring", 7).round(0)), 6)
    -0.267313
    """
    doubled = 2 * matrix.to_csr() - sparse.eye_array(matrix.nodes)
    return float(1 - spectrum(sparse.csr_array(doubled)).bounds.upper) / 2


def damped(matrix: MixingMatrix) -> MixingMatrix:
    """Give (I + W)/2, whose eigenvalues are positive.

    Examples
    --------
    >>> damped(MixingMatrix.from_entries(2, [0, 1], [1, 0], [1.0, 1.0])).to_dense().tolist()
    [[0.5, 0.5], [0.5, 0.5]]
    """
    return MixingMatrix.from_matrix(sparse.csr_array(sparse.eye_array(matrix.nodes) + matrix.to_csr()) / 2)


def _fault(schedule: Schedule) -> str | None:
    if schedule.kind != "cyclic":
        return f"is a {schedule.kind} schedule"
    if schedule.copies != 1:
        return f"asks for {schedule.copies} copies"
    if schedule.mixing != "doubly-stochastic":
        return f"is {schedule.mixing}"
    if schedule.period != 1:
        return f"has {schedule.period} rounds"
    return None if is_symmetric(schedule.round(0)) else "is not symmetric"
