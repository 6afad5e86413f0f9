"""From seconds a round to seconds until the nodes agree, beside those of an all-reduce."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from topokit.consensus import simulated_rounds, worst_case_rounds
from topokit.errors import ConvergenceError, InputError
from topokit.kinds import Cyclic
from topokit.network.allreduce import allreduce_seconds
from topokit.network.cost import BytesPerNode, RoundCost, bytes_per_node, round_seconds
from topokit.network.model import Network
from topokit.network.quantities import parse_seconds, parse_size
from topokit.report import Report
from topokit.schedule import Schedule
from topokit.schedule.claims import averages

__all__ = ["ConsensusTime", "Prediction", "consensus_seconds", "predict"]


@dataclass(frozen=True)
class ConsensusTime:
    """Time in which communication alone shrinks the consensus error.

    Attributes
    ----------
    factor : float
        By how much.
    seconds_per_round : float
    worst_rounds, worst_seconds : int, float, or None
        For every start; None where there is no such number, as for rounds drawn at random.
    simulated_rounds, simulated_seconds : int, float, or None
        For a random start; None where it does not shrink so far.
    """

    factor: float
    seconds_per_round: float
    worst_rounds: int | None
    worst_seconds: float | None
    simulated_rounds: int | None
    simulated_seconds: float | None


@dataclass(frozen=True)
class Prediction:
    """What a schedule costs on a network.

    Attributes
    ----------
    name : str
        The schedule.
    message_bytes : float
        Bytes of one vector.
    step_seconds : float
        Seconds of a node's own work in an iteration.
    round : RoundCost
        Of the mean round.
    bytes_per_node : BytesPerNode
        Sent in a round.
    consensus : ConsensusTime
    iteration_seconds : float
        Work and one round one after the other (ATC, CTA).
    overlapped_seconds : float
        The longer of both, as where the exchange overlaps the gradient (AWC).
    allreduce_seconds : float
        A ring all-reduce of the same vector on the same network.
    tree_seconds : float
        An all-reduce over a binary tree, in one piece.
    """

    name: str
    message_bytes: float
    step_seconds: float
    round: RoundCost
    bytes_per_node: BytesPerNode
    consensus: ConsensusTime
    iteration_seconds: float
    overlapped_seconds: float
    allreduce_seconds: float
    tree_seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Give the attributes as JSON values."""
        return {**asdict(self), "bytes_per_node": self.bytes_per_node._asdict()}


def consensus_seconds(
    schedule: Schedule,
    network: Network,
    message_bytes: str | float,
    factor: float = 1000,
    *,
    report: Report | None = None,
) -> ConsensusTime:
    """Predict how long communication takes to shrink the consensus error by a factor: rounds times seconds a round.

    Parameters
    ----------
    schedule : Schedule
    network : Network
    message_bytes : str or float
        Size of one vector.
    factor : float, default 1000
    report : Report, optional
        Of this schedule: takes its rounds from there, where the factor is 1000, instead of computing them again.

    Raises
    ------
    InputError
        If the network has another number of nodes, or no link that a message needs.

    Examples
    --------
    >>> from topokit.designer import design
    >>> time = consensus_seconds(design("one-peer-exponential", 16), Network.uniform(16, "1Gbit/s"), "100MB")
    >>> time.worst_rounds, time.worst_seconds
    (4, 3.2)
    """
    seconds = round_seconds(schedule, network, message_bytes).seconds
    return _consensus(schedule, seconds, factor, report)


def predict(
    schedule: Schedule,
    network: Network,
    message_bytes: str | float,
    step_seconds: str | float = 0.0,
    *,
    report: Report | None = None,
) -> Prediction:
    """Predict what a schedule costs on a network: seconds and bytes a round, until consensus, and of an all-reduce.

    Parameters
    ----------
    schedule, network, message_bytes, report
        As in `consensus_seconds`.
    step_seconds : str or float, default 0
        A node's own work in an iteration: "120ms", or seconds.

    Raises
    ------
    InputError
        As in `consensus_seconds`.

    Examples
    --------
    >>> from topokit.designer import design
    >>> found = predict(design("ring", 8), Network.uniform(8, "1Gbit/s"), "100MB", "1s")
    >>> found.iteration_seconds, found.overlapped_seconds, round(found.allreduce_seconds, 6)
    (2.6, 1.6, 1.4)
    """
    size = parse_size(message_bytes, "the size of a message")
    step = parse_seconds(step_seconds, "the time of a step")
    cost = round_seconds(schedule, network, size)
    return Prediction(
        name=schedule.name,
        message_bytes=size,
        step_seconds=step,
        round=cost,
        bytes_per_node=bytes_per_node(schedule, size),
        consensus=_consensus(schedule, cost.seconds, 1000, report),
        iteration_seconds=step + cost.seconds,
        overlapped_seconds=max(step, cost.seconds),
        allreduce_seconds=allreduce_seconds(network, size),
        tree_seconds=allreduce_seconds(network, size, "tree"),
    )


def _consensus(schedule: Schedule, seconds: float, factor: float, report: Report | None) -> ConsensusTime:
    if report is not None and factor == 1000:
        worst, simulated = report.worst_case_rounds, report.simulated_rounds
    else:
        worst, simulated = _rounds(schedule, factor)
    return ConsensusTime(
        factor,
        seconds,
        worst,
        None if worst is None else worst * seconds,
        simulated,
        None if simulated is None else simulated * seconds,
    )


def _rounds(schedule: Schedule, factor: float) -> tuple[int | None, int | None]:
    rule = schedule.rule
    if isinstance(rule, Cyclic) and rule.copies > 1 and not averages(rule):
        return None, None  # push-pull pairs shrink no error by themselves
    worst = simulated = None
    # What is not doubly stochastic does not either, and is refused.
    with suppress(InputError, ConvergenceError):
        worst = worst_case_rounds(rule.rounds, factor, copies=rule.copies) if isinstance(rule, Cyclic) else None
    with suppress(InputError, ConvergenceError):
        simulated = simulated_rounds(rule, factor)
    return worst, simulated
