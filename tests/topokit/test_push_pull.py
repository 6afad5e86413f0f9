"""Push-pull trees and proofs about push-pull pairs, against products in fractions.Fraction."""

from fractions import Fraction

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import block_diag

from topokit.errors import GraphError, InputError
from topokit.faults import mixing_fault
from topokit.matrix import MixingMatrix
from topokit.proofs import rank_one
from topokit.proofs.push_pull import StillApart, prove_push_pull
from topokit.proofs.residues import moduli
from topokit.registry import TOPOLOGIES
from topokit.topologies import one_peer_exponential
from topokit.topologies.push_pull import tree_push_pull


def depth(nodes, arity):
    deepest, steps = nodes - 1, 0
    while deepest:
        deepest, steps = (deepest - 1) // arity, steps + 1
    return steps


def pair(R, C):
    """The round of a pull and a push matrix, given as lists of rows of fractions."""
    n = len(R)
    entries = [(i, j, Fraction(R[i][j])) for i in range(n) for j in range(n) if R[i][j]]
    entries += [(n + i, n + j, Fraction(C[i][j])) for i in range(n) for j in range(n) if C[i][j]]
    target, source, weights = zip(*entries, strict=True)
    return MixingMatrix.from_fractions(2 * n, target, source, list(weights))


def floats(W):
    """The same weights without the fractions."""
    return MixingMatrix.from_entries(W.nodes, W.target, W.source, W.weight)


def brute_force(rounds, limit):
    """The first numbers of rounds with equal pull rows and with equal push columns, and one of each."""
    n = rounds[0].nodes // 2
    blocks = []
    for W in rounds:
        both = [[[Fraction(0)] * n for _ in range(n)] for _ in range(2)]
        for i, j, w in zip(W.target.tolist(), W.source.tolist(), W.fractions(), strict=True):
            both[i // n][i % n][j % n] = w
        blocks.append(both)
    found = [None, None]
    products = [[[Fraction(int(i == j)) for j in range(n)] for i in range(n)] for _ in range(2)]
    for t in range(limit):
        for part in (0, 1):
            A, P = blocks[t % len(blocks)][part], products[part]
            P = products[part] = [[sum(A[i][k] * P[k][j] for k in range(n)) for j in range(n)] for i in range(n)]
            lines = P if part == 0 else [list(column) for column in zip(*P, strict=True)]
            if found[part] is None and all(line == lines[0] for line in lines):
                found[part] = t + 1, {i: w for i, w in enumerate(lines[0]) if w}
    return found, products


def assert_agrees(rounds, limit=None):
    n = rounds[0].nodes // 2
    proof = prove_push_pull(rounds, limit=limit)
    (pull, push), products = brute_force(rounds, proof.searched)
    assert (None if proof.pull_rounds is None else (proof.pull_rounds, proof.pull_weights)) == pull
    assert (None if proof.push_rounds is None else (proof.push_rounds, proof.push_shares)) == push
    assert proof.status == ("false" if None in (pull, push) else "proved")
    if proof.apart is None:
        assert sum(proof.pull_weights.values()) == sum(proof.push_shares.values()) == 1
        return proof
    a, b = proof.apart.first, proof.apart.second
    assert proof.apart.part == ("pull" if pull is None else "push")
    if proof.apart.part == "pull":
        assert products[0][a] != products[0][b]
    else:
        assert any(products[1][i][a] != products[1][i][b] for i in range(n))
    return proof


@pytest.mark.parametrize("arity", [1, 2, 3, 5])
@pytest.mark.parametrize("nodes", [2, 3, 4, 6, 7, 8, 12])
def test_trees_pull_from_and_push_to_the_root_in_their_depth(nodes, arity):
    kind = tree_push_pull(nodes, arity)
    assert (kind.copies, kind.mixing, kind.period, kind.nodes) == (2, "push-pull", 1, nodes)
    [W] = kind.rounds
    assert mixing_fault(W, "push-pull", copies=2) is None
    R, C = W.to_dense()[:nodes, :nodes], W.to_dense()[nodes:, nodes:]
    tree = nx.full_rary_tree(arity, nodes)
    expected = np.zeros((nodes, nodes))
    expected[0, 0] = 1
    for child, parent in nx.bfs_predecessors(tree, 0):
        expected[child, parent] = 1
    np.testing.assert_array_equal(R, expected)
    np.testing.assert_array_equal(C, R.T)
    proof = assert_agrees(kind.rounds)
    deep = nx.eccentricity(tree, 0)
    assert proof.pull_rounds == proof.push_rounds == deep == depth(nodes, arity)
    assert proof.pull_weights == proof.push_shares == {0: 1}


@pytest.mark.parametrize(("nodes", "arity"), [(10_000, 2), (10_000, 7), (10_000, 9_999), (2000, 1)])
def test_large_trees(nodes, arity):
    proof = prove_push_pull(tree_push_pull(nodes, arity).rounds)
    assert proof.status == "proved"
    assert proof.pull_rounds == proof.push_rounds == depth(nodes, arity)
    assert proof.pull_weights == proof.push_shares == {0: Fraction(1)}


@pytest.mark.parametrize("nodes", [2, 3, 4, 5, 8, 9, 20])
@pytest.mark.parametrize("arity", [1, 2, 3, 8])
def test_the_promise_of_trees(nodes, arity):
    [W] = tree_push_pull(nodes, arity).rounds
    off = W.target % nodes != W.source % nodes
    links = {(i, j) for i, j in zip(W.target[off] % nodes, W.source[off] % nodes, strict=True)}
    peers = [sum(i == node for i, _ in links) for node in range(nodes)]
    promise = TOPOLOGIES["tree-push-pull"].promise(nodes, arity=arity)
    assert promise.degree == max(peers) <= arity + 1
    assert (promise.period, promise.exact) == (1, None)


def test_trees_that_do_not_exist():
    with pytest.raises(GraphError, match="tree-push-pull needs at least 2 nodes, got 1"):
        tree_push_pull(1)
    with pytest.raises(InputError, match="arity must be at least 1, got 0"):
        tree_push_pull(4, arity=0)


def de_bruijn(nodes, base):
    rows = [[Fraction(0)] * nodes for _ in range(nodes)]
    for i in range(nodes):
        for r in range(base):
            rows[i][(base * i + r) % nodes] += Fraction(1, base)
    return rows


def dense(W):
    rows = [[Fraction(0)] * W.nodes for _ in range(W.nodes)]
    for i, j, w in zip(W.target.tolist(), W.source.tolist(), W.fractions(), strict=True):
        rows[i][j] = w
    return rows


def test_rounds_of_several_peers():
    # A root of J on both sides: 3^2 nodes, two rounds.
    W = de_bruijn(9, 3)
    proof = assert_agrees([pair(W, W)])
    assert (proof.pull_rounds, proof.push_rounds) == (2, 2)
    assert proof.pull_weights == proof.push_shares == dict.fromkeys(range(9), Fraction(1, 9))
    # A period of three rounds; the numbers of rounds of the two parts differ.
    rounds = [dense(W) for W in one_peer_exponential(8)]
    complete = [[Fraction(1, 8)] * 8 for _ in range(8)]
    proof = assert_agrees([pair(R, C) for R, C in zip(rounds, (rounds[0], complete, rounds[2]), strict=True)])
    assert (proof.pull_rounds, proof.push_rounds) == (3, 2)
    assert proof.sentence() == (
        "pull copies: all the same mixture of 8 nodes after 3 rounds; "
        "push copies: summed up and shared out to 8 nodes after 2 rounds; proved"
    )


def test_pairs_that_never_agree():
    identity = [[int(i == j) for j in range(5)] for i in range(5)]
    tree = tree_push_pull(5).rounds[0].to_dense().astype(int).tolist()
    R, C = [row[:5] for row in tree[:5]], [row[5:] for row in tree[5:]]
    pull_fails = assert_agrees([pair(identity, C)])
    assert pull_fails.apart == StillApart("pull", 0, 1)
    assert (pull_fails.push_rounds, pull_fails.pull_rounds, pull_fails.never) == (2, None, True)
    assert pull_fails.sentence() == (
        "the pull copies of nodes 0 and 1 may still differ after 4 rounds, and after any other number of them"
    )
    push_fails = assert_agrees([pair(R, identity)])
    assert push_fails.apart.part == "push"
    assert push_fails.sentence().startswith("what nodes 0 and ")
    early = assert_agrees([pair(R, C)], limit=1)
    assert not early.never
    assert early.sentence().endswith("after 1 round")
    six = [pair(dense(W), dense(W)) for W in one_peer_exponential(6)]
    assert assert_agrees(six).searched == 15


def columns(rows):
    return [list(column) for column in zip(*rows, strict=True)]


@st.composite
def stochastic(draw, nodes):
    """A matrix with rows of sum 1: mostly of single entries, so that products do become equal."""
    rows = []
    for _ in range(nodes):
        numbers = [0] * nodes
        numbers[draw(st.integers(0, nodes - 1))] = 1
        if draw(st.booleans()) and draw(st.booleans()):
            numbers[draw(st.integers(0, nodes - 1))] += draw(st.sampled_from([1, 2, -3]))
        rows.append([Fraction(x, sum(numbers)) for x in numbers])
    return rows


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_random_pairs_against_brute_force(data):
    nodes = data.draw(st.integers(1, 5))
    period = data.draw(st.integers(1, 3))
    rounds = [pair(data.draw(stochastic(nodes)), columns(data.draw(stochastic(nodes)))) for _ in range(period)]
    proof = assert_agrees(rounds)
    if proof.never:  # one more period than is said to be enough
        (pull, push), _ = brute_force(rounds, proof.searched + period)
        assert (None if pull is None else pull[0], None if push is None else push[0]) == (
            proof.pull_rounds,
            proof.push_rounds,
        )


def test_the_vector_alone_proves_nothing(monkeypatch):
    # Modulo 2 the vector agrees by chance most of the time: the exact product has to say no.
    monkeypatch.setattr(rank_one, "MODULUS", 2)
    doubted = []
    line = rank_one._Exact.line
    monkeypatch.setattr(rank_one._Exact, "line", lambda self, count: doubted.append(line(self, count)) or doubted[-1])
    for arity in (1, 2):
        proof = assert_agrees(tree_push_pull(6, arity).rounds)
        assert proof.pull_rounds == depth(6, arity)
    # Times 4, these weights are 1 modulo 2, so that every product looks right. Only another prime shows that none is.
    lazy = [[Fraction(3, 4), Fraction(1, 4)], [Fraction(1, 4), Fraction(3, 4)]]
    complete = [[Fraction(1, 2)] * 2] * 2
    doubted.clear()
    assert assert_agrees([pair(lazy, complete)], limit=70).apart == StillApart("pull", 0, 1)
    assert assert_agrees([pair(complete, lazy)], limit=70).apart == StillApart("push", 0, 1)
    assert assert_agrees([pair(lazy, lazy)] * 3 + [pair(complete, complete)], limit=3).status == "false"
    assert assert_agrees([pair(lazy, lazy)] * 3 + [pair(complete, complete)]).pull_rounds == 4
    assert None in doubted


def test_one_prime_is_no_proof(monkeypatch):
    # The rows times p + 1 differ by p only, the first prime that a product is multiplied modulo.
    prime = next(moduli(1, 2, primes_only=True))
    monkeypatch.setattr(rank_one, "MODULUS", prime)
    near = [[Fraction(prime, prime + 1), Fraction(1, prime + 1)], [0, 1]]
    assert assert_agrees([pair(near, columns(near))]).apart == StillApart("pull", 0, 1)
    complete = [[Fraction(1, 2)] * 2] * 2
    assert assert_agrees([pair(complete, columns(near))]).apart == StillApart("push", 0, 1)


def test_products_too_large_for_one_block_and_for_64_bits(monkeypatch):
    monkeypatch.setattr(rank_one, "BLOCK", 50)
    assert_agrees(tree_push_pull(30).rounds, limit=5)
    rounds = [pair(dense(W), dense(W)) for W in one_peer_exponential(16)]
    assert assert_agrees(rounds, limit=5).status == "proved"
    # A lazy pull part, whose denominators grow beyond 64 bits, and then one round that settles everything.
    big = 2**31 - 1
    lazy = [[Fraction(big - 2, big), Fraction(2, big)], [Fraction(1, big), Fraction(big - 1, big)]]
    last = [[Fraction(1, 2), Fraction(1, 2)]] * 2
    proof = assert_agrees([pair(lazy, columns(lazy))] * 5 + [pair(last, columns(last))])
    assert (proof.pull_rounds, proof.push_rounds) == (6, 6)
    assert max(w.denominator for w in proof.pull_weights.values()) > 2**64
    # Columns equal only up to the last of many digits.
    close = [[Fraction(1, 3), Fraction(2, 3)], [Fraction(big + 3, 3 * big), Fraction(2 * big - 3, 3 * big)]]
    proof = assert_agrees([pair(lazy, columns(lazy))] * 3 + [pair(close, columns(close))] * 3, limit=6)
    assert proof.status == "false"


def test_floating_point_weights_are_decided_up_to_rounding():
    third = floats(pair(de_bruijn(9, 3), de_bruijn(9, 3)))
    proof = prove_push_pull([third])
    assert (proof.status, proof.pull_rounds, proof.push_rounds) == ("numerical", 2, 2)
    assert proof.pull_weights == pytest.approx(dict.fromkeys(range(9), 1 / 9))
    assert proof.push_shares == pytest.approx(dict.fromkeys(range(9), 1 / 9))
    assert "up to rounding" in proof.sentence()
    skew = [
        [Fraction(1, 3), Fraction(2, 3), 0],
        [Fraction(1, 3), Fraction(2, 3), 0],
        [0, Fraction(1, 3), Fraction(2, 3)],
    ]
    proof = prove_push_pull([floats(pair(skew, columns(skew)))])
    assert proof.status == "false"
    assert proof.apart == StillApart("pull", 0, 2)
    proof = prove_push_pull([floats(pair(de_bruijn(3, 3), columns(skew)))])
    assert (proof.pull_rounds, proof.apart.part) == (1, "push")
    # Floats such as 0.5 are exact.
    halves = [floats(pair(dense(W), dense(W))) for W in one_peer_exponential(4)]
    assert prove_push_pull(halves).status == "proved"


def test_proofs_as_json_values():
    values = prove_push_pull(tree_push_pull(4).rounds).to_dict()
    assert values == {
        "status": "proved",
        "nodes": 4,
        "period": 1,
        "searched": 3,
        "pull_rounds": 2,
        "push_rounds": 2,
        "never": False,
        "pull_weights": {"0": "1"},
        "push_shares": {"0": "1"},
        "apart": None,
        "sentence": "pull copies: all that of node 0 after 2 rounds; "
        "push copies: summed up at node 0 after 2 rounds; proved",
    }
    identity = [[1, 0], [0, 1]]
    assert prove_push_pull([pair(identity, identity)]).to_dict()["apart"] == {"part": "pull", "first": 0, "second": 1}


@pytest.mark.parametrize(
    ("rounds", "limit", "message"),
    [
        ([], None, "at least one round"),
        (tree_push_pull(3).rounds, 0, "limit must be at least 1 round, got 0"),
        ([*tree_push_pull(3).rounds, *tree_push_pull(4).rounds], None, "round 1 has 8 rows, round 0 has 6"),
        (one_peer_exponential(3), None, "round 0 is no push-pull round of two copies: it has an odd number of rows"),
        (one_peer_exponential(4), None, r"W\[.*\] mixes the two copies"),
        ([pair([[1, 1], [0, 1]], [[1, 0], [0, 1]])], None, "row 0 of the pull part sums to 2"),
        ([pair([[1, 0], [0, 1]], [[1, 1], [0, 1]])], None, "column 1 of the push part sums to 2"),
    ],
)
def test_rounds_that_are_no_push_pull_pairs(rounds, limit, message):
    with pytest.raises(InputError, match=message):
        prove_push_pull(rounds, limit=limit)


def test_push_pull_gradient_sums_arrive_at_the_root():
    # What the proof says, done: numbers that are pushed for as many rounds as the tree is deep.
    kind = tree_push_pull(50, arity=3)
    state = np.concatenate((np.full(50, -1.0), np.arange(50.0)))
    state[0] = 7
    for t in range(depth(50, 3)):
        state = kind.round(t).to_csr() @ state
    np.testing.assert_array_equal(state[:50], 7)
    np.testing.assert_array_equal(state[50:], [49 * 50 / 2, *[0] * 49])


def test_floating_point_pairs_that_fade_away_are_not_exact():
    fading = np.array([[0.6, 0.4], [0.3, 0.7]])
    proof = prove_push_pull([MixingMatrix.from_matrix(block_diag(fading, fading.T))])
    assert (proof.status, proof.never) == ("false", False)
    settled = np.array([[0.3, 0.7], [0.3, 0.7]])
    proof = prove_push_pull([MixingMatrix.from_matrix(block_diag(settled, settled.T))])
    assert (proof.status, proof.pull_rounds, proof.push_rounds) == ("numerical", 1, 1)
