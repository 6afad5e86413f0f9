from math import sqrt

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from topokit.errors import GraphError, InputError
from topokit.metrics.resistance import circuit_resistances, effective_resistances
from topokit.metrics.resistance.circuit import Circuit
from topokit.metrics.resistance.projection import _quantiles
from topokit.metrics.resistance.selected_inverse import _selected_inverse
from topokit.metrics.resistance.translations import translations

EXACT = ("dense", "factorization")


def numbered(graph):
    return nx.convert_node_labels_to_integers(graph, ordering="sorted")


@pytest.mark.parametrize("nodes", [2, 3, 4, 7, 64, 700])
@pytest.mark.parametrize("method", [None, "factorization"])
def test_closed_forms(nodes, method):
    path = effective_resistances(nx.path_graph(nodes), method=method)
    assert path.values == pytest.approx(np.ones(nodes - 1), rel=1e-12)
    assert path.kirchhoff == pytest.approx((nodes**3 - nodes) / 6, rel=1e-9)
    if nodes >= 3:
        ring = effective_resistances(nx.cycle_graph(nodes), method=method)
        assert ring.values == pytest.approx(np.full(nodes, (nodes - 1) / nodes), rel=1e-10)
        assert ring.kirchhoff == pytest.approx((nodes**3 - nodes) / 12, rel=1e-9)
    if nodes <= 64:
        complete = effective_resistances(nx.complete_graph(nodes), method=method)
        assert complete.values == pytest.approx(np.full(nodes * (nodes - 1) // 2, 2 / nodes), rel=1e-12)
        assert complete.kirchhoff == pytest.approx(nodes - 1, rel=1e-12)


def test_all_pairs_of_a_ring():
    found = effective_resistances(nx.cycle_graph(9), pairs=True)
    apart = np.abs(np.subtract.outer(np.arange(9), np.arange(9)))
    assert found.pairs == pytest.approx(apart * (9 - apart) / 9, abs=1e-12)


@pytest.mark.parametrize("dimension", [1, 2, 5, 10])
def test_hypercubes(dimension):
    found = effective_resistances(numbered(nx.hypercube_graph(dimension)))
    assert found.method in ("Fourier", "tree")
    assert found.values == pytest.approx(np.full(len(found.values), 2 * (1 - 0.5**dimension) / dimension), rel=1e-12)


@st.composite
def circuits(draw):
    nodes, seed = draw(st.integers(2, 16)), draw(st.integers(0, 10**6))
    rng = np.random.default_rng(seed)
    tree = nx.random_labeled_tree(nodes, seed=seed)
    graph = nx.compose(tree, nx.gnp_random_graph(nodes, draw(st.sampled_from([0.0, 0.2, 0.6])), seed=seed))
    edges = rng.permutation([edge if rng.random() < 0.5 else edge[::-1] for edge in graph.edges])
    return nodes, edges, np.exp(rng.uniform(-3, 3, len(edges)))


def graph_of(nodes, edges, conductances):
    graph = nx.empty_graph(nodes)
    graph.add_weighted_edges_from((u, v, c) for (u, v), c in zip(edges.tolist(), conductances, strict=True))
    return graph


@given(circuits())
@settings(max_examples=30, deadline=None)
def test_every_method_gives_the_resistances_of_networkx(circuit):
    nodes, edges, conductances = circuit
    graph = graph_of(*circuit)
    oracle = nx.resistance_distance(graph, weight="weight", invert_weight=False)
    expected = [oracle[u][v] for u, v in edges.tolist()]
    index = sum(oracle[u][v] for u in range(nodes) for v in range(u))
    methods = [*EXACT, *(["tree"] if len(edges) == nodes - 1 else [])]
    for method in methods:
        found = effective_resistances(nodes, edges, conductances, method=method)
        assert found.exact
        assert found.method == method
        assert found.values == pytest.approx(expected, rel=1e-8)
        assert found.kirchhoff == pytest.approx(index, rel=1e-8)
        assert conductances @ found.values == pytest.approx(nodes - 1, rel=1e-9)  # Foster
        assert found.largest_bounds == (found.largest, found.largest)
        assert found.largest == pytest.approx(max(expected), rel=1e-8)
        assert found.mean == pytest.approx(np.mean(expected), rel=1e-8)
    # From a graph and from its adjacency matrix, whose order of edges is its own.
    for source in (graph, nx.to_scipy_sparse_array(graph, nodelist=range(nodes), weight="weight")):
        found = effective_resistances(source, weighted=True, pairs=True)
        assert found.values == pytest.approx([oracle[u][v] for u, v in found.edges.tolist()], rel=1e-8)
        assert found.pairs == pytest.approx(np.array([[oracle[u][v] for u in range(nodes)] for v in range(nodes)]))
    for method in ("bounds", "projection"):
        found = effective_resistances(nodes, edges, conductances, method=method, seed=1)
        assert not found.exact
        assert (found.lower <= np.array(expected) * (1 + 1e-6)).all()
        assert (np.array(expected) <= found.upper * (1 + 1e-6)).all()
        low, high = found.largest_bounds
        assert low <= max(expected) * (1 + 1e-6)
        assert max(expected) <= high * (1 + 1e-6)
        if method == "projection":
            assert found.kirchhoff_bounds[0] <= index <= found.kirchhoff_bounds[1]


@given(circuits(), st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_a_better_conductor_nowhere_makes_a_resistance_larger(circuit, seed):
    nodes, edges, conductances = circuit
    rng = np.random.default_rng(seed)
    before = effective_resistances(nodes, edges, conductances, pairs=True).pairs
    more = conductances * np.where(rng.random(len(edges)) < 0.5, rng.uniform(1, 5, len(edges)), 1)
    after = effective_resistances(nodes, edges, more, pairs=True).pairs
    missing = [(u, v) for u in range(nodes) for v in range(u) if not graph_of(*circuit).has_edge(u, v)]
    assert (after <= before * (1 + 1e-9) + 1e-12).all()
    if missing:
        added = np.vstack([edges, missing[seed % len(missing)]])
        shorter = effective_resistances(nodes, added, np.append(conductances, 0.7), pairs=True).pairs
        assert (shorter <= before * (1 + 1e-9) + 1e-12).all()


def circulant(nodes, offsets, conductances):
    pairs = [(i, (i + s) % nodes, c) for i in range(nodes) for s, c in zip(offsets, conductances, strict=True)]
    graph = nx.empty_graph(nodes)
    graph.add_weighted_edges_from(pairs)
    return graph


@pytest.mark.parametrize(
    ("graph", "radices"),
    [
        (circulant(30, [1, 7, 15], [1.0, 0.25, 3.0]), (30,)),
        (circulant(17, [2, 5], [1.0, 0.1]), (17,)),
        (numbered(nx.grid_2d_graph(4, 7, periodic=True)), (4, 7)),
        (numbered(nx.grid_2d_graph(7, 4, periodic=True)), (7, 4)),
        (numbered(nx.grid_2d_graph(2, 9, periodic=True)), (2, 9)),
        (nx.complete_bipartite_graph(5, 5), (2, 5)),
        (numbered(nx.hypercube_graph(5)), (2,) * 5),
        (nx.random_regular_graph(3, 40, seed=3), None),
        (nx.random_regular_graph(4, 36, seed=3), None),
        (nx.petersen_graph(), None),
    ],
)
def test_translations(graph, radices):
    circuit = Circuit.of(graph, weighted=nx.is_weighted(graph))
    found = translations(circuit)
    assert (found is None) == (radices is None)
    if found is None:
        return
    symbol, of_edge = found
    assert symbol.radices == radices
    spectrum = np.linalg.eigvalsh(circuit.laplacian.toarray())
    assert np.sort(symbol.eigenvalues) == pytest.approx(spectrum, abs=1e-12)
    assert symbol.resistances[of_edge] == pytest.approx(circuit_resistances(circuit, method="dense").values, rel=1e-10)


def test_one_odd_edge_is_no_translation():
    for change in (1.0001, 0.5):
        graph = circulant(24, [1, 5], [1.0, 1.0])
        graph[3][8]["weight"] = change
        assert translations(Circuit.of(graph, weighted=True)) is None
        assert translations(Circuit.of(graph)) is not None
    # As many edges of each length, but not at each node.
    assert translations(Circuit.of(nx.double_edge_swap(nx.cycle_graph(12), 2, seed=5))) is None


def test_a_million_nodes():
    ring = np.stack((np.arange(10**6), (np.arange(10**6) + 1) % 10**6), axis=1)
    found = effective_resistances(10**6, ring)
    assert found.largest == pytest.approx(1 - 1e-6, rel=1e-12)
    assert found.kirchhoff == pytest.approx((10**18 - 10**6) / 12, rel=1e-9)


MESHES = {
    "grid": nx.grid_2d_graph(40, 45),
    "3-D grid": nx.grid_graph((9, 10, 11)),
    "expander": nx.random_regular_graph(4, 900, seed=1),
    "small world": nx.connected_watts_strogatz_graph(1000, 4, 0.1, seed=1),
    "hubs": nx.barabasi_albert_graph(1000, 2, seed=1),
    "cliques": nx.connected_caveman_graph(60, 12),
    "caterpillar": nx.lollipop_graph(40, 900),
}


@pytest.mark.parametrize("name", MESHES)
def test_the_work_of_a_factorisation_is_known_before(name):
    circuit = Circuit.of(numbered(MESHES[name]) if "grid" in name else MESHES[name])
    rows = np.diff(sparse.csc_array(circuit.grounded.factors.L).indptr)
    assert float((rows.astype(float) ** 2).sum()) <= 3 * circuit.factor_work
    by_factors = circuit_resistances(circuit, method="factorization")
    by_inverse = circuit_resistances(circuit, method="dense")
    assert by_factors.values == pytest.approx(by_inverse.values, rel=1e-9)
    assert by_factors.kirchhoff == pytest.approx(by_inverse.kirchhoff, rel=1e-9)
    # One that is not affordable is not begun.
    estimate = circuit_resistances(circuit, max_work=circuit.factor_work / 2)
    assert estimate.method in ("projection", "bounds")


def test_the_selected_inverse_has_the_entries_of_the_inverse():
    rng = np.random.default_rng(2)
    graph = nx.connected_watts_strogatz_graph(60, 4, 0.3, seed=2)
    circuit = Circuit.of_edges(60, list(graph.edges), rng.uniform(0.1, 2, graph.number_of_edges()))
    factors = circuit.grounded.factors
    found = _selected_inverse(factors).tocoo()
    inverse = np.linalg.inv((factors.L @ factors.U).toarray())
    assert found.data == pytest.approx(inverse[found.coords], rel=1e-10)
    assert found.nnz > 59 + graph.number_of_edges() - graph.degree(0)


def test_projections_are_as_good_as_they_say():
    graph = nx.random_regular_graph(4, 400, seed=5)
    exact = effective_resistances(graph).values
    direct = 0.375  # of an edge between nodes of degree 4: 1/4 + 1/4 - 2/16
    ratios = []
    for seed in range(6):
        found = effective_resistances(graph, method="projection", seed=seed)
        assert (found.lower <= exact * (1 + 1e-7)).all()
        assert (exact <= found.upper * (1 + 1e-7)).all()
        assert found.largest == pytest.approx(exact.max(), rel=1e-2)
        assert found.largest <= exact.max() * (1 + 1e-9)
        assert 0.02 < found.error < 0.25
        assert found.confidence == 0.999
        plain = np.argsort(-found.values)[16:]  # not computed after all
        ratios.append((found.values[plain] - direct) / (exact[plain] - direct))
    # Chi-squared over 512 degrees of freedom: mean 1 and standard deviation sqrt(2/512).
    assert np.concatenate(ratios).mean() == pytest.approx(1, abs=0.02)
    assert np.concatenate(ratios).std() == pytest.approx(sqrt(2 / 512), rel=0.15)


@pytest.mark.parametrize("freedom", [1, 16, 512])
@pytest.mark.parametrize("miss", [1e-2, 1e-9])
def test_tails_of_the_estimate(freedom, miss):
    from scipy.stats import chi2

    low, high = _quantiles(freedom, miss)
    assert chi2.cdf(freedom * low, freedom) <= miss
    assert chi2.sf(freedom * high, freedom) <= miss
    assert chi2.sf(freedom * high, freedom) >= miss**2  # Chernoff is not far off


def test_without_time_there_are_bounds():
    graph = nx.random_regular_graph(3, 3000, seed=4)
    found = effective_resistances(graph, max_work=1e5)
    assert (found.method, found.values, found.kirchhoff) == ("bounds", None, None)
    assert found.mean == pytest.approx(2999 / 4500)  # Foster
    assert found.largest == pytest.approx(2999 / 4500)
    assert found.largest_bounds[1] == 1
    assert "proved bounds" in found.sentence()
    assert "probability of 0.999" in effective_resistances(graph, max_work=1e8).sentence()


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((1, []), {}, InputError, "at least 2 nodes, got 1"),
        ((3, [(0, 1), (1, 2)], [1.0]), {}, InputError, "2 edges and 1 conductances"),
        ((2, [(0, 1)], [0.0]), {}, InputError, "edge 0 is 0; expected a positive number"),
        ((2, [(0, 1)], [np.inf]), {}, InputError, "edge 0 is inf"),
        ((2, [(0, 2)]), {}, GraphError, "numbered 0 to 1"),
        ((2, [(0, 1), (1, 1)]), {}, GraphError, "edge 1 joins node 1 with itself"),
        ((2, [(0, 1), (1, 0)]), {}, GraphError, "edge 1 joins 1 and 0, which are joined already"),
        ((4, [(0, 1), (2, 3)]), {}, GraphError, r"disconnected \(2 components\): node 0 cannot reach node 2"),
        ((3,), {}, InputError, "needs edges"),
        ((nx.path_graph(3), [(0, 1)]), {}, InputError, "a graph has its own"),
        ((nx.DiGraph([(0, 1)]),), {}, GraphError, "directed"),
        ((nx.MultiGraph([(0, 1)]),), {}, GraphError, "multigraph"),
        ((nx.path_graph(3),), {"weighted": True}, GraphError, "between 0 and 1 has no weight"),
        ((sparse.csr_array(np.triu(np.ones((3, 3)))),), {}, GraphError, "not symmetric"),
        ((sparse.csr_array((2, 3)),), {}, InputError, r"square, got shape \(2, 3\)"),
        ((nx.cycle_graph(4),), {"method": "tree"}, InputError, "not a tree"),
        ((nx.path_graph(4),), {"method": "Fourier"}, InputError, "not invariant under translations"),
        ((nx.path_graph(4),), {"method": "guess"}, InputError, "must be one of tree, Fourier"),
        ((nx.cycle_graph(5001),), {"pairs": True}, InputError, "up to 5000 nodes"),
    ],
)
def test_what_has_no_resistances_is_refused(arguments, options, error, message):
    with pytest.raises(error, match=message):
        effective_resistances(*arguments, **options)


def test_loops_carry_no_current():
    graph = nx.path_graph(3)
    graph.add_edge(1, 1)
    assert effective_resistances(graph).values.tolist() == [1, 1]
    assert effective_resistances(nx.to_scipy_sparse_array(graph)).values.tolist() == [1, 1]
