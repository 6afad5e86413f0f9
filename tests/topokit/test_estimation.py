import numpy as np
import pytest

import topokit.metrics.expectation.estimation
from topokit.designer import design
from topokit.errors import InputError
from topokit.kinds import Drawn, Kind, Matchings, Pairwise
from topokit.matrix import MixingMatrix
from topokit.metrics.expectation import expected_contraction, why_not
from topokit.metrics.expectation.estimation import estimate_contraction, lower_bound_of_mean, upper_bound_of_mean
from topokit.registry import TOPOLOGIES

RING = [(i, (i + 1) % 6) for i in range(6)]


def exchange(nodes, *pairs):
    W = np.eye(nodes)
    for u, v in pairs:
        W[u, u] = W[v, v] = W[u, v] = W[v, u] = 0.5
    return W


class Coins(Kind):
    """A kind of somebody's own: all pairs of neighbours on a ring of 4, or the others, or nothing."""

    name = "coins"
    nodes, copies, mixing = 4, 1, "doubly-stochastic"

    def __init__(self, seed):
        self.seed = seed

    def round(self, t):
        drawn = np.random.default_rng([self.seed, t]).integers(3)
        pairs = [[], [(0, 1), (2, 3)], [(1, 2), (3, 0)]][drawn]
        return MixingMatrix.from_matrix(exchange(4, *pairs))

    def content(self, encode=None):
        return {}

    def connections(self):
        return None


@pytest.mark.parametrize(
    ("make", "truth"),
    [
        (lambda seed: Drawn(6, "matching", {}, seed), None),
        (lambda seed: Drawn(7, "shift-matching", {}, seed), None),
        (lambda seed: Pairwise(6, RING, [1] * 6, seed), None),
        (lambda seed: Matchings(6, [RING[::2], RING[1::2]], [0.5, 0.5], "1/2", seed), None),
        (Coins, 2 / 3),  # either axis is averaged away by one of three, or two of three for both
    ],
    ids=["matching", "shift-matching", "pairwise", "matchings", "own"],
)
def test_intervals_hold_the_value_as_often_as_they_say(make, truth):
    truth = expected_contraction(make(0)).value if truth is None else truth
    found = [estimate_contraction(make(seed), draws=32, confidence=0.6) for seed in range(30)]
    held = [low <= truth <= high for low, high in (estimate.interval for estimate in found)]
    assert np.mean(held) >= 0.6
    assert all(low <= estimate.value <= high for estimate in found for low, high in [estimate.interval])
    assert np.mean([estimate.value for estimate in found]) == pytest.approx(truth, abs=0.05)


@pytest.mark.parametrize("scale", [0.2, 0.5, 1.0])
def test_bounds_of_a_mean_fail_as_rarely_as_they_say_and_not_much_less(scale):
    generator = np.random.default_rng(0)
    samples = generator.binomial(1, 0.3, (400, 150)) * scale
    low = [lower_bound_of_mean(sample, 0.2) for sample in samples]
    high = [upper_bound_of_mean(sample.mean(), sample.size, 0.2) for sample in samples]
    truth = 0.3 * scale
    assert np.mean(np.array(low) > truth) <= 0.2
    assert np.mean(np.array(high) < truth) <= 0.2
    assert np.mean(low) > 0.7 * truth
    assert scale < 1 or np.mean(np.array(high) < truth) > 0.02  # coins are the worst that numbers can be


def test_the_interval_shrinks_with_the_root_of_the_draws():
    few, many = (estimate_contraction(Drawn(6, "shift", {}, 3), draws=n).interval for n in (100, 1600))
    assert 3 < (few[1] - few[0]) / (many[1] - many[0]) < 5.5


@pytest.mark.parametrize("name", [name for name, entry in TOPOLOGIES.items() if entry.kind == "random"])
def test_every_random_family_against_its_own_draws(name):
    parameters = {"teleportation": {"active": (4,)}}.get(name, {})
    kind = design(name, 8, **parameters).rule
    exact = expected_contraction(kind)
    if exact is None:
        assert name in ("epidemic-local", "teleportation")
        assert why_not(kind).startswith("is not defined")
        with pytest.raises(InputError):
            estimate_contraction(kind)
        return
    low, high = estimate_contraction(kind, draws=300, confidence=0.999).interval
    assert low <= exact.value <= high
    assert why_not(kind) is None


def test_many_nodes_are_estimated_without_dense_matrices(monkeypatch):
    kind = Drawn(60, "matching", {}, 1)
    dense_one = estimate_contraction(kind, draws=60)
    monkeypatch.setattr(topokit.metrics.expectation.estimation, "DENSE_LIMIT", 10)
    found = estimate_contraction(kind, draws=60)
    assert found.value == pytest.approx(dense_one.value, abs=1e-3)
    assert found.interval == pytest.approx(dense_one.interval, abs=1e-3)


def test_estimates_come_only_when_asked_for():
    assert expected_contraction(Coins(0)) is None
    assert "has no closed form" in why_not(Coins(0))
    found = expected_contraction(Coins(0), draws=400, confidence=0.9)
    assert (found.method, found.confidence, found.draws) == ("estimate", 0.9, 400)
    assert found == estimate_contraction(Coins(0), draws=400, confidence=0.9)
    assert found.interval[0] <= 2 / 3 <= found.interval[1]
    assert "estimated from 400 draws" in found.sentence()
    # Later rounds of the same schedule are other draws.
    assert found != estimate_contraction(Coins(0), draws=400, confidence=0.9, first=400)


def test_estimates_refuse_what_their_bounds_do_not_cover(monkeypatch):
    strong = Matchings(4, [[(0, 1)], [(2, 3)]], [1, 1], "3/2", 0)
    low, high = estimate_contraction(strong, draws=100).interval
    assert expected_contraction(strong).value == pytest.approx(4)
    assert low <= 4 <= high
    with pytest.raises(InputError, match=r"a norm of 2 at least, above norm=1\.5"):
        estimate_contraction(strong, norm=1.5)

    class Growing(Coins):
        def round(self, t):
            return strong.round(t)

    with pytest.raises(InputError, match="round 0 has negative weights"):
        estimate_contraction(Growing(0))
    assert estimate_contraction(Growing(0), norm=2, draws=100).interval == (low, high)

    class Moving(Coins):
        def round(self, t):
            return MixingMatrix.from_matrix(np.array([[0.5, 0.5, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]))

    with pytest.raises(InputError, match=r"column 0 of round 0 sums to 0\.5; expected 1"):
        estimate_contraction(Moving(0))
    for wrong, message in (
        ({"draws": 3}, "at least 4 draws"),
        ({"confidence": 1}, "between 0 and 1"),
        ({"norm": 0.5}, "at least 1"),
    ):
        with pytest.raises(InputError, match=message):
            estimate_contraction(Coins(0), **wrong)
    monkeypatch.setattr(topokit.metrics.expectation.estimation, "MAX_ENTRIES", 1000)
    with pytest.raises(InputError, match="50 rounds of 8 nodes have more than 1000 weights; 31 draws would do"):
        estimate_contraction(Drawn(8, "groups", {"size": 4}, 0), draws=50)
