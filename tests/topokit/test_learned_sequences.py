"""Learned sequences against exhaustive search, rational arithmetic, dense products and predicted seconds."""

from __future__ import annotations

import time
from dataclasses import replace
from fractions import Fraction
from functools import reduce
from itertools import combinations, permutations, product
from typing import Any

import networkx as nx
import numpy as np
import pytest

from topokit.averaging import prove_exact_averaging
from topokit.errors import GraphError, InputError
from topokit.learned.sequences import search
from topokit.learned.sequences.directed_search import best_shifts, directed_rounds
from topokit.learned.sequences.euclid import euclid_length, euclid_sequence
from topokit.learned.sequences.exact_weights import exact_weights, rounds_of
from topokit.learned.sequences.host_clock import HostClock
from topokit.learned.sequences.host_sequences import host_sequence
from topokit.learned.sequences.host_tiers import tiers
from topokit.learned.sequences.learned_sequence import (
    LearnedSequence,
    least_contraction,
    least_rounds,
    sequence_seconds,
)
from topokit.learned.sequences.period_fit import Limits, error_norms, fit_weights, incidence, mean_matrix, products
from topokit.learned.sequences.search import side_by_side
from topokit.learned.sequences.sequences import learn_sequence
from topokit.matrix import MixingMatrix
from topokit.network import Host, Link, Network, consensus_seconds, round_seconds
from topokit.optimal.period import PeriodWeights, period_weights
from topokit.schedule import Schedule
from topokit.topologies import base_graph, one_peer_exponential

MBIT = 125_000.0


def matchings(nodes: int) -> list[list[tuple[int, int]]]:
    """All matchings, the empty one too."""

    def of(left: tuple[int, ...]) -> list[list[tuple[int, int]]]:
        if len(left) < 2:
            return [[]]
        first, rest = left[0], left[1:]
        found = of(rest)
        for k, other in enumerate(rest):
            found += [[(first, other), *more] for more in of(rest[:k] + rest[k + 1 :])]
        return found

    return of(tuple(range(nodes)))


def averaging(nodes: int, pairs: list[tuple[int, int]]) -> np.ndarray:
    W = np.eye(nodes)
    for a, b in pairs:
        W[np.ix_([a, b], [a, b])] = 0.5
    return W


def exact_product(rounds: tuple[MixingMatrix, ...]) -> list[list[Fraction]]:
    n = rounds[0].nodes
    result = [[Fraction(int(i == j)) for j in range(n)] for i in range(n)]
    for W in rounds:
        fractions = W.fractions()
        assert fractions is not None
        after = [[Fraction(0)] * n for _ in range(n)]
        for i, j, w in zip(W.target.tolist(), W.source.tolist(), fractions, strict=True):
            for k in range(n):
                after[i][k] += w * result[j][k]
        result = after
    return result


def dense_product(rounds: tuple[MixingMatrix, ...]) -> np.ndarray:
    return reduce(lambda P, W: W.to_dense() @ P, rounds, np.eye(rounds[0].nodes))


def dense_norm(rounds: tuple[MixingMatrix, ...]) -> float:
    return float(np.linalg.norm(dense_product(rounds) - 1 / rounds[0].nodes, 2))


def uneven_hosts(rates: list[float], sizes: list[int], inside: float = 10_000.0) -> Network:
    starts = np.cumsum([0, *sizes])
    hosts = tuple(
        Host(f"h{k}", tuple(range(starts[k], starts[k + 1])), rate * MBIT, rate * MBIT) for k, rate in enumerate(rates)
    )
    inner = [Link(host.name, host.name, inside * MBIT) for host in hosts]
    return Network(hosts, (Link(None, None, 10_000 * MBIT), *inner))


class TestFit:
    def test_products_and_norms_are_those_of_dense_matrices(self) -> None:
        rng = np.random.default_rng(0)
        edges, masses = rng.integers(6, size=(3, 4, 5, 2)), rng.uniform(1, 3, 6)
        w, target = rng.uniform(-1, 1, (3, 4, 5)), mean_matrix(masses)
        D = incidence(edges, np.ones(w.shape), masses)
        before, after = products(D, w)
        for c in range(3):
            rounds = []
            for t in range(4):
                W = np.eye(6)
                for (a, b), x in zip(edges[c, t], w[c, t], strict=True):
                    d = np.zeros(6)
                    d[a] += 1 / np.sqrt(masses[a])
                    d[b] -= 1 / np.sqrt(masses[b])
                    W -= x * np.outer(d, d)
                rounds.append(W)
            P = reduce(lambda P, W: W @ P, rounds)
            assert np.allclose(before[-1][c], P)
            assert np.allclose(after[1][c] @ rounds[1] @ before[1][c], P)
            assert np.isclose(error_norms(D, w, target)[c], np.linalg.norm(P - target, 2))

    def test_a_fit_reaches_a_point_where_no_weight_can_gain(self) -> None:
        edges = np.array([[[[0, 1], [2, 3]], [[1, 2], [3, 4]]]])
        D, start = incidence(edges, np.ones((1, 2, 2)), np.ones(5)), np.full((1, 2, 2), 0.4)
        target = mean_matrix(np.ones(5))
        w, squares = fit_weights(D, start, target, Limits(0 * start, 0 * start + 1, np.ones(5)), 200)
        for k, shift in product(np.ndindex(w.shape), (-1e-4, 1e-4)):
            trial = w.copy()
            trial[k] = np.clip(trial[k] + shift, 0, 1)
            assert ((products(D, trial)[0][-1] - target) ** 2).sum() >= squares[0] - 1e-9

    def test_weights_keep_to_their_limits(self) -> None:
        edges = np.array([[[[0, 1], [0, 2], [0, 3]]]])
        D, start = incidence(edges, np.ones((1, 1, 3)), np.ones(4)), np.full((1, 1, 3), 0.1)
        w, _ = fit_weights(D, start, mean_matrix(np.ones(4)), Limits(0 * start, 0 * start + 1, np.ones(4)), 50)
        assert w.min() >= 0
        assert w.sum() <= 1 + 1e-12

    def test_families_of_solutions_become_simple_fractions(self) -> None:
        # The second exchange of the same pair is idle: its weight is free.
        edges = np.array([[[0, 1], [2, 3]], [[0, 2], [1, 3]], [[0, 2], [1, 3]]])
        start = np.array([[0.5, 0.5], [0.5, 0.5], [0.2345, 0.7654]]) + 0.01
        _, found = exact_weights(edges, np.ones((3, 2)), start, np.ones(4))
        assert found is not None
        assert max(w.denominator for row in found for w in row) <= 6
        rounds = rounds_of(4, edges.tolist(), found)
        assert all(entry == Fraction(1, 4) for row in exact_product(rounds) for entry in row)


class TestBounds:
    @pytest.mark.parametrize(("nodes", "rounds"), [(2, 1), (3, 3), (4, 2), (5, 4), (6, 3)])
    def test_nobody_hears_of_all_before_the_bound(self, nodes: int, rounds: int) -> None:
        assert least_rounds(nodes, 1) == rounds
        choices = [pairs for pairs in matchings(nodes) if len(pairs) == nodes // 2]  # to exchange more never hurts
        everything = ((1 << nodes) - 1,) * nodes
        known = {tuple(1 << i for i in range(nodes))}
        for _ in range(rounds):
            assert everything not in known
            after = set()
            for state, pairs in product(known, choices):
                heard = list(state)
                for a, b in pairs:
                    heard[a] = heard[b] = heard[a] | heard[b]
                after.add(tuple(heard))
            known = after
        assert everything in known

    def test_bounds_refuse_nonsense(self) -> None:
        with pytest.raises(InputError, match="at least one node"):
            least_rounds(0, 1)

    @pytest.mark.parametrize("nodes", [6, 11, 24])
    def test_no_named_sequence_is_below(self, nodes: int) -> None:
        for degree in (1, 2, 3):
            rounds = base_graph(nodes, peers=degree)
            assert len(rounds) >= least_rounds(nodes, degree)
            for period in range(1, len(rounds)):
                assert dense_norm(rounds[:period]) >= least_contraction(nodes, degree, period) - 1e-12


class TestSequences:
    @pytest.mark.parametrize(("nodes", "period"), [(4, 1), (4, 2), (5, 2), (5, 3)])
    def test_means_of_pairs_are_the_best_of_all(self, nodes: int, period: int) -> None:
        all_rounds = np.stack([averaging(nodes, pairs) for pairs in matchings(nodes)])
        states = np.eye(nodes)[None]
        for _ in range(period):
            states = (all_rounds[:, None] @ states[None]).reshape(-1, nodes, nodes)
        best = np.linalg.norm(states - 1 / nodes, 2, axis=(1, 2)).min()
        found = learn_sequence(nodes, period=period, weights="equal", steps=150)
        assert found.contraction == pytest.approx(best, abs=1e-9)
        assert found.period == period

    @pytest.mark.parametrize(("nodes", "degree", "rounds"), [(5, 1, 4), (6, 1, 3), (9, 1, 5), (10, 1, 4), (5, 2, 2)])
    def test_exact_in_fewer_rounds_than_base(self, nodes: int, degree: int, rounds: int) -> None:
        found = learn_sequence(nodes, degree=degree)
        assert found.exact
        assert found.period == rounds == found.bound < len(base_graph(nodes, peers=degree))
        assert found.stopped == "bound"
        assert all(entry == Fraction(1, nodes) for row in exact_product(found.rounds) for entry in row)
        for W in found.rounds:
            assert W.in_degree.max() <= degree
            assert W.weight.min() >= 0
            assert np.array_equal(W.to_dense(), W.to_dense().T)
        assert found.amplification <= 1 + 1e-12

    def test_factors_are_put_together(self) -> None:
        found = learn_sequence(10, degree=2)
        assert found.method == "product of 2 x 5"
        assert found.period == 3 == found.bound < len(base_graph(10, peers=2))
        assert all(entry == Fraction(1, 10) for row in exact_product(found.rounds) for entry in row)

    def test_side_by_side_is_a_kronecker_product(self) -> None:
        outer, inner = base_graph(3), one_peer_exponential(5)
        found = side_by_side(outer, inner)
        for W, expected in zip(
            found,
            [np.kron(np.eye(3), W.to_dense()) for W in inner] + [np.kron(W.to_dense(), np.eye(5)) for W in outer],
            strict=True,
        ):
            assert np.array_equal(W.to_dense(), expected)

    def test_a_period_too_short_is_close_to_the_bound(self) -> None:
        found = learn_sequence(6, period=2, steps=150)
        assert least_contraction(6, 1, 2) - 1e-12 <= found.contraction <= 0.5 + 1e-9
        assert found.contraction == pytest.approx(dense_norm(found.rounds))
        assert not found.exact
        assert found.per_round == found.contraction**0.5

    @pytest.mark.parametrize(("nodes", "degree", "period"), [(12, 3, 2), (8, 1, 5)])
    def test_a_period_long_enough_is_exact(self, nodes: int, degree: int, period: int) -> None:
        found = learn_sequence(nodes, degree=degree, period=period)
        assert found.exact
        assert found.period == period

    def test_masks_are_kept_to(self) -> None:
        ring = np.zeros((6, 6), dtype=bool)
        for i in range(6):
            ring[i, (i + 1) % 6] = ring[(i + 1) % 6, i] = True
        found = learn_sequence(6, allowed=ring, steps=60)
        for W in found.rounds:
            apart = W.target != W.source
            assert ring[W.target[apart], W.source[apart]].all()
        assert found.contraction < 1

    @pytest.mark.parametrize(("nodes", "rounds"), [(5, 4), (6, 3), (9, 5), (10, 4)])
    def test_what_is_not_known_is_searched(self, nodes: int, rounds: int) -> None:
        mask = np.ones((nodes, nodes), dtype=bool)
        mask[0, 1] = mask[1, 0] = False
        found = learn_sequence(nodes, allowed=mask)
        assert found.method == "search"
        assert found.exact
        assert found.period == rounds
        assert all(entry == Fraction(1, nodes) for row in exact_product(found.rounds) for entry in row)
        assert all(W.to_dense()[0, 1] == 0 for W in found.rounds)

    def test_the_same_for_the_same_seed(self) -> None:
        one, other = (learn_sequence(7, period=3, seed=3, steps=40) for _ in range(2))
        assert [W.weight.tolist() for W in one.rounds] == [W.weight.tolist() for W in other.rounds]

    def test_better_ones_are_told(self) -> None:
        seen: list[LearnedSequence] = []
        words: list[str] = []
        found = learn_sequence(6, on_better=seen.append, tell=lambda news: words.append(news.sentence()))
        assert [each.method for each in seen] == ["base-2", "euclid"]
        assert found.period == 3
        assert words

    def test_an_interrupt_keeps_the_best(self) -> None:
        def interrupt(_: LearnedSequence) -> None:
            raise KeyboardInterrupt

        found = learn_sequence(6, on_better=interrupt)
        assert found.stopped == "interrupt"
        assert found.method == "base-2"
        assert found.exact

    @pytest.mark.parametrize("directed", [False, True])
    def test_an_interrupt_keeps_the_best_of_a_period(self, directed: bool) -> None:
        def interrupt(_: object) -> None:
            raise KeyboardInterrupt

        found = learn_sequence(7, period=2, directed=directed, tell=interrupt)
        assert found.stopped == "interrupt"
        assert found.period == 2

    def test_an_interrupt_while_weights_are_improved(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def interrupted(*args: Any, **options: Any) -> PeriodWeights:
            return replace(period_weights(*args, **options), stopped="interrupt")

        monkeypatch.setattr(search, "period_weights", interrupted)
        found = learn_sequence(6, period=2, steps=20)
        assert found.stopped == "interrupt"
        assert found.contraction < 1

    def test_out_of_time_there_is_still_a_sequence(self) -> None:
        found = learn_sequence(13, deadline=time.monotonic() - 1)
        assert found.stopped == "time"
        assert found.exact

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"nodes": 1}, "at least 2 nodes"),
            ({"nodes": 4, "degree": 0}, "degree must be at least 1"),
            ({"nodes": 4, "period": 0}, "period must be at least 1"),
            ({"nodes": 4, "weights": "half"}, "expected 'free' or 'equal'"),
            ({"nodes": 4, "allowed": np.ones((3, 3), dtype=bool)}, "symmetric"),
            ({"nodes": 4, "allowed": np.triu(np.ones((4, 4), dtype=bool))}, "symmetric"),
            ({"nodes": 4, "network": Network.uniform(4, 1.0)}, "message_bytes"),
            ({"nodes": 4, "directed": True}, "give a period"),
            ({"nodes": 4, "network": Network.uniform(5, 1.0), "message_bytes": 1}, "the same number"),
        ],
    )
    def test_nonsense_is_refused(self, options: dict[str, object], words: str) -> None:
        with pytest.raises(InputError, match=words):
            learn_sequence(**options)  # type: ignore[arg-type]

    def test_disconnected_pairs_are_refused(self) -> None:
        with pytest.raises(GraphError):
            learn_sequence(4, allowed=np.kron(np.eye(2, dtype=bool), np.ones((2, 2), dtype=bool)))


class TestDirected:
    @pytest.mark.parametrize(("nodes", "degree", "period"), [(5, 1, 2), (7, 1, 3), (6, 2, 2)])
    def test_the_best_shifts_are_the_best_of_all(self, nodes: int, degree: int, period: int) -> None:
        shifts, count = best_shifts(nodes, degree, period, np.random.default_rng(0))
        own = np.arange(nodes)

        def norm(each: np.ndarray) -> float:
            return dense_norm(directed_rounds((own + each[:, :, None]) % nodes))

        every = [np.array(s).reshape(period, degree) for s in product(range(nodes), repeat=degree * period)]
        assert count == len(every)
        assert norm(shifts) == pytest.approx(min(map(norm, every)))

    def test_permutations_are_the_best_of_all(self) -> None:
        own = np.arange(4)
        every = [np.array([[p], [q]]) for p in permutations(own) for q in permutations(own)]
        best = min(dense_norm(directed_rounds(each)) for each in every)
        assert learn_sequence(4, period=2, directed=True, weights="equal", steps=50).contraction == pytest.approx(best)

    def test_peers_that_are_drawn_twice_count_twice(self) -> None:
        heard = np.array([[[1, 2, 0], [1, 2, 0]]])
        assert directed_rounds(heard)[0].fractions()[:2] == [Fraction(1, 3), Fraction(2, 3)]

    @pytest.mark.parametrize(("nodes", "period"), [(11, 3), (12, 3), (14, 2), (24, 3)])
    def test_better_than_windows_of_the_one_peer_exponential(self, nodes: int, period: int) -> None:
        named = one_peer_exponential(nodes)
        windows = [tuple(named[(s + t) % len(named)] for t in range(period)) for s in range(len(named))]
        found = learn_sequence(nodes, period=period, directed=True, steps=200, weights="equal")
        assert least_contraction(nodes, 1, period) <= found.contraction < min(map(dense_norm, windows)) - 1e-3
        assert found.contraction == pytest.approx(dense_norm(found.rounds))
        for W in found.rounds:
            assert W.in_degree.max() <= 1
            assert np.allclose(W.to_dense().sum(axis=0), 1)

    def test_masks_are_kept_to(self) -> None:
        ring = np.zeros((6, 6), dtype=bool)
        for i in range(6):
            ring[i, (i + 1) % 6] = ring[(i + 1) % 6, i] = True
        found = learn_sequence(6, period=4, directed=True, allowed=ring, steps=100)
        for W in found.rounds:
            apart = W.target != W.source
            assert ring[W.target[apart], W.source[apart]].all()
        assert found.contraction < 1


class TestHosts:
    @pytest.mark.parametrize("sizes", [[4, 4], [2, 5], [1, 3]])
    def test_two_hosts_need_one_message_each_way(self, sizes: list[int]) -> None:
        network = uneven_hosts([100, 100], sizes)
        found = host_sequence(network, 1e6, steps=30)
        assert found.exact
        assert all(entry == Fraction(1, sum(sizes)) for row in exact_product(found.rounds) for entry in row)
        between = sum(_between(W, network) for W in found.rounds)
        assert between == 2
        assert found.details["exchanges"] == [
            [("h0", "h1", pytest.approx(np.prod(sizes) / sum(sizes)))]
        ] or found.details["exchanges"] == [[("h1", "h0", pytest.approx(np.prod(sizes) / sum(sizes)))]]

    @pytest.mark.parametrize("nonnegative", [False, True])
    @pytest.mark.parametrize("sizes", [[4, 4, 4], [2, 3, 4]])
    def test_exact_and_as_long_as_predicted(self, sizes: list[int], nonnegative: bool) -> None:
        network = uneven_hosts([1000, 500, 100], sizes)
        found = host_sequence(network, 1e7, nonnegative=nonnegative, steps=40)
        judge = consensus_seconds(Schedule.cyclic(found.rounds), network, 1e7)
        assert found.seconds == pytest.approx(judge.worst_seconds)
        assert found.exact
        assert all(entry == Fraction(1, sum(sizes)) for row in exact_product(found.rounds) for entry in row)
        if nonnegative:
            assert min(W.weight.min() for W in found.rounds) >= 0
            assert found.amplification <= 1 + 1e-12

    def test_a_slow_host_exchanges_once(self) -> None:
        network = uneven_hosts([1000, 500, 250, 100], [8] * 4)
        found = host_sequence(network, 1e7, seed=1, steps=80)
        # 0.8 s for the slowest card; the next slowest has to tell before, and to be told after: twice 0.32 s.
        assert found.exact
        assert found.seconds == pytest.approx(0.8 + 2 * 0.32 + 4 * 0.008)
        others = [
            sequence_seconds(base_graph(32), network, 1e7),
            sequence_seconds(one_peer_exponential(32), network, 1e7),
        ]
        assert found.seconds < min(others) / 5

    @pytest.mark.parametrize("nonnegative", [False, True])
    def test_slow_hosts_are_a_tier(self, nonnegative: bool) -> None:
        network = uneven_hosts([1000] * 6 + [100] * 2, [2] * 8)
        found = host_sequence(network, 1e7, nonnegative=nonnegative, steps=1)
        assert found.exact
        # Two rounds with slow cards, in the second of which they pass 3/4 of 2 nodes, and five among fast ones.
        slow = 0.8 * (3 if nonnegative else 2)
        assert found.seconds == pytest.approx(slow + 5 * 0.08 + 8 * 0.008)

    def test_tiers_pass_the_mean_on(self) -> None:
        network = uneven_hosts([100, 90, 80, 1, 1], [1] * 5)
        found = tiers(HostClock.of(network, 1e6), np.ones(5))
        rounds = rounds_of(5, found.edges.tolist(), (found.weights * found.lanes).tolist())
        assert dense_norm(rounds) < 1e-12
        assert sum(bool((W.target[W.target != W.source] >= 3).any()) for W in rounds) == 2

    def test_one_host(self) -> None:
        found = host_sequence(Network.uniform(8, 100.0, nodes_per_host=8, inside_bandwidth=100.0), 100)
        assert found.exact
        assert found.seconds == pytest.approx(1.0)
        assert found.details["exchanges"] == []

    def test_one_node_a_host(self) -> None:
        network = uneven_hosts([1000, 1000, 1000, 1000, 10, 10], [1] * 6)
        found = learn_sequence(6, network=network, message_bytes=1e6, steps=20)
        assert found.seconds is not None
        assert found.seconds <= sequence_seconds(base_graph(6), network, 1e6)
        assert all(W.in_degree.max() <= 1 and W.weight.min() >= 0 for W in found.rounds)

    def test_limits_on_nodes(self) -> None:
        network = uneven_hosts([100, 100, 100], [2, 2, 2])
        allowed = np.ones((6, 6), dtype=bool)
        for i, j in ((0, 2), (0, 4), (2, 4)):
            allowed[i, j] = allowed[j, i] = False
        found = host_sequence(network, 1e6, degree=1, allowed=allowed, steps=30)
        for W in found.rounds:
            apart = W.target != W.source
            assert allowed[W.target[apart], W.source[apart]].all()
            assert W.in_degree.max() <= 1
        allowed[2, 3] = allowed[3, 2] = False
        with pytest.raises(InputError, match="host h1 may not exchange"):
            host_sequence(network, 1e6, allowed=allowed)

    @pytest.mark.parametrize("seconds", [0.0, 0.05])
    @pytest.mark.parametrize(
        ("sizes", "rates"),
        [
            ([5, 6, 3, 1], [114, 83, 13, 192]),
            *(([int(x) for x in rng.integers(1, 7, k)], [float(x) for x in rng.integers(10, 200, k)])
            for k, rng in ((k, np.random.default_rng(k)) for k in (3, 4, 5, 6, 7))),
        ],
    )  # fmt: skip
    def test_nonnegative_from_the_first_on(self, sizes: list[int], rates: list[float], seconds: float) -> None:
        network = uneven_hosts(rates, sizes)
        seen: list[LearnedSequence] = []
        deadline = time.monotonic() + seconds
        found = host_sequence(network, 1e6, nonnegative=True, steps=20, deadline=deadline, on_better=seen.append)
        for each in (*seen, found):
            assert min(W.to_dense().min() for W in each.rounds) >= -1e-12
            exchanged = [W for W in each.rounds if _between(W, network)]
            for W, exchanges in zip(exchanged, each.details["exchanges"], strict=True):
                A = W.to_dense() * (network.host_of[:, None] != network.host_of)
                assert sum(w for *_, w in exchanges) == pytest.approx(A.sum() / 2)

    def test_hosts_with_few_nodes_linked_stay_nonnegative(self) -> None:
        allowed = np.ones((9, 9), dtype=bool)
        network = uneven_hosts([100, 90, 80], [3, 3, 3])
        between = network.host_of[:, None] != network.host_of
        allowed &= ~between | (np.isin(np.arange(9), (1, 4, 8))[:, None] & np.isin(np.arange(9), (1, 4, 8)))
        seen: list[LearnedSequence] = []
        found = host_sequence(network, 1e6, nonnegative=True, allowed=allowed, steps=30, on_better=seen.append)
        for each in (*seen, found):
            assert min(W.to_dense().min() for W in each.rounds) >= -1e-12
            assert all(allowed[W.target, W.source][W.target != W.source].all() for W in each.rounds)

    def test_hosts_linked_by_other_nodes_than_the_first(self) -> None:
        hosts = (Host("a", (0, 1), 100.0, 100.0), Host("b", (2, 3), 100.0, 100.0))
        inside = (Link("a", "a", 1e4), Link("b", "b", 1e4))
        network = Network(hosts, (*inside, Link(1, 3, 50.0), Link(3, 1, 50.0)))
        found = host_sequence(network, 100.0, steps=20)
        assert found.exact
        assert found.seconds == pytest.approx(2 + 2 * 0.01)
        with pytest.raises(InputError, match="hosts a and b are not connected"):
            host_sequence(Network(hosts, (*inside, Link(1, 3, 50.0))), 100.0)
        with pytest.raises(InputError, match="hosts a and b are not connected"):
            host_sequence(network, 100.0, allowed=np.kron(np.eye(2, dtype=bool), np.ones((2, 2), dtype=bool)))

    def test_the_faster_links_are_taken(self) -> None:
        hosts = (Host("a", (0, 1)), Host("b", (2, 3)))
        inside = (Link("a", "a", 1e4), Link("b", "b", 1e4))
        slow, fast = ((Link(i, j, rate), Link(j, i, rate)) for i, j, rate in ((0, 2, 10.0), (1, 2, 50.0)))
        network = Network(hosts, (*inside, *slow, *fast))
        found = host_sequence(network, 100.0, steps=20)
        assert found.seconds == pytest.approx(2 + 2 * 0.01)
        assert HostClock.of(network, 100.0).pair[0, 1] == pytest.approx(2)

    @pytest.mark.parametrize("nonnegative", [False, True])
    @pytest.mark.parametrize("degree", [1, 2])
    def test_degrees_where_only_first_nodes_are_linked(self, degree: int, nonnegative: bool) -> None:
        firsts = (0, 2, 4)
        hosts = tuple(Host(f"h{k}", (2 * k, 2 * k + 1), 100.0, 100.0) for k in range(3))
        links = [Link(host.name, host.name, 1e4) for host in hosts]
        links += [Link(i, j, 1e3) for i, j in permutations(firsts, 2)]
        seen: list[LearnedSequence] = []
        found = host_sequence(
            Network(hosts, tuple(links)), 100.0, degree=degree, nonnegative=nonnegative, steps=60, on_better=seen.append
        )
        assert max(int(W.in_degree.max()) for each in (*seen, found) for W in each.rounds) <= degree
        assert found.contraction < 0.6

    def test_networks_that_are_partly_linked(self) -> None:
        hosts = tuple(Host(f"h{k}", (k,), 100.0, 100.0) for k in range(5))
        pairs = {(i, (i + step) % 5) for i in range(5) for step in (1, 4)}
        ring = Network(hosts, tuple(Link(i, j, 100.0) for i, j in sorted(pairs)))
        for found in (
            learn_sequence(5, network=ring, message_bytes=100, steps=20),
            host_sequence(ring, 100, steps=20),
        ):
            assert found.contraction < 1
            for W in found.rounds:
                apart = W.target != W.source
                assert set(zip(W.target[apart].tolist(), W.source[apart].tolist(), strict=True)) <= pairs

    @pytest.mark.parametrize("seconds", [0.0, 10.0])
    @pytest.mark.parametrize("nodes", [4, 7])
    def test_stars_of_links(self, nodes: int, seconds: float) -> None:
        hosts = tuple(Host(f"h{k}", (k,), 100.0, 100.0) for k in range(nodes))
        links = [Link(i, j, 100.0) for k in range(1, nodes) for i, j in ((0, k), (k, 0))]
        found = learn_sequence(
            nodes,
            network=Network(hosts, tuple(links)),
            message_bytes=100,
            steps=5,
            deadline=time.monotonic() + seconds,
        )
        assert found.contraction < 1
        assert all(W.in_degree.max() <= 1 and W.weight.min() >= 0 for W in found.rounds)

    def test_no_more_rounds_are_said_to_be_needed_than_are(self) -> None:
        network = Network.uniform(4, 100.0, nodes_per_host=2, inside_bandwidth=1e4)
        assert "needed" not in host_sequence(network, 100.0, steps=20).sentence()
        found = host_sequence(network, 100.0, degree=1, steps=20)
        assert found.bound == 2
        assert "(at least 2 are needed)" in found.sentence()

    def test_the_same_for_the_same_seed(self) -> None:
        network = uneven_hosts([1000, 500, 100], [2, 3, 4])
        one, other = (host_sequence(network, 1e7, seed=5, steps=15) for _ in range(2))
        assert [W.weight.tolist() for W in one.rounds] == [W.weight.tolist() for W in other.rounds]

    def test_the_clock_agrees_with_predictions(self) -> None:
        network = Network(
            (Host("a", (0, 1), 100.0, 50.0), Host("b", (2, 3), 80.0, 80.0, 90.0), Host("c", (4, 5), 70.0, 70.0)),
            (Link(None, None, 60.0, 0.5), Link("a", "a", 1e3), Link("b", "b", 1e3), Link("c", "c", 1e3)),
            fabric=75.0,
        )
        clock = HostClock.of(network, 30.0)
        pairs = list(combinations(range(3), 2))
        for lanes in product((0, 1, 2), repeat=3):
            if not any(lanes) or max(lanes[0] + lanes[1], lanes[0] + lanes[2], lanes[1] + lanes[2]) > 2:
                continue
            used, load = [], [0, 0, 0]
            for (a, b), count in zip(pairs, lanes, strict=True):
                for _ in range(count):
                    used.append((network.hosts[a].nodes[load[a]], network.hosts[b].nodes[load[b]]))
                    load[a] += 1
                    load[b] += 1
            W = rounds_of(6, [used], [[0.5] * len(used)])[0]
            found = clock.seconds(np.array([pairs]), np.array([lanes]))[0]
            assert found == pytest.approx(round_seconds(W, network, 30.0).seconds)


def _between(W: MixingMatrix, network: Network) -> int:
    return int((network.host_of[W.target] != network.host_of[W.source]).sum())


class TestEuclid:
    @pytest.mark.parametrize("nodes", [*range(2, 40), 101, 128, 150])
    def test_exact_and_never_longer_than_base(self, nodes: int) -> None:
        rounds = euclid_sequence(nodes)
        assert prove_exact_averaging(rounds).status == "proved"
        assert least_rounds(nodes, 1) <= len(rounds) == euclid_length(nodes) <= len(base_graph(nodes))
        for W in rounds:
            assert W.in_degree.max() == 1
            assert W.weight.min() >= 1 / nodes
            assert np.array_equal(W.to_dense(), W.to_dense().T)

    @pytest.mark.parametrize("nodes", [5, 6, 9, 10, 14])
    def test_exact_in_plain_fractions(self, nodes: int) -> None:
        assert all(entry == Fraction(1, nodes) for row in exact_product(euclid_sequence(nodes)) for entry in row)

    def test_shorter_than_base_but_for_few_sizes(self) -> None:
        same = [n for n in range(2, 140) if euclid_length(n) == len(base_graph(n))]
        assert same == [2, 3, 4, 7, 8, 16, 32, 64, 128]

    def test_cuts_are_the_fewest_of_all(self) -> None:
        # Prime rings are cut at once: count the subtractions from every start.
        def subtractions(x: int, y: int) -> int:
            return 0 if x == y else 1 + subtractions(max(x, y) - min(x, y), min(x, y))

        for ring in (5, 7, 11, 13, 61, 97):
            fewest = min(subtractions(x, ring - x) for x in range(1, ring))
            assert euclid_length(ring) == fewest + 2 == euclid_length(2 * ring)

    def test_one_node_is_refused(self) -> None:
        for build in (euclid_sequence, euclid_length):
            with pytest.raises(GraphError, match="at least 2 nodes"):
                build(1)


@pytest.mark.parametrize(("degree", "period"), [(1, None), (1, 8), (2, 5)])
def test_on_a_sparse_graph_there_is_always_a_sequence_that_mixes(degree, period):
    grid = nx.to_numpy_array(nx.convert_node_labels_to_integers(nx.grid_2d_graph(4, 4))) > 0
    found = learn_sequence(16, degree=degree, period=period, allowed=grid, deadline=0.0)
    assert period in (None, found.period)
    assert found.contraction < 0.999
    for W in found.rounds:
        dense = W.to_dense()
        assert not (dense[~grid & ~np.eye(16, dtype=bool)] != 0).any()
        assert ((dense > 0).sum(axis=1) <= degree + 1).all()
        assert dense.min() >= 0
        np.testing.assert_allclose(dense.sum(axis=0), 1)
