"""The effective number of neighbours by random vectors: bounds of quadratic forms, and intervals that may be wrong."""

import numpy as np
import pytest
from scipy import sparse

import topokit.metrics.neighbours.effective
from topokit.designer import design
from topokit.errors import ConvergenceError, InputError
from topokit.kinds import Cyclic, Drawn, Kind
from topokit.matrix import MixingMatrix
from topokit.metrics.neighbours import effective_neighbours, probes, walks
from topokit.metrics.neighbours.quadrature import discounted_forms
from topokit.topologies import one_peer_exponential, one_peer_hypercube

DECAYS = [0.0, 0.5, 0.9]


def renumbered(rounds, seed=0):
    """Number the nodes at random, so that no structure shows."""
    nodes = rounds[0].nodes
    order = np.random.default_rng(seed).permutation(nodes)
    return [MixingMatrix.from_entries(nodes, order[W.target], order[W.source], W.weight) for W in rounds]


def test_bounds_of_quadratic_forms_hold_the_truth():
    generator = np.random.default_rng(0)
    A = generator.standard_normal((60, 60))
    A = (A + A.T) / np.linalg.norm(A + A.T, 2)
    start, decays = generator.standard_normal((60, 3)), np.array([0.0, 0.9, 0.999])
    start[:, 1] = np.linalg.eigh(A)[1][:, :2] @ [1, 2]  # two steps are enough for it
    truth = np.array([[x @ np.linalg.solve(np.eye(60) - g * A, A @ x) for x in start.T] for g in decays])
    low, high = discounted_forms(lambda x: A @ x, start, decays, tolerance=0.5)
    assert (low <= truth + 1e-10 * np.abs(truth)).all()
    assert (high >= truth - 1e-10 * np.abs(truth)).all()
    assert (high - low)[2].max() > 1  # it stopped early
    low, high = discounted_forms(lambda x: A @ x, start, decays)
    assert low == pytest.approx(truth, rel=1e-9)
    assert high == pytest.approx(truth, rel=1e-9)
    with pytest.raises(ConvergenceError, match="apart after 8 products"):
        discounted_forms(lambda x: A @ x, start, decays, steps=8)


def fresh_matchings(nodes):
    """Give a kind of somebody's own, without a formula: pairs drawn at random."""

    class Own(Kind):
        name, copies, mixing = "own", 1, "doubly-stochastic"

        def __init__(self):
            self.nodes = nodes

        def round(self, t):
            return Drawn(nodes, "matching", {}, 7).round(t)

        def content(self, encode=None):
            return {}

        def connections(self):
            return None

    return Own()


@pytest.mark.parametrize("method", ["stochastic trace", "simulation", "simulation of draws"])
def test_intervals_hold_the_value_as_often_as_they_say(method, monkeypatch):
    monkeypatch.setattr(topokit.metrics.neighbours.effective, "EIGENVALUE_LIMIT", 10)
    monkeypatch.setattr(topokit.metrics.neighbours.effective, "LYAPUNOV_LIMIT", 10)
    monkeypatch.setattr(probes, "COLUMNS", 100)
    if method == "stochastic trace":
        rounds = design("ring", 101).rule.rounds
        what = Cyclic(renumbered(rounds))
        truth = effective_neighbours(Cyclic(rounds)).value
    elif method == "simulation":
        rounds = one_peer_exponential(100)
        what = Cyclic(renumbered(rounds))
        truth = effective_neighbours(Cyclic(rounds)).value
    else:
        what, truth = fresh_matchings(100), effective_neighbours(Drawn(100, "matching", {}, 0)).value
    repeats = 25 if method != "simulation of draws" else 1
    found = [effective_neighbours(what, seed=seed, probes=8, confidence=0.8) for seed in range(repeats)]
    assert all(method.startswith(answer.method) for answer in found)
    held = [low <= truth <= high for low, high in (answer.interval for answer in found)]
    if repeats > 1:
        assert 0.6 <= np.mean(held) < 1  # 0.8, give or take
        assert np.mean([answer.value for answer in found]) == pytest.approx(truth, rel=0.03)
    else:
        assert effective_neighbours(what, probes=8, confidence=0.999).value == pytest.approx(truth, rel=0.1)
    low, high = effective_neighbours(what, probes=8, confidence=0.9999).interval
    assert low <= truth <= high


def test_few_nodes_are_simulated_with_all_vectors_at_once():
    # Nothing is drawn and no vector is missing: all probes of a phase are the same, and exact.
    sample = probes.by_windows(
        lambda t: one_peer_hypercube(8)[t % 3], 8, np.array(DECAYS), period=3, probes=2, confidence=0.99, seed=0
    )
    exact = walks.by_smith_doubling(one_peer_hypercube(8), np.array(DECAYS))
    for side in (sample.mean, sample.low, sample.high):
        assert side == pytest.approx(exact, rel=1e-9)


def test_many_nodes_of_degree_four_are_a_tree():
    # Two random cycles through all nodes: locally an infinite tree, whose spectrum Kesten and McKay knew.
    nodes = 20_000
    generator, pattern = np.random.default_rng(0), sparse.csr_array((nodes, nodes))
    for _ in range(2):
        cycle = generator.permutation(nodes)
        step = sparse.csr_array((np.ones(nodes), (cycle, np.roll(cycle, 1))), shape=(nodes, nodes))
        pattern = pattern + step + step.T
    found = effective_neighbours((pattern + sparse.eye_array(nodes)) / 5)
    angle = (np.arange(4000) + 0.5) * np.pi / 4000
    s = 2 * np.sqrt(3) * np.cos(angle)
    density = 4 * np.sqrt(12 - s**2) / (2 * np.pi * (16 - s**2)) * 2 * np.sqrt(3) * np.sin(angle) * np.pi / 4000
    assert density.sum() == pytest.approx(1)
    squares = ((1 + s) / 5) ** 2
    tree = 1 / (0.01 * np.sum(density * squares / (1 - 0.99 * squares)))
    low, high = found.interval
    # The mean, which a tree does not have, is one more eigenvalue.
    assert low <= 1 / (1 / tree + 1 / nodes) <= high
    assert (high - low) / found.value < 0.05
    assert found.method == "stochastic trace"


def test_slow_walks_give_up_instead_of_taking_hours(monkeypatch):
    monkeypatch.setattr(probes, "WORK", 1e6)
    with pytest.raises(ConvergenceError, match="take fewer probes"):
        effective_neighbours(fresh_matchings(200))


def test_rounds_are_checked_while_they_are_simulated():
    class Growing(type(fresh_matchings(4))):
        def round(self, t):
            return MixingMatrix.from_matrix(
                np.array([[-0.5, 1.5, 0, 0], [1.5, -0.5, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
            )

    with pytest.raises(InputError, match="no stationary variance"):
        effective_neighbours(Growing())

    class Leaking(Growing):
        def round(self, t):
            return MixingMatrix.from_matrix(np.eye(4) * (0.5 if t else 1))

    with pytest.raises(InputError, match=r"row 0 of round 1 sums to 0\.5; expected 1"):
        effective_neighbours(Leaking())


def test_sentences():
    found = effective_neighbours(fresh_matchings(8), 0.9, probes=4)
    assert found.sentence().startswith("noise of the last 10 rounds averages out as over ")
    assert found.sentence().endswith("Student's 99% interval)")
    assert "by simulation" in found.sentence()
    assert "one round" in effective_neighbours(np.eye(2), 0).sentence()
