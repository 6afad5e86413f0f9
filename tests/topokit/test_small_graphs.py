"""The best small graphs: the exhaustive figures agree with those known from elsewhere."""

import networkx as nx
import numpy as np
import pytest
from networkx.generators.atlas import graph_atlas
from small_graphs import BY_DEGREE, BY_EDGES, OBJECTIVES, REGULAR, all_graphs, best, budgets, values

from topokit.optimal import optimal_weights
from topokit.spectral import fiedler_value, slem
from topokit.weights import metropolis_hastings_weights


def test_there_are_as_many_connected_graphs_as_oeis_says():
    assert [all_graphs(nodes).number.size for nodes in range(2, 8)] == [1, 2, 6, 21, 112, 853]  # A001349


@pytest.mark.parametrize("known", BY_EDGES, ids=lambda known: f"{known.nodes},{known.edges}")
def test_the_best_by_edges(known):
    assert (all_graphs(known.nodes).edges == known.edges).sum() == known.connected
    for objective in ("fiedler", "laplacian"):
        value, graphs = best(known.nodes, objective, edges=known.edges)
        assert value == pytest.approx(getattr(known, objective), abs=6e-7)
        assert known.named.get(objective, graphs[0]) in graphs
    assert known.fdla - 1e-6 <= known.fmmc <= known.laplacian + 1e-6


@pytest.mark.parametrize(("nodes", "degree"), BY_DEGREE)
def test_the_best_by_degree(nodes, degree):
    value, edges = BY_DEGREE[nodes, degree]
    found, graphs = best(nodes, "laplacian", max_degree=degree)
    assert found == pytest.approx(value, abs=6e-7)
    assert edges in {None, *(graph_atlas(number).number_of_edges() for number in graphs)}


def test_an_edge_more_can_be_worse():
    assert best(7, "laplacian", edges=10)[0] > best(7, "laplacian", edges=9)[0]
    assert best(7, "laplacian", most_edges=10) == best(7, "laplacian", edges=9)


def test_figures_are_those_of_topokit():
    for place in range(0, 853, 100):
        graph = graph_atlas(int(all_graphs(7).number[place]))
        assert values(7, "fiedler")[place] == pytest.approx(fiedler_value(graph))
        assert values(7, "metropolis-hastings")[place] == pytest.approx(slem(metropolis_hastings_weights(graph)))
    low = values(7, "laplacian")
    assert np.allclose(values(7, "eigenratio"), (1 + low) / (1 - low))


def test_every_budget_has_a_best():
    for nodes in range(2, 8):
        for budget in budgets(nodes):
            for objective in OBJECTIVES:
                value, graphs = best(nodes, objective, **budget)
                assert np.isfinite(value)
                assert graphs
    assert best(6, "fiedler", max_degree=5) == (pytest.approx(6), (208,))
    assert nx.is_isomorphic(graph_atlas(208), nx.complete_graph(6))
    with pytest.raises(ValueError, match="no connected graph of 5 nodes"):
        best(5, "fiedler", edges=3)


@pytest.mark.parametrize(
    "known",
    [k for k in BY_EDGES if k.connected <= 22 and (k.named or k.nodes == 5)],
    ids=lambda known: f"{known.nodes},{known.edges}",
)
def test_optimal_weights_by_edges(known):
    graphs = all_graphs(known.nodes)
    for objective in ("fmmc", "fdla"):
        found = {
            number: optimal_weights(graph_atlas(number), objective, width=1e-6).slem
            for number in graphs.number[graphs.edges == known.edges].tolist()
        }
        assert min(found.values()) == pytest.approx(getattr(known, objective), abs=2e-6)
        if objective in known.named:
            assert found[known.named[objective]] == pytest.approx(min(found.values()), abs=2e-6)


def test_regular_references():
    def bc(graph):
        mu = np.sort(nx.laplacian_spectrum(graph))
        return (mu[-1] - mu[1]) / (mu[-1] + mu[1])

    words = """0 8,0 11,0 13,0 14,1 3,1 5,1 7,1 8,2 3,2 9,2 10,2 15,3 12,3 14,4 8,4 9,4 10,4 14,5 6,5 9,5 11,6 7,6 14,
               6 15,7 10,7 13,8 15,9 13,10 11,11 12,12 13,12 15"""
    quartic = nx.Graph([tuple(map(int, pair.split())) for pair in words.split(",")])
    assert bc(quartic) == pytest.approx(REGULAR[16, 4])
    assert {degree for _, degree in quartic.degree} == {4}
    assert bc(nx.petersen_graph()) == pytest.approx(REGULAR[10, 3])
    assert bc(nx.moebius_kantor_graph()) == pytest.approx(REGULAR[16, 3], abs=6e-7)
