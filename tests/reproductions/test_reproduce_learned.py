"""Learned topologies in training, in small; claims by hand, and what the full results are to show."""

import json

import networkx as nx
import numpy as np
import pytest
import reproduce_learned
from learned_graphs import LAPLACIAN, METROPOLIS, Case, Graphs, drawn, near_pairs, text_of
from learned_runs import (
    BEST,
    FOR_METROPOLIS,
    FULL,
    GRAPHS,
    LATTICE,
    METHODS,
    RANDOM,
    SMALL,
    TRAINED,
    Method,
    edges_for,
    planned,
    renumbered,
)
from learned_tables import CLAIMS, Claim, Line, claims, lines, speed_of, training_table
from reproduce_learned import RESULTS, seeds_of, staged, tables
from results_page import PAGE
from training_runs import Result, Results, edges_in, perform_all, schedule_of

from topokit.learned import Limits

RRL = Method(LATTICE, METROPOLIS)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    path = tmp_path_factory.mktemp("results") / "results.jsonl"
    for runs in staged("gt", Results(path), [0], SMALL):
        assert perform_all(runs, Results(path), None, 1, lambda line: None) == []
    return Results(path)


@pytest.mark.slow
def test_tables_and_picture_of_small_runs(small):
    made = tables(small, [0], SMALL)
    page = PAGE.read_text()
    for name in made:
        assert f"<!-- {name} -->\n" in page
        assert f"<!-- /{name} -->" in page
    assert made["learned-spectra"].count("\n") == 1 + len(GRAPHS) * len(SMALL.cases)
    assert made["learned-training"].count("\n") == 1 + len(TRAINED)
    assert made["learned-claims"].count("\n") == 1 + len(CLAIMS)
    assert set(reproduce_learned.figures(small, [0], SMALL)) == {"learned-accuracy.png"}


@pytest.mark.slow
def test_nothing_is_done_twice(small, monkeypatch):
    monkeypatch.setattr("learned_graphs.learn", None)
    before = small.path.read_text()
    for runs in staged("gt", small, [0], SMALL):
        assert all(run.key in small.found for run in runs)
    assert small.path.read_text() == before


@pytest.mark.slow
def test_graphs_keep_the_limits(small):
    graphs = Graphs(small.path)
    for case in SMALL.cases:
        for graph in GRAPHS:
            edges = edges_in(edges_for(graphs, case, graph, 0))
            assert case.limits.broken(edges) is None
    near = Case("", 32, edges=64, near=True)
    assert near.limits.broken(drawn(near, 0)) is None
    assert near.lattice.shape == (near_pairs(32).sum() // 2, 2)


@pytest.mark.parametrize(
    ("case", "degree"), [(Case("", 16, degree=4), 4), (Case("", 16, degree=3), 2), (Case("", 16, edges=22), 2)]
)
def test_ring_lattice_of_most_neighbours(case, degree):
    assert set(np.bincount(case.lattice.ravel())) == {degree}
    assert nx.is_isomorphic(nx.Graph(case.lattice.tolist()), nx.circulant_graph(16, range(1, degree // 2 + 1)))


def test_speed_of_a_ring():
    ring = text_of(Case("", 8, edges=8).lattice.tolist())
    third = (1 + 2 * np.cos(np.pi / 4)) / 3  # MH weights are 1/3
    low, high = 2 - np.sqrt(2), 4.0
    assert speed_of(ring, 8, METROPOLIS).slem == pytest.approx(third)
    assert speed_of(ring, 8, LAPLACIAN).slem == pytest.approx((high - low) / (high + low))
    assert speed_of(ring, 8, METROPOLIS).own == pytest.approx(1 / 3)
    assert speed_of(ring, 8, LAPLACIAN).own == pytest.approx(1 - 4 / (low + high))
    assert speed_of(ring, 8, LAPLACIAN).worst == int(np.ceil(np.log(1000) / -np.log((high - low) / (high + low))))


@pytest.mark.slow
def test_runs_are_on_their_edges(small):
    for case, method, run in planned(Graphs(small.path), [0], SMALL):
        matrix = schedule_of(run).rule.rounds[0].to_dense()
        u, v = np.nonzero(np.triu(matrix, 1))
        assert text_of(zip(u, v, strict=True)) == run.parameters["edges"]
        assert len(matrix) == case.nodes
        if method.weights == METROPOLIS:
            degree = np.bincount(edges_in(run.parameters["edges"]).ravel())
            assert matrix[u, v] == pytest.approx(1 / (1 + np.maximum(degree[u], degree[v])))


def test_numbers_are_drawn_by_seed():
    ring = text_of(Case("", 8, edges=8).lattice.tolist())
    some = renumbered(ring, 8, 0)
    assert some != ring
    assert some == renumbered(ring, 8, 0) != renumbered(ring, 8, 1)
    assert nx.is_isomorphic(nx.Graph(edges_in(some).tolist()), nx.cycle_graph(8))
    assert (edges_in(some)[:, 0] < edges_in(some)[:, 1]).all()


def line_of(method, models):
    results = tuple(
        Result({"seed": seed}, {"node_accuracy_mean": [value]}, {}, [], 0.0, "") for seed, value in models.items()
    )
    return Line(SMALL.cases[0], "sorted", method, results)


def test_claims_by_hand():
    found = [line_of(BEST, {0: 0.9, 1: 0.8}), line_of(RRL, {0: 0.7, 1: 0.64, 2: 0.5})]
    (claim,) = claims(found)
    assert (claim.better, claim.worse, claim.gains) == (BEST, RRL, pytest.approx((20, 16)))
    assert claim.mean == pytest.approx(18)
    assert claim.error == pytest.approx(12.706 * 2, rel=1e-4)  # two seeds
    assert claim.verdict == "within the spread"


@pytest.mark.parametrize(
    ("gains", "verdict"),
    [
        ((0.0, 0.0, 0.0), "the same"),
        ((1.0,), "within the spread"),
        ((1.0, 3.0, 2.0), "within the spread"),  # 2 with a standard error of 0.577, of which 4.303 count
        ((2.0, 3.0, 2.5), "holds"),
        ((-2.0, -3.0, -2.5), "**the contrary**"),
    ],
)
def test_verdicts(gains, verdict):
    assert Claim(SMALL.cases[0], "sorted", BEST, RRL, gains).verdict == verdict


def test_where_only_near_nodes_may_join_there_is_no_ring_lattice():
    case = next(case for case in FULL.cases if case.near)
    columns = {name: [0.5] for name in ("accuracy", "node_accuracy_mean", "node_accuracy_worst", "consensus_distance")}
    line = Line(case, "sorted", RRL, (Result({"seed": 0}, columns, {}, [], 0.0, ""),))
    assert "all allowed edges, MH weights" in training_table([line], Graphs(RESULTS))


def test_random_graphs_differ_by_seed():
    case = Case("", 16, degree=4)
    assert isinstance(case.limits, Limits)
    assert text_of(drawn(case, 0).tolist()) != text_of(drawn(case, 1).tolist())


def test_without_mnist(tmp_path, capsys):
    assert reproduce_learned.main(["--mnist", str(tmp_path / "nowhere")]) == 1
    assert "make reproduce-learned MNIST=FOLDER" in capsys.readouterr().err


@pytest.mark.slow
def test_the_page_holds_what_has_been_run():
    results = Results(RESULTS)
    graphs = Graphs(RESULTS)
    seeds = seeds_of(results)
    page = PAGE.read_text()
    assert len(seeds) >= 3
    for name, content in tables(results, seeds).items():
        assert f"<!-- {name} -->\n{content}\n<!-- /{name} -->" in page
    wanted = {run.key for _, _, run in planned(graphs, seeds, FULL)}
    assert wanted == {json.dumps(result.run, sort_keys=True) for result in results.found.values()}
    assert len(graphs.found) == 2 * len(FULL.cases) * len(seeds)


def test_values_of_the_searches_are_those_of_their_graphs():
    nodes = {case.name: case.nodes for case in FULL.cases}
    for record in Graphs(RESULTS).found.values():
        asked = record["graph"]
        slem = speed_of(record["edges"], nodes[asked["case"]], asked["objective"]).slem
        assert record["value"] == pytest.approx(slem, abs=1e-6)


def test_what_the_results_show():
    """Larger gaps by Laplacian weights on the same graph, and by learning; better models where degrees differ."""
    results, graphs = Results(RESULTS), Graphs(RESULTS)
    seeds = seeds_of(results)
    for case in FULL.cases:
        for seed in seeds:
            slem = {
                method: speed_of(edges_for(graphs, case, method.graph, seed), case.nodes, method.weights).slem
                for method in METHODS
            }
            for graph in (BEST.graph, LATTICE, RANDOM):
                assert slem[Method(graph, LAPLACIAN)] <= slem[Method(graph, METROPOLIS)] + 1e-9
            assert slem[BEST] < slem[Method(RANDOM, LAPLACIAN)]
            assert slem[BEST] < slem[Method(LATTICE, LAPLACIAN)]
            assert slem[Method(FOR_METROPOLIS, METROPOLIS)] < slem[Method(RANDOM, METROPOLIS)]
    found = claims(lines(results, graphs, seeds))
    held = {(c.case.name, c.deal, c.worse) for c in found if c.better == BEST and c.verdict == "holds"}
    for deal in ("dirichlet", "sorted"):
        assert ("32 nodes, 44 edges", deal, RRL) in held
        assert ("32 nodes, 44 edges", deal, Method(BEST.graph, METROPOLIS)) in held
    assert ("32 nodes, degree 4", "sorted", RRL) not in held
