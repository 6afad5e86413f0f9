from fractions import Fraction
from math import prod

import numpy as np
import pytest

from topokit.errors import GraphError, InputError
from topokit.factors import fewest_factors, prime_factors, smooth_part
from topokit.registry import TOPOLOGIES
from topokit.topologies.hypercuboid import hyper_cuboid, hyper_cuboid_rounds, hyper_hypercube


def products(number, largest, least=2):
    """Every way to write a number as an ascending product of factors from `least` to `largest`."""
    if number == 1:
        yield ()
    for factor in range(least, min(number, largest) + 1):
        if number % factor == 0:
            for rest in products(number // factor, largest, factor):
                yield (factor, *rest)


def greedy(number, largest):
    factors = []
    while number > 1:
        factors.append(next(f for f in range(largest, 1, -1) if number % f == 0))
        number //= factors[-1]
    return factors


def paths(rounds):
    """Number of ways from every node to every node; with plain means as rounds, the product times their sizes."""
    ways = np.eye(rounds[0].nodes)  # whole numbers up to n, which floating point multiplies fast and exactly
    for W in rounds:
        A = np.zeros_like(ways)
        A[W.target, W.source] = 1
        ways = A @ ways
    return ways


def test_prime_factors():
    for number in range(1, 1000):
        factors = prime_factors(number)
        assert prod(factors) == number
        assert list(factors) == sorted(factors)
        assert all(factor % d for factor in factors for d in range(2, factor))


def test_smooth_part_is_the_largest_smooth_divisor():
    for number in range(1, 200):
        for largest in range(1, 8):
            divisors = [d for d in range(1, number + 1) if number % d == 0]
            smooth = [d for d in divisors if all(d % p for p in range(largest + 1, d + 1) if prime_factors(p) == (p,))]
            assert smooth_part(number, largest) == max(smooth)


def test_fewest_factors_against_brute_force():
    for largest in range(2, 14):
        for number in range(1, 401):
            every = list(products(number, largest))
            if not every:
                with pytest.raises(InputError, match=f"{number} has a prime factor above {largest}"):
                    fewest_factors(number, largest)
                continue
            best = fewest_factors(number, largest)
            assert best in every
            assert (len(best), sum(best)) == min((len(factors), sum(factors)) for factors in every)


def test_largest_factor_first_fails_where_it_is_known_to():
    # Up to 5000 nodes and 11 peers there are 12 such cases, and none with fewer than 7 peers.
    worse = [
        (peers, n)
        for peers in range(1, 12)
        for n in range(2, 5001)
        if smooth_part(n, peers + 1) == n and len(greedy(n, peers + 1)) > len(fewest_factors(n, peers + 1))
    ]
    assert len(worse) == 12
    assert worse[0] == (7, 216)
    assert len(hyper_hypercube(216, peers=7)) == 3


@pytest.mark.parametrize("sides", [(2, 2, 2), (2, 3), (3, 2), (3, 5), (2, 2, 3), (4, 3, 2), (7,)])
def test_hyper_cuboid_averages_nodes_that_differ_in_one_digit(sides):
    nodes = prod(sides)
    digits = np.array(np.unravel_index(np.arange(nodes), sides[::-1]))[::-1]
    rounds = hyper_cuboid(nodes, sides=sides)
    assert len(rounds) == len(sides)
    for t, (side, W) in enumerate(zip(sides, rounds, strict=True)):
        others = np.delete(digits, t, axis=0)
        together = (others[:, :, None] == others[:, None, :]).all(axis=0)
        np.testing.assert_array_equal(W.to_dense(), together / side)
        assert set(W.fractions()) == {Fraction(1, side)}


def test_nodes_of_a_hyper_cuboid_may_be_groups():
    for W, of_six in zip(hyper_cuboid_rounds((2, 3), stride=4), hyper_cuboid(6), strict=True):
        np.testing.assert_array_equal(W.to_dense(), np.kron(of_six.to_dense(), np.eye(4)))


def test_hyper_cuboid_is_exact_for_every_size():
    for nodes in range(2, 121):
        sides = prime_factors(nodes)
        rounds = hyper_cuboid(nodes)
        assert [set(W.fractions()) for W in rounds] == [{Fraction(1, p)} for p in sides]
        assert (paths(rounds) == 1).all()


@pytest.mark.parametrize("peers", [1, 2, 3, 4, 7])
def test_hyper_hypercube_exists_for_smooth_numbers_and_is_exact(peers):
    entry = TOPOLOGIES["hyper-hypercube"]
    for nodes in range(2, 217):
        exists = any(products(nodes, peers + 1))
        assert (entry.obstacle(nodes, peers=peers) is None) == exists
        if exists:
            rounds = hyper_hypercube(nodes, peers=peers)
            assert len(rounds) == min(map(len, products(nodes, peers + 1)))
            assert max(W.in_degree.max() for W in rounds) <= peers
            assert all(set(W.fractions()) == {Fraction(1, int(W.in_degree[0]) + 1)} for W in rounds)
            assert (paths(rounds) == 1).all()


@pytest.mark.parametrize("name", ["hyper-hypercube", "hyper-cuboid"])
def test_promises(name):
    entry = TOPOLOGIES[name]
    cases = [{"peers": peers} for peers in (1, 2, 3, 7)] if name == "hyper-hypercube" else [{}]
    for parameters in cases:
        for nodes in range(2, 301):
            if entry.obstacle(nodes, **parameters) is not None:
                continue
            rounds = entry.build(nodes, **parameters)
            promise = entry.promise(nodes, **parameters)
            degree = max(max(W.in_degree.max(), W.out_degree.max()) for W in rounds)
            assert (promise.degree, promise.period, promise.exact) == (degree, len(rounds), True)
    promise = TOPOLOGIES["hyper-cuboid"].promise(24, sides=(2, 12))
    assert (promise.degree, promise.period, promise.exact) == (11, 2, True)


@pytest.mark.parametrize(
    ("name", "nodes", "parameters", "message"),
    [
        (
            "hyper-hypercube",
            20,
            {"peers": 2},
            r"^hyper-hypercube with 2 peers a round needs a number without prime factors above 3, got 20: 18 or 24",
        ),
        ("hyper-hypercube", 1, {}, "needs at least 2 nodes, got 1"),
        ("hyper-cuboid", 12, {"sides": (2, 5)}, r"^hyper-cuboid of 2 x 5 needs 10 nodes, got 12: 10 would do"),
        ("hyper-cuboid", 0, {}, "needs at least 2 nodes, got 0"),
    ],
)
def test_sizes_that_do_not_exist(name, nodes, parameters, message):
    with pytest.raises(GraphError, match=message):
        TOPOLOGIES[name].build(nodes, **parameters)


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("hyper-hypercube", {"peers": 0}, "^peers must be at least 1, got 0$"),
        ("hyper-cuboid", {"sides": (4, 1)}, "^sides must be at least 2 each, got 1$"),
        ("hyper-cuboid", {"sides": ()}, "^sides must hold at least one number, got none$"),
    ],
)
def test_parameters_that_make_no_sense(name, parameters, message):
    with pytest.raises(InputError, match=message):
        TOPOLOGIES[name].build(4, **parameters)
