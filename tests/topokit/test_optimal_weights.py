"""Optimal weights as a whole: published optima by several methods, which is chosen, stopping, and bad requests."""

import networkx as nx
import numpy as np
import pytest
from weight_oracles import ORACLES

from topokit.designer import design, design_graph
from topokit.errors import ConvergenceError, GraphError, InputError
from topokit.optimal import optimal_weights, weight_problem
from topokit.optimal.recheck import check_optimality
from topokit.optimal.starts import simple_weights
from topokit.spectral import slem

CASES = [(oracle, objective) for oracle in ORACLES for objective in ("fdla", "fmmc")]


def published(oracle, objective):
    optimum = getattr(oracle, objective)
    if optimum is None:
        pytest.skip("no published value")
    return optimum


@pytest.mark.parametrize(("oracle", "objective"), CASES, ids=lambda value: getattr(value, "name", value))
def test_published_optima(oracle, objective):
    optimum = published(oracle, objective)
    found = optimal_weights(oracle.build(), objective, self_loops=oracle.self_loops)
    assert found.slem == pytest.approx(optimum, abs=1e-6)
    assert found.certificate_width <= 1e-4
    assert found.lower <= optimum + oracle.tolerance
    assert found.problem.excess(found.weights) <= 1e-9
    W = found.matrix.to_dense()
    assert np.linalg.norm(W - 1 / len(W), 2) == pytest.approx(found.slem, abs=1e-10)
    assert found.certificate.bound(found.slem) == found.lower or found.lower == found.slem


@pytest.mark.parametrize(("oracle", "objective"), CASES, ids=lambda value: getattr(value, "name", value))
def test_published_optima_by_the_interior_point(oracle, objective):
    optimum = published(oracle, objective)
    graph = oracle.build()
    found = optimal_weights(graph, objective, self_loops=oracle.self_loops, method="interior-point")
    assert found.method == "interior-point"
    assert found.slem == pytest.approx(optimum, abs=1e-6)
    assert found.certificate_width <= 1e-4


@pytest.mark.parametrize(
    ("graph", "method"),
    [
        (nx.cycle_graph(12), "characters"),
        (nx.petersen_graph(), "closed-form"),
        (nx.complete_bipartite_graph(3, 4), "closed-form"),
        (nx.karate_club_graph(), "interior-point"),
        (nx.complete_graph(140), "closed-form"),
        (nx.DiGraph([(i, (i + s) % 9) for i in range(9) for s in (1, 2)]), "characters"),
    ],
)
def test_the_method_suits_the_graph(graph, method):
    found = optimal_weights(graph, "fmmc")
    assert found.method == method
    assert found.certificate_width <= 1e-6


def test_directed_circulant_weights_are_better_than_equal_ones_and_doubly_stochastic():
    graph = nx.DiGraph([(i, (i + 2**k) % 24) for i in range(24) for k in range(5)])
    schedule = design_graph(graph, "fmmc")
    assert schedule.claims.doubly_stochastic
    assert schedule.claims.nonnegative
    assert check_optimality(schedule).width <= 1e-6
    assert slem(schedule.rounds[0]) < slem(design_graph(graph, "uniform").rounds[0])


def test_other_directed_graphs_are_told_what_serves_them():
    with pytest.raises(GraphError, match="balanced weights serve"):
        optimal_weights(nx.DiGraph([(0, 1), (1, 2), (2, 0), (0, 2)]), "fmmc")


def test_a_width_that_is_reached_stops_the_solver():
    graph = nx.random_regular_graph(3, 60, seed=2)
    loose, tight = (optimal_weights(graph, "fmmc", width=width) for width in (1e-2, 1e-6))
    assert loose.stopped == tight.stopped == "width"
    assert 1e-6 < loose.certificate_width <= 1e-2
    assert tight.certificate_width <= 1e-6
    assert loose.iterations < tight.iterations


def test_progress_and_time_limit():
    ticks = []
    graph = nx.random_regular_graph(3, 60, seed=2)
    found = optimal_weights(graph, "fdla", time_limit=1e-6, progress=ticks.append)
    assert found.stopped == "time"
    assert len(ticks) == 1
    # Not worse than the best weights without any search.
    assert found.slem <= simple_weights(weight_problem(graph, "fdla"))[1]
    assert 0 <= found.lower < found.slem


def test_ctrl_c_before_there_are_weights_is_not_swallowed(monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr("topokit.optimal.methods.interior_point", interrupted)
    with pytest.raises(KeyboardInterrupt):
        optimal_weights(nx.karate_club_graph(), "fdla")


def test_bounds_of_single_edges():
    graph = nx.barbell_graph(4, 0)
    free = optimal_weights(graph, "fmmc")
    bounded = optimal_weights(graph, "fmmc", upper={(3, 4): 0.1})
    assert bounded.weights[bounded.edges.tolist().index([3, 4])] <= 0.1 + 1e-12
    assert bounded.slem > free.slem
    assert bounded.certificate_width <= 1e-6
    closed = optimal_weights(graph, "fmmc", upper={(0, 1): 0})
    assert [0, 1] not in closed.edges.tolist()
    assert closed.slem == pytest.approx(optimal_weights(nx.Graph(graph.edges - {(0, 1)}), "fmmc").slem, abs=1e-6)
    # The bridge is all that counts: 0.1 is then its best weight.
    bridge = free.edges.tolist().index([3, 4])
    assert free.weights[bridge] > 0.1


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"method": "magic"}, InputError, "known: auto, closed-form"),
        ({"width": 0}, InputError, "between 0 and 1"),
        ({"time_limit": -1}, InputError, "positive number of seconds"),
        ({"objective": "best"}, InputError, "fdla or fmmc"),
        ({"upper": {(0, 33): 1, (0, 32): 1}}, InputError, "no edge of the graph"),
        ({"upper": [0.1, 0.2]}, InputError, "one for each of the 78 edges"),
        ({"upper": float("nan")}, InputError, "expected a number of at least 0"),
        ({"upper": {5: 1}}, InputError, "there is a bound for 5, which is no edge"),
        ({"upper": {(0, 1): "a"}}, InputError, "the bound of an edge is a number, got 'a'"),
        ({"width": "a"}, InputError, "between 0 and 1"),
        ({"time_limit": "a"}, InputError, "positive number of seconds"),
        ({"method": "closed-form"}, InputError, "sorts of edges"),
        ({"method": "characters"}, InputError, "product of cycles"),
        ({"upper": 0.0, "objective": "fmmc"}, GraphError, "leave no way to mix"),
        ({"upper": 0.0}, GraphError, "no weights within the limits mix"),
    ],
)
def test_bad_requests(arguments, error, message):
    with pytest.raises(error, match=message):
        optimal_weights(nx.karate_club_graph(), **arguments)


def test_bounds_of_directed_edges_go_one_way():
    graph = nx.DiGraph([(i, (i + s) % 9) for i in range(9) for s in (1, 8, 2)])
    some = {(i, (i + 1) % 9): 0.1 for i in range(9)}
    found = optimal_weights(graph, "fmmc", upper=some)
    W = found.matrix.to_dense()
    assert W[1, 0] <= 0.1 + 1e-12 < W[0, 1]
    with pytest.raises(InputError, match="no edge of the graph"):
        optimal_weights(graph, "fmmc", upper={(2, 0): 0.1})


@pytest.mark.parametrize("upper", [0.1, 0.3])
def test_the_closed_form_keeps_bounds_or_says_that_it_cannot(upper):
    with pytest.raises(GraphError, match=r"weighs 1/3, which is above its bound"):
        optimal_weights(nx.petersen_graph(), "fdla", upper=upper, self_loops=False, method="closed-form")


def test_large_closed_forms_keep_their_proof():
    for graph in (nx.star_graph(700), nx.complete_bipartite_graph(80, 80)):
        found = optimal_weights(graph, "fdla")
        assert found.certificate_width <= 1e-9
        assert found.stopped == "width"


def test_weights_that_diverge_are_no_answer():
    graph = nx.barabasi_albert_graph(30, 4, seed=1)
    with pytest.raises(GraphError, match="none have a SLEM below 1;"):
        optimal_weights(graph, "fdla", self_loops=False)
    with pytest.raises((GraphError, ConvergenceError), match=r"in the time that there was|none have a SLEM below"):
        optimal_weights(graph, "fdla", self_loops=False, time_limit=1e-6)


def test_graphs_that_cannot_mix():
    with pytest.raises(GraphError, match="disconnected"):
        optimal_weights(nx.Graph([(0, 1), (2, 3)]))
    with pytest.raises(GraphError, match="bipartite"):
        optimal_weights(nx.path_graph(4), self_loops=False)


def test_one_and_two_nodes():
    assert optimal_weights(nx.empty_graph(1)).slem == 0
    two = optimal_weights(nx.path_graph(2))
    assert two.slem == pytest.approx(0, abs=1e-12)
    assert two.weights == pytest.approx([0.5])


def test_options_of_optimal_weights_are_refused_for_others():
    with pytest.raises(InputError, match="time_limit is for optimal weights"):
        design("ring", 8, weights="uniform", weight_options={"time_limit": 3})
    with pytest.raises(InputError, match="one construction"):
        design("one-peer-exponential", 8, weights="uniform")


def test_the_weights_of_a_whole_period():
    before = design("inner-outer-exponential", 12)
    after = design("inner-outer-exponential", 12, weights="fmmc")
    assert after.period == before.period
    assert after.claims.nonnegative
    assert after.claims.period_contraction < before.claims.period_contraction - 1e-3
    assert after.provenance["optimality"]["norm"] == pytest.approx(after.claims.period_contraction, abs=1e-9)
    assert check_optimality(after) is None


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["fdla", "fmmc"])
def test_a_thousand_nodes(objective):
    found = optimal_weights(nx.random_regular_graph(4, 1024, seed=1), objective, width=1e-3)
    assert found.certificate_width <= 1e-3
    grid = nx.convert_node_labels_to_integers(nx.grid_2d_graph(32, 32))
    found = optimal_weights(grid, objective, width=1e-2)
    assert found.certificate_width <= 1e-2
    assert found.slem < simple_weights(weight_problem(grid, objective))[1]
