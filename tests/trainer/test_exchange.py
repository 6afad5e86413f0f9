"""Rounds between ranks against products with the whole matrix, and what is sent for them."""

import numpy as np
import pytest
import torch
from exchange_workers import exchange_rows, mix_copies, mix_here
from ranks import run_ranks

from topokit.designer import design
from topokit.matrix import MixingMatrix
from topokit.traffic import traffic
from topokit_trainer.exchange import Exchange, Plans, Route, plan_round
from topokit_trainer.world import World

NODES, COLUMNS = 8, 301


def sparse_matrix(rows, density, seed):
    """Any weights, also negative ones, whose rows and columns sum to nothing in particular."""
    rng = np.random.default_rng(seed)
    entries = rng.standard_normal((rows, rows)) * (rng.random((rows, rows)) < density)
    return MixingMatrix.from_matrix(entries + np.diag(rng.standard_normal(rows)))


def column_stochastic(rows, seed):
    weights = np.abs(sparse_matrix(rows, 0.3, seed).to_dense())
    return MixingMatrix.from_matrix(weights / weights.sum(axis=0))


def cases():
    """Matrices and the number of copies that their rows are of."""
    made = [(m, 2) for name in ("ceca-1p", "ceca-2p", "tree-push-pull") for m in design(name, NODES).rounds]
    made += [(sparse_matrix(2 * NODES, density, seed), 2) for seed, density in enumerate((0.05, 0.3, 1.0))]
    made += [(sparse_matrix(3 * NODES, 0.1, 5), 3)]
    made += [(column_stochastic(NODES, seed), 1) for seed in (0, 1)]
    made += [(sparse_matrix(NODES, 0.4, 7), 1), (design("exponential", NODES).rounds[0], 1)]
    return made


def values():
    rng = np.random.default_rng(0)
    return {rows: rng.standard_normal((rows, COLUMNS)) for rows in (NODES, 2 * NODES, 3 * NODES)}


@pytest.mark.dist
@pytest.mark.parametrize("size", [1, 2, 4])
def test_rounds_with_copies_and_gain_are_products(size):
    ranks = [mix_here(World(), cases(), values())] if size == 1 else run_ranks(mix_copies, size, cases(), values())
    for number, (matrix, copies) in enumerate(cases()):
        start = values()[matrix.nodes]
        expected, mixed = matrix.to_dense() @ start, np.full_like(start, np.nan)
        for rank in ranks:
            rows, found, messages = rank[number]
            mixed[rows] = found
            assert messages == traffic(matrix, copies).messages
        scale = np.abs(matrix.to_dense()).sum(axis=1).max() * np.abs(start).max()
        assert np.abs(mixed - expected).max() <= 1e-14 * scale, number


def test_gain_is_there_only_where_rows_do_not_sum_to_one():
    assert plan_round(design("ring", 4).rounds[0], 0, 1).gain is None
    assert plan_round(design("ceca-2p", 6).rounds[0], 0, 2, copies=2).gain is None
    matrix = column_stochastic(NODES, 0)
    for rank in range(2):
        gain = plan_round(matrix, rank, 2).gain
        sums = matrix.to_dense().sum(axis=1)[4 * rank : 4 * rank + 4]
        assert np.abs(gain.numpy()[:, 0] + 1 - sums).max() < 1e-15


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_that_do_not_sum_to_one_in_narrow_types(dtype):
    matrix = column_stochastic(NODES, 1)
    x = torch.from_numpy(values()[NODES]).to(dtype)
    expected = matrix.to_dense() @ x.double().numpy()
    plan_round(matrix, 0, 1).mix_(x)
    bound = 8 * torch.finfo(dtype).eps
    assert np.abs(x.double().numpy() - expected).max() <= bound * np.abs(expected).max()


def test_every_needed_row_travels_once_to_a_rank():
    # Nodes 4 to 7 all hear node 0 in both copies; node 1 is heard by none of them.
    dense = np.eye(2 * NODES)
    dense[4:8, 0] = dense[4:8, NODES] = dense[12:16, 0] = 0.1
    sender, receiver = (plan_round(MixingMatrix.from_matrix(dense), rank, 2, copies=2) for rank in (0, 1))
    assert {peer: rows.tolist() for peer, rows in sender.route.sends.items()} == {1: [0, 4]}
    assert sender.route.receives == {}
    assert {peer: rows.tolist() for peer, rows in receiver.route.receives.items()} == {0: [0, 4]}
    assert receiver.route.sends == {}
    assert (sender.route.needed, receiver.route.needed) == (True, True)
    assert not plan_round(MixingMatrix.from_matrix(np.eye(4)), 0, 2).route.needed
    assert sender.messages == receiver.messages == 8  # two rows to each of four nodes


def places(speaks):
    return np.where(speaks, np.cumsum(speaks) - 1, -1)


@pytest.mark.parametrize("seed", range(5))
def test_what_stays_silent_is_left_out_on_both_sides_alike(seed):
    rng, matrix = np.random.default_rng(seed), design("torus", 12).rounds[0]
    plans = [plan_round(matrix, rank, 3) for rank in range(3)]
    speaks = rng.random(12) < 0.5
    narrowed = []
    for rank, plan in enumerate(plans):
        heard = [speaks[4 * peer + rows] for peer, rows in sorted(plan.route.receives.items())]
        narrowed.append(plan.route.narrowed(places(speaks[4 * rank : 4 * rank + 4]), np.concatenate(heard)))
    for rank, route in enumerate(narrowed):
        loud = np.flatnonzero(speaks[4 * rank : 4 * rank + 4])
        for peer in set(range(3)) - {rank}:
            sent = loud[route.sends.get(peer, np.zeros(0, dtype=int))]
            assert sent.tolist() == narrowed[peer].receives.get(rank, np.zeros(0)).tolist()
            before = plans[rank].route.sends.get(peer, np.zeros(0, dtype=int))
            assert sent.tolist() == [row for row in before if speaks[4 * rank + row]]


# Plans


def plans_of(period, copies=1, rows=4):
    asked = []

    def matrix(t):
        asked.append(t)
        return design("ring", rows).rounds[0]

    return Plans(matrix, period, World(), copies), asked


def test_plans_of_a_cycle_are_made_once():
    plans, asked = plans_of(3)
    made = [plans(t) for t in (0, 1, 2, 3, 7, 5, 0)]
    assert asked == [0, 1, 2]
    assert made[0] is made[3] is made[6]
    assert made[1] is made[4]
    assert made[2] is made[5]
    assert made[0] is not made[1]


def test_only_the_last_plan_is_kept_where_rounds_do_not_come_back():
    plans, asked = plans_of(None)
    assert plans(4) is plans(4)
    first = plans(4)
    plans(5)
    assert plans(4) is not first
    assert asked == [4, 5, 4]


def test_plans_know_of_copies():
    schedule = design("ceca-2p", 6)
    plan = Plans(schedule.round, schedule.period, World(), schedule.copies)(0)
    assert plan.operator.rows == 12
    assert plan.messages == traffic(schedule.round(0), 2).messages


# Several tensors in one phase

NOTHING = Route({}, {})


@pytest.mark.dist
def test_several_tensors_travel_in_one_phase():
    # First route: 0 -> 1 (rows 2 and 0), 1 -> 2 (row 1), 2 -> 1 (row 0). Second route: 2 -> 0 (rows 0, 1, 2).
    def rows(*numbers):
        return np.array(numbers)

    routes = [
        [Route({1: rows(2, 0)}, {}), Route({}, {2: rows(0, 1, 2)})],
        [Route({2: rows(1)}, {0: rows(2, 0), 2: rows(0)}), NOTHING],
        [Route({1: rows(0)}, {1: rows(1)}), Route({0: rows(0, 1, 2)}, {})],
    ]
    ranks = run_ranks(exchange_rows, 3, routes)
    arrivals = [  # of the three tensors on each rank, as (sender, row)
        [None, None, [(2, 0), (2, 1), (2, 2)]],
        [[(0, 2), (0, 0), (2, 0)], [(0, 2), (0, 0), (2, 0)], None],
        [[(1, 1)], [(1, 1)], None],
    ]
    widths = (((4,), 8), ((2, 3), 4), ((1,), 8))
    for rank, (found, sent) in enumerate(ranks):
        wire = sum(
            np.prod(widths[k][0]) * widths[k][1]
            for there in arrivals
            for k, several in enumerate(there)
            for sender, _ in several or []
            if sender == rank
        )
        assert sent == [wire, 2 * wire, 3 * wire]
        for number, received in enumerate(found):
            for k, (expected, arrived) in enumerate(zip(arrivals[rank], received, strict=True)):
                if expected is None:
                    assert arrived is None
                    continue
                assert arrived.shape == (len(expected), *widths[k][0])
                told = np.array([1000 * sender + 100 * k + row + 0.5 * number for sender, row in expected])
                told = told.reshape(-1, *(1,) * len(widths[k][0]))
                assert np.array_equal(arrived, np.broadcast_to(told, arrived.shape))


def test_a_phase_without_messages_needs_no_ranks():
    exchange = Exchange(World())
    assert exchange.start([(NOTHING, [torch.ones(2, 3), torch.ones(2)]), (NOTHING, [])]).wait() == [None, None]
    assert exchange.bytes_sent == 0
