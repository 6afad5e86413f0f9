"""Weights for a network: against every choice of edges, the prediction of seconds, and closed forms."""

import math
from itertools import combinations

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topokit.designer import design_graph
from topokit.errors import GraphError, InputError
from topokit.network import Host, Link, Network
from topokit.network.cost import round_seconds
from topokit.network.prediction import consensus_seconds
from topokit.optimal import bandwidth
from topokit.optimal.bandwidth import network_weights
from topokit.optimal.bandwidth_search import NetworkSearch
from topokit.optimal.problem import weight_problem
from topokit.optimal.round_loads import RoundLoads, least_slems
from topokit.optimal.weights import optimal_weights
from topokit.schedule import Schedule

BYTES = 100.0


def network_of(kind, n, rng):
    """Equal cards; cards that differ, and busy nodes; links that differ; two hosts with half-duplex cards."""
    nodes = range(n)
    if kind == 0:
        return Network.uniform(n, 100.0, 0.05)
    if kind == 1:
        rates = rng.uniform(50, 400, size=(n, 2)).tolist()
        hosts = tuple(Host(f"h{i}", (i,), *rates[i]) for i in nodes)
        return Network(hosts, (Link(None, None, 1000.0, 0.05),), overhead=0.02)
    if kind == 2:
        links = tuple(
            Link(i, j, float(rng.uniform(20, 200)), float(rng.uniform(0, 0.2))) for i in nodes for j in nodes if i != j
        )
        return Network(tuple(Host(f"h{i}", (i,)) for i in nodes), links)
    half = n // 2
    hosts = (
        Host("a", tuple(range(half)), 100.0, 100.0, 150.0),
        Host("b", tuple(range(half, n)), 200.0, 200.0, 250.0, 300.0),
    )
    return Network(hosts, (Link(None, None, 200.0, 0.1), Link("a", "a", 1000.0)), fabric=500.0)


def connected_graph(n, m, rng):
    while True:
        graph = nx.gnm_random_graph(n, m, seed=int(rng.integers(10**6)))
        if nx.is_connected(graph):
            return graph


def exhaustive(graph, network, objective):
    """Seconds of the best of all connected subgraphs, each with its optimal weights."""
    best, edges = math.inf, list(graph.edges)
    n = graph.number_of_nodes()
    for size in range(n - 1, len(edges) + 1):
        for chosen in combinations(edges, size):
            part = nx.empty_graph(n)
            part.add_edges_from(chosen)
            if nx.is_connected(part):
                found = optimal_weights(part, objective, width=1e-4)
                rounds = 1.0 if found.slem < 1e-9 else max(1.0, math.log(1000) / -math.log(found.slem))
                best = min(best, rounds * round_seconds(found.matrix, network, BYTES).seconds)
    return best


class TestExhaustive:
    @pytest.mark.parametrize(
        ("n", "m", "kind", "objective"),
        [(5, 7, 0, "fmmc"), (4, 6, 1, "fdla"), (5, 6, 2, "fmmc"), (5, 7, 3, "fdla"), (4, 4, 3, "fmmc")],
    )
    def test_best_of_all_edges(self, n, m, kind, objective):
        rng = np.random.default_rng(10 * n + kind)
        graph, network = connected_graph(n, m, rng), network_of(kind, n, rng)
        found = network_weights(graph, network, BYTES, objective=objective)
        best = exhaustive(graph, network, objective)
        assert found.seconds == pytest.approx(best, rel=1e-3)
        assert found.lower <= best * (1 + 1e-9)

    @pytest.mark.slow
    def test_mostly_best(self):
        ratios = []
        for seed in range(24):
            rng = np.random.default_rng(seed)
            n = int(rng.integers(4, 7))
            graph = connected_graph(n, min(n * (n - 1) // 2, int(rng.integers(n, 10))), rng)
            network, objective = network_of(seed % 4, n, rng), "fmmc" if seed % 3 else "fdla"
            found = network_weights(graph, network, BYTES, objective=objective)
            best = exhaustive(graph, network, objective)
            assert found.lower <= best * (1 + 1e-9)
            ratios.append(found.seconds / best)
        # Measured: the best in all of 100.
        assert np.mean(np.array(ratios) < 1.001) >= 0.9
        assert max(ratios) < 1.25


class TestLoads:
    @settings(deadline=None, max_examples=40)
    @given(st.integers(0, 10**6), st.integers(0, 3), st.integers(4, 9))
    def test_seconds_are_those_of_the_prediction(self, seed, kind, n):
        rng = np.random.default_rng(seed)
        network = network_of(kind, n, rng)
        edges = np.array(list(combinations(range(n), 2)))
        loads = RoundLoads(network, edges, BYTES)
        mask = rng.random(len(edges)) < 0.5
        mask[int(rng.integers(len(edges)))] = True
        W = weight_problem(nx.complete_graph(n), "fmmc").matrix(np.where(mask, 0.01, 0.0))
        assert loads.seconds(mask) == pytest.approx(round_seconds(W, network, BYTES).seconds, rel=1e-12)
        limit = loads.seconds(mask) * (1 - 1e-9)
        assert loads.relief(mask, limit).any()


class TestBounds:
    @settings(deadline=None, max_examples=25)
    @given(st.integers(0, 10**6), st.integers(0, 3), st.integers(4, 8), st.sampled_from(["fmmc", "fdla"]))
    def test_no_weights_have_a_smaller_slem(self, seed, kind, n, objective):
        # Weights of a random subgraph, against what degrees and edges between hosts allow.
        rng = np.random.default_rng(seed)
        network = network_of(kind, n, rng)
        problem = weight_problem(nx.complete_graph(n), objective)
        loads = RoundLoads(network, problem.edges, BYTES)
        limits, slems = least_slems(problem, loads)
        part = nx.empty_graph(n)
        part.add_edges_from((int(rng.integers(v)), v) for v in range(1, n))
        part.add_edges_from(problem.edges[rng.random(len(problem.edges)) < rng.random()].tolist())
        found = optimal_weights(part, objective, width=1e-3)
        seconds = round_seconds(found.matrix, network, BYTES).seconds
        k = int(np.searchsorted(limits, seconds * (1 + 1e-9), side="right")) - 1
        assert k >= 0
        assert slems[k] <= found.slem + 1e-9
        assert (np.diff(slems) <= 1e-12).all()

    def test_one_edge_between_two_hosts(self):
        # Two K4 joined by an edge: FMMC has (8 + 12 sqrt 2)/28.
        # The edge, of weight SLEM + 1/8 at most, shows (15/16)/(3/2).
        hosts = (Host("a", (0, 1, 2, 3), 100.0, 100.0), Host("b", (4, 5, 6, 7), 100.0, 100.0))
        network = Network(hosts, (Link(None, None, 100.0), Link("a", "a", 1e6), Link("b", "b", 1e6)))
        problem = weight_problem(nx.barbell_graph(4, 0), "fmmc")
        _, slems = least_slems(problem, RoundLoads(network, problem.edges, BYTES))
        assert slems[-1] == pytest.approx(0.625)
        found = network_weights(nx.barbell_graph(4, 0), network, BYTES)
        assert found.slem == pytest.approx((8 + 12 * math.sqrt(2)) / 28, abs=1e-6)
        assert found.lower == pytest.approx(found.seconds, rel=2e-3)  # nothing but that edge takes time


class TestResult:
    def test_it_is_what_it_says(self):
        graph = nx.gnp_random_graph(12, 0.5, seed=2)
        network = Network.uniform(12, "1Gbit/s", "1ms")
        found = network_weights(graph, network, "100MB")
        W = found.matrix.to_dense()
        np.testing.assert_allclose(W, W.T, atol=1e-15)
        np.testing.assert_allclose(W.sum(axis=1), 1, atol=1e-12)
        assert W.min() >= 0
        assert {tuple(edge) for edge in found.edges.tolist()} <= {tuple(sorted(edge)) for edge in graph.edges}
        assert found.slem == pytest.approx(np.abs(np.linalg.eigvalsh(W - 1 / 12)).max(), abs=1e-9)
        time = consensus_seconds(Schedule.cyclic([found.matrix]), network, "100MB")
        assert found.round_seconds == pytest.approx(time.seconds_per_round)
        assert time.worst_rounds == math.ceil(found.rounds - 1e-6)
        assert found.seconds == pytest.approx(found.rounds * found.round_seconds)
        assert found.lower < found.seconds < found.optimal_seconds < found.metropolis_seconds
        plain = optimal_weights(graph, "fmmc")
        seconds = round_seconds(plain.matrix, network, "100MB").seconds * math.log(1000) / -math.log(plain.slem)
        assert found.optimal_seconds <= seconds * 1.01
        mh = design_graph(graph, "metropolis-hastings")
        assert consensus_seconds(mh, network, "100MB").worst_seconds == pytest.approx(
            found.metropolis_seconds, rel=0.05
        )
        assert "with the smallest SLEM" in found.sentence()

    def test_complete_graph_in_one_round(self):
        # 15 messages of 1 s leave each node, and nothing is left to do.
        found = network_weights(None, Network.uniform(16, 100.0), BYTES)
        assert found.seconds == pytest.approx(15.0)
        assert found.lower == pytest.approx(15.0, rel=1e-6)

    def test_equal_links_of_no_host_change_nothing(self):
        # Where links do not disturb each other, more edges cost nothing: the optimum of all edges, proved.
        hosts = tuple(Host(f"h{i}", (i,)) for i in range(10))
        network = Network(hosts, (Link(None, None, 100.0),))
        graph = nx.petersen_graph()
        found = network_weights(graph, network, BYTES)
        assert found.slem == pytest.approx(3 / 7, abs=1e-6)
        assert found.seconds == pytest.approx(math.log(1000) / math.log(7 / 3), rel=1e-5)
        assert found.lower == pytest.approx(found.seconds, rel=1e-2)

    def test_one_slow_link_is_left_out(self):
        hosts = tuple(Host(f"h{i}", (i,)) for i in range(6))
        network = Network(hosts, (Link(None, None, 100.0), Link(0, 1, 1.0)))
        found = network_weights(nx.complete_graph(6), network, BYTES)
        assert [0, 1] not in found.edges.tolist()
        assert found.optimal_seconds == pytest.approx(100.0)
        # K6 without an edge: its Laplacian has the eigenvalues 4 and 6.
        assert found.slem == pytest.approx(0.2, abs=1e-3)

    def test_two_nodes(self):
        found = network_weights(None, Network.uniform(2, 100.0, 0.5), BYTES)
        assert (found.seconds, found.lower) == (pytest.approx(1.5), pytest.approx(1.5))
        assert found.weights.tolist() == pytest.approx([0.5])

    def test_factor(self):
        network = Network.uniform(9, 100.0)
        once, twice = (network_weights(nx.cycle_graph(9), network, BYTES, factor=f) for f in (10, 100))
        assert twice.seconds == pytest.approx(2 * once.seconds, rel=1e-4)


class TestStops:
    def test_interrupted(self):
        seen = []

        def progress(seconds, elapsed):
            seen.append(seconds)
            if len(seen) == 3:
                raise KeyboardInterrupt

        found = network_weights(nx.wheel_graph(9), Network.uniform(9, 100.0), BYTES, progress=progress)
        assert found.stopped == "interrupt"
        assert found.seconds == pytest.approx(min(seen), rel=1e-2)
        assert seen == sorted(seen, reverse=True)

    def test_out_of_time(self):
        graph = nx.gnp_random_graph(40, 0.3, seed=1)
        found = network_weights(graph, Network.uniform(40, 100.0), BYTES, time_limit=0.3)
        assert found.stopped == "time"
        assert found.elapsed < 5
        assert found.lower <= found.seconds <= found.optimal_seconds

    @pytest.mark.parametrize("begun", [False, True])
    def test_what_is_known_does_not_get_worse(self, begun, monkeypatch):
        # Time runs out before, or at the first iteration of, the last computation, which begins anew.
        problem = weight_problem(nx.random_regular_graph(4, 24, seed=1), "fmmc")
        every = np.ones(len(problem.edges), dtype=np.bool_)

        class OneSet(NetworkSearch):
            def run(self):
                before.append(self.support(every))
                self.deadline = -math.inf
                if begun:
                    monkeypatch.setattr(bandwidth.NetworkSearch, "out_of_time", lambda self: self.solved > 1)

        before = []
        monkeypatch.setattr(bandwidth, "NetworkSearch", OneSet)
        found = network_weights(nx.Graph(problem.edges.tolist()), Network.uniform(24, 100.0), BYTES)
        assert found.solved == 1 + begun
        assert found.stopped == "time"
        assert found.optimal_seconds == before[0].seconds
        assert before[0].lower > 0.5
        search = NetworkSearch(problem, RoundLoads(Network.uniform(24, 100.0), problem.edges, BYTES), 1000, 0.0, None)
        search.known[every.tobytes()] = search.best = before[0]
        assert found.lower == search.lower_bound() > 0
        assert found.seconds <= before[0].seconds * (1 + 1e-9)


class TestRefused:
    @pytest.mark.parametrize(
        ("graph", "network", "options", "error", "words"),
        [
            (nx.cycle_graph(4), Network.uniform(5, 1.0), {}, InputError, "the graph has 4 nodes and the network 5"),
            (nx.empty_graph(3), Network.uniform(3, 1.0), {}, GraphError, "disconnected"),
            (nx.cycle_graph(3, nx.DiGraph), Network.uniform(3, 1.0), {}, GraphError, "directed"),
            (nx.empty_graph(1), Network.uniform(1, 1.0), {}, InputError, "one node"),
            (nx.cycle_graph(3), Network.uniform(3, 1.0), {"factor": 1}, InputError, "above 1, got 1"),
            (nx.cycle_graph(3), Network.uniform(3, 1.0), {"time_limit": 0}, InputError, "positive number of seconds"),
            (nx.cycle_graph(3), Network.uniform(3, 1.0), {"objective": "mh"}, InputError, "fdla or fmmc"),
            (
                nx.cycle_graph(3),
                Network(tuple(Host(f"h{i}", (i,)) for i in range(3)), (Link(0, None, 1.0), Link(None, 0, 1.0))),
                {},
                InputError,
                "no link from node 1 to node 2",
            ),
        ],
    )
    def test_input(self, graph, network, options, error, words):
        with pytest.raises(error, match=words):
            network_weights(graph, network, BYTES, **options)


@pytest.mark.parametrize("per_host", [2, 4])
def test_weights_of_any_sign_are_never_slower_than_nonnegative_ones(per_host):
    graph = nx.convert_node_labels_to_integers(nx.grid_2d_graph(4, 4, periodic=True))
    network = Network.uniform(16, "1Gbit/s", nodes_per_host=per_host)
    nonnegative, free = (network_weights(graph, network, "100MB", objective=o).seconds for o in ("fmmc", "fdla"))
    assert free <= nonnegative * (1 + 1e-6)
