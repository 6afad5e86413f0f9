from itertools import product
from math import cos, pi

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

import topokit.optimal.connectivity
from topokit.designer import design
from topokit.errors import ConvergenceError, GraphError, InputError, ScheduleError
from topokit.kinds import Matchings
from topokit.matcha import activation_probabilities, decompose, matcha_rounds, mixing_weight
from topokit.metrics.expectation import expected_contraction
from topokit.registry import TOPOLOGIES
from topokit.topologies.matcha import matcha_topology

# The 8-node Erdos-Renyi graph of the paper's Figure 1a, as the authors' code decomposes it.
GRAPH_0 = [
    [(1, 5), (6, 7), (0, 4), (2, 3)],
    [(1, 7), (3, 6)],
    [(1, 0), (3, 7), (5, 6)],
    [(1, 2), (7, 0)],
    [(3, 1)],
]
# budget: probabilities (where the optimum is unique and known), mu_2, alpha, rho; solved as semidefinite programmes.
OPTIMA_0 = {
    0.1: ((0.19674, 0, 0.15163, 0.15163, 0), 0.112240, 0.562072, 0.936794),
    0.3: (None, 0.336721, 0.514798, 0.776525),
    0.5: ((0.98372, 0, 0.75814, 0.75814, 0), 0.561202, 0.396430, 0.643975),
    0.7: ((1, 0, 1, 1, 0.5), 0.663253, 0.340931, 0.600962),
    0.9: (None, None, 0.305809, 0.634064),
    1.0: ((1, 1, 1, 1, 1), 0.670023, 2 / 7, 0.653777),
}


def laplacian(nodes, edges):
    L = np.zeros((nodes, nodes))
    for u, v in edges:
        L[[u, v], [u, v]] += 1
        L[[u, v], [v, u]] -= 1
    return L


def mu2(nodes, matchings, probabilities):
    mean = sum(p * laplacian(nodes, edges) for p, edges in zip(probabilities, matchings, strict=True))
    return np.linalg.eigvalsh(mean)[1]


def contraction(nodes, matchings, probabilities, alpha):
    """||E[W^T W] - J|| from its definition, over all that can be active."""
    expected = np.zeros((nodes, nodes))
    for flags in product((0, 1), repeat=len(matchings)):
        chance = np.prod([p if b else 1 - p for b, p in zip(flags, probabilities, strict=True)])
        active = [edge for b, edges in zip(flags, matchings, strict=True) if b for edge in edges]
        W = np.eye(nodes) - alpha * laplacian(nodes, active)
        expected += chance * W.T @ W
    return np.linalg.norm(expected - 1 / nodes, 2)


def assert_decomposition(graph, matchings, colours):
    assert len(matchings) <= colours
    for edges in matchings:
        assert len(edges)
        assert len(np.unique(edges)) == edges.size
        assert edges.tolist() == sorted(edges.tolist())
    found = [tuple(edge) for edges in matchings for edge in edges.tolist()]
    assert sorted(found) == sorted((min(edge), max(edge)) for edge in graph.edges)


def colours(graph):
    return max(dict(graph.degree).values()) + (not nx.is_bipartite(graph))


def test_every_small_graph_is_split_into_matchings():
    graphs = [graph for graph in nx.graph_atlas_g() if len(graph) > 1 and nx.is_connected(graph)]
    assert len(graphs) == 995
    for graph in graphs:
        assert_decomposition(graph, decompose(graph), colours(graph))


@given(st.integers(2, 40), st.floats(0.1, 1), st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_random_graphs_are_split_into_matchings_whatever_the_order_of_edges(nodes, probability, seed):
    graph = nx.compose(nx.gnp_random_graph(nodes, probability, seed=seed), nx.path_graph(nodes))
    matchings = decompose(graph)
    assert_decomposition(graph, matchings, colours(graph))
    rng = np.random.default_rng(seed)
    shuffled = nx.Graph()
    shuffled.add_nodes_from(rng.permutation(nodes).tolist())
    shuffled.add_edges_from((v, u) for u, v in rng.permutation(list(graph.edges)).tolist())
    assert [edges.tolist() for edges in decompose(shuffled)] == [edges.tolist() for edges in matchings]


@pytest.mark.parametrize(
    ("graph", "count"),
    [
        (nx.path_graph(2), 1),
        (nx.cycle_graph(7), 3),
        (nx.petersen_graph(), 4),  # degree 3, but no three matchings do
        (nx.complete_graph(7), 7),
        (nx.star_graph(9), 9),
        (nx.complete_bipartite_graph(6, 4), 6),
        (nx.convert_node_labels_to_integers(nx.hypercube_graph(5)), 5),
    ],
)
def test_the_number_of_matchings(graph, count):
    assert len(decompose(graph)) == count


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (nx.empty_graph(0), "no nodes"),
        (nx.Graph([(0, 1), (2, 3)]), "disconnected"),
        (nx.DiGraph([(0, 1), (1, 0)]), "undirected graph"),
        (nx.Graph([(0, 1), (1, 1)]), "node 1 has a self-loop"),
        (nx.Graph([("a", "b")]), "numbered 0 to 1"),
    ],
)
def test_graphs_that_have_no_decomposition_are_refused(graph, message):
    with pytest.raises(GraphError, match=message):
        decompose(graph)


@pytest.mark.parametrize("budget", OPTIMA_0)
def test_the_optima_of_graph_0(budget):
    probabilities, value, alpha, rho = OPTIMA_0[budget]
    best = activation_probabilities(GRAPH_0, 8, budget)
    if probabilities is not None:
        np.testing.assert_allclose(best.probabilities, probabilities, atol=6e-6)
    if value is not None:
        assert best.mu2 == pytest.approx(value, abs=6e-7)
    weight, found = mixing_weight(GRAPH_0, 8, best.probabilities)
    assert weight == pytest.approx(alpha, abs=5e-6)
    assert found == pytest.approx(rho, abs=1.1e-6)


def test_half_of_graph_0_contracts_better_than_all_of_it():
    half, everything = (
        mixing_weight(GRAPH_0, 8, activation_probabilities(GRAPH_0, 8, b).probabilities)[1] for b in (0.5, 1)
    )
    assert half < everything


def by_cutting_planes(nodes, matchings, budget, tolerance=1e-6):
    """Bounds on the optimum from linear programmes over ever more cuts t <= sum_j p_j v' L_j v."""
    M = len(matchings)
    Ls = [laplacian(nodes, edges) for edges in matchings]
    cuts = []
    p, best = np.full(M, budget), 0.0
    while True:
        values, vectors = np.linalg.eigh(sum(w * L for w, L in zip(p, Ls, strict=True)))
        best = max(best, values[1])
        cuts += [[1, *(-v @ L @ v for L in Ls)] for v in vectors[:, 1:6].T]
        result = linprog(
            [-1] + [0] * M,
            A_ub=[*cuts, [0] + [1] * M],
            b_ub=[0] * len(cuts) + [budget * M],
            bounds=[(None, None)] + [(0, 1)] * M,
        )
        p, bound = result.x[1:], -result.fun
        if bound - best <= tolerance * best:
            return best, bound


@pytest.mark.parametrize("seed", range(6))
def test_the_optimum_is_that_of_cutting_planes(seed):
    nodes, budget = 6 + seed, (0.2, 0.5, 0.8)[seed % 3]
    graph = nx.compose(nx.gnp_random_graph(nodes, 0.35, seed=seed), nx.path_graph(nodes))
    matchings = decompose(graph)
    low, high = by_cutting_planes(nodes, matchings, budget)
    best = activation_probabilities(matchings, nodes, budget)
    assert low * (1 - 1e-8) <= best.mu2 <= high * (1 + 1e-6)
    assert best.mu2 == pytest.approx(mu2(nodes, matchings, best.probabilities), rel=1e-9)


@pytest.mark.parametrize("budget", [0.15, 0.5, 0.65, 0.9])
def test_no_point_of_a_grid_is_better(budget):
    graph = nx.lollipop_graph(3, 2)
    matchings = decompose(graph)
    assert len(matchings) == 3
    best = activation_probabilities(matchings, 5, budget)
    grid = [(i, j, k) for i, j, k in product(range(41), repeat=3) if i + j + k <= 40 * 3 * budget + 1e-9]
    assert max(mu2(5, matchings, np.array(p) / 40) for p in grid if sum(p) >= 40 * 3 * budget - 3) <= best.bound


@given(st.integers(3, 24), st.floats(0.02, 0.98), st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_the_solution_is_within_the_budget_and_proved_optimal(nodes, budget, seed):
    graph = nx.compose(nx.gnp_random_graph(nodes, 0.3, seed=seed), nx.path_graph(nodes))
    matchings = decompose(graph)
    best = activation_probabilities(matchings, nodes, budget)
    p = best.probabilities
    assert p.min() >= 0
    assert p.max() <= 1
    assert p.sum() <= budget * len(matchings) * (1 + 1e-12)
    assert best.mu2 <= best.bound <= best.mu2 * (1 + 1e-7)
    # The bound holds for whatever else the budget buys.
    rng = np.random.default_rng(seed)
    for _ in range(20):
        other = np.minimum(1, rng.dirichlet(np.ones(len(matchings))) * budget * len(matchings))
        assert mu2(nodes, matchings, other) <= best.bound


@pytest.mark.parametrize("budget", [0.1, 0.5, 0.95])
@pytest.mark.parametrize(
    ("graph", "connectivity"),
    [
        (nx.star_graph(9), 1),
        (nx.cycle_graph(12), 2 - 2 * cos(2 * pi / 12)),
        (nx.complete_graph(20), 20),
        (nx.convert_node_labels_to_integers(nx.hypercube_graph(4)), 2),
    ],
)
def test_equal_matchings_get_equal_probabilities(graph, connectivity, budget):
    matchings = decompose(graph)
    if len(graph) == 20:
        matchings = list(round_robin(20))
    best = activation_probabilities(matchings, len(graph), budget)
    np.testing.assert_allclose(best.probabilities, budget, rtol=1e-6)
    assert best.mu2 == pytest.approx(budget * connectivity, rel=1e-8)


def round_robin(nodes):
    """The perfect matchings of a tournament in which everybody meets everybody."""
    for day in range(nodes - 1):
        pairs = [(nodes - 1, day)]
        pairs += [((day + k) % (nodes - 1), (day - k) % (nodes - 1)) for k in range(1, nodes // 2)]
        yield pairs


def test_long_paths_are_solved_as_far_as_rounding_errors_let_them():
    for budget in (0.01, 0.5):
        best = activation_probabilities(decompose(nx.path_graph(200)), 200, budget)
        # By concavity and since both matchings are nearly the same, equal probabilities are nearly optimal.
        assert best.mu2 == pytest.approx(budget * (2 - 2 * cos(pi / 200)), rel=1e-4)
        assert best.bound <= best.mu2 * (1 + 1e-5)


def test_what_cannot_be_proved_is_an_error(monkeypatch):
    monkeypatch.setattr(topokit.optimal.connectivity, "MAX_ITERATIONS", 2)
    with pytest.raises(ConvergenceError, match="leave open whether others reach"):
        activation_probabilities(GRAPH_0, 8, 0.5)


@pytest.mark.parametrize("budget", [0, -0.1, 1.01, float("nan")])
def test_budgets_out_of_range_are_refused(budget):
    with pytest.raises(InputError, match="budget must be more than 0 and at most 1"):
        activation_probabilities(GRAPH_0, 8, budget)
    with pytest.raises(InputError, match="budget must be more than 0 and at most 1"):
        matcha_topology(8, budget=budget)


@pytest.mark.parametrize(
    ("matchings", "nodes", "error", "message"),
    [
        ([[(0, 1), (1, 2)]], 3, ScheduleError, r"matchings\[0\] has node 1 in two edges"),
        ([[(0, 1)]], 3, GraphError, "disconnected .* node 0 cannot reach node 2"),
        ([[(0, 3)]], 3, ScheduleError, "nodes are numbered 0 to 2"),
        ([], 3, ScheduleError, "at least one matching"),
        ([[]], 1, InputError, "at least 2 nodes, got 1"),
    ],
)
def test_what_are_no_matchings_is_refused(matchings, nodes, error, message):
    with pytest.raises(error, match=message):
        activation_probabilities(matchings, nodes, 0.5)
    with pytest.raises(error, match=message):
        mixing_weight(matchings, nodes, [0.5] * len(matchings))


def test_probabilities_that_leave_nodes_out_are_refused():
    with pytest.raises(GraphError, match="node 0 cannot reach node 2"):
        mixing_weight([[(0, 1)], [(1, 2)]], 3, [1, 0])
    with pytest.raises(ScheduleError, match=r"probabilities\[1\] is 1.5"):
        mixing_weight([[(0, 1)], [(1, 2)]], 3, [1, 1.5])


@pytest.mark.parametrize("p", [0.01, 0.3, 1])
def test_the_weight_of_a_single_edge(p):
    # W is I or, half of the difference removed on either side, J: alpha = 1/2 and rho = 1 - p.
    assert mixing_weight([[(0, 1)]], 2, [p]) == pytest.approx((0.5, 1 - p), abs=1e-12)


@pytest.mark.parametrize("graph", [nx.petersen_graph(), nx.star_graph(6), nx.path_graph(9), nx.karate_club_graph()])
def test_with_everything_active_the_weight_is_the_best_constant(graph):
    values = nx.laplacian_spectrum(graph, weight=None)
    low, high = values[1], values[-1]
    matchings = decompose(graph)
    weight, rho = mixing_weight(matchings, len(graph), [1] * len(matchings))
    assert weight == pytest.approx(2 / (low + high), rel=1e-9)
    assert rho == pytest.approx(((high - low) / (high + low)) ** 2, rel=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_no_other_weight_contracts_better(seed):
    rng = np.random.default_rng(seed)
    graph = nx.compose(nx.gnp_random_graph(7, 0.3, seed=seed), nx.path_graph(7))
    matchings = decompose(graph)
    probabilities = rng.uniform(0.1, 1, len(matchings))
    weight, rho = mixing_weight(matchings, 7, probabilities)
    assert rho == pytest.approx(contraction(7, matchings, probabilities, weight), abs=1e-12)
    others = [contraction(7, matchings, probabilities, a) for a in np.linspace(0, 1, 101)]
    assert rho <= min(others)
    near = [contraction(7, matchings, probabilities, weight * (1 + d)) for d in (-1e-4, 1e-4)]
    assert rho <= min(near) <= rho + 1e-3


def test_rho_is_what_the_rounds_do_on_average():
    best = activation_probabilities(GRAPH_0, 8, 0.5)
    weight, rho = mixing_weight(GRAPH_0, 8, best.probabilities)
    kind = Matchings(8, GRAPH_0, best.probabilities, weight, seed=4)
    W = np.array([kind.round(t).to_dense() for t in range(4000)])
    mean = np.einsum("tki,tkj->ij", W, W) / len(W)
    assert np.linalg.norm(mean - 1 / 8, 2) == pytest.approx(rho, abs=0.01)


def test_the_rounds_are_rounded_and_keep_the_budget_on_average():
    kind = matcha_rounds(GRAPH_0, 8, 0.5, seed=3)
    assert kind.probabilities == (0.983716, 0.0, 0.758142, 0.758142, 0.0)
    assert kind.weight == 0.39643
    assert expected_contraction(kind).value == pytest.approx(0.643975, abs=1e-6)
    active = [len(kind.active(t)) for t in range(4000)]
    assert np.mean(active) == pytest.approx(2.5, abs=0.05)


def test_small_budgets_are_rounded_relative_to_the_largest_probability():
    kind = matcha_rounds(GRAPH_0, 8, 1e-5)
    assert kind.probabilities == (1.96743e-5, 0.0, 1.51628e-5, 1.51628e-5, 0.0)


def test_the_family_builds_on_graphs_and_names():
    graph = nx.Graph(edge for edges in GRAPH_0 for edge in edges)
    own = matcha_topology(8, graph=graph, budget=0.7, seed=5)
    expected = matcha_rounds(decompose(graph), 8, 0.7, seed=5)
    assert own.content() == expected.content()
    assert own.seed == 5
    edges = {tuple(edge) for edges in own.matchings for edge in edges.tolist()}
    assert edges == {(min(edge), max(edge)) for edge in graph.edges}
    named = matcha_topology(9, graph="torus")
    assert named.content() == matcha_rounds(decompose(TOPOLOGIES["torus"].build(9)), 9, 0.5).content()
    assert matcha_topology(2, budget=1).round(0).to_dense().tolist() == [[0.5, 0.5], [0.5, 0.5]]


def test_a_random_graph_is_drawn_with_the_seed():
    first, again, other = (matcha_topology(20, seed=seed) for seed in (1, 1, 2))
    assert first.content() == again.content()
    drawn = TOPOLOGIES["erdos-renyi"].build(20, seed=1)
    assert sum(map(len, first.matchings)) == drawn.number_of_edges()
    assert [edges.tolist() for edges in first.matchings] == [edges.tolist() for edges in decompose(drawn)]
    assert [edges.tolist() for edges in first.matchings] != [edges.tolist() for edges in other.matchings]


def test_a_schedule_of_it_claims_its_contraction():
    schedule = design("matcha", 8, graph="ring", budget=0.5, seed=1)
    assert schedule.claims.symmetric
    assert schedule.claims.nonnegative is False  # two matchings of weight 0.6 at once
    p, (weight, rho) = (0.5, 0.5), mixing_weight(decompose(nx.cycle_graph(8)), 8, (0.5, 0.5))
    assert schedule.rule.probabilities == p
    assert schedule.rule.weight == pytest.approx(weight, abs=1e-6)
    assert schedule.claims.expected_contraction == pytest.approx(rho, abs=3e-6)
    assert schedule.provenance["parameters"] == {"graph": "ring", "budget": 0.5}


@pytest.mark.parametrize(
    ("nodes", "parameters", "error", "message"),
    [
        (12, {"graph": "hypercube"}, GraphError, "matcha on hypercube needs a power of two, got 12: 8 or 16 would do"),
        (12, {"graph": nx.path_graph(8)}, GraphError, "matcha on a graph of 8 nodes needs 8, got 12: 8 would do"),
        (3, {"graph": nx.DiGraph([(0, 1), (1, 2)])}, GraphError, "matcha needs an undirected graph"),
        (4, {"graph": nx.Graph([(0, 1), (2, 3)])}, GraphError, "disconnected"),
        (
            8,
            {"graph": "one-peer-exponential"},
            InputError,
            "undirected static topology .* one-peer-exponential is none",
        ),
        (8, {"graph": "exponential"}, InputError, "undirected static topology"),
        (8, {"graph": "d-equistatic"}, InputError, "undirected static topology"),
        (8, {"graph": "rign"}, InputError, "did you mean 'ring'"),
        (8, {"graph": 5}, InputError, "got int"),
        (8, {"seed": -1}, InputError, "seed"),
        (1, {}, GraphError, "matcha on erdos-renyi needs at least 2 nodes, got 1"),
    ],
)
def test_what_the_family_cannot_be_built_on(nodes, parameters, error, message):
    with pytest.raises(error, match=message):
        matcha_topology(nodes, **parameters)
