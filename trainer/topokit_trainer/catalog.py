"""Names the trainer knows, with a line about each; importing this loads no PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["ALGORITHMS", "COMPRESSORS", "AlgorithmFacts", "CompressorFacts", "DATASETS", "MODELS", "OPTIMIZERS"]


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
        Models in each message of a round; None where there are no rounds, or what is sent is packed.
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
    "choco-sgd": AlgorithmFacts(
        summary="compressed D-SGD: nodes send, packed, what has changed since they last spoke, and mix what all know",
        needs="symmetric doubly stochastic rounds: cyclic, sampled from a list or matchings",
        kept=1,
        memory="one model more, and one of each neighbour on another rank: what listeners know of a node; more on "
        "rounds that change, where a node says different things to different neighbours",
        sent=None,
        traffic="one packed model a message, as --compressor makes it",
        source="Koloskova et al. 2019, 2020",
    ),
    "sparq-sgd": AlgorithmFacts(
        summary="choco-sgd with local steps, and nodes that keep silent while they have changed little",
        needs="symmetric doubly stochastic rounds: cyclic, sampled from a list or matchings",
        kept=1,
        memory="one model more, or several, as choco-sgd",
        sent=None,
        traffic="one packed model a message after every --local-steps; one byte where the --trigger does not fire",
        source="Singh et al. 2019",
    ),
    "squarm-sgd": AlgorithmFacts(
        summary="sparq-sgd with Nesterov momentum of each node",
        needs="symmetric doubly stochastic rounds: cyclic, sampled from a list or matchings",
        kept=1,
        memory="one model more, or several, as choco-sgd",
        sent=None,
        traffic="one packed model a message after every --local-steps; one byte where the --trigger does not fire",
        source="Singh et al. 2021",
    ),
    "power-gossip": AlgorithmFacts(
        summary="neighbours find the low-rank part of their difference by power iterations: no step size to tune",
        needs="symmetric doubly stochastic rounds with no weight below 0: cyclic, sampled from a list or matchings",
        kept=0,
        memory="no model more; for every neighbour --low-rank rows and columns of each parameter matrix",
        sent=None,
        traffic="vectors as long as a side of each matrix, --low-rank x --power-iterations of them, biases whole",
        source="Vogels et al. 2020",
    ),
    "async-gossip": AlgorithmFacts(
        summary="no rounds: nodes step at their own pace, pairs average when both are free; A2CiD2 with --acid",
        needs="a pairwise schedule: topology pairwise",
        kept=0,
        memory="no model more; one with --acid; one more with a real clock, and two while an averaging is under way",
        sent=None,
        traffic="one model to the partner of each averaging; the schedule's rates say how many for each gradient",
        source="Boyd et al. 2006; Nabli et al. 2023 (A2CiD2)",
    ),
    "ad-psgd": AlgorithmFacts(
        summary="with each gradient, which it applies late, a node averages with a neighbour drawn at random",
        needs="a pairwise schedule: topology pairwise (its rates say which neighbour, not how often)",
        kept=0,
        memory="no model more; one with a real clock, and two while an averaging is under way",
        sent=None,
        traffic="two models for each gradient: one averaging of its own, and one as another's partner, in the mean",
        source="Lian et al. 2018",
    ),
    "local-sgd": AlgorithmFacts(
        summary="a baseline: every node on its own for --local-steps, then the exact mean of all",
        needs="any schedule: it gives the number of nodes alone",
        kept=0,
        memory="no model more",
        sent=None,
        traffic="2 (n - 1)/n models every --local-steps (as a ring all-reduce)",
        source="Stich 2019",
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


@dataclass(frozen=True, kw_only=True)
class CompressorFacts:
    """What a user has to know to choose a compressor.

    Attributes
    ----------
    summary : str
        One line.
    written : str
        How it is asked for.
    contraction : str
        omega in E ||x - C(x)||^2 <= (1 - omega) ||x||^2, of d numbers.
    bits : str
        What d numbers take on the wire.
    source : str
        Where it is from.
    """

    summary: str
    written: str
    contraction: str
    bits: str
    source: str


COMPRESSORS: dict[str, CompressorFacts] = {
    "identity": CompressorFacts(
        summary="everything as it is",
        written="identity",
        contraction="1",
        bits="32 d (float32)",
        source="",
    ),
    "bf16": CompressorFacts(
        summary="rounded to bfloat16",
        written="bf16",
        contraction="1 - 2^-16",
        bits="16 d",
        source="",
    ),
    "fp16": CompressorFacts(
        summary="rounded to half precision, scaled by a power of two so that nothing overflows",
        written="fp16",
        contraction="1 - 2^-22",
        bits="16 d + 32",
        source="",
    ),
    "sign": CompressorFacts(
        summary="signs, times the mean absolute value",
        written="sign",
        contraction="at least 1/d; |x|_1^2 / (d |x|_2^2), 0.64 of normal numbers",
        bits="d + 32",
        source="Bernstein et al. 2018; Karimireddy et al. 2019",
    ),
    "qsgd": CompressorFacts(
        summary="rounded at random to s levels of the norm, in buckets, scaled down so that it contracts",
        written="qsgd:S (buckets of 1024) or qsgd:S,BUCKET",
        contraction="1 / (1 + min(b/s^2, sqrt(b)/s)), b numbers in a bucket",
        bits="d (1 + ceil(log2(s + 1))) + 32 d/b",
        source="Alistarh et al. 2017",
    ),
    "top-k": CompressorFacts(
        summary="the fraction of largest absolute value; +sign is SignTopK, +qsgd:S is QSGD-TopK",
        written="top-k:FRACTION, top-k:FRACTION+WRITING",
        contraction="k/d, times that of the writing; min(k/d, 1/k) with +sign",
        bits="at most k (2 + log2(d/k)) for places, and the values",
        source="Alistarh et al. 2018; Basu et al. 2019 (SignTopK, QSGD-TopK)",
    ),
    "rand-k": CompressorFacts(
        summary="a fraction drawn at random; listeners draw the same places, which are not sent",
        written="rand-k:FRACTION, rand-k:FRACTION+WRITING",
        contraction="k/d in expectation, times that of the writing",
        bits="the k values",
        source="Stich et al. 2018",
    ),
    "low-rank": CompressorFacts(
        summary="one power iteration from a random start: r columns and rows of each matrix; vectors whole",
        written="low-rank:R, low-rank:R+bf16, low-rank:R+fp16",
        contraction="r / min(a, b) in expectation, of a x b matrices",
        bits="32 r (a + b)",
        source="Vogels et al. 2019 (PowerSGD)",
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
