"""The effective number of neighbours against its definition: covariances iterated, walks simulated, sums by hand."""

import itertools
from fractions import Fraction

import networkx as nx
import numpy as np
import pytest
from enumeration import outcomes
from hypothesis import given, settings
from hypothesis import strategies as st

from topokit.designer import design
from topokit.errors import InputError
from topokit.kinds import Cyclic, Drawn, Matchings, Pairwise, Sampled, Teleport
from topokit.matrix import MixingMatrix
from topokit.metrics.neighbours import effective_neighbours, neighbours_by_decay, walks
from topokit.metrics.neighbours.epidemic import _moments
from topokit.registry import TOPOLOGIES
from topokit.spectral import is_normal, is_symmetric
from topokit.topologies import one_peer_exponential, one_peer_hypercube

DECAYS = [0.0, 0.5, 0.9]
NEEDED = {"circulant": {"offsets": (1, 3)}, "teleportation": {"active": (4,)}}


def by_definition(steps, decay):
    """Iterate C <- E[W (decay C + 1) W^T], `steps` being the (probability, W) of each round, and average the phases."""
    nodes = len(steps[0][0][1])
    C, variances = np.zeros((nodes, nodes)), []
    rounds = int(np.ceil(np.log(1e-15) / np.log(decay))) if decay else 1
    for t in range(-(-rounds // len(steps)) * len(steps) + len(steps)):
        noisy = decay * C + np.eye(nodes)
        C = sum(p * W @ noisy @ W.T for p, W in steps[t % len(steps)])
        variances.append(np.trace(C) / nodes)
    return 1 / (1 - decay) / np.mean(variances[-len(steps) :])


def of_rounds(rounds, decay):
    return by_definition([[(1, W.to_dense())] for W in rounds], decay)


# --- periods ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name, entry in TOPOLOGIES.items() if entry.kind != "random"])
def test_every_family_against_the_definition(name):
    entry, parameters = TOPOLOGIES[name], NEEDED.get(name, {})
    nodes = next(n for n in (12, 16, 10, 32, 34) if entry.obstacle(n, **parameters) is None)
    rule = design(name, nodes, **parameters).rule
    if rule.copies == 2:
        with pytest.raises(InputError, match="every node keeps two values"):
            effective_neighbours(rule)
        return
    for found, decay in zip(neighbours_by_decay(rule, DECAYS), DECAYS, strict=True):
        assert found.value == pytest.approx(of_rounds(rule.rounds, decay), rel=1e-10)
        assert found.decay == decay
        assert found.interval is None
        assert 1 <= found.value <= nodes * (1 + 1e-12)


NORMAL = ["circulant", "ring-lattice", "ring", "path", "grid", "torus", "hypercube", "star", "complete", "exponential"]
NORMAL += [
    "d-equistatic",
    "u-equistatic",
    "barbell",
    "lollipop",
    "tree",
    "random-regular",
    "erdos-renyi",
    "half-random",
]


@settings(deadline=None, max_examples=50)
@given(st.sampled_from(NORMAL), st.integers(4, 40), st.floats(0, 0.999))
def test_eigenvalues_modes_and_the_lyapunov_equation_agree(name, nodes, decay):
    entry, parameters = TOPOLOGIES[name], NEEDED.get(name, {})
    while entry.obstacle(nodes, **parameters) is not None:
        nodes += 1
    (W,) = design(name, nodes, **parameters).rule.rounds
    assert is_normal(W)
    decays = np.array([decay])
    doubled = walks.by_smith_doubling([W], decays)
    singular = np.linalg.svd(W.to_dense() - 1 / nodes, compute_uv=False)  # the moduli of a normal matrix's eigenvalues
    assert doubled == pytest.approx(np.sum(singular**2 / (1 - decay * singular**2)), rel=1e-9, abs=1e-12)
    if is_symmetric(W):
        assert walks.by_eigenvalues(W, decays) == pytest.approx(doubled, rel=1e-9, abs=1e-12)
    modes = walks.by_modes([W], decays)
    assert modes is not None or name not in ("circulant", "ring", "torus", "hypercube", "complete", "exponential")
    if modes is not None:
        assert modes == pytest.approx(doubled, rel=1e-9, abs=1e-12)


@settings(deadline=None, max_examples=30)
@given(st.floats(0, 0.9999), st.integers(1, 50))
def test_closed_forms(decay, nodes):
    complete, alone = np.full((nodes, nodes), 1 / nodes), np.eye(nodes)
    assert effective_neighbours(complete, decay).value == pytest.approx(nodes, rel=1e-9)
    assert effective_neighbours(alone, decay).value == pytest.approx(1, rel=1e-9)
    # Pairs that average, and never meet another.
    pairs = np.kron(np.eye(nodes), np.full((2, 2), 0.5))
    assert effective_neighbours(pairs, decay).value == pytest.approx(2, rel=1e-9)


@pytest.mark.parametrize("decay", [0.5, 0.99])
def test_a_long_ring_is_an_infinite_one(decay):
    # (1 + 2 cos x)/3 over all x. The integrand is periodic: the rectangle rule is as good as it gets.
    eigenvalues = (1 + 2 * np.cos(2 * np.pi * np.arange(100_000) / 100_000)) / 3
    infinite = 1 / ((1 - decay) * np.mean(eigenvalues**2 / (1 - decay * eigenvalues**2)))
    assert effective_neighbours(design("ring", 1000), decay).value == pytest.approx(infinite, rel=1e-9)


def test_a_period_is_averaged_over_its_phases_not_over_its_numbers():
    # A round of pairs after a round of nothing: variances differ by phase.
    rounds = [np.eye(2), np.full((2, 2), 0.5)]
    found = effective_neighbours(Cyclic(map(MixingMatrix.from_matrix, rounds)), 0.5).value
    # With v the variance that nodes have on their own besides that of the mean: 1 after nothing, 0 after the pairs.
    assert found == pytest.approx(2 / (1 + 0.5 * (1 + 0) / 2))


@pytest.mark.parametrize("nodes", [8, 12])
def test_time_varying_rounds_against_simulated_walks(nodes):
    rounds, decay, walkers = one_peer_exponential(nodes), 0.9, 4000
    generator, x, variances = np.random.default_rng(0), np.zeros((nodes, walkers)), []
    for t in range(60 * len(rounds)):
        x = rounds[t % len(rounds)].to_csr() @ (np.sqrt(decay) * x + generator.standard_normal(x.shape))
        variances.append((x**2).mean(axis=0))
    each = np.mean(variances[-len(rounds) :], axis=0) * (1 - decay)
    error = each.std() / np.sqrt(walkers)
    found = 1 / effective_neighbours(Cyclic(rounds), decay).value
    assert abs(each.mean() - found) < 3 * error
    assert error < 0.03 * found


def test_only_row_stochastic_rounds_are_worth_less():
    W = np.array([[0.5, 0.5, 0, 0], [0.2, 0.6, 0.2, 0], [0, 0.1, 0.8, 0.1], [0, 0, 0.5, 0.5]])
    rule = Cyclic([MixingMatrix.from_matrix(W)], mixing="row-stochastic")
    for decay in (0.5, 0.9, 0.99):
        assert effective_neighbours(rule, decay).value == pytest.approx(of_rounds(rule.rounds, decay), rel=1e-10)
    # In the end all nodes have the value that their stationary distribution weighs.
    values, vectors = np.linalg.eig(W.T)
    weight = np.real(vectors[:, np.argmax(values.real)])
    weight /= weight.sum()
    assert effective_neighbours(rule, 1 - 1e-7).value == pytest.approx(1 / np.sum(weight**2), rel=1e-5)


def test_large_tori_and_hypercubes_take_a_fourier_transform():
    found = effective_neighbours(design("torus", 64 * 64))
    cosines = 2 * np.cos(2 * np.pi * np.arange(64) / 64)
    squares = ((1 + cosines[:, None] + cosines) / 5).ravel() ** 2
    assert found.method == "Fourier"
    assert found.value == pytest.approx(4096 / (0.01 * np.sum(squares / (1 - 0.99 * squares))), rel=1e-12)
    # Of a hypercube's 12 rounds, a mode with j ones survives until the first of its digits comes.
    found = effective_neighbours(Cyclic(one_peer_hypercube(4096)), 0.9)
    leaves = [2.0 ** (12 - k) for k in range(1, 12)]
    excess = sum(0.9 ** (k - 1) * (size - 1) for k, size in enumerate(leaves, start=1))
    assert found.method == "Fourier"
    assert found.value == pytest.approx(4096 / (1 + 0.1 * excess), rel=1e-12)


# --- rounds drawn at random -------------------------------------------------------------------------------------------


def matrices(name, nodes, parameters):
    """Give everything that a sampler can draw, with its probability."""
    drawn = list(outcomes(name, nodes, parameters))
    for entries in drawn:
        W = np.zeros((nodes, nodes))
        for entry, weight in entries.items():
            W[entry] = float(weight)
        yield 1 / len(drawn), W


@pytest.mark.parametrize(
    ("name", "nodes", "parameters", "method"),
    [
        ("matching", 4, {"peers": 2}, "closed form"),
        ("matching", 5, {}, "closed form"),
        ("groups", 5, {"size": 3}, "closed form"),
        ("shift", 6, {"eta": "2/3"}, "closed form"),
        ("shift", 6, {"eta": 0.53, "shifts": [1, 2, 2, 5]}, "Fourier"),
        ("shift-matching", 7, {}, "Lyapunov"),
        ("shift-matching", 8, {"eta": "3/4", "shifts": [1, 3, 3, 4]}, "Lyapunov"),
        ("shift-matching", 6, {"shifts": [2, 4]}, "Lyapunov"),
        ("epidemic", 4, {"peers": 2}, "closed form"),
        ("epidemic-local", 2, {}, "closed form"),
        ("epidemic-local", 4, {"peers": 2}, "closed form"),
        ("epidemic-local", 5, {}, "closed form"),
    ],
)
def test_samplers_against_everything_that_they_can_draw(name, nodes, parameters, method):
    # The walk is linear in the outer product of a round with itself: merge equal rounds.
    steps = {}
    for p, W in matrices(name, nodes, parameters):
        steps[W.tobytes()] = (steps.get(W.tobytes(), (0, W))[0] + p, W)
    kind = Drawn(nodes, name, parameters, 0)
    for found in neighbours_by_decay(kind, [0.0, 0.8]):
        assert found.value == pytest.approx(by_definition([list(steps.values())], found.decay), rel=1e-11)
        assert found.method == method


def exchange(nodes, *pairs, weight=0.5):
    W = np.eye(nodes)
    for u, v in pairs:
        d = np.eye(nodes)[u] - np.eye(nodes)[v]
        W -= weight * np.outer(d, d)
    return W


@pytest.mark.parametrize("weight", ["1/2", 0.3, "7/10"])
def test_matchings_against_all_subsets(weight):
    matchings, chances = [[(0, 1), (2, 3)], [(1, 2), (3, 4)], [(0, 4)]], [0.5, 0.9, 0.25]
    steps = []
    for active in itertools.product([0, 1], repeat=3):
        p = np.prod([q if on else 1 - q for q, on in zip(chances, active, strict=True)])
        pairs = [e for edges, on in zip(matchings, active, strict=True) if on for e in edges]
        steps.append((p, exchange(5, *pairs, weight=float(Fraction(weight)))))
    kind = Matchings(5, matchings, chances, weight, 0)
    if weight == "7/10":  # negative self weights where two matchings meet
        with pytest.raises(InputError, match=r"decay 0\.9 has no stationary variance"):
            effective_neighbours(kind, 0.9)
    for found in neighbours_by_decay(kind, DECAYS[:2] if weight == "7/10" else DECAYS):
        assert found.value == pytest.approx(by_definition([steps], found.decay), rel=1e-11)


def test_pairs_against_all_events_with_the_decay_of_a_unit_of_time():
    edges, rates = [(0, 1), (1, 2), (2, 3), (3, 4), (0, 2)], [1, "1/2", 2, 0.25, "1/4"]
    steps = [(float(Fraction(rate)) / 4, exchange(5, edge)) for rate, edge in zip(rates, edges, strict=True)]
    found = effective_neighbours(Pairwise(5, edges, rates, 0), 0.8)
    assert found.decay == 0.8
    assert found.value == pytest.approx(by_definition([steps], 0.8 ** (1 / 4)), rel=1e-11)


def test_lists_symmetric_or_not():
    turn, moving = (
        np.roll(np.eye(4), 1, axis=1),
        np.array([[0.5, 0.5, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0.5, 0.5]]),
    )
    pair, other = exchange(4, (0, 1), (2, 3)), exchange(4, (1, 2))
    for rounds, mixing, method in (
        ([pair, other, np.eye(4)], "doubly-stochastic", "Lyapunov"),
        ([pair, other, turn], "doubly-stochastic", "Lyapunov"),
        ([pair, other, moving], "row-stochastic", "Lyapunov"),
        ([turn, (turn + np.eye(4)) / 2, np.eye(4)], "doubly-stochastic", "Fourier"),
    ):
        chances = [Fraction(1, 2), Fraction(1, 6), Fraction(1, 3)]
        kind = Sampled(map(MixingMatrix.from_matrix, rounds), chances, 0, mixing)
        for found in neighbours_by_decay(kind, DECAYS):
            expected = by_definition([list(zip(map(float, chances), rounds, strict=True))], found.decay)
            assert found.value == pytest.approx(expected, rel=1e-10)
            assert found.method == method


# --- what is refused --------------------------------------------------------------------------------------------------


def test_walks_that_no_algorithm_takes_are_refused():
    column = MixingMatrix.from_matrix(np.array([[0.5, 0.0], [0.5, 1.0]]))
    for what, message in (
        (Cyclic([column], mixing="column-stochastic"), "column-stochastic schedules are not applied"),
        (design("tree-push-pull", 6), "every node keeps two values"),
        (Teleport(6, [one_peer_hypercube(4)], 0), "values travel with the tokens"),
        (column, r"row 0 of round 0 sums to 0\.5"),
        (np.array([[2.0, -1.0], [-1.0, 2.0]]), "no stationary variance"),
        (np.array([[1.5, -0.5, 0], [-0.5, 1.5, 0], [0, 0, 1]]), "no stationary variance"),
        (np.array([[1.5, -0.5, 0], [0, 1, 0], [0, 0, 1]]), "no stationary variance"),
    ):
        with pytest.raises(InputError, match=message):
            effective_neighbours(what)
    ring = nx.cycle_graph(1001).edges
    with pytest.raises(InputError, match="up to 1000 nodes, this schedule has 1001"):
        effective_neighbours(Pairwise(1001, ring, [1] * 1001, 0))


def test_numbers_out_of_range_are_refused():
    for numbers, message in (
        ({"decay": 1.0}, "from 0 to below 1"),
        ({"decay": float("nan")}, "from 0 to below 1"),
        ({"probes": 1}, "at least 2 probes"),
        ({"confidence": 0}, "between 0 and 1"),
    ):
        with pytest.raises(InputError, match=message):
            effective_neighbours(np.eye(2), **numbers)


@pytest.mark.parametrize(("nodes", "peers"), [(300, 1), (300, 299), (10**6, 3), (10**6, 400_000)])
def test_means_over_many_senders(nodes, peers):
    # Of a binomial number d of N with probability p, E 1/(1 + d) = (1 - (1 - p)^(N+1)) / ((N + 1) p).
    square, columns = _moments(nodes, peers)
    p = peers / (nodes - 1)
    assert square == pytest.approx((1 - (1 - p) ** nodes) / p, rel=1e-11)
    # Of a node that hears of everybody nothing is random; few senders are as good as independent.
    assert columns >= nodes
    if peers > 100:
        assert columns == pytest.approx(nodes, rel=1e-5)
