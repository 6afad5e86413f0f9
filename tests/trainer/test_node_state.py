"""The pair of one node, with a clock that is set by hand."""

import math

import pytest
import torch

from topokit_trainer.asynchronous.dynamics import Dynamics
from topokit_trainer.asynchronous.state import NodeState

ACID = Dynamics(eta=0.4, alpha=0.5, alpha_tilde=1.5)


class Hand:
    """A clock that stands still until it is moved."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Hand()


def apart(clock, unit=2.0):
    """A node whose copies are 1 and 5, with a gradient of two seconds."""
    state = NodeState([torch.tensor([1.0], dtype=torch.float64)], ACID, clock)
    state.tilde[0].fill_(5.0)
    state.took(unit)
    return state


def test_mixing_is_the_exponential_of_the_elapsed_units(clock):
    state = apart(clock)
    clock.now += 3.0  # one and a half units
    x, tilde = state.pair()
    share = (1 - math.exp(-2 * 0.4 * 1.5)) / 2
    assert x[0].item() == pytest.approx(1 + 4 * share, abs=1e-14)
    assert tilde[0].item() == pytest.approx(5 - 4 * share, abs=1e-14)


def test_no_time_passes_in_a_pause(clock):
    state, other = apart(clock), apart(clock)
    clock.now += 1.0
    with state.paused():
        clock.now += 50.0
        assert state.snapshot()[0].item() < 3, "up to the pause it mixes"
        before = state.pair()
        clock.now += 50.0
        assert state.pair() == before
    clock.now += 1.0
    found = state.pair()
    clock.now = 102.0  # two seconds after the start, for the one that was not paused
    for mine, expected in zip(found, other.pair(), strict=True):
        assert mine[0].item() == pytest.approx(expected[0].item(), abs=1e-14)


def test_before_the_first_gradient_nothing_mixes(clock):
    state = NodeState([torch.zeros(2)], ACID, clock)
    state.tilde[0].fill_(1.0)
    clock.now += 10.0
    assert state.snapshot()[0].tolist() == [0.0, 0.0]


def test_an_averaging_keeps_the_steps_that_came_in_between(clock):
    a, b = apart(clock), apart(clock)
    a.adopt([torch.tensor([3.0], dtype=torch.float64)], [torch.tensor([-1.0], dtype=torch.float64)])
    shown, seen = a.snapshot(), b.snapshot()
    a.step(lambda x: x[0].sub_(0.25))
    total = sum(values[0].item() for state in (a, b) for values in (*state.x, *state.tilde))
    a.average(shown, seen)
    b.average(seen, shown)
    assert a.x[0].item() == 3 - 0.25 - 0.5 * (3 - 1)
    assert a.tilde[0].item() == -1 - 0.25 - 1.5 * (3 - 1)
    assert b.x[0].item() == 1 + 0.5 * (3 - 1)
    assert sum(values[0].item() for state in (a, b) for values in (*state.x, *state.tilde)) == total


def test_without_acceleration_there_is_no_second_copy(clock):
    state = NodeState([torch.ones(3)], Dynamics(), clock)
    state.adopt([torch.zeros(3)], [])
    assert state.pair()[1] == []
    assert state.snapshot()[0].tolist() == [0.0] * 3
