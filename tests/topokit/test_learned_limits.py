"""Limits on graphs, random graphs within them, and moves: against enumeration, and errors that name the limit."""

import itertools

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topokit.errors import GraphError, InputError
from topokit.learned.limits import Limits
from topokit.learned.moves import Moves, State, candidate_moves
from topokit.learned.starts import random_start
from topokit.network import Host, Link, Network

ALL = 10**6  # moves of each kind: more than there are


def mask_of(graph):
    return nx.to_numpy_array(graph, nodelist=range(len(graph))).astype(bool)


@st.composite
def limited(draw, most_nodes=9):
    """Limits of many kinds, which a random graph keeps: they can be met."""
    n = draw(st.integers(2, most_nodes))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    tree = nx.random_labeled_tree(n, seed=int(rng.integers(2**31)))
    graph = nx.compose(tree, nx.gnp_random_graph(n, rng.random() * 0.6, seed=int(rng.integers(2**31))))
    degree = np.array([graph.degree(v) for v in range(n)])
    m = graph.number_of_edges()
    given = {}
    if draw(st.booleans()):
        given["max_degree"] = int(degree.max()) if draw(st.booleans()) else degree + rng.integers(0, 2, n)
    if draw(st.booleans()):
        given["edges"] = m + int(rng.integers(0, 2))
    if draw(st.booleans()):
        given["allowed"] = mask_of(graph) | mask_of(nx.compose(tree, nx.gnp_random_graph(n, 0.5, seed=n)))
    if draw(st.booleans()):
        given["hosts"] = rng.integers(0, 3, n)
        most = Limits(n, hosts=given["hosts"]).crossing(np.array(graph.edges))
        given["host_edges"] = most + 1 if draw(st.booleans()) else int(most.max()) + 1
    return Limits(n, **given)


@settings(max_examples=150, deadline=None)
@given(limited(), st.integers(0, 1000))
def test_random_starts_keep_all_limits_that_can_be_met(limits, seed):
    rng = np.random.default_rng(seed)
    start = random_start(limits, rng)
    assert limits.broken(start.edges) is None
    again = random_start(limits, np.random.default_rng(seed))
    np.testing.assert_array_equal(start.edges, again.edges)
    for _ in range(3):
        moves = candidate_moves(start, limits, rng, ALL)
        if not len(moves.removed):
            return
        start = start.after(moves, int(rng.integers(len(moves.removed))))
        assert limits.broken(start.edges) is None or "is not connected" in limits.broken(start.edges)
        if limits.broken(start.edges):
            return


@pytest.mark.parametrize(("nodes", "degree"), [(4, 2), (6, 3), (8, 3), (9, 4), (10, 7), (16, 3), (24, 5), (30, 11)])
def test_starts_of_regular_limits_are_regular(nodes, degree):
    limits = Limits(nodes, max_degree=degree)
    assert limits.regular == degree
    for seed in range(5):
        assert (random_start(limits, np.random.default_rng(seed)).degree == degree).all()


def test_starts_have_as_many_edges_as_fit():
    for limits in (Limits(7, edges=11), Limits(9, max_degree=3, edges=12), Limits(12, max_degree=4)):
        for seed in range(5):
            assert len(random_start(limits, np.random.default_rng(seed)).edges) == limits.most_edges


def test_starts_differ_in_shape_where_degrees_may():
    largest = {random_start(Limits(12, edges=11), np.random.default_rng(seed)).degree.max() for seed in range(20)}
    assert min(largest) <= 3
    assert max(largest) >= 10


def test_starts_are_connected_where_the_last_edge_has_to_be_made_room_for():
    limits = Limits(10, max_degree=2, allowed=mask_of(nx.petersen_graph()))  # which has no Hamiltonian cycle
    for seed in range(20):
        assert limits.broken(random_start(limits, np.random.default_rng(seed)).edges) is None
    for seed in range(20):
        limits = Limits(9, max_degree=2)
        assert len(random_start(limits, np.random.default_rng(seed)).edges) == 9


def test_a_hamiltonian_path_is_found_where_that_is_all_there_is():
    limits = Limits(20, max_degree=2, edges=19, allowed=mask_of(nx.dodecahedral_graph()))
    for seed in range(5):
        start = random_start(limits, np.random.default_rng(seed))
        assert nx.is_isomorphic(nx.from_edgelist(start.edges), nx.path_graph(20))


# What a graph breaks


def test_every_broken_limit_is_named():
    path = np.array([[0, 1], [1, 2], [2, 3]])
    assert Limits(4).broken(path) is None
    cases = [
        (Limits(4), path[:2], "no path joins nodes 0 and 3"),
        (Limits(4), np.concatenate((path, path[:1, ::-1])), "edge twice"),
        (Limits(4), np.concatenate((path, [[1, 1]])), "self-loop"),
        (Limits(4, max_degree=1), path, "node 1 has 2 neighbours, at most 1"),
        (Limits(4, max_degree=[1, 2, 1, 1]), path, "node 2 has 2 neighbours, at most 1"),
        (Limits(4, edges=2), path, "has 3 edges, allowed are 3 to 2"),
        (Limits(4, min_edges=4), path, "has 3 edges, allowed are 4 to 6"),
        (Limits(4, allowed=[(0, 1), (2, 1), (0, 3)]), path, "nodes 2 and 3 are joined"),
        (Limits(4, hosts=[0, 0, 1, 0], host_edges=1), path, "2 edges leave host 0, at most 1"),
        (Limits(4, hosts=[0, 0, 1, 0], host_edges=[2, 1]), path, "2 edges leave host 1, at most 1"),
    ]
    for limits, edges, said in cases:
        assert said in limits.broken(edges)


def brute_broken(limits, edges):
    """Whether a graph, given as a set of pairs, keeps limits; by networkx, one rule after the other."""
    graph = nx.Graph()
    graph.add_nodes_from(range(limits.nodes))
    graph.add_edges_from(edges)
    degree = np.broadcast_to(limits.nodes if limits.max_degree is None else limits.max_degree, (limits.nodes,))
    allowed = np.ones((limits.nodes,) * 2, dtype=bool) if limits.allowed is None else np.asarray(limits.allowed)
    broken = any(graph.degree(v) > degree[v] for v in graph) or any(not allowed[u, v] for u, v in edges)
    broken |= len(edges) > (limits.edges or len(edges))
    broken |= len(edges) < max(limits.min_edges or 0, limits.nodes - 1)
    if limits.host_edges is not None:
        most = np.broadcast_to(limits.host_edges, (int(np.max(limits.hosts)) + 1,))
        for host, count in enumerate(most):
            broken |= sum((limits.hosts[u] == host) != (limits.hosts[v] == host) for u, v in edges) > count
    return bool(broken)


@settings(max_examples=60, deadline=None)
@given(limited(7), st.integers(0, 1000))
def test_broken_says_what_counting_says(limits, seed):
    rng = np.random.default_rng(seed)
    tree = nx.random_labeled_tree(limits.nodes, seed=seed)
    pairs = {tuple(sorted(edge)) for edge in tree.edges}
    pairs |= {p for p in itertools.combinations(range(limits.nodes), 2) if rng.random() < 0.2}
    assert (limits.broken(np.array(sorted(pairs))) is not None) == brute_broken(limits, pairs)


# Moves


def brute_moves(edges, limits):
    """All legal swaps, exchanges, additions and deletions: sets of edges removed and added."""
    edges = {tuple(edge) for edge in edges.tolist()}
    absent = set(itertools.combinations(range(limits.nodes), 2)) - edges
    tries = [((e,), ()) for e in edges] + [((), (e,)) for e in absent]
    tries += [((e,), (f,)) for e in edges for f in absent]
    for (a, b), (x, y) in itertools.combinations(sorted(edges), 2):
        for new in (((a, x), (b, y)), ((a, y), (b, x))):
            if len({a, b, x, y}) == 4:
                tries.append((((a, b), (x, y)), tuple(tuple(sorted(e)) for e in new)))
    found = set()
    for gone, new in tries:
        after = (edges - set(gone)) | set(new)
        if set(new) <= absent and not brute_broken(limits, after):
            found.add((frozenset(gone), frozenset(new)))
    return found


def as_sets(moves):
    def pairs(edges):
        return frozenset(tuple(sorted(edge)) for edge in edges.tolist() if edge[0] >= 0)

    return [(pairs(removed), pairs(added)) for removed, added in zip(*moves, strict=True)]


@settings(max_examples=120, deadline=None)
@given(limited(7), st.integers(0, 1000))
def test_moves_are_all_those_that_keep_limits_and_no_others(limits, seed):
    rng = np.random.default_rng(seed)
    state = random_start(limits, rng)
    for _ in range(2):  # the second state has fewer edges, mostly
        expected, found = brute_moves(state.edges, limits), as_sets(candidate_moves(state, limits, rng, ALL))
        assert set(found) == expected
        swaps = [move for move in found if len(move[0]) == 2]
        assert len(swaps) == len(set(swaps))
        fewer = [move for move in candidate_move_list(state, limits, rng) if limits.broken(move.edges) is None]
        if not fewer:
            return
        state = fewer[int(rng.integers(len(fewer)))]


def candidate_move_list(state, limits, rng):
    moves = candidate_moves(state, limits, rng, ALL)
    return [state.after(moves, k) for k in range(len(moves.removed)) if moves.added[k].max() < 0]


@pytest.mark.parametrize("most", [1, 4, 17, 200])
def test_some_of_many_moves_are_legal_and_not_too_many(most):
    rng = np.random.default_rng(most)
    limits = Limits(12, max_degree=[4] * 6 + [5] * 6, edges=22, hosts=[0, 1, 2] * 4, host_edges=20)
    state = random_start(limits, rng)
    expected = brute_moves(state.edges, limits)
    for _ in range(20):
        found = as_sets(candidate_moves(state, limits, rng, most))
        assert set(found) <= expected
        assert sum(len(move[0]) == 2 for move in found) <= most


def test_a_move_changes_what_it_says():
    rng = np.random.default_rng(0)
    limits = Limits(8, edges=14)
    state = random_start(limits, rng)
    moves = candidate_moves(state, limits, rng, ALL)
    pairs, sign = moves.changes
    for k, (gone, new) in enumerate(as_sets(moves)):
        before = {tuple(edge) for edge in state.edges.tolist()}
        after = state.after(moves, k)
        assert [tuple(edge) for edge in after.edges.tolist()] == sorted((before - gone) | new)
        change = np.zeros((8, 8), dtype=int)
        np.add.at(change, tuple(pairs[k].T), sign[k])
        difference = after.adjacency.astype(int) - state.adjacency
        np.testing.assert_array_equal(change + change.T, difference)
        np.testing.assert_array_equal(after.degree, after.adjacency.sum(axis=1))
    assert as_sets(moves.take(slice(2, 4))) == as_sets(moves)[2:4]
    assert as_sets(Moves.joined([moves, moves])) == as_sets(moves) * 2


# Limits that cannot be met


TWO_TRIANGLES = nx.disjoint_union(nx.complete_graph(3), nx.complete_graph(3))

IMPOSSIBLE = [
    ({"nodes": 8, "edges": 6}, "at most 6 edges cannot connect 8 nodes: allow 7"),
    ({"nodes": 5, "max_degree": 1}, "limits on degrees leave 2 edges for 5 nodes.*takes 4: raise max_degree"),
    ({"nodes": 4, "max_degree": [1, 1, 1, 2]}, "limits on degrees leave 2 edges for 4 nodes"),
    ({"nodes": 6, "allowed": mask_of(TWO_TRIANGLES)}, "never connect node 3 with node 0: allow more pairs"),
    ({"nodes": 3, "allowed": [(0, 1)]}, "never connect node 2 with node 0"),
    ({"nodes": 5, "min_edges": 11}, "min_edges asks for 11 edges, but the other limits leave 10"),
    ({"nodes": 6, "max_degree": 2, "min_edges": 7}, "min_edges asks for 7 edges, but the other limits leave 6"),
    ({"nodes": 6, "edges": 7, "min_edges": 8}, "min_edges asks for 8 edges, but the other limits leave 7"),
    ({"nodes": 4, "hosts": [0, 0, 1, 1], "host_edges": [1, 0]}, "no edge may leave host 1.*raise host_edges"),
    ({"nodes": 6, "hosts": [0, 0, 1, 1, 2, 2], "host_edges": 1}, "host_edges leaves 1 edges between 3 hosts"),
    # Not seen at once: a star needs its centre, a bridge its pair, a host its way out.
    (
        {
            "nodes": 6,
            "max_degree": [2, 5, 5, 5, 5, 5],
            "allowed": [(0, 1), (0, 2), (0, 3), (0, 4), (0, 5), (1, 2), (2, 3), (1, 3)],
        },
        "without max_degree or allowed there is one: relax one of them",
    ),
    ({"nodes": 5, "max_degree": 4, "allowed": mask_of(nx.cycle_graph(5)), "min_edges": 6}, "min_edges asks for 6"),
    (
        {"nodes": 6, "hosts": [0, 0, 1, 1, 2, 2], "host_edges": [1, 2, 1], "allowed": [(0, 1), (2, 3), (4, 5), (1, 4)]},
        "never connect node 2 with node 0",
    ),
    (
        {
            "nodes": 6,
            "hosts": [0, 0, 1, 1, 2, 2],
            "host_edges": [1, 2, 1],
            "allowed": [(0, 1), (2, 3), (4, 5), (1, 2), (1, 4)],
        },
        "without host_edges or allowed",
    ),
    ({"nodes": 10, "max_degree": 2, "allowed": mask_of(nx.petersen_graph()), "min_edges": 10}, "without"),
    ({"nodes": 4, "max_degree": [3, 1, 1, 1], "min_edges": 3, "allowed": mask_of(nx.path_graph(4))}, "degrees leave"),
]


@pytest.mark.parametrize(("given", "said"), IMPOSSIBLE, ids=range(len(IMPOSSIBLE)))
def test_limits_that_cannot_be_met_are_named(given, said):
    with pytest.raises(GraphError, match=said):
        random_start(Limits(**given), np.random.default_rng(0))


def test_what_is_relaxed_is_named_alone_where_it_is_alone():
    petersen = mask_of(nx.petersen_graph())  # has Hamiltonian paths, and no Hamiltonian cycle
    path = random_start(Limits(10, max_degree=2, allowed=petersen), np.random.default_rng(0))
    assert len(path.edges) == 9
    with pytest.raises(GraphError, match=r"without max_degree or min_edges or allowed there is one: relax one of them"):
        random_start(Limits(10, max_degree=2, allowed=petersen, min_edges=10), np.random.default_rng(0))
    # Node 0 alone joins hosts 1 and 2: for want of links, and because each of them sends one message.
    pairs = [(0, 1), (0, 2), (1, 3), (1, 5), (3, 5), (2, 4)]
    alone = Limits(6, max_degree=[1, 5, 5, 5, 5, 5], allowed=pairs, hosts=[0, 1, 2, 1, 2, 1], host_edges=[2, 1, 1])
    with pytest.raises(GraphError, match=r"without max_degree there is one: relax that"):
        random_start(alone, np.random.default_rng(0))


def test_relaxed_lifts_one_limit_at_a_time():
    full = Limits(6, max_degree=3, edges=8, min_edges=6, allowed=~np.eye(6, dtype=bool), hosts=[0] * 6, host_edges=1)
    relaxed = dict(full.relaxed())
    assert [*relaxed] == ["max_degree", "edges", "min_edges", "host_edges", "allowed"]
    assert relaxed["edges"].most_edges == 9
    assert relaxed["max_degree"].degrees.tolist() == [5] * 6
    assert relaxed["edges"].degrees.tolist() == [3] * 6
    assert Limits(6).relaxed() == []


# Arguments that make no sense


BAD = [
    ({"nodes": 1}, "at least 2 nodes, got 1"),
    ({"nodes": -3}, "at least 2 nodes, got -3"),
    ({"nodes": 6.5}, "number of nodes must be a whole number, got 6.5"),
    ({"nodes": float("nan")}, "number of nodes must be a whole number"),
    ({"nodes": [4]}, "number of nodes must be a whole number"),
    ({"nodes": 6, "edges": 0}, "edges must be at least 1, got 0"),
    ({"nodes": 6, "edges": 7.5}, "edges must be a whole number, got 7.5"),
    ({"nodes": 6, "min_edges": -1}, "min_edges must be at least 1, got -1"),
    ({"nodes": 6, "min_edges": "7"}, "min_edges must be a whole number, got '7'"),
    ({"nodes": 6, "max_degree": 0}, "max_degree of node 0 is 0; expected at least 1"),
    ({"nodes": 3, "max_degree": [2, 2, -1]}, "max_degree of node 2 is -1; expected at least 1"),
    ({"nodes": 6, "max_degree": 2.5}, "max_degree must be whole numbers, got 2.5"),
    ({"nodes": 3, "max_degree": [2, 2, float("nan")]}, "max_degree must be whole numbers"),
    ({"nodes": 3, "max_degree": [2, 2]}, r"max_degree has shape \(2,\); expected a number, or one for each of 3"),
    ({"nodes": 3, "max_degree": [[2], [2, 1]]}, "max_degree is no array"),
    ({"nodes": 3, "max_degree": True}, "max_degree must be whole numbers, got True"),
    ({"nodes": 3, "allowed": np.ones((2, 3), dtype=bool)}, r"allowed has shape \(2, 3\); expected \(3, 3\), or pairs"),
    ({"nodes": 3, "allowed": [[0, 1], [1]]}, "allowed is no array"),
    ({"nodes": 3, "allowed": np.triu(np.ones((3, 3)))}, r"different things of the pairs \(0, 1\) and \(1, 0\)"),
    ({"nodes": 2, "allowed": np.full((2, 2), np.nan)}, "different things of the pairs"),
    ({"nodes": 3, "allowed": [(0, 3)]}, "allowed names node 3, but nodes are numbered 0 to 2"),
    ({"nodes": 3, "allowed": [(0, 1), (-1, 2)]}, "allowed names node -1, but nodes are numbered 0 to 2"),
    ({"nodes": 3, "allowed": [(0.0, 1.0)]}, "allowed has shape"),
    ({"nodes": 3, "hosts": [0, 1]}, "hosts must be 3 numbers from 0"),
    ({"nodes": 3, "hosts": [0, 1, -1]}, "hosts must be 3 numbers from 0"),
    ({"nodes": 3, "hosts": [0, 1, 1.5]}, "hosts must be whole numbers"),
    ({"nodes": 3, "host_edges": 1}, "needs to know the hosts: give hosts too"),
    ({"nodes": 3, "hosts": [0, 1, 1], "host_edges": -1}, "host_edges must not be negative, got -1"),
    ({"nodes": 3, "hosts": [0, 1, 1], "host_edges": [1, 1, 1]}, r"host_edges has shape \(3,\).*each of 2 hosts"),
    ({"nodes": 3, "hosts": [0, 1, 1], "host_edges": 0.5}, "host_edges must be whole numbers, got 0.5"),
]


@pytest.mark.parametrize(("given", "said"), BAD, ids=range(len(BAD)))
def test_arguments_that_make_no_sense_are_refused(given, said):
    with pytest.raises(InputError, match=said):
        Limits(**given)


def test_numbers_that_follow_from_limits():
    limits = Limits(np.int64(6), max_degree=np.int32(3))
    assert (limits.regular, limits.most_edges, limits.fewest_edges) == (3, 9, 5)
    assert Limits(7, max_degree=3).regular is None
    assert Limits(7, max_degree=3).most_edges == 10
    assert Limits(6, max_degree=9).regular == 5
    assert Limits(6).regular == 5
    assert Limits(2).regular == 1
    assert Limits(6, max_degree=3, edges=8).regular is None
    assert Limits(6, max_degree=[3, 3, 3, 3, 3, 2]).regular is None
    assert Limits(6, max_degree=2, allowed=mask_of(nx.cycle_graph(6))).regular is None
    assert Limits(6, max_degree=3, hosts=[0, 0, 0, 1, 1, 1]).regular == 3
    assert Limits(6, max_degree=3, hosts=[0, 0, 0, 1, 1, 1], host_edges=4).regular is None
    assert Limits(6, allowed=mask_of(nx.cycle_graph(6))).most_edges == 6
    assert Limits(4, allowed=[(0, 1), (1, 0), (2, 2)]).pairs.sum() == 2
    assert Limits(4, hosts=[0, 2, 2, 0]).crossing(np.array([[0, 1], [1, 2], [2, 3]])).tolist() == [2, 0, 2]
    assert Limits(4).crossing(np.array([[0, 1]])).tolist() == [0]


def test_limits_of_a_network():
    hosts = (Host("a", (0, 2), 1.0, 1.0), Host("b", (1, 3), 1.0, 1.0))
    links = (Link("a", "a", 1.0), Link("b", "b", 1.0), Link(0, 1, 1.0), Link(1, 0, 1.0), Link(2, 3, 1.0))
    limits = Limits.of_network(Network(hosts, links), edges=3)
    assert limits.hosts.tolist() == [0, 1, 0, 1]
    assert np.argwhere(np.triu(limits.pairs)).tolist() == [[0, 1], [0, 2], [1, 3]]  # 2 -> 3 has no way back
    assert limits.edges == 3
    less = Limits.of_network(Network(hosts, links), allowed=[(0, 2), (1, 3), (2, 3)])
    assert np.argwhere(np.triu(less.pairs)).tolist() == [[0, 2], [1, 3]]
    with pytest.raises(GraphError, match="never connect node 1 with node 0"):
        less.require()


def test_states_put_edges_in_order():
    state = State.of(4, np.array([[3, 1], [2, 0], [1, 0]]))
    assert state.edges.tolist() == [[0, 1], [0, 2], [1, 3]]
    assert state.degree.tolist() == [2, 2, 1, 1]
