"""What is left of a round, and of a schedule, when nodes are lost."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topokit import design
from topokit.errors import InputError, ScheduleError
from topokit.kinds.base import pair_averages
from topokit.matrix import MixingMatrix
from topokit.schedule import Schedule
from topokit.survivors import Survivors, stochastic_complement, survivors


@st.composite
def rounds(draw, most=7):
    """Random doubly stochastic rounds: mixtures of permutations, in fractions."""
    n = draw(st.integers(2, most))
    shuffles = draw(st.lists(st.permutations(range(n)), min_size=1, max_size=4))
    shares = draw(st.lists(st.integers(1, 9), min_size=len(shuffles), max_size=len(shuffles)))
    entries: dict[tuple[int, int], Fraction] = {}
    for order, share in zip(shuffles, shares, strict=True):
        for target, source in enumerate(order):
            entries[target, source] = entries.get((target, source), Fraction(0)) + Fraction(share, sum(shares))
    target, source = zip(*entries, strict=True)
    return MixingMatrix.from_fractions(n, target, source, list(entries.values()))


@st.composite
def losses(draw):
    matrix = draw(rounds())
    lost = draw(st.sets(st.integers(0, matrix.nodes - 1), max_size=matrix.nodes - 1))
    return matrix, sorted(lost)


def as_float(matrix):
    return MixingMatrix.from_entries(matrix.nodes, matrix.target, matrix.source, matrix.weight)


def exact_sums(matrix):
    rows, columns = [Fraction(0)] * matrix.nodes, [Fraction(0)] * matrix.nodes
    for target, source, weight in zip(matrix.target, matrix.source, matrix.fractions(), strict=True):
        rows[target] += weight
        columns[source] += weight
    return rows + columns


@given(losses())
@settings(max_examples=150, deadline=None)
def test_rows_and_columns_sum_to_one_exactly_and_no_weight_is_negative(case):
    matrix, lost = case
    left = stochastic_complement(matrix, lost)
    assert left.is_exact
    assert left.nodes == matrix.nodes - len(lost)
    assert set(exact_sums(left)) == {1}
    assert min(left.fractions()) > 0
    rounded = stochastic_complement(as_float(matrix), lost)
    assert not rounded.is_exact
    assert rounded.weight.min() > 0
    np.testing.assert_allclose(rounded.to_dense(), left.to_dense(), atol=1e-14)


@given(losses())
@settings(max_examples=100, deadline=None)
def test_it_is_the_walk_seen_on_the_living_only(case):
    """Take lost nodes out of the walk by letting it go on, a hundred thousand steps, until it is back at the living."""
    matrix, lost = case
    W = matrix.to_dense()
    alive = [i for i in range(matrix.nodes) if i not in lost]
    hops = np.linalg.matrix_power(W[np.ix_(lost, lost)], 1)
    back, travelling = W[np.ix_(alive, alive)].copy(), W[np.ix_(alive, lost)]
    total = np.eye(len(lost))
    for _ in range(17):  # I + D + ... + D^(2^17 - 1)
        total = total + hops @ total
        hops = hops @ hops
    back += travelling @ total @ W[np.ix_(lost, alive)]
    np.testing.assert_allclose(stochastic_complement(matrix, lost).to_dense(), back, atol=1e-9)


@given(losses())
@settings(max_examples=100, deadline=None)
def test_it_equals_the_dense_inverse_where_there_is_one(case):
    matrix, lost = case
    W = matrix.to_dense()
    alive = [i for i in range(matrix.nodes) if i not in lost]
    inner = np.eye(len(lost)) - W[np.ix_(lost, lost)]
    if lost and np.linalg.matrix_rank(inner) < len(lost):
        return
    expected = W[np.ix_(alive, alive)] + W[np.ix_(alive, lost)] @ np.linalg.solve(inner, W[np.ix_(lost, alive)])
    np.testing.assert_allclose(stochastic_complement(matrix, lost).to_dense(), expected, atol=1e-12)


@given(losses(), st.data())
@settings(max_examples=100, deadline=None)
def test_losing_one_after_the_other_is_losing_both(case, data):
    matrix, lost = case
    first = data.draw(st.sets(st.sampled_from(lost))) if lost else set()
    alive = [i for i in range(matrix.nodes) if i not in first]
    then = [alive.index(i) for i in lost if i not in first]
    together = stochastic_complement(matrix, lost)
    apart = stochastic_complement(stochastic_complement(matrix, first), then)
    assert apart.fractions() == together.fractions()
    assert apart.target.tolist() == together.target.tolist()
    assert apart.source.tolist() == together.source.tolist()


def test_in_a_one_peer_round_the_listener_inherits_the_neighbour():
    left = survivors(design("one-peer-exponential", 8), [3])
    # In round 0 node i hears i + 1: node 2 heard the lost 3, and hears 4, which is row 3 now.
    round_0 = left.rounds[0].to_dense()
    assert round_0[2].tolist() == [0, 0, 0.5, 0.5, 0, 0, 0]
    for matrix in left.rounds:
        assert set(exact_sums(matrix)) == {1}
        assert max(matrix.in_degree.max(), matrix.out_degree.max()) == 1


def test_a_lost_group_that_talks_to_itself_leaves_the_others_alone():
    pairs = pair_averages(4, np.array([[0, 1], [2, 3]]), Fraction(1, 2))
    assert stochastic_complement(pairs, [2, 3]).to_dense().tolist() == [[0.5, 0.5], [0.5, 0.5]]
    assert stochastic_complement(as_float(pairs), [2, 3]).to_dense().tolist() == [[0.5, 0.5], [0.5, 0.5]]
    alone = pair_averages(3, np.array([[0, 1]]), Fraction(1, 2))
    assert stochastic_complement(alone, [2]).to_dense().tolist() == [[0.5, 0.5], [0.5, 0.5]]


def test_few_lost_of_many_are_taken_out_quickly_and_exactly():
    ring = design("ring", 200_000).rounds[0]
    left = stochastic_complement(ring, [5, 6, 70_000])
    assert left.is_exact
    assert left.nodes == 199_997
    # 4 hears 7 through 5 and 6: a third in, a half of what a pair keeps, a third on.
    at = np.flatnonzero((left.target == 4) & (left.source == 5))
    assert left.fractions()[int(at[0])] == Fraction(1, 9)


@pytest.mark.parametrize(
    ("lost", "message"),
    [
        ([4], "there is no node 4 to lose; nodes are numbered 0 to 3"),
        ([-1], "there is no node -1 to lose"),
        ([0, 1, 2, 3], "all 4 nodes are lost; at least one has to be left"),
    ],
)
def test_impossible_losses_are_refused(lost, message):
    with pytest.raises(InputError, match=message):
        stochastic_complement(design("ring", 4).rounds[0], lost)


def test_matrices_that_lose_the_mean_anyway_are_refused():
    one_way = MixingMatrix.from_entries(2, [0, 1], [0, 0], [1.0, 1.0])
    with pytest.raises(InputError, match="only doubly stochastic rounds"):
        stochastic_complement(one_way, [1])
    with pytest.raises(InputError, match=r"only schedules of doubly stochastic rounds.*tree-push-pull"):
        Survivors(design("tree-push-pull", 7), [1])


def test_negative_weights_without_a_complement_are_refused():
    # Node 2 keeps all of itself, and hears of 0 and 1 with weights that cancel.
    W = np.array([[0.5, 0.0, 0.5], [1.0, 0.5, -0.5], [-0.5, 0.5, 1.0]])
    with pytest.raises(InputError, match="node 2 cannot be taken out"):
        stochastic_complement(MixingMatrix.from_matrix(W), [2])


@pytest.mark.parametrize("topology", ["random-matching", "matcha", "u-equistatic", "od-equidyn"])
def test_drawn_rounds_go_on_as_they_are_drawn(topology):
    schedule = design(topology, 8)
    left = Survivors(schedule, [1, 6])
    for t in (0, 1, 17):
        expected = stochastic_complement(schedule.round(t), [1, 6])
        np.testing.assert_array_equal(left.round(t).to_dense(), expected.to_dense())


def test_rounds_from_a_list_keep_their_draws():
    from topokit.kinds import Sampled

    base = Schedule.of(Sampled(design("one-peer-exponential", 8).rounds, ["1/2", "1/4", "1/4"], seed=5))
    left = survivors(base, [0, 3])
    for t in range(8):
        np.testing.assert_array_equal(left.round(t).to_dense(), Survivors(base, [0, 3]).round(t).to_dense())


def test_whether_the_living_are_connected():
    assert Survivors(design("ring", 6), [1, 4]).parts() == [(0, 2, 3, 5)]
    pairs = [pair_averages(5, np.array(edges), Fraction(1, 2)) for edges in ([[0, 1], [2, 3]], [[1, 2], [3, 4]])]
    left = Survivors(Schedule.cyclic(pairs), [2])
    assert left.parts() == [(0, 1), (3, 4)]  # 2 met 1 and 3 in different rounds: nothing joins them now
    assert left.sentence() == "without node 2 the living are no longer connected: 0 and 1 | 3 and 4"
    assert Survivors(design("pairwise", 6), [0, 3]).parts() == [(1, 2), (4, 5)]
    with pytest.raises(ScheduleError, match="the living are no longer connected"):
        survivors(design("pairwise", 6), [0, 3])
    assert survivors(design("pairwise", 6), [0]).rule.edges.tolist() == [[0, 1], [1, 2], [2, 3], [3, 4]]


@pytest.mark.parametrize("lost", [[0], [2, 5]])
def test_survivors_of_a_schedule_make_a_schedule_file(lost, tmp_path):
    left = survivors(design("one-peer-exponential", 8), lost)
    left.save(tmp_path / "left.json")
    assert Schedule.load(tmp_path / "left.json").content_hash == left.content_hash
    assert left.provenance["without"] == lost


def test_the_command_analyses_what_is_left(tmp_path):
    from typer.testing import CliRunner

    from topokit_cli.main import app

    design("one-peer-exponential", 8).save(tmp_path / "eight.json")
    design("pairwise", 6).save(tmp_path / "pairs.json")
    found = CliRunner().invoke(app, ["analyze", str(tmp_path / "eight.json"), "--without", "3,5"])
    assert found.exit_code == 0, found.output
    assert "without nodes 3 and 5 the living are still connected" in found.output
    assert "nodes                   6" in found.output
    found = CliRunner().invoke(app, ["analyze", str(tmp_path / "pairs.json"), "--without", "0,3"])
    assert "no longer connected: 1 and 2 | 4 and 5" in str(found.exception)
