"""Who hears what of whom, against lists of rounds and products with whole matrices."""

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from topokit.designer import design, design_matrix
from topokit.errors import InputError
from topokit.kinds import Cyclic, Drawn, Matchings, Pairwise, Sampled, Teleport
from topokit.matrix import MixingMatrix
from topokit.schedule import Schedule
from topokit_trainer.channels import ChannelPlans, Channels, require_channels
from topokit_trainer.world import World

ROUNDS = 300  # in which edges of random schedules that are not always open together are seen apart


def metropolis(edges, nodes):
    """Metropolis-Hastings weights of a graph."""
    graph = nx.Graph(edges)
    W = np.zeros((nodes, nodes))
    for i, j in graph.edges:
        W[i, j] = W[j, i] = 1 / (1 + max(graph.degree[i], graph.degree[j]))
    return MixingMatrix.from_matrix(W + np.diag(1 - W.sum(axis=1)))


STAR, PATH = [(0, k) for k in range(1, 8)], [(k, k + 1) for k in range(7)]
IRREGULAR = [STAR[:4], PATH, [*STAR, (3, 5)], [(6, 7)], PATH, []]  # the path comes twice in a period
SQUARE = [[(0, 1), (2, 3), (4, 5), (6, 7)], [(1, 2), (5, 6)], [(3, 4)], [(0, 7)]]
SCHEDULES = {
    "ring": design("ring", 8),
    "star": design("star", 8),
    "complete": design("complete", 8, weights="uniform"),
    "one-peer-hypercube": design("one-peer-hypercube", 8),
    "base-2": design("base-2", 8),
    "base of six": design("base", 6, peers=1),
    "irregular": Schedule.cyclic([metropolis(edges, 8) for edges in IRREGULAR]),
    "sampled": Schedule.of(
        Sampled([metropolis(edges, 8) for edges in IRREGULAR], [0.2, 0.2, 0.3, 0.1, 0.2, 0], seed=5)
    ),
    "matchings": Schedule.of(Matchings(8, SQUARE, [0.5, "1/3", 0.8, 0.25], 0.4, seed=1)),
    "matchings that are always there": Schedule.of(Matchings(8, SQUARE, [1, 1, 0.5, 1], 0.4, seed=1)),
    "matcha": design("matcha", 8, graph="torus", budget=0.5, seed=3),
}


def listed_rounds(schedule):
    return range(schedule.period or ROUNDS)


def open_rounds(schedule):
    """Give, for (listener, speaker), the rounds in which it hears it."""
    rounds = {}
    for t in listed_rounds(schedule):
        W = schedule.round(t).to_dense()
        for i, j in np.argwhere(W).tolist():
            if i != j:
                rounds.setdefault((i, j), []).append(t)
    return {edge: tuple(when) for edge, when in rounds.items()}


def channel_of(channels, i, j):
    return int(channels.of(np.array([i]), np.array([j]))[0])


@pytest.mark.parametrize("name", SCHEDULES)
def test_listeners_share_a_channel_where_they_listen_in_the_same_rounds(name):
    schedule = SCHEDULES[name]
    channels, heard, most = Channels(schedule), open_rounds(schedule), 0
    for speaker in range(schedule.nodes):
        patterns = {i: when for (i, j), when in heard.items() if j == speaker}
        found = {i: channel_of(channels, i, speaker) for i in patterns}
        groups = sorted(set(patterns.values()))
        pairs = {(found[i], patterns[i]) for i in patterns}
        assert len(pairs) == len(groups)
        assert sorted(set(found.values())) == list(range(len(groups)))
        if schedule.kind == "cyclic":  # numbered as they first open
            first = [when[0] for _, when in sorted(pairs)]
            assert first == sorted(first)
        most = max(most, len(groups))
    assert (channels.nodes, channels.count) == (schedule.nodes, most)


def test_some_have_one_channel_and_some_several():
    found = {name: Channels(schedule).count for name, schedule in SCHEDULES.items()}
    assert found["ring"] == found["star"] == found["complete"] == 1
    assert found["one-peer-hypercube"] == 3
    assert min(found["irregular"], found["sampled"], found["matchings"], found["matcha"]) >= 2


@pytest.mark.parametrize("name", SCHEDULES)
def test_apart_every_listener_has_a_channel_of_its_own(name):
    schedule = SCHEDULES[name]
    channels, heard = Channels(schedule, apart=True), open_rounds(schedule)
    degrees = []
    for speaker in range(schedule.nodes):
        numbers = [channel_of(channels, i, speaker) for i, j in sorted(heard) if j == speaker]
        assert sorted(numbers) == list(range(len(numbers)))
        degrees.append(len(numbers))
    assert channels.count == max(degrees)


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("name", SCHEDULES)
def test_over_its_channels_a_node_takes_what_the_round_says(name, apart):
    schedule = SCHEDULES[name]
    n, channels = schedule.nodes, Channels(schedule, apart)
    hats = np.random.default_rng(0).standard_normal((channels.count, n, 3))
    for t in list(listed_rounds(schedule))[:20]:
        W, S = schedule.round(t).to_dense(), channels.spread(schedule.round(t)).to_dense()
        expected = np.zeros((n, 3))
        for i, j in np.argwhere(W).tolist():
            if i != j:
                mine, theirs = hats[channel_of(channels, j, i), i], hats[channel_of(channels, i, j), j]
                expected[i] += W[i, j] * (theirs - mine)
        flat = hats.reshape(-1, 3)
        assert np.abs((S @ flat - flat).reshape(-1, n, 3).sum(axis=0) - expected).max() < 1e-14
        assert np.abs(S.sum(axis=1) - 1).max() < 1e-14
        assert np.array_equal(S, S.T)
        assert np.count_nonzero(S - np.diag(np.diag(S))) == np.count_nonzero(W - np.diag(np.diag(W)))


# What ranks do


def plans_of(schedule, size, apart=False):
    channels = Channels(schedule, apart)
    return channels, [ChannelPlans(channels, schedule, World(rank=rank, size=size)) for rank in range(size)]


def listeners_of(schedule, channels, t):
    """Give, for (node, channel), how many hear it in a round."""
    counts = {}
    W = schedule.round(t).to_dense()
    for i, j in np.argwhere(W).tolist():
        if i != j:
            key = (j, channel_of(channels, i, j))
            counts[key] = counts.get(key, 0) + 1
    return counts


def check_ranks(schedule, size, rounds, apart=False):
    """Let ranks without a network hand over rows by their plans, in rounds of which some rows are silent."""
    channels, plans = plans_of(schedule, size, apart)
    rng = np.random.default_rng(1)
    values = rng.standard_normal((channels.count, schedule.nodes, 2))
    for rank, plan in enumerate(plans):
        share = schedule.nodes // size
        assert plan.local == range(rank * share, (rank + 1) * share)
        assert plan.rows == channels.count * share
        assert not set(plan.local) & {node for node, _ in plan.arriving}

    def rows_of(rank):
        return np.stack([values[c, node] for node, c in map(plans[rank].node_of, range(plans[rank].rows))])

    for t in rounds:
        matrix, heard = schedule.round(t), listeners_of(schedule, channels, t)
        local = [plan(t) for plan in plans]
        for rank, here in enumerate(local):
            found = {plans[rank].node_of(row): int(k) for row, k in zip(here.rows, here.listeners, strict=True)}
            assert found == {key: k for key, k in heard.items() if key[0] in plans[rank].local}
            assert [plans[rank].node_of(row)[0] for row in here.rows] == [plans[rank].local[k] for k in here.owners]
            # A channel's row travels to another rank where a node there hears it, and only then.
            for peer in range(size):
                sent = {plans[rank].node_of(row) for row in here.plan.route.sends.get(peer, [])}
                W = matrix.to_dense()
                wanted = {
                    (j, channel_of(channels, i, j))
                    for i in plans[peer].local
                    for j in plans[rank].local
                    if peer != rank and W[i, j]
                }
                assert sent == wanted
                assert len(here.plan.route.sends.get(peer, [])) == len(wanted)
        S = channels.spread(matrix).to_dense()
        flat = values.reshape(-1, 2)
        expected = (S @ flat - flat).reshape(channels.count, schedule.nodes, 2)
        spoken = [rng.random(plan.rows) < 0.6 for plan in plans]
        for rank, here in enumerate(local):
            route, arrived, flags = here.plan.route, [], []
            for peer in sorted(route.receives):
                rows = local[peer].plan.route.sends[rank]
                assert rows.tolist() == route.receives[peer].tolist()
                arrived += [(plans[peer].node_of(row), rows_of(peer)[row]) for row in rows]
                flags += spoken[peer][rows].tolist()
            assert sorted(peer for peer in range(size) if rank in local[peer].plan.route.sends) == sorted(
                route.receives
            )
            assert [plans[rank].arriving[k] for k in here.kept] == [key for key, _ in arrived]
            received = torch.from_numpy(np.stack([row for _, row in arrived])) if arrived else None
            change = here.plan.operator.correction(torch.from_numpy(rows_of(rank)[here.rows]), received).numpy()
            wanted = np.stack([expected[c, node] for node, c in map(plans[rank].node_of, range(plans[rank].rows))])
            assert np.abs(change - wanted[here.rows]).max(initial=0.0) < 1e-14
            assert not np.delete(wanted, here.rows, axis=0).any()
            # With silent rows left out, both sides still mean the same rows.
            narrow = route.narrowed(_places(spoken[rank]), np.array(flags, dtype=bool))
            got = []
            for peer in sorted(narrow.receives):
                sends = local[peer].plan.route.narrowed(_places(spoken[peer]), _flags(local, spoken, peer)).sends
                speaking = np.flatnonzero(spoken[peer])[sends[rank]]
                assert speaking.tolist() == narrow.receives[peer].tolist()
                got += [plans[peer].node_of(row) for row in speaking]
            assert got == [key for (key, _), flag in zip(arrived, flags, strict=True) if flag]


def _places(spoken):
    return np.where(spoken, np.cumsum(spoken) - 1, -1)


def _flags(local, spoken, rank):
    receives = local[rank].plan.route.receives
    parts = [spoken[peer][local[peer].plan.route.sends[rank]] for peer in sorted(receives)]
    return np.concatenate([np.zeros(0, dtype=bool), *parts])


@pytest.mark.parametrize("size", [1, 2, 4, 8])
@pytest.mark.parametrize("name", [name for name, schedule in SCHEDULES.items() if schedule.nodes == 8])
def test_ranks_send_what_the_others_expect_and_know_whose_it_is(name, size):
    check_ranks(SCHEDULES[name], size, list(listed_rounds(SCHEDULES[name]))[:4])


@pytest.mark.parametrize("name", ["star", "irregular"])
def test_ranks_do_so_with_a_channel_for_each_listener(name):
    check_ranks(SCHEDULES[name], 4, listed_rounds(SCHEDULES[name]), apart=True)


@st.composite
def lists_of_graphs(draw):
    nodes = draw(st.sampled_from([2, 4, 6]))
    pairs = [(i, j) for i in range(nodes) for j in range(i)]
    graphs = draw(st.lists(st.lists(st.sampled_from(pairs), unique=True), min_size=1, max_size=5))
    size = draw(st.sampled_from([size for size in (1, 2, 3, 6) if nodes % size == 0]))
    return Schedule(Cyclic([metropolis(edges, nodes) for edges in graphs])), size


@effort(max_examples=40, deadline=None)
@given(lists_of_graphs())
def test_any_list_of_graphs_will_do(case):
    schedule, size = case
    check_ranks(schedule, size, range(schedule.period))


def test_all_channels_together_are_what_ever_arrives():
    schedule = SCHEDULES["irregular"]
    for size in (2, 8):
        channels, plans = plans_of(schedule, size)
        for plan in plans:
            ever = {
                (j, channel_of(channels, i, j))
                for i, j in open_rounds(schedule)
                if i in plan.local and j not in plan.local
            }
            assert set(plan.arriving) == ever
            assert len(plan.arriving) == len(ever)
            assert plan.arriving == sorted(plan.arriving, key=lambda key: (key[0] * size // 8, key[1], key[0]))
            assert sum(map(len, plan.everything.receives.values())) == len(ever)


def test_weights_of_zero_open_nothing():
    # Files may hold them; nodes 0 and 2 have one in one round, and another weight in the other.
    def matrix(weight):
        W = {(0, 1): 0.25, (1, 2): 0.25, (2, 3): 0.25, (0, 2): weight, (0, 3): 0.0}
        both = W | {(j, i): w for (i, j), w in W.items()}
        own = {(i, i): 1 - sum(w for (k, _), w in both.items() if k == i) for i in range(4)}
        entries = both | own
        return MixingMatrix.from_entries(4, *zip(*entries, strict=True), list(entries.values()))

    for rounds in ([matrix(0.0)], [matrix(0.0), matrix(0.125)]):
        schedule = Schedule.cyclic(rounds)
        assert Channels(schedule).count == len(rounds)
        check_ranks(schedule, 4, range(len(rounds)))
        check_ranks(schedule, 2, range(len(rounds)))


def test_plans_of_rounds_that_come_back_are_made_once():
    (plan,) = plans_of(SCHEDULES["irregular"], 1)[1]
    assert plan(1) is plan(7)
    assert plan(1) is not plan(0)
    (drawn,) = plans_of(SCHEDULES["sampled"], 1)[1]
    first = drawn(3)
    assert drawn(3) is first
    drawn(4)
    assert drawn(3) is not first
    assert np.array_equal(drawn(3).rows, first.rows)


# What is refused

DIRECTED = design("one-peer-exponential", 8)


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        (DIRECTED, "^gossip needs symmetric mixing matrices, and those of one-peer-exponential-8 are not$"),
        (
            Schedule.of(Sampled(DIRECTED.rounds, [0.5, 0.25, 0.25], seed=0)),
            "^gossip needs symmetric mixing matrices, and those of schedule-8 are not$",
        ),
        (
            design_matrix(np.array([[0.5, 0.3, 0.2], [0.2, 0.5, 0.3], [0.3, 0.2, 0.5]])),
            "^gossip needs symmetric mixing matrices",
        ),
        (
            Schedule.of(Drawn(6, "matching", {}, seed=4)),
            "^gossip: every node keeps track of those it may hear, in schedule-6 all others; take a "
            r"schedule of given graphs \(cyclic, sampled from a list, or matchings\)$",
        ),
        (Schedule.of(Teleport(4, [design("ring", 2).rounds], seed=0)), "^gossip: every node keeps track"),
    ],
)
def test_other_schedules_are_refused(schedule, words):
    with pytest.raises(InputError, match=words):
        require_channels(schedule, "gossip")


def test_what_can_never_come_up_is_not_asked():
    ring, directed = design("ring", 8).rounds[0], DIRECTED.rounds[0]
    require_channels(Schedule.of(Sampled([ring, directed], [1, 0], seed=0)), "gossip")
    assert Channels(Schedule.of(Sampled([ring, directed], [1, 0], seed=0))).count == 1


@pytest.mark.parametrize("name", SCHEDULES)
def test_symmetric_rounds_of_given_graphs_are_taken(name):
    require_channels(SCHEDULES[name], "gossip")


def test_pairs_are_connected_by_given_graphs():
    require_channels(Schedule.of(Pairwise(3, [(0, 1), (1, 2)], [1, 1], seed=0)), "gossip")


@pytest.mark.parametrize("rule", [Cyclic([MixingMatrix.from_matrix(np.eye(1))]), Matchings(1, [[]], [0], 0.5, seed=0)])
def test_one_node_has_nobody_to_talk_to(rule):
    schedule = Schedule.of(rule)
    require_channels(schedule, "gossip")
    check_ranks(schedule, 1, range(2))
    assert Channels(schedule).count == 1
