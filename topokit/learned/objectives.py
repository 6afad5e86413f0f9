"""What a learned topology is measured by: costs that are minimised, and how near to it a barrier stands."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import numpy as np

from topokit.learned.moves import Moves, State
from topokit.learned.weight_changes import by_degree, changes_by_degree
from topokit.matrix import FloatArray, IntArray

__all__ = [
    "SPECTRAL",
    "Eigenratio",
    "Fiedler",
    "LaplacianSlem",
    "Levels",
    "MetropolisSlem",
    "MixingTime",
    "Objective",
]

Levels = tuple[float | None, float | None]


class Objective(ABC):
    """A cost of graphs that falls when mu_2 of their weighted Laplacian grows, and when mu_n falls.

    Attributes
    ----------
    name : str
    weights : str
        The weighting of schedules on graphs that were learned by it.
    summary : str
        For lists.
    fixed : bool
        Whether a graph has weights that are known without computing them: several moves can then follow each other.
    """

    fixed = True
    name: str
    weights: str = "laplacian"
    summary: str

    def edge_weights(self, state: State) -> FloatArray:
        """Give the weights of a graph's edges, shape (m,)."""
        return np.ones(len(state.edges))

    def weight_changes(self, state: State, moves: Moves) -> tuple[IntArray, FloatArray] | None:
        """Give the pairs whose weights moves change, (B, p, 2), and by how much; None where every edge weighs 1."""
        del state, moves
        return None

    @abstractmethod
    def of_ends(self, low: float, high: float) -> float:
        """Give the cost of a graph with these mu_2 and mu_n."""

    @abstractmethod
    def levels(self, low: float, high: float, slack: float) -> Levels:
        """Give levels for a barrier at graphs a little worse: by the share `slack` of the spectral gap or the like."""

    def cost(self, state: State, low: float, high: float) -> float:
        """Give the cost of a graph, infinite where it is disconnected."""
        del state
        return self.of_ends(low, high) if low > 1e-9 * high else math.inf

    def value(self, cost: float) -> float:
        """Give the figure that users know, of a cost."""
        return cost


class LaplacianSlem(Objective):
    """SLEM of I - alpha L with the best constant alpha = 2/(mu_2 + mu_n): (mu_n - mu_2)/(mu_n + mu_2).

    References
    ----------
    .. [1] L. Xiao, S. Boyd, "Fast linear iterations for distributed averaging", Systems & Control Letters 53, 2004.

    Examples
    --------
    The Petersen graph has mu_2 = 2 and mu_n = 5:

    >>> round(LaplacianSlem().of_ends(2.0, 5.0), 6)
    0.428571
    """

    name = "laplacian"
    summary = "SLEM with Laplacian weights, the best constant"

    def of_ends(self, low: float, high: float) -> float:
        """Give the cost."""
        return (high - low) / (high + low)

    def levels(self, low: float, high: float, slack: float) -> Levels:
        """Give levels, each of which alone would mean a gap smaller by the slack."""
        slem = LaplacianSlem.of_ends(self, low, high)
        slem += slack * (1 - slem)
        ratio = (1 - slem) / (1 + slem)
        return high * ratio, low / ratio


class MixingTime(LaplacianSlem):
    """h = tau/p of decentralized SGD, 1/(1 - SLEM^2), with Laplacian weights.

    References
    ----------
    .. [1] A. Koloskova et al., "A unified theory of decentralized SGD with changing topology and local updates",
       ICML 2020.

    Examples
    --------
    >>> MixingTime().of_ends(2.0, 5.0)
    1.225
    """

    name = "mixing-time"
    summary = "effective mixing time tau/p with Laplacian weights"

    def of_ends(self, low: float, high: float) -> float:
        """Give the cost."""
        return (high + low) ** 2 / (4 * high * low) if low > 0 else math.inf


class Eigenratio(LaplacianSlem):
    """mu_n/mu_2, the synchronizability of a network.

    Examples
    --------
    >>> Eigenratio().of_ends(2.0, 5.0)
    2.5
    """

    name = "eigenratio"
    summary = "largest eigenvalue of the Laplacian over the Fiedler value"

    def of_ends(self, low: float, high: float) -> float:
        """Give the cost."""
        return high / low if low > 0 else math.inf


class Fiedler(Objective):
    """The Fiedler value mu_2, algebraic connectivity, as large as can be.

    Examples
    --------
    >>> Fiedler().of_ends(2.0, 5.0)
    -2.0
    """

    name = "fiedler"
    summary = "Fiedler value, to be as large as can be"

    def of_ends(self, low: float, high: float) -> float:
        """Give the cost."""
        del high
        return -low

    def levels(self, low: float, high: float, slack: float) -> Levels:
        """Give a level below mu_2 alone."""
        del high
        return low * (1 - slack), None

    def value(self, cost: float) -> float:
        """Give the Fiedler value."""
        return -cost


class MetropolisSlem(Objective):
    """SLEM with Metropolis-Hastings weights 1/(1 + larger degree).

    Examples
    --------
    On the Petersen graph all weights are 1/4:

    >>> MetropolisSlem().of_ends(2.0 / 4, 5.0 / 4)
    0.5
    """

    name = "metropolis-hastings"
    weights = "metropolis-hastings"
    summary = "SLEM with Metropolis-Hastings weights"

    def edge_weights(self, state: State) -> FloatArray:
        """Give 1/(1 + larger degree)."""
        return by_degree(state.degree, state.edges)

    def weight_changes(self, state: State, moves: Moves) -> tuple[IntArray, FloatArray]:
        """Follow the degrees."""
        return changes_by_degree(state, moves)

    def of_ends(self, low: float, high: float) -> float:
        """Give the cost."""
        return max(1 - low, high - 1)

    def levels(self, low: float, high: float, slack: float) -> Levels:
        """Give levels for a gap smaller by the slack."""
        slem = self.of_ends(low, high)
        slem += slack * (1 - slem)
        return 1 - slem, 1 + slem


SPECTRAL: dict[str, type[Objective]] = {
    kind.name: kind for kind in (LaplacianSlem, MetropolisSlem, Fiedler, Eigenratio, MixingTime)
}
