"""Seconds of a round of changing edges: against the cost model, one set of edges after the other."""

import math

import numpy as np
import pytest

from topokit.errors import InputError
from topokit.learned.seconds import RoundClock, linked_pairs, nic_load
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
def test_seconds_and_changes_are_those_of_the_cost_model(seed):
    rng = np.random.default_rng(seed)
    nodes = int(rng.integers(4, 11))
    network = random_network(rng, nodes, gaps=seed % 3 == 0)
    clock, allowed = RoundClock(network, 3.0), linked_pairs(network)
    edges = random_edges(rng, allowed, 0.5)
    state = clock.at(edges)
    assert state.seconds == pytest.approx(expected(network, edges, 3.0), rel=1e-12, abs=1e-12)
    outside = np.array([p for p in np.argwhere(np.triu(allowed, 1)).tolist() if p not in edges.tolist()]).reshape(-1, 2)
    removed, added, seconds = [], [], []
    for _ in range(60):
        out = rng.permutation(len(edges))[: rng.integers(0, 4)]
        into = rng.permutation(len(outside))[: rng.integers(0, 3)]
        seconds.append(expected(network, [*np.delete(edges, out, axis=0), *outside[into]], 3.0))
        for chosen, of, width, moves in ((out, edges, 3, removed), (into, outside, 2, added)):
            padded = np.full((width, 2), -1)
            padded[: len(chosen)] = of[chosen]
            moves.append(rng.permutation(padded))  # nothing may come first, and ends in any order
            moves[-1] = moves[-1][:, ::-1] if rng.random() < 0.5 else moves[-1]
    found = clock.after(state, np.array(removed), np.array(added))
    np.testing.assert_allclose(found, seconds, rtol=1e-12, atol=1e-12)


def test_no_edges_and_no_changes():
    clock = RoundClock(Network.uniform(4, "1Gbit/s"), "1MB")
    state = clock.at(np.zeros((0, 2), dtype=np.int64))
    assert state.seconds == 0.0
    nothing = np.full((2, 1, 2), -1)
    assert clock.after(state, nothing, nothing).tolist() == [0.0, 0.0]
    assert clock.after(state, nothing[:0], nothing[:0]).shape == (0,)
    assert clock.after(state, nothing[:, :0], np.array([[(0, 1)], [(2, 3)]])).tolist() == [0.008, 0.008]
    with pytest.raises(InputError, match="expected"):
        clock.after(state, nothing, nothing[:1])


def test_links_that_are_missing():
    network = Network(tuple(Host(f"h{k}", (k,)) for k in range(3)), (Link(0, 1, 1.0), Link(1, 0, 2.0), Link(1, 2, 1.0)))
    allowed = linked_pairs(network)
    assert allowed.tolist() == [[False, True, False], [True, False, False], [False, False, False]]
    clock = RoundClock(network, 1.0)
    assert (clock.linked == allowed).all()
    assert clock.seconds(np.array([(0, 1)])) == 1.0
    assert clock.seconds(np.array([(0, 1), (1, 2)])) == math.inf
    moves = clock.after(clock.at(np.array([(0, 1)])), np.full((2, 0, 2), -1), np.array([[(1, 2)], [(-1, -1)]]))
    assert moves.tolist() == [math.inf, 1.0]


def test_messages_through_cards():
    edges = np.array([(0, 1), (0, 4), (1, 5), (2, 6), (4, 5)])
    network = Network.uniform(8, "1Gbit/s", nodes_per_host=4)
    assert nic_load(edges, network.host_of).tolist() == [3, 3]
    assert nic_load(edges[:1], network.host_of, 2).tolist() == [0, 0]
    assert nic_load(np.zeros((0, 2)), [0, 0, 1]).tolist() == [0, 0]


def test_many_changes_of_a_large_graph_at_once():
    rng = np.random.default_rng(0)
    clock = RoundClock(Network.uniform(256, "1Gbit/s", "1ms", nodes_per_host=2), "1MB")
    edges = random_edges(rng, clock.linked, 0.02)
    removed = edges[rng.permuted(np.tile(np.arange(len(edges)), (2000, 1)), axis=1)[:, :2]]
    added = np.full((2000, 0, 2), -1)
    found = clock.after(clock.at(edges), removed, added)
    for k in range(0, 2000, 200):
        keep = (edges[:, None] != removed[k]).any(axis=2).all(axis=1)
        assert found[k] == pytest.approx(clock.seconds(edges[keep]), rel=1e-12)
