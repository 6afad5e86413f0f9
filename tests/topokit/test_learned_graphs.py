"""Learned graphs: how searches share work and end, graphs on networks, and the schedules made of them."""

import itertools
import math
import time
from dataclasses import replace

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numbered_searches import Broken, Listed, Random, Unmet

from topokit.errors import GraphError, InputError
from topokit.learned import Limits, graph_schedule, learn, learn_on_network
from topokit.learned.graphs import OBJECTIVES
from topokit.learned.restarts import Found, run_searches
from topokit.network import Host, Link, Network, round_seconds
from topokit.network.prediction import consensus_seconds
from topokit.optimal import optimal_weights
from topokit.schedule import Schedule
from topokit.spectral import fiedler_value, slem
from topokit.weights import laplacian_weights, metropolis_hastings_weights


def no_report(found):
    del found


# Searches that share work


def alone_by_hand(costs, at_most):
    """What searches find one after the other: the first of the best, and no search after the bound is met."""
    best = None
    for number, found in enumerate(costs):
        for k, cost in enumerate(found):
            if best is None or cost < best[0]:
                best = (cost, number, k)
        if best is not None and best[0] <= at_most:
            break
    return best


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(0, 6), max_size=4), min_size=1, max_size=6), st.integers(-1, 4))
def test_searches_one_after_the_other(costs, at_most):
    heard = []
    search = Listed(tuple(map(tuple, costs)), (0,) * len(costs))
    best, stopped = run_searches(search, len(costs), report=heard.append, at_most=at_most)
    expected = alone_by_hand(costs, at_most)
    if expected is None:
        assert (best, stopped) == (None, "end")
        return
    assert (best.cost, best.number, best.what[1]) == expected
    assert stopped == ("bound" if best.cost <= at_most else "end")
    told = [found.cost for found in heard]
    assert told == sorted(set(told), reverse=True)
    assert heard[-1] == best


@pytest.mark.dist
@pytest.mark.parametrize(
    ("costs", "seconds", "at_most"),
    [
        # The second search meets the bound at once, the first one later and not as well: the first counts.
        pytest.param(((5.0, 2.0), (1.0,), (0.5,)), (1.0, 0.0, 0.0), 2.0, marks=pytest.mark.slow),
        # A later search is best while it lasts, and does not count once an earlier one has met the bound.
        (((9.0,), (8.0, 1.5), (3.0, 2.0), (0.1,)), (0.4, 0.4, 0.0, 0.6), 2.0),
        # Equal costs: the first search, although it is slow.
        pytest.param(((4.0,), (4.0,), (4.0,)), (0.8, 0.0, 0.0), -math.inf, marks=pytest.mark.slow),
        # The best found before the bound in the same search, and after.
        pytest.param(((7.0, 3.0, 1.0, 0.5), (0.2,)), (0.1, 0.0), 3.0, marks=pytest.mark.slow),
    ],
)
def test_two_processes_find_what_one_finds(costs, seconds, at_most):
    search = Listed(costs, seconds)
    alone = run_searches(search, len(costs), report=no_report, at_most=at_most)
    assert run_searches(search, len(costs), report=no_report, at_most=at_most, workers=2) == alone
    expected = alone_by_hand(costs, at_most)
    assert (alone[0].cost, alone[0].number, alone[0].what[1]) == expected


@pytest.mark.dist
@pytest.mark.slow
def test_many_searches_on_three_processes():
    expected = run_searches(Random(0), 25, report=no_report, at_most=2.0)
    assert run_searches(Random(0), 25, report=no_report, at_most=2.0, workers=3) == expected


def test_costs_that_differ_by_rounding_are_equal():
    found = [Found(number, cost, None) for number, cost in enumerate((0.3, 0.1 + 0.2 - 1e-16, 0.3 - 1e-15, 0.2999))]
    assert not found[1].better_than(found[0])
    assert not found[2].better_than(found[0])
    assert found[0].better_than(found[2])
    assert found[3].better_than(found[0])
    assert found[0].better_than(None)


@pytest.mark.dist
@pytest.mark.slow
def test_errors_of_processes_arrive():
    with pytest.raises(GraphError, match="there is none"):
        run_searches(Unmet(0), 2, report=no_report)
    with pytest.raises(GraphError, match="there is none"):
        run_searches(Unmet(0), 2, report=no_report, workers=2)
    with pytest.raises(ZeroDivisionError):
        run_searches(Broken(), 2, report=no_report)
    with pytest.raises(RuntimeError, match="a worker process ended with exit code 1"):
        run_searches(Broken(), 2, report=no_report, workers=2)


@pytest.mark.dist
@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_searches_end_on_time(workers):
    search = Listed(((1.0,), *[(2.0,) * 100] * 5), (0.0, *[0.1] * 5))
    begin = time.monotonic()
    best, stopped = run_searches(search, 6, report=no_report, deadline=begin + 1.0, workers=workers)
    assert time.monotonic() - begin < 6
    assert stopped == "time"
    assert best is None or best.cost == 1.0


@pytest.mark.dist
@pytest.mark.parametrize("workers", [1, 2])
def test_an_interrupt_keeps_what_was_found(workers):
    def interrupt(found):
        raise KeyboardInterrupt

    search = Listed(((3.0, 2.0), (1.0,)), (0.0, 30.0))
    best, stopped = run_searches(search, 2, report=interrupt, workers=workers)
    assert (best.cost, stopped) == (3.0, "interrupt")


def test_an_interrupt_before_anything_was_found_is_raised_on():
    class Interrupted:
        def run(self, number, deadline, report):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_searches(Interrupted(), 3, report=no_report)


# What learn gives back


def value_of(found):
    graph = nx.Graph(map(tuple, found.edges.tolist()))
    graph = nx.from_numpy_array(nx.to_numpy_array(graph, nodelist=range(found.limits.nodes)).astype(int))
    if found.objective in ("fmmc", "fdla"):
        return optimal_weights(graph, found.objective).slem
    constant = slem(laplacian_weights(graph))
    return {
        "laplacian": constant,
        "mixing-time": 1 / (1 - constant**2),
        "eigenratio": (1 + constant) / (1 - constant),
        "fiedler": fiedler_value(graph),
        "metropolis-hastings": slem(metropolis_hastings_weights(graph)),
    }[found.objective]


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize(
    "limits", [Limits(8, max_degree=3), Limits(7, edges=9), Limits(2), Limits(9, edges=8)], ids=["3", "9", "2", "tree"]
)
def test_the_value_is_that_of_the_graph(objective, limits):
    if objective in ("fmmc", "fdla"):
        limits = Limits(min(limits.nodes, 5), edges=min(limits.nodes, 5))  # each graph takes milliseconds
    found = learn(limits, objective, searches=1)
    assert limits.broken(found.edges) is None
    tolerance = 2e-5 if objective in ("fmmc", "fdla") else 1e-9
    assert found.value == pytest.approx(value_of(found), rel=tolerance, abs=tolerance)
    slack = 1e-5 * max(1, abs(found.value))
    if objective == "fiedler":
        assert found.value <= found.bound + slack
    else:
        assert found.value >= found.bound - slack
    assert (found.edges[:, 0] < found.edges[:, 1]).all()
    assert found.edges.tolist() == sorted(found.edges.tolist())
    assert found.degree.sum() == 2 * len(found.edges) == found.adjacency.sum()
    assert found.objective == objective
    assert objective in found.sentence()


@pytest.mark.parametrize(
    ("limits", "objective"),
    [
        pytest.param(Limits(12, max_degree=3), "laplacian", marks=pytest.mark.slow),
        (Limits(11, edges=16), "fiedler"),
        pytest.param(Limits(9, edges=12), "metropolis-hastings", marks=pytest.mark.slow),
        pytest.param(Limits(7, edges=8), "fdla", marks=pytest.mark.slow),
    ],
)
def test_the_same_seed_gives_the_same_graph(limits, objective):
    one, other = (learn(limits, objective, seed=3, searches=2) for _ in range(2))
    np.testing.assert_array_equal(one.edges, other.edges)
    assert one == replace(other, limits=one.limits, edges=one.edges, elapsed=one.elapsed)


@pytest.mark.dist
@pytest.mark.parametrize(
    ("limits", "structured"),
    [
        (Limits(8, edges=11), True),
        pytest.param(Limits(10, max_degree=3), True, marks=pytest.mark.slow),
        pytest.param(Limits(9, max_degree=4), False, marks=pytest.mark.slow),
    ],
)
def test_workers_do_not_matter(limits, structured):
    one, two = (learn(limits, seed=1, searches=4, structured=structured, workers=workers) for workers in (1, 2))
    np.testing.assert_array_equal(one.edges, two.edges)
    assert (one.value, one.search, one.method, one.stopped) == (two.value, two.search, two.method, two.stopped)


def test_news_come_in_order_and_get_better():
    news, better = [], []
    found = learn(
        Limits(14, max_degree=3),
        searches=4,
        progress=news.append,
        on_better=lambda seconds, value: better.append((seconds, value)),
    )
    seconds, values = zip(*better, strict=True)
    assert list(seconds) == sorted(seconds)
    assert list(values) == sorted(set(values), reverse=True)
    assert all(a - b > 1e-12 for a, b in itertools.pairwise(values))
    assert values[-1] == found.value
    assert len(news) == len(better) + 4  # at the end of every search, too
    assert [said.seconds for said in news] == sorted(said.seconds for said in news)
    assert f"laplacian {found.value:.6g}" in news[-1].text
    assert "no regular graph beyond" in news[-1].text
    assert "Ramanujan graphs: 0.942809" in news[-1].text


def test_fiedler_values_rise():
    better = []
    learn(Limits(10, edges=14), "fiedler", searches=3, on_better=lambda seconds, value: better.append(value))
    assert better == sorted(set(better))


@pytest.mark.parametrize("limits", [Limits(40, edges=70), Limits(30, max_degree=3)])
def test_time_limits_are_honoured(limits):
    begin = time.monotonic()
    found = learn(limits, time_limit=1)
    assert time.monotonic() - begin < 3
    assert found.stopped in ("time", "bound")
    assert limits.broken(found.edges) is None


def test_however_short_the_time_a_graph_is_given():
    found = learn(Limits(12, edges=20), time_limit=1e-9)
    assert found.stopped == "time"
    assert found.limits.broken(found.edges) is None


def test_an_interrupt_keeps_the_best_graph():
    heard = []

    def interrupt(seconds, value):
        heard.append(value)
        raise KeyboardInterrupt

    limits = Limits(12, edges=18)
    found = learn(limits, on_better=interrupt)
    assert found.stopped == "interrupt"
    assert [found.value] == heard
    assert limits.broken(found.edges) is None
    assert "interrupted" in found.sentence()


def test_an_interrupt_before_any_graph_is_raised_on(monkeypatch):
    def interrupt(limits, rng):
        raise KeyboardInterrupt

    monkeypatch.setattr("topokit.learned.graph_searches.random_start", interrupt)
    with pytest.raises(KeyboardInterrupt):
        learn(Limits(6, edges=7))


def test_a_start_that_is_not_found_later_costs_nothing(monkeypatch):
    from topokit.learned import graph_searches

    starts = iter([graph_searches.random_start, None])

    def sometimes(limits, rng):
        draw = next(starts, None)
        if draw is None:
            raise GraphError("none was found")
        return draw(limits, rng)

    monkeypatch.setattr("topokit.learned.graph_searches.random_start", sometimes)
    assert learn(Limits(6, edges=7), searches=3).search == 0
    with pytest.raises(GraphError, match="none was found"):
        learn(Limits(6, edges=7), searches=3)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"objective": "slem"}, "unknown objective 'slem'; known: laplacian, metropolis-hastings"),
        ({"workers": 0}, "workers must be at least 1, got 0"),
        ({"searches": 0}, "searches must be at least 1, got 0"),
        ({"time_limit": 0}, "time limit must be a positive number of seconds, got 0"),
        ({"time_limit": -1.0}, "time limit must be a positive"),
        ({"time_limit": math.nan}, "time limit must be a positive"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(given, said):
    with pytest.raises(InputError, match=said):
        learn(Limits(6, edges=7), **given)


def test_limits_that_cannot_be_met_are_named():
    with pytest.raises(GraphError, match="at most 4 edges cannot connect 6 nodes"):
        learn(Limits(6, edges=4))
    petersen = nx.to_numpy_array(nx.petersen_graph()).astype(bool)
    with pytest.raises(GraphError, match="without max_degree or min_edges or allowed there is one"):
        learn(Limits(10, max_degree=2, min_edges=10, allowed=petersen))


@st.composite
def limited(draw):
    n = draw(st.integers(2, 9))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    graph = nx.compose(
        nx.random_labeled_tree(n, seed=int(rng.integers(2**31))),
        nx.gnp_random_graph(n, rng.random() * 0.7, seed=int(rng.integers(2**31))),
    )
    degree, m = np.array([graph.degree(v) for v in range(n)]), graph.number_of_edges()
    given = {}
    if draw(st.booleans()):
        given["max_degree"] = degree + rng.integers(0, 2, n)
    if draw(st.booleans()):
        given["edges"] = m
    if draw(st.booleans()):
        given["allowed"] = nx.to_numpy_array(graph, nodelist=range(n)).astype(bool)
    if draw(st.booleans()):
        given["hosts"] = rng.integers(0, 3, n)
        given["host_edges"] = Limits(n, hosts=given["hosts"]).crossing(np.array(graph.edges)) + 1
    return Limits(n, **given)


@settings(max_examples=12, deadline=None)
@given(limited(), st.sampled_from(["laplacian", "fiedler", "metropolis-hastings", "eigenratio"]), st.integers(0, 99))
def test_learned_graphs_keep_all_limits(limits, objective, seed):
    found = learn(limits, objective, seed=seed, searches=1)
    assert limits.broken(found.edges) is None
    assert nx.is_connected(nx.from_edgelist(found.edges))
    assert found.value == pytest.approx(value_of(found), rel=1e-9, abs=1e-9)


# On networks


def seconds_by_hand(found, network, size):
    """Rounds by the dense eigenvalues of the schedule's matrix, seconds by the cost model."""
    W = graph_schedule(found).round(0).to_dense()
    values = np.sort(np.abs(np.linalg.eigvalsh(W - 1 / len(W))))
    rounds = 1.0 if values[-1] < 1e-3 else math.log(1000) / -math.log(values[-1])
    return rounds * round_seconds(graph_schedule(found), network, size).seconds


def eight_with_a_slow_card():
    hosts = tuple(Host(f"h{i}", (i,), rate, rate) for i, rate in enumerate([1e9] * 5 + [1e8] + [2.5e8] * 2))
    return Network(hosts, (Link(None, None, 1e9, 1e-4),))


def with_gaps():
    """Two hosts of four, two cards of different rates, and nodes that only some links join."""
    links = [Link("a", "a", 5e9), Link("b", "b", 5e9)]
    links += [Link(u, v, 1e9, 1e-3) for u, v in ((0, 4), (4, 0), (1, 5), (5, 1), (2, 6), (6, 2), (3, 7))]
    return Network((Host("a", (0, 1, 2, 3), 1e9, 1e9), Host("b", (4, 5, 6, 7), 5e8, 5e8)), tuple(links))


@pytest.mark.parametrize("network", [eight_with_a_slow_card(), with_gaps()], ids=["slow-card", "gaps"])
def test_seconds_on_a_network(network):
    heard = []
    found = learn_on_network(network, "1MB", on_better=heard.append)
    assert found.graph.limits.broken(found.graph.edges) is None
    assert Limits.of_network(network).broken(found.graph.edges) is None
    assert found.seconds == pytest.approx(seconds_by_hand(found, network, 1e6), rel=2e-3)
    schedule = graph_schedule(found)
    predicted = consensus_seconds(schedule, network, "1MB")
    assert found.round_seconds == pytest.approx(round_seconds(schedule, network, 1e6).seconds, rel=1e-9)
    assert found.seconds <= predicted.worst_seconds * (1 + 1e-3) + 1e-12  # whose rounds are whole
    assert predicted.worst_seconds <= found.seconds + 1.01 * found.round_seconds
    assert [one.seconds for one in heard] == sorted((one.seconds for one in heard), reverse=True)
    assert heard[-1].seconds == found.seconds
    for known in ("ring", "complete"):
        u, v = (np.arange(8), (np.arange(8) + 1) % 8) if known == "ring" else np.triu_indices(8, 1)
        edges = np.sort(np.stack((u, v), axis=1), axis=1)
        if Limits.of_network(network).broken(edges) is not None:
            continue
        W = optimal_weights(nx.from_edgelist(edges.tolist()), "fmmc")
        rounds = 1.0 if W.slem < 1e-3 else math.log(1000) / -math.log(W.slem)
        clock = learn_clock(network, edges)
        assert found.seconds <= rounds * clock * (1 + 1e-9)


def learn_clock(network, edges):
    W = laplacian_weights(nx.from_numpy_array(nx.to_numpy_array(nx.from_edgelist(edges.tolist()), range(8))))
    return round_seconds(W, network, 1e6).seconds


@pytest.mark.slow
def test_limits_on_a_network_hold_too():
    network = eight_with_a_slow_card()
    for limits in (Limits(8, max_degree=2), Limits(8, edges=8), Limits(8, max_degree=[1] + [4] * 7)):
        found = learn_on_network(network, "1MB", limits)
        assert limits.broken(found.graph.edges) is None
    own = Limits(8, hosts=[0] * 4 + [1] * 4, host_edges=2)
    found = learn_on_network(with_gaps(), "1MB", own)
    assert own.broken(found.graph.edges) is None
    assert Limits.of_network(with_gaps()).broken(found.graph.edges) is None


def test_the_hosts_of_limits_are_those_of_the_network():
    with pytest.raises(InputError, match="hosts"):
        learn_on_network(with_gaps(), "1MB", Limits(8, hosts=[0, 1] * 4, host_edges=2))


def test_errors_on_networks():
    network = with_gaps()
    with pytest.raises(InputError, match="8"):
        learn_on_network(network, "1MB", Limits(7))
    with pytest.raises(GraphError, match="never connect node 7 with node 0"):
        learn_on_network(network, "1MB", Limits(8, allowed=[(u, v) for u, v in itertools.combinations(range(7), 2)]))
    with pytest.raises(InputError):
        learn_on_network(network, "many")
    with pytest.raises(GraphError, match="at most 5 edges cannot connect 8 nodes"):
        learn_on_network(network, "1MB", Limits(8, edges=5))


def test_time_and_interrupts_on_networks():
    network = Network.uniform(16, "1Gbit/s", nodes_per_host=4)
    begin = time.monotonic()
    found = learn_on_network(network, "1MB", time_limit=1)
    assert time.monotonic() - begin < 4
    assert Limits.of_network(network).broken(found.graph.edges) is None
    best = []

    def interrupt(said):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learn_on_network(network, "1MB", progress=interrupt, on_better=best.append)
    assert len(best) == 1


def test_a_bound_on_a_round_is_none_on_the_seconds():
    found = learn_on_network(eight_with_a_slow_card(), "1MB")
    assert found.graph.stopped == "end"
    assert graph_schedule(found).provenance["search"]["stopped"] == "end"


# Schedules


@pytest.mark.parametrize(
    "objective",
    ["laplacian", "fiedler", *(pytest.param(name, marks=pytest.mark.slow) for name in ("metropolis-hastings", "fmmc"))],
)
def test_schedules_say_how_they_were_found(objective, tmp_path):
    found = learn(Limits(8, max_degree=3), objective, searches=2, seed=5)
    schedule = graph_schedule(found)
    search = schedule.provenance["search"]
    assert search["objective"] == objective
    assert (search["seed"], search["value"], search["summary"]) == (5, found.value, found.sentence())
    W = schedule.round(0).to_dense()
    pattern = np.argwhere(np.triu(W, 1) != 0)
    np.testing.assert_array_equal(pattern, found.edges)
    if objective != "fiedler":
        assert slem(W) == pytest.approx(found.value, abs=2e-5)
    again = graph_schedule(learn(Limits(8, max_degree=3), objective, searches=2, seed=5))
    assert again.content_hash == schedule.content_hash
    path = tmp_path / "learned.json"
    schedule.save(path)
    loaded = Schedule.load(path)
    assert loaded.provenance == schedule.provenance
    assert loaded.content_hash == schedule.content_hash
    np.testing.assert_array_equal(loaded.round(0).to_dense(), W)


def test_schedules_of_other_weights_and_names():
    found = learn(Limits(8, max_degree=3), searches=1)
    schedule = graph_schedule(found, "fmmc", weight_options={"width": 1e-4}, name="mine")
    assert schedule.name == "mine-8"
    assert schedule.provenance["weights"] == "fmmc"
    assert slem(schedule.round(0)) <= found.value + 1e-9
    with pytest.raises(InputError):
        graph_schedule(found, "no-such-weights")
