"""Decentralized SGD.

x_i is the model of node i, u(x) the update direction of its optimizer, eta the learning rate, W the round's matrix:

- ATC, adapt then combine:  x+ = W (x - eta u(x))
- AWC, adapt with combine:  x+ = W x - eta u(x), whose exchange overlaps the gradient (D-PSGD)
- CTA, combine then adapt:  y = W x,  x+ = y - eta u(y)

With H local steps, H optimizer steps stand between two rounds; CTA's first round is before the first step, and mixes
the starting points.

The momentum of SGD is each node's own (local), or shared. Mixed momentum (DmSGD) travels in the same messages as the
parameters: with m the momentum buffer, beta the momentum and g the gradient at x, as ATC

    m+ = W (beta m + g),  x+ = W (x - eta (beta m + g))

and as CTA the step starts from W m as it does from W x. The parameters move along the new momentum, as in PyTorch's
SGD; in another form of the method, x+ = W (x - eta m), they move along the old one, a step later. Quasi-global momentum
is in `topokit_trainer.algorithms.momentum`.

References
----------
X. Lian et al., Can decentralized algorithms outperform centralized algorithms? NeurIPS 2017 (D-PSGD).
B. Ying et al., Exponential graph is provably efficient for decentralized deep training, NeurIPS 2021 (one-peer rounds,
DmSGD).
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from topokit.errors import InputError
from topokit.schedule import Schedule
from topokit_trainer.algorithms.base import Algorithm, require_mean_preserving
from topokit_trainer.algorithms.momentum import QuasiGlobalMomentum, momentum_buffers, require_momentum
from topokit_trainer.config import TrainConfig
from topokit_trainer.nodes import Nodes, Overlap
from topokit_trainer.optimizers import NodeOptimizer

__all__ = ["AdaptThenCombine", "AdaptWithCombine", "CombineThenAdapt", "dsgd"]


class AdaptThenCombine(Algorithm):
    """D-SGD as ATC: x+ = W (x - eta u(x)).

    Parameters
    ----------
    local_steps : int
        Optimizer steps between two rounds.
    mixed : bool
        Whether the momentum buffers of the optimizer are mixed as well.
    """

    name = "D-SGD"

    def __init__(self, local_steps: int = 1, mixed: bool = False) -> None:
        self.local_steps, self.mixed = local_steps, mixed

    def check(self, schedule: Schedule, optimizer: NodeOptimizer) -> None:
        """Refuse schedules that would move the mean, and optimizers without the momentum to mix."""
        require_mean_preserving(schedule, self.name)
        if self.mixed:
            require_momentum(optimizer, "mixed")

    def step(self, nodes: Nodes, step: int) -> None:
        """Descend; mix when the local steps are done."""
        nodes.descend(step)
        if (step + 1) % self.local_steps == 0:
            nodes.mix(step // self.local_steps, self._momentum(nodes))

    def _momentum(self, nodes: Nodes) -> Sequence[Tensor]:
        return momentum_buffers(nodes) if self.mixed else ()


class CombineThenAdapt(AdaptThenCombine):
    """D-SGD as CTA: y = W x, x+ = y - eta u(y)."""

    def step(self, nodes: Nodes, step: int) -> None:
        """Mix before the first local step; descend."""
        if step % self.local_steps == 0:
            nodes.mix(step // self.local_steps, self._momentum(nodes))
        nodes.descend(step)

    def rounds(self, steps: int) -> int:
        """One round for each ``local_steps`` steps begun."""
        return -(-steps // self.local_steps)


class AdaptWithCombine(AdaptThenCombine):
    """D-SGD as AWC: x+ = W x - eta u(x), with x the values at the start of the local steps."""

    def __init__(self, local_steps: int = 1) -> None:
        super().__init__(local_steps)
        self.under_way: Overlap | None = None

    def step(self, nodes: Nodes, step: int) -> None:
        """Start a round at the first local step, descend, and finish the round after the last."""
        if step % self.local_steps == 0:
            self.under_way = nodes.start_mixing(step // self.local_steps)
        nodes.descend(step)
        if (step + 1) % self.local_steps == 0:
            self.finish()

    def at_rest(self, steps: int) -> bool:
        """Between the local steps of a round its messages are under way."""
        return self.under_way is None

    def rounds(self, steps: int) -> int:
        """One round for each ``local_steps`` steps begun, less the one that is under way."""
        return -(-steps // self.local_steps) - (self.under_way is not None)

    def finish(self) -> None:
        """Finish the round under way."""
        if self.under_way is not None:
            self.under_way.finish()
            self.under_way = None


def dsgd(config: TrainConfig) -> Algorithm:
    """Give D-SGD as the configuration asks for it.

    Raises
    ------
    InputError
        For mixed momentum as AWC.

    Examples
    --------
    >>> dsgd(TrainConfig(order="cta", local_steps=4)).rounds(9)
    3
    >>> dsgd(TrainConfig(order="awc", momentum_mixing="mixed"))
    Traceback (most recent call last):
    ...
    topokit.errors.InputError: --momentum-mixing mixed needs --order atc or cta: awc sends before the momentum is there
    """
    steps, mixed = config.local_steps, config.momentum_mixing == "mixed"
    if config.order == "awc":
        if mixed:
            raise InputError("--momentum-mixing mixed needs --order atc or cta: awc sends before the momentum is there")
        made: Algorithm = AdaptWithCombine(steps)
    else:
        made = (AdaptThenCombine if config.order == "atc" else CombineThenAdapt)(steps, mixed)
    return QuasiGlobalMomentum(made) if config.momentum_mixing == "quasi-global" else made
