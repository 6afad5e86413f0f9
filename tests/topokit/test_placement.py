"""Placements: against all permutations, known optima, and the cost model applied to the renumbered schedule."""

import itertools
import math
import time
from fractions import Fraction

import networkx as nx
import numpy as np
import pytest

from tests.topokit.test_round_seconds import random_network
from topokit.designer import design, design_graph
from topokit.errors import InputError
from topokit.kinds import Sampled
from topokit.learned.placement.placed_rounds import PlacedRounds, rounds_of
from topokit.learned.placement.placement import place
from topokit.learned.placement.renumbering import renumbered
from topokit.learned.placement.search import kinds_of_places
from topokit.matrix import MixingMatrix
from topokit.network import Host, Link, Network, round_seconds
from topokit.optimal.recheck import check_optimality
from topokit.schedule import Place, Schedule

NAMES = ("ring", "one-peer-exponential", "ceca-2p", "matcha", "star", "path", "grid", "random-matching")


def shuffled(schedule, seed=0):
    return renumbered(schedule, np.random.default_rng(seed).permutation(schedule.nodes))


def edges_of(schedule, t=0):
    W = schedule.round(t)
    return np.stack((W.source, W.target), axis=1)[W.source < W.target]


@pytest.mark.parametrize("seed", range(16))
def test_no_permutation_of_few_nodes_is_better(seed):
    rng = np.random.default_rng(100 + seed)
    nodes = int(rng.integers(4, 7))
    network, schedule = random_network(rng, nodes), design(NAMES[seed % 7], nodes)
    every = np.array(list(itertools.permutations(range(nodes))))
    seconds = PlacedRounds(rounds_of(schedule), network, 3.0).seconds(every)
    for k in (0, len(every) // 2, int(seconds.argmin())):
        expected = round_seconds(renumbered(schedule, every[k]), network, 3.0).seconds
        assert seconds[k] == pytest.approx(expected, rel=1e-12)
    found = place(schedule, network, 3.0)
    assert found.seconds == pytest.approx(seconds.min(), rel=1e-12)
    assert found.before == pytest.approx(round_seconds(schedule, network, 3.0).seconds, rel=1e-12)
    assert found.lower <= found.seconds * (1 + 1e-12)


@pytest.mark.parametrize("seed", range(16))
def test_estimates_of_swaps(seed):
    """They are never above what a swap brings, and equal it where all latencies are equal."""
    rng = np.random.default_rng(seed)
    nodes = 8
    network, schedule = random_network(rng, nodes), design(NAMES[seed % 8], nodes)
    if seed >= 8:
        network = Network(network.hosts, (Link(None, None, 7.0, 0.25),), network.fabric, network.overhead)
    rounds = PlacedRounds(rounds_of(schedule), network, 3.0)
    state = rounds.at(rng.permutation(nodes))
    assert state.seconds == pytest.approx(rounds.seconds(state.place[None])[0], rel=1e-12)
    first, second = np.array(list(itertools.combinations(range(nodes), 2))).T
    for i, j, estimate, squares in zip(first, second, *rounds.swaps(state, first, second), strict=True):
        swapped = state.place.copy()
        swapped[[i, j]] = swapped[[j, i]]
        after = rounds.at(swapped)
        assert (estimate <= after.busy + after.delay + 1e-12).all()
        np.testing.assert_allclose(squares, after.squares, rtol=1e-12)
        if seed >= 8:
            # What counts as nothing is only the latency of a thing that all messages have left.
            np.testing.assert_allclose(estimate.max(axis=1), (after.busy + after.delay).max(axis=1), atol=0.26)


def test_ring_on_hosts_has_two_messages_a_card():
    for hosts, each in ((2, 8), (8, 4), (4, 16)):
        network = Network.uniform(hosts * each, 1.0, nodes_per_host=each)
        ring = shuffled(design("ring", hosts * each))
        found = place(ring, network, 1.0, restarts=6)
        there = found.relabelled(ring)
        assert found.seconds == 2.0
        ends = network.host_of[edges_of(there)]
        assert np.bincount(ends[ends[:, 0] != ends[:, 1]].ravel()).tolist() == [2] * hosts
        assert round_seconds(there, network, 1.0).seconds == 2.0


def test_hypercube_on_four_hosts_gets_subcubes():
    network = Network.uniform(32, 1.0, nodes_per_host=8)
    cube = shuffled(design("hypercube", 32))
    assert place(cube, network, 1.0).seconds == 16.0  # two of five dimensions leave a subcube of eight nodes


@pytest.mark.parametrize("name", ["one-peer-exponential", "one-peer-hypercube", "two-level", "matcha"])
def test_shuffled_schedules_are_no_worse_than_as_designed(name):
    network = Network.uniform(32, 1.0, nodes_per_host=8, inside_bandwidth=100.0)
    schedule = design(name, 32, **({"hosts": 4} if name == "two-level" else {}))
    mixed_up = shuffled(schedule, 3)
    found = place(mixed_up, network, 1.0, seed=1, restarts=1 if name == "matcha" else 12)
    assert found.seconds <= round_seconds(schedule, network, 1.0).seconds * (1 + 1e-12)
    there = found.relabelled(mixed_up)
    assert round_seconds(there, network, 1.0).seconds == pytest.approx(found.seconds, rel=1e-12)
    assert round_seconds(mixed_up, network, 1.0).seconds == pytest.approx(found.before, rel=1e-12)
    assert there.claims == mixed_up.claims


def test_one_peer_exponential_is_better_off_elsewhere():
    """Of distances 1, 2, 4, 8, 16, those of 4 and more stay on hosts that hold the nodes of one residue modulo 4."""
    network = Network.uniform(32, 1.0, nodes_per_host=8)
    schedule = design("one-peer-exponential", 32)
    residues = renumbered(schedule, 8 * (np.arange(32) % 4) + np.arange(32) // 4)
    found = place(schedule, network, 1.0)
    assert found.before == pytest.approx((1 + 2 + 4 + 8 + 8) / 5)
    assert found.seconds == pytest.approx((8 + 8 + 0 + 0 + 0) / 5)
    assert round_seconds(residues, network, 1.0).seconds == pytest.approx(found.seconds)


def test_a_slow_link_and_uneven_cards():
    hosts = tuple(
        Host(f"h{k}", tuple(range(8 * k, 8 * k + 8)), rate, rate) for k, rate in enumerate((4.0, 1.0, 4.0, 2.0))
    )
    slow = (Link("h0", "h2", 0.5, 1.0), Link("h2", "h0", 0.5, 1.0))
    network = Network(hosts, (Link(None, None, 10.0, 0.0), *slow))
    # The card of h1 passes two messages; the slow link is not used on the way around: h0, h1, h2, h3.
    for ring in (design("ring", 32), shuffled(design("ring", 32), 5)):
        assert place(ring, network, 1.0, restarts=8).seconds == 2.0


def test_places_and_files(tmp_path):
    network = Network.uniform(8, 1.0, nodes_per_host=4)
    ring = shuffled(design("ring", 8))
    found = place(ring, network, 1.0)
    there = found.relabelled(ring, device="cuda")
    assert there.placement == tuple(Place(i, f"host{i // 4}", i, f"cuda:{i % 4}") for i in range(8))
    assert found.relabelled(ring, nodes_per_rank=2).placement[5] == Place(5, "host1", 2, None)
    own = found.places()
    assert [place.node for place in own] == list(range(8))
    assert [place.rank for place in own] == found.permutation.tolist()
    for path in (tmp_path / "a.json", tmp_path / "a.npz"):
        there.save(path)
        loaded = Schedule.load(path)
        assert (loaded.placement, loaded.content_hash) == (there.placement, there.content_hash)
    with pytest.raises(InputError, match="8 nodes do not fill ranks of 3"):
        found.places(nodes_per_rank=3)
    assert found.sentence() == "placed: 2 s a round, 6 s as numbered, no less than 1.17 s anywhere"


def test_the_same_seed_gives_the_same_place():
    network = Network.uniform(24, 1.0, nodes_per_host=6)
    schedule = shuffled(design("random-regular", 24, degree=4, seed=0))
    found = [place(schedule, network, 1.0, seed=seed, restarts=3) for seed in (7, 7)]
    assert np.array_equal(found[0].permutation, found[1].permutation)
    assert sorted(found[0].permutation.tolist()) == list(range(24))


def test_links_that_are_missing():
    names = tuple(Host(f"h{k}", (k,)) for k in range(6))
    order = [0, 3, 1, 5, 2, 4]
    links = [Link(a, b, 1.0) for k, a in enumerate(order) for b in (order[k - 1], order[(k + 1) % 6])]
    network = Network(names, tuple(links))
    found = place(design("ring", 6), network, 2.0)
    assert (found.before, found.seconds) == (math.inf, 2.0)
    assert round_seconds(found.relabelled(design("ring", 6)), network, 2.0).seconds == 2.0
    assert "without a link as numbered" in found.sentence()
    with pytest.raises(InputError, match=r"no placement was found .* star-6 has a link; in the best, \d+ have none"):
        place(design("star", 6), network, 2.0)


def test_what_cannot_be_placed():
    network = Network.uniform(8, 1.0)
    for name, match in (("random-matching", "by node number"), ("pairwise", "pairwise"), ("ring", "same number")):
        nodes = 7 if name == "ring" else 8
        with pytest.raises(InputError, match=match):
            place(design(name, nodes), network, 1.0)
    with pytest.raises(InputError, match="each of the nodes 0 to 2 once"):
        renumbered(design("path", 3), [0, 1, 1])


def test_time_and_interrupts_keep_the_best():
    network = Network.uniform(64, 1.0, nodes_per_host=8)
    torus = shuffled(design("torus", 64))
    late = place(torus, network, 1.0, deadline=time.monotonic())
    assert late.stopped == "time"
    assert late.seconds <= late.before
    told = []

    def stop(progress):
        told.append(progress.sentence())
        raise KeyboardInterrupt

    found = place(torus, network, 1.0, tell=stop)
    assert found.stopped == "interrupt"
    assert found.seconds < found.before
    assert len(told) == 1
    assert f"{found.seconds:.3g} s a round, no less than {found.lower:.3g} s" in told[0]


def test_a_thousand_nodes():
    network = Network.uniform(1024, 1.0, nodes_per_host=8)
    ring = shuffled(design("ring", 1024))
    begin = time.perf_counter()
    found = place(ring, network, 1.0, restarts=1, deadline=time.monotonic() + 1.5)
    assert time.perf_counter() - begin < 10
    assert found.seconds < found.before


def test_nodes_that_can_change_places():
    hosts = (Host("a", (0, 2, 4)), Host("b", (1, 3)))
    network = Network(hosts, (Link(None, None, 5.0), Link("a", "a", 9.0), Link(2, 3, 1.0)))
    assert kinds_of_places(network).tolist() == [0, 2, 1, 3, 0]
    plain = Network(hosts, (Link(None, None, 5.0), Link("a", "a", 9.0)))
    assert kinds_of_places(plain).tolist() == [0, 1, 0, 1, 0]


@pytest.mark.parametrize(
    "name", ["metropolis", "fdla", "one-peer-exponential", "ceca-2p", "matcha", "pairwise", "null-cascade"]
)
def test_renumbering_moves_rows_and_columns(name):
    if name in ("metropolis", "fdla"):
        schedule = design("grid", 10, weights="fdla" if name == "fdla" else "metropolis-hastings")
    else:
        schedule = design(name, 10)
    new = np.random.default_rng(2).permutation(10)
    there = renumbered(schedule, new)
    rows = np.concatenate([new + 10 * copy for copy in range(schedule.copies)])
    for t in range(5):
        before, after = schedule.round(t), there.round(t)
        assert np.array_equal(after.to_dense()[np.ix_(rows, rows)], before.to_dense())
        assert after.is_exact == before.is_exact
    assert there.provenance["order"] == np.argsort(new).tolist()
    assert there.provenance["topology"] == schedule.provenance["topology"]
    assert np.array_equal(renumbered(there, np.argsort(new)).round(0).to_dense(), schedule.round(0).to_dense())
    if name != "null-cascade":
        assert there.claims == schedule.claims


def test_renumbering_keeps_certificates():
    one_way = nx.DiGraph([(i, (i + j) % 8) for i in range(8) for j in (1, 3)])
    for schedule in (design("torus", 12, weights="fmmc"), design_graph(one_way, "fdla")):
        before, after = check_optimality(schedule), check_optimality(shuffled(schedule))
        assert after.lower == pytest.approx(before.lower, abs=1e-12)
        assert after.width < 1e-9


def test_renumbering_keeps_fractions_draws_and_names():
    half, one = Fraction(1, 2), Fraction(1)
    rounds = [
        MixingMatrix.from_fractions(3, [0, 0, 1, 1, 2], [0, 1, 0, 1, 2], [half] * 4 + [one]),
        MixingMatrix.from_fractions(3, [0, 1, 1, 2, 2], [0, 1, 2, 1, 2], [one] + [half] * 4),
    ]
    named = Schedule.cyclic(rounds, provenance={"labels": ["a", "b", "c"]}, placement=[Place(1, "host", 4)])
    there = renumbered(named, [2, 0, 1])
    assert there.provenance["labels"] == ["b", "c", "a"]
    assert there.provenance["of"] == named.content_hash
    assert there.placement == (Place(0, "host", 4),)
    assert there.round(1).fractions() == [half] * 4 + [one]
    drawn = Schedule.of(Sampled(rounds, ["1/3", "2/3"], seed=5))
    there = renumbered(drawn, [2, 0, 1])
    assert there.rule.probabilities == drawn.rule.probabilities
    for t in range(6):
        assert np.array_equal(there.round(t).to_dense()[np.ix_([2, 0, 1], [2, 0, 1])], drawn.round(t).to_dense())


def test_null_filters_outlive_only_the_numbering_as_it_is():
    schedule = design("null-cascade", 10)
    assert renumbered(schedule, np.arange(10)).claims.exact_averaging
    elsewhere = shuffled(schedule)
    assert elsewhere.claims.exact_averaging is None
    assert elsewhere.claims.period_contraction < 1e-15
