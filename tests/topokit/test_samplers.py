from collections import Counter
from fractions import Fraction

import networkx as nx
import numpy as np
import philox
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from topokit.draws import MAX_SEED
from topokit.errors import ScheduleError
from topokit.kinds import Drawn
from topokit.kinds.samplers import SAMPLERS, decimal, matched_by_shift
from topokit.schedule import Schedule

words64 = st.integers(0, MAX_SEED)
# Of decimals, 12 places: those of more than 17 may not fit into 64 bits, and are refused.
decimals = st.floats(0.001, 1).map(lambda value: round(value, 12))
etas = st.fractions(0, 1, max_denominator=10**6).filter(bool) | decimals | st.just(1)


@st.composite
def draws(draw, names=tuple(SAMPLERS)):
    """Any sampler with any parameters that fit."""
    nodes, name = draw(st.integers(2, 24)), draw(st.sampled_from(names))
    parameters = {}
    if name in ("matching", "epidemic", "epidemic-local"):
        parameters = {"peers": draw(st.integers(1, nodes - 1))}
    elif name == "groups":
        parameters = {"size": draw(st.integers(2, nodes))}
    else:
        shifts = st.none() | st.lists(st.integers(1, nodes - 1), min_size=1, max_size=5)
        eta = draw(etas)
        parameters = {"eta": str(eta) if isinstance(eta, Fraction) else eta, "shifts": draw(shifts)}
    return Drawn(nodes, name, parameters, draw(words64)), draw(words64)


def entries(W):
    return dict(zip(zip(W.target.tolist(), W.source.tolist(), strict=True), W.fractions(), strict=True))


def sums(W, side):
    total = Counter()
    for entry, weight in entries(W).items():
        total[entry[side]] += weight
    return set(total.values())


def symmetric(W):
    of = entries(W)
    return all(of.get((j, i)) == weight for (i, j), weight in of.items())


# --- every sampler ----------------------------------------------------------------------------------------------------


@given(draws())
def test_rounds_are_those_of_the_specification(drawn):
    kind, t = drawn
    expected = philox.drawn_round(kind.sampler.name, kind.nodes, kind.parameters, kind.seed, t)
    assert entries(kind.round(t)) == expected


@given(draws())
def test_rounds_are_what_the_sampler_says(drawn):
    kind, t = drawn
    W = kind.round(t)
    assert W.nodes == kind.nodes
    assert sums(W, 0) == {1}
    assert kind.mixing == kind.sampler.mixing
    if kind.mixing == "doubly-stochastic":
        assert sums(W, 1) == {1}
    assert min(W.fractions()) > 0
    assert (W.weight == [float(w) for w in W.fractions()]).all()
    assert (np.gcd(W.numerator, W.denominator) == 1).all()
    if kind.sampler.symmetric:
        assert symmetric(W)


def test_samplers_that_are_not_called_symmetric_are_not():
    for name in ("shift", "epidemic", "epidemic-local"):
        assert not SAMPLERS[name].symmetric
        assert not all(symmetric(Drawn(7, name, {}, 0).round(t)) for t in range(5))


def test_only_the_epidemic_of_local_choices_moves_the_mean():
    kind = Drawn(7, "epidemic-local", {}, 0)
    assert kind.mixing == "row-stochastic"
    assert any(sums(kind.round(t), 1) != {1} for t in range(5))


@pytest.mark.parametrize(
    ("name", "parameters"),
    [*((name, {}) for name in SAMPLERS), ("shift", {"shifts": [2, 4]}), ("shift-matching", {"shifts": [3]})],
)
def test_what_never_meets_in_the_long_run_is_refused(name, parameters):
    kind = Drawn(6, name, parameters, 1)
    long_run = nx.DiGraph()
    for t in range(60):
        long_run.add_edges_from(kind.round(t).to_graph().edges)
    if nx.is_strongly_connected(long_run):
        assert Schedule.of(kind).nodes == 6
        return
    with pytest.raises(
        ScheduleError, match=r"disconnected: the shifts join only nodes that are multiples of [23] apart"
    ):
        Schedule.of(kind)


@given(draws())
def test_content_gives_the_same_rounds_again(drawn):
    kind, t = drawn
    content = kind.content()
    again = Drawn(kind.nodes, content["draw"]["name"], content["draw"]["parameters"], content["seed"])
    assert entries(again.round(t)) == entries(kind.round(t))
    assert again.content() == content


def test_parameters_become_json_values():
    content = Drawn(8, "shift", {"eta": Fraction(9, 16), "shifts": np.array([1, 2])}, 0).content()
    assert content["draw"]["parameters"] == {"eta": "9/16", "shifts": [1, 2]}
    assert type(content["draw"]["parameters"]["shifts"][0]) is int
    peers = Drawn(8, "epidemic", {"peers": np.int64(3)}, 0).parameters["peers"]
    assert type(peers) is int
    assert Drawn(8, "shift", {"shifts": (3, 5)}, 0).parameters == {"eta": "1/2", "shifts": [3, 5]}


# --- each of them -----------------------------------------------------------------------------------------------------


@given(draws(["matching"]))
def test_matchings_have_a_partner_each(drawn):
    kind, t = drawn
    peers, W = kind.parameters["peers"], kind.round(t)
    own = [weight for (i, j), weight in entries(W).items() if i == j]
    assert W.in_degree.max() <= peers
    # Every matching has floor(n/2) pairs; an idle node keeps what it would exchange.
    assert sum(own) == Fraction(kind.nodes + peers * (kind.nodes % 2), peers + 1)


@given(draws(["groups"]))
def test_groups_average_exactly(drawn):
    kind, t = drawn
    size, W = kind.parameters["size"], kind.round(t)
    components = sorted(map(len, nx.connected_components(W.to_graph().to_undirected())), reverse=True)
    full, rest = divmod(kind.nodes, size)
    assert components == [size] * full + [rest] * bool(rest)
    dense = W.to_dense()
    assert np.allclose(dense @ dense, dense, rtol=0, atol=1e-15)


@given(draws(["shift"]))
def test_shifts_are_circulant(drawn):
    kind, t = drawn
    W = kind.round(t)
    eta = Fraction(str(kind.parameters["eta"]))
    n = kind.nodes
    ((shift, weight),) = {((j - i) % n, w) for (i, j), w in entries(W).items() if i != j}
    assert shift in (kind.parameters["shifts"] or range(1, n))
    assert weight == eta * (n - 1) / n
    assert W.in_degree.tolist() == W.out_degree.tolist() == [1] * n


@given(st.integers(2, 40), st.data())
def test_matching_by_shifts_is_greedy(nodes, data):
    shift, start = data.draw(st.integers(1, nodes - 1)), data.draw(st.integers(0, nodes - 1))
    pairs = matched_by_shift(nodes, shift, start).tolist()
    used = [node for pair in pairs for node in pair]
    assert len(set(used)) == len(used)
    assert all((i + shift) % nodes == j for i, j in pairs)
    # Nothing is left that could still be matched, and the order is that of the scan.
    assert all({i, (i + shift) % nodes} & set(used) for i in range(nodes))
    scanned = [(i - start) % nodes for i, _ in pairs]
    assert scanned == sorted(scanned)


def test_matching_by_shifts_leaves_a_third_idle_at_worst():
    # Published: 7 to 20 % idle on average, up to 1/3 in the worst draw, for 5 to 48 nodes.
    for nodes in range(5, 49):
        idle = [Fraction(nodes - 2 * len(matched_by_shift(nodes, u, 0)), nodes) for u in range(1, nodes)]
        assert max(idle) <= Fraction(1, 3)
        assert 0.07 <= sum(idle) / len(idle) <= 0.2


@given(draws(["epidemic"]))
def test_the_epidemic_loads_every_node_alike(drawn):
    kind, t = drawn
    W, peers = kind.round(t), kind.parameters["peers"]
    assert W.in_degree.tolist() == W.out_degree.tolist() == [peers] * kind.nodes
    assert set(W.fractions()) == {Fraction(1, peers + 1)}


@given(draws(["epidemic-local"]))
def test_the_local_epidemic_sends_alike(drawn):
    kind, t = drawn
    W = kind.round(t)
    assert W.out_degree.tolist() == [kind.parameters["peers"]] * kind.nodes
    assert all(w == Fraction(1, 1 + int(W.in_degree[i])) for (i, _), w in entries(W).items())


# --- chances ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("matching", {}), ("groups", {"size": 3}), ("shift", {}), ("epidemic", {}), ("epidemic-local", {"peers": 2})],
)
def test_every_pair_is_equally_likely(name, parameters):
    nodes, rounds = 6, 1500
    kind = Drawn(nodes, name, parameters, 21)
    counts = np.zeros((nodes, nodes))
    for t in range(rounds):
        W = kind.round(t)
        counts[W.target, W.source] += 1
    # Entries of a round depend on one another, so that row 0 alone is counted: its peers are.
    first = counts[0, 1:]
    assert first.sum() >= rounds - 1
    variance = first.sum() * (1 / (nodes - 1)) * (1 - 1 / (nodes - 1))
    assert np.abs(first - first.mean()).max() < 4 * variance**0.5


def test_matchings_of_six_nodes_are_uniform():
    kind = Drawn(6, "matching", {}, 22)
    seen = Counter(tuple(sorted(entries(kind.round(t)))) for t in range(3000))
    assert len(seen) == 15
    assert stats.chisquare(list(seen.values())).pvalue > 1e-3


def test_shifts_given_twice_are_drawn_twice_as_often():
    kind = Drawn(8, "shift", {"shifts": [1, 5, 5]}, 23)
    fives = sum((0, 5) in entries(kind.round(t)) for t in range(3000))
    assert stats.binomtest(fives, 3000, 2 / 3).pvalue > 1e-3


# --- what cannot be drawn ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("nodes", "name", "parameters", "message"),
    [
        (4, "gossip", {}, r'there is no sampler "gossip"; known: matching, groups, shift, shift-matching, epidemic, '),
        (4, "matching", {"size": 2}, 'the sampler "matching" has no parameter "size"; known: peers$'),
        (1, "shift", {}, 'the sampler "shift" draws peers, and needs at least 2 nodes, got 1$'),
        (4, "matching", {"peers": 0}, '"matching": peers is 0; expected a whole number from 1 to 3, for 4 nodes$'),
        (4, "epidemic", {"peers": 4}, '"epidemic": peers is 4; expected a whole number from 1 to 3, for 4 nodes$'),
        (4, "epidemic", {"peers": True}, "peers is True; expected a whole number"),
        (4, "epidemic-local", {"peers": 1.0}, "peers is 1.0; expected a whole number"),
        (2, "groups", {"size": 3}, '"groups": size is 3; expected 2, for 2 nodes$'),
        (4, "shift", {"eta": 0}, "eta is 0; expected a number above 0 and at most 1$"),
        (4, "shift", {"eta": "9/8"}, "eta is 9/8; expected a number above 0 and at most 1$"),
        (4, "shift", {"eta": "half"}, "eta is 'half'; expected a number or a fraction such as \"1/2\"$"),
        (4, "shift", {"eta": "1/0"}, "eta is '1/0'; expected a number or a fraction"),
        (4, "shift", {"eta": float("nan")}, "eta is nan; expected a number or a fraction"),
        (4, "shift", {"eta": True}, "eta is True; expected a number or a fraction"),
        (4, "shift", {"eta": f"1/{2**62}"}, "expected a fraction whose weights for 4 nodes fit into 64 bits$"),
        (4, "shift", {"shifts": []}, r"shifts is \[\]; expected a list of whole numbers, or none for all shifts$"),
        (4, "shift", {"shifts": 2}, "shifts is 2; expected a list of whole numbers"),
        (4, "shift-matching", {"shifts": [1, 4]}, r"shifts\[1\] is 4; expected a whole number from 1 to 3, for 4"),
        (4, "shift-matching", {"shifts": ["1"]}, r"shifts\[0\] is '1'; expected a whole number"),
    ],
)
def test_bad_parameters_get_one_sentence(nodes, name, parameters, message):
    with pytest.raises(ScheduleError, match=message) as error:
        Drawn(nodes, name, parameters, 0)
    assert "\n" not in str(error.value)


def test_the_largest_weights_that_fit():
    kind = Drawn(4, "shift-matching", {"eta": f"1/{2**60}"}, 0)
    assert sums(kind.round(0), 0) == {1}


def test_numbers_are_their_decimals():
    assert decimal(0.53) == decimal("0.53") == decimal("53/100") == Fraction(53, 100)
    assert decimal(1e-7) == Fraction(1, 10**7)
    for bad in (float("inf"), "x", "1/0", None, True, [1]):
        with pytest.raises(ValueError, match=r".+"):
            decimal(bad)
