from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topokit.errors import GraphError, InputError
from topokit.kinds import Drawn
from topokit.metrics.expectation import expected_contraction
from topokit.registry import TOPOLOGIES
from topokit.topologies.random_rounds import (
    epidemic,
    epidemic_local,
    od_equidyn,
    ou_equidyn,
    random_groups,
    random_matching,
)

WITH_PEERS = {
    "random-matching": random_matching,
    "random-groups": random_groups,
    "epidemic": epidemic,
    "epidemic-local": epidemic_local,
}
WITH_SHIFTS = {"od-equidyn": od_equidyn, "ou-equidyn": ou_equidyn}
seeds = st.integers(0, 2**64 - 1)


@pytest.mark.parametrize("name", WITH_PEERS | WITH_SHIFTS)
def test_families_are_registered(name):
    entry = TOPOLOGIES[name]
    assert entry.build is (WITH_PEERS | WITH_SHIFTS)[name]
    assert (entry.kind, entry.weights) == ("random", None)
    assert entry.promise(12).period is None
    W = entry.build(12).round(0)
    assert entry.directed == (not np.array_equal(W.to_dense(), W.to_dense().T))


@settings(deadline=None)
@given(st.integers(2, 30), st.data())
def test_degrees_are_as_promised(nodes, data):
    peers, seed = data.draw(st.integers(1, nodes - 1)), data.draw(seeds)
    for name, build in WITH_PEERS.items():
        kind = build(nodes, peers=peers, seed=seed)
        degree = TOPOLOGIES[name].promise(nodes, peers=peers).degree
        for t in range(3):
            W = kind.round(t)
            assert max(W.in_degree.max(), W.out_degree.max()) <= degree
            if name != "random-matching":  # whose pairs may coincide
                assert W.out_degree.max() == peers
    for name, build in WITH_SHIFTS.items():
        kind = build(nodes, seed=seed)
        assert TOPOLOGIES[name].promise(nodes).degree == kind.round(0).in_degree.max() == 1


def test_parameters_reach_the_sampler():
    assert random_groups(9, peers=3).parameters == {"size": 4}
    content = random_matching(9, peers=3, seed=8).content()
    assert (content["draw"], content["seed"]) == ({"name": "matching", "parameters": {"peers": 3}}, 8)
    assert epidemic(9, 2).sampler.name == "epidemic"
    assert epidemic_local(9, 2).mixing == "row-stochastic"
    assert od_equidyn(9, "0.53", [1, 4], seed=2).content()["draw"] == {
        "name": "shift",
        "parameters": {"eta": "0.53", "shifts": [1, 4]},
    }
    assert ou_equidyn(9).parameters == {"eta": "1/2", "shifts": None}


def test_seeds_make_different_rounds():
    # 10 nodes have 945 perfect matchings; two seeds that agree for 20 rounds are one.
    same, other = random_matching(10, seed=1), random_matching(10, seed=2)
    agree = [np.array_equal(same.round(t).source, other.round(t).source) for t in range(20)]
    assert not all(agree)


def test_equidyn_of_17_nodes():
    # The weights of the experiments of Song et al.: 17 nodes, eta = 0.53.
    W = od_equidyn(17, "0.53").round(0)
    assert set(W.fractions()) == {1 - Fraction(53, 100) + Fraction(53, 1700), Fraction(53, 100) * Fraction(16, 17)}
    best = expected_contraction(od_equidyn(17, "17/32")).value
    assert best == pytest.approx(float(1 - Fraction(17, 32)), abs=1e-15)


@pytest.mark.parametrize("build", WITH_SHIFTS.values())
def test_all_shifts_average_exactly_in_the_mean(build):
    # The mean over all shifts with eta = 1 is J; with idle nodes it is a mixture of I and J, for 5 nodes.
    n = 5
    mean = np.mean([build(n, "1", seed=4).round(t).to_dense() for t in range(2500)], axis=0)
    off = mean[~np.eye(n, dtype=bool)]
    assert np.abs(off - off.mean()).max() < 0.03
    if build is od_equidyn:
        assert mean == pytest.approx(np.full((n, n), 1 / n), abs=0.03)


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (od_equidyn, 1 / 2),
        (ou_equidyn, 0.57),
        (random_matching, 1 / 2),
        (lambda n, seed: random_groups(n, 2, seed), 1 / 3),
        (lambda n, seed: epidemic(n, 4, seed), 1 / 5),
    ],
    ids=["od-equidyn", "ou-equidyn", "random-matching", "random-groups", "epidemic"],
)
def test_consensus_is_reached_as_expected(build, expected):
    nodes, steps, left = 100, 4, []
    for seed in range(60):
        x = np.random.default_rng(seed).standard_normal(nodes)
        mean, rounds = x.mean(), build(nodes, seed=seed)
        start = np.sum((x - mean) ** 2)
        for t in range(steps):
            x = rounds.round(t).to_csr() @ x
        left.append(np.sum((x - mean) ** 2) / start)
    assert np.mean(left) ** (1 / steps) == pytest.approx(expected, abs=0.03)
    assert expected_contraction(rounds).value == pytest.approx(expected, abs=0.01)


def test_the_local_epidemic_agrees_near_the_mean():
    x = np.random.default_rng(0).standard_normal(200)
    mean, rounds = x.mean(), epidemic_local(200, 4)
    for t in range(60):
        x = rounds.round(t).to_csr() @ x
    assert np.ptp(x) < 1e-9
    assert abs(x[0] - mean) < 3 / 200**0.5
    assert abs(x[0] - mean) > 1e-6  # it moved


@pytest.mark.parametrize("name", WITH_PEERS | WITH_SHIFTS)
@pytest.mark.parametrize("nodes", [1, 0, -3])
def test_too_few_nodes(name, nodes):
    with pytest.raises(GraphError, match=f"{name} needs at least 2 nodes, got {nodes}"):
        TOPOLOGIES[name].build(nodes)


@pytest.mark.parametrize("name", WITH_PEERS)
def test_peers_that_make_no_sense(name):
    with pytest.raises(InputError, match="peers must be at least 1, got 0"):
        TOPOLOGIES[name].build(4, peers=0)
    with pytest.raises(GraphError, match=f"{name} with 4 peers needs more than 4 nodes, got 4: 5 would do"):
        TOPOLOGIES[name].build(4, peers=4)


@pytest.mark.parametrize("name", WITH_SHIFTS)
@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"eta": "0"}, InputError, "eta must be above 0 and at most 1, got 0"),
        ({"eta": "9/8"}, InputError, "eta must be above 0 and at most 1, got 9/8"),
        ({"eta": "a half"}, InputError, "eta is 'a half'; expected a number or a fraction such as \"1/2\""),
        ({"shifts": []}, InputError, r"shifts must be one or more whole numbers from 1 on, got \[\]"),
        ({"shifts": [0, 1]}, InputError, r"shifts must be one or more whole numbers from 1 on, got \[0, 1\]"),
        ({"shifts": [1, 9]}, GraphError, "with the shift 9 needs more than 9 nodes, got 8: 10 would do"),
        ({"shifts": [2, 6]}, GraphError, "connects only nodes that are multiples of 2 apart by these shifts, got 8"),
    ],
)
def test_shifts_that_make_no_sense(name, parameters, error, message):
    with pytest.raises(error, match=message):
        TOPOLOGIES[name].build(8, **parameters)


def test_seeds_have_to_fit_into_a_file():
    with pytest.raises(InputError, match="seed"):
        random_matching(4, seed=-1)
    assert isinstance(random_matching(4, seed=2**64 - 1), Drawn)
