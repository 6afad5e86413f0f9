"""Seconds of a round on a set of edges: against the cost model."""

import math

import numpy as np
import pytest

from topokit.learned.seconds import RoundClock, linked_pairs
from topokit.matrix import MixingMatrix
from topokit.network import Host, Link, Network, round_seconds


def random_network(rng, nodes, *, gaps=False):
    """Hosts of different sizes, cards and latencies, a fabric, and links of their own between some nodes."""
    names = rng.integers(0, max(1, nodes // 2), nodes)
    rate = lambda: float(rng.choice([1.0, 2.0, 5.0, math.inf]))  # noqa: E731
    hosts = tuple(
        Host(f"h{k}", tuple(np.flatnonzero(names == k).tolist()), rate(), rate(), rate(), rate())
        for k in np.unique(names)
    )
    links = [] if gaps else [Link(None, None, 7.0, 0.25)]
    symmetric = rng.random() < 0.3
    for _ in range(4 * nodes):
        ends = [rng.choice([*range(nodes)]).item() if rng.random() < 0.7 else str(rng.choice(hosts).name) for _ in "ab"]
        bandwidth, latency = float(rng.integers(1, 9)), float(rng.integers(0, 4)) / 4
        links.append(Link(*ends, bandwidth, latency))
        if symmetric:
            links.append(Link(*ends[::-1], bandwidth, latency))
    return Network(hosts, tuple(links), fabric=rate(), overhead=float(rng.choice([0.0, 0.5])))


def expected(network, edges, size):
    W = np.eye(network.nodes)
    for u, v in edges:
        W[u, v] = W[v, u] = 0.5
    return round_seconds(MixingMatrix.from_matrix(W), network, size).seconds


def random_edges(rng, allowed, share):
    pairs = np.argwhere(np.triu(allowed, 1))
    return pairs[rng.random(len(pairs)) < share]


@pytest.mark.parametrize("seed", range(12))
def test_seconds_are_those_of_the_cost_model(seed):
    rng = np.random.default_rng(seed)
    nodes = int(rng.integers(4, 11))
    network = random_network(rng, nodes, gaps=seed % 3 == 0)
    clock, allowed = RoundClock(network, 3.0), linked_pairs(network)
    edges = random_edges(rng, allowed, 0.5)
    assert clock.seconds(edges) == pytest.approx(expected(network, edges, 3.0), rel=1e-12, abs=1e-12)
    for u, v in np.argwhere(allowed):
        (bandwidth, back), (latency, delay) = network.link([u, v], [v, u])
        assert clock.alone[u, v] == max(3 / bandwidth + latency, 3 / back + delay)
    assert np.isinf(clock.alone[~allowed & ~np.eye(nodes, dtype=bool)]).all()


def test_no_edges():
    assert RoundClock(Network.uniform(4, "1Gbit/s"), "1MB").seconds(np.zeros((0, 2), dtype=np.int64)) == 0.0


def test_links_that_are_missing():
    network = Network(tuple(Host(f"h{k}", (k,)) for k in range(3)), (Link(0, 1, 1.0), Link(1, 0, 2.0), Link(1, 2, 1.0)))
    allowed = linked_pairs(network)
    assert allowed.tolist() == [[False, True, False], [True, False, False], [False, False, False]]
    clock = RoundClock(network, 1.0)
    assert (clock.linked == allowed).all()
    assert clock.seconds(np.array([(0, 1)])) == 1.0
    assert clock.seconds(np.array([(0, 1), (1, 2)])) == math.inf
