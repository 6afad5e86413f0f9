"""Simulated clocks: their statistics, what they are drawn from, and waves that do the same as events one by one."""

import numpy as np
import pytest
from scipy import stats

from topokit.designer import design
from topokit.errors import InputError
from topokit.kinds import Pairwise
from topokit_trainer.asynchronous.events import Clocks, Events, speeds_of, waves

EDGES = [(0, 1), (1, 2), (2, 3), (0, 3), (0, 2)]
RATES = [0.5, 0.25, 1.0, 0.125, 2.0]
SPEEDS = np.array([1.0, 0.1, 3.0, 1.0])
UNITS = 2500


def clocks(seed=1, schedule_seed=2, partners=False):
    return Clocks(Pairwise(4, EDGES, RATES, seed=schedule_seed), SPEEDS, seed, partners)


def together(drawn):
    return [np.concatenate([getattr(events, name) for events in drawn]) for name in ("times", "node", "partner")]


def poisson_like(counts, rate):
    """Mean and variance of many counts are those of a Poisson variable, within five standard errors."""
    error = np.sqrt(rate / len(counts))
    assert abs(counts.mean() - rate) < 5 * error
    spread = np.sqrt((rate + 2 * rate**2) / len(counts))  # fourth central moment of a Poisson variable less rate^2
    assert abs(counts.var() - rate) < 5 * spread


def test_clocks_tick_as_poisson_processes_of_their_rates():
    drawn = [clocks().events(t) for t in range(UNITS)]
    times, node, partner = together(drawn)
    for i, speed in enumerate(SPEEDS):
        poisson_like(np.array([np.sum((e.node == i) & (e.partner < 0)) for e in drawn]), speed)
        assert stats.kstest(times[(node == i) & (partner < 0)], "uniform").pvalue > 1e-3
    for (i, j), rate in zip(EDGES, RATES, strict=True):
        fired = [(np.minimum(e.node, e.partner) == i) & (np.maximum(e.node, e.partner) == j) for e in drawn]
        poisson_like(np.array([np.sum(f) for f in fired]), rate)
        assert stats.kstest(times[np.concatenate(fired)], "uniform").pvalue > 1e-3
    assert sum(events.averagings for events in drawn) == np.sum(partner >= 0)
    assert all((np.diff(events.times) >= 0).all() for events in drawn)


def test_clocks_do_not_know_of_one_another():
    drawn = [clocks().events(t) for t in range(UNITS)]
    counts = np.array([[np.sum((e.node == i) & (e.partner < 0)) for i in range(4)] + [e.averagings] for e in drawn])
    apart = np.corrcoef(counts.T) - np.eye(5)
    assert np.abs(apart).max() < 5 / np.sqrt(UNITS)
    after = np.corrcoef(counts[:-1, 0], counts[1:, 0])[0, 1]
    assert abs(after) < 5 / np.sqrt(UNITS)


def test_draws_are_by_key():
    def same(a, b):
        return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ("times", "node", "partner"))

    assert same(clocks().events(5), clocks().events(5))
    assert not same(clocks().events(5), clocks().events(6))
    mine, other = clocks().events(5), clocks(schedule_seed=3).events(5)
    gradients, others = mine.partner < 0, other.partner < 0
    assert np.array_equal(mine.times[gradients], other.times[others])
    assert not np.array_equal(mine.times[~gradients], other.times[~others])
    rerun = clocks(seed=9).events(5)
    assert np.array_equal(mine.times[~gradients], rerun.times[rerun.partner >= 0])
    assert not np.array_equal(mine.times[gradients], rerun.times[rerun.partner < 0])
    wide = Clocks(Pairwise(4, EDGES, RATES, seed=2**64 - 1), SPEEDS, 2**40)
    assert same(wide.events(10**9), wide.events(10**9))


def test_partners_come_with_gradients_in_proportion_to_the_rates():
    drawn = [clocks(partners=True).events(t) for t in range(UNITS)]
    for events in drawn:
        assert (events.partner[::2] >= 0).all()
        assert (events.partner[1::2] < 0).all()
        assert np.array_equal(events.node[::2], events.node[1::2])
        assert np.array_equal(events.times[::2], events.times[1::2])
    plain = [clocks().events(t) for t in range(UNITS)]
    gradients = [e.node[e.partner < 0] for e in plain]
    assert all(np.array_equal(e.node[1::2], found) for e, found in zip(drawn, gradients, strict=True))
    _, node, partner = together(drawn)
    chances = np.zeros((4, 4))
    for (i, j), rate in zip(EDGES, RATES, strict=True):
        chances[i, j] = chances[j, i] = rate
    for i in range(4):
        chosen = partner[(node == i) & (partner >= 0)]
        expected = chances[i] / chances[i].sum() * len(chosen)
        found = np.bincount(chosen, minlength=4)
        assert (found[expected == 0] == 0).all()
        assert stats.chisquare(found[expected > 0], expected[expected > 0]).pvalue > 1e-3


@pytest.mark.parametrize("partners", [False, True])
@pytest.mark.parametrize("graph", ["ring", "star", "complete"])
def test_waves_are_the_events_in_another_order_that_no_node_notices(graph, partners):
    schedule = design("pairwise", 12, graph=graph, rate=3, seed=1)
    source = Clocks(schedule.rule, np.ones(12), seed=4, partners=partners)
    for t in range(8):
        events = source.events(t)
        order = []
        for wave in waves(events, 12):
            members = np.concatenate((wave.node, wave.partner[wave.partner >= 0]))
            assert len(set(members.tolist())) == len(members)
            assert wave.averages == (wave.partner >= 0).all() == (wave.partner >= 0).any()
            order += list(zip(wave.times.tolist(), wave.node.tolist(), wave.partner.tolist(), strict=True))
        given = list(zip(events.times.tolist(), events.node.tolist(), events.partner.tolist(), strict=True))
        assert sorted(order) == sorted(given)
        for node in range(12):
            assert [e for e in order if node in e[1:]] == [e for e in given if node in e[1:]]


def fewest_stages(events, nodes):
    """The longest chain of gradients, each after the one before: there cannot be fewer waves of them."""
    longest = np.zeros(nodes, dtype=int)
    for i, j in zip(events.node, events.partner, strict=True):
        if j < 0:
            longest[i] += 1
        else:
            longest[[i, j]] = longest[[i, j]].max()
    return longest.max(initial=0)


def test_gradients_come_in_as_few_waves_as_can_be():
    schedule = design("pairwise", 32, seed=3)
    source = Clocks(schedule.rule, np.ones(32), seed=0)
    for t in range(30):
        events = source.events(t)
        found = [wave for wave in waves(events, 32) if not wave.averages]
        assert len(found) == fewest_stages(events, 32)


def test_nothing_happens_in_no_wave():
    empty = Events(np.zeros(0), np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))
    assert waves(empty, 3) == []


def test_a_speed_needs_a_node():
    assert speeds_of("0.5,3:2", 4).tolist() == [0.5, 0.5, 0.5, 2.0]
    with pytest.raises(InputError, match="--speeds names node 4, but the schedule has nodes 0 to 3"):
        speeds_of("1,4:2", 4)
