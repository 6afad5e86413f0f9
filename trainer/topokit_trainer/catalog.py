"""Names the trainer knows, with a line about each; importing this loads no PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["ALGORITHMS", "AlgorithmFacts", "DATASETS", "MODELS", "OPTIMIZERS"]


@dataclass(frozen=True, kw_only=True)
class AlgorithmFacts:
    """What a user has to know to choose an algorithm.

    Attributes
    ----------
    summary : str
        One line.
    needs : str
        What it asks of a schedule.
    kept : int
        Models that a node keeps besides its parameters, its gradient and the state of its optimizer.
    kept_for : {"node", "neighbour"}
        Whether that many are kept once, or for each neighbour.
    memory : str
        The same in words, and what options change.
    sent : int or None
        Models in each message of a round; None where there are no rounds.
    traffic : str
        What a node sends, in words, and what options change.
    source : str
        Where it is from.
    """

    summary: str
    needs: str
    kept: int
    kept_for: Literal["node", "neighbour"] = "node"
    memory: str
    sent: int | None
    traffic: str
    source: str


ALGORITHMS: dict[str, AlgorithmFacts] = {
    "dsgd": AlgorithmFacts(
        summary="decentralized SGD: nodes take their own steps and average with their neighbours",
        needs="doubly stochastic rounds: cyclic, sampled or matchings",
        kept=0,
        memory="no model more; one with quasi-global momentum, two with outer steps, one while a round of awc is "
        "under way",
        sent=1,
        traffic="one model a message; two with mixed momentum; each outer step is an all-reduce besides",
        source="Lian et al. 2017; Ying et al. 2021 (mixed momentum); Lin et al. 2021 (quasi-global); "
        "Wang et al. 2020 (outer steps: SlowMo)",
    ),
    "gradient-tracking": AlgorithmFacts(
        summary="every node steps along an estimate of the mean gradient: unlike data does not bias it",
        needs="doubly stochastic rounds: cyclic, sampled or matchings",
        kept=2,
        memory="two models more: the tracker and its correction",
        sent=2,
        traffic="two models a message: parameters and tracker",
        source="Di Lorenzo, Scutari 2016; Pu, Nedic 2021",
    ),
    "exact-diffusion": AlgorithmFacts(
        summary="D2: corrects the bias of unlike data by the step before, at the traffic of dsgd",
        needs="one symmetric doubly stochastic matrix, the same in every round; (I + W)/2 is used where its least "
        "eigenvalue is not above -1/3",
        kept=1,
        memory="one model more: the correction",
        sent=1,
        traffic="one model a message",
        source="Tang et al. 2018 (D2); Yuan et al. 2019 (exact diffusion)",
    ),
    "push-sum": AlgorithmFacts(
        summary="SGP: dsgd on directed graphs, whose nodes need not know who hears them",
        needs="column-stochastic (or doubly stochastic) rounds: cyclic or sampled",
        kept=1,
        memory="one model more: the parameters before a step (none on doubly stochastic rounds); two besides with "
        "outer steps",
        sent=1,
        traffic="one model a message; each outer step is an all-reduce besides",
        source="Assran et al. 2019",
    ),
    "ceca": AlgorithmFacts(
        summary="two copies of the model: exact averages after ceil(log2 n) rounds of one message, for every n",
        needs="cyclic rounds on two copies: topologies ceca-1p and ceca-2p",
        kept=1,
        memory="one model more: the second copy",
        sent=1,
        traffic="one model a message",
        source="Ding et al. 2023",
    ),
    "push-pull": AlgorithmFacts(
        summary="on a tree: gradients are summed up to the root, models handed down from it",
        needs="push-pull rounds on two copies: topology tree-push-pull",
        kept=2,
        memory="two models more: the tracker and the gradient before",
        sent=1,
        traffic="one model a message: parameters one way, trackers the other",
        source="Pu et al. 2021 (push-pull); You, Pu 2024 (B-ary trees)",
    ),
    "relay-sgd": AlgorithmFacts(
        summary="on a tree, sums of models are relayed: every node gets the exact mean, of the past where it is far",
        needs="one symmetric matrix whose graph is a tree (path, star, any spanning tree); weights play no part",
        kept=1,
        kept_for="neighbour",
        memory="one model more for each neighbour: its last message",
        sent=1,
        traffic="one model a message, to each neighbour",
        source="Vogels et al. 2021",
    ),
    "teleportation": AlgorithmFacts(
        summary="k models travel among n nodes and mix by a small topology: rate and traffic are free of n",
        needs="a teleport schedule: topology teleportation",
        kept=0,
        memory="no model more; ranks have room for those that can be on them at once, not for all nodes",
        sent=1,
        traffic="one model a message, straight to the next holders; momentum (or Adam's averages) besides, "
        "unless --handover reset",
        source="Takezawa, Stich 2025",
    ),
    "allreduce": AlgorithmFacts(
        summary="the baseline: gradients averaged exactly at every step, by DistributedDataParallel between ranks",
        needs="any schedule: it gives the number of nodes alone",
        kept=0,
        memory="no model more",
        sent=None,
        traffic="2 (n - 1)/n models a step (as a ring all-reduce)",
        source="Li et al. 2020 (DDP)",
    ),
}

DATASETS: dict[str, str] = {
    "digits": "scikit-learn's handwritten digits, 8 x 8, 1,797 images, embedded (1,437 for training)",
    "mnist": "files in MNIST format from --data-path; test files where there are any, else a fifth is held out",
}

MODELS: dict[str, str] = {
    "mlp": "two hidden layers of 128 units",
    "cnn": "two convolutions with GroupNorm, then a linear layer",
}

OPTIMIZERS: dict[str, str] = {
    "sgd": "torch.optim.SGD",
    "adam": "torch.optim.Adam",
    "adamw": "torch.optim.AdamW",
}
