"""Local search: the barrier against dense eigenvalues, and what is found against all small graphs."""

import itertools
import math
import time

import networkx as nx
import numpy as np
import pytest
from small_graphs import BY_DEGREE, BY_EDGES, REGULAR, best

from topokit.learned import Limits, learn
from topokit.learned.barrier import Barrier
from topokit.learned.local_search import laplacian_of, local_search
from topokit.learned.moves import Moves, State, candidate_moves
from topokit.learned.objectives import SPECTRAL
from topokit.learned.optimal_objective import OptimalSlem
from topokit.learned.starts import random_start
from topokit.learned.weight_changes import changes_by_degree
from topokit.optimal import optimal_weights
from topokit.spectral import fiedler_value, slem
from topokit.weights import laplacian_weights, metropolis_hastings_weights

ALL = 10**6
PETERSEN = State.of(10, np.array(nx.petersen_graph().edges))


def potential(laplacian, low, high):
    """-log det(L - low I) - log det(high I - L) off the constant vector; infinite beyond the levels."""
    values = np.linalg.eigvalsh(laplacian + np.full_like(laplacian, 1e3 / len(laplacian)))[:-1]  # the constant is last
    total = 0.0
    for level, side in ((low, 1), (high, -1)):
        if level is not None:
            off = side * (values - level)
            total += -np.log(off).sum() if off.min() > 0 else math.inf
    return total


def levels_around(laplacian, slack):
    values = np.linalg.eigvalsh(laplacian)
    return values[1] * (1 - slack), values[-1] * (1 + slack)


def ends_beyond(laplacian, low, high):
    """How near an eigenvalue comes to a level: what is nearer than rounding may count as beyond or not."""
    values = np.linalg.eigvalsh(laplacian)
    return min(
        abs(values[1] - low) if low is not None else 1.0,
        abs(values[-1] - high) if high is not None else 1.0,
    )


def assert_gains(levels, before, after, gains):
    for L, gain in zip(after, gains, strict=True):
        if ends_beyond(L, *levels) < 1e-7:
            continue
        expected = potential(before, *levels) - potential(L, *levels)
        if expected == -math.inf:
            assert gain == -math.inf
        else:
            assert gain == pytest.approx(expected, abs=1e-6)


KINDS = {"swaps": (2, 2), "exchanges": (1, 1), "additions": (0, 1), "deletions": (1, 0)}


def of_kind(moves, kind):
    gone, new = ((part[:, :, 0] >= 0).sum(axis=1) for part in moves)
    return moves.take((gone == KINDS[kind][0]) & (new == KINDS[kind][1]))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sides", ["both", "low", "high"])
@pytest.mark.parametrize("slack", [0.02, 0.3])
def test_gains_are_those_of_all_eigenvalues(kind, sides, slack):
    rng = np.random.default_rng(list(KINDS).index(kind))
    limits = Limits(9, edges=17)
    state = random_start(limits, rng)
    moves = of_kind(candidate_moves(state, limits, rng, ALL), kind)
    if kind == "additions":
        limits = Limits(9)
        moves = of_kind(candidate_moves(state, limits, rng, ALL), kind)
    assert len(moves.removed) >= 15
    moves = moves.take(rng.permutation(len(moves.removed))[:80])
    before = laplacian_of(state, np.ones(len(state.edges)))
    low, high = levels_around(before, slack)
    levels = (low if sides != "high" else None, high if sides != "low" else None)
    barrier = Barrier(before, *levels)
    states = [state.after(moves, k) for k in range(len(moves.removed))]
    after = [laplacian_of(s, np.ones(len(s.edges))) for s in states]
    assert_gains(levels, before, after, barrier.gains(moves))
    # The same as changes of weights: what differs is said of two eigenvalues at once, which two edges cannot do here.
    pairs, sign = moves.changes
    np.testing.assert_allclose(barrier.weighted_gains(pairs, sign.astype(float)), barrier.gains(moves), atol=1e-7)


@pytest.mark.parametrize("sides", ["both", "low", "high"])
def test_resolvents_follow_many_moves(sides):
    rng = np.random.default_rng(5)
    limits = Limits(12, edges=30, min_edges=14)
    state = random_start(limits, rng)
    before = laplacian_of(state, np.ones(len(state.edges)))
    levels = (1e-3 if sides != "high" else None, 40.0 if sides != "low" else None)
    one, other = Barrier(before, *levels), Barrier(before, *levels)
    kinds = set()
    for _ in range(200):
        moves = candidate_moves(state, limits, rng, ALL)
        kind = list(KINDS)[int(rng.integers(4))]
        moves = of_kind(moves, kind)
        gains = one.gains(moves)
        keep = np.flatnonzero(gains > -10)
        if not keep.size:
            continue
        k = int(rng.choice(keep))
        kinds.add(kind)
        one.apply(moves, k)
        pairs, sign = moves.changes
        other.apply_weighted(pairs[k], sign[k].astype(float))
        state = state.after(moves, k)
    assert kinds == set(KINDS)
    fresh = Barrier(laplacian_of(state, np.ones(len(state.edges))), *levels)
    moves = candidate_moves(state, limits, rng, ALL)
    for barrier in (one, other):
        np.testing.assert_allclose(barrier.gains(moves), fresh.gains(moves), atol=1e-6)


def test_gains_of_weights_that_change_are_those_of_all_eigenvalues():
    rng = np.random.default_rng(3)
    state = random_start(Limits(10, max_degree=4), rng)
    before = laplacian_of(state, rng.uniform(0.1, 0.4, len(state.edges)))
    levels = levels_around(before, 0.2)
    barrier = Barrier(before, *levels)
    passed = 0
    for _ in range(60):
        count = int(rng.integers(1, 7))
        pairs = np.array(list(itertools.combinations(range(10), 2)))[rng.permutation(45)[:count]]
        delta = rng.normal(0, 0.05, count) * (rng.random(count) < 0.8)
        after = before.copy()
        for (u, v), d in zip(pairs, delta, strict=True):
            after += d * np.outer(np.eye(10)[u] - np.eye(10)[v], np.eye(10)[u] - np.eye(10)[v])
        gain = barrier.weighted_gains(pairs[None], delta[None])[0]
        expected = potential(before, *levels) - potential(after, *levels)
        if expected == -math.inf:  # only the sign of a determinant is known: of two eigenvalues beyond, none
            values = np.linalg.eigvalsh(after)
            beyond = [(values[1:] < levels[0]).sum(), (values > levels[1]).sum()]
            assert gain == -math.inf or all(count % 2 == 0 for count in beyond)
            continue
        passed += 1
        assert gain == pytest.approx(expected, abs=1e-7)
        if passed % 5 == 0:
            barrier.apply_weighted(pairs, delta)
            before = after
    assert passed > 30
    for resolvent, level in zip(barrier.resolvents, levels, strict=True):
        np.testing.assert_allclose(resolvent @ (before - level * np.eye(10)), np.eye(10), atol=1e-7)


def test_a_move_that_disconnects_or_passes_a_level_gains_minus_infinity():
    path = State.of(4, np.array([[0, 1], [1, 2], [2, 3]]))
    L = laplacian_of(path, np.ones(3))
    cut = Moves.of([path.edges], [], 3)
    assert (Barrier(L, 0.1, None).gains(cut) == -math.inf).all()
    assert (Barrier(L, None, 5.0).gains(cut) > 0).all()
    ends = Moves.of([], [np.array([[1, 3]])], 1)  # node 1 gets degree 3: mu_4 = 4
    assert Barrier(L, None, 3.9).gains(ends)[0] == -math.inf
    assert Barrier(L, None, 4.1).gains(ends)[0] > -math.inf


# Weights that follow degrees


def metropolis_laplacian(state):
    degree = state.adjacency.sum(axis=1)
    W = state.adjacency / (1 + np.maximum(degree[:, None], degree))
    return np.diag(W.sum(axis=1)) - W


def connected_after(state, moves):
    states = [state.after(moves, k) for k in range(len(moves.removed))]
    return [s for s in states if nx.is_connected(nx.from_numpy_array(s.adjacency.astype(int)))]


@pytest.mark.parametrize(
    "limits",
    [
        Limits(8, edges=13),
        Limits(8, edges=8),
        Limits(7),
        Limits(9, max_degree=4, edges=16),
        Limits(10, max_degree=3),
        Limits(8, edges=12, hosts=[0, 0, 0, 0, 1, 1, 1, 1], host_edges=3),
    ],
)
def test_metropolis_hastings_weights_after_every_move(limits):
    rng = np.random.default_rng(limits.nodes)
    for _ in range(2):
        state = random_start(limits, rng)
        if limits.regular is None:
            state = state.after(candidate_moves(state, limits, rng, ALL), -1)
        objective = SPECTRAL["metropolis-hastings"]()
        before = laplacian_of(state, objective.edge_weights(state))
        np.testing.assert_allclose(before, metropolis_laplacian(state), atol=1e-12)
        moves = candidate_moves(state, limits, rng, ALL)
        moves = moves.take(rng.permutation(len(moves.removed))[:100])
        pairs, delta = changes_by_degree(state, moves)
        for k in range(len(moves.removed)):
            change = np.zeros((limits.nodes, limits.nodes))
            used = pairs[k][delta[k] != 0]
            assert len({tuple(sorted(pair)) for pair in used.tolist()}) == len(used)
            for (u, v), d in zip(used, delta[k][delta[k] != 0], strict=True):
                change[[u, v], [u, v]] += d
                change[[u, v], [v, u]] -= d
            np.testing.assert_allclose(before + change, metropolis_laplacian(state.after(moves, k)), atol=1e-12)


# Objectives


@pytest.mark.parametrize("name", SPECTRAL)
def test_costs_are_those_of_the_weights(name):
    rng = np.random.default_rng(1)
    objective = SPECTRAL[name]()
    assert objective.name == name
    for n in (4, 6, 9):
        state = random_start(Limits(n, edges=n + 2), rng)
        values = np.linalg.eigvalsh(laplacian_of(state, objective.edge_weights(state)))
        low, high = float(values[1]), float(values[-1])
        graph = nx.from_numpy_array(state.adjacency.astype(int))
        constant = slem(laplacian_weights(graph))
        mu = np.linalg.eigvalsh(nx.laplacian_matrix(graph).toarray().astype(float))
        expected = {
            "laplacian": constant,
            "metropolis-hastings": slem(metropolis_hastings_weights(graph)),
            "fiedler": fiedler_value(graph),
            "eigenratio": mu[-1] / mu[1],
            "mixing-time": 1 / (1 - constant**2),
        }[name]
        assert objective.value(objective.cost(state, low, high)) == pytest.approx(expected, rel=1e-9)
        for slack in (0.01, 0.2, 0.9):
            below, above = objective.levels(low, high, slack)
            if name == "fiedler":
                assert (below, above) == (low * (1 - slack), None)
                continue
            assert 0 < below < low * (1 + 1e-12)
            assert high * (1 - 1e-12) < above
            if name == "metropolis-hastings":
                gap = 1 - max(1 - low, high - 1)
                assert (below, above) == pytest.approx((gap * (1 - slack), 2 - gap * (1 - slack)))
            else:  # each level alone leaves so much less of the gap
                for ends in ((below, high), (low, above)):
                    ratio = ends[1] / ends[0]
                    assert 2 / (1 + ratio) == pytest.approx((1 - slack) * 2 / (1 + high / low))
    assert objective.cost(state, 1e-12, 5.0) == math.inf
    assert objective.of_ends(0.0, 5.0) >= objective.of_ends(0.01, 5.0)


@pytest.mark.parametrize("kind", ["fmmc", "fdla"])
def test_optimal_weights_as_an_objective(kind):
    rng = np.random.default_rng(2)
    objective, limits = OptimalSlem(kind), Limits(7, edges=10)
    state = random_start(limits, rng)
    weights = objective.edge_weights(state)
    assert objective.edge_weights(state) is weights  # known by now
    values = np.linalg.eigvalsh(laplacian_of(state, weights))
    reached = objective.of_ends(values[1], values[-1])
    expected = optimal_weights(nx.from_numpy_array(state.adjacency.astype(int)), kind).slem
    assert expected - 1e-9 <= reached <= expected + 2e-5
    moves = candidate_moves(state, limits, rng, ALL)
    pairs, delta = objective.weight_changes(state, moves)
    own = {tuple(edge): w for edge, w in zip(state.edges.tolist(), weights, strict=True)}
    for k in range(0, len(moves.removed), 7):
        gone = [tuple(sorted(e)) for e in moves.removed[k].tolist() if e[0] >= 0]
        new = [tuple(sorted(e)) for e in moves.added[k].tolist() if e[0] >= 0]
        mean = np.mean([own[e] for e in gone]) if gone else weights.mean()
        said = {tuple(sorted(p)): d for p, d in zip(pairs[k].tolist(), delta[k], strict=True) if p[0] != p[1]}
        assert said == pytest.approx({**{e: -own[e] for e in gone}, **dict.fromkeys(new, mean)})
    slem_now = objective.of_ends(0.5, 1.2)
    assert objective.levels(0.5, 1.2, 0.1) == pytest.approx((1 - slem_now - 0.05, 1 + slem_now + 0.05))


# One search


def test_a_trail_gets_better_and_its_figures_are_true():
    limits, rng = Limits(12, max_degree=3), np.random.default_rng(4)
    objective, costs = SPECTRAL["laplacian"](), []

    def better(trail):
        values = np.linalg.eigvalsh(laplacian_of(trail.best, np.ones(len(trail.best.edges))))
        assert trail.cost == pytest.approx(objective.of_ends(values[1], values[-1]), rel=1e-12)
        assert limits.broken(trail.best.edges) is None
        costs.append(trail.cost)

    trail = local_search(objective, random_start(limits, rng), limits, rng, cycles=1, on_better=better)
    assert costs == sorted(costs, reverse=True)
    assert len(set(costs)) == len(costs) > 1
    assert trail.cost == costs[-1]
    assert trail.steps > 0
    assert trail.looks >= trail.steps


def test_a_search_ends_at_its_bound_and_at_its_deadline():
    limits = Limits(10, max_degree=3)
    for objective, bound in (("laplacian", 3 / 7), ("fiedler", -2.0), ("eigenratio", 2.5)):
        rng = np.random.default_rng(0)
        trail = local_search(SPECTRAL[objective](), random_start(limits, rng), limits, rng, cycles=1000, bound=bound)
        assert trail.cost == pytest.approx(bound)
    start = random_start(limits, rng)
    past = local_search(SPECTRAL["laplacian"](), start, limits, rng, cycles=5, deadline=time.monotonic() - 1)
    assert past.best is start
    assert past.looks <= 1
    begin = time.monotonic()
    local_search(SPECTRAL["fiedler"](), start, limits, rng, cycles=10**6, deadline=begin + 0.3)
    assert 0.3 <= time.monotonic() - begin < 1.5


@pytest.mark.parametrize("limits", [Limits(2), Limits(3), Limits(3, edges=2), Limits(4)])
def test_where_there_is_nothing_to_change_a_search_ends(limits):
    rng = np.random.default_rng(0)
    fixed = Limits(limits.nodes, edges=limits.most_edges, min_edges=limits.most_edges)
    trail = local_search(SPECTRAL["laplacian"](), random_start(fixed, rng), fixed, rng, cycles=1)
    assert math.isfinite(trail.cost)


# What is found, against all graphs


FIXED = ("laplacian", "fiedler", "eigenratio", "mixing-time", "metropolis-hastings")


def learn_until(optimum, limits, objective, **options):
    """Learn with the usual number of searches, cut short once the optimum is reached: the rest can find no better."""

    def better(seconds, value):
        if abs(value - optimum) < 2e-6 * max(1, abs(optimum)):
            raise KeyboardInterrupt

    found = learn(limits, objective, on_better=better, **options)
    assert limits.broken(found.edges) is None
    return found.value


def exhaustive(objective, nodes, **limits):
    if objective == "mixing-time":
        return 1 / (1 - best(nodes, "laplacian", **limits)[0] ** 2)
    return best(nodes, objective, **limits)[0]


def exact_rows():
    for known, objective in itertools.product(BY_EDGES, FIXED):
        # Many searches; and weights that move with degrees take longer.
        long = (known.nodes, known.edges) in {(6, 8), (7, 7), (7, 10)} and objective != "laplacian"
        long |= objective == "metropolis-hastings" and known.nodes > 6
        marks = [pytest.mark.slow] if long else []
        yield pytest.param(known.nodes, known.edges, objective, marks=marks)


@pytest.mark.parametrize(("nodes", "edges", "objective"), [*exact_rows()])
def test_the_best_graph_with_so_many_edges_is_found(nodes, edges, objective):
    optimum = exhaustive(objective, nodes, edges=edges)
    found = learn_until(optimum, Limits(nodes, edges=edges, min_edges=edges), objective)
    assert found == pytest.approx(optimum, abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("objective", FIXED)
@pytest.mark.parametrize("nodes", [5, 6, 7])
def test_the_best_graph_is_found_for_all_numbers_of_edges(nodes, objective):
    for edges in range(nodes - 1, nodes * (nodes - 1) // 2 + 1):
        optimum = exhaustive(objective, nodes, edges=edges)
        found = learn_until(optimum, Limits(nodes, edges=edges, min_edges=edges), objective)
        assert found == pytest.approx(optimum, abs=1e-6), edges


@pytest.mark.parametrize("structured", [True, False])
@pytest.mark.parametrize(("nodes", "degree"), BY_DEGREE)
def test_the_best_graph_within_degrees_is_found(nodes, degree, structured):
    optimum = best(nodes, "laplacian", max_degree=degree)[0]
    found = learn_until(optimum, Limits(nodes, max_degree=degree), "laplacian", structured=structured)
    assert found == pytest.approx(optimum, abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["laplacian", "fiedler", "metropolis-hastings"])
@pytest.mark.parametrize(("nodes", "edges"), [(6, 8), (6, 10), (7, 10), (7, 13)])
def test_fewer_edges_are_used_where_they_are_better(nodes, edges, objective):
    optimum = exhaustive(objective, nodes, most_edges=edges)
    assert learn_until(optimum, Limits(nodes, edges=edges), objective) == pytest.approx(optimum, abs=1e-6)


def test_of_seven_nodes_and_at_most_ten_edges_nine_are_best():
    limits = Limits(7, edges=10)
    found = learn(limits, searches=12)
    assert found.value == pytest.approx(0.471405, abs=6e-7)
    assert len(found.edges) == 9


def optimal_rows(kind):
    quick = 30 if kind == "fmmc" else 25
    for known in BY_EDGES:
        marks = [] if known.nodes * known.edges < quick else [pytest.mark.slow]
        yield pytest.param(known, kind, marks=marks, id=f"{kind}-{known.nodes}-{known.edges}")


@pytest.mark.parametrize(("known", "kind"), [*optimal_rows("fmmc"), *optimal_rows("fdla")])
def test_the_best_graph_with_optimal_weights_is_found(known, kind):
    optimum = getattr(known, kind)
    limits = Limits(known.nodes, edges=known.edges, min_edges=known.edges)
    costs = []

    def better(seconds, value):
        costs.append(value)
        if value < optimum + 1.5e-5:  # certificates of the weights are so wide
            raise KeyboardInterrupt

    found = learn(limits, kind, on_better=better)
    exact = optimal_weights(found.adjacency, kind).slem
    assert exact == pytest.approx(optimum, abs=2e-6)
    assert found.value == costs[-1] == pytest.approx(exact, abs=1.5e-5)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("structured", [True, False])
def test_the_petersen_graph_is_always_found(seed, structured):
    found = learn(Limits(10, max_degree=3), seed=seed, structured=structured)
    assert found.value == pytest.approx(3 / 7, abs=1e-9)
    assert found.stopped == "bound"
    assert nx.is_isomorphic(nx.from_edgelist(found.edges), nx.petersen_graph())


def reach_16_4(seed, **options):
    begin = time.process_time()
    value = learn_until(REGULAR[16, 4], Limits(16, max_degree=4), "laplacian", seed=seed, **options)
    assert value > REGULAR[16, 4] - 1e-6
    return abs(value - REGULAR[16, 4]) < 1e-6 and time.process_time() - begin < 5


@pytest.mark.parametrize("structured", [True, False])
def test_sixteen_nodes_of_degree_four(structured):
    assert all(reach_16_4(seed, structured=structured) for seed in range(1 if structured else 3))


@pytest.mark.slow
@pytest.mark.parametrize("structured", [True, False])
def test_sixteen_nodes_of_degree_four_for_ten_seeds(structured):
    assert sum(reach_16_4(seed, structured=structured) for seed in range(10)) >= 9


@pytest.mark.parametrize("structured", [True, False])
@pytest.mark.parametrize("nodes", [8, 16])
def test_cubic_graphs_are_as_good_as_the_best_known(nodes, structured):
    target = REGULAR[nodes, 3]
    for seed in range(1 if structured else 2):
        found = learn_until(target, Limits(nodes, max_degree=3), "laplacian", seed=seed, structured=structured)
        assert found <= target + 1e-6
