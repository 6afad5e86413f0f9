"""Who says yes to whom, and who pays: the rules of matching, without a network."""

import threading
import time

import numpy as np
import pytest
import torch

from topokit_trainer.asynchronous.dynamics import Dynamics
from topokit_trainer.asynchronous.gossip import Gossip
from topokit_trainer.asynchronous.links import LinkBroken
from topokit_trainer.asynchronous.state import NodeState


class Others:
    """Peers and links of rank 2 among 5, whose answers the test decides."""

    rank, size, incarnation, moved = 2, 5, 0, 0.0

    def __init__(self):
        self.answer = lambda asker, question: {"elsewhere": True}
        self.replies, self.asked, self.suspected, self.exchanged, self.broken = {}, [], [], [], False
        self.held = threading.Event()
        self.held.set()

    def living(self):
        return frozenset(self.replies)

    def ask(self, rank, question, timeout):
        self.asked.append(rank)
        self.held.wait(5.0)
        return self.replies[rank]

    def suspect(self, rank):
        self.suspected.append(rank)

    def propose(self, peer):
        return ["", "new"]

    def accept(self, peer, proposal):
        return proposal[1]

    def settle(self, peer, accepted):
        assert accepted == "new"

    def exchange(self, peer, number, tensors, patience):
        if self.broken:
            raise LinkBroken("cut")
        self.exchanged.append((peer, number, patience is not None))
        return [torch.zeros_like(values) for values in tensors]

    def question(self, number):
        return {"average": number, "proposal": ["", "new"]}


@pytest.fixture
def others():
    return Others()


@pytest.fixture
def start(others):
    threads = []

    def begin(mode="gossip"):
        state = NodeState([torch.ones(3)], Dynamics())
        near = [(1, 0.5), (3, 0.25), (4, 0.25)]
        threads.append(Gossip(others, others, state, near, np.random.default_rng(0), mode))
        threads[-1].start()
        return threads[-1]

    yield begin
    others.held.set()
    for thread in threads:
        thread.stop()


def until(predicate):
    deadline = time.monotonic() + 5.0
    while not predicate():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def free(gossip):
    until(lambda: not gossip._engaged)


def test_one_averaging_is_lent_and_no_more(others, start):
    gossip = start()
    assert gossip._answer(3, others.question(7)) == {"accepted": "new"}
    free(gossip)
    assert others.exchanged == [(3, 7, True)]
    assert gossip.averagings == {1: 0, 3: 1, 4: 0}
    assert gossip.state.x[0].tolist() == [0.5] * 3
    assert gossip._answer(4, others.question(8)) == {"no": "spent"}
    gossip.credit(1.0)
    assert gossip._answer(4, others.question(9)) == {"accepted": "new"}


def test_in_ad_psgd_whoever_is_free_says_yes_and_pays_nothing(others, start):
    gossip = start("ad-psgd")
    for number in range(5):
        assert gossip._answer(3, others.question(number)) == {"accepted": "new"}
        free(gossip)
    assert gossip.averagings[3] == 5
    assert gossip._credit == 0


def test_who_asks_refuses_all_but_a_lower_rank_that_asks_it(others, start):
    others.replies, gossip = {1: {"no": "busy"}}, start()
    others.held.clear()
    gossip.credit(1.0)
    until(lambda: others.asked == [1])
    assert gossip._answer(3, others.question(5)) == {"no": "busy"}
    assert gossip._answer(1, others.question(6)) == {"accepted": "new"}
    assert gossip._answer(1, others.question(7)) == {"no": "busy"}
    others.held.set()
    free(gossip)
    assert others.exchanged == [(1, 6, True)]


def test_who_asks_refuses_a_higher_rank_that_asks_it(others, start):
    others.replies, gossip = {3: {"accepted": "new"}}, start()
    others.held.clear()
    gossip.credit(1.0)
    until(lambda: others.asked == [3])
    assert gossip._answer(3, others.question(5)) == {"no": "busy"}
    others.held.set()
    until(lambda: gossip.averagings[3] == 1)
    free(gossip)
    assert [(peer, waits) for peer, _, waits in others.exchanged] == [(3, False)]
    assert gossip._credit == 0


def test_refused_by_all_it_pauses(others, start):
    others.replies, gossip = {rank: {"no": "spent"} for rank in (1, 3, 4)}, start()
    gossip.credit(1.0)
    time.sleep(1.0)
    assert {1, 3, 4} == set(others.asked[:3])
    assert 10 < len(others.asked) < 3 * (1.0 / 0.025 + 8), "pauses should double up to 25 to 75 milliseconds"


def test_broken_links_are_counted_suspected_and_cost_no_credit(others, start):
    others.replies, others.broken, gossip = {4: {"accepted": "new"}}, True, start()
    gossip.credit(1.0)
    until(lambda: gossip.broken[4] == 1)
    free(gossip)
    assert others.suspected == [4]
    assert gossip.averagings[4] == 0
    assert gossip._credit == 1.0
    assert gossip.state.x[0].tolist() == [1.0] * 3


def test_neighbours_are_chosen_by_their_rates(others, start):
    others.replies, gossip = {rank: {"no": "busy"} for rank in (1, 3, 4)}, start()
    drawn = np.bincount([gossip._choose() for _ in range(4000)], minlength=5) / 4000
    assert drawn == pytest.approx([0, 0.5, 0, 0.25, 0.25], abs=0.04)


def test_credits_expire(others, start):
    gossip = start()
    for _ in range(100):
        gossip.credit(1.0)
    assert gossip._credit == 4.0
    gossip.credit(10.0)
    assert gossip._credit == 14.0
    assert gossip.gradients == 101


def test_strangers_are_refused_and_other_questions_passed_on(others, start):
    gossip = start()
    assert gossip._answer(0, others.question(1)) == {"no": "spent"}
    assert others.answer(0, {"weather": 1}) == {"elsewhere": True}
    gossip.stop()
    assert gossip._answer(3, others.question(1)) == {"no": "closed"}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_what_ends_the_thread_can_be_seen(others, start, monkeypatch):
    gossip = start()
    monkeypatch.setattr(gossip.state, "snapshot", lambda: 1 / 0)
    gossip._answer(3, others.question(1))
    gossip.join(5.0)
    assert isinstance(gossip.error, ZeroDivisionError)
    assert gossip._answer(3, others.question(2)) == {"no": "closed"}


def test_who_does_not_average_says_so_and_is_not_asked_for_its_state_again(others, start):
    gossip = Gossip(others, others, NodeState([torch.ones(3)], Dynamics()), [(1, 1.0)], np.random.default_rng(0))
    assert gossip._answer(1, {"fetch": 5, "proposal": ["", "new"]}) == {"no": "closed"}
    others.replies = {1: {"no": "closed"}}
    with pytest.raises(LinkBroken, match="rank 1, whose state was asked for, has not begun to average"):
        start().fetch_from(1)
    assert others.asked == [1]


def test_a_thread_that_hangs_is_seen(others, start, monkeypatch):
    monkeypatch.setattr("topokit_trainer.asynchronous.gossip.HANGING", 0.2)
    others.replies = {1: {"no": "busy"}}
    others.held.clear()
    gossip = start()
    assert not gossip.hangs
    gossip.credit(1.0)
    deadline = time.monotonic() + 4
    while not gossip.hangs and time.monotonic() < deadline:
        time.sleep(0.02)
    assert gossip.hangs
    others.moved = time.monotonic()
    assert not gossip.hangs, "what is slow still moves"
    others.held.set()
    gossip.stop()
