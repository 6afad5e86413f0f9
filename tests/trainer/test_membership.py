"""When a rank counts as lost, back, started anew or gone, without clocks and networks."""

import pytest

from topokit_trainer.peers.membership import Member, Membership

ADDRESS = ("127.0.0.1", 1)


def membership(size=3, lost_after=3.0):
    return Membership({rank: Member(ADDRESS, 0, 0.0) for rank in range(1, size)}, lost_after, 0.0)


def pass_time(known, until, start=0.0, hears=(), step=0.25):
    """Tick from a time on, hearing some ranks at every tick; give the changes and when they were seen."""
    changes, now = [], start
    while now < until:
        now += step
        for rank in hears:
            known.hear(rank, 0, ADDRESS, now)
        changes += [(kind, rank, now) for kind, rank in known.tick(now)]
    return changes


def test_the_silent_are_lost_and_the_others_live():
    known = membership()
    assert pass_time(known, 10.0, hears=[1]) == [("lost", 2, 3.25)]
    assert known.living() == {1}
    assert known.away == pytest.approx(0.25)


def test_who_is_heard_again_is_back():
    known = membership()
    pass_time(known, 10.0, hears=[1])
    assert known.hear(2, 0, ADDRESS, 10.0) == "back"
    assert known.hear(2, 0, ADDRESS, 10.1) == "taken"
    assert known.living() == {1, 2}


def test_who_starts_anew_has_rejoined_and_its_past_is_out_of_date():
    known = membership()
    known.members[2].status = {"count": 7}
    assert known.hear(2, 1, ("127.0.0.1", 2), 1.0) == "rejoined"
    assert known.members[2].status == {}
    assert known.members[2].address == ("127.0.0.1", 2)
    assert known.hear(2, 0, ADDRESS, 1.1) is None
    assert known.members[2].address == ("127.0.0.1", 2)


def test_who_has_left_stays_away_but_for_a_new_start():
    known = membership()
    known.members[1].condition = "left"
    assert known.hear(1, 0, ADDRESS, 1.0) is None
    assert pass_time(known, 10.0, hears=[2]) == []
    assert known.living() == {2}
    assert known.hear(1, 1, ADDRESS, 10.0) == "rejoined"
    assert known.living() == {1, 2}


def test_a_suspect_lives_again_when_heard_and_is_lost_when_not():
    known = membership()
    known.members[1].suspected = known.members[2].suspected = True
    assert known.living() == set()
    assert known.hear(1, 0, ADDRESS, 1.0) == "taken"
    assert known.living() == {1}
    assert pass_time(known, 3.5, start=1.0, hears=[1]) == [("lost", 2, 3.25)]


def test_being_held_up_is_not_held_against_others():
    known = membership()
    pass_time(known, 5.0, hears=[1, 2])
    assert known.tick(25.0) == []
    assert known.living() == {1, 2}
    assert known.away == 20.0
    assert pass_time(known, 35.0, start=25.0, hears=[2]) == [("lost", 1, 28.25)]
    known.clear_away()
    assert known.away == 0.0


def test_silence_all_around_was_a_cut_unless_it_ends_with_a_new_start():
    known = membership()
    pass_time(known, 10.0)
    assert known.living() == set()
    assert known.away == 0.0
    known.hear(1, 1, ADDRESS, 10.0)
    assert known.away == 0.0
    pass_time(known, 20.0, start=10.0)
    known.hear(2, 0, ADDRESS, 20.0)
    assert known.away == 10.0
