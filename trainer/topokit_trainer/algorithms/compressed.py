"""CHOCO-SGD, SPARQ-SGD and SQuARM-SGD: D-SGD whose messages are compressed, and may be left out.

x_i is the model of node i, hat x_i its replica: what its neighbours know of it. Every node takes H steps of its
optimizer, which make x_i^half of x_i; then, with the threshold c_t, the learning rate eta, the compressor C and the
consensus step size gamma,

    q_i = C(x_i^half - hat x_i) if ||x_i^half - hat x_i||^2 > c_t eta^2, else nothing
    hat x_j += q_j             for all neighbours j and for i itself
    x_i = x_i^half + gamma sum_j w_ij (hat x_j - hat x_i)

SQuARM-SGD is all of this with Nesterov momentum; SPARQ-SGD has no momentum; CHOCO-SGD has H = 1 and no trigger, and
here brings replicas up to date before they are mixed, as SPARQ-SGD does. The mean of the x_i is what gradients make it,
whatever the compressor. Replicas begin at the model that all nodes start from.

On rounds that change, a node keeps one replica for each set of neighbours that it talks to in the same rounds
(`topokit_trainer.channels`), and says nothing to those whom a round does not join.

References
----------
A. Koloskova, S. Stich, M. Jaggi, Decentralized stochastic optimization and gossip algorithms with compressed
communication, ICML 2019 (CHOCO-SGD).
N. Singh, D. Data, J. George, S. Diggavi, SPARQ-SGD: event-triggered and compressed communication in decentralized
optimization, arXiv:1910.14280.
N. Singh, D. Data, J. George, S. Diggavi, SQuARM-SGD: communication-efficient momentum SGD for decentralized
optimization, IEEE JSAIT 2021, arXiv:2005.07041.
"""

from __future__ import annotations

import torch

from topokit.errors import InputError
from topokit.schedule import Schedule
from topokit_trainer.algorithms.base import Algorithm, require_mean_preserving
from topokit_trainer.channels import ChannelPlans, Channels, require_channels
from topokit_trainer.compression import Codec, make_compressor
from topokit_trainer.config import TrainConfig
from topokit_trainer.consensus_step import theoretical_step, tuned_step
from topokit_trainer.nodes import Nodes
from topokit_trainer.optimizers import NodeOptimizer, StackedOptimizer
from topokit_trainer.replicas import Replicas
from topokit_trainer.specs import parse_compressor, parse_consensus_step, parse_trigger

__all__ = ["CompressedGossip"]

NAMES = {"choco-sgd": "CHOCO-SGD", "sparq-sgd": "SPARQ-SGD", "squarm-sgd": "SQuARM-SGD"}
SMALL = 1e-3  # a consensus step below this hardly mixes


class CompressedGossip(Algorithm):
    """The family, as a configuration asks for it.

    Parameters
    ----------
    config : TrainConfig
        Of which algorithm, local_steps, compressor, compress_by, consensus_step, trigger and seed count.

    Attributes
    ----------
    replicas : Replicas
    gamma : float
        Consensus step size.
    """

    packs = True

    def __init__(self, config: TrainConfig) -> None:
        self.name, self.local_steps, self.config = NAMES[config.algorithm], config.local_steps, config
        self.trigger = parse_trigger(config.trigger)
        self.resumed = self.settled = False
        self.gamma = 0.0

    def check(self, schedule: Schedule, optimizer: NodeOptimizer) -> None:
        """Refuse schedules that are not symmetric, and settings that do not go together.

        Raises
        ------
        InputError
        """
        require_mean_preserving(schedule, self.name)
        require_channels(schedule, self.name)
        if self.config.algorithm == "squarm-sgd" and not _has_nesterov_momentum(optimizer):
            raise InputError(
                "squarm-sgd needs Nesterov momentum: --momentum (0.9 is usual) or, from Python, an SGD with momentum "
                "and nesterov=True; sparq-sgd takes any optimizer"
            )
        if self.config.compress_by == "model" and parse_compressor(self.config.compressor)[0].name == "low-rank":
            raise InputError("--compressor low-rank works on the matrices of a model: it needs --compress-by tensor")
        if self.config.consensus_step == "theory" and schedule.period != 1:
            raise InputError(
                f"--consensus-step theory is for one matrix in all rounds, and {schedule.name} has several; take tuned "
                "or a number"
            )

    def prepare(self, nodes: Nodes, step: int) -> None:
        """Set up replicas, and settle the consensus step size."""
        schedule, config = nodes.schedule, self.config
        make = make_compressor(config.compressor)
        channels = Channels(schedule)
        plans = ChannelPlans(channels, schedule, nodes.world)
        codec = Codec.of(nodes.stacks, make, config.compress_by, config.seed)
        self.replicas = Replicas(plans, codec, nodes.exchange, nodes.stacks.start(), self.trigger.needed)
        share = len(plans.local)
        nodes.keep("hat", self.replicas.own, [slice(row, None, share) for row in range(share)])
        self.resumed = step > 0
        given = parse_consensus_step(config.consensus_step)
        if given is not None:
            self.gamma = given
        elif config.consensus_step == "theory":
            self.gamma = theoretical_step(schedule.round(0), codec.contraction)
        elif not self.resumed and nodes.world.rank == 0:  # the others are told before the first round
            self.gamma = tuned_step(schedule, channels, codec, make, config.seed)
        (self.kept_gamma,) = nodes.keep("consensus step", [torch.full((share, 1), self.gamma, dtype=torch.float64)])

    def notes(self) -> list[str]:
        """Tell the consensus step size that was found."""
        how = self.config.consensus_step
        if how not in ("tuned", "theory") or not self.gamma:
            return []
        small = "; it hardly mixes" if self.gamma < SMALL else ""
        small += ", --consensus-step tuned may find a larger one" if small and how == "theory" else ""
        return [f"the consensus step size is {self.gamma:.3g} ({how}){small}"]

    def step(self, nodes: Nodes, step: int) -> None:
        """Descend; when the local steps are done, speak, listen and mix."""
        eta = nodes.optimizer.lr  # of this step: after it, a schedule may have set the next one's
        nodes.descend(step)
        if (step + 1) % self.local_steps == 0:
            self._mix(nodes, step // self.local_steps, self.trigger.threshold(step) * eta**2)

    @torch.no_grad()
    def _mix(self, nodes: Nodes, round_number: int, threshold: float) -> None:
        if not self.settled:
            self._settle(nodes)
        with nodes.measured():
            said = self.replicas.update(nodes.parameters, round_number, threshold)
            for x, change in zip(nodes.parameters, self.replicas.change(round_number), strict=True):
                x.add_(change, alpha=self.gamma)
        header, size, counts = int(self.trigger.needed), self.replicas.codec.size, nodes.counts
        counts.bytes += said.messages * (size + header) + said.silent * header
        counts.packed += said.packed * (size + header) + said.packed_silent * header
        counts.messages += said.messages
        counts.silent += said.silent

    def _settle(self, nodes: Nodes) -> None:
        """Have all ranks take rank 0's step size and, where a run goes on, tell one another their replicas."""
        # Rank 0 alone has tuned it, or has it from a checkpoint, which is read after `prepare`.
        self.gamma = nodes.world.first(float(self.kept_gamma[0, 0]))
        self.kept_gamma.fill_(self.gamma)
        if self.resumed:
            sent = nodes.exchange.bytes_sent
            self.replicas.fetch()
            nodes.exchange.bytes_sent = sent  # a run that goes on tells the same as one that was never interrupted
        self.settled = True

    def figures(self) -> dict[str, float]:
        """Tell the consensus step size."""
        return {"consensus_step": float(self.kept_gamma[0, 0])}


def _has_nesterov_momentum(optimizer: NodeOptimizer) -> bool:
    if not isinstance(optimizer, StackedOptimizer):
        return False
    return all(group.get("momentum") and group.get("nesterov") for group in optimizer.optimizer.param_groups)
