"""Weights of a whole period, against grids, closed forms, published optima of one round, and an SDP solver."""

from functools import reduce
from itertools import product

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topokit.averaging import prove_exact_averaging
from topokit.designer import design
from topokit.edge_colouring import decompose
from topokit.errors import GraphError, InputError
from topokit.matrix import MixingMatrix
from topokit.optimal.affine_norm import AffineMatrix, least_affine_norm
from topokit.optimal.period import period_norm, period_weights
from topokit.optimal.period_patterns import Pattern, pattern_of, start_weights
from topokit.optimal.period_search import limits_of
from topokit.schedule import Schedule
from topokit.topologies import one_peer_exponential, one_peer_hypercube

EIGHT = [(1, 2), (2, 3), (3, 4), (1, 5), (2, 8), (2, 4), (5, 6), (5, 7), (3, 7), (4, 8), (6, 7), (7, 8), (2, 7)]
EIGHT_EDGES = np.array(EIGHT) - 1


def dense_norm(rounds):
    n = rounds[0].shape[0]
    return np.linalg.norm(reduce(lambda product, W: W @ product, rounds, np.eye(n)) - 1 / n, 2)


def with_weights(n, edges, weights):
    W = np.eye(n)
    for (u, v), w in zip(edges, weights, strict=True):
        W[u, u] -= w
        W[v, v] -= w
        W[u, v] += w
        W[v, u] += w
    return W


def random_rounds(n, periods, rng):
    """Edges of a random tree and some more, dealt out to rounds."""
    edges = {(int(rng.integers(k)), k) for k in range(1, n)}
    edges |= {tuple(sorted(map(int, rng.choice(n, 2, replace=False)))) for _ in range(n)}
    edges = np.array(sorted(edges))
    where = rng.integers(periods, size=len(edges))
    return [edges[where == t] for t in range(periods)]


class TestExact:
    def test_two_matchings_of_a_ring_of_four(self):
        found = period_weights([np.array([[0, 1], [2, 3]]), np.array([[1, 2], [0, 3]])])
        assert found.exact
        assert found.steps == 0
        assert "exactly as it is" in found.sentence()

    @pytest.mark.parametrize("rounds", [one_peer_exponential(16), one_peer_hypercube(8), design("base-3", 6)])
    def test_what_is_exact_is_left_as_it_is(self, rounds):
        found = period_weights(rounds)
        assert (found.stopped, found.steps, found.norm_before) == ("exact", 0, found.norm)
        given = rounds.rule.rounds if isinstance(rounds, Schedule) else rounds
        assert all(W.fractions() == start.fractions() for W, start in zip(found.rounds, given, strict=True))

    def test_laplacian_eigenvalues_are_found(self):
        # The Laplacian of the Petersen graph has the eigenvalues 2 and 5: (I - L/2)(I - L/5) = J.
        found = period_weights([nx.petersen_graph()] * 2, nonnegative=False)
        assert found.exact
        assert found.norm_before > 0.1
        assert "with these weights" in found.sentence()
        # Of nonnegative weights, 1/3 at most on each edge: (1 - 2/3)(1 - 2/3) is beaten by unequal ones.
        assert period_weights([nx.petersen_graph()] * 2).norm == pytest.approx(1 / 6, abs=1e-6)

    def test_chebyshev_start(self):
        # One weight 1/mu for each of the 8 eigenvalues of the Laplacian; from equal weights it is not found.
        found = period_weights([nx.cycle_graph(16)] * 8, nonnegative=False)
        assert found.exact
        assert prove_exact_averaging(found.rounds).status == "numerical"

    def test_ring_in_as_many_rounds_as_its_diameter(self):
        found = period_weights(decompose(nx.cycle_graph(16)) * 4)
        assert found.norm_before > 0.4
        assert found.exact
        assert prove_exact_averaging(found.rounds).status == "numerical"
        for W in found.rounds:
            assert W.weight.min() >= 0
            assert W.in_degree.max() <= 1

    def test_colouring_of_a_regular_graph(self):
        found = period_weights(decompose(nx.random_regular_graph(4, 8, seed=1)))
        assert found.norm_before == pytest.approx(0.353553, abs=1e-5)
        assert found.exact


class TestOneRound:
    """A period of one round is the plain problem."""

    @pytest.mark.parametrize(("nonnegative", "slem"), [(True, 0.6809606766), (False, 0.6433314028)])
    def test_eight_nodes(self, nonnegative, slem):
        found = period_weights([EIGHT_EDGES], nonnegative=nonnegative, tolerance=1e-8)
        assert found.norm == pytest.approx(slem, abs=1e-7)
        assert found.bounds[0] == pytest.approx(slem, abs=1e-7)

    @pytest.mark.parametrize(("nonnegative", "slem"), [(True, 0.953552320), (False, 0.924588622)])
    def test_karate(self, nonnegative, slem):
        found = period_weights([nx.Graph(nx.karate_club_graph().edges)], nonnegative=nonnegative)
        assert found.norm == pytest.approx(slem, abs=2e-6)

    def test_even_ring(self):
        c = np.cos(2 * np.pi / 12)
        assert period_weights([nx.cycle_graph(12)]).norm == pytest.approx((1 + c) / (3 - c), abs=1e-6)


class TestGrids:
    @pytest.mark.parametrize("n", [3, 4])
    def test_path(self, n):
        # Each edge alone, from one end to the other.
        rounds = [np.array([[k, k + 1]]) for k in range(n - 1)]
        best = min(
            dense_norm([with_weights(n, edges, [w]) for edges, w in zip(rounds, weights, strict=True)])
            for weights in product(np.linspace(0.4, 1, 41 if n == 3 else 13), repeat=n - 1)
        )
        found = period_weights(rounds, starts=3)
        assert best - 0.02 <= found.norm <= best + 1e-9

    def test_path_of_three_and_back(self):
        # 1/2, 2/3, 1/2: nodes 0 and 1 have their mean, which node 2 gets twice as much of as it keeps of its own.
        found = period_weights([np.array([[0, 1]]), np.array([[1, 2]]), np.array([[0, 1]])])
        assert found.exact
        np.testing.assert_allclose(found.rounds[1].to_dense()[2], [0, 2 / 3, 1 / 3], atol=1e-9)

    @pytest.mark.parametrize("n", [3, 5, 6, 7])
    def test_one_peer_exponential(self, n):
        # With one weight for each round, the norm is the largest size of a product of symbols.
        shifts = [1 << t for t in range((n - 1).bit_length())]
        grid = np.linspace(0, 1, 51)
        waves = np.exp(2j * np.pi * np.outer(np.arange(1, n), shifts) / n)
        sizes = np.ones((n - 1, 1))
        for t in range(len(shifts)):
            factor = np.abs(1 - grid + grid * waves[:, t, None])
            sizes = (sizes[:, :, None] * factor[:, None, :]).reshape(n - 1, -1)
        found = period_weights(one_peer_exponential(n), starts=2)
        assert found.norm <= sizes.max(axis=0).min() + 1e-9
        assert period_norm(found.rounds) == pytest.approx(found.norm, abs=1e-12)

    def test_cycles_of_a_directed_round_have_their_own_weight(self):
        # The shift by 2 of 6 nodes is two cycles of three.
        rounds = one_peer_exponential(6)
        uneven = MixingMatrix.from_matrix(
            np.diag([0.3, 0.6] * 3) + np.diag([0.7, 0.4] * 3) @ (rounds[1].to_dense() * 2 - np.eye(6))
        )
        found = period_weights([rounds[0], uneven, rounds[2]])
        assert found.norm_before > 0.24
        assert found.norm == pytest.approx(period_weights(rounds).norm, abs=1e-6)


class TestStep:
    def test_against_an_sdp_solver(self):
        cvxpy = pytest.importorskip("cvxpy")
        rng = np.random.default_rng(5)
        n = 6
        A, B = (np.abs(rng.normal(size=(n, n))) / n for _ in range(2))
        edges = np.array([(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (0, 5), (1, 4)])
        pattern = Pattern(edges[:, 0], edges[:, 1], np.arange(7), 7, exchange=True)
        left, right = pattern.factors(A, B)
        affine = AffineMatrix(A @ B - 1 / n, left, right, pattern.group, 7)
        w = cvxpy.Variable(7, nonneg=True)
        M = A @ B - 1 / n + sum(w[k] * np.outer(left[k], right[k]) for k in range(7))
        ends = np.zeros((n, 7))
        ends[edges[:, 0], np.arange(7)] = ends[edges[:, 1], np.arange(7)] = 1
        problem = cvxpy.Problem(cvxpy.Minimize(cvxpy.sigma_max(M)), [ends @ w <= 1])
        optimum = problem.solve(solver="CLARABEL")
        start = np.zeros(7)
        weights, norm, lower = least_affine_norm(affine, limits_of(n, pattern, True), start)
        assert norm == pytest.approx(optimum, abs=1e-6)
        assert lower == pytest.approx(norm, abs=1e-7)
        assert lower <= norm
        assert (ends @ weights).max() <= 1 + 1e-12
        assert weights.min() >= 0

    def test_matrix_of_a_pattern(self):
        W = with_weights(8, EIGHT_EDGES, np.linspace(0.01, 0.2, 13))
        pattern = pattern_of(MixingMatrix.from_matrix(W), 0)
        weights = start_weights(MixingMatrix.from_matrix(W), pattern, 0, True)
        np.testing.assert_allclose(pattern.matrix(8, weights).to_dense(), W, atol=1e-15)
        np.testing.assert_allclose(pattern.apply(weights, np.eye(8)), W, atol=1e-15)


class TestHonest:
    @settings(deadline=None, max_examples=20)
    @given(st.integers(0, 10**6), st.integers(3, 7), st.integers(1, 4), st.booleans())
    def test_never_worse_and_no_round_better_than_its_bound(self, seed, n, periods, nonnegative):
        rng = np.random.default_rng(seed)
        edges = random_rounds(n, periods, rng)
        found = period_weights(edges, nodes=n, nonnegative=nonnegative)
        rounds = [W.to_dense() for W in found.rounds]
        assert found.norm == pytest.approx(dense_norm(rounds), abs=1e-12)
        assert found.lower <= found.norm <= found.norm_before
        for W, allowed in zip(rounds, edges, strict=True):
            np.testing.assert_allclose(W, W.T, atol=1e-14)
            np.testing.assert_allclose(W.sum(axis=1), 1, atol=1e-12)
            assert not nonnegative or W.min() >= -1e-14
            outside = W - np.diag(np.diag(W))
            outside[allowed[:, 0], allowed[:, 1]] = outside[allowed[:, 1], allowed[:, 0]] = 0
            assert not outside.any()
        if found.stopped == "optimum of every round":
            assert min(found.bounds) >= found.norm * (1 - 2e-6)
        for t in range(periods):
            for size in (1.0, 0.1, 0.01):
                weights = rounds[t][tuple(edges[t].T)]
                moved = np.clip(weights + size * rng.normal(size=len(edges[t])), 0, None)
                crowd = np.bincount(edges[t].ravel(), np.repeat(moved, 2), minlength=n).max(initial=0)
                other = with_weights(n, edges[t], moved / max(1, crowd))
                assert dense_norm([*rounds[:t], other, *rounds[t + 1 :]]) >= found.bounds[t] - 1e-12
                assert dense_norm([*rounds[:t], other, *rounds[t + 1 :]]) >= found.lower - 1e-12

    def test_better_than_half_by_far_where_a_period_repeats(self):
        matchings = decompose(nx.cycle_graph(12))
        once, twice = period_weights(matchings), period_weights(matchings * 2)
        # Two rounds of 1/2 are the best two; of four rounds, they are not.
        assert once.norm == pytest.approx(np.cos(np.pi / 6), abs=1e-6)
        assert twice.norm_before == pytest.approx(once.norm**5, abs=0.2)
        assert twice.norm < 0.37

    def test_starts_never_hurt_and_repeat(self):
        matchings = decompose(nx.random_regular_graph(3, 10, seed=2))
        one, more, again = (period_weights(matchings, starts=k, seed=7) for k in (1, 3, 3))
        assert more.norm <= one.norm
        assert more.norm == again.norm


class TestStops:
    def test_interrupted(self):
        seen = []

        def progress(norm, seconds):
            seen.append(norm)
            if len(seen) == 3:
                raise KeyboardInterrupt

        found = period_weights(decompose(nx.random_regular_graph(4, 16, seed=1)), progress=progress)
        assert found.stopped == "interrupt"
        assert found.norm == pytest.approx(min(seen), abs=1e-12)
        assert seen == sorted(seen, reverse=True)
        assert max(found.bounds) <= found.norm

    def test_out_of_time(self):
        found = period_weights(decompose(nx.random_regular_graph(4, 32, seed=1)), time_limit=0.02)
        assert found.stopped == "time"
        assert found.norm <= found.norm_before
        assert "stopped (time was up)" in found.sentence()

    def test_empty_round_is_kept(self):
        none = np.zeros((0, 2), dtype=np.int64)
        found = period_weights([np.array([[0, 1]]), none, np.array([[1, 2]])], nodes=3)
        assert found.rounds[1].messages == 0
        assert found.norm > 0.4


class TestRefused:
    @pytest.mark.parametrize(
        ("rounds", "error", "words"),
        [
            ([], InputError, "at least one round"),
            ([np.array([[0, 1]]), np.array([[2, 3]])], GraphError, "no weights of these rounds can mix: together the"),
            ([design("exponential", 8).round(0)], GraphError, "round 0 is directed, and node 0 hears 3"),
            ([MixingMatrix.from_matrix(np.array([[0.5, 0.5], [0.25, 0.75]]))], InputError, "no start"),
            ([MixingMatrix.from_matrix(np.array([[-0.5, 1.5], [1.5, -0.5]]))], InputError, "nonnegative=False"),
            ([nx.path_graph(3), nx.path_graph(4)], InputError, "round 1 has 4 nodes"),
            ([np.array([[0, -1]])], InputError, "leaves the nodes"),
            ([np.array([0, 1])], InputError, "expected edges"),
            (design("ceca-2p", 7), InputError, "doubly stochastic rounds that repeat"),
        ],
    )
    def test_rounds(self, rounds, error, words):
        with pytest.raises(error, match=words):
            period_weights(rounds)

    def test_numbers(self):
        with pytest.raises(InputError, match="starts is at least 1"):
            period_weights([np.array([[0, 1]])], starts=0)
        with pytest.raises(InputError, match="positive number of seconds"):
            period_weights([np.array([[0, 1]])], time_limit=0)

    def test_schedule(self):
        schedule = Schedule.cyclic(one_peer_exponential(6))
        assert period_weights(schedule).norm == pytest.approx(period_norm(one_peer_exponential(6)), abs=1e-6)
