"""How ranks agree on who is left: with real sockets for the processes, and heartbeats that a test can cut."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Condition, RLock

import pytest

from topokit.errors import TopokitError
from topokit_trainer.agreement import Agreement, Outcome


class Heartbeats:
    """What ranks of one process say to each other; ``deaf`` pairs hear nothing of one another."""

    def __init__(self, size):
        self.changed = Condition(RLock())
        self.status = {rank: {} for rank in range(size)}
        self.lost: set[frozenset[int]] = set()
        self.events: list[object] = []
        self.peers = [Heard(self, rank) for rank in range(size)]
        self.agreements = [Agreement(peers) for peers in self.peers]

    def lose(self, a, b):
        with self.changed:
            self.lost.add(frozenset((a, b)))
            self.changed.notify_all()

    def die(self, rank):
        """The process is gone: its socket with it. Heartbeats do not tell yet."""
        self.agreements[rank].close()


@pytest.fixture
def heartbeats():
    made = []

    def make(size):
        made.append(Heartbeats(size))
        return made[-1]

    yield make
    for beats in made:
        for agreement in beats.agreements:
            agreement.close()


class Heard:
    host, away, events = "127.0.0.1", 0.0, ()

    def __init__(self, beats, rank):
        self.beats, self.rank = beats, rank

    def living(self):
        others = set(self.beats.status) - {self.rank}
        return frozenset(other for other in others if frozenset((other, self.rank)) not in self.beats.lost)

    def incarnation_of(self, rank):
        return 0

    def status_of(self, rank):
        with self.beats.changed:
            return dict(self.beats.status[rank])

    def say(self, **status):
        with self.beats.changed:
            self.beats.status[self.rank] = self.beats.status[self.rank] | status
            self.beats.changed.notify_all()

    def wait(self, predicate, timeout):
        with self.beats.changed:
            return self.beats.changed.wait_for(predicate, timeout)


def reach(beats, ranks, done=(0,) * 8, members=None):
    members = members or tuple(range(len(beats.peers)))
    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(beats.agreements[rank].reach, members, 0, done[rank]) for rank in ranks]
        return [future.exception(20) or future.result() for future in futures]


def test_all_live_and_agree_on_what_any_of_them_knows_to_be_done(heartbeats):
    beats = heartbeats(4)
    assert reach(beats, range(4), done=(7, 8, 7, 7)) == [Outcome(1, (0, 1, 2, 3), 8)] * 4


@pytest.mark.parametrize("gone", [(3,), (0,), (0, 1, 2)])
def test_processes_that_are_gone_are_not_waited_for(heartbeats, gone):
    beats = heartbeats(4)
    for rank in gone:
        beats.die(rank)
    left = tuple(rank for rank in range(4) if rank not in gone)
    assert reach(beats, left) == [Outcome(1, left, 0)] * len(left)


def test_a_silent_rank_is_left_behind_and_learns_of_it(heartbeats):
    beats = heartbeats(4)
    for rank in (0, 1, 3):
        beats.lose(2, rank)
    assert reach(beats, (0, 1, 3)) == [Outcome(1, (0, 1, 3), 0)] * 3
    beats.lost.clear()
    with pytest.raises(TopokitError, match=r"rank 2 was silent for too long .* the others go on without it"):
        beats.agreements[2].reach((0, 1, 2, 3), 0, 0)


def test_of_two_parts_that_cannot_reach_one_another_only_the_larger_goes_on(heartbeats):
    beats = heartbeats(5)
    for a, b in [(0, 2), (0, 3), (0, 4), (1, 2), (1, 3), (1, 4)]:
        beats.lose(a, b)
    *small, two, three, four = reach(beats, range(5))
    assert [two, three, four] == [Outcome(two.generation, (2, 3, 4), 0)] * 3
    assert all(isinstance(error, TopokitError) for error in small)


def test_of_two_halves_the_one_with_the_first_rank_goes_on(heartbeats):
    beats = heartbeats(4)
    for a, b in [(0, 2), (0, 3), (1, 2), (1, 3)]:
        beats.lose(a, b)
    zero, one, *others = reach(beats, range(4))
    assert zero == one == Outcome(zero.generation, (0, 1), 0)
    for error in others:
        assert isinstance(error, TopokitError)
        assert "too few to go on" in str(error) or "go on without it" in str(error)


def test_views_that_differ_are_settled_in_the_next_generation(heartbeats):
    beats = heartbeats(4)
    beats.lose(1, 3)  # 1 and 3 do not hear each other, the others hear both
    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(beats.agreements[rank].reach, (0, 1, 2, 3), 0, 0) for rank in (0, 1, 2)]
        last = pool.submit(beats.agreements[3].reach, (0, 1, 2, 3), 0, 0)
        while beats.status[0].get("generation", 0) < 3:
            with beats.changed:
                beats.changed.wait(0.05)
        with beats.changed:
            beats.lost.clear()
            beats.changed.notify_all()
        outcomes = [future.result(20) for future in [*futures, last]]
    assert outcomes == [Outcome(outcomes[0].generation, (0, 1, 2, 3), 0)] * 4
    assert outcomes[0].generation >= 3


def test_who_has_seen_the_end_of_the_run_need_not_come_back(heartbeats):
    beats = heartbeats(3)
    beats.peers[0].say(finished=True, done=12)
    first, second = reach(beats, (1, 2), done=(12, 11, 11))
    assert first.finished
    assert second.finished
    assert first.done == second.done == 12
