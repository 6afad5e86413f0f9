"""Who lives, and questions that are answered: several peers in one process, and ranks that are killed and stopped."""

import gc
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta

import pytest
import torch.distributed as dist
from mortal_ranks import mortal_ranks
from peers_workers import watch

from topokit.errors import TopokitError
from topokit_trainer.peers import Peers


@pytest.fixture(autouse=True)
def at_home(monkeypatch):
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.delenv("GLOO_SOCKET_IFNAME", raising=False)


@contextmanager
def peers_of(size, stores=None, **options):
    stores = stores or [dist.HashStore()] * size
    with ThreadPoolExecutor(size) as pool:
        peers = list(pool.map(lambda rank: Peers(rank, size, stores[rank], timeout=10.0, **options), range(size)))
    try:
        yield peers
    finally:
        for peer in peers:
            peer.close()


def test_all_live_at_the_start_and_say_how_they_are():
    with peers_of(3) as peers:
        assert [peer.living() for peer in peers] == [{1, 2}, {0, 2}, {0, 1}]
        peers[1].say(count=4)
        assert peers[0].wait(lambda: peers[0].status_of(1) == {"count": 4}, 2.0)
        peers[1].say(count=5, done=True)
        assert peers[2].wait(lambda: peers[2].status_of(1) == {"count": 5, "done": True}, 2.0)
        assert peers[1].status_of(1) == {"count": 5, "done": True}
        assert not peers[0].wait(lambda: peers[0].status_of(2) != {}, 0.3)
        assert [peer.events for peer in peers] == [[], [], []]


def test_questions_are_answered_once_though_datagrams_are_lost(monkeypatch):
    answered = []

    def answer(asker, question):
        answered.append(question["x"])
        return {"from": asker, "y": 2 * question["x"]}

    with peers_of(2, answer=answer) as peers:
        lost, send = [], peers[1]._wire.send

        def lossy(address, message):
            if message["kind"] == "answer" and len(lost) < 3:
                lost.append(message)
            else:
                send(address, message)

        monkeypatch.setattr(peers[1]._wire, "send", lossy)
        assert peers[0].ask(1, {"x": 21}, 5.0) == {"from": 0, "y": 42}
        assert len(lost) == 3
        assert peers[0].ask(1, {"x": 4}, 5.0) == {"from": 0, "y": 8}
        assert answered == [21, 4]


def test_no_answer_in_time_is_none_and_one_that_fails_says_so(monkeypatch, capsys):
    with peers_of(2, answer=lambda asker, question: {"y": 1 / question["x"]}) as peers:
        assert peers[0].ask(1, {"x": 0}, 5.0) == {"error": "ZeroDivisionError: division by zero"}
        assert "ZeroDivisionError" in capsys.readouterr().err
        monkeypatch.setattr(peers[1]._wire, "send", lambda address, message: None)
        begun = time.monotonic()
        assert peers[0].ask(1, {"x": 2}, 0.3) is None
        assert 0.25 < time.monotonic() - begun < 1.0
        with pytest.raises(ValueError, match="too long for a datagram"):
            peers[0].ask(1, {"x": "x" * 70_000}, 1.0)


def test_datagrams_of_others_are_ignored(capsys):
    with peers_of(2) as peers:
        address, token = peers[0]._wire.address, peers[0]._wire.token
        for message in (b"\xff\x00", b"[1]", b"{}", b'{"token":"other","kind":"bye","rank":1,"incarnation":0}'):
            peers[1]._wire._in.sendto(message, address)
        assert token
        for content in ({"kind": "bye", "rank": 7, "incarnation": 0}, {"kind": "bye"}):
            peers[1]._wire.send(address, content)
        assert peers[1].ask(0, {}, 2.0) == {}
        assert peers[0].living() == {1}
        assert peers[0].events == []
        assert "KeyError" in capsys.readouterr().err


def test_who_says_goodbye_has_left():
    with peers_of(3, lost_after=0.6) as peers:
        peers[2].close()
        assert peers[0].wait(lambda: peers[0].living() == {1}, 2.0)
        time.sleep(1.0)
        assert [(event.kind, event.rank) for event in peers[0].events] == [("left", 2)]
        assert peers[0].ask(2, {}, 5.0) is None


def test_a_suspect_is_cleared_by_its_next_heartbeat():
    with peers_of(2, lost_after=1.2) as peers:
        peers[0].suspect(1)
        assert peers[0].living() == frozenset()
        assert peers[0].wait(lambda: peers[0].living() == {1}, 1.0)
        assert peers[0].events == []


def test_the_store_is_needed_at_the_start_only():
    server = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=10))
    stores = [dist.TCPStore("127.0.0.1", server.port, is_master=False, wait_for_workers=False) for _ in range(2)]
    with peers_of(2, stores, lost_after=0.6) as peers:
        del server
        stores.clear()
        gc.collect()
        time.sleep(1.0)
        assert [peer.living() for peer in peers] == [{1}, {0}]
        assert peers[0].ask(1, {}, 2.0) == {}


def test_a_rank_that_does_not_start_is_named():
    with pytest.raises(TopokitError, match=r"rank 1 did not start within 0\.3 seconds"):
        Peers(0, 2, dist.HashStore(), timeout=0.3)


def test_stores_that_ranks_hold():
    with peers_of(2) as peers:
        here, there = peers[0].store_of(0, 0.3), peers[1].store_of(0, 0.3)
        there.set("a", "1")
        assert here.get("a") == b"1"
        assert [there.add("n", 2), here.add("n", 3)] == [2, 5]
        assert here.check(["a", "n"])
        assert not there.check(["a", "b"])
        assert there.compare_set("a", "0", "2") == b"1"
        assert there.compare_set("a", "1", "2") == b"2"
        there.wait(["a", "n"], timedelta(seconds=1))
        with pytest.raises(TimeoutError, match="'b'"):
            here.wait(["b"], timedelta(seconds=0.1))
        with pytest.raises(TimeoutError, match="'b'"):
            there.get("b")
        assert [there.delete_key("a"), here.delete_key("a")] == [True, False]
        for name in ("p/x", "p/y", "q/x"):
            there.set(name, b"\x00\xff")
        here.forget("p/")
        assert [there.check([name]) for name in ("p/x", "p/y", "q/x")] == [False, False, True]
        assert peers[1].store_of(1).check(["q/x"]) is False


@pytest.mark.dist
def test_the_killed_are_lost_within_five_seconds_and_rejoin():
    with mortal_ranks(watch, 4, 2.0, (1,)) as ranks:
        ranks.word(*(f"up {rank} 0" for rank in range(4)))
        killed = time.time()
        ranks.signal(0, signal.SIGKILL)
        time.sleep(3.0)
        ranks.start(0)
        ranks.word("up 0 1")
        time.sleep(0.5)
        ranks.store.set("end", "")
        first, *others = ranks.results(0, 1, 2, 3)
    for other in others:
        assert [(event.kind, event.rank) for event in other["events"]] == [("lost", 0), ("rejoined", 0)]
        assert 1.0 < other["events"][0].time - killed < 5.0
        assert other["incarnations"] == [1, 0, 0, 0]
    assert first["incarnation"] == 1
    assert first["living"] == [1, 2, 3]
    assert first["events"] == []
    assert first["answers"] == [{"of": r, "to": r} for r in (1, 2, 3)]
    assert first["counts"][2] > 30


@pytest.mark.dist
@pytest.mark.slow
def test_the_stopped_are_lost_and_come_back_and_the_busy_never_are():
    with mortal_ranks(watch, 4, 1.0, (1, 3)) as ranks:
        ranks.word(*(f"up {rank} 0" for rank in range(4)))
        stopped = time.time()
        ranks.signal(2, signal.SIGSTOP)
        time.sleep(3.0)
        ranks.signal(2, signal.SIGCONT)
        time.sleep(1.0)
        ranks.store.set("end", "")
        results = ranks.results(0, 1, 2, 3)
    for other in (results[0], results[1], results[3]):
        assert [(event.kind, event.rank) for event in other["events"]] == [("lost", 2), ("back", 2)]
        assert other["events"][0].time - stopped < 3.0
        assert other["incarnations"] == [0, 0, 0, 0]
        assert other["away"] < 2.0
        assert len(other["living"]) == 3
    assert results[2]["events"] == []
    assert 2.5 < results[2]["away"] < 5.0
