"""Sequences for hosts of several GPUs, where messages inside a host are cheap and those between hosts are not.

Node number = host * (GPUs per host) + local rank, as launchers number their ranks.
"""

from __future__ import annotations

from dataclasses import replace
from math import isqrt, lcm

import numpy as np

from topokit.errors import InputError
from topokit.matrix import IntArray, MixingMatrix
from topokit.registry import TOPOLOGIES, Promise, topology
from topokit.topologies.common import averaged_with
from topokit.topologies.underlying import rounds_obstacle, underlying_rounds

__all__ = ["inner_outer_exponential", "two_level"]


def _sides(nodes: int, hosts: int | None, gpus: int | None) -> tuple[int, int] | None:
    """Complete the number of hosts and of GPUs per host; None where they do not multiply to the number of nodes."""
    if hosts is None and gpus is None:
        hosts = next(h for h in range(isqrt(nodes), 0, -1) if nodes % h == 0)
    if hosts is None:
        assert gpus is not None
        hosts = nodes // gpus
    if gpus is None:
        gpus = nodes // hosts
    return (hosts, gpus) if hosts * gpus == nodes else None


def _no_sides(nodes: int, hosts: int | None, gpus: int | None, fewest: int) -> str | None:
    """Say why nodes do not fill several hosts with at least `fewest` GPUs each."""
    for name, side, least in (("hosts", hosts, 2), ("gpus", gpus, fewest)):
        if side is not None and side < least:
            raise InputError(f"{name} must be at least {least}, got {side}")
    if nodes < 2 * fewest:
        return f"needs at least {2 * fewest} nodes: 2 hosts of {fewest} GPUs"
    sides = _sides(nodes, hosts, gpus)
    if sides is None:
        if hosts is not None and gpus is not None:
            return f"needs {hosts * gpus} nodes for {hosts} hosts of {gpus} GPUs"
        given, side = (f"on {hosts} hosts", hosts) if gpus is None else (f"of {gpus} GPUs a host", gpus)
        return f"{given} needs a multiple of {side}"
    if sides[0] < 2 or sides[1] < fewest:
        return f"needs hosts x GPUs nodes, with at least 2 hosts of at least {fewest} GPUs"
    return None


def _no_two_level(
    nodes: int, hosts: int | None = None, gpus: int | None = None, outer: str = "exponential"
) -> str | None:
    reason = _no_sides(nodes, hosts, gpus, fewest=2)
    # The name of the outer topology is checked also where there is no number of hosts.
    sides = _sides(nodes, hosts, gpus) if reason is None else None
    among = rounds_obstacle(2 if sides is None else sides[0], outer)
    if sides is None:
        return reason
    return None if among is None else f"of {sides[0]} hosts does not exist with {outer} among them, which {among}"


def _two_level_promise(
    nodes: int, hosts: int | None = None, gpus: int | None = None, outer: str = "exponential"
) -> Promise:
    sides = _sides(nodes, hosts, gpus)
    assert sides is not None
    entry, parameters = TOPOLOGIES.resolve(outer)
    unknown = Promise(sides[0] - 1, 1 if entry.kind == "static" else None)
    among = entry.promise(sides[0], **parameters) if entry.promise else unknown
    period = None if among.period is None else 2 * among.period
    return Promise(max(sides[1] - 1, among.degree), period, among.exact)


@topology(
    "two-level",
    "sequence",
    summary="averages inside every host, then equal local ranks mix between hosts by any other topology",
    source="folklore (hierarchical averaging)",
    obstacle=_no_two_level,
    weights=None,
    directed=True,
    sizes="hosts x GPUs, at least 2 x 2",
    degree="max(GPUs - 1, outer's)",
    period="2 x outer's",
    exact="where outer is",
    promise=_two_level_promise,
    instead=("one-peer-exponential",),
)
def two_level(
    nodes: int, hosts: int | None = None, gpus: int | None = None, outer: str = "exponential"
) -> tuple[MixingMatrix, ...]:
    """Build rounds that alternate between averaging inside every host and mixing between the hosts.

    Even rounds are I (x) J_G: the G GPUs of every host average exactly (an all-reduce over the fast links). Odd rounds
    are W_t (x) I_G, W_t being the rounds of the outer topology among the hosts: every local rank mixes with the same
    local rank of other hosts. The product of two such rounds is W_t (x) J_G.

    Parameters
    ----------
    nodes : int
        Number of nodes, hosts * GPUs per host; node number = host * G + local rank.
    hosts, gpus : int, optional
        Number of hosts, and of GPUs per host, G: at least 2 each. One follows from the other. Default: the factors of
        `nodes` closest to each other, not more hosts than GPUs per host.
    outer : str, default "exponential"
        Name of a static topology or a sequence among the hosts, with its own weights.

    Returns
    -------
    tuple of MixingMatrix
        Twice as many rounds as the outer topology has. They average exactly if and only if the outer rounds do.

    Raises
    ------
    GraphError
        If the nodes do not fill the hosts, or the outer topology does not exist for this number of hosts.
    InputError
        If there is no such outer topology, or it has no rounds that average one value a node.

    Notes
    -----
    One round with the matrix W_t (x) J_G would do the same, but sends G times as many messages between hosts: from
    every GPU to all G of a neighbouring host rather than to one.

    Examples
    --------
    >>> inside, between = two_level(4)
    >>> inside.to_dense().tolist()[0], between.to_dense().tolist()[0]
    ([0.5, 0.5, 0.0, 0.0], [0.5, 0.0, 0.5, 0.0])
    """
    TOPOLOGIES["two-level"].require(nodes, hosts=hosts, gpus=gpus, outer=outer)
    sides = _sides(nodes, hosts, gpus)
    assert sides is not None
    inside = _inside(*sides)
    return tuple(
        W for between in underlying_rounds(sides[0], outer, seed=0) for W in (inside, _lifted(between, sides[1]))
    )


def _inside(hosts: int, gpus: int) -> MixingMatrix:
    """Give I (x) J_G."""
    first = np.arange(hosts).repeat(gpus * gpus) * gpus
    rank = np.tile(np.arange(gpus), hosts * gpus)
    ones = np.ones(first.size, dtype=np.int64)
    return MixingMatrix.from_entries(
        hosts * gpus,
        np.arange(hosts * gpus).repeat(gpus),
        first + rank,
        ones / gpus,
        numerator=ones,
        denominator=gpus * ones,
    )


def _lifted(W: MixingMatrix, gpus: int) -> MixingMatrix:
    """Give W (x) I_G, as exactly as W is known."""
    nodes = W.nodes * gpus
    if W.filter is not None:
        return MixingMatrix.from_filter(nodes, replace(W.filter, shift=W.filter.shift * gpus))
    rank = np.tile(np.arange(gpus), W.nonzeros)

    def each(values: IntArray) -> IntArray:
        return values.repeat(gpus)

    return MixingMatrix.from_entries(
        nodes,
        each(W.target) * gpus + rank,
        each(W.source) * gpus + rank,
        W.weight.repeat(gpus),
        numerator=None if W.numerator is None else each(W.numerator),
        denominator=None if W.denominator is None else each(W.denominator),
    )


def _no_inner_outer(nodes: int, hosts: int | None = None, gpus: int | None = None) -> str | None:
    return _no_sides(nodes, hosts, gpus, fewest=3)


def _distances(hosts: int, gpus: int) -> tuple[int, int]:
    """Give the numbers of distances between hosts and inside a host: ceil(log2 hosts) and ceil(log2(G - 1))."""
    return (hosts - 1).bit_length(), (gpus - 2).bit_length()


def _inner_outer_promise(nodes: int, hosts: int | None = None, gpus: int | None = None) -> Promise:
    sides = _sides(nodes, hosts, gpus)
    assert sides is not None
    # Products of halves are multiples of a power of 1/2, which 1/n has to be.
    return Promise(1, lcm(sides[1], *_distances(*sides)), None if nodes & (nodes - 1) == 0 else False)


@topology(
    "inner-outer-exponential",
    "sequence",
    summary="in turn one local rank of every host mixes with the next hosts, the others inside the host",
    source="BlueFog (Ying, Yuan, Hu, Chen, Yin 2021, arXiv 2111.04287)",
    obstacle=_no_inner_outer,
    weights=None,
    directed=True,
    sizes="hosts x GPUs, at least 2 x 3",
    degree="1",
    period="lcm(G, E_in, E_out)",
    exact="no",
    promise=_inner_outer_promise,
    instead=("one-peer-exponential",),
)
def inner_outer_exponential(nodes: int, hosts: int | None = None, gpus: int | None = None) -> tuple[MixingMatrix, ...]:
    """Build one period of BlueFog's one-peer sequence for hosts of several GPUs.

    In round t local rank t mod G of every host sends to the same local rank of the host at distance 2^(t mod E_out),
    so that one message leaves a host. The G - 1 other local ranks, in their cyclic order, send to the one at distance
    2^(t mod E_in) among them. Everybody takes the mean of its own value and the one it receives.

    Parameters
    ----------
    nodes : int
        Number of nodes, hosts * GPUs per host; node number = host * G + local rank.
    hosts, gpus : int, optional
        Number of hosts, at least 2, and of GPUs per host, G, at least 3. One follows from the other. Default: the
        factors of `nodes` closest to each other, not more hosts than GPUs per host.

    Returns
    -------
    tuple of MixingMatrix
        lcm(G, E_in, E_out) rounds, each doubly stochastic with one peer a node; E_out = ceil(log2 hosts) and
        E_in = ceil(log2(G - 1)).

    Raises
    ------
    GraphError
        If the nodes do not fill the hosts.

    Notes
    -----
    Messages go to the node at a distance, as in BlueFog; in `one_peer_exponential` they come from there. A local rank
    leaves its host in every G-th round only: where G and E_out have a common factor, it does not use all distances.

    References
    ----------
    .. [1] B. Ying, K. Yuan, H. Hu, Y. Chen, W. Yin, "BlueFog: Make Decentralized Algorithms Practical for Optimization
       and Deep Learning", 2021. The sequence is that of its ``GetInnerOuterExpo2DynamicSendRecvRanks``.

    Examples
    --------
    Two hosts of three GPUs: in round 0 nodes 0 and 3 exchange, and on each host the other two.

    >>> W = inner_outer_exponential(6)[0]
    >>> [int(np.flatnonzero(row)[np.flatnonzero(row) != i][0]) for i, row in enumerate(W.to_dense())]
    [3, 2, 1, 0, 5, 4]
    """
    TOPOLOGIES["inner-outer-exponential"].require(nodes, hosts=hosts, gpus=gpus)
    sides = _sides(nodes, hosts, gpus)
    assert sides is not None
    n_hosts, n_gpus = sides
    out_distances, in_distances = _distances(*sides)
    host, rank = np.divmod(np.arange(nodes), n_gpus)
    rounds = []
    for t in range(lcm(n_gpus, out_distances, in_distances)):
        outside = t % n_gpus
        from_host = (host - (1 << t % out_distances)) % n_hosts
        place = (rank - outside - 1) % n_gpus  # among those that stay, counted from the one that does not
        from_place = (place - (1 << t % in_distances)) % (n_gpus - 1)
        from_rank = (outside + 1 + from_place) % n_gpus
        source = np.where(rank == outside, from_host * n_gpus + rank, host * n_gpus + from_rank)
        rounds.append(averaged_with(source))
    return tuple(rounds)
