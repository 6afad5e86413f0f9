"""The cost model: closed forms, a fluid simulation of fair sharing, and the definitions written out as loops."""

import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import topokit
from topokit.errors import InputError
from topokit.kinds import Pairwise
from topokit.matrix import MixingMatrix
from topokit.network import (
    Host,
    Link,
    Network,
    allreduce_seconds,
    bytes_per_node,
    consensus_seconds,
    message_seconds,
    predict,
    round_seconds,
)
from topokit.schedule import Schedule

B, A, M = 125e6, 1e-3, 100e6  # 1 Gbit/s, 1 ms, 100 MB


@pytest.mark.parametrize(
    ("name", "full", "half"),
    [("ring", 2, 4), ("complete", 15, 30), ("one-peer-exponential", 1, 2), ("star", 15, 30), ("torus", 4, 8)],
)
def test_equal_hosts(name, full, half):
    """Every peer costs M/B on the card of the busiest node, twice where both directions share it."""
    schedule = topokit.design(name, 16)
    for duplex, times in (("full", full), ("half", half)):
        cost = round_seconds(schedule, Network.uniform(16, B, A, duplex=duplex), M)
        assert cost.seconds == pytest.approx(A + times * M / B, rel=1e-12)
        assert (cost.latency, cost.overhead) == (pytest.approx(A), 0)


def test_nodes_share_the_card_of_their_host():
    schedule = topokit.design("two-level", 8, hosts=2, gpus=4)
    network = Network.uniform(8, B, A, nodes_per_host=4, inside_bandwidth=80e9, inside_latency=1e-6)
    inside, between = (round_seconds(schedule.round(t), network, M).seconds for t in (0, 1))
    # Inside, messages meet links of their own; between hosts four nodes send at once through one card.
    assert inside == pytest.approx(1e-6 + M / 80e9)
    assert between == pytest.approx(A + 4 * M / B)
    assert round_seconds(schedule, network, M).seconds == pytest.approx((inside + between) / 2)
    bus = Network((Host("a", tuple(range(8)), inside=10e9),), (Link(None, None, 80e9, 0.0),))
    assert round_seconds(schedule.round(0), bus, M).seconds == pytest.approx(24 * M / 10e9)


def test_bottlenecks_are_named():
    links = (Link(None, None, B, A), Link(2, 3, B / 10, 5 * A))
    hosts = tuple(Host(f"h{k}", (k,), B, B) for k in range(4))
    slow = (*hosts[:3], Host("slow", (3,), B, B / 4))
    pairs = [0, 1, 2], [1, 2, 3]
    cost = message_seconds(Network(hosts, links), *pairs, M)
    assert (cost.seconds, cost.bottleneck) == (pytest.approx(5 * A + 10 * M / B), "the link from node 2 to node 3")
    cost = message_seconds(Network(slow, links[:1]), *pairs, M)
    assert (cost.seconds, cost.bottleneck) == (pytest.approx(A + 4 * M / B), "what slow receives")
    cost = message_seconds(Network(hosts, links[:1], fabric=B), *pairs, M)
    assert (cost.seconds, cost.bottleneck) == (pytest.approx(A + 3 * M / B), "the fabric between the hosts")
    cost = message_seconds(Network(hosts, links[:1], overhead=A), [0, 0, 1], [1, 2, 2], M)
    assert (cost.overhead, cost.messages) == (pytest.approx(A), 3)
    assert cost.seconds == pytest.approx(2 * A + 2 * M / B)
    # Two messages of one pair are as long as one of their size, but two to handle.
    twice = message_seconds(Network(hosts, links[:1], overhead=A), [0, 0], [1, 1], M / 2)
    assert (twice.transfer, twice.overhead, twice.messages) == (pytest.approx(M / B), pytest.approx(A), 2)


def fluid(network, pairs, size):
    """Simulate max-min fair sharing: rates are filled up evenly until something is full, again when a message ends."""
    uses, capacity = [], {}
    for a, b in pairs:
        ha, hb = network.hosts[network.host_of[a]], network.hosts[network.host_of[b]]
        own = {("link", a, b): float(network.link([a], [b])[0][0])}
        if ha is hb:
            own["inside", ha.name] = ha.inside
        else:
            own |= {("send", ha.name): ha.send, ("receive", hb.name): hb.receive, ("fabric",): network.fabric}
            own |= {("both", ha.name): ha.both, ("both", hb.name): hb.both}
        uses.append(set(own))
        capacity |= own
    left = dict.fromkeys(range(len(pairs)), size)
    now = 0.0
    while left:
        rate, free, open_ones = {}, dict(capacity), set(left)
        while open_ones:
            share = {r: free[r] / k for r in free if (k := sum(r in uses[i] for i in open_ones))}
            tightest = min(share, key=share.get)
            for i in [i for i in open_ones if tightest in uses[i]]:
                rate[i] = share[tightest]
                open_ones.remove(i)
                for r in uses[i]:
                    free[r] = max(0.0, free[r] - rate[i])
        step = min(left[i] / rate[i] for i in left)
        now += step
        left = {i: v for i in left if (v := left[i] - rate[i] * step) > 1e-9 * size}
    return now


rates = st.sampled_from([1.0, 2.0, 3.0, 5.0, 10.0, np.inf])


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_equal_messages_share_fairly_and_meet_the_bound(data):
    n = data.draw(st.integers(2, 7))
    cut = data.draw(st.integers(1, n))
    groups = [tuple(range(cut)), *((k,) for k in range(cut, n))]
    hosts = tuple(Host(f"h{k}", g, *(data.draw(rates) for _ in range(4))) for k, g in enumerate(groups))
    links = (Link(None, None, 7.0, 0.0), *(Link(0, k, data.draw(rates), 0.0) for k in range(1, n)))
    network = Network(hosts, links, fabric=data.draw(rates))
    every = [(a, b) for a in range(n) for b in range(n) if a != b]
    pairs = data.draw(st.lists(st.sampled_from(every), min_size=1, unique=True))
    found = message_seconds(network, [a for a, _ in pairs], [b for _, b in pairs], 10.0).seconds
    expected = fluid(network, pairs, 10.0)
    assert found == pytest.approx(expected, rel=1e-6)


ends = st.one_of(st.none(), st.integers(0, 4), st.sampled_from(["a", "b"]))


@given(st.lists(st.tuples(ends, ends, st.integers(1, 9), st.integers(0, 9)), max_size=12))
@settings(max_examples=60, deadline=None)
def test_the_last_link_that_fits_holds(rows):
    network = Network((Host("a", (0, 3, 4)), Host("b", (1, 2))), tuple(Link(*row) for row in rows))
    pairs = [(i, j) for i in range(5) for j in range(5) if i != j]
    bandwidth, latency = network.link(*zip(*pairs, strict=True))

    def fits(end, node):
        return end is None or end == node or (isinstance(end, str) and node in {"a": (0, 3, 4), "b": (1, 2)}[end])

    for k, (i, j) in enumerate(pairs):
        last = [row for row in rows if fits(row[0], i) and fits(row[1], j)][-1:]
        expected = (last[0][2], last[0][3]) if last else (np.nan, np.nan)
        np.testing.assert_equal((bandwidth[k], latency[k]), expected)


@pytest.mark.parametrize("name", ["ring", "ceca-2p", "base-3", "exponential"])
def test_bytes_are_the_messages_of_the_report(name):
    schedule = topokit.design(name, 12)
    found = bytes_per_node(schedule, "1MB")
    assert found.mean == pytest.approx(1e6 * topokit.analyze(schedule).messages_per_node_and_round)
    assert found.max >= found.mean


def test_two_copies_that_one_node_needs_travel_in_one_message():
    half = np.full((2, 2), 0.5)
    eye = np.eye(2)
    both = np.block([[0.5 * half, 0.5 * half], [0 * half, half]])  # node 0 listens to both states of node 1
    plain = np.block([[half, 0 * half], [0 * half, eye]])
    network = Network.uniform(2, B, A)
    for matrix, vectors in ((both, 2), (plain, 1)):
        cost = round_seconds(MixingMatrix.from_matrix(matrix), network, M, copies=2)
        assert cost.seconds == pytest.approx(A + vectors * M / B)
        assert cost.messages == 2
        assert bytes_per_node(matrix, M, copies=2).mean == vectors * M


def test_rounds_drawn_at_random_are_averaged_over_the_first_hundred():
    schedule = topokit.design("epidemic", 8, peers=2)
    hosts = tuple(Host(f"h{k}", (k,), B / (1 + k), B) for k in range(8))
    network = Network(hosts, (Link(None, None, B, A),))
    expected = []
    for t in range(100):
        W = schedule.round(t).to_dense()
        target, source = np.nonzero(W * (1 - np.eye(8)))
        expected.append(A + max(
            *(np.sum(source == k) * M * (1 + k) / B for k in range(8)), *(np.sum(target == k) * M / B for k in range(8))
        ))  # fmt: skip
    assert round_seconds(schedule, network, M).seconds == pytest.approx(np.mean(expected))


def test_hand_overs_come_before_the_mixing():
    schedule = topokit.design("teleportation", 6, active=2, inner="complete")
    network = Network.uniform(6, B, A)
    expected, sent = [], 0
    for t in range(100):
        moved = 0 if t == 0 else np.sum(schedule.rule.holders(t)[0] != schedule.rule.holders(t - 1)[0])
        expected.append((A + M / B) * ((moved > 0) + 1))
        sent += moved + 2
    assert round_seconds(schedule, network, M).seconds == pytest.approx(np.mean(expected))
    assert bytes_per_node(schedule, M).mean == pytest.approx(sent * M / 600)


def test_pairwise_events_overlap():
    # On a ring of four with rate 1/2 a node takes part in one exchange a unit of time, and there are two events.
    ring = Schedule.of(Pairwise(4, [(0, 1), (1, 2), (2, 3), (3, 0)], ["1/2"] * 4, seed=0))
    network = Network.uniform(4, B, A)
    assert round_seconds(ring, network, M).seconds == pytest.approx((A + M / B) / 2)
    # Half a duplex: each exchange moves 2 M through the cards, one message a unit of time and direction.
    half = Network.uniform(4, B, A, duplex="half")
    assert round_seconds(ring, half, M).seconds == pytest.approx((A + 2 * M / B) / 2)
    assert bytes_per_node(ring, M).mean == pytest.approx(2 * M / 4)


@pytest.mark.parametrize("nodes", [1, 2, 5, 8, 13])
def test_all_reduce(nodes):
    network = Network.uniform(nodes, B, A)
    assert allreduce_seconds(network, M) == pytest.approx(2 * (nodes - 1) * (A + M / nodes / B))
    for segments in (1, 3):
        expected = sum(_tree_steps(nodes, segments, A, M / segments / B))
        assert allreduce_seconds(network, M, "tree", segments=segments) == pytest.approx(expected)


def _tree_steps(nodes, segments, latency, one):
    """Run the tree: in a step every node that has a piece of all its children sends it up; then pieces go down."""
    children = [[c for c in (2 * p + 1, 2 * p + 2) if c < nodes] for p in range(nodes)]
    sent = [0] * nodes
    while any(sent[k] < segments for k in range(1, nodes)):
        ready = [k for k in range(1, nodes) if sent[k] < segments and all(sent[c] > sent[k] for c in children[k])]
        for k in ready:
            sent[k] += 1
        yield latency + max(sum(c in ready for c in children[p]) for p in range(nodes)) * one
    got = [segments] + [0] * (nodes - 1)
    while any(pieces < segments for pieces in got):
        ready = [k for k in range(1, nodes) if got[(k - 1) // 2] > got[k]]
        for k in ready:
            got[k] += 1
        yield latency + max(sum(c in ready for c in children[p]) for p in range(nodes)) * one


def test_one_slow_link_slows_the_ring():
    network = Network(
        tuple(Host(f"h{k}", (k,), B, B) for k in range(4)), (Link(None, None, B, A), Link(3, 0, B / 8, A))
    )
    assert allreduce_seconds(network, M) == pytest.approx(6 * (A + 8 * M / 4 / B))


def test_seconds_until_consensus():
    network = Network.uniform(24, B, A)
    schedule = topokit.design("one-peer-exponential", 24)
    report = topokit.analyze(schedule)
    for known in (None, report):
        found = consensus_seconds(schedule, network, M, report=known)
        assert (found.worst_rounds, found.simulated_rounds) == (report.worst_case_rounds, report.simulated_rounds)
        assert found.worst_seconds == pytest.approx(report.worst_case_rounds * (A + M / B))
    assert consensus_seconds(schedule, network, M, 10).worst_rounds < report.worst_case_rounds
    prediction = predict(schedule, network, M, "1s")
    assert prediction.iteration_seconds == pytest.approx(1 + A + M / B)
    assert prediction.overlapped_seconds == 1
    assert prediction.to_dict()["round"]["seconds"] == prediction.round.seconds
    push_pull = consensus_seconds(topokit.design("tree-push-pull", 24), network, M)
    assert (push_pull.worst_rounds, push_pull.simulated_rounds) == (None, None)


def test_a_thousand_nodes_that_all_talk_take_no_time():
    W = MixingMatrix.from_matrix(np.full((1000, 1000), 1e-3))
    network = Network.uniform(1000, B, A, nodes_per_host=8)
    start = time.process_time()
    seconds = round_seconds(W, network, M).seconds
    assert time.process_time() - start < 1
    assert seconds == pytest.approx(A + 8 * 992 * M / B)


NETWORK = Network.uniform(4, B, A)


@pytest.mark.parametrize(
    ("attempt", "message"),
    [
        (lambda: round_seconds(topokit.design("ring", 5), NETWORK, M), "5 nodes and the network 4"),
        (lambda: message_seconds(NETWORK, [0], [4], M), "numbered 0 to 3"),
        (lambda: message_seconds(NETWORK, [2], [2], M), "node 2 sends a message to itself"),
        (lambda: message_seconds(Network(NETWORK.hosts, ()), [0], [1], M), "no link from node 0 to node 1"),
        (lambda: Network.uniform(4, B, nodes_per_host=3), "4 nodes do not fill hosts of 3"),
        (lambda: Network.uniform(4, B, duplex="both"), "expected 'full' or 'half'"),
        (lambda: Network.uniform(0, B), "at least one node"),
        (lambda: Network((Host("a", (0,)), Host("a", (1,))), ()), "two hosts are called a"),
        (lambda: Network((Host("a", (0,)), Host("b", (0,))), ()), "node 0 is on host a and on host b"),
        (lambda: Network((Host("a", (0, 2)),), ()), "node 1 is on no host"),
        (lambda: Network((Host("7", (0,)),), ()), "expected a name that is no number"),
        (lambda: Network((Host("a", (0,), send=0.0),), ()), "'send' of host a is 0.0"),
        (lambda: Network((Host("a", (0,)),), (Link("b", None, B),)), "the host b"),
        (lambda: Network((Host("a", (0,)),), (Link(0, 1, B),)), "names node 1"),
        (lambda: Network((Host("a", (0,)),), (Link(0, None, float("nan")),)), "from 0 to * is nan"),
        (lambda: allreduce_seconds(NETWORK, M, "butterfly"), "expected 'ring' or 'tree'"),
        (lambda: allreduce_seconds(NETWORK, M, "tree", segments=0), "expected at least 1"),
        (lambda: round_seconds(topokit.design("ring", 4), NETWORK, "100"), "the size of a message is '100'"),
    ],
)
def test_mistakes_are_said_in_a_sentence(attempt, message):
    with pytest.raises(InputError, match=r".*") as error:
        attempt()
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "network",
    [
        Network.uniform(2, "100B/s", 1.0, duplex="half"),
        Network.uniform(2, "100B/s", 1.0),
        Network((Host("a", (0,), 50.0, 100.0), Host("b", (1,), 100.0, 25.0)), (Link(None, None, math.inf, 2.0),)),
        Network(
            (Host("a", (0, 1), math.inf, math.inf, inside=100.0),), (Link(None, None, math.inf, 1.0),), overhead=5.0
        ),
    ],
)
def test_an_event_of_two_nodes_is_an_exchange(network):
    found = round_seconds(topokit.design("pairwise", 2), network, 100)
    assert found.seconds == pytest.approx(message_seconds(network, [0, 1], [1, 0], 100.0).seconds)


def test_a_slow_link_that_is_seldom_used_does_not_hide_a_full_card():
    hosts = [Host("a", (0, 1), 10.0, 10.0), Host("b", (2, 3), 10.0, 10.0)]
    hosts += [Host("c", (4,), math.inf, math.inf), Host("d", (5,), math.inf, math.inf)]
    links = (Link(None, None, math.inf, 0.0), Link("c", "d", math.inf, 100.0), Link("d", "c", math.inf, 100.0))
    edges, rates = [(0, 2), (1, 3), (0, 3), (1, 2), (4, 5), (3, 4)], [1, 1, 1, 1, 0.001, 0.001]
    schedule = Schedule.of(Pairwise(6, edges, rates, seed=0))
    found = round_seconds(schedule, Network(tuple(hosts), links), 10)
    assert found.seconds == pytest.approx(4.001 * 10 / 10 / 4.002, rel=1e-3)
