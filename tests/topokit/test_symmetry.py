"""Orbits against all permutations of small graphs, networkx's isomorphisms, and counts known from theory."""

import sys
from importlib.machinery import ModuleSpec
from itertools import permutations, product
from types import ModuleType

import networkx as nx
import numpy as np
import pytest
from networkx.algorithms.isomorphism import DiGraphMatcher, GraphMatcher

from topokit.errors import InputError
from topokit.optimal import automorphism_search, symmetry
from topokit.optimal.automorphisms import Automorphisms
from topokit.optimal.symmetry import edge_orbits


def edges_of(graph):
    return np.array(nx.convert_node_labels_to_integers(graph).edges, dtype=np.int64).reshape(-1, 2)


def shuffled(graph, seed=0):
    return np.random.default_rng(seed).permutation(len(graph))[edges_of(graph)]


def image(pair, permutation, directed=False):
    moved = tuple(int(permutation[node]) for node in pair)
    return moved if directed else frozenset(moved)


def partition(groups):
    return {frozenset(np.flatnonzero(groups == k).tolist()) for k in np.unique(groups)}


def merged(items, maps):
    """Give the orbits of items, by numbers, under maps of items to items."""
    place = {item: k for k, item in enumerate(items)}
    links = nx.Graph((place[item], place[mapping(item)]) for item in items for mapping in maps)
    return {frozenset(part) for part in nx.connected_components(links)}


def orbits_by(nodes, edges, automorphisms, directed=False):
    pairs = [tuple(pair) if directed else frozenset(pair) for pair in edges.tolist()]
    of_edges = merged(pairs, [lambda pair, p=p: image(pair, p, directed) for p in automorphisms])
    return of_edges, merged(list(range(nodes)), [lambda node, p=p: p[node] for p in automorphisms])


def all_automorphisms(nodes, edges, colours, directed=False):
    coloured = {image(pair, range(nodes), directed): colour for pair, colour in zip(edges, colours, strict=True)}
    return [
        p
        for p in permutations(range(nodes))
        if all(coloured.get(image(pair, p, directed)) == colour for pair, colour in zip(edges, colours, strict=True))
    ]


def check_generators(nodes, edges, found, colours=None, directed=False):
    colours = np.zeros(len(edges)) if colours is None else colours
    coloured = {image(pair, range(nodes), directed): colour for pair, colour in zip(edges, colours, strict=True)}
    for generator in found.generators:
        assert sorted(generator) == list(range(nodes))
        for pair, colour in zip(edges, colours, strict=True):
            assert coloured[image(pair, generator, directed)] == colour
    # The orbits are those of the generators: nothing was merged without one.
    of_edges, of_nodes = orbits_by(nodes, edges, [*found.generators.tolist(), list(range(nodes))], directed)
    assert partition(found.groups) == of_edges
    assert partition(found.node_groups) == of_nodes
    assert found.count == len(of_edges)


@pytest.mark.parametrize("seed", range(5))
def test_orbits_are_those_of_all_permutations(seed):
    rng = np.random.default_rng(seed)
    atlas = [graph for graph in nx.graph_atlas_g() if len(graph) in (3, 4, 5) and graph.number_of_edges()]
    for k in rng.choice(len(atlas), 18, replace=False):
        nodes, edges = len(atlas[k]), shuffled(atlas[k], seed)
        colours = rng.integers(2, size=len(edges)) * rng.integers(2)
        found = edge_orbits(nodes, edges, colours=colours)
        assert found.complete
        every = all_automorphisms(nodes, edges, colours)
        assert (partition(found.groups), partition(found.node_groups)) == orbits_by(nodes, edges, every)
        check_generators(nodes, edges, found, colours)


@pytest.mark.parametrize("seed", range(20))
def test_orbits_of_directed_graphs_are_those_of_all_permutations(seed):
    rng = np.random.default_rng(seed)
    if seed % 2:
        edges = np.array([(i, (i + d) % 5) for i in range(5) for d in rng.choice([1, 2, 3, 4], 2, replace=False)])
    else:
        edges = np.argwhere((rng.random((5, 5)) < 0.5) & ~np.eye(5, dtype=bool))
    found = edge_orbits(5, edges, directed=True)
    every = all_automorphisms(5, edges, np.zeros(len(edges)), directed=True)
    assert (partition(found.groups), partition(found.node_groups)) == orbits_by(5, edges, every, directed=True)
    check_generators(5, edges, found, directed=True)


GRAPHS = {
    "petersen": nx.petersen_graph(),
    "hypercube": nx.hypercube_graph(4),
    "torus": nx.grid_2d_graph(3, 4, periodic=True),
    "icosahedron": nx.icosahedral_graph(),
    "dodecahedron": nx.dodecahedral_graph(),
    "complete": nx.complete_graph(6),
    "bipartite": nx.complete_bipartite_graph(3, 4),
    "prism": nx.circular_ladder_graph(7),
    "cube-prism": nx.circular_ladder_graph(4),
    "star": nx.star_graph(6),
    "tree": nx.balanced_tree(2, 3),
    "barbell": nx.barbell_graph(4, 0),
    "lollipop": nx.lollipop_graph(4, 3),
    "karate": nx.karate_club_graph(),
    "desargues": nx.desargues_graph(),
    "heawood": nx.heawood_graph(),
    "frucht": nx.frucht_graph(),
    "tutte": nx.tutte_graph(),
    "grid": nx.grid_2d_graph(4, 5),
    "two-cycles": nx.disjoint_union(nx.cycle_graph(3), nx.cycle_graph(4)),
    "random-trees": nx.random_labeled_tree(14, seed=3),
    "random-cubic": nx.random_regular_graph(3, 16, seed=1),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_orbits_are_those_of_networkx(name):
    nodes = len(GRAPHS[name])
    for edges in (edges_of(GRAPHS[name]), shuffled(GRAPHS[name])):
        found = edge_orbits(nodes, edges)
        assert found.complete
        graph = nx.Graph(edges.tolist())
        every = [[mapping[i] for i in range(nodes)] for mapping in GraphMatcher(graph, graph).isomorphisms_iter()]
        assert (partition(found.groups), partition(found.node_groups)) == orbits_by(nodes, edges, every)
        check_generators(nodes, edges, found)


def test_orbits_of_a_directed_circulant_are_those_of_networkx():
    edges = np.array([(i, (i + d) % 13) for i in range(13) for d in (1, 3, 9, 5)])
    found = edge_orbits(13, edges, directed=True)
    graph = nx.DiGraph(edges.tolist())
    every = [[mapping[i] for i in range(13)] for mapping in DiGraphMatcher(graph, graph).isomorphisms_iter()]
    assert partition(found.groups) == orbits_by(13, edges, every, directed=True)[0]


LARGE = {
    "hypercube": (nx.hypercube_graph(8), 1, 1),
    "torus": (nx.grid_2d_graph(16, 16, periodic=True), 1, 1),
    "oblong torus": (nx.grid_2d_graph(12, 16, periodic=True), 2, 1),
    "grid": (nx.grid_2d_graph(16, 16), 64, 36),
    "tree": (nx.balanced_tree(2, 8), 8, 9),
    "star": (nx.star_graph(500), 1, 2),
    "path": (nx.path_graph(300), 150, 150),
    "ring": (nx.cycle_graph(2000), 1, 1),
    "complete": (nx.complete_graph(100), 1, 1),
    "bipartite": (nx.complete_bipartite_graph(40, 50), 1, 2),
    "multipartite": (nx.complete_multipartite_graph(*[6] * 8), 1, 1),
    "barbell": (nx.barbell_graph(40, 0), 3, 2),
    "prism": (nx.circular_ladder_graph(200), 2, 1),
    "rook": (nx.cartesian_product(nx.complete_graph(9), nx.complete_graph(9)), 1, 1),
    "kneser": (nx.kneser_graph(9, 3), 1, 1),
    "asymmetric": (nx.random_regular_graph(4, 512, seed=1), 1024, 512),
}


@pytest.mark.parametrize("name", LARGE)
def test_orbits_of_large_graphs_are_as_many_as_theory_says(name):
    graph, of_edges, of_nodes = LARGE[name]
    found = edge_orbits(len(graph), shuffled(graph))
    assert found.complete
    assert (found.count, found.node_groups.max() + 1) == (of_edges, of_nodes)


def test_shifts_are_read_off_the_numbers():
    found = edge_orbits(10_000, edges_of(nx.cycle_graph(10_000)))
    assert (found.count, found.method) == (1, "structure")
    circulant = nx.circulant_graph(1001, [1, 10, 100])  # 10 times the offsets are the offsets, as 1000 is -1
    found = edge_orbits(1001, edges_of(circulant))
    assert (found.count, found.method) == (1, "structure")


def test_graphs_that_refinement_takes_for_one_another_are_told_apart():
    # Shrikhande's graph and the rook's: strongly regular with the same parameters, and of one orbit each.
    steps = ((1, 0), (0, 1), (1, 1))
    shrikhande = nx.Graph(
        ((a, b), ((a + c) % 4, (b + d) % 4)) for a, b in product(range(4), repeat=2) for c, d in steps
    )
    both = nx.disjoint_union(shrikhande, nx.line_graph(nx.complete_bipartite_graph(4, 4)))
    edges = edges_of(both)
    found = edge_orbits(32, edges)
    assert found.complete
    assert partition(found.groups) == {frozenset(range(48)), frozenset(range(48, 96))}
    check_generators(32, edges, found)


def test_bounds_are_kept():
    ring = edges_of(nx.cycle_graph(8))
    assert edge_orbits(8, ring).count == 1
    bounds = np.full(8, np.inf)
    bounds[0] = 0.25
    found = edge_orbits(8, ring, colours=bounds)
    assert found.count == 5
    check_generators(8, ring, found, bounds)


def test_an_ended_search_gives_orbits_of_automorphisms_all_the_same(monkeypatch):
    monkeypatch.setattr(symmetry.importlib.util, "find_spec", lambda name: None)
    edges = shuffled(nx.dodecahedral_graph())
    found = edge_orbits(20, edges, time_limit=0)
    assert (found.complete, found.count) == (False, 30)
    monkeypatch.setattr(automorphism_search, "STEPS", 1)
    found = edge_orbits(20, edges)
    assert not found.complete
    check_generators(20, edges, found)


def test_a_guess_that_is_no_automorphism_is_refused():
    search = Automorphisms(4, np.array([(0, 1), (1, 2), (2, 3)]), np.zeros(3, dtype=np.int64), False)
    assert not search.add(np.array([1, 0, 2, 3]))
    assert not search.add(np.array([0, 0, 2, 3]))
    assert not search.generators
    assert search.add(np.array([3, 2, 1, 0]))
    assert search.labels[0] == search.labels[3]
    coloured = Automorphisms(4, np.array([(0, 1), (1, 2), (2, 3)]), np.array([0, 0, 1]), False)
    assert not coloured.add(np.array([3, 2, 1, 0]))


@pytest.fixture
def nauty(monkeypatch):
    """Put a slow stand-in with pynauty's interface where pynauty is not installed."""
    if "pynauty" in sys.modules or symmetry.importlib.util.find_spec("pynauty"):
        return

    class Graph:
        def __init__(self, number_of_vertices, adjacency_dict, vertex_coloring):
            self.graph = nx.Graph([(u, v) for u, near in adjacency_dict.items() for v in near])
            for colour, cell in enumerate(vertex_coloring):
                self.graph.add_nodes_from(cell, colour=colour)
            assert sorted(self.graph) == list(range(number_of_vertices))

    def autgrp(graph):
        matcher = GraphMatcher(graph.graph, graph.graph, node_match=lambda a, b: a["colour"] == b["colour"])
        mappings = [[mapping[i] for i in range(len(mapping))] for mapping in matcher.isomorphisms_iter()]
        return mappings, len(mappings), 0, [], 0

    module = ModuleType("pynauty")
    module.Graph, module.autgrp = Graph, autgrp
    module.__spec__ = ModuleSpec("pynauty", None)
    monkeypatch.setitem(sys.modules, "pynauty", module)


@pytest.mark.usefixtures("nauty")
def test_nauty_is_asked_where_the_search_ends_early():
    edges = shuffled(nx.dodecahedral_graph())
    found = edge_orbits(20, edges, time_limit=0)
    assert (found.count, found.method, found.complete) == (1, "nauty", True)
    check_generators(20, edges, found)
    ring, bounds = edges_of(nx.cycle_graph(7)), np.array([1, 1, 1, 2, 1, 1, 1])
    found = edge_orbits(7, ring, colours=bounds, time_limit=0)
    assert (found.count, found.method) == (4, "nauty")
    check_generators(7, ring, found, bounds)


def test_graphs_of_one_or_two_nodes():
    alone = edge_orbits(1, np.zeros((0, 2), dtype=np.int64))
    assert (alone.count, alone.groups.size, alone.node_groups.tolist()) == (0, 0, [0])
    pair = edge_orbits(2, np.array([(0, 1)]))
    assert (pair.count, pair.node_groups.tolist()) == (1, [0, 0])
    assert edge_orbits(2, np.array([(0, 1)]), directed=True).node_groups.tolist() == [0, 1]


def test_bad_input_is_explained():
    with pytest.raises(InputError, match="leaves the nodes 0 to 2"):
        edge_orbits(3, np.array([(0, 3)]))
    with pytest.raises(InputError, match=r"one for each of the 1 edges, got shape \(2,\)"):
        edge_orbits(3, np.array([(0, 1)]), colours=[1, 2])
