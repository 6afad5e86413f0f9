"""AD-PSGD with a simulated clock: a node averages while its gradient is under way, and applies it late.

Node i works on one gradient at a time, which is done at the ticks of a Poisson clock whose rate is its speed. At a tick

1. it averages with a neighbour j, drawn in proportion to the rates of its edges: x_i, x_j <- (x_i + x_j) / 2;
2. it applies the gradient that is done, that of the parameters it read at its last tick (at the start before the
   first): x_i <- x_i - gamma u, with weight decay and momentum as of now;
3. it reads its parameters and starts on their gradient, on the next batch of its own.

In between, others may average with i, and change x_i but not the gradient under way. So a node averages twice for each
gradient in the mean, once of its own accord and once as another's partner; rates of the schedule say with whom, not how
often.

The gradient under way is computed when its parameters are read, and stays in the node's row until it is applied, with
clipping done: no copy of what was read is needed. Losses are counted when they are computed.

References
----------
X. Lian, W. Zhang, C. Zhang, J. Liu, Asynchronous decentralized parallel stochastic gradient descent, ICML 2018.
"""

from __future__ import annotations

from topokit_trainer.algorithms.async_gossip import AsyncGossip
from topokit_trainer.nodes import Nodes

__all__ = ["AdPsgd"]


class AdPsgd(AsyncGossip):
    """AD-PSGD on a pairwise schedule."""

    name = "AD-PSGD"
    partners = True

    def prepare(self, nodes: Nodes, step: int) -> None:
        """Keep the gradients that are under way."""
        super().prepare(nodes, step)
        nodes.keep("gradient under way", nodes.stacks.gradients)

    def step(self, nodes: Nodes, step: int) -> None:
        """Start on the first gradients, if this is the start; then let everything happen that happens in the unit."""
        if step == 0:
            self._compute(nodes, list(range(nodes.stacks.rows)))
        super().step(nodes, step)

    def _descend(self, nodes: Nodes, rows: list[int]) -> None:
        """Apply the gradients under way, and start on the next."""
        self._apply(nodes, rows)
        self._compute(nodes, rows)
