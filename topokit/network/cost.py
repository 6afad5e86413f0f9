"""Seconds and bytes of a round: messages start together, and what they share is shared fairly.

A message pays the latency of its link, and its bytes pass its link, the network card that it leaves by, the one that
it arrives by, and the fabric between. Each of these is busy for (bytes through it) / (its rate); a round takes as long
as what is busy longest, plus the largest latency of the messages through that.

For messages of equal length this bound is met, whatever the topology: a resource that max-min fair sharing (TCP's aim)
gives out divides its rate among the messages that are under way, so that a message of m bytes gets at least
m / (busiest time) everywhere on its way, and none takes longer than the busiest resource.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from topokit.errors import InputError
from topokit.kinds import Kind, Pairwise
from topokit.matrix import FloatArray, IntArray, MatrixLike, MixingMatrix
from topokit.network.messages import MessageList, messages_of_matrix, phases, rounds_looked_at
from topokit.network.model import Network
from topokit.network.quantities import parse_size
from topokit.schedule import Schedule

__all__ = ["BytesPerNode", "RoundCost", "bytes_per_node", "message_seconds", "round_seconds"]


@dataclass(frozen=True)
class RoundCost:
    """What a round costs; of several rounds, the mean.

    Attributes
    ----------
    seconds : float
        ``transfer + latency + overhead``.
    transfer : float
        Seconds in which the bottleneck passes its bytes.
    latency : float
        Largest latency of the messages through the bottleneck.
    overhead : float
        What the busiest node spends on its messages beyond the first.
    bottleneck : str
        What takes longest; of several rounds, what does so most often.
    messages : float
        Messages of all nodes.
    """

    seconds: float
    transfer: float
    latency: float
    overhead: float
    bottleneck: str
    messages: float

    def to_dict(self) -> dict[str, Any]:
        """Give the attributes as JSON values."""
        return dict(self.__dict__)


class BytesPerNode(NamedTuple):
    """Bytes that a node sends in a round: the mean over nodes and rounds, and the most that any sends in any."""

    mean: float
    max: float


class _Shared(NamedTuple):
    """One kind of thing that messages share: which one each message uses, the rate of each, and their names."""

    used: IntArray  # by each message, -1 for none
    rate: FloatArray
    names: Callable[[int], str]


def message_seconds(network: Network, source: ArrayLike, target: ArrayLike, size: ArrayLike) -> RoundCost:
    """Predict how long messages take that start together.

    Parameters
    ----------
    network : Network
    source, target : array_like of int, shape (m,)
        Nodes.
    size : float or array_like of float, shape (m,)
        Bytes of each message.

    Raises
    ------
    InputError
        If there is no link between two nodes, or a node sends to itself.

    Examples
    --------
    >>> network = Network.uniform(3, bandwidth=100.0, latency=1.0)
    >>> cost = message_seconds(network, [0, 0], [1, 2], size=50.0)
    >>> cost.seconds, cost.bottleneck
    (2.0, 'what host0 sends')
    """
    sources, targets = (np.atleast_1d(np.asarray(ends, dtype=np.int64)) for ends in (source, target))
    sizes = np.broadcast_to(np.asarray(size, dtype=np.float64), sources.shape)
    if sources.size:
        _check_nodes(network, sources, targets)
    # Messages of one pair share its link, so that there is one longer one.
    pairs, place, counts = np.unique(sources * network.nodes + targets, return_inverse=True, return_counts=True)
    if pairs.size < sources.size:
        merged = MessageList(
            pairs // network.nodes, pairs % network.nodes, np.bincount(place, sizes).astype(np.float64)
        )
        return _cost(network, merged, counts)
    return _cost(network, MessageList(sources, targets, sizes), np.ones(sources.size, dtype=np.int64))


def _cost(network: Network, messages: MessageList, count: IntArray, size: float = 1.0) -> RoundCost:
    """Predict for pairs of nodes that differ; `count` messages each, of `size` times their vectors."""
    source, target, vectors = messages
    if not source.size:
        return RoundCost(0.0, 0.0, 0.0, 0.0, "nothing", 0.0)
    bandwidth, latency = network.link(source, target)
    _check_links(source, target, bandwidth)
    sizes = vectors * size
    best = (-1.0, 0.0, 0.0, "")
    for shared in [*_shared(network, source, target), None]:
        transfer, delay = (sizes / bandwidth, latency) if shared is None else _busy(shared, sizes, latency)
        k = int((transfer + delay).argmax())
        total = float(transfer[k] + delay[k])
        if total > best[0] * (1 + 1e-12):  # among equals the first is named
            name = f"the link from node {source[k]} to node {target[k]}" if shared is None else shared.names(k)
            best = (total, float(transfer[k]), float(delay[k]), name)
    busy = np.bincount(source, count, minlength=network.nodes) + np.bincount(target, count, minlength=network.nodes)
    overhead = network.overhead * (float(busy.max()) - 1)
    return RoundCost(best[0] + overhead, best[1], best[2], overhead, best[3], float(count.sum()))


def _shared(network: Network, source: IntArray, target: IntArray) -> Iterator[_Shared]:
    """Give what messages share, the widest first."""
    hosts = network.hosts
    leaves, arrives = network.host_of[source], network.host_of[target]
    between = leaves != arrives
    if between.any():
        out, into = np.where(between, leaves, -1), np.where(between, arrives, -1)
        yield _Shared(np.where(between, 0, -1), np.array([network.fabric]), lambda k: "the fabric between the hosts")
        if any(host.both < math.inf for host in hosts):
            # A message takes from the cards at both of its ends: it is counted as two.
            yield _Shared(
                np.concatenate((out, into)),
                np.array([host.both for host in hosts]),
                lambda k: f"what {hosts[k].name} sends and receives",
            )
        yield _Shared(out, np.array([host.send for host in hosts]), lambda k: f"what {hosts[k].name} sends")
        yield _Shared(into, np.array([host.receive for host in hosts]), lambda k: f"what {hosts[k].name} receives")
    if not between.all():
        inner = np.where(between, -1, leaves)
        yield _Shared(inner, np.array([host.inside for host in hosts]), lambda k: f"messages inside {hosts[k].name}")


def _busy(shared: _Shared, size: FloatArray, latency: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Give for each of a kind the seconds it is busy, and the largest latency of the messages through it."""
    if shared.used.size > size.size:
        size, latency = np.tile(size, 2), np.tile(latency, 2)
    through = shared.used >= 0
    used = shared.used[through]
    transfer = np.bincount(used, size[through], minlength=shared.rate.size) / shared.rate
    delay = np.zeros(shared.rate.size)
    np.maximum.at(delay, used, latency[through])
    return transfer, delay


def round_seconds(
    what: Schedule | MatrixLike, network: Network, message_bytes: str | float, *, copies: int = 1
) -> RoundCost:
    """Predict the seconds of a round of gossip.

    Parameters
    ----------
    what : Schedule, MixingMatrix, ndarray or SciPy sparse array of shape (n, n)
        A schedule, whose rounds are averaged over a period (or the first 100, where they are drawn at random), or the
        matrix of one round. Node i runs as node i of the network.
    network : Network
    message_bytes : str or float
        Size of one vector, that is usually of the model: "100MB", or bytes.
    copies : int, default 1
        Of a matrix: number of states of a node. With two, a message holds those that its receiver makes use of.

    Returns
    -------
    RoundCost

    Raises
    ------
    InputError
        If the network has another number of nodes, or no link that a message needs.

    Notes
    -----
    Messages of a round start together. TELEPORTATION's hand-overs come before the mixing. Pairwise gossip is
    asynchronous, and its "round" one event: the events of a unit of time overlap, every node takes part in one at a
    time, so that they take as long as the busiest node's exchanges one after the other, or the busiest network card;
    the seconds are these divided by the events.

    Examples
    --------
    >>> from topokit.designer import design
    >>> network = Network.uniform(16, "1Gbit/s", "1ms")
    >>> [round(round_seconds(design(name, 16), network, "100MB").seconds, 3) for name in ("ring", "one-peer-exponential")]
    [1.601, 0.801]
    """  # noqa: E501
    size = parse_size(message_bytes, "the size of a message")
    if not isinstance(what, Schedule):
        W = MixingMatrix.from_matrix(what)
        require_nodes(W.nodes // copies, network)
        return _phase_seconds(network, messages_of_matrix(W, copies), size)
    require_nodes(what.nodes, network)
    rule = what.rule
    if isinstance(rule, Pairwise):
        return _event_seconds(rule, network, size)
    return _mean([_round_seconds(rule, t, network, size) for t in rounds_looked_at(rule)])


def _round_seconds(rule: Kind, t: int, network: Network, size: float) -> RoundCost:
    parts = [_phase_seconds(network, messages, size) for messages in phases(rule, t)]
    return parts[0] if len(parts) == 1 else _sum(parts)


def _phase_seconds(network: Network, messages: MessageList, size: float) -> RoundCost:
    # Two states that one node needs of another travel in one message.
    return _cost(network, messages, np.ones(messages.source.size, dtype=np.int64), size)


def _sum(parts: Sequence[RoundCost]) -> RoundCost:
    seconds, transfer, latency, overhead, messages = (
        sum(getattr(part, name) for part in parts)
        for name in ("seconds", "transfer", "latency", "overhead", "messages")
    )
    slowest = max(parts, key=lambda part: part.seconds)
    return RoundCost(seconds, transfer, latency, overhead, slowest.bottleneck, messages)


def _mean(costs: Sequence[RoundCost]) -> RoundCost:
    total, k = _sum(costs), len(costs)
    usual = Counter(cost.bottleneck for cost in costs).most_common(1)[0][0]
    return RoundCost(
        total.seconds / k, total.transfer / k, total.latency / k, total.overhead / k, usual, total.messages / k
    )


def _event_seconds(rule: Pairwise, network: Network, size: float) -> RoundCost:
    rate = np.array([float(r) for r in rule.rates])
    u, v = rule.edges[:, 0], rule.edges[:, 1]
    source, target, often = np.concatenate((u, v)), np.concatenate((v, u)), np.tile(rate, 2)
    bandwidth, latency = network.link(source, target)
    _check_links(source, target, bandwidth)
    # Both directions of an exchange at once, one exchange of a node after the other.
    delay = np.maximum(*np.split(latency, 2)) + network.overhead
    alone = _exchange(network, u, v, np.minimum(*np.split(bandwidth, 2)), size)
    busy = np.bincount(u, (alone + delay) * rate, minlength=rule.nodes)
    busy += np.bincount(v, (alone + delay) * rate, minlength=rule.nodes)
    events = float(rate.sum())
    node = int(busy.argmax())
    worst = (float(busy[node]), f"the exchanges of node {node}")
    for shared in _shared(network, source, target):
        transfer, _ = _busy(shared, size * often, np.zeros(often.size))
        k = int(transfer.argmax())
        if transfer[k] > worst[0] * (1 + 1e-12):
            worst = (float(transfer[k]), shared.names(k))
    seconds, bottleneck = worst[0] / events, worst[1]
    waits = 0.0
    if bottleneck.startswith("the exchanges"):
        waits = float(((u == node) | (v == node)) @ (delay * rate)) / events
    return RoundCost(seconds, seconds - waits, waits, 0.0, bottleneck, 2.0)


def _exchange(network: Network, u: IntArray, v: IntArray, bandwidth: FloatArray, size: float) -> FloatArray:
    """Seconds in which two nodes pass their vectors to each other, with nothing else on the network."""
    hosts = network.hosts
    send, receive, both, inside = (
        np.array([getattr(host, what) for host in hosts]) for what in ("send", "receive", "both", "inside")
    )
    one, other = network.host_of[u], network.host_of[v]
    apart = np.minimum.reduce([send[one], send[other], receive[one], receive[other], both[one] / 2, both[other] / 2])
    apart = np.minimum(apart, network.fabric / 2)
    return np.asarray(size / np.minimum(bandwidth, np.where(one == other, inside[one] / 2, apart)), dtype=np.float64)


def bytes_per_node(what: Schedule | MatrixLike, message_bytes: str | float, *, copies: int = 1) -> BytesPerNode:
    """Count the bytes that a node sends in a round.

    Parameters
    ----------
    what, message_bytes, copies
        As in `round_seconds`.

    Examples
    --------
    >>> from topokit.designer import design
    >>> bytes_per_node(design("ring", 16), "100MB")
    BytesPerNode(mean=200000000.0, max=200000000.0)
    """
    size = parse_size(message_bytes, "the size of a message")
    if isinstance(what, Schedule):
        n, rule = what.nodes, what.rule
        rounds: list[list[MessageList]] = [
            [messages_of_matrix(rule.round(t))] if isinstance(rule, Pairwise) else list(phases(rule, t))
            for t in rounds_looked_at(rule)
        ]
    else:
        W = MixingMatrix.from_matrix(what)
        n, rounds = W.nodes // copies, [[messages_of_matrix(W, copies)]]
    sent = np.zeros((len(rounds), n))
    for row, parts in zip(sent, rounds, strict=True):
        for messages in parts:
            row += np.bincount(messages.source, messages.vectors, minlength=n)
    return BytesPerNode(float(sent.mean()) * size, float(sent.max()) * size)


def require_nodes(nodes: int, network: Network) -> None:
    """Refuse a network of another number of nodes.

    Raises
    ------
    InputError
    """
    if nodes != network.nodes:
        raise InputError(f"the schedule has {nodes} nodes and the network {network.nodes}; expected the same number")


def _check_nodes(network: Network, source: IntArray, target: IntArray) -> None:
    ends = np.concatenate((source, target))
    if ends.min() < 0 or ends.max() >= network.nodes:
        raise InputError(f"a message goes between nodes that are not there; they are numbered 0 to {network.nodes - 1}")
    if (source == target).any():
        raise InputError(f"node {source[source == target][0]} sends a message to itself; expected two nodes")


def _check_links(source: IntArray, target: IntArray, bandwidth: FloatArray) -> None:
    if np.isnan(bandwidth).any():
        k = int(np.isnan(bandwidth).argmax())
        raise InputError(f"the network has no link from node {source[k]} to node {target[k]}, which a message needs")
