"""Circulant and Cayley graphs and lifts: blocks against dense matrices, and searches against known and all graphs."""

import json
import time
from itertools import combinations
from math import gcd

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topokit.errors import GraphError, InputError
from topokit.learned.structured import search as structured
from topokit.learned.structured.circulants import circulant_search
from topokit.learned.structured.groups import SemidirectGroup, cyclic_group, groups_of_order
from topokit.learned.structured.search import rebuild, structured_search
from topokit.learned.structured.voltage import VoltageGraph
from topokit.learned.structured.voltage_moves import NONE, propose, random_arcs
from topokit.learned.structured.voltage_search import VoltageSearch

GROUPS = [
    cyclic_group(1),
    cyclic_group(2),
    cyclic_group(7),
    cyclic_group(12),
    SemidirectGroup((4,), ((-1,),), 2),
    SemidirectGroup((7,), ((2,),), 3),
    SemidirectGroup((9,), ((4,),), 6),  # the action repeats itself
    SemidirectGroup((2, 2), ((0, 1), (1, 1)), 3),
    SemidirectGroup((3, 3), ((0, 1), (-1, 0)), 4),
    SemidirectGroup((4, 2), ((1, 2), (0, 1)), 2),
    SemidirectGroup((6, 4), ((1, 0), (0, 1)), 1),
    SemidirectGroup((2, 2, 2), ((0, 0, 1), (1, 0, 0), (0, 1, 0)), 3),
]


@pytest.fixture
def brief(monkeypatch):
    """A part of the usual time, where that is enough."""
    monkeypatch.setattr(structured, "_allowance", lambda nodes: 150.0)


def slem(low, high):
    return (high - low) / (high + low)


def laplacian(nodes, edges):
    adjacency = np.zeros((nodes, nodes))
    np.add.at(adjacency, (edges[:, 0], edges[:, 1]), 1)
    adjacency += adjacency.T
    assert adjacency.max(initial=0) <= 1
    assert not adjacency.diagonal().any()
    return np.diag(adjacency.sum(axis=0)) - adjacency


def check(graph, nodes, degree):
    """Look at a found graph with dense linear algebra alone."""
    assert graph.nodes == nodes
    assert graph.edges.dtype == np.int64
    assert (graph.edges[:, 0] < graph.edges[:, 1]).all()
    assert graph.edges.tolist() == sorted(graph.edges.tolist())
    assert np.bincount(graph.edges.ravel(), minlength=nodes).tolist() == [degree] * nodes
    assert nx.is_connected(nx.Graph(graph.edges.tolist()))
    values = np.linalg.eigvalsh(laplacian(nodes, graph.edges))
    assert [graph.mu2, graph.mun] == pytest.approx([values[1], values[-1]], abs=1e-9)
    assert np.array_equal(rebuild(json.loads(json.dumps(graph.parameters))), graph.edges)


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.name)
def test_products_are_those_of_a_group(group):
    codes = np.arange(group.size)
    table = group.product(codes[:, None], codes)
    assert (np.sort(table, axis=1) == codes).all()
    assert (table[0] == codes).all()
    assert (table[:, 0] == codes).all()
    assert (table[table[:, :, None], codes] == table[codes[:, None, None], table]).all()
    assert (table[codes, group.inverse] == 0).all()
    assert group.involutions.tolist() == [x for x in codes[1:] if table[x, x] == 0]
    assert group.characters[1].sum() == group.plane


def test_multiplication_is_that_of_permutations():
    # x -> 2x + 1 modulo 7 and its like: (a, c) is the map x -> a + 2^c x.
    group = SemidirectGroup((7,), ((2,),), 3)
    maps = [[(code % 7 + 2 ** (code // 7) * x) % 7 for x in range(7)] for code in range(21)]
    for left in range(21):
        for right in range(21):
            assert maps[int(group.product(left, right))] == [maps[left][y] for y in maps[right]]


@pytest.mark.parametrize(
    ("orders", "matrix", "turns"), [((5,), ((2,),), 2), ((4,), ((2,),), 1), ((4, 2), ((1, 1), (1, 1)), 2)]
)
def test_matrices_that_do_not_act_are_refused(orders, matrix, turns):
    with pytest.raises(InputError, match="no automorphism"):
        SemidirectGroup(orders, matrix, turns)


def test_groups_of_an_order_are_listed():
    for order in range(1, 40):
        groups = groups_of_order(order)
        assert {group.size for group in groups} == {order}
        assert groups[0].name == f"Z_{order}"
        cyclic = {(group.orders[0], group.turns) for group in groups if len(group.orders) == 1}
        actions = {
            (order // k, k)
            for k in range(2, order // 2 + 1)
            if order % k == 0
            if any(gcd(r, order // k) == 1 and pow(r, k, order // k) == 1 for r in range(2, order // k))
        }
        assert cyclic == {(order, 1), *actions}
    assert max(group.turns for group in groups_of_order(240, 6)) <= 6


@settings(deadline=None, max_examples=150)
@given(group=st.sampled_from(GROUPS), base=st.integers(1, 5), degree=st.integers(1, 6), seed=st.integers(0, 2**32))
def test_blocks_have_the_eigenvalues_of_the_whole(group, base, degree, seed):
    arcs = random_arcs(group, base, degree, np.random.default_rng(seed))
    if arcs is None:
        return
    graph = VoltageGraph(group, base, arcs)
    assert graph.simple
    assert graph.degrees.tolist() == [degree] * base
    whole = laplacian(graph.nodes, graph.edges())
    assert whole.diagonal().tolist() == [degree] * graph.nodes
    values = np.linalg.eigvalsh(whole)
    assert np.allclose(graph.spectrum(), values, atol=1e-9)
    if graph.nodes > 1:
        assert graph.ends() == pytest.approx((values[1], values[-1]), abs=1e-9)


@settings(deadline=None, max_examples=40)
@given(group=st.sampled_from(GROUPS[2:]), base=st.integers(1, 4), degree=st.integers(2, 5), seed=st.integers(0, 2**32))
def test_searches_keep_graphs_regular_and_their_costs_true(group, base, degree, seed):
    rng = np.random.default_rng(seed)
    arcs = random_arcs(group, base, degree, rng)
    if arcs is None:
        return
    search = VoltageSearch(group, base, arcs, slem, rng)
    begin = search.cost
    assert begin == pytest.approx(slem(*search.graph.ends()), abs=1e-9)
    search.climb(64)
    assert search.cost <= begin + 1e-9
    assert search.graph.simple
    assert search.graph.degrees.tolist() == [degree] * base
    assert search.cost == pytest.approx(slem(*search.graph.ends()), abs=1e-9)


def test_proposals_keep_the_degrees_but_where_elements_are_of_order_two():
    group, rng = SemidirectGroup((8,), ((3,),), 2), np.random.default_rng(1)
    graph = VoltageGraph(group, 4, random_arcs(group, 4, 5, rng))
    removed, added = propose(graph, rng, 3000)
    kept = 0
    for out, new in zip(removed, added, strict=True):
        arcs = np.concatenate([np.delete(graph.arcs, out[out != NONE], axis=0), new[new[:, 0] != NONE]])
        changed = VoltageGraph(group, 4, arcs)
        assert (arcs[:, 0] <= arcs[:, 1]).all()
        kept += changed.degrees.tolist() == [5] * 4
    assert kept > 2400


def test_blocks_of_changes_are_those_of_the_changed_graphs():
    group, rng = SemidirectGroup((8,), ((3,),), 2), np.random.default_rng(2)
    search = VoltageSearch(group, 4, random_arcs(group, 4, 5, rng), slem, rng)
    places, characters = np.arange(len(group.characters[0])), group.characters[0]
    removed, added = propose(search.graph, rng, 200)
    blocks = search._changed(places, removed, added)
    for out, new, part in zip(removed, added, blocks, strict=True):
        arcs = np.concatenate([np.delete(search.graph.arcs, out[out != NONE], axis=0), new[new[:, 0] != NONE]])
        assert np.allclose(part, VoltageGraph(group, 4, arcs).blocks(characters), atol=1e-12)


@pytest.mark.parametrize(
    ("nodes", "degree"), [(n, d) for n in (6, 9, 12, 13, 16, 20) for d in (2, 3, 4, 5) if n * d % 2 == 0 and d < n]
)
def test_circulants_are_the_best_of_all(nodes, degree):
    best = np.inf
    half = [nodes // 2] * (degree % 2)
    for offsets in combinations(range(1, (nodes + 1) // 2), degree // 2):
        row = np.zeros(nodes)
        row[[*offsets, *half]] = row[[nodes - offset for offset in (*offsets, *half)]] = 1
        values = np.sort(degree - np.fft.fft(row).real)
        if values[1] > 1e-9:
            best = min(best, slem(values[1], values[-1]))
    graph, cost, _ = circulant_search(nodes, degree, slem)
    assert cost == pytest.approx(best, abs=1e-12)
    assert slem(*graph.ends()) == pytest.approx(best, abs=1e-9)


def test_circulants_of_a_million_nodes():
    begin = time.monotonic()
    graph, cost, _ = circulant_search(1_000_003, 8, slem, deadline=begin + 1)
    assert time.monotonic() - begin < 3
    angles = 2 * np.pi / 1_000_003 * (np.arange(1, 500_002)[:, None] * graph.arcs[:, 2] % 1_000_003)
    values = 8 - 2 * np.cos(angles).sum(axis=1)
    assert cost == pytest.approx(slem(values.min(), values.max()), abs=1e-9)
    assert cost < 0.997


@pytest.mark.parametrize(
    ("nodes", "degree", "most"),
    [
        (4, 3, 0),  # complete
        (5, 2, 1 / 5**0.5),  # a cycle
        (6, 3, 1 / 3),  # K_3,3
        (6, 4, 1 / 5),  # octahedron
        (8, 3, 0.460497),
        (10, 3, 3 / 7),  # Petersen
        (13, 6, 1 / 13**0.5),  # Paley
        (14, 3, 1 / 2**0.5 * 1.0001),
        (16, 3, 0.651085),  # Moebius-Kantor
        (16, 5, 1 / 3),  # Clebsch
    ],
)
def test_known_graphs_are_found(brief, nodes, degree, most):
    found = structured_search(nodes, degree, slem)
    check(found, nodes, degree)
    assert found.cost <= most + 1e-9


@pytest.mark.parametrize(
    ("graph", "reference"),
    [
        (VoltageGraph(cyclic_group(7), 2, np.array([[0, 1, 0], [0, 1, 1], [0, 1, 3]])), nx.heawood_graph()),
        (VoltageGraph(cyclic_group(8), 2, np.array([[0, 0, 1], [0, 1, 0], [1, 1, 3]])), nx.moebius_kantor_graph()),
        (VoltageGraph(cyclic_group(5), 2, np.array([[0, 0, 1], [0, 1, 0], [1, 1, 2]])), nx.petersen_graph()),
        # Of A_4: one element of order three, and its product with one of order two: the cuboctahedron.
        (
            VoltageGraph(SemidirectGroup((2, 2), ((0, 1), (1, 1)), 3), 1, np.array([[0, 0, 4], [0, 0, 5]])),
            nx.line_graph(nx.hypercube_graph(3)),
        ),
    ],
)
def test_voltage_graphs_of_named_graphs(graph, reference):
    assert nx.is_isomorphic(nx.Graph(graph.edges().tolist()), reference)


@pytest.mark.parametrize(
    ("nodes", "degree"), [(2, 1), (3, 2), (9, 2), (9, 8), (15, 4), (22, 3), (11, 4), (12, 5), (12, 11), (50, 3)]
)
def test_every_size_gets_a_graph(brief, nodes, degree):
    check(structured_search(nodes, degree, slem), nodes, degree)


def test_random_regular_graphs_are_worse():
    found = structured_search(64, 4, slem)
    check(found, 64, 4)
    values = [
        np.linalg.eigvalsh(nx.laplacian_matrix(nx.random_regular_graph(4, 64, seed=seed)).toarray().astype(float))
        for seed in range(40)
    ]
    assert found.cost < min(slem(value[1], value[-1]) for value in values) - 0.03
    assert found.cost < 0.71


def test_other_costs(brief):
    connectivity = structured_search(24, 3, lambda low, high: -low)
    check(connectivity, 24, 3)
    assert connectivity.cost == -connectivity.mu2
    assert connectivity.mu2 >= structured_search(24, 3, slem).mu2 - 1e-9


def test_the_seed_decides(brief):
    first, again, other = (structured_search(40, 3, slem, seed=seed) for seed in (1, 1, 2))
    assert first.parameters == again.parameters
    assert first.evaluations == again.evaluations
    assert other.parameters != first.parameters


def test_a_hundred_thousand_nodes():
    begin = time.monotonic()
    found = structured_search(100_000, 4, slem, deadline=begin + 8)
    assert time.monotonic() - begin < 10
    assert found.cost < 0.95
    assert len(found.edges) == 200_000
    assert np.bincount(found.edges.ravel()).tolist() == [4] * 100_000


def test_better_graphs_are_told_and_interruptions_keep_the_best():
    told, sentences = [], []

    def interrupt(graph):
        told.append(graph)
        if len(told) == 3:
            raise KeyboardInterrupt

    found = structured_search(96, 3, slem, on_better=interrupt, tell=lambda news: sentences.append(news.sentence()))
    assert found.stopped == "interrupt"
    assert found.cost == told[-1].cost
    assert [graph.cost for graph in told] == sorted((graph.cost for graph in told), reverse=True)
    assert len(sentences) == 3
    assert "cost" in sentences[0]


def test_a_deadline_ends_the_search():
    begin = time.monotonic()
    found = structured_search(1024, 3, slem, deadline=begin + 0.3)
    assert time.monotonic() - begin < 1.5
    assert found.stopped == "time"
    check(found, 1024, 3)


@pytest.mark.parametrize(("nodes", "degree"), [(3, 3), (5, 3), (4, 0), (4, 1), (1, 0)])
def test_impossible_graphs(nodes, degree):
    with pytest.raises(GraphError, match="no connected"):
        structured_search(nodes, degree, slem)
