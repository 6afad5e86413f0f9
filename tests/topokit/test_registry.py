"""One battery for every registered topology and weighting; a new family is tested by being registered."""

import os
import subprocess
import sys
from collections import defaultdict
from fractions import Fraction
from typing import NamedTuple

import networkx as nx
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import topokit.topologies
import topokit.weights  # noqa: F401
from topokit.averaging import prove_exact_averaging
from topokit.designer import design
from topokit.errors import GraphError, InputError
from topokit.kinds import Cyclic, Kind
from topokit.matrix import MixingMatrix
from topokit.registry import TOPOLOGIES, WEIGHTS, Topology
from topokit.schedule import Schedule
from topokit.spectral import slem
from topokit.traffic import traffic

SIZES = (2, 3, 4, 5, 6, 7, 8, 9, 12, 16, 25, 31, 32)
DRAWS = 12

# Parameters that a family is also built with; those without a default have to be here.
VARIANTS = {
    "base": [{"peers": k} for k in (1, 2, 3, 4)],
    "circulant": [{"offsets": (1,)}, {"offsets": (1, 3)}],
    "d-equistatic": [{}, {"shifts": 2, "seed": 5}],
    "de-bruijn": [{}, {"base": 3}],
    "epidemic": [{}, {"peers": 3}],
    "epidemic-local": [{}, {"peers": 3}],
    "generalized-de-bruijn": [{}, {"base": 3}],
    "hyper-hypercube": [{"peers": k} for k in (1, 2, 4)],
    "k-peer-exponential": [{"peers": k} for k in (1, 2, 3)],
    "matcha": [{}, {"graph": "ring", "budget": 0.7}],
    "null-cascade": [{"peers": k} for k in (2, 3, 4)],
    "od-equidyn": [{}, {"eta": "0.53", "shifts": (1, 2)}],
    "ou-equidyn": [{}, {"eta": "1/3", "shifts": (1,)}],
    "pairwise": [{}, {"graph": "star", "rate": 0.5}],
    "random-groups": [{}, {"peers": 3}],
    "random-matching": [{}, {"peers": 3}],
    "ring-lattice": [{}, {"degree": 6}],
    "simple-base": [{"peers": k} for k in (1, 2, 3)],
    "teleportation": [{"active": (1,)}, {"active": (1, 2)}, {"active": (4,), "inner": "ring"}],
    "tree": [{}, {"arity": 3}],
    "tree-push-pull": [{}, {"arity": 3}],
    "two-level": [{}, {"outer": "base-2"}],
}


class Case(NamedTuple):
    """One family with parameters."""

    entry: Topology
    parameters: dict

    def exists(self, nodes):
        return self.entry.obstacle(nodes, **self.parameters) is None

    def kind(self, nodes):
        """What is built, as a kind of schedule."""
        built = self.entry.build(nodes, **self.parameters)
        if isinstance(built, Kind):
            return built
        if isinstance(built, nx.Graph):
            built = WEIGHTS[self.entry.weights].build(built)
        return Cyclic([built] if isinstance(built, MixingMatrix) else built)

    def __str__(self):
        return " ".join([self.entry.name, *(f"{k}={v}" for k, v in self.parameters.items())])


FAMILIES = [Case(entry, p) for entry in TOPOLOGIES.values() for p in VARIANTS.get(entry.name, [{}])]
BUILDABLE = [(case, n) for case in FAMILIES for n in SIZES if case.exists(n)]
IMPOSSIBLE = [(case, n) for case in FAMILIES for n in (-1, 0, 1, *SIZES) if not case.exists(n)]
GRAPHS = {
    "ring": nx.cycle_graph(6),
    "star": nx.star_graph(5),
    "karate": nx.karate_club_graph(),
    "lollipop": nx.lollipop_graph(4, 2),
    "one node": nx.empty_graph(1),
}


def name_of(value):
    return value.name if hasattr(value, "name") else str(value)


def exact_sums(matrix):
    rows, columns = defaultdict(Fraction), defaultdict(Fraction)
    for i, j, w in zip(matrix.target.tolist(), matrix.source.tolist(), matrix.fractions(), strict=True):
        rows[i] += w
        columns[j] += w
    return rows, columns


def assert_doubly_stochastic(matrix):
    assert matrix.is_exact
    rows, columns = exact_sums(matrix)
    assert dict(rows) == dict.fromkeys(range(matrix.nodes), 1)
    assert dict(columns) == dict.fromkeys(range(matrix.nodes), 1)
    assert (matrix.weight != 0).all()


def rounds_of(kind):
    """All rounds of a period, or some of those that are drawn."""
    return kind.rounds if isinstance(kind, Cyclic) else [kind.round(t) for t in range(DRAWS)]


def assert_sums(kind, matrix):
    """Rows, columns or both sum to one, exactly wherever weights are exact, as the kind says."""
    n = kind.nodes
    if kind.mixing == "push-pull":
        W = matrix.to_dense()
        assert not W[:n, n:].any()
        assert not W[n:, :n].any()
        assert (W[:n, :n].sum(axis=1) == 1).all()
        assert (W[n:, n:].sum(axis=0) == 1).all()
        return
    if not matrix.is_exact:
        W = matrix.to_dense()
        np.testing.assert_allclose(W.sum(axis=1), 1, atol=1e-14)
        np.testing.assert_allclose(W.sum(axis=0), 1, atol=1e-14)
        return
    rows, columns = exact_sums(matrix)
    every_one = dict.fromkeys(range(matrix.nodes), 1)
    if kind.mixing != "column-stochastic":
        assert dict(rows) == every_one
    if kind.mixing in ("doubly-stochastic", "column-stochastic"):
        assert dict(columns) == every_one


def assert_promise(case, nodes, kind):
    promise = case.entry.promise(nodes, **case.parameters)
    assert kind.period == promise.period
    for W in rounds_of(kind):
        flow = traffic(W, kind.copies)
        assert max(flow.in_degree.max(), flow.out_degree.max()) <= promise.degree
    if promise.exact is not None:
        proof = prove_exact_averaging(kind.rounds, copies=kind.copies)
        assert proof.status == ("proved" if promise.exact else "false")


@pytest.mark.parametrize(("case", "nodes"), BUILDABLE, ids=str)
def test_topology_keeps_its_promises(case, nodes):
    entry, kind = case.entry, case.kind(nodes)
    assert kind.nodes == nodes
    assert (kind.period is None) == (entry.kind == "random")
    assert (kind.period == 1) >= (entry.kind == "static")
    for W in rounds_of(kind):
        assert_sums(kind, W)
        assert (W.weight != 0).all()
        assert entry.directed or kind.copies > 1 or (W.to_dense() == W.to_dense().T).all()
    assert_promise(case, nodes, kind)
    schedule = Schedule.of(kind)
    again = Schedule.loads(schedule.dumps())
    assert again.content_hash == schedule.content_hash
    for t in range(3):
        assert (again.round(t).to_dense() == schedule.round(t).to_dense()).all()


@given(st.data())
@settings(max_examples=120, deadline=None)
def test_any_number_of_nodes(data):
    case = data.draw(st.sampled_from(FAMILIES))
    nodes = data.draw(st.integers(2, 130))
    assume(case.exists(nodes))
    kind = case.kind(nodes)
    for W in rounds_of(kind):
        assert_sums(kind, W)
    assert_promise(case, nodes, kind)


@pytest.mark.parametrize(("case", "nodes"), [(c, n) for c, n in BUILDABLE if c.entry.leaves_weights], ids=str)
def test_static_graphs_are_numbered_connected_and_carry_their_weights(case, nodes):
    entry, built = case.entry, case.entry.build(nodes, **case.parameters)
    assert list(built.nodes) == list(range(nodes))
    assert all(type(node) is int for node in built.nodes)
    assert built.is_directed() == entry.directed
    assert nx.number_of_selfloops(built) == 0
    assert nx.is_strongly_connected(built) if entry.directed else nx.is_connected(built)
    matrix = WEIGHTS[entry.weights].build(built)
    off = matrix.target != matrix.source
    assert {(int(u), int(v)) for u, v in zip(matrix.source[off], matrix.target[off], strict=True)} == set(
        built.to_directed().edges
    )
    shuffled = np.random.default_rng(nodes).permutation(nodes).tolist()
    renumbered = nx.relabel_nodes(built, dict(enumerate(shuffled)))
    # The renumbered matrix is no longer circulant: this compares the Fourier transform with a dense decomposition too.
    assert slem(WEIGHTS[entry.weights].build(renumbered)) == pytest.approx(slem(matrix), abs=1e-12)


PERIODIC = [
    (case, n)
    for case, n in BUILDABLE
    if case.entry.kind != "random"
    and n in (6, 7, 8, 12, 25)
    and case.entry.name not in ("null-cascade", "tree-push-pull")
]  # the first has filters, which say for which numbering they are; the second is proved otherwise


@pytest.mark.parametrize(("case", "nodes"), PERIODIC, ids=str)
def test_exactness_does_not_depend_on_the_numbering(case, nodes):
    kind = case.kind(nodes)
    rng = np.random.default_rng(nodes)
    rows = np.concatenate([order := rng.permutation(nodes)] + [order + nodes] * (kind.copies - 1))
    renumbered = [
        MixingMatrix.from_entries(
            W.nodes, rows[W.target], rows[W.source], W.weight, numerator=W.numerator, denominator=W.denominator
        )
        for W in kind.rounds
    ]
    one = prove_exact_averaging(kind.rounds, copies=kind.copies)
    other = prove_exact_averaging(renumbered, copies=kind.copies)
    assert other.status == one.status
    assert other.contraction == pytest.approx(one.contraction, abs=1e-9)


FRESH = """
import hashlib
import sys
from topokit.designer import design
for line in sys.stdin:
    name, nodes, seed = line.split()
    parameters = {"active": (3,)} if name == "teleportation" else {}
    schedule = design(name, int(nodes), seed=int(seed), **parameters)
    text = "".join(str(schedule.round(t).fractions() or schedule.round(t).weight.tolist()) for t in range(20))
    text += "".join(str(schedule.round(t).source.tolist()) for t in range(20))
    print(name, hashlib.sha256(text.encode()).hexdigest())
"""


def test_a_fresh_process_draws_the_same_rounds():
    drawn = [e.name for e in TOPOLOGIES.values() if e.kind == "random"]
    wanted = "".join(f"{name} 9 {seed}\n" for name in drawn for seed in (0, 2**64 - 1))
    outputs = [
        subprocess.run(
            [sys.executable, "-c", FRESH],
            input=wanted,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
            env={**os.environ, "PYTHONHASHSEED": number},
        ).stdout
        for number in ("0", "7")
    ]
    assert outputs[0] == outputs[1]
    lines = outputs[0].split("\n")[:-1]
    assert len(lines) == 2 * len(drawn)
    assert all(one != other for one, other in zip(lines[::2], lines[1::2], strict=True)), "seeds differ"


@pytest.mark.parametrize(("case", "nodes"), IMPOSSIBLE, ids=str)
def test_impossible_sizes_are_refused_with_the_nearest_possible(case, nodes):
    with pytest.raises(GraphError, match=rf"{case.entry.name} .*, got {nodes}") as caught:
        case.entry.build(nodes, **case.parameters)
    near = case.entry.nearest(nodes, **case.parameters)
    assert all(case.exists(m) for m in near)
    assert all(str(m) in str(caught.value) for m in near)


def test_the_message_for_a_hypercube_of_twelve():
    with pytest.raises(
        GraphError, match=r"^hypercube needs a power of two, got 12: 8 or 16 would do; base-2 exists for 12$"
    ):
        TOPOLOGIES["hypercube"].build(12)


@pytest.mark.parametrize("entry", TOPOLOGIES.values(), ids=name_of)
def test_topologies_describe_themselves(entry: Topology):
    for text in (
        entry.summary,
        entry.source,
        entry.sizes,
        entry.degree,
        entry.period,
        entry.exact,
        entry.build.__doc__,
    ):
        assert text
    assert entry.promise is not None
    assert entry.weights is None or entry.weights in WEIGHTS
    assert all(TOPOLOGIES.knows(name) for name in entry.instead)
    with pytest.raises(InputError, match="has no parameter 'colour'"):
        entry.require(16, colour="red")


def test_names_with_a_number():
    assert TOPOLOGIES.resolve("base-3") == (TOPOLOGIES["base"], {"peers": 2})
    assert TOPOLOGIES.resolve("one-peer-exponential") == (TOPOLOGIES["one-peer-exponential"], {})
    for name in ("ring-3", "base-x", "bass-3"):
        with pytest.raises(InputError, match="unknown topology"):
            TOPOLOGIES.resolve(name)
    with pytest.raises(InputError, match="says peers = 2 already"):
        design("base-3", 25, peers=2)


@pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS)
@pytest.mark.parametrize("rule", WEIGHTS.values(), ids=name_of)
def test_weighting_keeps_its_sums_and_stays_on_the_edges(rule, graph):
    if rule.name == "uniform" and len(set(dict(graph.degree).values())) > 1:
        with pytest.raises(GraphError, match="regular graph"):
            rule.build(graph)
        return
    if rule.name == "given":
        graph = WEIGHTS["metropolis-hastings"].build(graph).to_graph()
    matrix = rule.build(graph)
    W = matrix.to_dense()
    np.testing.assert_allclose(W.sum(axis=0), 1, atol=1e-12)
    if rule.mixing == "doubly-stochastic":
        np.testing.assert_allclose(W.sum(axis=1), 1, atol=1e-12)
        np.testing.assert_allclose(W, W.T, atol=1e-15)
    support = nx.to_numpy_array(graph, nodelist=range(len(graph)), weight=None) + np.eye(len(graph)) > 0
    assert not W[~support].any()
    if rule.exact and rule.name != "given":
        assert_sums(Cyclic([matrix], mixing=rule.mixing), matrix)


@pytest.mark.parametrize("rule", WEIGHTS.values(), ids=name_of)
@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (nx.empty_graph(0), "no nodes"),
        (nx.empty_graph(3), r"disconnected \(3 components\): node 0 cannot reach node 1"),
        (nx.Graph([(0, 1), (2, 3)]), r"disconnected \(2 components\): node 0 cannot reach node 2"),
        (nx.Graph([(1, 2), (2, 3)]), "numbered 0 to 2, found 3"),
        (nx.Graph([("a", "b")]), "numbered 0 to 1, found 'a'"),
        (nx.MultiGraph([(0, 1), (0, 1)]), "nodes 0 and 1 are joined more than once"),
    ],
)
def test_weightings_refuse_graphs_that_cannot_mix(rule, graph, message):
    with pytest.raises(GraphError, match=message):
        rule.build(graph)
