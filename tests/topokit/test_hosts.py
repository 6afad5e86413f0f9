from fractions import Fraction
from math import ceil, lcm, log2

import networkx as nx
import numpy as np
import pytest

from topokit.averaging import prove_exact_averaging
from topokit.errors import GraphError, InputError
from topokit.kinds import Cyclic
from topokit.matrix import MixingMatrix
from topokit.null_filter import NullFilter
from topokit.proofs.contraction import run_contraction
from topokit.registry import TOPOLOGIES, Topology
from topokit.spectral import period_product
from topokit.topologies import one_peer_exponential
from topokit.topologies.hosts import inner_outer_exponential, two_level
from topokit.weights import metropolis_hastings_weights, uniform_weights


@pytest.mark.parametrize(
    ("outer", "hosts", "gpus", "among"),
    [
        ("exponential", 5, 2, lambda n: [uniform_weights(TOPOLOGIES["exponential"].build(n))]),
        ("path", 3, 4, lambda n: [metropolis_hastings_weights(nx.path_graph(n))]),
        ("one-peer-exponential", 4, 3, one_peer_exponential),
        ("one-peer-exponential", 6, 2, one_peer_exponential),
        ("complete", 2, 8, lambda n: [MixingMatrix.from_matrix(np.full((n, n), 1 / n))]),
    ],
)
def test_two_level_rounds_are_kronecker_products(outer, hosts, gpus, among):
    rounds = two_level(hosts * gpus, hosts=hosts, outer=outer)
    expected = [W.to_dense() for W in among(hosts)]
    assert len(rounds) == 2 * len(expected)
    assert all(W.is_exact for W in rounds)
    mean = np.full((gpus, gpus), 1 / gpus)
    for t, W in enumerate(expected):
        inside, between = rounds[2 * t : 2 * t + 2]
        np.testing.assert_array_equal(inside.to_dense(), np.kron(np.eye(hosts), mean))
        np.testing.assert_array_equal(between.to_dense(), np.kron(W, np.eye(gpus)))
        np.testing.assert_allclose(period_product([inside, between]), np.kron(W, mean), atol=1e-15)
    exact = prove_exact_averaging(among(hosts)).status == "proved"
    assert prove_exact_averaging(rounds).status == ("proved" if exact else "false")
    assert exact == (outer == "complete" or hosts == 4)
    assert run_contraction(rounds) == pytest.approx(run_contraction(among(hosts)), abs=1e-12)
    crossing = [(i // gpus, j // gpus) for W in rounds for i, j in zip(W.target, W.source, strict=True)]
    assert sum(a != b for a, b in crossing) == gpus * sum(W.messages for W in among(hosts))


def sizes(rounds):
    """The number of GPUs that the first round averages, and of hosts."""
    gpus = int(rounds[0].in_degree[0]) + 1
    return rounds[0].nodes // gpus, gpus


@pytest.mark.parametrize(
    ("nodes", "parameters", "expected"),
    [
        (8, {}, (2, 4)),
        (16, {}, (4, 4)),
        (18, {}, (3, 6)),
        (64, {}, (8, 8)),
        (64, {"hosts": 16}, (16, 4)),
        (64, {"gpus": 2}, (32, 2)),
        (64, {"hosts": 4, "gpus": 16}, (4, 16)),
    ],
)
def test_hosts_and_gpus_complete_each_other(nodes, parameters, expected):
    assert sizes(two_level(nodes, **parameters)) == expected


def test_levels_nest():
    rounds = two_level(16, hosts=4, outer="two-level")
    assert len(rounds) == 4
    np.testing.assert_array_equal(rounds[1].to_dense(), np.kron(two_level(4)[0].to_dense(), np.eye(4)))
    np.testing.assert_array_equal(rounds[3].to_dense(), np.kron(two_level(4)[1].to_dense(), np.eye(4)))


@pytest.fixture
def family(monkeypatch):
    """Register a sequence for one test."""

    def register(build, **attributes):
        entry = Topology(name="mine", kind="sequence", summary="", source="", build=build, weights=None, **attributes)
        monkeypatch.setitem(TOPOLOGIES._entries, "mine", entry)

    return register


def test_a_null_filter_among_hosts_stays_one_among_the_nodes(family):
    null = NullFilter(1, Fraction(2, 5))
    family(lambda nodes: (MixingMatrix.from_filter(nodes, null),))
    _, between = two_level(15, hosts=5, outer="mine")
    np.testing.assert_array_equal(between.to_dense(), np.kron(MixingMatrix.from_filter(5, null).to_dense(), np.eye(3)))
    assert between.filter == NullFilter(3, Fraction(2, 5))
    assert [null.removes(mode % 5, 5) for mode in range(15)] == [between.filter.removes(mode, 15) for mode in range(15)]


def test_floating_point_weights_among_hosts_stay_such(family):
    family(lambda nodes: Cyclic([MixingMatrix.from_matrix(np.array([[0.9, 0.1], [0.1, 0.9]]))]))
    inside, between = two_level(4, outer="mine")
    assert inside.is_exact
    assert not between.is_exact
    np.testing.assert_array_equal(between.to_dense()[0], [0.9, 0, 0.1, 0])


def test_outer_topologies_that_do_not_average_one_value_a_node_are_refused(family):
    family(lambda nodes: Cyclic([MixingMatrix.from_matrix(np.eye(2 * nodes))], copies=2, mixing="push-pull"))
    with pytest.raises(InputError, match=r"rounds that average one value a node .* are needed, mine has others"):
        two_level(4, outer="mine")
    family(lambda nodes, colour: (), obstacle=lambda nodes, colour: None)
    with pytest.raises(InputError, match="mine needs a value for 'colour': take a topology that needs none"):
        two_level(4, outer="mine")


def test_outer_topologies_drawn_at_random_are_refused(monkeypatch):
    entry = Topology(name="mine", kind="random", summary="", source="", build=lambda nodes: None)
    monkeypatch.setitem(TOPOLOGIES._entries, "mine", entry)
    with pytest.raises(
        InputError, match="a static topology or a sequence is needed, but the rounds of mine are drawn at random"
    ):
        two_level(4, outer="mine")


@pytest.mark.parametrize(
    ("family", "nodes", "parameters", "error", "message"),
    [
        ("two-level", 7, {}, GraphError, "with at least 2 hosts of at least 2 GPUs, got 7: 6 or 8 would do"),
        ("two-level", 2, {}, GraphError, "needs at least 4 nodes: 2 hosts of 2 GPUs, got 2: 4 would do"),
        (
            "two-level",
            16,
            {"hosts": 3},
            GraphError,
            "two-level on 3 hosts needs a multiple of 3, got 16: 15 or 18 would do",
        ),
        (
            "two-level",
            16,
            {"gpus": 3},
            GraphError,
            "two-level of 3 GPUs a host needs a multiple of 3, got 16: 15 or 18",
        ),
        (
            "two-level",
            16,
            {"hosts": 3, "gpus": 4},
            GraphError,
            "needs 12 nodes for 3 hosts of 4 GPUs, got 16: 12",
        ),
        ("two-level", 16, {"hosts": 1}, InputError, "hosts must be at least 2, got 1"),
        ("two-level", 16, {"gpus": 0}, InputError, "gpus must be at least 2, got 0"),
        ("two-level", 16, {"outer": "rings"}, InputError, "did you mean 'ring'"),
        (
            "two-level",
            12,
            {"hosts": 3, "outer": "hypercube"},
            GraphError,
            "two-level of 3 hosts does not exist with hypercube among them, which needs a power of two, got 12",
        ),
        ("inner-outer-exponential", 4, {}, GraphError, "needs at least 6 nodes: 2 hosts of 3 GPUs, got 4: 6 would do"),
        ("inner-outer-exponential", 11, {}, GraphError, "at least 2 hosts of at least 3 GPUs, got 11: 10 or 12 would"),
        ("inner-outer-exponential", 16, {"gpus": 2}, InputError, "gpus must be at least 3, got 2"),
        ("inner-outer-exponential", 16, {"hosts": 8}, GraphError, "at least 3 GPUs, got 16: 24 would do"),
    ],
)
def test_impossible_hosts_are_refused(family, nodes, parameters, error, message):
    with pytest.raises(error, match=message):
        TOPOLOGIES[family].build(nodes, **parameters)


@pytest.mark.parametrize("nodes", [-1, 0, 1])
def test_no_hosts_for_no_nodes(nodes):
    for name in ("two-level", "inner-outer-exponential"):
        assert "needs at least" in TOPOLOGIES[name].obstacle(nodes)


def receiver(node, t, hosts, gpus):
    """To whom a node sends in round t: step by step along the ranks of the host, not counting the one that leaves."""
    host, rank = divmod(node, gpus)
    leaving = t % gpus
    if rank == leaving:
        return (host + 2 ** (t % max(1, ceil(log2(hosts))))) % hosts * gpus + rank
    for _ in range(2 ** (t % max(1, ceil(log2(gpus - 1))))):
        rank = (rank + 1) % gpus
        if rank == leaving:
            rank = (rank + 1) % gpus
    return host * gpus + rank


@pytest.mark.parametrize("gpus", [3, 4, 5, 6, 7, 8, 9, 10])
@pytest.mark.parametrize("hosts", [2, 3, 4, 5, 9])
def test_inner_outer_exponential_by_its_definition(hosts, gpus):
    nodes = hosts * gpus
    rounds = inner_outer_exponential(nodes, gpus=gpus)
    assert len(rounds) == lcm(gpus, ceil(log2(hosts)), ceil(log2(gpus - 1)))
    for t, W in enumerate(rounds):
        expected = np.eye(nodes) / 2
        for node in range(nodes):
            expected[receiver(node, t, hosts, gpus), node] += 0.5
        np.testing.assert_array_equal(W.to_dense(), expected)
        assert set(W.fractions()) == {Fraction(1, 2)}
        assert set(W.in_degree) == set(W.out_degree) == {1}
    # The definition repeats after that many rounds, and not before.
    table = [[receiver(node, t, hosts, gpus) for node in range(nodes)] for t in range(2 * len(rounds))]
    assert [p for p in range(1, len(rounds) + 1) if all(table[t] == table[t % p] for t in range(len(table)))] == [
        len(rounds)
    ]
    assert run_contraction(rounds) < 0.9


def test_inner_outer_exponential_of_the_smallest_hosts():
    # 2 hosts of 3 GPUs: ranks 0, 1, 2 leave in turn, and the two that stay swap.
    partners = [[3, 2, 1, 0, 5, 4], [2, 4, 0, 5, 1, 3], [1, 0, 5, 4, 3, 2]]
    for W, partner in zip(inner_outer_exponential(6), partners, strict=True):
        np.testing.assert_array_equal(W.to_dense(), (np.eye(6) + np.eye(6)[partner]) / 2)
    assert sizes(two_level(6)) == (2, 3)


@pytest.mark.parametrize("name", ["two-level", "inner-outer-exponential"])
@pytest.mark.parametrize("nodes", [6, 8, 12, 16, 24, 30])
def test_promises_are_kept(name, nodes):
    entry = TOPOLOGIES[name]
    rounds, promise = entry.build(nodes), entry.promise(nodes)
    assert promise.period == len(rounds)
    degrees = [max(W.in_degree.max(), W.out_degree.max()) for W in rounds]
    assert promise.degree >= max(degrees)
    assert promise.exact in (None, prove_exact_averaging(rounds).status == "proved")
