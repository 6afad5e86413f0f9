"""The communication thread: nothing is lost, the ratio is met, nobody waits for ever, on any graph."""

import signal
import time

import networkx as nx
import numpy as np
import pytest
from gossip_workers import averagings, idle, with_failures
from mortal_ranks import mortal_ranks
from ranks import run_ranks

from topokit.errors import InputError
from topokit_trainer.asynchronous.gossip import Gossip

pytestmark = pytest.mark.dist

GRAPHS = {
    "ring": nx.cycle_graph(8),
    "path": nx.path_graph(4),
    "star": nx.star_graph(5),
    "complete": nx.complete_graph(4),
}


def run(graph, gradients, pace, *more, timeout=60.0):
    edges = [(int(i), int(j)) for i, j in graph.edges]
    results = run_ranks(averagings, len(graph), edges, gradients, pace, *more, timeout=timeout)
    assert [result["error"] for result in results] == ["None"] * len(graph)
    assert all(result["finished"] for result in results)
    for i, result in enumerate(results):  # both partners have counted every averaging
        assert all(results[j]["averagings"][i] == count for j, count in result["averagings"].items())
    return results


def drift(results):
    """Give by how much the sum of x + x~ is not that of the starts and the steps."""
    expected = sum(2 * (result["start"] + result["steps"]) for result in results)
    return np.abs(sum(result["end"].sum(axis=0) for result in results) - expected).max()


def ratios(results):
    return [sum(result["averagings"].values()) / result["gradients"] for result in results]


@pytest.mark.parametrize(
    "name",
    ["ring", "star", pytest.param("path", marks=pytest.mark.slow), pytest.param("complete", marks=pytest.mark.slow)],
)
def test_nothing_is_lost_and_all_take_part(name):
    results = run(GRAPHS[name], 60, 0.02)
    assert drift(results) < 1e-12
    assert sum(sum(result["averagings"].values()) for result in results) / 2 > 60
    assert min(min(result["averagings"].values()) for result in results) > 0
    assert np.abs(results[0]["end"][0] - results[-1]["end"][0]).max() > 1e-6, "gradients should keep nodes apart"


@pytest.mark.slow
def test_a_slow_node_stays_a_partner_and_holds_up_nobody():
    results = run(GRAPHS["ring"], 80, 0.02, 1.0, True, "gossip", 3)
    assert drift(results) < 1e-12
    assert all(result["events"] == [] for result in results)
    assert sum(results[3]["averagings"].values()) >= 4
    assert all(result["seconds"] < 80 * 0.02 * 1.5 for result in results)


@pytest.mark.slow
@pytest.mark.parametrize("rate", [0.5, 1.0, 2.0])
def test_the_ratio_of_averagings_to_gradients_is_met(rate):
    results = run(nx.cycle_graph(4), 100, 0.08, rate)
    assert drift(results) < 1e-12
    assert np.abs(np.array(ratios(results)) - rate).max() < 0.1 * rate + 0.02


@pytest.mark.slow
def test_in_ad_psgd_only_who_asks_pays():
    results = run(nx.cycle_graph(4), 100, 0.08, 1.0, False, "ad-psgd")
    assert drift(results) < 1e-12
    assert sum(ratios(results)) / 4 == pytest.approx(2.0, abs=0.2)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_no_deadlock_whatever_the_graph(seed):
    graph = nx.gnp_random_graph(8, 0.35, seed=seed)
    graph.add_edges_from((i, i + 1) for i in range(7))
    results = run(graph, 300, 0.002, 2.0, True, ["gossip", "ad-psgd"][seed % 2])
    assert drift(results) < 1e-11
    assert sum(result["broken"] for result in results) == 0


@pytest.mark.slow
def test_waiting_takes_little_processor_time():
    for used, threads in run_ranks(idle, 2, 3.0):
        assert used < 0.15 * 3.0
        assert threads <= 4


@pytest.mark.slow
def test_killed_stopped_and_come_back():
    with mortal_ranks(with_failures, 4, 60, 0.05, 1.0) as ranks:
        ranks.word(*(f"up {rank} 0" for rank in range(4)), "count 0", "count 1")
        ranks.signal(0, signal.SIGKILL)
        ranks.signal(1, signal.SIGSTOP)
        time.sleep(2.0)
        ranks.start(0)
        ranks.signal(1, signal.SIGCONT)
        ranks.word("up 0 1")
        time.sleep(1.0)
        ranks.store.set("go on", "")
        results = ranks.results(0, 1, 2, 3)
    assert results[0]["incarnation"] == 1
    assert results[0]["fetched"] > 0
    for survivor in results[2:]:
        assert set(survivor["events"]) >= {("lost", 0), ("lost", 1), ("back", 1), ("rejoined", 0)}
        assert survivor["longest"] < 1.0, "the gradient loop never waits for communication"
        assert sum(survivor["broken"].values()) <= 4
    assert sum(results[0]["averagings"].values()) > 0
    assert max(np.abs(result["x"] - results[2]["x"]).max() for result in results) < 0.1


def test_a_mode_it_does_not_know():
    with pytest.raises(InputError, match="gossip or ad-psgd"):
        Gossip(None, None, None, [], np.random.default_rng(0), "push")
